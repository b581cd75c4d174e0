//! Claim: `keepwarm watch --all-netns` tells the same service in several network namespaces apart, in
//! text, JSON and on the page for Prometheus, with three capabilities and no more.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use keepwarm_sockets::network_namespace;
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::{exchange, finish, keepwarm, kill, page_address, run, thread_statuses, until};

const PORT: u16 = 8_083;
/// Connections that each namespace opens to itself.
const CLOSES: [u64; 2] = [30, 12];
/// CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE and CAP_SYS_ADMIN, by their numbers.
const KEPT: u64 = 1 << 2 | 1 << 19 | 1 << 21;

/// Two namespaces, and their inodes.
fn namespaces() -> Result<[(Namespace, u64); 2], std::io::Error> {
    let make = || {
        let namespace = Namespace::make()?;
        let inode = namespace.inside(|| Ok(network_namespace().unwrap()))?;
        Ok::<_, std::io::Error>((namespace, inode))
    };
    Ok([make()?, make()?])
}

/// Opens and closes connections within a namespace, the client first.
fn churn(namespace: &Namespace, count: u64) {
    let here = SocketAddr::from(([127, 0, 0, 1], PORT));
    let listener = namespace.inside(|| TcpListener::bind(here)).unwrap();
    for _ in 0..count {
        let client = namespace.inside(|| TcpStream::connect(here)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        drop(client);
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
    }
}

fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn has_capabilities() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    effective(&status) & KEPT == KEPT
}

#[test]
fn same_service_is_told_apart() {
    let namespaces = match namespaces() {
        Ok(namespaces) => namespaces,
        Err(error) => return skipped::because(&error.to_string()),
    };
    let filter = format!(":{PORT}");
    let mut command = keepwarm();
    command.args(["watch", &filter, "--all-netns", "--for", "5s", "--format", "json"]);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    await_window(&mut watch);
    for ((namespace, _), closes) in namespaces.iter().zip(CLOSES) {
        churn(namespace, closes);
    }
    let output = finish(watch);
    let record: Value = serde_json::from_str(&output.exits_with(0).stdout).unwrap();
    assert!(record["network_namespaces"]["watched"].as_u64() >= Some(2), "{record}");
    assert!(record["level_refused"].as_str().unwrap().contains("namespace"), "{record}");
    let all = record["destinations"].as_array().unwrap();
    for ((_, inode), closes) in namespaces.iter().zip(CLOSES) {
        for (side, how) in [("client", "local_fin"), ("server", "remote_fin")] {
            let is_it =
                |one: &&Value| one["network_namespace"]["inode"] == *inode && one["side"] == side;
            let one = all.iter().find(is_it).unwrap_or_else(|| panic!("{record:#}"));
            assert_eq!((&one["closed"][how], &one["opened"]), (&closes.into(), &closes.into()));
        }
    }
    let mut report = keepwarm();
    report.args(["report", "-"]).stdin(Stdio::piped());
    let mut child = report.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(output.stdout.as_bytes()).unwrap();
    let text = finish(child);
    let wanted = format!("127.0.0.1:{PORT} in {}", namespaces[0].1);
    assert!(text.exits_with(0).stdout.contains(&wanted), "{}", text.stdout);
}

/// Waits for the line that says that the window has begun. What comes after it is read and dropped.
fn await_window(watch: &mut Child) {
    let mut said = BufReader::new(watch.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("watching;") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "the watch has ended");
    }
    let (reader, writer) = std::io::pipe().unwrap();
    watch.stderr = Some(std::os::fd::OwnedFd::from(reader).into());
    std::thread::spawn(move || {
        let _writer = writer;
        let _ = said.read_to_string(&mut String::new());
    });
}

#[test]
fn page_has_namespaces_and_three_capabilities() {
    if !has_capabilities() {
        return skipped::because("this user lacks CAP_SYS_ADMIN or CAP_SYS_PTRACE");
    }
    let namespaces = match namespaces() {
        Ok(namespaces) => namespaces,
        Err(error) => return skipped::because(&error.to_string()),
    };
    let filter = format!(":{PORT}");
    let mut command = keepwarm();
    command.args(["watch", &filter, "--all-netns", "--listen", "127.0.0.1:0"]);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (address, _stdout) = page_address(&mut watch);
    let statuses = thread_statuses(watch.id());
    statuses.iter().for_each(|status| assert_eq!(effective(status), KEPT, "{status}"));
    assert!(statuses.len() >= 3, "{statuses:?}");
    // A namespace that comes while the watch goes on is on the page as well.
    let late = Namespace::make().unwrap();
    let late_inode = late.inside(|| Ok(network_namespace().unwrap())).unwrap();
    let here = SocketAddr::from(([127, 0, 0, 1], PORT));
    let kept = late.inside(|| TcpListener::bind(here)).unwrap();
    let warm = late.inside(|| TcpStream::connect(here)).unwrap();
    let opened = |page: &str, inode: u64| -> Option<u64> {
        let wanted = format!("netns=\"{inode}\"");
        let of_client = |line: &&str| {
            line.starts_with("keepwarm_connections_opened_total{side=\"client\"")
                && line.contains(&wanted)
        };
        page.lines().find(of_client)?.rsplit_once(' ')?.1.parse().ok()
    };
    let page = || exchange(address, "GET", "/metrics");
    assert!(until(|| opened(&page(), late_inode).is_some()), "{}", page());
    for ((namespace, _), closes) in namespaces.iter().zip(CLOSES) {
        churn(namespace, closes);
    }
    let counted = || {
        let page = page();
        namespaces.each_ref().map(|(_, inode)| opened(&page, *inode))
    };
    assert!(until(|| counted() == CLOSES.map(Some)), "{:?}", counted());
    drop((kept, warm));
    kill(watch.id(), "TERM");
    let status = crate::common::wait(&mut watch).unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn missing_capability_is_named() {
    let works = Command::new("setpriv").arg("--version").output().is_ok();
    if !works || !has_capabilities() {
        return skipped::because("dropping a capability takes setpriv, and root");
    }
    for (capability, other) in [("SYS_ADMIN", "SYS_PTRACE"), ("SYS_PTRACE", "SYS_ADMIN")] {
        let without = format!("-{}", capability.to_lowercase());
        let mut command = Command::new("setpriv");
        command.args(["--inh-caps", &without, "--bounding-set", &without]);
        command.arg(env!("CARGO_BIN_EXE_keepwarm")).args(["watch", "--all-netns", "--for", "1s"]);
        let output = run(&mut command);
        output.exits_with(6).says(&format!("CAP_{capability}"));
        assert!(!output.stderr.contains(other), "{}", output.stderr);
    }
    let polls = run(keepwarm().args(["watch", "--all-netns", "--level", "l0", "--for", "1s"]));
    polls.exits_with(2).says("--level l0");
}
