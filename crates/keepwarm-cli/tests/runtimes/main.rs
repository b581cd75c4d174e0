//! `keepwarm watch` before real runtimes, each with a habit that people have: what it names must be
//! what was done.
//!
//! A runtime that is not there is skipped, and said: Go (`go` in the PATH, or named by
//! `KEEPWARM_GO`), Python with requests, httpx and aiohttp (`python3`, or `KEEPWARM_PYTHON`), Java
//! with its compiler (`java`, or `KEEPWARM_JAVA`, several parted by colons), PHP with curl, Ruby,
//! .NET (`dotnet`, or `KEEPWARM_DOTNET`, and `mcs`, the compiler of Mono), Node, nginx. reqwest is no dependency of
//! this workspace: `cargo build --manifest-path bench/reqwest/Cargo.toml` makes its client, or
//! `KEEPWARM_REQWEST` names it.

// A helper of a test is a test: a panic is its answer.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod dotnet;
mod go;
mod java;
mod nobody;
mod python;
mod rust;
mod scripts;
mod servers;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::{Service, end_watch, keepwarm, reaches_level_l2, start_watch};

/// Two cores: one scene at a time.
fn alone() -> MutexGuard<'static, ()> {
    static GATE: Mutex<()> = Mutex::new(());
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A program that ends when its standard input does, and is killed with the test.
struct Program {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Program {
    fn start(command: &mut Command) -> Program {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Program { child, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns what a watch reports of the clients of `service` while `scene` plays.
fn watched(service: SocketAddr, scene: impl FnOnce()) -> Value {
    watched_from("client", service, scene)
}

/// Returns what a watch reports of one side of a service.
fn watched_from(side: &str, service: SocketAddr, scene: impl FnOnce()) -> Value {
    watched_by(keepwarm(), side, service, scene)
}

/// Returns what a given command, as another user for example, reports of one side of a service.
fn watched_by(
    mut keepwarm: Command,
    side: &str,
    service: SocketAddr,
    scene: impl FnOnce(),
) -> Value {
    let port = format!(":{}", service.port());
    let watch = start_watch(keepwarm.args(["watch", &port, "--format", "json"]));
    scene();
    let document = end_watch(watch);
    assert_eq!(document["lost_events"], 0);
    let all = document["destinations"].as_array().unwrap();
    let name = service.to_string();
    let found = all.iter().find(|one| one["remote"] == name && one["side"] == side);
    found.unwrap_or_else(|| panic!("no {side} of {name} in {document:#}")).clone()
}

/// Returns what a watch says of a client that follows `habit` and then prints "done".
fn habit(mut client: Command, habit: &str) -> Value {
    let _alone = alone();
    let service = Service::start(&["data"]);
    let mut running = None;
    watched(service.address, || {
        let mut client = Program::start(client.args([habit, &service.url("/data")]));
        assert_eq!(client.line(), "done");
        running = Some(client);
    })
}

#[track_caller]
fn assert_named(seen: &Value, code: &str, in_words: &str) {
    let first = &seen["findings"][0];
    assert_eq!(first["code"], code, "{seen:#}");
    let words = format!("{} {}", first["summary"], first["advice"]);
    // The advice for a runtime takes an owner; the code holds without one.
    let is_named = words.contains(in_words) || names_no_owner(seen);
    assert!(is_named, "{in_words:?} is not in {words}");
    if code != "healthy" {
        assert!(first["confidence"].as_f64().unwrap() >= 0.5, "{seen:#}");
        // The advice is for the runtime found there, or for the other end.
        let runtime = seen["owners"][0]["runtime"].as_str();
        let advice = first["advice"].as_str().unwrap();
        let is_for = |it: &str| advice.starts_with(&format!("{it}: "));
        assert!(advice.starts_with("at the ") || runtime.is_none_or(is_for), "{seen:#}");
    }
}

fn here(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/runtimes/clients").join(file)
}

fn runs(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Returns true, and says so, where no dump met the owner alive and this user reaches no traces.
fn names_no_owner(seen: &Value) -> bool {
    let unknown = seen["owners"].as_array().unwrap().is_empty() && !reaches_level_l2();
    if unknown {
        skipped::because("the owner of connections that no dump met alive is known at level L2");
    }
    unknown
}

/// Asserts that the main owner was recognised as runtime `name`, its version beginning with
/// `version`.
#[track_caller]
fn assert_runs_on(seen: &Value, name: &str, version: &str) {
    if names_no_owner(seen) {
        return;
    }
    let runtime = seen["owners"][0]["runtime"].as_str();
    let expected = format!("{name} {version}");
    assert!(runtime.is_some_and(|it| it.starts_with(&expected)), "{expected}, not {seen:#}");
}

/// The first number that a program prints of itself, such as `17.0` or `25`.
fn version_of(command: &mut Command) -> String {
    let output = command.output().expect("it starts");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut words = text.split(|c: char| !(c.is_ascii_digit() || c == '.'));
    let version = words.find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let numbers: Vec<&str> = version.expect("a version").split('.').take(2).collect();
    numbers.join(".")
}
