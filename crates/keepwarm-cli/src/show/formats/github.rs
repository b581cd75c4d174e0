//! A load in a GitHub workflow: annotations, which are lines of a command language on stdout, and a
//! step summary in Markdown.

use std::fmt::Write as _;

use keepwarm_record::assertion::AssertionOutcome;
use keepwarm_record::load::{Distribution, LoadRecord, Trust};
use keepwarm_record::numbers::{millis, thousands};

use super::{outcome, trust};

/// Writes an annotation for each assertion that does not hold, for what speaks against the numbers,
/// and for the outcome.
pub(crate) fn annotations(record: &LoadRecord) -> String {
    let mut text = String::new();
    let mut annotation = |kind: &str, said: &str| {
        let _ = writeln!(text, "::{kind} title=keepwarm load::{}", escaped(said));
    };
    annotation("notice", &outcome(record));
    if record.is_unreachable() {
        let why = record.errors.first().map(|error| error.example.as_str());
        annotation("error", why.unwrap_or("no connection could be opened"));
        return text;
    }
    let kind = if record.verdict.trust == Trust::Invalid { "error" } else { "warning" };
    for reason in &record.verdict.reasons {
        annotation(kind, reason);
    }
    if let Some(why) = &record.aborted {
        annotation("error", &format!("the run was aborted: {why}"));
    }
    for why in record.assertions.iter().filter_map(|one| one.failure()) {
        annotation("error", &why);
    }
    text
}

/// Escapes the message of an annotation.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Writes the step summary.
pub(crate) fn summary(record: &LoadRecord) -> String {
    let settings = &record.settings;
    let mut text = format!(
        "### keepwarm load: {} {}\n\n{}\n\nThe load's own numbers: {}.\n",
        plain(&settings.method),
        plain(&crate::secrets::url(&settings.url)),
        plain(&outcome(record)),
        trust(record),
    );
    for reason in &record.verdict.reasons {
        let _ = writeln!(text, "* {}", plain(reason));
    }
    if !record.assertions.is_empty() {
        text.push_str("\n| assertion | outcome | value |\n|---|---|---|\n");
        for one in &record.assertions {
            let outcome = match one.outcome {
                AssertionOutcome::Held => "holds",
                AssertionOutcome::Failed => "**fails**",
                AssertionOutcome::NotAvailable => "**not available**",
            };
            let value = one.value.as_deref().or(one.why.as_deref()).unwrap_or_default();
            let _ = writeln!(text, "| {} | {outcome} | {} |", plain(&one.assertion), plain(value));
        }
    }
    text.push_str("\n| ms | p50 | p90 | p99 | p99.9 | max |\n|---|--:|--:|--:|--:|--:|\n");
    times(&mut text, "service time", &record.latency_us);
    if settings.open_loop {
        times(&mut text, "response time", &record.response_us);
    }
    for row in &record.by_request {
        times(&mut text, &format!("{} ({})", row.name, thousands(row.completed)), &row.latency_us);
    }
    let connections = &record.connections;
    let _ = writeln!(
        text,
        "\n{} connections opened, {} requests on a reused one.",
        thousands(connections.opened),
        thousands(connections.reused)
    );
    text
}

fn times(text: &mut String, label: &str, times: &Distribution) {
    let _ = write!(text, "| {} |", plain(label));
    for point in [times.p50, times.p90, times.p99, times.p999, times.max] {
        let _ = write!(text, " {} |", point.map_or_else(|| "-".to_owned(), millis));
    }
    text.push('\n');
}

/// Escapes what Markdown or HTML would obey.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '&' => plain.push_str("&amp;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' | '~' => plain.extend(['\\', letter]),
            letter if letter.is_control() => plain.push(' '),
            letter => plain.push(letter),
        }
    }
    plain
}
