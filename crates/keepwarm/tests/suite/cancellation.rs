//! A request dropped at any instant leaks nothing, and passes on what it was given.

use http_body_util::BodyExt;
use keepwarm::{Client, CloseReason, Closer};
use keepwarm_testkit::scripted::{Ending, Stage, eventually, ok};

use crate::support::{assert_at_rest, by_hand, done, fetch, get, only, poll_once};

fn one_at_a_time() -> Client {
    let builder = Client::builder().max_connections_per_origin(1);
    builder.build().expect("good settings")
}

/// The dial serves the next request.
#[tokio::test]
async fn dial_outlives_its_dropped_request() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut dropped = by_hand(&client, &stage.url("/dropped"));
    assert!(poll_once(&mut dropped).is_pending());
    assert_eq!(only(&client).dialing, 1);
    drop(dropped);
    assert_eq!((only(&client).waiting, only(&client).cancelled), (0, 1));

    let next = fetch(&client, &stage.url("/next"));
    let mut peer = stage.accept().await;
    assert_eq!(peer.serve("").await.target(), "/next");
    done(next).await.expect("a body");
    assert!(!stage.has_another().await, "one dial for both");
    assert_eq!(only(&client).opened, 1);
}

#[tokio::test]
async fn unneeded_dial_becomes_idle() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut dropped = by_hand(&client, &stage.url("/"));
    assert!(poll_once(&mut dropped).is_pending());
    drop(dropped);
    let mut peer = stage.accept().await;
    eventually("the connection", || only(&client).idle == 1).await;
    let next = get(&client, &stage.url("/"));
    peer.serve("").await;
    let info = done(next).await.expect("a response").connection();
    assert!(!info.reused() && info.idle_age().is_some());
}

#[tokio::test]
async fn dropped_waiter_lets_the_next_move_up() {
    let stage = Stage::open().await;
    let client = one_at_a_time();
    let first = fetch(&client, &stage.url("/first"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let mut dropped = by_hand(&client, &stage.url("/dropped"));
    assert!(poll_once(&mut dropped).is_pending());
    let last = fetch(&client, &stage.url("/last"));
    eventually("two waiters", || only(&client).waiting == 2).await;
    drop(dropped);
    assert_eq!(only(&client).waiting, 1);
    peer.write(ok("")).await;
    done(first).await.expect("a body");
    assert_eq!(peer.serve("").await.target(), "/last");
    done(last).await.expect("a body");
    assert_at_rest(&only(&client));
}

/// A request is dropped between its assignment and its next poll.
#[tokio::test]
async fn unpolled_assignment_passes_on() {
    let stage = Stage::open().await;
    let client = one_at_a_time();
    let first = fetch(&client, &stage.url("/first"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let mut dropped = by_hand(&client, &stage.url("/dropped"));
    assert!(poll_once(&mut dropped).is_pending());
    peer.write(ok("")).await;
    done(first).await.expect("a body");
    let stats = only(&client);
    assert_eq!((stats.active, stats.waiting), (1, 0), "assigned, and not polled");
    let last = fetch(&client, &stage.url("/last"));
    eventually("its place", || only(&client).waiting == 1).await;

    drop(dropped);
    assert_eq!(peer.serve("").await.target(), "/last");
    done(last).await.expect("a body");
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.closed()), (1, 0));
}

/// The connection is closed.
#[tokio::test]
async fn drop_without_response_frees_the_place() {
    let stage = Stage::open().await;
    let client = one_at_a_time();
    let dropped = get(&client, &stage.url("/dropped"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let next = fetch(&client, &stage.url("/next"));
    eventually("the queue", || only(&client).waiting == 1).await;

    dropped.abort();
    assert_eq!(peer.ended().await, Ending::Fin);
    let mut other = stage.accept().await;
    assert_eq!(other.serve("").await.target(), "/next");
    done(next).await.expect("a body");
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!(stats.closes.len(), 1);
    assert_eq!(stats.closes[0].reason, CloseReason::Abandoned);
    assert_eq!(stats.closes[0].closer, Closer::Client);
}

#[tokio::test]
async fn drop_during_upload_closes_connection() {
    let stage = Stage::open().await;
    let client = one_at_a_time();
    // More than the sockets hold, and nobody reads.
    let request = client.post(stage.url("/")).body(vec![7; 32 << 20]);
    let dropped = tokio::spawn(request.send());
    let mut peer = stage.accept().await;
    eventually("the upload", || only(&client).active == 1).await;
    dropped.abort();
    peer.ended().await;
    eventually("the close", || only(&client).active == 0).await;
    assert_eq!(only(&client).closed_for(CloseReason::Abandoned), 1);
}

/// The rest of the body is missing, so the connection is closed.
#[tokio::test]
async fn drop_during_body_frees_the_place() {
    let stage = Stage::open().await;
    let client = one_at_a_time();
    let first = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ").await;
    let mut response = done(first).await.expect("a head");
    let frame = response.body_mut().frame().await.expect("a frame");
    assert_eq!(frame.expect("good").into_data().expect("data"), "half ");
    let next = fetch(&client, &stage.url("/next"));
    eventually("the queue", || only(&client).waiting == 1).await;

    drop(response);
    peer.ended().await;
    assert_eq!(only(&client).closed_for(CloseReason::Abandoned), 1);
    stage.accept().await.serve("").await;
    done(next).await.expect("a body");
}

#[tokio::test]
async fn unpolled_request_asks_for_nothing() {
    let stage = Stage::open().await;
    let client = Client::new();
    drop(client.get(stage.url("/")).send());
    drop(client.get(stage.url("/")));
    assert!(client.stats().origins.is_empty());
    assert!(!stage.has_another().await);
}
