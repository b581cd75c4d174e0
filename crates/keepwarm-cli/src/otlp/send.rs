//! Sends a request of OTLP over HTTP, in protobuf (OTLP 1.x, "OTLP/HTTP").
//!
//! Owns the attempts and their limits. The client is this project's own.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;

use crate::output;

/// Time of one attempt, the default of OpenTelemetry's exporters.
const WITHIN: Duration = Duration::from_secs(10);

/// Attempts in all: the first, and two after an answer that asks for them.
const ATTEMPTS: u32 = 3;

/// Statuses after which the specification allows another attempt.
const TRY_AGAIN: [u16; 4] = [429, 502, 503, 504];

/// The pause before another attempt, and the longest one that a collector may ask for.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 10;

/// Variable of OpenTelemetry's exporters with fields of each request: `name=value,name=value`.
const FIELDS: &str = "OTEL_EXPORTER_OTLP_HEADERS";

pub(super) fn post(url: &str, request: &ExportMetricsServiceRequest) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(attempts(url, request.encode_to_vec()))
}

async fn attempts(url: &str, body: Vec<u8>) -> Result<(), String> {
    let client = keepwarm::Client::builder().proxy_from_env().build();
    let client = client.map_err(|error| error.to_string())?;
    let fields = fields(&std::env::var(FIELDS).unwrap_or_default())?;
    let mut attempt = 1;
    loop {
        let mut post = client
            .post(url)
            .timeout(WITHIN)
            .header("content-type", "application/x-protobuf")
            .header("user-agent", concat!("keepwarm/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &fields {
            post = post.header(name, value);
        }
        let response = post.body(body.clone()).send().await.map_err(|error| error.to_string())?;
        let status = response.status();
        if status.is_success() {
            let answer = response.bytes_up_to(MAX_ANSWER).await.unwrap_or_default();
            note_rejected(&answer);
            return Ok(());
        }
        if attempt == ATTEMPTS || !TRY_AGAIN.contains(&status.as_u16()) {
            let times = if attempt > 1 { format!(", {attempt} times") } else { String::new() };
            return Err(format!("the answer is {status}{times}"));
        }
        attempt += 1;
        let asked = response.headers().get("retry-after");
        let asked = asked.and_then(|value| value.to_str().ok()?.parse().ok());
        let pause = asked.map_or(PAUSE, Duration::from_secs).min(LONGEST_PAUSE);
        tokio::time::sleep(pause).await;
    }
}

/// Says which part of the metrics the collector did not take. An answer that is no message of OTLP
/// says nothing.
fn note_rejected(answer: &[u8]) {
    let Ok(answer) = ExportMetricsServiceResponse::decode(answer) else { return };
    let Some(partial) = answer.partial_success else { return };
    if partial.rejected_data_points > 0 || !partial.error_message.is_empty() {
        let (count, why) = (partial.rejected_data_points, partial.error_message);
        output::complain(&format!("the collector rejected {count} data points: {why}"));
    }
}

/// Reads the fields of `OTEL_EXPORTER_OTLP_HEADERS`, whose values are percent-encoded.
fn fields(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let field = |pair: &str| {
        // The value may be a secret, so the message does not have it.
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("{FIELDS} is not a list of name=value, separated by commas"))?;
        let value = decoded(value.trim()).ok_or_else(|| {
            format!("the value of {:?} in {FIELDS} is not percent-encoded UTF-8", name.trim())
        })?;
        Ok((name.trim().to_owned(), value))
    };
    pairs.map(field).collect()
}

/// Undoes percent-encoding (RFC 3986, section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = behind;
            continue;
        }
        let (digits, behind) = behind.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_or_named() {
        let read = fields("api-key=a%20b, x = y=z ,").expect("fields");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read, [pair("api-key", "a b"), pair("x", "y=z")]);
        assert_eq!(fields(""), Ok(Vec::new()));
        for wrong in ["secret", "a=%", "a=%zz", "a=%ff"] {
            let why = fields(wrong).unwrap_err();
            assert!(why.contains(FIELDS) && !why.contains("secret"), "{why}");
        }
    }
}
