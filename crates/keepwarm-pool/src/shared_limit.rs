//! The limit on the connections of several pools together: places, and the claims that wait for
//! one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::{Limit, Moment, Place};

/// Limit on the connections of several pools together, as decisions.
///
/// A pool whose [`Settings::shares_places`](crate::Settings::shares_places) is set asks for a place
/// before each dial and releases it after each close, so at every instant there are at most as many
/// dials and connections as places. Claims are served in the order in which they came, across all
/// pools. While a claim waits for a place, no connection is left idle: the oldest of any pool makes
/// room.
///
/// Like the pool it performs no I/O. Its driver puts claims and places in, takes [`Work`] out, and
/// feeds the results to the pools:
///
/// * [`Effect::Claim`](crate::Effect::Claim) goes to [`claim`](Self::claim),
///   [`Effect::Withdraw`](crate::Effect::Withdraw) to [`withdraw`](Self::withdraw),
///   [`Effect::Release`](crate::Effect::Release) to [`release`](Self::release), and a connection
///   that has become idle while a claim waits to [`idle_appeared`](Self::idle_appeared), in any
///   order and from any thread: a claim may be withdrawn before it has come, and after it was
///   granted;
/// * then, if [`begin_work`](Self::begin_work) says so, [`poll_work`](Self::poll_work) until it
///   returns `None`. There is one worker at a time, and none of the pools need be locked.
///
/// `K` names a claim: the pool and the [`ClaimId`](crate::ClaimId). `W` is a handle on the pool.
#[derive(Debug)]
pub struct SharedLimit<K, W> {
    limit: Limit,
    minted: u32,
    free: Vec<Place>,
    /// Claims by turn, so the first is the oldest.
    queue: BTreeMap<u64, QueuedClaim<K, W>>,
    stages: BTreeMap<K, ClaimStage>,
    next_turn: u64,
    /// Claims before this turn have been deferred.
    deferred_before: u64,
    /// A connection may have become idle since the last search for one.
    search: bool,
    working: bool,
}

#[derive(Debug)]
struct QueuedClaim<K, W> {
    key: K,
    pool: W,
    since: Moment,
}

/// Stage of a claim. A claim that has ended on both sides is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClaimStage {
    /// In the queue, at this turn.
    Queued(u64),
    /// Out of the queue, with a place; the pool may have withdrawn the claim meanwhile.
    Granted,
    /// Withdrawn before it was queued.
    Withdrawn,
}

/// One thing to do for a [`SharedLimit`].
#[derive(Debug)]
pub enum Work<K, W> {
    /// Pass this place to [`Pool::granted`](crate::Pool::granted), and its result to
    /// [`SharedLimit::granted`].
    Grant {
        /// The claim that is served.
        key: K,
        /// Its pool.
        pool: W,
        /// The place.
        place: Place,
    },
    /// Close the connection that has been idle the longest in any pool, by
    /// [`Pool::evict_oldest`](crate::Pool::evict_oldest), and pass the result to
    /// [`SharedLimit::evicted`].
    Evict,
    /// Pass this claim to [`Pool::deferred`](crate::Pool::deferred): it has to wait.
    Defer {
        /// The claim.
        key: K,
        /// Its pool.
        pool: W,
    },
}

impl<K: Ord + Copy, W: Clone> SharedLimit<K, W> {
    /// Creates a limit without claims, all of its places free.
    #[must_use]
    pub const fn new(limit: Limit) -> Self {
        Self {
            limit,
            minted: 0,
            free: Vec::new(),
            queue: BTreeMap::new(),
            stages: BTreeMap::new(),
            next_turn: 0,
            deferred_before: 0,
            search: false,
            working: false,
        }
    }

    /// Queues a claim for a place, whose waiter has waited since then.
    pub fn claim(&mut self, key: K, pool: W, since: Moment) {
        if self.stages.get(&key) == Some(&ClaimStage::Withdrawn) {
            self.stages.remove(&key);
            return;
        }
        let turn = self.next_turn;
        self.next_turn += 1;
        self.stages.insert(key, ClaimStage::Queued(turn));
        self.queue.insert(turn, QueuedClaim { key, pool, since });
        self.search = true;
    }

    /// Withdraws a claim that is not needed any more.
    pub fn withdraw(&mut self, key: K) {
        match self.stages.remove(&key) {
            Some(ClaimStage::Queued(turn)) => drop(self.queue.remove(&turn)),
            Some(_) => {}
            None => drop(self.stages.insert(key, ClaimStage::Withdrawn)),
        }
    }

    /// Takes a released place back.
    pub fn release(&mut self, place: Place) {
        self.free.push(place);
    }

    /// Notes that a connection of some pool has become idle.
    pub const fn idle_appeared(&mut self) {
        self.search = true;
    }

    /// Returns true if the caller is to [`poll_work`](Self::poll_work) now. If false, another
    /// worker is doing so, and will see all that has been put in.
    pub const fn begin_work(&mut self) -> bool {
        !core::mem::replace(&mut self.working, true)
    }

    /// Returns the next piece of work; `None` ends the work.
    pub fn poll_work(&mut self) -> Option<Work<K, W>> {
        if !self.queue.is_empty() {
            if let Some(place) = self.take_place() {
                if let Some((_, QueuedClaim { key, pool, .. })) = self.queue.pop_first() {
                    self.stages.insert(key, ClaimStage::Granted);
                    return Some(Work::Grant { key, pool, place });
                }
                self.free.push(place);
            }
            if core::mem::replace(&mut self.search, false) {
                return Some(Work::Evict);
            }
            if let Some((&turn, claim)) = self.queue.range(self.deferred_before..).next() {
                self.deferred_before = turn + 1;
                return Some(Work::Defer { key: claim.key, pool: claim.pool.clone() });
            }
        }
        self.working = false;
        None
    }

    /// Notes the result of a granted claim: accepted by its pool, or gone with it (`over`); or
    /// withdrawn, which is fed separately, before this or after it.
    pub fn granted(&mut self, key: K, over: bool) {
        if over && self.stages.get(&key) == Some(&ClaimStage::Granted) {
            self.stages.remove(&key);
        }
    }

    /// Notes if an idle connection was found and closed. If not, the next search is made when a
    /// connection has become idle, or when another claim comes.
    pub const fn evicted(&mut self, found: bool) {
        self.search |= found;
    }

    /// Returns the moment since when the oldest claim has waited; [`Moment::NEVER`] if none waits.
    #[must_use]
    pub fn oldest_claim(&self) -> Moment {
        self.queue.first_key_value().map_or(Moment::NEVER, |(_, claim)| claim.since)
    }

    /// Returns the number of claims that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Returns the number of places that pools hold, or that are on their way.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.minted as usize - self.free.len()
    }

    /// Returns true if no claim is remembered.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.stages.is_empty() && self.queue.is_empty()
    }

    fn take_place(&mut self) -> Option<Place> {
        if let Some(place) = self.free.pop() {
            return Some(place);
        }
        if !self.limit.has_room(self.minted as usize) {
            return None;
        }
        self.minted += 1;
        Some(Place { minted: () })
    }
}
