//! The run record, what is read from it, and what is asserted on it.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Service, dead_port, finish, keepwarm, kill, run, silent, until};
use serde_json::Value;

fn load(arguments: &[&str], url: &str) -> common::Output {
    run(keepwarm().arg("load").args(arguments).arg(url))
}

fn report(arguments: &[&str]) -> common::Output {
    run(keepwarm().arg("report").args(arguments))
}

/// A folder of this test's own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("keepwarm-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("readable").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn formats_come_from_the_record_alone() {
    let data = Service::start(&["data"]);
    let folder = Folder::new("folds");
    let kept = folder.file("run.json");
    for format in ["text", "json", "ab"] {
        let arguments = ["-n", "300", "-c", "3", "--output", &kept, "--format", format];
        let first = load(&[&arguments[..], &["--assert", "p99<1us"]].concat(), &data.url("/data"));
        let again = report(&[&kept, "--format", format]);
        assert_eq!(again.stdout, first.exits_with(10).stdout, "{format}");
        // The record holds the run's assertions, which are judged again as they were then.
        assert_eq!(again.exits_with(10).stderr, first.stderr);
    }
    report(&[&kept, "--assert", "p99<1h"]).exits_with(0);
    assert_eq!(folder.names(), ["run.json"], "nothing else is left");
}

#[test]
fn record_has_settings_and_machine() {
    let data = Service::start(&["data"]);
    let folder = Folder::new("settings");
    let kept = folder.file("run.json");
    let url = data.url("/data");
    load(&["-n", "50", "-c", "2", "--close", "-o", &kept], &url).exits_with(0);
    let record: Value = serde_json::from_str(&fs::read_to_string(&kept).unwrap()).unwrap();
    assert_eq!(record["schema"], "keepwarm.load/1");
    assert_eq!(record["settings"]["url"], url.as_str());
    assert_eq!(record["settings"]["requests"], 50);
    assert_eq!(record["settings"]["keep_alive"], false);
    assert_eq!(record["machine"]["os"], "linux");
    assert!(record["machine"]["cores"].as_u64().unwrap() > 0);
    assert_eq!(record["stopped"], "finished");
    let buckets = record["latency_us"]["buckets"].as_array().unwrap();
    let samples: u64 = buckets.iter().map(|bucket| bucket[1].as_u64().unwrap()).sum();
    assert_eq!(samples, 50);
}

#[test]
fn record_has_the_schedule_as_typed() {
    let data = Service::start(&["data"]);
    let folder = Folder::new("schedule");
    let kept = folder.file("run.json");
    let arguments = ["-r", "100", "--stages", "100ms:100,100ms:200", "--arrivals", "poisson"];
    // Whether this machine keeps the instants is not what is asked here.
    let output =
        load(&[&arguments[..], &["--seed", "7", "-o", &kept]].concat(), &data.url("/data"));
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}", output.stderr);
    assert!(output.stdout.contains(", open loop in 2 stages, "), "{}", output.stdout);
    let record: Value = serde_json::from_str(&fs::read_to_string(&kept).unwrap()).unwrap();
    let schedule = &record["settings"]["schedule"];
    assert_eq!(schedule["rate"], 100.0);
    assert_eq!(schedule["stages"], serde_json::json!([[0.1, 100.0], [0.1, 200.0]]));
    assert_eq!(schedule["seed"], 7);
    assert_eq!(record["latency_us"]["count"], record["response_us"]["count"]);
    let slices = record["timeline"]["slices"].as_array().unwrap().iter();
    let samples = slices.flat_map(|slice| slice["response_us"]["buckets"].as_array().unwrap());
    let samples: u64 = samples.map(|bucket| bucket[1].as_u64().unwrap()).sum();
    assert_eq!(record["response_us"]["count"], samples);
    assert_eq!(record["response_us"]["intervals"]["method"], "ranks");
}

#[test]
fn timeline_adds_up_to_the_run() {
    let data = Service::start(&["data"]);
    let arguments = ["-z", "1200ms", "-c", "3", "--close", "--format", "json"];
    let output = load(&arguments, &data.url("/data"));
    let record: Value = serde_json::from_str(&output.exits_with(0).stdout).unwrap();
    let timeline = &record["timeline"];
    assert_eq!(timeline["width_s"], 1.0);
    let slices = timeline["slices"].as_array().unwrap();
    assert!(slices.len() >= 2, "{timeline}");
    let sum = |name: &str| {
        slices.iter().map(|slice| slice["counts"][name].as_u64().unwrap_or(0)).sum::<u64>()
    };
    assert_eq!(record["requests"]["completed"], sum("completed"));
    assert_eq!(record["connections"]["opened"], sum("opened"));
    assert_eq!(record["connections"]["peer_fin"], sum("peer_fin"));
    let samples = |slice: &Value| {
        let buckets = slice["latency_us"]["buckets"].as_array().unwrap().iter();
        buckets.map(|bucket| bucket[1].as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(record["latency_us"]["count"], slices.iter().map(samples).sum::<u64>());
}

#[test]
fn bad_path_fails_before_the_run() {
    // Nobody listens there: had the run begun, the exit code would be 3.
    let url = format!("http://127.0.0.1:{}/", dead_port());
    load(&["--output", "/no/such/folder/run.json"], &url).exits_with(9).says("/no/such/folder");
    load(&["--output", "/"], &url).exits_with(9);
}

#[test]
fn interrupted_run_leaves_its_record() {
    let data = Service::start(&["data"]);
    let folder = Folder::new("interrupted");
    let kept = folder.file("run.json");
    fs::write(&kept, "old").unwrap();
    let child = keepwarm()
        .args(["load", "-z", "1h", "-c", "2", "--output", &kept, &data.url("/data")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    assert_eq!(fs::read_to_string(&kept).unwrap(), "old", "complete, or not there");
    // A second signal would end it at once, so the one must come after signals are watched for.
    assert!(until(|| ignores_nothing(child.id())));
    kill(child.id(), "INT");
    finish(child).exits_with(130);
    let record: Value = serde_json::from_str(&fs::read_to_string(&kept).unwrap()).unwrap();
    assert_eq!(record["stopped"], "cancelled");
    assert_eq!(record["requests"]["failed"], 0, "what was in flight was waited for");
    assert_eq!(record["requests"]["scheduled"], record["requests"]["completed"]);
    assert_eq!(folder.names(), ["run.json"]);
}

#[test]
fn second_signal_still_leaves_a_record() {
    let folder = Folder::new("interrupted-twice");
    let kept = folder.file("run.json");
    let child = keepwarm()
        .args(["load", "-n", "10", "-c", "2", "--output", &kept, &silent()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    assert!(until(|| ignores_nothing(child.id())));
    kill(child.id(), "INT");
    kill(child.id(), "TERM");
    finish(child).exits_with(130);
    let record: Value = serde_json::from_str(&fs::read_to_string(&kept).unwrap()).unwrap();
    let requests = &record["requests"];
    assert_eq!((&requests["scheduled"], &requests["completed"]), (&10.into(), &0.into()));
    let count = |name: &str| requests[name].as_u64().unwrap();
    assert_eq!(count("failed") + count("unsent"), 10, "{requests}");
}

#[test]
fn unanswered_requests_are_explained_errors() {
    let url = silent();
    let run = ["-z", "200ms", "-c", "2"];
    // On a busy machine the load is late itself: then it says so, and its other words wait.
    let when_punctual = |arguments: &[&str]| {
        let mut outputs = (0..20).map(|_| load(&[&run[..], arguments].concat(), &url));
        let punctual = outputs.find(|output| output.status.code() != Some(4));
        punctual.expect("one of twenty loads is punctual")
    };
    let text = when_punctual(&[]);
    let text = &text.exits_with(1).says("not one request completed").stdout;
    assert!(text.starts_with("0 requests in 0.20 s, 0 requests/s, 2 failed\n"), "{text}");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("2 requests had no answer in time, and are in no percentile"), "{text}");
    assert!(text.contains("\nerrors\nunanswered  2 times, from "), "{text}");
    assert!(text.contains("\n  no byte of the response had come when the run ended"), "{text}");
    assert!(text.contains("\n  hint: requests in flight when a run ends have"), "{text}");
    let json = when_punctual(&["--format", "json", "--assert", "p99<1h"]);
    let json = json.exits_with(10).says("no request completed");
    let record: Value = serde_json::from_str(&json.stdout).unwrap();
    let expected = serde_json::json!({"scheduled": 2, "completed": 0, "failed": 2, "unsent": 0});
    assert_eq!(record["requests"], expected);
    assert_eq!(record["connections"]["balanced"], true);
    when_punctual(&["--assert", "errors.unanswered==0"]).exits_with(10).says("it is 2");
}

/// Returns true if the process catches SIGINT: bit 1 of SigCgt (proc(5)).
fn ignores_nothing(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0) & 2 != 0
}

#[test]
fn assertions_decide_the_exit_code() {
    let data = Service::start(&["data"]);
    let url = data.url("/data");
    let run = ["-n", "200", "-c", "5"];
    let asserting = |assertions: &[&str]| {
        let options = assertions.iter().flat_map(|one| ["--assert", one]);
        load(&run.into_iter().chain(options).collect::<Vec<_>>(), &url)
    };
    asserting(&["p99<1h", "conn.opened<=5", "errors==0", "errors.refused == 0", "rps>=1"])
        .exits_with(0);
    let broken = asserting(&["conn.opened<=4", "p99<1h", "status.2xx<10"]);
    broken.exits_with(10).says("conn.opened<=4 does not hold: it is 5");
    broken.says("status.2xx<10 does not hold: it is 200");
    assert!(broken.stdout.contains("FAILS  conn.opened<=4: 5\n"), "{}", broken.stdout);
    assert!(broken.stdout.contains("holds  p99<1h"), "{}", broken.stdout);
}

#[test]
fn unavailable_values_fail_assertions() {
    let data = Service::start(&["data"]);
    let url = data.url("/data");
    // How many requests a duration allows is known at the end only.
    let run = ["-z", "500ms", "-r", "200"];
    for assertion in ["p99.9<1h", "p99.9>=0us"] {
        let output = load(&[&run[..], &["--assert", assertion]].concat(), &url);
        if output.status.code() != Some(4) {
            output
                .exits_with(10)
                .says(&format!("{assertion} cannot be judged, not available here: "));
            output.says("samples are too few");
        }
    }
}

#[test]
fn wrong_assertion_points_at_its_place() {
    load(&["--assert", "p99<20"], "http://127.0.0.1/")
        .exits_with(2)
        .says("p99 is a duration: write it like 20ms")
        .says("    p99<20\n        ^^");
    load(&["--assert", "conn.open<2"], "http://127.0.0.1/")
        .exits_with(2)
        .says("conn.opened is one");
    let help = run(keepwarm().args(["explain", "assertions"]));
    assert!(help.exits_with(0).stdout.contains("conn.opened"), "{}", help.stdout);
}

#[test]
fn dead_target_precedes_assertions() {
    let url = format!("http://127.0.0.1:{}/", dead_port());
    load(&["-n", "10", "--assert", "errors==0"], &url).exits_with(3);
}

#[test]
fn closed_pipe_is_not_a_failure() {
    let data = Service::start(&["data"]);
    let script =
        format!("{} load -n 10 {} | head -1", env!("CARGO_BIN_EXE_keepwarm"), data.url("/data"));
    run(Command::new("bash").args(["-o", "pipefail", "-c", &script])).exits_with(0);
}
