//! `keepwarm watch` beside more closes than it can read, and its cost while it can: in a network
//! namespace of its own, as root.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keepwarm_testkit::churn::{Family, Upstream, Way};
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::{children_of, finish, keepwarm, kill, until};

fn namespace() -> Option<Namespace> {
    match Namespace::make() {
        Ok(namespace) => {
            namespace.enter().unwrap();
            Some(namespace)
        }
        Err(error) => {
            skipped::because(&error.to_string());
            None
        }
    }
}

/// Starts a watch, and waits until its window has begun.
fn started(command: &mut Command) -> Child {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    child.stderr = Some(stderr.into_inner());
    assert!(line.starts_with("watching"), "{line}");
    child
}

fn watch(port: u16, more: &[&str]) -> Child {
    started(keepwarm().args(["watch", &format!(":{port}")]).args(more))
}

fn said(watch: Child, pid: u32) -> String {
    kill(pid, "INT");
    let output = finish(watch);
    output.exits_with(0);
    output.stdout
}

fn sum(document: &Value, of: impl Fn(&Value) -> &Value) -> u64 {
    let all = document["destinations"].as_array().unwrap();
    all.iter().map(|one| of(one).as_u64().unwrap()).sum()
}

/// More events than the kernel buffers for a reader that does not read and may not enlarge its
/// buffer.
const TOO_MANY: u64 = 25_000;

/// A watch without any capability.
fn watch_unprivileged(port: u16, more: &[&str]) -> Child {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--pdeathsig", "TERM"]);
    command.arg(env!("CARGO_BIN_EXE_keepwarm"));
    started(command.args(["watch", &format!(":{port}")]).args(more))
}

/// Returns the number of netlink sockets of this namespace for which the kernel dropped messages of
/// sock_diag.
fn drops() -> usize {
    let table = fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
    let of_row = |row: &str| {
        let cells: Vec<&str> = row.split_whitespace().collect();
        cells[1] == "4" && cells[8] != "0"
    };
    table.lines().skip(1).filter(|row| of_row(row)).count()
}

#[test]
fn lost_events_complete_the_account() {
    let Some(_namespace) = namespace() else { return };
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let json = watch_unprivileged(upstream.port(), &["--format", "json"]);
    let text = watch_unprivileged(upstream.port(), &["--format", "text"]);
    let pids = [json.id(), text.id()];
    pids.iter().for_each(|pid| kill(*pid, "STOP"));
    for _ in 0..TOO_MANY / 100 {
        upstream.play(Way::ClientFin, 100, 0).unwrap();
    }
    // The kernel's worker may deliver late.
    let dropped = until(|| drops() >= 2);
    pids.iter().for_each(|pid| kill(*pid, "CONT"));
    assert!(dropped, "{}", fs::read_to_string("/proc/thread-self/net/netlink").unwrap());
    let (json, text) = (said(json, pids[0]), said(text, pids[1]));
    let document: Value = serde_json::from_str(&json).unwrap();
    let lost = document["lost_events"].as_u64().unwrap();
    assert!(lost > 0, "{document:#}");
    // Each connection has two sockets here, and opens are derived from closes.
    assert_eq!(sum(&document, |one| &one["opened"]) + lost, 2 * TOO_MANY, "{document:#}");
    assert!(text.contains("events were lost by the kernel"), "{text}");
    if document["level"] == "L2" {
        assert!(document["lost_trace_events"].as_u64().unwrap() > 0, "{document:#}");
        assert!(text.contains("traced events were lost"), "{text}");
    } else {
        skipped::because(document["level_refused"].as_str().unwrap());
    }
}

/// Returns how often the thread that reads events has waited.
fn waits(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of_reader = |task: &std::path::PathBuf| {
        fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "keepwarm-events")
    };
    let reader = tasks.flatten().map(|task| task.path()).find(of_reader).unwrap();
    let status = fs::read_to_string(reader.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn watch_sleeps_while_other_ports_close() {
    let Some(_namespace) = namespace() else { return };
    let (mut ours, mut theirs) =
        (Upstream::listen(Family::V4).unwrap(), Upstream::listen(Family::V4).unwrap());
    let watch = watch(ours.port(), &["--format", "json", "--level", "l1"]);
    let pid = watch.id();
    let asleep = || {
        let before = waits(pid);
        // A time without a wait is what is looked for.
        std::thread::sleep(Duration::from_millis(100));
        waits(pid) == before
    };
    assert!(until(asleep), "the reader does not come to rest");
    let before = waits(pid);
    theirs.play(Way::ClientFin, 1_000, 1).unwrap();
    ours.play(Way::ClientFin, 1, 1).unwrap();
    assert!(until(|| waits(pid) > before), "a close of its own port did not wake it");
    // Two sockets of its own, each read after one nap at most; and other sockets of the namespace.
    assert!(waits(pid) - before <= 20, "{} waits", waits(pid) - before);
    let document: Value = serde_json::from_str(&said(watch, pid)).unwrap();
    assert_eq!(sum(&document, |one| &one["opened"]), 2, "{document:#}");
}

#[test]
fn events_are_read_in_batches() {
    let Some(_namespace) = namespace() else { return };
    const CLOSES: u64 = 4_000;
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let watch = watch(upstream.port(), &["--format", "json", "--level", "l1"]);
    let (pid, before, begun) = (watch.id(), waits(watch.id()), Instant::now());
    upstream.play(Way::ClientFin, CLOSES, 0).unwrap();
    let (waited, passed) = (waits(pid) - before, begun.elapsed());
    // A wait for the next event, one for 20 ms of further events, and now and then one for a lock.
    let bound = 3 * (passed.as_millis() / 20 + 2);
    assert!(u128::from(waited) <= bound, "{waited} waits in {passed:?}");
    let document: Value = serde_json::from_str(&said(watch, pid)).unwrap();
    assert_eq!(sum(&document, |one| &one["opened"]), 2 * CLOSES);
}

#[test]
fn system_calls_per_close_are_bounded() {
    let Some(_namespace) = namespace() else { return };
    if Command::new("strace").arg("-V").output().is_err() {
        return skipped::because("strace is not installed");
    }
    const CLOSES: u64 = 4_000;
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let counted = std::env::temp_dir().join(format!("keepwarm-calls-{}", std::process::id()));
    let calls = "trace=recvfrom,sendto,ppoll,poll,futex,clock_nanosleep,nanosleep";
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-e", calls, "-o"]).arg(&counted);
    command.arg(env!("CARGO_BIN_EXE_keepwarm"));
    command.args(["watch", &format!(":{}", upstream.port()), "--level", "l1", "--format", "json"]);
    let strace = started(&mut command);
    let watch = children_of(strace.id())[0];
    upstream.play(Way::ClientFin, CLOSES, 0).unwrap();
    let document: Value = serde_json::from_str(&said(strace, watch)).unwrap();
    assert_eq!(sum(&document, |one| &one["opened"]), 2 * CLOSES);
    let table = fs::read_to_string(&counted).unwrap();
    fs::remove_file(counted).unwrap();
    let calls = |name: &str| -> u64 {
        let line = table.lines().find(|line| line.ends_with(name));
        line.map_or(0, |line| line.split_whitespace().nth(3).unwrap().parse().unwrap())
    };
    let died = 2 * CLOSES;
    // A close costs one call for its event and one for the lookup of its TIME_WAIT; all other calls
    // are shared by many closes.
    assert!(calls(" total") <= 2 * died + died / 4, "{table}");
}
