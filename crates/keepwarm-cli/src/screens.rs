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
    assert_snapshot!("load_with_hops", show::load::render(&load(HOPS), false));
    assert_snapshot!("load_open_loop", show::load::render(&load(OPEN), false));
    assert_snapshot!("load_unreachable", show::load::render(&load(UNREACHABLE), false));
}

#[test]
fn load_text_in_colour() {
    let text = show::load::render(&load(HOPS), true).replace('\u{1b}', "ESC");
    assert_snapshot!("load_in_colour", text);
}

#[test]
fn load_in_ab_layout() {
    assert_snapshot!("ab_closed_loop", show::ab::render(&load(HOPS)));
    assert_snapshot!("ab_open_loop", show::ab::render(&load(OPEN)));
}

#[test]
fn lab_text() {
    assert_snapshot!("lab", show::lab::render(&lab(), false));
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
    let commands =
        ["", "load", "lab", "report", "watch", "explain", "serve", "serve data", "serve front"];
    for command in commands {
        let text = help(command);
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap_or(0);
        assert!(widest <= 80, "{command}: {widest} columns");
        let name = format!("help {command}").trim_end().replace(' ', "_");
        assert_snapshot!(name, text);
    }
}
