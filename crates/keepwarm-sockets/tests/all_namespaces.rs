//! Claim: a watch of all network namespaces counts each close once, in the namespace of its socket, with
//! the kernel's own counters as the truth, while namespaces come and go.

// Helpers of a test may panic: that fails the test.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use keepwarm_sockets::{
    Counters, Destination, HostReport, NamespacesWatch, Scope, Side, network_namespace,
};
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;

const NAMESPACES: usize = 20;
/// Connections that each namespace opens to the next one, and within itself.
const ACROSS: u64 = 60;
const WITHIN: u64 = 25;
const PORT: u16 = 8_081;
const SETTLE: Duration = Duration::from_secs(20);

/// A namespace with its inode.
struct Host {
    namespace: Namespace,
    inode: u64,
}

impl Host {
    fn make() -> std::io::Result<Host> {
        let namespace = Namespace::make()?;
        let inode = namespace.inside(|| Ok(network_namespace().unwrap()))?;
        Ok(Host { namespace, inode })
    }

    fn counters(&self) -> Counters {
        self.namespace.inside(|| Ok(Counters::read().unwrap())).unwrap()
    }

    fn listen(&self, address: SocketAddr) -> TcpListener {
        self.namespace.inside(|| TcpListener::bind(address)).unwrap()
    }

    /// Opens connections one after the other, each with a request; the client closes first, or the
    /// server.
    fn churn(&self, listener: &TcpListener, count: u64) {
        let to = listener.local_addr().unwrap();
        for number in 0..count {
            let mut client = self.namespace.inside(|| TcpStream::connect(to)).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            client.write_all(b"?").unwrap();
            server.read_exact(&mut [0]).unwrap();
            let (first, mut second) =
                if number % 3 == 0 { (server, client) } else { (client, server) };
            drop(first);
            assert_eq!(second.read(&mut [0]).unwrap(), 0);
        }
    }
}

/// The destinations of a namespace in a report.
fn of(report: &HostReport, inode: u64, side: Side) -> Vec<&Destination> {
    let is_it = |one: &&Destination| {
        one.side == side && one.namespace.as_ref().is_some_and(|namespace| namespace.inode == inode)
    };
    report.destinations.iter().filter(is_it).collect()
}

fn sum(of: &[&Destination], count: impl Fn(&Destination) -> u64) -> u64 {
    of.iter().map(|one| count(one)).sum()
}

#[test]
fn each_close_is_counted_once() {
    let hosts: Vec<Host> = match (0..NAMESPACES).map(|_| Host::make()).collect() {
        Ok(hosts) => hosts,
        Err(error) => return skipped::because(&error.to_string()),
    };
    let next = |place: usize| (place + 1) % NAMESPACES;
    // A ring: each is joined with the next.
    for (place, host) in hosts.iter().enumerate() {
        let (here, there) = (format!("10.80.{place}.1"), format!("10.80.{place}.2"));
        let name = format!("kw{place}");
        let joined = host.namespace.join(&name, &here, &hosts[next(place)].namespace, &there);
        if let Err(error) = joined {
            return skipped::because(&format!("namespaces cannot be joined: {error}"));
        }
    }
    let watch = match NamespacesWatch::start(Scope::default()) {
        Ok(watch) => watch,
        Err(error) if error.is_denied() => return skipped::because(&error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let before: Vec<Counters> = hosts.iter().map(Host::counters).collect();
    std::thread::scope(|threads| {
        for (place, host) in hosts.iter().enumerate() {
            let neighbour = &hosts[next(place)];
            threads.spawn(move || {
                let there = format!("10.80.{place}.2:{PORT}").parse().unwrap();
                host.churn(&neighbour.listen(there), ACROSS);
                // The same address in every namespace.
                let here = SocketAddr::from(([127, 0, 0, 1], PORT));
                host.churn(&host.listen(here), WITHIN);
            });
        }
    });
    let grown: Vec<Counters> =
        hosts.iter().zip(&before).map(|(host, then)| host.counters().since(then)).collect();
    let report = watch.finish(SETTLE).unwrap();
    assert_eq!(report.lost_events, 0, "{:?}", report.namespaces);
    for (host, kernel) in hosts.iter().zip(&grown) {
        let (clients, servers) =
            (of(&report, host.inode, Side::Client), of(&report, host.inode, Side::Server));
        let closes = |of: &[&Destination]| sum(of, |one| one.closed.total());
        let opens = |of: &[&Destination]| sum(of, |one| one.opened);
        // No other program is in these namespaces, so the kernel's counters are of these connections.
        assert_eq!(Some(opens(&clients)), kernel.active_opens, "{clients:#?}");
        assert_eq!(Some(opens(&servers)), kernel.passive_opens, "{servers:#?}");
        assert_eq!((closes(&clients), closes(&servers)), (ACROSS + WITHIN, ACROSS + WITHIN));
        assert_eq!(opens(&clients), ACROSS + WITHIN);
        let first =
            sum(&clients, |one| one.closed.local_fin) + sum(&servers, |one| one.closed.local_fin);
        assert_eq!(Some(first), kernel.time_waits, "{clients:#?} {servers:#?}");
        assert_eq!(clients.len(), 2, "the neighbour's service and the own one: {clients:#?}");
    }
    assert!(report.namespaces.unwrap().watched >= NAMESPACES as u64);
}

/// Waits until a report meets a condition.
fn until(watch: &NamespacesWatch, what: &str, is_met: impl Fn(&HostReport) -> bool) -> HostReport {
    let begun = Instant::now();
    loop {
        let report = watch.snapshot();
        if is_met(&report) {
            return report;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{what}: {report:#?}");
        // Reports come by time, and nothing signals one.
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn namespaces_that_come_and_go_are_followed() {
    let stays = match Host::make() {
        Ok(host) => host,
        Err(error) => return skipped::because(&error.to_string()),
    };
    let watch = match NamespacesWatch::start(Scope::default()) {
        Ok(watch) => watch,
        Err(error) if error.is_denied() => return skipped::because(&error.to_string()),
        Err(error) => panic!("{error}"),
    };
    let watched = |report: &HostReport, inode: u64| !of(report, inode, Side::Server).is_empty();
    let comes = Host::make().unwrap();
    let here = SocketAddr::from(([127, 0, 0, 1], PORT));
    // A listener shows that the namespace is watched; what was closed before is not in the window.
    let listener = comes.listen(here);
    let warm = comes.namespace.inside(|| TcpStream::connect(here)).unwrap();
    let accepted = listener.accept().unwrap();
    until(&watch, "the new namespace is watched", |report| watched(report, comes.inode));
    comes.churn(&listener, WITHIN);
    stays.churn(&stays.listen(here), WITHIN);
    drop((warm, accepted, listener));
    let gone = comes.inode;
    drop(comes);
    until(&watch, "its end is met", |report| {
        let namespaces = report.namespaces.as_ref().unwrap();
        let ended = of(report, gone, Side::Client);
        let is_over = |one: &&Destination| one.closed.total() > 0 && one.time_wait == 0;
        namespaces.ended >= 1 && ended.iter().any(is_over)
    });
    // A second one after it: the numbers of the first, and of the one that stays, are as they were.
    let again = Host::make().unwrap();
    stays.churn(&stays.listen(SocketAddr::from(([127, 0, 0, 1], PORT + 1))), WITHIN);
    drop(again);
    let report = watch.finish(SETTLE).unwrap();
    let namespaces = &report.namespaces;
    for (inode, closes) in [(gone, WITHIN + 1), (stays.inode, 2 * WITHIN)] {
        for side in [Side::Client, Side::Server] {
            let seen = of(&report, inode, side);
            assert_eq!(
                sum(&seen, |one| one.closed.total()),
                closes,
                "{side:?} {seen:#?} {namespaces:?}"
            );
        }
    }
}
