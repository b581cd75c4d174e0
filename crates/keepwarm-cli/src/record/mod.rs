//! The run record: one run as a document, `keepwarm.load/1`.
//!
//! Owns types that cross a file, independent of the engine's. Text, JSON and ab-shaped text, and
//! assertions, are folds over a record: what they say can be said again from a file.

mod confidence;
mod distribution;
mod facts;
mod hop;
mod machine;
mod timeline;
mod trust;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keepwarm_load::{ClosePolicy, ErrorClass, Plan, StopReason, Summary};
use serde::{Deserialize, Serialize};

use crate::assertion::{Assertion, Outcome};

pub(crate) use confidence::{Intervals, Method};
pub(crate) use distribution::Distribution;
use hop::{Carried, Target};
pub(crate) use hop::{Cause, FindingRecord, HopRecord, HopSample, Sides};
pub(crate) use machine::Machine;
pub(crate) use timeline::TimelineRecord;
pub(crate) use trust::{Trust, Verdict};

pub(crate) const SCHEMA: &str = "keepwarm.load/1";

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub(crate) schema: String,
    /// When it began, in milliseconds since 1970.
    pub(crate) started_unix_ms: u64,
    pub(crate) settings: Settings,
    pub(crate) machine: Machine,
    pub(crate) stopped: Stopped,
    /// To the last request that completed or failed, and no less than what was asked for: not the
    /// waiting for requests that were never answered.
    pub(crate) elapsed_s: f64,
    /// Completed ones, in `elapsed_s`.
    pub(crate) requests_per_second: f64,
    pub(crate) requests: Requests,
    /// Service times, in microseconds.
    pub(crate) latency_us: Distribution,
    /// In an open loop, from the instants requests were due, in microseconds.
    pub(crate) response_us: Distribution,
    /// In an open loop, from the instants requests were due to their first byte written.
    pub(crate) send_lag_us: Distribution,
    /// From connect(2) to established, in microseconds.
    pub(crate) connect_us: Distribution,
    /// From established to the end of the TLS handshake, in microseconds.
    pub(crate) handshake_us: Distribution,
    pub(crate) handshakes_resumed: u64,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) errors: Vec<ErrorRecord>,
    pub(crate) connections: Connections,
    /// The ports that were watched.
    pub(crate) hops: Vec<HopRecord>,
    pub(crate) bytes: Bytes,
    pub(crate) server: Option<String>,
    pub(crate) document_length: Option<u64>,
    pub(crate) loader: LoaderRecord,
    /// Whether these numbers are to be believed.
    pub(crate) verdict: Verdict,
    pub(crate) assertions: Vec<AssertionRecord>,
    pub(crate) timeline: TimelineRecord,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) method: String,
    pub(crate) requests: Option<u64>,
    pub(crate) duration_s: Option<f64>,
    /// Requests were due at instants of their own, whether a connection was free or not.
    pub(crate) open_loop: bool,
    /// Of an open loop, as it was asked for.
    pub(crate) schedule: Option<Schedule>,
    /// The most requests of an open loop that wait for a free connection.
    pub(crate) backlog: u64,
    pub(crate) concurrency: u64,
    pub(crate) threads: u64,
    pub(crate) keep_alive: bool,
    pub(crate) close_policy: String,
    pub(crate) requests_per_connection: Option<u64>,
    pub(crate) connect_rate: Option<f64>,
    /// Where connections go, in the order in which it is tried.
    pub(crate) addresses: Vec<String>,
    pub(crate) timeout_s: f64,
    pub(crate) request_bytes: u64,
}

/// When the requests of an open loop are due.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    /// Requests a second; with stages, what the first of them begins at.
    pub(crate) rate: Option<f64>,
    /// Seconds, and the rate at their end.
    pub(crate) stages: Vec<(f64, f64)>,
    /// Of Poisson arrivals; `None` if they are evenly spread.
    pub(crate) seed: Option<u64>,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stopped {
    Finished,
    Unreachable,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Requests {
    pub(crate) scheduled: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) unsent: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ErrorRecord {
    pub(crate) class: String,
    pub(crate) errno: Option<String>,
    pub(crate) count: u64,
    pub(crate) first_s: f64,
    pub(crate) last_s: f64,
    pub(crate) example: String,
    pub(crate) hint: Option<String>,
}

/// The ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Connections {
    pub(crate) attempts: u64,
    /// By errno.
    pub(crate) failed: BTreeMap<String, u64>,
    pub(crate) timed_out_connecting: u64,
    pub(crate) abandoned_connecting: u64,
    pub(crate) opened: u64,
    pub(crate) reused: u64,
    pub(crate) closed_by_us: BTreeMap<String, u64>,
    pub(crate) peer_fin: u64,
    pub(crate) peer_rst: u64,
    pub(crate) timed_out: u64,
    pub(crate) still_open: u64,
    pub(crate) requests_per_connection: PerConnection,
    /// From established to closed, in microseconds, of those that ended within the run.
    pub(crate) lifetime_us: Distribution,
    pub(crate) balanced: bool,
    /// The sum that does not hold.
    pub(crate) imbalance: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PerConnection {
    pub(crate) min: Option<u64>,
    pub(crate) p50: Option<u64>,
    pub(crate) max: Option<u64>,
    pub(crate) mean: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Bytes {
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// Content of completed responses.
    pub(crate) content: u64,
}

/// What the load itself used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LoaderRecord {
    pub(crate) threads: u64,
    pub(crate) cpu_s: f64,
    /// Processor time, of what this many threads can use in the time; `None` if no time passed.
    pub(crate) cpu_share: Option<f64>,
    /// The same of the thread that used most of its own time.
    pub(crate) busiest_share: Option<f64>,
    /// The longest part of its time that a thread was ready to run and had no core; `None` where
    /// the kernel does not say.
    pub(crate) waited_share: Option<f64>,
    pub(crate) wakeups: u64,
    /// Events that these wake-ups brought.
    pub(crate) events: u64,
    /// From a wake-up to the end of what it brought, in microseconds.
    pub(crate) turns_us: Distribution,
    /// In an open loop, from the instant a request was due to a thread noticing it.
    pub(crate) lag_us: Distribution,
}

/// An assertion, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AssertionRecord {
    pub(crate) assertion: String,
    pub(crate) outcome: AssertionOutcome,
    /// The value as people read it; `None` where it is not available.
    pub(crate) value: Option<String>,
    /// Why it is not available.
    pub(crate) why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AssertionOutcome {
    Held,
    Failed,
    NotAvailable,
}

impl RunRecord {
    pub(crate) fn of(plan: &Plan, summary: &Summary, started: SystemTime) -> Self {
        let timeline = TimelineRecord::of(&summary.timeline);
        let since = started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            schema: SCHEMA.to_owned(),
            started_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            settings: Settings::of(plan),
            machine: Machine::this(),
            stopped: match summary.stopped {
                StopReason::Finished => Stopped::Finished,
                StopReason::Unreachable => Stopped::Unreachable,
                StopReason::Cancelled => Stopped::Cancelled,
            },
            elapsed_s: summary.elapsed.as_secs_f64(),
            requests_per_second: summary.requests_per_second(),
            requests: Requests {
                scheduled: summary.ledger.scheduled,
                completed: summary.completed,
                failed: summary.failed,
                unsent: summary.unsent,
            },
            latency_us: Distribution::with_intervals(&summary.latency, &timeline.latencies()),
            response_us: Distribution::with_intervals(&summary.response, &timeline.responses()),
            send_lag_us: Distribution::of(&summary.send_lag),
            connect_us: Distribution::of(&summary.connect_time),
            handshake_us: Distribution::of(&summary.handshake_time),
            handshakes_resumed: summary.handshakes_resumed,
            statuses: summary.statuses.clone(),
            errors: errors(summary),
            connections: Connections::of(summary),
            hops: Vec::new(),
            bytes: Bytes {
                read: summary.bytes_read,
                written: summary.bytes_written,
                content: summary.body_bytes,
            },
            server: summary.server_header.clone(),
            document_length: summary.document_length,
            loader: LoaderRecord::of(summary),
            verdict: Verdict::unjudged(),
            assertions: Vec::new(),
            timeline,
        }
        .with_hops(Vec::new())
    }

    /// Adds what was seen of the hops; the verdict on the run takes it into account.
    pub(crate) fn with_hops(mut self, hops: Vec<HopRecord>) -> Self {
        self.hops = hops;
        self.verdict = Verdict::of(&self);
        self
    }

    /// What a hop needs to know of the load that caused what it saw.
    pub(crate) fn cause(&self) -> Cause {
        Cause {
            requests: self.requests.completed,
            concurrency: self.settings.concurrency,
            elapsed: Duration::from_secs_f64(self.elapsed_s),
            target: Some(Target {
                port: self.settings.port,
                opened: self.connections.opened,
                still_open: self.connections.still_open,
                by_ledger: self.settings.is_https().then(|| self.carried()),
            }),
        }
    }

    fn carried(&self) -> Carried {
        let each = &self.connections.requests_per_connection;
        let mean = each.mean.unwrap_or(0.0);
        Carried {
            total: (mean * self.connections.opened as f64).round() as u64,
            mean: each.mean,
            p50: each.p50,
            max: each.max,
        }
    }

    /// Judges `assertions` by this record, and keeps the outcomes in it.
    pub(crate) fn judge(&mut self, assertions: &[Assertion]) {
        let judge = |assertion: &Assertion| {
            let name = assertion.name();
            let show = |value: f64| Some(name.unit().show(value));
            let (outcome, value, why) = match assertion.judge(facts::fact(self, name.as_str())) {
                Outcome::Held(value) => (AssertionOutcome::Held, show(value), None),
                Outcome::Failed(value) => (AssertionOutcome::Failed, show(value), None),
                Outcome::NotAvailable(why) => (AssertionOutcome::NotAvailable, None, Some(why)),
            };
            AssertionRecord { assertion: assertion.to_string(), outcome, value, why }
        };
        self.assertions = assertions.iter().map(judge).collect();
    }

    /// Not one connection could be opened, though some were tried.
    pub(crate) fn is_unreachable(&self) -> bool {
        let connections = &self.connections;
        let mut failed =
            connections.failed.values().sum::<u64>() + connections.timed_out_connecting;
        if self.stopped == Stopped::Finished {
            // They had the whole run and its grace.
            failed += connections.abandoned_connecting;
        }
        connections.opened == 0 && failed > 0
    }

    /// Failed requests whose times would have been among the longest: no answer came in time, or
    /// none before the run was over.
    pub(crate) fn without_answer(&self) -> u64 {
        let slow = [ErrorClass::ConnectTimeout, ErrorClass::Timeout, ErrorClass::Unanswered];
        let slow = slow.map(ErrorClass::as_str);
        let errors = self.errors.iter().filter(|error| slow.contains(&error.class.as_str()));
        errors.map(|error| error.count).sum()
    }
}

/// Microseconds as milliseconds.
pub(crate) fn millis(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1000.0)
}

/// One document on one line, written as it is made: a long run's would be large in memory.
pub(crate) fn write_json(record: &impl Serialize, to: &mut dyn Write) -> io::Result<()> {
    let mut buffered = io::BufWriter::new(to);
    serde_json::to_writer(&mut buffered, record)?;
    buffered.write_all(b"\n")?;
    buffered.flush()
}

impl Settings {
    fn is_https(&self) -> bool {
        self.url.split(':').next().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
    }

    fn of(plan: &Plan) -> Self {
        Self {
            url: plan.url().to_owned(),
            host: plan.host().to_owned(),
            port: plan.port(),
            path: plan.path().to_owned(),
            method: plan.method().to_owned(),
            requests: plan.requests(),
            duration_s: plan.duration().map(|duration| duration.as_secs_f64()),
            open_loop: plan.is_open_loop(),
            schedule: None,
            backlog: plan.backlog() as u64,
            concurrency: plan.concurrency() as u64,
            threads: plan.threads() as u64,
            keep_alive: plan.keep_alive(),
            close_policy: match plan.close_policy() {
                ClosePolicy::Now => "now",
                ClosePolicy::WaitPeer => "wait_peer",
                ClosePolicy::Reset => "reset",
            }
            .to_owned(),
            requests_per_connection: plan.requests_per_connection(),
            connect_rate: plan.connect_rate(),
            addresses: plan.addresses().map(|address| address.to_string()).collect(),
            timeout_s: plan.timeout().as_secs_f64(),
            request_bytes: plan.request_bytes().len() as u64,
        }
    }
}

impl LoaderRecord {
    fn of(summary: &Summary) -> Self {
        let loader = &summary.loader;
        let cpu_s = loader.cpu_time.as_secs_f64();
        let ran: f64 = loader.per_thread.iter().map(|thread| thread.ran.as_secs_f64()).sum();
        let most = |part: &dyn Fn(&keepwarm_load::ThreadUse) -> Option<Duration>| {
            let share = |thread: &keepwarm_load::ThreadUse| {
                (!thread.ran.is_zero()).then(|| Some(part(thread)?.div_duration_f64(thread.ran)))?
            };
            loader.per_thread.iter().filter_map(share).max_by(f64::total_cmp)
        };
        Self {
            threads: loader.threads as u64,
            cpu_s,
            cpu_share: (ran > 0.0).then(|| cpu_s / ran),
            busiest_share: most(&|thread| Some(thread.cpu_time)),
            waited_share: most(&|thread| thread.waited_for_core),
            wakeups: loader.per_thread.iter().map(|thread| thread.wakeups).sum(),
            events: loader.per_thread.iter().map(|thread| thread.events).sum(),
            turns_us: Distribution::of(&loader.turns),
            lag_us: Distribution::of(&loader.lag),
        }
    }
}

fn errors(summary: &Summary) -> Vec<ErrorRecord> {
    let error = |(key, stat): (keepwarm_load::ErrorKey, &keepwarm_load::ErrorStat)| ErrorRecord {
        class: key.class.as_str().to_owned(),
        errno: key.errno.map(|errno| errno.to_string()),
        count: stat.count,
        first_s: stat.first.as_secs_f64(),
        last_s: stat.last.as_secs_f64(),
        example: stat.example.clone(),
        hint: key.hint().map(str::to_owned),
    };
    summary.errors.iter().map(error).collect()
}

impl Connections {
    fn of(summary: &Summary) -> Self {
        let ledger = &summary.ledger;
        let per_connection = summary.requests_per_connection();
        let balance = summary.check();
        Self {
            attempts: ledger.connect_attempts,
            failed: ledger.connect_failed.iter().map(|(e, n)| (e.to_string(), *n)).collect(),
            timed_out_connecting: ledger.connect_timed_out,
            abandoned_connecting: ledger.connect_abandoned,
            opened: ledger.opened,
            reused: ledger.reused,
            closed_by_us: ledger.closed_by_us.iter().map(|(c, n)| (c.to_string(), *n)).collect(),
            peer_fin: ledger.peer_fin,
            peer_rst: ledger.peer_rst,
            timed_out: ledger.timed_out,
            still_open: ledger.still_open,
            requests_per_connection: PerConnection {
                min: per_connection.min(),
                p50: per_connection.p50(),
                max: per_connection.max(),
                mean: per_connection.mean(),
            },
            lifetime_us: Distribution::of(&ledger.lifetimes),
            balanced: balance.is_ok(),
            imbalance: balance.err().map(|imbalance| imbalance.to_string()),
        }
    }

    pub(crate) fn closed_by_us_total(&self) -> u64 {
        self.closed_by_us.values().sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A real run of 100 requests on 4 connections, against a server of this process.
    pub(crate) fn a_run() -> RunRecord {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || answer(stream));
            }
        });
        let plan = Plan::builder(format!("http://{address}/")).requests(100).concurrency(4);
        let plan = plan.build().expect("a plan");
        let summary = keepwarm_load::Run::start(plan.clone()).expect("a run").wait();
        RunRecord::of(&plan, &summary, SystemTime::now())
    }

    /// Asks a record for everything that can be asserted on.
    pub(crate) fn every_fact(record: &RunRecord) {
        crate::assertion::every_name()
            .iter()
            .for_each(|name| drop(facts::fact(record, name.as_str())));
    }

    pub(super) fn an_error(class: &str, count: u64) -> ErrorRecord {
        ErrorRecord {
            class: class.to_owned(),
            errno: None,
            count,
            first_s: 1.0,
            last_s: 1.0,
            example: String::new(),
            hint: None,
        }
    }

    fn answer(mut stream: std::net::TcpStream) {
        let mut request = [0; 4096];
        while let Ok(1..) = stream.read(&mut request) {
            let sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            if sent.is_err() {
                return;
            }
        }
    }

    #[test]
    fn a_record_reads_back_as_it_was_written() {
        let mut record = a_run();
        record.judge(&[crate::assertion::parse("p99 < 1us").expect("an assertion")]);
        let json = |record: &RunRecord| {
            let mut written = Vec::new();
            write_json(record, &mut written).expect("memory takes everything");
            written
        };
        let written = json(&record);
        let again: RunRecord = serde_json::from_slice(&written).expect("the same types");
        assert_eq!(again, record);
        assert_eq!(json(&again), written);
    }
}
