//! The outputs of a load for other programs: each is read by one that is not ours.

mod common;

use std::io::{BufRead, BufReader, Cursor, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use common::{PATIENCE, Service, dead_port, finish, folder, keepwarm, kill, run, until};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use keepwarm_testkit::{mortal, skipped};
use serde_json::Value;

/// A run that is kept: its record, and the file that has it.
struct Kept {
    path: PathBuf,
    record: Value,
    _data: Service,
}

impl Kept {
    /// Makes a run that can be trusted; `None`, and says so, where the machine is too busy for one.
    fn make(name: &str, arguments: &[&str]) -> Option<Self> {
        let data = Service::start(&["data"]);
        let path = std::env::temp_dir().join(format!("keepwarm-{name}-{}", std::process::id()));
        for _ in 0..5 {
            let mut command = keepwarm();
            command.args(["load", "-o"]).arg(&path).args(arguments).arg(data.url("/data"));
            let _ = run(&mut command);
            let text = std::fs::read_to_string(&path).expect("a record");
            let record: Value = serde_json::from_str(&text).expect("JSON");
            if record["verdict"]["trust"] != "invalid" {
                return Some(Self { path, record, _data: data });
            }
        }
        let _ = std::fs::remove_file(&path);
        skipped::because("the load itself lacked a core, and its numbers are invalid");
        None
    }

    fn report(&self, format: &str, more: &[&str]) -> common::Output {
        run(keepwarm().arg("report").arg(&self.path).args(["--format", format]).args(more))
    }

    fn completed(&self) -> u64 {
        self.record["requests"]["completed"].as_u64().expect("a number")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn has(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        skipped::because(&format!("{program} is not installed"));
    }
    found
}

#[test]
fn seconds_become_rows_of_csv() {
    let Some(kept) = Kept::make("csv", &["-n", "700", "-c", "7"]) else { return };
    let output = kept.report("csv", &[]);
    let mut lines = output.exits_with(0).stdout.lines();
    let names: Vec<&str> = lines.next().expect("a head").split(',').collect();
    let rows: Vec<Vec<f64>> = lines
        .map(|line| line.split(',').map(|cell| cell.parse().unwrap_or(0.0)).collect())
        .collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.len() == names.len()));
    let sum = |name: &str| {
        let column = names.iter().position(|one| *one == name).expect(name);
        rows.iter().map(|row| row[column]).sum::<f64>()
    };
    assert_eq!((sum("completed"), sum("2xx"), sum("opened")), (700.0, 700.0, 7.0));
    assert!(sum("service_p99_us") > 0.0 && sum("response_p99_us") == 0.0);
    let direct =
        run(keepwarm().args(["load", "-n", "5", "--format", "csv"]).arg(kept._data.url("/")));
    assert!(direct.stdout.starts_with(&names.join(",")), "{}", direct.stdout);
}

#[test]
fn percentiles_are_those_of_the_record() {
    let Some(kept) = Kept::make("hgrm", &["-n", "3000", "-c", "3"]) else { return };
    let output = kept.report("hgrm", &[]);
    let lines = output.exits_with(0).stdout.lines();
    let rows: Vec<[f64; 3]> = lines
        .filter_map(|line| {
            let cells: Vec<f64> =
                line.split_whitespace().take(3).filter_map(|cell| cell.parse().ok()).collect();
            cells.try_into().ok()
        })
        .collect();
    let last = rows.last().expect("rows");
    assert_eq!((last[1], last[2]), (1.0, kept.completed() as f64));
    assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
    let times = &kept.record["latency_us"];
    for (share, name) in [(0.5, "p50"), (0.9, "p90"), (1.0, "max")] {
        let at = rows.iter().find(|row| row[1] >= share).expect(name)[0];
        let expected = times[name].as_f64().expect(name) / 1000.0;
        assert!((at - expected).abs() <= expected * 0.02 + 0.001, "{name}: {at} {expected}");
    }
}

#[test]
fn interval_log_is_read_by_another_implementation() {
    let Some(kept) = Kept::make("hlog", &["-z", "2500ms", "-c", "3"]) else { return };
    let log = kept.report("hlog", &[]);
    let log = log.exits_with(0).stdout.as_bytes();
    let mut all = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).expect("bounds");
    let mut intervals = 0;
    for entry in IntervalLogIterator::new(log) {
        let LogEntry::Interval(interval) = entry.expect("a log") else { continue };
        let text = interval.encoded_histogram();
        let bytes = BASE64_STANDARD.decode(text).expect("base64");
        let one: Histogram<u64> =
            Deserializer::new().deserialize(&mut Cursor::new(bytes)).expect("version 2");
        let max = interval.max() * 1000.0;
        assert!((one.max() as f64 - max).abs() <= max * 0.002 + 1.0, "{} {max}", one.max());
        all.add(&one).expect("the same bounds");
        intervals += 1;
    }
    assert!(intervals >= 3, "one for each second: {intervals}");
    assert_eq!(all.len(), kept.completed());
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        let expected = kept.record["latency_us"][name].as_f64().expect(name);
        let read = all.value_at_quantile(share) as f64;
        assert!((read - expected).abs() <= expected * 0.035 + 1.0, "{name}: {read} {expected}");
    }
}

#[test]
fn junit_has_a_case_for_each_assertion() {
    let Some(kept) = Kept::make("junit", &["-n", "50", "--label", "a=<b>&\"c\""]) else { return };
    let asserted = ["--assert", "p99<1h", "--assert", "conn.opened<1"];
    let output = kept.report("junit", &asserted);
    let text = &output.exits_with(10).stdout;
    for part in [
        "tests=\"3\" failures=\"1\" errors=\"0\"",
        "name=\"measurement\"/>",
        "name=\"p99&lt;1h\"/>",
        "message=\"conn.opened&lt;1 does not hold: it is 50\"",
        "value=\"&lt;b&gt;&amp;&quot;c&quot;\"",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    if has("python3") {
        let script = "import sys, xml.dom.minidom as m; d = m.parse(sys.stdin); \
                      print(len(d.getElementsByTagName('testcase')))";
        let mut python = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        python.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
        let output = python.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "3", "well-formed");
    }
}

#[test]
fn workflow_gets_annotations_and_a_summary() {
    let Some(kept) = Kept::make("github", &["-n", "50"]) else { return };
    let summary = std::env::temp_dir().join(format!("keepwarm-summary-{}", std::process::id()));
    let mut command = keepwarm();
    command.env("GITHUB_STEP_SUMMARY", &summary).arg("report").arg(&kept.path);
    let output = run(command.args(["--format", "github", "--assert", "conn.opened<1"]));
    let text = &output.exits_with(10).stdout;
    assert!(text.starts_with("::notice title=keepwarm load::50 requests in "), "{text}");
    let failure = "::error title=keepwarm load::conn.opened<1 does not hold: it is 50\n";
    assert!(text.contains(failure), "{text}");
    assert!(text.lines().all(|line| line.starts_with("::")), "{text}");
    let written = std::fs::read_to_string(&summary).expect("a summary");
    std::fs::remove_file(&summary).expect("there");
    assert!(written.contains("| conn.opened&lt;1 | **fails** | 50 |"), "{written}");
    let mut command = keepwarm();
    command.env("GITHUB_STEP_SUMMARY", "").arg("report").arg(&kept.path);
    let output = run(command.args(["--format", "github"]));
    assert!(output.stdout.contains("### keepwarm load: GET"), "{}", output.stdout);
}

#[test]
fn named_requests_have_rows_everywhere() {
    let path = std::env::temp_dir().join(format!("keepwarm-named-{}", std::process::id()));
    std::fs::write(&path, "GET /data weight=3 name=\"the <data>\"\n\nGET /missing\n")
        .expect("a file");
    let file = path.to_str().expect("UTF-8");
    let Some(kept) = Kept::make("rows", &["-n", "80", "--requests-file", file]) else { return };
    std::fs::remove_file(&path).expect("there");
    let metrics = kept.report("openmetrics", &[]).stdout;
    let sample = "keepwarm_load_named_requests_total{request=\"the <data>\",outcome=\"completed\"}";
    assert_eq!(value_of(&metrics, sample), 60.0, "{metrics}");
    let sample =
        "keepwarm_load_named_requests_total{request=\"GET /missing\",outcome=\"http_error\"}";
    assert_eq!(value_of(&metrics, sample), 20.0, "{metrics}");
    let junit = kept.report("junit", &[]).stdout;
    assert!(junit.contains("the &lt;data&gt;: 60 completed, 0 failed"), "{junit}");
    let mut command = keepwarm();
    command.env("GITHUB_STEP_SUMMARY", "").arg("report").arg(&kept.path);
    let github = run(command.args(["--format", "github"])).stdout;
    assert!(github.contains("| the &lt;data&gt; (60) |"), "{github}");
    let text = kept.report("text", &[]).stdout;
    assert!(text.contains("the <data>"), "{text}");
}

#[test]
fn only_loads_have_formats_of_loads() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../keepwarm-record/records/watch_go.json");
    run(keepwarm().args(["report", path, "--format", "csv"])).exits_with(2).says("a watch");
}

/// A running load that serves its counts.
struct Serving {
    child: Child,
    address: SocketAddr,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Serving {
    fn start(url: &str) -> Self {
        let mut command = keepwarm();
        command.args(["load", "-z", "10m", "-c", "4", "--listen", "127.0.0.1:0"]);
        command.args(["--label", "commit=1\"2\\3", "--expect", "len=8", "-u", "me:hush", url]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the load starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        let address =
            line.strip_prefix("listening on http://").and_then(|rest| rest.split('/').next());
        let address = address.and_then(|text| text.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { child, address, stderr }
    }

    fn page(&self) -> String {
        get(self.address, "/metrics")
    }

    /// Ends the load, and returns its exit code.
    fn end(mut self) -> i32 {
        kill(self.child.id(), "INT");
        let mut rest = String::new();
        let _ = self.stderr.read_to_string(&mut rest);
        let status = common::wait(&mut self.child).expect("it ends");
        status.code().expect("no signal")
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("a server");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

fn value_of(page: &str, sample: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(-1.0)
}

const COMPLETED: &str = "keepwarm_load_requests_total{outcome=\"completed\"}";

#[test]
fn running_load_serves_classic_buckets() {
    let data = Service::start(&["data"]);
    let serving = Serving::start(&data.url("/data"));
    assert!(until(|| value_of(&serving.page(), COMPLETED) > 0.0), "{}", serving.page());
    let page = serving.page();
    assert!(page.contains("label_commit=\"1\\\"2\\\\3\""), "{page}");
    assert!(!page.contains("hush"), "{page}");
    let bucket = "keepwarm_load_service_time_seconds_bucket{le=\"+Inf\"}";
    assert_eq!(value_of(&page, bucket), value_of(&page, COMPLETED));
    assert_eq!(value_of(&page, "keepwarm_load_misses_total"), 0.0);
    assert_eq!(value_of(&page, "keepwarm_load_connections_opened_total"), 4.0);
    if has("promtool") {
        let mut check = Command::new("promtool");
        check.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut check = check.stdout(Stdio::piped()).spawn().expect("promtool");
        check.stdin.take().expect("piped").write_all(page.as_bytes()).expect("written");
        let output = finish(check);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", output.stderr);
    }
    assert_eq!(serving.end(), 130);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken_address = taken.local_addr().expect("an address").to_string();
    run(keepwarm().args(["load", "--listen", &taken_address]).arg(data.url("/"))).exits_with(5);
    run(keepwarm().args(["load", "--listen", "127.0.0.1:0", "--find", "p99<1s"]).arg("http://x/"))
        .exits_with(2);
}

/// Serves a page as OpenMetrics.
fn serve_openmetrics(page: String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 8192]);
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            let length = page.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
                 Connection: close\r\n\r\n"
            );
            let _ = stream.write_all(format!("{head}{page}").as_bytes());
        }
    });
    address
}

/// Real Prometheus scrapes a load while it runs, and the metrics of a finished one.
#[test]
fn prometheus_scrapes_both_pages() {
    if !has("prometheus") {
        return;
    }
    let Some(kept) = Kept::make("openmetrics", &["-n", "321", "--label", "commit=12"]) else {
        return;
    };
    let report = kept.report("openmetrics", &[]);
    let finished = serve_openmetrics(report.exits_with(0).stdout.clone());
    let serving = Serving::start(&kept._data.url("/data"));
    let folder = folder(&format!("load-prometheus-{}", std::process::id()));
    let config = folder.join("prometheus.yml");
    let jobs = [("live", serving.address), ("done", finished)].map(|(name, target)| {
        format!("  - {{job_name: {name}, static_configs: [{{targets: ['{target}']}}]}}\n")
    });
    let text = "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
    std::fs::write(&config, text + &jobs.concat()).expect("written");
    let page: SocketAddr = ([127, 0, 0, 1], dead_port()).into();
    let mut prometheus = mortal::command("prometheus", "KILL")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={page}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("prometheus starts");
    let ask = |query: &str| -> Option<f64> {
        let mut stream = TcpStream::connect(page).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let path = format!("/api/v1/query?query={query}");
        let request = format!("GET {path} HTTP/1.0\r\nHost: test\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        let body = response.split_once("\r\n\r\n")?.1;
        let answer: Value = serde_json::from_str(body).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    let done = "keepwarm_load_requests_total%7Bjob=%22done%22,outcome=%22completed%22%7D";
    let live = "keepwarm_load_requests_total%7Bjob=%22live%22,outcome=%22completed%22%7D";
    let p99 =
        "histogram_quantile(0.99,keepwarm_load_service_time_seconds_bucket%7Bjob=%22live%22%7D)";
    let scraped =
        until(|| ask(done) == Some(321.0) && ask(live) > Some(0.0) && ask(p99) > Some(0.0));
    let seen = (ask(done), ask(live), ask(p99));
    let _ = prometheus.kill();
    let _ = prometheus.wait();
    let _ = std::fs::remove_dir_all(&folder);
    assert!(scraped, "{seen:?}");
    assert_eq!(serving.end(), 130);
}
