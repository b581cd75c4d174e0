//! The limit on the connections of all origins together: who makes room, who gets it, and that it
//! is kept at every instant.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use keepwarm::connect::Destination;
use keepwarm::{Client, ClientBuilder, CloseReason, Closer, OriginStats, Stage as At};
use keepwarm_testkit::http_server::RefusedPort;
use keepwarm_testkit::scripted::{Answer, Server, Stage, eventually, ok, within};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tower::service_fn;

use crate::support::{audit, by_hand, done, exchange, fetch, get, poll_once};

fn limited(limit: u32) -> ClientBuilder {
    Client::builder().max_connections(limit)
}

fn build(builder: ClientBuilder) -> Client {
    builder.build().expect("good settings")
}

fn of(client: &Client, origin: &str) -> OriginStats {
    client.stats().origin(origin).expect("it was asked").clone()
}

fn open(client: &Client) -> usize {
    let stats = client.stats();
    stats.origins.iter().map(|origin| origin.dialing + origin.active + origin.idle).sum()
}

async fn waits(client: &Client, origin: &str) {
    let waits = || client.stats().origin(origin).is_some_and(|origin| origin.waiting > 0);
    eventually("its place in the queue", waits).await;
    assert_eq!(of(client, origin).dialing, 0, "there is no room");
}

const CLOSE: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";

/// To any origin.
#[tokio::test]
async fn oldest_idle_connection_makes_room() {
    let [a, b, c] = ["a", "b", "c"].map(Server::saying);
    let client = build(limited(2));
    for server in [&a, &b, &c] {
        exchange(&client, &server.url("/")).await;
        assert!(open(&client) <= 2);
    }
    let evicted = of(&client, &a.origin());
    assert_eq!((evicted.idle, evicted.closed()), (0, 1));
    assert_eq!(evicted.closes[0].reason, CloseReason::TotalLimit);
    assert_eq!(evicted.closes[0].closer, Closer::Client);
    eventually("the close", || a.open() == 0).await;
    // The others are as they were.
    exchange(&client, &b.url("/")).await;
    exchange(&client, &c.url("/")).await;
    assert_eq!((b.accepted(), c.accepted()), (1, 1));

    let words = client.explain(&a.origin()).expect("it was asked");
    let told = "closed 1 healthy connection to make room for other origins: max_connections is 2";
    assert!(words.contains(told), "{words}");
}

/// Across origins.
#[tokio::test]
async fn room_goes_to_the_oldest_waiter() {
    let stages = [Stage::open().await, Stage::open().await, Stage::open().await];
    let client = build(limited(1));
    let first = fetch(&client, &stages[0].url("/"));
    let mut peer = stages[0].accept().await;
    peer.request().await;
    let mut waiting = Vec::new();
    for stage in [1, 2, 1] {
        waiting.push((stage, get(&client, &stages[stage].url("/"))));
        let enough = || {
            client.stats().origins.iter().map(|origin| origin.waiting).sum::<usize>()
                == waiting.len()
        };
        eventually("its place", enough).await;
    }
    peer.write(CLOSE).await;
    done(first).await.expect("a body");
    for (stage, request) in waiting {
        assert_eq!(open(&client), 1, "in each moment one");
        let mut peer = stages[stage].accept().await;
        peer.request().await;
        peer.write(CLOSE).await;
        done(request).await.expect("a response").text().await.expect("a body");
    }
    for origin in client.stats().origins {
        assert_eq!(origin.closed_for(CloseReason::TotalLimit), 0, "{origin:?}");
    }
}

/// The connection to `mine` comes back while a request to `other` and then one to `mine` wait, the
/// second of which came so many milliseconds later.
async fn comes_back(later: u64) -> (Client, Stage, Stage) {
    let (mine, other) = (Stage::open().await, Stage::open().await);
    let client = build(limited(1));
    let first = fetch(&client, &mine.url("/first"));
    let mut peer = mine.accept().await;
    peer.request().await;
    // The clock stands still.
    tokio::time::pause();
    let mut elder = by_hand(&client, &other.url("/"));
    assert!(poll_once(&mut elder).is_pending());
    tokio::time::advance(Duration::from_millis(later)).await;
    let mut younger = by_hand(&client, &mine.url("/second"));
    assert!(poll_once(&mut younger).is_pending());
    tokio::time::resume();
    peer.write(ok("")).await;
    done(first).await.expect("a body");
    let (elder, younger) = (tokio::spawn(elder), tokio::spawn(younger));
    if later <= 100 {
        assert_eq!(peer.serve("").await.target(), "/second");
        done(younger).await.expect("a response").text().await.expect("a body");
        other.accept().await.serve("").await;
        done(elder).await.expect("a response").text().await.expect("a body");
    } else {
        other.accept().await.serve("").await;
        done(elder).await.expect("a response").text().await.expect("a body");
        assert_eq!(mine.accept().await.serve("").await.target(), "/second");
        done(younger).await.expect("a response").text().await.expect("a body");
    }
    (client, mine, other)
}

#[tokio::test]
async fn small_overtaking_serves_its_own_origin() {
    let (client, mine, other) = comes_back(100).await;
    // Only then was it idle, and made room.
    assert_eq!(of(&client, &mine.origin()).reused, 1);
    assert_eq!(of(&client, &mine.origin()).closed_for(CloseReason::TotalLimit), 1);
    assert_eq!(of(&client, &other.origin()).opened, 1);
}

/// For a request that has waited much longer.
#[tokio::test]
async fn large_overtaking_makes_room_instead() {
    let (client, mine, _other) = comes_back(101).await;
    let stats = of(&client, &mine.origin());
    assert_eq!((stats.reused, stats.opened), (0, 2));
    assert_eq!(stats.closed_for(CloseReason::TotalLimit), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_origin_starves_no_other() {
    let (busy, quiet) = (Server::saying("busy"), Server::saying("quiet"));
    let client = build(limited(2));
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let (client, url, over) = (client.clone(), busy.url("/"), Arc::clone(&over));
        tasks.spawn(async move {
            while !over.load(Ordering::SeqCst) {
                exchange(&client, &url).await;
            }
        });
    }
    eventually("the crowd", || busy.requests() > 50).await;
    for _ in 0..3 {
        assert_eq!(within("its turn", exchange(&client, &quiet.url("/"))).await, "quiet");
    }
    over.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
}

#[tokio::test]
async fn waiter_limit_and_acquire_timeout_hold() {
    let (mine, other) = (Stage::open().await, Stage::open().await);
    let client =
        build(limited(1).max_waiters_per_origin(1).acquire_timeout(Duration::from_secs(100)));
    let first = fetch(&client, &mine.url("/"));
    let mut peer = mine.accept().await;
    peer.request().await;
    let patient = get(&client, &other.url("/"));
    waits(&client, &other.origin()).await;
    let error = client.get(other.url("/")).send().await.expect_err("one may wait");
    assert!(error.is_too_many_waiters(), "{error}");
    assert_eq!(error.stage(), At::Wait);

    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(200)).await;
    tokio::time::resume();
    let error = done(patient).await.expect_err("too long");
    assert!(error.is_acquire_timeout() && !error.is_connect(), "{error}");
    assert_eq!(error.stage(), At::Wait);
    peer.write(ok("")).await;
    done(first).await.expect("a body");
    // Nobody waits any more, so nothing was closed for anybody.
    assert_eq!(of(&client, &mine.origin()).idle, 1);
}

#[tokio::test]
async fn failed_dial_frees_its_room() {
    let nobody = RefusedPort::new();
    let server = Server::saying("here");
    let client = build(limited(1));
    for _ in 0..3 {
        let refused = client.get(format!("http://{}/", nobody.address())).send();
        assert!(within("an error", refused).await.expect_err("refused").is_connect());
        assert_eq!(within("a body", exchange(&client, &server.url("/"))).await, "here");
    }
}

#[tokio::test]
async fn retried_request_finds_room() {
    let (mine, other) = (Stage::open().await, Stage::open().await);
    let client = build(limited(2));
    let mut peers = Vec::new();
    for stage in [&mine, &other] {
        let fetched = fetch(&client, &stage.url("/"));
        let mut peer = stage.accept().await;
        peer.serve("").await;
        done(fetched).await.expect("a body");
        peers.push(peer);
    }
    // The server closes the connection as the request is on its way.
    let again = get(&client, &mine.url("/"));
    let mut stale = peers.remove(0);
    stale.request().await;
    stale.close();
    let mut fresh = mine.accept().await;
    fresh.serve("").await;
    assert_eq!(done(again).await.expect("sent again").connection().attempts(), 2);
    assert_eq!(of(&client, &other.origin()).idle, 1, "its room was enough");
    assert_eq!(open(&client), 2);
}

#[tokio::test]
async fn waiting_requests_end_with_the_client() {
    let (mine, other) = (Stage::open().await, Stage::open().await);
    let client = build(limited(1));
    let _first = get(&client, &mine.url("/"));
    let mut peer = mine.accept().await;
    peer.request().await;
    let waiting = get(&client, &other.url("/"));
    waits(&client, &other.origin()).await;
    drop(client);
    let error = done(waiting).await.expect_err("the client is gone");
    assert_eq!(error.stage(), At::Wait);
}

#[test]
fn a_limit_of_zero_is_refused() {
    let error = limited(0).build().expect_err("nothing could be sent");
    assert!(error.is_invalid() && error.to_string().contains("max_connections is 0"), "{error}");
}

/// How many streams there are, counted from before connect(2) to after close(2).
#[derive(Debug, Default)]
struct Gauge {
    now: AtomicUsize,
    most: AtomicUsize,
}

struct Counted {
    stream: Option<TcpStream>,
    gauge: Arc<Gauge>,
}

impl Counted {
    async fn connect(to: Destination, gauge: Arc<Gauge>) -> std::io::Result<Self> {
        let now = gauge.now.fetch_add(1, Ordering::SeqCst) + 1;
        gauge.most.fetch_max(now, Ordering::SeqCst);
        let mut counted = Self { stream: None, gauge };
        counted.stream = Some(TcpStream::connect((to.host(), to.port())).await?);
        Ok(counted)
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(self.get_mut().stream.as_mut().expect("connected"))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // A close that takes its time: whoever gave the room away before it is found out.
        std::thread::sleep(Duration::from_micros(200));
        drop(self.stream.take());
        self.gauge.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        self.stream().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        self.stream().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

const LIMIT: u32 = 6;
const TASKS: u64 = 40;

/// Request after request to one origin after the other, and every tenth is dropped after some
/// polls.
async fn keep_asking(client: Client, urls: Arc<[String]>, seed: u64, end: Instant) -> [u64; 2] {
    let mut fates = [0; 2];
    for round in 0.. {
        if Instant::now() >= end {
            break;
        }
        let die = (seed * 7919 + round).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
        let request = client.get(&urls[die as usize % urls.len()]);
        let mut whole = Box::pin(async { request.send().await?.text().await });
        if die.is_multiple_of(10) {
            let mut polls = die / 10 % 8;
            poll_fn(|cx| {
                polls = polls.saturating_sub(1);
                if polls == 0 || whole.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
            fates[1] += 1;
        } else {
            within("a body", whole).await.expect("nobody closes but in agreement");
            fates[0] += 1;
        }
    }
    fates
}

/// The client's sockets to these ports that the kernel calls established or half-closed.
fn kernel_counts(servers: &[Server]) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let remotes: Vec<_> =
        servers.iter().map(|server| format!("0100007F:{:04X}", server.port())).collect();
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| remotes.iter().any(|remote| remote == fields[2]))
        .filter(|fields| ["01", "08"].contains(&fields[3]))
        .count()
}

/// The storm loses no room.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn storm_over_origins_keeps_the_limit() {
    let answer = |request: &keepwarm_testkit::scripted::Request| match request.target() {
        "/last" => Answer::SendAndClose(CLOSE.into()),
        "/stalled" => Answer::SendAndStall("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx".into()),
        _ => Answer::Send(ok("short")),
    };
    let servers: Vec<Server> = (0..4).map(|_| Server::start(answer)).collect();
    let gauge = Arc::new(Gauge::default());
    let own = Arc::clone(&gauge);
    let connector = service_fn(move |to| Counted::connect(to, Arc::clone(&own)));
    let client = build(limited(LIMIT).connector(connector));
    let targets = ["/", "/", "/", "/last"];
    let urls: Arc<[String]> = targets
        .iter()
        .flat_map(|target| servers.iter().map(move |server| server.url(target)))
        .collect();
    let end = Instant::now() + Duration::from_secs(2);
    let mut tasks = JoinSet::new();
    for seed in 1..=TASKS {
        tasks.spawn(keep_asking(client.clone(), Arc::clone(&urls), seed, end));
    }
    let mut fates = [0; 2];
    within("the last requests", async {
        while let Some(ended) = tasks.join_next().await {
            let [whole, dropped] = ended.expect("no panic");
            fates = [fates[0] + whole, fates[1] + dropped];
        }
    })
    .await;
    let most = gauge.most.load(Ordering::SeqCst);
    assert_eq!(most, LIMIT as usize, "reached, and never exceeded");
    assert!(fates[0] > 0 && fates[1] > 0, "{fates:?}");
    let count = |number: fn(&OriginStats) -> usize| -> usize {
        client.stats().origins.iter().map(number).sum()
    };
    eventually("rest", || count(|origin| origin.active + origin.waiting + origin.dialing) == 0)
        .await;

    // Each place still serves: so many responses at once whose bodies do not end.
    let mut held = Vec::new();
    for number in 0..LIMIT as usize {
        let url = servers[number % servers.len()].url("/stalled");
        held.push(within("a place", client.get(url).send()).await.expect("a head"));
    }
    assert_eq!((count(|origin| origin.active), open(&client)), (LIMIT as usize, LIMIT as usize));
    eventually("the kernel's count", || kernel_counts(&servers) == LIMIT as usize).await;
    drop(held);
    eventually("rest", || count(|origin| origin.active + origin.waiting + origin.dialing) == 0)
        .await;
    for origin in client.stats().origins {
        audit(&origin);
        assert!(origin.closed_for(CloseReason::TotalLimit) > 0, "{origin:?}");
    }
    let idle = count(|origin| origin.idle);
    eventually("the kernel's count", || kernel_counts(&servers) == idle).await;
    assert_eq!(gauge.now.load(Ordering::SeqCst), idle);
}
