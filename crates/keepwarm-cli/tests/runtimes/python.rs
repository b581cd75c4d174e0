//! Python: requests, httpx and aiohttp, of `clients/client.py`.

use std::process::Command;

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::{assert_named, assert_runs_on, habit, here, runs};

fn python(library: &str, does: &str) -> Option<Value> {
    let named = std::env::var("KEEPWARM_PYTHON").ok();
    // Debian's packages of the libraries are for Debian's Python, which need not be the first one.
    let pythons = named.as_deref().map_or(vec!["python3", "/usr/bin/python3"], |named| vec![named]);
    let script = here("client.py");
    let has_it = |python: &&&str| runs(Command::new(python).arg(&script).args(["check", library]));
    let Some(python) = pythons.iter().find(has_it) else {
        skipped::because(&format!("no Python with {library} (`python3`, or KEEPWARM_PYTHON)"));
        return None;
    };
    let mut client = Command::new(python);
    client.arg(&script);
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
