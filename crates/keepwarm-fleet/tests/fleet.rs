//! Claim: a fleet's result is that of one load, and a fleet that cannot give it says so.
//!
//! A real nats-server, real workers, a real HTTP server that counts. Skipped, loudly, without a
//! nats-server in PATH.

#![allow(clippy::unwrap_used)] // A failed step of the set-up fails the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use keepwarm_record::load::LoadRecord;
use keepwarm_testkit::http_server::HttpServer;
use keepwarm_testkit::skipped;

/// Longer than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends a child with the test.
struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn fleet() -> Command {
    Command::new(env!("CARGO_BIN_EXE_keepwarm-fleet"))
}

/// Returns false, after a loud word, if the test cannot run here.
fn can_run() -> bool {
    let tool = Path::new(env!("CARGO_BIN_EXE_keepwarm-fleet")).with_file_name("keepwarm");
    if !tool.is_file() {
        skipped::because("no keepwarm beside keepwarm-fleet: cargo build -p keepwarm-cli");
        return false;
    }
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&dirs).chain(["/usr/sbin".into()]).collect::<Vec<_>>();
    if !dirs.iter().any(|dir| dir.join("nats-server").is_file()) {
        skipped::because("no nats-server: apt install nats-server");
        return false;
    }
    true
}

fn scratch() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("fleet-test-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn wait_for<T>(what: &str, mut of: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = of() {
            return value;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A nats-server without keys, and its URL.
struct Nats {
    _server: Ends,
    url: String,
    directory: PathBuf,
}

impl Nats {
    fn start(with_jetstream: bool) -> Self {
        let directory = scratch();
        let mut command = Command::new("nats-server");
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).args(["--addr", "127.0.0.1", "--port", "-1"]);
        command.arg("--ports_file_dir").arg(&directory);
        if with_jetstream {
            command.arg("--jetstream").arg("--store_dir").arg(directory.join("js"));
        }
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ports = directory.join(format!("nats-server_{}.ports", child.id()));
        let server = Ends(child);
        let url = wait_for("port of nats-server", || {
            let text = std::fs::read_to_string(&ports).ok()?;
            let ports: serde_json::Value = serde_json::from_str(&text).ok()?;
            Some(ports["nats"][0].as_str()?.to_owned())
        });
        Self { _server: server, url, directory }
    }

    /// Starts a worker, and waits until it waits.
    fn worker(&self, name: &str, more: &[&str]) -> Ends {
        let log = self.directory.join(format!("{name}.log"));
        let mut command = fleet();
        command.args(["worker", "--nats", &self.url, "--name", name]).args(more);
        command.arg("--directory").arg(&self.directory);
        command.stderr(std::fs::File::create(&log).unwrap()).stdout(Stdio::null());
        let child = Ends(command.spawn().unwrap());
        wait_for("waiting worker", || {
            std::fs::read_to_string(&log).ok().filter(|text| text.contains("waits at"))
        });
        child
    }

    fn run(&self, more: &[&str]) -> Command {
        let mut command = fleet();
        command.args(["run", "--nats", &self.url, "--wait", "20s"]);
        command.arg("--output").arg(self.directory.join("run.json")).args(more);
        command
    }
}

/// A run whose stderr is read line by line.
struct Watched {
    child: Ends,
    lines: std::io::Lines<BufReader<ChildStderr>>,
    said: String,
}

impl Watched {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child: Ends(child), lines, said: String::new() }
    }

    /// Reads until a line has `words`.
    fn until(&mut self, words: &str) {
        while !self.said.lines().last().is_some_and(|line| line.contains(words)) {
            let line = self.lines.next().unwrap_or_else(|| panic!("{words}: {}", self.said));
            self.said += &(line.unwrap() + "\n");
        }
    }

    fn end(mut self) -> (Option<i32>, String) {
        for line in self.lines.by_ref() {
            self.said += &(line.unwrap() + "\n");
        }
        (self.child.0.wait().unwrap().code(), self.said)
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn server() -> HttpServer {
    HttpServer::start(|conn| {
        while conn.read_request() {
            conn.respond("ok");
        }
    })
}

#[test]
fn local_fleet_counts_as_the_server() {
    if !can_run() {
        return;
    }
    let server = server();
    let path = scratch().join("run.json");
    let mut command = fleet();
    command.args(["run", "--local", "3", "--format", "json", "--output"]).arg(&path);
    let output = command.args(["--", "-n", "1001", "-c", "9", &server.url()]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let record: LoadRecord = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(record.requests.completed, 1001);
    assert_eq!(record.latency_us.count, 1001);
    assert_eq!(record.merged.as_ref().map(|merged| merged.parts.len()), Some(3));
    assert_eq!(record.connections.opened, 9);
    let truth = server.finish();
    assert_eq!(truth.requests, 1001);
    let kept: LoadRecord = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(kept.requests, record.requests);
}

#[test]
fn assertions_judge_the_merged_record() {
    if !can_run() {
        return;
    }
    let server = server();
    let path = scratch().join("run.json");
    let mut command = fleet();
    command.args(["run", "--local", "2", "--output"]).arg(&path);
    let load = ["--", "-n", "400", "-c", "4", "--assert", "requests.completed>=400", "--assert"];
    // Each part alone has 200.
    let output =
        command.args(load).args(["requests.completed>400", &server.url()]).output().unwrap();
    assert_eq!(output.status.code(), Some(10), "{}", said(&output));
}

#[test]
fn worker_refuses_targets_outside_its_list() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(true), server());
    let _worker = nats.worker("w1", &["--allow-target", "10.0.0.0/8:*"]);
    let output = nats.run(&["--", "-n", "10", "-c", "1", &server.url()]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("w1") && said.contains("127.0.0.1"), "{said}");
    assert_eq!(server.finish().requests, 0);
}

#[test]
fn worker_refuses_more_than_its_limits() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(true), server());
    let limits = ["--allow-target", "127.0.0.0/8:*", "--max-rate", "100", "--max-connections", "5"];
    let _worker = nats.worker("w1", &limits);
    let url = server.url();
    for (load, limit) in [
        (["--rate", "1000", "-z", "1s", "-c", "2", &url].as_slice(), "--max-rate"),
        (&["-n", "100", "-c", "50", &url], "--max-connections"),
    ] {
        let output = nats.run(&["--"]).args(load).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(limit), "{said}");
    }
    assert_eq!(server.finish().requests, 0);
}

#[test]
fn killed_worker_makes_the_run_invalid() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(true), server());
    let allowed = ["--allow-target", "127.0.0.0/8:*"];
    let (_kept, mut killed) = (nats.worker("w1", &allowed), nats.worker("w2", &allowed));
    let mut command = nats.run(&["--workers", "2", "--", "--rate", "50", "-z", "20s", "-c", "4"]);
    let mut run = Watched::start(command.arg(server.url()));
    run.until("all workers are running");
    killed.0.kill().unwrap();
    let (code, said) = run.end();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("w2") && said.contains("lost"), "{said}");
    let record = std::fs::read(nats.directory.join("run.json")).unwrap();
    let record: LoadRecord = serde_json::from_slice(&record).unwrap();
    assert!(record.requests.completed > 0, "what the other counted is kept");
}

/// Its result comes after all, and the run stays invalid: the others were stopped.
#[test]
fn stopped_worker_makes_the_run_invalid() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(true), server());
    let allowed = ["--allow-target", "127.0.0.0/8:*"];
    let (_kept, frozen) = (nats.worker("w1", &allowed), nats.worker("w2", &allowed));
    let signal = |name: &str| {
        let pid = frozen.0.id().to_string();
        assert!(Command::new("kill").args([name, pid.as_str()]).status().unwrap().success());
    };
    let load = ["--workers", "2", "--", "--rate", "50", "-z", "12s", "-c", "4"];
    let mut run = Watched::start(nats.run(&load).arg(server.url()));
    run.until("all workers are running");
    signal("-STOP");
    run.until("lost at");
    signal("-CONT");
    let (code, said) = run.end();
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("INVALID: worker w2 lost"), "{said}");
}

#[test]
fn second_coordinator_is_refused() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(true), server());
    let allowed = ["--allow-target", "127.0.0.0/8:*"];
    let (_one, _two) = (nats.worker("w1", &allowed), nats.worker("w2", &allowed));
    let load = ["--run", "same", "--", "--rate", "20", "-z", "6s", "-c", "2"];
    let mut first = Watched::start(nats.run(&load).arg(server.url()));
    first.until("workers joined");
    let output = nats.run(&load).arg(server.url()).output().unwrap();
    let told = said(&output);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("has a coordinator already"), "{told}");
    let (code, told) = first.end();
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn server_that_cannot_serve_is_named() {
    if !can_run() {
        return;
    }
    let nats = Nats::start(false);
    let output = nats.run(&["--", "-n", "1", "-c", "1", "http://127.0.0.1:9/"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("no JetStream"), "{}", said(&output));
    let http = server();
    let url = format!("nats://{}", http.address());
    let output = fleet().args(["look", "--nats", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("is a nats-server there"), "{}", said(&output));
}

#[test]
fn unshared_arguments_are_refused_by_name() {
    if !can_run() {
        return;
    }
    for argument in ["--one", "--find=p99<1s", "-o", "--share=1/2", "@file", "--only=0.0.0.0/0:*"] {
        let load = ["run", "--local", "2", "--", argument, "http://127.0.0.1:9/"];
        let output = fleet().args(load).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{argument}: {said}");
        let name = argument.split('=').next().unwrap_or_default();
        assert!(said.contains(name), "{argument}: {said}");
    }
}
