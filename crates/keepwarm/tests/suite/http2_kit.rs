//! HTTP/2 by the public test kit, under fake time; and `explain` about streams.

use std::time::Duration;

use keepwarm::testing::Network;
use keepwarm::{Client, ClientBuilder, CloseReason};

use crate::support::{done, fetch, get, only};

const URL: &str = "http://data.test/path";

fn client(network: &Network, build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Client {
    let builder = Client::builder().http2_prior_knowledge().connector(network.connector());
    build(builder).build().expect("good settings")
}

fn words(client: &Client) -> String {
    client.explain("http://data.test").expect("an origin that was spoken to")
}

/// Lets the tasks run that are ready.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn streams_are_explained() {
    let mut network = Network::new();
    let client = client(&network, |builder| builder);
    let requests = ["a", "b", "c"].map(|_| fetch(&client, URL));
    let mut peer = network.dial().await.succeed_http2(100);
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(peer.request().await);
    }
    let told = words(&client);
    assert!(
        told.contains("3 requests, 2 of them on a reused connection; 1 connection opened"),
        "{told}"
    );
    assert!(told.contains("at most 3 requests at once"), "{told}");
    assert!(told.contains("now 1 connection by HTTP/2 with 3 streams"), "{told}");
    open.remove(1).respond(200, "x");
    settle().await;
    assert!(words(&client).contains("with 2 streams"), "{}", words(&client));
    for stream in open {
        stream.respond(200, "x");
    }
    for request in requests {
        assert_eq!(done(request).await.expect("a body"), "x");
    }
    let told = words(&client);
    assert!(told.contains("now 1 connection by HTTP/2 with 0 streams"), "{told}");
    assert!(told.contains("nothing is wrong"), "{told}");
}

/// A second connection for want of streams, and the words for both.
#[tokio::test(start_paused = true)]
async fn stream_limit_is_explained() {
    let mut network = Network::new();
    let client = client(&network, |builder| builder);
    let requests = [(); 3].map(|()| fetch(&client, URL));
    let mut first = network.dial().await.succeed_http2(2);
    let mut second = network.dial().await.succeed_http2(2);
    let open = [first.request().await, first.request().await, second.request().await];
    assert!(
        words(&client).contains("now 2 connections by HTTP/2 with 3 streams"),
        "{}",
        words(&client)
    );
    for stream in open {
        stream.respond(200, "x");
    }
    for request in requests {
        done(request).await.expect("a body");
    }
}

/// Resets, refusals and GOAWAY of the kit's peer, each of which the client survives.
#[tokio::test(start_paused = true)]
async fn kit_refuses_resets_and_goes_away() {
    let mut network = Network::new();
    let client = client(&network, |builder| builder);
    let refused = get(&client, URL);
    let mut peer = network.dial().await.succeed_http2(100);
    let asked = peer.request().await;
    assert_eq!((asked.method(), asked.target()), ("GET", "/path"));
    assert_eq!(asked.field("Host"), Some("data.test"));
    assert!(asked.field("user-agent").is_some_and(|agent| agent.starts_with("keepwarm/")));
    asked.refuse();
    peer.serve(204, "").await;
    let response = done(refused).await.expect("a response");
    assert_eq!((response.status().as_u16(), response.connection().attempts()), (204, 2));

    let reset = get(&client, URL);
    peer.request().await.reset(2);
    assert!(done(reset).await.expect_err("INTERNAL_ERROR").is_stream_error());

    let last = fetch(&client, URL);
    let open = peer.request().await;
    peer.go_away();
    settle().await;
    let next = fetch(&client, URL);
    let mut other = network.dial().await.succeed_http2(100);
    other.serve(200, "next").await;
    open.respond(200, "last");
    assert_eq!(done(last).await.expect("a body"), "last");
    assert_eq!(done(next).await.expect("a body"), "next");
    peer.closed().await;
    settle().await;
    assert_eq!(only(&client).closed_for(CloseReason::GoAway), 1);
}

/// A peer that is dropped has said what it said.
#[tokio::test(start_paused = true)]
async fn dropped_kit_peer_is_read_to_its_end() {
    let mut network = Network::new();
    let client = client(&network, |builder| builder);
    let request = fetch(&client, URL);
    let mut peer = network.dial().await.succeed_http2(100);
    peer.serve(200, "said").await;
    peer.close();
    assert_eq!(done(request).await.expect("a body"), "said");
    let next = fetch(&client, URL);
    network.dial().await.succeed_http2(100).serve(200, "next").await;
    assert_eq!(done(next).await.expect("a body"), "next");
}
