//! `keepwarm compare`: real servers in turn, and records.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{dead_port, keepwarm, run};

fn compare(arguments: &[&str]) -> common::Output {
    run(keepwarm().arg("compare").args(arguments))
}

fn recorded(name: &str) -> String {
    format!("{}/../keepwarm-record/records/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

/// A server that waits before each of its answers as long as `wait` says of their number.
fn server(wait: fn(u64) -> Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let answered = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answered = Arc::clone(&answered);
            std::thread::spawn(move || answer(stream, &answered, wait));
        }
    });
    address
}

fn answer(stream: TcpStream, answered: &AtomicU64, wait: fn(u64) -> Duration) {
    let mut lines = BufReader::new(stream.try_clone().expect("a clone")).lines();
    let mut stream = stream;
    while let Some(Ok(line)) = lines.next() {
        if !line.is_empty() {
            continue;
        }
        // The time of an answer is the subject.
        std::thread::sleep(wait(answered.fetch_add(1, Ordering::Relaxed)));
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

#[test]
fn injected_millisecond_is_found() {
    let base = server(|_| Duration::from_micros(500));
    let new = server(|_| Duration::from_micros(1_500));
    let (base, new) = (format!("base=http://{base}/"), format!("new=http://{new}/"));
    let each = ["--rounds", "6", "--each", "load -n 200 -c 2"];
    let found = compare(&[&each[..], &[&base, &new, "--assert", "p50.ratio<1.1"]].concat());
    found.exits_with(10).says("p50.ratio<1.1 does not hold: it is ");
    assert!(found.stdout.starts_with("new is worse than base: p50 "), "{}", found.stdout);
    let comment = compare(&[&each[..], &[&base, &new, "--format", "github"]].concat());
    let comment = &comment.exits_with(0).stdout;
    assert!(
        comment.starts_with("<!-- keepwarm compare -->\n**new is worse than base: "),
        "{comment}"
    );
    assert!(comment.contains("| p50 |") && comment.contains("❌ worse |"), "{comment}");
}

#[test]
fn stalls_of_one_percent_are_found() {
    let base = server(|_| Duration::from_micros(500));
    let new = server(|number| Duration::from_micros(if number % 100 == 50 { 60_500 } else { 500 }));
    let (base, new) = (
        format!("base=load -n 300 -c 2 http://{base}/"),
        format!("new=load -n 300 -c 2 http://{new}/"),
    );
    let found = compare(&["--rounds", "6", &base, &new]);
    let text = &found.exits_with(0).stdout;
    assert!(text.contains("mean time") && text.starts_with("new is worse than base: "), "{text}");
    let mean = text.lines().find(|line| line.starts_with("mean time")).expect("a row");
    assert!(mean.ends_with("worse"), "{text}");
}

#[test]
fn other_settings_are_named_and_refused() {
    let (load, open) = (recorded("load"), recorded("load_open"));
    compare(&[&load, &open])
        .exits_with(2)
        .says("settings.open_loop (false and true)")
        .says("settings.concurrency (4 and 3)");
    compare(&[&load, &open, "--anyway"])
        .exits_with(4)
        .says("load_open.json is an invalid measurement");
    let same = compare(&[&load, &load]);
    assert!(same.exits_with(0).stdout.contains("drift between the runs"), "{}", same.stdout);
    compare(&[&load, &load, "--assert", "p50.ratio<=1"]).exits_with(0);
    compare(&[&load, &load, "--assert", "p50.ratio<1"]).exits_with(10).says("it is 1.000");
    compare(&[&load, &load, "--assert", "p98.ratio<1"]).exits_with(2).says("p99.ratio");
}

#[test]
fn unusable_arms_say_why() {
    let url = format!("http://127.0.0.1:{}/", dead_port());
    let (base, new) = (format!("base={url}"), format!("new={url}"));
    let each = ["--each", "load -n 10"];
    compare(&[&each[..], &[&base, &new]].concat())
        .exits_with(3)
        .says("the load of base has nothing to compare");
    compare(&[&each[..], &[&base, &base]].concat()).exits_with(2).says("both are named");
    compare(&[&each[..], &["a", "b"]].concat()).exits_with(2).says("NAME=URL");
    compare(&["--each", "watch", &base, &new]).exits_with(2).says("is not a load");
    compare(&["--each", "load -o x", &base, &new]).exits_with(2).says("is the comparison's own");
    compare(&["--each", "load 'x", &base, &new]).exits_with(2).says("a quote");
    compare(&["--rounds", "4", "--each", "load", &base, &new])
        .exits_with(2)
        .says("no difference could be claimed");
    compare(&["/no/such", "/file"]).exits_with(2).says("cannot use /no/such");
}
