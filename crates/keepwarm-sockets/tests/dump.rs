//! Dumps against sockets that the test itself holds.

// Helpers of a test may panic: that fails the test.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::print_stdout)]

use std::collections::HashSet;
use std::time::{Duration, Instant};

use keepwarm_sockets::{
    Counters, Filter, Scope, Side, Socket, State, States, count as count_sockets, dump,
    ephemeral_ports,
};
use keepwarm_testkit::churn::{Family, Upstream, Way};

fn either(port: u16) -> Vec<Socket> {
    dump(&Filter::default().with_either_port(port).with_info()).unwrap()
}

/// Returns the port's sockets once every close is complete (the kernel may be behind).
fn at_rest(port: u16) -> Vec<Socket> {
    let rest = States::of(&[State::Established, State::Listen, State::TimeWait]);
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let rows = either(port);
        if rows.iter().all(|row| rest.contains(row.state)) {
            return rows;
        }
        assert!(Instant::now() < deadline, "{rows:#?}");
        std::thread::yield_now();
    }
}

/// Closes `count` connections at the server. Returns how many TIME_WAITs there must be: one for each
/// pair of addresses, unless other programs have filled the namespace with them.
fn time_waits(upstream: &mut Upstream, count: usize) -> Option<usize> {
    let refused = || Counters::read().unwrap().time_wait_overflow;
    let before = refused();
    let mut ports = HashSet::new();
    for _ in 0..count {
        let connection = upstream.connect().unwrap();
        ports.insert(connection.client.local_addr().unwrap().port());
        connection.close(Way::ServerFin).unwrap();
    }
    at_rest(upstream.port());
    if refused() == before {
        return Some(ports.len());
    }
    eprintln!("NOT CHECKED: the number of TIME_WAITs, the kernel refused some");
    None
}

fn count(rows: &[Socket], state: State, side: Side, port: u16) -> usize {
    rows.iter().filter(|row| row.state == state && row.side(port) == Some(side)).count()
}

#[test]
fn dump_has_both_sockets_and_nothing_else() {
    for family in Family::ALL {
        let mut upstream = Upstream::listen(family).unwrap();
        let port = upstream.port();
        let mut held: Vec<_> = (0..5).map(|_| upstream.connect().unwrap()).collect();
        held.iter_mut().for_each(|connection| connection.exchange(4).unwrap());
        let closed = time_waits(&mut upstream, 7);
        let rows = at_rest(port);
        assert!(rows.iter().all(|row| row.side(port).is_some()), "{rows:#?}");
        assert_eq!(count(&rows, State::Established, Side::Client, port), 5);
        assert_eq!(count(&rows, State::Established, Side::Server, port), 5);
        assert_eq!(count(&rows, State::Listen, Side::Server, port), 1);
        let waiting = count(&rows, State::TimeWait, Side::Server, port);
        assert_eq!(waiting, closed.unwrap_or(waiting));
        assert_eq!(rows.len(), 11 + waiting);
        for row in rows.iter().filter(|row| row.is_alive()) {
            let info = row.info.unwrap();
            let requests = match row.side(port).unwrap() {
                Side::Client => info.data_segs_out,
                Side::Server => info.data_segs_in,
            };
            assert_eq!(requests, Some(4));
            assert!(row.inode != 0 && row.cookie != 0);
        }
        for row in rows.iter().filter(|row| row.state == State::TimeWait) {
            assert!(row.is_minisocket() && row.info.is_none() && row.inode == 0);
            assert!(row.time_wait_age_ms().unwrap() < 60_000);
        }
        // The two sockets name each other, v4-mapped or not.
        for connection in &held {
            let client = connection.client.local_addr().unwrap();
            let seen =
                |f: fn(&Socket) -> u16| rows.iter().filter(|r| f(r) == client.port()).count();
            assert_eq!((seen(|row| row.local.port()), seen(|row| row.remote.port())), (1, 1));
        }
    }
}

#[test]
fn kernel_filters_states_and_ports() {
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let port = upstream.port();
    let _held: Vec<_> = (0..3).map(|_| upstream.connect().unwrap()).collect();
    let closed = time_waits(&mut upstream, 2);
    let rows = |filter: Filter| dump(&filter).unwrap();
    let all = Filter::default().with_either_port(port);
    let waiting = rows(all.with_states(State::TimeWait)).len();
    assert_eq!(waiting, closed.unwrap_or(waiting));
    assert_eq!(rows(all.with_states(State::Listen)).len(), 1);
    let two = States::of(&[State::TimeWait, State::Established]);
    assert_eq!(rows(all.with_states(two)).len(), 6 + waiting);
    let to = Filter::default().with_remote_port(port);
    assert_eq!(rows(to.with_states(State::Established)).len(), 3);
    let from = Filter::default().with_local_port(port);
    assert_eq!(rows(from.with_states(State::Established)).len(), 3);
    assert!(rows(all.with_states(States::NONE)).is_empty());
    // Without a filter they are among everything else.
    let unfiltered = rows(Filter::default());
    let ours = unfiltered.iter().filter(|row| row.side(port).is_some()).count();
    assert_eq!(ours, rows(all).len());
}

/// By address, port and side, in every family; IPv4-mapped sockets count as IPv4.
#[test]
fn kernel_counts_the_rows_of_a_scope() {
    for family in Family::ALL {
        let mut upstream = Upstream::listen(family).unwrap();
        let port = upstream.port();
        let held: Vec<_> = (0..4).map(|_| upstream.connect().unwrap()).collect();
        let other = held[0].client.local_addr().unwrap().port();
        let rows = either(port);
        let here = rows.iter().find(|row| row.is_alive()).unwrap().local.ip();
        let elsewhere = "10.255.255.1".parse().unwrap();
        let states = States::of(&[State::Established]);
        for (ip, port) in [(None, port), (Some(here), port), (Some(elsewhere), port), (None, other)]
        {
            for side in [None, Some(Side::Client), Some(Side::Server)] {
                let at = |address: std::net::SocketAddr| {
                    address.port() == port && ip.is_none_or(|ip| ip == address.ip())
                };
                let expected = rows.iter().filter(|row| row.state == State::Established);
                let expected = expected.filter(|row| {
                    (side != Some(Side::Server) && at(row.remote))
                        || (side != Some(Side::Client) && at(row.local))
                });
                let scope = Scope::of_port(port).with_ip(ip).with_side(side);
                for either_port in [None, Some(port)] {
                    let filter = Filter::of_states(states).with_either_port(either_port);
                    let counted = count_sockets(&filter, &scope).unwrap();
                    assert_eq!(counted, expected.clone().count() as u64, "{family:?} {scope:?}");
                }
            }
        }
        let by_address = Scope::default().with_ip(here);
        let filter = Filter::of_states(states);
        assert!(count_sockets(&filter, &by_address).unwrap() >= 8, "{family:?}");
    }
}

#[test]
fn cookie_names_one_socket() {
    let mut upstream = Upstream::listen(Family::V6).unwrap();
    let _held: Vec<_> = (0..20).map(|_| upstream.connect().unwrap()).collect();
    let cookies = || {
        let mut cookies: Vec<_> = either(upstream.port()).iter().map(|row| row.cookie).collect();
        cookies.sort_unstable();
        cookies
    };
    let first = cookies();
    assert_eq!(first, cookies());
    let mut unique = first.clone();
    unique.dedup();
    assert_eq!(unique.len(), 41);
}

#[test]
fn counters_follow_the_connections() {
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let before = Counters::read().unwrap();
    upstream.play(Way::ServerFin, 40, 1).unwrap();
    at_rest(upstream.port());
    upstream.play(Way::ClientUnread, 30, 1).unwrap();
    let after = Counters::read().unwrap();
    let change = after.since(&before);
    // At least, as other tests run beside this one.
    assert!(change.active_opens >= Some(70), "{change:?}");
    assert!(change.passive_opens >= Some(70), "{change:?}");
    // The kernel may have refused some, as other programs fill the namespace.
    let waited =
        change.time_waits.zip(change.time_wait_overflow).map(|(kept, refused)| kept + refused);
    assert!(waited >= Some(40), "{change:?}");
    assert!(change.abort_on_close >= Some(30), "{change:?}");
    assert!(change.out_resets >= Some(30), "{change:?}");
    assert!(after.time_wait_now >= Some(1), "{after:?}");
}

#[test]
fn kernel_chooses_ephemeral_ports() {
    let ports = ephemeral_ports().unwrap();
    assert!(ports.size() > 0 && ports.low <= ports.high);
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let chosen = upstream.connect().unwrap().client.local_addr().unwrap().port();
    assert!((ports.low..=ports.high).contains(&chosen), "{chosen} {ports:?}");
}
