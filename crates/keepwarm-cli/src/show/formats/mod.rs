//! A load's record for other programs: CSV, HdrHistogram's formats, JUnit, GitHub, OpenMetrics.
//!
//! Owns the formats. Each is a fold over the record alone, so a report of a file says the same as the
//! run did. Prints nothing.

pub(crate) mod csv;
pub(crate) mod github;
pub(crate) mod hdr;
pub(crate) mod junit;
pub(crate) mod metrics;

use keepwarm_record::load::{LoadRecord, Trust};

/// Says in one line how the run went.
fn outcome(record: &LoadRecord) -> String {
    use keepwarm_record::numbers::{millis, thousands};
    let mut parts = vec![format!(
        "{} requests in {:.2} s, {} requests/s",
        thousands(record.requests.completed),
        record.elapsed_s,
        thousands(record.requests_per_second.round() as u64),
    )];
    parts.extend(record.answers().iter().map(|one| one.describe(record.ended())));
    if record.requests.failed > 0 {
        parts.push(format!("{} failed", thousands(record.requests.failed)));
    }
    if let Some(misses @ 1..) = record.misses {
        parts.push(format!("{} missed what was expected", thousands(misses)));
    }
    if record.requests.unsent > 0 {
        parts.push(format!("{} never sent", thousands(record.requests.unsent)));
    }
    let times = if record.settings.open_loop { &record.response_us } else { &record.latency_us };
    for (name, point) in [("p50", times.p50), ("p99", times.p99)] {
        parts.extend(point.map(|point| format!("{name} {} ms", millis(point))));
    }
    parts.join(", ")
}

/// Names the trust that the record's numbers deserve.
fn trust(record: &LoadRecord) -> &'static str {
    match record.verdict.trust {
        Trust::Trustworthy => "trustworthy",
        Trust::WithCare => "with care",
        Trust::Invalid => "invalid",
    }
}
