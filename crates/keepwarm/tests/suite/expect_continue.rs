//! `Expect: 100-continue`: when the body goes, and what becomes of a connection whose body did not.

use std::time::Duration;

use bytes::Bytes;
use keepwarm::{Body, Client, CloseReason, RequestBuilder, Stage as At};
use keepwarm_testkit::scripted::{Peer, Stage, eventually, ok};
use tokio::sync::oneshot;

use crate::support::{Gated, assert_at_rest, done, fetch, get, only};

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";

/// Waits for the server alone.
fn patient() -> Client {
    Client::builder().expect_continue_timeout(Duration::MAX).build().expect("good settings")
}

fn expecting(client: &Client, stage: &Stage) -> RequestBuilder {
    client.post(stage.url("/upload")).header("Expect", "100-continue")
}

/// The connection is kept.
#[tokio::test]
async fn body_waits_for_100_continue() {
    let stage = Stage::open().await;
    let client = patient();
    let mut peer = None;
    for body in [Body::from("in memory"), streamed("in memory")] {
        let request = tokio::spawn(expecting(&client, &stage).body(body).send());
        let mut at = match peer.take() {
            Some(peer) => peer,
            None => stage.accept().await,
        };
        let mut seen = at.head().await;
        assert_eq!(seen.field("expect"), Some("100-continue"));
        assert_eq!(at.arrived().await, b"", "nothing before the leave");
        // Another interim response is not the leave.
        at.write("HTTP/1.1 103 Early Hints\r\n\r\n").await;
        assert_eq!(at.arrived().await, b"");
        at.write(CONTINUE).await;
        at.body(&mut seen).await;
        assert_eq!(seen.body, b"in memory");
        at.write(ok("done")).await;
        assert_eq!(done(request).await.expect("a head").text().await.expect("a body"), "done");
        peer = Some(at);
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.reused, stats.closed()), (1, 1, 0));
}

fn streamed(text: &'static str) -> Body {
    let (open, gate) = oneshot::channel();
    open.send(Bytes::from(text)).expect("it is there");
    Body::stream(Gated(Some(gate)))
}

/// The timeout is no error.
#[tokio::test]
async fn body_is_sent_after_the_timeout() {
    let stage = Stage::open().await;
    let limit = Duration::from_millis(80);
    let client = Client::builder()
        .expect_continue_timeout(limit)
        .response_header_timeout(limit / 2)
        .build()
        .expect("good settings");
    let request = tokio::spawn(expecting(&client, &stage).body("late").send());
    let mut peer = stage.accept().await;
    let mut seen = peer.head().await;
    let began = std::time::Instant::now();
    peer.body(&mut seen).await;
    assert!(began.elapsed() >= limit / 2, "{:?}: it waits first", began.elapsed());
    assert_eq!(seen.body, b"late");
    // Leave that comes too late is an interim response like others.
    peer.write(format!("{CONTINUE}{}", ok(""))).await;
    done(request).await.expect("the time for the head began with the end of the body");
    assert_eq!(only(&client).idle, 1);
}

/// A request that expects nothing sends its body at once too.
#[tokio::test]
async fn zero_sends_the_body_at_once() {
    let stage = Stage::open().await;
    let at_once = Client::builder().expect_continue_timeout(Duration::ZERO).build().expect("good");
    let patient = patient();
    for request in [
        expecting(&at_once, &stage).body("now"),
        patient.post(stage.url("/")).body("now"),
        patient.post(stage.url("/")).header("Expect", "something-else").body("now"),
        patient.get(stage.url("/")).header("Expect", "100-continue"),
    ] {
        let request = tokio::spawn(request.send());
        // Nobody gives leave.
        stage.accept().await.serve("").await;
        done(request).await.expect("a response");
        patient.close_idle();
        at_once.close_idle();
    }
}

/// The status is the response, and the body is never sent.
#[tokio::test]
async fn final_status_ends_the_connection() {
    let finals = [
        "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ];
    for sent in finals {
        for stream in [false, true] {
            let stage = Stage::open().await;
            let client = patient();
            let (_open, gate) = oneshot::channel();
            let body =
                if stream { Body::stream(Gated(Some(gate))) } else { Body::from("the body") };
            let request = tokio::spawn(expecting(&client, &stage).body(body).send());
            let mut peer = stage.accept().await;
            peer.head().await;
            peer.write(sent).await;
            if sent.ends_with("close\r\n\r\nno") {
                peer.half_close().await;
            }
            let response = done(request).await.expect("a head");
            assert_eq!(&response.status().as_str(), &&sent[9..12]);
            let text = response.text().await.expect("a body");
            assert_eq!(text, if sent.contains("no") { "no" } else { "" }, "{sent}");
            assert_eq!(peer.rest().await, b"", "{sent}: no byte of the body");
            let stats = only(&client);
            assert_at_rest(&stats);
            assert_eq!((stats.idle, stats.closed()), (0, 1), "{sent}: {stats:?}");
            if !sent.contains("close") {
                assert_eq!(stats.closed_for(CloseReason::UploadUnfinished), 1, "{sent}");
            }
            let next = fetch(&client, &stage.url("/next"));
            stage.accept().await.serve("next").await;
            assert_eq!(done(next).await.expect("a body"), "next");
        }
    }
}

#[tokio::test]
async fn dropped_final_status_closes_too() {
    let stage = Stage::open().await;
    let client = patient();
    for sent in [
        "HTTP/1.1 412 No\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 412 No\r\nContent-Length: 9\r\n\r\n",
    ] {
        let request = tokio::spawn(expecting(&client, &stage).body("the body").send());
        let mut peer = stage.accept().await;
        peer.head().await;
        peer.write(sent).await;
        drop(done(request).await.expect("a head"));
        assert_eq!(peer.rest().await, b"");
        eventually("the close", || only(&client).active == 0).await;
    }
    assert_at_rest(&only(&client));
    assert_eq!(only(&client).idle, 0);
}

/// A response overtakes it.
#[tokio::test]
async fn permitted_body_has_the_usual_grace() {
    let stage = Stage::open().await;
    let client = patient();
    let (open, gate) = oneshot::channel();
    let request = expecting(&client, &stage).body(Body::stream(Gated(Some(gate))));
    let request = tokio::spawn(request.send());
    let mut peer = stage.accept().await;
    let mut seen = peer.head().await;
    peer.write(format!("{CONTINUE}{}", ok("early"))).await;
    let response = done(request).await.expect("a head");
    assert_eq!(response.text().await.expect("a body"), "early");
    open.send(Bytes::from("late")).expect("it is waited for");
    peer.body(&mut seen).await;
    assert_eq!(seen.body, b"late");
    eventually("the return", || only(&client).idle == 1).await;
}

/// Only to the server that permits it.
#[tokio::test]
async fn redirect_sends_the_body_once() {
    let stage = Stage::open().await;
    let client = patient();
    let request = tokio::spawn(expecting(&client, &stage).body("the body").send());
    let mut first = stage.accept().await;
    first.head().await;
    first.write("HTTP/1.1 307 There\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n").await;
    let mut second = stage.accept().await;
    let mut seen = second.head().await;
    assert_eq!((seen.target(), seen.field("expect")), ("/there", Some("100-continue")));
    assert_eq!(second.arrived().await, b"");
    second.write(CONTINUE).await;
    second.body(&mut seen).await;
    assert_eq!(seen.body, b"the body");
    second.write(ok("")).await;
    done(request).await.expect("a response");
    assert_eq!(first.rest().await, b"");
}

async fn warm(client: &Client, stage: &Stage) -> Peer {
    let request = get(client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.serve("").await;
    done(request).await.expect("a response");
    peer
}

/// Nothing is sent twice.
#[tokio::test]
async fn close_before_permission_fails_a_post() {
    let stage = Stage::open().await;
    let client = patient();
    for reset in [false, true] {
        let mut peer = warm(&client, &stage).await;
        let request = tokio::spawn(expecting(&client, &stage).body("the body").send());
        peer.head().await;
        if reset {
            peer.reset();
        } else {
            peer.close();
        }
        let error = done(request).await.expect_err("cut");
        assert_eq!((error.stage(), error.attempts()), (At::Exchange, 1), "{error}");
        assert!(!stage.has_another().await);
    }
    assert_at_rest(&only(&client));
}

/// The connection is closed.
#[tokio::test]
async fn giving_up_sends_no_body_byte() {
    let stage = Stage::open().await;
    let client = patient();
    let limit = Duration::from_millis(60);
    let timed = tokio::spawn(expecting(&client, &stage).body("the body").timeout(limit).send());
    let mut peer = stage.accept().await;
    peer.head().await;
    let error = done(timed).await.expect_err("late");
    assert!(error.is_timeout() && !error.is_response_header_timeout(), "{error}");
    assert_eq!(error.stage(), At::Exchange);
    assert_eq!(peer.rest().await, b"");

    let dropped = tokio::spawn(expecting(&client, &stage).body("the body").send());
    let mut peer = stage.accept().await;
    peer.head().await;
    dropped.abort();
    assert_eq!(peer.rest().await, b"");
    eventually("the close", || only(&client).active == 0).await;
    assert_at_rest(&only(&client));
    assert_eq!(only(&client).idle, 0);
}

/// A server that does not meet the expectation gets the same request without it, if the body is
/// still there.
#[tokio::test]
async fn refused_expectation_is_withdrawn() {
    let refusal = "HTTP/1.1 417 Expectation Failed\r\nContent-Length: 2\r\n\r\nno";
    let stage = Stage::open().await;
    let client = patient();
    let request = tokio::spawn(expecting(&client, &stage).body("the body").send());
    let mut peer = stage.accept().await;
    peer.head().await;
    peer.write(refusal).await;
    assert_eq!(peer.rest().await, b"", "no byte of the body");
    let again = stage.accept().await.serve("done").await;
    assert_eq!((again.field("expect"), &*again.body), (None, &b"the body"[..]));
    let response = done(request).await.expect("a response");
    assert_eq!(response.text().await.expect("a body"), "done");

    client.close_idle();
    // A body that can be sent only once was not begun.
    let request = tokio::spawn(expecting(&client, &stage).body(streamed("once")).send());
    let mut peer = stage.accept().await;
    peer.head().await;
    peer.write(refusal).await;
    assert_eq!(peer.rest().await, b"", "no byte of the body");
    let again = stage.accept().await.serve("done").await;
    assert_eq!((again.field("expect"), &*again.body), (None, &b"once"[..]));
    assert_eq!(done(request).await.expect("a response").text().await.expect("a body"), "done");

    client.close_idle();
    // Refused once more: the status is the response.
    let request = tokio::spawn(expecting(&client, &stage).body("the body").send());
    let mut peer = stage.accept().await;
    peer.head().await;
    peer.write(refusal).await;
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(refusal).await;
    assert_eq!(done(request).await.expect("a response").status(), 417);
    // And so it is where a body that can be sent only once has begun: here at once.
    let client = Client::builder().expect_continue_timeout(Duration::ZERO).build().expect("good");
    let (_open, gate) = oneshot::channel();
    let once = Body::stream(Gated(Some(gate)));
    let request = tokio::spawn(expecting(&client, &stage).body(once).send());
    let mut peer = stage.accept().await;
    peer.head().await;
    peer.write(refusal).await;
    assert_eq!(done(request).await.expect("a response").status(), 417);
    assert!(!stage.has_another().await);
}
