//! `load --find` against servers whose capacity is known.

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Output, keepwarm, run};
use keepwarm_testkit::skipped;
use serde_json::Value;

/// A server with one queue and a fixed service time: it answers `rate` requests a second, and no
/// more. Its clock is virtual, so that a late wake-up does not add up.
fn fixed(rate: f64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is left");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let free = Arc::new(Mutex::new(Instant::now()));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let free = Arc::clone(&free);
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                while matches!(stream.read(&mut request), Ok(1..)) {
                    let done = {
                        let mut free = free.lock().expect("no panic");
                        *free = (*free).max(Instant::now()) + Duration::from_secs_f64(1.0 / rate);
                        *free
                    };
                    // The service time is the server's known capacity, and the subject.
                    std::thread::sleep(done.saturating_duration_since(Instant::now()));
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if stream.write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// A server that answers 503 beyond a rate, as a limit of requests does.
fn limited(rate: f64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is left");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let level = Arc::new(Mutex::new((Instant::now(), 0.0_f64)));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let level = Arc::clone(&level);
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                while matches!(stream.read(&mut request), Ok(1..)) {
                    let fits = {
                        let mut level = level.lock().expect("no panic");
                        let now = Instant::now();
                        let leaked = (now - level.0).as_secs_f64() * rate;
                        *level = (now, (level.1 - leaked).max(0.0));
                        let fits = level.1 < 20.0;
                        level.1 += f64::from(u8::from(fits));
                        fits
                    };
                    let status = if fits { "200 OK" } else { "503 No" };
                    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                    if stream.write_all(answer.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

fn find(arguments: &[&str], url: &str) -> (Output, Value) {
    let output =
        run(keepwarm().args(["load", "--format", "json", "-c", "100"]).args(arguments).arg(url));
    let record = serde_json::from_str(&output.stdout).expect("one JSON document");
    (output, record)
}

/// One search at a time: each measures.
static ALONE: Mutex<()> = Mutex::new(());

/// Returns true, and says so, if the machine was too busy to measure a capacity.
fn is_busy(record: &Value) -> bool {
    let capacity = &record["capacity"];
    let steps = capacity["steps"].as_array().expect("steps");
    let is_busy = capacity["ended_by"] == "loader"
        || steps.iter().any(|step| step["outcome"] == "untrusted")
        || record["loader"]["waited_share"].as_f64() > Some(0.1);
    if is_busy {
        skipped::because("the load itself lacked a core: no capacity can be measured");
    }
    is_busy
}

/// Searches until a capacity is near what it has to be, at most three times: steps of a second are
/// coarse, and this machine may be busy. `just bench-capacity` is exact.
#[track_caller]
fn comes_near(given: &[&str], url: &str, expected: f64) {
    let _alone = ALONE.lock();
    let mut all = Vec::new();
    for _ in 0..3 {
        let (output, record) = find(given, url);
        if is_busy(&record) {
            return;
        }
        output.exits_with(0);
        let capacity = &record["capacity"];
        assert_eq!(capacity["ended_by"], "found", "{capacity:#}");
        let found = capacity["capacity"].as_f64().expect("a capacity");
        assert!(capacity["low"].as_f64() <= Some(found) && capacity["high"].as_f64() > Some(found));
        assert_eq!(record["settings"]["schedule"]["rate"], capacity["capacity"]);
        if (found / expected - 1.0).abs() < 0.15 {
            return;
        }
        all.push(capacity.clone());
    }
    panic!("none is near {expected}: {all:#?}");
}

#[test]
fn fixed_service_time_gives_its_rate() {
    let url = fixed(400.0);
    let given =
        ["--find", "p99<150ms && errors.share<1%", "--from", "100", "--to", "5000", "-z", "1s"];
    comes_near(&given, &url, 400.0);
}

#[test]
fn limit_of_requests_is_found_by_errors() {
    let url = limited(300.0);
    let given = ["--find", "errors.share<0.5%", "--from", "50", "--to", "5000", "-z", "1s"];
    comes_near(&given, &url, 300.0);
}

#[test]
fn search_ends_at_its_limits() {
    let url = fixed(10_000.0);
    let given = ["--find", "errors.share<50%", "--from", "20", "--to", "40", "-z", "500ms"];
    let _alone = ALONE.lock();
    let (output, record) = find(&given, &url);
    if is_busy(&record) {
        return;
    }
    output.exits_with(0);
    let capacity = &record["capacity"];
    assert_eq!((&capacity["ended_by"], &capacity["capacity"]), (&"to".into(), &40.0.into()));
    assert_eq!(capacity["high"], Value::Null);
    // A record says it again, with the curve.
    let path = std::env::temp_dir().join(format!("keepwarm-capacity-{}", std::process::id()));
    std::fs::write(&path, &output.stdout).expect("written");
    let report = run(keepwarm().arg("report").arg(&path));
    std::fs::remove_file(&path).expect("there");
    let text = &report.exits_with(0).stdout;
    assert!(text.starts_with("errors.share<50% holds up to 40 requests/s"), "{text}");
    assert!(text.contains("requests/s  done/s  p50 ms  p99 ms"), "{text}");
    let none = ["--find", "p99<1us", "--from", "20", "--to", "40", "-z", "300ms"];
    let (output, record) = find(&none, &url);
    if is_busy(&record) {
        return;
    }
    output.exits_with(10).says("does not hold at 20 requests/s already");
    assert_eq!(record["capacity"]["ended_by"], "from");
}

#[test]
fn useless_searches_are_refused() {
    let load =
        |arguments: &[&str]| run(keepwarm().arg("load").args(arguments).arg("http://127.0.0.1:1/"));
    load(&["--find", "p98<5ms"]).exits_with(2).says("p98");
    load(&["--find", "p99<5ms && "]).exits_with(2);
    load(&["--find", "hop.1.opened<5"]).exits_with(2).says("not watched");
    load(&["--find", "p99<5ms", "--rate", "5"]).exits_with(2).says("--rate");
    load(&["--find", "p99<5ms", "--from", "50", "--to", "5"]).exits_with(2).says("--from");
    load(&["--from", "50"]).exits_with(2).says("--find");
    load(&["--find", "p99<5ms"]).exits_with(3);
}

/// A real nginx that admits `rate` requests a second, with a small burst, and answers 503 beyond.
struct Nginx {
    child: std::process::Child,
    folder: std::path::PathBuf,
    url: String,
}

impl Nginx {
    fn start(rate: u32) -> Self {
        let folder = common::folder(&format!("nginx-capacity-{}", std::process::id()));
        let port = common::dead_port();
        let config = format!(
            "daemon off; master_process off; error_log stderr crit; pid {0}/pid;\n\
             events {{ worker_connections 512; }}\n\
             http {{ access_log off; keepalive_requests 1000000;\n\
             client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;\n\
             uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
             limit_req_zone $server_name zone=all:1m rate={rate}r/s;\n\
             server {{ listen 127.0.0.1:{port}; server_name x;\n\
             location / {{ limit_req zone=all burst=20 nodelay; root {0}; }} }} }}\n",
            folder.display()
        );
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config).expect("written");
        // A file, since `return` answers before `limit_req` is asked.
        std::fs::write(folder.join("ok"), "ok").expect("written");
        let child = keepwarm_testkit::mortal::command("nginx", "KILL")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&file)
            .spawn()
            .expect("nginx starts");
        let up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(common::until(up), "nginx listens");
        Self { child, folder, url: format!("http://127.0.0.1:{port}/ok") }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Ten searches of each server, of which nine have to be right within 5 %.
#[test]
#[ignore = "half an hour on a quiet machine: just bench-capacity"]
fn nine_of_ten_searches_are_right() {
    let slow = fixed(800.0);
    let nginx = Nginx::start(500);
    let by_time = ["--find", "p99<50ms && errors.share<0.1%", "--from", "100", "--to", "50000"];
    let by_errors = ["--find", "errors.share<0.5%", "--from", "100", "--to", "50000"];
    for (name, url, given, expected) in [
        ("a fixed service time", &slow, by_time, 800.0),
        ("nginx limit_req", &nginx.url, by_errors, 500.0),
    ] {
        let mut untrusted = 0;
        let mut search = || loop {
            let capacity = find(&given, url).1["capacity"].take();
            // The search says that it knows nothing: no answer, rather than a wrong one.
            if capacity["ended_by"] != "loader" || untrusted == 10 {
                return capacity["capacity"].as_f64().unwrap_or(0.0);
            }
            untrusted += 1;
            eprintln!("{name}: again, since {}", capacity["sentence"]);
        };
        let found: Vec<f64> = (0..10).map(|_| search()).collect();
        let right = found.iter().filter(|one| (*one / expected - 1.0).abs() <= 0.05).count();
        eprintln!("{name}: {expected}/s, found {found:.0?}, {untrusted} searches repeated");
        assert!(right >= 9, "{name}: {right} of 10 are right: {found:?}");
    }
}
