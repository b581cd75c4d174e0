//! Claim: real servers of HTTP/2 serve the load: nginx, nghttpd and Go, each with the limits that it has
//! by itself. A server that is not installed is said and skipped.

mod common;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::run;
use common::tls::Authority;
use keepwarm_load::{Plan, Summary};
use keepwarm_testkit::skipped;

/// The longest wait for a server to listen; Go compiles its program first.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server of the test's own, ended with it.
struct Server {
    child: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("keepwarm-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Starts a server and waits until it listens; `None` if the program is not there.
fn start(mut command: Command, address: SocketAddr, folder: &Path) -> Option<Server> {
    let name = command.get_program().to_string_lossy().into_owned();
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    let Ok(child) = quiet.spawn() else {
        skipped::because(&format!("{name} is not installed"));
        return None;
    };
    let mut server = Server { child, folder: folder.to_owned(), address };
    let begun = Instant::now();
    while TcpStream::connect(address).is_err() {
        let ended = server.child.try_wait().expect("a child");
        assert!(ended.is_none(), "{name} has ended: {ended:?}");
        assert!(begun.elapsed() < PATIENCE, "{name} does not listen");
        // A program of others opens no gate: its port is asked until it answers.
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(server)
}

fn nginx(settings: &str) -> Option<Server> {
    let (address, folder) = (free_port(), folder(&format!("nginx-h2-{}", settings.len())));
    let place = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/{kind};"));
    let text = format!(
        "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ {} access_log off; {settings}\n\
         server {{ listen {address} http2; location / {{ return 200 \"ok\"; }} }} }}\n",
        temporary.concat()
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, text).expect("a file");
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&folder).arg("-c").arg(&file);
    start(command, address, &folder)
}

fn load(server: &Server, scheme: &str, streams: usize) -> keepwarm_load::PlanBuilder {
    Plan::builder(format!("{scheme}://{}/", server.address)).http2(streams).concurrency(2)
}

#[track_caller]
fn all_answered(summary: &Summary, requests: u64) {
    assert_eq!((summary.completed, summary.failed), (requests, 0), "{:?}", summary.errors);
}

#[test]
fn nginx_answers_every_request() {
    let Some(server) = nginx("http2_max_concurrent_streams 20; keepalive_requests 1000000;") else {
        return;
    };
    let summary = run(load(&server, "http", 50).requests(5000));
    all_answered(&summary, 5000);
    assert_eq!(summary.statuses[&200], 5000);
    assert_eq!((summary.ledger.opened, summary.body_bytes), (2, 10_000));
    assert_eq!(summary.ledger.streams.at_once.max(), Some(20));
    assert!(summary.server_header.is_some_and(|server| server.starts_with("nginx")));
}

/// nginx ends a connection after so many requests, by GOAWAY, whatever is in flight.
#[test]
fn nginx_goaways_fail_no_request() {
    let Some(server) = nginx("keepalive_requests 100;") else { return };
    let summary = run(load(&server, "http", 10).requests(3000));
    all_answered(&summary, 3000);
    assert!(summary.ledger.streams.goaways >= 28, "{:?}", summary.ledger.streams);
}

#[test]
fn nginx_takes_bodies_of_many_frames() {
    let Some(server) = nginx("client_max_body_size 10m;") else { return };
    let summary = run(load(&server, "http", 5).requests(50).body(vec![b'x'; 300_000]));
    all_answered(&summary, 50);
}

#[test]
fn nghttpd_agrees_by_alpn() {
    let (authority, address, folder) = (Authority::new(), free_port(), folder("nghttpd"));
    let (certificate, key) = authority.issue("localhost");
    std::fs::write(folder.join("cert.pem"), certificate.pem()).expect("a file");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("a file");
    std::fs::write(folder.join("item"), vec![b'x'; 100_000]).expect("a file");
    let mut command = Command::new("nghttpd");
    command.arg("-a").arg("127.0.0.1").arg("-d").arg(&folder).arg(address.port().to_string());
    command.args(["key.pem", "cert.pem"].map(|file| folder.join(file)));
    let Some(server) = start(command, address, &folder) else { return };
    let url = format!("https://localhost:{}/item", server.address.port());
    let builder = Plan::builder(url).http2(20).concurrency(2).tls_roots(authority.pem());
    let summary = run(builder.requests(400));
    all_answered(&summary, 400);
    assert_eq!((summary.ledger.opened, summary.body_bytes), (2, 40_000_000));
}

#[test]
fn go_answers_open_and_closed_loops() {
    let Some(go) = std::env::var_os("KEEPWARM_GO").filter(|go| !go.is_empty()) else {
        skipped::because("KEEPWARM_GO names no Go");
        return;
    };
    let (address, folder) = (free_port(), folder("go-h2"));
    std::fs::write(folder.join("main.go"), GO.replace("ADDRESS", &address.to_string()))
        .expect("a file");
    let mut command = Command::new(go);
    command.args(["build", "-o", "server", "main.go"]).current_dir(&folder);
    assert!(command.status().expect("Go runs").success(), "the program compiles");
    let Some(server) = start(Command::new(folder.join("server")), address, &folder) else { return };
    let summary = run(load(&server, "http", 300).requests(3000));
    all_answered(&summary, 3000);
    // 250 is Go's own limit.
    assert_eq!(summary.ledger.streams.limit, Some(250));
    let summary = run(load(&server, "http", 10).rate(500.0).requests(500));
    all_answered(&summary, 500);
}

const GO: &str = r#"package main

import "net/http"

func main() {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("ok")) })
	server := http.Server{Addr: "ADDRESS", Handler: handler, Protocols: &protocols}
	panic(server.ListenAndServe())
}
"#;
