//! `keepwarm watch` on real services and sockets, as people and scripts use it.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use keepwarm_record::watch::WatchRecord;
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::{
    Output, Service, finish, keepwarm, kill, makes_namespaces, reaches_level_l2, run, until, wait,
};

/// A program that is killed with the test.
struct Running(Option<Child>);

impl Running {
    fn start(command: &mut Command) -> (Running, String) {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let read = stdout.read_line(&mut line);
        let running = Running(Some(child));
        read.unwrap();
        (running, line)
    }

    /// Starts a watch and waits until its window has begun.
    fn watch(arguments: &[&str]) -> Running {
        let mut command = keepwarm();
        command.arg("watch").args(arguments).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let read = stderr.read_line(&mut line);
        child.stderr = Some(stderr.into_inner());
        let running = Running(Some(child));
        read.unwrap();
        assert!(line.starts_with("watching"), "{line}");
        running
    }

    fn id(&self) -> u32 {
        self.0.as_ref().unwrap().id()
    }

    /// Interrupts the program and waits for its output.
    fn interrupt(mut self) -> Output {
        kill(self.id(), "INT");
        finish(self.0.take().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn document(output: &Output) -> Value {
    output.exits_with(0);
    serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", output.stdout))
}

#[track_caller]
fn destination<'a>(document: &'a Value, remote: &str, side: &str) -> &'a Value {
    let all = document["destinations"].as_array().unwrap();
    let mut found = all.iter().filter(|one| one["remote"] == remote && one["side"] == side);
    found.next().unwrap_or_else(|| panic!("no {remote} as {side} in {document:#}"))
}

fn codes(destination: &Value) -> Vec<&str> {
    let findings = destination["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["code"].as_str().unwrap()).collect()
}

fn load(service: &Service, arguments: &[&str]) {
    let url = service.url("/data");
    run(keepwarm().arg("load").args(arguments).arg(url)).completes();
}

#[test]
fn window_counts_load_and_names_service() {
    let service = Service::start(&["data"]);
    let port = format!(":{}", service.address.port());
    let json = ["--for", "60s", "--format", "json", "--level", "L1"];
    let watch = Running::watch(&[&[port.as_str()][..], &json].concat());
    load(&service, &["-n", "500", "-c", "5", "--close"]);
    let output = watch.interrupt();
    output.exits_with(130);
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(document["schema"], "keepwarm.watch/2");
    assert_eq!((&document["level"], &document["lost_events"]), (&"L1".into(), &0.into()));
    assert_eq!(
        (&document["level_refused"], &document["lost_trace_events"]),
        (&Value::Null, &Value::Null)
    );
    assert!(document["window_s"].as_f64().unwrap() > 0.0);
    assert_eq!(
        document["broken_rules"],
        Value::Array(Vec::new()),
        "every rule was tested and holds"
    );
    let remote = service.address.to_string();
    let (client, server) =
        (destination(&document, &remote, "client"), destination(&document, &remote, "server"));
    for end in [client, server] {
        assert_eq!(end["opened"], 500, "{end:#}");
        let closed = end["closed"].as_object().unwrap();
        let total: u64 = closed.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(total, 500, "{end:#}");
        assert_eq!(end["requests_per_connection"]["p50"], 1);
        assert_eq!(end["established"], 0);
        assert_eq!(codes(end), ["D6"], "{end:#}");
    }
    // With Connection: close on the wire, the server's FIN comes first as a rule, not always.
    assert_eq!(
        client["closed"]["remote_fin"].as_u64().unwrap()
            + client["closed"]["local_fin"].as_u64().unwrap(),
        500
    );
    let owner = &server["owners"][0];
    assert_eq!((&owner["pid"], &owner["how"]), (&service.child.id().into(), &"listener".into()));
    assert_eq!((&owner["process"], &owner["share"]), (&"keepwarm".into(), &1.0.into()));
    let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", service.child.id())).unwrap();
    assert!(cgroups.contains(owner["cgroup"].as_str().unwrap()), "{owner}");
}

#[test]
fn real_document_has_documented_keys() {
    let service = Service::start(&["data"]);
    load(&service, &["-n", "50", "-c", "2", "--close"]);
    let port = format!(":{}", service.address.port());
    let look = run(keepwarm().args(["watch", &port, "--once", "--format", "json"]));
    let document = document(&look);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/watching.md");
    let page = std::fs::read_to_string(page).unwrap();
    let of_row = |line: &str| line.split('|').nth(1).unwrap_or_default().to_owned();
    let rows: String = page.lines().filter(|line| line.starts_with("| `")).map(of_row).collect();
    let names: Vec<&str> = rows.split('`').skip(1).step_by(2).collect();
    // keepwarm-record tests each path and both ways; this, that the tool writes that record.
    let is_documented = |key: &str| {
        names.iter().any(|name| name.rsplit('.').next().unwrap().trim_end_matches("[]") == key)
    };
    for object in [&document, &document["machine"], &document["destinations"][0]] {
        for key in object.as_object().unwrap().keys() {
            assert!(is_documented(key), "{key}");
        }
    }
    let record = WatchRecord::from_json(document.clone()).unwrap();
    assert_eq!(record.to_json().unwrap() + "\n", look.stdout, "no key is lost by reading");
    assert!(record.machine.is_some_and(|machine| machine.boot_id.is_some()));
}

#[test]
fn reused_connections_are_healthy() {
    let service = Service::start(&["data"]);
    let port = format!(":{}", service.address.port());
    let watch = Running::watch(&[&port, "--for", "60s", "--format", "json"]);
    load(&service, &["-n", "2000", "-c", "10"]);
    let document: Value = serde_json::from_str(&watch.interrupt().stdout).unwrap();
    let client = destination(&document, &service.address.to_string(), "client");
    assert_eq!((&client["opened"], codes(client)), (&10.into(), vec!["healthy"]), "{client:#}");
    assert_eq!(client["findings"][0]["confidence"], 1.0);
}

/// A client that calls `localhost`, which leads to IPv6 first.
#[test]
fn service_on_ipv4_only_is_named() {
    let namespace = match Namespace::make() {
        Ok(namespace) => namespace,
        Err(error) => return skipped::because(&format!("a namespace takes root: {error}")),
    };
    let document = namespace.inside(|| {
        let service = TcpListener::bind("127.0.0.1:8081")?;
        let watch = Running::watch(&["--for", "60s", "--format", "json", "--level", "l1"]);
        for _ in 0..40 {
            TcpStream::connect("[::1]:8081").expect_err("no service");
            let client = TcpStream::connect("127.0.0.1:8081")?;
            drop((client, service.accept()?));
        }
        Ok(serde_json::from_str::<Value>(&watch.interrupt().stdout).unwrap())
    });
    let document = document.unwrap();
    let failing = destination(&document, "[::1]:0", "client");
    let finding = &failing["findings"][0];
    assert_eq!((&finding["code"], &finding["confidence"]), (&"D9".into(), &1.0.into()));
    assert_eq!(failing["side_evidence"], "connected", "only a client connects");
    let summary = finding["summary"].as_str().unwrap();
    assert!(summary.contains("127.0.0.1:8081 listens on IPv4 only"), "{summary}");
    let advice = finding["advice"].as_str().unwrap();
    assert!(advice.contains("listen on [::]"), "{advice}");
}

#[test]
fn empty_window_ends_and_says_so() {
    let watch = run(keepwarm().args(["watch", ":1", "--for", "200ms", "--level", "l1"]));
    watch.exits_with(0);
    assert!(watch.stdout.contains("level L1"), "{}", watch.stdout);
    assert!(watch.stdout.contains("No TCP connection in scope"), "{}", watch.stdout);
}

#[test]
fn one_dump_knows_the_last_minute() {
    let service = Service::start(&["data"]);
    load(&service, &["-n", "300", "-c", "3", "--close"]);
    let port = format!(":{}", service.address.port());
    let look = run(keepwarm().args(["watch", &port, "--once", "--format", "json"]));
    let document = document(&look);
    let remote = service.address.to_string();
    let all = document["destinations"].as_array().unwrap().iter();
    let all: Vec<&Value> = all.filter(|one| one["remote"] == remote.as_str()).collect();
    assert_eq!(document["window_s"], 0.0);
    let held: u64 = all.iter().map(|one| one["time_wait"].as_u64().unwrap()).sum();
    // A client's port may be used again, which ends its TIME_WAIT.
    assert!((250..=300).contains(&held), "{document:#}");
    for one in all {
        assert_eq!((&one["opened"], &one["closed"]), (&Value::Null, &Value::Null));
        let by_second = one["closed_first_by_second"].as_array().unwrap();
        assert_eq!(by_second.len(), 60);
        let sum: u64 = by_second.iter().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(one["time_wait"], sum);
    }
    let text = run(keepwarm().args(["watch", &port, "--once"]));
    text.exits_with(0);
    assert!(text.stdout.contains("closed first, 60 s"), "{}", text.stdout);
    assert!(text.stdout.contains("--for 10s"), "{}", text.stdout);
}

#[test]
fn counting_prints_one_number() {
    // No other test uses this address: on a shared one the port may have TIME_WAITs of another
    // test.
    let listener = TcpListener::bind("127.66.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let pairs: Vec<_> = (0..7)
        .map(|_| (TcpStream::connect(address).unwrap(), listener.accept().unwrap().0))
        .collect();
    let counted = |state: &str, words: &[&str]| {
        let output = run(keepwarm().args(["watch", "--count", state]).args(words));
        output.exits_with(0).stdout.trim_end().parse::<u64>().unwrap()
    };
    let (port, address) = (format!("127.66.0.1:{}", address.port()), address.to_string());
    assert_eq!(counted("established", &[&port]), 14, "both sockets are rows");
    assert_eq!(counted("established", &["dst", &address]), 7);
    assert_eq!(counted("established", &["src", &port]), 7);
    assert_eq!(counted("listen", &[&port]), 1);
    assert_eq!(counted("time-wait", &[&port]), 0);
    for (client, mut server) in pairs {
        drop(client);
        // The FIN is there: on a busy machine it may come after the server's own, and each side would
        // have closed first.
        assert_eq!(server.read(&mut [0]).unwrap(), 0);
        drop(server);
    }
    assert!(until(|| counted("time-wait", &[&port]) == 7));
    assert_eq!(counted("time-wait", &["dst", &port]), 7, "the clients closed first");
}

#[test]
fn json_lines_come_during_the_watch() {
    let service = Service::start(&["data"]);
    let port = format!(":{}", service.address.port());
    let mut watch = Running::watch(&[&port, "--format", "jsonl"]);
    let mut stdout = BufReader::new(watch.0.as_mut().unwrap().stdout.take().unwrap()).lines();
    load(&service, &["-n", "100", "-c", "2", "--close"]);
    // A line comes each second: on a busy machine the load takes several.
    let mut windows = Vec::new();
    let opened = |line: &Value| {
        let service = service.address.to_string();
        let all = line["destinations"].as_array().unwrap().iter();
        let mut servers = all.filter(|one| one["remote"] == *service && one["side"] == "server");
        servers.next().map_or(0, |one| one["opened"].as_u64().unwrap())
    };
    loop {
        let line = stdout.next().unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        windows.push(line["window_s"].as_f64().unwrap());
        if windows.len() >= 2 && opened(&line) == 100 {
            break;
        }
        assert!(windows.len() < 60, "{line:#}");
    }
    assert!(windows.is_sorted(), "{windows:?}");
    // An interrupt is the normal end of a live watch, not a failure.
    kill(watch.id(), "INT");
    let status = wait(watch.0.as_mut().unwrap()).expect("it ends");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn live_watch_finds_healthy_service() {
    let service = Service::start(&["data"]);
    let port = format!(":{}", service.address.port());
    let mut watch = Running::watch(&[&port, "--format", "jsonl", "--level", "l1"]);
    let mut load = keepwarm();
    load.args(["load", "-z", "90s", "-c", "5", "-t", "1", &service.url("/data")]);
    let load = load.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _load = Running(Some(load.unwrap()));
    let remote = service.address.to_string();
    let is_found = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let all = line["destinations"].as_array().unwrap();
        all.iter().any(|one| {
            one["remote"] == remote.as_str()
                && one["established"] == 5
                && one["requests_per_connection"]["p50"].as_u64() > Some(20)
                && codes(one) == ["healthy"]
        })
    };
    // Connections that only carry data are dumped every ten seconds at least.
    let stdout = watch.0.as_mut().unwrap().stdout.take().unwrap();
    let mut lines = BufReader::new(stdout).lines().map(Result::unwrap).take(60);
    assert!(lines.any(|line| is_found(&line)), "a minute has passed without the finding");
}

#[test]
fn owner_filters_select_destinations() {
    let (ours, theirs) = (Service::start(&["data"]), Service::start(&["data"]));
    let pid = ours.child.id().to_string();
    let look = |arguments: &[&str]| {
        let output = run(keepwarm().args(["watch", "--once", "--format", "json"]).args(arguments));
        document(&output)["destinations"].to_string()
    };
    let _open =
        [TcpStream::connect(ours.address), TcpStream::connect(theirs.address)].map(Result::unwrap);
    let by_pid = look(&["--pid", &pid]);
    assert!(by_pid.contains(&ours.address.to_string()), "{by_pid}");
    assert!(!by_pid.contains(&theirs.address.to_string()), "{by_pid}");
    let by_name = look(&["--process", "keepwarm"]);
    assert!(by_name.contains(&theirs.address.to_string()), "{by_name}");
    assert_eq!(look(&["--process", "nobody of this name"]), "[]");
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let path =
        cgroups.lines().filter_map(|line| line.splitn(3, ':').nth(2)).max_by_key(|p| p.len());
    let by_cgroup = look(&["--cgroup", path.unwrap(), "--process", "keepwarm"]);
    assert!(by_cgroup.contains(&ours.address.to_string()), "{path:?}: {by_cgroup}");
    assert_eq!(look(&["--cgroup", "no such cgroup"]), "[]");
}

#[test]
fn another_namespace_is_watched_from_outside() {
    if !makes_namespaces() {
        skipped::because("this user may not make a network namespace");
        return;
    }
    // The namespace lives as long as this process in it.
    let (inside, line) = Running::start(Command::new("unshare").args([
        "--net",
        "sh",
        "-c",
        "ip link set lo up && echo up && exec sleep 600",
    ]));
    assert_eq!(line.trim(), "up");
    let pid = inside.id().to_string();
    let within = |arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &pid, env!("CARGO_BIN_EXE_keepwarm")]).args(arguments);
        command
    };
    let (_service, line) =
        Running::start(&mut within(&["serve", "data", "--listen", "127.0.0.1:8081"]));
    assert!(line.contains("127.0.0.1:8081"), "{line}");
    let watch = Running::watch(&[":8081", "--netns", &pid, "--for", "60s", "--format", "json"]);
    let url = "http://127.0.0.1:8081/data";
    let load =
        within(&["load", "-n", "200", "-c", "2", "--close", url]).stdout(Stdio::null()).status();
    let output = watch.interrupt();
    assert!(load.unwrap().success());
    let document: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(destination(&document, "127.0.0.1:8081", "client")["opened"], 200);
}

#[test]
fn assertions_judge_a_window() {
    let service = Service::start(&["data"]);
    let port = service.address.port();
    let (filter, few, many) =
        (format!(":{port}"), format!("hop.{port}.opened<=50"), format!("hop.{port}.closed<50"));
    let watch = Running::watch(&[&filter, "--assert", &few]);
    load(&service, &["-n", "50", "-c", "2", "--close"]);
    watch.interrupt().exits_with(0);
    let watch = Running::watch(&[&filter, "--assert", &few, "--assert", &many]);
    load(&service, &["-n", "50", "-c", "2", "--close"]);
    watch.interrupt().exits_with(10).says(&format!("{many} does not hold: it is 50"));
    run(keepwarm().args(["watch", &filter, "--once", "--assert", &few]))
        .exits_with(10)
        .says("one dump counts nothing");
    let none = format!("hop.{port}.established==0");
    run(keepwarm().args(["watch", &filter, "--once", "--assert", &none])).exits_with(0);
}

#[test]
fn report_repeats_a_watch() {
    let service = Service::start(&["data"]);
    let port = service.address.port();
    let (filter, few) = (format!(":{port}"), format!("hop.{port}.opened<50"));
    let watch = Running::watch(&[&filter, "--format", "jsonl", "--assert", &few]);
    load(&service, &["-n", "50", "-c", "2", "--close"]);
    let output = watch.interrupt();
    output.exits_with(10).says("does not hold: it is 50");
    let last = output.stdout.lines().last().unwrap();
    let file = std::env::temp_dir().join(format!("keepwarm-watch-{}.jsonl", std::process::id()));
    let report = |text: &str, arguments: &[&str]| {
        std::fs::write(&file, text).unwrap();
        run(keepwarm().arg("report").arg(&file).args(arguments))
    };
    let again = report(&output.stdout, &[]);
    again.exits_with(10).says(&format!("{few} does not hold: it is 50"));
    assert!(again.stdout.contains(&service.address.to_string()), "{}", again.stdout);
    let json = report(&output.stdout, &["--format", "json"]);
    assert_eq!(json.exits_with(10).stdout.trim_end(), last, "nothing is lost");
    let other = format!("hop.{port}.opened==50");
    report(last, &["--assert", &other]).exits_with(0);
    report(last, &["--assert", "p99<20ms"]).exits_with(2).says("a watch does not measure p99");
    report(last, &["--format", "ab"]).exits_with(2).says("a watch has no such format");
    let truncated = format!("{}\n{}", output.stdout, &last[..last.len() / 2]);
    report(&truncated, &[]).exits_with(10).says("is truncated");
    report(&last[..last.len() / 2], &[]).exits_with(2).says("it is truncated");
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn impossible_arguments_are_usage_errors() {
    for (arguments, says) in [
        (&[":http"][..], "is not a port: 1 to 65535"),
        (&[""], "a filter is empty"),
        (&["localhost:8081"], "names are not looked up"),
        (&["dst"], "an address follows"),
        (&["dst", "src", ":80"], "one of dst and src is enough"),
        (
            &["--netns", "no-such-netns"],
            "namespace /run/netns/no-such-netns: there is none of this",
        ),
        (&["--netns", "999999999"], "there is no such process"),
        (&["--netns", "/nowhere/at/all"], "there is no such file"),
        (&["--netns", "/etc/passwd"], "it is not a network namespace"),
        (&["--pid", "999999999"], "there is no process 999999999"),
        (&["--pid", "0"], "0 is not in"),
        (&["--process", ""], "a value is required"),
        (&["--for", "0s"], "--once takes one dump"),
        (&["--once", "--for", "1s"], "cannot be used with"),
        (&["--assert", "p99<20ms"], "a watch does not measure p99, only hop.PORT.opened"),
        (&["--assert", "hop.80.ports.peak<5"], "a watch does not measure hop.80.ports.peak"),
        (&[":81", "--assert", "hop.80.opened<5"], "only port 81 is watched"),
    ] {
        let output = run(keepwarm().arg("watch").args(arguments));
        output.exits_with(2).says(says);
        assert_eq!(output.stdout, "", "{arguments:?}");
    }
}

#[test]
fn runtime_is_known_after_process_ends() {
    let service = Service::start(&["data"]);
    let port = format!(":{}", service.address.port());
    // Open connections, so that their owner is found without traces.
    let _clients: Vec<TcpStream> =
        (0..3).map(|_| TcpStream::connect(service.address).unwrap()).collect();
    let pid = service.child.id();
    let watch =
        Running::watch(&["src", &port, "--for", "60s", "--format", "json", "--level", "l1"]);
    // Time is the subject: two dumps, two seconds apart at rest, and a search for owners between them.
    std::thread::sleep(std::time::Duration::from_secs(7));
    drop(service);
    let document: Value = serde_json::from_str(&watch.interrupt().stdout).unwrap();
    let owner = &document["destinations"][0]["owners"][0];
    assert_eq!(owner["pid"], pid, "{document:#}");
    assert!(owner["runtime"].as_str().is_some_and(|name| name.starts_with("keepwarm")), "{owner}");
    assert!(owner["cgroup"].is_string(), "{owner}");
}

#[test]
fn empty_report_names_scope_and_reason() {
    let says = |arguments: &[&str], words: &str| {
        let look = run(keepwarm().args(["watch", "--once"]).args(arguments));
        let text = look.exits_with(0).stdout.replace('\n', " ");
        assert!(text.contains(words), "{words:?} is not in {text}");
    };
    says(&["dst", ":1"], "No TCP connection in scope (port 1 as a client).");
    says(&["--process", "nobody"], "there is no process of the name \"nobody\" now");
    says(&["--cgroup", "/no/such"], "no process in a cgroup with \"/no/such\" in its path now");
    let own = std::process::id().to_string();
    says(&[":1", "--pid", &own], "No TCP connection in scope (port 1).");
}

#[test]
fn live_watch_ends_with_its_reader() {
    let mut command = keepwarm();
    command.args(["watch", ":1", "--format", "jsonl", "--level", "l1"]).stdin(Stdio::null());
    let (mut running, line) = Running::start(command.stderr(Stdio::null()));
    assert!(line.starts_with("{\"schema\":\"keepwarm.watch/2\""), "{line}");
    // `start` has closed its side of the pipe, as `head -1` does.
    let status = common::wait(running.0.as_mut().unwrap());
    assert_eq!(status.expect("it ends").code(), Some(0));
}

#[test]
fn explain_has_the_knowledge_base() {
    let list = run(keepwarm().arg("explain"));
    let columns = run(keepwarm().args(["explain", "columns"]));
    for column in ["req/conn", "cliff", "t-wait", "unread", "closed 1st/s", "kept"] {
        assert!(columns.exits_with(0).stdout.contains(column), "{column}");
    }
    for topic in ["D1", "D10", "columns", "go", "time-wait", "assertions"] {
        assert!(list.exits_with(0).stdout.contains(topic), "{topic}");
    }
    let go = run(keepwarm().args(["explain", "go"]));
    assert!(go.exits_with(0).stdout.contains("MaxIdleConnsPerHost"), "{}", go.stdout);
    assert!(go.stdout.lines().all(|line| line.len() <= 130), "{}", go.stdout);
    let d4 = run(keepwarm().args(["explain", "d4"]));
    assert!(d4.exits_with(0).stdout.contains("keep-alive timeout"), "{}", d4.stdout);
    run(keepwarm().args(["explain", "nothing"])).exits_with(2).says("lists the topics");
}

#[test]
fn process_name_commands_no_terminal() {
    let program = std::env::temp_dir().join(format!("\u{1b}[31m{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_keepwarm"), &program).unwrap();
    let mut command = Command::new(&program);
    let (_service, line) =
        Running::start(command.args(["serve", "data", "--listen", "127.0.0.1:0"]));
    std::fs::remove_file(&program).unwrap();
    let address = line.split('/').nth(2).unwrap();
    let _open = TcpStream::connect(address).unwrap();
    let seen = run(keepwarm().args(["watch", "src", address, "--once"]));
    seen.exits_with(0);
    assert!(seen.stdout.contains("\u{fffd}[31m"), "{}", seen.stdout);
    assert!(!seen.stdout.contains('\u{1b}'), "{}", seen.stdout);
}

fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1
}

/// Where tracefs is mounted, if it may be used.
fn instances() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let tracefs = mounts.lines().find(|line| line.split(' ').nth(2) == Some("tracefs"));
    let place = tracefs.and_then(|line| line.split(' ').nth(1)).filter(|_| reaches_level_l2());
    if place.is_none() {
        skipped::because("tracing takes root and a mounted tracefs");
    }
    Some(PathBuf::from(place?).join("instances"))
}

#[test]
fn trace_instances_are_removed() {
    let Some(instances) = instances() else { return };
    let of = |watch: &Running| instances.join(format!("keepwarm-{}-0", watch.id()));
    for signal in ["INT", "TERM", "HUP"] {
        if signal == "HUP" && hangup_is_ignored() {
            eprintln!("SKIPPED: SIGHUP is ignored here, as under nohup");
            continue;
        }
        let mut watch = Running::watch(&[":1"]);
        let instance = of(&watch);
        assert!(instance.exists(), "{instance:?}");
        kill(watch.id(), signal);
        finish(watch.0.take().unwrap()).exits_with(0);
        assert!(!instance.exists(), "{instance:?} after {signal}");
    }
    let watch = Running::watch(&[":1"]);
    let instance = of(&watch);
    drop(watch);
    let next = run(keepwarm().args(["watch", ":1", "--for", "10ms"]));
    assert!(next.exits_with(0).stdout.contains("level L2"), "{}", next.stdout);
    assert!(!instance.exists(), "{instance:?}");
}

#[test]
fn traces_name_owner_of_short_connections() {
    if instances().is_none() {
        return;
    }
    let service = Service::start(&["data"]);
    let port = format!(":{}", service.address.port());
    let watch = Running::watch(&[&port, "--for", "60s", "--format", "json"]);
    let begun = std::time::Instant::now();
    load(&service, &["-n", "300", "-c", "5", "-t", "1", "--close"]);
    let most = begun.elapsed();
    let document: Value = serde_json::from_str(&watch.interrupt().stdout).unwrap();
    assert_eq!((&document["level"], &document["lost_trace_events"]), (&"L2".into(), &0.into()));
    let remote = service.address.to_string();
    for side in ["client", "server"] {
        let end = destination(&document, &remote, side);
        let [owner] = &end["owners"].as_array().unwrap()[..] else { panic!("{end:#}") };
        let (process, share) = (&owner["process"], &owner["share"]);
        // The load may end before its name is read: then the name of its one thread is reported.
        let names: &[&str] = if side == "server" { &["keepwarm"] } else { &["keepwarm", "load-0"] };
        assert!(names.contains(&process.as_str().unwrap()), "{end:#}");
        assert_eq!(share, 1.0, "{end:#}");
        assert_eq!(owner["how"], "tracepoint", "{end:#}");
        assert_eq!(owner["pid"] == service.child.id(), side == "server", "{end:#}");
        let longest = end["lifetime_ms"]["max"].as_u64().unwrap();
        assert!(u128::from(longest) <= most.as_millis(), "{end:#}");
    }
}
