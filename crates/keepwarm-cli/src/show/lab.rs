//! The text of a lab: one table with the policies side by side, and a verdict for each policy.

use std::collections::BTreeSet;

use keepwarm_lab::Policy;
use keepwarm_record::lab::{LabRecord, LabRun};

use super::numbers::{counted, millis_or_dash, tenths, thousands};
use super::table::{Table, paragraph};
use super::{Columns, paint, printable, title};

/// A row of the table: its label, and the text of a policy's cell.
type Row = (&'static str, fn(&LabRun) -> String);

/// Label of the requests without a complete response.
const FAILED: &str = "failed";

const ROWS: [Row; 16] = [
    ("requests/s", |run| thousands(run.load.requests_per_second.round() as u64)),
    ("p50 ms", |run| millis_or_dash(run.load.latency_us.p50)),
    ("p90 ms", |run| millis_or_dash(run.load.latency_us.p90)),
    ("p99 ms", |run| millis_or_dash(run.load.latency_us.p99)),
    ("max ms", |run| millis_or_dash(run.load.latency_us.max)),
    (FAILED, |run| thousands(run.load.failed)),
    ("", |_| String::new()),
    ("upstream connections opened", |run| thousands(run.upstream.opened)),
    ("requests per connection", |run| {
        run.upstream.requests_per_connection.map_or_else(|| "-".to_owned(), tenths)
    }),
    ("closed first by the client", |run| thousands(run.upstream.closed_by_client)),
    ("closed first by the server", |run| thousands(run.upstream.closed_by_server)),
    ("reset", |run| thousands(run.upstream.reset)),
    ("TIME_WAIT after, client's side", |run| thousands(run.upstream.time_wait_client)),
    ("TIME_WAIT after, server's side", |run| thousands(run.upstream.time_wait_server)),
    ("ESTABLISHED after", |run| thousands(run.upstream.established)),
    ("share of the ephemeral ports", |run| {
        let share = run.upstream.port_share;
        share.map_or_else(|| "not known".to_owned(), |share| format!("{:.1} %", share * 100.0))
    }),
];

pub(crate) fn render(record: &LabRecord, colour: bool, columns: Columns) -> String {
    let mut text = paragraph("", &answer(record), columns.text);
    text.push_str(&heading(record, columns.text));
    text.push_str(
        &table(&record.runs).render_within(columns.table, |line| paint(line, "1", colour)),
    );
    if record.runs.iter().any(|run| run.load.record.errors() > 0) {
        let note = "Requests/s and times are those of good answers.";
        text.push_str(&paragraph("", note, columns.text));
    }
    for run in &record.runs {
        text.push('\n');
        text.push_str(&verdict(record, run, colour, columns.text));
    }
    if !record.runs.is_empty() {
        let next = "Next: keepwarm watch, which says the same of your own services.";
        text.push_str(&format!("\n{}", paragraph("", next, columns.text)));
    }
    text
}

/// The whole report in a sentence: each policy that is at fault, beside the best one.
pub(crate) fn answer(record: &LabRecord) -> String {
    let measured = || record.runs.iter().filter(|run| !run.means_nothing());
    let void: Vec<String> = record
        .runs
        .iter()
        .filter(|run| run.means_nothing())
        .map(|run| {
            let why = record.cause_of_errors(run).unwrap_or_default();
            format!("{} was not measured: {why}", printable(&run.policy))
        })
        .collect();
    let best = measured()
        .filter(|run| run.finding.healthy)
        .min_by_key(|run| (run.upstream.opened, std::cmp::Reverse(rate(run))));
    let faults = measured().filter(|run| !run.finding.healthy);
    let faults: Vec<String> = faults.map(|run| beside(run, best)).collect();
    let said: Vec<String> = void.into_iter().chain(faults).collect();
    match best {
        _ if !said.is_empty() => format!("{}.", said.join("; ")),
        Some(best) => format!(
            "Connections are kept: {} opened at most {} for {} (healthy).",
            if measured().count() == 1 { best.policy.as_str() } else { "every policy" },
            counted(measured().map(|run| run.upstream.opened).max().unwrap_or(0), "connection"),
            counted(best.load.record.requests.scheduled, "request"),
        ),
        None => "No policy was played.".to_owned(),
    }
}

fn rate(run: &LabRun) -> u64 {
    run.load.requests_per_second.round() as u64
}

/// A policy at fault, measured by the best one.
fn beside(run: &LabRun, best: Option<&LabRun>) -> String {
    let cause = title(&run.finding.code).unwrap_or(&run.finding.summary);
    let (policy, code) = (printable(&run.policy), &run.finding.code);
    let Some(best) = best.filter(|best| best.upstream.opened > 0 && rate(best) > 0) else {
        let opened = counted(run.upstream.opened, "connection");
        let requests = counted(run.load.record.requests.completed, "request");
        return format!("{policy} opened {opened} for {requests}: {cause} ({code})");
    };
    let times = run.upstream.opened as f64 / best.upstream.opened as f64;
    let times = if times < 10.0 { format!("{times:.1}") } else { format!("{times:.0}") };
    let served = run.load.requests_per_second / best.load.requests_per_second;
    format!(
        "{policy} opened {times} times as many connections as {} and served {served:.2} of its \
         requests/s: {cause} ({code})",
        best.policy
    )
}

/// The line about the load that all runs share.
fn heading(record: &LabRecord, columns: usize) -> String {
    let settings = record.runs.first().map(|run| &run.load.record.settings);
    let requests = settings.and_then(|settings| settings.requests).unwrap_or(0);
    let concurrency = settings.map_or(0, |settings| settings.concurrency);
    let line = format!(
        "{} requests, {concurrency} at once: load -> front service -> data service (upstream), on \
         loopback",
        thousands(requests)
    );
    format!("\n{}\n", paragraph("", &line, columns))
}

fn table(runs: &[LabRun]) -> Table {
    let mut table = Table::default();
    table.row("", runs.iter().map(|run| run.policy.clone()));
    for (label, cell) in ROWS {
        table.row(label, runs.iter().map(cell));
        if label == FAILED {
            answered(&mut table, runs);
        }
    }
    table
}

/// A row for each status that is not 2xx.
fn answered(table: &mut Table, runs: &[LabRun]) {
    let all = runs.iter().flat_map(|run| run.load.statuses.keys());
    let odd: BTreeSet<u16> = all.copied().filter(|status| !(200..300).contains(status)).collect();
    for status in odd {
        let count = |run: &LabRun| run.load.statuses.get(&status).copied().unwrap_or(0);
        table.row(&format!("answered {status}"), runs.iter().map(|run| thousands(count(run))));
    }
}

/// The verdict on a policy: the finding's title, and the next step last.
fn verdict(record: &LabRecord, run: &LabRun, colour: bool, columns: usize) -> String {
    let finding = &run.finding;
    let shade = if finding.healthy && !run.means_nothing() { "1;32" } else { "1;31" };
    let name = paint(&run.policy, shade, colour);
    let policy = Policy::ALL.into_iter().find(|policy| policy.name() == run.policy);
    let described = policy.map_or("a policy of another version", Policy::describe);
    let title = title(&finding.code).unwrap_or("no title");
    let mut text = paragraph("", &format!("{name} ({}): {title}", finding.code), columns);
    text.push_str(&paragraph("  Policy: ", described, columns));
    if let Some(why) = record.cause_of_errors(run) {
        let label = if run.means_nothing() { "  NOT MEASURED: " } else { "  Errors: " };
        text.push_str(&paragraph(label, &format!("{}.", printable(&why)), columns));
    }
    text.push_str(&paragraph("  ", &finding.sentences(), columns));
    for note in &run.notes {
        text.push_str(&paragraph("  Note: ", note, columns));
    }
    for doubt in &run.doubts {
        text.push_str(&paragraph("  INVALID: ", doubt, columns));
    }
    if !finding.healthy {
        text.push_str(&format!("  Next: keepwarm explain {}\n", finding.code));
    }
    text
}
