//! `keepwarm load` looked at closely: one request, expectations, rows, single requests, labels and
//! secrets, requests from files and curl lines, addresses and ages of connections.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use common::{Output, finish, keepwarm, kill, run, silent, until};
use keepwarm_testkit::skipped;
use serde_json::Value;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nData OK.";

/// A server of this process: it answers each request by its head, and keeps the heads.
struct Server {
    listener: TcpListener,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", answer)
    }

    fn start_on(address: &str, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).expect("an address of this host");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let (accepting, kept) = (listener.try_clone().expect("a descriptor"), Arc::clone(&heads));
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for mut stream in accepting.incoming().flatten() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                std::thread::spawn(move || {
                    let mut request = [0; 65536];
                    while let Ok(count @ 1..) = stream.read(&mut request) {
                        let head = String::from_utf8_lossy(&request[..count]).into_owned();
                        let response = answer(&head);
                        kept.lock().expect("no panic").push(head);
                        // An empty answer is the end of the connection.
                        if response.is_empty() || stream.write_all(response.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { listener, heads }
    }

    fn always(answer: &'static str) -> Self {
        Self::start(move |_| answer.to_owned())
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port())
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }
}

fn load(arguments: &[&str]) -> Output {
    run(keepwarm().arg("load").args(arguments))
}

#[track_caller]
fn record(arguments: &[&str]) -> Value {
    let output = load(&[&["--format", "json"], arguments].concat());
    output.exits_with(0);
    serde_json::from_str(&output.stdout).expect("one JSON document and nothing else")
}

fn file(name: &str, text: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("keepwarm-{name}-{}", std::process::id()));
    std::fs::write(&path, text).expect("a file");
    path
}

#[test]
fn one_shows_request_response_and_stages() {
    let server = Server::always(
        "HTTP/1.1 200 OK\r\nX-Made-By: me\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    let arguments = ["--one", "-H", "X-A: b", "-u", "me:secret", "-d", "a=b"];
    let output = load(&[&arguments[..], &[&server.url("/x?y=1")]].concat());
    output.exits_with(0);
    let first = output.stdout.lines().next().expect("a line");
    assert!(first.starts_with("answered 200 in ") && first.contains("5 bytes"), "{first}");
    for shown in [
        "> POST /x?y=1 HTTP/1.1",
        "> X-A: b",
        "> Authorization: ***",
        "a=b",
        "< HTTP/1.1 200 OK",
        "< X-Made-By: me",
        "hello",
        "connect ",
        "first byte",
        "last byte",
        "connection: from 127.0.0.1:",
        "kept open by the server",
    ] {
        assert!(output.stdout.contains(shown), "{shown:?} is not in:\n{}", output.stdout);
    }
    assert!(!output.stdout.contains("secret") && !output.stdout.contains("bWU6"), "hidden");
    let sent = server.heads().concat();
    assert!(sent.contains("Authorization: Basic bWU6c2VjcmV0"), "it is sent: {sent}");
    assert_eq!(server.heads().len(), 1);
    // The record says it all again.
    let record = record(&["--one", &server.url("/")]);
    assert_eq!(record["one"]["response_content"][0], "hello");
    assert_eq!(record["one"]["response_head"][1], "X-Made-By: me");
    assert_eq!(record["requests"]["completed"], 1);
}

#[test]
fn one_shows_ends_that_are_no_answer() {
    let dead = format!("http://127.0.0.1:{}/", common::dead_port());
    load(&["--one", &dead]).exits_with(3);
    let server = Server::always("");
    let output = load(&["--one", &server.url("/")]);
    output.exits_with(1);
    assert!(output.stdout.starts_with("failed (eof_on_new)"), "{}", output.stdout);
    assert!(output.stdout.contains("closed by the server's FIN"), "{}", output.stdout);
    let server = Server::always("SSH-2.0-OpenSSH_9\r\n");
    let output = load(&["--one", &server.url("/")]);
    assert!(output.stdout.contains("< SSH-2.0-OpenSSH_9"), "{}", output.stdout);
    load(&["--one", "-n", "5", &server.url("/")]).exits_with(2).says("--one");
}

#[test]
fn misses_are_a_class_of_their_own() {
    let server = Server::start(|head| match head.contains("/bad") {
        true => "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno".to_owned(),
        false => OK.to_owned(),
    });
    let path = file("expect", "GET /good weight=3\n\nGET /bad\n");
    let path = path.to_str().expect("UTF-8");
    let url = server.url("/");
    let given = [
        "-n",
        "400",
        "-c",
        "4",
        "--requests-file",
        path,
        "--expect",
        "status=2xx",
        "--expect",
        "body~\"Data\"",
        "--expect",
        "len=8",
        &url,
    ];
    let record = record(&given);
    let requests = &record["requests"];
    assert_eq!((&requests["completed"], &requests["failed"]), (&400.into(), &0.into()));
    assert_eq!(record["misses"], 100, "each response misses once");
    assert_eq!(record["expectations"][0]["misses"], 100);
    assert_eq!(record["expectations"][1]["misses"], 0, "an earlier one has been missed");
    assert_eq!(record["connections"]["balanced"], true);
    let rows = record["by_request"].as_array().expect("rows");
    assert_eq!((&rows[0]["misses"], &rows[1]["misses"]), (&0.into(), &100.into()));
    load(&[&["--assert", "misses==0"], &given[..]].concat()).exits_with(10).says("it is 100");
    load(&[&["--assert", "misses.share<=25%"], &given[..]].concat()).exits_with(0);
    let text = load(&given).stdout;
    assert!(text.contains("MISSED  status=2xx: 100 responses, 25 %"), "{text}");
}

#[test]
fn expected_text_is_found_across_chunks() {
    let server = Server::always(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    );
    let url = server.url("/");
    let record = record(&["-n", "50", "--expect", "body~cd", "--expect", "body!~dc", &url]);
    assert_eq!(record["misses"], 0);
    load(&["--expect", "size=8", &url]).exits_with(2).says("status=2xx");
    load(&["-n", "1", "--assert", "misses==0", &url]).exits_with(10).says("--expect");
}

#[test]
fn expected_404_is_no_failure() {
    let server = Server::always("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    let url = server.url("/gone");
    load(&["--one", "--expect", "status=404", &url]).exits_with(0);
    load(&["-n", "5", "--expect", "status=4xx", &url]).exits_with(0);
    load(&["-n", "5", "--expect", "len=0", &url]).exits_with(1).says("answered 404");
    load(&["-n", "5", "--expect", "status=410", &url]).exits_with(1).says("answered 404");
}

#[test]
fn slowest_requests_name_their_connection() {
    let server = Server::start(|head| {
        if head.contains("/slow") {
            // The service time is the subject.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        OK.to_owned()
    });
    let path = file("slow", "GET /quick weight=19\n\nGET /slow name=tardy\n");
    let url = server.url("/");
    let path = path.to_str().expect("UTF-8");
    let record = record(&["-n", "100", "-c", "2", "--requests-file", path, "--trace", &url]);
    let slowest = record["slowest"].as_array().expect("a list");
    assert_eq!(slowest.len(), 10);
    let sent = server.heads().concat();
    for one in &slowest[..5] {
        assert_eq!(one["request"], "tardy");
        assert!(one["service_us"].as_u64() >= Some(50_000), "{one}");
        assert!((1..=2).contains(&one["connection"].as_u64().expect("a number")), "{one}");
        assert!(one["nth"].as_u64() >= Some(1));
        let trace = one["traceparent"].as_str().expect("a trace");
        assert!(sent.contains(&format!("traceparent: {trace}\r\n")), "{trace} was sent");
    }
    let traces = sent.lines().filter(|line| line.starts_with("traceparent: "));
    let different: std::collections::BTreeSet<_> = traces.collect();
    assert_eq!(different.len(), 100, "each request has its own");
}

#[test]
fn first_failures_say_new_or_reused() {
    // Every third request of a connection is its end, without an answer.
    let server = Server::start({
        let count = std::sync::atomic::AtomicU64::new(0);
        move |_| match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3 {
            2 => String::new(),
            _ => OK.to_owned(),
        }
    });
    let record = record(&["-n", "60", "-c", "1", "-t", "1", &server.url("/")]);
    let failures = record["first_failures"].as_array().expect("a list");
    assert_eq!(failures.len(), 10);
    for (index, one) in failures.iter().enumerate() {
        assert_eq!(one["class"], "eof_on_reused", "{one}");
        assert_eq!((&one["connection"], &one["nth"]), (&(index + 1).into(), &3.into()));
    }
    let silent = silent();
    let output = load(&["-n", "1", "--timeout", "100ms", "--format", "json", &silent]);
    let record: Value = serde_json::from_str(&output.exits_with(1).stdout).expect("JSON");
    assert_eq!(record["first_failures"][0]["nth"], 1, "on a new connection");
}

#[test]
fn secrets_are_in_no_record() {
    let server = Server::always(OK);
    let url = server.url("/");
    let path = std::env::temp_dir().join(format!("keepwarm-secret-{}", std::process::id()));
    let name = path.to_str().expect("UTF-8");
    let output = load(&[
        "-n",
        "5",
        "-u",
        "me:hush1",
        "-H",
        "Cookie: a=hush2",
        "--header",
        "Proxy-Authorization: hush3",
        "--label",
        "commit=1234567",
        "--label",
        "image=a b",
        "--trace",
        "-o",
        name,
        &url,
    ]);
    output.exits_with(0);
    let curl = ["-n", "5", "--format", "json", "--", "curl"];
    let words = ["-b", "x=hush4", "-HX-Api-Key: hush5", &url.replace("//", "//me:hush6@")];
    let curled = load(&[&curl[..], &words].concat());
    curled.exits_with(0);
    let kept = std::fs::read_to_string(&path).expect("a record");
    std::fs::remove_file(&path).expect("there");
    let reported = run(keepwarm().args(["report", "-", "--format", "json"]).stdin(Stdio::null()));
    reported.exits_with(2);
    for text in [&kept, &output.stdout, &curled.stdout, &output.stderr, &curled.stderr] {
        assert!(!text.contains("hush"), "{text}");
    }
    assert!(server.heads().concat().contains("hush2"), "they are sent");
    let record: Value = serde_json::from_str(&kept).expect("JSON");
    assert_eq!(record["labels"]["commit"], "1234567");
    assert_eq!(record["labels"]["image"], "a b");
    let command: Vec<&str> =
        record["command"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(command.windows(2).any(|pair| pair == ["-u", "***"]), "{command:?}");
    assert!(command.contains(&"Cookie: ***"), "{command:?}");
    load(&["--label", "a b=c", &url]).exits_with(2).says("letters");
}

#[test]
fn weights_names_and_csv_values_are_sent() {
    let server = Server::always(OK);
    let table = file("users.csv", "id,name\n1,\"a b\"\n2,c/d\n");
    let csv = table.file_name().and_then(|name| name.to_str()).expect("UTF-8");
    let text = format!(
        "GET /user/{{csv:{csv}.id}}/{{csv:{csv}.name}} weight=2 name=user\n\nPOST /add\n= \
         {{csv:{csv}.name}}\n"
    );
    let path = file("weights", &text);
    let url = server.url("/");
    let path = path.to_str().expect("UTF-8");
    let given = ["-n", "60", "-c", "2", "--template", "--requests-file", path, &url];
    let record = record(&given);
    let rows = record["by_request"].as_array().expect("rows");
    assert_eq!((&rows[0]["name"], &rows[0]["completed"]), (&"user".into(), &40.into()));
    assert_eq!((&rows[1]["name"], &rows[1]["completed"]), (&"POST /add".into(), &20.into()));
    assert!(rows[0]["latency_us"]["p50"].as_u64() > Some(0));
    let heads = server.heads();
    let sent = |part: &str| heads.iter().filter(|head| head.contains(part)).count();
    assert_eq!(sent("GET /user/1/a%20b ") + sent("GET /user/2/c%2Fd "), 40);
    assert!(sent("GET /user/1/a%20b ") > 0 && sent("GET /user/2/c%2Fd ") > 0);
    assert_eq!(sent("\r\n\r\na b") + sent("\r\n\r\nc/d"), 20);
    let missing = ["-n", "1", "--template", "-H", "A: {csv:none.csv.x}", &url];
    load(&missing).exits_with(2).says("none.csv");
}

#[test]
fn abort_if_ends_the_run_early() {
    let server = Server::always("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let url = server.url("/");
    let given = ["-z", "1h", "-c", "2", "--abort-if", "errors.share>5%", "--format", "json", &url];
    let output = load(&given);
    output.exits_with(10).says("the run was aborted: errors.share>5% held after");
    let record: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(record["stopped"], "aborted");
    assert!(record["aborted"].as_str().is_some_and(|why| why.contains("100%")));
    assert_eq!(record["requests"]["unsent"], 0);
    let good = Server::always(OK);
    let given =
        ["-z", "1200ms", "-c", "2", "-t", "1", "--abort-if", "errors.share>5%", &good.url("/")];
    load(&given).exits_with(0);
    for name in ["hop.1.opened>5", "status.404>5", "connect.p99>1s", "conn.requests.max>5"] {
        load(&["--abort-if", name, &url]).exits_with(2).says("before the run is over");
    }
    // A run that is over within its first second has no whole one.
    let short = ["-n", "4", "-c", "2", "--abort-if", "rps<1000000000", "--format", "json"];
    let output = load(&[&short[..], &[&good.url("/")]].concat());
    let record: Value = serde_json::from_str(&output.stdout).expect("one JSON document");
    if record["elapsed_s"].as_f64() < Some(1.0) {
        assert_eq!(record["stopped"], "finished", "{record}");
    }
    load(&["--abort-if", "misses>5", &url]).exits_with(2).says("--expect");
}

#[test]
fn curl_lines_become_loads() {
    let server = Server::always(OK);
    let url = server.url("/x");
    let line = ["-sS", "-X", "PUT", "-H", "X-A: b", "--data-raw", "@1", "--compressed", &url];
    load(&[&["-n", "20", "-c", "2", "--", "curl"], &line[..]].concat()).exits_with(0);
    let heads = server.heads();
    assert_eq!(heads.len(), 20);
    assert!(heads[0].starts_with("PUT /x HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[0].contains("X-A: b\r\n") && heads[0].ends_with("\r\n\r\n@1"), "{}", heads[0]);
    load(&["--", "curl", "--wibble", "x", &url]).exits_with(2).says("--wibble");
    load(&["--", "wget", &url]).exits_with(2).says("wget");
    load(&[&url, "--", "curl", &url]).exits_with(2).says("curl line");
    load(&[]).exits_with(2);
}

#[test]
fn arguments_come_from_files() {
    let server = Server::always(OK);
    let text = "# a load\n-n 12\n-c 3 -H 'X-From: the file'\n";
    let path = file("arguments", text);
    let name = format!("@{}", path.display());
    let record = record(&[&name, &server.url("/")]);
    assert_eq!(record["requests"]["completed"], 12);
    assert!(server.heads()[0].contains("X-From: the file"));
    assert!(record["command"].as_array().expect("a list").contains(&"X-From: the file".into()));
    load(&["@/no/such/file", &server.url("/")]).exits_with(2).says("@/no/such/file");
}

#[test]
fn connections_end_at_their_greatest_age() {
    let server = Server::start(|_| {
        // A service time, so that a connection reaches its age within few requests.
        std::thread::sleep(std::time::Duration::from_millis(2));
        OK.to_owned()
    });
    let url = server.url("/");
    let record = record(&["-z", "1s", "-c", "2", "--max-lifetime", "100ms", &url]);
    let closed = &record["connections"]["closed_by_us"];
    assert!(closed["max_lifetime"].as_u64() >= Some(2), "{closed}");
    assert_eq!(record["settings"]["max_lifetime_s"], 0.1);
    // An idle connection of an open loop ends as well.
    let given = ["--rate", "2", "-z", "1s", "-c", "1", "--max-lifetime", "50ms"];
    let output = load(&[&given[..], &["--format", "json", &url]].concat());
    let record: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(record["connections"]["closed_by_us"]["max_lifetime"], 1, "the first one");
    assert_eq!(record["connections"]["opened"], 2);
}

#[test]
fn families_are_chosen_by_letter() {
    let server = Server::always(OK);
    let named = format!("http://localhost:{}/", server.port());
    let record = record(&["-4", "-n", "5", &named]);
    let addresses = record["settings"]["addresses"].as_array().expect("a list").clone();
    assert!(addresses.iter().all(|one| one.as_str().is_some_and(|one| one.starts_with("127."))));
    load(&["-6", "-n", "5", &server.url("/")]).exits_with(3).says("no IPv6 address");
    load(&["-4", "-6", &named]).exits_with(2);
}

/// A host whose addresses change while the load runs: in a mount namespace, its name is in a file of
/// hosts of its own.
#[test]
fn addresses_are_looked_up_again() {
    let probe = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        return skipped::because(
            "a file of hosts of its own takes a mount namespace, which takes root",
        );
    }
    let first = Server::start_on("127.0.0.2:0", |_| OK.to_owned());
    let address = |number: u8| format!("127.0.0.{number}:{}", first.port());
    let [second, third] =
        [3, 4].map(|number| Server::start_on(&address(number), |_| OK.to_owned()));
    let hosts = file("hosts", "127.0.0.2 backend.test\n127.0.0.3 backend.test\n");
    let url = format!("http://backend.test:{}/", first.port());
    let program = env!("CARGO_BIN_EXE_keepwarm");
    let script = format!(
        "mount --bind {} /etc/hosts && exec {program} load -z 60s -c 2 -t 1 --dns-ttl 100ms \
         --max-lifetime 20ms --format json {url}",
        hosts.display()
    );
    let mut command = keepwarm_testkit::mortal::command("unshare", "KILL");
    let child = command
        .args(["-m", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare runs");
    assert!(until(|| !first.heads().is_empty() && !second.heads().is_empty()), "both are used");
    assert!(third.heads().is_empty());
    // Overwritten in place: the file itself is what was mounted.
    std::fs::write(&hosts, "127.0.0.4 backend.test\n").expect("written");
    assert!(until(|| !third.heads().is_empty()), "the new address is used");
    // unshare and sh have become the tool.
    kill(child.id(), "INT");
    let output = finish(child);
    output.exits_with(130);
    let record: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let rows = record["by_address"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().filter_map(|row| row["address"].as_str()).collect();
    assert_eq!(names, [address(2), address(3), address(4)]);
    assert!(rows.iter().all(|row| row["opened"].as_u64() > Some(0)), "{rows:?}");
    let sum = |key: &str| rows.iter().filter_map(|row| row[key].as_u64()).sum::<u64>();
    assert_eq!(Some(sum("opened")), record["connections"]["opened"].as_u64());
    assert_eq!(Some(sum("completed")), record["requests"]["completed"].as_u64());
}
