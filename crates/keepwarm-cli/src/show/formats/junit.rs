//! A load as a test suite in the XML that JUnit made common: a test case for the measurement itself,
//! for each assertion, and for a condition that aborted the run.

use std::fmt::Write as _;

use keepwarm_record::assertion::AssertionOutcome;
use keepwarm_record::load::{LoadRecord, Trust};

use super::outcome;

pub(crate) fn render(record: &LoadRecord) -> String {
    let mut cases = vec![measurement(record)];
    cases.extend(record.aborted.iter().map(|why| {
        let failure = format!("<failure type=\"aborted\" message=\"{}\"/>", escaped(why));
        case("not aborted", &failure)
    }));
    for one in &record.assertions {
        let inside = match (one.outcome, one.failure()) {
            (AssertionOutcome::Held, _) | (_, None) => String::new(),
            (_, Some(why)) => {
                format!("<failure type=\"assertion\" message=\"{}\"/>", escaped(&why))
            }
        };
        cases.push(case(&one.assertion, &inside));
    }
    let count = |what: &str| cases.iter().filter(|case| case.contains(what)).count();
    let (errors, failures) = (count("<error "), count("<failure "));
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let _ = writeln!(
        text,
        "  <testsuite name=\"keepwarm load\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" \
         skipped=\"0\" time=\"{:.3}\" timestamp=\"{}\">",
        cases.len(),
        record.elapsed_s,
        timestamp(record.started_unix_ms / 1000),
    );
    text.push_str("    <properties>\n");
    let settings = [
        ("url", crate::secrets::url(&record.settings.url)),
        ("method", record.settings.method.clone()),
        ("version", record.machine.version.clone()),
        ("command", record.command.join(" ")),
    ];
    let labels = record.labels.iter().map(|(name, value)| (name.as_str(), value.clone()));
    for (name, value) in settings.into_iter().chain(labels) {
        let (name, value) = (escaped(name), escaped(&value));
        let _ = writeln!(text, "      <property name=\"{name}\" value=\"{value}\"/>");
    }
    text.push_str("    </properties>\n");
    cases.iter().for_each(|case| text.push_str(case));
    let rows = record.by_request.iter().map(|row| {
        let point = |point: Option<u64>| {
            point.map_or_else(|| "-".to_owned(), |point| format!("{:.2} ms", point as f64 / 1000.0))
        };
        format!(
            "\n{}: {} completed, {} failed, {} answered 4xx or 5xx, {} missed, p50 {}, p99 {}",
            row.name,
            row.completed,
            row.failed,
            row.http_errors,
            row.misses,
            point(row.latency_us.p50),
            point(row.latency_us.p99)
        )
    });
    let said: Vec<String> = std::iter::once(outcome(record)).chain(rows).collect();
    let said: Vec<String> = said.iter().map(|line| escaped(line.trim())).collect();
    let _ = writeln!(text, "    <system-out>{}</system-out>", said.join("\n"));
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

/// The test case of the measurement: whether there are numbers, and whether they can be trusted.
fn measurement(record: &LoadRecord) -> String {
    let error =
        |kind: &str, why: &str| format!("<error type=\"{kind}\" message=\"{}\"/>", escaped(why));
    let inside = if record.is_unreachable() {
        let why = record.errors.first().map(|error| error.example.as_str());
        error("unreachable", why.unwrap_or("no connection could be opened"))
    } else if record.verdict.trust == Trust::Invalid {
        error("invalid", &record.verdict.reasons.join("; "))
    } else if let Some(sum) = record.imbalance() {
        error("invalid", &sum)
    } else if record.wanted() == 0 && record.requests.scheduled > 0 {
        error("answers", "no request was answered with 2xx or 3xx")
    } else {
        String::new()
    };
    case("measurement", &inside)
}

fn case(name: &str, inside: &str) -> String {
    let name = escaped(name);
    match inside {
        "" => format!("    <testcase classname=\"keepwarm.load\" name=\"{name}\"/>\n"),
        inside => format!(
            "    <testcase classname=\"keepwarm.load\" name=\"{name}\">{inside}</testcase>\n"
        ),
    }
}

/// Escapes text for XML, and drops characters that XML 1.0 has no place for.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            letter if letter.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&letter) => {
                escaped.push('\u{fffd}');
            }
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// Writes seconds since 1970 as a date and time in UTC (ISO 8601). The date comes from the days by
/// the civil calendar, which repeats every 400 years.
fn timestamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of the year 0, so that a leap day is the last of its year.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    let (hours, minutes) = (rest / 3600, rest / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{:02}", rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_civil() {
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_795_995_770, "2026-11-29T23:42:50"),
        ] {
            assert_eq!(timestamp(seconds), date);
        }
    }

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(
            escaped("<a b=\"c\">&\u{1}\n'"),
            "&lt;a b=&quot;c&quot;&gt;&amp;\u{fffd} &apos;"
        );
    }
}
