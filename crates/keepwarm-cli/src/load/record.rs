//! The run as JSON: types of their own, versioned here and independent of the engine's.

use std::collections::BTreeMap;

use keepwarm_load::{Histogram, Plan, Summary};
use serde::Serialize;

use crate::exit::{Exit, Failure};

pub(crate) const SCHEMA: &str = "keepwarm.load/1";

#[derive(Debug, Serialize)]
struct Record<'a> {
    schema: &'static str,
    url: &'a str,
    method: &'a str,
    concurrency: usize,
    threads: usize,
    keep_alive: bool,
    elapsed_s: f64,
    requests_per_second: f64,
    requests: Requests,
    latency_us: Latency,
    connect_us: Latency,
    statuses: BTreeMap<u16, u64>,
    errors: Vec<ErrorRecord<'a>>,
    connections: Connections,
    bytes_read: u64,
    bytes_written: u64,
    loader_cpu_s: f64,
}

#[derive(Debug, Serialize)]
struct Requests {
    scheduled: u64,
    completed: u64,
    failed: u64,
    unfinished: u64,
    unsent: u64,
}

/// Microseconds. `null` where there are too few samples to say.
#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    p50: Option<u64>,
    p90: Option<u64>,
    p99: Option<u64>,
    p999: Option<u64>,
    max: Option<u64>,
    mean: Option<f64>,
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram) -> Self {
        Self {
            p50: histogram.p50(),
            p90: histogram.p90(),
            p99: histogram.p99(),
            p999: histogram.p999(),
            max: histogram.max(),
            mean: histogram.mean(),
        }
    }
}

#[derive(Debug, Serialize)]
struct ErrorRecord<'a> {
    class: &'static str,
    errno: Option<&'static str>,
    count: u64,
    first_s: f64,
    last_s: f64,
    example: &'a str,
    hint: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Connections {
    attempts: u64,
    failed: BTreeMap<String, u64>,
    timed_out_connecting: u64,
    abandoned_connecting: u64,
    opened: u64,
    reused: u64,
    closed_by_us: BTreeMap<&'static str, u64>,
    peer_fin: u64,
    peer_rst: u64,
    timed_out: u64,
    still_open: u64,
    requests_per_connection: PerConnection,
    balanced: bool,
}

#[derive(Debug, Serialize)]
struct PerConnection {
    min: Option<u64>,
    p50: Option<u64>,
    max: Option<u64>,
    mean: Option<f64>,
}

pub(crate) fn to_json(plan: &Plan, summary: &Summary) -> Result<String, Failure> {
    serde_json::to_string(&record(plan, summary))
        .map(|json| json + "\n")
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write JSON: {error}")))
}

fn record<'a>(plan: &'a Plan, summary: &'a Summary) -> Record<'a> {
    Record {
        schema: SCHEMA,
        url: plan.url(),
        method: plan.method(),
        concurrency: plan.concurrency(),
        threads: summary.loader.threads,
        keep_alive: plan.keep_alive(),
        elapsed_s: summary.elapsed.as_secs_f64(),
        requests_per_second: summary.requests_per_second(),
        requests: Requests {
            scheduled: summary.ledger.scheduled,
            completed: summary.completed,
            failed: summary.failed,
            unfinished: summary.unfinished,
            unsent: summary.unsent,
        },
        latency_us: Latency::of(&summary.latency),
        connect_us: Latency::of(&summary.connect_time),
        statuses: summary.statuses.clone(),
        errors: errors(summary),
        connections: connections(summary),
        bytes_read: summary.bytes_read,
        bytes_written: summary.bytes_written,
        loader_cpu_s: summary.loader.cpu_time.as_secs_f64(),
    }
}

fn errors(summary: &Summary) -> Vec<ErrorRecord<'_>> {
    let record = |(key, stat): (keepwarm_load::ErrorKey, _)| {
        let stat: &keepwarm_load::ErrorStat = stat;
        ErrorRecord {
            class: key.class.as_str(),
            errno: key.errno.and_then(keepwarm_load::Errno::name),
            count: stat.count,
            first_s: stat.first.as_secs_f64(),
            last_s: stat.last.as_secs_f64(),
            example: &stat.example,
            hint: key.errno.and_then(keepwarm_load::Errno::hint),
        }
    };
    summary.errors.iter().map(record).collect()
}

fn connections(summary: &Summary) -> Connections {
    let ledger = &summary.ledger;
    let per_connection = summary.requests_per_connection();
    Connections {
        attempts: ledger.connect_attempts,
        failed: ledger
            .connect_failed
            .iter()
            .map(|(errno, count)| (errno.to_string(), *count))
            .collect(),
        timed_out_connecting: ledger.connect_timed_out,
        abandoned_connecting: ledger.connect_abandoned,
        opened: ledger.opened,
        reused: ledger.reused,
        closed_by_us: ledger
            .closed_by_us
            .iter()
            .map(|(cause, count)| (cause.as_str(), *count))
            .collect(),
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
        balanced: ledger.check().is_ok(),
    }
}
