//! A request that is dropped, or runs out of time, before its response: when its connection is
//! kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keepwarm::{Client, ClientBuilder, CloseReason, Closer};
use keepwarm_testkit::scripted::{Answer, Ending, Peer, Server, Stage, eventually, ok};
use tokio::task::JoinSet;

use crate::support::{Bell, assert_at_rest, by_hand, done, fetch, get, only, poll_once};

fn one_at_a_time() -> ClientBuilder {
    Client::builder().max_connections_per_origin(1)
}

/// A request that was dropped after the server had it, and before it said anything.
async fn dropped(client: &Client, stage: &Stage) -> Peer {
    let request = get(client, &stage.url("/dropped"));
    let mut peer = stage.accept().await;
    peer.request().await;
    request.abort();
    eventually("the drop", || only(client).draining == 1).await;
    peer
}

async fn is_kept(client: &Client, mut peer: Peer) {
    eventually("the return", || only(client).idle == 1).await;
    let stats = only(client);
    assert_eq!((stats.opened, stats.closed(), stats.drained, stats.draining), (1, 0, 1, 0));
    let next = tokio::spawn(client.get(format!("{}/next", stats.origin)).send());
    assert_eq!(peer.serve("next").await.target(), "/next");
    let response = done(next).await.expect("a response");
    assert!(response.connection().reused());
    assert_eq!(response.text().await.expect("a body"), "next", "not a byte of the one before");
}

/// Answers a dropped request. Returns false if the response was not prompt: the client waits for 50
/// ms, and a busy machine may take them.
async fn keeps_a_prompt(response: &str) -> bool {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peer = dropped(&client, &stage).await;
    let dropped_at = Instant::now();
    let stats = only(&client);
    assert!(stats.draining == 0 || (stats.active, stats.idle) == (1, 0), "in use until then");
    peer.write(response).await;
    eventually("an end", || only(&client).draining == 0).await;
    if only(&client).closed() == 1 && dropped_at.elapsed() > Duration::from_millis(30) {
        return false;
    }
    is_kept(&client, peer).await;
    true
}

#[tokio::test]
async fn prompt_response_keeps_the_connection() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for response in [&*ok("for nobody"), "HTTP/1.1 204 No Content\r\n\r\n", chunked] {
        let mut tries = 0;
        while !keeps_a_prompt(response).await {
            tries += 1;
            assert!(tries < 100, "no response in a hundred was prompt");
        }
    }
}

#[tokio::test]
async fn arrived_response_idles_at_once() {
    let stage = Stage::open().await;
    let client = Client::new();
    let first = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.serve("").await;
    done(first).await.expect("a body");

    let mut request = by_hand(&client, &stage.url("/dropped"));
    let arrival = Arc::new(Bell::default());
    assert!(arrival.poll(&mut request).is_pending());
    peer.request().await;
    peer.write(ok("for nobody")).await;
    eventually("its arrival", || arrival.has_rung()).await;
    drop(request);
    let stats = only(&client);
    assert_eq!((stats.idle, stats.active, stats.drained), (1, 0, 1), "{stats:?}");
    assert_eq!(stats.opened, 1);
}

#[tokio::test]
async fn waiter_gets_the_drained_connection() {
    let stage = Stage::open().await;
    let client = one_at_a_time().build().expect("good settings");
    let mut peer = dropped(&client, &stage).await;
    let next = fetch(&client, &stage.url("/next"));
    eventually("the queue", || only(&client).waiting == 1).await;
    peer.write(ok("for nobody")).await;
    assert_eq!(peer.serve("next").await.target(), "/next");
    assert_eq!(done(next).await.expect("a body"), "next");
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.closed()), (1, 0));
}

#[tokio::test]
async fn timeout_before_response_costs_no_connection() {
    const LIMIT: Duration = Duration::from_millis(60);
    for of_the_header in [false, true] {
        let stage = Stage::open().await;
        let builder = Client::builder();
        let client = if of_the_header {
            builder.response_header_timeout(LIMIT)
        } else {
            builder.timeout(LIMIT)
        };
        let client = client.build().expect("good settings");
        let request = get(&client, &stage.url("/"));
        let mut peer = stage.accept().await;
        peer.request().await;
        let error = done(request).await.expect_err("late");
        assert_eq!(error.is_response_header_timeout(), of_the_header, "{error}");
        peer.write(ok("late")).await;
        is_kept(&client, peer).await;
    }
}

#[tokio::test]
async fn missing_response_is_awaited_briefly() {
    let stage = Stage::open().await;
    let client = one_at_a_time().build().expect("good settings");
    let request = get(&client, &stage.url("/dropped"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let began = Instant::now();
    request.abort();
    let next = fetch(&client, &stage.url("/next"));
    assert_eq!(peer.ended().await, Ending::Fin);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(40) && took < Duration::from_secs(20), "{took:?}");
    let mut other = stage.accept().await;
    other.serve("").await;
    done(next).await.expect("a body");
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.closed(), stats.drained, stats.draining), (1, 0, 0));
    assert_eq!(
        (stats.closes[0].reason, stats.closes[0].closer),
        (CloseReason::Abandoned, Closer::Client)
    );
    assert_eq!(stats.bodies_unread, 0, "nobody was given one");
}

#[tokio::test]
async fn large_or_last_response_closes_connection() {
    let large = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", (256 << 10) + 1);
    let last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n";
    let switched = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n";
    for response in [&*large, last, switched] {
        let stage = Stage::open().await;
        let client = Client::new();
        let mut peer = dropped(&client, &stage).await;
        peer.write(response).await;
        eventually("the close", || only(&client).active == 0).await;
        let stats = only(&client);
        assert_eq!((stats.idle, stats.closed(), stats.drained), (0, 1, 0), "{response}");
        assert_eq!(stats.bodies_unread, 0, "nobody was given one");
        peer.ended().await;
    }
}

/// Closed by the server.
#[tokio::test]
async fn broken_response_is_a_failed_exchange() {
    let stage = Stage::open().await;
    let client = Client::new();
    dropped(&client, &stage).await.close();
    eventually("the close", || only(&client).active == 0).await;
    let closes = only(&client).pool.closes;
    assert_eq!(closes.len(), 1, "{closes:?}");
    assert_eq!((closes[0].reason, closes[0].closer), (CloseReason::ExchangeFailed, Closer::Server));
}

#[tokio::test]
async fn last_request_is_not_awaited() {
    let stage = Stage::open().await;
    let client = Client::builder().keep_alive(false).build().expect("good settings");
    let request = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    request.abort();
    drop(request.await);
    let stats = only(&client);
    assert_eq!((stats.active, stats.closed_for(CloseReason::Abandoned)), (0, 1), "at once");
    peer.ended().await;
}

#[tokio::test]
async fn drop_outside_runtime_closes_connection() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut request = by_hand(&client, &stage.url("/"));
    assert!(poll_once(&mut request).is_pending());
    let mut peer = stage.accept().await;
    eventually("the connection", || only(&client).active == 1).await;
    assert!(poll_once(&mut request).is_pending());
    peer.request().await;
    std::thread::spawn(move || drop(request)).join().expect("no panic");
    let stats = only(&client);
    assert_eq!((stats.active, stats.closed_for(CloseReason::Abandoned)), (0, 1), "at once");
    peer.ended().await;
}

#[tokio::test]
async fn drop_after_client_closes_at_once() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut request = by_hand(&client, &stage.url("/"));
    assert!(poll_once(&mut request).is_pending());
    let mut peer = stage.accept().await;
    eventually("the connection", || only(&client).active == 1).await;
    assert!(poll_once(&mut request).is_pending());
    peer.request().await;
    drop(client);
    drop(request);
    peer.ended().await;
}

/// The runtime ends while a connection is read for nobody: its place is free for another one.
#[test]
fn runtime_end_leaves_no_draining_connection() {
    let elsewhere = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let elsewhere = elsewhere.expect("a runtime");
    let here = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let here = here.expect("a runtime");
    let client = one_at_a_time().build().expect("good settings");
    here.block_on(async {
        let stage = Stage::open().await;
        let url = stage.url("/dropped");
        let other = client.clone();
        let thread = std::thread::spawn(move || {
            elsewhere.block_on(async {
                let limit = Duration::from_millis(200);
                drop(tokio::time::timeout(limit, other.get(url).send()).await);
                assert_eq!(only(&other).draining, 1);
            });
            drop(elsewhere);
        });
        let mut peer = stage.accept().await;
        peer.request().await;
        eventually("its end", || thread.is_finished()).await;
        thread.join().expect("no panic");
        let stats = only(&client);
        assert_at_rest(&stats);
        assert_eq!((stats.closed(), stats.draining), (1, 0));
        let next = fetch(&client, &stage.url("/next"));
        stage.accept().await.serve("next").await;
        assert_eq!(done(next).await.expect("a body"), "next");
    });
}

/// Hundreds of requests that all give up at some instant cost no more connections than tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_dropped_requests_cost_no_connection() {
    let server = Server::start(|_| Answer::Send(ok(&"x".repeat(2 << 10))));
    let client = Client::builder().max_connections_per_origin(4).build().expect("good");
    let mut tasks = JoinSet::new();
    for task in 0..8_u64 {
        let (client, url) = (client.clone(), server.url("/"));
        tasks.spawn(async move {
            for nth in 0..125_u64 {
                let micros = (task * 131 + nth * 37) % 400;
                let request = client.get(&url).send();
                drop(tokio::time::timeout(Duration::from_micros(micros), request).await);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    eventually("the end of it", || {
        let stats = only(&client);
        stats.active + stats.waiting + stats.dialing == 0
    })
    .await;
    let stats = only(&client);
    assert_at_rest(&stats);
    assert!(stats.drained > 0, "{stats:?}");
    // A machine that stalls for 50 ms may cost one.
    assert!(stats.closed() <= 4, "{stats:?}");
}
