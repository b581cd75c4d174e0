//! Fills the details of a load's record: rows, expectations, single requests, the one exchange.
//!
//! Owns the translation from the engine's types, and hides credentials. Judges nothing.

use keepwarm_load::{Exchange, Notable, Summary};
use keepwarm_record::load::{
    AddressRow, ExpectationRecord, NotableRequest, OneRecord, RequestRow, StageRecord,
};

use super::fill::distribution;
use crate::secrets;

/// Bytes of the content of a request that the record keeps.
const MAX_SENT: usize = 16 * 1024;

pub(super) fn misses(summary: &Summary) -> Option<u64> {
    let misses = summary.expectations.iter().map(|(_, misses, _)| misses).sum();
    (!summary.expectations.is_empty()).then_some(misses)
}

pub(super) fn expectations(summary: &Summary) -> Vec<ExpectationRecord> {
    let record =
        |(expectation, misses, example): &(keepwarm_load::Expectation, u64, _)| ExpectationRecord {
            expectation: expectation.to_string(),
            misses: *misses,
            example: Option::clone(example),
        };
    summary.expectations.iter().map(record).collect()
}

pub(super) fn by_request(summary: &Summary) -> Vec<RequestRow> {
    let rows = summary.rows.iter().map(|(name, weight, row)| RequestRow {
        name: secrets::query(name),
        weight: *weight,
        completed: row.completed,
        failed: row.failed,
        http_errors: row.http_errors(),
        misses: row.missed,
        statuses: row.statuses.clone(),
        latency_us: distribution(&row.latency),
    });
    rows.collect()
}

pub(super) fn by_address(summary: &Summary) -> Vec<AddressRow> {
    let rows = summary.by_address.iter().map(|(address, row)| AddressRow {
        address: address.clone(),
        opened: row.opened,
        connects_failed: row.connects_failed,
        completed: row.completed,
        failed: row.failed,
        http_errors: row.http_errors(),
        latency_us: distribution(&row.latency),
    });
    rows.collect()
}

pub(super) fn notables(
    plan: &keepwarm_load::Plan,
    summary: &Summary,
    notables: &[Notable],
) -> Vec<NotableRequest> {
    let record = |one: &Notable| NotableRequest {
        at_s: one.at.as_secs_f64(),
        request: plan.rows().get(one.row).map(|(name, _)| secrets::query(name)).unwrap_or_default(),
        connection: one.connection,
        nth: one.nth,
        address: summary.by_address.get(one.address).map(|(address, _)| address.clone()),
        service_us: one.service_us,
        response_us: one.response_us,
        status: one.status,
        class: one.failure.as_ref().map(|(class, _)| class.as_str().to_owned()),
        example: one.failure.as_ref().map(|(_, example)| example.clone()),
        traceparent: one.traceparent.clone(),
    };
    notables.iter().map(record).collect()
}

pub(super) fn one(exchange: &Exchange) -> OneRecord {
    let (head, content) = split_head(&exchange.request);
    let (response_head, _) = split_last_head(&exchange.response_head);
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let stages = [
        ("resolve", exchange.resolve),
        ("connect", exchange.connect),
        ("tls", exchange.handshake),
        ("first_byte", exchange.first_byte),
        ("last_byte", exchange.last_byte),
    ];
    let stage = |(stage, took): (&str, Option<std::time::Duration>)| {
        Some(StageRecord { stage: stage.to_owned(), took_us: micros(took?) })
    };
    let head = lines(head);
    let content = text_lines(&content[..content.len().min(MAX_SENT)]);
    let request_content = secrets::content(&head, content);
    let field = |(at, line): (usize, &String)| match at {
        0 => secrets::query(line),
        _ => secrets::field(line),
    };
    OneRecord {
        request_head: head.iter().enumerate().map(field).collect(),
        request_content,
        response_head: lines(response_head).iter().map(|line| secrets::field(line)).collect(),
        response_content: text_lines(&exchange.content),
        content_kept: exchange.content.len() as u64,
        content_cut: exchange.content_cut,
        stages: stages.into_iter().filter_map(stage).collect(),
        local: exchange.local.map(|address| address.to_string()),
        peer: exchange.peer.map(|address| address.to_string()),
        tls: exchange.tls.clone(),
        closed: exchange.closed.clone(),
    }
}

/// Splits a message behind the empty line that ends its first head.
fn split_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    bytes.split_at(end.map_or(bytes.len(), |end| end + 4))
}

/// Splits a response behind the empty line that ends its last head: interim responses have one each.
fn split_last_head(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.windows(4).rposition(|window| window == b"\r\n\r\n");
    bytes.split_at(end.map_or(bytes.len(), |end| end + 4))
}

fn lines(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    text.trim_end().lines().map(str::to_owned).collect()
}

/// Returns the lines of content that is text; of other content, nothing.
fn text_lines(bytes: &[u8]) -> Vec<String> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        // Content that was cut within a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Vec::new(),
    };
    if text.contains('\0') { Vec::new() } else { text.lines().map(str::to_owned).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_content_are_told_apart() {
        let request = b"GET / HTTP/1.1\r\nCookie: a=secret\r\n\r\nbody\nmore";
        let response = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n";
        let mut exchange = Exchange::default();
        exchange.request = request.to_vec();
        exchange.response_head = response.to_vec();
        exchange.content = "ok\nü".as_bytes()[..4].to_vec();
        let one = one(&exchange);
        assert_eq!(one.request_head, ["GET / HTTP/1.1", "Cookie: ***"]);
        assert_eq!(one.request_content, ["body", "more"]);
        let head = ["HTTP/1.1 100 Continue", "", "HTTP/1.1 200 OK", "A: b"];
        assert_eq!(one.response_head, head);
        assert_eq!(one.response_content, ["ok"], "a cut character is left out");
        assert_eq!(text_lines(b"\xff\xfe"), Vec::<String>::new());
    }
}
