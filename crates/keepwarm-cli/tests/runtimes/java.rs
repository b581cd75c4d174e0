//! Java: `java.net.http.HttpClient` and `HttpURLConnection`, of `clients/Client.java`.

use std::process::Command;

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::{assert_named, assert_runs_on, habit, here, runs, version_of};

/// Every Java that is there and can compile.
fn javas() -> Vec<String> {
    let named = std::env::var("KEEPWARM_JAVA").unwrap_or_else(|_| "java".into());
    let compiles =
        |java: &&str| runs(Command::new(java).args(["--describe-module", "jdk.compiler"]));
    let found: Vec<String> = named.split(':').filter(compiles).map(str::to_owned).collect();
    if found.is_empty() {
        skipped::because("no Java with its compiler (`java` of a JDK, or KEEPWARM_JAVA)");
    }
    found
}

fn java(program: &str, does: &str) -> Value {
    let mut client = Command::new(program);
    client.args(["-Xmx128m", "-XX:TieredStopAtLevel=1"]).arg(here("Client.java"));
    habit(client, does)
}

#[test]
fn java_with_an_http_client_for_each_call_is_d1_and_with_a_shared_one_healthy() {
    for program in javas() {
        let alone = java(&program, "client-per-call");
        assert_named(&alone, "D1", "make one HttpClient");
        assert_runs_on(&alone, "java", &version_of(Command::new(&program).arg("-version")));
        assert_named(&java(&program, "client-shared"), "healthy", "connections are kept");
    }
}

#[test]
fn javas_plain_connections_keep_five_of_a_burst_which_is_d2_and_one_by_one_are_healthy() {
    for program in javas() {
        let bursts = java(&program, "url-connection-in-bursts");
        assert_named(&bursts, "D2", "http.maxConnections");
        assert_eq!(bursts["established"], 5);
        assert!(bursts["findings"][0]["summary"].as_str().unwrap().contains("HttpURLConnection"));
        assert_named(&java(&program, "url-connection"), "healthy", "connections are kept");
    }
}

#[test]
fn javas_plain_connections_that_are_disconnected_before_the_body_is_read_are_d1() {
    for program in javas() {
        let seen = java(&program, "url-connection-disconnected");
        assert_named(&seen, "D1", "read the body to its end before disconnect()");
    }
}
