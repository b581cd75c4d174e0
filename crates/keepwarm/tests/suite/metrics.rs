//! OpenTelemetry's metrics, as an SDK gathers them.

use std::collections::BTreeMap;
use std::sync::Arc;

use keepwarm::{Client, ClientBuilder, OpenTelemetryMetrics};
use keepwarm_testkit::http_server::RefusedPort;
use keepwarm_testkit::scripted::{Answer, Server, Stage, eventually, ok};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

use crate::support::{done, exchange, get};

/// An SDK that exports into memory.
struct Sdk {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

/// The measurements under one set of attributes: how many, and their sum.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    count: u64,
    sum: f64,
}

type Points = BTreeMap<String, Point>;

impl Sdk {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        Self { provider: SdkMeterProvider::builder().with_reader(reader).build(), exporter }
    }

    fn client(&self, builder: ClientBuilder) -> Client {
        let metrics = OpenTelemetryMetrics::new(&self.provider.meter("keepwarm"));
        builder.observer(metrics).build().expect("good settings")
    }

    /// The last export of this metric: its unit, and its points by their attributes, those of the
    /// server left out, sorted.
    fn read(&self, name: &str) -> (String, Points) {
        self.provider.force_flush().expect("flushed");
        let exports = self.exporter.get_finished_metrics().expect("in memory");
        let scopes = exports.last().expect("an export").scope_metrics();
        let mut metrics = scopes.flat_map(|scope| scope.metrics());
        let metric = metrics.find(|metric| metric.name() == name);
        let metric = metric.unwrap_or_else(|| panic!("{name} is measured"));
        (metric.unit().to_owned(), points(metric))
    }

    fn points(&self, name: &str) -> Points {
        self.read(name).1
    }

    fn value(&self, name: &str, attributes: &str) -> f64 {
        self.points(name).get(attributes).map_or(0.0, |point| point.sum)
    }
}

fn points(metric: &Metric) -> Points {
    match metric.data() {
        AggregatedMetrics::F64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|at| (words(at.attributes()), Point { count: at.count(), sum: at.sum() }))
            .collect(),
        AggregatedMetrics::U64(MetricData::Histogram(histogram)) => histogram
            .data_points()
            .map(|at| (words(at.attributes()), Point { count: at.count(), sum: at.sum() as f64 }))
            .collect(),
        AggregatedMetrics::I64(MetricData::Sum(sum)) => sum
            .data_points()
            .map(|at| (words(at.attributes()), Point { count: 1, sum: at.value() as f64 }))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn words<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let server = |one: &&KeyValue| {
        !one.key.as_str().starts_with("server.") && one.key.as_str() != "url.scheme"
    };
    let mut words: Vec<String> =
        attributes.filter(server).map(|one| format!("{}={}", one.key, one.value)).collect();
    words.sort();
    words.join(" ")
}

const GET_OK: &str =
    "http.request.method=GET http.response.status_code=200 network.protocol.version=1.1";

/// Names, units and attributes of durations and sizes.
#[tokio::test]
async fn metrics_follow_the_conventions() {
    let server = Server::start(|request| match request.target() {
        "/missing" => {
            Answer::Send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned())
        }
        _ => Answer::Send(ok("eight by")),
    });
    let dead = RefusedPort::new();
    let sdk = Sdk::new();
    let client = sdk.client(Client::builder());
    for _ in 0..3 {
        exchange(&client, &server.url("/")).await;
    }
    exchange(&client, &server.url("/missing")).await;
    let post = client.post(server.url("/")).body("question").send().await.expect("a response");
    post.bytes().await.expect("a body");
    let propfind = http::Method::from_bytes(b"PROPFIND").expect("a method");
    client.request(propfind, server.url("/")).send().await.expect("a response");
    client.get(format!("http://{}/", dead.address())).send().await.expect_err("nobody listens");

    let (unit, durations) = sdk.read("http.client.request.duration");
    assert_eq!(unit, "s");
    let counts: Vec<_> = durations.iter().map(|(words, point)| (&**words, point.count)).collect();
    let other = "http.request.method=_OTHER http.response.status_code=200 \
                 network.protocol.version=1.1";
    let post = "http.request.method=POST http.response.status_code=200 \
                network.protocol.version=1.1";
    assert_eq!(
        counts,
        [
            (
                "error.type=404 http.request.method=GET http.response.status_code=404 \
              network.protocol.version=1.1",
                1
            ),
            ("error.type=connect http.request.method=GET", 1),
            (GET_OK, 3),
            (post, 1),
            (other, 1),
        ]
    );
    let (unit, received) = sdk.read("http.client.response.body.size");
    assert_eq!((&*unit, &received[GET_OK]), ("By", &Point { count: 3, sum: 24.0 }));
    assert!(!received.contains_key(other), "it was dropped unread");
    assert_eq!(sdk.points("http.client.request.body.size")[post], Point { count: 1, sum: 8.0 });
}

#[cfg(feature = "http2")]
#[tokio::test]
async fn http2_is_measured_as_version_2() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.expect("a client");
        let mut streams = h2::server::handshake(socket).await.expect("HTTP/2");
        while let Some(Ok((_, mut respond))) = streams.accept().await {
            respond.send_response(http::Response::new(()), true).expect("an open stream");
        }
    });
    let sdk = Sdk::new();
    let client = sdk.client(Client::builder().http2_prior_knowledge());
    exchange(&client, &url).await;
    let request =
        "http.request.method=GET http.response.status_code=200 network.protocol.version=2";
    assert_eq!(sdk.points("http.client.request.duration")[request].count, 1);
    let idle = "http.connection.state=idle network.protocol.version=2";
    eventually("an idle connection", || sdk.value("http.client.open_connections", idle) == 1.0)
        .await;
}

#[tokio::test]
async fn gauges_agree_with_statistics() {
    let stage = Stage::open().await;
    let sdk = Sdk::new();
    let client = sdk.client(Client::builder());
    let active = "http.connection.state=active network.protocol.version=1.1";
    let idle = "http.connection.state=idle network.protocol.version=1.1";
    let open = || {
        let of = |state| sdk.value("http.client.open_connections", state);
        (of(active), of(idle))
    };
    let requests = || sdk.value("http.client.active_requests", "http.request.method=GET");

    let held: Vec<_> = (0..2).map(|_| get(&client, &stage.url("/"))).collect();
    let mut peers = [stage.accept().await, stage.accept().await];
    for peer in &mut peers {
        peer.request().await;
    }
    assert_eq!((open(), requests()), ((2.0, 0.0), 2.0));
    peers[0].write(ok("x")).await;
    peers[1].write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx").await;
    let mut responses = Vec::new();
    for request in held {
        responses.push(done(request).await.expect("a head"));
    }
    assert_eq!((open(), requests()), ((1.0, 1.0), 2.0), "the bodies are part of it");
    drop(responses);
    let [first, second] = peers;
    second.close();
    eventually("the end of the second", || client.stats().total.open() == 1).await;
    assert_eq!((open(), requests()), ((0.0, 1.0), 0.0));
    first.close();
    eventually("the end of the first", || client.stats().total.open() == 0).await;
    assert_eq!(open(), (0.0, 0.0));
    let (unit, lives) = sdk.read("http.client.connection.duration");
    assert_eq!((&*unit, lives["network.protocol.version=1.1"].count), ("s", 2));
}

#[tokio::test]
async fn server_attributes_are_address_port_scheme() {
    let server = Server::saying("x");
    let sdk = Sdk::new();
    let client = sdk.client(Client::builder());
    exchange(&client, &server.url("/")).await;
    sdk.provider.force_flush().expect("flushed");
    let exports = sdk.exporter.get_finished_metrics().expect("in memory");
    let mut seen = 0;
    for metric in exports.last().expect("an export").scope_metrics().flat_map(|s| s.metrics()) {
        let attributes = format!("{:?}", Arc::new(metric.data()));
        for part in ["127.0.0.1", &server.port().to_string(), "url.scheme", "server.address"] {
            assert!(attributes.contains(part), "{part} in {attributes}");
        }
        seen += 1;
    }
    assert_eq!(seen, 5, "no connection has ended");
}
