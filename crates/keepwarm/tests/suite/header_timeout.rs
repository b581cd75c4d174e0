//! The time the head of a response may take: from when, to when, and what becomes of the
//! connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use keepwarm::{Body, Client, CloseReason, Stage as At};
use keepwarm_testkit::scripted::{Stage, ok};
use tokio::sync::oneshot;

use crate::support::{Gated, assert_at_rest, done, fetch, get, only, pass};

const LIMIT: Duration = Duration::from_millis(60);

fn impatient() -> Client {
    Client::builder().response_header_timeout(LIMIT).build().expect("good settings")
}

/// The connection is closed.
#[tokio::test]
async fn missing_head_is_a_header_timeout() {
    let stage = Stage::open().await;
    let client = impatient();
    let mut peer = None;
    for reused in [false, true] {
        let request = get(&client, &stage.url("/"));
        let mut at = match peer.take() {
            Some(peer) => peer,
            None => stage.accept().await,
        };
        if !reused {
            at.serve("").await;
            done(request).await.expect("in time");
            peer = Some(at);
            continue;
        }
        let began = Instant::now();
        at.request().await;
        // An interim response is not the one that is waited for.
        at.write("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        let error = done(request).await.expect_err("late");
        assert!(began.elapsed() >= LIMIT - Duration::from_millis(10), "{:?}", began.elapsed());
        assert!(error.is_response_header_timeout() && error.is_timeout(), "{error}");
        assert_eq!((error.stage(), error.attempts()), (At::Exchange, 1));
        assert_eq!(error.on_reused_connection(), Some(true));
        assert!(error.to_string().contains("response_header_timeout"), "{error}");
        at.ended().await;
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.closed_for(CloseReason::Abandoned), stats.idle), (1, 0));
    assert!(!stage.has_another().await, "not sent again");
}

#[tokio::test]
async fn writing_the_request_takes_no_time() {
    let stage = Stage::open().await;
    let client = impatient();
    // More than the sockets hold.
    let request = client.post(stage.url("/")).body(vec![7; 32 << 20]);
    let request = tokio::spawn(request.send());
    let mut peer = stage.accept().await;
    pass(LIMIT * 4).await;
    assert!(!request.is_finished(), "it is not written yet");
    assert_eq!(peer.request().await.body.len(), 32 << 20);
    let error = done(request).await.expect_err("late");
    assert!(error.is_response_header_timeout(), "{error}");
}

#[tokio::test]
async fn making_the_body_takes_no_time() {
    let stage = Stage::open().await;
    let client = impatient();
    for answered in [true, false] {
        let (open, gate) = oneshot::channel();
        let request = client.post(stage.url("/")).body(Body::stream(Gated(Some(gate))));
        let request = tokio::spawn(request.send());
        let mut peer = stage.accept().await;
        pass(LIMIT * 4).await;
        assert!(!request.is_finished(), "its end was not written yet");
        open.send(Bytes::from("made")).expect("it is waited for");
        assert_eq!(peer.request().await.body, b"made");
        if answered {
            peer.write("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
            done(request).await.expect("in time");
        } else {
            let error = done(request).await.expect_err("late");
            assert!(error.is_response_header_timeout(), "{error}");
        }
    }
}

#[tokio::test]
async fn body_may_take_longer_than_head() {
    let stage = Stage::open().await;
    let client = impatient();
    let request = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let response = ok("slow");
    let (head, body) = response.split_at(response.len() - 4);
    peer.write(head).await;
    pass(LIMIT * 4).await;
    peer.write(body).await;
    assert_eq!(done(request).await.expect("a body"), "slow");
    assert_eq!(only(&client).idle, 1);
}

#[tokio::test]
async fn total_timeout_is_no_header_timeout() {
    let stage = Stage::open().await;
    let client = Client::builder().response_header_timeout(LIMIT * 100).build().expect("good");
    let request = tokio::spawn(client.get(stage.url("/")).timeout(LIMIT).send());
    let mut peer = stage.accept().await;
    peer.request().await;
    let error = done(request).await.expect_err("late");
    assert!(error.is_timeout() && !error.is_response_header_timeout(), "{error}");
    peer.ended().await;
}
