//! Rust: reqwest, by the client of `bench/reqwest`.

use std::path::PathBuf;
use std::process::Command;

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::{assert_named, assert_runs_on, habit};

fn reqwest(does: &str) -> Option<Value> {
    let built =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../bench/reqwest/target/debug/reqwest-client");
    let program = std::env::var_os("KEEPWARM_REQWEST").unwrap_or_else(|| built.into());
    if !PathBuf::from(&program).is_file() {
        skipped::because(
            "no client of reqwest (`cargo build --manifest-path bench/reqwest/Cargo.toml`, or \
             KEEPWARM_REQWEST)",
        );
        return None;
    }
    Some(habit(Command::new(program), does))
}

#[test]
fn reqwest_with_a_client_for_each_request_is_d1_and_with_a_shared_one_healthy() {
    let Some(alone) = reqwest("per-request") else { return };
    assert_named(&alone, "D1", "reqwest::get()");
    assert_runs_on(&alone, "rust", "1.");
    assert_named(&reqwest("shared").unwrap(), "healthy", "connections are kept");
}
