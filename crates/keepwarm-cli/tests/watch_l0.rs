//! `keepwarm watch` without destroy events: by choice (`--level l0`), and in a real sandbox
//! (seccomp) without `NETLINK_SOCK_DIAG`, as those of containers and of gVisor are.

// Helpers of tests may panic: that fails the test.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdout, Command, Stdio};

use keepwarm_testkit::churn::{Family, Upstream, Way};
use keepwarm_testkit::sandbox::{EPERM, EPROTONOSUPPORT, without_sock_diag};
use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::{Output, finish, keepwarm, keepwarm_alone, kill, run};

/// Connections of each test.
const N: u64 = 200;

/// The place in which a watch runs.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// An unrestricted host, with --level l0.
    ByChoice,
    /// A sandbox that answers with this errno.
    Sandbox(u32),
}

const PLACES: [Place; 3] =
    [Place::ByChoice, Place::Sandbox(EPERM), Place::Sandbox(EPROTONOSUPPORT)];

impl Place {
    fn run(self, arguments: &[&str]) -> Output {
        let mut command = keepwarm();
        command.arg("watch").args(arguments);
        match self {
            Place::ByChoice => run(command.args(["--level", "l0"])),
            Place::Sandbox(errno) => without_sock_diag(errno, || run(&mut command)),
        }
    }

    /// Starts a watch and waits until its window has begun.
    fn watch(self, arguments: &[&str]) -> Watching {
        let mut command = match self {
            Place::ByChoice => keepwarm(),
            // The sandbox is of the thread that spawns, and that thread ends when the watch has
            // started.
            Place::Sandbox(_) => keepwarm_alone(),
        };
        command.arg("watch").args(arguments).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = match self {
            Place::ByChoice => command.args(["--level", "l0"]).spawn(),
            Place::Sandbox(errno) => without_sock_diag(errno, || command.spawn()),
        };
        let mut watching = Watching(Some(child.unwrap()));
        let child = watching.0.as_mut().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        child.stderr = Some(stderr.into_inner());
        assert!(line.starts_with("watching"), "{line}");
        watching
    }
}

/// A watch that is killed with the test.
struct Watching(Option<Child>);

impl Watching {
    fn stdout(&mut self) -> BufReader<ChildStdout> {
        BufReader::new(self.0.as_mut().unwrap().stdout.take().unwrap())
    }

    fn interrupt(mut self) -> Output {
        let child = self.0.take().unwrap();
        kill(child.id(), "INT");
        finish(child)
    }

    fn document(self) -> Value {
        let output = self.interrupt();
        output.exits_with(0);
        serde_json::from_str(&output.stdout).unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A server, and its whole address as the filter: on other addresses of loopback its port may
/// belong to another test.
fn upstream() -> (Upstream, String, String) {
    let upstream = Upstream::listen(Family::V4).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream.port())).to_string();
    (upstream, address.clone(), address)
}

#[track_caller]
fn end<'a>(document: &'a Value, remote: &str, side: &str) -> &'a Value {
    let all = document["destinations"].as_array().unwrap();
    let mut found = all.iter().filter(|one| one["remote"] == remote && one["side"] == side);
    found.next().unwrap_or_else(|| panic!("no {remote} as {side} in {document:#}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

/// Asserts that facts which polls cannot see are null.
fn assert_unknown(document: &Value, end: &Value) {
    for name in ["lost_events", "lost_trace_events", "unattributed_aborts", "broken_rules"] {
        assert_eq!(document[name], Value::Null, "{name}");
    }
    for name in ["opened", "closed", "lifetime_ms", "resets"] {
        assert_eq!(end[name], Value::Null, "{name} in {end:#}");
    }
    for name in ["p50", "max", "mean"] {
        assert_eq!(end["requests_per_connection"][name], Value::Null, "{end:#}");
    }
    assert_eq!(end["idle_at_close_ms"]["p50"], Value::Null, "{end:#}");
    let reasons = document["looks"]["not_seen"].as_array().unwrap();
    let is_named = |what: &str| {
        reasons.iter().any(|one| {
            one["what"].as_str().unwrap().contains(what) && !one["why"].as_str().unwrap().is_empty()
        })
    };
    assert!(is_named("opened") && is_named("requests") && is_named("lifetimes"), "{reasons:#?}");
}

#[test]
fn polling_watch_says_what_is_unknown() {
    for place in PLACES {
        let (mut upstream, remote, filter) = upstream();
        let watch = place.watch(&[&filter, "--format", "json"]);
        upstream.play(Way::ClientFin, N, 1).unwrap();
        let document = watch.document();
        assert_eq!(
            (&document["schema"], &document["level"]),
            (&"keepwarm.watch/2".into(), &"L0".into())
        );
        let (refused, source) = (&document["level_refused"], &document["looks"]["source"]);
        match place {
            Place::ByChoice => assert_eq!((refused, source), (&Value::Null, &"sock_diag".into())),
            Place::Sandbox(errno) => {
                let why = if errno == EPERM { "not permitted" } else { "not supported" };
                assert!(refused.as_str().unwrap().contains(why), "{refused}");
                assert_eq!(source, "/proc/net/tcp");
            }
        }
        let client = end(&document, &remote, "client");
        assert_unknown(&document, client);
        // A port may be used twice, which only an event would show.
        let glimpsed = &client["glimpsed"];
        let closed_first = number(&glimpsed["closed_first_at_least"]);
        assert!((N - 20..=N).contains(&closed_first), "{place:?} {client:#}");
        assert_eq!(glimpsed["opened_at_least"], closed_first, "{place:?} {client:#}");
        assert_eq!(
            (&glimpsed["gone_without_time_wait"], &glimpsed["kept"]),
            (&0.into(), &0.into())
        );
        assert_eq!(client["time_wait"], closed_first, "{place:?} {client:#}");
        assert!(number(&client["ports"]["used"]) >= closed_first, "{client:#}");
        // Other tests on this host may open some too.
        for counter in ["opened_active", "opened_passive", "time_waits"] {
            let count = number(&document["looks"]["counters"][counter]);
            assert!(count >= N, "{counter}: {count}");
            assert!(document["looks"]["per_s"][counter].as_f64().unwrap() > 0.0, "{counter}");
        }
        let finding = &client["findings"][0];
        assert_eq!(finding["code"], "D1", "{client:#}");
        assert!(finding["confidence"].as_f64().unwrap() <= 0.5, "{client:#}");
    }
}

#[test]
fn server_closing_first_is_d4_to_d6() {
    let (mut upstream, remote, filter) = upstream();
    let watch = Place::Sandbox(EPERM).watch(&[&filter, "--format", "json"]);
    upstream.play(Way::ServerFin, N, 1).unwrap();
    let document = watch.document();
    let server = end(&document, &remote, "server");
    let held = number(&server["glimpsed"]["closed_first_at_least"]);
    assert!((N - 20..=N).contains(&held), "{server:#}");
    assert_eq!(server["findings"][0]["code"], "D4-D6", "{server:#}");
    let judged = document["looks"]["not_judged"].as_array().unwrap();
    assert!(judged.iter().any(|one| one["what"] == "D11"), "{judged:#?}");
}

#[test]
fn long_lived_connections_beside_churn_are_d2() {
    let (mut upstream, remote, filter) = upstream();
    let kept: Vec<_> = (0..2).map(|_| upstream.connect().unwrap()).collect();
    let mut watch = Place::Sandbox(EPERM).watch(&[&filter, "--format", "jsonl"]);
    upstream.play(Way::ClientFin, N, 1).unwrap();
    let mut lines = watch.stdout().lines();
    let document: Value = loop {
        let document: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(document["level"], "L0");
        let client = end(&document, &remote, "client");
        if client["glimpsed"]["kept"] == 2 && client["glimpsed"]["closed_first_at_least"] != 0 {
            break document;
        }
    };
    let client = end(&document, &remote, "client");
    let finding = &client["findings"][0];
    assert_eq!((&client["established"], &finding["code"]), (&2.into(), &"D2".into()), "{client:#}");
    assert!(finding["summary"].as_str().unwrap().contains("2 stayed open"), "{finding}");
    drop(kept);
}

#[test]
fn text_ends_with_limitations_and_hint() {
    let (mut upstream, remote, filter) = upstream();
    let watch = Place::Sandbox(EPERM).watch(&[&filter]);
    upstream.play(Way::ClientFin, N, 1).unwrap();
    let output = watch.interrupt();
    output.exits_with(0);
    for words in [
        "level L0",
        "not level L1: opening a sock_diag netlink socket: Operation not permitted",
        "TIME_WAITs entered (TW)",
        "closed 1st/s",
        "not seen at level L0: single closes",
        "not judged: D3, D4, D5, D8, D11, D12 (`keepwarm explain levels` has the reasons)",
        "to see more: level L1 needs no privilege",
        &remote,
    ] {
        let text = output.stdout.replace('\n', " ");
        assert!(text.contains(words), "{words:?} is not in\n{}", output.stdout);
    }
    let lines = |part: &str| output.stdout.lines().position(|line| line.contains(part));
    assert!(lines("not seen at level L0") > lines("destination "), "the answer comes first");
    let levels = run(keepwarm().args(["explain", "levels"])).exits_with(0).stdout.clone();
    for words in ["opened, closed: counted by destroy events", "D3: ", "To see more: level L1"] {
        assert!(levels.contains(words), "{words:?} is not in\n{levels}");
    }
    let columns = output.stdout.lines().find(|line| line.starts_with("destination")).unwrap();
    for column in ["req/conn", "idle", "theirs"] {
        assert!(!columns.contains(column), "{column}\n{}", output.stdout);
    }
}

#[test]
fn dump_and_count_work_without_sock_diag() {
    let (mut upstream, remote, filter) = upstream();
    upstream.play(Way::ClientFin, N, 1).unwrap();
    let _open = upstream.connect().unwrap();
    let counted = |output: Output| output.exits_with(0).stdout.trim().parse::<u64>().unwrap();
    for place in PLACES {
        let look = place.run(&[&filter, "--once", "--format", "json"]);
        let look: Value = serde_json::from_str(&look.exits_with(0).stdout).unwrap();
        assert_eq!((&look["level"], &look["window_s"]), (&"L0".into(), &0.0.into()));
        let client = end(&look, &remote, "client");
        assert_unknown(&look, client);
        assert_eq!((&client["glimpsed"], &client["established"]), (&Value::Null, &1.into()));
        let by_second = client["closed_first_by_second"].as_array().unwrap();
        let sum: u64 = by_second.iter().map(number).sum();
        assert_eq!(client["time_wait"], sum);
        assert!((N - 20..=N).contains(&sum), "{place:?} {client:#}");
        // The counters since the boot say nothing about now.
        assert_eq!(look["looks"]["counters"]["opened_active"], Value::Null);
        for (state, expected) in [("established", 2), ("listen", 1), ("time-wait", sum)] {
            assert_eq!(
                counted(place.run(&[&filter, "--count", state])),
                expected,
                "{place:?} {state}"
            );
        }
    }
}

#[test]
fn uncounted_assertion_fails_with_reason() {
    let (mut upstream, _, filter) = upstream();
    let port = upstream.port();
    let (opened, established, none) = (
        format!("hop.{port}.opened<=1000"),
        format!("hop.{port}.established<=1"),
        format!("hop.{port}.established<1"),
    );
    let watch = |assertions: &[&str]| {
        Place::Sandbox(EPERM).watch(&[&[filter.as_str()][..], assertions].concat())
    };
    let kept = upstream.connect().unwrap();
    watch(&["--assert", &established]).interrupt().exits_with(0);
    let both = watch(&["--assert", &opened, "--assert", &none]);
    upstream.play(Way::ClientFin, N, 1).unwrap();
    both.interrupt()
        .exits_with(10)
        .says(&format!("{opened} cannot be judged, not available here: level L0 does not count"))
        .says("at least")
        .says(&format!("{none} does not hold: it is 1"));
    drop(kept);
}

/// Without events, table and counters there is no source left.
#[test]
fn without_proc_watch_ends_with_reason() {
    let root = std::fs::metadata("/proc/self")
        .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if !root {
        skipped::because("hiding /proc takes root");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$0\" watch --once"]);
    command.arg(env!("CARGO_BIN_EXE_keepwarm"));
    let output = without_sock_diag(EPERM, || run(&mut command));
    output.exits_with(6).says("sock_diag").says("reading /proc/net/snmp");
}
