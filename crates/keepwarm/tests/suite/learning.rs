//! A server that closes idle connections and does not say when: what that teaches.

use std::time::Duration;

use keepwarm::{Client, CloseReason, Closer};
use keepwarm_testkit::scripted::{Ending, Peer, Stage, eventually};

use crate::support::{assert_at_rest, done, fetch, only};

/// Advances the clock of tokio.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

/// One exchange on a new connection.
async fn exchange(client: &Client, stage: &Stage) -> Peer {
    let fetched = fetch(client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.serve("ok").await;
    done(fetched).await.expect("a body");
    peer
}

/// The server closes a connection that has been idle for so many seconds.
async fn close_after(client: &Client, stage: &Stage, seconds: u64) {
    let before = only_closed(client);
    let peer = exchange(client, stage).await;
    pass(seconds).await;
    peer.close();
    eventually("the close", || only_closed(client) == before + 1).await;
}

fn only_closed(client: &Client) -> u64 {
    let stats = client.stats();
    stats.origins.first().map_or(0, |origin| origin.closed_for(CloseReason::PeerClosedIdle))
}

/// From then on the client closes first.
#[tokio::test]
async fn constant_close_age_is_learned() {
    let stage = Stage::open().await;
    let client = Client::new();
    for nth in 0..5 {
        assert_eq!(
            client.stats().origins.first().and_then(|o| o.learned_idle_timeout),
            None,
            "{nth}"
        );
        close_after(&client, &stage, 60).await;
    }
    let learned = only(&client).learned_idle_timeout.expect("it was shown five times");
    assert!(learned >= Duration::from_secs(60) && learned < Duration::from_secs(64), "{learned:?}");
    let words = client.explain(&stage.origin()).expect("it was asked");
    assert!(words.contains("(seen: 6"), "{words}");

    let mut peer = exchange(&client, &stage).await;
    // Well before, it is still used.
    pass(50).await;
    let fetched = fetch(&client, &stage.url("/"));
    peer.serve("ok").await;
    done(fetched).await.expect("a body");
    pass(64).await;
    eventually("our close", || only(&client).idle == 0).await;
    assert_eq!(peer.ended().await, Ending::Fin);
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!(stats.closed_for(CloseReason::LearnedTimeout), 1);
    assert_eq!((stats.closed_by(Closer::Server), stats.closed_by(Closer::Client)), (5, 1));
}

#[tokio::test]
async fn random_closes_teach_nothing() {
    let stage = Stage::open().await;
    let client = Client::new();
    for seconds in [60, 3, 44, 60, 21, 60, 80, 60, 9, 33, 60] {
        close_after(&client, &stage, seconds).await;
        assert_eq!(only(&client).learned_idle_timeout, None);
    }
    let stats = only(&client);
    assert_eq!((stats.closed_for(CloseReason::PeerClosedIdle), stats.closed()), (11, 11));
}

#[tokio::test]
async fn a_server_that_restarts_teaches_nothing() {
    let stage = Stage::open().await;
    let client = Client::new();
    for restart in 1..=5 {
        let fetched: Vec<_> = (0..5).map(|_| fetch(&client, &stage.url("/"))).collect();
        let mut peers = Vec::new();
        for _ in 0..5 {
            let mut peer = stage.accept().await;
            peer.request().await;
            peers.push(peer);
        }
        for peer in &mut peers {
            peer.write(keepwarm_testkit::scripted::ok("")).await;
        }
        for fetched in fetched {
            done(fetched).await.expect("a body");
        }
        pass(10 * restart).await;
        for peer in peers {
            peer.close();
        }
        eventually("the closes", || only_closed(&client) == 5 * restart).await;
        assert_eq!(only(&client).learned_idle_timeout, None);
    }
}

#[tokio::test]
async fn learning_can_be_switched_off() {
    let stage = Stage::open().await;
    let client = Client::builder().learn_idle_timeout(false).build().expect("good settings");
    for _ in 0..6 {
        close_after(&client, &stage, 60).await;
    }
    assert_eq!(only(&client).learned_idle_timeout, None);
}
