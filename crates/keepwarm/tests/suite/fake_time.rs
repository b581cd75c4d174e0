//! The pool's contracts once more, where sockets would blur them: dials that end one by one, and
//! timeouts to the millisecond, under fake time. By the public test kit.

use std::io::ErrorKind;
use std::time::Duration;

use http_body_util::Full;
use keepwarm::testing::Network;
use keepwarm::{Body, Client, ClientBuilder, CloseReason, Closer};
use tokio::time::Instant;

use crate::support::{assert_at_rest, done, fetch, get, only};

const URL: &str = "http://data.test/";

fn client(network: &Network, builder: ClientBuilder) -> Client {
    builder.connector(network.connector()).build().expect("good settings")
}

/// Until nothing is left to be done now.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn losing_dial_serves_the_next_request() {
    let mut network = Network::new();
    let client = client(&network, Client::builder());
    let first = fetch(&client, URL);
    let mut peer = network.dial().await.succeed();
    peer.request().await;
    let second = fetch(&client, URL);
    let late = network.dial().await;
    peer.respond(200, "first").await;
    assert_eq!(done(first).await.expect("a body"), "first");
    peer.serve(200, "second").await;
    assert_eq!(done(second).await.expect("a body"), "second");
    assert_eq!((only(&client).opened, only(&client).dialing), (1, 1));

    let mut late = late.succeed();
    settle().await;
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.idle, stats.closed()), (2, 2, 0), "kept, not burned");
    // The newest idle connection is used first, and that is the one nobody has used.
    let third = get(&client, URL);
    late.serve(200, "third").await;
    assert!(!done(third).await.expect("a response").connection().reused());
    assert!(network.try_dial().is_none());
}

#[tokio::test(start_paused = true)]
async fn first_dial_serves_the_oldest_waiter() {
    let mut network = Network::new();
    let client = client(&network, Client::builder());
    let mut requests = Vec::new();
    for path in ["a", "b", "c"] {
        requests.push(fetch(&client, &format!("{URL}{path}")));
        settle().await;
    }
    let mut dials = Vec::new();
    for _ in 0..3 {
        dials.push(network.dial().await);
    }
    // The last dial ends first, and serves who has waited longest.
    let mut peers = Vec::new();
    for path in ["/a", "/b", "/c"] {
        let mut peer = dials.pop().expect("three dials").succeed();
        assert_eq!(peer.request().await.target(), path);
        peers.push(peer);
    }
    for (peer, request) in peers.iter_mut().zip(requests) {
        peer.respond(200, "x").await;
        done(request).await.expect("a body");
    }
}

/// To the millisecond; the next waiter moves up.
#[tokio::test(start_paused = true)]
async fn acquire_timeout_is_exact() {
    let mut network = Network::new();
    let builder = Client::builder().max_connections_per_origin(1);
    let client = client(&network, builder.acquire_timeout(Duration::from_secs(3)));
    let held = fetch(&client, &format!("{URL}held"));
    let mut peer = network.dial().await.succeed();
    peer.request().await;
    let began = Instant::now();
    let late = get(&client, &format!("{URL}late"));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let next = fetch(&client, &format!("{URL}next"));
    let error = done(late).await.expect_err("nothing came back");
    assert!(error.is_acquire_timeout(), "{error}");
    // tokio's timers count milliseconds, and round up.
    let waited = began.elapsed().as_millis();
    assert!((3_000..=3_001).contains(&waited), "{waited} ms");
    peer.respond(200, "").await;
    done(held).await.expect("a body");
    assert_eq!(peer.serve(200, "").await.target(), "/next");
    done(next).await.expect("a body");
    assert!(network.try_dial().is_none(), "the cap is one");
}

/// And no waiter that has another dial to wait for.
#[tokio::test(start_paused = true)]
async fn failed_dial_fails_the_oldest_waiter() {
    let mut network = Network::new();
    let client = client(&network, Client::builder());
    let first = fetch(&client, URL);
    settle().await;
    let second = fetch(&client, URL);
    let (one, two) = (network.dial().await, network.dial().await);
    two.fail(ErrorKind::ConnectionRefused);
    let error = done(first).await.expect_err("a dial failed");
    assert!(error.is_connect(), "{error}");
    assert_eq!(error.io_error().map(std::io::Error::kind), Some(ErrorKind::ConnectionRefused));
    one.succeed().serve(200, "x").await;
    assert_eq!(done(second).await.expect("a body"), "x");
    assert_eq!(only(&client).dials_failed, 1);
}

/// The dial outlives its request.
#[tokio::test(start_paused = true)]
async fn dial_ends_at_connect_timeout() {
    let mut network = Network::new();
    let client = client(&network, Client::builder().connect_timeout(Duration::from_secs(5)));
    let began = Instant::now();
    let dropped = get(&client, URL);
    let dial = network.dial().await;
    dropped.abort();
    dial.given_up().await;
    let waited = began.elapsed().as_millis();
    assert!((5_000..=5_001).contains(&waited), "{waited} ms");
    settle().await;
    assert_eq!((only(&client).dials_failed, only(&client).dialing), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn idle_timeout_is_exact() {
    let mut network = Network::new();
    let client = client(&network, Client::builder().idle_timeout(Duration::from_secs(20)));
    let request = fetch(&client, URL);
    let mut peer = network.dial().await.succeed();
    peer.serve(200, "").await;
    done(request).await.expect("a body");
    tokio::time::sleep(Duration::from_millis(19_990)).await;
    let again = fetch(&client, URL);
    peer.serve(200, "").await;
    done(again).await.expect("its time began anew");
    let began = Instant::now();
    peer.closed().await;
    let idle = began.elapsed().as_millis();
    assert!((20_000..=20_002).contains(&idle), "{idle} ms");
    let stats = only(&client);
    assert_eq!((stats.closed_for(CloseReason::IdleTimeout), stats.closed()), (1, 1));
}

/// A GET that was on its way is sent again.
#[tokio::test(start_paused = true)]
async fn reset_idle_connection_is_noticed() {
    let mut network = Network::new();
    let client = client(&network, Client::builder());
    let request = fetch(&client, URL);
    let mut peer = network.dial().await.succeed();
    peer.serve(200, "").await;
    done(request).await.expect("a body");
    peer.reset();
    settle().await;
    let stats = only(&client);
    assert_eq!((stats.idle, stats.closed_by(Closer::Server)), (0, 1));

    let request = fetch(&client, URL);
    let mut peer = network.dial().await.succeed();
    peer.serve(200, "").await;
    done(request).await.expect("a body");
    let stale = get(&client, URL);
    peer.request().await;
    peer.reset();
    network.dial().await.succeed().serve(200, "").await;
    assert_eq!(done(stale).await.expect("a response").connection().attempts(), 2);
}

/// The peer holds up a client that writes too much.
#[tokio::test(start_paused = true)]
async fn peer_reads_lengths_and_chunks() {
    let mut network = Network::new();
    let client = client(&network, Client::builder());
    let large = vec![b'x'; 4 * keepwarm::testing::MAX_UNREAD];
    let request = tokio::spawn(client.post(URL).body(large.clone()).send());
    let mut peer = network.dial().await.succeed();
    settle().await;
    assert!(!request.is_finished(), "nobody has read it");
    let asked = peer.serve(200, "").await;
    assert_eq!((asked.method(), asked.target(), asked.body()), ("POST", "/", &large[..]));
    assert_eq!(asked.field("Host"), Some("data.test"));
    done(request).await.expect("a response");

    let stream = Body::stream(Full::new(bytes::Bytes::from_static(b"in chunks")));
    let request = client.post(URL).header("transfer-encoding", "chunked").body(stream);
    let request = tokio::spawn(request.send());
    assert_eq!(peer.serve(200, "").await.body(), b"in chunks");
    done(request).await.expect("a response");
    drop(client);
    peer.closed().await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "waited in vain for a dial")]
async fn hopeless_wait_panics_at_once() {
    Network::new().dial().await;
}
