//! `keepwarm watch` before real runtimes, each with a habit that people have: what it names must be
//! what was done.
//!
//! A runtime that is not there is skipped, and said: Go (`go` in the PATH, or named by
//! `KEEPWARM_GO`), Python with requests, httpx and aiohttp (`python3`, or `KEEPWARM_PYTHON`), Node,
//! nginx. reqwest is not among them: peers are no dependency of this workspace.

// A helper of a test is a test: a panic is its answer.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::{PATIENCE, Service, finish, keepwarm, kill, run, until};

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

/// What a watch of `service` says of its clients' side, of what `scene` does.
fn watched(service: SocketAddr, scene: impl FnOnce()) -> Value {
    let filter = service.to_string();
    let mut watch = keepwarm()
        .args(["watch", "dst", &filter, "--format", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = BufReader::new(watch.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    watch.stderr = Some(stderr.into_inner());
    assert!(line.starts_with("watching"), "{line}");
    scene();
    kill(watch.id(), "INT");
    let output = finish(watch);
    output.exits_with(0);
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(document["lost_events"], 0);
    let all = document["destinations"].as_array().unwrap();
    let found = all.iter().find(|one| one["remote"] == filter && one["side"] == "client");
    found.unwrap_or_else(|| panic!("no {filter} in {document:#}")).clone()
}

#[track_caller]
fn assert_named(seen: &Value, code: &str, in_words: &str) {
    let first = &seen["findings"][0];
    assert_eq!(first["code"], code, "{seen:#}");
    let words = format!("{} {}", first["summary"], first["advice"]);
    assert!(words.contains(in_words), "{in_words:?} is not in {words}");
    if code != "healthy" {
        assert!(first["confidence"].as_f64().unwrap() >= 0.5, "{seen:#}");
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

fn here(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/runtimes").join(file)
}

fn runs(command: &mut Command) -> bool {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

// ---- Go ---------------------------------------------------------------------------------------

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
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("watch-go");
    std::fs::create_dir_all(&folder).unwrap();
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
    let client = go_client()?;
    let _alone = alone();
    let mut running = None;
    Some(watched(service, || {
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
    assert_named(&seen, "D1", "a new pool for each request");
    assert_named(&seen, "D1", "go ");
    assert!(seen["owners"][0]["runtime"].as_str().unwrap().starts_with("go 1."), "{seen:#}");
}

#[test]
fn go_that_does_not_drain_a_large_body_is_d3() {
    let Some(seen) = go("undrained", large_service()) else { return };
    assert_named(&seen, "D3", "unread");
}

// ---- Python -----------------------------------------------------------------------------------

fn python(library: &str, habit: &str) -> Option<Value> {
    let python = std::env::var("KEEPWARM_PYTHON").unwrap_or_else(|_| "python3".into());
    if !runs(Command::new(&python).arg(here("client.py")).args(["check", library])) {
        skipped::because(&format!("no Python with {library} (`python3`, or KEEPWARM_PYTHON)"));
        return None;
    }
    let _alone = alone();
    let service = Service::start(&["data"]);
    let mut running = None;
    Some(watched(service.address, || {
        let url = service.url("/data");
        let mut command = Command::new(&python);
        let mut client = Program::start(command.arg(here("client.py")).args([habit, &url]));
        assert_eq!(client.line(), "done");
        running = Some(client);
    }))
}

#[test]
fn requests_without_a_session_is_d1_and_with_one_healthy() {
    let Some(alone) = python("requests", "requests-alone") else { return };
    assert_named(&alone, "D1", "requests.Session");
    let shared = python("requests", "requests-session").unwrap();
    assert_named(&shared, "healthy", "connections are kept");
    let runtime = shared["owners"][0]["runtime"].as_str().unwrap();
    assert!(runtime.starts_with("python 3."), "{runtime}");
}

#[test]
fn httpx_with_a_client_for_each_call_is_d1_and_with_a_shared_one_healthy() {
    let Some(alone) = python("httpx", "httpx-alone") else { return };
    assert_named(&alone, "D1", "httpx.Client");
    assert_named(&python("httpx", "httpx-shared").unwrap(), "healthy", "connections are kept");
}

#[test]
fn aiohttp_with_a_session_for_each_call_is_d1_and_with_a_shared_one_healthy() {
    let Some(alone) = python("aiohttp", "aiohttp-alone") else { return };
    assert_named(&alone, "D1", "aiohttp.ClientSession");
    assert_named(&python("aiohttp", "aiohttp-shared").unwrap(), "healthy", "connections are kept");
}

// ---- Node, nginx, ourselves -------------------------------------------------------------------

#[test]
fn nodes_keep_alive_of_five_seconds_under_a_client_that_keeps_longer_is_d4() {
    if !runs(Command::new("node").arg("--version")) {
        skipped::because("no Node (`node` in the PATH)");
        return;
    }
    let _alone = alone();
    let mut node = Program::start(Command::new("node").arg(here("server.js")));
    let service = SocketAddr::from(([127, 0, 0, 1], node.line().parse().unwrap()));
    let seen = watched(service, || {
        let mut streams: Vec<_> = (0..40).map(|_| TcpStream::connect(service).unwrap()).collect();
        for stream in &mut streams {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        }
        // Each is kept until the server ends it.
        for mut stream in streams {
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    });
    assert_named(&seen, "D4", "keep-alive timeout is shorter");
    assert_eq!(seen["closed"]["remote_fin"], 40);
    let idle = seen["idle_at_close_ms"]["p50"].as_u64().unwrap();
    assert!(idle >= 4_900, "{idle} ms");
}

fn nginx(keepalive: &str, server: &str) -> Option<Value> {
    if !runs(Command::new("nginx").arg("-v")) {
        skipped::because("no nginx (`nginx` in the PATH)");
        return None;
    }
    let _alone = alone();
    let service = Service::start(&["data"]);
    let port = common::dead_port();
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("watch-nginx-{port}"));
    std::fs::create_dir_all(&folder).unwrap();
    let text = std::fs::read_to_string(here("nginx.conf")).unwrap();
    let text = text.replace("PREFIX", &folder.to_string_lossy()).replace("PORT", &port.to_string());
    let text = text.replace("UPSTREAM", &service.address.to_string());
    let text = text.replace("KEEPALIVE", keepalive).replace("SERVER", server);
    let config = folder.join("nginx.conf");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("nginx");
    let _nginx =
        Program::start(command.arg("-p").arg(&folder).arg("-c").arg(&config).stderr(Stdio::null()));
    assert!(until(|| TcpStream::connect(("127.0.0.1", port)).is_ok()), "nginx listens");
    let seen = watched(service.address, || {
        let url = format!("http://127.0.0.1:{port}/data");
        run(keepwarm().args(["load", "-n", "600", "-c", "10", &url])).exits_with(0);
    });
    std::fs::remove_dir_all(folder).unwrap();
    Some(seen)
}

#[test]
fn nginx_without_upstream_keepalive_is_d6_and_with_it_healthy() {
    let plain = "proxy_http_version 1.0; proxy_set_header Connection close;";
    let Some(without) = nginx("", plain) else { return };
    assert_named(&without, "D6", "Connection: close");
    let kept = "proxy_http_version 1.1; proxy_set_header Connection \"\";";
    let with = nginx("keepalive 32;", kept).unwrap();
    assert_named(&with, "healthy", "connections are kept");
    assert!(with["owners"][0]["runtime"].as_str().unwrap().starts_with("nginx 1."), "{with:#}");
}

#[test]
fn our_own_policies_are_named_as_what_they_are() {
    for (policy, code, words) in [
        ("per-request", "D1", "a connection is made for each request"),
        ("keepwarm", "healthy", "connections are kept"),
    ] {
        let _alone = alone();
        let data = Service::start(&["data"]);
        let front = Service::start(&[
            "front",
            "--client",
            policy,
            "--upstream",
            &data.url("/data"),
            "--upstream-timeout",
            "30s",
        ]);
        let seen = watched(data.address, || {
            let url = front.url("/stresstest");
            run(keepwarm().args(["load", "-n", "600", "-c", "10", &url])).exits_with(0);
        });
        assert_named(&seen, code, words);
    }
}
