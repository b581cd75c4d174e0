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

/// Pairs of addresses that wait. 1,000 bytes each.
pub(super) const MAX_PENDING: usize = 1 << 17;

/// On loopback a client's TIME_WAIT may be reused after 1 s (`net.ipv4.tcp_tw_reuse` = 2 and
/// `tcp_tw_reuse_delay` = 1000): a search that is later proves nothing by finding none.
const DECISIVE: Duration = Duration::from_millis(900);
/// Towards another host it may not, unless `net.ipv4.tcp_tw_reuse` is 1. A server's TIME_WAIT goes
/// with the next SYN from the same port, which comes around later than this.
const DECISIVE_ELSEWHERE: Duration = Duration::from_secs(5);

/// Dead sockets that wait for evidence.
#[derive(Debug)]
pub(super) struct Pending {
    pairs: Map<Pair, DeadPair>,
    burst: Burst,
    /// TIME_WAITs that the search under way has found, with the time at which they were entered.
    found: Vec<(Pair, Member, Option<Duration>)>,
    /// Number of searches, the one that is under way included.
    searches: u64,
    /// Arrival of the oldest socket that was not searched for.
    unsearched_since: Option<Duration>,
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
            found: Vec::new(),
            searches: 0,
            unsearched_since: None,
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

    pub(super) fn is_full(&self) -> bool {
        self.pairs.len() >= MAX_PENDING
    }

    pub(super) fn unsearched_since(&self) -> Option<Duration> {
        self.unsearched_since
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Number of searches so far: a socket that becomes known now can be found by a later one only.
    pub(super) fn searches(&self) -> u64 {
        self.searches
    }

    // ---- entry and exit ---------------------------------------------------------------------

    pub(super) fn take(&mut self, pair: &Pair) -> Option<DeadPair> {
        self.pairs.remove(pair)
    }

    /// Puts a pair back to which a socket was added that died at `at`.
    pub(super) fn put(&mut self, pair: Pair, dead: DeadPair, at: Duration, is_searched: bool) {
        if is_searched {
            self.is_waiting = true;
        } else if self.unsearched_since.is_none() {
            self.unsearched_since = Some(at);
        }
        self.pairs.insert(pair, dead);
    }

    /// Takes all pairs out, to settle them.
    pub(super) fn take_all(&mut self) -> Map<Pair, DeadPair> {
        std::mem::take(&mut self.pairs)
    }

    /// Puts those back that have to wait further; `is_waiting`: one of them only for its peer.
    /// There were `most` pairs before.
    pub(super) fn put_all(&mut self, pairs: Map<Pair, DeadPair>, is_waiting: bool, most: usize) {
        self.is_waiting = is_waiting;
        self.pairs = pairs;
        self.burst.shrink_table(most, &mut self.pairs);
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
        self.unsearched_since = None;
        let elsewhere = self.decisive_elsewhere;
        for dead in self.pairs.values_mut().flat_map(DeadPair::iter_mut) {
            if dead.searched {
                continue;
            }
            if dead.known_at < self.searches {
                // Its oldest possible age: an event that was read late is older than it looks.
                let age = now.saturating_sub(dead.not_before) + dead.silent;
                let is_late = age > decisive(dead.ips(), elsewhere);
                let absent = if is_late || refused { TimeWait::Unknown } else { TimeWait::Absent };
                dead.handle_search(absent);
            } else {
                // Its event came during the search: the next one looks for it.
                let oldest = self.unsearched_since.map_or(dead.at, |oldest| oldest.min(dead.at));
                self.unsearched_since = Some(oldest);
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
    fn waiting_pair_takes_1000_bytes() {
        let size = size_of::<(Pair, DeadPair)>();
        assert!(size <= 1000, "{size} bytes");
    }
}
