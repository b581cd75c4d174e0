//! One measurement: a server child, one client in this process, one row.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

use crate::bare_socket::BareSocket;
use crate::clients::{
    BARE_SOCKET, CLIENTS, Failure, GO, H2_SPAWNED, HyperSpawned, HyperUtil, Keepwarm, Lane,
    Reqwest, Target,
};
use crate::clients_http2::{H2Spawned, HyperHttp2};
use crate::row::Row;
use crate::scenario::{Scenario, Wire};
use crate::{allocations, go, place};

/// A measurement that takes longer is given up: something hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Measures `client` in `scenario`, at `percent` of its usual requests.
pub(crate) fn run(client: &str, scenario: Scenario, percent: usize) -> Result<Row, Failure> {
    give_up_after(LIMIT);
    place::raise_file_limit();
    let (server, target) = Server::start(scenario)?;
    place::pin(&place::client_cores(scenario.threads));
    let cost = if client == GO {
        go::run(&target, scenario, percent)?
    } else {
        runtime(scenario.threads)?.block_on(measure_here(client, &target, scenario, percent))?
    };
    Ok(Row {
        scenario: scenario.name(),
        client: client.to_owned(),
        cpu_us_per_request: cost.cpu_us_per_request,
        requests_per_second: cost.requests_per_second,
        p50_us: cost.p50_us,
        p99_us: cost.p99_us,
        p999_us: cost.p999_us,
        opened: server.stop()?,
        allocations_per_request: cost.allocations_per_request,
    })
}

/// A row without what only the server knows.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Cost {
    cpu_us_per_request: f64,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    allocations_per_request: f64,
}

fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    match threads {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => {
            tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()
        }
    }
}

async fn measure_here(
    client: &str,
    target: &Target,
    scenario: Scenario,
    percent: usize,
) -> Result<Cost, Failure> {
    let count = scenario.shape.concurrency;
    match client {
        "keepwarm" => measure(Keepwarm::lanes(target, count)?, scenario, percent).await,
        "reqwest" => measure(Reqwest::lanes(target, count)?, scenario, percent).await,
        "hyper-util" if scenario.shape.wire == Wire::Tls => {
            measure(HyperUtil::tls_lanes(target, count)?, scenario, percent).await
        }
        "hyper-util" => measure(HyperUtil::lanes(target, count)?, scenario, percent).await,
        "hyper-spawned" if scenario.http2().is_some() => {
            measure(HyperHttp2::lanes(target, count).await?, scenario, percent).await
        }
        H2_SPAWNED if scenario.http2().is_some() => {
            measure(H2Spawned::lanes(target, count).await?, scenario, percent).await
        }
        BARE_SOCKET if scenario.is_one_stream() => {
            measure(BareSocket::lanes(target, count).await?, scenario, percent).await
        }
        "hyper-spawned" => measure(HyperSpawned::lanes(target, count)?, scenario, percent).await,
        _ => Err(format!("no client {client:?}; there are {}", CLIENTS.join(", ")).into()),
    }
}

async fn measure<L: Lane>(
    lanes: Vec<L>,
    scenario: Scenario,
    percent: usize,
) -> Result<Cost, Failure> {
    let warm_up = scenario.warm_up_per_task(percent);
    let (lanes, _) = all_at_once(lanes, scenario.shape.body_bytes, warm_up).await?;

    let requests = scenario.requests_per_task(percent);
    let allocated = allocations::so_far();
    let (cpu, began) = (cpu_time(), Instant::now());
    let (lanes, latencies) = all_at_once(lanes, scenario.shape.body_bytes, requests).await?;
    let (took, cpu) = (began.elapsed(), cpu_time() - cpu);
    // Each task allocates the room for its latencies, and itself: that is not the client's.
    let own = 2 * scenario.shape.concurrency as u64;
    let allocated = (allocations::so_far() - allocated).saturating_sub(own);
    drop(lanes);

    let mut histogram = Histogram::<u64>::new(3)?;
    for latency_ns in latencies.into_iter().flatten() {
        histogram.record(u64::from(latency_ns))?;
    }
    let percentile_us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    let total = histogram.len() as f64;
    Ok(Cost {
        cpu_us_per_request: cpu.as_secs_f64() * 1e6 / total,
        requests_per_second: total / took.as_secs_f64(),
        p50_us: percentile_us(0.5),
        p99_us: percentile_us(0.99),
        p999_us: percentile_us(0.999),
        allocations_per_request: allocated as f64 / total,
    })
}

/// A task for each lane, `requests` one after the other in each; what each of them took, in ns.
async fn all_at_once<L: Lane>(
    lanes: Vec<L>,
    body_bytes: usize,
    requests: usize,
) -> Result<(Vec<L>, Vec<Vec<u32>>), Failure> {
    let tasks: Vec<_> = lanes
        .into_iter()
        .map(|mut lane| {
            tokio::spawn(async move {
                let mut latencies_ns = Vec::with_capacity(requests);
                let mut began = Instant::now();
                for _ in 0..requests {
                    let length = lane.get().await?;
                    if length != body_bytes {
                        return Err(format!("a body of {length} bytes, not {body_bytes}").into());
                    }
                    let ended = Instant::now();
                    let took_ns = (ended - began).as_nanos();
                    // Beyond four seconds it is four seconds.
                    latencies_ns.push(u32::try_from(took_ns).unwrap_or(u32::MAX));
                    began = ended;
                }
                Ok::<_, Failure>((lane, latencies_ns))
            })
        })
        .collect();
    let (mut lanes, mut latencies) = (Vec::new(), Vec::new());
    for task in tasks {
        let (lane, latencies_ns) = task.await??;
        lanes.push(lane);
        latencies.push(latencies_ns);
    }
    Ok((lanes, latencies))
}

/// User and system time of this process, all threads.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), nanoseconds)
}

/// The children of this process end with it: their standard input does.
fn give_up_after(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        eprintln!("given up after {limit:?}");
        std::process::exit(1);
    });
}

/// The server's process. It ends when its standard input does, that is, when this is dropped.
struct Server {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(scenario: Scenario) -> Result<(Self, Target), Failure> {
        let wire = scenario.shape.wire;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["server", &scenario.shape.body_bytes.to_string()])
            .args(match wire {
                Wire::Plain => None,
                Wire::Tls => Some("tls"),
                Wire::Featured => Some("gzip"),
                Wire::Http2(_) => Some("h2"),
                Wire::Nghttpd => Some("nghttpd"),
            })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().ok_or("the server has no stdout")?);
        // From here on it ends with this.
        let mut server = Self { child, stdin, stdout };
        let target = server.target(scenario)?;
        Ok((server, target))
    }

    /// Reads its first words: its port, and its authority if it has one.
    fn target(&mut self, scenario: Scenario) -> Result<Target, Failure> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        let port: u16 = line.trim().parse().map_err(|_| format!("the server said {line:?}"))?;
        if scenario.shape.wire != Wire::Tls {
            return Ok(Target {
                url: format!("http://127.0.0.1:{port}/data"),
                authority_pem: None,
                featured: scenario.shape.wire == Wire::Featured,
                http2: scenario.http2(),
            });
        }
        let mut pem = String::new();
        while !pem.contains("END CERTIFICATE") {
            if self.stdout.read_line(&mut pem)? == 0 {
                return Err("the server has no certificate".into());
            }
        }
        Ok(Target {
            url: format!("https://127.0.0.1:{port}/data"),
            authority_pem: Some(pem),
            featured: false,
            http2: None,
        })
    }

    /// Ends it; the number of connections that it accepted, if it counts them.
    fn stop(mut self) -> Result<Option<u64>, Failure> {
        drop(self.stdin.take());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest)?;
        let said = rest.trim();
        if said.is_empty() {
            return Ok(None);
        }
        Ok(said.parse().map(Some).map_err(|_| format!("the server said {rest:?}"))?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // A server that has ended already cannot be killed, and need not be.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
