//! The progress line of a running load: share done, rate, p99, failures, and TIME_WAITs of hops.

use keepwarm_load::{Count, Run, Slice};

use super::Hops;
use crate::interrupt;
use crate::show::numbers::{millis_or_dash, thousands};

pub(super) fn line(name: &str, run: &Run, hops: &Hops) -> String {
    let (plan, now) = (run.plan(), run.progress());
    let done = now.completed + now.failed;
    let seconds = now.elapsed.as_secs_f64();
    let mut parts = vec![name.to_owned()];
    match (plan.requests(), plan.duration()) {
        (Some(wanted), _) => {
            let percent = done * 100 / wanted.max(1);
            parts.push(format!(
                "{percent:>3} %  {} of {} requests",
                thousands(done),
                thousands(wanted)
            ));
        }
        (None, Some(limit)) => {
            let limit = limit.as_secs_f64();
            let percent = (seconds / limit * 100.0).min(100.0);
            let left = format!("{:.0} of {limit:.0} s", seconds.min(limit));
            parts.push(format!("{percent:>3.0} %  {left}  {} requests", thousands(done)));
        }
        (None, None) => parts.push(format!("{seconds:.0} s  {} requests", thousands(done))),
    }
    // The last second of a run may not be whole.
    let whole = |(at, _): &(u64, Slice)| (at + 1) as f64 <= seconds;
    if let Some((_, second)) = run.last_second().filter(whole) {
        parts.push(format!("{}/s", thousands(second.count(Count::Completed))));
        // Times of the kind that the final report quotes.
        let times = if plan.is_open_loop() { &second.response } else { &second.latency };
        parts.push(format!("p99 {} ms", millis_or_dash(times.quantile(0.99))));
        let errors: u64 = (4..10).map(|class| second.statuses(class)).sum();
        if errors > 0 {
            parts.push(format!("{}/s answered 4xx or 5xx", thousands(errors)));
        }
        let unsent = second.count(Count::Unsent);
        if unsent > 0 {
            parts.push(format!("{}/s never sent", thousands(unsent)));
        }
    }
    let is_over = plan.duration().is_some_and(|duration| now.elapsed >= duration);
    if (interrupt::happened() || is_over) && now.in_flight > 0 {
        parts.push(format!("waiting for {} in flight", thousands(now.in_flight)));
    }
    parts.push(format!("{} open", thousands(now.open_connections)));
    if now.failed > 0 {
        parts.push(format!("{} failed", thousands(now.failed)));
    }
    for (port, sample) in hops.last() {
        let waits = thousands(sample.time_wait.sum());
        parts.push(format!("port {port}: {waits} in TIME_WAIT"));
    }
    parts.join("  ")
}
