//! Requests that wait for an answer, connections that wait for accept(2), and peers that are silent,
//! on real sockets.

// Helpers of a test may panic: that fails the test.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use keepwarm_sockets::{Destination, HostReport, Scope, Side, Watch, dump_once};
use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::Wire;
use rustix::event::{PollFd, PollFlags, poll};

const SETTLE: Duration = Duration::from_secs(20);
/// The time for which a caller waits before it gives up: the subject of these tests.
const DEADLINE: Duration = Duration::from_millis(300);

/// Runs one test at a time: every watch receives the death of every socket on the host.
fn alone() -> MutexGuard<'static, ()> {
    static GATE: Mutex<()> = Mutex::new(());
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on_port(port: u16) -> Scope {
    Scope::of_port(port)
}

#[track_caller]
fn only(report: &HostReport, side: Side) -> &Destination {
    let mut of_side = report.destinations.iter().filter(|one| one.side == side);
    of_side.next().unwrap_or_else(|| panic!("no {side:?} in {report:#?}"))
}

/// A listener, its port, and a watch of it.
fn watched() -> (TcpListener, Watch) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let watch = Watch::start(on_port(listener.local_addr().unwrap().port())).unwrap();
    (listener, watch)
}

fn connection(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_nodelay(true).unwrap();
    (client, listener.accept().unwrap().0)
}

/// One request of so many bytes, and a short answer.
fn exchange(client: &mut TcpStream, server: &mut TcpStream, bytes: usize) {
    let body = vec![b'q'; bytes];
    std::thread::scope(|scope| {
        scope.spawn(|| client.write_all(&body).unwrap());
        server.read_exact(&mut vec![0; bytes]).unwrap();
    });
    server.write_all(b"answer").unwrap();
    client.read_exact(&mut [0; 6]).unwrap();
}

fn close(first: TcpStream, mut second: TcpStream) {
    drop(first);
    let _ = second.read(&mut [0; 64]);
    let _ = second.read(&mut [0; 64]);
}

/// Returns when the peer's FIN has arrived, and reads nothing.
fn await_fin(stream: &TcpStream) {
    let mut polled = [PollFd::new(stream, PollFlags::RDHUP)];
    assert_eq!(poll(&mut polled, None).unwrap(), 1);
}

/// Returns when the peer's RST has arrived.
fn await_reset(stream: &TcpStream) {
    let mut polled = [PollFd::new(stream, PollFlags::HUP)];
    while !polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
        poll(&mut polled, None).unwrap();
    }
}

#[test]
fn client_that_gave_up_is_told() {
    let _alone = alone();
    let (listener, watch) = watched();
    for answered in [0, 3] {
        let (mut client, mut server) = connection(&listener);
        (0..answered).for_each(|_| exchange(&mut client, &mut server, 40));
        client.write_all(b"never answered").unwrap();
        sleep(DEADLINE);
        close(client, server);
    }
    let (mut client, mut server) = connection(&listener);
    exchange(&mut client, &mut server, 40);
    sleep(DEADLINE);
    close(client, server);
    let report = watch.finish(SETTLE).unwrap();
    for side in [Side::Client, Side::Server] {
        let seen = only(&report, side);
        assert_eq!((seen.unanswered, seen.given_up), (1, 2), "{seen:#?}");
        let waited = seen.waited_before_give_up.quantile(0.5).unwrap();
        assert!((290..600).contains(&waited), "{waited} ms");
    }
    let port = report.port(listener.local_addr().unwrap().port());
    assert_eq!((port.unanswered, port.given_up), (1, 2));
}

#[test]
fn server_that_closes_is_not_given_up() {
    let _alone = alone();
    let (listener, watch) = watched();
    let (mut client, server) = connection(&listener);
    client.write_all(b"never answered").unwrap();
    sleep(DEADLINE);
    close(server, client);
    let report = watch.finish(SETTLE).unwrap();
    for side in [Side::Client, Side::Server] {
        let seen = only(&report, side);
        assert_eq!((seen.unanswered, seen.given_up), (1, 0), "{seen:#?}");
    }
}

#[test]
fn large_body_is_one_request() {
    let _alone = alone();
    let (listener, watch) = watched();
    for requests in [1, 7] {
        let (mut client, mut server) = connection(&listener);
        (0..requests).for_each(|_| exchange(&mut client, &mut server, 1 << 20));
        close(client, server);
    }
    let (mut client, mut server) = connection(&listener);
    (0..30).for_each(|_| exchange(&mut client, &mut server, 500));
    close(client, server);
    let report = watch.finish(SETTLE).unwrap();
    let seen = only(&report, Side::Client);
    assert_eq!(seen.requests_at_most.total(), 1 + 7 + 30, "{seen:#?}");
    assert!((1 + 1 + 30..=1 + 7 + 30).contains(&seen.requests.total()), "{seen:#?}");
    assert_eq!((seen.requests.max(), seen.requests_at_most.max()), (Some(30), Some(30)));
}

/// Answers to a client that has left, seen by the server's host alone: nothing of one had come, and a
/// part of the other.
#[test]
fn late_and_cut_answers_are_seen_at_the_server() {
    let _alone = alone();
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    let address = SocketAddr::new(wire.server_ip(false), 4078);
    let listener = wire.server.inside(|| TcpListener::bind(address)).unwrap();
    let start = || Watch::start(on_port(4078)).map_err(std::io::Error::other);
    let watch = wire.server.inside(start).unwrap();
    let connect = || {
        let client = wire.client.inside(|| TcpStream::connect(address)).unwrap();
        (client, listener.accept().unwrap().0)
    };
    let ask = |client: &mut TcpStream, server: &mut TcpStream| {
        client.write_all(b"request").unwrap();
        server.read_exact(&mut [0; 7]).unwrap();
    };
    let (mut client, mut late) = connect();
    ask(&mut client, &mut late);
    drop(client);
    sleep(DEADLINE);
    late.write_all(&[b'a'; 40]).unwrap();
    let (mut client, mut cut) = connect();
    ask(&mut client, &mut cut);
    cut.write_all(&[b'a'; 500]).unwrap();
    client.read_exact(&mut [0; 500]).unwrap();
    drop(client);
    await_fin(&cut);
    cut.write_all(&[b'a'; 9_000]).unwrap();
    // A farewell that meets a client that has left is no answer.
    let (mut client, mut polite) = connect();
    ask(&mut client, &mut polite);
    polite.write_all(&[b'a'; 500]).unwrap();
    client.read_exact(&mut [0; 500]).unwrap();
    drop(client);
    await_fin(&polite);
    polite.write_all(&[b'f'; 24]).unwrap();
    await_reset(&polite);
    drop((late, cut, polite));
    let report = watch.finish(SETTLE).unwrap();
    let seen = only(&report, Side::Server);
    assert_eq!((seen.late_answers.count(), seen.cut_answers), (1, 1), "{seen:#?}");
    let after = seen.late_answers.quantile(0.5).unwrap();
    assert!((290..600).contains(&after), "{after} ms");
}

/// One message is no handshake of TLS, so what is unread after it is a body, however short.
#[test]
fn few_unread_bytes_after_one_message_are_a_body() {
    let _alone = alone();
    let (listener, watch) = watched();
    for unread in [24, 500] {
        let (mut client, mut server) = connection(&listener);
        exchange(&mut client, &mut server, 40);
        server.write_all(&vec![b'u'; unread]).unwrap();
        let mut there = vec![0; unread];
        while client.peek(&mut there).unwrap() < unread {}
        drop(client);
        let _ = server.read(&mut [0; 64]);
    }
    let report = watch.finish(SETTLE).unwrap();
    let seen = only(&report, Side::Client);
    assert_eq!((seen.closed.undrained, seen.unread_farewells), (2, 0), "{seen:#?}");
}

/// Dumps meet clients that wait: one is answered, one says farewell and leaves.
#[test]
fn waiting_in_vain_is_seen_behind_a_farewell() {
    let _alone = alone();
    let (listener, watch) = watched();
    let (mut patient, mut answers) = connection(&listener);
    let (mut leaves, server) = connection(&listener);
    patient.write_all(b"request").unwrap();
    leaves.write_all(b"request").unwrap();
    // Time is the subject: a dump comes each two seconds, and has to meet both while they wait.
    sleep(Duration::from_millis(2_500));
    answers.write_all(b"answer").unwrap();
    patient.read_exact(&mut [0; 6]).unwrap();
    close(patient, answers);
    leaves.write_all(b"farewell").unwrap();
    close(leaves, server);
    let report = watch.finish(SETTLE).unwrap();
    for side in [Side::Client, Side::Server] {
        let seen = only(&report, side);
        assert_eq!((seen.met_waiting, seen.met_waiting_in_vain), (2, 1), "{seen:#?}");
    }
}

#[test]
fn accept_queue_shows_who_waits() {
    let _alone = alone();
    let (listener, watch) = watched();
    let address = listener.local_addr().unwrap();
    let waiting: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    let accepted = listener.accept().unwrap();
    let report = watch.finish(Duration::from_secs(1)).unwrap();
    let seen = only(&report, Side::Server);
    assert_eq!(seen.unaccepted, 2, "{seen:#?}");
    let queue = seen.listen_queue.unwrap();
    assert_eq!(queue.waiting, 2);
    assert!(queue.backlog >= 2, "{queue:?}");
    assert_eq!(only(&report, Side::Client).unaccepted, 0);
    assert_eq!(report.port(address.port()).listen_queue, Some(queue));
    drop((waiting, accepted));
}

/// A connection in each of two states, whose peer no longer hears it.
#[test]
fn silent_peer_makes_sockets_stuck() {
    let _alone = alone();
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    let address = SocketAddr::new(wire.server_ip(false), 4077);
    let listener = wire.server.inside(|| TcpListener::bind(address)).unwrap();
    let connect = || wire.client.inside(|| TcpStream::connect(address)).unwrap();
    let (mut talks, closes, rests) = (connect(), connect(), connect());
    let _accepted: Vec<_> = (0..3).map(|_| listener.accept().unwrap()).collect();
    let watch = wire.client.inside(|| Ok(Watch::start(on_port(4077)).unwrap())).unwrap();
    let stuck = || only(&watch.snapshot(), Side::Client).stuck;
    assert_eq!(stuck(), Default::default());
    wire.cut();
    talks.write_all(b"does anybody hear?").unwrap();
    drop(closes);
    let mut seen = stuck();
    for _ in 0..100 {
        if (seen.established, seen.closing) == (1, 1) && seen.oldest_ms > 1000 {
            break;
        }
        // Age is the subject, and grows by time alone.
        sleep(Duration::from_millis(100));
        seen = stuck();
    }
    assert_eq!((seen.established, seen.closing), (1, 1), "{seen:?}");
    assert!(seen.retransmits >= 3 && seen.oldest_ms > 1000, "{seen:?}");
    let once = wire.client.inside(|| Ok(dump_once(on_port(4077)).unwrap())).unwrap();
    assert_eq!(only(&once, Side::Client).stuck.established, 1, "one dump shows it too");
    wire.mend().unwrap();
    drop(rests);
}
