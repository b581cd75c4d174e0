//! Merges records of loads that ran as parts of one: several processes, or several machines.
//!
//! Owns the rule for every key: counts and equal buckets add, percentiles are read anew from the
//! sums, the timeline is aligned by the starts of the parts, and a port of one machine counts once.
//! The merged record is judged anew, and its assertions too. Knows no file.
//!
//! Every record is built key by key: a new key does not compile until it has its rule here.

mod detail;
mod fleet;
mod hops;
mod in_turn;
mod settings;
mod timeline;

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Bytes, Connections, Distribution, ErrorRecord, LoadRecord, Loader, Requests,
    RequestsPerConnection, Settings, Stopped, Streams, Trust, Verdict,
};
use crate::assertion::{self, Assertion, ERROR_CLASSES};
use crate::machine::Machine;

pub use fleet::{FleetRecord, LostWorker};
pub use in_turn::Merger;

/// The longest time in seconds from the first start to the last end: a run ends within a week.
const MAX_SPAN_S: f64 = 7.0 * 24.0 * 3600.0;

/// Share of the whole time in which every part has to run, so that a rate over it means what it
/// says.
const MOSTLY: f64 = 0.9;

/// The parts of a merged record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Merged {
    /// Parts in the order in which they were given.
    pub parts: Vec<Part>,
    /// Limits of the merge that do not make it wrong.
    pub notes: Vec<String>,
    /// The fleet that carried out the load; `None` where the parts were started by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetRecord>,
}

/// One part of a merged record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Start of the part, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Length of the part.
    pub elapsed_s: f64,
    /// Requests with a complete response.
    pub completed: u64,
    /// Machine of the part.
    pub machine: Machine,
    /// Trust that the part deserved by itself.
    pub trust: Trust,
    /// Reasons against more trust in the part.
    pub reasons: Vec<String>,
    /// Name of the fleet's worker that ran the part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// Time from the fleet's declared start to the part's own, by the coordinator's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_us: Option<i64>,
}

/// Reason why records cannot be merged. Parts are numbered from 1.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MergeError {
    /// There is no record.
    Nothing,
    /// Two parts are the same record.
    Twice(usize, usize),
    /// A part was made with another setting than the first one.
    Differs {
        /// Number of the part.
        part: usize,
        /// Key of the setting in the record.
        setting: &'static str,
        /// Value of the first part.
        first: String,
        /// Value of this part.
        other: String,
    },
    /// The first start and the last end are this many seconds apart.
    Apart(f64),
}

impl fmt::Display for MergeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("there is no record"),
            Self::Twice(one, other) => {
                write!(
                    f,
                    "parts {one} and {other} are the same record, or the same share of a load, which \
                     would count twice"
                )
            }
            Self::Differs { part, setting, first, other } => write!(
                f,
                "part {part} is of another load: its {setting} is {other}, and that of part 1 is \
                 {first}; `keepwarm compare` lays two loads beside each other"
            ),
            Self::Apart(seconds) => write!(
                f,
                "the parts are {:.0} days apart, and a load takes a week at most: are the clocks \
                 of the machines right?",
                seconds / 86_400.0
            ),
        }
    }
}

impl std::error::Error for MergeError {}

/// Merges the records of loads that ran as parts of one. One record alone is its own merge.
///
/// # Errors
///
/// If the parts are not of one load, or one of them is given twice.
pub fn merge(parts: &[LoadRecord]) -> Result<LoadRecord, MergeError> {
    let [first, others @ ..] = parts else { return Err(MergeError::Nothing) };
    if others.is_empty() {
        return Ok(first.clone());
    }
    refuse_twice(parts)?;
    let all: Vec<&Settings> = parts.iter().map(|part| &part.settings).collect();
    settings::check(&all)?;
    let span = Span::of(parts)?;
    let mut whole = unite(parts, &span, settings::unite(&all));
    note(&mut whole, settings::missing_note(&all));
    complete(&mut whole, assertions(parts));
    Ok(whole)
}

/// Adds a note on the merge.
fn note(whole: &mut LoadRecord, note: Option<String>) {
    if let Some(merged) = &mut whole.merged {
        merged.notes.extend(note);
    }
}

/// Adds what rests on all parts together: intervals, verdict, assertions.
fn complete(whole: &mut LoadRecord, assertions: Vec<Assertion>) {
    let times = std::mem::take(&mut whole.latency_us);
    whole.latency_us = times.with_intervals(&whole.timeline.latencies());
    let times = std::mem::take(&mut whole.response_us);
    whole.response_us = times.with_intervals(&whole.timeline.responses());
    whole.verdict = Verdict::of(whole);
    whole.judge(&assertions);
}

/// Unites parts of one load into a record that is not [`complete`] yet.
fn unite(parts: &[LoadRecord], span: &Span, settings: Settings) -> LoadRecord {
    let first = &parts[0];
    let mut notes: Vec<String> = parts
        .iter()
        .filter_map(|part| part.merged.as_ref())
        .flat_map(|one| one.notes.clone())
        .collect();
    let completed = sum(parts, |part| part.requests.completed);
    let timeline = timeline::merge(parts, span);
    let all_parts = all_parts(parts);
    let hops = hops::merge(parts, span, &mut notes);
    notes.extend(detail::left_out(parts));
    let mut whole = LoadRecord {
        schema: first.schema.clone(),
        started_unix_ms: span.start_unix_ms,
        settings,
        machine: first.machine.clone(),
        stopped: stopped(parts),
        elapsed_s: span.elapsed_s,
        requests_per_second: if span.elapsed_s > 0.0 {
            completed as f64 / span.elapsed_s
        } else {
            0.0
        },
        requests: Requests {
            scheduled: sum(parts, |part| part.requests.scheduled),
            completed,
            failed: sum(parts, |part| part.requests.failed),
            unsent: sum(parts, |part| part.requests.unsent),
        },
        latency_us: distribution(parts, |part| &part.latency_us),
        latency_us_by_class: by_class(parts),
        response_us: distribution(parts, |part| &part.response_us),
        send_lag_us: distribution(parts, |part| &part.send_lag_us),
        connect_us: distribution(parts, |part| &part.connect_us),
        handshake_us: distribution(parts, |part| &part.handshake_us),
        handshakes_resumed: sum(parts, |part| part.handshakes_resumed),
        statuses: add(parts, |part| &part.statuses),
        http_errors: None,
        errors: errors(parts, span),
        connections: connections(parts),
        hops,
        bytes: Bytes {
            read: sum(parts, |part| part.bytes.read),
            written: sum(parts, |part| part.bytes.written),
            content: sum(parts, |part| part.bytes.content),
        },
        command: detail::command(parts),
        labels: detail::labels(parts),
        misses: detail::misses(parts),
        expectations: detail::expectations(parts),
        by_request: detail::by_request(parts),
        by_address: detail::by_address(parts),
        slowest: detail::slowest(parts, span),
        first_failures: detail::first_failures(parts, span),
        one: None,
        capacity: None,
        aborted: parts.iter().find_map(|part| part.aborted.clone()),
        server: parts.iter().find_map(|part| part.server.clone()),
        document_length: parts.iter().find_map(|part| part.document_length),
        location: parts.iter().find_map(|part| part.location.clone()),
        loader: loader(parts),
        verdict: Verdict::unjudged(),
        assertions: Vec::new(),
        timeline,
        merged: Some(Merged { parts: all_parts, notes, fleet: None }),
    };
    whole.http_errors = Some(whole.http_errors());
    whole
}

impl Part {
    fn of(record: &LoadRecord) -> Self {
        Self {
            started_unix_ms: record.started_unix_ms,
            elapsed_s: record.elapsed_s,
            completed: record.requests.completed,
            machine: record.machine.clone(),
            trust: record.verdict.trust,
            reasons: record.verdict.reasons.clone(),
            worker: None,
            began_us: None,
        }
    }
}

impl Merged {
    /// Returns the notes, and those on the fleet.
    #[must_use]
    pub fn all_notes(&self) -> Vec<String> {
        let fleet = self.fleet.iter().flat_map(FleetRecord::notes);
        self.notes.iter().cloned().chain(fleet).collect()
    }

    /// Returns the reasons that the parts give against trust in the whole.
    #[must_use]
    pub fn doubts(&self) -> Vec<(Trust, String)> {
        let mut doubts: Vec<(Trust, String)> =
            self.fleet.iter().flat_map(FleetRecord::doubts).collect();
        for (index, part) in self.parts.iter().enumerate() {
            if part.trust == Trust::Invalid {
                let why = part.reasons.first().map_or("", String::as_str);
                let worker = part.worker.as_ref().map(|name| format!(", worker {name},"));
                let worker = worker.unwrap_or_default();
                let reason = format!("part {}{worker} is invalid: {why}", index + 1);
                doubts.push((Trust::Invalid, reason));
            }
        }
        let starts = self.parts.iter().map(|part| part.started_unix_ms as f64 / 1e3);
        let ends = self.parts.iter().map(|part| part.started_unix_ms as f64 / 1e3 + part.elapsed_s);
        let (first, last) = extremes(starts);
        let (first_end, last_end) = extremes(ends);
        let (all, together) = (last_end - first, (first_end - last).max(0.0));
        if together < all * MOSTLY {
            doubts.push((
                Trust::WithCare,
                format!(
                    "the parts did not run at the same time: all of them ran for {together:.1} s of \
                     {all:.1} s, and the rate is that of the {all:.1} s"
                ),
            ));
        }
        doubts
    }
}

/// The least and the greatest of some numbers.
fn extremes(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    numbers
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), one| (low.min(one), high.max(one)))
}

/// The time from the first start to the last end.
struct Span {
    start_unix_ms: u64,
    elapsed_s: f64,
}

impl Span {
    fn of(parts: &[LoadRecord]) -> Result<Self, MergeError> {
        Self::from(parts.iter().map(|part| part.started_unix_ms).min().unwrap_or(0), parts)
    }

    /// Returns the time from a start that is known.
    fn from(start_unix_ms: u64, parts: &[LoadRecord]) -> Result<Self, MergeError> {
        let mut span = Self { start_unix_ms, elapsed_s: 0.0 };
        for part in parts {
            span.elapsed_s = span.elapsed_s.max(span.offset_s(part) + part.elapsed_s);
        }
        if span.elapsed_s > MAX_SPAN_S { Err(MergeError::Apart(span.elapsed_s)) } else { Ok(span) }
    }

    /// Returns the seconds from the first start to that of a part.
    fn offset_s(&self, part: &LoadRecord) -> f64 {
        part.started_unix_ms.saturating_sub(self.start_unix_ms) as f64 / 1e3
    }
}

fn refuse_twice(parts: &[LoadRecord]) -> Result<(), MergeError> {
    for (index, part) in parts.iter().enumerate() {
        if let Some(earlier) = parts[..index].iter().position(|earlier| earlier == part) {
            return Err(MergeError::Twice(earlier + 1, index + 1));
        }
    }
    Ok(())
}

/// Lists every part, those of parts that are merged themselves in their place.
fn all_parts(parts: &[LoadRecord]) -> Vec<Part> {
    let of = |record: &LoadRecord| {
        record.merged.as_ref().map_or_else(|| vec![Part::of(record)], |merged| merged.parts.clone())
    };
    parts.iter().flat_map(of).collect()
}

/// The worst end of a part is that of the whole.
fn stopped(parts: &[LoadRecord]) -> Stopped {
    let worst = [Stopped::Cancelled, Stopped::Aborted, Stopped::Unreachable];
    let worst = worst.into_iter().find(|end| parts.iter().any(|part| part.stopped == *end));
    worst.unwrap_or(Stopped::Finished)
}

fn sum(parts: &[LoadRecord], count: fn(&LoadRecord) -> u64) -> u64 {
    parts.iter().map(count).fold(0, u64::saturating_add)
}

fn distribution(parts: &[LoadRecord], times: fn(&LoadRecord) -> &Distribution) -> Distribution {
    let times: Vec<&Distribution> = parts.iter().map(times).collect();
    Distribution::merged(&times)
}

/// Adds maps of counts.
fn add<K: Ord + Clone>(
    parts: &[LoadRecord],
    counts: fn(&LoadRecord) -> &BTreeMap<K, u64>,
) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    parts.iter().for_each(|part| timeline::add_to(&mut sums, counts(part)));
    sums
}

/// Service times by kind of status, if the whole has several kinds. A part with one kind has its
/// times in the distribution of all.
fn by_class(parts: &[LoadRecord]) -> BTreeMap<String, Distribution> {
    let mut classes: BTreeMap<String, Vec<&Distribution>> = BTreeMap::new();
    for part in parts {
        for (class, times) in &part.latency_us_by_class {
            classes.entry(class.clone()).or_default().push(times);
        }
        let only = part.statuses.keys().next().filter(|_| part.latency_us_by_class.is_empty());
        if let Some(status) = only {
            classes.entry(format!("{}xx", status / 100)).or_default().push(&part.latency_us);
        }
    }
    if classes.len() < 2 {
        return BTreeMap::new();
    }
    classes.into_iter().map(|(class, times)| (class, Distribution::merged(&times))).collect()
}

fn errors(parts: &[LoadRecord], span: &Span) -> Vec<ErrorRecord> {
    let mut merged: Vec<ErrorRecord> = Vec::new();
    for part in parts {
        let offset = span.offset_s(part);
        for error in &part.errors {
            let error = ErrorRecord {
                first_s: error.first_s + offset,
                last_s: error.last_s + offset,
                ..error.clone()
            };
            let is_same =
                |one: &&mut ErrorRecord| (&one.class, &one.errno) == (&error.class, &error.errno);
            let Some(there) = merged.iter_mut().find(is_same) else {
                merged.push(error);
                continue;
            };
            let count = there.count.saturating_add(error.count);
            let last_s = there.last_s.max(error.last_s);
            if error.first_s < there.first_s {
                *there = error;
            }
            (there.count, there.last_s) = (count, last_s);
        }
    }
    let place = |class: &str| ERROR_CLASSES.iter().position(|known| *known == class);
    merged.sort_by(|one, other| {
        let key = |error: &ErrorRecord| (place(&error.class), error.errno.clone());
        key(one).cmp(&key(other))
    });
    merged
}

fn connections(parts: &[LoadRecord]) -> Connections {
    let imbalance = parts.iter().find_map(|part| part.connections.imbalance.clone());
    Connections {
        attempts: sum(parts, |part| part.connections.attempts),
        failed: add(parts, |part| &part.connections.failed),
        timed_out_connecting: sum(parts, |part| part.connections.timed_out_connecting),
        abandoned_connecting: sum(parts, |part| part.connections.abandoned_connecting),
        opened: sum(parts, |part| part.connections.opened),
        reused: sum(parts, |part| part.connections.reused),
        closed_by_us: add(parts, |part| &part.connections.closed_by_us),
        peer_fin: sum(parts, |part| part.connections.peer_fin),
        peer_rst: sum(parts, |part| part.connections.peer_rst),
        timed_out: sum(parts, |part| part.connections.timed_out),
        stray_bytes: sum(parts, |part| part.connections.stray_bytes),
        still_open: sum(parts, |part| part.connections.still_open),
        requests_per_connection: per_connection(parts, |connections| {
            Some(&connections.requests_per_connection)
        }),
        streams: streams(parts),
        lifetime_us: distribution(parts, |part| &part.connections.lifetime_us),
        balanced: parts.iter().all(|part| part.connections.balanced),
        imbalance,
    }
}

/// Adds the streams, if the parts were sent by HTTP/2.
fn streams(parts: &[LoadRecord]) -> Option<Streams> {
    let all = || parts.iter().filter_map(|part| part.connections.streams.as_ref());
    all().next()?;
    let sum = |of: fn(&Streams) -> u64| all().map(of).fold(0, u64::saturating_add);
    Some(Streams {
        at_once: per_connection(parts, |one| one.streams.as_ref().map(|streams| &streams.at_once)),
        limit: all().filter_map(|one| one.limit).min(),
        refused: sum(|one| one.refused),
        reset: sum(|one| one.reset),
        unprocessed: sum(|one| one.unprocessed),
        sent_again: sum(|one| one.sent_again),
        cancelled: sum(|one| one.cancelled),
        goaways: sum(|one| one.goaways),
        opened_for_streams: sum(|one| one.opened_for_streams),
    })
}

/// Adds a number that each connection has. The median needs the buckets, which an older record lacks.
fn per_connection(
    parts: &[LoadRecord],
    number: fn(&Connections) -> Option<&RequestsPerConnection>,
) -> RequestsPerConnection {
    let each: Vec<Distribution> = parts
        .iter()
        .filter_map(|part| Some((part, number(&part.connections)?)))
        .map(|(part, &RequestsPerConnection { min, mean, max, ref buckets, .. })| {
            let count = if mean.is_some() { part.connections.opened } else { 0 };
            Distribution {
                count,
                min,
                mean,
                max,
                buckets: buckets.clone(),
                ..Distribution::default()
            }
        })
        .collect();
    let whole = Distribution::merged(&each.iter().collect::<Vec<_>>());
    let counted =
        whole.buckets.iter().map(|(_, count)| count).fold(0_u64, |sum, n| sum.saturating_add(*n));
    let is_known = counted == whole.count;
    RequestsPerConnection {
        min: whole.min,
        p50: whole.p50.filter(|_| is_known),
        max: whole.max,
        mean: whole.mean,
        buckets: if is_known { whole.buckets } else { Vec::new() },
    }
}

fn loader(parts: &[LoadRecord]) -> Loader {
    let most = |share: fn(&Loader) -> Option<f64>| {
        parts.iter().filter_map(|part| share(&part.loader)).max_by(f64::total_cmp)
    };
    let cpu_s: f64 = parts.iter().map(|part| part.loader.cpu_s).sum();
    let ran: f64 = parts
        .iter()
        .filter_map(|part| {
            Some(part.loader.cpu_s / part.loader.cpu_share.filter(|share| *share > 0.0)?)
        })
        .sum();
    Loader {
        threads: sum(parts, |part| part.loader.threads),
        cpu_s,
        cpu_share: (ran > 0.0).then(|| cpu_s / ran),
        busiest_share: most(|loader| loader.busiest_share),
        waited_share: most(|loader| loader.waited_share),
        wakeups: sum(parts, |part| part.loader.wakeups),
        events: sum(parts, |part| part.loader.events),
        turns_us: distribution(parts, |part| &part.loader.turns_us),
        lag_us: distribution(parts, |part| &part.loader.lag_us),
        lateness_us: distribution(parts, |part| &part.loader.lateness_us),
    }
}

/// Every assertion of the parts, once.
fn assertions(parts: &[LoadRecord]) -> Vec<Assertion> {
    let mut texts: Vec<&str> = Vec::new();
    for one in parts.iter().flat_map(|part| &part.assertions) {
        if !texts.contains(&one.assertion.as_str()) {
            texts.push(&one.assertion);
        }
    }
    texts.into_iter().filter_map(|text| assertion::parse(text).ok()).collect()
}

#[cfg(test)]
mod tests;
