//! Thousands of requests, each dropped at some instant, and nothing is left behind.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use keepwarm::{Client, CloseReason};
use keepwarm_testkit::dice::Dice;
use keepwarm_testkit::kernel::open_sockets_to;
use keepwarm_testkit::scripted::{Answer, Server, eventually, ok, within};
use tokio::task::JoinSet;

use crate::support::{assert_at_rest, audit, exchange, only};

/// Some answers are long, some chunked, some the last ones.
fn varied(target: &str) -> Answer {
    match target {
        "/chunked" => Answer::Send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into(),
        ),
        "/long" => Answer::Send(ok(&"x".repeat(300_000))),
        "/stalled" => Answer::SendAndStall("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx".into()),
        "/last" => Answer::SendAndClose(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx".into(),
        ),
        _ => Answer::Send(ok("short")),
    }
}

/// One request, given up after so many polls, after so many microseconds, midway through the body,
/// or not at all.
async fn one_of_many(client: Client, url: String, mut dice: Dice) {
    let (way, polls, micros) = (dice.roll(4), dice.roll(5), dice.roll(3_000));
    let frames = dice.roll(4);
    let mut whole = Box::pin(async move {
        let mut response = client.get(url).send().await?;
        for _ in 0..frames {
            let Some(frame) = response.body_mut().frame().await else {
                break;
            };
            frame?;
        }
        Ok::<_, keepwarm::Error>(())
    });
    // A request that crosses a close is no concern of this test.
    match way {
        0 => {
            let mut left = polls;
            poll_fn(|cx| {
                if left == 0 || whole.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                left -= 1;
                Poll::Pending
            })
            .await;
        }
        1 => drop(tokio::time::timeout(Duration::from_micros(micros), whole).await),
        _ => drop(whole.await),
    }
}

async fn storm(seed: u64, cap: u32) {
    let server = Server::start(|request| varied(request.target()));
    let client = Client::builder().max_connections_per_origin(cap).build().expect("good settings");
    exchange(&client, &server.url("/")).await;
    let mut dice = Dice::new(seed);
    for _ in 0..10 {
        let mut requests = JoinSet::new();
        for _ in 0..400 {
            let target = ["/", "/", "/chunked", "/long", "/last"][dice.roll(5) as usize];
            let own = dice.split();
            requests.spawn(one_of_many(client.clone(), server.url(target), own));
            if dice.roll(10) == 0 {
                tokio::task::yield_now().await;
            }
            if dice.roll(50) == 0 {
                // Aborted wherever it happens to be.
                requests.abort_all();
            }
        }
        within("the storm's end", async {
            while let Some(ended) = requests.join_next().await {
                if let Err(error) = ended {
                    assert!(error.is_cancelled(), "seed {seed}: {error}");
                }
                audit(&only(&client));
            }
        })
        .await;
    }
    // The last dials, and the last bodies that are read for nobody.
    let stats = || only(&client);
    eventually("the last of it", || stats().dialing == 0 && stats().active == 0).await;
    let stats = stats();
    assert_at_rest(&stats);
    assert!(stats.idle <= cap as usize, "{stats:?}");
    // The generator reaches what it is meant to reach.
    assert!(stats.cancelled > 0 && stats.reused > 0, "{stats:?}");
    assert!(stats.closed_for(CloseReason::Abandoned) > 0, "{stats:?}");
    assert!(stats.closed_for(CloseReason::NotPersistent) > 0, "{stats:?}");

    assert_eq!(exchange(&client, &server.url("/")).await, "short");
    let stats = only(&client);
    eventually("the server to see the closes", || server.open() == stats.idle).await;
    assert_eq!(server.accepted() as u64, stats.opened);
    assert_eq!(open_sockets_to(server.port()), stats.idle, "{stats:?}");
}

/// Requests of [`steady_storm`] at once, and the connections that they share.
const TASKS: u64 = 50;
const CAP: u32 = 10;

#[derive(Debug, Default)]
struct Fates {
    whole: AtomicU64,
    dropped: AtomicU64,
}

/// Request after request until `end`. Every tenth is dropped at a random instant; every other one
/// brings its whole body.
async fn keep_asking(
    client: Client,
    origin: String,
    mut dice: Dice,
    end: Instant,
    fates: Arc<Fates>,
) {
    while Instant::now() < end {
        let target = ["/", "/", "/", "/chunked", "/long", "/last"][dice.roll(6) as usize];
        let length = match target {
            "/chunked" => 3,
            "/long" => 300_000,
            "/last" => 1,
            _ => "short".len(),
        };
        let request = client.get(format!("{origin}{target}"));
        let whole = async { request.send().await?.bytes().await };
        if dice.roll(10) > 0 {
            let body = within("a body", whole).await.expect("nobody closes but in agreement");
            assert_eq!(body.len(), length, "{target}");
            fates.whole.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let mut whole = Box::pin(whole);
        if dice.roll(2) == 0 {
            // Beyond the queue.
            let patience = Duration::from_micros(dice.roll(200_000));
            match tokio::time::timeout(patience, whole).await {
                Ok(_) => fates.whole.fetch_add(1, Ordering::Relaxed),
                Err(_) => fates.dropped.fetch_add(1, Ordering::Relaxed),
            };
            continue;
        }
        let instant = Instant::now() + Duration::from_micros(dice.roll(4_000));
        let mut polls = dice.roll(8);
        let by_polls = dice.roll(2) == 0;
        let finished = poll_fn(|cx| {
            if (by_polls && polls == 0) || (!by_polls && Instant::now() >= instant) {
                return Poll::Ready(false);
            }
            polls = polls.saturating_sub(1);
            if whole.as_mut().poll(cx).is_ready() {
                return Poll::Ready(true);
            }
            // Finer than a timer.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        if !finished {
            drop(whole);
            fates.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// For so long, and then: no slot is lost, no socket is left, and the kernel counts what the client
/// counts.
#[expect(clippy::print_stdout, reason = "what a minute came to is worth a line")]
async fn steady_storm(seed: u64, length: Duration) {
    let server = Server::start(|request| varied(request.target()));
    let client = Client::builder().max_connections_per_origin(CAP).build().expect("good settings");
    let (end, fates) = (Instant::now() + length, Arc::new(Fates::default()));
    let mut tasks = JoinSet::new();
    let mut dice = Dice::new(seed);
    for _ in 0..TASKS {
        let own = dice.split();
        tasks.spawn(keep_asking(client.clone(), server.origin(), own, end, Arc::clone(&fates)));
    }
    let mut looks = tokio::time::interval(Duration::from_millis(20));
    while Instant::now() < end {
        looks.tick().await;
        // The kernel is asked at the end: it writes its table page by page, so that a connection
        // that takes another one's place meanwhile stands in it beside the other.
        if let Some(stats) = client.stats().origins.pop() {
            audit(&stats);
            assert!(stats.active + stats.idle + stats.dialing <= CAP as usize, "{stats:?}");
        }
    }
    within("the last requests", async {
        while let Some(ended) = tasks.join_next().await {
            ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
    })
    .await;
    let busy = || {
        let stats = only(&client);
        stats.active + stats.waiting + stats.dialing
    };
    eventually("the end of what was dropped", || busy() == 0).await;

    // Each slot still serves: so many responses at once whose bodies do not end.
    let mut held = Vec::new();
    for _ in 0..CAP {
        let head = within("a slot", client.get(server.url("/stalled")).send());
        held.push(head.await.expect("a head"));
    }
    assert_eq!(only(&client).active, CAP as usize);
    drop(held);

    exchange(&client, &server.url("/")).await;
    eventually("the end of what was held", || busy() == 0).await;
    let stats = only(&client);
    assert_at_rest(&stats);
    eventually("the kernel's count", || open_sockets_to(server.port()) == stats.idle).await;
    eventually("the server to see the closes", || server.open() == stats.idle).await;
    assert_eq!(server.accepted() as u64, stats.opened);
    let (whole, dropped) =
        (fates.whole.load(Ordering::Relaxed), fates.dropped.load(Ordering::Relaxed));
    // The generator reaches what it is meant to reach.
    assert!(dropped > 0 && stats.closed_for(CloseReason::Abandoned) > 0, "{stats:?}");
    assert!(whole > dropped && stats.reused > 0, "{stats:?}");
    // In two seconds of a busy machine, most are dropped in the queue.
    assert!(stats.drained > 0 || length < Duration::from_secs(30), "{stats:?}");
    let kept = stats.drained;
    println!("{length:?}: {whole} whole, {dropped} dropped, {kept} kept, {} opened", stats.opened);
}

/// The storm loses no place.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn steady_storm_leaves_no_socket() {
    steady_storm(5, Duration::from_secs(2)).await;
}

/// `cargo test --release -p keepwarm --test suite minute_of_storm -- --ignored --nocapture`
/// It loses no place.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes a minute"]
async fn minute_of_storm_leaves_no_socket() {
    steady_storm(6, Duration::from_secs(60)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn storm_leaks_nothing_multi_threaded() {
    for seed in 1..=2 {
        storm(seed, 10).await;
    }
}

#[tokio::test]
async fn storm_leaks_nothing_single_threaded() {
    storm(3, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn storm_through_one_connection_leaks_nothing() {
    storm(4, 1).await;
}
