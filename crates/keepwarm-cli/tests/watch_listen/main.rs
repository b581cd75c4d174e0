//! The page of `keepwarm watch --listen`: its numbers, its limits, and what real Prometheus makes of
//! it.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod http;
mod page;
mod prometheus;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;

use crate::common::{keepwarm, kill, wait};

/// A running `keepwarm watch --listen`, killed when dropped.
struct Exporter {
    child: Child,
    scheme: String,
    address: SocketAddr,
    _stdout: BufReader<ChildStdout>,
}

impl Exporter {
    /// Starts one on a free port; returns once its window has begun.
    fn start(arguments: &[&str]) -> Exporter {
        let mut command = keepwarm();
        command.args(["watch", "--listen", "127.0.0.1:0"]).args(arguments);
        Exporter::of(command.stdin(Stdio::null()).stderr(Stdio::null()))
    }

    fn of(command: &mut Command) -> Exporter {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
        let (scheme, rest) = url.split_once("://").unwrap();
        let (address, path) = rest.trim_end().split_once('/').unwrap();
        assert_eq!(path, "metrics");
        let (scheme, address) = (scheme.to_owned(), address.parse().unwrap());
        Exporter { child, scheme, address, _stdout: stdout }
    }

    /// Ends it as systemd and Kubernetes do; returns its exit code.
    fn terminate(mut self) -> Option<i32> {
        kill(self.child.id(), "TERM");
        wait(&mut self.child).expect("it ends").code()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a network namespace of the test's own; `None`, with a note, where none can be had.
fn namespace() -> Option<Namespace> {
    match Namespace::make() {
        Ok(namespace) => Some(namespace),
        Err(error) => {
            skipped::because(&error.to_string());
            None
        }
    }
}

/// Returns true if a program can be started; notes that it cannot.
fn has(program: &str) -> bool {
    let mut run = Command::new(program);
    let found = run.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        skipped::because(&format!("{program} is not installed"));
    }
    found
}
