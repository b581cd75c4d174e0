//! Snapshots of every screen, made from the records in `keepwarm-record/records`.
//!
//! Owns no view: a change of a view shows here, for the reviewer. `CONTRIBUTING.md` says how to
//! accept one.

use clap::CommandFactory;
use insta::assert_snapshot;
use keepwarm_record::lab::LabRecord;
use keepwarm_record::load::LoadRecord;
use keepwarm_record::read::{AnyRecord, read};

use crate::args::Arguments;
use crate::show::Columns;
use crate::{explain, show};

/// A closed loop of 600 requests with two watched hops, of which one churns (D1), and three
/// assertions: one holds, one fails, one cannot be judged.
const HOPS: &[u8] = include_bytes!("../../keepwarm-record/records/load_hops.json");
/// An invalid open loop, with intervals, unsent requests, statuses, closes and errors.
const OPEN: &[u8] = include_bytes!("../../keepwarm-record/records/load_open.json");
/// A target that refuses connections.
const UNREACHABLE: &[u8] = include_bytes!("../../keepwarm-record/records/load_unreachable.json");
/// Four policies.
const LAB: &[u8] = include_bytes!("../../keepwarm-record/records/lab.json");

fn load(bytes: &[u8]) -> LoadRecord {
    match read(bytes).expect("a record").record {
        AnyRecord::Load(record) => *record,
        _ => panic!("another record"),
    }
}

fn lab() -> LabRecord {
    match read(LAB).expect("a record").record {
        AnyRecord::Lab(record) => *record,
        _ => panic!("another record"),
    }
}

/// The long help of a command, such as `serve data`, as a terminal of 80 columns shows it.
fn help(path: &str) -> String {
    let mut tool = Arguments::command().term_width(80);
    tool.build();
    let mut command = &mut tool;
    for name in path.split_whitespace() {
        command = command.find_subcommand_mut(name).expect(name);
    }
    command.render_long_help().to_string()
}

#[test]
fn load_text() {
    assert_snapshot!("load_with_hops", show::load::render(&load(HOPS), false, Columns::FILE));
    assert_snapshot!("load_open_loop", show::load::render(&load(OPEN), false, Columns::FILE));
    assert_snapshot!(
        "load_unreachable",
        show::load::render(&load(UNREACHABLE), false, Columns::FILE)
    );
}

#[test]
fn load_text_in_colour() {
    let text = show::load::render(&load(HOPS), true, Columns::FILE).replace('\u{1b}', "ESC");
    assert_snapshot!("load_in_colour", text);
}

#[test]
fn reports_fit_their_terminal() {
    for width in [60, 80, 120, 200] {
        let columns = Columns::terminal(width);
        let loads =
            [HOPS, OPEN, UNREACHABLE].map(|bytes| show::load::render(&load(bytes), false, columns));
        for text in loads.into_iter().chain([show::lab::render(&lab(), false, columns)]) {
            for line in text.lines() {
                assert!(line.chars().count() <= width, "{width} columns: {line}");
            }
        }
    }
}

#[test]
fn narrow_screens() {
    assert_snapshot!("lab_60", show::lab::render(&lab(), false, Columns::terminal(60)));
    assert_snapshot!("load_60", show::load::render(&load(OPEN), false, Columns::terminal(60)));
    assert_snapshot!("load_80", show::load::render(&load(HOPS), false, Columns::terminal(80)));
}

/// A load whose every answer is 502, as a front service with a dead upstream gives it.
#[test]
fn load_of_errors() {
    let mut record = load(HOPS);
    record.hops.clear();
    record.assertions.clear();
    record.statuses = [(502, record.requests.completed)].into();
    let record = record.with_hops(Vec::new());
    assert_snapshot!("load_of_errors", show::load::render(&record, false, Columns::FILE));
}

/// A lab in which most answers of one policy were 504.
#[test]
fn lab_of_errors() {
    let mut record = lab();
    record.upstream_timeout_s = Some(0.1);
    record.runs.truncate(2);
    let statuses = &mut record.runs[0].load.record.statuses;
    let all: u64 = statuses.values().sum();
    *statuses = [(200, 1), (504, all - 1)].into();
    let text = show::lab::render(&record.recounted(), false, Columns::terminal(80));
    assert_snapshot!("lab_of_errors", text);
}

#[test]
fn load_in_ab_layout() {
    assert_snapshot!("ab_closed_loop", show::ab::render(&load(HOPS)));
    assert_snapshot!("ab_open_loop", show::ab::render(&load(OPEN)));
}

#[test]
fn lab_text() {
    assert_snapshot!("lab", show::lab::render(&lab(), false, Columns::FILE));
}

#[test]
fn explain_pages() {
    assert_snapshot!("explain", explain::list());
    for topic in ["D2", "columns", "levels", "assertions"] {
        let page = explain::page(topic).expect(topic);
        assert_snapshot!(format!("explain_{topic}"), page);
    }
}

#[test]
fn help_at_80_columns() {
    let commands = [
        "",
        "load",
        "lab",
        "report",
        "compare",
        "merge",
        "watch",
        "explain",
        "serve",
        "serve data",
        "serve front",
    ];
    for command in commands {
        let text = help(command);
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= 80, "{command}: {widest} columns");
        let name = format!("help {command}").trim_end().replace(' ', "_");
        assert_snapshot!(name, text);
    }
}
