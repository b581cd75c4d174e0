//! What tracing tells of ends, until they are booked.
//!
//! Owns the join by addresses: a life and a reset wait here for the dead end that they belong to.
//! Lives of other network namespaces find none, and are forgotten after a while. One of them that
//! had the very same pair of addresses within that time would be taken for ours.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use super::{Ends, Half};
use crate::socket::{Side, State};
use crate::trace::{Life, Traced};
use crate::traffic::EndCloses;

/// Local and remote address of an end.
type Key = (SocketAddr, SocketAddr);

/// Lives that wait, some 200 bytes each, and those claimed lately: three seconds of 20,000
/// connections a second whose ends are both here.
const MAX_LIVES: usize = 1 << 17;
/// Resets that wait.
const MAX_RESETS: usize = 1 << 14;
/// Reasons counted for one destination; the kernel has about thirty.
const MAX_REASONS: usize = 64;
/// How long they wait: an end is booked some two seconds after its death at most.
const KEEP_NS: u64 = 10_000_000_000;

/// Lives and resets that nobody has claimed yet.
#[derive(Debug, Default)]
pub(super) struct Unclaimed {
    lives: HashMap<Key, VecDeque<Life>>,
    /// Every life that came, by time; some have been claimed since.
    order: VecDeque<(u64, Key)>,
    /// The last reset from the first address to the second.
    resets: HashMap<Key, (u64, String)>,
}

impl Unclaimed {
    fn put(&mut self, life: Life) {
        if self.order.len() >= MAX_LIVES {
            self.forget_oldest();
        }
        let key = (life.local, life.remote);
        self.order.push_back((life.ended_ns, key));
        self.lives.entry(key).or_default().push_back(life);
    }

    /// The oldest life of an end.
    fn take(&mut self, key: &Key) -> Option<Life> {
        let queue = self.lives.get_mut(key)?;
        let life = queue.pop_front();
        if queue.is_empty() {
            self.lives.remove(key);
        }
        life
    }

    fn forget_oldest(&mut self) {
        let Some((ended_ns, key)) = self.order.pop_front() else { return };
        // It may have been claimed, and the one that waits be a later one.
        let waits = self.lives.get(&key).and_then(VecDeque::front);
        if waits.is_some_and(|life| life.ended_ns == ended_ns) {
            self.take(&key);
        }
    }

    fn forget_before(&mut self, ns: u64) {
        while self.order.front().is_some_and(|(ended_ns, _)| *ended_ns < ns) {
            self.forget_oldest();
        }
        self.resets.retain(|_, (at, _)| *at >= ns);
    }
}

impl Ends {
    /// What tracing has told since the last time; before the look that follows.
    pub(crate) fn handle_traced(&mut self, traced: Traced) {
        self.unclaimed.forget_before(traced.at_ns.saturating_sub(KEEP_NS));
        for life in traced.ended {
            if self.concerns_pair(&life.local, &life.remote) {
                self.unclaimed.put(life);
            }
        }
        for (local, remote, reason) in traced.resets {
            let resets = &mut self.unclaimed.resets;
            if resets.len() < MAX_RESETS || resets.contains_key(&(local, remote)) {
                resets.insert((local, remote), (traced.at_ns, reason));
            }
        }
        for (pid, name) in traced.names {
            self.learn_name(pid, Some(name));
        }
    }

    /// Books what tracing knows of an end whose close has just been booked; gives its process.
    /// `before`: the destination's closes until then.
    pub(super) fn book_traced(
        &mut self,
        place: u32,
        half: &Half,
        side: Side,
        before: &EndCloses,
    ) -> Option<u32> {
        let (local, remote) = (half.event.local, half.event.remote);
        let life = self.unclaimed.take(&(local, remote));
        let book = &mut self.books[place as usize];
        debug_assert_eq!(book.key.1, side);
        let closed = &book.closed;
        let ours = closed.local_rst + closed.undrained > before.local_rst + before.undrained;
        let reset_in = life.as_ref().and_then(|life| life.reset_in);
        let theirs = closed.remote_rst > before.remote_rst || reset_in.is_some();
        let from = if ours { (local, remote) } else { (remote, local) };
        if let Some((_, reason)) = self.unclaimed.resets.get(&from).filter(|_| ours || theirs) {
            let reasons = &mut book.traced.reset_reasons;
            if reasons.len() < MAX_REASONS || reasons.contains_key(reason) {
                *reasons.entry(reason.clone()).or_default() += 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn life(port: u16, ended_ns: u64) -> Life {
        let local = SocketAddr::from(([10, 0, 0, 1], port));
        let remote = SocketAddr::from(([10, 0, 0, 2], 80));
        let (owner, lifetime_ns, reset_in) = (Some(1), Some(1), None);
        Life { local, remote, owner, lifetime_ns, ended_ns, reset_in }
    }

    #[test]
    fn a_pair_that_lived_twice_is_claimed_in_order_and_forgetting_spares_the_later() {
        let mut unclaimed = Unclaimed::default();
        unclaimed.put(life(1, 100));
        unclaimed.put(life(1, 200));
        let key = (life(1, 0).local, life(1, 0).remote);
        assert_eq!(unclaimed.take(&key), Some(life(1, 100)));
        unclaimed.forget_before(150);
        assert_eq!(unclaimed.take(&key), Some(life(1, 200)));
        assert_eq!(unclaimed.take(&key), None);
        unclaimed.forget_before(u64::MAX);
        assert!(unclaimed.lives.is_empty() && unclaimed.order.is_empty());
    }

    #[test]
    fn what_nobody_claims_is_bounded_and_the_oldest_goes_first() {
        let mut unclaimed = Unclaimed::default();
        (0..MAX_LIVES as u64 + 10).for_each(|n| unclaimed.put(life((n % 60_000) as u16, n)));
        assert_eq!(unclaimed.order.len(), MAX_LIVES);
        assert!(unclaimed.lives.values().map(VecDeque::len).sum::<usize>() <= MAX_LIVES);
    }
}
