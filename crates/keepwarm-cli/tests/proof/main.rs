//! The tool's counts, compared with those of other programs: tcpdump, ss, and the kernel's own
//! counters; and runs that other load testers get wrong.
//!
//! Each test plays in a network namespace of its own, or in two, which die with it.

#[path = "../common/mod.rs"]
mod common;
mod crossing;
mod ledger;
mod namespace;
mod others;
mod packets;
mod servers;

use std::process::Command;

use serde_json::Value;

/// Runs the tool to its end; its record.
fn load(arguments: &[&str], url: &str) -> Value {
    record(&common::run(&mut load_command(arguments, url)))
}

fn load_command(arguments: &[&str], url: &str) -> Command {
    let mut command = common::keepwarm();
    command.arg("load").args(arguments).args(["--format", "json"]).arg(url);
    command
}

fn record(output: &common::Output) -> Value {
    // Of some servers nobody gets an answer.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", output.stderr);
    serde_json::from_str(&output.stdout).expect("one JSON document and nothing else")
}

#[track_caller]
fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}
