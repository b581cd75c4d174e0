//! Claim: round trips and retransmissions of each destination are those that `ss -i` shows, while its
//! connections are open and after they were closed.

// A helper of a test is a test: a panic is its answer.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Duration;

use keepwarm_sockets::{Destination, NetworkPath, Scope, Side, Watch};
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::{Conditions, Wire};

const PORT: u16 = 5_107;
const CONNECTIONS: usize = 8;
const EXCHANGES: usize = 40;
const ONE_WAY: Duration = Duration::from_millis(5);
const SETTLE: Duration = Duration::from_secs(5);

/// Opens the connections and lets each carry some exchanges.
fn connections(wire: &Wire) -> Vec<(TcpStream, TcpStream)> {
    let listen = || TcpListener::bind((wire.server_ip(false), PORT));
    let listener = wire.server.inside(listen).unwrap();
    let open = || {
        let connect = || TcpStream::connect(listener.local_addr().unwrap());
        (wire.client.inside(connect).unwrap(), listener.accept().unwrap().0)
    };
    let pairs: Vec<_> = (0..CONNECTIONS).map(|_| open()).collect();
    thread::scope(|scope| {
        for (client, server) in &pairs {
            scope.spawn(|| exchange(client, server));
        }
    });
    pairs
}

fn exchange(mut client: &TcpStream, mut server: &TcpStream) {
    let mut bytes = [0; 700];
    for _ in 0..EXCHANGES {
        client.write_all(&bytes).unwrap();
        server.read_exact(&mut bytes).unwrap();
        server.write_all(&bytes).unwrap();
        client.read_exact(&mut bytes).unwrap();
    }
}

/// Reads what `ss -i` shows of the connections: retransmissions in all, and the least round trip in
/// microseconds.
fn by_ss(host: &Namespace) -> (u64, u32) {
    let ss = || Command::new("ss").args(["-tinOH", "state", "established"]).output();
    let output = String::from_utf8(host.inside(ss).unwrap().stdout).unwrap();
    let of_test = |line: &&str| line.contains(&format!(":{PORT} "));
    let lines: Vec<&str> = output.lines().filter(of_test).collect();
    assert_eq!(lines.len(), CONNECTIONS, "{output}");
    let after = |line: &str, key: &str| -> Option<String> {
        line.split_whitespace().find_map(|word| word.strip_prefix(key)).map(str::to_owned)
    };
    let again = |line: &&str| {
        let word = after(line, "retrans:")?;
        word.split_once('/')?.1.parse::<u64>().ok()
    };
    let least = |line: &&str| after(line, "minrtt:")?.parse::<f64>().ok();
    let least = lines.iter().filter_map(least).fold(f64::INFINITY, f64::min);
    (lines.iter().filter_map(again).sum(), (least * 1_000.0).round() as u32)
}

fn watch(host: &Namespace) -> Watch {
    host.inside(|| Ok(Watch::start(Scope::of_port(PORT)).unwrap())).unwrap()
}

fn seen(watch: Watch, side: Side) -> Destination {
    let report = watch.finish(SETTLE).unwrap();
    report.destinations.into_iter().find(|one| one.side == side).unwrap()
}

#[test]
fn paths_are_those_of_ss() {
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    wire.set(Conditions::delay(ONE_WAY).losing(4, 11));
    let pairs = connections(&wire);
    wire.set(Conditions::delay(ONE_WAY));
    // The last acknowledgements have come, so the numbers rest.
    thread::sleep(Duration::from_secs(1));
    let hosts = [(&wire.client, Side::Client), (&wire.server, Side::Server)];
    let truths = hosts.map(|(host, _)| by_ss(host));
    let open = hosts.map(|(host, side)| seen(watch(host), side));
    for (one, (again, least)) in open.iter().zip(truths) {
        let path = &one.path_open;
        assert_eq!(path.rtt_us.count(), CONNECTIONS as u64, "{path:?}");
        assert_eq!((path.retransmits, path.least_rtt_us), (again, Some(least)), "{path:?}");
        assert!(path.segments_sent > (CONNECTIONS * EXCHANGES) as u64, "{path:?}");
        assert_eq!(one.path, NetworkPath::default(), "none was closed");
    }
    assert!(truths.iter().map(|(again, _)| again).sum::<u64>() > 0, "the wire loses segments");
    let watches = hosts.map(|(host, side)| (watch(host), side));
    drop(pairs);
    for ((watch, side), (again, least)) in watches.into_iter().zip(truths) {
        let one = seen(watch, side);
        let path = &one.path;
        assert_eq!(path.rtt_us.count(), CONNECTIONS as u64, "{path:?}");
        // A FIN may be sent twice on a busy machine.
        let allowed = again..=again + CONNECTIONS as u64;
        assert!(allowed.contains(&path.retransmits), "{again}: {path:?}");
        let way_and_back = 2 * u32::try_from(ONE_WAY.as_micros()).unwrap();
        assert!((way_and_back..=least).contains(&path.least_rtt_us.unwrap()), "{least}: {path:?}");
        assert!(path.rtt_us.quantile(0.0).unwrap() >= way_and_back, "{path:?}");
        assert_eq!(one.path_open, NetworkPath::default(), "none is open");
    }
}
