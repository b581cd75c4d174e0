//! The course of a load as a table (RFC 4180): a row for each slice, which is a second unless the run
//! was longer than an hour.

use std::fmt::Write as _;

use keepwarm_record::load::{LoadRecord, Sketched, SliceRecord};

/// Counts of a slice, by their names in the record.
const COUNTS: [&str; 18] = [
    "scheduled",
    "completed",
    "missed",
    "failed",
    "unsent",
    "requests_written",
    "reused",
    "connect_attempts",
    "connect_failed",
    "connect_timed_out",
    "opened",
    "closed_by_us",
    "peer_fin",
    "peer_rst",
    "timed_out",
    "still_open",
    "bytes_read",
    "bytes_written",
];

/// Kinds of status, by their names in the record.
const KINDS: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

const TIMES: [&str; 6] = [
    "service_p50_us",
    "service_p99_us",
    "service_max_us",
    "response_p50_us",
    "response_p99_us",
    "response_max_us",
];

pub(crate) fn render(record: &LoadRecord) -> String {
    let mut text = String::from("start_s,length_s");
    for name in COUNTS.iter().chain(&KINDS).chain(&["open"]).chain(&TIMES).chain(&["loader_cpu_s"])
    {
        text.push(',');
        text.push_str(name);
    }
    text.push('\n');
    for (index, slice) in record.timeline.slices.iter().enumerate() {
        row(&mut text, index as f64 * record.timeline.width_s, record.timeline.width_s, slice);
    }
    text
}

fn row(text: &mut String, start: f64, length: f64, slice: &SliceRecord) {
    // Writing into a String cannot fail.
    let _ = write!(text, "{start},{length}");
    for name in COUNTS {
        let _ = write!(text, ",{}", slice.counts.get(name).copied().unwrap_or(0));
    }
    for kind in KINDS {
        let _ = write!(text, ",{}", slice.statuses.get(kind).copied().unwrap_or(0));
    }
    let _ = write!(text, ",{}", slice.open);
    let points = |times: Option<&Sketched>| {
        [
            times.and_then(|one| one.p50),
            times.and_then(|one| one.p99),
            times.and_then(|one| one.max),
        ]
    };
    // A time that is not known is an empty cell, not 0.
    for point in
        points(Some(&slice.latency_us)).into_iter().chain(points(slice.response_us.as_ref()))
    {
        let _ = write!(text, ",{}", point.map(|point| point.to_string()).unwrap_or_default());
    }
    let _ = writeln!(text, ",{}", slice.loader_cpu_s);
}
