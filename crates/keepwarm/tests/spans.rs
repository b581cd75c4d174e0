//! The spans of `tracing`: which there are, within which, and how long they last. A binary of its
//! own: the subscriber is the process's, since one of a thread can be overlooked by spans that
//! another thread makes first.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use keepwarm::Client;
use keepwarm_testkit::scripted::{Server, Stage, eventually, within};
use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::Registry;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Lines such as `request/wait` and `/request/wait`: the beginning and the end of a span.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    /// Records the spans of this thread, and so of every task of its test.
    fn listen() -> Self {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let subscriber = Registry::default().with(Ear);
            tracing::subscriber::set_global_default(subscriber).expect("the first one");
        });
        let lines = Self::default();
        LINES.set(Some(lines.clone()));
        lines
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }

    fn has(&self, line: &str) -> bool {
        self.all().iter().any(|known| known == line)
    }
}

thread_local! {
    static LINES: RefCell<Option<Lines>> = const { RefCell::new(None) };
}

fn note(line: String) {
    LINES.with_borrow(|lines| {
        if let Some(Lines(lines)) = lines {
            lines.lock().expect("no panic").push(line);
        }
    });
}

struct Ear;

struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!(" {field}={value:?}");
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Ear {
    fn on_new_span(&self, _: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        note(path(id, &context));
    }
    fn on_follows_from(&self, id: &Id, cause: &Id, context: Context<'_, S>) {
        note(format!("{} <- {}", path(id, &context), path(cause, &context)));
    }
    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields(path(id, &context));
        values.record(&mut fields);
        note(fields.0);
    }
    fn on_close(&self, id: Id, context: Context<'_, S>) {
        note(format!("/{}", path(&id, &context)));
    }
}

fn path<S: tracing::Subscriber + for<'a> LookupSpan<'a>>(
    id: &Id,
    context: &Context<'_, S>,
) -> String {
    let scope = context.span_scope(id).expect("a known span");
    let ours = scope.from_root().filter(|span| span.metadata().target() == "keepwarm");
    ours.map(|span| span.name()).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn stages_are_spans_within_the_request() {
    let lines = Lines::listen();
    let stage = Stage::open().await;
    let client = Client::new();
    let request = tokio::spawn(client.get(stage.url("/")).send());
    let mut peer = stage.accept().await;
    peer.request().await;
    let waits_for_the_head = || lines.has("request/head") && !lines.has("/request/head");
    eventually("the wait for the head", waits_for_the_head).await;
    assert!(lines.has("/request/write"));
    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
    let response = within("a head", request).await.expect("no panic").expect("a head");
    assert!(lines.has("request/read") && !lines.has("/request/read"), "{:#?}", lines.all());
    peer.write("k").await;
    response.text().await.expect("a body");
    let mut told = lines.all();
    let follows = told.iter().position(|line| line == "dial <- request");
    told.remove(follows.expect("the dial follows from the request that caused it"));
    let mut sorted = told.clone();
    sorted.sort();
    let expected = [
        "/dial",
        "/dial/connect",
        "/dial/resolve",
        "/request",
        "/request/head",
        "/request/read",
        "/request/wait",
        "/request/write",
        "dial",
        "dial/connect",
        "dial/resolve",
        "request",
        "request status=200",
        "request/head",
        "request/read",
        "request/wait",
        "request/write",
    ];
    assert_eq!(sorted, expected);
    let order = |first: &str, then: &str| {
        let place = |line| told.iter().position(|known| known == line).expect("told");
        assert!(place(first) < place(then), "{first}, then {then}: {told:#?}");
    };
    order("/request/wait", "request/write");
    order("/request/write", "request/head");
    order("/request/head", "request/read");
    order("/dial/resolve", "dial/connect");

    // A request on a warm connection neither waits nor dials.
    let before = lines.all().len();
    let again = tokio::spawn(client.get(stage.url("/")).send());
    peer.serve("x").await;
    let again = within("a response", again).await.expect("no panic").expect("a response");
    again.text().await.expect("a body");
    let second = lines.all().split_off(before);
    assert!(
        !second.iter().any(|line| line.contains("wait") || line.contains("dial")),
        "{second:?}"
    );
    assert_eq!(second.last().map(String::as_str), Some("/request"));
}

/// An error is recorded too.
#[tokio::test]
async fn handshake_is_a_span_of_dial() {
    let lines = Lines::listen();
    let server = Server::saying("no TLS");
    let patience = Duration::from_millis(100);
    let client = Client::builder().tls_handshake_timeout(patience).build().expect("good settings");
    let url = format!("https://127.0.0.1:{}/", server.port());
    client.get(url).send().await.expect_err("no handshake");
    for line in ["dial/tls", "/dial/tls", "/dial", "/request"] {
        assert!(lines.has(line), "{line}: {:#?}", lines.all());
    }
    let recorded = lines.all().into_iter().find(|line| line.starts_with("request error="));
    assert!(recorded.is_some_and(|line| line.contains("TLS handshake failed")));
}

/// The dial of the dropped request goes on in a span of its own.
#[tokio::test]
async fn dropped_request_ends_its_spans() {
    let lines = Lines::listen();
    let stage = Stage::open_narrow();
    let _fillers = stage.fill().await;
    let client = Client::new();
    let request = tokio::spawn(client.get(stage.url("/")).send());
    eventually("the dial", || lines.has("dial/connect")).await;
    request.abort();
    eventually("the end of the request", || lines.has("/request")).await;
    assert!(lines.has("/request/wait"));
    assert!(!lines.has("/dial"), "the pool's: it is not held up, and holds nothing up");
    assert_eq!(client.stats().total.dialing, 1);
}
