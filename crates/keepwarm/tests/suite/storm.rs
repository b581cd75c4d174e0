//! Thousands of requests, each dropped at some instant, and nothing is left behind.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use http_body_util::BodyExt;
use keepwarm::{Client, CloseReason};
use keepwarm_testkit::scripted::{Answer, Server, eventually, ok, within};
use tokio::task::JoinSet;

use crate::support::{assert_at_rest, audit, exchange, only};

/// Numbers that are the same in each run (Steele, Lea, Flood 2014: SplitMix).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}

/// Some answers are long, some chunked, some the last ones.
fn varied(target: &str) -> Answer {
    match target {
        "/chunked" => Answer::Send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into(),
        ),
        "/long" => Answer::Send(ok(&"x".repeat(300_000))),
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
    let mut dice = Dice(seed);
    for _ in 0..10 {
        let mut requests = JoinSet::new();
        for _ in 0..400 {
            let target = ["/", "/", "/chunked", "/long", "/last"][dice.roll(5) as usize];
            let own = Dice(dice.roll(u64::MAX));
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

/// The client's sockets to a port of 127.0.0.1 that the kernel calls established or half-closed.
fn open_sockets_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let remote = format!("0100007F:{port:04X}");
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields[2] == remote && [ESTABLISHED, CLOSE_WAIT].contains(&fields[3]))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_of_dropped_requests_leaks_nothing_on_several_threads() {
    for seed in 1..=2 {
        storm(seed, 10).await;
    }
}

#[tokio::test]
async fn a_storm_of_dropped_requests_leaks_nothing_on_one_thread() {
    storm(3, 10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_storm_through_one_connection_at_a_time_leaks_nothing() {
    storm(4, 1).await;
}
