//! The connections that nobody uses: in the order of their age, and in the order of their expiry.
//!
//! This module owns both orders. It decides nothing: not who is used next, nor when one expires.
//!
//! The orders differ, since each connection has an expiry of its own. Age is a list through the
//! places, so that any connection leaves at once; expiry is a heap that knows where each place is.
//! Places are reused, so a connection that comes back to rest allocates nothing. The newest usually
//! expires last: it comes to rest at the heap's end, and leaves from there.

use alloc::vec::Vec;

use crate::{CloseReason, ConnectionId, Moment};

/// No place.
const NONE: u32 = u32::MAX;

/// When a connection expires if nobody uses it before, and what that is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    pub(crate) moment: Moment,
    pub(crate) reason: CloseReason,
}

/// Idle connections.
#[derive(Debug)]
pub(crate) struct IdleList {
    /// By the connections' indices.
    places: Vec<Place>,
    oldest: u32,
    newest: u32,
    len: usize,
    turn: u64,
    /// Indices of those that expire, the first to expire at the root.
    heap: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    connection: Option<ConnectionId>,
    since: Moment,
    expiry: Expiry,
    /// Grows with every connection that comes to rest: of two that expire at once, the older goes
    /// first.
    turn: u64,
    older: u32,
    newer: u32,
    /// Where in the heap.
    position: u32,
}

impl Place {
    const VACANT: Self = Self {
        connection: None,
        since: Moment::ZERO,
        expiry: Expiry { moment: Moment::NEVER, reason: CloseReason::IdleTimeout },
        turn: 0,
        older: NONE,
        newer: NONE,
        position: NONE,
    };
}

impl IdleList {
    pub(crate) const fn new() -> Self {
        Self { places: Vec::new(), oldest: NONE, newest: NONE, len: 0, turn: 0, heap: Vec::new() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn newest(&self) -> Option<ConnectionId> {
        self.places.get(self.newest as usize)?.connection
    }

    /// The connection that has been idle the longest, and since when.
    pub(crate) fn oldest(&self) -> Option<(ConnectionId, Moment)> {
        let place = self.places.get(self.oldest as usize)?;
        Some((place.connection?, place.since))
    }

    /// The connection that expires first, if any ever does.
    pub(crate) fn first_to_expire(&self) -> Option<(ConnectionId, Expiry)> {
        let place = &self.places[*self.heap.first()? as usize];
        Some((place.connection?, place.expiry))
    }

    /// A connection comes to rest, as the newest.
    pub(crate) fn insert(&mut self, connection: ConnectionId, since: Moment, expiry: Expiry) {
        let index = connection.index;
        if self.places.len() <= connection.index() {
            self.places.resize(connection.index() + 1, Place::VACANT);
        }
        self.turn += 1;
        self.places[connection.index()] = Place {
            connection: Some(connection),
            since,
            expiry,
            turn: self.turn,
            older: self.newest,
            ..Place::VACANT
        };
        match self.places.get_mut(self.newest as usize) {
            Some(before) => before.newer = index,
            None => self.oldest = index,
        }
        self.newest = index;
        self.len += 1;
        if !expiry.moment.is_never() {
            self.heap.push(index);
            self.rise(self.heap.len() - 1);
        }
    }

    /// A connection leaves, wherever it stands. Returns since when it was idle; `None` if it is not.
    pub(crate) fn remove(&mut self, connection: ConnectionId) -> Option<Moment> {
        let place = *self.places.get(connection.index())?;
        if place.connection != Some(connection) {
            return None;
        }
        self.places[connection.index()] = Place::VACANT;
        match self.places.get_mut(place.older as usize) {
            Some(older) => older.newer = place.newer,
            None => self.oldest = place.newer,
        }
        match self.places.get_mut(place.newer as usize) {
            Some(newer) => newer.older = place.older,
            None => self.newest = place.older,
        }
        self.len -= 1;
        if place.position != NONE {
            let position = place.position as usize;
            self.heap.swap_remove(position);
            if position < self.heap.len() {
                // What was last stands here now, and may belong nearer to the root or to the leaves.
                self.rise(position);
                self.sink(position);
            }
        }
        Some(place.since)
    }

    fn key(&self, position: usize) -> (Moment, u64) {
        let place = &self.places[self.heap[position] as usize];
        (place.expiry.moment, place.turn)
    }

    /// Moves what stands there towards the root, and notes where it stands in the end.
    fn rise(&mut self, mut position: usize) {
        while position > 0 && self.key(position) < self.key((position - 1) / 2) {
            let parent = (position - 1) / 2;
            self.heap.swap(position, parent);
            self.note(position);
            position = parent;
        }
        self.note(position);
    }

    /// Moves what stands there towards the leaves.
    fn sink(&mut self, mut position: usize) {
        loop {
            let children = 2 * position + 1..(2 * position + 3).min(self.heap.len());
            let Some(child) = children.min_by_key(|child| self.key(*child)) else {
                return;
            };
            if self.key(position) <= self.key(child) {
                return;
            }
            self.heap.swap(position, child);
            self.note(position);
            self.note(child);
            position = child;
        }
    }

    fn note(&mut self, position: usize) {
        self.places[self.heap[position] as usize].position = position as u32;
    }
}
