//! The traffic as JSON, schema `keepwarm.watch/1`: types of their own, versioned here.
//!
//! What one look cannot know is `null`, never 0.

use std::collections::BTreeMap;

use keepwarm_diagnose::{Finding, not_judged_by_looks};
use keepwarm_sockets::{Histogram, Polls, Side};
use serde::Serialize;

use super::observe::Judged;
use super::{Level, Report, unseen};
use crate::exit::{Exit, Failure};

const SCHEMA: &str = "keepwarm.watch/1";

#[derive(Debug, Serialize)]
struct Record<'a> {
    schema: &'static str,
    level: &'static str,
    blind_to: &'static str,
    /// Why it is not L2, where that was asked for.
    refused: Option<&'a str>,
    /// 0 for one look.
    window_s: f64,
    /// `null` at level L0, where there are none.
    lost_events: Option<u64>,
    /// `null` where nothing is traced.
    trace_events: Option<u64>,
    lost_trace_events: Option<u64>,
    /// `null` at level L0.
    unattributed_aborts: Option<u64>,
    /// SelfTest of the classifier that do not hold on this kernel; `null` where they were not tested.
    broken_rules: Option<&'a [String]>,
    /// Destinations left out by --pid, --process or --cgroup because it is not known whose they are.
    without_owner: usize,
    /// Level L0: what stands in for destroy events; `null` above it.
    looks: Option<LooksRecord<'a>>,
    destinations: Vec<DestinationRecord<'a>>,
}

/// Of the whole network namespace.
#[derive(Debug, Serialize)]
struct LooksRecord<'a> {
    /// What sockets were read by: `sock_diag` or `/proc/net/tcp`.
    source: &'static str,
    count: u64,
    /// What happened within the window; `null`: not counted by this kernel, or in one look.
    counters: BTreeMap<&'static str, Option<u64>>,
    /// The same, a second.
    per_s: BTreeMap<&'static str, Option<f64>>,
    established_now: Option<u64>,
    time_wait_now: Option<u64>,
    /// Of the whole host.
    findings: Vec<FindingRecord<'a>>,
    not_seen: Vec<NotSeen>,
    not_judged: Vec<NotSeen>,
    way_up: &'static str,
}

#[derive(Debug, Serialize)]
struct NotSeen {
    what: &'static str,
    why: &'static str,
}

/// Bounds from below, by what changed from look to look.
#[derive(Debug, Serialize)]
struct GlimpsedRecord {
    opened_at_least: u64,
    /// `null` where the system does not list TIME_WAITs.
    closed_first_at_least: Option<u64>,
    gone_without_time_wait: u64,
    kept: u64,
}

#[derive(Debug, Serialize)]
struct DestinationRecord<'a> {
    /// `null` for the quietest destinations, folded into one.
    remote: Option<String>,
    side: &'static str,
    folded: u64,
    opened: Option<u64>,
    closed: Option<Closed>,
    requests_per_connection: PerConnection,
    idle_at_close_ms: IdleRecord,
    /// Of connections that were opened and closed within the window; `null` below L2.
    lifetime_ms: Option<LifetimeRecord>,
    /// `null` below L2.
    resets: Option<ResetsRecord<'a>>,
    /// At level L0 alone.
    glimpsed: Option<GlimpsedRecord>,
    established: u64,
    close_wait: u64,
    /// TIME_WAITs that this side holds; `null` where the system does not list them.
    time_wait: Option<u64>,
    /// Closes that this side began, by second: the last one first; what TIME_WAIT still tells.
    closed_first_by_second: Option<Vec<u32>>,
    ports: Option<PortsRecord>,
    owners: Vec<OwnerRecord<'a>>,
    findings: Vec<FindingRecord<'a>>,
}

#[derive(Debug, Serialize)]
struct Closed {
    local_fin: u64,
    remote_fin: u64,
    local_rst: u64,
    remote_rst: u64,
    undrained: u64,
    connect_failed: u64,
    timed_out: u64,
    unclassified: u64,
}

#[derive(Debug, Serialize)]
struct PerConnection {
    p50: Option<u32>,
    max: Option<u32>,
    mean: Option<f64>,
}

#[derive(Debug, Serialize)]
struct IdleRecord {
    p50: Option<u32>,
    p99: Option<u32>,
}

#[derive(Debug, Serialize)]
struct LifetimeRecord {
    p50: Option<u32>,
    p99: Option<u32>,
    max: Option<u32>,
}

#[derive(Debug, Serialize)]
struct ResetsRecord<'a> {
    /// The kernel's words.
    reasons: &'a BTreeMap<String, u64>,
    /// Those that came after the other end's FIN.
    after_fin: u64,
}

#[derive(Debug, Serialize)]
struct PortsRecord {
    used: u64,
    range: u64,
    cliff_in_s: Option<u64>,
    exhausted_in_s: Option<u64>,
}

#[derive(Debug, Serialize)]
struct OwnerRecord<'a> {
    pid: u32,
    process: Option<&'a str>,
    runtime: Option<String>,
    /// Its path: a service's or a container's name stands in it.
    cgroup: Option<&'a str>,
    share: f64,
    how: &'static str,
}

#[derive(Debug, Serialize)]
struct FindingRecord<'a> {
    code: &'static str,
    confidence: f64,
    summary: &'a str,
    advice: Option<&'a str>,
}

/// One line, with its end.
pub(crate) fn to_json(report: &Report) -> Result<String, Failure> {
    let record = Record {
        schema: SCHEMA,
        level: report.level.as_str(),
        blind_to: report.blind_to(),
        refused: report.refused.as_deref(),
        window_s: report.window.as_secs_f64(),
        lost_events: report.looks.is_none().then_some(report.lost_events),
        trace_events: report.trace_events,
        lost_trace_events: report.lost_traces,
        unattributed_aborts: report.looks.is_none().then_some(report.unattributed_aborts),
        broken_rules: report.broken_rules.as_deref(),
        without_owner: report.nobodys,
        looks: report.looks.as_ref().map(|looks| looks_record(report, looks)),
        destinations: report.destinations.iter().map(|one| destination(one, report)).collect(),
    };
    serde_json::to_string(&record)
        .map(|json| json + "\n")
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write JSON: {error}")))
}

fn looks_record<'a>(report: &'a Report, looks: &Polls) -> LooksRecord<'a> {
    let counted = unseen::counted(&looks.counters);
    let seconds = report.window.as_secs_f64();
    let rate = |count: u64| count as f64 / seconds;
    let not_seen = |(what, why)| NotSeen { what, why };
    let not_judged = if report.window.is_zero() { &[] } else { not_judged_by_looks() };
    LooksRecord {
        source: looks.source.as_str(),
        count: looks.count,
        counters: counted.iter().map(|(name, _, count)| (*name, *count)).collect(),
        per_s: counted.iter().map(|(name, _, count)| (*name, count.map(rate))).collect(),
        established_now: looks.counters.established,
        time_wait_now: looks.counters.time_wait_now,
        findings: report.host.iter().map(finding).collect(),
        not_seen: unseen::not_seen(report).into_iter().map(not_seen).collect(),
        not_judged: not_judged.iter().copied().map(not_seen).collect(),
        way_up: unseen::WAY_UP,
    }
}

fn destination<'a>(judged: &'a Judged, report: &Report) -> DestinationRecord<'a> {
    let one = &judged.destination;
    let (counted, traced) =
        (!report.window.is_zero() && report.looks.is_none(), report.level == Level::L2);
    let lists_time_waits = unseen::lists_time_waits(report);
    let mut idle = one.idle_before_local_close.clone();
    idle.merge(&one.idle_before_remote_close);
    DestinationRecord {
        remote: one.service.map(|service| service.to_string()),
        side: side(one.side),
        folded: one.folded,
        opened: counted.then_some(one.opened),
        closed: counted.then_some(Closed {
            local_fin: one.closed.local_fin,
            remote_fin: one.closed.remote_fin,
            local_rst: one.closed.local_rst,
            remote_rst: one.closed.remote_rst,
            undrained: one.closed.undrained,
            connect_failed: one.connect_failed,
            timed_out: one.closed.timed_out,
            unclassified: one.closed.unclassified,
        }),
        requests_per_connection: per_connection(&one.requests),
        idle_at_close_ms: IdleRecord { p50: idle.quantile(0.5), p99: idle.quantile(0.99) },
        lifetime_ms: traced.then(|| lifetime(&one.traced.lifetime_ms)),
        resets: traced.then_some(ResetsRecord {
            reasons: &one.traced.reset_reasons,
            after_fin: one.traced.reset_after_fin,
        }),
        glimpsed: one.glimpsed.map(|glimpsed| GlimpsedRecord {
            opened_at_least: glimpsed.opened,
            closed_first_at_least: lists_time_waits.then_some(glimpsed.closed_first),
            gone_without_time_wait: glimpsed.gone,
            kept: glimpsed.kept,
        }),
        established: one.established,
        close_wait: one.close_wait,
        time_wait: lists_time_waits.then_some(one.time_wait),
        closed_first_by_second: lists_time_waits.then(|| one.time_wait_by_age.clone()),
        ports: judged.ports.map(|ports| PortsRecord {
            used: ports.used,
            range: ports.range,
            cliff_in_s: ports.cliff_in.map(|length| length.as_secs()),
            exhausted_in_s: ports.exhausted_in.map(|length| length.as_secs()),
        }),
        owners: owners(judged),
        findings: judged.findings.iter().map(finding).collect(),
    }
}

pub(crate) const fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

fn per_connection(spread: &Histogram) -> PerConnection {
    PerConnection { p50: spread.quantile(0.5), max: spread.max(), mean: spread.mean() }
}

fn lifetime(spread: &Histogram) -> LifetimeRecord {
    LifetimeRecord { p50: spread.quantile(0.5), p99: spread.quantile(0.99), max: spread.max() }
}

fn owners(judged: &Judged) -> Vec<OwnerRecord<'_>> {
    let owners = judged.destination.owners.iter().enumerate();
    owners
        .map(|(place, owner)| OwnerRecord {
            pid: owner.pid,
            process: owner.process.as_deref(),
            // Only the main owner is looked into.
            runtime: judged.runtime.filter(|_| place == 0).map(|runtime| runtime.to_string()),
            cgroup: judged.cgroups.get(place).and_then(Option::as_deref),
            share: owner.share,
            how: owner.how.as_str(),
        })
        .collect()
}

fn finding(finding: &Finding) -> FindingRecord<'_> {
    FindingRecord {
        code: finding.code,
        confidence: finding.confidence,
        summary: &finding.summary,
        advice: finding.advice.as_deref(),
    }
}
