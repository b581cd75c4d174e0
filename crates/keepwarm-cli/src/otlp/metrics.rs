//! The request of OTLP that a load's record makes.
//!
//! Owns the names of the metrics: those of OpenTelemetry's semantic conventions for HTTP clients where
//! they have one, else `keepwarm.load.*`. Every sum is cumulative, from the start of the run to its end.

use keepwarm_record::load::{Distribution, HopRecord, LoadRecord, Trust};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::show::formats::metrics::BUCKETS_US;

/// Makes the request of a record.
pub(super) fn of(record: &LoadRecord) -> ExportMetricsServiceRequest {
    let mut metrics = OtlpMetrics::of(record);
    metrics.requests(record);
    metrics.connections(record);
    for hop in &record.hops {
        metrics.hop(hop);
    }
    metrics.times(record);
    let scope = InstrumentationScope {
        name: "keepwarm.load".to_owned(),
        version: record.machine.version.clone(),
        ..InstrumentationScope::default()
    };
    let scope_metrics =
        ScopeMetrics { scope: Some(scope), metrics: metrics.all, ..ScopeMetrics::default() };
    let resource = Resource { attributes: resource(record), ..Resource::default() };
    let of_resource = ResourceMetrics {
        resource: Some(resource),
        scope_metrics: vec![scope_metrics],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }
}

/// The tool, the labels of the run, and the verdict on it.
fn resource(record: &LoadRecord) -> Vec<KeyValue> {
    let trust = match record.verdict.trust {
        Trust::Trustworthy => "trustworthy",
        Trust::WithCare => "with_care",
        Trust::Invalid => "invalid",
    };
    let mut attributes = vec![
        text("service.name", "keepwarm"),
        text("service.version", &record.machine.version),
        text("keepwarm.load.url", &crate::secrets::url(&record.settings.url)),
        text("keepwarm.load.trust", trust),
    ];
    let labels = record.labels.iter();
    attributes.extend(labels.map(|(name, value)| text(&format!("keepwarm.label.{name}"), value)));
    attributes
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(signed(value)))
}

/// OTLP has signed integers alone; a count beyond them is none that a load can reach.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The metrics so far.
struct OtlpMetrics {
    all: Vec<Metric>,
    start_ns: u64,
    end_ns: u64,
    /// Attributes of the target.
    target: Vec<KeyValue>,
}

impl OtlpMetrics {
    fn of(record: &LoadRecord) -> Self {
        let settings = &record.settings;
        let start_ns = record.started_unix_ms.saturating_mul(1_000_000);
        let elapsed = std::time::Duration::try_from_secs_f64(record.elapsed_s).unwrap_or_default();
        let elapsed = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let target = vec![
            text("server.address", &settings.host),
            number("server.port", settings.port.into()),
            text("url.scheme", if settings.is_https() { "https" } else { "http" }),
            text("network.protocol.version", if settings.streams.is_some() { "2" } else { "1.1" }),
        ];
        Self { all: Vec::new(), start_ns, end_ns: start_ns.saturating_add(elapsed), target }
    }

    fn add(&mut self, name: &str, unit: &str, description: &str, data: Data) {
        self.all.push(Metric {
            name: name.to_owned(),
            unit: unit.to_owned(),
            description: description.to_owned(),
            data: Some(data),
            ..Metric::default()
        });
    }

    fn point(&self, own: Vec<KeyValue>, value: u64) -> NumberDataPoint {
        NumberDataPoint {
            attributes: [self.target.clone(), own].concat(),
            start_time_unix_nano: self.start_ns,
            time_unix_nano: self.end_ns,
            value: Some(Number::AsInt(signed(value))),
            ..NumberDataPoint::default()
        }
    }

    fn counter(
        &mut self,
        name: &str,
        unit: &str,
        description: &str,
        points: impl IntoIterator<Item = (Vec<KeyValue>, u64)>,
    ) {
        let points = points.into_iter().map(|(own, value)| self.point(own, value));
        let sum = Sum {
            data_points: points.collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
            is_monotonic: true,
        };
        self.add(name, unit, description, Data::Sum(sum));
    }

    fn requests(&mut self, record: &LoadRecord) {
        let requests = &record.requests;
        let outcomes = [
            ("completed", requests.completed),
            ("failed", requests.failed),
            ("unsent", requests.unsent),
        ];
        let by = |key: &'static str| move |(name, count)| (vec![text(key, name)], count);
        let name = "keepwarm.load.requests";
        let says = "Requests that were due, by outcome.";
        self.counter(name, "{request}", says, outcomes.map(by("outcome")));
        let statuses = record.statuses.iter();
        let statuses = statuses.map(|(status, count)| {
            (vec![number("http.response.status_code", (*status).into())], *count)
        });
        let says = "Complete responses by status.";
        self.counter("keepwarm.load.responses", "{response}", says, statuses.collect::<Vec<_>>());
        let errors = record.errors.iter();
        let errors = errors.map(|error| {
            let mut own = vec![text("error.type", &error.class)];
            own.extend(error.errno.as_deref().map(|errno| text("errno", errno)));
            (own, error.count)
        });
        let says = "Requests without a complete response, by class and error number.";
        self.counter("keepwarm.load.failures", "{request}", says, errors.collect::<Vec<_>>());
        if let Some(misses) = record.misses {
            let says = "Complete responses that missed an expectation.";
            self.counter("keepwarm.load.misses", "{response}", says, [(Vec::new(), misses)]);
        }
        let bytes = [("receive", record.bytes.read), ("transmit", record.bytes.written)];
        let says = "Bytes on the connections, heads included.";
        let direction = bytes.map(by("network.io.direction"));
        self.counter("keepwarm.load.io", "By", says, direction);
    }

    fn connections(&mut self, record: &LoadRecord) {
        let connections = &record.connections;
        let unit = "{connection}";
        let says = "Connections established.";
        let opened = [(Vec::new(), connections.opened)];
        self.counter("keepwarm.load.connections.opened", unit, says, opened);
        let closed = [
            ("load", connections.closed_by_us_total()),
            ("peer_fin", connections.peer_fin),
            ("peer_rst", connections.peer_rst),
            ("timeout", connections.timed_out),
            ("end", connections.still_open),
        ];
        let closed = closed.map(|(by, count)| (vec![text("by", by)], count));
        let says = "Connections that have ended, by the side that was first, or with the run.";
        self.counter("keepwarm.load.connections.closed", unit, says, closed);
        let says = "Requests on a connection that had carried one before.";
        let reused = [(Vec::new(), connections.reused)];
        self.counter("keepwarm.load.requests.reused", "{request}", says, reused);
    }

    /// The kernel's account of a watched port.
    fn hop(&mut self, hop: &HopRecord) {
        let port = || number("keepwarm.hop.port", hop.port.into());
        let says = "Connections of a watched port that were opened.";
        let opened = [(vec![port()], hop.opened)];
        self.counter("keepwarm.load.hop.opened", "{connection}", says, opened);
        let closed = &hop.closed;
        let closes = [
            ("client_fin", closed.client_fin),
            ("server_fin", closed.server_fin),
            ("crossed_fin", closed.crossed_fin),
            ("client_rst", closed.client_rst),
            ("server_rst", closed.server_rst),
            ("timed_out", closed.timed_out),
            ("unclassified", closed.unclassified),
        ];
        let closes = closes.map(|(by, count)| (vec![port(), text("by", by)], count));
        let says = "Connections of a watched port that were closed, by the side that was first.";
        self.counter("keepwarm.load.hop.closed", "{connection}", says, closes);
        let waits = &hop.time_wait;
        let waits = [
            ("client", "peak", waits.peak.client),
            ("client", "after", waits.after.client),
            ("server", "peak", waits.peak.server),
            ("server", "after", waits.after.server),
        ];
        let point = |(side, at, count): (&str, &str, u64)| {
            self.point(vec![port(), text("side", side), text("at", at)], count)
        };
        let gauge = Gauge { data_points: waits.map(point).into() };
        let says =
            "Sockets of a watched port in TIME_WAIT: the greatest count, and that after the run.";
        self.add("keepwarm.load.hop.time_wait", "{socket}", says, Data::Gauge(gauge));
    }

    fn times(&mut self, record: &LoadRecord) {
        let method = vec![text("http.request.method", &record.settings.method)];
        let says = "First byte of the request written to last byte of the response.";
        let name = "http.client.request.duration";
        self.histogram(name, says, &record.latency_us, method.clone());
        if record.settings.open_loop {
            let says = "Instant the request was due to last byte of the response.";
            let name = "keepwarm.load.response.duration";
            self.histogram(name, says, &record.response_us, method);
        }
        let says = "Connections that ended within the run: established to closed.";
        let lifetimes = &record.connections.lifetime_us;
        self.histogram("http.client.connection.duration", says, lifetimes, Vec::new());
        let says = "connect(2) to established.";
        self.histogram("keepwarm.load.connect.duration", says, &record.connect_us, Vec::new());
    }

    /// Times in seconds, in classic buckets: the counts up to each bound, and above the last.
    fn histogram(&mut self, name: &str, says: &str, times: &Distribution, own: Vec<KeyValue>) {
        let up_to = |end: u64| {
            let within = times.buckets.iter().take_while(|(value, _)| *value <= end);
            within.fold(0_u64, |sum, (_, count)| sum.saturating_add(*count))
        };
        let mut before = 0;
        let mut counts: Vec<u64> = BUCKETS_US
            .iter()
            .map(|end| {
                let all = up_to(*end);
                all - std::mem::replace(&mut before, all)
            })
            .collect();
        counts.push(times.count.saturating_sub(before));
        let seconds = |us: u64| us as f64 / 1e6;
        let point = HistogramDataPoint {
            attributes: [self.target.clone(), own].concat(),
            start_time_unix_nano: self.start_ns,
            time_unix_nano: self.end_ns,
            count: times.count,
            sum: Some(times.mean.unwrap_or(0.0) * times.count as f64 / 1e6),
            bucket_counts: counts,
            explicit_bounds: BUCKETS_US.map(seconds).into(),
            min: times.min.map(seconds),
            max: times.max.map(seconds),
            ..HistogramDataPoint::default()
        };
        let histogram = Histogram {
            data_points: vec![point],
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        };
        self.add(name, "s", says, Data::Histogram(histogram));
    }
}
