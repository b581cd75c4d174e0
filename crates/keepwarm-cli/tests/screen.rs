//! The screen of `keepwarm load`, and its verdict on itself.

mod common;

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Service, finish, keepwarm, kill, run, until};
use keepwarm_testkit::skipped;
use serde_json::Value;

/// Runs the tool on a terminal of its own; what came out, control characters included.
fn on_a_terminal(arguments: &[&str], environment: &[(&str, &str)]) -> Option<String> {
    let script = Command::new("script").arg("--version").stdout(Stdio::null()).status();
    if !script.is_ok_and(|status| status.success()) {
        skipped::because("script is not installed, so there is no terminal to write to");
        return None;
    }
    let line = [&[env!("CARGO_BIN_EXE_keepwarm")], arguments].concat().join(" ");
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm");
    command.envs(environment.iter().copied());
    let output = run(&mut command);
    // On a busy machine the load calls itself late; the screen is the same.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}\n{}", output.stdout, output.stderr);
    Some(output.stdout)
}

const CLEAR: &str = "\r\x1b[2K";

#[test]
fn terminal_line_disappears_at_the_end() {
    let data = Service::start(&["data"]);
    let url = data.url("/data");
    let arguments = ["load", "-z", "1500ms", "-c", "2", &url];
    let Some(seen) = on_a_terminal(&arguments, &[]) else { return };
    let (live, rest) = seen.rsplit_once(CLEAR).expect("a line that is rewritten");
    assert!(live.contains("load  ") && live.contains("2 open"), "{live:?}");
    assert!(live.contains("/s  p99 "), "after a second there is a rate: {live:?}");
    assert!(rest.starts_with("\x1b[1;32m"), "then the screen, in colour: {rest:?}");
    // A terminal of script's own has no width: lines are cut at 80.
    let longest = live.split(CLEAR).map(|line| line.chars().count()).max().unwrap();
    assert!(longest < 80, "{longest}");

    let seen = on_a_terminal(&arguments, &[("NO_COLOR", "1")]).expect("as above");
    assert!(!seen.contains("\x1b[1") && !seen.contains("\x1b[3"), "no colour: {seen:?}");
    assert!(seen.contains(CLEAR), "and the live line all the same");
}

#[test]
fn pipe_sees_no_line_or_colour() {
    let data = Service::start(&["data"]);
    let output = run(Command::new(env!("CARGO_BIN_EXE_keepwarm"))
        .args(["load", "-n", "500", "-c", "2", &data.url("/data")])
        .env_remove("NO_COLOR"));
    output.exits_with(0);
    assert_eq!(output.stderr, "");
    assert!(!output.stdout.contains(['\x1b', '\r']), "{:?}", output.stdout);
}

#[test]
fn screen_begins_with_outcome_and_verdict() {
    let data = Service::start(&["data"]);
    let closed = run(keepwarm().args(["load", "-n", "200", "-c", "2", &data.url("/data")]));
    let text = &closed.exits_with(0).stdout;
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("200 requests in "), "{text}");
    assert!(lines[1].ends_with("/data, 2 connections"), "{text}");
    assert!(lines[2].starts_with("with care: "), "{text}");
    assert!(text.contains("200 requests are too few for p99: 1,000 needed"), "{text}");
    let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part:?} is not in:\n{text}"));
    assert!(at("latency, ms") < at("  95 % within"), "the interval under its percentile");
    assert!(at("  95 % within") < at("Under 10 s: the 95 % ranges"));
    assert!(at("latency, ms") < at("connections of the load"));
    assert!(at("connections of the load") < at("Closed loop:"));
    let open = run(keepwarm().args(["load", "-n", "20", "-r", "200", &data.url("/data")]));
    assert!(!open.stdout.contains("Closed loop"), "{}", open.stdout);
    assert!(open.stdout.contains("response time"), "{}", open.stdout);
}

#[test]
fn errors_have_count_time_example_hint() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    let output = run(keepwarm().args(["load", "-n", "20", "-c", "1", &url]));
    // A load that nobody answered is no good one.
    output.exits_with(1).says("not one request completed, and 20 failed: the server closed");
    let text = &output.stdout;
    assert!(text.contains("\nerrors\neof_on_new  20 times, from "), "{text}");
    assert!(text.contains("\n  the server closed during request 1 of its connection\n"), "{text}");
    assert!(text.contains("\n  hint: the server accepts connections and closes them"), "{text}");
}

/// The load is stopped, as a machine without a core to spare would: an open loop that goes on as if
/// nothing had been would report its own second as the target's.
#[test]
fn late_load_is_no_measurement() {
    let data = Service::start(&["data"]);
    let child = keepwarm()
        .args(["load", "-r", "500", "-z", "3s", "-c", "10", "--assert", "p99<1us"])
        .args(["--format", "json", &data.url("/data")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = child.id();
    assert!(until(|| threads_named(pid, "load-0")), "the load runs");
    kill(pid, "STOP");
    let stopped = Instant::now();
    assert!(until(|| stopped.elapsed() > Duration::from_secs(1)));
    kill(pid, "CONT");
    let output = finish(child);
    // 4 and not 10: an assertion on an invalid measurement says nothing.
    output
        .exits_with(4)
        .says("the measurement is invalid: the load itself was ")
        .says("ms late at p");
    let record: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(record["verdict"]["trust"], "invalid");
    assert_eq!(record["assertions"][0]["outcome"], "failed");
}

fn threads_named(pid: u32, name: &str) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.collect::<Vec<_>>().iter().any(|found| found.trim() == name)
}
