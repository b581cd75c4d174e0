//! The experiment for people: one table, policies side by side, and under it a verdict for each.

use super::play::Play;
use crate::args::LabOptions;
use crate::load::millis;
use crate::show::numbers::thousands;
use crate::table::{Table, paragraph};

const COLUMNS: usize = 100;

/// A row of the table: its label, and how a policy's cell reads.
type Row = (&'static str, fn(&Play) -> String);

const ROWS: [Row; 16] = [
    ("requests/s", |play| thousands(play.requests_per_second().round() as u64)),
    ("p50 ms", |play| millis(play.load.latency_us.p50)),
    ("p90 ms", |play| millis(play.load.latency_us.p90)),
    ("p99 ms", |play| millis(play.load.latency_us.p99)),
    ("max ms", |play| millis(play.load.latency_us.max)),
    ("failed", |play| thousands(play.failed())),
    ("", |_| String::new()),
    ("upstream connections opened", |play| thousands(play.upstream.opened)),
    ("requests per connection", |play| {
        play.upstream.requests.mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1}"))
    }),
    ("closed first by the client", |play| thousands(play.upstream.closed.client_fin)),
    ("closed first by the server", |play| thousands(play.upstream.closed.server_fin)),
    ("reset", |play| thousands(play.upstream.closed.reset())),
    ("TIME_WAIT after, client's side", |play| thousands(play.upstream.time_wait.entered.client)),
    ("TIME_WAIT after, server's side", |play| thousands(play.upstream.time_wait.entered.server)),
    ("ESTABLISHED after", |play| thousands(play.upstream.established.client)),
    ("share of the ephemeral ports", |play| {
        let share = play.port_share();
        share.map_or_else(|| "not known".to_owned(), |share| format!("{:.1} %", share * 100.0))
    }),
];

pub(crate) fn render(options: &LabOptions, plays: &[Play], colour: bool) -> String {
    let mut text = format!(
        "\n{} requests, {} at once: load -> front service -> data service (upstream), on loopback\n\n",
        thousands(options.requests),
        options.concurrency
    );
    text.push_str(&table(plays).render(|line| emphasise(line, "1", colour)));
    for play in plays {
        text.push('\n');
        text.push_str(&verdict(play, colour));
    }
    text
}

fn table(plays: &[Play]) -> Table {
    let mut table = Table::default();
    table.row("", plays.iter().map(|play| play.policy.to_string()));
    for (label, cell) in ROWS {
        table.row(label, plays.iter().map(cell));
    }
    table
}

fn verdict(play: &Play, colour: bool) -> String {
    let finding = &play.upstream.finding;
    let paint = if finding.healthy { "1;32" } else { "1;31" };
    let name = emphasise(play.policy.name(), paint, colour);
    let mut text = format!("{name} ({}): {}\n", finding.code, play.policy.describe());
    text.push_str(&paragraph("  ", &finding.sentences(), COLUMNS));
    for note in play.upstream.notes() {
        text.push_str(&paragraph("  Note: ", &note, COLUMNS));
    }
    for doubt in play.doubts() {
        text.push_str(&paragraph("  INVALID: ", &doubt, COLUMNS));
    }
    text
}

fn emphasise(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
