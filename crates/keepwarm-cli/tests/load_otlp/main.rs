//! `--otlp`: a real receiver on a socket decodes what a load sends at its end. In a build without the
//! feature `otlp`, the flag says how to have it.

#[cfg(feature = "otlp")]
mod collector_with_otlp;
#[path = "../common/mod.rs"]
mod common;

use common::{keepwarm, run};

#[cfg(not(feature = "otlp"))]
#[test]
fn build_without_otlp_says_how_to_have_it() {
    let load = ["load", "-n", "10", "--otlp", "http://127.0.0.1:4318", "http://127.0.0.1:9/"];
    run(keepwarm().args(load)).exits_with(2).says("--features otlp");
    run(keepwarm().args(["report", "--otlp", "http://127.0.0.1:4318", "none.json"]))
        .exits_with(2)
        .says("--features otlp");
}

#[cfg(feature = "otlp")]
mod with_otlp {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, channel};

    use opentelemetry_proto::tonic::collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    };
    use opentelemetry_proto::tonic::common::v1::KeyValue;
    use opentelemetry_proto::tonic::common::v1::any_value::Value as Text;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
    use prost::Message;
    use serde_json::Value;

    use super::common::{self, PATIENCE, Service, dead_port};
    use super::{keepwarm, run};

    /// A request as it arrived.
    struct Received {
        head: String,
        body: Vec<u8>,
    }

    /// A collector that answers each request with the next of `answers`, and the last one again.
    fn collector(answers: Vec<(&'static str, Vec<u8>)>) -> (SocketAddr, Receiver<Received>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut next = 0;
            for stream in listener.incoming().flatten() {
                let mut stream = BufReader::new(stream);
                while let Some(received) = read(&mut stream) {
                    let (status, body) = &answers[next.min(answers.len() - 1)];
                    next += 1;
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Type: application/x-protobuf\r\n\
                         Content-Length: {}\r\n\r\n",
                        body.len()
                    );
                    let _ = sender.send(received);
                    let stream = stream.get_mut();
                    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
                }
            }
        });
        (address, receiver)
    }

    fn read(stream: &mut BufReader<TcpStream>) -> Option<Received> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1)?.lines().next()?.parse().ok()?;
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        Some(Received { head, body })
    }

    fn empty() -> Vec<u8> {
        ExportMetricsServiceResponse::default().encode_to_vec()
    }

    fn text_of<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
        let value = attributes.iter().find(|one| one.key == key)?.value.as_ref()?.value.as_ref()?;
        match value {
            Text::StringValue(text) => Some(text.as_str()),
            _ => None,
        }
    }

    fn export(received: &Received) -> ExportMetricsServiceRequest {
        assert!(received.head.starts_with("post /v1/metrics http/1.1\r\n"), "{}", received.head);
        assert!(received.head.contains("content-type: application/x-protobuf\r\n"));
        ExportMetricsServiceRequest::decode(&received.body[..]).expect("protobuf")
    }

    /// The sum of the points of a counter whose attributes have this value.
    fn count(export: &ExportMetricsServiceRequest, name: &str, key: &str, value: &str) -> i64 {
        let metrics = &export.resource_metrics[0].scope_metrics[0].metrics;
        let metric = metrics.iter().find(|one| one.name == name).expect(name);
        let Some(Data::Sum(sum)) = &metric.data else { panic!("{name} is a counter") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "cumulative: {sum:?}");
        let points = sum.data_points.iter();
        let points = points.filter(|one| text_of(&one.attributes, key) == Some(value));
        points.map(|one| if let Some(Number::AsInt(n)) = one.value { n } else { -1 }).sum()
    }

    #[test]
    fn collector_has_the_counts_of_the_record() {
        let data = Service::start(&["data"]);
        let (address, received) = collector(vec![("200 OK", empty())]);
        let folder = common::folder(&format!("otlp-{}", std::process::id()));
        let record = folder.join("run.json");
        let port = data.address.port().to_string();
        let mut load = keepwarm();
        load.args(["load", "-n", "300", "-c", "3", "--watch", &port, "--label", "commit=12"]);
        load.args(["--otlp", &format!("http://{address}"), "-o"]).arg(&record);
        load.env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b");
        run(load.arg(data.url("/data"))).exits_with(0);
        let sent = received.recv_timeout(PATIENCE).expect("a request");
        assert!(sent.head.contains("x-key: a b\r\n"), "{}", sent.head);
        let first = export(&sent);
        let resource = first.resource_metrics[0].resource.as_ref().expect("a resource");
        assert_eq!(text_of(&resource.attributes, "service.name"), Some("keepwarm"));
        assert_eq!(text_of(&resource.attributes, "keepwarm.label.commit"), Some("12"));
        assert_eq!(count(&first, "keepwarm.load.requests", "outcome", "completed"), 300);
        assert_eq!(count(&first, "keepwarm.load.connections.closed", "by", "end"), 3);
        assert_eq!(count(&first, "keepwarm.load.hop.closed", "by", "client_fin"), 3);
        let written: Value =
            serde_json::from_slice(&std::fs::read(&record).expect("a file")).expect("JSON");
        assert_times(&first, &written);
        // A record from a file says the same.
        let again = format!("http://{address}/v1/metrics");
        run(keepwarm().arg("report").arg(&record).args(["--otlp", &again])).exits_with(0);
        assert_eq!(export(&received.recv_timeout(PATIENCE).expect("a request")), first);
        std::fs::remove_dir_all(folder).expect("removable");
    }

    fn assert_times(export: &ExportMetricsServiceRequest, record: &Value) {
        let metrics = &export.resource_metrics[0].scope_metrics[0].metrics;
        let times = metrics.iter().find(|one| one.name == "http.client.request.duration");
        let times = times.expect("times");
        let Some(Data::Histogram(times)) = &times.data else { panic!("a histogram: {times:?}") };
        let point = &times.data_points[0];
        assert_eq!((point.count, point.bucket_counts.iter().sum::<u64>()), (300, 300));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        let mean = record["latency_us"]["mean"].as_f64().expect("a mean");
        let sum = point.sum.expect("a sum");
        assert!((sum - mean * 300.0 / 1e6).abs() < 1e-9, "{sum} {mean}");
        let slow = record["latency_us"]["max"].as_f64().map(|us| us / 1e6);
        assert_eq!(point.max, slow);
        let method = text_of(&point.attributes, "http.request.method");
        assert_eq!((method, text_of(&point.attributes, "url.scheme")), (Some("GET"), Some("http")));
        let started = record["started_unix_ms"].as_u64().expect("an instant") * 1_000_000;
        assert!(point.start_time_unix_nano == started && point.time_unix_nano > started);
    }

    #[test]
    fn busy_collector_is_asked_again() {
        let data = Service::start(&["data"]);
        let partial = ExportMetricsPartialSuccess {
            rejected_data_points: 7,
            error_message: "too old".to_owned(),
        };
        let partial = ExportMetricsServiceResponse { partial_success: Some(partial) };
        let busy = "503 Service Unavailable\r\nRetry-After: 0";
        let (address, received) =
            collector(vec![(busy, Vec::new()), ("200 OK", partial.encode_to_vec())]);
        let load = ["load", "-n", "10", "-c", "1", "--otlp", &format!("http://{address}")];
        let output = run(keepwarm().args(load).arg(data.url("/data")));
        output.exits_with(0).says("the collector rejected 7 data points: too old");
        let two = [received.recv_timeout(PATIENCE), received.recv_timeout(PATIENCE)];
        let [first, second] = two.map(|one| export(&one.expect("a request")));
        assert_eq!(first, second);
    }

    #[test]
    fn lost_metrics_fail_after_the_report() {
        let data = Service::start(&["data"]);
        let (address, _received) = collector(vec![("404 Not Found", Vec::new())]);
        let dead = SocketAddr::from(([127, 0, 0, 1], dead_port()));
        for (collector, why) in [(address, "404 Not Found"), (dead, "refused")] {
            let url = format!("http://{collector}/v1/metrics");
            let load = ["load", "-n", "10", "-c", "1", "--otlp", &url];
            let output = run(keepwarm().args(load).arg(data.url("/data")));
            output.exits_with(9).says("cannot send the metrics to http://127.0.0.1:").says(why);
            assert!(output.stdout.contains("10 requests in"), "{}", output.stdout);
        }
    }

    #[test]
    fn unusable_target_is_refused_before_the_run() {
        for wrong in ["127.0.0.1:4318", "ftp://127.0.0.1", "http://me:hush@127.0.0.1"] {
            run(keepwarm().args(["load", "--otlp", wrong, "http://127.0.0.1:9/"]))
                .exits_with(2)
                .says("http://HOST:PORT");
        }
        let otlp = ["load", "--fleet-check", "--otlp", "http://127.0.0.1:1", "http://127.0.0.1:9/"];
        run(keepwarm().args(otlp)).exits_with(2).says("--otlp belongs to one machine");
    }
}
