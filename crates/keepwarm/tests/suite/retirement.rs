//! When a healthy connection ends though nothing is wrong with it: because somebody said so.

use std::time::Duration;

use keepwarm::{Client, CloseReason, Closer};
use keepwarm_testkit::scripted::{Ending, Server, Stage, eventually, ok};

use crate::reuse::idle_connections;
use crate::support::{assert_at_rest, by_hand, done, fetch, only, pass, poll_once};

#[tokio::test]
async fn close_idle_closes_before_it_returns() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peers = idle_connections(&client, &stage, 3).await;
    client.clone().close_idle();
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.idle, stats.closed_for(CloseReason::CloseIdle)), (0, 3));
    assert_eq!(stats.closed_by(Closer::Client), 3);
    for peer in &mut peers {
        assert_eq!(peer.ended().await, Ending::Fin);
    }
}

/// The connections of those exchanges are closed at their end.
#[tokio::test]
async fn close_idle_lets_exchanges_end() {
    let stage = Stage::open().await;
    let client = Client::new();
    let first = fetch(&client, &stage.url("/"));
    let mut old = stage.accept().await;
    old.request().await;
    client.close_idle();
    assert_eq!(only(&client).active, 1, "it goes on");
    old.write(ok("to the end")).await;
    assert_eq!(done(first).await.expect("a body"), "to the end");
    assert_eq!(only(&client).closed_for(CloseReason::CloseIdle), 1);
    assert_eq!(old.ended().await, Ending::Fin);

    // A connection that is opened afterwards is kept.
    let next = fetch(&client, &stage.url("/"));
    let mut new = stage.accept().await;
    new.serve("new").await;
    assert_eq!(done(next).await.expect("a body"), "new");
    let next = fetch(&client, &stage.url("/"));
    new.serve("again").await;
    assert_eq!(done(next).await.expect("a body"), "again");
    assert_eq!((only(&client).opened, only(&client).idle), (2, 1));
}

/// At the limit of connections.
#[tokio::test]
async fn close_idle_dials_for_waiters() {
    let stage = Stage::open().await;
    let client = Client::builder().max_connections_per_origin(1).build().expect("good settings");
    let first = fetch(&client, &stage.url("/first"));
    let mut old = stage.accept().await;
    old.request().await;
    let second = fetch(&client, &stage.url("/second"));
    eventually("the queue", || only(&client).waiting == 1).await;
    client.close_idle();
    old.write(ok("")).await;
    done(first).await.expect("a body");
    let mut new = stage.accept().await;
    assert_eq!(new.serve("new").await.target(), "/second");
    assert_eq!(done(second).await.expect("a body"), "new");
    assert_eq!(old.ended().await, Ending::Fin);
    assert_eq!((only(&client).opened, only(&client).idle), (2, 1));
}

/// Also outside a runtime.
#[tokio::test]
async fn close_idle_reaches_every_origin() {
    let client = Client::new();
    let (one, two) = (Stage::open().await, Stage::open().await);
    let _peers =
        (idle_connections(&client, &one, 1).await, idle_connections(&client, &two, 1).await);
    let elsewhere = client.clone();
    let closing = std::thread::spawn(move || elsewhere.close_idle());
    closing.join().expect("no panic");
    let stats = client.stats();
    assert_eq!(stats.total.closed(), 2);
    assert!(stats.origins.iter().all(|origin| origin.idle == 0), "{stats:?}");
}

#[tokio::test]
async fn request_limit_retires_a_connection() {
    let server = Server::saying("hello");
    let client = Client::builder().max_requests_per_connection(3).build().expect("good settings");
    for nth in 0..10 {
        let response = client.get(server.url("/")).send().await.expect("a response");
        assert_eq!(response.connection().exchanges_before(), nth % 3);
        response.text().await.expect("a body");
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.idle, server.accepted()), (4, 1, 4));
    assert_eq!(stats.closed_for(CloseReason::ExchangeLimit), 3);
    assert_eq!(stats.closed_by(Closer::Client), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_the_limit_dial() {
    let server = Server::saying("hello");
    let client = Client::builder()
        .max_connections_per_origin(2)
        .max_requests_per_connection(2)
        .build()
        .expect("good settings");
    let requests: Vec<_> = (0..100).map(|_| fetch(&client, &server.url("/"))).collect();
    for request in requests {
        assert_eq!(done(request).await.expect("a body"), "hello");
    }
    eventually("the last dial", || only(&client).dialing == 0).await;
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!(server.requests(), 100);
    assert!(stats.reused <= 50 && stats.opened >= 50, "{stats:?}");
    assert_eq!(stats.closed_for(CloseReason::ExchangeLimit), stats.closed(), "{stats:?}");
}

fn without_keep_alive() -> Client {
    Client::builder().keep_alive(false).build().expect("good settings")
}

/// The server has not read what the client asked for, and keeps the connection open.
/// Also if the server would go on.
#[tokio::test]
async fn without_keep_alive_connections_serve_once() {
    let stage = Stage::open().await;
    let client = without_keep_alive();
    for _ in 0..3 {
        let request = fetch(&client, &stage.url("/"));
        let mut peer = stage.accept().await;
        assert_eq!(peer.serve("one").await.field("connection"), Some("close"));
        assert_eq!(done(request).await.expect("a body"), "one");
        assert_eq!(peer.ended().await, Ending::Fin);
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.idle, stats.reused), (3, 0, 0));
    assert_eq!(stats.closed_for(CloseReason::NotPersistent), 3, "{stats:?}");
}

/// The request of the second dial is gone before the dial ends.
#[tokio::test]
async fn without_keep_alive_a_lost_dial_is_closed() {
    let stage = Stage::open().await;
    let client = without_keep_alive();
    let mut request = by_hand(&client, &stage.url("/"));
    assert!(poll_once(&mut request).is_pending());
    drop(request);
    let mut peer = stage.accept().await;
    assert_eq!(peer.ended().await, Ending::Fin);
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.idle, stats.closed_for(CloseReason::NotPersistent)), (0, 1), "{stats:?}");
}

#[tokio::test]
async fn without_keep_alive_waiters_get_a_dial() {
    let server = Server::saying("hello");
    let client = Client::builder()
        .keep_alive(false)
        .max_connections_per_origin(1)
        .build()
        .expect("good settings");
    let requests: Vec<_> = (0..20).map(|_| fetch(&client, &server.url("/"))).collect();
    for request in requests {
        assert_eq!(done(request).await.expect("a body"), "hello");
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.reused, server.accepted()), (20, 0, 20));
}

/// A field that the caller set.
#[tokio::test]
async fn without_keep_alive_connection_field_stays() {
    let stage = Stage::open().await;
    let client = without_keep_alive();
    for (said, heard) in [("x-hop", 2), ("Close", 1)] {
        let request = client.get(stage.url("/")).header("connection", said);
        let request = tokio::spawn(request.send());
        let mut peer = stage.accept().await;
        let head = peer.serve("").await.head.to_lowercase();
        assert_eq!(head.matches("connection:").count(), heard, "{head}");
        assert!(head.contains(&said.to_lowercase()) && head.contains("close"), "{head}");
        done(request).await.expect("a response");
    }
}

#[tokio::test]
async fn keep_alive_sends_no_connection_field() {
    let stage = Stage::open().await;
    let client = Client::builder().keep_alive(true).build().expect("good settings");
    let request = fetch(&client, &stage.url("/"));
    let request_head = stage.accept().await.serve("").await;
    assert_eq!(request_head.field("connection"), None);
    done(request).await.expect("a body");
}

fn living(seconds: u64) -> Client {
    let builder =
        Client::builder().max_lifetime(Duration::from_secs(seconds)).idle_timeout(Duration::MAX);
    builder.build().expect("good settings")
}

/// Without another request.
#[tokio::test]
async fn lifetime_closes_an_idle_connection() {
    let stage = Stage::open().await;
    let client = living(100);
    let mut peers = idle_connections(&client, &stage, 8).await;
    pass(Duration::from_millis(89_900)).await;
    assert_eq!(only(&client).idle, 8, "a tenth less at most");
    pass(Duration::from_millis(10_200)).await;
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.idle, stats.closed_for(CloseReason::Lifetime)), (0, 8));
    for peer in &mut peers {
        assert_eq!(peer.ended().await, Ending::Fin);
    }
}

#[tokio::test]
async fn lifetimes_are_spread() {
    let stage = Stage::open().await;
    let client = living(1_000_000);
    let _peers = idle_connections(&client, &stage, 20).await;
    let mut ends = std::collections::BTreeSet::new();
    for thousand in 0..1_100 {
        let before = only(&client).idle;
        pass(Duration::from_secs(1_000)).await;
        if only(&client).idle < before {
            ends.insert(thousand);
        }
    }
    assert_eq!(only(&client).closed_for(CloseReason::Lifetime), 20);
    // Of a hundred thousands of seconds, twenty connections take more than a few.
    assert!(ends.len() > 5, "{ends:?}");
}

/// The connection is closed after it.
#[tokio::test]
async fn lifetime_cuts_no_exchange_short() {
    let stage = Stage::open().await;
    let client = living(100);
    let request = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(200)).await;
    tokio::time::resume();
    assert_eq!(only(&client).active, 1);
    peer.write(ok("to the end")).await;
    assert_eq!(done(request).await.expect("a body"), "to the end");
    assert_eq!(only(&client).closed_for(CloseReason::Lifetime), 1);
    assert_eq!(peer.ended().await, Ending::Fin);
}

fn advising(field: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nKeep-Alive: {field}\r\nContent-Length: 2\r\n\r\nok")
}

#[tokio::test]
async fn keep_alive_advice_expires_connections_first() {
    let stage = Stage::open().await;
    let client = Client::new();
    let request = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(advising("timeout=30, max=1000")).await;
    done(request).await.expect("a body");
    pass(Duration::from_millis(28_900)).await;
    assert_eq!(only(&client).idle, 1, "a second less");
    pass(Duration::from_millis(200)).await;
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.idle, stats.closed_for(CloseReason::ServerLimit)), (0, 1));
    assert_eq!(peer.ended().await, Ending::Fin);
}

/// The idle connection that expires first is not the oldest, and no request comes to find it.
#[tokio::test]
async fn shorter_advice_expires_earlier() {
    let stage = Stage::open().await;
    let client = Client::new();
    let _silent = idle_connections(&client, &stage, 1).await;
    let other = Stage::open().await;
    let request = fetch(&client, &other.url("/"));
    let mut peer = other.accept().await;
    peer.request().await;
    peer.write(advising("timeout=1")).await;
    done(request).await.expect("a body");
    pass(Duration::from_millis(600)).await;
    let stats = client.stats();
    let origin = |stage: &Stage| stats.origin(&stage.origin()).expect("known").clone();
    assert_eq!(origin(&other).closed_for(CloseReason::ServerLimit), 1, "half of it");
    assert_eq!((origin(&other).idle, origin(&stage).idle), (0, 1));
}

#[tokio::test]
async fn max_advice_limits_requests() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peers = Vec::new();
    for nth in 0..6 {
        let request = fetch(&client, &stage.url("/"));
        if nth % 3 == 0 {
            peers.push(stage.accept().await);
        }
        let peer = peers.last_mut().expect("one");
        peer.request().await;
        peer.write(advising(&format!("timeout=5, max={}", 2 - nth % 3))).await;
        assert_eq!(done(request).await.expect("a body"), "ok");
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.idle), (2, 0));
    assert_eq!(stats.closed_for(CloseReason::ServerLimit), 2);
    assert_eq!(peers[0].ended().await, Ending::Fin);
}

#[tokio::test]
async fn malformed_advice_is_ignored() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peers = idle_connections(&client, &stage, 1).await;
    for field in ["timeout=soon, max=-1", "300", "timeout=99999999999999999999"] {
        let request = fetch(&client, &stage.url("/"));
        peers[0].request().await;
        peers[0].write(advising(field)).await;
        done(request).await.expect("a body");
    }
    pass(Duration::from_secs(80)).await;
    assert_eq!((only(&client).opened, only(&client).idle), (1, 1));
}
