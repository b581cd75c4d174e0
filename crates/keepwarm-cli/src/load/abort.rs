//! Conditions that end a run early (`--abort-if`), in the language of assertions.
//!
//! Owns which of their names have a value while a run goes on, and the partial record that they are
//! judged by. The run decides nothing.

use std::collections::BTreeMap;
use std::time::SystemTime;

use keepwarm_load::{Count, ErrorClass, Run, Sketch, Slice};
use keepwarm_record::assertion::{Assertion, AssertionOutcome, AssertionRecord};
use keepwarm_record::load::{Distribution, ErrorRecord, LoadRecord, fact};

use super::{fill, plan};
use crate::args::LoadOptions;
use crate::exit::{Exit, Failure};

/// Refuses a condition that has no value before the run is over.
pub(super) fn refuse(condition: &Assertion, options: &LoadOptions) -> Result<(), Failure> {
    let refused =
        |why: &str| Err(Failure::new(Exit::Usage, format!("--abort-if {condition}: {why}")));
    let name = condition.name().as_str();
    let classes = ErrorClass::ALL.map(ErrorClass::as_str);
    let is_known = match name.split_once('.').unwrap_or((name, "")) {
        ("streams" | "hop" | "connect" | "handshake" | "lifetime" | "loader" | "lag", _) => false,
        ("conn", rest) => !rest.starts_with("requests."),
        ("errors", rest) => ["", "share"].contains(&rest) || classes.contains(&rest),
        ("status", code) => code.ends_with("xx"),
        _ => true,
    };
    if !is_known {
        return refused("it has no value before the run is over; use --assert");
    }
    match plan::unjudgeable(condition, options) {
        Some(why) => refused(&format!("it is not available here: {why}")),
        None => Ok(()),
    }
}

/// Returns the check of a running load: the first condition that holds, with its value.
pub(super) fn of(
    options: &LoadOptions,
) -> impl FnMut(&Run) -> Result<Option<String>, Failure> + use<'_> {
    let mut judged = 0;
    move |run| {
        let (seconds, so_far) = if options.abort_if.is_empty() {
            return Ok(None);
        } else {
            run.so_far()
        };
        if seconds <= judged {
            return Ok(None);
        }
        judged = seconds;
        let record = partial(run, seconds, &so_far);
        let holds = options.abort_if.iter().find_map(|condition| {
            let judged = AssertionRecord::of(condition, fact(&record, condition.name().as_str()));
            let holds = judged.outcome == AssertionOutcome::Held;
            holds.then(|| {
                let value = judged.value.unwrap_or_default();
                format!("{condition} held after {seconds} s: it was {value}")
            })
        });
        Ok(holds)
    }
}

/// Makes a record of what is known of a running load.
pub(super) fn partial(run: &Run, seconds: u64, so_far: &Slice) -> LoadRecord {
    let mut record = fill::empty(run.plan(), SystemTime::now());
    let count = |count| so_far.count(count);
    record.elapsed_s = seconds as f64;
    let requests = &mut record.requests;
    requests.scheduled = count(Count::Scheduled);
    requests.completed = count(Count::Completed);
    requests.failed = count(Count::Failed);
    requests.unsent = count(Count::Unsent);
    record.requests_per_second = requests.completed as f64 / record.elapsed_s.max(1.0);
    record.latency_us = distribution(&so_far.latency);
    record.response_us = distribution(&so_far.response);
    record.send_lag_us = distribution(&so_far.send_lag);
    let statuses = (0_u8..10).map(|digit| (u16::from(digit) * 100, so_far.statuses(digit)));
    record.statuses = statuses.filter(|(_, count)| *count > 0).collect();
    record.misses = (!run.plan().expectations().is_empty()).then(|| count(Count::Missed));
    let errors = ErrorClass::ALL.map(|class| (class, so_far.errors(class)));
    let errors = errors.into_iter().filter(|(_, count)| *count > 0);
    record.errors = errors.map(|(class, count)| error(class, count)).collect();
    let connections = &mut record.connections;
    connections.attempts = count(Count::ConnectAttempts);
    connections.failed = BTreeMap::from([("any".to_owned(), count(Count::ConnectFailed))]);
    connections.timed_out_connecting = count(Count::ConnectTimedOut);
    connections.opened = count(Count::Opened);
    connections.reused = count(Count::Reused);
    connections.closed_by_us = BTreeMap::from([("any".to_owned(), count(Count::ClosedByUs))]);
    connections.peer_fin = count(Count::PeerFin);
    connections.peer_rst = count(Count::PeerRst);
    connections.timed_out = count(Count::TimedOut);
    connections.still_open = run.progress().open_connections;
    record.bytes.read = count(Count::BytesRead);
    record.bytes.written = count(Count::BytesWritten);
    record
}

fn error(class: ErrorClass, count: u64) -> ErrorRecord {
    ErrorRecord {
        class: class.as_str().to_owned(),
        errno: None,
        count,
        first_s: 0.0,
        last_s: 0.0,
        example: String::new(),
        hint: None,
    }
}

/// Makes a distribution of a sketch: to within 3.2 %.
fn distribution(sketch: &Sketch) -> Distribution {
    let buckets: Vec<(u64, u64)> = sketch.buckets().collect();
    let at = |quantile| sketch.quantile(quantile);
    Distribution {
        count: sketch.count(),
        min: buckets.first().map(|(value, _)| *value),
        mean: sketch.mean(),
        std_dev: None,
        p50: at(0.5),
        p75: at(0.75),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999).filter(|_| sketch.count() >= 10_000),
        max: sketch.max(),
        intervals: None,
        saturated: 0,
        buckets,
    }
}
