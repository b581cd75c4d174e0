//! The table of names that can be asserted on: unit and meaning of each.
//!
//! Owns the words. Where a name stands for several, the table has one line with a placeholder in
//! capitals, and `candidates` spells the names out.

use super::Unit;

/// Points of a distribution of times.
const POINTS: [&str; 9] = ["min", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "max"];

/// Instants at which TIME_WAITs are counted.
const MOMENTS: [&str; 3] = ["before", "peak", "after"];

/// Sides of a connection.
const SIDES: [&str; 2] = ["client", "server"];

/// Classes of failed requests, in the order of reports. Records of a load spell them so, too.
pub const ERROR_CLASSES: [&str; 18] = [
    "connect",
    "tls",
    "connect_timeout",
    "timeout",
    "reset_before_response",
    "reset_within_response",
    "eof_on_new",
    "eof_on_reused",
    "eof_within_response",
    "bad_framing",
    "too_large",
    "write",
    "body",
    "read",
    "stream_refused",
    "stream_reset",
    "unprocessed",
    "unanswered",
];

/// Error numbers that have a name in assertions, as the kernel spells them, in lower case.
const ERRNOS: [&str; 8] = [
    "eaddrnotavail",
    "econnrefused",
    "econnreset",
    "ehostunreach",
    "emfile",
    "enetunreach",
    "enfile",
    "etimedout",
];

/// A line of the table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// The name, with placeholders in capitals.
    pub pattern: &'static str,
    /// Unit of its values.
    pub unit: Unit,
    /// Meaning, in a few words.
    pub meaning: &'static str,
}

const fn entry(pattern: &'static str, unit: Unit, meaning: &'static str) -> Entry {
    Entry { pattern, unit, meaning }
}

const TABLE: &[Entry] = &[
    entry("rps", Unit::Rate, "completed requests a second"),
    entry("POINT", Unit::Time, "of response times with --rate or --stages, else of service times"),
    entry(
        "service.POINT",
        Unit::Time,
        "first byte of the request written to last byte of the response",
    ),
    entry("response.POINT", Unit::Time, "instant the request was due to last byte of the response"),
    entry("lag.POINT", Unit::Time, "instant the request was due to its first byte written"),
    entry("connect.POINT", Unit::Time, "of the times from connect(2) to established"),
    entry("handshake.POINT", Unit::Time, "of TLS handshakes"),
    entry("requests.scheduled", Unit::Count, "requests that were due"),
    entry(
        "requests.completed",
        Unit::Count,
        "requests with a complete response, whatever its status",
    ),
    entry("requests.failed", Unit::Count, "requests without one, in flight at the end included"),
    entry(
        "requests.unsent",
        Unit::Count,
        "requests never begun: the run, or the backlog, was over",
    ),
    entry("errors", Unit::Count, "failed requests, and those answered 4xx or 5xx"),
    entry("errors.share", Unit::Share, "the same, of all requests that completed or failed"),
    entry("http_errors", Unit::Count, "requests answered 4xx or 5xx"),
    entry("http_errors.share", Unit::Share, "the same, of all requests that completed or failed"),
    entry("misses", Unit::Count, "complete responses that missed an expectation (--expect)"),
    entry("misses.share", Unit::Share, "the same, of all requests that completed or failed"),
    entry("errors.refused", Unit::Count, "requests whose connection was refused"),
    entry("errors.CLASS", Unit::Count, "failed requests of one class or one error number"),
    entry(
        "status.CODE",
        Unit::Count,
        "responses with a status, such as 200, or a kind, such as 5xx",
    ),
    entry("conn.opened", Unit::Count, "connections opened by the load"),
    entry("conn.failed", Unit::Count, "attempts to connect that failed or timed out"),
    entry("conn.reused", Unit::Count, "requests on a connection that had carried one before"),
    entry("conn.closed", Unit::Count, "connections that ended before the run did"),
    entry("conn.closed_by_us", Unit::Count, "of these, closed by the load first"),
    entry("conn.peer_fin", Unit::Count, "of these, closed by the server's FIN first"),
    entry("conn.peer_rst", Unit::Count, "of these, reset by the server"),
    entry("conn.timed_out", Unit::Count, "of these, closed after a request had timed out"),
    entry("conn.still_open", Unit::Count, "connections open when the run ended"),
    entry("conn.requests.mean", Unit::Number, "requests carried by a connection, on average"),
    entry("conn.requests.min", Unit::Count, "the fewest"),
    entry("conn.requests.max", Unit::Count, "the most"),
    entry(
        "streams.at_once.mean",
        Unit::Number,
        "the most streams at once on a connection (--http2)",
    ),
    entry("streams.at_once.min", Unit::Count, "the fewest of all connections"),
    entry("streams.at_once.max", Unit::Count, "the most of all connections"),
    entry("streams.refused", Unit::Count, "streams that the server refused (REFUSED_STREAM)"),
    entry("streams.reset", Unit::Count, "streams that the server reset with another code"),
    entry("streams.unprocessed", Unit::Count, "streams above the last one that a GOAWAY names"),
    entry("streams.sent_again", Unit::Count, "of these, requests sent again"),
    entry("streams.cancelled", Unit::Count, "streams that the load reset"),
    entry("streams.goaway", Unit::Count, "GOAWAY frames received"),
    entry("streams.connections", Unit::Count, "connections opened because streams ran out"),
    entry(
        "lifetime.POINT",
        Unit::Time,
        "of connections that ended within the run: established to closed",
    ),
    entry("hop.PORT.opened", Unit::Count, "connections of a port that --watch watched, opened"),
    entry("hop.PORT.closed", Unit::Count, "and closed, by either side"),
    entry("hop.PORT.closed_by_client", Unit::Count, "of these, by the client's FIN first"),
    entry("hop.PORT.closed_by_server", Unit::Count, "of these, by the server's FIN first"),
    entry("hop.PORT.closed_at_once", Unit::Count, "of these, by both at once"),
    entry("hop.PORT.reset", Unit::Count, "of these, by a reset from either side"),
    entry("hop.PORT.reset_by_client", Unit::Count, "of these, by the client's reset"),
    entry("hop.PORT.reset_by_server", Unit::Count, "of these, by the server's reset"),
    entry("hop.PORT.established", Unit::Count, "connections left open at the end"),
    entry(
        "hop.PORT.close_wait",
        Unit::Count,
        "sockets that their program has not closed, at the end",
    ),
    entry(
        "hop.PORT.requests",
        Unit::Count,
        "requests over the port, as segments with data; unknown with TLS",
    ),
    entry("hop.PORT.requests.mean", Unit::Number, "requests of a connection, on average"),
    entry("hop.PORT.requests.max", Unit::Count, "the most"),
    entry("hop.PORT.time_wait.MOMENT", Unit::Count, "TIME_WAITs on both sides"),
    entry("hop.PORT.time_wait.MOMENT.SIDE", Unit::Count, "TIME_WAITs on one side"),
    entry("hop.PORT.ports.peak", Unit::Count, "local ports held by clients of the port, at most"),
    entry("hop.PORT.ports.share", Unit::Share, "the same, of the ephemeral ports that there are"),
    entry(
        "loader.cpu",
        Unit::Share,
        "processor time of the load's threads, of what they could use",
    ),
];

/// A name of the table, spelled out, with the unit of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    text: String,
    unit: Unit,
}

impl Name {
    /// Returns the name as it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the unit of its values.
    #[must_use]
    pub const fn unit(&self) -> Unit {
        self.unit
    }
}

/// Returns the lines of the table.
#[must_use]
pub fn table() -> &'static [Entry] {
    TABLE
}

/// Returns each placeholder that stands for one word of a list, with that list.
#[must_use]
pub fn placeholders() -> [(&'static str, Vec<&'static str>); 4] {
    [
        ("POINT", POINTS.to_vec()),
        ("MOMENT", MOMENTS.to_vec()),
        ("SIDE", SIDES.to_vec()),
        ("CLASS", classes().collect()),
    ]
}

/// Returns every name, each placeholder replaced by all of its words, or by an example.
#[must_use]
pub fn every_name() -> Vec<Name> {
    candidates("").into_iter().map(|(text, unit)| Name { text, unit }).collect()
}

/// Finds the name that `text` is, or the nearest name to offer, if any is near.
pub(super) fn find(text: &str) -> Result<Name, Option<String>> {
    let candidates = candidates(text);
    if let Some((name, unit)) = candidates.iter().find(|(name, _)| name == text) {
        return Ok(Name { text: name.clone(), unit: *unit });
    }
    let nearest = candidates
        .into_iter()
        .map(|(name, _)| (distance(&name, text), name))
        .min_by_key(|(distance, _)| *distance);
    // With half of it wrong it is not a slip of the finger any more.
    Err(nearest.filter(|(distance, _)| *distance * 2 <= text.len().max(2)).map(|(_, name)| name))
}

/// Spells out every name: a placeholder becomes the word that `typed` has in its place, or an
/// example.
fn candidates(typed: &str) -> Vec<(String, Unit)> {
    let spelled = |entry: &Entry| {
        spell_out(entry.pattern, typed)
            .into_iter()
            .map(|name| (name, entry.unit))
            .collect::<Vec<_>>()
    };
    TABLE.iter().flat_map(spelled).collect()
}

/// Replaces the placeholders of a pattern by each word that may stand there.
fn spell_out(pattern: &str, typed: &str) -> Vec<String> {
    let is_placeholder = |part: &&str| part.starts_with(|c: char| c.is_ascii_uppercase());
    let Some(place) = pattern.split('.').find(is_placeholder) else {
        return vec![pattern.to_owned()];
    };
    let words = words(place, typed).into_iter();
    words.flat_map(|word| spell_out(&pattern.replacen(place, &word, 1), typed)).collect()
}

/// Returns the words that may stand in the place of a placeholder.
fn words(placeholder: &str, typed: &str) -> Vec<String> {
    let second = typed.split('.').nth(1).unwrap_or_default();
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match placeholder {
        "POINT" => owned(&POINTS),
        "MOMENT" => owned(&MOMENTS),
        "SIDE" => owned(&SIDES),
        "CLASS" => classes().map(str::to_owned).collect(),
        "CODE" if is_status(second) => vec![second.to_owned()],
        "CODE" => owned(&["200", "5xx"]),
        "PORT" if second.parse::<u16>().is_ok_and(|port| port > 0) => vec![second.to_owned()],
        _ => owned(&["8081"]),
    }
}

fn classes() -> impl Iterator<Item = &'static str> {
    ERROR_CLASSES.into_iter().chain(ERRNOS)
}

/// Returns true for `200` and for `5xx`.
fn is_status(text: &str) -> bool {
    let digits = text.strip_suffix("xx").unwrap_or(text);
    let length = if digits.len() == text.len() { 3 } else { 1 };
    digits.len() == length
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(digits.as_bytes()[0], b'1'..=b'9')
}

/// Counts the characters to insert, delete or exchange to get from one word to the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let exchanged = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = exchanged.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_spelled_once() {
        let mut names: Vec<String> = candidates("").into_iter().map(|(name, _)| name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn slips_are_offered_the_nearest_name() {
        for (typed, nearest) in [
            ("p98", Some("p90")),
            ("conn.open", Some("conn.opened")),
            ("con.opened", Some("conn.opened")),
            ("errors.timout", Some("errors.timeout")),
            ("rqs", Some("rps")),
            ("status.20", Some("status.200")),
            ("hop.9000.time_wait.peek", Some("hop.9000.time_wait.peak")),
            ("hop.0.opened", Some("hop.8081.opened")),
            ("hop.70000.opened", Some("hop.8081.opened")),
            ("something.else.entirely", None),
        ] {
            assert_eq!(find(typed), Err(nearest.map(str::to_owned)), "{typed}");
        }
    }

    #[test]
    fn placeholders_take_the_typed_word() {
        for name in [
            "hop.1.opened",
            "hop.8081.time_wait.peak.client",
            "status.404",
            "status.5xx",
            "errors.timeout",
            "connect.p99.9",
            "p99.9",
        ] {
            assert!(find(name).is_ok(), "{name}");
        }
        for name in ["status.20", "status.xxx", "status.0xx", "errors.CLASS", "POINT", "status."] {
            assert!(find(name).is_err(), "{name}");
        }
    }
}
