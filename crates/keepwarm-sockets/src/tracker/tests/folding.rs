//! More destinations than there is room for.

use super::*;
use crate::tracker::destinations::MAX_DESTINATIONS;

fn client(state: State, host: u32, cookie: u64) -> Socket {
    let [_, _, high, low] = host.to_be_bytes();
    Socket {
        state,
        local: SocketAddr::from(([10, 0, 0, 1], 40_000)),
        remote: SocketAddr::from(([10, 9, high, low], 80)),
        cookie,
        interface: 0,
        rqueue: 0,
        wqueue: 0,
        inode: 0,
        uid: 0,
        timer: 0,
        expires_ms: 0,
        // A client whose FIN was acknowledged.
        info: Some(TcpInfo {
            bytes_sent: Some(10),
            bytes_retrans: Some(0),
            bytes_acked: Some(12),
            bytes_received: Some(10),
            ..TcpInfo::default()
        }),
    }
}

#[test]
fn folding_midway_through_settling_loses_nothing() {
    let second = Duration::from_secs(1);
    let many = 2 * u32::try_from(MAX_DESTINATIONS).unwrap();
    let mut tracker = super::tracker(Scope::default());
    tracker.begin_dump();
    for host in 0..many - 1 {
        tracker.handle_row(&client(State::Established, host, host.into()), second);
    }
    tracker.end_dump(second, false);
    tracker.handle_baseline();
    tracker.open_window(second);
    // All of them die, and as many that no dump has seen: destinations are folded midway.
    for host in 0..2 * many {
        tracker.handle_event(client(State::Close, host, host.into()), second);
    }
    tracker.begin_dump();
    tracker.end_dump(second, false);
    let report = end(tracker, 1000);
    let closed: u64 = report.destinations.iter().map(|one| one.closed.total()).sum();
    assert_eq!(closed, u64::from(2 * many));
    let opened: u64 = report.destinations.iter().map(|one| one.opened).sum();
    assert_eq!(opened, u64::from(many + 1));
}

#[test]
fn folding_midway_through_a_dump_loses_nothing() {
    let many = 6 * u32::try_from(MAX_DESTINATIONS).unwrap();
    let mut tracker = super::tracker(Scope::default());
    for _ in 0..2 {
        tracker.begin_dump();
        for host in 0..many {
            tracker.handle_row(&client(State::Established, host, host.into()), ms(1000));
        }
        let levels = tracker.dump.as_ref().unwrap().levels.len();
        tracker.end_dump(ms(1000), false);
        // Sockets of the second dump have the ids of destinations that were folded in the first.
        assert!(levels <= 2 * MAX_DESTINATIONS + 2, "{levels}");
    }
    tracker.handle_baseline();
    tracker.open_window(ms(1000));
    let report = end(tracker, 2000);
    let established: u64 = report.destinations.iter().map(|one| one.established).sum();
    assert_eq!(established, u64::from(many));
    let destinations: u64 = report.destinations.iter().map(|one| one.folded).sum();
    assert_eq!(destinations, u64::from(many));
    let folded = report.destinations.iter().find(|one| one.service.is_none()).unwrap();
    assert_eq!(folded.ports.unwrap().used, 1, "ports are counted towards one service");
}
