//! A real collector, VictoriaMetrics, for `--otlp`: each figure that arrives is the record's.
//!
//! Takes a program that takes OTLP, which `KEEPWARM_VICTORIA_METRICS` or the PATH has (from 1.92 on);
//! skipped loudly without one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};

use keepwarm_testkit::{mortal, skipped};
use serde_json::Value;

use crate::common::{self, PATIENCE, Service, dead_port, keepwarm, run, until};

/// A running VictoriaMetrics, killed when dropped.
struct Collector {
    child: Child,
    address: SocketAddr,
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collector {
    fn start(folder: &Path) -> Result<Self, String> {
        let program = std::env::var("KEEPWARM_VICTORIA_METRICS");
        let program = program.unwrap_or_else(|_| "victoria-metrics".to_owned());
        let address = SocketAddr::from(([127, 0, 0, 1], dead_port()));
        let mut child = mortal::command(&program, "KILL")
            .arg(format!("-storageDataPath={}", folder.join("data").display()))
            .arg(format!("-httpListenAddr={address}"))
            // Names as Prometheus has them; a version without the flag takes no OTLP.
            .arg("-opentelemetry.usePrometheusNaming")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{program}: {error}"))?;
        let mut has_ended = false;
        assert!(until(|| {
            has_ended = child.try_wait().expect("a child").is_some();
            has_ended || get(address, "/health").is_some_and(|answer| answer.contains(" 200 "))
        }));
        if has_ended {
            return Err(format!("{program} takes no OTLP: it is older than 1.92"));
        }
        Ok(Self { child, address })
    }

    /// The series of the load, by labels and value.
    fn series(&self) -> Vec<(Value, f64)> {
        get(self.address, "/internal/force_flush").expect("an answer");
        let path = "/api/v1/export?match%5B%5D=%7Bservice_name%3D%22keepwarm%22%7D";
        let answer = get(self.address, path).expect("an answer");
        let (_, lines) = answer.split_once("\r\n\r\n").expect("a head");
        let series = lines.lines().filter(|line| line.starts_with('{')).map(|line| {
            let mut line: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(line["values"].as_array().map(Vec::len), Some(1), "{line}");
            (line["metric"].take(), line["values"][0].as_f64().expect("a number"))
        });
        series.collect()
    }
}

/// The answer to a GET by HTTP/1.0.
fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: test\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The distribution behind a histogram's name.
fn times<'a>(record: &'a Value, name: &str) -> Option<&'a Value> {
    Some(match name {
        "http_client_request_duration_seconds" => &record["latency_us"],
        "keepwarm_load_response_duration_seconds" => &record["response_us"],
        "http_client_connection_duration_seconds" => &record["connections"]["lifetime_us"],
        "keepwarm_load_connect_duration_seconds" => &record["connect_us"],
        _ => return None,
    })
}

/// The record's figure for a series; `None` for an unknown one.
fn figure(record: &Value, labels: &Value) -> Option<f64> {
    let label = |key: &str| labels[key].as_str().unwrap_or_default();
    let name = label("__name__");
    let count = |value: &Value| value.as_f64();
    if let Some(times) = name.strip_suffix("_count").and_then(|name| times(record, name)) {
        return count(&times["count"]);
    }
    if let Some(times) = name.strip_suffix("_sum").and_then(|name| times(record, name)) {
        return Some(times["mean"].as_f64().unwrap_or(0.0) * count(&times["count"])? / 1e6);
    }
    if let Some(times) = name.strip_suffix("_bucket").and_then(|name| times(record, name)) {
        let end = label("le").parse::<f64>().ok()? * 1e6;
        let buckets = times["buckets"].as_array()?.iter();
        let within = buckets.filter(|bucket| bucket[0].as_f64().is_some_and(|at| at <= end + 0.5));
        return Some(within.filter_map(|bucket| bucket[1].as_f64()).sum());
    }
    let connections = &record["connections"];
    let hop = &record["hops"][0];
    match name {
        "keepwarm_load_requests_total" => count(&record["requests"][label("outcome")]),
        "keepwarm_load_responses_total" => {
            count(&record["statuses"][label("http_response_status_code")])
        }
        "keepwarm_load_io_bytes_total" => match label("network_io_direction") {
            "receive" => count(&record["bytes"]["read"]),
            _ => count(&record["bytes"]["written"]),
        },
        "keepwarm_load_misses_total" => count(&record["misses"]),
        "keepwarm_load_requests_reused_total" => count(&connections["reused"]),
        "keepwarm_load_connections_opened_total" => count(&connections["opened"]),
        "keepwarm_load_connections_closed_total" => match label("by") {
            "load" => Some(
                connections["closed_by_us"].as_object()?.values().filter_map(Value::as_f64).sum(),
            ),
            "timeout" => count(&connections["timed_out"]),
            "end" => count(&connections["still_open"]),
            peer => count(&connections[peer]),
        },
        "keepwarm_load_hop_opened_total" => count(&hop["opened"]),
        "keepwarm_load_hop_closed_total" => count(&hop["closed"][label("by")]),
        "keepwarm_load_hop_time_wait" => count(&hop["time_wait"][label("at")][label("side")]),
        _ => None,
    }
}

#[test]
fn collector_has_each_figure_of_the_record() {
    let folder = common::folder(&format!("otlp-collector-{}", std::process::id()));
    let collector = match Collector::start(&folder) {
        Ok(collector) => collector,
        Err(why) => return skipped::because(&format!("OTLP to a real collector: {why}")),
    };
    let data = Service::start(&["data"]);
    let record = folder.join("run.json");
    let port = data.address.port().to_string();
    let url = format!("http://{}/opentelemetry/v1/metrics", collector.address);
    let mut load = keepwarm();
    load.args(["load", "--rate", "300", "-z", "1s", "-c", "3", "--watch", &port]);
    load.args(["--expect", "len=7", "--label", "commit=12", "--otlp", &url, "-o"]);
    load.arg(&record).arg(data.url("/data"));
    let output = run(&mut load);
    // Whether a busy machine gives numbers to trust is not the subject.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}\n{}", output.stdout, output.stderr);
    assert!(!output.stderr.contains("rejected"), "{}", output.stderr);
    let written = std::fs::read(&record).expect("a record");
    let record: Value = serde_json::from_slice(&written).expect("JSON");
    let mut series = Vec::new();
    assert!(until(|| {
        series = collector.series();
        !series.is_empty()
    }));
    let mut names = std::collections::BTreeSet::new();
    for (labels, value) in &series {
        let figure = figure(&record, labels).unwrap_or_else(|| panic!("{labels} is unknown"));
        assert!((figure - value).abs() < 1e-9, "{labels}: {value} is not {figure}");
        assert_eq!(labels["server_port"], port.as_str(), "{labels}");
        assert_eq!(labels["keepwarm_label_commit"], "12", "{labels}");
        names.insert(labels["__name__"].as_str().expect("a name"));
    }
    // Nine counters, a gauge, and four histograms of three names each.
    assert_eq!(names.len(), 22, "{names:?}");
    assert_eq!(record["misses"], record["requests"]["completed"], "each response is longer");
    drop(collector);
    std::fs::remove_dir_all(folder).expect("removable");
}
