//! A body dropped before its end: when its connection is kept, and when not.

use http_body_util::BodyExt;
use keepwarm::{Client, CloseReason, Closer, Response};
use keepwarm_testkit::scripted::{Answer, Peer, Server, Stage, eventually, ok};

use crate::support::{assert_at_rest, done, fetch, get, only};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn one_at_a_time() -> Client {
    let builder = Client::builder().max_connections_per_origin(1);
    builder.build().expect("good settings")
}

/// A response whose server has sent this much and not gone on.
async fn begun(client: &Client, stage: &Stage, sent: &str) -> (Response, Peer) {
    let request = get(client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    peer.write(sent).await;
    (done(request).await.expect("a head"), peer)
}

#[tokio::test]
async fn arrived_body_idles_at_once() {
    for sent in [ok("a short body"), format!("{CHUNKED}2\r\nok\r\n2\r\nok\r\n0\r\n\r\n")] {
        let stage = Stage::open().await;
        let client = Client::new();
        let (response, mut peer) = begun(&client, &stage, &sent).await;
        drop(response);
        assert_eq!((only(&client).idle, only(&client).active), (1, 0), "{sent}");
        let next = fetch(&client, &stage.url("/"));
        peer.serve("next").await;
        assert_eq!(done(next).await.expect("a body"), "next", "not a byte of the one before");
        assert_eq!(only(&client).opened, 1);
    }
}

#[tokio::test]
async fn drained_connection_serves_a_waiter() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    for (sent, rest) in [(head, "half half "), (CHUNKED, "2\r\nok\r\n0\r\n\r\n")] {
        let stage = Stage::open().await;
        let client = one_at_a_time();
        let (response, mut peer) = begun(&client, &stage, sent).await;
        let next = fetch(&client, &stage.url("/next"));
        eventually("the queue", || only(&client).waiting == 1).await;

        drop(response);
        assert_eq!((only(&client).active, only(&client).waiting), (1, 1), "not yet free");
        peer.write(rest).await;
        assert_eq!(peer.serve("next").await.target(), "/next");
        assert_eq!(done(next).await.expect("a body"), "next");
        let stats = only(&client);
        assert_at_rest(&stats);
        assert_eq!((stats.opened, stats.closed()), (1, 0));
    }
}

/// Bytes that were read before do not count.
#[tokio::test]
async fn drain_counts_the_rest_only() {
    let stage = Stage::open().await;
    let client = Client::new();
    let size = 300 << 10;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
    let (mut response, mut peer) = begun(&client, &stage, &head).await;
    let (first, last) = (vec![b'x'; 100 << 10], vec![b'x'; 200 << 10]);
    let reader = tokio::spawn(async move {
        let mut read = 0;
        while read < 100 << 10 {
            let frame = response.body_mut().frame().await.expect("a frame");
            read += frame.expect("good").into_data().expect("data").len();
        }
        response
    });
    peer.write(first).await;
    drop(done(reader).await);
    peer.write(last).await;
    eventually("the return", || only(&client).idle == 1).await;
    assert_eq!(only(&client).closed(), 0);
}

#[tokio::test]
async fn large_rest_closes_at_once() {
    let stage = Stage::open().await;
    let client = Client::new();
    for (size, closed) in [((256 << 10) + 1, 1), (256 << 10, 0)] {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
        let (response, mut peer) = begun(&client, &stage, &head).await;
        let before = only(&client).closed_for(CloseReason::Abandoned);
        drop(response);
        assert_eq!(only(&client).closed_for(CloseReason::Abandoned) - before, closed, "{size}");
        peer.ended().await;
    }
    assert_eq!(only(&client).closed_by(Closer::Client), 2);
}

#[tokio::test]
async fn unknown_length_closes_beyond_256_kib() {
    let server = Server::start(|request| {
        let chunks = if request.target() == "/small" { 250 } else { 260 };
        let chunk = format!("400\r\n{}\r\n", "x".repeat(1 << 10));
        Answer::Send(format!("{CHUNKED}{}0\r\n\r\n", chunk.repeat(chunks)))
    });
    let client = Client::new();
    drop(client.get(server.url("/large")).send().await.expect("a head"));
    eventually("the close", || only(&client).closed_for(CloseReason::Abandoned) == 1).await;
    drop(client.get(server.url("/small")).send().await.expect("a head"));
    eventually("the return", || only(&client).idle == 1).await;
    assert_at_rest(&only(&client));
}

#[tokio::test]
async fn missing_rest_closes_after_a_while() {
    let stage = Stage::open().await;
    let client = Client::new();
    let (response, mut peer) = begun(&client, &stage, CHUNKED).await;
    let began = std::time::Instant::now();
    drop(response);
    assert_eq!(only(&client).active, 1, "until it is known, it is in use");
    peer.ended().await;
    let took = began.elapsed().as_millis();
    assert!((50..5_000).contains(&took), "{took} ms");
    eventually("the count", || only(&client).closed_for(CloseReason::Abandoned) == 1).await;
    assert_at_rest(&only(&client));
}

/// Closed by the server.
#[tokio::test]
async fn broken_rest_is_a_failed_exchange() {
    let stage = Stage::open().await;
    let client = Client::new();
    let (response, peer) = begun(&client, &stage, CHUNKED).await;
    drop(response);
    peer.close();
    eventually("the close", || only(&client).closed_for(CloseReason::ExchangeFailed) == 1).await;
    assert_eq!(only(&client).closed_by(Closer::Server), 1);
}

#[tokio::test]
async fn last_exchange_is_not_drained() {
    let stage = Stage::open().await;
    let client = Client::new();
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\n";
    let (response, mut peer) = begun(&client, &stage, head).await;
    drop(response);
    assert_eq!((only(&client).active, only(&client).closed()), (0, 1));
    peer.ended().await;
}

#[tokio::test]
async fn drop_outside_runtime_closes_connection() {
    let stage = Stage::open().await;
    let client = Client::new();
    let (response, mut peer) = begun(&client, &stage, CHUNKED).await;
    std::thread::spawn(move || drop(response)).join().expect("no panic");
    assert_eq!(only(&client).closed_for(CloseReason::Abandoned), 1);
    peer.ended().await;
}

#[tokio::test]
async fn drop_after_client_closes_connection() {
    let stage = Stage::open().await;
    let client = Client::new();
    let (response, mut peer) = begun(&client, &stage, CHUNKED).await;
    drop(client);
    drop(response);
    peer.ended().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousand_dropped_bodies_cost_no_connection() {
    let server = Server::start(|_| Answer::Send(ok(&"x".repeat(20 << 10))));
    let client = Client::builder().max_connections_per_origin(4).build().expect("good");
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (client, url) = (client.clone(), server.url("/"));
            tokio::spawn(async move {
                for _ in 0..125 {
                    drop(client.get(&url).send().await.expect("a head"));
                }
            })
        })
        .collect();
    for task in tasks {
        done(task).await;
    }
    eventually("the last return", || only(&client).active == 0).await;
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.checkouts, server.requests()), (1000, 1000));
    // A slow machine may take longer than the bound for some.
    assert!(stats.opened <= 8, "{stats:#?}");
}
