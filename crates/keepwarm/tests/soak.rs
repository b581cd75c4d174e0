//! Mixed traffic for a long time, and nothing grows: not the memory, not the tasks, not the
//! sockets; and the kernel counts the sockets that `stats()` counts.
//!
//! A few seconds of it run always. Minutes, by an environment variable, one if it is not there:
//!
//! ```text
//! KEEPWARM_SOAK_MINUTES=5 cargo test --release -p keepwarm --test soak -- --ignored --nocapture
//! ```
//!
//! Memory is what is allocated and not freed, counted to the byte; what the process has resident is
//! told beside it, but an allocator with an arena for each thread keeps more or less of it by
//! chance.
//!
//! Alone in its process, since it measures the process. Between two cycles of traffic nothing is in
//! use, and the kernel's count and the client's must be equal to the socket. Within a cycle they
//! are compared by bounds: what opened, closed or dialled between two looks may be in one and not
//! yet in the other.

#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]
#![expect(clippy::print_stdout, reason = "what a soak came to is what it is run for")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use keepwarm::{Client, OriginStats};
use keepwarm_testkit::closing::{ClosingServer, Habit};
use keepwarm_testkit::dice::Dice;
use keepwarm_testkit::http_server::RefusedPort;
use keepwarm_testkit::kernel::{open_files, open_sockets_to, resident_kib};
use keepwarm_testkit::scripted::{Answer, Server, eventually, ok, within};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Requests at once, the connections that each origin allows them, and the threads they run on.
const LANES: usize = 32;
const CAP: u32 = 10;
const THREADS: usize = 4;

/// The most that memory may differ by, between the first third and the last one, when nothing
/// leaks: buffers and tables that have grown to their size later than others.
const SLACK_KIB: usize = 64;

/// Bytes that are allocated and not freed, by client, servers and runtime.
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.fetch_add(size, Ordering::Relaxed);
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn answer(target: &str) -> Answer {
    match target {
        "/chunked" => Answer::Send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into(),
        ),
        "/big" => Answer::Send(ok(&"x".repeat(1 << 20))),
        "/stalled" => Answer::SendAndStall("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx".into()),
        "/silent" => Answer::SendAndStall(String::new()),
        "/last" => Answer::SendAndClose(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx".into(),
        ),
        "/truncated" => {
            Answer::SendAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".into())
        }
        "/garbage" => Answer::SendAndClose("no HTTP at all\r\n\r\n".into()),
        "/stray" => Answer::Send(format!("{}{}", ok("x"), ok("stray"))),
        _ => Answer::Send(ok("short")),
    }
}

#[derive(Debug, Default)]
struct Fates {
    whole: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    dropped: AtomicU64,
    refused: AtomicU64,
}

struct World {
    client: Client,
    servers: [Server; 2],
    closing: ClosingServer,
    refused: RefusedPort,
    fates: Fates,
}

impl World {
    fn new() -> Self {
        let client = Client::builder()
            .max_connections_per_origin(CAP)
            .idle_timeout(Duration::from_millis(400))
            .build();
        Self {
            client: client.expect("good settings"),
            servers: [(); 2].map(|()| Server::start(|request| answer(request.target()))),
            closing: ClosingServer::start(Habit::AtRandom, 7),
            refused: RefusedPort::new(),
            fates: Fates::default(),
        }
    }

    /// One request of any kind, to any origin.
    async fn ask(&self, dice: &mut Dice) {
        const TARGETS: [&str; 12] = [
            "/",
            "/",
            "/",
            "/",
            "/chunked",
            "/big",
            "/big",
            "/last",
            "/truncated",
            "/garbage",
            "/stray",
            "/stalled",
        ];
        let server = &self.servers[dice.roll(2) as usize];
        let target = TARGETS[dice.roll(TARGETS.len() as u64) as usize];
        let short = Duration::from_millis(5);
        let sent = match dice.roll(20) {
            0 => self.client.get(format!("http://{}/", self.refused.address())),
            1..4 => self.client.get(format!("{}/closing", self.closing.origin())),
            4 | 5 => self.client.post(server.url("/")).body(vec![7; 64 << 10]),
            6 => self.client.get(server.url("/silent")).timeout(short),
            _ if target == "/stalled" => self.client.get(server.url(target)).timeout(short),
            _ => self.client.get(server.url(target)),
        };
        // Neither all of the body nor nothing of it.
        let frames = if dice.roll(8) == 0 { dice.roll(3) } else { u64::MAX };
        let whole = async move {
            let mut response = sent.send().await?;
            for _ in 0..frames {
                let Some(frame) = response.body_mut().frame().await else { break };
                frame?;
            }
            Ok::<_, keepwarm::Error>(())
        };
        let ended = if dice.roll(10) == 0 {
            let patience = Duration::from_micros(dice.roll(4_000));
            tokio::time::timeout(patience, whole).await
        } else {
            Ok(within("a request", whole).await)
        };
        let fate = match ended {
            Err(_) => &self.fates.dropped,
            Ok(Ok(())) => &self.fates.whole,
            Ok(Err(error)) if error.is_timeout() => &self.fates.timed_out,
            Ok(Err(error)) if error.is_connect() => &self.fates.refused,
            Ok(Err(_)) => &self.fates.failed,
        };
        fate.fetch_add(1, Ordering::Relaxed);
    }

    /// Ports, and what the client counts there. One that was not spoken to yet is left out.
    fn origins(&self) -> Vec<(u16, OriginStats)> {
        let stats = self.client.stats();
        let closing = (self.closing.port(), self.closing.origin());
        self.servers
            .iter()
            .map(|server| (server.port(), server.origin()))
            .chain([closing])
            .filter_map(|(port, name)| Some((port, stats.origin(&name)?.clone())))
            .collect()
    }

    /// Nothing is in use, and the kernel has exactly the sockets that are idle.
    fn is_at_rest(&self) -> bool {
        let busy = |stats: &OriginStats| stats.active + stats.waiting + stats.dialing;
        let all = self.client.stats().origins;
        all.iter().all(|stats| busy(stats) == 0)
            && self.origins().iter().all(|(port, stats)| open_sockets_to(*port) == stats.idle)
    }
}

/// How many sockets each origin has, by the client and by the kernel, while they come and go.
struct Bounds {
    /// The client's statistics at the last two looks. The client counts a close before the kernel
    /// closes the socket; between two looks there is time for that.
    earlier: [Vec<(u16, OriginStats)>; 2],
}

impl Bounds {
    fn look(&mut self, world: &World) {
        let before = world.origins();
        let kernel: Vec<usize> = before.iter().map(|(port, _)| open_sockets_to(*port)).collect();
        let after = world.origins();
        for ((port, before), kernel) in before.iter().zip(kernel) {
            let find = |all: &[(u16, OriginStats)]| {
                all.iter().find(|(other, _)| other == port).map(|(_, stats)| stats.clone())
            };
            let after = find(&after).expect("an origin is not forgotten");
            let Some(earlier) = find(&self.earlier[0]) else { continue };
            for stats in [before, &after] {
                let open = (stats.active + stats.idle) as u64;
                assert_eq!(stats.opened, open + stats.closed(), "{stats:?}");
                assert!(open + stats.dialing as u64 <= u64::from(CAP), "{stats:?}");
            }
            let dialled = (before.dialing as u64).max(after.dialing as u64);
            let most = (before.active + before.idle) as u64
                + (after.opened - before.opened)
                + dialled
                + (after.closed() - earlier.closed())
                + THREADS as u64;
            assert!(kernel as u64 <= most, "{kernel} sockets: {before:?} {after:?}");
            // A socket that was reset is gone before the client can know.
            if *port != world.closing.port() {
                let least = (before.active + before.idle) as u64;
                let least = least.saturating_sub(after.closed() - before.closed());
                assert!(kernel as u64 >= least, "{kernel} sockets: {before:?} {after:?}");
            }
        }
        self.earlier.swap(0, 1);
        self.earlier[1] = after;
    }
}

/// Traffic for so long on all lanes.
async fn cycle(world: &Arc<World>, dice: &mut Dice, length: Duration) {
    let end = Instant::now() + length;
    let mut lanes = JoinSet::new();
    for _ in 0..LANES {
        let (world, mut dice) = (Arc::clone(world), dice.split());
        lanes.spawn(async move {
            while Instant::now() < end {
                world.ask(&mut dice).await;
            }
        });
    }
    let mut bounds = Bounds { earlier: [Vec::new(), Vec::new()] };
    let mut looks = tokio::time::interval(Duration::from_millis(25));
    while Instant::now() < end {
        looks.tick().await;
        bounds.look(world);
    }
    within("the last requests", lanes.join_all()).await;
}

/// The tasks and files of a process at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holdings {
    tasks: usize,
    files: usize,
}

impl Holdings {
    fn now() -> Self {
        Self { tasks: Handle::current().metrics().num_alive_tasks(), files: open_files() }
    }
}

async fn soak(length: Duration) {
    let world = Arc::new(World::new());
    let mut dice = Dice::new(11);
    let end = Instant::now() + length;
    let cycle_length = Duration::from_millis(700);
    let mut allocated = Vec::new();
    let mut holdings: Option<Holdings> = None;
    while Instant::now() < end {
        cycle(&world, &mut dice, cycle_length).await;
        eventually("rest, with the kernel's count and the client's equal", || world.is_at_rest())
            .await;
        // Some by the server's hand, some by ours, and some by their age.
        match allocated.len() % 3 {
            0 => {
                for server in &world.servers {
                    let name = server.origin();
                    let opened = world.client.stats().origin(&name).map_or(0, |own| own.opened);
                    server.close_idle(opened).await;
                }
            }
            1 => world.client.close_idle(),
            _ => {}
        }
        let none_is_open =
            || world.is_at_rest() && world.origins().iter().all(|(_, stats)| stats.idle == 0);
        eventually("the end of every connection", none_is_open).await;
        let first = *holdings.get_or_insert_with(Holdings::now);
        eventually("as many tasks and files as at first", || Holdings::now() == first).await;
        allocated.push(ALLOCATED.load(Ordering::Relaxed) >> 10);
    }
    tell(&world, &allocated, holdings);
    flat(&allocated);
    reached(&world.fates);
}

fn tell(world: &World, allocated: &[usize], holdings: Option<Holdings>) {
    let opened: u64 = world.client.stats().origins.iter().map(|own| own.opened).sum();
    println!("{:?}, {opened} opened, at rest {holdings:?}", world.fates);
    let third = allocated.len() / 3;
    println!(
        "allocated after each third: {:?} KiB; resident: {} KiB",
        [allocated[third], allocated[2 * third], allocated[allocated.len() - 1]],
        resident_kib(),
    );
}

/// The highest of the last third is no higher than the highest of the first one.
fn flat(allocated: &[usize]) {
    let third = allocated.len().div_ceil(3);
    let highest = |part: &[usize]| part.iter().copied().max().unwrap_or(0);
    let first = highest(&allocated[..third]);
    let last = highest(&allocated[allocated.len() - third..]);
    assert!(last <= first + SLACK_KIB, "memory grew from {first} to {last} KiB: {allocated:?}");
}

/// The traffic was as mixed as it is meant to be.
fn reached(fates: &Fates) {
    let Fates { whole, failed, timed_out, dropped, refused } = fates;
    for fate in [whole, failed, timed_out, dropped, refused] {
        assert!(fate.load(Ordering::Relaxed) > 0, "{fates:?}");
    }
}

/// Memory, tasks and sockets are as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn seconds_of_traffic_leak_nothing() {
    soak(Duration::from_secs(6)).await;
}

/// Memory, tasks and sockets are as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "takes minutes"]
async fn minutes_of_traffic_leak_nothing() {
    let minutes = std::env::var("KEEPWARM_SOAK_MINUTES").map_or(1.0, |minutes| {
        minutes.parse().expect("KEEPWARM_SOAK_MINUTES is a number of minutes")
    });
    soak(Duration::from_secs_f64(60.0 * minutes)).await;
}
