//! The sums: by origin, in total, and over time.

use std::time::Duration;

use keepwarm::{Client, CloseReason, Closer, PoolStats, Stats};
use keepwarm_testkit::http_server::RefusedPort;
use keepwarm_testkit::scripted::{Server, Stage, eventually};

use crate::reuse::idle_connections;
use crate::support::{done, exchange, fetch, get};

fn sums_hold(stats: &Stats) {
    let total = &stats.total;
    assert_eq!(total.opened, total.open() as u64 + total.closed(), "{stats:#?}");
    assert_eq!(total.closed(), total.closed_by(Closer::Client) + total.closed_by(Closer::Server));
    let answered = total.new + total.reused + total.rejected + total.cancelled;
    assert_eq!(total.checkouts, answered + total.waiting as u64, "{stats:#?}");
    let sum = |what: fn(&PoolStats) -> u64| stats.origins.iter().map(|one| what(one)).sum::<u64>();
    assert_eq!(total.opened, sum(|one| one.opened));
    assert_eq!(total.reused, sum(|one| one.reused));
    assert_eq!(total.open() as u64, sum(|one| one.open() as u64));
    assert_eq!(total.closed(), sum(PoolStats::closed));
}

/// Also by reason and closer.
#[tokio::test]
async fn total_is_the_sum_of_origins() {
    let client = Client::builder().max_idle_per_origin(2).build().expect("a client");
    let (one, two) = (Stage::open().await, Stage::open().await);
    // One of three is closed as it comes back; of the two that idle, the server closes one.
    let mut peers = idle_connections(&client, &one, 3).await;
    peers.remove(1).close();
    eventually("the server's close", || client.stats().total.closed() == 2).await;
    let _kept = idle_connections(&client, &two, 2).await;
    let held = get(&client, &two.url("/"));
    eventually("its connection", || client.stats().total.active == 1).await;

    let stats = client.stats();
    sums_hold(&stats);
    let total = &stats.total;
    assert_eq!((total.opened, total.active, total.idle), (5, 1, 2));
    assert_eq!(total.closed_for(CloseReason::IdleLimit), 1);
    assert_eq!(total.closed_for(CloseReason::PeerClosedIdle), 1);
    assert_eq!((total.closed_by(Closer::Client), total.closed_by(Closer::Server)), (1, 1));
    assert_eq!(stats.origin(&two.origin()).map(|origin| origin.active), Some(1));
    held.abort();
}

#[tokio::test]
async fn every_request_is_in_one_count() {
    let stage = Stage::open().await;
    let dead = RefusedPort::new();
    let builder = Client::builder().max_connections_per_origin(1).max_waiters_per_origin(1);
    let client = builder.build().expect("a client");
    let total = || client.stats().total;
    let held = get(&client, &stage.url("/"));
    eventually("its connection", || total().active == 1).await;
    let gives_up = get(&client, &stage.url("/"));
    eventually("its place", || total().waiting == 1).await;
    let refused = done(get(&client, &stage.url("/"))).await.expect_err("no room to wait");
    assert!(refused.is_too_many_waiters());
    sums_hold(&client.stats());
    gives_up.abort();
    eventually("its leaving", || total().cancelled == 1).await;
    client.get(format!("http://{}/", dead.address())).send().await.expect_err("nobody listens");
    sums_hold(&client.stats());
    assert_eq!((total().rejected, total().too_many_waiters, total().dials_failed), (2, 1, 1));
    held.abort();
}

#[tokio::test]
async fn reuse_ratio_counts_used_connections() {
    let server = Server::saying("x");
    let client = Client::new();
    assert_eq!(client.stats().total.reuse_ratio(), None, "nothing was served");
    for _ in 0..4 {
        exchange(&client, &server.url("/")).await;
    }
    let total = client.stats().total;
    assert_eq!((total.new, total.reused), (1, 3));
    assert_eq!(total.reuse_ratio(), Some(0.75));
}

#[tokio::test]
async fn opens_are_counted_for_ten_seconds() {
    let stage = Stage::open().await;
    let client = Client::new();
    let lately = || client.stats().total.opened_lately;
    let _three = idle_connections(&client, &stage, 3).await;
    assert_eq!(lately(), 3);
    assert!((client.stats().total.opens_per_second() - 0.3).abs() < 1e-9);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(8)).await;
    assert_eq!(lately(), 3, "not ten seconds yet");
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(lately(), 0);
    assert_eq!(client.stats().total.opened, 3, "which counts for ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sums_hold_whenever_somebody_looks() {
    let servers = [Server::saying("x"), Server::saying("y")];
    let client = Client::builder().max_idle_per_origin(1).build().expect("a client");
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let (client, urls) = (client.clone(), servers.each_ref().map(|server| server.url("/")));
        tasks.push(tokio::spawn(async move {
            for nth in 0..100 {
                fetch(&client, &urls[nth % 2]).await.expect("no panic").expect("a body");
            }
        }));
    }
    while !tasks.iter().all(tokio::task::JoinHandle::is_finished) {
        let stats = client.stats();
        sums_hold(&stats);
        tokio::task::yield_now().await;
    }
    for task in tasks {
        done(task).await;
    }
    assert_eq!(client.stats().total.checkouts, 800);
}
