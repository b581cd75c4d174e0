//! The cost of an answer of `keepwarm watch`: system calls, and bytes from the kernel.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::process::{Command, Stdio};

use keepwarm_testkit::churn::{Connection, Family, Upstream, Way};

use crate::common::{run, until};

/// The size of a row as the kernel sends it: `nlmsghdr`, `inet_diag_msg`, and attributes that are
/// always there.
const ROW_BYTES: u64 = 160;

/// The lines that strace wrote about a whole run, one a system call.
struct Trace {
    stdout: String,
    calls: Vec<String>,
}

impl Trace {
    /// Traces a watch; `None`, with a note, where there is no strace.
    fn of(arguments: &[&str]) -> Option<Trace> {
        let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
        if !strace.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: strace is not installed, so no system call can be counted");
            return None;
        }
        let path = std::env::temp_dir().join(format!(
            "keepwarm-strace-{}-{}",
            std::process::id(),
            arguments.join("")
        ));
        let output = run(Command::new("strace")
            .args(["-f", "-s", "0", "-o"])
            .arg(&path)
            .arg(env!("CARGO_BIN_EXE_keepwarm"))
            .arg("watch")
            .args(arguments));
        let trace = std::fs::read_to_string(&path);
        let _ = std::fs::remove_file(&path);
        output.exits_with(0);
        let calls = trace.unwrap().lines().map(str::to_owned).collect();
        Some(Trace { stdout: output.stdout, calls })
    }

    fn count(&self, call: &str) -> usize {
        self.calls.iter().filter(|line| line.contains(&format!(" {call}("))).count()
    }

    /// Returns the bytes that recv(2) returned, all from netlink: there is no other socket.
    fn received(&self) -> u64 {
        let lines = self.calls.iter().filter(|line| line.contains(" recvfrom("));
        lines.filter_map(|line| line.rsplit_once(" = ")?.1.trim().parse::<u64>().ok()).sum()
    }
}

fn held(upstream: &mut Upstream, count: usize) -> Vec<Connection> {
    (0..count).map(|_| upstream.connect().unwrap()).collect()
}

/// The kernel sends only the port's rows of hundreds of sockets, and nothing else is read: no
/// process, no name, no counter; no thread is started.
#[test]
fn count_reads_only_counted_rows() {
    let mut others = Upstream::listen(Family::V4).unwrap();
    let _others = held(&mut others, 400);
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let _held = held(&mut upstream, 3);
    let filter = format!(":{}", upstream.port());
    let Some(trace) = Trace::of(&[&filter, "--count", "established"]) else { return };
    assert_eq!(trace.stdout.trim(), "6");
    let received = trace.received();
    assert!((6 * 80..=6 * ROW_BYTES + 64).contains(&received), "{received} bytes for 6 rows");
    assert_eq!((trace.count("socket"), trace.count("sendto")), (1, 1));
    for call in ["clone", "clone3", "getdents64", "readlink", "epoll_create1", "connect"] {
        assert_eq!(trace.count(call), 0, "{call}");
    }
    let opened = |part: &str| trace.calls.iter().filter(|line| line.contains(part)).count();
    // The standard library looks up where the stack of the first thread ends.
    assert_eq!(opened("/proc/"), opened("/proc/self/maps"), "{:#?}", trace.calls);
}

/// A watch with --once takes one dump: each further socket costs one row, and nothing else.
#[test]
fn one_dump_is_one_request() {
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    upstream.play(Way::ClientFin, 300, 0).unwrap();
    let filter = format!(":{}", upstream.port());
    let rest = || {
        !common::keepwarm()
            .args(["watch", &filter, "--count", "last-ack"])
            .output()
            .is_ok_and(|output| output.stdout != b"0\n")
    };
    assert!(until(rest));
    let Some(trace) = Trace::of(&[&filter, "--once", "--format", "json"]) else { return };
    assert_eq!((trace.count("socket"), trace.count("sendto")), (1, 1));
    assert_eq!(trace.count("connect"), 0, "no self-test, no resolver");
    let receives = trace.count("recvfrom");
    assert!(receives <= 4 + 300 * ROW_BYTES as usize / 8192, "{receives} for 300 rows");
}

/// In a network namespace of its own, where no segment is sent: one dump at the start and one at
/// the end, and as many for the self-test. A watch with a dump every two seconds would need three
/// more.
#[test]
fn resting_host_costs_counters_not_dumps() {
    let path = std::env::temp_dir().join(format!("keepwarm-strace-rest-{}", std::process::id()));
    let script = "ip link set lo up && exec strace -f -y -s 0 -e trace=sendto,pread64 -o \"$1\" \
                  \"$0\" watch --level l1 --for 7s --format json";
    let output = run(Command::new("unshare")
        .args(["-rn", "sh", "-c", script, env!("CARGO_BIN_EXE_keepwarm")])
        .arg(&path));
    let trace = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(&path);
    if !trace.contains("AF_NETLINK") {
        eprintln!(
            "SKIPPED: no namespace, ip or strace, so no dump can be counted: {}",
            output.stderr
        );
        return;
    }
    output.exits_with(0);
    let lines = |part: &str| trace.lines().filter(|line| line.contains(part)).count();
    let dumps = lines("AF_NETLINK");
    assert!((2..=5).contains(&dumps), "{dumps} dumps in 7 s");
    // The watch reads them before each dump that may be skipped, every two seconds.
    let is_begun = |line: &&str| line.contains("/net/snmp>") && line.contains(", 0) = ");
    let read = trace.lines().filter(is_begun).count();
    assert!(read >= 3, "the counters were read {read} times in 7 s, with {dumps} dumps");
}
