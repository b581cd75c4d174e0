//! Connections of one port, counted from the sockets of both sides.

use super::*;
use crate::kernel::socket::Side;
use crate::report::closes::ConnectionCloses;
use crate::report::port::PortReport;
use crate::tracker::pending::MAX_PENDING;

const PORT: u16 = 80;
/// A client and a server whose TIME_WAITs may be reused after a second.
const LOOPBACK: &str = "127.0.0.1:40000";
const LOOPBACK_SERVER: &str = "127.0.0.1:80";

fn opened(rows: &[Socket]) -> Tracker {
    super::opened(Scope { port: Some(PORT), ..Scope::default() }, rows)
}

fn finish(mut tracker: Tracker, now: u64, rows: &[Socket]) -> PortReport {
    dump(&mut tracker, now, rows);
    tracker.close_window();
    end(tracker, now).port(PORT)
}

#[test]
fn distant_client_counts_at_its_server() {
    let mut tracker = opened(&[]);
    tracker.handle_event(died(SERVER, AWAY, 1, true, 4), ms(1100));
    let report = finish(tracker, 1300, &[time_wait(SERVER, AWAY, 200)]);
    assert_eq!((report.opened, report.closed.server_fin), (1, 1), "{report:#?}");
    assert_eq!(report.time_wait.server, 1);
    assert_eq!(report.requests.max, Some(4));

    let mut tracker = opened(&[]);
    tracker.handle_event(died(SERVER, AWAY, 1, true, 4), ms(1100));
    tracker.handle_event(died(SERVER, "192.0.2.7:40001", 2, false, 4), ms(1100));
    tracker.handle_event(aborted(SERVER, "192.0.2.7", 3), ms(1100));
    let report = finish(tracker, 1300, &[]);
    let expected = ConnectionCloses {
        client_fin: 1,
        client_rst: 1,
        server_rst: 1,
        ..ConnectionCloses::default()
    };
    assert_eq!((report.opened, report.closed), (3, expected), "{report:#?}");
}

#[test]
fn distant_clients_are_alive_at_their_server() {
    let alive = |port: u16, cookie| {
        let client = format!("192.0.2.7:{port}");
        socket(SERVER, &client, State::Established, cookie)
    };
    let report = finish(opened(&[alive(1, 1)]), 1300, &[alive(1, 1), alive(2, 2)]);
    assert_eq!((report.alive_at_start, report.alive_at_end, report.opened), (1, 2, 1));
    assert_eq!((report.established.server, report.closed.total()), (2, 0));
}

/// The row of a client at another address of this host may follow its server's.
#[test]
fn row_order_of_the_baseline_is_irrelevant() {
    let client = socket("10.0.0.2:40000", SERVER, State::Established, 1);
    let server = socket(SERVER, "10.0.0.2:40000", State::Established, 2);
    for rows in [[client.clone(), server.clone()], [server.clone(), client.clone()]] {
        let report = finish(opened(&rows), 1300, &rows);
        assert_eq!((report.alive_at_start, report.alive_at_end, report.opened), (1, 1, 0));
        assert_eq!((report.established.client, report.established.server), (1, 1));
    }
}

#[test]
fn cookies_date_time_waits_not_ages() {
    let old = |age| Socket { cookie: 9, ..time_wait(SERVER, AWAY, age) };
    let tracker = opened(&[old(100)]);
    let new = Socket { cookie: 10, ..time_wait(SERVER, "192.0.2.7:40001", 290) };
    let report = finish(tracker, 1300, &[old(100), new]);
    assert_eq!((report.time_wait.server, report.time_wait_total.server), (1, 2));
}

#[test]
fn two_sockets_on_one_host_are_one_connection() {
    let mut tracker = opened(&[]);
    tracker.handle_event(died(HERE, SERVER, 1, true, 4), ms(1100));
    tracker.handle_event(died(SERVER, HERE, 2, true, 4), ms(1100));
    let report = finish(tracker, 1300, &[time_wait(HERE, SERVER, 200)]);
    assert_eq!((report.opened, report.closed.client_fin), (1, 1), "{report:#?}");
    assert_eq!(report.closed.total(), 1);
}

/// The event of the peer may be among those that were lost.
#[test]
fn lost_event_of_the_peer_leaves_no_closer() {
    for (lost_at, kind) in [(None, (1, 0)), (Some(1200), (0, 1)), (Some(9000), (1, 0))] {
        let mut tracker = opened(&[]);
        tracker.handle_event(died(LOOPBACK, LOOPBACK_SERVER, 1, true, 1), ms(1100));
        lost_at.into_iter().for_each(|at| tracker.handle_lost(3, ms(at)));
        let report = finish(tracker, 1300, &[]);
        let seen = (report.closed.server_fin, report.closed.unclassified);
        assert_eq!(seen, kind, "{lost_at:?} {report:#?}");
        // A TIME_WAIT that is there is evidence without the peer.
        let mut tracker = opened(&[]);
        tracker.handle_event(died(LOOPBACK, LOOPBACK_SERVER, 1, true, 1), ms(1100));
        lost_at.into_iter().for_each(|at| tracker.handle_lost(3, ms(at)));
        let report = finish(tracker, 1300, &[time_wait(LOOPBACK, LOOPBACK_SERVER, 200)]);
        assert_eq!(report.closed.client_fin, 1, "{report:#?}");
    }
}

/// On loopback the kernel may reuse a TIME_WAIT after one second.
#[test]
fn late_dump_proves_no_absence_on_loopback() {
    for (late, expected) in [(850, 1), (950, 0)] {
        let mut tracker = opened(&[]);
        tracker.handle_event(died(LOOPBACK, LOOPBACK_SERVER, 1, true, 1), ms(1100));
        let report = finish(tracker, 1100 + late, &[]);
        assert_eq!(report.closed.server_fin, expected, "{report:#?}");
        assert_eq!(report.closed.unclassified, 1 - expected);
    }
    let mut tracker = opened(&[]);
    tracker.handle_event(died(LOOPBACK, LOOPBACK_SERVER, 1, true, 1), ms(1100));
    let report = finish(tracker, 9000, &[time_wait(LOOPBACK, LOOPBACK_SERVER, 7900)]);
    assert_eq!(report.closed.client_fin, 1, "found is found, however late: {report:#?}");
}

/// With the limit of loopback, half of a server's closes were unattributed: of those that its
/// clients began there is no TIME_WAIT here, and a dump on a busy host comes after 900 ms.
#[test]
fn late_dump_proves_absence_towards_another_host() {
    for (late, expected) in [(950, 1), (4_900, 1), (5_100, 0)] {
        let mut tracker = opened(&[]);
        tracker.handle_event(died(SERVER, AWAY, 1, true, 1), ms(1100));
        tracker.handle_event(died(SERVER, "192.0.2.7:40001", 2, true, 1), ms(1100));
        let held = time_wait(SERVER, "192.0.2.7:40001", late);
        let report = finish(tracker, 1100 + u64::from(late), &[held]);
        assert_eq!(report.closed.server_fin, 1, "{late} ms: {report:#?}");
        assert_eq!(report.closed.client_fin, expected, "{late} ms: {report:#?}");
        assert_eq!(report.closed.unclassified, 1 - expected, "{late} ms: {report:#?}");
    }
}

#[test]
fn late_dump_leaves_the_peers_time_wait_to_decide() {
    let mut tracker = opened(&[]);
    tracker.handle_event(died(LOOPBACK, LOOPBACK_SERVER, 1, true, 1), ms(1100));
    tracker.handle_event(died(LOOPBACK_SERVER, LOOPBACK, 2, true, 1), ms(1100));
    let report = finish(tracker, 5000, &[time_wait(LOOPBACK_SERVER, LOOPBACK, 3900)]);
    assert_eq!(report.closed.server_fin, 1, "{report:#?}");
}

#[test]
fn refused_time_waits_prove_nothing() {
    let mut tracker = opened(&[]);
    tracker.handle_event(died(HERE, SERVER, 1, true, 1), ms(1100));
    tracker.begin_dump();
    tracker.end_dump(ms(1200), true);
    let report = finish(tracker, 1300, &[]);
    assert_eq!(report.closed.unclassified, 1, "{report:#?}");
}

#[test]
fn event_during_a_dump_waits_for_the_next() {
    let mut tracker = opened(&[]);
    tracker.begin_dump();
    // The dump passed its TIME_WAIT before the event came; by the clock it is older.
    tracker.handle_row(&time_wait(HERE, SERVER, 10), ms(1110));
    tracker.handle_event(died(HERE, SERVER, 1, true, 1), ms(1100));
    tracker.end_dump(ms(1120), false);
    assert_eq!(tracker.unsearched_since(), Some(ms(1100)));
    let report = finish(tracker, 1300, &[time_wait(HERE, SERVER, 200)]);
    assert_eq!(report.closed.client_fin, 1, "{report:#?}");
}

#[test]
fn time_wait_belongs_to_the_pairs_last_connection() {
    let mut tracker = opened(&[]);
    for (at, cookie) in [(1100, 1), (1150, 3)] {
        tracker.handle_event(died(HERE, SERVER, cookie, true, 1), ms(at));
        tracker.handle_event(died(SERVER, HERE, cookie + 1, true, 1), ms(at));
    }
    let report = finish(tracker, 1300, &[time_wait(HERE, SERVER, 150)]);
    let expected = ConnectionCloses { client_fin: 1, server_fin: 1, ..ConnectionCloses::default() };
    assert_eq!((report.opened, report.closed), (2, expected), "{report:#?}");
}

#[test]
fn much_older_time_wait_is_another_connections() {
    let mut tracker = opened(&[]);
    tracker.handle_event(died(HERE, SERVER, 1, true, 1), ms(9000));
    let report = finish(tracker, 9100, &[time_wait(HERE, SERVER, 6000)]);
    assert_eq!(report.closed.server_fin, 1, "{report:#?}");
}

#[test]
fn deaths_before_the_window_do_not_count() {
    let alive = socket(HERE, SERVER, State::Established, 1);
    let mut tracker = tracker(Scope { port: Some(PORT), ..Scope::default() });
    dump(&mut tracker, 900, &[alive]);
    tracker.handle_baseline();
    // Not in the baseline: dead before it. In the baseline: closed after it.
    tracker.handle_event(died("10.0.0.1:40001", SERVER, 8, true, 1), ms(950));
    tracker.handle_event(died(HERE, SERVER, 1, false, 1), ms(960));
    tracker.open_window(ms(1000));
    let report = finish(tracker, 1300, &[]);
    assert_eq!((report.alive_at_start, report.opened), (1, 0), "{report:#?}");
    assert_eq!((report.closed.total(), report.closed.server_rst), (1, 1));
}

#[test]
fn last_dump_decides_what_died_after_the_window() {
    let mut tracker = opened(&[]);
    dump(&mut tracker, 1300, &[socket(HERE, SERVER, State::Established, 1)]);
    tracker.close_window();
    tracker.handle_event(died(HERE, SERVER, 1, true, 1), ms(1310));
    // An earlier connection of the pair, dead before the last dump and reported late.
    tracker.handle_event(died(HERE, SERVER, 5, false, 1), ms(1310));
    let report = end(tracker, 1400).port(PORT);
    assert_eq!((report.opened, report.alive_at_end), (2, 1), "{report:#?}");
    assert_eq!((report.closed.total(), report.closed.server_rst), (1, 1));
}

/// Without a server's socket on this host, only an earlier dump knows what the abort cleared.
#[test]
fn cookie_names_an_abort_seen_alive() {
    let mut tracker = opened(&[]);
    let (client, server) = ("10.0.0.1:40000", "192.0.2.9:80");
    dump(&mut tracker, 1200, &[socket(client, server, State::Established, 7)]);
    tracker.handle_event(aborted(client, "192.0.2.9", 7), ms(1250));
    tracker.handle_event(aborted(client, "192.0.2.9", 8), ms(1250));
    let report = finish(tracker, 1300, &[]);
    assert_eq!((report.opened, report.closed.client_rst), (1, 1), "{report:#?}");
    assert_eq!(report.unattributed_aborts, 1);
}

/// In CLOSE_WAIT in a pool, say. Until the client dies too, its connection is open.
#[test]
fn client_is_classified_with_its_earlier_server() {
    let client = |state| socket(HERE, SERVER, state, 1);
    let mut tracker = opened(&[client(State::Established)]);
    tracker.handle_event(died(SERVER, HERE, 2, true, 1), ms(1100));
    dump(&mut tracker, 1200, &[client(State::CloseWait), time_wait(SERVER, HERE, 100)]);
    dump(&mut tracker, 3200, &[client(State::CloseWait)]);
    let window = Window {
        now: ms(3200),
        length: ms(2200),
        settled: true,
        time_waits_refused: None,
        lost_events: 0,
    };
    let so_far = tracker.report(&window).port(PORT);
    assert_eq!((so_far.opened, so_far.closed.total(), so_far.alive_at_end), (0, 0, 1));
    // The client wrote and was reset: alone, its socket would say that the server aborted.
    tracker.handle_event(died(HERE, SERVER, 1, false, 2), ms(9000));
    let report = finish(tracker, 9100, &[]);
    assert_eq!((report.closed.server_fin, report.closed.total()), (1, 1), "{report:#?}");
}

/// An RST took the client's socket away under a file that stays open: it has no row and no event.
#[test]
fn client_without_an_event_counts_at_its_server() {
    // The server's abort has a name, as a dump has seen its socket.
    let server = socket(SERVER, HERE, State::Established, 2);
    let client = socket(HERE, SERVER, State::Established, 1);
    for at_start in [true, false] {
        let both = [client.clone(), server.clone()];
        let mut tracker = opened(if at_start { &both } else { &[] });
        dump(&mut tracker, 1100, &both);
        tracker.handle_event(aborted(SERVER, "10.0.0.1", 2), ms(1200));
        dump(&mut tracker, 3000, &[]);
        let report = finish(tracker, 5000, &[]);
        assert_eq!((report.closed.server_rst, report.closed.total()), (1, 1), "{report:#?}");
        assert_eq!(report.opened, u64::from(!at_start), "{report:#?}");
    }
    // A server's socket that no dump has seen is known by its port.
    for closed_at_last in [false, true] {
        let mut tracker = opened(&[]);
        tracker.handle_event(aborted(SERVER, "10.0.0.1", 2), ms(1200));
        dump(&mut tracker, 3000, &[]);
        if closed_at_last {
            // The client's file is closed after all: the same connection.
            tracker.handle_event(died(HERE, SERVER, 1, false, 1), ms(4000));
            dump(&mut tracker, 4200, &[]);
            dump(&mut tracker, 5400, &[]);
        }
        let report = finish(tracker, 6000, &[]);
        assert_eq!((report.closed.server_rst, report.opened), (1, 1), "{report:#?}");
    }
}

#[test]
fn server_of_an_earlier_close_does_not_count() {
    let mut tracker = opened(&[socket(SERVER, HERE, State::CloseWait, 2)]);
    // Some other connection says that the client's address is on this host.
    tracker.handle_event(died("10.0.0.1:40009", SERVER, 5, true, 1), ms(1100));
    tracker.handle_event(died(SERVER, HERE, 2, true, 1), ms(1200));
    let rows = [time_wait("10.0.0.1:40009", SERVER, 200)];
    dump(&mut tracker, 1300, &rows);
    dump(&mut tracker, 3300, &[]);
    let report = finish(tracker, 4000, &[]);
    assert_eq!((report.alive_at_start, report.opened), (0, 1), "{report:#?}");
    assert_eq!((report.closed.client_fin, report.closed.total()), (1, 1), "{report:#?}");
}

#[test]
fn full_table_counts_without_classifying() {
    let mut tracker = opened(&[]);
    let total = MAX_PENDING as u64 + 10;
    for n in 0..total {
        let local =
            SocketAddr::from(([10, 1, (n >> 16) as u8, (n >> 8) as u8], 1000 + n as u16 % 256));
        tracker.handle_event(died(&local.to_string(), SERVER, n + 1, true, 1), ms(1100));
    }
    let report = finish(tracker, 1300, &[]);
    assert_eq!(report.closed.total(), total);
    assert_eq!((report.overflowed, report.closed.unclassified), (10, 10));
}

/// A server's FIN that is acknowledged while a row is written counts as a SYN would.
#[test]
fn fin_amid_a_row_does_not_turn_the_sides() {
    let listener = socket(SERVER, "0.0.0.0:0", State::Listen, 9);
    let row = |ago| {
        let mut row = socket(SERVER, AWAY, State::Established, 1);
        row.info = Some(TcpInfo {
            bytes_sent: Some(100),
            bytes_retrans: Some(0),
            bytes_acked: Some(101),
            last_ack_recv_ms: Some(ago),
            ..TcpInfo::default()
        });
        row
    };
    let side = |ago| {
        let mut tracker = opened(&[]);
        dump(&mut tracker, 1_100, &[listener.clone(), row(ago)]);
        tracker.destination_of(&row(ago)).1
    };
    assert_eq!(side(0), Side::Server);
    assert_eq!(side(60_000), Side::Client, "it connected from the port that it listens at");
}
