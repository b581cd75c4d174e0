//! The experiment as JSON: `keepwarm.lab/1`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::play::Play;
use crate::record::{self, Distribution, FindingRecord, RunRecord};

#[derive(Debug, Serialize)]
struct Record<'a> {
    schema: &'static str,
    runs: Vec<PlayRecord<'a>>,
}

#[derive(Debug, Serialize)]
struct PlayRecord<'a> {
    policy: &'static str,
    load: Load<'a>,
    upstream: Upstream,
    client: Client<'a>,
    finding: &'a FindingRecord,
    notes: Vec<String>,
    doubts: Vec<String>,
}

/// What the experiment makes of the run: a status that is not 2xx has failed here.
#[derive(Debug, Serialize)]
struct Load<'a> {
    completed: u64,
    failed: u64,
    requests_per_second: f64,
    latency_us: Latency,
    statuses: &'a BTreeMap<u16, u64>,
    /// The whole run, as `keepwarm load` writes it.
    record: &'a RunRecord,
}

/// Microseconds. `null` where there are too few samples to say.
#[derive(Debug, Serialize)]
struct Latency {
    p50: Option<u64>,
    p90: Option<u64>,
    p99: Option<u64>,
    p999: Option<u64>,
    max: Option<u64>,
    mean: Option<f64>,
}

impl Latency {
    fn of(times: &Distribution) -> Self {
        let Distribution { p50, p90, p99, p999, max, mean, .. } = *times;
        Self { p50, p90, p99, p999, max, mean }
    }
}

/// The kernel's account of the upstream port.
#[derive(Debug, Serialize)]
struct Upstream {
    opened: u64,
    closed_by_client: u64,
    closed_by_server: u64,
    reset: u64,
    closed_at_once: u64,
    unclassified: u64,
    requests_per_connection: Option<f64>,
    time_wait: u64,
    time_wait_client: u64,
    time_wait_server: u64,
    established: u64,
    ports: Option<u32>,
    port_share: Option<f64>,
    lost_events: u64,
    settled: bool,
}

/// The client's own account.
#[derive(Debug, Serialize)]
struct Client<'a> {
    opened: u64,
    reused: u64,
    open: u64,
    closed: &'a [keepwarm_lab::ClosedCount],
}

pub(crate) fn write_json(plays: &[Play], to: &mut dyn Write) -> io::Result<()> {
    let record = Record { schema: "keepwarm.lab/1", runs: plays.iter().map(run).collect() };
    record::write_json(&record, to)
}

fn run(play: &Play) -> PlayRecord<'_> {
    let account = &play.upstream;
    PlayRecord {
        policy: play.policy.name(),
        load: Load {
            completed: play.completed(),
            failed: play.failed(),
            requests_per_second: play.requests_per_second(),
            latency_us: Latency::of(&play.load.latency_us),
            statuses: &play.load.statuses,
            record: &play.load,
        },
        upstream: Upstream {
            opened: account.opened,
            closed_by_client: account.closed.client_fin,
            closed_by_server: account.closed.server_fin,
            reset: account.closed.reset(),
            closed_at_once: account.closed.crossed_fin,
            unclassified: account.closed.unclassified,
            requests_per_connection: account.requests.mean,
            time_wait: account.time_wait.entered.client + account.time_wait.entered.server,
            time_wait_client: account.time_wait.entered.client,
            time_wait_server: account.time_wait.entered.server,
            established: account.established.client,
            ports: account.ports.range,
            port_share: play.port_share(),
            lost_events: account.lost_events,
            settled: account.settled,
        },
        client: Client {
            opened: play.client.opened,
            reused: play.client.reused,
            open: play.client.open,
            closed: &play.client.closed,
        },
        finding: &account.finding,
        notes: account.notes(),
        doubts: play.doubts(),
    }
}
