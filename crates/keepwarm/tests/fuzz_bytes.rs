//! Mutated responses, served over real sockets through the whole client, with reuse. Whatever bytes
//! come, the client does not panic, does not outlive its timeout, and gives no request the marker
//! of another one's response.
//!
//! `cargo test -p keepwarm --test fuzz_bytes`: thousands of responses, the same in every run.
//! Other ones, and more of them: `FUZZ_SEED=7 FUZZ_CASES=2000 cargo test -p keepwarm --test
//! fuzz_bytes`. A failure prints its seed and, shrunk, the bytes of each response.
//!
//! A mutated response goes out in one segment. Strays that arrive after the client has sent its
//! next request cannot be told from the answer to it, by no client; strays that come with a
//! response, or before the next request, can.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keepwarm::Client;
use keepwarm_testkit::scripted::{eventually, within};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Of one request. A response that a mutation made longer than it is ends by this.
const TIMEOUT: Duration = Duration::from_millis(80);
/// Requests of one case: several for each connection, and each behind its own response.
const REQUESTS: usize = 6;

/// Valid responses. `{M}` becomes the marker of the request that they answer.
const VALID: [&str; 14] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{M}",
    "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: keep-alive\r\n\r\n{M}",
    "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\n{M}",
    "HTTP/1.0 200 OK\r\nContent-Length: 8\r\nConnection: keep-alive\r\n\r\n{M}",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{M}\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8;a=b\r\n{M}\r\n0\r\nX-Check: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n8\r\n{M}\r\n0\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{M}",
    "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{M}",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nETag: \"{M}\"\r\n\r\n",
    "HTTP/1.1 404 Not Found\r\nX: {M}\r\nContent-Length: 16\r\n\r\n{M}{M}",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: y\r\nX: z\r\nContent-Length: 8\r\n\r\n{M}",
];

/// Pieces that framing is made of, to be put where they do not belong.
const PIECES: [&str; 14] = [
    "\r\n",
    "\n",
    "\r\n\r\n",
    "0\r\n\r\n",
    "8\r\n",
    "ffffffffffffffff",
    "Content-Length: 8\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{M}",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "\0",
    ": ",
];

/// Eight bytes for each exchange of a case, so far apart that no mutation makes one of another.
fn marker(exchange: usize) -> String {
    ["gggggggg", "hhhhhhhh", "iiiiiiii", "jjjjjjjj", "kkkkkkkk", "llllllll"][exchange].to_owned()
}

#[derive(Clone, Debug)]
enum Mutation {
    /// One bit of one byte.
    Flip(usize, u8),
    /// Bytes are missing, from a place on.
    Cut(usize, usize),
    /// A piece too many.
    Insert(usize, usize),
    /// A part comes twice.
    Duplicate(usize, usize),
    /// The beginning of this one, and the end of another one.
    Splice(usize, usize, usize),
}

/// One response as it goes over the wire.
#[derive(Clone, Debug)]
struct Served {
    valid: usize,
    mutations: Vec<Mutation>,
    /// Where it is cut in two segments, if at all. Only where nothing was changed.
    pause: Option<usize>,
    closes: bool,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<usize>;
    prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        (at(), 1..12usize).prop_map(|(at, count)| Mutation::Cut(at, count)),
        (at(), 0..PIECES.len()).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        (at(), 1..40usize).prop_map(|(at, count)| Mutation::Duplicate(at, count)),
        (at(), at(), 0..VALID.len())
            .prop_map(|(at, from, other)| Mutation::Splice(at, from, other)),
    ]
}

fn served() -> impl Strategy<Value = Served> {
    // Half of them are untouched: reuse needs exchanges that end well.
    let mutations = prop_oneof![Just(vec![]), prop::collection::vec(mutation(), 1..4)];
    let pause = prop::option::weighted(0.3, any::<usize>());
    (0..VALID.len(), mutations, pause, prop::bool::weighted(0.1))
        .prop_map(|(valid, mutations, pause, closes)| Served { valid, mutations, pause, closes })
}

impl Served {
    fn bytes(&self, own: &str) -> Vec<u8> {
        let spell = |text: &str| text.replace("{M}", own).into_bytes();
        let mut bytes = spell(VALID[self.valid]);
        for mutation in &self.mutations {
            let place = |at: usize| at % (bytes.len() + 1);
            match *mutation {
                Mutation::Flip(..) if bytes.is_empty() => {}
                Mutation::Flip(at, bit) => {
                    let at = at % bytes.len();
                    bytes[at] ^= 1 << bit;
                }
                Mutation::Cut(at, count) => {
                    let start = place(at);
                    let end = bytes.len().min(start + count);
                    bytes.drain(start..end);
                }
                Mutation::Insert(at, piece) => {
                    let at = place(at);
                    bytes.splice(at..at, spell(PIECES[piece]));
                }
                Mutation::Duplicate(at, count) => {
                    let start = place(at);
                    let end = bytes.len().min(start + count);
                    let part = bytes[start..end].to_vec();
                    bytes.splice(end..end, part);
                }
                Mutation::Splice(at, from, other) => {
                    let start = place(at);
                    let other = spell(VALID[other]);
                    bytes.truncate(start);
                    bytes.extend_from_slice(&other[from % (other.len() + 1)..]);
                }
            }
        }
        bytes
    }
}

/// The results of one run of a case.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    replies: usize,
    failures: usize,
    timeouts: usize,
    reused: u64,
}

/// Serves `plan` in the order of requests, whatever connection they come by; then it is honest.
async fn serve(listener: TcpListener, plan: Arc<Mutex<VecDeque<Served>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        connections.spawn(converse(stream, Arc::clone(&plan)));
    }
}

async fn converse(mut stream: TcpStream, plan: Arc<Mutex<VecDeque<Served>>>) -> Option<()> {
    let mut unread = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut unread).await.ok()? == 0 {
                return None;
            }
        };
        let head = String::from_utf8_lossy(&unread[..end]).into_owned();
        unread.drain(..end);
        let own = head.split(' ').nth(1)?.trim_start_matches('/').to_owned();
        let next = plan.lock().expect("no holder panics").pop_front();
        let Some(served) = next else {
            stream.write_all(VALID[0].replace("{M}", &own).as_bytes()).await.ok()?;
            continue;
        };
        let bytes = served.bytes(&own);
        let (first, second) = bytes.split_at(served.pause.unwrap_or(0) % (bytes.len() + 1));
        stream.write_all(first).await.ok()?;
        if !first.is_empty() {
            tokio::task::yield_now().await;
        }
        stream.write_all(second).await.ok()?;
        if served.closes {
            return None;
        }
    }
}

/// Every request in turn on one client, and an honest one at the end.
async fn run(case: &[Served]) -> Result<Tally, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("a bound address");
    let plan = Arc::new(Mutex::new(case.iter().cloned().collect()));
    let server = tokio::spawn(serve(listener, plan));
    let client = Client::builder().timeout(TIMEOUT).build().expect("good settings");
    let markers: Vec<_> = (0..case.len()).map(marker).collect();
    let mut tally = Tally::default();
    for (exchange, own) in markers.iter().enumerate() {
        let began = Instant::now();
        let fetched = async {
            let response = client.get(format!("http://{address}/{own}")).send().await?;
            let head = format!("{:?}", response.headers());
            Ok::<_, keepwarm::Error>(head + &response.text().await?)
        };
        let outcome = within("an exchange", fetched).await;
        if began.elapsed() > TIMEOUT + Duration::from_secs(15) {
            return Err(format!("exchange {exchange} outlived its timeout: {:?}", began.elapsed()));
        }
        match outcome {
            Ok(text) => {
                tally.replies += 1;
                if let Some(other) = markers.iter().find(|m| *m != own && text.contains(*m)) {
                    return Err(format!("exchange {exchange}, {own}, was given {other}: {text:?}"));
                }
            }
            Err(error) if error.is_timeout() => tally.timeouts += 1,
            Err(_) => tally.failures += 1,
        }
    }
    let stats = || client.stats().origins.pop().expect("it was asked");
    eventually("the client's rest", || {
        let stats = stats();
        stats.active + stats.waiting + stats.dialing == 0
    })
    .await;
    let stats = stats();
    tally.reused = stats.reused;
    server.abort();
    if stats.opened == stats.idle as u64 + stats.closed() {
        Ok(tally)
    } else {
        Err(format!("the sums do not hold: {stats:#?}"))
    }
}

fn number(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |text| text.parse().expect(variable))
}

#[test]
fn mutated_response_reaches_no_other_request() {
    let seed = u64::from(number("FUZZ_SEED", 9112));
    let cases = number("FUZZ_CASES", 30);
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    // Cases of a batch run at once: most of the time is spent waiting for timeouts.
    let batch = prop::collection::vec(prop::collection::vec(served(), REQUESTS), 1..=64usize);
    let total = Mutex::new(Tally::default());
    let result = TestRunner::new(config).run(&batch, |batch| {
        let results = runtime.block_on(async {
            let mut runs = JoinSet::new();
            for case in batch {
                runs.spawn(async move { run(&case).await });
            }
            runs.join_all().await
        });
        let mut total = total.lock().expect("no holder panics");
        for result in results {
            let tally = result.map_err(TestCaseError::fail)?;
            total.replies += tally.replies;
            total.failures += tally.failures;
            total.timeouts += tally.timeouts;
            total.reused += tally.reused;
        }
        Ok(())
    });
    if let Err(error) = result {
        panic!("FUZZ_SEED={seed}: {error}");
    }
    let total = total.into_inner().expect("no holder panics");
    println!("{total:?}");
    // The generator reaches what it is meant to reach. On a busy machine a good answer is late
    // often.
    let asked = total.replies + total.failures + total.timeouts;
    assert!(
        total.replies > asked / 10 && total.failures > asked / 100 && total.timeouts > asked / 100,
        "{total:?}"
    );
    assert!(total.reused as usize > total.replies / 10, "{total:?}");
    // Whoever is left over on the runtime ends with it.
    let tasks = runtime.metrics();
    runtime.block_on(eventually("the last task", || tasks.num_alive_tasks() == 0));
}
