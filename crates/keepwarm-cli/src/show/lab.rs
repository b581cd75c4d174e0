//! The text of a lab: one table with the policies side by side, and a verdict for each policy.

use keepwarm_lab::Policy;
use keepwarm_record::lab::{LabRecord, LabRun};

use super::numbers::{millis_or_dash, thousands};
use super::paint;
use super::table::{Table, paragraph};

const COLUMNS: usize = 100;

/// A row of the table: its label, and the text of a policy's cell.
type Row = (&'static str, fn(&LabRun) -> String);

const ROWS: [Row; 16] = [
    ("requests/s", |run| thousands(run.load.requests_per_second.round() as u64)),
    ("p50 ms", |run| millis_or_dash(run.load.latency_us.p50)),
    ("p90 ms", |run| millis_or_dash(run.load.latency_us.p90)),
    ("p99 ms", |run| millis_or_dash(run.load.latency_us.p99)),
    ("max ms", |run| millis_or_dash(run.load.latency_us.max)),
    ("failed", |run| thousands(run.load.failed)),
    ("", |_| String::new()),
    ("upstream connections opened", |run| thousands(run.upstream.opened)),
    ("requests per connection", |run| {
        run.upstream
            .requests_per_connection
            .map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1}"))
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

pub(crate) fn render(record: &LabRecord, colour: bool) -> String {
    let mut text = heading(record);
    text.push_str(&table(&record.runs).render(|line| paint(line, "1", colour)));
    for run in &record.runs {
        text.push('\n');
        text.push_str(&verdict(run, colour));
    }
    text
}

/// The line about the load that all runs share.
fn heading(record: &LabRecord) -> String {
    let settings = record.runs.first().map(|run| &run.load.record.settings);
    let requests = settings.and_then(|settings| settings.requests).unwrap_or(0);
    let concurrency = settings.map_or(0, |settings| settings.concurrency);
    format!(
        "\n{} requests, {concurrency} at once: load -> front service -> data service (upstream), \
         on loopback\n\n",
        thousands(requests)
    )
}

fn table(runs: &[LabRun]) -> Table {
    let mut table = Table::default();
    table.row("", runs.iter().map(|run| run.policy.clone()));
    for (label, cell) in ROWS {
        table.row(label, runs.iter().map(cell));
    }
    table
}

fn verdict(run: &LabRun, colour: bool) -> String {
    let finding = &run.finding;
    let shade = if finding.healthy { "1;32" } else { "1;31" };
    let name = paint(&run.policy, shade, colour);
    let policy = Policy::ALL.into_iter().find(|policy| policy.name() == run.policy);
    let described = policy.map_or("a policy of another version", Policy::describe);
    let mut text = format!("{name} ({}): {described}\n", finding.code);
    text.push_str(&paragraph("  ", &finding.sentences(), COLUMNS));
    for note in &run.notes {
        text.push_str(&paragraph("  Note: ", note, COLUMNS));
    }
    for doubt in &run.doubts {
        text.push_str(&paragraph("  INVALID: ", doubt, COLUMNS));
    }
    text
}
