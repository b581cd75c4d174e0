//! Fills the record of a load from the engine's summary.
//!
//! Owns the translation from the engine's types to those of the record, and the machine's fields.
//! Judges nothing: the record does.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keepwarm_load::{
    CloseCause, ClosePolicy, Count, ErrorClass, ErrorKey, ErrorStat, Histogram, Plan, Sketch,
    Slice, StopReason, Summary, ThreadUse, Timeline,
};
use keepwarm_record::load::{
    Bytes, Connections, Distribution, ErrorRecord, LoadRecord, Loader, Requests,
    RequestsPerConnection, SCHEMA, Settings, Sketched, SliceRecord, Stopped, Streams,
    TimelineRecord, Verdict,
};

use super::detail;
use crate::{machine, secrets};

/// Builds the record of a run that has counted nothing yet.
pub(super) fn empty(plan: &Plan, started: SystemTime) -> LoadRecord {
    record(plan, &Summary::empty(StopReason::Finished), started, None)
}

/// Builds the record of a finished run, without hops and assertions.
pub(crate) fn record(
    plan: &Plan,
    summary: &Summary,
    started: SystemTime,
    aborted: Option<String>,
) -> LoadRecord {
    let timeline = timeline(&summary.timeline);
    let since = started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let mut record = LoadRecord {
        schema: SCHEMA.to_owned(),
        started_unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        command: Vec::new(),
        labels: BTreeMap::new(),
        settings: settings(plan),
        machine: machine::this(),
        stopped: match summary.stopped {
            StopReason::Finished => Stopped::Finished,
            StopReason::Unreachable => Stopped::Unreachable,
            StopReason::Cancelled if aborted.is_some() => Stopped::Aborted,
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
        latency_us: distribution(&summary.latency).with_intervals(&timeline.latencies()),
        latency_us_by_class: by_class(summary),
        response_us: distribution(&summary.response).with_intervals(&timeline.responses()),
        send_lag_us: distribution(&summary.send_lag),
        connect_us: distribution(&summary.connect_time),
        handshake_us: distribution(&summary.handshake_time),
        handshakes_resumed: summary.handshakes_resumed,
        statuses: summary.statuses.clone(),
        http_errors: None,
        misses: detail::misses(summary),
        expectations: detail::expectations(summary),
        by_request: detail::by_request(summary),
        by_address: detail::by_address(summary),
        slowest: detail::notables(plan, summary, &summary.slowest),
        first_failures: detail::notables(plan, summary, &summary.first_failures),
        one: summary.exchange.as_deref().map(detail::one),
        capacity: None,
        aborted,
        errors: summary.errors.iter().map(error).collect(),
        connections: connections(plan, summary),
        hops: Vec::new(),
        bytes: Bytes {
            read: summary.bytes_read,
            written: summary.bytes_written,
            content: summary.body_bytes,
        },
        server: summary.server_header.clone(),
        document_length: summary.document_length,
        location: summary.location.as_deref().map(secrets::url),
        loader: loader(summary),
        verdict: Verdict::unjudged(),
        assertions: Vec::new(),
        timeline,
        merged: None,
    };
    record.http_errors = Some(record.http_errors());
    record.with_hops(Vec::new())
}

/// Service times by kind of status, if there are several kinds.
fn by_class(summary: &Summary) -> BTreeMap<String, Distribution> {
    let classes = &summary.latency_by_class;
    let classes = classes.iter().filter(|_| classes.len() > 1);
    classes.map(|(digit, times)| (format!("{digit}xx"), distribution(times))).collect()
}

fn settings(plan: &Plan) -> Settings {
    Settings {
        url: secrets::url(plan.url()),
        host: plan.host().to_owned(),
        port: plan.port(),
        path: secrets::query(plan.path()),
        method: plan.method().to_owned(),
        requests: plan.requests(),
        duration_s: plan.duration().map(|duration| duration.as_secs_f64()),
        open_loop: plan.is_open_loop(),
        schedule: None,
        backlog: plan.backlog() as u64,
        concurrency: plan.concurrency() as u64,
        streams: plan.is_http2().then(|| plan.streams() as u64),
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
        max_lifetime_s: plan.max_lifetime().map(|age| age.as_secs_f64()),
        dns_ttl_s: plan.dns_ttl().map(|ttl| ttl.as_secs_f64()),
        addresses: plan.addresses().map(|address| address.to_string()).collect(),
        timeout_s: plan.timeout().as_secs_f64(),
        request_bytes: plan.request_len() as u64,
        share: match plan.share() {
            (_, 1) => None,
            (index, of) => Some((index as u64 + 1, of as u64)),
        },
    }
}

pub(super) fn distribution(histogram: &Histogram) -> Distribution {
    Distribution {
        count: histogram.count(),
        min: histogram.min(),
        mean: histogram.mean(),
        std_dev: histogram.std_dev(),
        p50: histogram.p50(),
        p75: histogram.p75(),
        p90: histogram.p90(),
        p95: histogram.p95(),
        p99: histogram.p99(),
        p999: histogram.p999(),
        max: histogram.max(),
        intervals: None,
        saturated: histogram.saturated(),
        buckets: histogram.buckets().collect(),
    }
}

fn error((key, stat): (ErrorKey, &ErrorStat)) -> ErrorRecord {
    ErrorRecord {
        class: key.class.as_str().to_owned(),
        errno: key.errno.map(|errno| errno.to_string()),
        count: stat.count,
        first_s: stat.first.as_secs_f64(),
        last_s: stat.last.as_secs_f64(),
        example: stat.example.clone(),
        hint: key.hint().map(str::to_owned),
    }
}

fn per_connection(each: &Histogram) -> RequestsPerConnection {
    RequestsPerConnection {
        min: each.min(),
        p50: each.p50(),
        max: each.max(),
        mean: each.mean(),
        buckets: each.buckets().collect(),
    }
}

fn streams(summary: &Summary) -> Streams {
    let streams = &summary.ledger.streams;
    Streams {
        at_once: per_connection(&streams.at_once),
        limit: streams.limit.map(u64::from),
        refused: streams.refused,
        reset: streams.reset,
        unprocessed: streams.unprocessed,
        sent_again: streams.sent_again,
        cancelled: streams.cancelled,
        goaways: streams.goaways,
        opened_for_streams: streams.opened_for_streams,
    }
}

fn connections(plan: &Plan, summary: &Summary) -> Connections {
    let ledger = &summary.ledger;
    let balance = summary.check();
    Connections {
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
        stray_bytes: ledger.stray_bytes,
        still_open: ledger.still_open,
        requests_per_connection: per_connection(summary.requests_per_connection()),
        streams: plan.is_http2().then(|| streams(summary)),
        lifetime_us: distribution(&ledger.lifetimes),
        balanced: balance.is_ok(),
        imbalance: balance.err().map(|imbalance| imbalance.to_string()),
    }
}

fn loader(summary: &Summary) -> Loader {
    let loader = &summary.loader;
    let cpu_s = loader.cpu_time.as_secs_f64();
    let ran: f64 = loader.per_thread.iter().map(|thread| thread.ran.as_secs_f64()).sum();
    let most = |part: &dyn Fn(&ThreadUse) -> Option<Duration>| {
        let share = |thread: &ThreadUse| {
            (!thread.ran.is_zero()).then(|| Some(part(thread)?.div_duration_f64(thread.ran)))?
        };
        loader.per_thread.iter().filter_map(share).max_by(f64::total_cmp)
    };
    Loader {
        threads: loader.threads as u64,
        cpu_s,
        cpu_share: (ran > 0.0).then(|| cpu_s / ran),
        busiest_share: most(&|thread| Some(thread.cpu_time)),
        waited_share: most(&|thread| thread.waited_for_core),
        wakeups: loader.per_thread.iter().map(|thread| thread.wakeups).sum(),
        events: loader.per_thread.iter().map(|thread| thread.events).sum(),
        turns_us: distribution(&loader.batch_times),
        lag_us: distribution(&loader.lag),
        lateness_us: distribution(&loader.lateness),
    }
}

pub(super) fn timeline(timeline: &Timeline) -> TimelineRecord {
    let slices = timeline.slices().iter().zip(timeline.open_connections());
    TimelineRecord {
        width_s: timeline.width().as_secs_f64(),
        slices: slices.map(|(one, open)| slice(one, open)).collect(),
    }
}

fn slice(slice: &Slice, open: u64) -> SliceRecord {
    let kinds = (0_u8..10).map(|digit| (format!("{digit}xx"), slice.statuses(digit)));
    SliceRecord {
        counts: named(Count::ALL.map(|count| (count.as_str(), slice.count(count)))),
        closed_by_us: named(
            CloseCause::ALL.map(|cause| (cause.as_str(), slice.closed_by_us(cause))),
        ),
        errors: named(ErrorClass::ALL.map(|class| (class.as_str(), slice.errors(class)))),
        statuses: kinds.filter(|(_, count)| *count > 0).collect(),
        open,
        latency_us: sketched(&slice.latency),
        response_us: (slice.response.count() > 0).then(|| sketched(&slice.response)),
        loader_cpu_s: slice.cpu_time.as_secs_f64(),
        busiest_thread_s: slice.busiest_thread.as_secs_f64(),
        lost_workers: 0,
    }
}

fn sketched(sketch: &Sketch) -> Sketched {
    Sketched {
        p50: sketch.quantile(0.5),
        p99: sketch.quantile(0.99),
        max: sketch.max(),
        buckets: sketch.buckets().collect(),
    }
}

/// Drops the counts that are zero.
fn named<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    let counted = counts.into_iter().filter(|(_, count)| *count > 0);
    counted.map(|(name, count)| (name.to_owned(), count)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use keepwarm_record::assertion::{ERROR_CLASSES, every_name, parse};
    use keepwarm_record::load::fact;

    use super::*;

    fn answer(mut stream: TcpStream) {
        let mut request = [0; 4096];
        while let Ok(1..) = stream.read(&mut request) {
            let sent = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            if sent.is_err() {
                return;
            }
        }
    }

    /// A real run of 100 requests on 4 connections, against a server of this process.
    fn a_run() -> LoadRecord {
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
        record(&plan, &summary, SystemTime::now(), None)
    }

    #[test]
    fn records_spell_classes_like_the_engine() {
        assert_eq!(ErrorClass::ALL.map(ErrorClass::as_str), ERROR_CLASSES);
    }

    #[test]
    fn real_run_fills_its_record() {
        let mut record = a_run();
        let assertions = [
            "requests.completed == 100",
            "conn.opened == 4",
            "conn.closed == 0",
            "conn.requests.mean == 25",
            "status.200 == 100",
            "p50 > 0us",
            "connect.max > 0us",
            "rps > 0",
        ];
        record.judge(&assertions.map(|text| parse(text).expect(text)));
        assert_eq!(keepwarm_record::assertion::failures(&record.assertions), None);
        every_name().iter().for_each(|name| drop(fact(&record, name.as_str())));
        let written = serde_json::to_vec(&record).expect("JSON");
        let again: LoadRecord = serde_json::from_slice(&written).expect("the same types");
        assert_eq!(again, record, "it reads back as it was written");
    }
}
