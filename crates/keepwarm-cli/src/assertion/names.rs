//! The table of names: what can be asserted on, its unit, and what it means.
//!
//! Owns the words. Where a name stands for several, the table has one line with a placeholder in
//! capitals, and `candidates` spells it out.

use keepwarm_load::ErrorClass;

use super::Unit;
use crate::table::paragraph;

/// As wide as a terminal is at least.
const COLUMNS: usize = 80;

/// Points of a distribution of times.
pub(crate) const POINTS: [&str; 9] =
    ["min", "mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "max"];

/// When TIME_WAITs are counted, and on which side.
const MOMENTS: [&str; 3] = ["before", "peak", "after"];
const SIDES: [&str; 2] = ["client", "server"];

/// Error numbers that have a name in assertions, as the kernel spells them, in lower case.
pub(crate) const ERRNOS: [&str; 8] = [
    "eaddrnotavail",
    "econnrefused",
    "econnreset",
    "ehostunreach",
    "emfile",
    "enetunreach",
    "enfile",
    "etimedout",
];

/// One line of the table.
struct Entry {
    pattern: &'static str,
    unit: Unit,
    meaning: &'static str,
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
    entry("errors", Unit::Count, "failed requests"),
    entry("errors.share", Unit::Share, "failed requests, of all that completed or failed"),
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
        "lifetime.POINT",
        Unit::Time,
        "of connections that ended within the run: established to closed",
    ),
    entry("hop.PORT.opened", Unit::Count, "connections of a port that --watch watched, opened"),
    entry("hop.PORT.closed", Unit::Count, "and closed, by whomever"),
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

/// A name of the table, as it was typed, with the unit of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    text: String,
    unit: Unit,
}

impl Name {
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    pub(crate) const fn unit(&self) -> Unit {
        self.unit
    }
}

/// The name that `text` is, or the nearest one to offer, if any is near.
pub(super) fn find(text: &str) -> Result<Name, Option<String>> {
    let candidates = candidates(text);
    if let Some((name, unit)) = candidates.iter().find(|(name, _)| name == text) {
        return Ok(Name { text: name.clone(), unit: *unit });
    }
    let nearest = candidates
        .into_iter()
        .map(|(name, _)| (distance(&name, text), name))
        .min_by_key(|(distance, _)| *distance);
    // Half of it wrong is not a slip of the finger any more.
    Err(nearest.filter(|(distance, _)| *distance * 2 <= text.len().max(2)).map(|(_, name)| name))
}

/// Every name, the placeholders spelled out: with what `typed` has in their place, or an example.
fn candidates(typed: &str) -> Vec<(String, Unit)> {
    let spelled = |entry: &Entry| {
        spell_out(entry.pattern, typed)
            .into_iter()
            .map(|name| (name, entry.unit))
            .collect::<Vec<_>>()
    };
    TABLE.iter().flat_map(spelled).collect()
}

/// A pattern with its placeholders replaced, by everything that may stand there.
fn spell_out(pattern: &str, typed: &str) -> Vec<String> {
    let is_placeholder = |part: &&str| part.starts_with(|c: char| c.is_ascii_uppercase());
    let Some(place) = pattern.split('.').find(is_placeholder) else {
        return vec![pattern.to_owned()];
    };
    let words = words(place, typed).into_iter();
    words.flat_map(|word| spell_out(&pattern.replacen(place, &word, 1), typed)).collect()
}

/// What may stand in the place of a placeholder.
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
    ErrorClass::ALL.iter().map(|class| class.as_str()).chain(ERRNOS)
}

/// `200` or `5xx`.
fn is_status(text: &str) -> bool {
    let digits = text.strip_suffix("xx").unwrap_or(text);
    let length = if digits.len() == text.len() { 3 } else { 1 };
    digits.len() == length
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && matches!(digits.as_bytes()[0], b'1'..=b'9')
}

/// The number of characters to insert, delete or exchange to get from one word to the other.
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

/// The table for people.
pub(crate) fn help() -> String {
    let width = TABLE.iter().map(|entry| entry.pattern.len()).max().unwrap_or(0);
    let mut text = String::from(
        "An assertion is a name, a relation and a bound: --assert 'p99<20ms'. It can be\n\
         given several times; if one does not hold, or its name was not measured in the\n\
         run, keepwarm ends with exit code 10. Relations are <  <=  >  >=  ==  and !=. A\n\
         bound has the unit of its name:\n\n",
    );
    for unit in [Unit::Time, Unit::Count, Unit::Rate, Unit::Share, Unit::Number] {
        text.push_str(&format!("  {:<11} such as {}\n", unit.as_str(), unit.example()));
    }
    text.push('\n');
    for Entry { pattern, unit, meaning } in TABLE {
        let label = format!("  {pattern:<width$}  {:<11} ", unit.as_str());
        text.push_str(&paragraph(&label, meaning, COLUMNS));
    }
    let lists = [
        ("POINT", POINTS.join(", ")),
        ("MOMENT", MOMENTS.join(", ")),
        ("SIDE", SIDES.join(", ")),
        ("CLASS", classes().collect::<Vec<_>>().join(", ")),
    ];
    for (name, list) in lists {
        text.push('\n');
        text.push_str(&paragraph(&format!("  {name} is one of "), &list, COLUMNS));
    }
    text
}

#[cfg(test)]
pub(crate) fn every_name() -> Vec<Name> {
    candidates("").into_iter().map(|(text, unit)| Name { text, unit }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_lines_spell_the_same_name() {
        let mut names: Vec<String> = candidates("").into_iter().map(|(name, _)| name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn a_slip_is_offered_the_nearest_name_and_nonsense_nothing() {
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
    fn placeholders_stand_for_what_is_typed() {
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

    #[test]
    fn the_help_has_every_line_of_the_table() {
        let help = help();
        for entry in TABLE {
            assert!(help.contains(entry.pattern), "{}", entry.pattern);
        }
    }
}
