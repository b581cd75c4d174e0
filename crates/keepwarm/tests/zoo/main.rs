//! Every animal of the zoo, on a new connection and on a reused one. Whatever a server did, the
//! next requests of the same client succeed, and none of them gets a byte of another one's answer.
//!
//! `cargo test -p keepwarm --test zoo`; a failure names the animals. One of them alone:
//! `ZOO='a second response' cargo test -p keepwarm --test zoo`.

mod door;

use std::sync::Arc;
use std::time::{Duration, Instant};

use keepwarm::{Body, Client, OriginStats, Stage};
use keepwarm_testkit::scripted::{comes_true, eventually};
use keepwarm_testkit::zoo::{Afterwards, Animal, Ask, Cage, Expect, Met, animals, marker};
use tokio::task::JoinSet;

use door::{Door, Doors, Via};

/// The time it gives the other animals: more than they take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// All visits of a test together.
const BOUND: Duration = Duration::from_secs(600);

type Outcome = keepwarm::Result<(u16, String)>;

async fn ask(client: &Client, url: &str, ask: Ask, timeout: Duration) -> Outcome {
    let request = match ask {
        Ask::Get => client.get(url),
        Ask::Head => client.head(url),
        Ask::PostLarge => client.post(url).body(Body::from(vec![b'u'; 8 << 20])),
    };
    let response = request.timeout(timeout).send().await?;
    let status = response.status().as_u16();
    Ok((status, response.text().await?))
}

/// Repeats [`try_visit`] until client and animal have met.
async fn visit(doors: &Doors, index: usize, animal: &Animal, met: Met) -> Result<(), String> {
    for _ in 0..20 {
        if try_visit(doors, index, animal, met).await? {
            return Ok(());
        }
    }
    Err(format!("{:?} never were enough to connect", doors.impatience()))
}

/// The visit of one animal by one client: what is wrong with it, if anything. False if the client's
/// patience was over before it had a connection: the next request would be the first to use it.
async fn try_visit(doors: &Doors, index: usize, animal: &Animal, met: Met) -> Result<bool, String> {
    let cage = Cage::open(index, animal, met).await;
    let door = doors.open(cage.address()).await;
    let client = doors.client(&door);
    let mut exchange = 1;
    if met == Met::Warm {
        well_behaved(&client, &door, index, exchange).await?;
        exchange += 1;
    }

    let patience = if animal.hangs() { doors.impatience() } else { PATIENCE };
    let began = Instant::now();
    let url = door.first_url(&marker(index, exchange));
    let outcome = ask(&client, &url, animal.ask, patience).await;
    let took = began.elapsed();
    let at = outcome.as_ref().err().map(keepwarm::Error::stage);
    let is_early = matches!(at, Some(Stage::Wait | Stage::Connect));
    if animal.hangs() && is_early && !doors.lead_to_dials() {
        return Ok(false);
    }
    if took > patience + Duration::from_secs(15) {
        return Err(format!("it took {took:?}, and {patience:?} were allowed"));
    }
    judge(animal, doors.expected(animal), met, &outcome, &marker(index, exchange))?;
    if animal.hangs() && !outcome.as_ref().is_err_and(keepwarm::Error::is_timeout) {
        return Err(format!("a timeout was due, and not {outcome:?}"));
    }
    cage.exchange_ended();
    if animal.afterwards == Afterwards::Noticed {
        cage.played().await;
        let gone = || stats(&client).is_none_or(|stats| stats.idle == 0);
        soon("the client to notice", gone).await?;
    }

    well_behaved(&client, &door, index, exchange + 1).await?;
    well_behaved(&client, &door, index, exchange + 2).await?;
    let further = cage.requests_after().saturating_sub(animal.follows);
    match (animal.afterwards, &outcome, further) {
        // A client may be stricter than the zoo where the zoo lets it choose.
        (Afterwards::Reused, Ok(_), 2) | (Afterwards::Reused, Err(_), 0 | 2) => {}
        (Afterwards::Reused, _, reused) => {
            return Err(format!("its connection was fine, and served {reused} more exchanges"));
        }
        (_, _, 0) => {}
        (_, _, reused) => return Err(format!("its connection served {reused} more exchanges")),
    }
    // The rest of an upload may go out behind its response, and the next request not wait for it.
    let most = if matches!(animal.ask, Ask::PostLarge) { 2 } else { 1 };
    at_rest(&client, &cage, most).await?;
    Ok(true)
}

fn judge(
    animal: &Animal,
    expect: &Expect,
    met: Met,
    outcome: &Outcome,
    own: &str,
) -> Result<(), String> {
    let own_reply = |body: &str| body.replace("{M}", own);
    let right = match (expect, outcome) {
        // A second attempt on a fresh connection, where the server behaves.
        (_, Ok((200, body))) if met == Met::Warm && animal.looks_like_an_idle_close() => {
            body == own
        }
        // It was noticed before anything was sent, and the request went elsewhere.
        (Expect::Fails, Ok((200, body))) if !animal.listens_first() => body == own,
        (Expect::Reply(status, body), Ok((got, text))) => status == got && *text == own_reply(body),
        (Expect::Fails, Err(_)) | (Expect::EitherButBounded, _) => true,
        (Expect::Reply(..), Err(_)) | (Expect::Fails, Ok(_)) => false,
    };
    if right { Ok(()) } else { Err(format!("{expect:?} was due, and not {outcome:?}")) }
}

async fn well_behaved(
    client: &Client,
    door: &Door,
    index: usize,
    exchange: usize,
) -> Result<(), String> {
    let (due, began) = (marker(index, exchange), Instant::now());
    let outcome = ask(client, &door.url(&due), Ask::Get, PATIENCE).await;
    if outcome.as_ref().is_ok_and(|(status, body)| (*status, body) == (200, &due)) {
        return Ok(());
    }
    let took = began.elapsed();
    Err(format!("exchange {exchange}: {due:?} was due, and not {outcome:?} after {took:?}"))
}

/// Nothing is under way, one connection idles or `most` do, and the sums hold on both sides.
async fn at_rest(client: &Client, cage: &Cage, most: usize) -> Result<(), String> {
    soon("both sides to agree on the idle connections", || {
        let stats = client.stats().total;
        let busy = stats.active + stats.waiting + stats.dialing;
        busy == 0 && (1..=most).contains(&stats.idle) && cage.open_connections() == stats.idle
    })
    .await
    .map_err(|vain| {
        let open = cage.open_connections();
        format!("{vain}, {open} are open at the server: {:#?}", client.stats().total)
    })?;
    let stats = client.stats().total;
    let adds_up = stats.opened == stats.idle as u64 + stats.closed();
    // One that is closed before the client can look at it counts as a failed dial.
    let opened = cage.accepted() as u64 == stats.opened + stats.dials_failed;
    if adds_up && opened {
        return Ok(());
    }
    Err(format!("the sums do not hold, and {} were accepted: {stats:#?}", cage.accepted()))
}

fn stats(client: &Client) -> Option<OriginStats> {
    client.stats().origins.pop()
}

async fn soon(what: &str, condition: impl Fn() -> bool) -> Result<(), String> {
    let met = comes_true(condition).await;
    met.then_some(()).ok_or_else(|| format!("waited in vain for {what}"))
}

/// Panics with the names of those that a client was hurt by.
async fn visit_all(met: Met, via: Via) {
    let wanted = std::env::var("ZOO").unwrap_or_default();
    let doors = Arc::new(Doors::new(via));
    let mut visits = JoinSet::new();
    for (index, animal) in doors.animals().into_iter().enumerate() {
        let skipped = (met == Met::Warm && !animal.listens_first())
            || (wanted.is_empty() && !doors.lead_to(index, &animal, met));
        if !skipped && animal.name.contains(&wanted) {
            let doors = Arc::clone(&doors);
            visits.spawn(async move {
                let _turn = doors.turn().await;
                let result = visit(&doors, index, &animal, met).await;
                result.map_err(|wrong| format!("{:?}: {}: {wrong}", animal.name, animal.does))
            });
        }
    }
    let count = visits.len();
    let results = tokio::time::timeout(BOUND, visits.join_all()).await.expect("no visit hangs");
    let mut wrong: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    wrong.sort();
    assert!(
        wrong.is_empty(),
        "{met:?}, {via:?}: {} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // Clients and cages are dropped: nobody is left to run.
    let tasks = tokio::runtime::Handle::current().metrics();
    eventually("the last task", || tasks.num_alive_tasks() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_exchange_hurts_no_other() {
    visit_all(Met::Cold, Via::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_exchange_hurts_no_other() {
    visit_all(Met::Warm, Via::Tcp).await;
}

/// On one thread client and server take turns, and other orders of events come up.
#[tokio::test]
async fn hostile_server_hurts_no_thread_mate() {
    visit_all(Met::Warm, Via::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_exchange_hurts_no_other() {
    visit_all(Met::Cold, Via::Tls).await;
    visit_all(Met::Warm, Via::Tls).await;
}

/// TLS that ends without close_notify may have been cut by an attacker, so a body that ends with
/// its connection is an error then (RFC 9112, 9.8).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_tls_exchange_hurts_no_other() {
    visit_all(Met::Cold, Via::CutTls).await;
    visit_all(Met::Warm, Via::CutTls).await;
}

/// The animal is a proxy that reads each request itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_proxy_hurts_no_other() {
    visit_all(Met::Cold, Via::Forward).await;
    visit_all(Met::Warm, Via::Forward).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exchange_in_a_tunnel_hurts_no_other() {
    visit_all(Met::Cold, Via::Socks).await;
    visit_all(Met::Warm, Via::Socks).await;
}

/// A tunnel is asked for on a connection of its own: there is no later exchange.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_answer_to_connect_hurts_no_other() {
    visit_all(Met::Cold, Via::Connect).await;
}

/// Codings, redirects and cookies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feature_met_with_hostility_hurts_no_other() {
    visit_all(Met::Cold, Via::Featured).await;
    visit_all(Met::Warm, Via::Featured).await;
}

#[test]
fn zoo_is_large_and_unique() {
    let animals = animals();
    assert!(animals.len() >= 60, "{}", animals.len());
    let mut names: Vec<_> = animals.iter().map(|animal| &animal.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), animals.len());
}
