//! A load as metrics: OpenMetrics of a finished run, and the text format of Prometheus (0.0.4) while it
//! goes on. Owns the names, their help, and the difference between the two formats.

use std::fmt::{Display, Write as _};

use keepwarm_record::load::{Distribution, LoadRecord};

/// Upper ends of the buckets of times, in microseconds.
pub(crate) const BUCKETS_US: [u64; 17] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// The format of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenMetrics 1.0: the family of a counter has no `_total`, and the page has an end.
    OpenMetrics,
    /// The text format 0.0.4.
    Prometheus,
}

pub(crate) fn render(record: &LoadRecord, dialect: Dialect) -> String {
    let mut page = OpenMetricsPage { text: String::new(), dialect };
    page.about(record);
    page.requests(record);
    page.by_request(record);
    page.by_address(record);
    page.connections(record);
    let service = "Service times: first byte of the request written to last byte of the response.";
    page.times("keepwarm_load_service_time_seconds", service, &record.latency_us);
    if record.settings.open_loop {
        let response = "Response times: instant the request was due to last byte of the response.";
        page.times("keepwarm_load_response_time_seconds", response, &record.response_us);
    }
    if dialect == Dialect::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct OpenMetricsPage {
    text: String,
    dialect: Dialect,
}

impl OpenMetricsPage {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let name = match (self.dialect, kind) {
            (Dialect::Prometheus, "counter") => format!("{name}_total"),
            _ => name.to_owned(),
        };
        let unit = match self.dialect {
            Dialect::OpenMetrics => unit_of(&name),
            Dialect::Prometheus => None,
        };
        // Writing into a String cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        if let Some(unit) = unit {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        if !labels.is_empty() {
            let labels =
                labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
            let _ = write!(self.text, "{{{}}}", labels.collect::<Vec<_>>().join(","));
        }
        let _ = writeln!(self.text, " {value}");
    }

    fn counter(&mut self, name: &str, help: &str, samples: &[(&[(&str, &str)], u64)]) {
        self.family(name, "counter", help);
        for (labels, value) in samples {
            self.sample(&format!("{name}_total"), labels, value);
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    fn about(&mut self, record: &LoadRecord) {
        let name = "keepwarm_load_run";
        let settings = &record.settings;
        let url = crate::secrets::url(&settings.url);
        let labels: Vec<(String, &str)> = record
            .labels
            .iter()
            .map(|(name, value)| (format!("label_{}", label_name(name)), value.as_str()))
            .collect();
        let mut all = vec![
            ("url", url.as_str()),
            ("method", &settings.method),
            ("version", &record.machine.version),
        ];
        for (name, value) in &labels {
            // Two labels may differ only in what a name of a metric's label cannot have.
            if all.iter().all(|(other, _)| other != name) {
                all.push((name, value));
            }
        }
        self.family(name, "gauge", "The run: its target, its labels, and the version of the tool.");
        self.sample(name, &all, 1);
        let elapsed = "Time since the start of the run, or its length.";
        self.gauge("keepwarm_load_elapsed_seconds", elapsed, record.elapsed_s);
    }

    fn requests(&mut self, record: &LoadRecord) {
        let requests = &record.requests;
        self.counter(
            "keepwarm_load_requests",
            "Requests that were due and have ended, by outcome.",
            &[
                (&[("outcome", "completed")], requests.completed),
                (&[("outcome", "failed")], requests.failed),
                (&[("outcome", "unsent")], requests.unsent),
            ],
        );
        let kinds = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|kind| {
            let first = u16::from(kind.as_bytes()[0] - b'0') * 100;
            (kind, record.answered(first..first + 100))
        });
        let name = "keepwarm_load_responses";
        self.family(name, "counter", "Complete responses, by kind of status.");
        for (kind, count) in kinds {
            self.sample(&format!("{name}_total"), &[("status", kind)], count);
        }
        let name = "keepwarm_load_failures";
        self.family(name, "counter", "Requests without a complete response, by class.");
        for class in keepwarm_record::assertion::ERROR_CLASSES {
            let of_class = record.errors.iter().filter(|error| error.class == class);
            let count = of_class.fold(0_u64, |sum, error| sum.saturating_add(error.count));
            self.sample(&format!("{name}_total"), &[("class", class)], count);
        }
        if let Some(misses) = record.misses {
            let help = "Complete responses that missed an expectation.";
            self.counter("keepwarm_load_misses", help, &[(&[], misses)]);
        }
        let help = "Bytes of all requests and responses, heads included.";
        self.counter("keepwarm_load_read_bytes", help, &[(&[], record.bytes.read)]);
        self.counter("keepwarm_load_written_bytes", help, &[(&[], record.bytes.written)]);
    }

    /// The requests of a file of requests, by name.
    fn by_request(&mut self, record: &LoadRecord) {
        if record.by_request.is_empty() {
            return;
        }
        let name = "keepwarm_load_named_requests";
        self.family(name, "counter", "Requests by name and outcome; a miss is completed too.");
        for row in &record.by_request {
            for (outcome, count) in [
                ("completed", row.completed),
                ("failed", row.failed),
                ("http_error", row.http_errors),
                ("missed", row.misses),
            ] {
                let labels = [("request", row.name.as_str()), ("outcome", outcome)];
                self.sample(&format!("{name}_total"), &labels, count);
            }
        }
        let name = "keepwarm_load_named_service_time_seconds";
        self.family(name, "gauge", "Percentiles of the service times of requests, by name.");
        for row in &record.by_request {
            for (quantile, point) in [("0.5", row.latency_us.p50), ("0.99", row.latency_us.p99)] {
                // A time that is not known has no sample.
                if let Some(point) = point {
                    let labels = [("request", row.name.as_str()), ("quantile", quantile)];
                    self.sample(name, &labels, point as f64 / 1e6);
                }
            }
        }
    }

    /// Connections and requests by address of the target.
    fn by_address(&mut self, record: &LoadRecord) {
        if record.by_address.is_empty() {
            return;
        }
        let name = "keepwarm_load_address_requests";
        self.family(name, "counter", "Requests by address of the target and outcome.");
        for row in &record.by_address {
            for (outcome, count) in [("completed", row.completed), ("failed", row.failed)] {
                let labels = [("address", row.address.as_str()), ("outcome", outcome)];
                self.sample(&format!("{name}_total"), &labels, count);
            }
        }
        let name = "keepwarm_load_address_connections_opened";
        self.family(name, "counter", "Connections established, by address of the target.");
        for row in &record.by_address {
            self.sample(&format!("{name}_total"), &[("address", &row.address)], row.opened);
        }
    }

    fn connections(&mut self, record: &LoadRecord) {
        let connections = &record.connections;
        let opened = "Connections established.";
        self.counter("keepwarm_load_connections_opened", opened, &[(&[], connections.opened)]);
        self.counter(
            "keepwarm_load_connections_closed",
            "Connections that have ended, by the side that was first.",
            &[
                (&[("by", "load")], connections.closed_by_us_total()),
                (&[("by", "peer_fin")], connections.peer_fin),
                (&[("by", "peer_rst")], connections.peer_rst),
                (&[("by", "timeout")], connections.timed_out),
            ],
        );
        let reused = "Requests on a connection that had carried one before.";
        self.counter("keepwarm_load_requests_reused", reused, &[(&[], connections.reused)]);
        let open = "Connections that are open, or were when the run ended.";
        self.gauge("keepwarm_load_connections_open", open, connections.still_open);
    }

    /// A classic histogram of times.
    fn times(&mut self, name: &str, help: &str, times: &Distribution) {
        self.family(name, "histogram", help);
        for end in BUCKETS_US {
            let within = times.buckets.iter().take_while(|(value, _)| *value <= end);
            let count = within.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count));
            let end = end as f64 / 1e6;
            let end = if end.fract() == 0.0 { format!("{end:.1}") } else { end.to_string() };
            self.sample(&format!("{name}_bucket"), &[("le", &end)], count);
        }
        self.sample(&format!("{name}_bucket"), &[("le", "+Inf")], times.count);
        let sum = times.mean.unwrap_or(0.0) * times.count as f64 / 1e6;
        self.sample(&format!("{name}_sum"), &[], sum);
        self.sample(&format!("{name}_count"), &[], times.count);
    }
}

/// Returns the unit that a name ends with.
fn unit_of(name: &str) -> Option<&'static str> {
    ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")))
}

/// Replaces what the name of a label cannot have.
fn label_name(name: &str) -> String {
    name.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '_' }).collect()
}

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    let value = crate::show::printable(value);
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
