//! Request bodies: how they are framed, what is sent again, trailers in both directions, and that
//! one which is not what it was declared to be is never taken for a complete request.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use keepwarm::{Body, Client, CloseReason, RequestBuilder, Stage as At};
use keepwarm_testkit::scripted::{Request, Stage, ok, within};

use crate::support::{assert_at_rest, done, fetch, get, only};

/// A body of these frames, which says that it has this length, or nothing of it.
struct Frames {
    frames: VecDeque<Frame<Bytes>>,
    length: Option<u64>,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.frames.pop_front().map(Ok))
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn frames(texts: &[&'static str]) -> Frames {
    let data = |text: &&'static str| Frame::data(Bytes::from(*text));
    Frames { frames: texts.iter().map(data).collect(), length: None }
}

fn with_trailers(texts: &[&'static str], trailers: &[(&'static str, &'static str)]) -> Frames {
    let mut frames = frames(texts);
    let fields = trailers.iter().map(|(name, value)| {
        (name.parse::<http::HeaderName>().expect("a name"), HeaderValue::from_static(value))
    });
    frames.frames.push_back(Frame::trailers(HeaderMap::from_iter(fields)));
    frames
}

/// Sends a request, and returns it as it arrived.
async fn sent(stage: &Stage, client: &Client, request: RequestBuilder) -> Request {
    let request = tokio::spawn(request.send());
    let mut peer = stage.accept().await;
    let seen = peer.serve("").await;
    done(request).await.expect("a response");
    client.close_idle();
    seen
}

#[tokio::test]
async fn known_length_is_declared_else_chunks() {
    let stage = Stage::open().await;
    let client = Client::new();
    let post = || client.post(stage.url("/"));
    let known = || Frames { length: Some(5), ..frames(&["he", "", "llo"]) };
    for (request, length, coding) in [
        (post().body("hello"), Some("5"), None),
        (post().body("hello").header("Content-Length", "5"), Some("5"), None),
        (post().body(Body::stream(known())), Some("5"), None),
        (post().body(Body::stream(known())).header("Content-Length", "5"), Some("5"), None),
        (post().body(Body::stream(frames(&["hel", "lo"]))), None, Some("chunked")),
        (
            post().body(Body::stream(frames(&["hel", "lo"]))).header("content-length", "5"),
            Some("5"),
            None,
        ),
        (post().body("hello").header("Transfer-Encoding", "Chunked"), None, Some("chunked")),
        // The peer believes the chunks, so nobody else may believe the length.
        (
            post()
                .body("hello")
                .header("Transfer-Encoding", "chunked")
                .header("Content-Length", "5"),
            None,
            Some("chunked"),
        ),
        // A method for which a body means nothing has it nevertheless.
        (client.get(stage.url("/")).body(Body::stream(frames(&["hello"]))), None, Some("chunked")),
    ] {
        let seen = sent(&stage, &client, request).await;
        assert_eq!(
            (seen.field("content-length"), seen.field("transfer-encoding")),
            (length, coding)
        );
        assert_eq!(seen.body, b"hello", "{}", seen.head);
    }
    for (request, length) in [
        (post(), Some("0")),
        (post().body(Body::stream(http_body_util::Empty::new())), Some("0")),
        (post().header("Transfer-Encoding", "chunked"), Some("0")),
        (client.get(stage.url("/")), None),
        (client.get(stage.url("/")).header("Content-Length", "0"), Some("0")),
    ] {
        let seen = sent(&stage, &client, request).await;
        assert_eq!((seen.field("content-length"), seen.field("transfer-encoding")), (length, None));
    }
    assert_at_rest(&only(&client));
}

#[tokio::test]
async fn contradictory_fields_are_rejected_before_sending() {
    let stage = Stage::open().await;
    let client = Client::new();
    let post = || client.post(stage.url("/"));
    let exact = || Body::stream(Frames { length: Some(5), ..frames(&["hello"]) });
    for (request, words) in [
        (
            post().body("hello").header("Content-Length", "4"),
            "Content-Length is 4, and the body has 5",
        ),
        (
            post().body(exact()).header("Content-Length", "6"),
            "Content-Length is 6, and the body has 5",
        ),
        (post().header("Content-Length", "5"), "Content-Length is 5, and there is no body"),
        (client.get(stage.url("/")).header("Content-Length", "5"), "there is no body"),
        (post().body("hello").header("Content-Length", "+5"), "no number"),
        (post().body("hello").header("Content-Length", "5, 5"), "no number"),
        (post().body("hello").header("Content-Length", ""), "Content-Length is"),
        (
            post().body("hello").header("Content-Length", "5").header("Content-Length", "6"),
            "set twice, and differs",
        ),
        (post().body("hello").header("Transfer-Encoding", "gzip"), "else than chunked"),
        (post().body("hello").header("Transfer-Encoding", "gzip, chunked"), "else than chunked"),
        (
            post()
                .body("hello")
                .header("Transfer-Encoding", "chunked")
                .header("Transfer-Encoding", "chunked"),
            "else than chunked",
        ),
        (
            post().body(exact()).header("Trailer", "x, Content-Length"),
            "content-length, which cannot",
        ),
        (post().body(exact()).header("Trailer", "no name"), "no field name"),
    ] {
        let error = within("an answer", request.send()).await.expect_err(words);
        assert!(error.is_invalid() && error.stage() == At::Request, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(!stage.has_another().await, "no connection for any of them");
}

/// A client behind which the next request of the same connection would be smuggled.
#[tokio::test]
async fn wrong_stream_length_breaks_the_request() {
    let long = "the body is longer than was declared";
    let cases: [(&[&'static str], &str); 8] = [
        (&["hello", "GET /smuggled HTTP/1.1\r\n\r\n"], long),
        (&["helloGET /smuggled HTTP/1.1\r\n\r\n"], long),
        (&["he", "llo", "", "!"], long),
        (&["hell", "o!"], long),
        (&["hell"], "the body ended 1 bytes before the length declared"),
        (&["h", "e", ""], "the body ended 3 bytes before the length declared"),
        (&[""], "the body ended 5 bytes before the length declared"),
        (&[], "the body ended 5 bytes before the length declared"),
    ];
    for (texts, words) in cases {
        for by_field in [true, false] {
            let stage = Stage::open().await;
            let client = Client::new();
            // On a connection that is reused, and by a request that may be sent twice.
            let first = get(&client, &stage.url("/"));
            let mut peer = stage.accept().await;
            peer.serve("").await;
            done(first).await.expect("a response");
            let request = client.post(stage.url("/")).header("Idempotency-Key", "1");
            let request = if by_field {
                request.header("Content-Length", "5").body(Body::stream(frames(texts)))
            } else {
                request.body(Body::stream(Frames { length: Some(5), ..frames(texts) }))
            };
            let error = within("the failure", request.send()).await.expect_err(words);
            assert_eq!(error.stage(), At::Exchange, "{error}");
            assert_eq!(error.attempts(), 1, "{error}");
            assert!(error.to_string().contains(words), "{texts:?}: {error}");
            let rest = peer.rest().await;
            let text = String::from_utf8_lossy(&rest);
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            assert!(body.len() < 5, "no complete request: {text}");
            assert!(!stage.has_another().await, "not sent again");
            let stats = only(&client);
            assert_at_rest(&stats);
            assert_eq!((stats.idle, stats.closed_for(CloseReason::ExchangeFailed)), (0, 1));
        }
    }
}

/// The failure does not end a chunked body, so no server takes the body for complete.
#[tokio::test]
async fn failing_stream_is_the_error_cause() {
    let stage = Stage::open().await;
    let client = Client::new();
    let failing = async_frames(vec![Ok("some"), Err("the disk is gone")]);
    let request = tokio::spawn(client.post(stage.url("/")).body(failing).send());
    let mut peer = stage.accept().await;
    let error = done(request).await.expect_err("broken");
    assert_eq!(error.stage(), At::Exchange, "{error}");
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    let rest = peer.rest().await;
    assert!(!String::from_utf8_lossy(&rest).contains("0\r\n\r\n"), "no end of the body");
    assert_at_rest(&only(&client));
    assert_eq!(only(&client).idle, 0);
}

fn async_frames(items: Vec<Result<&'static str, &'static str>>) -> Body {
    struct Items(VecDeque<Result<&'static str, &'static str>>);
    impl http_body::Body for Items {
        type Data = Bytes;
        type Error = &'static str;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
            let next = self.0.pop_front();
            Poll::Ready(next.map(|item| item.map(|text| Frame::data(Bytes::from(text)))))
        }
    }
    Body::stream(Items(items.into()))
}

/// Others break the request off.
#[tokio::test]
async fn announced_trailers_are_sent() {
    let stage = Stage::open().await;
    let client = Client::new();
    let announcing =
        |names: &str| client.post(stage.url("/")).header("Trailer", names).header("TE", "trailers");
    let known = || Frames { length: Some(5), ..with_trailers(&["hel", "lo"], &[("x-sum", "42")]) };
    for body in [with_trailers(&["hel", "lo"], &[("x-sum", "42")]), known()] {
        let request = announcing(", X-Sum,, X-Other ,").body(Body::stream(body));
        let seen = sent(&stage, &client, request).await;
        assert_eq!(seen.field("transfer-encoding"), Some("chunked"));
        assert_eq!(seen.field("content-length"), None);
        assert_eq!(seen.field("te"), Some("trailers"));
        assert_eq!((&*seen.body, &*seen.trailers), (&b"hello"[..], "x-sum: 42\n"));
    }
    let stray = || Body::stream(with_trailers(&["hello"], &[("x-stray", "1")]));
    let declared = client.post(stage.url("/")).header("Content-Length", "5").body(stray());
    for request in
        [announcing("X-Sum").body(stray()), client.post(stage.url("/")).body(stray()), declared]
    {
        let request = tokio::spawn(request.send());
        let mut peer = stage.accept().await;
        let error = done(request).await.expect_err("not announced");
        assert!(error.to_string().contains("the trailer x-stray was not announced"), "{error}");
        let rest = String::from_utf8_lossy(&peer.rest().await).into_owned();
        assert!(!rest.ends_with("0\r\n\r\n") && !rest.contains("x-stray"), "{rest}");
    }
    assert_at_rest(&only(&client));
}

/// The trailers reach the reader.
#[tokio::test]
async fn response_trailers_keep_the_connection() {
    let stage = Stage::open().await;
    let client = Client::new();
    let response = "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                    5\r\nhello\r\n0\r\nX-Sum: 42\r\n\r\n";
    let request = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(response).await;
    let body = done(request).await.expect("a head").into_http().into_body();
    let collected = within("the body", body.collect()).await.expect("a body");
    let sum = collected.trailers().and_then(|trailers| trailers.get("x-sum"));
    assert_eq!(sum, Some(&HeaderValue::from_static("42")));
    assert_eq!(collected.to_bytes(), "hello");
    assert_eq!(only(&client).idle, 1);

    // A caller that does not read the trailers loses nothing else.
    let request = fetch(&client, &stage.url("/"));
    peer.request().await;
    peer.write(response).await;
    assert_eq!(done(request).await.expect("a body"), "hello");
    assert_eq!((only(&client).idle, only(&client).opened), (1, 1));
}

/// A body that is made anew, and how often it was.
fn replayable(texts: &'static [&'static str]) -> (Body, Arc<AtomicUsize>) {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let make = move || {
        count.fetch_add(1, Ordering::SeqCst);
        frames(texts)
    };
    (Body::replayable(make), made)
}

/// And not more often.
#[tokio::test]
async fn replayable_stream_is_made_per_send() {
    let stage = Stage::open().await;
    let client = Client::new();
    for status in [307, 308] {
        let (body, made) = replayable(&["hel", "lo"]);
        let request = tokio::spawn(client.post(stage.url("/")).body(body).send());
        let mut peer = stage.accept().await;
        assert_eq!(peer.request().await.body, b"hello");
        assert_eq!(made.load(Ordering::SeqCst), 1);
        let to = format!("HTTP/1.1 {status} To\r\nLocation: /to\r\nContent-Length: 0\r\n\r\n");
        peer.write(to).await;
        let seen = peer.serve("").await;
        assert_eq!((seen.method(), seen.target(), &*seen.body), ("POST", "/to", &b"hello"[..]));
        done(request).await.expect("a response");
        assert_eq!(made.load(Ordering::SeqCst), 2);
        client.close_idle();
    }
}

/// Only if the request may be sent twice.
#[tokio::test]
async fn replayable_stream_is_retried_when_stale() {
    let stage = Stage::open().await;
    let client = Client::new();
    for (repeatable, attempts) in [(true, 2), (false, 1)] {
        let first = get(&client, &stage.url("/"));
        let mut peer = stage.accept().await;
        peer.serve("").await;
        done(first).await.expect("a response");
        let (body, made) = replayable(&["hel", "lo"]);
        let request = client.post(stage.url("/")).body(body);
        let request = if repeatable { request.header("Idempotency-Key", "1") } else { request };
        let request = tokio::spawn(request.send());
        assert_eq!(peer.request().await.body, b"hello");
        peer.close();
        if repeatable {
            let mut peer = stage.accept().await;
            assert_eq!(peer.serve("").await.body, b"hello");
            let response = done(request).await.expect("a response");
            assert_eq!(response.connection().attempts(), attempts);
            client.close_idle();
        } else {
            let error = done(request).await.expect_err("not sent twice");
            assert_eq!(error.attempts(), attempts);
        }
        assert_eq!(made.load(Ordering::SeqCst) as u32, attempts);
    }
}

/// HTTP/1.0 has no chunks.
#[tokio::test]
async fn http_1_0_server_gets_no_chunks() {
    let stage = Stage::open().await;
    let client = Client::new();
    let old = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
    let first = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(old).await;
    done(first).await.expect("a response");
    // A body whose length is known goes there.
    let known = tokio::spawn(client.post(stage.url("/")).body("hello").send());
    assert_eq!(peer.request().await.body, b"hello");
    peer.write(old).await;
    done(known).await.expect("a response");
    assert_eq!(only(&client).reused, 1);

    let unknown = client.post(stage.url("/")).body(Body::stream(frames(&["hello"])));
    let unknown = tokio::spawn(unknown.send());
    assert_eq!(peer.rest().await, b"");
    let mut other = stage.accept().await;
    assert_eq!(other.serve("").await.body, b"hello");
    let response = done(unknown).await.expect("a response");
    assert_eq!(response.connection().attempts(), 1);
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.closed_for(CloseReason::NotPersistent)), (2, 1));
}

/// Larger than any buffer, by length and by chunks.
#[tokio::test]
async fn large_uploads_arrive_whole() {
    let stage = Stage::open().await;
    let client = Client::new();
    const PIECE: &str = "0123456789abcdef";
    const PIECES: usize = 1 << 18;
    let pieces = || frames(&[PIECE; PIECES]);
    let length = (PIECE.len() * PIECES) as u64;
    for body in [pieces(), Frames { length: Some(length), ..pieces() }] {
        let request = tokio::spawn(client.post(stage.url("/")).body(Body::stream(body)).send());
        let mut peer = stage.accept().await;
        let seen = peer.request().await;
        assert!(seen.body == PIECE.repeat(PIECES).as_bytes(), "{} bytes", seen.body.len());
        peer.write(ok("")).await;
        done(request).await.expect("a response");
        client.close_idle();
    }
}
