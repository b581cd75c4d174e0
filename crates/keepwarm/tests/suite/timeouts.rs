//! The timeouts side by side: each has a predicate of its own, says its stage and what was written;
//! and a request that is dropped at any stage, or timed out, leaves nothing behind.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use keepwarm::connect::Name;
use keepwarm::{Client, ClientBuilder, CloseReason, Error, Stage as At};
use keepwarm_testkit::http_server::SilentPort;
use keepwarm_testkit::scripted::{Stage, eventually, ok, within};
use tokio::sync::Semaphore;
use tower::service_fn;

use crate::support::{ByHand, assert_at_rest, by_hand, done, fetch, get, only, pass, poll_once};

const SOON: Duration = Duration::from_millis(60);

/// Returns the names of the timeouts that the error says it is.
fn which(error: &Error) -> Vec<&'static str> {
    assert!(error.is_timeout(), "{error}");
    let all = [
        (error.is_acquire_timeout(), "acquire"),
        (error.is_connect_timeout(), "connect"),
        (error.is_tls_handshake_timeout(), "handshake"),
        (error.is_response_header_timeout(), "header"),
        (error.is_total_timeout(), "total"),
    ];
    all.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect()
}

fn built(builder: ClientBuilder) -> Client {
    builder.max_connections_per_origin(1).build().expect("good settings")
}

#[tokio::test]
async fn wait_ends_by_acquire_or_total_timeout() {
    for (builder, expected) in [
        (Client::builder().acquire_timeout(SOON), "acquire"),
        (Client::builder().timeout(SOON), "total"),
    ] {
        let stage = Stage::open().await;
        let client = built(builder);
        let holds = client.get(stage.url("/")).timeout(Duration::from_secs(60));
        let holds = tokio::spawn(holds.send());
        let mut peer = stage.accept().await;
        peer.request().await;
        let error = within("the timeout", client.get(stage.url("/")).send()).await;
        let error = error.expect_err("late");
        assert_eq!((which(&error), error.stage()), (vec![expected], At::Wait));
        assert_eq!((error.bytes_written(), error.attempts()), (None, 0));
        peer.write(ok("")).await;
        done(holds).await.expect("it has its connection");
        assert_at_rest(&only(&client));
    }
}

#[tokio::test]
async fn connect_ends_by_connect_or_total_timeout() {
    let silent = SilentPort::new();
    let url = format!("http://{}/", silent.address());
    for (builder, expected) in [
        (Client::builder().connect_timeout(SOON), "connect"),
        (Client::builder().timeout(SOON).connect_timeout(SOON * 4), "total"),
    ] {
        let client = built(builder);
        let error = within("the timeout", client.get(&url).send()).await.expect_err("late");
        assert_eq!((which(&error), error.stage()), (vec![expected], At::Connect));
        assert_eq!((error.bytes_written(), error.attempts()), (None, 0));
        eventually("the end of the dial", || only(&client).dialing == 0).await;
        assert_at_rest(&only(&client));
    }
}

/// Or by the connect timeout, at that stage.
#[cfg(feature = "tls")]
#[tokio::test]
async fn handshake_ends_by_its_own_timeout() {
    for (builder, expected) in [
        (Client::builder().tls_handshake_timeout(SOON), "handshake"),
        (Client::builder().connect_timeout(SOON), "connect"),
    ] {
        let stage = Stage::open().await;
        let client = built(builder);
        let request = get(&client, &stage.url("/").replace("http:", "https:"));
        let mut peer = stage.accept().await;
        let error = done(request).await.expect_err("silence");
        assert_eq!((which(&error), error.stage()), (vec![expected], At::Tls));
        assert!(error.is_tls() && error.is_connect(), "{error}");
        assert_eq!(error.bytes_written(), None);
        peer.ended().await;
        assert_at_rest(&only(&client));
    }
}

/// The error says how much was written.
#[tokio::test]
async fn head_and_body_timeouts_differ() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    for (builder, answer, expected, at) in [
        (Client::builder().response_header_timeout(SOON), "", "header", At::Exchange),
        (Client::builder().timeout(SOON), "", "total", At::Exchange),
        (Client::builder().timeout(SOON), head, "total", At::Body),
    ] {
        let stage = Stage::open().await;
        let client = built(builder);
        let request = client.post(stage.url("/")).body("five!");
        let request = tokio::spawn(async move { request.send().await?.text().await });
        let mut peer = stage.accept().await;
        let seen = peer.request().await;
        peer.write(answer).await;
        let error = done(request).await.expect_err("late");
        assert_eq!((which(&error), error.stage()), (vec![expected], at));
        let written = seen.head.len() + "\r\n\r\n".len() + seen.body.len();
        assert_eq!(error.bytes_written(), Some(written as u64), "{error}");
        assert_eq!((error.on_reused_connection(), error.attempts()), (Some(false), 1));
        if at == At::Exchange {
            let words = format!("on a new connection, {written} bytes written: ");
            assert!(error.to_string().contains(&words), "{error}");
        }
        peer.ended().await;
        eventually("the close", || only(&client).active == 0).await;
        assert_at_rest(&only(&client));
    }
}

#[tokio::test]
async fn partial_write_is_counted() {
    let stage = Stage::open().await;
    let client = built(Client::builder().timeout(SOON * 4));
    const MUCH: usize = 32 << 20;
    let request = tokio::spawn(client.post(stage.url("/")).body(vec![7; MUCH]).send());
    let _peer = stage.accept().await;
    let error = done(request).await.expect_err("nobody reads");
    assert_eq!((which(&error), error.stage()), (vec!["total"], At::Exchange));
    let written = error.bytes_written().expect("there was a connection");
    assert!(written > 0 && written < MUCH as u64, "{written}");
    assert_at_rest(&only(&client));
}

/// A name that resolves to this port when the gate opens.
fn gated_name(port: u16) -> (ClientBuilder, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let shut = Arc::clone(&gate);
    let resolver = service_fn(move |_: Name| {
        let gate = Arc::clone(&shut);
        async move {
            gate.acquire().await.expect("it is never closed").forget();
            std::io::Result::Ok([SocketAddr::from(([127, 0, 0, 1], port))])
        }
    });
    (Client::builder().resolver(resolver), gate)
}

fn dropped_while_dialling(client: &Client, url: &str) -> Pin<Box<dyn Future<Output = ()>>> {
    let mut request: ByHand = by_hand(client, url);
    assert!(poll_once(&mut request).is_pending());
    let client = client.clone();
    Box::pin(async move {
        eventually("the dial", || only(&client).dialing == 1).await;
        drop(request);
        let stats = only(&client);
        assert_eq!((stats.waiting, stats.dialing, stats.cancelled), (0, 1, 1));
    })
}

/// The dial serves the next request.
#[tokio::test]
async fn drop_while_resolving_leaves_the_dial() {
    let stage = Stage::open().await;
    let (builder, gate) = gated_name(stage.port());
    let client = built(builder);
    dropped_while_dialling(&client, "http://a.test/dropped").await;
    let next = fetch(&client, "http://a.test/next");
    eventually("the place", || only(&client).waiting == 1).await;
    gate.add_permits(1);
    assert_eq!(stage.accept().await.serve("next").await.target(), "/next");
    assert_eq!(done(next).await.expect("a body"), "next");
    assert_at_rest(&only(&client));
    assert_eq!(only(&client).opened, 1);
}

/// The dial serves the next request.
#[tokio::test]
async fn drop_while_connecting_leaves_the_dial() {
    let stage = Stage::open_narrow();
    let filled = stage.fill().await;
    let client = built(Client::builder());
    dropped_while_dialling(&client, &stage.url("/dropped")).await;
    let next = fetch(&client, &stage.url("/next"));
    eventually("the place", || only(&client).waiting == 1).await;
    for _ in &filled {
        stage.accept().await;
    }
    // The kernel repeats the SYN after a second.
    assert_eq!(stage.accept().await.serve("next").await.target(), "/next");
    assert_eq!(done(next).await.expect("a body"), "next");
    assert_at_rest(&only(&client));
    assert_eq!(only(&client).opened, 1);
}

/// With its socket and task.
#[tokio::test]
async fn unneeded_dial_ends_at_its_timeout() {
    let tasks = tokio::runtime::Handle::current().metrics();
    let stage = Stage::open().await;
    let (builder, _gate) = gated_name(stage.port());
    let silent = SilentPort::new();
    let mut cases = vec![
        (builder, "http://a.test/".to_owned()),
        (Client::builder(), format!("http://{}/", silent.address())),
    ];
    if cfg!(feature = "tls") {
        cases.push((Client::builder(), stage.url("/").replace("http:", "https:")));
    }
    for (builder, url) in cases {
        let client = built(builder.connect_timeout(SOON));
        dropped_while_dialling(&client, &url).await;
        eventually("the timeout", || only(&client).dialing == 0).await;
        let stats = only(&client);
        assert_at_rest(&stats);
        assert_eq!((stats.dials_failed, stats.opened), (1, 0), "{url}");
        if url.starts_with("https") {
            stage.accept().await.ended().await;
        }
        drop(client);
        eventually("the last task", || tasks.num_alive_tasks() == 0).await;
    }
}

/// No byte in either direction: before the head, within the body, and within an upload.
#[tokio::test]
async fn standstill_is_a_stall_timeout() {
    let limit = Duration::from_millis(150);
    let stage = Stage::open().await;
    let client = Client::builder().stall_timeout(limit).build().expect("good settings");
    for (sent, at) in [
        ("", At::Exchange),
        ("HTTP/1.1 103 Early Hints\r\n\r\n", At::Exchange),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", At::Body),
    ] {
        let request = fetch(&client, &stage.url("/"));
        let mut peer = stage.accept().await;
        peer.request().await;
        let began = std::time::Instant::now();
        peer.write(sent).await;
        let error = done(request).await.expect_err("stalled");
        assert!(error.is_stall_timeout() && error.is_timeout(), "{error}");
        assert!(error.to_string().contains("stall_timeout"), "{error}");
        assert_eq!(error.stage(), at, "{error}");
        assert!(began.elapsed() >= limit - Duration::from_millis(10), "{:?}", began.elapsed());
        peer.ended().await;
    }
    // More than the sockets hold, to a server that does not read.
    let request = tokio::spawn(client.post(stage.url("/")).body(vec![7; 32 << 20]).send());
    let _peer = stage.accept().await;
    let error = done(request).await.expect_err("stalled");
    assert!(error.is_stall_timeout(), "{error}");
}

/// The peer is there, and its kernel answers the probes of a full window.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn unread_upload_ends_by_the_user_timeout() {
    let stage = Stage::open().await;
    let builder = Client::builder().tcp_user_timeout(Duration::from_secs(1));
    let client = builder.build().expect("good settings");
    let request = tokio::spawn(client.post(stage.url("/")).body(vec![7; 32 << 20]).send());
    let _peer = stage.accept().await;
    let error = done(request).await.expect_err("unread");
    let kind = error.io_error().map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::TimedOut), "{error}");
    assert!(error.is_peer_silent(), "{error}");
    assert!(error.to_string().contains("tcp_user_timeout"), "{error}");
}

/// The upload stands still, or the response when the upload is over.
#[tokio::test]
async fn overtaken_upload_stalls_too() {
    let limit = Duration::from_millis(150);
    let stage = Stage::open().await;
    let client = Client::builder().stall_timeout(limit).build().expect("good settings");
    for is_read in [false, true] {
        let request = tokio::spawn(client.post(stage.url("/")).body(vec![7; 32 << 20]).send());
        let mut peer = stage.accept().await;
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
        let response = done(request).await.expect("a head");
        if is_read {
            peer.request().await;
        }
        let error = within("an end", response.text()).await.expect_err("stalled");
        assert!(error.is_stall_timeout() && error.stage() == At::Body, "{error}");
        eventually("the close", || only(&client).active == 0).await;
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!(stats.closed_for(CloseReason::Abandoned), 2, "{stats:?}");
}

/// No stall is found as long as bytes pass, or the caller is waited for.
#[tokio::test]
async fn progress_and_the_caller_do_not_stall() {
    let limit = Duration::from_secs(30);
    let pause = limit / 3;
    let stage = Stage::open().await;
    let client = Client::builder().stall_timeout(limit).build().expect("good settings");
    let request = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let response = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nslow!";
    for piece in response.as_bytes().chunks(6) {
        pass(pause).await;
        peer.write(piece).await;
    }
    assert_eq!(done(request).await.expect("a body"), "slow!");
    // The body of the request comes late.
    let (open, gate) = tokio::sync::oneshot::channel();
    let body = keepwarm::Body::stream(crate::support::Gated(Some(gate)));
    let request = tokio::spawn(client.post(stage.url("/")).body(body).send());
    let mut head = peer.head().await;
    pass(2 * limit).await;
    open.send(bytes::Bytes::from("late")).expect("it is waited for");
    peer.body(&mut head).await;
    peer.write(ok("read late")).await;
    let mut response = done(request).await.expect("a response");
    // And so does the reader of the response.
    pass(2 * limit).await;
    use http_body_util::BodyExt as _;
    let frame = response.body_mut().frame().await.expect("a frame").expect("no error");
    assert_eq!(frame.into_data().expect("data"), "read late");
    drop(response);
    client.close_idle();
    // An upload that its response has overtaken, and then the reader of that.
    let (open, gate) = tokio::sync::oneshot::channel();
    let body = keepwarm::Body::stream(crate::support::Gated(Some(gate)));
    let request = tokio::spawn(client.post(stage.url("/")).body(body).send());
    let mut peer = stage.accept().await;
    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
    let mut response = done(request).await.expect("a head");
    pass(2 * limit).await;
    open.send(bytes::Bytes::from("late")).expect("it is waited for");
    assert_eq!(peer.request().await.body, b"late");
    pass(2 * limit).await;
    let frame = response.body_mut().frame().await.expect("a frame").expect("no error");
    assert_eq!(frame.into_data().expect("data"), "half");
}
