//! The page of a running load: the numbers so far, renewed in place, and at the end the report.
//!
//! Owns the parts that differ from the page of a finished load. `load --serve` serves them.

use keepwarm_record::load::LoadRecord;
use serde_json::{Value, json};

use super::figures::Figures;
use super::write::{Html, escape};
use super::{Content, Document, Live, data, footer, frame, load, main_part, value_of};
use crate::show;

const NO_VERDICT: &str = "The load is running. These are its counts so far; times are known to within 3.2 %. \
                          The verdict, the assertions and single requests come when it has ended.";

const DRAINING: &str = "The load has ended. The sockets of the watched ports are sampled until none is in \
                        TIME_WAIT any more, or the time of --drain is over; the verdict, the assertions and \
                        single requests come then.";

/// A state of a load that is served.
pub(crate) enum LiveRecord<'a> {
    /// The load has not begun: it waits, or warms up.
    Waiting(&'a LoadRecord),
    /// The load goes on: its counts so far.
    Running(&'a LoadRecord),
    /// The load has ended, and the sockets of its hops drain.
    Draining(&'a LoadRecord),
    /// The record of the load, which is over.
    Over(&'a LoadRecord),
}

/// Writes the part of the page that is renewed: the text, and the record for the charts. `edition`
/// is a number of its own for each state.
pub(crate) fn part(state: &LiveRecord<'_>, edition: u64) -> String {
    let (record, over) = match state {
        LiveRecord::Waiting(record)
        | LiveRecord::Running(record)
        | LiveRecord::Draining(record) => (*record, false),
        LiveRecord::Over(record) => (*record, true),
    };
    let value = value_of(record);
    let body = match state {
        LiveRecord::Waiting(_) => waiting(record),
        LiveRecord::Running(_) => so_far(record, &value, NO_VERDICT),
        LiveRecord::Draining(_) => so_far(record, &value, DRAINING),
        LiveRecord::Over(_) => load::body(record, &value),
    };
    let content = Content {
        kind: "load",
        names: vec!["the load".to_owned()],
        title: String::new(),
        body,
        documents: vec![Document { file: "run.json", json: value.to_string() }],
        course: None,
        live: Some(json!({ "edition": edition, "over": over })),
    };
    format!("{}{}", main_part(&content), data(&content))
}

/// Writes the page around its part.
pub(crate) fn page(url: &str, part: &str) -> String {
    let note = "<p id=\"live\" class=\"live\" role=\"status\">Live: the page renews itself each second.</p>\n";
    let title = escape(&format!("keepwarm: load on {url}, live"));
    let footer = footer(Live::Yes);
    frame(&title, &format!("{note}{part}{footer}"), Live::Yes)
}

fn waiting(record: &LoadRecord) -> Html {
    let mut html = Html::new();
    html.title("The load has not begun");
    html.of_kind("quiet what", &show::load::what(record));
    html
}

fn so_far(record: &LoadRecord, value: &Value, note: &str) -> Html {
    let mut html = Html::new();
    html.title(&show::load::outcome_sentence(record));
    html.of_kind("quiet what", &show::load::what(record));
    html.paragraph(note);
    let figures = Figures::new(value, 0, "");
    load::tiles(&mut html, record, &figures);
    load::latency(&mut html, record, &figures, "0");
    load::connections(&mut html, record, &figures, "0");
    load::hops(&mut html, record, "", value, "0");
    load::errors(&mut html, record, "0");
    html
}
