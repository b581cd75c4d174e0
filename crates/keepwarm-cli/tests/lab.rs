//! `keepwarm lab`: what it must show, what it prints, and what it leaves behind: nothing.

mod common;

use std::net::TcpListener;
use std::process::{Command, Stdio};

use common::{children_of, finish, is_alive, keepwarm, kill, run, until};
use keepwarm_testkit::skipped;
use serde_json::Value;

/// Few enough to be quick, enough to show the difference.
const REQUESTS: u64 = 2_000;

fn lab(arguments: &[&str]) -> common::Output {
    let requests = REQUESTS.to_string();
    // The timeout is not what is tested here, and a busy machine must not decide.
    run(keepwarm().args(["lab", "-n", &requests, "--upstream-timeout", "30s"]).args(arguments))
}

#[test]
fn lab_shows_what_the_story_says() {
    let output = lab(&["-c", "50", "--format", "json"]);
    output.exits_with(0);
    let record: Value = serde_json::from_str(&output.stdout).expect("one JSON document, no more");
    assert_eq!(record["schema"], "keepwarm.lab/2");
    let runs = record["runs"].as_array().unwrap();
    let names: Vec<&str> = runs.iter().map(|run| run["policy"].as_str().unwrap()).collect();
    assert_eq!(names, ["per-request", "go-default", "tuned", "keepwarm"]);
    for run in runs {
        let (load, upstream) = (&run["load"], &run["upstream"]);
        assert_eq!(load["completed"], REQUESTS, "{run}");
        assert_eq!(load["failed"], 0, "{run}");
        assert!(load["requests_per_second"].as_f64().unwrap() > 0.0);
        for quantile in ["p50", "p90", "p99", "max"] {
            assert!(load["latency_us"][quantile].as_u64().unwrap() > 0, "{quantile}: {run}");
        }
        let whole = &load["record"];
        assert_eq!(whole["schema"], "keepwarm.load/1", "the same record as that of load: {run}");
        assert_eq!(whole["hops"][0]["opened"], upstream["opened"], "{run}");
        // Two accounts, made in two ways, of the same connections.
        assert_eq!(upstream["opened"], run["client"]["opened"], "{run}");
        let count = |name: &str| upstream[name].as_u64().unwrap();
        assert_eq!(
            count("opened"),
            count("closed_by_client")
                + count("closed_by_server")
                + count("reset")
                + count("established"),
            "every connection has one end: {run}"
        );
        assert_eq!(count("closed_by_server"), 0, "the data service never closes first: {run}");
        assert_eq!(count("lost_events"), 0, "{run}");
    }
    assert_eq!(runs[0]["upstream"]["opened"], REQUESTS);
    assert_eq!(runs[0]["finding"]["code"], "D1");
    let churned = runs[1]["upstream"]["opened"].as_u64().unwrap();
    assert!((200..REQUESTS).contains(&churned), "hundreds: {churned}");
    assert_eq!(runs[1]["upstream"]["established"], 2);
    assert_eq!(runs[1]["finding"]["code"], "D2");
    for run in &runs[2..] {
        assert!(run["upstream"]["opened"].as_u64().unwrap() <= 50, "{run}");
        assert_eq!(run["upstream"]["time_wait"], 0, "{run}");
        assert_eq!(run["finding"]["code"], "healthy", "{run}");
    }
}

#[test]
fn table_has_policies_and_their_findings() {
    let output = lab(&["--policy", "keepwarm,go-default"]);
    let text = &output.exits_with(0).stdout;
    assert!(text.starts_with("go-default opened "), "the answer comes first: {text}");
    let head = text.lines().find(|line| line.starts_with("   ")).unwrap();
    let columns: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(columns, ["keepwarm", "go-default"], "in the order asked for");
    for row in [
        "requests/s",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "max ms",
        "failed",
        "upstream connections opened",
        "requests per connection",
        "closed first by the client",
        "closed first by the server",
        "TIME_WAIT after",
        "ESTABLISHED after",
        "share of the ephemeral ports",
    ] {
        assert!(text.lines().any(|line| line.starts_with(row)), "{row:?} is not in:\n{text}");
    }
    assert!(text.contains("keepwarm (healthy)"), "{text}");
    assert!(text.contains("go-default (D2)"), "{text}");
    assert!(text.contains("and 2 may stay"), "the numbers of Go's pool: {text}");
    // The client behind the policy is this library, so that is whose setting is advised.
    assert!(text.contains("max_idle_per_origin"), "{text}");
    assert!(!text.contains('\x1b'), "no colour where there is no terminal");
}

#[test]
fn policies_of_errors_were_not_measured() {
    let arguments = ["lab", "-n", "50", "-c", "2", "-p", "tuned", "--upstream-timeout", "1us"];
    let output = run(keepwarm().args(arguments));
    output.exits_with(4).says("tuned was not measured: 100 % of 50 requests are errors");
    output.says("50 answered 504").says("--upstream-timeout, 0.001 ms");
    let first = output.stdout.lines().next().expect("a line");
    assert!(first.starts_with("tuned was not measured"), "{first}");
    let row = output.stdout.lines().find(|line| line.starts_with("answered 504"));
    assert_eq!(
        row.expect("a row").split_whitespace().collect::<Vec<_>>(),
        ["answered", "504", "50"]
    );
    let rate = output.stdout.lines().find(|line| line.starts_with("requests/s")).expect("a row");
    assert!(rate.ends_with(" 0"), "of good answers: {rate}");
}

#[test]
fn full_disk_keeps_the_table() {
    let output = lab(&["-p", "tuned", "-o", "/dev/full"]);
    output.exits_with(9).says("/dev/full");
    assert!(output.stdout.contains("\nrequests/s "), "{}", output.stdout);
}

#[test]
fn interrupted_lab_keeps_played_policies() {
    let path = std::env::temp_dir().join(format!("keepwarm-cut-{}.json", std::process::id()));
    let mut lab = keepwarm()
        .args(["lab", "-n", "30000", "-c", "4", "-p", "tuned,keepwarm,go-default"])
        .args(["--upstream-timeout", "30s", "-o"])
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stderr = std::io::BufReader::new(lab.stderr.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut line).expect("a line");
    assert!(line.starts_with("1. tuned"), "{line}");
    kill(lab.id(), "INT");
    let stdout = std::io::read_to_string(lab.stdout.take().expect("piped")).expect("text");
    assert_eq!(lab.wait().expect("it ends").code(), Some(130));
    assert!(stdout.contains("\ntuned (healthy)"), "{stdout}");
    let kept = std::fs::read_to_string(&path).expect("the file is there");
    let record: Value = serde_json::from_str(&kept).expect("JSON");
    assert_eq!(record["runs"][0]["policy"], "tuned");
    std::fs::remove_file(&path).expect("removable");
}

#[test]
fn json_can_go_to_a_file() {
    let path = std::env::temp_dir().join(format!("keepwarm-lab-{}.json", std::process::id()));
    let output = lab(&["--policy", "tuned", "--output", path.to_str().unwrap()]);
    output.exits_with(0);
    let kept = std::fs::read_to_string(&path).expect("the file is there");
    std::fs::remove_file(&path).expect("removable");
    let record: Value = serde_json::from_str(&kept).expect("JSON");
    assert_eq!(record["runs"][0]["policy"], "tuned");
    lab(&["--output", "/no/such/folder/lab.json"]).exits_with(9).says("/no/such/folder/lab.json");
}

#[test]
fn bad_arguments_name_themselves() {
    lab(&["--policy", "fastest"])
        .exits_with(2)
        .says("per-request, go-default, tuned, keepwarm, keepwarm-h2");
    lab(&["-c", "0"]).exits_with(2).says("0 is not in 1..");
    lab(&["--data-port", "0"]).exits_with(2);
}

#[test]
fn failed_child_reports_stderr_and_code() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    lab(&["--front-port", &port])
        .exits_with(5)
        .says("--front-port PORT")
        .says("the front service ended by itself")
        .says("the port is taken");
}

#[test]
fn small_file_table_fails_at_start() {
    let script = format!("ulimit -n 150; exec {} lab -c 100", env!("CARGO_BIN_EXE_keepwarm"));
    run(Command::new("sh").args(["-c", &script])).exits_with(7).says("264 descriptors are needed");
}

#[test]
fn dead_child_ends_the_lab() {
    let lab = endless_lab();
    let victim = *children_of(lab.id()).last().unwrap();
    kill(victim, "KILL");
    finish(lab).exits_with(8).says("service ended by itself (signal: 9");
}

#[test]
fn interrupted_lab_leaves_no_child() {
    for signal in ["INT", "TERM"] {
        let lab = endless_lab();
        let children = children_of(lab.id());
        kill(lab.id(), signal);
        finish(lab).exits_with(130).says("interrupted");
        for child in children {
            assert!(!is_alive(child), "{child} outlived SIG{signal}");
        }
    }
}

#[test]
fn killed_lab_leaves_no_child() {
    let mut lab = endless_lab();
    let children = children_of(lab.id());
    lab.kill().unwrap();
    lab.wait().unwrap();
    for child in children {
        assert!(until(|| !is_alive(child)), "{child} outlived SIGKILL of its parent");
    }
}

/// An experiment that would take hours, with both services up and the load running.
fn endless_lab() -> std::process::Child {
    let lab = keepwarm()
        .args(["lab", "-n", "100000000", "-c", "4", "--policy", "keepwarm"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    assert!(until(|| children_of(lab.id()).len() == 2), "both services start");
    lab
}

/// A kernel that refuses netlink: made by strace, which fails the one socket(2) of the main thread.
#[test]
fn denied_netlink_has_its_code() {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        skipped::because("strace is not installed, so no socket can be denied");
        return;
    }
    run(Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "trace=socket"])
        .args(["-e", "inject=socket:error=EPERM"])
        .arg(env!("CARGO_BIN_EXE_keepwarm"))
        .args(["lab", "-n", "10", "-c", "1"]))
    .exits_with(6)
    .says("not permitted");
}
