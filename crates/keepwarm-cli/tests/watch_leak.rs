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
/// The length of the watch.
const WATCHED: &str = "20s";
/// The greatest error of a forecast: 5 % of it, and the second to which it is written.
const OFF: f64 = 0.05;
const OFF_S: f64 = 1.0;

/// Opens connections to a host and its ports at a rate and keeps them, after some seconds; prints when
/// the first fails, and why.
const PROGRAM: &str = "
import errno, socket, sys, time
host, ports, rate, after = sys.argv[1:5]
ports, rate = ports.split(','), int(rate)
kept, begun = [], time.monotonic() + float(after)
print('begun', flush=True)
while True:
    time.sleep(max(0, begun + len(kept) / rate - time.monotonic()))
    try:
        kept.append(socket.create_connection((host, int(ports[len(kept) % len(ports)]))))
    except OSError as error:
        print(errno.errorcode[error.errno], flush=True)
        sys.stdin.read()
";

/// How a program leaks.
#[derive(Clone, Copy)]
struct Kind {
    host: &'static str,
    /// Its connections go to these ports in turn.
    ports: &'static str,
    per_s: u32,
    /// Files that it may have open.
    files: u32,
    /// It begins so many seconds after its start.
    after_s: u32,
    error: &'static str,
}

/// Leaks in the order in which they fail, the first at 44 s: of ports and of files; begun while the watch
/// goes on; over IPv6; of two processes to one service, by several services at once; of connections that
/// the peer has closed.
const KINDS: [Kind; 8] = [
    Kind { ports: "8081", per_s: 40, files: FILES, error: "EMFILE", ..KIND },
    Kind { ports: "8083", per_s: 40, files: FILES, error: "EMFILE", ..KIND },
    Kind { ports: "8085", per_s: 20, files: 910, error: "EMFILE", ..KIND },
    Kind { host: "::1", ports: "8086", per_s: 40, files: 1_900, error: "EMFILE", ..KIND },
    Kind { ports: "8087", per_s: 7, files: 300, after_s: 6, error: "EMFILE", ..KIND },
    Kind { ports: "8082", per_s: 40, ..KIND },
    Kind { ports: "8085", per_s: 10, files: 530, error: "EMFILE", ..KIND },
    Kind {
        ports: "8088,8089,8090,8091,8092,8093,8094,8095",
        per_s: 10,
        files: 560,
        error: "EMFILE",
        ..KIND
    },
];
const KIND: Kind = Kind {
    host: "127.0.0.1",
    ports: "",
    per_s: 0,
    files: 9_000,
    after_s: 0,
    error: "EADDRNOTAVAIL",
};

/// A program that leaks, killed when dropped.
struct Leak {
    kind: Kind,
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
    fn start(kind: Kind) -> Leak {
        let mut command = mortal::command("sh", "KILL");
        let Kind { host, ports, per_s, files, after_s, .. } = kind;
        let limited =
            format!("ulimit -n {files} && exec python3 -c \"$1\" {host} {ports} {per_s} {after_s}");
        command.args(["-c", &limited, "sh", PROGRAM]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "begun");
        Leak { kind, program: child, said }
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
fn serve(host: &str, port: u16, keeps: bool) {
    let listener = TcpListener::bind((host, port)).unwrap();
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
    (8081..=8095).filter(|port| ![8083, 8084, 8086].contains(port)).for_each(|port| {
        serve(KIND.host, port, true);
    });
    serve(KIND.host, 8083, false);
    serve("::1", 8086, true);
    let mut leaks = KINDS.map(Leak::start);
    let watch =
        run(keepwarm().args(["watch", "--level", "l1", "--for", WATCHED, "--format", "json"]));
    let looked_at = Instant::now();
    let record: Value = serde_json::from_str(&watch.exits_with(0).stdout).unwrap();
    let of = |kind: &Kind| {
        let all = record["destinations"].as_array().unwrap();
        let host = if kind.host == "::1" { "[::1]" } else { kind.host };
        let remote = format!("{host}:{}", &kind.ports[..4]);
        let found = all.iter().find(|one| one["remote"] == *remote && one["side"] == "client");
        found.cloned().unwrap()
    };
    for leak in &mut leaks {
        let Kind { ports, per_s, files, error, .. } = leak.kind;
        let one = of(&leak.kind);
        let both: u32 = KINDS.iter().filter(|it| it.ports == ports).map(|it| it.per_s).sum();
        let growth = one["growth_per_s"].as_f64();
        let is_right = |growth: f64| (growth - f64::from(both)).abs() <= OFF * f64::from(both);
        // Of several services each has few.
        assert!(ports.len() > 4 || growth.is_some_and(is_right), "{growth:?}/s: {one}");
        let of_files = error == "EMFILE";
        let forecast = &one[if of_files { "files" } else { "ports" }];
        let pid = leak.program.id();
        // Of two processes the one counts whose files run out first.
        let is_another = of_files && forecast["pid"] != pid;
        assert!(!is_another || both > per_s, "process {pid}: {one}");
        assert!(!of_files || is_another || forecast["limit"] == files, "{one}");
        let said = forecast["exhausted_in_s"].as_f64().unwrap_or_else(|| panic!("{one}"));
        assert_eq!(leak.fails(), error, "{ports}");
        let came = looked_at.elapsed().as_secs_f64();
        let off = (said - came).abs();
        let is_late = is_another && said < came;
        assert!(
            is_late || off <= OFF * came + OFF_S,
            "{error} of {ports}: said {said} s, came after {came:.1} s"
        );
    }
    let unclosed = of(&KINDS[1]);
    assert!(unclosed["close_wait"].as_u64() > Some(100), "{unclosed}");
    let ports = of(&KINDS[5]);
    let codes = ports["findings"].as_array().unwrap();
    assert!(codes.iter().any(|finding| finding["code"] == "D10"), "{ports}");
}
