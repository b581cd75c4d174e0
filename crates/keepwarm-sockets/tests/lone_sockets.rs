//! Connections of which this host has one socket only, and whose TIME_WAIT an RST has removed.

// Helpers of a test may panic: that fails the test.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use keepwarm_sockets::{Destination, Scope, Side, SocketCloses, Watch};
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::Wire;
use rustix::event::{PollFd, PollFlags, poll};
use socket2::SockRef;

const SETTLE: Duration = Duration::from_secs(20);
const N: u64 = 30;

/// Ways to close over a wire, by the socket that closes first.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// The second reads the end and closes.
    Plainly,
    /// The second reads the end, sends data (a close_notify, a late answer) and closes: the first
    /// one's host answers with an RST, and forgets its TIME_WAIT.
    AnsweredLate,
    /// The first sends data that the second has not read when it closes: the second one's host sends
    /// an RST.
    Unread,
    /// The second has read its end when it closes with SO_LINGER 0. No dump has met it.
    Linger,
    /// The second has a record of farewell (close_notify of TLS 1.3) and the FIN behind it unread
    /// when it closes.
    FarewellUnread,
    /// The second sends an answer that meets the closed socket's RST, and closes without reading the
    /// end.
    AnsweredBlindly,
}

/// Returns when the peer's FIN has arrived, and reads nothing.
fn await_fin(stream: &TcpStream) {
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    assert_eq!(poll(&mut polled, None).unwrap(), 1);
}

fn close(way: Way, mut first: TcpStream, mut second: TcpStream) {
    match way {
        Way::Unread => first.write_all(b"farewell").unwrap(),
        Way::FarewellUnread => first.write_all(&[21; 24]).unwrap(),
        Way::Linger => {
            first.write_all(b"?").unwrap();
            assert_eq!(second.read(&mut [0]).unwrap(), 1);
            second.write_all(b"!").unwrap();
            assert_eq!(first.read(&mut [0]).unwrap(), 1);
            first.write_all(b".").unwrap();
            assert_eq!(second.read(&mut [0]).unwrap(), 1);
            // Time is the subject: a delayed acknowledgement (40 ms) has to be out.
            std::thread::sleep(Duration::from_millis(60));
        }
        Way::Plainly | Way::AnsweredLate | Way::AnsweredBlindly => {}
    }
    drop(first);
    let mut byte = [0];
    match way {
        Way::Plainly => assert_eq!(second.read(&mut byte).unwrap(), 0),
        Way::AnsweredLate => {
            assert_eq!(second.read(&mut byte).unwrap(), 0);
            second.write_all(b"too late").unwrap();
            while second.peek(&mut byte).is_ok_and(|_| second.take_error().unwrap().is_none()) {}
        }
        Way::Unread | Way::FarewellUnread => await_fin(&second),
        Way::Linger => {
            assert_eq!(second.read(&mut byte).unwrap(), 0);
            SockRef::from(&second).set_linger(Some(Duration::ZERO)).unwrap();
        }
        Way::AnsweredBlindly => {
            await_fin(&second);
            second.write_all(b"too late").unwrap();
            // Until the RST that answers it; the error stays in the socket, and is taken here.
            let mut polled = [PollFd::new(&second, PollFlags::HUP)];
            while !polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                poll(&mut polled, None).unwrap();
            }
            assert!(second.take_error().unwrap().is_some());
        }
    }
}

/// The counts of a watch on one side's host, when connections are closed by `first` in these ways.
fn seen(
    wire: &Wire,
    watched: Side,
    ports: Ports,
    port: u16,
    closes: &[(Way, Side, u64)],
) -> SocketCloses {
    let address = SocketAddr::new(wire.server_ip(false), port);
    let listener = wire.server.inside(|| TcpListener::bind(address)).unwrap();
    let host: &Namespace = if watched == Side::Client { &wire.client } else { &wire.server };
    let scope = match ports {
        Ports::One => Scope::of_port(port),
        Ports::All => Scope::default(),
    };
    let watch = host.inside(|| Ok(Watch::start(scope).unwrap())).unwrap();
    for (way, first, count) in closes {
        for _ in 0..*count {
            let client = wire.client.inside(|| TcpStream::connect(address)).unwrap();
            let (server, _) = listener.accept().unwrap();
            match first {
                Side::Client => close(*way, client, server),
                Side::Server => close(*way, server, client),
            }
        }
    }
    let report = watch.finish(SETTLE).unwrap();
    let is_it = |one: &&Destination| {
        let at = |service: SocketAddr| service.port() == address.port();
        one.side == watched && one.service.is_some_and(at)
    };
    let destination = report.destinations.iter().find(is_it).unwrap();
    assert_eq!(destination.closed.total(), closes.iter().map(|(.., count)| count).sum::<u64>());
    destination.closed
}

/// Scope of a watch.
#[derive(Debug, Clone, Copy)]
enum Ports {
    One,
    All,
}

fn wire() -> Option<Wire> {
    match Wire::lay() {
        Ok(wire) => Some(wire),
        Err(error) => {
            skipped::because(&format!("a wire takes root and a TUN: {error}"));
            None
        }
    }
}

#[test]
fn removed_time_wait_accuses_no_peer() {
    let Some(wire) = wire() else { return };
    let mut port = 4100;
    for (watched, ports) in [Side::Client, Side::Server]
        .into_iter()
        .flat_map(|side| [Ports::One, Ports::All].map(|ports| (side, ports)))
    {
        let (here, there) = (watched, watched.other());
        let mut count = |closes: &[(Way, Side, u64)]| {
            port += 1;
            seen(&wire, watched, ports, port, closes)
        };
        let closed = count(&[(Way::Plainly, there, N), (Way::Plainly, here, N)]);
        let context = format!("{watched:?} {ports:?} {closed:?}");
        assert_eq!((closed.remote_fin, closed.local_fin), (N, N), "{context}");
        for way in [Way::AnsweredLate, Way::Unread] {
            let closed = count(&[(way, here, N)]);
            let context = format!("{watched:?} {ports:?} {way:?} {closed:?}");
            assert_eq!(closed.remote_fin, 0, "{context}");
            // The counters show that they were ours. An RST that is fast prevents a TIME_WAIT that is
            // counted.
            assert_eq!(closed.local_fin + closed.unclassified, N, "{context}");
            assert!(closed.local_fin > N / 2, "{context}");
            // No more than those that may have been ours are in doubt.
            let closed = count(&[(way, here, N / 3), (Way::Plainly, there, N)]);
            let context = format!("{watched:?} {ports:?} {way:?} {closed:?}");
            assert!(closed.remote_fin <= N, "{context}");
            assert!(closed.remote_fin >= N - N / 3, "{context}");
        }
    }
}

/// An RST by this socket, or to it, after the peer's FIN: the peer had closed first.
#[test]
fn rst_after_a_fin_is_the_fins_close() {
    let Some(wire) = wire() else { return };
    let mut port = 4200;
    for watched in [Side::Client, Side::Server] {
        for way in [Way::Linger, Way::FarewellUnread, Way::AnsweredBlindly] {
            port += 1;
            // An abort without a port is given to the one destination on its host, if one is known.
            let there = watched.other();
            let closes = [(way, there, N), (Way::Plainly, there, 1)];
            let closed = seen(&wire, watched, Ports::All, port, &closes);
            // SO_LINGER clears what would tell the FIN from an answer.
            let unclassified = if matches!(way, Way::Linger) { N } else { 0 };
            let right = (N + 1 - unclassified, unclassified);
            let seen = (closed.remote_fin, closed.unclassified);
            assert_eq!(seen, right, "{watched:?} {way:?} {closed:?}");
        }
    }
}
