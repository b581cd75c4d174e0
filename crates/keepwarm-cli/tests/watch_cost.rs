//! What an answer of `keepwarm watch` takes, in counts: system calls, and bytes from the kernel.

// A helper of a test is a test: a panic is its answer.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::process::{Command, Stdio};

use keepwarm_testkit::churn::{Connection, Family, Upstream, Way};

use crate::common::{run, until};

/// One row as it is sent: `nlmsghdr`, `inet_diag_msg`, and attributes that nobody asked for.
const ROW_BYTES: u64 = 160;

/// What strace saw of a whole run: its own lines, one a call.
struct Trace {
    stdout: String,
    calls: Vec<String>,
}

impl Trace {
    /// `None`, and said, where there is no strace.
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

    /// Bytes that came by recv(2): from netlink, there is no other socket.
    fn received(&self) -> u64 {
        let lines = self.calls.iter().filter(|line| line.contains(" recvfrom("));
        lines.filter_map(|line| line.rsplit_once(" = ")?.1.trim().parse::<u64>().ok()).sum()
    }
}

fn held(upstream: &mut Upstream, count: usize) -> Vec<Connection> {
    (0..count).map(|_| upstream.connect().unwrap()).collect()
}

/// Of hundreds of sockets only those of the port come out of the kernel, and nothing else is read:
/// no process, no name, no counter, and no thread is started.
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
    // The standard library asks where the stack of the first thread ends.
    assert_eq!(opened("/proc/"), opened("/proc/self/maps"), "{:#?}", trace.calls);
}

/// One look is one dump: what is sent grows by a row for each socket, and so does nothing else.
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

/// In a network namespace of its own, where no segment is sent: one dump to begin with and one to end
/// with, and as many for the test of the classifier. A watch that looked every two seconds would ask
/// three times more.
#[test]
fn resting_host_costs_counters_not_dumps() {
    let path = std::env::temp_dir().join(format!("keepwarm-strace-rest-{}", std::process::id()));
    let script = "ip link set lo up && exec strace -f -s 0 -e trace=sendto,openat -o \"$1\" \"$0\" \
                  watch --level l1 --for 7s --format json";
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
    let asked = lines("/net/snmp");
    assert!(asked >= dumps + 3, "the counters were read {asked} times, {dumps} of them for a dump");
}
