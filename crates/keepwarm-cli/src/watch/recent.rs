//! The last half minute of a live watch, so that a mended fault disappears from its screen.
//!
//! Owns earlier reports of the watch, at most eight of them.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use keepwarm_sockets::{Destination, HostReport};

/// Least length of the recent part, once the watch is that old.
const LENGTH: Duration = Duration::from_secs(30);
/// Upper bound on the excess over that length.
const STEP: Duration = Duration::from_secs(5);

/// Earlier reports, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    past: VecDeque<HostReport>,
}

impl Recent {
    /// Returns the recent part of a report; all of it, while the watch is young.
    pub(crate) fn of(&mut self, now: &HostReport) -> HostReport {
        let is_old = |past: &HostReport| past.window + LENGTH <= now.window;
        while self.past.get(1).is_some_and(is_old) {
            self.past.pop_front();
        }
        let mut lately = match self.past.front() {
            Some(past) if is_old(past) => now.since(past),
            _ => now.clone(),
        };
        if self.past.back().is_none_or(|last| last.window + STEP <= now.window) {
            self.past.push_back(now.clone());
        }
        lately.destinations.sort_by_key(place);
        lately
    }
}

/// Sorts the busiest destinations first, and equally busy ones by address: a row that moves each
/// second cannot be read.
fn place(one: &Destination) -> impl Ord + use<> {
    let busy = one.opened + one.closed.total() + one.connect_failed;
    let about = |count: u64| Reverse(count.checked_ilog2());
    (about(busy), about(one.alive + one.time_wait), one.service, one.side)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use keepwarm_sockets::{Scope, dump_once};

    use super::*;

    #[test]
    fn slightly_busier_row_keeps_its_place() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(own.local_addr().unwrap()).unwrap();
        let ip = Some(own.local_addr().unwrap().ip());
        let seen = dump_once(Scope::default().with_ip(ip)).unwrap().destinations;
        let one = |port, opened| {
            let service = Some(([127, 0, 0, 1], port).into());
            let mut one = seen[0].clone();
            (one.service, one.opened, one.alive, one.time_wait) = (service, opened, 1, 0);
            one
        };
        assert!(place(&one(1, 40)) < place(&one(2, 63)), "about as many");
        assert!(place(&one(1, 40)) > place(&one(2, 64)), "more");
    }

    #[test]
    fn recent_part_is_half_a_minute() {
        let mut recent = Recent::default();
        for second in 1..=100 {
            let window = Duration::from_secs(second);
            let mut report = HostReport::default();
            (report.window, report.lost_events) = (window, second);
            let seen = recent.of(&report);
            let looked_back = seen.window.as_secs();
            assert!(looked_back <= 35 && (second < 36 || looked_back >= 30), "{second}: {seen:?}");
            assert_eq!(seen.lost_events, looked_back, "and counts what was then");
            assert!(recent.past.len() <= 8, "{}", recent.past.len());
        }
    }
}
