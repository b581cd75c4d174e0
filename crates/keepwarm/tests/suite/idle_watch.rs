//! Events on an idle connection, and what the client does about them.

use std::time::Duration;

use keepwarm::{Client, CloseReason, Closer, OriginStats};
use keepwarm_testkit::scripted::{Answer, Server, Stage, eventually, ok};

use crate::reuse::idle_connections;
use crate::support::{audit, done, exchange, fetch, only, pass};

fn the_only_close(stats: &OriginStats) -> (CloseReason, Closer) {
    assert_eq!(stats.closes.len(), 1, "{stats:?}");
    (stats.closes[0].reason, stats.closes[0].closer)
}

#[tokio::test]
async fn server_close_is_noticed_unasked() {
    let stage = Stage::open().await;
    let client = Client::new();
    for peer in idle_connections(&client, &stage, 3).await {
        peer.close();
    }
    eventually("the closes", || only(&client).idle == 0).await;
    let stats = only(&client);
    assert_eq!(the_only_close(&stats), (CloseReason::PeerClosedIdle, Closer::Server));
    assert_eq!(stats.closed(), 3);
    let next = fetch(&client, &stage.url("/"));
    stage.accept().await.serve("").await;
    done(next).await.expect("a body");
    assert_eq!(only(&client).opened, 4);
}

#[tokio::test]
async fn unexpiring_connection_is_watched_too() {
    let stage = Stage::open().await;
    let builder = Client::builder().idle_timeout(Duration::MAX);
    let client = builder.build().expect("good settings");
    for peer in idle_connections(&client, &stage, 1).await {
        peer.close();
    }
    eventually("the close", || only(&client).idle == 0).await;
}

#[tokio::test]
async fn server_reset_is_noticed() {
    let stage = Stage::open().await;
    let client = Client::new();
    for peer in idle_connections(&client, &stage, 1).await {
        peer.reset();
    }
    eventually("the close", || only(&client).idle == 0).await;
    let stats = only(&client);
    assert_eq!(the_only_close(&stats), (CloseReason::PeerClosedIdle, Closer::Server));
}

#[tokio::test]
async fn stray_bytes_end_a_connection() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peers = idle_connections(&client, &stage, 1).await;
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    peers[0].write(poison).await;
    eventually("the close", || only(&client).idle == 0).await;
    peers[0].ended().await;
    let stats = only(&client);
    assert_eq!(the_only_close(&stats), (CloseReason::StrayBytes, Closer::Client));

    let next = fetch(&client, &stage.url("/"));
    stage.accept().await.serve("clean").await;
    assert_eq!(done(next).await.expect("a body"), "clean");
}

#[tokio::test]
async fn bytes_after_a_response_harm_none() {
    let stage = Stage::open().await;
    let client = Client::new();
    for nth in 0..10 {
        let request = fetch(&client, &stage.url("/"));
        let mut peer = stage.accept().await;
        peer.request().await;
        let poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
        peer.write(format!("{}{poison}", ok(&format!("right {nth}")))).await;
        let body = done(request).await.expect("a body");
        assert_eq!(body, format!("right {nth}"));
    }
    let stats = only(&client);
    assert_eq!((stats.opened, stats.idle), (10, 0));
    assert_eq!(the_only_close(&stats), (CloseReason::StrayBytes, Closer::Client));
}

/// All at once, then as many requests at once, after one turn of the event loop and no more.
/// The server has closed all of them.
#[tokio::test]
async fn closed_idle_connections_fail_no_request() {
    let server = Server::saying("alive");
    let client = Client::new();
    for round in 1..=5 {
        let burst: Vec<_> = (0..50).map(|_| fetch(&client, &server.url("/"))).collect();
        for request in burst {
            assert_eq!(done(request).await.expect("a body"), "alive", "round {round}");
        }
        eventually("the last dial", || only(&client).dialing == 0).await;
        server.close_idle(only(&client).opened).await;
        tokio::task::yield_now().await;
    }
    eventually("the last closes", || only(&client).idle == 0).await;
    let stats = only(&client);
    audit(&stats);
    assert_eq!(the_only_close(&stats), (CloseReason::PeerClosedIdle, Closer::Server));
}

/// The server says nothing of closing and closes. Either the client has seen it and dials, or its
/// bytes were on the way already and the request fails, once, naming a reused connection.
/// Only the request that crossed it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unannounced_close_costs_one_request() {
    let server = Server::start(|_| Answer::SendAndClose(ok("bye")));
    let client = Client::new();
    for _ in 0..500 {
        match client.get(server.url("/")).send().await {
            Ok(response) => {
                // A reused one can only have been a connection that was closed later.
                assert_eq!(response.text().await.expect("a body"), "bye");
            }
            Err(error) => {
                assert_eq!(error.on_reused_connection(), Some(true), "{error}");
                assert!(!error.is_timeout(), "{error}");
            }
        }
    }
    eventually("the last close", || only(&client).idle == 0).await;
    let stats = only(&client);
    audit(&stats);
    // Once the retry budget is spent, the client ends connections itself until it has recovered.
    let distrusted = stats.closed_for(CloseReason::Distrusted);
    assert_eq!(stats.closed_by(Closer::Server) + distrusted, stats.closed(), "{stats:?}");
}

/// The close may be seen at any instant: before the connection is in the pool, while it is put
/// there, and after. At each it has to be noticed without another request.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn close_during_return_is_noticed() {
    let server = Server::start(|_| Answer::SendAndClose(ok("bye")));
    let client = Client::new();
    for _ in 0..60 {
        let burst: Vec<_> = (0..32).map(|_| fetch(&client, &server.url("/"))).collect();
        for request in burst {
            // It may have crossed a close.
            drop(done(request).await);
        }
        // A dial that lost to a return brought a connection that has served nobody.
        eventually("the last dial", || only(&client).dialing == 0).await;
        server.close_idle(only(&client).opened).await;
        eventually("the closes", || only(&client).idle == 0).await;
    }
    audit(&only(&client));
}

#[tokio::test]
async fn closed_connection_of_busy_client_is_replaced() {
    let stage = Stage::open().await;
    let client = Client::new();
    for _ in 0..20 {
        let request = fetch(&client, &stage.url("/"));
        let mut peer = stage.accept().await;
        peer.serve("x").await;
        done(request).await.expect("a body");
        peer.close();
        // One turn of the event loop, in which the keeper may or may not have had its turn.
        tokio::task::yield_now().await;
    }
    assert_eq!(only(&client).opened, 20);
}

/// Time is stopped, and goes on only while nothing is left to do. A client that spins never lets
/// it.
#[test]
fn idle_connections_use_no_cpu() {
    let (done, is_done) = std::sync::mpsc::channel();
    let body = async move {
        let stage = Stage::open().await;
        let client = Client::new();
        let _peers = idle_connections(&client, &stage, 3).await;
        pass(Duration::from_secs(80)).await;
        assert_eq!(only(&client).idle, 3);
        done.send(()).expect("the test waits");
    };
    std::thread::spawn(move || {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime").block_on(body);
    });
    let rested = is_done.recv_timeout(Duration::from_secs(10));
    assert!(rested.is_ok(), "80 s of stopped time never passed: the client spins");
}

/// The body is complete.
#[tokio::test]
async fn slow_reader_holds_no_connection() {
    let server = Server::saying("hello");
    let client = Client::new();
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut response = client.get(server.url("/")).send().await.expect("a head");
        let frame = http_body_util::BodyExt::frame(response.body_mut()).await;
        kept.push((frame, response));
    }
    assert_eq!(server.accepted(), 1);
    exchange(&client, &server.url("/")).await;
    assert_eq!(only(&client).opened, 1);
}
