//! The page of a lab: the policies side by side, the story in figures.

use keepwarm_record::lab::LabRecord;
use keepwarm_record::numbers::thousands;
use serde_json::Value;

use super::figures::{Figures, Unit};
use super::load;
use super::write::{Chart, Html, bar_cell, escape, text_cell};
use crate::show;

const STORY: [&str; 3] = [
    "A service under load calls another service for each request. Between them stands an HTTP client, and \
     the policies differ in nothing but how that client is built: what it keeps of its connections.",
    "A connection that is thrown away costs a handshake now, and a TIME_WAIT for 60 seconds at the side that \
     closed first. At a client each TIME_WAIT holds a local port: at a few hundred closes a second the ports \
     run out, and connect(2) fails with \u{201c}cannot assign requested address\u{201d}.",
    "The figures are the kernel's account of the connections between the two services, and the load's own \
     account of its requests.",
];

pub(super) fn body(record: &LabRecord, value: &Value) -> Html {
    let mut html = Html::new();
    html.title(&show::lab::answer(record));
    STORY.iter().for_each(|paragraph| html.paragraph(paragraph));
    table(&mut html, record, value);
    bars(&mut html, "Upstream connections opened", record, |at| record.runs[at].upstream.opened);
    bars(&mut html, "TIME_WAITs that the run left at the client", record, |at| {
        record.runs[at].upstream.time_wait_client
    });
    let all: Vec<String> = (0..record.runs.len()).map(|at| at.to_string()).collect();
    html.heading("Latency of each policy");
    html.chart(&Chart {
        name: "curve",
        of: &all.join(" "),
        title: "Percentile curves",
        says: "How long the slowest requests took at the front service, by policy.",
        more: "",
    });
    for (at, run) in record.runs.iter().enumerate() {
        html.heading(&run.policy);
        let shade = if run.finding.healthy && !run.means_nothing() { "good" } else { "bad" };
        let mut said: Vec<String> = record.cause_of_errors(run).into_iter().collect();
        said.push(run.finding.sentences());
        said.extend(run.notes.iter().map(|note| format!("Note: {note}.")));
        said.extend(run.doubts.iter().map(|doubt| format!("INVALID: {doubt}.")));
        html.verdict(shade, &run.finding.code, &said);
        let root = format!("/runs/{at}/load/record");
        load::hops(&mut html, &run.load.record, &root, value, &at.to_string());
    }
    html
}

fn table(html: &mut Html, record: &LabRecord, value: &Value) {
    let roots: Vec<String> = (0..record.runs.len()).map(|at| format!("/runs/{at}")).collect();
    let figures: Vec<Figures<'_>> = roots.iter().map(|root| Figures::new(value, 0, root)).collect();
    let rows: [(&str, &str, Unit); 15] = [
        ("requests/s", "/load/requests_per_second", Unit::Rate),
        ("p50", "/load/latency_us/p50", Unit::Millis),
        ("p90", "/load/latency_us/p90", Unit::Millis),
        ("p99", "/load/latency_us/p99", Unit::Millis),
        ("max", "/load/latency_us/max", Unit::Millis),
        ("failed", "/load/failed", Unit::Count),
        ("answered 4xx or 5xx", "/load/http_errors", Unit::Count),
        ("upstream connections opened", "/upstream/opened", Unit::Count),
        ("requests per connection", "/upstream/requests_per_connection", Unit::Decimal),
        ("closed first by the client", "/upstream/closed_by_client", Unit::Count),
        ("closed first by the server", "/upstream/closed_by_server", Unit::Count),
        ("reset", "/upstream/reset", Unit::Count),
        ("TIME_WAIT after, client's side", "/upstream/time_wait_client", Unit::Count),
        ("TIME_WAIT after, server's side", "/upstream/time_wait_server", Unit::Count),
        ("share of the ephemeral ports", "/upstream/port_share", Unit::Share),
    ];
    let row = |(label, path, unit): (&str, &str, Unit)| {
        let cells = figures.iter().map(|figures| figures.show(unit, path));
        std::iter::once(escape(label)).chain(cells).collect()
    };
    let rows: Vec<Vec<String>> = rows.into_iter().map(row).collect();
    let head: Vec<&str> =
        std::iter::once("").chain(record.runs.iter().map(|run| run.policy.as_str())).collect();
    html.heading("Side by side");
    html.table("The policies under the same load", &head, &rows);
}

fn bars(html: &mut Html, title: &str, record: &LabRecord, of: impl Fn(usize) -> u64) {
    let most = (0..record.runs.len()).map(&of).max().unwrap_or(0);
    let row = |(at, run): (usize, &keepwarm_record::lab::LabRun)| {
        vec![
            escape(&run.policy),
            thousands(of(at)),
            bar_cell(of(at), most),
            text_cell(&run.finding.code),
        ]
    };
    let rows: Vec<Vec<String>> = record.runs.iter().enumerate().map(row).collect();
    html.table(title, &["policy", "count", "", "finding"], &rows);
}
