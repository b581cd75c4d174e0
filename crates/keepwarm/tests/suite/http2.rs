//! HTTP/2: streams that share a connection, against servers built on the `h2` crate and on raw frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http_body_util::BodyExt as _;
use keepwarm::{Body, Client, ClientBuilder, CloseReason, Stage};
use keepwarm_testkit::scripted::{eventually, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;

/// A server whose handler answers each request; counts connections, and streams at once.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    /// Streams open now, over all connections, and the most on one.
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

type Request = http::Request<RecvStream>;

impl Server {
    async fn start<F, Fut>(streams: Option<u32>, handler: F) -> Self
    where
        F: Fn(Request, SendResponse<Bytes>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (accepted, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all_open = Arc::new(AtomicUsize::new(0));
        let (count, peak, now_open) =
            (Arc::clone(&accepted), Arc::clone(&most), Arc::clone(&all_open));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (handler, peak) = (handler.clone(), Arc::clone(&peak));
                let all_open = Arc::clone(&now_open);
                tokio::spawn(async move {
                    let mut builder = h2::server::Builder::new();
                    if let Some(streams) = streams {
                        builder.max_concurrent_streams(streams);
                    }
                    let Ok(mut connection) = builder.handshake(socket).await else { return };
                    let open = Arc::new(AtomicUsize::new(0));
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        peak.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        let (answer, open) = (handler(request, respond), Arc::clone(&open));
                        all_open.fetch_add(1, Ordering::SeqCst);
                        let all_open = Arc::clone(&all_open);
                        tokio::spawn(async move {
                            answer.await;
                            open.fetch_sub(1, Ordering::SeqCst);
                            all_open.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
        });
        Self { address, accepted, open: all_open, most }
    }

    fn url(&self) -> String {
        format!("http://{}/path?query", self.address)
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

pub(crate) fn say(mut respond: SendResponse<Bytes>, body: &'static str) {
    let head = http::Response::builder().header("content-length", body.len());
    let mut stream = respond.send_response(head.body(()).expect("a head"), false).expect("sent");
    stream.send_data(Bytes::from_static(body.as_bytes()), true).expect("sent");
}

fn builder() -> ClientBuilder {
    Client::builder().http2_prior_knowledge()
}

fn client() -> Client {
    builder().build().expect("a client")
}

pub(crate) async fn text(client: &Client, url: &str) -> keepwarm::Result<String> {
    within("a response", client.get(url).send()).await?.text().await
}

#[tokio::test]
async fn requests_share_one_connection() {
    let server = Server::start(None, |_, respond| async { say(respond, "hello") }).await;
    let client = client();
    for _ in 0..3 {
        assert_eq!(text(&client, &server.url()).await.expect("a body"), "hello");
    }
    let response = within("a response", client.get(server.url()).send()).await.expect("a response");
    let info = response.connection();
    assert_eq!(
        (response.version(), info.version()),
        (http::Version::HTTP_2, http::Version::HTTP_2)
    );
    assert_eq!((info.exchanges_before(), info.streams(), info.attempts()), (3, 1, 1));
    drop(response);
    assert_eq!(server.accepted(), 1);
    eventually("the return", || client.stats().total.active == 0).await;
    let stats = client.stats().total;
    assert_eq!((stats.opened, stats.idle, stats.new, stats.reused), (1, 1, 1, 3));
}

/// Sends so many requests at once, all of which have to succeed.
pub(crate) async fn burst(client: &Client, url: &str, requests: usize) {
    let mut all = JoinSet::new();
    for _ in 0..requests {
        let (client, url) = (client.clone(), url.to_owned());
        all.spawn(async move { text(&client, &url).await });
    }
    while let Some(result) = all.join_next().await {
        result.expect("no panic").expect("a body");
    }
}

#[tokio::test]
pub(crate) async fn burst_opens_one_connection() {
    let barrier = Arc::new(Barrier::new(100));
    let server = Server::start(None, move |_, respond| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            say(respond, "x");
        }
    })
    .await;
    let client = client();
    burst(&client, &server.url(), 100).await;
    assert_eq!((server.accepted(), server.most.load(Ordering::SeqCst)), (1, 100));
}

/// The server's limit is never exceeded, and no request fails for it.
#[tokio::test]
async fn stream_limit_opens_further_connections() {
    let barrier = Arc::new(Barrier::new(40));
    let server = Server::start(Some(10), move |_, respond| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            say(respond, "x");
        }
    })
    .await;
    let client = client();
    burst(&client, &server.url(), 40).await;
    assert_eq!((server.accepted(), server.most.load(Ordering::SeqCst)), (4, 10));
    let own = builder().max_streams_per_connection(5).build().expect("a client");
    burst(&own, &server.url(), 40).await;
    assert_eq!((server.accepted(), server.most.load(Ordering::SeqCst)), (4 + 8, 10));
}

#[tokio::test]
async fn bodies_and_trailers_pass_both_ways() {
    let server = Server::start(None, |request, mut respond| async move {
        let length = request.headers().get("content-length").cloned();
        let mut body = request.into_body();
        let mut head = http::Response::builder();
        if let Some(length) = length {
            head = head.header("content-length", length);
        }
        let mut stream =
            respond.send_response(head.body(()).expect("a head"), false).expect("sent");
        while let Some(data) = body.data().await {
            let data = data.expect("data");
            body.flow_control().release_capacity(data.len()).expect("capacity");
            stream.send_data(data, false).expect("sent");
        }
        let trailers = body.trailers().await.expect("the end").unwrap_or_default();
        stream.send_trailers(trailers).expect("sent");
    })
    .await;
    let client = client();
    let large = Bytes::from(vec![b'x'; 5 << 20]);
    let response = client.post(server.url()).body(large.clone()).send();
    let response = within("a response", response).await.expect("a response");
    assert_eq!(response.headers()["content-length"], (5 << 20).to_string());
    assert_eq!(within("the body", response.bytes()).await.expect("a body"), large);

    let mut trailers = http::HeaderMap::new();
    // The whitespace is HTTP/1.1's; HTTP/2 has none there.
    trailers.insert("checksum", " 7\t".parse().expect("a value"));
    let stream = http_body_util::Full::new(Bytes::from_static(b"abc"));
    let stream = stream.with_trailers(std::future::ready(Some(Ok(trailers))));
    let request =
        client.post(server.url()).header("trailer", "checksum").body(Body::stream(stream));
    let response = within("a response", request.send()).await.expect("a response");
    let mut response = response;
    let body = response.body_mut().collect();
    let collected = within("the body", body).await.expect("a body");
    assert_eq!(collected.trailers().expect("trailers")["checksum"], "7");
    assert_eq!(collected.to_bytes(), "abc");
    eventually("the return", || client.stats().total.active == 0).await;
    assert_eq!(server.accepted(), 1);
}

/// What HTTP/1.1 takes as it comes is put into the form that HTTP/2 demands (RFC 9113, 8.2.1 and 8.3.1).
#[tokio::test]
async fn requests_are_well_formed() {
    let server = Server::start(None, |request, mut respond| async move {
        let fields = ["x", "te"].map(|name| request.headers().get(name).cloned());
        let seen = format!("{} {fields:?}", request.uri());
        let head = http::Response::builder().header("seen", seen).body(()).expect("a head");
        respond.send_response(head, true).expect("sent");
    })
    .await;
    let client = client();
    let base = format!("http://{}", server.address);
    let with = |host: &str, x: &str, te: &str| {
        let request = client.get(format!("{base}?a=1")).header("x", x).header("te", te);
        if host.is_empty() { request } else { request.header("host", host) }
    };
    let value = |text: &str| Some(http::HeaderValue::from_str(text).expect("a value"));
    for (host, seen) in [("", &*base), ("other:9", "http://other:9")] {
        for (x, te) in [("b  c", "trailers"), (" b  c\t", "Trailers ")] {
            let response = within("a response", with(host, x, te).send()).await;
            let fields = [value("b  c"), value("trailers")];
            assert_eq!(
                response.expect("a response").headers()["seen"],
                format!("{seen}/?a=1 {fields:?}")
            );
        }
    }
    for host in ["no host", "user@host"] {
        let refused = with(host, "x", "trailers").send().await.expect_err("no authority");
        assert!(refused.is_invalid() && refused.to_string().contains(host), "{refused}");
    }
}

/// Streams that the server has not processed go again, whatever their method.
#[tokio::test]
async fn refused_stream_goes_again() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let server = Server::start(None, move |_, mut respond| {
        let count = Arc::clone(&count);
        async move {
            match count.fetch_add(1, Ordering::SeqCst) {
                0 => respond.send_reset(Reason::REFUSED_STREAM),
                _ => say(respond, "again"),
            }
        }
    })
    .await;
    let client = client();
    let response = within("a response", client.post(server.url()).body("once").send()).await;
    let response = response.expect("a response");
    assert_eq!(response.connection().attempts(), 2);
    assert_eq!(response.text().await.expect("a body"), "again");
    assert_eq!((seen.load(Ordering::SeqCst), server.accepted()), (2, 1));
}

/// A server that ends each connection after some requests, as nginx does (`keepalive_requests`).
#[tokio::test]
async fn goaway_costs_no_request() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(socket).await.expect("a handshake");
                let mut served = 0;
                while let Some(Ok((_, respond))) = connection.accept().await {
                    served += 1;
                    if served == 100 {
                        connection.graceful_shutdown();
                    }
                    say(respond, "x");
                }
            });
        }
    });
    let client = client();
    let mut all = JoinSet::new();
    for _ in 0..32 {
        let (client, url) = (client.clone(), url.clone());
        all.spawn(async move {
            for _ in 0..320 {
                let sent = within("a response", client.post(&url).body("b").send()).await;
                assert_eq!(sent.expect("a response").text().await.expect("a body"), "x");
            }
        });
    }
    while let Some(result) = all.join_next().await {
        result.expect("no request fails");
    }
    let stats = client.stats().total;
    assert!(stats.opened > 50, "{stats:?}");
    assert_eq!(stats.closed(), stats.closed_for(CloseReason::GoAway), "{:?}", stats.closes);
}

/// A reset within a body is truncation, whatever its code says; the connection goes on.
#[tokio::test]
async fn reset_within_a_body_is_an_error() {
    for reason in [Reason::NO_ERROR, Reason::CANCEL, Reason::INTERNAL_ERROR] {
        let server = Server::start(None, move |request, mut respond| async move {
            if request.uri().path() == "/ok" {
                return say(respond, "ok");
            }
            let head = http::Response::new(());
            let mut stream = respond.send_response(head, false).expect("sent");
            stream.send_data(Bytes::from_static(b"part"), false).expect("sent");
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream.send_reset(reason);
        })
        .await;
        let client = client();
        let error = text(&client, &server.url()).await.expect_err("half a body");
        assert!(error.is_stream_error(), "{reason:?}: {error:?}");
        assert_eq!(error.stage(), Stage::Body);
        let other = format!("http://{}/ok", server.address);
        assert_eq!(text(&client, &other).await.expect("a body"), "ok");
        assert_eq!(server.accepted(), 1, "{reason:?}");
    }
}

#[tokio::test]
async fn http1_server_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut preface = [0; 64];
            let _read = socket.read(&mut preface).await;
            let _sent =
                socket.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        }
    });
    let error = text(&client(), &url).await.expect_err("no HTTP/2");
    assert!(error.is_not_http2(), "{error:?}");
    assert_eq!(error.stage(), Stage::Connect);
    assert!(error.to_string().contains("HTTP/1"), "{error}");
}

#[tokio::test]
async fn fields_of_a_connection_are_refused() {
    let server = Server::start(None, |_, respond| async { say(respond, "x") }).await;
    let client = client();
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        let sent = client.get(server.url()).header(name, value).send();
        let error = within("a refusal", sent).await.expect_err("a field of HTTP/1.1");
        assert!(error.is_invalid() && error.to_string().contains(name), "{name}: {error}");
    }
    let sent =
        client.get(server.url()).header("te", "trailers").header("host", "other.test").send();
    within("a response", sent).await.expect("a response");
}

/// A body that its caller holds unread takes the window of its own stream, and of no other.
#[tokio::test]
async fn unread_body_holds_no_other_up() {
    let server = Server::start(None, |request, mut respond| async move {
        if request.uri().path() != "/large" {
            return say(respond, "x");
        }
        let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
        for _ in 0..10 {
            stream.send_data(Bytes::from(vec![0; 1 << 20]), false).expect("sent");
        }
        stream.send_data(Bytes::new(), true).expect("sent");
    })
    .await;
    let client = client();
    let large = format!("http://{}/large", server.address);
    let unread = within("a head", client.get(&large).send()).await.expect("a head");
    burst(&client, &server.url(), 10).await;
    let body = within("the body", unread.bytes()).await.expect("a body");
    assert_eq!((body.len(), server.accepted()), (10 << 20, 1));
}

/// Requests that are given up keep their places until the server has seen that; the others of the
/// connection go on, and none of the connection's servers takes it for an attack.
#[tokio::test]
async fn cancelled_requests_keep_their_places() {
    let server = Server::start(Some(4), |request, mut respond| async move {
        if request.uri().path() == "/bystander" {
            tokio::time::sleep(Duration::from_millis(300)).await;
            return say(respond, "unharmed");
        }
        let _reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
    })
    .await;
    let client = builder().max_connections_per_origin(1).build().expect("a client");
    let url = format!("http://{}/bystander", server.address);
    let bystander = tokio::spawn({
        let client = client.clone();
        async move { text(&client, &url).await }
    });
    for _ in 0..60 {
        let request = client.get(server.url()).send();
        let _given_up = tokio::time::timeout(Duration::from_millis(2), request).await;
    }
    assert_eq!(bystander.await.expect("no panic").expect("a body"), "unharmed");
    assert!(server.most.load(Ordering::SeqCst) <= 4, "never more than the server allows");
    eventually("the returns", || client.stats().total.active == 0).await;
}

#[tokio::test]
async fn many_resets_drain_the_connection() {
    let server = Server::start(None, |_, mut respond| async move {
        let _reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
    })
    .await;
    let client = client();
    for _ in 0..120 {
        let request = client.get(server.url()).send();
        let _given_up = tokio::time::timeout(Duration::from_millis(2), request).await;
    }
    eventually("the drain", || client.stats().total.closed_for(CloseReason::ResetBudget) == 1)
        .await;
    assert_eq!(server.accepted(), 2);
}

#[tokio::test]
async fn limits_of_a_connection_drain_it() {
    let server = Server::start(None, |_, respond| async { say(respond, "x") }).await;
    let client = builder().max_requests_per_connection(5).build().expect("a client");
    for _ in 0..15 {
        text(&client, &server.url()).await.expect("a body");
    }
    assert_eq!(server.accepted(), 3);
    eventually("the closes", || client.stats().total.closed_for(CloseReason::ExchangeLimit) == 3)
        .await;
}

#[tokio::test]
async fn timeouts_end_streams_alone() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let server = Server::start(None, move |request, respond| {
        let held = Arc::clone(&held);
        async move {
            if request.uri().path() == "/held" {
                held.notified().await;
            }
            say(respond, "x");
        }
    })
    .await;
    let build = |builder: ClientBuilder| builder.build().expect("a client");
    // The connection is suspect until its server has answered a ping; with one it is used all the same.
    let one = || builder().max_connections_per_origin(1);
    let short = Some(Duration::from_millis(100));
    let url = format!("http://{}/held", server.address);
    for (client, stalls) in [
        (build(one().response_header_timeout(short)), false),
        (build(one().stall_timeout(short)), true),
    ] {
        text(&client, &server.url()).await.expect("a body");
        let error = text(&client, &url).await.expect_err("no head");
        assert_eq!(
            (error.is_response_header_timeout(), error.is_stall_timeout()),
            (!stalls, stalls)
        );
        text(&client, &server.url()).await.expect("a body");
        assert_eq!(client.stats().total.opened, 1, "the connection goes on");
    }
}

/// As many as a server might take for an attack: each connection bears its own budget, and no place is
/// lost.
#[tokio::test]
async fn ten_thousand_cancels_lose_no_place() {
    const CANCELS: usize = 10_000;
    const AT_ONCE: usize = 50;
    let resets = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&resets);
    let server = Server::start(None, move |request, mut respond| {
        let count = Arc::clone(&count);
        async move {
            if request.uri().path() == "/served" {
                return say(respond, "served");
            }
            let _reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    // One connection takes requests at a time; those that drain do not count.
    let client = client();
    let url = server.url();
    let mut sent = 0;
    while sent < CANCELS {
        let requests: Vec<_> =
            (0..AT_ONCE).map(|_| tokio::spawn(client.get(&url).send())).collect();
        sent += AT_ONCE;
        // All of them are with the server, which answers none.
        eventually("the requests", || server.open.load(Ordering::SeqCst) == AT_ONCE).await;
        for request in &requests {
            request.abort();
        }
        eventually("the resets", || resets.load(Ordering::SeqCst) == sent).await;
        eventually("the places", || client.stats().total.streams == 0).await;
    }
    let served = format!("http://{}/served", server.address);
    assert_eq!(text(&client, &served).await.expect("a body"), "served");
    eventually("the closes", || client.stats().total.open() == 1).await;
    let stats = client.stats().total;
    let spent = stats.closed_for(CloseReason::ResetBudget);
    assert_eq!((stats.active, stats.streams, stats.waiting), (0, 0, 0), "{stats:?}");
    assert_eq!(stats.opened, spent + 1, "each was closed for its budget alone: {stats:?}");
    // After a hundred resets a connection takes no other request; those that are on it may add some.
    let least = CANCELS / (100 + AT_ONCE);
    assert!((least..=CANCELS / 100).contains(&(spent as usize)), "{stats:?}");
}
