//! The JSON has the shape that others read. Nothing here is timed.

use std::process::Command;

use serde_json::Value;

/// Columns that the schema promises of each row.
const COLUMNS: [&str; 7] = [
    "cpu_us_per_request",
    "requests_per_second",
    "p50_us",
    "p99_us",
    "p999_us",
    "opened",
    "allocations_per_request",
];

#[test]
fn the_document_has_a_row_for_each_client_and_a_number_in_each_column() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-client"))
        .args(["--json", "--rounds", "1", "--percent", "1"])
        .args(["--scenario", "get8-c1-t1", "--scenario", "get8-c100-t2"])
        .output()
        .expect("the benchmark runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("stdout is one document");
    assert_eq!(document["schema"], "keepwarm.bench.client/1");

    let rows = document["rows"].as_array().expect("rows");
    for scenario in ["get8-c1-t1", "get8-c100-t2"] {
        for client in ["keepwarm", "reqwest", "hyper-util", "hyper-spawned"] {
            let mut own =
                rows.iter().filter(|row| row["scenario"] == scenario && row["client"] == client);
            let row = own.next().expect("a row for each client in each scenario");
            assert!(own.next().is_none(), "two rows for {client} in {scenario}");
            for column in COLUMNS {
                assert!(row[column].is_number(), "{column} of {client} in {scenario}: {row}");
            }
        }
    }
    let has_go = rows.iter().any(|row| row["client"] == "go");
    let skipped = document["skipped"].as_array().expect("skipped");
    assert!(has_go || skipped.iter().any(|skipped| skipped["client"] == "go"), "Go is unsaid");
}

#[test]
fn connections_are_counted_by_the_server() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-client"))
        .args(["run", "hyper-spawned", "get8-c100-t1", "--percent", "1"])
        .output()
        .expect("a measurement runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let row: Value = serde_json::from_slice(&output.stdout).expect("stdout is one row");
    assert_eq!(row["opened"], 100, "one connection for each of the 100 tasks");
}

#[test]
fn at_a_server_that_closes_idle_connections_no_get_of_ours_fails_and_no_post_is_doubled() {
    let output = Command::new(env!("CARGO_BIN_EXE_bench-client"))
        .args(["closing", "--json"])
        .output()
        .expect("the benchmark runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).expect("stdout is one document");
    assert_eq!(document["schema"], "keepwarm.bench.closing/1");
    let rows = document["rows"].as_array().expect("rows");
    for shape in ["after-1s", "at-random"] {
        for client in ["keepwarm", "reqwest"] {
            let row = rows.iter().find(|row| row["shape"] == shape && row["client"] == client);
            let row = row.expect("a row for each client and shape");
            assert_eq!(row["wrong_responses"], 0, "{row}");
            assert!(row["closed_by_server"].as_u64() > Some(0), "{row}");
            if client == "keepwarm" {
                assert_eq!((&row["failed_gets"], &row["doubled_posts"]), (&0.into(), &0.into()));
            }
        }
    }
}
