//! The limit on the connections of several pools together: places, and who waits for one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::{Limit, Moment, Place};

/// Places for connections, shared by several pools, as decisions.
///
/// A pool whose [`Settings::shares_places`](crate::Settings::shares_places) is set asks for a place
/// before each dial and gives it back after each close, so at every instant there are at most as many
/// dials and connections as places. Claims are served in the order in which they came, whichever pool
/// they are of. While somebody waits for a place, no connection is left idle: the oldest of any pool
/// makes room.
///
/// Like the pool it performs nothing. Whoever drives it puts claims and places in, takes
/// [`Work`] out, and feeds what comes of it to the pools:
///
/// * [`Effect::Claim`](crate::Effect::Claim) goes to [`claim`](Self::claim),
///   [`Effect::Withdraw`](crate::Effect::Withdraw) to [`withdraw`](Self::withdraw),
///   [`Effect::Release`](crate::Effect::Release) to [`release`](Self::release), and a connection that
///   has become idle while somebody waits to [`idle_appeared`](Self::idle_appeared), in any order and
///   from any thread: a claim may be withdrawn before it has come, and after it was granted;
/// * then, if [`begin_work`](Self::begin_work) says so, [`poll_work`](Self::poll_work) until it
///   returns `None`. There is one worker at a time, and none of the pools need be locked.
///
/// `K` names a claim: the pool and the [`ClaimId`](crate::ClaimId). `W` is whatever leads to the pool.
#[derive(Debug)]
pub struct Budget<K, W> {
    limit: Limit,
    minted: u32,
    free: Vec<Place>,
    /// By turn, so the first is the oldest.
    queue: BTreeMap<u64, Claim<K, W>>,
    stages: BTreeMap<K, Stage>,
    next_turn: u64,
    /// Claims before this turn have been told to wait.
    deferred_before: u64,
    /// Whether something may be idle that was not when it was last looked for.
    search: bool,
    working: bool,
}

#[derive(Debug)]
struct Claim<K, W> {
    key: K,
    pool: W,
    since: Moment,
}

/// How far a claim is. One that has ended on both sides is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It stands in the queue, at this turn.
    Queued(u64),
    /// It has left the queue with a place; the pool may have withdrawn it meanwhile.
    Granted,
    /// It was withdrawn and has not come yet.
    Void,
}

/// One thing to do for a [`Budget`].
#[derive(Debug)]
pub enum Work<K, W> {
    /// Give this place to [`Pool::granted`](crate::Pool::granted), and tell
    /// [`Budget::settle`] what it said.
    Grant {
        /// The claim that is served.
        key: K,
        /// Its pool.
        pool: W,
        /// The place.
        place: Place,
    },
    /// Close the connection that has been idle the longest in any pool, by
    /// [`Pool::evict_oldest`](crate::Pool::evict_oldest), and tell [`Budget::evicted`] whether there
    /// was one.
    Evict,
    /// Tell [`Pool::deferred`](crate::Pool::deferred) that this claim has to wait.
    Defer {
        /// The claim.
        key: K,
        /// Its pool.
        pool: W,
    },
}

impl<K: Ord + Copy, W: Clone> Budget<K, W> {
    /// As many places as the limit says.
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

    /// Somebody asks for a place, and has waited since then.
    pub fn claim(&mut self, key: K, pool: W, since: Moment) {
        if self.stages.get(&key) == Some(&Stage::Void) {
            self.stages.remove(&key);
            return;
        }
        let turn = self.next_turn;
        self.next_turn += 1;
        self.stages.insert(key, Stage::Queued(turn));
        self.queue.insert(turn, Claim { key, pool, since });
        self.search = true;
    }

    /// A claim is not needed any more.
    pub fn withdraw(&mut self, key: K) {
        match self.stages.remove(&key) {
            Some(Stage::Queued(turn)) => drop(self.queue.remove(&turn)),
            Some(_) => {}
            None => drop(self.stages.insert(key, Stage::Void)),
        }
    }

    /// A place comes back.
    pub fn release(&mut self, place: Place) {
        self.free.push(place);
    }

    /// A connection of some pool has become idle.
    pub const fn idle_appeared(&mut self) {
        self.search = true;
    }

    /// Whether to [`poll_work`](Self::poll_work) now. If not, somebody else is at it, and will see
    /// what has been put in.
    pub const fn begin_work(&mut self) -> bool {
        !core::mem::replace(&mut self.working, true)
    }

    /// The next thing to do; `None` ends the work.
    pub fn poll_work(&mut self) -> Option<Work<K, W>> {
        if !self.queue.is_empty() {
            if let Some(place) = self.take_place() {
                if let Some((_, Claim { key, pool, .. })) = self.queue.pop_first() {
                    self.stages.insert(key, Stage::Granted);
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

    /// A granted claim was accepted by its pool, or is gone with it (`over`); or it was withdrawn: that
    /// is heard of separately, before this or after it.
    pub fn settle(&mut self, key: K, over: bool) {
        if over && self.stages.get(&key) == Some(&Stage::Granted) {
            self.stages.remove(&key);
        }
    }

    /// Whether an idle connection was found, and closed. If not, it is looked for again when one has
    /// become idle, or when somebody else asks for a place.
    pub const fn evicted(&mut self, found: bool) {
        self.search |= found;
    }

    /// Since when the oldest claim has waited; [`Moment::NEVER`] if nobody waits.
    #[must_use]
    pub fn elder(&self) -> Moment {
        self.queue.first_key_value().map_or(Moment::NEVER, |(_, claim)| claim.since)
    }

    /// Claims that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Places that pools hold, or that are on their way.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.minted as usize - self.free.len()
    }

    /// Whether nothing is remembered of any claim.
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
