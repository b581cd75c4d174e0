//! The run for people: the verdict first, then latency, connections, errors.

use keepwarm_diagnose::thousands;
use keepwarm_load::{Histogram, Plan, Summary};

use crate::table::{Table, paragraph};

const COLUMNS: usize = 100;

pub(crate) fn render(plan: &Plan, summary: &Summary, colour: bool) -> String {
    let mut text = String::new();
    text.push_str(&verdict(plan, summary, colour));
    text.push('\n');
    text.push_str(&latency(summary));
    text.push('\n');
    text.push_str(&connections(summary));
    text.push_str(&statuses(summary));
    text.push_str(&errors(summary));
    text.push_str(&paragraph(
        "",
        "Closed loop: the next request of a connection waits for its last response, so a stall of \
         the server delays requests that are then never measured.",
        COLUMNS,
    ));
    text
}

fn verdict(plan: &Plan, summary: &Summary, colour: bool) -> String {
    let good = summary.failed == 0 && summary.unfinished == 0;
    let outcome = format!(
        "{} requests in {:.2} s, {} requests/s, {}",
        thousands(summary.completed),
        summary.elapsed.as_secs_f64(),
        thousands(summary.requests_per_second().round() as u64),
        if good { "none failed".to_owned() } else { trouble(summary) },
    );
    let outcome = match (colour, good) {
        (false, _) => outcome,
        (true, true) => format!("\x1b[1;32m{outcome}\x1b[0m"),
        (true, false) => format!("\x1b[1;31m{outcome}\x1b[0m"),
    };
    format!("{outcome}\n{} {} at concurrency {}\n", plan.method(), plan.url(), plan.concurrency())
}

fn trouble(summary: &Summary) -> String {
    let mut parts = vec![format!("{} failed", thousands(summary.failed))];
    if summary.unfinished > 0 {
        parts.push(format!("{} unfinished", thousands(summary.unfinished)));
    }
    if summary.unsent > 0 {
        parts.push(format!("{} never sent", thousands(summary.unsent)));
    }
    parts.join(", ")
}

fn latency(summary: &Summary) -> String {
    let mut table = Table::default();
    let names = ["p50", "p90", "p99", "p99.9", "max"];
    table.row("ms", names.map(str::to_owned));
    table.row("service time", quantiles(&summary.latency));
    if summary.connect_time.count() > 0 {
        table.row("connect", quantiles(&summary.connect_time));
    }
    table.render(str::to_owned)
}

fn quantiles(histogram: &Histogram) -> [String; 5] {
    [histogram.p50(), histogram.p90(), histogram.p99(), histogram.p999(), histogram.max()]
        .map(millis)
}

/// Microseconds as milliseconds; blank where there are too few samples.
pub(crate) fn millis(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), |micros| format!("{:.2}", micros as f64 / 1000.0))
}

fn connections(summary: &Summary) -> String {
    let ledger = &summary.ledger;
    let per_connection = summary.requests_per_connection();
    let mut lines = vec![
        ("connections opened", thousands(ledger.opened)),
        ("requests on a reused one", thousands(ledger.reused)),
    ];
    if let (Some(min), Some(mean), Some(max)) =
        (per_connection.min(), per_connection.mean(), per_connection.max())
    {
        lines.push((
            "requests per connection",
            format!("{mean:.1} mean, {} to {}", thousands(min), thousands(max)),
        ));
    }
    lines.push(("still open at the end", thousands(ledger.still_open)));
    for (cause, count) in &ledger.closed_by_us {
        lines.push(("closed by us", format!("{}  {}", thousands(*count), cause.as_str())));
    }
    for (label, count) in [
        ("closed by the peer's FIN", ledger.peer_fin),
        ("closed by the peer's RST", ledger.peer_rst),
        ("closed after a timeout", ledger.timed_out),
        ("connects that timed out", ledger.connect_timed_out),
    ] {
        if count > 0 {
            lines.push((label, thousands(count)));
        }
    }
    for (errno, count) in &ledger.connect_failed {
        lines.push(("connects that failed", format!("{}  {errno}", thousands(*count))));
    }
    if let Err(imbalance) = ledger.check() {
        lines.push(("LEDGER", imbalance.to_string()));
    }
    aligned(&lines)
}

fn statuses(summary: &Summary) -> String {
    let odd = summary.statuses.keys().any(|status| !(200..300).contains(status));
    if !odd {
        return String::new();
    }
    let lines: Vec<(String, String)> = summary
        .statuses
        .iter()
        .map(|(status, count)| (format!("status {status}"), thousands(*count)))
        .collect();
    format!("\n{}", aligned(&lines))
}

fn errors(summary: &Summary) -> String {
    let mut text = String::new();
    for (key, stat) in summary.errors.iter() {
        let hint = key.errno.and_then(keepwarm_load::Errno::hint);
        let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let line = format!(
            "{} times, from {:.2} to {:.2} s: {}{hint}",
            thousands(stat.count),
            stat.first.as_secs_f64(),
            stat.last.as_secs_f64(),
            stat.example
        );
        text.push_str(&paragraph(&format!("{}  ", key.class), &line, COLUMNS));
    }
    if text.is_empty() { "\n".to_owned() } else { format!("\nerrors\n{text}\n") }
}

/// Label and value, the labels padded to the longest.
fn aligned<L: AsRef<str>>(lines: &[(L, String)]) -> String {
    let width = lines.iter().map(|(label, _)| label.as_ref().len()).max().unwrap_or(0);
    lines.iter().map(|(label, value)| format!("{:<width$}  {value}\n", label.as_ref())).collect()
}
