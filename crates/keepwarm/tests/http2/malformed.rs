//! Violations of HTTP/2: some fail a stream, the others the connection.

use keepwarm::{CloseReason, Stage};
use keepwarm_testkit::scripted::within;
use tokio::io::AsyncWriteExt as _;

use crate::peer::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, Peer, RST_STREAM, SETTINGS, WINDOW_UPDATE, block, client, failure, get, go, text,
};

const URL: &str = "http://frames.test/";

/// Sends a response's fields to one of two requests, and expects that this one alone fails.
async fn fails_alone(what: &str, send: impl AsyncFn(&mut Peer, u32)) -> keepwarm::Error {
    let (client, mut dials) = client(|builder| builder);
    let bystander = get(&client);
    let mut peer = dials.accept(&[]).await;
    let other = peer.request().await;
    let request = get(&client);
    let stream = peer.request().await;
    send(&mut peer, stream).await;
    let error = failure(request).await;
    peer.say(other, "unharmed").await;
    assert_eq!(text(bystander).await, "unharmed", "{what}");
    assert_eq!(client.stats().total.opened, 1, "{what}");
    error
}

#[tokio::test(start_paused = true)]
async fn malformed_heads_fail_their_stream_alone() {
    let heads: &[&[(&str, &str)]] = &[
        &[("content-type", "a/b")],
        &[(":status", "200"), (":status", "200")],
        &[("a", "b"), (":status", "200")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("transfer-encoding", "chunked")],
        &[(":status", "200"), ("keep-alive", "timeout=5")],
        &[(":status", "200"), ("upgrade", "x")],
        &[(":status", "200"), (":path", "/")],
        &[(":status", "200"), (":unknown", "x")],
        &[(":status", "20")],
        &[(":status", "2000")],
        &[(":status", "2x0")],
        &[(":status", "099")],
        &[(":status", "")],
        &[(":status", NINES)],
        &[(":status", "200 ")],
        &[(":status", "+20")],
        &[(":status", "101")],
        &[(":status", "200"), ("Content-Type", "a/b")],
        &[(":status", "200"), ("content type", "a/b")],
        &[(":status", "200"), ("", "b")],
        &[(":status", "200"), (":", "b")],
        &[(":status", "200"), ("a", "b\0c")],
        &[(":status", "200"), ("a", "b\r\nc: d")],
        &[(":status", "200"), ("a", "b\nc")],
        &[(":status", "200"), ("content-length", "+1")],
        &[(":status", "200"), ("content-length", "-1")],
        &[(":status", "200"), ("content-length", "1x")],
        &[(":status", "200"), ("content-length", NINES)],
        &[(":status", "200"), ("content-length", "1"), ("content-length", "2")],
        &[(":status", "200"), ("content-length", "2"), ("content-length", "1")],
    ];
    for head in heads {
        let what = format!("{head:?}");
        let error = fails_alone(&what, async |peer: &mut Peer, stream| {
            peer.fields(stream, head, false).await;
            peer.data(stream, b"x", true).await;
        })
        .await;
        assert!(error.is_stream_error(), "{what}: {error:?}");
        assert_eq!(error.stage(), Stage::Exchange, "{what}");
    }
}

/// A number of 99 digits.
const NINES: &str = "999999999999999999999999999999999\
     999999999999999999999999999999999\
     999999999999999999999999999999999";

/// Kinds, flags and payloads.
type Frames = Vec<(u8, u8, Vec<u8>)>;

/// Frames of one stream in an order, or with flags, that no response has.
#[tokio::test(start_paused = true)]
async fn disordered_responses_fail_their_stream_alone() {
    let ok = || block(&[(":status", "200")]);
    let early = || block(&[(":status", "103"), ("link", "</a>")]);
    let field = || block(&[("a", "b")]);
    let orders: [(&str, Frames); 6] = [
        ("an interim response that ends it", vec![(HEADERS, END_HEADERS | END_STREAM, early())]),
        ("a body without a head", vec![(DATA, END_STREAM, b"x".to_vec())]),
        (
            "a body after an interim response",
            vec![(HEADERS, END_HEADERS, early()), (DATA, END_STREAM, b"x".to_vec())],
        ),
        (
            "a second head",
            vec![
                (HEADERS, END_HEADERS, ok()),
                (HEADERS, END_HEADERS, ok()),
                (DATA, END_STREAM, vec![]),
            ],
        ),
        (
            "trailers that do not end it",
            vec![
                (HEADERS, END_HEADERS, ok()),
                (DATA, 0, b"x".to_vec()),
                (HEADERS, END_HEADERS, field()),
            ],
        ),
        (
            "a head of interim after the final one",
            vec![(HEADERS, END_HEADERS, ok()), (HEADERS, END_HEADERS, early())],
        ),
    ];
    for (what, frames) in orders {
        let error = fails_alone(what, async |peer: &mut Peer, stream| {
            for (kind, flags, payload) in &frames {
                peer.send(*kind, *flags, stream, payload).await;
            }
        })
        .await;
        assert!(error.is_stream_error(), "{what}: {error:?}");
        assert!(error.bytes_written().is_some_and(|written| written > 0), "{what}: {error}");
    }
}

/// Frames, flags and settings that a client has to pass over (RFC 9113, 4.1 and 5.5).
#[tokio::test(start_paused = true)]
async fn unknown_frames_are_passed_over() {
    let (client, mut dials) = client(|builder| builder);
    let request = get(&client);
    let mut peer = dials.accept(&[(0x4a4a, 7), (0x10, 1)]).await;
    let stream = peer.request().await;
    for kind in [2, 0xa, 0xb, 0xc, 0x10, 0x4a, 0xff] {
        let payload: &[u8] = if kind == 2 { &[0, 0, 0, 0, 9] } else { b"unknown" };
        peer.send(kind, 0xff, stream, payload).await;
        if kind != 2 {
            peer.send(kind, 0, 0, payload).await;
        }
    }
    // Padding, a priority, and flags without a meaning.
    let head = [&[3, 0x80, 0, 0, 0, 9][..], &block(&[(":status", "200")]), &[0; 3]].concat();
    peer.send(HEADERS, END_HEADERS | PADDED | PRIORITY | 0x40, stream, &head).await;
    peer.send(DATA, PADDED | 0x40, stream, b"\x02hel\0\0").await;
    peer.send(DATA, 0, stream, b"").await;
    peer.send(DATA, END_STREAM | PADDED, stream, b"\x01lo\0").await;
    assert_eq!(text(request).await, "hello");
    let next = get(&client);
    peer.serve("next").await;
    assert_eq!(text(next).await, "next");
    assert_eq!(client.stats().total.opened, 1);
}

#[tokio::test(start_paused = true)]
async fn malformed_trailers_fail_their_stream_alone() {
    let trailers: &[&[(&str, &str)]] = &[
        &[(":unknown", "x")],
        &[("Upper", "x")],
        &[("a", "b\nc")],
        &[("transfer-encoding", "chunked")],
        &[(":status", "200")],
        &[(":path", "/")],
        &[("a", "b"), (":status", "200")],
        &[("connection", "close")],
    ];
    for trailer in trailers {
        let what = format!("{trailer:?}");
        let error = fails_alone(&what, async |peer: &mut Peer, stream| {
            peer.fields(stream, &[(":status", "200")], false).await;
            peer.data(stream, b"x", false).await;
            peer.fields(stream, trailer, true).await;
        })
        .await;
        assert!(error.is_stream_error(), "{what}: {error:?}");
    }
}

/// Heads up to 1 MiB are read, as with HTTP/1.1; a larger one fails its stream.
#[tokio::test(start_paused = true)]
async fn response_heads_are_read_to_the_limit() {
    let send = async |peer: &mut Peer, stream, size: usize| {
        let value = "v".repeat(size);
        let fields = block(&[(":status", "200"), ("large", &value)]);
        let mut parts = fields.chunks(16 << 10);
        peer.send(HEADERS, 0, stream, parts.next().expect("a part")).await;
        for part in parts {
            peer.send(CONTINUATION, 0, stream, part).await;
        }
        peer.send(CONTINUATION, END_HEADERS, stream, &[]).await;
        peer.data(stream, b"x", true).await;
    };
    let (client, mut dials) = client(|builder| builder);
    let request = go(client.get(URL));
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    send(&mut peer, stream, 1_000_000).await;
    let response = within("a head", request).await.expect("no panic").expect("a head");
    assert_eq!(response.headers()["large"].len(), 1_000_000);
    drop(response);

    let what = "a head of more than 1 MiB";
    let error = fails_alone(what, async |peer, stream| send(peer, stream, 1_060_000).await).await;
    assert!(error.is_limit() && !error.is_stream_error(), "{error:?}");
    assert_eq!(error.stage(), Stage::Exchange);
    assert!(error.bytes_written().is_some_and(|written| written > 0), "{error}");
    assert!(error.to_string().contains("no response"), "{error}");
}

/// A head may come in any number of frames: `h2` ends the connection at the 81st.
#[tokio::test(start_paused = true)]
async fn head_in_many_frames_is_read() {
    let (client, mut dials) = client(|builder| builder);
    let request = get(&client);
    let mut peer = dials.accept(&[]).await;
    let stream = peer.request().await;
    let fields = block(&[(":status", "200"), ("a", &"b".repeat(300))]);
    peer.send(HEADERS, 0, stream, &[]).await;
    for byte in &fields {
        peer.send(CONTINUATION, 0, stream, &[*byte]).await;
    }
    peer.send(CONTINUATION, END_HEADERS, stream, &[]).await;
    peer.data(stream, b"x", true).await;
    let response = within("a head", request).await.expect("no panic").expect("a head");
    assert_eq!(response.headers()["a"].len(), 300);
    assert_eq!(within("a body", response.text()).await.expect("a body"), "x");
}

/// Frames that break the rules of the connection: its requests fail, by a predicate of their own.
#[tokio::test(start_paused = true)]
async fn broken_rules_fail_the_connection() {
    let long = [0; (16 << 10) + 1];
    let frames: [(&str, u8, u8, u32, &[u8]); 20] = [
        ("a window beyond 2^31", SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0]),
        ("frames of at most one byte", SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]),
        ("a push setting of 2", SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
        ("an acknowledgement with settings", SETTINGS, 1, 0, &[0, 3, 0, 0, 0, 1]),
        ("SETTINGS on a stream", SETTINGS, 0, 1, &[]),
        ("PING of seven bytes", PING, 0, 0, &[0; 7]),
        ("PING on a stream", PING, 0, 1, &[0; 8]),
        ("GOAWAY of four bytes", GOAWAY, 0, 0, &[0; 4]),
        ("RST_STREAM on no stream", RST_STREAM, 0, 0, &[0, 0, 0, 8]),
        ("WINDOW_UPDATE of three bytes", WINDOW_UPDATE, 0, 0, &[0, 0, 1]),
        ("a frame of more than 16 KiB", HEADERS, END_HEADERS, 1, &long),
        ("padding beyond the frame", HEADERS, END_HEADERS | PADDED, 1, &[9, 0]),
        ("a response to no request", HEADERS, END_HEADERS, 99, b"\x88"),
        ("DATA on no stream", 0, 0, 0, b"x"),
        ("HEADERS on no stream", HEADERS, END_HEADERS, 0, b"\x88"),
        ("a block that is no HPACK", HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        ("a push", PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02\x82\x87\x84\x01\x01a"),
        ("SETTINGS of odd length", SETTINGS, 0, 0, b"12345"),
        ("RST_STREAM of an idle stream", RST_STREAM, 0, 99, &[0, 0, 0, 8]),
        ("CONTINUATION of nothing", CONTINUATION, END_HEADERS, 1, b"\x88"),
    ];
    for (what, kind, flags, stream, payload) in frames {
        let (client, mut dials) = client(|builder| builder);
        let request = crate::peer::post(&client, "once");
        let mut peer = dials.accept(&[]).await;
        let own = peer.request().await;
        assert_eq!(peer.body(own).await, b"once");
        peer.send(kind, flags, stream, payload).await;
        let error = failure(request).await;
        assert!(error.is_http2_error(), "{what}: {error:?}");
        assert_eq!(error.stage(), Stage::Exchange, "{what}");
        assert!(error.bytes_written().is_some_and(|written| written > 0), "{what}: {error}");
        peer.rest().await;
        let closed = client.stats().total.closed_for(CloseReason::ExchangeFailed);
        assert_eq!(closed, 1, "{what}");
    }
}

/// Peers that do not begin as HTTP/2 does: nothing was sent.
#[tokio::test(start_paused = true)]
async fn peer_without_http2_is_told_apart() {
    let answers: [(&str, &[u8]); 4] = [
        ("HTTP/1", b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"),
        ("HTTP/1", b"HTTP/1.0 505 Version Not Supported\r\n\r\n"),
        ("HTTP/2", b"SSH-2.0-OpenSSH_9.2\r\n"),
        ("HTTP/2", b"<html>this is some page of a service that speaks first</html>"),
    ];
    for (words, answer) in answers {
        let (client, mut dials) = client(|builder| builder);
        let request = crate::peer::post(&client, "once");
        let mut raw = dials.raw().await;
        raw.write_all(answer).await.expect("written");
        let error = failure(request).await;
        assert!(error.is_not_http2(), "{answer:?}: {error:?}");
        assert_eq!((error.stage(), error.bytes_written()), (Stage::Connect, None));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn second_host_is_refused() {
    let (client, mut dials) = client(|builder| builder);
    let warm = get(&client);
    let mut peer = dials.accept(&[]).await;
    peer.serve("x").await;
    text(warm).await;
    let mut request = client.get(URL).header("host", "a.test");
    request = request.header("host", "b.test");
    let error = within("a refusal", request.send()).await.expect_err("which of them?");
    assert!(error.is_invalid(), "{error:?}");
    assert_eq!((error.stage(), error.bytes_written()), (Stage::Request, None));
}
