//! The books against made-up rows and events: what real sockets on one host cannot show, such as
//! a client elsewhere, a look that came late, a pair that lives twice.

use super::*;
use crate::kernel::socket::TcpInfo;
use crate::report::port::PortReport;

const PORT: u16 = 80;
const SERVER: &str = "10.0.0.1:80";
const AWAY: &str = "192.0.2.7:40000";
const HERE: &str = "10.0.0.1:40000";

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn socket(local: &str, remote: &str, state: State, cookie: u64) -> Socket {
    Socket {
        state,
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        cookie,
        rqueue: 0,
        wqueue: 0,
        inode: 1,
        uid: 0,
        timer: 0,
        expires_ms: 0,
        interface: 0,
        info: None,
    }
}

/// An end that died after its FIN was acknowledged, or not.
fn died(local: &str, remote: &str, cookie: u64, fin_acked: bool, requests: u32) -> Socket {
    let syn = u64::from(remote.ends_with(":80"));
    let info = TcpInfo {
        bytes_sent: Some(100),
        bytes_retrans: Some(0),
        bytes_acked: Some(100 + syn + u64::from(fin_acked)),
        data_segs_out: Some(requests),
        data_segs_in: Some(requests),
        last_ack_recv_ms: Some(0),
        ..TcpInfo::default()
    };
    Socket { info: Some(info), ..socket(local, remote, State::Close, cookie) }
}

fn time_wait(local: &str, remote: &str, age: u32) -> Socket {
    let expires_ms = 60_000 - age;
    Socket { expires_ms, timer: 3, inode: 0, ..socket(local, remote, State::TimeWait, 0) }
}

fn look(ledger: &mut Ledger, now: u64, rows: &[Socket]) {
    ledger.begin_look();
    rows.iter().for_each(|row| ledger.handle_row(row, ms(now)));
    ledger.end_look(ms(now), false);
}

/// A window that began at 1000 ms with these sockets.
fn opened(rows: &[Socket]) -> Ledger {
    let mut ledger = Ledger::new(PORT);
    look(&mut ledger, 900, rows);
    ledger.handle_baseline();
    ledger.open_window(ms(1000));
    ledger
}

fn finish(mut ledger: Ledger, now: u64, rows: &[Socket]) -> PortReport {
    look(&mut ledger, now, rows);
    ledger.close_window();
    ledger.finish(ms(now))
}

#[test]
fn a_client_elsewhere_is_counted_at_the_servers_end() {
    let mut ledger = opened(&[]);
    ledger.handle_event(&died(SERVER, AWAY, 1, true, 4), ms(1100));
    let account = finish(ledger, 1300, &[time_wait(SERVER, AWAY, 200)]);
    assert_eq!((account.opened, account.closed.server_fin), (1, 1), "{account:#?}");
    assert_eq!(account.time_wait.server, 1);
    assert_eq!(account.requests.max, Some(4));

    let mut ledger = opened(&[]);
    ledger.handle_event(&died(SERVER, AWAY, 1, true, 4), ms(1100));
    ledger.handle_event(&died(SERVER, "192.0.2.7:40001", 2, false, 4), ms(1100));
    let mut aborted = died(SERVER, "192.0.2.7:0", 3, false, 0);
    aborted.wqueue = 65_538;
    ledger.handle_event(&aborted, ms(1100));
    let account = finish(ledger, 1300, &[]);
    let expected = ConnectionCloses {
        client_fin: 1,
        client_rst: 1,
        server_rst: 1,
        ..ConnectionCloses::default()
    };
    assert_eq!((account.opened, account.closed), (3, expected), "{account:#?}");
}

#[test]
fn a_time_wait_of_the_baseline_is_not_of_the_window_whatever_its_age_looks_like() {
    let old = |age| Socket { cookie: 9, ..time_wait(SERVER, AWAY, age) };
    let ledger = opened(&[old(100)]);
    let new = Socket { cookie: 10, ..time_wait(SERVER, "192.0.2.7:40001", 290) };
    let account = finish(ledger, 1300, &[old(100), new]);
    assert_eq!((account.time_wait.server, account.time_wait_total.server), (1, 2));
}

#[test]
fn both_ends_on_one_host_are_one_connection() {
    let mut ledger = opened(&[]);
    ledger.handle_event(&died(HERE, SERVER, 1, true, 4), ms(1100));
    ledger.handle_event(&died(SERVER, HERE, 2, true, 4), ms(1100));
    let account = finish(ledger, 1300, &[time_wait(HERE, SERVER, 200)]);
    assert_eq!((account.opened, account.closed.client_fin), (1, 1), "{account:#?}");
    assert_eq!(account.closed.total(), 1);
}

#[test]
fn a_look_after_900_ms_proves_nothing_by_finding_nothing() {
    for (late, expected) in [(850, 1), (950, 0)] {
        let mut ledger = opened(&[]);
        ledger.handle_event(&died(HERE, SERVER, 1, true, 1), ms(1100));
        let account = finish(ledger, 1100 + late, &[]);
        assert_eq!(account.closed.server_fin, expected, "{account:#?}");
        assert_eq!(account.closed.unclassified, 1 - expected);
    }
    // Found is found, however late.
    let mut ledger = opened(&[]);
    ledger.handle_event(&died(HERE, SERVER, 1, true, 1), ms(1100));
    let account = finish(ledger, 9000, &[time_wait(HERE, SERVER, 7900)]);
    assert_eq!(account.closed.client_fin, 1, "{account:#?}");
}

#[test]
fn a_late_look_leaves_the_other_ends_time_wait_to_decide() {
    let mut ledger = opened(&[]);
    ledger.handle_event(&died(HERE, SERVER, 1, true, 1), ms(1100));
    ledger.handle_event(&died(SERVER, HERE, 2, true, 1), ms(1100));
    let account = finish(ledger, 5000, &[time_wait(SERVER, HERE, 3900)]);
    assert_eq!(account.closed.server_fin, 1, "{account:#?}");
}

#[test]
fn time_waits_the_kernel_refused_to_keep_prove_nothing() {
    let mut ledger = opened(&[]);
    ledger.handle_event(&died(HERE, SERVER, 1, true, 1), ms(1100));
    ledger.begin_look();
    ledger.end_look(ms(1200), true);
    let account = finish(ledger, 1300, &[]);
    assert_eq!(account.closed.unclassified, 1, "{account:#?}");
}

#[test]
fn an_end_that_becomes_known_during_a_look_waits_for_the_next() {
    let mut ledger = opened(&[]);
    ledger.begin_look();
    // Its TIME_WAIT was walked over before anyone asked for it; by the clock it is older.
    ledger.handle_row(&time_wait(HERE, SERVER, 10), ms(1110));
    ledger.handle_event(&died(HERE, SERVER, 1, true, 1), ms(1100));
    ledger.end_look(ms(1120), false);
    assert_eq!(ledger.unlooked_since(), Some(ms(1100)));
    let account = finish(ledger, 1300, &[time_wait(HERE, SERVER, 200)]);
    assert_eq!(account.closed.client_fin, 1, "{account:#?}");
}

#[test]
fn the_time_wait_of_a_pair_that_lived_twice_belongs_to_the_second_life() {
    let mut ledger = opened(&[]);
    for (at, cookie) in [(1100, 1), (1150, 3)] {
        ledger.handle_event(&died(HERE, SERVER, cookie, true, 1), ms(at));
        ledger.handle_event(&died(SERVER, HERE, cookie + 1, true, 1), ms(at));
    }
    let account = finish(ledger, 1300, &[time_wait(HERE, SERVER, 150)]);
    let expected = ConnectionCloses { client_fin: 1, server_fin: 1, ..ConnectionCloses::default() };
    assert_eq!((account.opened, account.closed), (2, expected), "{account:#?}");
}

#[test]
fn a_time_wait_much_older_than_the_death_is_not_its_own() {
    let mut ledger = opened(&[]);
    ledger.handle_event(&died(HERE, SERVER, 1, true, 1), ms(9000));
    let account = finish(ledger, 9100, &[time_wait(HERE, SERVER, 6000)]);
    assert_eq!(account.closed.server_fin, 1, "{account:#?}");
}

#[test]
fn what_died_before_the_window_is_not_in_it() {
    let alive = socket(HERE, SERVER, State::Established, 1);
    let mut ledger = Ledger::new(PORT);
    look(&mut ledger, 900, &[alive]);
    ledger.handle_baseline();
    // Not in the baseline: dead before it. In the baseline: closed after it.
    ledger.handle_event(&died("10.0.0.1:40001", SERVER, 8, true, 1), ms(950));
    ledger.handle_event(&died(HERE, SERVER, 1, false, 1), ms(960));
    ledger.open_window(ms(1000));
    let account = finish(ledger, 1300, &[]);
    assert_eq!((account.alive_at_start, account.opened), (1, 0), "{account:#?}");
    assert_eq!((account.closed.total(), account.closed.server_rst), (1, 1));
}

#[test]
fn what_the_last_dump_saw_alive_died_after_the_window() {
    let mut ledger = opened(&[]);
    look(&mut ledger, 1300, &[socket(HERE, SERVER, State::Established, 1)]);
    ledger.close_window();
    ledger.handle_event(&died(HERE, SERVER, 1, true, 1), ms(1310));
    // Another life of the same pair, dead before the last dump and reported late.
    ledger.handle_event(&died(HERE, SERVER, 5, false, 1), ms(1310));
    let account = ledger.finish(ms(1400));
    assert_eq!((account.opened, account.alive_at_end), (2, 1), "{account:#?}");
    assert_eq!((account.closed.total(), account.closed.server_rst), (1, 1));
}

#[test]
fn an_abort_seen_alive_before_is_named_by_its_cookie() {
    let mut ledger = opened(&[]);
    // The server is elsewhere: nobody else can tell.
    let (client, server) = ("10.0.0.1:40000", "192.0.2.9:80");
    look(&mut ledger, 1200, &[socket(client, server, State::Established, 7)]);
    let mut aborted = died(client, "192.0.2.9:0", 7, false, 0);
    aborted.wqueue = 65_538;
    ledger.handle_event(&aborted, ms(1250));
    let mut unknown = died(client, "192.0.2.9:0", 8, false, 0);
    unknown.wqueue = 65_538;
    ledger.handle_event(&unknown, ms(1250));
    let account = finish(ledger, 1300, &[]);
    assert_eq!((account.opened, account.closed.client_rst), (1, 1), "{account:#?}");
    assert_eq!(account.unattributed_aborts, 1);
}

#[test]
fn a_full_table_counts_without_judging() {
    let mut ledger = opened(&[]);
    let total = MAX_PENDING as u64 + 10;
    for n in 0..total {
        let local =
            SocketAddr::from(([10, 1, (n >> 16) as u8, (n >> 8) as u8], 1000 + n as u16 % 256));
        ledger.handle_event(&died(&local.to_string(), SERVER, n + 1, true, 1), ms(1100));
    }
    let account = finish(ledger, 1300, &[]);
    assert_eq!(account.closed.total(), total);
    assert_eq!((account.overflowed, account.closed.unclassified), (10, 10));
}
