//! Watches that are stopped, or get no processor time, in a process of their own.

// Helpers of a test may panic: that fails the test.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use keepwarm_sockets::{Scope, Side, Watch};
use keepwarm_testkit::churn::{Family, Upstream, Way};
use keepwarm_testkit::{mortal, skipped};

/// The port that the other process watches.
const INSIDE: &str = "KEEPWARM_TEST_WATCHED_PORT";
const SETTLE: Duration = Duration::from_millis(500);

/// Runs one test at a time: the machine is what they need.
fn alone() -> MutexGuard<'static, ()> {
    static GATE: Mutex<()> = Mutex::new(());
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Watches the port, until a line comes, and prints numbers of the report.
#[test]
fn watch_in_a_process_of_its_own() {
    let Some(port) = std::env::var(INSIDE).ok().and_then(|port| port.parse().ok()) else { return };
    // 0 stands for every port.
    let scope = if port == 0 { Scope::default() } else { Scope::of_port(port) };
    let watch = Watch::start(scope).unwrap();
    println!("\nbegun");
    std::io::stdin().lines().next().unwrap().unwrap();
    let asked = Instant::now();
    let report = watch.finish(SETTLE).unwrap();
    print!("\nreport took={} late={}", asked.elapsed().as_millis(), report.late.as_millis());
    print!(" lost={}", report.lost_events);
    for one in &report.destinations {
        let side = if one.side == Side::Client { "client" } else { "server" };
        let closed = &one.closed;
        print!(" {side}.local={} {side}.remote={}", closed.local(), closed.remote());
        print!(" {side}.unclassified={}", closed.unclassified);
        let idle = [&one.idle_before_local_close, &one.idle_before_remote_close];
        let most = idle.into_iter().filter_map(|idle| idle.quantile(0.9)).max().unwrap_or(0);
        print!(" {side}.idle={most}");
    }
    println!();
}

/// Path of this program where any user may run it.
fn copy(port: u16) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("keepwarm-starved-{port}"))
}

fn is_root() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// How the other process runs.
enum How {
    Plainly,
    /// With the receive buffer that any user gets.
    AsNobody,
}

/// Another process that watches.
struct Other {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Other {
    fn start(port: u16, how: How) -> Other {
        let this = std::env::current_exe().unwrap();
        let mut command = match how {
            How::Plainly => mortal::command(this, "KILL"),
            How::AsNobody => {
                let copy = copy(port);
                std::fs::copy(this, &copy).unwrap();
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
                command.args(["--pdeathsig", "KILL"]).arg(copy);
                command
            }
        };
        command.args(["--exact", "watch_in_a_process_of_its_own", "--nocapture"]);
        command.env(INSIDE, port.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut other = Other { child, lines };
        other.line("begun");
        other
    }

    fn line(&mut self, beginning: &str) -> String {
        let mut line = String::new();
        while !line.starts_with(beginning) {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended");
        }
        line
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    fn finish(mut self) -> HashMap<String, u64> {
        writeln!(self.child.stdin.take().unwrap()).unwrap();
        let line = self.line("report");
        self.child.wait().unwrap();
        let mut sums = HashMap::new();
        for (name, number) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
            *sums.entry(name.to_owned()).or_default() += number.parse::<u64>().unwrap();
        }
        sums
    }
}

#[test]
fn stopped_watch_says_that_it_was_late() {
    let _alone = alone();
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let watch = Other::start(upstream.port(), How::Plainly);
    upstream.play(Way::ClientFin, 50, 1).unwrap();
    watch.signal("-STOP");
    upstream.play(Way::ClientFin, 50, 1).unwrap();
    // The pause itself is the subject; then the watch has a moment to see that it was late.
    std::thread::sleep(Duration::from_millis(1_100));
    watch.signal("-CONT");
    std::thread::sleep(Duration::from_millis(300));
    let report = watch.finish();
    assert!((800..5_000).contains(&report["late"]), "{report:?}");
    assert!(report["took"] < 3_000, "{report:?}");
    assert_eq!(report["client.local"], 100, "{report:?}");
    // Connections that close at once idle for no second, however late their events are read.
    assert!(report["client.idle"] < 500, "{report:?}");
}

/// Events that the kernel dropped while the watch was stopped lead to no wrong closer.
#[test]
fn lost_events_accuse_no_side() {
    let _alone = alone();
    let watch = Other::start(0, if is_root() { How::AsNobody } else { How::Plainly });
    let until = Instant::now() + Duration::from_secs(6);
    let churn = || {
        let mut upstream = Upstream::listen(Family::V4).unwrap();
        while Instant::now() < until {
            upstream.play(Way::ClientFin, 50, 1).unwrap();
        }
    };
    // Events are lost one by one while they are read too slowly.
    std::thread::scope(|scope| {
        let threads = [scope.spawn(churn), scope.spawn(churn)];
        while !threads.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            watch.signal("-STOP");
            // The pause itself is the subject: longer than the kernel keeps events.
            std::thread::sleep(Duration::from_millis(1_500));
            watch.signal("-CONT");
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let report = watch.finish();
    let _ = std::fs::remove_file(copy(0));
    if report["lost"] == 0 {
        return skipped::because("the kernel keeps more events than a test makes");
    }
    assert_eq!((report["client.remote"], report["server.local"]), (0, 0), "{report:?}");
    assert!(report["client.local"] >= 100, "{report:?}");
}

#[test]
fn starved_watch_ends_in_time() {
    let _alone = alone();
    let upstream = Upstream::listen(Family::V4).unwrap();
    let mut burners: Vec<Child> = (0..8)
        .map(|_| {
            let mut burner = mortal::command("sh", "KILL");
            burner.args(["-c", "while :; do :; done"]).spawn().unwrap()
        })
        .collect();
    let watch = Other::start(upstream.port(), How::Plainly);
    // Time without a core is the subject.
    std::thread::sleep(Duration::from_secs(1));
    let report = watch.finish();
    for burner in &mut burners {
        burner.kill().unwrap();
        burner.wait().unwrap();
    }
    assert!(report["took"] < 4_000, "{report:?}");
}
