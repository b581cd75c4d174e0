//! The details of a load's report: expectations, rows by request and by address, the slowest
//! requests and the first that failed.

use keepwarm_record::load::{Distribution, LoadRecord, NotableRequest};
use keepwarm_record::numbers::share_of;

use super::numbers::{counted, millis, millis_or_dash, thousands};
use super::table::{Table, paragraph};
use super::{Columns, paint, printable};

/// Characters of a name that a table has room for.
const NAME: usize = 28;

/// A line for each expectation.
pub(super) fn expectations(record: &LoadRecord, colour: bool, columns: usize) -> String {
    let mut text = String::new();
    for one in &record.expectations {
        let typed = printable(&one.expectation);
        if one.misses == 0 {
            text.push_str(&paragraph(
                &format!("{}  ", paint("met", "32", colour)),
                &typed,
                columns,
            ));
            continue;
        }
        let share = share_of(one.misses, record.requests.completed);
        let example = one.example.as_deref().map(|example| format!("; the first: {example}"));
        let example = example.unwrap_or_default();
        let said = format!("{typed}: {}, {share}{example}", counted(one.misses, "response"));
        let label = format!("{}  ", paint("MISSED", "1;31", colour));
        text.push_str(&paragraph(&label, &printable(&said), columns));
    }
    text
}

/// A table of the requests by name.
pub(super) fn by_request(record: &LoadRecord, colour: bool, columns: Columns) -> String {
    let mut table = Table::default();
    let names = ["completed", "4xx 5xx", "failed", "missed", "p50 ms", "p99 ms", "max ms"];
    table.row("requests", names.map(str::to_owned));
    for row in &record.by_request {
        let counts = [row.completed, row.http_errors, row.failed, row.misses].map(thousands);
        table.row(&cut(&row.name), counts.into_iter().chain(times(&row.latency_us)));
    }
    if record.misses.is_none() {
        table.remove_column("missed");
    }
    finish(table, record.by_request.is_empty(), colour, columns)
}

/// A table of the connections and requests by address.
pub(super) fn by_address(record: &LoadRecord, colour: bool, columns: Columns) -> String {
    let mut table = Table::default();
    let names = ["opened", "no connect", "completed", "4xx 5xx", "failed", "p50 ms", "p99 ms"];
    table.row("address", names.map(str::to_owned));
    for row in &record.by_address {
        let counts = [row.opened, row.connects_failed, row.completed, row.http_errors, row.failed];
        let times = times(&row.latency_us).into_iter().take(2);
        table.row(&cut(&row.address), counts.map(thousands).into_iter().chain(times));
    }
    finish(table, record.by_address.is_empty(), colour, columns)
}

fn times(times: &Distribution) -> [String; 3] {
    [times.p50, times.p99, times.max].map(millis_or_dash)
}

fn finish(mut table: Table, is_empty: bool, colour: bool, columns: Columns) -> String {
    if is_empty {
        return String::new();
    }
    table.narrow(columns.table, &["max ms", "no connect", "4xx 5xx", "missed", "p50 ms"]);
    format!("\n{}", table.render(|head| paint(head, "1", colour)))
}

/// The slowest requests, and the first that failed.
pub(super) fn notables(record: &LoadRecord, colour: bool, columns: Columns) -> String {
    let mut text = table_of("slowest", &record.slowest, colour, columns);
    text.push_str(&table_of("first failures", &record.first_failures, colour, columns));
    text
}

fn table_of(title: &str, all: &[NotableRequest], colour: bool, columns: Columns) -> String {
    if all.is_empty() {
        return String::new();
    }
    let mut table = Table::default();
    let names = ["at s", "ms", "answer", "connection", "request on it", "address"];
    table.row(title, names.map(str::to_owned));
    for one in all {
        let answer = one.status.map(|status| status.to_string()).or_else(|| one.class.clone());
        let nth = match one.nth {
            0 => "not sent".to_owned(),
            1 => "1 (new)".to_owned(),
            nth => format!("{} (reused)", thousands(nth)),
        };
        let connection = match one.connection {
            0 => "-".to_owned(),
            connection => thousands(connection),
        };
        let cells = [
            format!("{:.3}", one.at_s),
            millis(one.response_us.unwrap_or(one.service_us)),
            answer.unwrap_or_default(),
            connection,
            nth,
            one.address.clone().unwrap_or_default(),
        ];
        table.row(&cut(&one.request), cells.map(|cell| printable(&cell).into_owned()));
    }
    if all.iter().all(|one| one.address.is_none()) {
        table.remove_column("address");
    }
    table.narrow(columns.table, &["address", "request on it"]);
    let mut text = format!("\n{}", table.render(|head| paint(head, "1", colour)));
    for one in all {
        if let Some(trace) = &one.traceparent {
            text.push_str(&format!("  at {:.3} s  traceparent: {}\n", one.at_s, printable(trace)));
        }
    }
    text
}

/// Cuts a name to the room of a table.
fn cut(name: &str) -> String {
    let name = printable(name);
    if name.chars().count() <= NAME {
        return name.into_owned();
    }
    name.chars().take(NAME - 1).chain(['…']).collect()
}
