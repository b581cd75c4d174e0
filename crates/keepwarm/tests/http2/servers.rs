//! Real servers of HTTP/2: nginx, nghttpd, Go, Node. A server that is not installed is skipped, and
//! loudly.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use keepwarm::{Certificate, Client, ClientBuilder, CloseReason};
use keepwarm_testkit::scripted::eventually;
use keepwarm_testkit::skipped;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::task::JoinSet;

/// Bound on what a real server does on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("no {what} in time"))
}

/// A server's process. Ends when it is dropped, and its workers with it: hence no SIGKILL.
struct Process(Child);

impl Process {
    fn signal(&self, signal: &str) {
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

fn runs(program: &str, argument: &str) -> bool {
    let silent =
        |command: &mut Command| command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = silent(Command::new(program).arg(argument)).is_ok_and(|status| status.success());
    if !found {
        skipped::because(&format!("no {program} that runs: real servers of HTTP/2 need it"));
    }
    found
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

async fn listens(port: u16) {
    eventually("the server", || TcpStream::connect(("127.0.0.1", port)).is_ok()).await;
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn plain() -> Client {
    Client::builder().http2_prior_knowledge().build().expect("a client")
}

/// Sends requests, so many at a time, all of which have to succeed.
async fn all_succeed(client: &Client, url: &str, tasks: usize, each: usize, posts: bool) {
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

async fn downloads(client: &Client, url: &str) {
    let response = within("response", client.get(url).send()).await.expect("a response");
    assert_eq!(within("body", response.bytes()).await.expect("a body").len(), 8 << 20);
}

async fn echoes(client: &Client, url: &str) {
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

/// nginx with TLS, in a folder of its own.
struct Nginx {
    process: Process,
    port: u16,
    authority: Vec<Certificate>,
}

impl Nginx {
    async fn start(name: &str) -> Option<Self> {
        if !runs("nginx", "-v") {
            return None;
        }
        let folder = folder(name);
        let key = rcgen::KeyPair::generate().expect("a key");
        let names = vec!["localhost".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).and_then(|it| it.self_signed(&key));
        let pem = certificate.expect("a certificate").pem();
        std::fs::write(folder.join("cert.pem"), &pem).expect("a file");
        std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("a file");
        std::fs::write(folder.join("large"), vec![0; 8 << 20]).expect("a file");
        let (port, at) = (free_port(), folder.display());
        // A master, so that it can be told to reload; root's workers read the folder as root.
        let user = if is_root() { "user root;" } else { "" };
        let settings = format!(
            "{user} daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;
             events {{ worker_connections 512; }}
             http {{
                 access_log off; client_body_temp_path {at}/a; proxy_temp_path {at}/b;
                 fastcgi_temp_path {at}/c; uwsgi_temp_path {at}/d; scgi_temp_path {at}/e;
                 keepalive_requests 100; client_max_body_size 0;
                 server {{
                     listen 127.0.0.1:{port} ssl http2;
                     ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
                     root {at};
                     location = / {{ return 200 x; }}
                 }}
             }}"
        );
        std::fs::write(folder.join("nginx.conf"), settings).expect("a file");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf"));
        let process =
            Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it runs"));
        listens(port).await;
        let authority = Certificate::all_from_pem(pem.as_bytes()).expect("a certificate");
        Some(Self { process, port, authority })
    }

    fn client(&self, build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
        build(Client::builder().root_certificates(self.authority.clone()))
            .build()
            .expect("a client")
    }

    fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    fn reload(&self) {
        self.process.signal("-HUP");
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout.trim_ascii() == b"0"
}

/// A GOAWAY after each hundred requests, and at two reloads; no request fails.
#[tokio::test]
async fn nginx_reloads_cost_no_request() {
    let Some(nginx) = Nginx::start("http2-nginx-reload").await else { return };
    let client = nginx.client(|builder| builder);
    let url = nginx.url("/");
    let load = tokio::spawn({
        let client = client.clone();
        async move {
            all_succeed(&client, &url, 50, 40, false).await;
            all_succeed(&client, &url, 50, 10, true).await;
        }
    });
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        nginx.reload();
    }
    within("end", load).await.expect("every request succeeds");
    let total = client.stats().total;
    assert!(total.closed_for(CloseReason::GoAway) >= 10, "{total:?}");
    downloads(&client, &nginx.url("/large")).await;
    let large = client.post(nginx.url("/")).body(vec![0; 8 << 20]).send();
    assert_eq!(within("response", large).await.expect("a response").status(), 200);
}

#[tokio::test]
async fn nginx_has_as_many_connections_as_needed() {
    let Some(nginx) = Nginx::start("http2-nginx-burst").await else { return };
    let client = nginx.client(|builder| builder.max_connections_per_origin(2));
    all_succeed(&client, &nginx.url("/"), 150, 1, false).await;
    assert!(client.stats().total.opened <= 4, "{:?}", client.stats().total);
}
