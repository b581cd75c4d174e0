//! Connections of which this host has one socket only, and whose TIME_WAIT an RST has removed.

// Helpers of a test may panic: that fails the test.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use keepwarm_sockets::{Scope, Side, SocketCloses, Watch};
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::Wire;

const SETTLE: Duration = Duration::from_secs(20);
const N: u64 = 30;

/// Ways to close over a wire, by the socket that closes first.
#[derive(Clone, Copy)]
enum Way {
    /// The second reads the end and closes.
    Plainly,
    /// The second reads the end, sends data (a close_notify, a late answer) and closes: the first
    /// one's host answers with an RST, and forgets its TIME_WAIT.
    AnsweredLate,
    /// The first sends data that the second has not read when it closes: the second one's host sends
    /// an RST.
    Unread,
}

fn close(way: Way, mut first: TcpStream, mut second: TcpStream) {
    if let Way::Unread = way {
        first.write_all(b"farewell").unwrap();
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
        // The FIN is behind the data, and the data can be peeked.
        Way::Unread => {
            assert_eq!(second.peek(&mut byte).unwrap(), 1);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What a watch of one side's host counts, if connections are closed by `first` in these ways.
fn seen(wire: &Wire, watched: Side, port: u16, closes: &[(Way, Side, u64)]) -> SocketCloses {
    let address = SocketAddr::new(wire.server_ip(false), port);
    let listener = wire.server.inside(|| TcpListener::bind(address)).unwrap();
    let host: &Namespace = if watched == Side::Client { &wire.client } else { &wire.server };
    let scope = Scope { port: Some(port), ..Scope::default() };
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
    let destination = report.destinations.iter().find(|one| one.side == watched).unwrap();
    assert_eq!(destination.closed.total(), closes.iter().map(|(.., count)| count).sum::<u64>());
    destination.closed
}

#[test]
fn removed_time_wait_accuses_no_peer() {
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    let mut port = 4100;
    for watched in [Side::Client, Side::Server] {
        let (here, there) = (watched, watched.other());
        let mut count = |closes: &[(Way, Side, u64)]| {
            port += 1;
            seen(&wire, watched, port, closes)
        };
        let closed = count(&[(Way::Plainly, there, N), (Way::Plainly, here, N)]);
        assert_eq!((closed.remote_fin, closed.local_fin), (N, N), "{watched:?} {closed:?}");
        for way in [Way::AnsweredLate, Way::Unread] {
            let closed = count(&[(way, here, N)]);
            assert_eq!(closed.remote_fin, 0, "{watched:?} {closed:?}");
            // No more than those that may have been ours are in doubt.
            let closed = count(&[(way, here, N / 3), (Way::Plainly, there, N)]);
            assert!(closed.remote_fin <= N, "{watched:?} {closed:?}");
            assert!(closed.remote_fin >= N - N / 3, "{watched:?} {closed:?}");
        }
    }
}
