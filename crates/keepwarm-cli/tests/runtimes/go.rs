//! Go, of `clients/client.go`.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::Service;
use crate::{Program, alone, assert_named, assert_runs_on, here, runs, watched_from};

/// The Go client, built once; `None` if there is no Go.
fn go_client() -> Option<PathBuf> {
    static BUILT: Mutex<Option<Option<PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.get_or_insert_with(build_go_client).clone()
}

fn build_go_client() -> Option<PathBuf> {
    let go = std::env::var("KEEPWARM_GO").unwrap_or_else(|_| "go".into());
    if !runs(Command::new(&go).arg("version")) {
        skipped::because("no Go (`go` in the PATH, or KEEPWARM_GO)");
        return None;
    }
    let folder = crate::common::folder("watch-go");
    let program = folder.join("client");
    let built = Command::new(&go)
        .args(["build", "-o"])
        .arg(&program)
        .arg(here("client.go"))
        .env("GOCACHE", folder.join("cache"))
        .env("GOPATH", folder.join("path"))
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "-mod=mod")
        .env("CGO_ENABLED", "0")
        .status()
        .unwrap();
    assert!(built.success(), "the Go client builds");
    Some(program)
}

fn go(habit: &str, service: SocketAddr) -> Option<Value> {
    go_from("client", habit, service)
}

/// Returns what a watch says of one side of a Go client's connections; `None` without Go.
fn go_from(side: &str, habit: &str, service: SocketAddr) -> Option<Value> {
    let client = go_client()?;
    let _alone = alone();
    let mut running = None;
    Some(watched_from(side, service, || {
        let url = format!("http://{service}/data");
        let mut client = Program::start(Command::new(client).args([habit, &url]));
        assert_eq!(client.line(), "done");
        running = Some(client);
    }))
}

#[test]
fn go_with_its_two_idle_connections_is_d2() {
    let service = Service::start(&["data"]);
    let Some(seen) = go("two-idle", service.address) else { return };
    assert_named(&seen, "D2", "MaxIdleConnsPerHost");
    assert_runs_on(&seen, "go", "1.");
    assert_eq!(seen["established"], 2);
    assert!(
        seen["findings"][0]["summary"].as_str().unwrap().contains("the default of Go net/http")
    );
}

#[test]
fn go_with_a_pool_as_large_as_its_bursts_is_healthy() {
    let service = Service::start(&["data"]);
    let Some(seen) = go("large-pool", service.address) else { return };
    assert_named(&seen, "healthy", "connections are kept");
}

#[test]
fn go_with_a_transport_for_each_request_is_d1_though_nothing_is_closed() {
    let service = Service::start(&["data"]);
    let Some(seen) = go("transport-per-request", service.address) else { return };
    assert_named(&seen, "D1", "each request gets a new pool");
    assert_named(&seen, "D1", "go ");
    assert_runs_on(&seen, "go", "1.");
}

#[test]
fn go_that_does_not_drain_a_large_body_is_d3() {
    let Some(seen) = go("undrained", large_service()) else { return };
    assert_named(&seen, "D3", "unread");
    // Its server sees resets only, but root is told by the kernel why they were sent.
    let served = go_from("server", "undrained", large_service()).unwrap();
    assert_named(&served, "D3", "at the client, ");
    if served["resets"].is_null() {
        skipped::because("why a connection was reset takes root");
    } else {
        assert_named(&served, "D3", "the kernel names its resets");
        assert!(served["findings"][0]["confidence"].as_f64().unwrap() > 0.9, "{served:#}");
    }
}

/// A service whose every response is 2 MiB: more than fits into buffers.
fn large_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || serve_large(stream));
        }
    });
    address
}

fn serve_large(mut stream: TcpStream) {
    let mut response = b"HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n".to_vec();
    response.resize(response.len() + (2 << 20), b'.');
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) if line == "\r\n" => {
                if stream.write_all(&response).is_err() {
                    return;
                }
            }
            Ok(_) => {}
        }
    }
}
