//! The last half minute of a watch that goes on: a live view is about now, so what was mended shows.
//!
//! Owns what the watch had counted at moments past, at most eight of them.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use keepwarm_sockets::{Destination, HostReport};

/// How far back it looks, at least, once the watch is that old.
const LENGTH: Duration = Duration::from_secs(30);
/// And at most this much further.
const STEP: Duration = Duration::from_secs(5);

/// What had been counted, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    past: VecDeque<HostReport>,
}

impl Recent {
    /// What happened lately; all of it, while the watch is young.
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

/// The busiest first, but what is about as busy in the order of addresses: a row that changes its
/// place each second cannot be read.
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
    fn a_little_more_of_everything_does_not_change_the_place_of_a_row() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(own.local_addr().unwrap()).unwrap();
        let ip = Some(own.local_addr().unwrap().ip());
        let seen = dump_once(Scope { ip, ..Scope::default() }).unwrap().destinations;
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
    fn it_looks_back_for_half_a_minute_and_holds_no_more_than_that_takes() {
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
