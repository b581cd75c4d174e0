//! The forecasts of `keepwarm watch` for programs that close nothing, compared with when connect(2)
//! and socket(2) fail, in a network namespace with few ports.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::{mortal, skipped};
use serde_json::Value;

use crate::common::{keepwarm, run};

/// Local ports of the namespace, and files that a program may have open.
const PORTS: u32 = 2_000;
const FILES: u32 = 1_700;
/// Connections a second that a program opens and keeps.
const RATE: u32 = 40;
/// The greatest error of a forecast: 5 % of it, and the second to which it is written.
const OFF: f64 = 0.05;
const OFF_S: f64 = 1.0;

/// Opens connections at a rate and keeps them; prints when the first fails, and why.
const PROGRAM: &str = "
import errno, socket, sys, time
port, rate = int(sys.argv[1]), int(sys.argv[2])
kept, begun = [], time.monotonic()
print('begun', flush=True)
while True:
    time.sleep(max(0, begun + len(kept) / rate - time.monotonic()))
    try:
        kept.append(socket.create_connection(('127.0.0.1', port)))
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
        sys.stdin.read()
";

/// A program that leaks, killed when dropped.
struct Leak {
    program: Child,
    said: BufReader<ChildStdout>,
}

impl Drop for Leak {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Leak {
    fn start(port: u16, files: u32) -> Leak {
        let mut command = mortal::command("sh", "KILL");
        let (port, rate) = (port.to_string(), RATE.to_string());
        let limited = format!("ulimit -n {files} && exec python3 -c \"$1\" {port} {rate}");
        command.args(["-c", &limited, "sh", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "begun");
        Leak { program: child, said }
    }

    /// Waits until it fails; returns the error.
    fn fails(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        assert!(self.program.try_wait().unwrap().is_none(), "it keeps what it has");
        line.trim().to_owned()
    }
}

/// Accepts, and keeps each connection, or closes it at once.
fn serve(port: u16, keeps: bool) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        let mut kept: Vec<TcpStream> = Vec::new();
        kept.extend(listener.incoming().flatten().filter(|_| keeps));
    });
}

#[test]
fn leaks_run_out_when_forecast() {
    let namespace = match Namespace::make() {
        Ok(namespace) => namespace,
        Err(error) => return skipped::because(&error.to_string()),
    };
    if !Command::new("python3").arg("-V").output().is_ok_and(|it| it.status.success()) {
        return skipped::because("python3 is not installed");
    }
    namespace.enter().unwrap();
    let range = format!("20000 {}", 19_999 + PORTS);
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", range).unwrap();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let all = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, all).unwrap();
    serve(8081, true);
    serve(8082, true);
    serve(8083, false);
    // Ports run out; files run out, of open connections and of those in CLOSE_WAIT.
    let leaks = [(8081, 9_000), (8082, FILES), (8083, FILES)];
    let mut leaks = leaks.map(|(port, files)| Leak::start(port, files));
    let watch =
        run(keepwarm().args(["watch", "--level", "l1", "--for", "20s", "--format", "json"]));
    let looked_at = Instant::now();
    let record: Value = serde_json::from_str(&watch.exits_with(0).stdout).unwrap();
    let of = |port: u16| {
        let all = record["destinations"].as_array().unwrap();
        let remote = format!("127.0.0.1:{port}");
        let found = all.iter().find(|one| one["remote"] == *remote && one["side"] == "client");
        found.cloned().unwrap()
    };
    let [ports, files, unclosed] = [8081, 8082, 8083].map(of);
    for one in [&ports, &files, &unclosed] {
        let growth = one["growth_per_s"].as_f64().unwrap_or_else(|| panic!("{one}"));
        assert!((growth - f64::from(RATE)).abs() <= OFF * f64::from(RATE), "{growth}/s: {one}");
    }
    assert!(unclosed["close_wait"].as_u64() > Some(100), "{unclosed}");
    for (one, leak) in [(&files, &leaks[1]), (&unclosed, &leaks[2])] {
        assert_eq!(
            (&one["files"]["pid"], &one["files"]["limit"]),
            (&leak.program.id().into(), &FILES.into())
        );
    }
    let forecasts = [&ports["ports"], &files["files"], &unclosed["files"]];
    for (place, (forecast, error)) in
        forecasts.into_iter().zip(["EADDRNOTAVAIL", "EMFILE", "EMFILE"]).enumerate().rev()
    {
        // The files run out first: in the order of time.
        let said = forecast["exhausted_in_s"].as_f64().unwrap_or_else(|| panic!("{forecast}"));
        assert_eq!(leaks[place].fails(), error);
        let came = looked_at.elapsed().as_secs_f64();
        let off = (said - came).abs();
        assert!(off <= OFF * came + OFF_S, "{error}: said {said} s, came after {came:.1} s");
    }
    let codes = ports["findings"].as_array().unwrap();
    assert!(codes.iter().any(|finding| finding["code"] == "D10"), "{ports}");
}
