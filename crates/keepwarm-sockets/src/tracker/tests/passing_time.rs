//! Time that passes without a dump, compared with dumps.

use super::*;
use crate::report::destination::Destination;

fn expiring(source: [u8; 4], port: u16, expires_ms: u32) -> Socket {
    Socket {
        state: State::TimeWait,
        local: SocketAddr::from((source, port)),
        remote: SocketAddr::from(([10, 0, 0, 5], 443)),
        cookie: port.into(),
        rqueue: 0,
        wqueue: 0,
        inode: 0,
        uid: 0,
        timer: 3,
        expires_ms,
        interface: 0,
        info: None,
    }
}

fn dump_at(tracker: &mut Tracker, rows: &[Socket], now: Duration) {
    tracker.begin_dump();
    rows.iter().for_each(|row| tracker.handle_row(row, now));
    tracker.end_dump(now, false);
}

fn destination(tracker: &Tracker) -> Option<Destination> {
    let (now, window) = (Duration::ZERO, Duration::ZERO);
    let window =
        Window { now, length: window, settled: true, time_waits_refused: None, lost_events: 0 };
    tracker.report(&window).destinations.into_iter().next()
}

/// Forecasts rest on ages, and on ports in use.
#[test]
fn passing_time_equals_a_dump() {
    for sources in [1, 2] {
        let rows: Vec<Socket> = (0..600)
            .map(|n| expiring([10, 0, 0, 1 + (n % sources) as u8], 33_000 + n, u32::from(n) * 100))
            .collect();
        let mut passing = tracker(Scope::default());
        dump_at(&mut passing, &rows, Duration::from_secs(100));
        for seconds in [0, 1, 2, 7, 30, 59, 60, 90] {
            let now = Duration::from_secs(100 + seconds);
            passing.pass_time(now);
            let ms = u32::try_from(seconds).unwrap() * 1000;
            let left: Vec<Socket> = rows
                .iter()
                // In its last millisecond a TIME_WAIT may be there or not.
                .filter(|row| row.expires_ms > ms || (ms == 0 && row.expires_ms == 0))
                .map(|row| Socket { expires_ms: row.expires_ms - ms, ..row.clone() })
                .collect();
            let mut dumping = tracker(Scope::default());
            dump_at(&mut dumping, &left, now);
            let numbers = |tracker: &Tracker| {
                let one = destination(tracker)?;
                let ports = one.ports.map_or(0, |ports| ports.used);
                (one.time_wait > 0).then_some((one.time_wait, one.time_wait_by_age, ports))
            };
            let (passed, dumped) = (numbers(&passing), numbers(&dumping));
            if sources == 1 {
                assert_eq!(passed, dumped, "after {seconds} s");
            } else {
                // Only a dump shows which source's ports are free again.
                let ages = |all: Option<(u64, Vec<u32>, u64)>| all.map(|all| (all.0, all.1));
                assert_eq!(ages(passed), ages(dumped), "after {seconds} s");
            }
        }
    }
}
