//! The page that Prometheus scrapes, in its text format, version 0.0.4.
//!
//! Owns the names of the metrics, their help and their order. A metric whose value is not known has
//! no sample: it is never 0 instead. `crates/keepwarm-cli/src/watch/print` has queries of these names.

use std::fmt::Write;

use keepwarm_record::watch::Level;

use super::book::{Book, Labels, Now, Series};
use super::counts::{Buckets, CLOSED_BY, IDLE_UP_TO_MS, REQUESTS_UP_TO};
use super::process::Usage;
use crate::show::printable;

/// The media type of the page.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Characters of a label's value: a cgroup's name may have 255 bytes.
const MAX_VALUE: usize = 128;

/// Facts of the tool itself that stand on the page.
#[derive(Debug)]
pub(super) struct About<'a> {
    /// The label `node` of every sample, if one was given.
    pub(super) node: Option<&'a str>,
    pub(super) usage: Usage,
    pub(super) scrapes: u64,
    pub(super) refused: u64,
}

/// Renders the page.
pub(super) fn render(book: &Book, about: &About<'_>) -> String {
    let mut page = PrometheusPage { text: String::new(), node: node(about.node) };
    let mut all: Vec<(&Labels, &Series)> = book.series.iter().collect();
    all.sort_unstable_by_key(|(labels, _)| *labels);
    let all: Vec<(String, &Series)> =
        all.into_iter().map(|(labels, series)| (written(labels), series)).collect();
    if book.level.is_some_and(Level::counts_closes) {
        page.counters(&all);
    }
    page.levels(&all);
    page.ports(&all);
    page.path(&all);
    page.leaks(&all);
    page.findings(book, &all);
    page.of_watch(book);
    page.of_tool(about);
    page.text
}

/// The text under way.
struct PrometheusPage {
    text: String,
    /// The label `node`, written, with a comma behind it.
    node: String,
}

impl PrometheusPage {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Writes one sample; `labels` are written already.
    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        let node = if labels.is_empty() { self.node.trim_end_matches(',') } else { &self.node };
        let _ = match node.is_empty() && labels.is_empty() {
            true => writeln!(self.text, "{name} {value}"),
            false => writeln!(self.text, "{name}{{{node}{labels}}} {value}"),
        };
    }

    fn gauge<T: std::fmt::Display>(
        &mut self,
        all: &[(String, &Series)],
        name: &str,
        help: &str,
        value: impl Fn(&Now) -> Option<T>,
    ) {
        self.family(name, "gauge", help);
        for (labels, series) in all {
            if let Some(value) = series.now.as_ref().and_then(&value) {
                self.sample(name, labels, value);
            }
        }
    }

    fn counters(&mut self, all: &[(String, &Series)]) {
        let name = "keepwarm_connections_opened_total";
        self.family(name, "counter", "Connections established since the watch began.");
        all.iter().for_each(|(labels, series)| self.sample(name, labels, series.counts.opened));
        let name = "keepwarm_connections_closed_total";
        let help = "Connections that ended, by the side that closed first and how.";
        self.family(name, "counter", help);
        for (labels, series) in all {
            for (by, count) in CLOSED_BY.iter().zip(series.counts.closed) {
                self.sample(name, &format!("{labels},by=\"{by}\""), count);
            }
        }
        let name = "keepwarm_connects_failed_total";
        self.family(name, "counter", "Calls of connect(2) that were refused or timed out.");
        for (labels, series) in all {
            self.sample(name, labels, series.counts.connect_failed);
        }
        let name = "keepwarm_segments_sent_total";
        self.family(name, "counter", "Segments that connections had sent when they were closed.");
        all.iter().for_each(|(labels, one)| self.sample(name, labels, one.counts.segments_sent));
        let name = "keepwarm_segments_retransmitted_total";
        self.family(name, "counter", "Segments among them that were sent again.");
        all.iter().for_each(|(labels, one)| self.sample(name, labels, one.counts.retransmits));
        let name = "keepwarm_requests_per_connection";
        let help = "Requests that a closed connection had carried, at least.";
        self.family(name, "histogram", help);
        for (labels, series) in all {
            self.histogram(name, labels, &series.counts.requests, &REQUESTS_UP_TO, 1.0);
        }
        let name = "keepwarm_idle_at_close_seconds";
        let help = "Time between the last data of a connection and its close.";
        self.family(name, "histogram", help);
        for (labels, series) in all {
            self.histogram(name, labels, &series.counts.idle_ms, &IDLE_UP_TO_MS, 1e3);
        }
    }

    fn histogram<const N: usize>(
        &mut self,
        name: &str,
        labels: &str,
        buckets: &Buckets<N>,
        bounds: &[u32; N],
        unit: f64,
    ) {
        let mut so_far = 0;
        for (count, bound) in buckets.up_to.iter().zip(bounds) {
            so_far += count;
            let bound = f64::from(*bound) / unit;
            self.sample(&format!("{name}_bucket"), &format!("{labels},le=\"{bound}\""), so_far);
        }
        let count = buckets.count();
        self.sample(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), count);
        self.sample(&format!("{name}_sum"), labels, buckets.sum as f64 / unit);
        self.sample(&format!("{name}_count"), labels, count);
    }

    fn levels(&mut self, all: &[(String, &Series)]) {
        let name = "keepwarm_sockets";
        self.family(name, "gauge", "Sockets now, by state.");
        for (labels, series) in all {
            let Some(now) = &series.now else { continue };
            let states = [
                ("established", Some(now.established)),
                ("close_wait", Some(now.close_wait)),
                ("time_wait", now.time_wait),
            ];
            for (state, count) in states {
                if let Some(count) = count {
                    self.sample(name, &format!("{labels},state=\"{state}\""), count);
                }
            }
        }
    }

    fn ports(&mut self, all: &[(String, &Series)]) {
        let help = "Local ports taken towards the service, from the source address with most.";
        self.gauge(all, "keepwarm_local_ports_used", help, |now| now.ports_used);
        let help =
            "Local ports that connect(2) can choose from, in the network namespace of the client.";
        self.gauge(all, "keepwarm_local_ports_limit", help, |now| now.ports_limit);
        let help = "Forecast of when half of the local ports are taken and connect(2) gets slow. \
                    Absent while that never happens.";
        self.gauge(all, "keepwarm_ports_slow_in_seconds", help, |now| now.slow_in_s);
        let help = "Forecast of when no local port is left and connect(2) fails. Absent while that \
                    never happens.";
        self.gauge(all, "keepwarm_ports_exhausted_in_seconds", help, |now| now.exhausted_in_s);
    }

    fn path(&mut self, all: &[(String, &Series)]) {
        let help = "Round trip in the last half minute: the median of the connections' means.";
        self.gauge(all, "keepwarm_round_trip_seconds", help, |now| now.round_trip_s);
        let help = "Least round trip of any connection.";
        self.gauge(all, "keepwarm_round_trip_least_seconds", help, |now| now.least_round_trip_s);
        let help = "Seconds of waiting in each second for new connections, at a client.";
        self.gauge(all, "keepwarm_connect_waiting_seconds_per_second", help, |now| {
            now.waiting_s_per_s
        });
    }

    fn leaks(&mut self, all: &[(String, &Series)]) {
        let help = "Connections that stay open, more each second. Absent without steady growth.";
        self.gauge(all, "keepwarm_connections_growth_per_second", help, |now| now.growth_per_s);
        let help = "Files that the main owner has open, where its connections grow.";
        self.gauge(all, "keepwarm_owner_files_used", help, |now| now.files_used);
        let help = "Files that the main owner may have open, where its connections grow.";
        self.gauge(all, "keepwarm_owner_files_limit", help, |now| now.files_limit);
        let help =
            "Forecast of when the main owner may open no more. Absent while that never happens.";
        self.gauge(all, "keepwarm_owner_files_exhausted_in_seconds", help, |now| {
            now.files_exhausted_in_s
        });
    }

    fn findings(&mut self, book: &Book, all: &[(String, &Series)]) {
        let name = "keepwarm_finding";
        let help = "Confidence of a finding about the last half minute. `keepwarm explain CODE` has \
                    the code. Absent while it is not found.";
        self.family(name, "gauge", help);
        for (labels, series) in all {
            for (code, confidence) in series.now.iter().flat_map(|now| &now.findings) {
                let code = quoted(code);
                self.sample(name, &format!("{labels},code=\"{code}\""), confidence);
            }
        }
        let name = "keepwarm_host_finding";
        self.family(name, "gauge", "Confidence of a finding about the whole network namespace.");
        for (code, confidence) in &book.host_findings {
            self.sample(name, &format!("code=\"{}\"", quoted(code)), confidence);
        }
    }

    fn of_watch(&mut self, book: &Book) {
        let counters = [
            (
                "keepwarm_watch_lost_events_total",
                "Destroy events that the kernel dropped: as many closes may be missing.",
                book.lost_events,
            ),
            (
                "keepwarm_watch_lost_trace_events_total",
                "Traced events that were overwritten before they were read.",
                book.lost_trace_events,
            ),
            (
                "keepwarm_watch_unattributed_aborts_total",
                "Aborts of which the kernel had cleared the port, so that no series has them.",
                book.unattributed_aborts,
            ),
        ];
        for (name, help, value) in counters {
            if let Some(value) = value {
                self.family(name, "counter", help);
                self.sample(name, "", value);
            }
        }
        let name = "keepwarm_watch_seconds_total";
        self.family(name, "counter", "Seconds that the watch has lasted.");
        self.sample(name, "", book.watched.as_secs_f64());
        let name = "keepwarm_watch_series";
        self.family(name, "gauge", "Sets of labels on this page; at most 1024 and two others.");
        self.sample(name, "", book.series.len());
    }

    fn of_tool(&mut self, about: &About<'_>) {
        let name = "keepwarm_watch_scrapes_total";
        self.family(name, "counter", "Times that this page was asked for.");
        self.sample(name, "", about.scrapes);
        let name = "keepwarm_watch_requests_refused_total";
        self.family(name, "counter", "Requests and connections that were refused or cut off.");
        self.sample(name, "", about.refused);
        let name = "keepwarm_build_info";
        self.family(name, "gauge", "Always 1: the version and the commit of the tool.");
        let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("KEEPWARM_COMMIT"));
        self.sample(name, &format!("version=\"{version}\",commit=\"{commit}\""), 1);
        let Usage { cpu_s, resident_bytes, started_at_s } = about.usage;
        let known = [
            ("process_cpu_seconds_total", "counter", "Processor time of the tool.", cpu_s),
            ("process_resident_memory_bytes", "gauge", "Memory of the tool.", resident_bytes),
            ("process_start_time_seconds", "gauge", "Start of the tool, since 1970.", started_at_s),
        ];
        for (name, kind, help, value) in known {
            if let Some(value) = value {
                self.family(name, kind, help);
                self.sample(name, "", value);
            }
        }
    }
}

fn node(name: Option<&str>) -> String {
    name.map(|name| format!("node=\"{}\",", quoted(name))).unwrap_or_default()
}

/// Writes the labels of a series. The names of its owner are absent where they are not known.
fn written(labels: &Labels) -> String {
    let remote = labels.remote.map_or_else(|| "other".to_owned(), |remote| remote.to_string());
    let mut text = format!("side=\"{}\",remote=\"{remote}\"", labels.side.as_str());
    let owner = &labels.owner;
    let names = [
        ("netns", &labels.netns),
        ("process", &owner.process),
        ("namespace", &owner.namespace),
        ("pod", &owner.pod),
        ("container", &owner.container),
        ("unit", &owner.unit),
    ];
    for (name, value) in names {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            let _ = write!(text, ",{name}=\"{}\"", quoted(value));
        }
    }
    text
}

/// Returns a label's value, bounded and without control characters. A name comes from a process, which
/// may choose any.
pub(super) fn bounded(value: &str) -> String {
    printable(value).chars().take(MAX_VALUE).collect()
}

/// Escapes a label's value, and bounds it.
fn quoted(value: &str) -> String {
    let mut text = String::new();
    for letter in bounded(value).chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            letter => text.push(letter),
        }
    }
    text
}
