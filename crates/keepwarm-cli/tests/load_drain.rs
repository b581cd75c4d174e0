//! `--drain`: the TIME_WAITs of watched ports after a run, to their end or that of the time.
//!
//! A TIME_WAIT lasts a minute. Here the peer ends it sooner, by the RST that RFC 1337 warns of.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::thread::JoinHandle;
use std::time::Duration;

use common::{finish, keepwarm, kill, run, until};
use keepwarm_testkit::kernel::is_named;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

const CONNECTIONS: usize = 3;

/// A server of so many connections, which then no longer listens.
struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    fn start() -> Self {
        let listeners =
            std::iter::repeat_with(|| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
        let listener =
            listeners.take(100).find(|one| !is_named(port(one))).expect("an unused port");
        let address = listener.local_addr().expect("an address");
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming().take(CONNECTIONS).flatten() {
                std::thread::spawn(move || answer(stream));
            }
        });
        Self { address, accepting }
    }

    fn port(&self) -> String {
        self.address.port().to_string()
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

fn answer(mut stream: TcpStream) {
    while let Ok(1..) = stream.read(&mut [0; 4096]) {
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

/// Local ports of the client's TIME_WAITs to a port of 127.0.0.1.
fn waiting_to(port: u16) -> Vec<u16> {
    const TIME_WAIT: &str = "06";
    let remote = format!("0100007F:{port:04X}");
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").expect("Linux");
    let local = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, local) = fields[1].split_once(':')?;
        let waits = fields[2] == remote && fields[3] == TIME_WAIT;
        waits.then(|| u16::from_str_radix(local, 16).expect("a port"))
    };
    table.lines().skip(1).filter_map(local).collect()
}

/// Ends a TIME_WAIT: a SYN from the peer's port has its last ACK as an answer, and that makes the peer
/// send the RST which the TIME_WAIT obeys.
fn assassinate(peer: SocketAddr, local: u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.bind(&peer.into()).expect("the port is free");
    let client = SocketAddr::from(([127, 0, 0, 1], local));
    let connected = socket.connect_timeout(&client.into(), Duration::from_millis(50));
    assert!(connected.is_err(), "a TIME_WAIT accepts nothing");
}

fn load(server: &Server, options: &[&str]) -> std::process::Command {
    let mut command = keepwarm();
    command.args(["load", "-n", "30", "-c", "3", "-t", "1", "--watch", &server.port()]);
    command.args(options).arg(server.url());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn drain(stdout: &str) -> Value {
    let record: Value = serde_json::from_str(stdout).expect("one JSON document");
    assert_eq!(record["requests"]["completed"], 30);
    let hop = &record["hops"][0];
    let peak = &hop["time_wait"]["peak"]["client"];
    assert_eq!(*peak, CONNECTIONS as u64, "the peak is that of the run: {hop}");
    let samples = hop["samples"].as_array().expect("samples");
    let from_s = hop["drain"]["from_s"].as_f64().expect("a time");
    let later = samples.iter().filter(|one| one["at_s"].as_f64() > Some(from_s)).count();
    assert!(later > 0 && later < samples.len(), "of the drain, and of the run: {hop}");
    hop["drain"].clone()
}

#[test]
fn drain_ends_with_the_last_time_wait() {
    let server = Server::start();
    let (address, port) = (server.address, server.address.port());
    let load = &mut load(&server, &["--drain", "90s", "--format", "json"]);
    let mut child = load.spawn().expect("it starts");
    let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    assert!(line.starts_with("drain: 3 in TIME_WAIT"), "{line}");
    server.accepting.join().expect("it has accepted all");
    let gone = until(|| {
        waiting_to(port).into_iter().for_each(|local| assassinate(address, local));
        waiting_to(port).is_empty()
    });
    assert!(gone, "{:?}", waiting_to(port));
    let mut stdout = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut stdout).expect("UTF-8");
    assert_eq!(common::wait(&mut child).and_then(|status| status.code()), Some(0));
    let drain = drain(&stdout);
    assert_eq!((&drain["asked_s"], &drain["left"]["client"]), (&90.0.into(), &0.into()));
    let (emptied, took) = (drain["emptied_after_s"].as_f64(), drain["took_s"].as_f64());
    assert!(emptied > Some(0.0) && emptied <= took, "{drain}");
    assert!(emptied < Some(59.0), "none of them lived its minute: {drain}");
}

#[test]
fn drain_ends_with_its_time() {
    let server = Server::start();
    let output = run(&mut load(&server, &["--drain", "500ms", "--format", "json"]));
    let drain = drain(&output.exits_with(0).stdout);
    assert_eq!((&drain["left"]["client"], &drain["emptied_after_s"]), (&3.into(), &Value::Null));
    assert!(drain["took_s"].as_f64() >= Some(0.5), "{drain}");
    let text = run(&mut load(&Server::start(), &["--drain", "10ms"]));
    let line = "\ndrain                       3 in TIME_WAIT 0.";
    assert!(text.exits_with(0).stdout.contains(line), "{}", text.stdout);
}

#[test]
fn signal_ends_a_drain_with_the_report() {
    let server = Server::start();
    let child = load(&server, &["--drain", "1h", "--format", "json"]).spawn().expect("it starts");
    assert!(until(|| waiting_to(server.address.port()).len() == CONNECTIONS));
    kill(child.id(), "INT");
    let output = finish(child);
    assert_eq!(drain(&output.exits_with(130).stdout)["left"]["client"], 3);
}

#[test]
fn drain_without_a_port_is_refused() {
    run(keepwarm().args(["load", "--drain", "60s", "http://127.0.0.1:9/"]))
        .exits_with(2)
        .says("--watch");
    let fleet = ["load", "--fleet-check", "--watch", "9", "--drain", "60s", "http://127.0.0.1:9/"];
    run(keepwarm().args(fleet)).exits_with(2).says("--drain belongs to one machine");
}
