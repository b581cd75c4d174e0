//! A server closes an idle connection while a request is on its way: who is sent again, and who is
//! not. What the server saw is counted at the server.

use bytes::Bytes;
use http_body_util::Full;
use keepwarm::{Body, Client, CloseReason, RequestBuilder, Response, Result, Stage as At};
use keepwarm_testkit::scripted::{Peer, Stage, eventually};
use tokio::task::JoinHandle;

use crate::support::{assert_at_rest, by_hand, done, fetch, get, only, poll_once, warm_two};

/// One connection that has served, and is idle.
async fn warm(client: &Client, stage: &Stage) -> Peer {
    let first = fetch(client, &stage.url("/warm"));
    let mut peer = stage.accept().await;
    peer.serve("").await;
    done(first).await.expect("a body");
    peer
}

fn start(request: RequestBuilder) -> JoinHandle<Result<Response>> {
    tokio::spawn(request.send())
}

#[tokio::test]
async fn stale_get_succeeds_on_new_connection() {
    for reset in [false, true] {
        let stage = Stage::open().await;
        let client = Client::new();
        let (_other, mut peer) = warm_two(&client, &stage).await;
        let request = get(&client, &stage.url("/again"));
        assert_eq!(peer.request().await.target(), "/again");
        if reset {
            peer.reset();
        } else {
            peer.close();
        }
        // Not on the other idle one: it may have been closed just so.
        let mut fresh = stage.accept().await;
        assert_eq!(fresh.serve("second").await.target(), "/again");
        let response = done(request).await.expect("a response");
        let info = response.connection();
        assert_eq!((info.attempts(), info.reused()), (2, false));
        assert_eq!(response.text().await.expect("a body"), "second");
        let stats = only(&client);
        assert_at_rest(&stats);
        assert_eq!((stats.opened, stats.idle), (3, 2));
        assert_eq!(stats.closed_for(CloseReason::ExchangeFailed), 1);
    }
}

#[tokio::test]
async fn repeatable_methods_resend_body_and_fields() {
    let stage = Stage::open().await;
    let client = Client::new();
    for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
        let mut peer = warm(&client, &stage).await;
        let request = client.request(method.parse().expect("a method"), stage.url("/again"));
        let body = if method == "GET" { "a body" } else { "" };
        let request = start(request.header("x-kept", "yes").body(body));
        peer.request().await;
        peer.close();
        let mut fresh = stage.accept().await;
        let seen = fresh.request().await;
        assert_eq!((seen.method(), seen.field("x-kept")), (method, Some("yes")));
        assert_eq!(seen.body, body.as_bytes());
        fresh.write("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        assert_eq!(done(request).await.expect("a response").connection().attempts(), 2);
        fresh.ended().await;
    }
}

/// Once a byte was written.
#[tokio::test]
async fn other_methods_are_never_sent_twice() {
    let stage = Stage::open().await;
    let client = Client::new();
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let mut peer = warm(&client, &stage).await;
        let request = client.request(method.parse().expect("a method"), stage.url("/once"));
        let request = start(request.body("once"));
        assert_eq!(peer.request().await.method(), method);
        peer.close();
        let error = done(request).await.expect_err("broken");
        assert_eq!((error.stage(), error.attempts()), (At::Exchange, 1), "{error}");
        assert_eq!(error.on_reused_connection(), Some(true));
        assert!(!stage.has_another().await, "{method} went out twice");
        assert_at_rest(&only(&client));
    }
}

#[tokio::test]
async fn idempotency_key_allows_a_retry() {
    let stage = Stage::open().await;
    let client = Client::new();
    for key in ["idempotency-key", "X-Idempotency-Key"] {
        let mut peer = warm(&client, &stage).await;
        let request = client.post(stage.url("/pay")).header(key, "42");
        let request = start(request.body("ten"));
        assert_eq!(peer.request().await.body, b"ten");
        peer.close();
        let mut fresh = stage.accept().await;
        let seen = fresh.request().await;
        assert_eq!((seen.field(key), &seen.body[..]), (Some("42"), &b"ten"[..]));
        fresh.write("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        assert_eq!(done(request).await.expect("a response").connection().attempts(), 2);
        fresh.ended().await;
    }
}

#[tokio::test]
async fn begun_response_forbids_a_retry() {
    let stage = Stage::open().await;
    let client = Client::new();
    for bytes in ["H", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let mut peer = warm(&client, &stage).await;
        let request = get(&client, &stage.url("/"));
        peer.request().await;
        peer.write(bytes).await;
        peer.close();
        let error = done(request).await.expect_err("broken");
        assert_eq!((error.stage(), error.attempts()), (At::Exchange, 1), "{error}");
        assert!(!stage.has_another().await, "sent again after {bytes:?}");
    }
}

#[tokio::test]
async fn new_connection_forbids_a_retry() {
    let stage = Stage::open().await;
    let client = Client::new();
    let request = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.close();
    let error = done(request).await.expect_err("broken");
    assert_eq!((error.attempts(), error.on_reused_connection()), (1, Some(false)));
    assert!(!stage.has_another().await);
}

#[tokio::test]
async fn second_failure_is_final() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peer = warm(&client, &stage).await;
    let request = get(&client, &stage.url("/"));
    peer.request().await;
    peer.close();
    let mut fresh = stage.accept().await;
    fresh.request().await;
    fresh.close();
    let error = done(request).await.expect_err("broken");
    assert_eq!((error.attempts(), error.on_reused_connection()), (2, Some(false)));
    let written = error.bytes_written().expect("there was a connection");
    let words = format!("on a new connection, attempt 2, {written} bytes written: ");
    assert!(written > 0 && error.to_string().contains(&words), "{error}");
    assert!(!stage.has_another().await);
    assert_at_rest(&only(&client));
}

#[tokio::test]
async fn unused_idle_connection_may_be_stale() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut dropped = by_hand(&client, &stage.url("/"));
    assert!(poll_once(&mut dropped).is_pending());
    drop(dropped);
    let mut peer = stage.accept().await;
    eventually("an unused connection", || only(&client).idle == 1).await;
    let request = get(&client, &stage.url("/"));
    peer.request().await;
    peer.close();
    stage.accept().await.serve("").await;
    assert_eq!(done(request).await.expect("a response").connection().attempts(), 2);
}

#[tokio::test]
async fn a_stream_is_never_sent_again() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peer = warm(&client, &stage).await;
    let body = Body::stream(Full::new(Bytes::from("once")));
    let request = client.post(stage.url("/")).header("idempotency-key", "1").body(body);
    let request = start(request);
    assert_eq!(peer.request().await.body, b"once");
    peer.close();
    let error = done(request).await.expect_err("broken");
    assert_eq!(error.attempts(), 1, "{error}");
    assert!(!stage.has_another().await);
}

#[tokio::test]
async fn second_attempt_without_connection_reports_first() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peer = warm(&client, &stage).await;
    let request = get(&client, &stage.url("/"));
    peer.request().await;
    drop(stage);
    peer.close();
    let error = done(request).await.expect_err("nobody listens");
    // Whoever reads `is_connect` may conclude that nothing was sent.
    assert!(!error.is_connect(), "{error}");
    assert_eq!((error.stage(), error.on_reused_connection()), (At::Exchange, Some(true)));
    assert!(error.to_string().contains("no connection to send it again: "), "{error}");
}

/// The cap leaves room for a new connection, since the broken one is gone; waiters are not passed
/// over by it.
/// At the limit of connections.
#[tokio::test]
async fn retry_uses_the_broken_ones_room() {
    let stage = Stage::open().await;
    let client = Client::builder().max_connections_per_origin(2).build().expect("good");
    let (_other, mut peer) = warm_two(&client, &stage).await;
    let request = get(&client, &stage.url("/again"));
    peer.request().await;
    peer.close();
    assert_eq!(stage.accept().await.serve("").await.target(), "/again");
    assert_eq!(done(request).await.expect("a response").connection().attempts(), 2);
    assert_eq!(only(&client).opened, 3);
}
