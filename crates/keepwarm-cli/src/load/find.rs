//! `load --find`: the highest rate at which a condition holds.
//!
//! Owns the search: open loops at one rate each, doubling until the condition fails, then bisection,
//! with a pause between steps in which the server settles. A step is judged by the interval of its
//! value, and repeated where that says nothing, or where the load itself was too late. `drive` runs a
//! step, the record judges it.

use std::time::Duration;

use keepwarm_record::assertion::{Assertion, Fact, Outcome};
use keepwarm_record::fold::confidence::Intervals;
use keepwarm_record::load::{CapacityRecord, CapacityStep, LoadRecord, Schedule, Trust, fact};

use super::{Hops, drive, plan};
use crate::args::LoadOptions;
use crate::exit::{Exit, Failure};
use crate::interrupt;
use crate::show::numbers::thousands;

/// Length of a step, unless `-z` gives another one.
const STEP: Duration = Duration::from_secs(5);

/// The search ends when the interval is this share of its lower end.
const PRECISE: f64 = 0.02;

/// The most runs of a step, repetitions included.
const MOST_RUNS: u64 = 3;

/// The most runs of a step at a rate that the load has kept before: there it is this machine that is
/// busy for a while, and not the load that has reached its limit.
const MOST_RUNS_BUSY: u64 = 6;

/// The shortest and the longest pause between two steps.
const SETTLE: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(10)];

/// Share of its rate that a step has to complete, to say that the server kept up.
const KEPT_UP: f64 = 0.95;

/// Standard deviations of an interval of 95 %.
const DEVIATIONS: f64 = 1.96;

/// The judgement on one run of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Held,
    Failed,
    /// The interval of a value has the bound within it.
    Unclear,
    /// The load itself was too late to say anything.
    Untrusted,
}

impl Judgement {
    fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Failed => "failed",
            Self::Unclear => "unclear",
            Self::Untrusted => "untrusted",
        }
    }
}

/// The search under way.
struct Search<'a> {
    options: &'a LoadOptions,
    conditions: &'a [Assertion],
    capacity: CapacityRecord,
    /// The record of the highest step that held, and of the last step.
    best: Option<LoadRecord>,
    last: Option<LoadRecord>,
}

/// Searches, and returns the record of the highest step that held, else of the last step.
pub(super) fn run(options: &LoadOptions) -> Result<LoadRecord, Failure> {
    let conditions = options.find.as_ref().map_or(&[][..], |conditions| &conditions.0);
    let typed: Vec<String> = conditions.iter().map(ToString::to_string).collect();
    let capacity = CapacityRecord {
        condition: typed.join(" && "),
        from: options.from,
        to: options.to,
        ..CapacityRecord::default()
    };
    let mut search = Search { options, conditions, capacity, best: None, last: None };
    let ended_by = search.bracket()?;
    search.finish(ended_by)
}

impl Search<'_> {
    /// Doubles the rate until the condition fails, then halves the gap. Returns the reason for the
    /// end.
    fn bracket(&mut self) -> Result<&'static str, Failure> {
        let (from, to) = (self.options.from, self.options.to);
        let (mut low, mut high) = (None, None);
        let mut rate = from;
        loop {
            match self.step(rate)? {
                None => return Ok("interrupted"),
                Some(Judgement::Held) => {
                    low = Some(rate);
                    self.capacity.capacity = low;
                    self.capacity.low = low;
                }
                Some(Judgement::Untrusted) => return Ok("loader"),
                Some(Judgement::Failed | Judgement::Unclear) => {
                    high = Some(rate);
                    self.capacity.high = high;
                }
            }
            rate = match (low, high) {
                (None, _) => return Ok("from"),
                (Some(low), None) if low >= to => return Ok("to"),
                (Some(low), None) => (low * 2.0).min(to),
                (Some(low), Some(high)) if high - low <= low * PRECISE => return Ok("found"),
                (Some(low), Some(high)) => (low * high).sqrt(),
            };
        }
    }

    /// Runs a step until it says something. `None` if a signal has ended it.
    fn step(&mut self, rate: f64) -> Result<Option<Judgement>, Failure> {
        let mut judgement = Judgement::Untrusted;
        let most = if self.has_kept(rate) { MOST_RUNS_BUSY } else { MOST_RUNS };
        for run in 1..=most {
            self.settle();
            let record = self.run_once(rate, run)?;
            let (judged, why) = judge(&record, rate, self.conditions);
            judgement = judged;
            self.capacity.steps.push(step_record(rate, &record, judged, why));
            if interrupt::happened() {
                self.last = Some(record);
                return Ok(None);
            }
            // A single stall of this machine may fail a step that the server kept up with.
            let kept_up = record.requests_per_second >= rate * KEPT_UP;
            let is_final = match judged {
                Judgement::Held => true,
                Judgement::Failed => !kept_up || run > 1,
                Judgement::Unclear => run >= MOST_RUNS,
                Judgement::Untrusted => false,
            };
            if judged == Judgement::Held {
                self.best = Some(record.clone());
            }
            self.last = Some(record);
            if is_final {
                break;
            }
        }
        Ok(Some(judgement))
    }

    /// Returns true if the load itself has kept this rate, or a higher one, in an earlier step.
    fn has_kept(&self, rate: f64) -> bool {
        let untrusted = Judgement::Untrusted.as_str();
        self.capacity.steps.iter().any(|step| step.outcome != untrusted && step.rate >= rate)
    }

    /// Waits until what the last step has left behind is over.
    fn settle(&self) {
        let longest = self.last.as_ref().and_then(|record| record.response_us.max);
        let pause = Duration::from_micros(longest.unwrap_or(0)).saturating_mul(2);
        if self.last.is_some() {
            std::thread::sleep(pause.clamp(SETTLE[0], SETTLE[1]));
        }
    }

    fn run_once(&self, rate: f64, run: u64) -> Result<LoadRecord, Failure> {
        let length = self.options.duration.unwrap_or(STEP);
        let builder = plan::builder(self.options)?.without_count().duration(length).rate(rate);
        let plan = builder.build().map_err(|error| plan::refused(&error, Some(self.options)))?;
        let number = self.capacity.steps.len() + 1;
        let again = if run > 1 { ", again" } else { "" };
        let name = format!("step {number}: {}/s{again}", thousands(rate.round() as u64));
        let mut record = drive(plan, &name, &Hops::start(&[])?, None, |_| Ok(None))?;
        record.settings.schedule = super::schedule(self.options, &record)
            .map(|schedule| Schedule { rate: Some(rate), ..schedule });
        if record.is_unreachable() {
            super::ending::judge(&record, None)?;
        }
        Ok(record)
    }

    fn finish(mut self, ended_by: &str) -> Result<LoadRecord, Failure> {
        self.capacity.ended_by = ended_by.to_owned();
        self.capacity.sentence = self.sentence(ended_by);
        let record = self.best.or(self.last);
        let mut record = record.ok_or_else(interrupt::failure)?;
        record.capacity = Some(self.capacity);
        Ok(record)
    }

    fn sentence(&self, ended_by: &str) -> String {
        let per_second = |rate: f64| format!("{} requests/s", thousands(rate.round() as u64));
        let condition = &self.capacity.condition;
        let last = self.capacity.steps.last();
        let at = last.map(|step| per_second(step.rate)).unwrap_or_default();
        let why = last.map(|step| step.why.clone()).unwrap_or_default();
        match (ended_by, self.capacity.capacity, self.capacity.high) {
            ("loader", known, _) if last.is_some_and(|step| self.has_kept(step.rate)) => {
                let least = known.map(|known| {
                    format!("{condition} holds up to {} at least; ", per_second(known))
                });
                format!(
                    "{}at {at} this machine was too busy to judge ({why}), though the load has kept \
                     that rate before: search again when it is quiet",
                    least.unwrap_or_default()
                )
            }
            ("loader", Some(capacity), _) => format!(
                "{condition} holds up to {} at least; at {at} the load, not the server, gave out \
                 ({why}): give it more cores, or a machine of its own",
                per_second(capacity)
            ),
            ("loader", None, _) => format!(
                "the load, not the server, gave out at {at} already ({why}): give it more cores, or \
                 a machine of its own"
            ),
            ("to", Some(capacity), _) => format!(
                "{condition} holds up to {}, the highest rate that --to allows",
                per_second(capacity)
            ),
            (_, Some(capacity), Some(high)) => format!(
                "{condition} holds up to {}: the capacity is between that and {}",
                per_second(capacity),
                per_second(high)
            ),
            (_, Some(capacity), None) => {
                format!("{condition} holds up to {} at least", per_second(capacity))
            }
            (_, None, _) => format!("{condition} does not hold at {at} already: {why}"),
        }
    }
}

/// Fails if the condition held at no rate.
pub(crate) fn judge_found(record: &LoadRecord) -> Result<(), Failure> {
    let Some(capacity) = &record.capacity else { return Ok(()) };
    match (capacity.capacity, capacity.ended_by.as_str()) {
        (Some(_), _) => Ok(()),
        (None, "loader") => Err(Failure::new(Exit::Invalid, capacity.sentence.clone())),
        (None, _) => Err(Failure::new(Exit::Assertion, capacity.sentence.clone())),
    }
}

/// Judges one run of a step, and says by which value.
fn judge(record: &LoadRecord, rate: f64, conditions: &[Assertion]) -> (Judgement, String) {
    if record.verdict.trust == Trust::Invalid {
        return (Judgement::Untrusted, record.verdict.reasons.join("; "));
    }
    if record.requests.unsent > 0 {
        let unsent = thousands(record.requests.unsent);
        return (Judgement::Failed, format!("{unsent} requests were never sent"));
    }
    let mut unclear = None;
    let mut said = Vec::new();
    for condition in conditions {
        let (judgement, why) = judge_one(record, condition);
        match judgement {
            Judgement::Held => said.push(why),
            Judgement::Unclear => unclear = unclear.or(Some(why)),
            failed => return (failed, why),
        }
    }
    if record.requests_per_second < rate * KEPT_UP {
        let completed = thousands(record.requests_per_second.round() as u64);
        return (Judgement::Failed, format!("only {completed} requests/s were completed"));
    }
    match unclear {
        Some(why) => (Judgement::Unclear, why),
        None => (Judgement::Held, said.join(", ")),
    }
}

fn judge_one(record: &LoadRecord, condition: &Assertion) -> (Judgement, String) {
    let name = condition.name().as_str();
    let value = match fact(record, name) {
        Fact::Known(value) => value,
        // A percentile among requests without an answer is longer than any bound.
        Fact::Absent(why) => return (Judgement::Failed, format!("{name}: {why}")),
    };
    let (low, high) = interval(record, name, value);
    let holds = |value: f64| matches!(condition.judge(Fact::Known(value)), Outcome::Held(_));
    let unit = condition.name().unit();
    let shown = format!("{name} was {}", unit.show(value));
    let judgement = match (holds(low), holds(high)) {
        (true, true) => Judgement::Held,
        (false, false) => Judgement::Failed,
        // Of a share, no sample is better than the value itself: a few requests prove nothing rare.
        _ if name.ends_with(".share") && holds(value) => Judgement::Held,
        _ => Judgement::Unclear,
    };
    match judgement {
        Judgement::Unclear => {
            (judgement, format!("{shown}, between {} and {}", unit.show(low), unit.show(high)))
        }
        judgement => (judgement, shown),
    }
}

/// Returns the interval of a value: of a percentile the record's, of a share Wilson's, else the value
/// alone.
fn interval(record: &LoadRecord, name: &str, value: f64) -> (f64, f64) {
    let point = name.rsplit_once('.').filter(|(_, point)| *point != "9");
    let (kind, point) = point.unwrap_or(("response", name));
    let (kind, point) = match name {
        "p99.9" => ("response", "p99.9"),
        name => match name.strip_suffix(".p99.9") {
            Some(kind) => (kind, "p99.9"),
            None => (kind, point),
        },
    };
    let times = match kind {
        "service" => &record.latency_us,
        "response" => &record.response_us,
        _ if point == "share" => return wilson(value, record.ended()),
        _ => return (value, value),
    };
    let of = |all: &Intervals| match point {
        "p50" => all.p50,
        "p90" => all.p90,
        "p99" => all.p99,
        "p99.9" => all.p999,
        _ => None,
    };
    let known = times.intervals.as_ref().and_then(of);
    known.map_or((value, value), |(low, high)| (low as f64, high as f64))
}

/// Returns Wilson's interval of a share of `count` samples.
fn wilson(share: f64, count: u64) -> (f64, f64) {
    let (n, z) = ((count as f64).max(1.0), DEVIATIONS);
    let middle = share + z * z / (2.0 * n);
    let spread = z * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    (((middle - spread) / scale).max(0.0), ((middle + spread) / scale).min(1.0))
}

fn step_record(rate: f64, record: &LoadRecord, judgement: Judgement, why: String) -> CapacityStep {
    let times = &record.response_us;
    let due = record.requests.scheduled.max(1) as f64;
    CapacityStep {
        rate,
        completed_per_second: record.requests_per_second,
        elapsed_s: record.elapsed_s,
        p50_us: times.p50,
        p99_us: times.p99,
        p99_interval_us: times.intervals.as_ref().and_then(|all| all.p99),
        max_us: times.max,
        errors_share: (record.errors() + record.requests.unsent) as f64 / due,
        outcome: judgement.as_str().to_owned(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Arguments, Command};

    /// The sentence of a search whose steps were these, in order.
    fn sentence(steps: &[(f64, Judgement)]) -> String {
        let typed = ["keepwarm", "load", "--find", "p99<50ms", "http://host/"];
        let Command::Load(options) = Arguments::try_parse_from(typed).expect("arguments").command
        else {
            panic!("it is a load")
        };
        let mut capacity =
            CapacityRecord { condition: "p99<50ms".to_owned(), ..CapacityRecord::default() };
        for (rate, judgement) in steps {
            if *judgement == Judgement::Held {
                capacity.capacity = Some(*rate);
            }
            capacity.steps.push(CapacityStep {
                rate: *rate,
                completed_per_second: *rate,
                elapsed_s: 5.0,
                p50_us: None,
                p99_us: None,
                p99_interval_us: None,
                max_us: None,
                errors_share: 0.0,
                outcome: judgement.as_str().to_owned(),
                why: "it was late".to_owned(),
            });
        }
        let search =
            Search { options: &options, conditions: &[], capacity, best: None, last: None };
        search.sentence("loader")
    }

    #[test]
    fn busy_machine_is_told_from_the_limit() {
        use Judgement::{Failed, Held, Untrusted};
        let limit = sentence(&[(100.0, Held), (200.0, Untrusted)]);
        assert!(
            limit.starts_with("p99<50ms holds up to 100 requests/s at least; at 200"),
            "{limit}"
        );
        assert!(limit.contains("the load, not the server, gave out"), "{limit}");
        let busy = sentence(&[(100.0, Held), (200.0, Failed), (141.0, Untrusted)]);
        assert!(busy.starts_with("p99<50ms holds up to 100 requests/s at least; at 141"), "{busy}");
        assert!(busy.contains("this machine was too busy to judge (it was late)"), "{busy}");
        let never = sentence(&[(100.0, Untrusted)]);
        assert!(never.starts_with("the load, not the server, gave out at 100"), "{never}");
        // Within one step: a run that says something, then one that does not.
        let none = sentence(&[(100.0, Judgement::Unclear), (100.0, Untrusted)]);
        assert!(none.starts_with("at 100 requests/s this machine was too busy"), "{none}");
    }

    #[test]
    fn shares_of_few_requests_are_wide() {
        let (low, high) = wilson(0.0, 500);
        assert!(low.abs() < 1e-9 && (0.007..0.008).contains(&high), "{low} {high}");
        let (low, high) = wilson(0.5, 10_000);
        assert!((low - 0.4902).abs() < 1e-3 && (high - 0.5098).abs() < 1e-3);
    }
}
