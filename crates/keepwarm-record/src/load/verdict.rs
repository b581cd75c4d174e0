//! The verdict of a load on its own numbers: how far they can be trusted, and why not.
//!
//! A loader that lacks a core, or is late, adds its own delay to every time that it measures. So
//! lateness is compared with what is left of the times without it: a starved load whose every time
//! is its own lateness would else look punctual beside them. Answers that are errors or redirects
//! make no number wrong, but they are rarely what a reader takes the numbers for.

use serde::{Deserialize, Serialize};

use super::{Distribution, HopRecord, LoadRecord, Merged, Stopped};
use crate::numbers::{counted, millis, percent, share_of, thousands};

/// Share of a core from which a thread has next to no time left: events that come in together wait.
const SATURATED: f64 = 0.9;
/// Share of its time that a thread may wait for a core, where no heartbeat says what that cost.
const STARVED: f64 = 0.05;
/// Share of the median service time from which a wake-up's own work is seen in the percentiles.
const LONG_TURN: f64 = 0.5;
/// Samples below which the 99th percentile rests on fewer than ten.
const SAMPLES_FOR_P99: u64 = 1000;
/// Heartbeats from which lateness is known: three seconds of one thread. In a short run, one stall
/// would be most of it.
const HEARTBEATS: u64 = 300;
/// Lateness (µs) below which results are not affected.
const LATE_US: u64 = 1_000;
/// Lateness (µs) above which results are suspect.
const VERY_LATE_US: u64 = 10_000;
/// Share of a typical time that may be lateness without changing what the times say.
const NOTICEABLE: f64 = 0.1;
/// Share of errors from which rates and percentiles speak of errors too.
const SOME_ERRORS: f64 = 0.01;

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
        reasons.extend(record.merged.iter().flat_map(Merged::doubts));
        reasons.extend(lateness(record));
        reasons.extend(processor(record));
        reasons.extend(answers(record));
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

/// The load's own delay: its heartbeats, and in an open loop the instants that it noticed late.
struct Lateness {
    p50: u64,
    p90: u64,
    p99: u64,
}

impl Lateness {
    /// Returns `None` where neither is known.
    fn of(record: &LoadRecord) -> Option<Self> {
        let loader = &record.loader;
        let beats = Some(&loader.lateness_us).filter(|beats| beats.count >= HEARTBEATS);
        let all = [beats, Some(&loader.lag_us)];
        let most = |of: fn(&Distribution) -> Option<u64>| {
            all.iter().flatten().filter_map(|times| of(times)).max()
        };
        let p50 = most(|times| times.p50)?;
        Some(Self { p50, p90: most(|times| times.p90)?, p99: most(|times| times.p99)? })
    }

    /// Returns the lateness at p99 that can be in `times`: heartbeats also meet delays in which no
    /// response waited, and no time of a hundredth is longer than the shortest by more than this. A
    /// delay that is very late is in the greatest time in any case.
    fn in_times(&self, times: &Distribution) -> u64 {
        let spread = times.p99.zip(times.min).map(|(p99, min)| p99.saturating_sub(min));
        spread.filter(|_| self.p99 <= VERY_LATE_US).map_or(self.p99, |spread| spread.min(self.p99))
    }
}

/// A load that is itself late measures its own lateness. Both loops: in a closed one, each service
/// time includes the wait of its thread for a core.
fn lateness(record: &LoadRecord) -> Option<(Trust, String)> {
    let late = Lateness::of(record)?;
    let (name, times, way_out) = if record.settings.open_loop {
        let way_out = "ask for a lower --rate, or give the load cores of its own";
        ("response", &record.response_us, way_out)
    } else {
        let way_out = "ask for fewer connections with -c, or give the load cores of its own";
        ("service", &record.latency_us, way_out)
    };
    let Some(measured) = record.latency_us.p50 else {
        // Without an answer there is no time to be wrong, but the load may be why there is none.
        let reason = format!(
            "the load itself was {} ms late at p50, and nothing was answered: that may be its own \
             doing; {way_out}",
            millis(late.p50)
        );
        return (late.p50 > VERY_LATE_US).then_some((Trust::Invalid, reason));
    };
    // The typical time of the target alone.
    let typical = measured.saturating_sub(late.p50);
    // An open loop delays every request that is due meanwhile. A closed one delays those in flight,
    // and sends none: a few delays are few of its times, however long they are.
    let tail = if record.settings.open_loop { ("p99", late.p99) } else { ("p90", late.p90) };
    let is_typical = late.p50 > LATE_US && late.p50 > typical;
    if is_typical || tail.1 > VERY_LATE_US.max(typical) {
        let (which, own) = if is_typical { ("p50", late.p50) } else { tail };
        let reason = format!(
            "the load itself was {} ms late at {which}, more than a typical response takes without \
             it: the {name} times are its own; {way_out}",
            millis(own)
        );
        Some((Trust::Invalid, reason))
    } else if late.in_times(times) > LATE_US
        && late.in_times(times) as f64 > typical as f64 * NOTICEABLE
    {
        let reason = format!(
            "the load itself was up to {} ms late at p99, which counts in the {name} times; \
             {way_out}",
            millis(late.p99)
        );
        Some((Trust::WithCare, reason))
    } else {
        None
    }
}

fn processor(record: &LoadRecord) -> Vec<(Trust, String)> {
    let loader = &record.loader;
    let mut reasons = Vec::new();
    // Where heartbeats say how late a thread was, a busy core is no reason by itself.
    let is_measured = Lateness::of(record).is_some();
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
        } else if !is_measured {
            let reason = format!(
                "a thread of the load used {} of a core: the load may be the limit, and waiting for \
                 it counts as service time; more threads (-t) may help",
                percent(busiest)
            );
            reasons.push((Trust::WithCare, reason));
        }
    }
    let waited = loader.waited_share.filter(|share| *share >= STARVED && !is_measured);
    if let Some(waited) = waited.filter(|_| record.ended() == 0 && record.requests.scheduled > 0) {
        let reason = format!(
            "not one request was begun, and the load itself lacked a core for {} of the time: give \
             it cores of its own",
            percent(waited)
        );
        reasons.push((Trust::Invalid, reason));
    } else if let Some(waited) = waited {
        let reason = format!(
            "the load itself lacked a core for {} of the time, which counts as service time; a \
             longer run (-z 10s) says how late that made it",
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
             which counts as service time; more threads (-t) or fewer connections (-c) help",
            millis(turn)
        );
        reasons.push((Trust::WithCare, reason));
    }
    reasons
}

/// Answers that are not what a reader takes the numbers for.
fn answers(record: &LoadRecord) -> Option<(Trust, String)> {
    let ended = record.ended();
    let share = record.error_share()?;
    let redirects = record.answered(300..400);
    let is_half = |count: u64| count.saturating_mul(2) > ended;
    let reason = if is_half(redirects) {
        let all = record.answers();
        let name = all.iter().find(|one| one.class == 3).map(|one| one.name()).unwrap_or_default();
        let location: String =
            record.location.iter().flat_map(|location| location.chars().take(100)).collect();
        let to = if location.is_empty() { location } else { format!(" to {location}") };
        format!(
            "{} are {name}{to}: is this what you want to measure? A load does not follow redirects",
            share_of(redirects, ended)
        )
    } else if is_half(record.errors()) {
        let most = record.answers().into_iter().find(|one| one.class >= 4);
        let most = most.filter(|one| one.count > record.requests.failed);
        let kind = most.map_or_else(
            || "failed without a complete response".to_owned(),
            |one| format!("answered {}", one.name()),
        );
        format!(
            "{} of the requests are errors, most of them {kind}: is this what you want to measure? \
             Rates and times are mostly those of errors",
            share_of(record.errors(), ended)
        )
    } else if share > SOME_ERRORS {
        let mut parts = Vec::new();
        if record.http_errors() > 0 {
            parts.push(format!("{} answered 4xx or 5xx", thousands(record.http_errors())));
        }
        if record.requests.failed > 0 {
            parts.push(format!("{} failed", thousands(record.requests.failed)));
        }
        format!(
            "{} of the requests are errors ({}): rates and times include the answers that are errors",
            share_of(record.errors(), ended),
            parts.join(", ")
        )
    } else {
        return None;
    };
    Some((Trust::WithCare, reason))
}

fn samples(record: &LoadRecord) -> Vec<(Trust, String)> {
    let mut reasons = Vec::new();
    if record.stopped == Stopped::Cancelled {
        reasons.push((Trust::WithCare, "the run was cut short".to_owned()));
    }
    if record.stopped == Stopped::Aborted {
        let why = record.aborted.as_deref().unwrap_or("its --abort-if held");
        reasons.push((Trust::WithCare, format!("the run was aborted: {why}")));
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
        let are = if completed == 1 { "is" } else { "are" };
        let requests = counted(completed, "request");
        let reason =
            format!("{requests} {are} too few for p99: {} needed", thousands(SAMPLES_FOR_P99));
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
        let lag = &mut record.loader.lag_us;
        (lag.p50, lag.p90, lag.p99) = (Some(40), Some(60), Some(80));
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
        judged(&with(|r| r.loader.waited_share = Some(0.2)), care, "lacked a core for 20 %");
        let punctual = with(|r| {
            (r.loader.busiest_share, r.loader.waited_share) = (Some(0.97), Some(0.2));
            r.loader.lateness_us = lateness([60, 80, 120]);
        });
        judged(&punctual, Trust::Trustworthy, "");
        judged(&with(|r| r.loader.turns_us.p99 = Some(4_000)), care, "up to 4.00 ms");
        judged(
            &with(|r| r.requests.completed = 999),
            care,
            "999 requests are too few for p99: 1,000 needed",
        );
        judged(&with(|r| r.stopped = Stopped::Cancelled), care, "cut short");
        let slow = with(|r| r.errors = vec![an_error("timeout", 1), an_error("unanswered", 2)]);
        judged(&slow, care, "3 requests had no answer in time");
        let refused = with(|r| r.errors = vec![an_error("reset_before_response", 5)]);
        judged(&refused, Trust::Trustworthy, "");
    }

    /// The lateness of 1,000 heartbeats, by its p50, p90 and p99.
    fn lateness([p50, p90, p99]: [u64; 3]) -> Distribution {
        let points = Distribution { p50: Some(p50), p90: Some(p90), p99: Some(p99), ..empty() };
        Distribution { count: 1_000, ..points }
    }

    fn empty() -> Distribution {
        Distribution::default()
    }

    /// Measured by a starved load, whose target took 1 ms: nice 19 beside four burners.
    #[test]
    fn starved_load_is_no_yardstick_of_itself() {
        let mut closed = quiet();
        closed.latency_us.p50 = Some(39_000);
        closed.loader.lateness_us = lateness([36_000, 60_000, 110_000]);
        judged(&closed, Trust::Invalid, "36.00 ms late at p50");
        let mut open = open();
        open.latency_us.p50 = Some(77_000);
        open.response_us.p50 = Some(1_400_000);
        open.loader.lag_us.p50 = Some(30_000);
        open.loader.lag_us.p90 = Some(200_000);
        open.loader.lag_us.p99 = Some(480_770);
        judged(&open, Trust::Invalid, "480.77 ms late at p99");
    }

    #[test]
    fn stopped_load_was_not_there() {
        let mut record = quiet();
        // Two of five seconds: 40 % of the heartbeats.
        record.loader.lateness_us = lateness([60, 1_500_000, 1_980_000]);
        judged(&record, Trust::Invalid, "1500.00 ms late at p90");
        record.loader.lateness_us = lateness([60, 200, 50_000]);
        judged(&record, Trust::WithCare, "50.00 ms late at p99");
    }

    #[test]
    fn starved_load_without_answers_is_invalid() {
        let mut record = quiet();
        record.latency_us = empty();
        record.loader.lateness_us = lateness([9_000, 20_000, 90_000]);
        assert!(Verdict::of(&record).reasons.iter().all(|reason| !reason.contains("late")));
        record.loader.lateness_us = lateness([30_000, 60_000, 90_000]);
        judged(&record, Trust::Invalid, "30.00 ms late at p50, and nothing was answered");
        // A thread that hardly ran has noticed few heartbeats.
        record.loader.lateness_us = empty();
        record.loader.waited_share = Some(0.29);
        (record.requests.completed, record.requests.failed) = (0, 0);
        judged(&record, Trust::Invalid, "not one request was begun");
    }

    /// Measured beside builds at nice 19: 8 % of a core used, and each time within 0.1 ms of the truth.
    #[test]
    fn late_heartbeats_alone_are_no_doubt() {
        let mut record = quiet();
        let times = &mut record.latency_us;
        (times.min, times.p50, times.p99) = (Some(2_060), Some(2_213), Some(2_755));
        record.loader.lateness_us = lateness([60, 90, 1_340]);
        judged(&record, Trust::Trustworthy, "");
        record.latency_us.p99 = Some(3_400);
        judged(&record, Trust::WithCare, "1.34 ms late at p99");
        record.latency_us.p99 = Some(2_755);
        record.loader.lateness_us = lateness([60, 90, 10_001]);
        judged(&record, Trust::WithCare, "10.00 ms late at p99");
    }

    #[test]
    fn slow_target_outweighs_lateness() {
        let mut record = quiet();
        record.latency_us.p50 = Some(200_000);
        record.loader.lateness_us = lateness([1_200, 9_000, 15_000]);
        judged(&record, Trust::Trustworthy, "");
        record.loader.lateness_us = lateness([1_200, 9_000, 25_000]);
        judged(&record, Trust::WithCare, "25.00 ms late at p99");
    }

    #[test]
    fn errors_are_named_beyond_one_percent() {
        let of = |statuses: &[(u16, u64)]| {
            let mut record = quiet();
            record.statuses = statuses.iter().copied().collect();
            record.requests.completed = statuses.iter().map(|(_, count)| count).sum();
            record
        };
        judged(&of(&[(200, 99_100), (503, 900)]), Trust::Trustworthy, "");
        judged(
            &of(&[(200, 98_000), (503, 2_000)]),
            Trust::WithCare,
            "2 % of the requests are errors (2,000 answered 4xx or 5xx)",
        );
        judged(
            &of(&[(200, 1_000), (502, 9_000)]),
            Trust::WithCare,
            "90 % of the requests are errors, most of them answered 502: is this what you want",
        );
        let mut redirected = of(&[(302, 100_000)]);
        redirected.location = Some("/login".to_owned());
        judged(&redirected, Trust::WithCare, "100 % are 302 to /login: is this what you want");
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
