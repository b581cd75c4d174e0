//! Claim: a watch that names no process keeps no capability and sees no owner; names by reverse DNS come
//! only when they are asked for, and never hold the watch up.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::{
    exchange, finish, folder, keepwarm, kill, page_address, run, thread_statuses, until, wait,
};

/// Target of a request, with name and password behind it.
const AUTHORIZED: &str = "/metrics HTTP/1.1\r\nAuthorization: Basic cHJvbTpzZWNyZXQ=\r\nX:";
const REMOTE: &str = "10.99.0.5";
/// The next port of a service. One for each: a program that another test starts may hold a copy of the last listener
/// until it runs.
static PORT: AtomicU16 = AtomicU16::new(8_084);

fn namespace() -> Option<Namespace> {
    match Namespace::make() {
        Ok(namespace) => Some(namespace),
        Err(error) => {
            skipped::because(&error.to_string());
            None
        }
    }
}

#[test]
fn unowned_watch_keeps_no_capability() {
    let Some(namespace) = namespace() else { return };
    namespace.enter().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let service = listener.local_addr().unwrap();
    let mut command = keepwarm();
    let filter = format!("dst :{}", service.port());
    command.args(["watch", &filter, "--no-owners", "--listen", "127.0.0.1:0"]);
    // Read before the watch is confined, which may read no file then.
    let users = folder("confined-auth").join("users");
    std::fs::write(&users, "prom:secret\n").unwrap();
    command.arg("--listen-auth").arg(&users);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (address, _stdout) = page_address(&mut watch);
    let statuses = thread_statuses(watch.id());
    for status in &statuses {
        for wanted in ["CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(wanted), "{wanted}: {status}");
        }
    }
    assert!(statuses.len() >= 3, "{statuses:?}");
    let streams: Vec<_> = (0..9).map(|_| TcpStream::connect(service).unwrap()).collect();
    drop(streams);
    let opened = || {
        let page = exchange(address, "GET", AUTHORIZED);
        let name = "keepwarm_connections_opened_total{";
        page.lines().find(|line| line.starts_with(name)).map(str::to_owned)
    };
    assert!(until(|| opened().is_some_and(|line| line.ends_with(" 9"))), "{:?}", opened());
    assert!(!opened().unwrap().contains("process="), "{:?}", opened());
    assert!(exchange(address, "GET", "/metrics").starts_with("HTTP/1.1 401 "));
    kill(watch.id(), "TERM");
    assert!(wait(&mut watch).unwrap().success());
    let both = run(keepwarm().args(["watch", "--no-owners", "--all-netns"]));
    both.exits_with(2).says("--no-owners");
}

/// A name server that answers every question with one name, or none at all; counts the questions.
fn name_server(answers: bool) -> Arc<AtomicU32> {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut buffer = [0; 1_500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            count.fetch_add(1, Ordering::Relaxed);
            let mut answer = buffer[..length].to_vec();
            (answer[2], answer[7]) = (0x81, 1);
            answer.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60, 0, 13, 2, b'd', b'b', 8]);
            answer.extend(b"internal\0");
            if answers {
                let _ = socket.send_to(&answer, from);
            }
        }
    });
    asked
}

/// Watches connections to an address that is not of this host by its looks; returns the record.
fn watched(rootfs: &Path, arguments: &[&str]) -> Value {
    let port = PORT.fetch_add(1, Ordering::Relaxed);
    let service: SocketAddr = format!("{REMOTE}:{port}").parse().unwrap();
    let listener = TcpListener::bind(service).unwrap();
    let kept = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..3 {
        let client = TcpStream::connect(service).unwrap();
        kept.lock().unwrap().push((client, listener.accept().unwrap()));
    }
    let mut command = keepwarm();
    command
        .args(["watch", "--level", "l1", "--for", "4s", "--format", "json", "--rootfs"])
        .arg(rootfs);
    let watch =
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let record: Value = serde_json::from_str(&finish(watch).exits_with(0).stdout).unwrap();
    let is_it = |one: &&Value| one["side"] == "client" && one["remote"] == service.to_string();
    record["destinations"].as_array().unwrap().iter().find(is_it).unwrap().clone()
}

fn rootfs(name: &str) -> std::path::PathBuf {
    let rootfs = folder(name);
    let _ = std::fs::remove_dir_all(&rootfs);
    std::fs::create_dir_all(rootfs.join("etc")).unwrap();
    std::fs::write(rootfs.join("etc/resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    rootfs
}

#[test]
fn names_are_asked_for_on_request() {
    let Some(namespace) = namespace() else { return };
    namespace.enter().unwrap();
    namespace.run(&format!("ip addr add {REMOTE}/32 dev lo")).unwrap();
    let asked = name_server(true);
    let rootfs = rootfs("names-answered");
    let one = watched(&rootfs, &[]);
    assert_eq!((&one["remote_name"], asked.load(Ordering::Relaxed)), (&Value::Null, 0), "{one}");
    let one = watched(&rootfs, &["--resolve"]);
    assert_eq!((&one["remote_name"], asked.load(Ordering::Relaxed)), (&"db.internal".into(), 1));
    // The hosts file comes first.
    std::fs::write(rootfs.join("etc/hosts"), format!("{REMOTE} of-the-file\n")).unwrap();
    let one = watched(&rootfs, &["--resolve"]);
    assert_eq!((&one["remote_name"], asked.load(Ordering::Relaxed)), (&"of-the-file".into(), 1));
}

#[test]
fn silent_name_server_holds_nothing_up() {
    let Some(namespace) = namespace() else { return };
    namespace.enter().unwrap();
    namespace.run(&format!("ip addr add {REMOTE}/32 dev lo")).unwrap();
    let asked = name_server(false);
    let one = watched(&rootfs("names-silent"), &["--resolve"]);
    assert_eq!((&one["remote_name"], &one["established"]), (&Value::Null, &3.into()), "{one}");
    assert!((1..=2).contains(&asked.load(Ordering::Relaxed)), "{asked:?}");
}
