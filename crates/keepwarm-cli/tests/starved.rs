//! A load without the processor that it needs knows that its numbers are its own. The truth is the
//! server's: it thinks for a known time, and logs how long each answer took it.
//!
//! `bench/starved` has more cases, with the truth taken from packets.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::finish;
use serde_json::Value;

const THINK: Duration = Duration::from_millis(2);

/// Differences below this are the wake-up of an idle core.
const SLACK_MS: f64 = 0.5;

/// One case at a time: each needs the cores for itself.
static MACHINE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server that thinks, and the times in ms that its answers took it.
struct Thinking {
    address: SocketAddr,
    took: Arc<Mutex<Vec<f64>>>,
}

impl Thinking {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is left");
        let address = listener.local_addr().expect("an address");
        let took = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&took);
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                let _ = stream.set_nodelay(true);
                std::thread::spawn(move || {
                    while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                        let asked = Instant::now();
                        // The time to think is the truth that reports are held against.
                        std::thread::sleep(THINK);
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
                        if stream.write_all(answer).is_err() {
                            return;
                        }
                        let took = asked.elapsed().as_secs_f64() * 1e3;
                        log.lock().expect("no thread panics").push(took);
                    }
                });
            }
        });
        Self { address, took }
    }

    fn answered(&self) -> usize {
        self.took.lock().expect("no thread panics").len()
    }

    /// Returns the least time that the share `quantile` of the answers did not exceed.
    fn truth(&self, quantile: f64) -> f64 {
        let mut took = self.took.lock().expect("no thread panics").clone();
        took.sort_by(f64::total_cmp);
        let rank = (took.len() as f64 * quantile) as usize;
        took.get(rank.min(took.len().saturating_sub(1))).copied().unwrap_or(f64::MIN_POSITIVE)
    }
}

/// Programs that use a core each, until they are dropped.
struct Burners(Vec<Child>);

impl Burners {
    fn start(count: usize) -> Self {
        let burner = |_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
        Self((0..count).map(|one| burner(one).expect("sh is there")).collect())
    }
}

impl Drop for Burners {
    fn drop(&mut self) {
        for burner in &mut self.0 {
            let _ = burner.kill();
            let _ = burner.wait();
        }
    }
}

fn load(server: &Thinking, nice: bool, arguments: &[&str]) -> Child {
    let mut command = Command::new(if nice { "nice" } else { "env" });
    if nice {
        command.args(["-n", "19"]);
    }
    command.arg(env!("CARGO_BIN_EXE_keepwarm")).args(["load", "--format", "json"]).args(arguments);
    command.arg(format!("http://{}/", server.address));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it runs")
}

/// A load's times in ms, its verdict, and its exit code.
struct Report {
    times: Vec<(f64, Option<f64>)>,
    trust: String,
    code: Option<i32>,
    record: Value,
}

impl Report {
    /// Waits for the end of a load.
    fn of(child: Child) -> Self {
        let output = finish(child);
        let record: Value = serde_json::from_str(&output.stdout).expect("one document");
        let is_open = record["settings"]["open_loop"] == true;
        let times = &record[if is_open { "response_us" } else { "latency_us" }];
        let point = |name: &str| times[name].as_f64().map(|us| us / 1e3);
        let times = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")].map(|(at, name)| (at, point(name)));
        let trust = record["verdict"]["trust"].as_str().expect("a verdict").to_owned();
        Self { times: times.to_vec(), trust, code: output.status.code(), record }
    }

    /// Returns how often the true time is in what was reported beyond it. A load that was too
    /// starved for one answer has reported no time.
    fn own_share(&self, server: &Thinking, index: usize) -> f64 {
        let (quantile, Some(reported)) = self.times[index] else { return f64::INFINITY };
        let own = reported - server.truth(quantile);
        if own > SLACK_MS { own / server.truth(quantile) } else { 0.0 }
    }

    #[track_caller]
    fn is_invalid(&self) {
        let said = &self.record["verdict"];
        assert_eq!((self.trust.as_str(), self.code), ("invalid", Some(4)), "{said}");
        let reasons = said["reasons"].to_string();
        assert!(reasons.contains("the load itself was"), "{reasons}");
    }
}

const CLOSED: &[&str] = &["-z", "3s", "-c", "10"];
const OPEN: &[&str] = &["-z", "3s", "-c", "200", "--rate", "1000"];

#[test]
fn load_without_a_core_is_invalid() {
    let _machine = alone();
    let cores = std::thread::available_parallelism().expect("it is known").get();
    for arguments in [CLOSED, OPEN] {
        let server = Thinking::start();
        let burners = Burners::start(2 * cores);
        let report = Report::of(load(&server, true, arguments));
        drop(burners);
        assert!(report.own_share(&server, 1) > 1.0, "it was to be starved: {:?}", report.times);
        report.is_invalid();
    }
}

#[test]
fn stopped_load_is_invalid() {
    let _machine = alone();
    for arguments in [CLOSED, OPEN] {
        let server = Thinking::start();
        let child = load(&server, false, arguments);
        let pid = rustix::process::Pid::from_child(&child);
        assert!(common::until(|| server.answered() >= 50), "the load has not begun");
        for (signal, pause) in
            [(rustix::process::Signal::STOP, 1200), (rustix::process::Signal::CONT, 0)]
        {
            rustix::process::kill_process(pid, signal).expect("it runs");
            // The pause itself is the subject.
            std::thread::sleep(Duration::from_millis(pause));
        }
        Report::of(child).is_invalid();
    }
}

/// On a busy machine the load is late: then its numbers are, and it may say so.
#[test]
fn right_numbers_are_not_called_invalid() {
    let _machine = alone();
    for arguments in [CLOSED, OPEN] {
        let server = Thinking::start();
        let report = Report::of(load(&server, false, arguments));
        let own: Vec<f64> = (0..3).map(|index| report.own_share(&server, index)).collect();
        let said = format!("{own:?} {:?} {}", report.times, report.record["verdict"]);
        if own.iter().all(|own| *own < 1.0) {
            assert_ne!(report.trust, "invalid", "{said}");
            assert_eq!(report.code, Some(0), "{said}");
        }
        if own[0] > 1.0 {
            assert_eq!(report.trust, "invalid", "{said}");
        }
    }
}
