//! Opens and closes as polls see them, where there are no destroy events.
//!
//! Owns the comparison of one poll with those before it. Pure: time is passed in. All counts are
//! lower bounds: a connection that came and went between two polls is seen only if its TIME_WAIT is
//! still there.
//!
//! ```text
//!  a pair of addresses ──► not there before ──► opened
//!                     └──► gone: a new TIME_WAIT ──► closed first by this side
//!                               no TIME_WAIT     ──► gone: by the peer, by a reset, or unseen
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::time::Duration;

use super::destinations::Key;
use super::trace_records::Addresses;
use crate::kernel::socket::{Side, Socket, State};
use crate::report::polls::PollDiff;

/// Connections and TIME_WAITs that are told apart; further ones are not counted.
const MAX_PAIRS: usize = 1 << 20;
/// Destinations that are told apart; further ones count for the folded one.
const MAX_SUMS: usize = 1 << 12;
/// A connection open for this long has outlived the request it was opened for.
const LONG_LIVED: Duration = Duration::from_secs(2);
/// Greatest difference between two readings of when the same TIME_WAIT was entered: a tick, and the
/// time that a poll takes.
const SAME: Duration = Duration::from_millis(500);

/// A connection that a poll saw.
#[derive(Debug, Clone, Copy)]
struct Live {
    key: Key,
    inode: u32,
    first_seen: Duration,
    poll: u64,
}

impl Live {
    fn is_long_lived(&self, now: Duration) -> bool {
        now.saturating_sub(self.first_seen) >= LONG_LIVED
    }
}

/// A TIME_WAIT that a poll saw.
#[derive(Debug, Clone, Copy)]
struct Held {
    key: Key,
    entered: Duration,
    poll: u64,
}

/// Comparison of the polls of one window.
#[derive(Debug, Default)]
pub(crate) struct PollComparison {
    live: HashMap<Addresses, Live>,
    held: HashMap<Addresses, Held>,
    /// TIME_WAITs that the current poll saw first.
    new: Vec<(Addresses, Key)>,
    /// Connections whose addresses another connection has now.
    replaced: Vec<Live>,
    sums: HashMap<Key, PollDiff>,
    /// Number of polls; 1 is the baseline.
    polls: u64,
}

impl PollComparison {
    /// Begins a poll.
    pub(crate) fn begin_poll(&mut self) {
        self.polls += 1;
    }

    /// Takes one row, and the destination it belongs to.
    pub(crate) fn handle_row(
        &mut self,
        service: SocketAddr,
        side: Side,
        row: &Socket,
        at: Duration,
    ) {
        let addresses = (row.local, row.remote);
        let key = self.key(service, side);
        let poll = self.polls;
        if row.is_minisocket() {
            let age = row.time_wait_age_ms().unwrap_or(0);
            let entered = at.saturating_sub(Duration::from_millis(age.into()));
            self.handle_time_wait(addresses, Held { key, entered, poll });
        } else if row.is_alive() || row.state == State::SynSent {
            self.handle_live(addresses, Live { key, inode: row.inode, first_seen: at, poll });
        }
    }

    fn handle_time_wait(&mut self, addresses: Addresses, now: Held) {
        let has_room = self.held.len() < MAX_PAIRS;
        match self.held.entry(addresses) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let is_another = now.entered > known.entered + SAME;
                let entered = if is_another { now.entered } else { known.entered };
                *known = Held { entered, ..now };
                if is_another {
                    self.new.push((addresses, now.key));
                }
            }
            Entry::Vacant(free) if has_room => {
                free.insert(now);
                self.new.push((addresses, now.key));
            }
            Entry::Vacant(_) => {}
        }
    }

    fn handle_live(&mut self, addresses: Addresses, now: Live) {
        let has_room = self.live.len() < MAX_PAIRS;
        match self.live.entry(addresses) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                // A connection gets its file when it is accepted, and may lose it before it ends.
                if known.inode != 0 && now.inode != 0 && known.inode != now.inode {
                    self.replaced.push(std::mem::replace(known, now));
                    self.sums.entry(now.key).or_default().opened += 1;
                } else {
                    known.poll = now.poll;
                    known.inode = known.inode.max(now.inode);
                }
            }
            Entry::Vacant(free) if has_room => {
                free.insert(now);
                if now.poll > 1 {
                    self.sums.entry(now.key).or_default().opened += 1;
                }
            }
            Entry::Vacant(_) => {}
        }
    }

    /// Ends the poll, and counts its differences from the one before.
    pub(crate) fn end_poll(&mut self, now: Duration) {
        let poll = self.polls;
        let mut ended: HashMap<Addresses, Live> =
            self.live.extract_if(|_, live| live.poll < poll).collect();
        for (addresses, key) in std::mem::take(&mut self.new) {
            if poll == 1 {
                continue;
            }
            let sum = self.sums.entry(key).or_default();
            sum.closed_first += 1;
            match ended.remove(&addresses) {
                Some(live) => sum.long_lived_closed += u64::from(live.is_long_lived(now)),
                // The connection came and went between two polls.
                None => sum.opened += 1,
            }
        }
        for live in ended.values().chain(&self.replaced) {
            let sum = self.sums.entry(live.key).or_default();
            sum.gone += 1;
            sum.long_lived_closed += u64::from(live.is_long_lived(now));
        }
        self.replaced.clear();
        // A poll may miss a row that the next one has.
        self.held.retain(|_, held| held.poll + 1 >= poll);
        self.sums.values_mut().for_each(|sum| sum.long_lived = 0);
        for live in self.live.values().filter(|live| live.is_long_lived(now)) {
            self.sums.entry(live.key).or_default().long_lived += 1;
        }
    }

    fn key(&mut self, service: SocketAddr, side: Side) -> Key {
        let key = (Some(service), side);
        let has_room = self.sums.len() < MAX_SUMS || self.sums.contains_key(&key);
        let key = if has_room { key } else { (None, side) };
        self.sums.entry(key).or_default();
        key
    }

    /// Returns the counts of a destination. `has_own`: whether a service has numbers of its own; the
    /// folded destination (`None`) has those of all others.
    pub(crate) fn of(
        &self,
        service: Option<SocketAddr>,
        side: Side,
        has_own: &dyn Fn(SocketAddr) -> bool,
    ) -> PollDiff {
        if service.is_some() {
            return self.sums.get(&(service, side)).copied().unwrap_or_default();
        }
        let mut all = PollDiff::default();
        let is_folded = |key: &Key| key.1 == side && key.0.is_none_or(|one| !has_own(one));
        self.sums.iter().filter(|(key, _)| is_folded(key)).for_each(|(_, sum)| all.merge(sum));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn socket(port: u16, state: State, inode: u32, age_ms: u32) -> Socket {
        Socket {
            state,
            local: SocketAddr::from(([10, 0, 0, 1], port)),
            remote: service(),
            cookie: 0,
            rqueue: 0,
            wqueue: 0,
            inode,
            uid: 0,
            timer: if state == State::TimeWait { 3 } else { 0 },
            expires_ms: 60_000 - age_ms,
            interface: 0,
            info: None,
        }
    }

    fn service() -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 5], 443))
    }

    fn live(port: u16, inode: u32) -> Socket {
        socket(port, State::Established, inode, 0)
    }

    fn held(port: u16, age_ms: u32) -> Socket {
        socket(port, State::TimeWait, 0, age_ms)
    }

    /// Compares polls that are a second apart.
    fn compared(polls: &[&[Socket]]) -> PollDiff {
        let mut comparison = PollComparison::default();
        for (second, rows) in (1..).zip(polls) {
            let at = SECOND * second;
            comparison.begin_poll();
            rows.iter().for_each(|row| comparison.handle_row(service(), Side::Client, row, at));
            comparison.end_poll(at);
        }
        comparison.of(Some(service()), Side::Client, &|_| true)
    }

    #[test]
    fn baseline_is_not_counted() {
        let first: &[Socket] = &[live(1, 1), held(2, 30_000)];
        let later: &[Socket] = &[live(1, 1), held(2, 31_004)];
        assert_eq!(compared(&[first, later]), PollDiff::default());
    }

    #[test]
    fn new_time_waits_count_as_closed_first() {
        let seen: &[&[Socket]] = &[&[], &[live(1, 1)], &[held(1, 500), held(2, 300)]];
        let expected = PollDiff { opened: 2, closed_first: 2, ..PollDiff::default() };
        assert_eq!(compared(seen), expected);
    }

    #[test]
    fn addresses_in_time_wait_again_count_again() {
        let rows: &[&[Socket]] = &[&[], &[held(1, 900)], &[held(1, 1900)], &[held(1, 100)]];
        assert_eq!((compared(rows).closed_first, compared(rows).opened), (2, 2));
    }

    #[test]
    fn missing_connection_without_time_wait_is_gone() {
        let gone = compared(&[&[live(1, 1)], &[]]);
        assert_eq!(gone, PollDiff { gone: 1, ..PollDiff::default() });
        let other = compared(&[&[live(1, 1)], &[live(1, 2)]]);
        assert_eq!(other, PollDiff { gone: 1, opened: 1, ..PollDiff::default() });
        let accepted = compared(&[&[live(1, 0)], &[live(1, 2)], &[live(1, 0)]]);
        assert_eq!((accepted.gone, accepted.opened), (0, 0));
    }

    #[test]
    fn two_seconds_open_is_long_lived() {
        let rows: &[&[Socket]] =
            &[&[live(1, 1), live(2, 2)], &[live(1, 1), live(2, 2)], &[live(1, 1), live(2, 2)]];
        assert_eq!(compared(&rows[..2]).long_lived, 0);
        assert_eq!(compared(rows).long_lived, 2);
        let ended = compared(&[rows[0], rows[1], rows[2], &[held(1, 10)]]);
        let expected =
            PollDiff { closed_first: 1, gone: 1, long_lived_closed: 2, ..PollDiff::default() };
        assert_eq!(ended, expected);
    }

    #[test]
    fn excess_destinations_share_one_sum() {
        let mut comparison = PollComparison::default();
        for at in [SECOND, SECOND * 2] {
            comparison.begin_poll();
            for port in 1..=2 * u16::try_from(MAX_SUMS).unwrap() {
                let service = SocketAddr::from(([10, 0, 0, 9], port));
                if at > SECOND {
                    comparison.handle_row(service, Side::Client, &held(port, 10), at);
                }
            }
            comparison.end_poll(at);
        }
        assert_eq!(comparison.sums.len(), MAX_SUMS + 1);
        let folded = comparison.of(None, Side::Client, &|_| false);
        assert_eq!(folded.closed_first, 2 * MAX_SUMS as u64);
    }
}
