//! Dead sockets that wait: for a search of their TIME_WAIT, then for the event of their peer.
//!
//! Owns the table by address pair, its limit, and what a search that finds a TIME_WAIT, or none,
//! proves about each socket. Concludes nothing: see `pairing`.
//!
//! A search is a dump, or a round of lookups of single sockets; both end here.

use std::net::IpAddr;
use std::time::Duration;

use super::classify::TimeWait;
use super::dead::{DeadPair, DeadSocket};
use super::pair::{Member, Pair};
use crate::kernel::burst::Burst;
use crate::kernel::keyed_hash::Map;
use crate::kernel::socket::Socket;

/// Pairs of addresses that wait. 1,100 bytes each.
pub(super) const MAX_PENDING: usize = 1 << 17;

/// On loopback a client's TIME_WAIT may be reused after 1 s (`net.ipv4.tcp_tw_reuse` = 2 and
/// `tcp_tw_reuse_delay` = 1000): a search that is later proves nothing by finding none.
const DECISIVE: Duration = Duration::from_millis(900);
/// Towards another host it may not, unless `net.ipv4.tcp_tw_reuse` is 1. A server's TIME_WAIT goes
/// with the next SYN from the same port, which comes around later than this.
const DECISIVE_ELSEWHERE: Duration = Duration::from_secs(5);

/// Pairs that may wait for a late search: half a megabyte.
const MAX_PATIENT: usize = 1 << 9;

/// Memory of a pair, which moves between the table and the spare ones while its content stays in place.
pub(super) type PairMemory = Box<DeadPair>;

/// Dead sockets that wait for evidence.
#[derive(Debug)]
pub(super) struct Pending {
    /// Each in memory of its own, so that no table of megabytes grows and goes by copies.
    pairs: Map<Pair, PairMemory>,
    burst: Burst,
    /// Empty ones, used again.
    spare: Vec<PairMemory>,
    burst_of_spare: Burst,
    /// TIME_WAITs that the search under way has found, with the time at which they were entered.
    found: Vec<(Pair, Member, Option<Duration>)>,
    /// Number of searches, the one that is under way included.
    searches: u64,
    /// Arrival of the oldest socket that was not searched for.
    unsearched_since: Option<Duration>,
    /// Finding no TIME_WAIT of some socket that was not searched for proves something for less than a
    /// second only.
    is_hurried: bool,
    /// Some socket waits only for its peer.
    is_waiting: bool,
    /// For how long a search that finds no TIME_WAIT towards another host proves that there was
    /// none.
    decisive_elsewhere: Duration,
}

impl Default for Pending {
    fn default() -> Pending {
        Pending {
            pairs: Map::default(),
            burst: Burst::default(),
            spare: Vec::new(),
            burst_of_spare: Burst::default(),
            found: Vec::new(),
            searches: 0,
            unsearched_since: None,
            is_hurried: false,
            is_waiting: false,
            decisive_elsewhere: DECISIVE_ELSEWHERE,
        }
    }
}

impl Pending {
    /// Treats TIME_WAITs towards other hosts like those on loopback (`net.ipv4.tcp_tw_reuse` is 1).
    pub(super) fn distrust_time_waits(&mut self) {
        self.decisive_elsewhere = DECISIVE;
    }

    pub(super) fn contains(&self, pair: &Pair) -> bool {
        self.pairs.contains_key(pair)
    }

    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.pairs.len() >= MAX_PENDING
    }

    pub(super) fn unsearched_since(&self) -> Option<Duration> {
        self.unsearched_since
    }

    /// Returns whether a search proves as much some seconds later: no socket that waits for it may
    /// lose its TIME_WAIT to a connect(2) by then, and there are few of them.
    pub(super) fn is_patient(&self) -> bool {
        !self.is_hurried && self.pairs.len() < MAX_PATIENT
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Number of searches so far: a socket that becomes known now can be found by a later one only.
    pub(super) fn searches(&self) -> u64 {
        self.searches
    }

    // ---- entry and exit ---------------------------------------------------------------------

    /// Takes a pair out; an empty one, if it is new.
    pub(super) fn take(&mut self, pair: &Pair) -> PairMemory {
        let known = self.pairs.remove(pair);
        known.or_else(|| self.spare.pop()).unwrap_or_default()
    }

    /// Keeps the memory of a pair that has become empty.
    pub(super) fn spare(&mut self, empty: PairMemory) {
        self.spare.push(empty);
    }

    /// Puts a pair back to which a socket was added that died at `at`.
    pub(super) fn put(&mut self, pair: Pair, dead: PairMemory, at: Duration, is_searched: bool) {
        if is_searched {
            self.is_waiting = true;
        } else {
            self.unsearched_since.get_or_insert(at);
            let ips = [pair.low.ip(), pair.high.ip()];
            self.is_hurried |= decisive(ips, self.decisive_elsewhere) <= DECISIVE;
        }
        self.pairs.insert(pair, dead);
    }

    /// Takes all pairs out, to settle them, and the memory for those that become empty.
    pub(super) fn take_all(&mut self) -> (Map<Pair, PairMemory>, Vec<PairMemory>) {
        (std::mem::take(&mut self.pairs), std::mem::take(&mut self.spare))
    }

    /// Puts those back that have to wait further, and the empty ones; `is_waiting`: one of them waits
    /// only for its peer. There were `most` pairs before.
    pub(super) fn put_all(
        &mut self,
        pairs: Map<Pair, PairMemory>,
        empty: Vec<PairMemory>,
        is_waiting: bool,
        most: usize,
    ) {
        (self.pairs, self.spare, self.is_waiting) = (pairs, empty, is_waiting);
        self.burst.shrink_table(most, &mut self.pairs);
        if let Some(needed) = self.burst_of_spare.handle_use(most, self.spare.len()) {
            self.spare.truncate(needed);
        }
    }

    // ---- search for TIME_WAITs --------------------------------------------------------------

    pub(super) fn begin_search(&mut self) {
        self.searches += 1;
    }

    /// Iterates over the sockets that a search has to find out about, the last of each address:
    /// connecting again has removed the TIME_WAITs of those before.
    pub(super) fn unsearched(&self) -> impl Iterator<Item = (&Pair, Member, &DeadSocket)> {
        self.pairs.iter().flat_map(|(pair, dead)| {
            [Member::Low, Member::High].into_iter().filter_map(move |member| {
                let last = dead.get(member).back().filter(|dead| !dead.searched)?;
                Some((pair, member, last))
            })
        })
    }

    /// Takes a TIME_WAIT, or an orphan in FIN_WAIT2, that the search under way has found on a
    /// pending pair.
    pub(super) fn handle_found(&mut self, row: &Socket, now: Duration) {
        self.found.push((Pair::of(row), Member::of(row), row.entered_time_wait(now)));
    }

    /// Ends the search. `refused`: the kernel did not keep some TIME_WAITs lately, so that finding
    /// none proves nothing.
    pub(super) fn end_search(&mut self, now: Duration, refused: bool) {
        for (pair, member, entered) in self.found.drain(..) {
            let Some(dead) = self.pairs.get_mut(&pair) else { continue };
            // A pair that was used twice: connecting again removed the older TIME_WAIT, so the one
            // that is there belongs to the last connection.
            let last = dead.get_mut(member).iter_mut().rev().find(|dead| !dead.searched);
            if let Some(dead) = last.filter(|dead| dead.fits(entered)) {
                dead.handle_search(TimeWait::Present);
            }
        }
        (self.unsearched_since, self.is_hurried) = (None, false);
        let elsewhere = self.decisive_elsewhere;
        for dead in self.pairs.values_mut().flat_map(|dead| dead.iter_mut()) {
            if dead.searched {
                continue;
            }
            if dead.known_at < self.searches {
                // The greatest age that the dead socket may have: its event may have been read late.
                let age = now.saturating_sub(dead.not_before) + dead.silent;
                let is_late = age > decisive(dead.ips(), elsewhere);
                let absent = if is_late || refused { TimeWait::Unknown } else { TimeWait::Absent };
                dead.handle_search(absent);
            } else {
                // Its event came during the search: the next one looks for it.
                let oldest = self.unsearched_since.map_or(dead.at, |oldest| oldest.min(dead.at));
                self.unsearched_since = Some(oldest);
                self.is_hurried |= decisive(dead.ips(), elsewhere) <= DECISIVE;
            }
        }
    }
}

/// Returns for how long after a death a search that finds no TIME_WAIT between these addresses
/// proves that there was none.
fn decisive(ips: [IpAddr; 2], elsewhere: Duration) -> Duration {
    if ips.iter().any(IpAddr::is_loopback) { DECISIVE } else { elsewhere }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reuse_of_time_waits_shortens_the_proof() {
        let decisive = |ips: [&str; 2], elsewhere| {
            super::decisive(ips.map(|ip| ip.parse().unwrap()), elsewhere)
        };
        let far = ["10.0.0.1", "10.0.0.5"];
        assert_eq!(decisive(far, DECISIVE_ELSEWHERE), DECISIVE_ELSEWHERE);
        assert_eq!(decisive(far, DECISIVE), DECISIVE, "tcp_tw_reuse is 1");
        for near in [["127.0.0.1", "127.0.0.9"], ["::1", "::1"]] {
            assert_eq!(decisive(near, DECISIVE_ELSEWHERE), DECISIVE);
        }
    }

    #[test]
    fn waiting_pair_takes_1100_bytes() {
        // Of the table's places at least seven in sixteen are taken.
        let size = size_of::<DeadPair>() + size_of::<(Pair, PairMemory)>() * 16 / 7;
        assert!(size <= 1_100, "{size} bytes");
    }
}
