//! The forecast of `keepwarm watch` for when local ports run out, compared with when they do, in a
//! network namespace with few of them.

// Helpers of tests may panic: that fails the test.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod common;

use std::io::{ErrorKind, Read};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use keepwarm_testkit::namespace::Namespace;
use serde_json::Value;

use crate::common::{Output, keepwarm, run};

/// Local ports of the namespace, and connections a second, each of which takes one.
const PORTS: usize = 400;
const RATE: u32 = 30;
/// The time of the forecast: the rate has lasted for the five seconds that it rests on.
const LOOK_AFTER: Duration = Duration::from_millis(5_500);
/// The largest error; a forecast is in whole seconds.
const OFF_AT_MOST: f64 = 2.0;

#[test]
fn ports_run_out_when_forecast() {
    let namespace = match Namespace::make() {
        Ok(namespace) => namespace,
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            return;
        }
    };
    namespace.set("tcp_tw_reuse", 0).unwrap();
    let range = "/proc/sys/net/ipv4/ip_local_port_range";
    namespace.inside(|| std::fs::write(range, "20000 20399")).unwrap();
    let listener = namespace.inside(|| TcpListener::bind("127.0.0.1:8081")).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1]);
        }
    });
    let look = |format: &str| -> Output {
        let mut command = keepwarm();
        command.args(["watch", "dst", "127.0.0.1:8081", "--once", "--format", format]);
        namespace.inside(|| Ok(run(&mut command))).unwrap()
    };
    let (begun, mut half, mut forecast) = (Instant::now(), None, None);
    let mut opened = 0;
    let end = loop {
        let due = Duration::from_secs(1) * opened / RATE;
        // The rate is the subject.
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        match namespace.inside(|| TcpStream::connect("127.0.0.1:8081")) {
            Ok(stream) => drop(stream),
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => break begun.elapsed(),
            Err(error) => panic!("{error}"),
        }
        opened += 1;
        if opened as usize == PORTS / 2 {
            half = Some(begun.elapsed());
        }
        if forecast.is_none() && begun.elapsed() >= LOOK_AFTER {
            let output = look("json");
            let document: Value = serde_json::from_str(&output.exits_with(0).stdout).unwrap();
            forecast = Some((begun.elapsed(), document["destinations"][0]["ports"].clone()));
        }
        assert!(opened < 10_000, "the ports never run out");
    };
    let (at, ports) = forecast.expect("a look before the ports ran out");
    assert_eq!(ports["range"], PORTS, "{ports}");
    for (name, came) in [("cliff_in_s", half.unwrap()), ("exhausted_in_s", end)] {
        let said = at.as_secs_f64() + ports[name].as_f64().unwrap();
        let off = (said - came.as_secs_f64()).abs();
        assert!(off <= OFF_AT_MOST, "{name}: forecast for {said:.1} s, came at {came:?}: {ports}");
    }
    let text = look("text").exits_with(0).stdout.replace('\n', " ");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("400 of 400 local ports towards it are taken (100 %)"), "{text}");
    assert!(words.contains(" no port "), "{text}");
    assert!(words.contains("connect(2) fails, \"cannot assign requested address\""), "{text}");
}
