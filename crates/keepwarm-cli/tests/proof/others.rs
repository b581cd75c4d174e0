//! Runs that other load testers get wrong, and that ours does not. Where the other one is installed
//! it is run as well, so that the claim about it is one that can fail.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::{Service, finish, keepwarm, kill, run, until};
use crate::namespace::{has_peer, ss, tcp_counter};
use crate::{count, load, namespace};

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

fn start(command: &mut Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// Connections that the server holds.
fn established(port: u16) -> u64 {
    ss("established", port).0
}

/// Runs a load of 100 connections where there are ports for 50, then lets there be more; how many
/// connections there were before, once there were `enough`, and at most after.
fn exhaust(
    service: &Service,
    command: &mut Command,
    enough: u64,
    patience: Duration,
) -> (u64, u64, Child) {
    let port = service.address.port();
    fs::write(RANGE, "40000 40049").expect("a namespace of our own");
    let child = start(command);
    let mut before = 0;
    assert!(until(|| {
        before = established(port);
        before >= enough
    }));
    fs::write(RANGE, "40000 49999").expect("a namespace of our own");
    let widened = Instant::now();
    let mut most = 0;
    assert!(until(|| {
        most = most.max(established(port));
        most >= 100 || widened.elapsed() > patience
    }));
    (before, most, child)
}

/// wrk gives up a connection whose connect(2) fails, and goes on with those that are left.
#[test]
fn a_run_without_ports_says_so_keeps_its_connections_and_recovers() {
    let name = "others::a_run_without_ports_says_so_keeps_its_connections_and_recovers";
    if !namespace::enter(name, &["ss"]) {
        return;
    }
    let data = Service::start(&["data"]);
    let mut ours = keepwarm();
    ours.args(["load", "-z", "1h", "-c", "100", "-t", "1", "--format", "json", &data.url("/data")]);
    let (before, most, child) = exhaust(&data, &mut ours, 50, crate::common::PATIENCE);
    assert_eq!((before, most), (50, 100), "the run has what it was asked for");
    kill(child.id(), "INT");
    let record: Value = serde_json::from_str(&finish(child).exits_with(130).stdout).unwrap();
    let ledger = &record["connections"];
    assert!(count(&ledger["failed"]["EADDRNOTAVAIL"]) > 0, "{ledger}");
    assert_eq!(count(&ledger["opened"]), 100, "and kept the first fifty: {ledger}");
    let errors = record["errors"].as_array().unwrap();
    let error = errors.iter().find(|error| error["errno"] == "EADDRNOTAVAIL").unwrap();
    assert!(error["hint"].as_str().unwrap().contains("no local port is left"), "{error}");

    if has_peer("wrk") {
        let other = Service::start(&["data"]);
        let mut wrk = Command::new("wrk");
        wrk.args(["-t1", "-c100", "-d4s", &other.url("/data")]);
        // It connects once before, to see whether it can, which leaves a port in TIME_WAIT.
        let (_, most, child) = exhaust(&other, &mut wrk, 49, Duration::from_secs(2));
        assert!((49..=50).contains(&most), "wrk never gets the others: {most}");
        let said = finish(child);
        said.exits_with(0);
        assert!(said.stdout.contains("100 connections\n"), "and says: {}", said.stdout);
    }
}

/// hey lets at most 500 connections idle, and burns those beyond.
#[test]
fn six_hundred_connections_are_six_hundred_connections() {
    let name = "others::six_hundred_connections_are_six_hundred_connections";
    if !namespace::enter(name, &[]) {
        return;
    }
    // The client's side is counted: a listen queue that overflows makes SYN cookies, and of those
    // the server's side may make more connections than there are.
    let data = Service::start(&["data"]);
    let before = tcp_counter("ActiveOpens");
    let record = load(&["-n", "12000", "-c", "600"], &data.url("/data"));
    assert_eq!(count(&record["requests"]["completed"]), 12_000);
    assert_eq!(count(&record["connections"]["opened"]), 600);
    assert_eq!(tcp_counter("ActiveOpens") - before, 600, "and the kernel agrees");
    if has_peer("hey") {
        let before = tcp_counter("ActiveOpens");
        run(Command::new("hey").args(["-n", "12000", "-c", "600", &data.url("/data")]))
            .exits_with(0);
        let opened = tcp_counter("ActiveOpens") - before;
        assert!(opened > 650, "hey opened {opened} for 600 at once");
    }
}

/// oha's -q lets a connection wait for its server before it takes the next instant, so that a
/// freeze hides the requests that were due meanwhile.
#[test]
fn a_freeze_is_in_the_percentiles_of_an_open_loop() {
    let name = "others::a_freeze_is_in_the_percentiles_of_an_open_loop";
    if !namespace::enter(name, &[]) {
        return;
    }
    let data = Service::start(&["data"]);
    let mut ours = keepwarm();
    ours.args(["load", "-r", "200", "-z", "4s", "-c", "4", "-t", "1", "--format", "json"]);
    let child = start(ours.arg(data.url("/data")));
    freeze(&data);
    let output = finish(child);
    let record: Value = serde_json::from_str(&output.stdout).expect("a record");
    let p90 = |series: &str| count(&record[series]["p90"]);
    // A quarter of all requests were due in a second without a server, and waited for half of it
    // on average: of the slowest tenth, the quickest waited 0.6 s.
    assert!((400_000..1_500_000).contains(&p90("response_us")), "{}", p90("response_us"));
    assert!(p90("latency_us") < 200_000, "the exchanges themselves do not show it");
    if has_peer("oha") {
        let oha = ["--no-tui", "-q", "200", "-z", "4s", "-c", "4"];
        let child = start(Command::new("oha").args(oha).arg(data.url("/data")));
        freeze(&data);
        let said = finish(child).stdout;
        let p90 = said.lines().find(|line| line.contains("90.00%")).expect("a percentile");
        let words: Vec<&str> = p90.split_whitespace().collect();
        let seconds: f64 = words[words.len() - 2].parse().expect("a number");
        let seconds = if words.last() == Some(&"ms") { seconds / 1000.0 } else { seconds };
        assert!(seconds < 0.2, "oha says {p90}");
    }
}

/// Stops the service for a second once the load runs.
fn freeze(service: &Service) {
    assert!(until(|| established(service.address.port()) > 0), "the load runs");
    let wait = |length: Duration| {
        let start = Instant::now();
        assert!(until(|| start.elapsed() >= length));
    };
    wait(Duration::from_millis(500));
    service.signal("STOP");
    wait(Duration::from_secs(1));
    service.signal("CONT");
}
