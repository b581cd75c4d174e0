//! Servers that close idle connections without a word: at their idle timeout, which the next
//! request is sent to collide with, and at random. No GET fails, no POST arrives twice. What
//! arrived is counted at the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use keepwarm::Client;
use keepwarm_testkit::closing::{ClosingServer, Habit};
use keepwarm_testkit::scripted::{eventually, within};
use tokio::task::JoinSet;

use crate::support::{assert_at_rest, only};

/// The outcome of the requests of one load.
#[derive(Debug, Default)]
struct Outcome {
    failed_posts: AtomicU64,
    sent_again: AtomicU64,
}

/// The `number`th request of a load: one in five is a POST.
async fn ask(client: Client, origin: String, number: u64, outcome: Arc<Outcome>) {
    if number.is_multiple_of(5) {
        let target = format!("/post/{number}");
        match client.post(format!("{origin}{target}")).body("once").send().await {
            Ok(response) => assert_eq!(response.text().await.expect("a body"), target),
            // Whether the server acted on it cannot be known: so it is said, and not sent again.
            Err(_) => drop(outcome.failed_posts.fetch_add(1, Ordering::SeqCst)),
        }
        return;
    }
    let target = format!("/get/{number}");
    let response = client.get(format!("{origin}{target}")).send().await.expect("no GET fails");
    let again = u64::from(response.connection().attempts() - 1);
    outcome.sent_again.fetch_add(again, Ordering::SeqCst);
    assert_eq!(response.text().await.expect("no GET fails"), target);
}

/// The server's view and the client's agree.
async fn settle(server: &ClosingServer, client: &Client, outcome: &Outcome) {
    // An idle connection that the keeper looks at counts as active.
    eventually("the last dial and inspection", || {
        let stats = only(client);
        stats.dialing + stats.active == 0
    })
    .await;
    assert_at_rest(&only(client));
    eventually("the last accept", || server.seen().accepted == only(client).opened).await;
    let seen = server.seen();
    assert_eq!(seen.doubled_posts, 0, "{seen:?}");
    assert!(seen.closed > 0, "{seen:?}");
    // Each request that the server left unanswered was sent again, or reported as failed. (Not all
    // of those reached the server: some met a RST. So there may be more of them.)
    let again = outcome.sent_again.load(Ordering::SeqCst);
    let told = outcome.failed_posts.load(Ordering::SeqCst);
    assert!(seen.unanswered <= again + told, "{seen:?} {outcome:?}");
}

/// No GET fails, and no POST is sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_timeout_collisions_lose_no_request() {
    const IDLE: Duration = Duration::from_millis(50);
    let server = ClosingServer::start(Habit::AfterIdle(IDLE), 1);
    // A client that learned the idle timeout would avoid the collisions.
    let client = Client::builder().learn_idle_timeout(false).build().expect("good settings");
    let outcome = Arc::new(Outcome::default());
    let mut number = 0;
    for _ in 0..40 {
        // Those of the last round have been idle for as long as the server allows, or nearly so.
        tokio::time::sleep(IDLE).await;
        let mut round = JoinSet::new();
        for lane in 0..20 {
            number += 1;
            let asked = ask(client.clone(), server.origin(), number, Arc::clone(&outcome));
            round.spawn(async move {
                // The lanes meet the server's timer one after the other.
                tokio::time::sleep(Duration::from_micros(lane * 250)).await;
                asked.await;
            });
        }
        within("a round", round.join_all()).await;
    }
    settle(&server, &client, &outcome).await;
}

/// Over 2,000 requests no GET fails, and no POST is sent twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_closes_lose_no_request() {
    let server = ClosingServer::start(Habit::AtRandom, 2);
    let client = Client::new();
    let outcome = Arc::new(Outcome::default());
    let mut lanes = JoinSet::new();
    for lane in 0..8 {
        let (client, origin) = (client.clone(), server.origin());
        let outcome = Arc::clone(&outcome);
        lanes.spawn(async move {
            for number in lane * 250..(lane + 1) * 250 {
                ask(client.clone(), origin.clone(), number, Arc::clone(&outcome)).await;
            }
        });
    }
    within("the load", lanes.join_all()).await;
    settle(&server, &client, &outcome).await;
    let again = outcome.sent_again.load(Ordering::SeqCst);
    assert!(again > 20, "{again} were sent again");
}
