//! Real servers of HTTP/2 without TLS: nghttpd, Go, Node, hyper; and what `tls_servers` shares. A
//! server that is not installed is skipped, and loudly.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use keepwarm::{Client, CloseReason};
use keepwarm_testkit::scripted::eventually;
use keepwarm_testkit::skipped;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;

/// Bound on what a real server does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("no {what} in time"))
}

/// A server's process. Ends when it is dropped, and its workers with it: hence no SIGKILL.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    /// Returns the ids of its child processes.
    pub(crate) fn children(&self) -> Vec<String> {
        let id = self.0.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children"));
        let children = children.expect("the kernel lists children");
        children.split_whitespace().map(str::to_owned).collect()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().expect("kill").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("-TERM");
        let _ = self.0.wait();
    }
}

pub(crate) fn runs(program: &str, argument: &str) -> bool {
    let silent =
        |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = silent(Command::new(program).arg(argument)).is_ok_and(|status| status.success());
    if !found {
        skipped::because(&format!("no {program} that runs: real servers of HTTP/2 need it"));
    }
    found
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

pub(crate) async fn listens(port: u16) {
    eventually("the server", || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
}

pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn plain() -> Client {
    Client::builder().http2_prior_knowledge().build().expect("a client")
}

/// Sends requests, so many at a time, all of which have to succeed.
pub(crate) async fn all_succeed(
    client: &Client,
    url: &str,
    tasks: usize,
    each: usize,
    posts: bool,
) {
    let mut all = JoinSet::new();
    for _ in 0..tasks {
        let (client, url) = (client.clone(), url.to_owned());
        all.spawn(async move {
            for _ in 0..each {
                let request = if posts { client.post(&url).body("b") } else { client.get(&url) };
                let response = within("response", request.send()).await.expect("a response");
                assert_eq!(response.version(), http::Version::HTTP_2);
                assert!(response.status().is_success(), "{response:?}");
                within("body", response.bytes()).await.expect("a body");
            }
        });
    }
    while let Some(result) = all.join_next().await {
        result.expect("every request succeeds");
    }
}

pub(crate) async fn downloads(client: &Client, url: &str) {
    let response = within("response", client.get(url).send()).await.expect("a response");
    assert_eq!(within("body", response.bytes()).await.expect("a body").len(), 8 << 20);
}

pub(crate) async fn echoes(client: &Client, url: &str) {
    let body =
        Bytes::from((0..3 << 20).map(|index: u32| index.to_le_bytes()[1]).collect::<Vec<_>>());
    let request = client.post(url).body(body.clone());
    let response = within("response", request.send()).await.expect("a response");
    assert!(within("body", response.bytes()).await.expect("a body") == body, "as it was sent");
}

/// Starts a program that prints its address.
async fn program(command: &mut tokio::process::Command) -> (tokio::process::Child, String) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let address = within("address", lines.next_line()).await.expect("read").expect("an address");
    (child, format!("http://{address}"))
}

/// Tries the paths that the programs of Go and Node share, `/echo`, `/large` and `/away`, with ten
/// streams at once.
async fn serves_all(url: &str) {
    let client = plain();
    all_succeed(&client, &format!("{url}/"), 40, 10, true).await;
    let opened = client.stats().total.opened;
    assert!((4..=40).contains(&opened), "ten streams each: {opened}");
    downloads(&client, &format!("{url}/large")).await;
    echoes(&client, &format!("{url}/echo")).await;
    all_succeed(&client, &format!("{url}/away"), 20, 20, true).await;
    assert!(client.stats().total.closed_for(CloseReason::GoAway) > 4, "{:?}", client.stats());
}

#[tokio::test]
async fn go_server_serves_all() {
    let go = std::env::var("KEEPWARM_GO").unwrap_or_else(|_| "go".into());
    if !runs(&go, "version") {
        return;
    }
    let program_path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("http2-go-server");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http2/server.go");
    let build = Command::new(&go).args(["build", "-o"]).arg(&program_path).arg(source).status();
    assert!(build.expect("it runs").success());
    let (_child, url) = program(&mut tokio::process::Command::new(program_path)).await;
    serves_all(&url).await;
}

#[tokio::test]
async fn node_server_serves_all() {
    if !runs("node", "--version") {
        return;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http2/server.mjs");
    let (_child, url) = program(tokio::process::Command::new("node").arg(source)).await;
    serves_all(&url).await;
}

#[tokio::test]
async fn nghttpd_serves_within_its_limit() {
    if !runs("nghttpd", "--version") {
        return;
    }
    let root = folder("http2-nghttpd");
    std::fs::write(root.join("small"), "x").expect("a file");
    std::fs::write(root.join("large"), vec![0; 8 << 20]).expect("a file");
    let port = free_port();
    let mut command = Command::new("nghttpd");
    command.args(["--no-tls", "--echo-upload", "-a", "127.0.0.1", "-m", "10", "-d"]);
    let child = command.arg(&root).arg(port.to_string()).stdout(Stdio::null()).spawn();
    let _process = Process(child.expect("it runs"));
    listens(port).await;
    let (client, url) = (plain(), format!("http://127.0.0.1:{port}"));
    all_succeed(&client, &format!("{url}/small"), 40, 25, false).await;
    assert!(client.stats().total.opened >= 4, "ten streams each");
    downloads(&client, &format!("{url}/large")).await;
    echoes(&client, &format!("{url}/small")).await;
}

/// hyper's server, under axum.
#[tokio::test]
async fn hyper_server_serves_all() {
    let large = || async { vec![0_u8; 8 << 20] };
    let routes = axum::Router::new()
        .route("/", axum::routing::any(|| async { "x" }))
        .route("/large", axum::routing::get(large))
        .route("/echo", axum::routing::post(|body: axum::body::Body| async { body }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(axum::serve(listener, routes).into_future());
    let client = plain();
    all_succeed(&client, &format!("{url}/"), 40, 10, true).await;
    assert_eq!(client.stats().total.opened, 1, "hyper allows two hundred streams");
    downloads(&client, &format!("{url}/large")).await;
    echoes(&client, &format!("{url}/echo")).await;
}
