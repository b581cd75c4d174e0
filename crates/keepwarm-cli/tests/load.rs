//! `keepwarm load` as people run it.

mod common;

use std::process::Command;

use common::{Service, dead_port, keepwarm, run};
use keepwarm_testkit::skipped;
use serde_json::Value;

fn load(arguments: &[&str], url: &str) -> common::Output {
    run(keepwarm().arg("load").args(arguments).arg(url))
}

fn json(arguments: &[&str], url: &str) -> Value {
    let output = load(&[arguments, &["--format", "json"]].concat(), url);
    output.exits_with(0);
    serde_json::from_str(&output.stdout).expect("one JSON document and nothing else")
}

#[test]
fn kept_connections_balance() {
    let data = Service::start(&["data"]);
    let record = json(&["-n", "1003", "-c", "10"], &data.url("/data"));
    assert_eq!(record["schema"], "keepwarm.load/1");
    assert_eq!(record["requests"]["completed"], 1003);
    assert_eq!(record["requests"]["failed"], 0);
    assert_eq!(record["statuses"]["200"], 1003);
    let connections = &record["connections"];
    assert_eq!(connections["opened"], 10);
    assert_eq!(connections["reused"], 993);
    assert_eq!(connections["still_open"], 10);
    assert_eq!(connections["balanced"], true);
}

#[test]
fn close_opens_a_connection_each() {
    let data = Service::start(&["data"]);
    let record = json(&["-n", "200", "-c", "10", "--close"], &data.url("/data"));
    let connections = &record["connections"];
    assert_eq!(connections["opened"], 200);
    assert_eq!(connections["reused"], 0);
    assert_eq!(connections["still_open"], 0);
    let ended = connections["peer_fin"].as_u64().unwrap()
        + connections["closed_by_us"]
            .as_object()
            .unwrap()
            .values()
            .map(|n| n.as_u64().unwrap())
            .sum::<u64>();
    assert_eq!(ended, 200, "{connections}");
}

#[test]
fn duration_ends_the_run() {
    let data = Service::start(&["data"]);
    let record = json(&["-z", "300ms", "-c", "2"], &data.url("/data"));
    assert!(record["requests"]["completed"].as_u64().unwrap() > 0);
    assert!(record["elapsed_s"].as_f64().unwrap() >= 0.3);
}

#[test]
fn few_samples_leave_tail_blank() {
    let data = Service::start(&["data"]);
    let record = json(&["-n", "100"], &data.url("/data"));
    assert_eq!(record["latency_us"]["p999"], Value::Null);
    assert!(record["latency_us"]["p50"].as_u64().is_some());
    let intervals = &record["latency_us"]["intervals"];
    assert_eq!(intervals["method"], "ranks", "too short for blocks");
    assert_eq!(intervals["p99"], Value::Null, "nothing is known beyond the last sample");
    let (low, high) = (&intervals["p50"][0], &intervals["p50"][1]);
    assert!(low.as_u64() <= high.as_u64() && low.is_u64(), "{intervals}");
}

#[test]
fn method_headers_and_body_arrive() {
    let data = Service::start(&["data"]);
    let arguments =
        ["-n", "5", "-c", "1", "-m", "POST", "-d", "hello", "-H", "X-A: b", "--format", "json"];
    let output = load(&arguments, &data.url("/data"));
    let record: Value = serde_json::from_str(&output.exits_with(1).stdout).expect("a document");
    assert_eq!(record["statuses"]["405"], 5, "a status is an answer, not a failure");
    assert_eq!(record["requests"]["failed"], 0);
    assert_eq!(record["http_errors"], 5);
}

#[test]
fn open_loop_counts_every_due_request() {
    let data = Service::start(&["data"]);
    // On a busy machine the load is late, says so, and exits accordingly.
    let arguments = ["--rate", "200", "-z", "500ms", "-c", "4", "--format", "json"];
    let output = load(&arguments, &data.url("/data"));
    let record: Value = serde_json::from_str(&output.stdout).expect("one JSON document");
    let requests = &record["requests"];
    assert_eq!(requests["scheduled"], 100);
    let places = ["completed", "failed", "unsent"];
    let sum: u64 = places.iter().map(|place| requests[*place].as_u64().unwrap()).sum();
    assert_eq!(sum, 100, "{requests}");
    assert_eq!(record["settings"]["open_loop"], true);
    assert_eq!(record["response_us"]["count"], requests["completed"]);
}

#[test]
fn warm_up_is_not_counted() {
    let data = Service::start(&["data"]);
    let record = json(&["-n", "50", "-c", "5", "--warm-up", "100ms"], &data.url("/data"));
    assert_eq!(record["requests"]["scheduled"], 50);
    assert_eq!(record["connections"]["attempts"], 5);
    load(&["-n", "5", "--warm-up", "100ms"], &format!("http://127.0.0.1:{}/", dead_port()))
        .exits_with(3);
}

#[test]
fn request_files_are_sent_or_rejected() {
    let data = Service::start(&["data"]);
    let path = std::env::temp_dir().join(format!("keepwarm-requests-{}", std::process::id()));
    std::fs::write(&path, "GET /data\n\nPOST /data\n= x\n\nGET /missing\n").expect("a file");
    let name = path.to_str().expect("UTF-8");
    let record = json(&["-n", "30", "-t", "1", "--requests-file", name], &data.url("/"));
    for status in ["200", "405", "404"] {
        assert_eq!(record["statuses"][status], 10, "{}", record["statuses"]);
    }
    std::fs::write(&path, "GET /data\nwhat\n").expect("a file");
    load(&["--requests-file", name], &data.url("/")).exits_with(2).says("line 2");
    std::fs::remove_file(&path).expect("it is there");
}

/// Serves one response again and again; returns the URL.
fn always(response: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is left");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                use std::io::{Read, Write};
                let mut request = [0; 4096];
                while matches!(stream.read(&mut request), Ok(1..)) {
                    if stream.write_all(response.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[test]
fn error_statuses_are_never_a_success() {
    let data = Service::start(&["data"]);
    let missing = data.url("/missing");
    let text = load(&["-n", "200", "-c", "10"], &missing);
    let first = text.stdout.lines().next().expect("a line");
    assert!(first.ends_with("all answered 404"), "{first}");
    text.exits_with(1).says("not one of 200 requests was answered with 2xx or 3xx");
    load(&["-n", "20", "--assert", "errors==0"], &missing).exits_with(10);
    load(&["-n", "20", "--assert", "http_errors.share==100%"], &missing).exits_with(1);
    let good = load(&["-n", "20", "--assert", "errors==0"], &data.url("/data"));
    let first = good.exits_with(0).stdout.lines().next().expect("a line").to_owned();
    assert!(first.ends_with("all answered 200, none failed"), "{first}");
}

#[test]
fn redirects_say_where_they_lead() {
    let url = always("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n");
    let text = load(&["-n", "1000", "-c", "5"], &url);
    let said = text.exits_with(0).stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("100 % are 302 to /login: is this what you want to measure?"), "{said}");
}

#[test]
fn status_classes_have_own_times() {
    let data = Service::start(&["data"]);
    let path = std::env::temp_dir().join(format!("keepwarm-classes-{}", std::process::id()));
    std::fs::write(&path, "GET /data\n\nGET /missing\n").expect("a file");
    let name = path.to_str().expect("UTF-8");
    let record = json(&["-n", "100", "--requests-file", name], &data.url("/"));
    for class in ["2xx", "4xx"] {
        assert_eq!(record["latency_us_by_class"][class]["count"], 50, "{class}");
    }
    let text = load(&["-n", "100", "--requests-file", name], &data.url("/")).stdout;
    assert!(text.contains("\n  answered 4xx "), "{text}");
    std::fs::remove_file(&path).expect("it is there");
}

#[test]
fn text_and_ab_agree() {
    let data = Service::start(&["data"]);
    let text = load(&["-n", "100", "-c", "5"], &data.url("/data"));
    assert!(text.exits_with(0).stdout.contains("connections opened        5\n"), "{}", text.stdout);
    assert!(text.stdout.starts_with("100 requests in "), "{}", text.stdout);
    let ab = load(&["-n", "100", "-c", "5", "--format", "ab"], &data.url("/data"));
    for line in [
        "Document Path:          /data\n",
        "Document Length:        8 bytes\n",
        "Concurrency Level:      5\n",
        "Complete requests:      100\n",
        "Failed requests:        0\n",
        "Keep-Alive requests:    95\n",
    ] {
        assert!(ab.exits_with(0).stdout.contains(line), "{line:?} is not in:\n{}", ab.stdout);
    }
    assert!(ab.stdout.contains(" (longest request)\n"), "{}", ab.stdout);
}

#[test]
fn dead_target_has_code_and_hint() {
    let url = format!("http://127.0.0.1:{}/", dead_port());
    load(&["-n", "10000", "-c", "10"], &url)
        .exits_with(3)
        .says("cannot be reached")
        .says("refused");
    load(&[], "http://no-such-host.invalid/").exits_with(3).says("no-such-host.invalid");
}

#[test]
fn unsent_backlog_shows_in_the_verdict() {
    let data = Service::start(&["data"]);
    // More than anybody carries on one connection.
    let arguments = ["-r", "1000000", "-z", "300ms", "-c", "1", "-t", "1", "--backlog", "100"];
    let text = load(&arguments, &data.url("/data"));
    // A load that was late itself is invalid, and says so beside it.
    assert!(matches!(text.status.code(), Some(0 | 4)), "{}", text.stderr);
    assert!(text.stdout.lines().next().unwrap().ends_with(" never sent"), "{}", text.stdout);
    assert!(text.stdout.contains("requests that were due were never sent"), "{}", text.stdout);
    let asserted = load(&[&arguments[..], &["--assert", "p50<1h"]].concat(), &data.url("/data"));
    assert!(
        asserted.stdout.contains("NOT AVAILABLE  p50<1h: it lies among the "),
        "{}",
        asserted.stdout
    );
}

#[test]
fn help_has_examples_and_exit_codes() {
    let help = run(keepwarm().args(["load", "--help"]));
    for line in ["keepwarm load -n 10000 -c 100 URL", "Exit codes: 0 good", "Replace {uuid}"] {
        assert!(help.exits_with(0).stdout.contains(line), "{line:?} is not in:\n{}", help.stdout);
    }
}

#[test]
fn ab_layout_counts_failures() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is left");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let ab = load(&["-n", "7", "-c", "1", "--format", "ab"], &url);
    let lines =
        "Failed requests:        7\n   (Connect: 0, Receive: 7, Length: 0, Exceptions: 0)\n";
    assert!(ab.exits_with(1).stdout.contains(lines), "{}", ab.stdout);
}

#[test]
fn bad_arguments_name_themselves() {
    for (arguments, url, why) in [
        (&["-n", "0"][..], "http://127.0.0.1/", "0 is not in 1.."),
        (&["-c", "0"], "http://127.0.0.1/", "0 is not in 1..=60000"),
        (&["-z", "10x"], "http://127.0.0.1/", "use us, ms, s, m or h"),
        (&["-H", "no colon"], "http://127.0.0.1/", "Name: value"),
        (&["-H", "A: b\r\nC: d"], "http://127.0.0.1/", "header"),
        (&["-m", "G T"], "http://127.0.0.1/", "method"),
        (&[], "ftp://127.0.0.1/", "https"),
        (&[], "127.0.0.1", "http://"),
        (&["--arrivals", "poisson", "-n", "5"], "http://127.0.0.1/", "--rate"),
        (&["--seed", "7", "-n", "5"], "http://127.0.0.1/", "--rate"),
        (&["--backlog", "10", "-n", "5"], "http://127.0.0.1/", "--rate"),
        (&["--rate", "0"], "http://127.0.0.1/", "--rate \"0\": it is not between"),
        (&["--requests-per-connection", "0"], "http://127.0.0.1/", "--requests-per-connection"),
        (&["-D", "/no/such/file"], "http://127.0.0.1/", "/no/such/file"),
        (&["--warm-up", "0s"], "http://127.0.0.1/", "'0s' for '--warm-up"),
        (&["--stages", "0s:100"], "http://127.0.0.1/", "'0s:100' for '--stages"),
        (&["--stages", "10s:-1"], "http://127.0.0.1/", "'10s:-1' for '--stages"),
        (&["-z", "9999999999999h"], "http://127.0.0.1/", "'9999999999999h' for '--duration"),
        (&["-n", "-1"], "http://127.0.0.1/", "-1 is not in 1.."),
        (&["-z", "-5s"], "http://127.0.0.1/", "a duration is not negative"),
        (&["-n", "abc"], "http://127.0.0.1/", "write 10000, 10,000 or 10k"),
        (&["-r", "abc"], "http://127.0.0.1/", "100/s"),
        (&["-w", "abc"], "http://127.0.0.1/", "it is not a port of this host"),
        (&[], "http://127.0.0.1:abc/", "port \"abc\" is not a number"),
        (&["--connect-to", ":::"], "http://127.0.0.1/", "replaces neither"),
        (
            &["--connect-to", "a:1::2"],
            "http://127.0.0.1/",
            "--connect-to \"a:1::2\": no rule is for",
        ),
        (
            &["--close-policy", "now"],
            "http://127.0.0.1/",
            "--close-policy now: connections are kept",
        ),
        (&["--unix-socket", "/dev/null"], "http://a/", "--unix-socket \"/dev/null\": it is not"),
        (&["-u", "me"], "http://127.0.0.1/", "--user \"me\": it has no password"),
        (&["-d", "@/no/such/file"], "http://127.0.0.1/", "/no/such/file"),
    ] {
        load(arguments, url).exits_with(2).says(why);
    }
}

#[test]
fn errors_name_tls_files() {
    let path = std::env::temp_dir().join(format!("keepwarm-no-pem-{}", std::process::id()));
    std::fs::write(&path, "hello").expect("a file");
    let name = path.to_str().expect("UTF-8");
    for (arguments, url, given) in [
        (&["--ca-cert", name][..], "https://127.0.0.1/", format!("--ca-cert {name:?}: ")),
        (&["--ca-cert", name], "http://127.0.0.1/", format!("--ca-cert {name:?}: ")),
        (
            &["--cert", name, "--key", name],
            "https://127.0.0.1/",
            format!("--cert {name:?} and --key {name:?}: "),
        ),
        (&["-k"], "http://127.0.0.1/", "--insecure: the URL begins with http://".to_owned()),
        (&["--no-resumption"], "http://127.0.0.1/", "--no-resumption: the URL".to_owned()),
    ] {
        load(arguments, url).exits_with(2).says(&given);
    }
    std::fs::remove_file(&path).expect("it is there");
}

/// Serves each request with 200; the second value receives the first bytes of each connection.
fn listening() -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is left");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let (heads, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap_or(0);
            let _ = heads.send(String::from_utf8_lossy(&request[..count]).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (url, received)
}

#[test]
fn body_is_sent_as_by_curl() {
    let path = std::env::temp_dir().join(format!("keepwarm-body-{}", std::process::id()));
    std::fs::write(&path, "of a file").expect("a file");
    let at = format!("@{}", path.display());
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let json = "Content-Type: application/json";
    for (arguments, start, has, end) in [
        (&["-d", "a=b"][..], "POST / ", form, "\r\n\r\na=b"),
        (&["-d", ""], "POST / ", "Content-Length: 0\r\n", "\r\n\r\n"),
        (&["-d", &at], "POST / ", form, "\r\n\r\nof a file"),
        (&["-D", &at[1..]], "POST / ", form, "\r\n\r\nof a file"),
        (&["-d", "{}", "-m", "PUT", "-H", json], "PUT / ", json, "\r\n\r\n{}"),
    ] {
        let (url, received) = listening();
        load(&[&["-n", "1", "-c", "1"], arguments].concat(), &url).exits_with(0);
        let head = received.recv().expect("a request");
        assert!(head.starts_with(start) && head.contains(has) && head.ends_with(end), "{head}");
        assert_eq!(head.matches("Content-Type").count(), 1, "{head}");
    }
    std::fs::remove_file(&path).expect("it is there");
}

/// Four requests announce a file of 5 GiB, and are answered before they are sent whole. The file
/// has holes and takes no space; a tenth of it in memory would not fit the limit.
#[test]
fn huge_body_file_needs_little_memory() {
    let path = std::env::temp_dir().join(format!("keepwarm-huge-{}", std::process::id()));
    std::fs::File::create(&path).and_then(|file| file.set_len(5 << 30)).expect("a file");
    let at = format!("@{}", path.display());
    let (url, received) = listening();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -v 524288; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_keepwarm")]);
    command.args(["load", "-n", "4", "-t", "1", "-c", "4", "-d", &at, &url]);
    let output = command.output().expect("it starts");
    std::fs::remove_file(&path).expect("it is there");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let head = received.recv().expect("a request");
    assert!(head.contains("\r\nContent-Length: 5368709120\r\n"), "{head}");
}

#[test]
fn numbers_parse_as_people_write() {
    let data = Service::start(&["data"]);
    let watched = format!("localhost:{}", data.address.port());
    let record =
        json(&["-n", "1,000", "-c", "5", "-w", &watched, "-z", "1m30s"], &data.url("/data"));
    assert_eq!(record["requests"]["completed"], 1000);
    assert_eq!(record["hops"][0]["port"], data.address.port());
    assert_eq!(record["settings"]["duration_s"], 90.0);
}

#[test]
fn unjudgeable_assertions_are_refused_first() {
    // Nothing listens there: had the run begun, the exit code would be 3.
    let url = format!("http://127.0.0.1:{}/", dead_port());
    for (assertion, why) in [
        ("hop.8081.opened<=110", "give --watch 8081"),
        ("lag.p99<1ms", "give --rate"),
        ("handshake.p50<1ms", "there is no TLS handshake"),
        ("service.p99.9<1s", "9999 requests are too few for p99.9: give -n 10000"),
    ] {
        load(&["-n", "9999", "--assert", assertion], &url).exits_with(10).says(why);
    }
}

/// An accept queue of one: the SYN of a second connection is dropped, and sent again after a second.
#[test]
fn dropped_syn_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is left");
    rustix::net::listen(&listener, 1).expect("a shorter queue");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        // The time for which the queue is full is the subject: a SYN is sent again after a second.
        std::thread::sleep(std::time::Duration::from_millis(500));
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    let record = std::env::temp_dir().join(format!("keepwarm-syn-{}", std::process::id()));
    let name = record.to_str().expect("UTF-8");
    let text = load(&["-n", "20", "-c", "10", "-o", name], &url).stdout;
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let kept: Value = serde_json::from_slice(&std::fs::read(&record).expect("a record")).unwrap();
    let slowest = kept["connect_us"]["max"].as_u64().expect("connects");
    assert!((1_000_000..30_000_000).contains(&slowest), "{slowest}");
    assert!(text.contains("A connect of a second or more is a SYN that was dropped"), "{text}");
    assert!(text.contains("accept queue"), "{text}");
    std::fs::remove_file(&record).expect("it is there");
    let data = Service::start(&["data"]);
    let text = load(&["-n", "20", "-c", "10"], &data.url("/data")).stdout;
    assert!(!text.contains("SYN"), "{text}");
}

#[test]
fn record_and_report_take_two_streams() {
    let data = Service::start(&["data"]);
    let output = load(&["-n", "10", "-c", "1", "-o", "-"], &data.url("/data"));
    let record: Value = serde_json::from_str(&output.exits_with(0).stdout).expect("one document");
    assert_eq!(record["requests"]["completed"], 10);
    output.says("10 requests in ");
}

#[test]
fn full_disk_keeps_the_report() {
    let data = Service::start(&["data"]);
    let output = load(&["-n", "10", "-c", "1", "-o", "/dev/full"], &data.url("/data"));
    assert!(output.exits_with(9).stdout.starts_with("10 requests in "), "{}", output.stdout);
}

#[test]
fn version_names_program_and_commit() {
    let version = run(keepwarm().arg("--version"));
    let words: Vec<&str> = version.exits_with(0).stdout.split_whitespace().collect();
    assert_eq!(words[..2], ["keepwarm", env!("CARGO_PKG_VERSION")]);
    assert!(words[2].starts_with('(') && words[2].ends_with(')'), "{words:?}");
    assert_eq!(run(keepwarm().arg("version")).stdout, version.stdout);
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
    let status = keepwarm().arg("--help").stdout(full).stderr(std::process::Stdio::null()).status();
    assert_eq!(status.expect("it runs").code(), Some(9));
}

#[test]
fn small_file_table_fails_at_start() {
    let data = Service::start(&["data"]);
    let script = format!(
        "ulimit -n 100; exec {} load -c 100 -t 1 {}",
        env!("CARGO_BIN_EXE_keepwarm"),
        data.url("/data")
    );
    run(Command::new("sh").args(["-c", &script]))
        .exits_with(7)
        .says("167 descriptors are needed and 100 allowed")
        .says("ulimit -n 167");
}

/// A file table that fills up while the run goes on: made by strace, which fails every socket(2).
#[test]
fn full_file_table_has_its_code() {
    let strace = Command::new("strace").arg("-V").stdout(std::process::Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        skipped::because("strace is not installed, so no file table can be full");
        return;
    }
    let data = Service::start(&["data"]);
    run(Command::new("strace")
        .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=socket"])
        .args(["-e", "inject=socket:error=EMFILE"])
        .arg(env!("CARGO_BIN_EXE_keepwarm"))
        .args(["load", "-n", "50", "-c", "5"])
        .arg(data.url("/data")))
    .exits_with(7)
    .says("for want of a descriptor")
    .says("ulimit -n");
}
