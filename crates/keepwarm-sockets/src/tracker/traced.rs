//! What tracing tells of ends, until they are booked.
//!
//! Owns the join by addresses: a life and a reset wait here for the dead end that they belong to.
//! Lives of other network namespaces find none, and are forgotten after a while. One of them that
//! had the very same pair of addresses within that time would be taken for ours.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::small_queue::SmallQueue;
use super::{DeadSocket, Tracker};
use crate::kernel::keyed_hash::Map;
use crate::kernel::socket::{Side, State};
use crate::kernel::trace::{TraceBatch, TracedSocket};
use crate::report::closes::SocketCloses;

/// Local and remote address of an end.
pub(super) type Key = (SocketAddr, SocketAddr);

/// Lives that wait, some 200 bytes each.
const MAX_LIVES: usize = 1 << 17;
/// Resets that wait.
const MAX_RESETS: usize = 1 << 14;
/// Reasons counted for one destination; the kernel has about thirty.
const MAX_REASONS: usize = 64;
/// How long they wait, at least: an end is booked some two seconds after its death at most.
const KEEP_NS: u64 = 5_000_000_000;

/// Lives and resets that nobody has claimed yet.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    lives: Generation,
    /// Those before.
    older: Generation,
    /// When the older ones were forgotten last.
    turned_ns: u64,
    /// How often the trace has been read; 0 without one.
    pub(super) readings: u64,
    /// The last reset from the first address to the second.
    resets: Map<Key, (u64, Arc<str>)>,
}

impl Unclaimed {
    fn put(&mut self, life: TracedSocket) {
        if self.lives.count >= MAX_LIVES / 2 {
            self.forget_older();
        }
        self.lives.put(life);
    }

    /// The oldest life of an end.
    fn take(&mut self, key: &Key) -> Option<TracedSocket> {
        self.older.take(key).or_else(|| self.lives.take(key))
    }

    /// The life that the next dead end with these addresses had.
    pub(super) fn life(&self, key: &Key) -> Option<&TracedSocket> {
        let line = self.older.by_key.get(key).or_else(|| self.lives.by_key.get(key));
        line.and_then(SmallQueue::front)
    }

    /// Lives that ended by an abort of their own, by what that leaves of their addresses: the local
    /// port and the remote host.
    pub(super) fn aborted(&self) -> HashMap<(u16, IpAddr), VecDeque<Key>> {
        let mut aborted: HashMap<_, VecDeque<Key>> = HashMap::new();
        let lives = self.older.by_key.keys().chain(self.lives.by_key.keys());
        for key in lives.filter(|key| self.resets.contains_key(key)) {
            aborted.entry((key.0.port(), key.1.ip())).or_default().push_back(*key);
        }
        aborted
    }

    fn forget_older(&mut self) {
        std::mem::swap(&mut self.lives, &mut self.older);
        self.lives.clear();
    }

    /// Forgets what has waited for long enough.
    fn handle_time(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.turned_ns) < KEEP_NS {
            return;
        }
        self.turned_ns = now_ns;
        self.forget_older();
        self.resets.retain(|_, (at, _)| *at + KEEP_NS >= now_ns);
    }
}

/// Lives of some time: they are forgotten together, so that nothing has to be kept of when each
/// came.
#[derive(Debug, Default)]
struct Generation {
    by_key: Map<Key, SmallQueue<TracedSocket>>,
    count: usize,
}

impl Generation {
    fn put(&mut self, life: TracedSocket) {
        self.count += 1;
        self.by_key.entry((life.local, life.remote)).or_default().push_back(life);
    }

    fn take(&mut self, key: &Key) -> Option<TracedSocket> {
        if self.count == 0 {
            return None;
        }
        let Entry::Occupied(mut line) = self.by_key.entry(*key) else { return None };
        let life = line.get_mut().pop_front();
        if line.get().is_empty() {
            line.remove();
        }
        self.count -= usize::from(life.is_some());
        life
    }

    fn clear(&mut self) {
        self.by_key.clear();
        self.count = 0;
    }
}

impl Tracker {
    /// What tracing has told since the last time; before the look that follows.
    pub(crate) fn handle_traced(&mut self, traced: &mut TraceBatch) {
        self.unclaimed.readings += 1;
        self.unclaimed.handle_time(traced.at_ns);
        for life in traced.ended.drain(..) {
            if self.concerns_pair(&life.local, &life.remote) {
                self.unclaimed.put(life);
            }
        }
        for (local, remote, reason) in traced.resets.drain(..) {
            let resets = &mut self.unclaimed.resets;
            if resets.len() < MAX_RESETS || resets.contains_key(&(local, remote)) {
                resets.insert((local, remote), (traced.at_ns, reason));
            }
        }
        for (pid, name) in traced.names.drain(..) {
            self.learn_name(pid, Some(name));
        }
    }

    /// Books what tracing knows of an end whose close has just been booked; gives its process.
    /// `before`: the destination's closes until then.
    pub(super) fn book_traced(
        &mut self,
        place: u32,
        half: &DeadSocket,
        side: Side,
        before: &SocketCloses,
    ) -> Option<u32> {
        let (local, remote) = (half.event.local, half.event.remote);
        let life = self.unclaimed.take(&(local, remote));
        let book = &mut self.books[place as usize];
        debug_assert_eq!(book.key.1, side);
        let closed = &book.closed;
        let ours = closed.local_rst + closed.undrained > before.local_rst + before.undrained;
        let reset_in = life.as_ref().and_then(|life| life.reset_in);
        let theirs = closed.remote_rst > before.remote_rst || reset_in.is_some();
        // What is left unread is answered with an RST even if a FIN was first.
        let answered = !half.disconnected && half.event.rqueue > 1 && !theirs;
        let from = if ours || answered { (local, remote) } else { (remote, local) };
        let reset = self.unclaimed.resets.get(&from).filter(|_| ours || theirs || answered);
        if let Some((_, reason)) = reset {
            count_reason(&mut book.traced.reset_reasons, reason);
            if (ours || answered) == (side == Side::Client) {
                count_reason(&mut book.traced.client_reset_reasons, reason);
            }
        }
        if reset_in == Some(State::CloseWait) {
            book.traced.reset_after_fin += 1;
        }
        let life = life?;
        if let Some(lifetime) = life.lifetime_ns {
            let ms = u32::try_from(lifetime / 1_000_000).unwrap_or(u32::MAX);
            book.traced.lifetime_ms.add(ms);
        }
        life.owner
    }
}

fn count_reason(reasons: &mut BTreeMap<String, u64>, reason: &str) {
    if let Some(count) = reasons.get_mut(reason) {
        *count += 1;
    } else if reasons.len() < MAX_REASONS {
        reasons.insert(reason.to_owned(), 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life(port: u16, ended_ns: u64) -> TracedSocket {
        let local = SocketAddr::from(([10, 0, 0, 1], port));
        let remote = SocketAddr::from(([10, 0, 0, 2], 80));
        let (owner, lifetime_ns, reset_in) = (Some(1), Some(1), None);
        TracedSocket { local, remote, owner, lifetime_ns, ended_ns, reset_in, closed_first: None }
    }

    #[test]
    fn a_pair_that_lived_twice_is_claimed_in_order_and_forgetting_spares_the_later() {
        let mut unclaimed = Unclaimed::default();
        unclaimed.put(life(1, 100));
        unclaimed.put(life(1, 200));
        let key = (life(1, 0).local, life(1, 0).remote);
        assert_eq!(unclaimed.take(&key), Some(life(1, 100)));
        unclaimed.handle_time(KEEP_NS);
        unclaimed.put(life(1, KEEP_NS + 1));
        assert_eq!(unclaimed.take(&key), Some(life(1, 200)));
        assert_eq!(unclaimed.take(&key), Some(life(1, KEEP_NS + 1)));
        assert_eq!(unclaimed.take(&key), None);
        unclaimed.put(life(1, KEEP_NS + 2));
        unclaimed.handle_time(KEEP_NS + 3);
        unclaimed.handle_time(2 * KEEP_NS);
        unclaimed.handle_time(3 * KEEP_NS);
        assert_eq!(unclaimed.take(&key), None, "it has waited for long enough");
    }

    #[test]
    fn what_nobody_claims_is_bounded_and_the_oldest_goes_first() {
        let mut unclaimed = Unclaimed::default();
        (0..2 * MAX_LIVES as u64).for_each(|n| unclaimed.put(life((n % 60_000) as u16, n)));
        assert!(unclaimed.lives.count + unclaimed.older.count <= MAX_LIVES);
        let mut left: Vec<u64> = (0..60_000)
            .flat_map(|port| {
                std::iter::from_fn({
                    let (key, unclaimed) =
                        ((life(port, 0).local, life(port, 0).remote), &mut unclaimed);
                    move || unclaimed.take(&key).map(|life| life.ended_ns)
                })
                .collect::<Vec<_>>()
            })
            .collect();
        left.sort_unstable();
        assert!(left.len() >= MAX_LIVES / 2 && left[0] >= MAX_LIVES as u64, "{}", left[0]);
    }
}
