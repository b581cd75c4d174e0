//! What looks alone tell of opens and closes, where no destroy event does.
//!
//! Owns the comparison of one look with those before it. Pure: time is handed in. What it counts are
//! bounds from below: a connection that came and went between two looks is known only if its
//! TIME_WAIT is still there.
//!
//! ```text
//!  a pair of addresses ──► not there before ──► opened
//!                     └──► gone: a new TIME_WAIT ──► closed first by this end
//!                               none             ──► gone: by the other end, by a reset, or unseen
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::time::Duration;

use crate::kernel::socket::{Side, Socket, State};
use crate::report::polls::PollDiff;

/// Connections and TIME_WAITs that are told apart; what is beyond is not counted.
const MAX_PAIRS: usize = 1 << 20;
/// Destinations that are told apart; what is beyond counts for the folded one.
const MAX_SUMS: usize = 1 << 12;
/// Open for this long, a connection has outlived the request it was opened for.
const KEPT: Duration = Duration::from_secs(2);
/// By how much the same TIME_WAIT may seem to have been entered earlier or later: a tick, and the
/// time that a reading takes.
const SAME: Duration = Duration::from_millis(500);

type Key = (Option<SocketAddr>, Side);
type Pair = (SocketAddr, SocketAddr);

#[derive(Debug, Clone, Copy)]
struct Live {
    key: Key,
    inode: u32,
    first: Duration,
    look: u64,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    key: Key,
    entered: Duration,
    look: u64,
}

/// The looks of one window.
#[derive(Debug, Default)]
pub(crate) struct Glimpses {
    live: HashMap<Pair, Live>,
    held: HashMap<Pair, Held>,
    /// TIME_WAITs that this look saw first.
    new: Vec<(Pair, Key)>,
    /// Connections whose addresses serve another one by now.
    replaced: Vec<Live>,
    sums: HashMap<Key, PollDiff>,
    /// 1 is the baseline.
    look: u64,
}

impl Glimpses {
    pub(crate) fn begin_dump(&mut self) {
        self.look += 1;
    }

    /// One row, and the destination it belongs to.
    pub(crate) fn handle_row(
        &mut self,
        service: SocketAddr,
        side: Side,
        row: &Socket,
        at: Duration,
    ) {
        let pair = (row.local, row.remote);
        let key = self.key(service, side);
        let look = self.look;
        if row.is_minisocket() {
            let age = row.time_wait_age_ms().unwrap_or(0);
            let entered = at.saturating_sub(Duration::from_millis(age.into()));
            self.hold(pair, Held { key, entered, look });
        } else if row.is_alive() || row.state == State::SynSent {
            self.see(pair, Live { key, inode: row.inode, first: at, look });
        }
    }

    fn hold(&mut self, pair: Pair, now: Held) {
        let room = self.held.len() < MAX_PAIRS;
        match self.held.entry(pair) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let again = now.entered > known.entered + SAME;
                *known = Held { entered: if again { now.entered } else { known.entered }, ..now };
                if again {
                    self.new.push((pair, now.key));
                }
            }
            Entry::Vacant(free) if room => {
                free.insert(now);
                self.new.push((pair, now.key));
            }
            Entry::Vacant(_) => {}
        }
    }

    fn see(&mut self, pair: Pair, now: Live) {
        let room = self.live.len() < MAX_PAIRS;
        match self.live.entry(pair) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                // A connection gets its file when it is accepted, and may lose it before it ends.
                if known.inode != 0 && now.inode != 0 && known.inode != now.inode {
                    self.replaced.push(std::mem::replace(known, now));
                    self.sums.entry(now.key).or_default().opened += 1;
                } else {
                    known.look = now.look;
                    known.inode = known.inode.max(now.inode);
                }
            }
            Entry::Vacant(free) if room => {
                free.insert(now);
                if now.look > 1 {
                    self.sums.entry(now.key).or_default().opened += 1;
                }
            }
            Entry::Vacant(_) => {}
        }
    }

    /// The look has ended.
    pub(crate) fn end_dump(&mut self, now: Duration) {
        let look = self.look;
        let mut ended: HashMap<Pair, Live> =
            self.live.extract_if(|_, live| live.look < look).collect();
        for (pair, key) in std::mem::take(&mut self.new) {
            if look == 1 {
                continue;
            }
            let sum = self.sums.entry(key).or_default();
            sum.closed_first += 1;
            match ended.remove(&pair) {
                Some(live) => sum.long_lived_closed += u64::from(live.is_kept(now)),
                // It came and went between two looks.
                None => sum.opened += 1,
            }
        }
        for live in ended.values().chain(&self.replaced) {
            let sum = self.sums.entry(live.key).or_default();
            sum.gone += 1;
            sum.long_lived_closed += u64::from(live.is_kept(now));
        }
        self.replaced.clear();
        // One look may miss a row that the next one has.
        self.held.retain(|_, held| held.look + 1 >= look);
        self.sums.values_mut().for_each(|sum| sum.long_lived = 0);
        for live in self.live.values().filter(|live| live.is_kept(now)) {
            self.sums.entry(live.key).or_default().long_lived += 1;
        }
    }

    fn key(&mut self, service: SocketAddr, side: Side) -> Key {
        let key = (Some(service), side);
        let room = self.sums.len() < MAX_SUMS || self.sums.contains_key(&key);
        let key = if room { key } else { (None, side) };
        self.sums.entry(key).or_default();
        key
    }

    /// What is known of a destination; `named`: those that have numbers of their own, without which
    /// the folded one is asked for.
    pub(crate) fn of(
        &self,
        service: Option<SocketAddr>,
        side: Side,
        named: &dyn Fn(SocketAddr) -> bool,
    ) -> PollDiff {
        if service.is_some() {
            return self.sums.get(&(service, side)).copied().unwrap_or_default();
        }
        let mut all = PollDiff::default();
        let folded = |key: &Key| key.1 == side && key.0.is_none_or(|service| !named(service));
        self.sums.iter().filter(|(key, _)| folded(key)).for_each(|(_, sum)| all.merge(sum));
        all
    }
}

impl Live {
    fn is_kept(&self, now: Duration) -> bool {
        now.saturating_sub(self.first) >= KEPT
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

    /// The looks, a second apart, and what they come to.
    fn glimpsed(looks: &[&[Socket]]) -> PollDiff {
        let mut glimpses = Glimpses::default();
        for (second, rows) in (1..).zip(looks) {
            let at = SECOND * second;
            glimpses.begin_dump();
            rows.iter().for_each(|row| glimpses.handle_row(service(), Side::Client, row, at));
            glimpses.end_dump(at);
        }
        glimpses.of(Some(service()), Side::Client, &|_| true)
    }

    #[test]
    fn what_was_there_at_the_baseline_is_not_counted() {
        let first: &[Socket] = &[live(1, 1), held(2, 30_000)];
        let later: &[Socket] = &[live(1, 1), held(2, 31_004)];
        assert_eq!(glimpsed(&[first, later]), PollDiff::default());
    }

    #[test]
    fn a_connection_that_was_seen_and_one_that_was_not_are_both_told_by_their_time_waits() {
        let seen: &[&[Socket]] = &[&[], &[live(1, 1)], &[held(1, 500), held(2, 300)]];
        let expected = PollDiff { opened: 2, closed_first: 2, ..PollDiff::default() };
        assert_eq!(glimpsed(seen), expected);
    }

    #[test]
    fn the_same_addresses_in_time_wait_again_are_another_close() {
        let rows: &[&[Socket]] = &[&[], &[held(1, 900)], &[held(1, 1900)], &[held(1, 100)]];
        assert_eq!((glimpsed(rows).closed_first, glimpsed(rows).opened), (2, 2));
    }

    #[test]
    fn one_that_leaves_no_time_wait_is_gone_and_one_whose_file_changed_is_another() {
        let gone = glimpsed(&[&[live(1, 1)], &[]]);
        assert_eq!(gone, PollDiff { gone: 1, ..PollDiff::default() });
        let other = glimpsed(&[&[live(1, 1)], &[live(1, 2)]]);
        assert_eq!(other, PollDiff { gone: 1, opened: 1, ..PollDiff::default() });
        let accepted = glimpsed(&[&[live(1, 0)], &[live(1, 2)], &[live(1, 0)]]);
        assert_eq!((accepted.gone, accepted.opened), (0, 0));
    }

    #[test]
    fn two_seconds_open_is_kept_then_and_when_it_ends() {
        let rows: &[&[Socket]] =
            &[&[live(1, 1), live(2, 2)], &[live(1, 1), live(2, 2)], &[live(1, 1), live(2, 2)]];
        assert_eq!(glimpsed(&rows[..2]).long_lived, 0);
        assert_eq!(glimpsed(rows).long_lived, 2);
        let ended = glimpsed(&[rows[0], rows[1], rows[2], &[held(1, 10)]]);
        let expected =
            PollDiff { closed_first: 1, gone: 1, long_lived_closed: 2, ..PollDiff::default() };
        assert_eq!(ended, expected);
    }

    #[test]
    fn destinations_without_limit_share_one_sum() {
        let mut glimpses = Glimpses::default();
        for at in [SECOND, SECOND * 2] {
            glimpses.begin_dump();
            for port in 1..=2 * u16::try_from(MAX_SUMS).unwrap() {
                let service = SocketAddr::from(([10, 0, 0, 9], port));
                if at > SECOND {
                    glimpses.handle_row(service, Side::Client, &held(port, 10), at);
                }
            }
            glimpses.end_dump(at);
        }
        assert_eq!(glimpses.sums.len(), MAX_SUMS + 1);
        let folded = glimpses.of(None, Side::Client, &|_| false);
        assert_eq!(folded.closed_first, 2 * MAX_SUMS as u64);
    }
}
