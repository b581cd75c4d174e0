//! When a healthy connection ends though nothing is wrong with it: because somebody said so.

use keepwarm::{Client, CloseReason, Closer};
use keepwarm_testkit::scripted::{Ending, Stage, eventually, ok};

use crate::reuse::idle_connections;
use crate::support::{assert_at_rest, done, fetch, only};

#[tokio::test]
async fn close_idle_closes_what_is_idle_before_it_returns() {
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

#[tokio::test]
async fn close_idle_lets_an_exchange_end_and_closes_its_connection_then() {
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

    // What is opened afterwards is kept.
    let next = fetch(&client, &stage.url("/"));
    let mut new = stage.accept().await;
    new.serve("new").await;
    assert_eq!(done(next).await.expect("a body"), "new");
    let next = fetch(&client, &stage.url("/"));
    new.serve("again").await;
    assert_eq!(done(next).await.expect("a body"), "again");
    assert_eq!((only(&client).opened, only(&client).idle), (2, 1));
}

#[tokio::test]
async fn close_idle_at_the_cap_dials_for_who_waits() {
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

#[tokio::test]
async fn close_idle_reaches_every_origin_and_works_outside_a_runtime() {
    let client = Client::new();
    let (one, two) = (Stage::open().await, Stage::open().await);
    let _peers =
        (idle_connections(&client, &one, 1).await, idle_connections(&client, &two, 1).await);
    let elsewhere = client.clone();
    let closing = std::thread::spawn(move || elsewhere.close_idle());
    closing.join().expect("no panic");
    let stats = client.stats();
    assert_eq!(stats.closed(), 2);
    assert!(stats.origins.iter().all(|origin| origin.idle == 0), "{stats:?}");
}
