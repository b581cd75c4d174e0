//! What the client says of itself is what happened.

use keepwarm::{Client, ClientBuilder};
use keepwarm_testkit::scripted::{Server, Stage, eventually};

use crate::reuse::idle_connections;
use crate::support::{done, exchange, fetch, get, only};

fn words(client: &Client, origin: &str) -> String {
    client.explain(origin).expect("an origin that was spoken to")
}

/// Twenty requests at once, each answered when all of them are there.
async fn burst(client: &Client, stage: &Stage) {
    let requests: Vec<_> = (0..20).map(|_| fetch(client, &stage.url("/"))).collect();
    let mut peers = Vec::new();
    for _ in 0..20 {
        peers.push(stage.accept().await);
    }
    for peer in &mut peers {
        peer.serve("x").await;
    }
    for request in requests {
        done(request).await.expect("a body");
    }
}

/// The number is the one to set.
#[tokio::test]
async fn low_limit_is_named_with_number() {
    let stage = Stage::open().await;
    let client = ClientBuilder::go_defaults().build().expect("a client");
    burst(&client, &stage).await;
    let words = words(&client, &stage.origin());
    assert!(words.contains("closed 18 healthy connections on return"), "{words}");
    assert!(words.contains("max_idle_per_origin is 2, peak concurrency was 20"), "{words}");
    assert!(words.contains("at least 20"), "{words}");
}

#[tokio::test]
async fn kept_connections_need_no_explanation() {
    let stage = Stage::open().await;
    let client = Client::new();
    burst(&client, &stage).await;
    let words = words(&client, &stage.origin());
    assert!(words.contains("20 connections opened, at most 20 requests at once"), "{words}");
    assert!(words.contains("nothing is wrong"), "{words}");
}

/// The timeout is ours.
#[tokio::test]
async fn closing_server_is_named_with_timeout() {
    let stage = Stage::open().await;
    let client = Client::new();
    for peer in idle_connections(&client, &stage, 3).await {
        peer.close();
    }
    eventually("the closes", || only(&client).closed() == 3).await;
    let words = words(&client, &stage.origin());
    assert!(words.contains("the server closed 3 connections while idle"), "{words}");
    assert!(words.contains("idle_timeout, which is 90s"), "{words}");
}

#[tokio::test]
async fn the_worst_comes_first() {
    let server = Server::saying("x");
    let client = Client::builder()
        .max_connections_per_origin(1)
        .max_waiters_per_origin(0)
        .build()
        .expect("a client");
    exchange(&client, &server.url("/")).await;
    let stage = Stage::open().await;
    let held = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    for _ in 0..5 {
        done(get(&client, &stage.url("/"))).await.expect_err("no room to wait");
    }
    held.abort();
    eventually("the end of the held one", || {
        client.stats().origin(&stage.origin()).is_some_and(|origin| origin.active == 0)
    })
    .await;
    let words = words(&client, &stage.origin());
    let refused = words.find("5 requests refused").expect("the refusals");
    let given_up = words.find("1 connection given up").expect("the one that was dropped");
    assert!(refused < given_up, "{words}");
    assert!(words.contains("max_connections_per_origin is 1"), "{words}");
    assert_eq!(client.explain("http://127.0.0.1:1"), None);
    assert!(client.explain(&server.origin()).is_some());
}
