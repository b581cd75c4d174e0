//! Peers that say nothing: pings, doubts, and connections that are dead.

use std::time::Duration;

use keepwarm::{CloseReason, Stage};
use keepwarm_testkit::scripted::eventually;

use crate::peer::{HEADERS, client, failure, get, go, post, quiet, text};

#[tokio::test(start_paused = true)]
async fn steady_load_sends_no_ping() {
    let (client, mut dials) = client(|builder| builder);
    let first = get(&client);
    let mut peer = dials.accept(&[]).await;
    peer.serve("x").await;
    text(first).await;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let request = get(&client);
        peer.serve("x").await;
        text(request).await;
    }
    assert_eq!(peer.pings, 0, "in five minutes");
}

/// One ping goes with the first request after the silence; an idle connection sends none.
#[tokio::test(start_paused = true)]
async fn silence_is_asked_about_once() {
    let (client, mut dials) = client(|builder| builder.idle_timeout(Duration::from_secs(600)));
    let first = get(&client);
    let mut peer = dials.accept(&[]).await;
    peer.serve("x").await;
    text(first).await;
    for pings in 1..4 {
        assert!(tokio::time::timeout(Duration::from_secs(16), peer.next()).await.is_err());
        assert_eq!(peer.pings, pings - 1, "none while it is idle");
        let requests = [get(&client), get(&client)];
        peer.serve("x").await;
        peer.serve("x").await;
        for request in requests {
            text(request).await;
        }
        assert!(tokio::time::timeout(Duration::from_secs(1), peer.next()).await.is_err());
        assert_eq!(peer.pings, pings);
    }
}

/// A dead connection: the requests on it time out or fail; the next use another one, soon.
#[tokio::test(start_paused = true)]
async fn dead_connection_is_left_after_a_ping() {
    let (client, mut dials) = client(|builder| builder);
    let first = get(&client);
    let mut dead = dials.accept(&[]).await;
    dead.serve("x").await;
    text(first).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    dead.is_mute = true;
    let began = tokio::time::Instant::now();
    let stuck = post(&client, "once");
    let stream = dead.request().await;
    assert_eq!(dead.body(stream).await, b"once");
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    // In doubt: the next request dials.
    let next = get(&client);
    let mut second = dials.accept(&[]).await;
    second.serve("y").await;
    assert_eq!(text(next).await, "y");
    let error = failure(stuck).await;
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
    assert_eq!(error.stage(), Stage::Exchange);
    assert!(error.is_peer_silent() && !error.is_timeout(), "{error}");
    assert!(error.to_string().contains("not even a ping"), "{error}");
    assert!(error.bytes_written().is_some_and(|written| written > 0), "{error}");
    eventually("the close", || client.stats().total.closed_for(CloseReason::PingTimeout) == 1)
        .await;
    assert!(quiet(second.next()).await, "the POST was not sent a second time");
}

/// A peer that was frozen and comes back: what it answers then is heard, and no POST is doubled.
#[tokio::test(start_paused = true)]
async fn frozen_peer_that_comes_back_is_trusted() {
    let (client, mut dials) = client(|builder| builder);
    let first = get(&client);
    let mut frozen = dials.accept(&[]).await;
    frozen.serve("x").await;
    text(first).await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let posted = post(&client, "once");
    // It reads nothing for seven seconds: after five it is in doubt.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let next = get(&client);
    let mut second = dials.accept(&[]).await;
    second.serve("y").await;
    assert_eq!(text(next).await, "y");
    let stream = frozen.request().await;
    assert_eq!(frozen.body(stream).await, b"once");
    frozen.say(stream, "late").await;
    assert_eq!(text(posted).await, "late");
    assert!(quiet(frozen.next()).await, "nothing was sent a second time");
    assert_eq!(client.stats().total.opened, 2);
    assert_eq!(client.stats().total.closed_for(CloseReason::PingTimeout), 0);
}

/// A request that times out without a sign of life of its peer: the next one asks for it.
#[tokio::test(start_paused = true)]
async fn timeout_without_a_sign_puts_in_doubt() {
    let (client, mut dials) = client(|builder| builder);
    let first = get(&client);
    let mut dead = dials.accept(&[]).await;
    dead.serve("x").await;
    text(first).await;
    dead.is_mute = true;
    let url = "http://frames.test/";
    let late = go(client.get(url).timeout(Duration::from_millis(100)));
    dead.request().await;
    assert!(failure(late).await.is_timeout());
    let next = get(&client);
    let mut second = dials.accept(&[]).await;
    second.serve("y").await;
    assert_eq!(text(next).await, "y");
    let frames = dead.rest().await;
    assert!(frames.iter().all(|frame| frame.kind != HEADERS), "{frames:?}");
}
