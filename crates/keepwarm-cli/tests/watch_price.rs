//! Claim: the round trips, retransmissions and price of churn in a watch's record are those that the
//! wire and `ss -i` show.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::{Conditions, Wire};
use serde_json::Value;

use crate::common::{finish, keepwarm};

/// The way from one host to the other, and the round trip in microseconds.
const ONE_WAY: Duration = Duration::from_millis(5);
const ROUND_TRIP_US: f64 = 10_000.0;
/// Connections that stay open while the others come and go.
const KEPT: usize = 4;

/// A service that answers each byte with a byte.
fn serve(host: &Namespace, address: SocketAddr) {
    let listener = host.inside(|| TcpListener::bind(address)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(&stream));
        }
    });
}

fn answer(mut stream: &TcpStream) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

fn ask(mut stream: &TcpStream) {
    stream.write_all(b"?").unwrap();
    stream.read_exact(&mut [0]).unwrap();
}

fn watch(host: &Namespace, port: u16) -> Child {
    let arguments = ["--level", "l1", "--for", "5s", "--format", "json"];
    let mut command = keepwarm();
    command.args(["watch", "dst", &format!(":{port}")]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    host.inside(|| command.spawn()).unwrap()
}

/// The destination of a watch, and the length of its window.
fn seen(watch: Child) -> (Value, f64) {
    let output = finish(watch);
    let record: Value = serde_json::from_str(&output.exits_with(0).stdout).unwrap();
    (record["destinations"][0].clone(), record["window_s"].as_f64().unwrap())
}

/// Retransmissions and the least round trip, in microseconds, that `ss -i` shows of open connections.
fn by_ss(host: &Namespace, port: u16) -> (u64, f64) {
    let filter = format!("dport = :{port}");
    let ss = || Command::new("ss").args(["-tinOH", "state", "established", &filter]).output();
    let text = String::from_utf8(host.inside(ss).unwrap().stdout).unwrap();
    let words =
        |key: &'static str| text.split_whitespace().filter_map(move |word| word.strip_prefix(key));
    let again = words("retrans:").filter_map(|word| word.split_once('/')?.1.parse::<u64>().ok());
    let least = words("minrtt:").filter_map(|word| word.parse::<f64>().ok());
    (again.sum(), least.fold(f64::INFINITY, f64::min) * 1_000.0)
}

#[test]
fn price_and_path_are_the_wires() {
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    wire.set(Conditions::delay(ONE_WAY));
    let [churned, lossy] = [5_201, 5_202].map(|port| SocketAddr::new(wire.server_ip(false), port));
    serve(&wire.server, churned);
    serve(&wire.server, lossy);
    let connect = |to: SocketAddr| wire.client.inside(|| TcpStream::connect(to)).unwrap();
    let kept: Vec<TcpStream> = (0..KEPT).map(|_| connect(lossy)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let opened = AtomicU64::new(0);
    let ((churn, seconds), (loss, _)) = std::thread::scope(|scope| {
        let watches = [churned, lossy].map(|to| watch(&wire.client, to.port()));
        // A connection for each request; what the wire loses is only of the other port's time.
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                ask(&connect(churned));
                opened.fetch_add(1, Ordering::Relaxed);
            }
        });
        let seen = watches.map(seen);
        stop.store(true, Ordering::Relaxed);
        seen.into()
    });
    let price = &churn["price"];
    let of = |name: &str| price[name].as_f64().unwrap_or_else(|| panic!("{name}: {churn}"));
    let rate = churn["opened"].as_f64().unwrap() / seconds;
    assert!(churn["opened"].as_u64().unwrap() <= opened.load(Ordering::Relaxed) + 1, "{churn}");
    assert!((of("connects_per_s") - rate).abs() < 1e-6, "{rate}/s: {churn}");
    // A busy machine adds to each round trip, and cannot take from it.
    assert!((ROUND_TRIP_US..2.0 * ROUND_TRIP_US).contains(&of("round_trip_us")), "{churn}");
    assert_eq!(price["tls_round_trips"], 0, "{churn}");
    let waiting = of("connects_per_s") * of("round_trip_us") / 1e6;
    assert!((of("waiting_s_per_s") - waiting).abs() < 1e-6, "{churn}");
    // One connection after the other: half of the time is spent on handshakes, at most.
    assert!(of("waiting_s_per_s") <= 0.55, "{churn}");
    assert!(churn["path"]["rtt_us"]["least"].as_f64() >= Some(ROUND_TRIP_US), "{churn}");
    // The other port has had no traffic: what was counted is what `ss` still shows.
    let (again, least) = by_ss(&wire.client, lossy.port());
    let path = &loss["path"];
    assert_eq!(path["retransmits"].as_u64(), Some(again), "{loss}");
    assert_eq!(path["rtt_us"]["least"].as_f64().map(f64::round), Some(least.round()), "{loss}");
    assert_eq!((&loss["opened"], &loss["price"]), (&0.into(), &Value::Null), "{loss}");
    wire.set(Conditions::delay(ONE_WAY).losing(10, 7));
    (0..15).for_each(|_| kept.iter().for_each(ask));
    wire.set(Conditions::delay(ONE_WAY));
    kept.iter().for_each(ask);
    let (loss, _) = seen(watch(&wire.client, lossy.port()));
    let (again, _) = by_ss(&wire.client, lossy.port());
    assert!(again > 0, "the wire loses segments");
    assert_eq!(loss["path"]["retransmits"].as_u64(), Some(again), "{loss}");
}
