//! The cost of a coordinator: simulated workers that speak the protocol at a real nats-server, and the
//! real `keepwarm-fleet run`, whose processor time and memory are read from `/proc`.
//!
//! Owns the workers, which put no load on any target: each sends a frame a second, and then the record of
//! a load of that many seconds. Run by `just fleet-cost`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // A measurement ends at its first failed step.
#![allow(dead_code, unreachable_pub)] // The modules of the program are shared whole.

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/exit.rs"]
mod exit;
#[path = "../src/keys.rs"]
mod keys;
#[path = "../src/packed.rs"]
mod packed;
#[path = "../src/protocol.rs"]
mod protocol;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use futures_util::StreamExt;
use keepwarm_record::load::{LoadRecord, Sketched, SliceRecord};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, interval, sleep};

use crate::clock::{Offset, ROUND_TRIPS, RoundTrip, monotonic_ns};
use crate::protocol::{
    Answer, Final, Frame, PROTOCOL, Presence, RecordPlace, RunPlan, SignedPlan, Start, WorkerState,
    encode,
};

/// Clock ticks of `/proc/PID/stat` in a second (proc(5)); 100 on every Linux of today.
const TICKS: f64 = 100.0;

const RECORD: &str = include_str!("../../keepwarm-record/records/load.json");

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().and_then(|one| one.parse().ok()).unwrap_or(60);
    let counts: Vec<u64> = arguments.filter_map(|one| one.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![10, 100, 1000] } else { counts };
    println!("load of {seconds} s; CPU of the coordinator alone, in seconds\n");
    println!("| workers | results | joining | running, of a core | merging | peak memory |");
    println!("|---|---|---|---|---|---|");
    for count in counts {
        measure(count, seconds).await;
    }
}

/// Runs one fleet, and prints its row.
async fn measure(count: u64, seconds: u64) {
    let directory =
        std::env::temp_dir().join(format!("keepwarm-simulated-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let (_server, url) = server(&directory).await;
    let version = version().await;
    let sent = Arc::new(AtomicU64::new(0));
    let bytes = Arc::new(AtomicU64::new(0));
    for number in 0..count {
        let worker = Simulated {
            name: format!("w{number:04}"),
            version: version.clone(),
            seconds,
            sent: Arc::clone(&sent),
            bytes: Arc::clone(&bytes),
        };
        let patience = Some(Duration::from_secs(120));
        let options = async_nats::ConnectOptions::new().request_timeout(patience);
        let client = options.connect(&url).await.unwrap();
        tokio::spawn(worker.serve(client));
    }
    let mut run = Command::new(fleet());
    run.args(["run", "--nats", &url, "--workers", &count.to_string(), "--output"]);
    run.arg(directory.join("run.json")).args(["--", "-z", &format!("{seconds}s"), "-c"]);
    run.arg(count.to_string()).arg("http://127.0.0.1:9/").kill_on_drop(true);
    let mut run = run.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = run.id().unwrap();
    let mut lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let mut said = String::new();
    let mut until = async |words: &str| {
        while let Some(line) = lines.next_line().await.unwrap() {
            said += &(line.clone() + "\n");
            if line.contains(words) {
                return;
            }
        }
        panic!("the coordinator ended: {said}");
    };
    until("workers joined").await;
    let joined = Usage::of(pid).unwrap();
    until("all workers are running").await;
    let (running, begun) = (Usage::of(pid).unwrap(), Instant::now());
    let (mut last, mut ended) = (Usage::default(), None);
    while run.try_wait().unwrap().is_none() {
        last = Usage::of(pid).unwrap_or(last);
        if ended.is_none() && sent.load(Ordering::Relaxed) == count {
            ended = Some((last, begun.elapsed()));
        }
        sleep(Duration::from_millis(20)).await;
    }
    let (ended, elapsed) = ended.unwrap();
    let status = run.wait().await.unwrap();
    let merged: LoadRecord =
        serde_json::from_slice(&std::fs::read(directory.join("run.json")).unwrap()).unwrap();
    assert_eq!(merged.merged.unwrap().parts.len() as u64, count, "{status}");
    let share = (ended.cpu_s - running.cpu_s) / elapsed.as_secs_f64();
    println!(
        "| {count} | {:.1} MB | {:.2} s | {:.1} % | {:.2} s | {:.0} MB |",
        bytes.load(Ordering::Relaxed) as f64 / 1e6,
        joined.cpu_s,
        share * 100.0,
        last.cpu_s - ended.cpu_s,
        last.peak_kb as f64 / 1024.0
    );
    let _ = std::fs::remove_dir_all(&directory);
}

/// Processor time and peak memory of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    cpu_s: f64,
    peak_kb: u64,
}

impl Usage {
    /// Reads `/proc`; `None` once the process has ended.
    fn of(pid: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().filter_map(|one| one.parse::<u64>().ok()).sum();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let peak_kb = peak.trim().trim_end_matches(" kB").parse().ok()?;
        Some(Self { cpu_s: ticks as f64 / TICKS, peak_kb })
    }
}

/// Returns the program beside the folder of this example.
fn fleet() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().unwrap().parent().unwrap().join("keepwarm-fleet")
}

async fn version() -> String {
    let output = Command::new(fleet().with_file_name("keepwarm")).arg("--version").output().await;
    String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
}

/// Starts a nats-server: that of KEEPWARM_NATS_SERVER, or the one in PATH.
async fn server(directory: &Path) -> (Child, String) {
    let program = std::env::var("KEEPWARM_NATS_SERVER").unwrap_or("nats-server".to_owned());
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", "-1", "--jetstream", "--store_dir"]);
    command.arg(directory.join("js")).arg("--ports_file_dir").arg(directory).kill_on_drop(true);
    let server = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ports = directory.join(format!("nats-server_{}.ports", server.id().unwrap()));
    loop {
        let text = std::fs::read_to_string(&ports).unwrap_or_default();
        if let Ok(ports) = serde_json::from_str::<serde_json::Value>(&text) {
            return (server, ports["nats"][0].as_str().unwrap().to_owned());
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// A worker that puts no load on anything.
struct Simulated {
    name: String,
    version: String,
    seconds: u64,
    sent: Arc<AtomicU64>,
    bytes: Arc<AtomicU64>,
}

impl Simulated {
    async fn serve(self, client: async_nats::Client) {
        let mut looks = client.subscribe(protocol::LOOK).await.unwrap();
        let mut calls = client.subscribe(protocol::call(&self.name)).await.unwrap();
        loop {
            tokio::select! {
                Some(look) = looks.next() => {
                    client.publish(look.reply.unwrap(), encode(&self.presence())).await.unwrap();
                }
                Some(call) = calls.next() => {
                    let run = String::from_utf8(call.payload.to_vec()).unwrap();
                    client.publish(call.reply.unwrap(), encode(&Answer::Joining)).await.unwrap();
                    return self.carry_out(&client, &run).await;
                }
            }
        }
    }

    fn presence(&self) -> Presence {
        Presence {
            worker: self.name.clone(),
            version: self.version.clone(),
            protocol: PROTOCOL,
            cores: 2,
            host: "simulated".to_owned(),
            allowed: vec!["127.0.0.0/8:*".to_owned()],
            max_rate: 1e6,
            max_connections: 1000,
            max_duration_s: 3600.0,
            busy: None,
        }
    }

    async fn carry_out(&self, client: &async_nats::Client, run: &str) {
        let mut jetstream = jetstream::new(client.clone());
        // All of them and their server share this machine.
        jetstream.set_timeout(Duration::from_secs(120));
        let bucket = jetstream.get_key_value(protocol::bucket(run)).await.unwrap();
        let signed: SignedPlan =
            serde_json::from_slice(&bucket.get("plan").await.unwrap().unwrap()).unwrap();
        let plan: RunPlan = keys::verify(&signed, &[]).unwrap();
        let offset = self.compare_clocks(client, run).await;
        let key = format!("worker.{}", self.name);
        let joined = WorkerState::Joined {
            plan_digest: keys::digest(&signed),
            clock_error_ns: offset.error_ns,
            clock_offset_ns: offset.ahead_ns,
            cores: 2,
            host: "simulated".to_owned(),
        };
        let revision = bucket.create(&key, encode(&joined)).await.unwrap();
        let mut starts = bucket.watch_with_history("start").await.unwrap();
        let _stops = bucket.watch_with_history("stop").await.unwrap();
        let start: Start =
            serde_json::from_slice(&starts.next().await.unwrap().unwrap().value).unwrap();
        let begin = offset.to_own(start.at_ns);
        sleep(Duration::from_nanos(begin.saturating_sub(monotonic_ns()))).await;
        let begun_ns = offset.to_other(monotonic_ns());
        let running = encode(&WorkerState::Running { begun_ns });
        let revision = bucket.update(&key, running, revision).await.unwrap();
        let mut ticks = interval(Duration::from_secs(1));
        for second in 0..self.seconds {
            ticks.tick().await;
            let frame = Frame {
                sequence: second,
                second: Some(second),
                completed: 1000,
                failed: 0,
                p99_us: Some(5000),
                open: 10,
            };
            let subject = protocol::live(run, &self.name);
            client.publish(subject, encode(&frame)).await.unwrap();
        }
        ticks.tick().await;
        self.send_result(&jetstream, run, &plan, begun_ns).await;
        bucket.update(&key, encode(&WorkerState::Final), revision).await.unwrap();
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    async fn compare_clocks(&self, client: &async_nats::Client, run: &str) -> Offset {
        let mut trips = Vec::new();
        for _ in 0..ROUND_TRIPS {
            let sent_ns = monotonic_ns();
            let reply = client.request(protocol::clock(run), "".into()).await.unwrap();
            let received_ns = monotonic_ns();
            let other_ns = serde_json::from_slice(&reply.payload).unwrap();
            trips.push(RoundTrip { sent_ns, other_ns, received_ns });
        }
        Offset::of(&trips).unwrap()
    }

    async fn send_result(
        &self,
        jetstream: &jetstream::Context,
        run: &str,
        plan: &RunPlan,
        begun_ns: i64,
    ) {
        let index = plan.workers.iter().position(|worker| *worker == self.name).unwrap() as u64;
        let record = record(index + 1, plan.workers.len() as u64, self.seconds);
        let packed = packed::pack(&record);
        self.bytes.fetch_add(packed.len() as u64, Ordering::Relaxed);
        let result = Final {
            worker: self.name.clone(),
            exit: 0,
            message: String::new(),
            begun_ns: Some(begun_ns),
            not_kept: None,
            record: RecordPlace::Inline,
        };
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", format!("{run}/{}/0", self.name));
        let subject = protocol::results(run, &self.name);
        let message = result.message(&packed);
        loop {
            let (headers, message) = (headers.clone(), message.clone());
            let sent = jetstream.publish_with_headers(subject.clone(), headers, message).await;
            if sent.unwrap().await.is_ok() {
                return;
            }
        }
    }
}

/// The greatest value of the bucket of a histogram with three digits; for values below 16,384.
fn bucket(value: u64) -> u64 {
    value | if value < 2048 { 0 } else { 7 }
}

/// The record of one share: a slice a second, and times spread over as many buckets as a real load has.
fn record(share: u64, of: u64, seconds: u64) -> LoadRecord {
    let mut record: LoadRecord = serde_json::from_str(RECORD).unwrap();
    let mut dice = share.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut throw = |below: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % below
    };
    let mut slices: Vec<SliceRecord> = Vec::new();
    for _ in 0..seconds {
        let buckets: Vec<(u64, u64)> =
            (1..110).map(|step| (bucket(step * 100), 1 + throw(1000))).collect();
        let latency_us = Sketched { p50: Some(100), p99: Some(900), max: Some(11_000), buckets };
        let mut slice = record.timeline.slices[0].clone();
        slice.response_us = Some(latency_us.clone());
        slice.latency_us = latency_us;
        slice.loader_cpu_s = throw(1000) as f64 / 1000.0;
        slices.push(slice);
    }
    record.timeline.slices = slices;
    record.latency_us.buckets =
        (1..460).map(|step| (bucket(step * 24), 1 + throw(100_000))).collect();
    record.latency_us.count = record.latency_us.buckets.iter().map(|(_, count)| count).sum();
    record.requests.completed = record.latency_us.count;
    record.settings.url = "http://127.0.0.1:9/".to_owned();
    record.settings.share = Some((share, of));
    record.elapsed_s = seconds as f64;
    record
}
