//! A network namespace for one test: the test runs itself again inside of it.

use std::process::{Command, Stdio};

use keepwarm_testkit::{mortal, skipped};

const INSIDE: &str = "KEEPWARM_TEST_NAMESPACE";

/// Whether the body of test `name` is to run here. Outside, it is run by a second process in a
/// namespace of its own, whose failure is this one's; without the means it is skipped, loudly.
pub(crate) fn enter(name: &str, programs: &[&str]) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.expect("ip runs").success(), "loopback comes up");
        return true;
    }
    if !can_be_made(programs) {
        return false;
    }
    let this = std::env::current_exe().expect("a path");
    let status = mortal::command("unshare", "KILL")
        .arg("-n")
        .arg(this)
        .args([name, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status();
    assert!(status.expect("unshare runs").success(), "{name} failed in its namespace");
    false
}

/// Whether there are namespaces to be had, and the programs; says so if not.
pub(crate) fn can_be_made(programs: &[&str]) -> bool {
    let needed = ["unshare", "ip"].iter().chain(programs);
    let missing: Vec<&&str> = needed.filter(|program| !is_installed(program)).collect();
    if !missing.is_empty() {
        skipped::because(&format!("{missing:?} not installed"));
        return false;
    }
    let allowed = Command::new("unshare").args(["-n", "true"]).stderr(Stdio::null()).status();
    let allowed = allowed.is_ok_and(|status| status.success());
    if !allowed {
        skipped::because("no network namespace to be had, which takes root");
    }
    allowed
}

/// Whether another load tester can be held beside ours; what is said of it is skipped if not.
pub(crate) fn has_peer(program: &str) -> bool {
    let there = is_installed(program);
    if !there {
        skipped::because(&format!("{program} is not installed: only ours was run"));
    }
    there
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

/// One of the namespace's TCP counters, by its name in /proc/net/snmp.
pub(crate) fn tcp_counter(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/net/snmp").expect("procfs");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let place = names.split(' ').position(|found| found == name).expect(name);
    values.split(' ').nth(place).and_then(|value| value.parse().ok()).expect("a count")
}

/// The sockets in `state` with `port` as (local, peer) port, counted by ss.
pub(crate) fn ss(state: &str, port: u16) -> (u64, u64) {
    let output = Command::new("ss").args(["-Htan", "state", state]).output().expect("ss runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let ends = format!(":{port}");
    let in_column = |column: usize| {
        let at_port = |line: &&str| {
            line.split_whitespace().nth(column).is_some_and(|address| address.ends_with(&ends))
        };
        text.lines().filter(at_port).count() as u64
    };
    (in_column(2), in_column(3))
}
