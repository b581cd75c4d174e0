//! Python: requests, httpx and aiohttp, of `clients/client.py`.

use std::process::Command;

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::{assert_named, assert_runs_on, habit, here, runs};

fn python(library: &str, does: &str) -> Option<Value> {
    let python = std::env::var("KEEPWARM_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut client = Command::new(&python);
    client.arg(here("client.py"));
    if !runs(Command::new(&python).arg(here("client.py")).args(["check", library])) {
        skipped::because(&format!("no Python with {library} (`python3`, or KEEPWARM_PYTHON)"));
        return None;
    }
    Some(habit(client, does))
}

#[test]
fn requests_without_a_session_is_d1_and_with_one_healthy() {
    let Some(alone) = python("requests", "requests-alone") else { return };
    assert_named(&alone, "D1", "requests.Session");
    let shared = python("requests", "requests-session").unwrap();
    assert_named(&shared, "healthy", "connections are kept");
    assert_runs_on(&shared, "python", "3.");
}

#[test]
fn httpx_with_a_client_for_each_call_is_d1_and_with_a_shared_one_healthy() {
    let Some(alone) = python("httpx", "httpx-alone") else { return };
    assert_named(&alone, "D1", "httpx.Client");
    assert_runs_on(&alone, "python", "3.");
    assert_named(&python("httpx", "httpx-shared").unwrap(), "healthy", "connections are kept");
}

#[test]
fn aiohttp_with_a_session_for_each_call_is_d1_and_with_a_shared_one_healthy() {
    let Some(alone) = python("aiohttp", "aiohttp-alone") else { return };
    assert_named(&alone, "D1", "aiohttp.ClientSession");
    assert_runs_on(&alone, "python", "3.");
    assert_named(&python("aiohttp", "aiohttp-shared").unwrap(), "healthy", "connections are kept");
}
