//! PHP and Ruby, of `clients/client.php` and `clients/client.rb`.

use std::process::Command;

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::{assert_named, assert_runs_on, habit, here, runs, version_of};

fn php(does: &str) -> Option<Value> {
    let mut client = Command::new("php");
    client.arg(here("client.php"));
    if !runs(Command::new("php").arg(here("client.php")).arg("check")) {
        skipped::because("no PHP with curl (`php` in the PATH)");
        return None;
    }
    Some(habit(client, does))
}

#[test]
fn php_with_a_curl_handle_for_each_call_is_d1_and_with_a_shared_one_healthy() {
    let Some(alone) = php("handle-per-call") else { return };
    assert_named(&alone, "D1", "keep one curl handle");
    assert_runs_on(&alone, "php", &version_of(Command::new("php").arg("--version")));
    assert_named(&php("handle-shared").unwrap(), "healthy", "connections are kept");
}

#[test]
fn phps_file_get_contents_says_connection_close() {
    let Some(seen) = php("file-get-contents") else { return };
    let code = seen["findings"][0]["code"].as_str().unwrap();
    // Both sides close after `Connection: close`; either may be first.
    assert!(["D1", "D6"].contains(&code), "{seen:#}");
    assert_named(&seen, code, "file_get_contents");
}

fn ruby(does: &str) -> Option<Value> {
    let mut client = Command::new("ruby");
    client.arg(here("client.rb"));
    if !runs(Command::new("ruby").arg("--version")) {
        skipped::because("no Ruby (`ruby` in the PATH)");
        return None;
    }
    Some(habit(client, does))
}

#[test]
fn rubys_net_http_is_d1_alone_d6_if_it_is_not_started_and_healthy_if_it_is() {
    let Some(alone) = ruby("get-alone") else { return };
    assert_named(&alone, "D1", "Net::HTTP.start");
    assert_runs_on(&alone, "ruby", &version_of(Command::new("ruby").arg("--version")));
    let not_started = ruby("not-started").unwrap();
    let code = not_started["findings"][0]["code"].as_str().unwrap();
    assert!(["D1", "D6"].contains(&code), "{not_started:#}");
    assert_named(&not_started, code, "Net::HTTP.start");
    assert_named(&ruby("started").unwrap(), "healthy", "connections are kept");
}
