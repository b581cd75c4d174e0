//! OpenTelemetry's metrics of HTTP clients, made from a client's events.
//!
//! Names, units, attributes and bucket boundaries are those of the semantic conventions for HTTP
//! metrics (`docs/http/http-metrics.md`). This module uses OpenTelemetry's API; the SDK, which the
//! caller sets up, exports the numbers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use opentelemetry::metrics::{Histogram, Meter, UpDownCounter};
use opentelemetry::{KeyValue, StringValue};

use crate::error::{Error, Stage};
use crate::observe::observer::{Event, EventKind, Observer, Outcome};

/// The most requests under way whose version is remembered; further ones are measured without it. So
/// many are under way only if the ends of requests were lost.
const MAX_REQUESTS: usize = 65_536;

/// Boundaries in seconds, as the conventions advise.
const REQUEST_BOUNDARIES: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const CONNECTION_BOUNDARIES: [f64; 14] =
    [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// An [`Observer`] that measures a client under the names of OpenTelemetry's semantic conventions.
/// With the feature `opentelemetry`.
///
/// | metric | attributes besides `server.address`, `server.port`, `url.scheme` |
/// |---|---|
/// | `http.client.request.duration` | `http.request.method`, `http.response.status_code`, `error.type`, `network.protocol.version` |
/// | `http.client.active_requests` | `http.request.method` |
/// | `http.client.open_connections` | `http.connection.state` (`active`, `idle`), `network.protocol.version` |
/// | `http.client.connection.duration` | `network.protocol.version` |
/// | `http.client.request.body.size` | as the request's duration |
/// | `http.client.response.body.size` | as the request's duration; only of bodies that were read to their end |
///
/// A request lasts from its beginning, waiting and dialling included, to the end of the body or the
/// error that the caller sees; a redirect that is followed is a request of its own. A status of 400
/// or more is its own `error.type`; otherwise it is one of `timeout` (the total one),
/// `acquire_timeout`, `connect_timeout`, `tls_handshake_timeout`, `response_header_timeout`,
/// `too_many_waiters`, `shut_down`, `too_large`, `cancelled` (dropped before its head came), or the
/// stage that failed: `request`, `wait`, `resolve`, `connect`, `tls`,
/// `exchange`, `body`, `redirect`. Methods that are not RFC 9110's or PATCH are `_OTHER`.
///
/// Each client has an observer of its own; observers of one meter add up. If events are lost (see
/// [`Observer`]), the gauges are wrong from then on.
///
/// ```
/// # fn example(provider: &impl opentelemetry::metrics::MeterProvider) -> keepwarm::Result<()> {
/// let metrics = keepwarm::OpenTelemetryMetrics::new(&provider.meter("keepwarm"));
/// let client = keepwarm::Client::builder().observer(metrics).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OpenTelemetryMetrics {
    request_duration: Histogram<f64>,
    active_requests: UpDownCounter<i64>,
    open_connections: UpDownCounter<i64>,
    connection_duration: Histogram<f64>,
    request_body_size: Histogram<u64>,
    response_body_size: Histogram<u64>,
    /// The server of the last event, which is most often that of the next event.
    last: Mutex<Option<Server>>,
    open: Mutex<Open>,
}

/// Connections and requests that have begun and are not over.
#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, OpenConnection>,
    /// Version that each request under way was sent by last.
    requests: HashMap<u64, &'static str>,
}

#[derive(Debug)]
struct OpenConnection {
    /// Exchanges under way.
    streams: u32,
    version: &'static str,
}

impl Open {
    /// Counts an exchange that begins or ends on a connection. Returns the connection's version if it
    /// becomes active, or idle, by that: it may serve several at once.
    fn count(&mut self, connection: u64, begins: bool) -> Option<&'static str> {
        let open = self.connections.get_mut(&connection)?;
        let before = open.streams;
        open.streams = if begins { before + 1 } else { before.saturating_sub(1) };
        (before == u32::from(!begins)).then_some(open.version)
    }
}

/// An origin as attributes.
#[derive(Clone, Debug)]
struct Server {
    origin: Arc<str>,
    address: StringValue,
    port: i64,
    scheme: &'static str,
}

/// A request that has ended.
struct EndedRequest<'a> {
    method: &'a Method,
    status: Option<StatusCode>,
    outcome: &'a Outcome,
    /// `None` if the request had no connection.
    version: Option<&'static str>,
}

impl OpenTelemetryMetrics {
    /// Creates the instruments with this meter.
    #[must_use]
    pub fn new(meter: &Meter) -> Self {
        let seconds = |name, what, boundaries: [f64; 14]| {
            let histogram = meter.f64_histogram(name).with_unit("s").with_description(what);
            histogram.with_boundaries(boundaries.to_vec()).build()
        };
        let bytes =
            |name, what| meter.u64_histogram(name).with_unit("By").with_description(what).build();
        let gauge = |name, unit, what| {
            meter.i64_up_down_counter(name).with_unit(unit).with_description(what).build()
        };
        Self {
            request_duration: seconds(
                "http.client.request.duration",
                "Duration of HTTP client requests.",
                REQUEST_BOUNDARIES,
            ),
            active_requests: gauge(
                "http.client.active_requests",
                "{request}",
                "Number of active HTTP requests.",
            ),
            open_connections: gauge(
                "http.client.open_connections",
                "{connection}",
                "Number of outbound HTTP connections that are currently active or idle on the client.",
            ),
            connection_duration: seconds(
                "http.client.connection.duration",
                "The duration of the successfully established outbound HTTP connections.",
                CONNECTION_BOUNDARIES,
            ),
            request_body_size: bytes(
                "http.client.request.body.size",
                "Size of HTTP client request bodies.",
            ),
            response_body_size: bytes(
                "http.client.response.body.size",
                "Size of HTTP client response bodies.",
            ),
            last: Mutex::new(None),
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self, origin: &Arc<str>) -> Server {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(server) if server.origin == *origin => server.clone(),
            _ => last.insert(Server::of(origin)).clone(),
        }
    }

    fn connections(&self, server: &Server, state: &'static str, by: &'static str, change: i64) {
        let state = KeyValue::new("http.connection.state", state);
        self.open_connections.add(change, &server.with([state, version(by)]));
    }

    fn moved(&self, server: &Server, by: &'static str, from: &'static str, to: &'static str) {
        self.connections(server, from, by, -1);
        self.connections(server, to, by, 1);
    }

    fn assigned(&self, server: &Server, connection: u64, request: Option<u64>) {
        let mut open = self.open();
        let known = open.connections.get(&connection).map(|one| one.version);
        if open.requests.len() < MAX_REQUESTS {
            open.requests.extend(request.zip(known));
        }
        let becomes_active = open.count(connection, true);
        drop(open);
        if let Some(by) = becomes_active {
            self.moved(server, by, IDLE, ACTIVE);
        }
    }

    fn closed(&self, server: &Server, connection: u64, age: Duration) {
        let Some(one) = self.open().connections.remove(&connection) else { return };
        let state = if one.streams > 0 { ACTIVE } else { IDLE };
        self.connections(server, state, one.version, -1);
        self.connection_duration.record(age.as_secs_f64(), &server.with([version(one.version)]));
    }
}

impl Observer for OpenTelemetryMetrics {
    fn observe(&self, event: Event) {
        let server = self.server(&event.origin);
        match &event.kind {
            EventKind::ConnectionOpened { connection, version, .. } => {
                let version = if *version == http::Version::HTTP_2 { "2" } else { "1.1" };
                let opened = OpenConnection { streams: 0, version };
                self.open().connections.insert(*connection, opened);
                self.connections(&server, IDLE, version, 1);
            }
            EventKind::ConnectionAssigned { connection, request, .. } => {
                self.assigned(&server, *connection, Some(*request));
            }
            EventKind::ConnectionInspected { connection } => {
                self.assigned(&server, *connection, None);
            }
            EventKind::ConnectionReturned { connection, .. } => {
                let becomes_idle = self.open().count(*connection, false);
                if let Some(by) = becomes_idle {
                    self.moved(&server, by, ACTIVE, IDLE);
                }
            }
            EventKind::ConnectionClosed { connection, age, .. } => {
                self.closed(&server, *connection, *age);
            }
            EventKind::RequestBegan { method, .. } => {
                self.active_requests.add(1, &server.with([method_of(method)]));
            }
            EventKind::RequestEnded {
                request,
                method,
                status,
                outcome,
                took,
                sent,
                received,
                ..
            } => {
                let version = self.open().requests.remove(request);
                self.active_requests.add(-1, &server.with([method_of(method)]));
                let ended = EndedRequest { method, status: *status, outcome, version };
                let attributes = server.with(ended.attributes());
                self.request_duration.record(took.as_secs_f64(), &attributes);
                self.request_body_size.record(*sent, &attributes);
                if matches!(outcome, Outcome::Complete) {
                    self.response_body_size.record(*received, &attributes);
                }
            }
            _ => {}
        }
    }
}

const ACTIVE: &str = "active";
const IDLE: &str = "idle";

fn version(name: &'static str) -> KeyValue {
    KeyValue::new("network.protocol.version", name)
}

fn method_of(method: &Method) -> KeyValue {
    const KNOWN: [&str; 9] =
        ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];
    let name = KNOWN.into_iter().find(|known| *known == method.as_str());
    KeyValue::new("http.request.method", name.unwrap_or("_OTHER"))
}

impl Server {
    /// Parses `scheme://host:port`, an IPv6 address in brackets.
    fn of(origin: &Arc<str>) -> Self {
        // Connections to all origins through a proxy are the proxy's.
        let named = match origin.split_once(" via ") {
            Some(("http", proxy)) => proxy,
            Some((named, _)) => named,
            None => origin,
        };
        let (scheme, authority) = named.split_once("://").unwrap_or(("http", named));
        let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self {
            origin: Arc::clone(origin),
            address: Arc::<str>::from(host).into(),
            port: port.parse().unwrap_or(0),
            scheme: if scheme == "https" { "https" } else { "http" },
        }
    }

    fn with(&self, more: impl IntoIterator<Item = KeyValue>) -> Vec<KeyValue> {
        let mut attributes = vec![
            KeyValue::new("server.address", self.address.clone()),
            KeyValue::new("server.port", self.port),
            KeyValue::new("url.scheme", self.scheme),
        ];
        attributes.extend(more);
        attributes
    }
}

impl EndedRequest<'_> {
    fn attributes(&self) -> Vec<KeyValue> {
        let mut attributes = vec![method_of(self.method)];
        attributes.extend(self.version.map(version));
        if let Some(status) = self.status {
            let code = i64::from(status.as_u16());
            attributes.push(KeyValue::new("http.response.status_code", code));
        }
        attributes.extend(self.error_type().map(|value| KeyValue::new("error.type", value)));
        attributes
    }

    fn error_type(&self) -> Option<StringValue> {
        if let Outcome::Failed(error) = self.outcome {
            return Some(name_of(error).into());
        }
        match self.status {
            None => Some("cancelled".into()),
            Some(status) if status.as_u16() >= 400 => Some(status.as_u16().to_string().into()),
            Some(_) => None,
        }
    }
}

fn name_of(error: &Error) -> &'static str {
    if error.is_acquire_timeout() {
        "acquire_timeout"
    } else if error.is_response_header_timeout() {
        "response_header_timeout"
    } else if error.is_connect_timeout() {
        "connect_timeout"
    } else if error.is_tls_handshake_timeout() {
        "tls_handshake_timeout"
    } else if error.is_timeout() {
        "timeout"
    } else if error.is_too_many_waiters() {
        "too_many_waiters"
    } else if error.is_shut_down() {
        "shut_down"
    } else if error.is_too_large() {
        "too_large"
    } else {
        match error.stage() {
            Stage::Request => "request",
            Stage::Wait => "wait",
            Stage::Resolve => "resolve",
            Stage::Connect => "connect",
            Stage::Tls => "tls",
            Stage::Exchange => "exchange",
            Stage::Body => "body",
            Stage::Answer => "answer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_is_split_into_attributes() {
        for (origin, address, port, scheme) in [
            ("http://host:80", "host", 80, "http"),
            ("https://10.0.0.1:8443", "10.0.0.1", 8443, "https"),
            ("http://[2001:db8::1]:8080", "2001:db8::1", 8080, "http"),
        ] {
            let server = Server::of(&origin.into());
            assert_eq!(
                (server.address.as_str(), server.port, server.scheme),
                (address, port, scheme)
            );
        }
    }
}
