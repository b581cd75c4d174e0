//! A hostile kernel: mutated replies to the decoders, and arbitrary sockets to the trackers.

use std::net::SocketAddr;
use std::time::Duration;

use keepwarm_testkit::dice::Dice;
use keepwarm_testkit::mutate;

use super::captured_messages::{captured, framed};
use crate::kernel::dump::decode_rows;
use crate::kernel::socket::{Socket, TcpInfo};
use crate::kernel::wire::diag::decode_socket;
use crate::report::host::{HostReport, Scope};
use crate::tracker::Tracker;
use crate::tracker::window::Window;
use crate::watch::new_tracker;
use crate::watch::owners::Owners;

/// Addresses of sockets that are peers of each other, and some that no socket can have.
const ADDRESSES: [&str; 8] = [
    "127.0.0.1:80",
    "127.0.0.1:40000",
    "127.0.0.1:40001",
    "192.0.2.7:80",
    "[::1]:80",
    "[::1]:40000",
    "127.0.0.1:0",
    "0.0.0.0:0",
];
const NUMBERS: [u64; 8] = [0, 1, 2, 3, 100, u32::MAX as u64, u64::MAX - 1, u64::MAX];

fn pick<T: Copy>(dice: &mut Dice, of: &[T]) -> T {
    of[usize::try_from(dice.roll(of.len() as u64)).unwrap()]
}

#[test]
fn hostile_dumps_give_rows_or_errors() {
    let mut dice = Dice::new(1);
    let datagrams: Vec<Vec<u8>> = captured().iter().map(|body| framed(body)).collect();
    let (mut rows, mut errors) = (0, 0);
    for _ in 0..20_000 {
        let mut datagram = Vec::new();
        for _ in 0..=dice.roll(3) {
            let at = usize::try_from(dice.roll(datagrams.len() as u64)).unwrap();
            datagram.extend_from_slice(&datagrams[at]);
        }
        let hostile = mutate::bytes(&mut dice, &datagram);
        let before = rows;
        errors += u32::from(decode_rows(&hostile, &mut |_| rows += 1).is_err());
        assert!(rows - before <= hostile.len() / 72);
    }
    assert!(rows > 5_000 && errors > 5_000, "{rows} rows, {errors} errors");
}

/// Draws a socket with an arbitrary value in every number.
fn socket(dice: &mut Dice, bodies: &[Vec<u8>]) -> Socket {
    let at = usize::try_from(dice.roll(bodies.len() as u64)).unwrap();
    let hostile = mutate::bytes(dice, &bodies[at]);
    let mut socket = decode_socket(&hostile)
        .unwrap_or_else(|_| decode_socket(&bodies[at]).expect("a captured message"));
    let mut address = || -> SocketAddr { pick(dice, &ADDRESSES).parse().unwrap() };
    (socket.local, socket.remote) = (address(), address());
    socket.cookie = dice.roll(40);
    // An inode without an owner makes the search read every process of this host, so it is rare.
    socket.inode = u32::from(dice.roll(1_000) == 0) * u32::MAX;
    let mut small = || u32::try_from(pick(dice, &NUMBERS)).unwrap_or(u32::MAX);
    (socket.rqueue, socket.wqueue, socket.expires_ms) = (small(), small(), small());
    if dice.roll(4) > 0 {
        let mut long = || Some(pick(dice, &NUMBERS));
        let long = [long(), long(), long(), long()];
        let mut short = || Some(u32::try_from(pick(dice, &NUMBERS)).unwrap_or(u32::MAX));
        socket.info = Some(TcpInfo {
            bytes_acked: long[0],
            bytes_received: long[1],
            bytes_sent: long[2],
            bytes_retrans: long[3],
            last_ack_recv_ms: short(),
            last_data_sent_ms: short(),
            last_data_recv_ms: short(),
            data_segs_in: short(),
            data_segs_out: short(),
            ..socket.info.unwrap_or_default()
        });
    }
    socket
}

fn dump(tracker: &mut Tracker, now: Duration, dice: &mut Dice, bodies: &[Vec<u8>]) {
    tracker.begin_dump();
    for _ in 0..dice.roll(12) {
        tracker.handle_row(&socket(dice, bodies), now);
    }
    let refused = dice.roll(4) == 0;
    tracker.end_dump(now, refused);
}

/// Plays a window in which any input may come at any time.
fn play(scope: Scope, dice: &mut Dice, bodies: &[Vec<u8>]) -> HostReport {
    let mut tracker = new_tracker(scope, false);
    let mut now = Duration::from_secs(1);
    dump(&mut tracker, now, dice, bodies);
    tracker.handle_baseline();
    tracker.open_window(now);
    let window =
        |now| Window { now, length: now, settled: false, time_waits_refused: None, lost_events: 0 };
    for _ in 0..dice.roll(60) {
        now += Duration::from_millis(dice.roll(700));
        match dice.roll(8) {
            0 => dump(&mut tracker, now, dice, bodies),
            1 => tracker.settle(now, false),
            2 => drop(tracker.report(&window(now))),
            3 => {
                let mut lookups = Vec::new();
                if tracker.begin_lookups(64, &mut lookups) {
                    // Answers to the lookups, or to none.
                    for _ in 0..dice.roll(8) {
                        tracker.handle_found(&socket(dice, bodies), now);
                    }
                    tracker.end_lookups(now, dice.roll(4) == 0);
                }
            }
            _ => {
                // An event may be late.
                let late = Duration::from_millis(dice.roll(2_000));
                tracker.handle_event(socket(dice, bodies), now.saturating_sub(late));
            }
        }
    }
    dump(&mut tracker, now, dice, bodies);
    Owners::new(None).find(&mut tracker);
    tracker.close_window();
    for _ in 0..dice.roll(5) {
        tracker.handle_event(socket(dice, bodies), now);
    }
    tracker.finish(&window(now))
}

#[test]
fn the_port_tracker_never_panics() {
    let (mut dice, bodies) = (Dice::new(1), captured());
    let mut closed = 0;
    for _ in 0..1_000 {
        let report = play(Scope::of_port(80), &mut dice, &bodies);
        closed += report.port(80).closed.total();
    }
    assert!(closed > 1_000, "{closed}");
}

#[test]
fn the_host_tracker_never_panics() {
    let (mut dice, bodies) = (Dice::new(1), captured());
    let mut closed = 0;
    for _ in 0..500 {
        let traffic = play(Scope::default(), &mut dice, &bodies);
        closed += traffic.destinations.iter().map(|one| one.closed.total()).sum::<u64>();
    }
    assert!(closed > 1_000, "{closed}");
}
