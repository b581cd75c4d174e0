//! The verdict of a load on its own numbers: how far they can be trusted, and why not.
//!
//! A loader that lacks a core, or is late, adds its own delay to every time that it measures. An
//! error of the target is no reason here.

use serde::{Deserialize, Serialize};

use super::{HopRecord, LoadRecord, Stopped};
use crate::numbers::{millis, percent, thousands};

/// Share of a core from which a thread has next to no time left: events that come in together wait.
const SATURATED: f64 = 0.9;
/// Share of its time that a thread may wait for a core; beyond it, service times include the wait.
const STARVED: f64 = 0.05;
/// Share of the median service time from which a wake-up's own work is seen in the percentiles.
const LONG_TURN: f64 = 0.5;
/// Samples below which the 99th percentile rests on fewer than ten.
const SAMPLES_FOR_P99: u64 = 1000;
/// Lateness (µs) below which results are not affected.
const LATE_US: u64 = 1_000;
/// Lateness (µs) above which results are suspect.
const VERY_LATE_US: u64 = 10_000;

/// Judgement on a record's own numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// Trust that the numbers deserve.
    pub trust: Trust,
    /// Resources that the load used, of those it had, and its lateness.
    pub evidence: String,
    /// Reasons against more trust, the worst first.
    pub reasons: Vec<String>,
}

/// Trust that the numbers of a run deserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trust {
    /// No reason for doubt.
    Trustworthy,
    /// Counts are right; times may include the load's own delay, or rest on few samples.
    WithCare,
    /// The run contradicts itself, or measured the load instead of its target.
    Invalid,
}

impl Verdict {
    /// The verdict of a record that has not been judged yet.
    #[must_use]
    pub fn unjudged() -> Self {
        Self { trust: Trust::Trustworthy, evidence: String::new(), reasons: Vec::new() }
    }

    /// Judges a record by its own numbers.
    #[must_use]
    pub fn of(record: &LoadRecord) -> Self {
        let mut reasons: Vec<(Trust, String)> = Vec::new();
        let contradictions = record.connections.imbalance.iter().cloned();
        let doubts = record.hops.iter().flat_map(HopRecord::doubts);
        reasons.extend(contradictions.chain(doubts).map(|reason| (Trust::Invalid, reason)));
        reasons.extend(lateness(record));
        reasons.extend(processor(record));
        reasons.extend(samples(record));
        reasons.sort_by_key(|(trust, _)| std::cmp::Reverse(*trust));
        let trust = reasons.first().map_or(Trust::Trustworthy, |(trust, _)| *trust);
        let reasons = reasons.into_iter().map(|(_, reason)| reason).collect();
        Self { trust, evidence: evidence(record), reasons }
    }
}

fn evidence(record: &LoadRecord) -> String {
    let loader = &record.loader;
    let mut parts = Vec::new();
    if let Some(busiest) = loader.busiest_share {
        parts.push(format!("the load's busiest thread used {} of a core", percent(busiest)));
    }
    if let Some(waited) = loader.waited_share {
        parts.push(format!("waited for one {} of the time", percent(waited)));
    }
    if record.settings.open_loop {
        let due = record.requests.scheduled;
        let (sent, due) = (thousands(due - record.requests.unsent), thousands(due));
        parts.push(format!("sent {sent} of {due} requests that were due"));
    }
    if let Some(late) = loader.lag_us.p99 {
        parts.push(format!("and was {} ms late at p99", millis(late)));
    }
    if parts.is_empty() {
        return "the kernel does not say what the load's threads used".to_owned();
    }
    parts.join(", ")
}

/// An open loop that is itself late measures its own lateness.
fn lateness(record: &LoadRecord) -> Option<(Trust, String)> {
    let late = record.loader.lag_us.p99?;
    let typical = record.response_us.p50.unwrap_or(0);
    if late > VERY_LATE_US.max(typical) {
        let reason = format!(
            "the load was {} ms late at p99, more than the typical response takes: the response \
             times are its own",
            millis(late)
        );
        Some((Trust::Invalid, reason))
    } else if late > LATE_US.max(typical / 10) {
        let reason = format!(
            "the load was up to {} ms late at p99, which counts in the response times",
            millis(late)
        );
        Some((Trust::WithCare, reason))
    } else {
        None
    }
}

fn processor(record: &LoadRecord) -> Vec<(Trust, String)> {
    let loader = &record.loader;
    let mut reasons = Vec::new();
    if let Some(busiest) = loader.busiest_share.filter(|share| *share >= SATURATED) {
        let unsent = record.requests.unsent;
        if record.settings.open_loop && unsent > 0 {
            let reason = format!(
                "{unsent} requests were never sent, and a thread of the load used {} of a core: \
                 the load could not send what was asked of it; ask for less, or for more threads \
                 with -t",
                percent(busiest)
            );
            reasons.push((Trust::Invalid, reason));
        } else {
            let reason = format!(
                "a thread of the load used {} of a core: the load may be the limit, and waiting for \
                 it counts as service time; more threads (-t) may help",
                percent(busiest)
            );
            reasons.push((Trust::WithCare, reason));
        }
    }
    if let Some(waited) = loader.waited_share.filter(|share| *share >= STARVED) {
        let reason = format!(
            "a thread of the load wanted a core and had none {} of its time, which counts as \
             service time",
            percent(waited)
        );
        reasons.push((Trust::WithCare, reason));
    }
    if let (Some(turn), Some(typical)) = (loader.turns_us.p99, record.latency_us.p50)
        && turn > LATE_US
        && turn as f64 > typical as f64 * LONG_TURN
    {
        let reason = format!(
            "responses come in crowds, and wait up to {} ms (p99) for their turn in the load, \
                 which counts as service time",
            millis(turn)
        );
        reasons.push((Trust::WithCare, reason));
    }
    reasons
}

fn samples(record: &LoadRecord) -> Vec<(Trust, String)> {
    let mut reasons = Vec::new();
    if record.stopped == Stopped::Cancelled {
        reasons.push((Trust::WithCare, "the run was cut short".to_owned()));
    }
    let slow = record.without_answer();
    if slow > 0 {
        let reason = format!(
            "{} had no answer in time, and are in no percentile: with them the tail would be longer",
            if slow == 1 {
                "1 request".to_owned()
            } else {
                format!("{} requests", thousands(slow))
            }
        );
        reasons.push((Trust::WithCare, reason));
    }
    let (due, unsent) = (record.requests.scheduled, record.requests.unsent);
    if record.settings.open_loop && unsent > 0 && record.stopped == Stopped::Finished {
        let reason = format!(
            "{} of {} requests that were due were never sent, as no connection was free for them: \
             they are in no percentile, and would have waited longest",
            thousands(unsent),
            thousands(due)
        );
        reasons.push((Trust::WithCare, reason));
    }
    let completed = record.requests.completed;
    if completed < SAMPLES_FOR_P99 {
        let samples = if completed == 1 { "sample" } else { "samples" };
        let reason = format!("{completed} {samples}: fewer than ten are beyond p99");
        reasons.push((Trust::WithCare, reason));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::super::tests::{a_run, an_error};
    use super::*;

    /// A run without a reason for doubt; a test adds one.
    fn quiet() -> LoadRecord {
        let mut record = a_run();
        record.requests.completed = 100_000;
        record.loader.busiest_share = Some(0.4);
        record.loader.waited_share = Some(0.01);
        record.loader.turns_us.p99 = Some(20);
        record.latency_us.p50 = Some(5_000);
        record
    }

    fn open() -> LoadRecord {
        let mut record = quiet();
        record.settings.open_loop = true;
        record.response_us.p50 = Some(5_000);
        record.loader.lag_us.p99 = Some(80);
        record
    }

    #[track_caller]
    fn judged(record: &LoadRecord, trust: Trust, reason: &str) {
        let verdict = Verdict::of(record);
        assert_eq!(verdict.trust, trust, "{verdict:?}");
        assert_eq!(verdict.reasons.is_empty(), trust == Trust::Trustworthy, "{verdict:?}");
        assert!(reason.is_empty() || verdict.reasons[0].contains(reason), "{verdict:?}");
    }

    #[test]
    fn idle_loader_is_trustworthy() {
        judged(&quiet(), Trust::Trustworthy, "");
        judged(&open(), Trust::Trustworthy, "");
        assert!(Verdict::of(&open()).evidence.contains("40 % of a core"));
        assert!(Verdict::of(&open()).evidence.contains("sent 100 of 100 requests that were due"));
        assert!(Verdict::of(&open()).evidence.contains("0.08 ms late"));
    }

    #[test]
    fn busy_loader_needs_care() {
        let with = |change: fn(&mut LoadRecord)| {
            let mut record = quiet();
            change(&mut record);
            record
        };
        let care = Trust::WithCare;
        judged(&with(|r| r.loader.busiest_share = Some(0.97)), care, "97 % of a core");
        judged(&with(|r| r.loader.waited_share = Some(0.2)), care, "had none 20 %");
        judged(&with(|r| r.loader.turns_us.p99 = Some(4_000)), care, "up to 4.00 ms");
        judged(&with(|r| r.requests.completed = 999), care, "999 samples");
        judged(&with(|r| r.stopped = Stopped::Cancelled), care, "cut short");
        let slow = with(|r| r.errors = vec![an_error("timeout", 1), an_error("unanswered", 2)]);
        judged(&slow, care, "3 requests had no answer in time");
        let refused = with(|r| r.errors = vec![an_error("reset_before_response", 5)]);
        judged(&refused, Trust::Trustworthy, "");
    }

    #[test]
    fn late_open_loop_measures_itself() {
        let mut record = open();
        record.loader.lag_us.p99 = Some(1_100);
        judged(&record, Trust::WithCare, "1.10 ms late");
        record.loader.lag_us.p99 = Some(10_001);
        judged(&record, Trust::Invalid, "10.00 ms late");
        let mut record = open();
        record.requests.unsent = 5;
        judged(&record, Trust::WithCare, "5 of 100 requests that were due were never sent");
        record.loader.busiest_share = Some(0.95);
        judged(&record, Trust::Invalid, "5 requests were never sent");
    }

    #[test]
    fn failed_sum_makes_run_invalid() {
        let mut record = quiet();
        record.requests.completed = 1;
        record.connections.imbalance = Some("1 is not 2".to_owned());
        judged(&record, Trust::Invalid, "1 is not 2");
        assert_eq!(Verdict::of(&record).reasons.len(), 2);
    }
}
