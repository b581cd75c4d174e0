//! The run for people: the verdict first, then latency, connections, errors.

use keepwarm_diagnose::thousands;

use crate::record::{AssertionOutcome, Distribution, HopRecord, RunRecord, Sides};
use crate::table::{Table, paragraph};

const COLUMNS: usize = 100;

pub(crate) fn render(record: &RunRecord, colour: bool) -> String {
    let mut text = String::new();
    text.push_str(&verdict(record, colour));
    text.push_str(&assertions(record, colour));
    text.push('\n');
    text.push_str(&latency(record));
    text.push('\n');
    text.push_str(&connections(record));
    for hop in &record.hops {
        text.push_str(&self::hop(hop));
    }
    text.push_str(&statuses(record));
    text.push_str(&errors(record));
    if !record.settings.open_loop {
        text.push_str(&closed_loop());
    }
    text
}

fn closed_loop() -> String {
    paragraph(
        "",
        "Closed loop: the next request of a connection waits for its last response, so a stall of \
         the server delays requests that are then never measured. --rate measures them.",
        COLUMNS,
    )
}

fn verdict(record: &RunRecord, colour: bool) -> String {
    let settings = &record.settings;
    let good = record.requests.failed == 0 && record.requests.unfinished == 0;
    let outcome = format!(
        "{} requests in {:.2} s, {} requests/s, {}",
        thousands(record.requests.completed),
        record.elapsed_s,
        thousands(record.requests_per_second.round() as u64),
        if good { "none failed".to_owned() } else { trouble(record) },
    );
    let outcome = match (colour, good) {
        (false, _) => outcome,
        (true, true) => format!("\x1b[1;32m{outcome}\x1b[0m"),
        (true, false) => format!("\x1b[1;31m{outcome}\x1b[0m"),
    };
    format!(
        "{outcome}\n{} {} at concurrency {}\n",
        settings.method, settings.url, settings.concurrency
    )
}

/// A line for each assertion, the broken ones with why.
fn assertions(record: &RunRecord, colour: bool) -> String {
    let mut text = String::new();
    for one in &record.assertions {
        let (word, paint, rest) = match one.outcome {
            AssertionOutcome::Held => ("holds", "32", one.value.as_deref()),
            AssertionOutcome::Failed => ("FAILS", "1;31", one.value.as_deref()),
            AssertionOutcome::NotAvailable => ("NOT AVAILABLE", "1;31", one.why.as_deref()),
        };
        let word = if colour { format!("\x1b[{paint}m{word}\x1b[0m") } else { word.to_owned() };
        text.push_str(&format!("{word}  {}: {}\n", one.assertion, rest.unwrap_or_default()));
    }
    text
}

fn trouble(record: &RunRecord) -> String {
    let mut parts = vec![format!("{} failed", thousands(record.requests.failed))];
    if record.requests.unfinished > 0 {
        parts.push(format!("{} unfinished", thousands(record.requests.unfinished)));
    }
    if record.requests.unsent > 0 {
        parts.push(format!("{} never sent", thousands(record.requests.unsent)));
    }
    parts.join(", ")
}

fn latency(record: &RunRecord) -> String {
    let mut table = Table::default();
    let names = ["p50", "p90", "p99", "p99.9", "max"];
    table.row("ms", names.map(str::to_owned));
    table.row("service time", quantiles(&record.latency_us));
    if record.settings.open_loop {
        table.row("response time", quantiles(&record.response_us));
        table.row("send lag", quantiles(&record.send_lag_us));
    }
    if record.connect_us.count > 0 {
        table.row("connect", quantiles(&record.connect_us));
    }
    table.render(str::to_owned)
}

fn quantiles(times: &Distribution) -> [String; 5] {
    [times.p50, times.p90, times.p99, times.p999, times.max].map(millis)
}

/// Microseconds as milliseconds; blank where there are too few samples.
pub(crate) fn millis(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), |micros| format!("{:.2}", micros as f64 / 1000.0))
}

fn connections(record: &RunRecord) -> String {
    let ledger = &record.connections;
    let per_connection = &ledger.requests_per_connection;
    let mut lines = vec![
        ("connections opened", thousands(ledger.opened)),
        ("requests on a reused one", thousands(ledger.reused)),
    ];
    if let (Some(min), Some(mean), Some(max)) =
        (per_connection.min, per_connection.mean, per_connection.max)
    {
        lines.push((
            "requests per connection",
            format!("{mean:.1} mean, {} to {}", thousands(min), thousands(max)),
        ));
    }
    lines.push(("still open at the end", thousands(ledger.still_open)));
    for (cause, count) in &ledger.closed_by_us {
        lines.push(("closed by us", format!("{}  {}", thousands(*count), cause)));
    }
    for (label, count) in [
        ("closed by the peer's FIN", ledger.peer_fin),
        ("closed by the peer's RST", ledger.peer_rst),
        ("closed after a timeout", ledger.timed_out),
        ("connects that timed out", ledger.timed_out_connecting),
    ] {
        if count > 0 {
            lines.push((label, thousands(count)));
        }
    }
    for (errno, count) in &ledger.failed {
        lines.push(("connects that failed", format!("{}  {errno}", thousands(*count))));
    }
    if let Some(imbalance) = &ledger.imbalance {
        lines.push(("LEDGER", imbalance.clone()));
    }
    aligned(&lines)
}

/// One watched port: what the kernel saw of it, and what is to be made of it.
fn hop(hop: &HopRecord) -> String {
    let whose = if hop.is_target { " (the target)" } else { "" };
    let closed = &hop.closed;
    let mut lines = vec![("connections opened", thousands(hop.opened))];
    if let (Some(mean), Some(max)) = (hop.requests.mean, hop.requests.max) {
        let most = thousands(max);
        lines.push(("requests per connection", format!("{mean:.1} mean, at most {most}")));
    }
    for (label, count) in [
        ("closed first by the client", closed.client_fin),
        ("closed first by the server", closed.server_fin),
        ("closed by both at once", closed.crossed_fin),
        ("reset by the client", closed.client_rst),
        ("reset by the server", closed.server_rst),
        ("closed, not known by whom", closed.unclassified),
        ("in CLOSE_WAIT at the end", hop.close_wait.sum()),
    ] {
        if count > 0 {
            lines.push((label, thousands(count)));
        }
    }
    let waits = &hop.time_wait;
    let side = |of: fn(&Sides) -> u64| {
        let [before, peak, after] =
            [&waits.before, &waits.peak, &waits.after].map(|sides| thousands(of(sides)));
        format!("{before} before, {peak} at the peak, {after} after")
    };
    lines.push(("TIME_WAIT, client's side", side(|sides| sides.client)));
    lines.push(("TIME_WAIT, server's side", side(|sides| sides.server)));
    if let (Some(range), Some(share)) = (hop.ports.range, hop.port_share()) {
        let peak = thousands(hop.ports.peak);
        let range = thousands(range.into());
        lines.push(("local ports used", format!("{peak} of {range} ({:.1} %)", share * 100.0)));
    }
    let mut text = format!("\nport {}{whose}\n{}", hop.port, aligned(&lines));
    let by_the_end = match hop.closed_by_the_end {
        0 => String::new(),
        count => format!(" {} of the closes are the end of this run.", thousands(count)),
    };
    let finding = format!("{}{by_the_end}", hop.finding.sentences());
    text.push_str(&paragraph(&format!("{}: ", hop.finding.code), &finding, COLUMNS));
    for note in hop.notes() {
        text.push_str(&paragraph("Note: ", &note, COLUMNS));
    }
    for doubt in hop.doubts() {
        text.push_str(&paragraph("INVALID: ", &doubt, COLUMNS));
    }
    text
}

fn statuses(record: &RunRecord) -> String {
    let odd = record.statuses.keys().any(|status| !(200..300).contains(status));
    if !odd {
        return String::new();
    }
    let lines: Vec<(String, String)> = record
        .statuses
        .iter()
        .map(|(status, count)| (format!("status {status}"), thousands(*count)))
        .collect();
    format!("\n{}", aligned(&lines))
}

fn errors(record: &RunRecord) -> String {
    let mut text = String::new();
    for error in &record.errors {
        let hint = error.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        let line = format!(
            "{} times, from {:.2} to {:.2} s: {}{hint}",
            thousands(error.count),
            error.first_s,
            error.last_s,
            error.example
        );
        text.push_str(&paragraph(&format!("{}  ", error.class), &line, COLUMNS));
    }
    if text.is_empty() { "\n".to_owned() } else { format!("\nerrors\n{text}\n") }
}

/// Label and value, the labels padded to the longest.
fn aligned<L: AsRef<str>>(lines: &[(L, String)]) -> String {
    let width = lines.iter().map(|(label, _)| label.as_ref().len()).max().unwrap_or(0);
    lines.iter().map(|(label, value)| format!("{:<width$}  {value}\n", label.as_ref())).collect()
}
