//! Idle connections, ordered by their age and by their expiry.
//!
//! This module owns both orders. It decides neither which connection is used next, nor when one
//! expires.
//!
//! The orders differ, since each connection has an expiry of its own. Age is a list linked through
//! the entries, so that any connection leaves in constant time; expiry is a heap that knows the
//! position of each entry. Entries are reused, so a connection that becomes idle again allocates
//! nothing. The newest connection usually expires last: it enters at the heap's end, and leaves
//! from there.

use alloc::vec::Vec;

use crate::{CloseReason, ConnectionId, Moment};

/// Index of no entry.
const NONE: u32 = u32::MAX;

/// The moment when an unused connection expires, and the reason of that close.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    pub(crate) moment: Moment,
    pub(crate) reason: CloseReason,
}

/// Idle connections.
#[derive(Debug)]
pub(crate) struct IdleList {
    /// Entries by the connections' indices.
    entries: Vec<IdleEntry>,
    oldest: u32,
    newest: u32,
    len: usize,
    turn: u64,
    /// Indices of the entries that expire, the first to expire at the root.
    heap: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct IdleEntry {
    connection: Option<ConnectionId>,
    since: Moment,
    expiry: Expiry,
    /// Grows with every connection that becomes idle: of two that expire at the same moment, the
    /// older goes first.
    turn: u64,
    older: u32,
    newer: u32,
    /// Position in the heap.
    position: u32,
}

impl IdleEntry {
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
        Self { entries: Vec::new(), oldest: NONE, newest: NONE, len: 0, turn: 0, heap: Vec::new() }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn newest(&self) -> Option<ConnectionId> {
        self.entries.get(self.newest as usize)?.connection
    }

    /// Returns the newest connection that passes.
    pub(crate) fn newest_where(
        &self,
        passes: impl Fn(ConnectionId) -> bool,
    ) -> Option<ConnectionId> {
        let mut next = self.newest;
        while let Some(entry) = self.entries.get(next as usize) {
            if let Some(connection) = entry.connection.filter(|connection| passes(*connection)) {
                return Some(connection);
            }
            next = entry.older;
        }
        None
    }

    /// Returns the connection that has been idle the longest, and since when.
    pub(crate) fn oldest(&self) -> Option<(ConnectionId, Moment)> {
        let entry = self.entries.get(self.oldest as usize)?;
        Some((entry.connection?, entry.since))
    }

    /// Returns the connection that expires first, if any ever does.
    pub(crate) fn first_to_expire(&self) -> Option<(ConnectionId, Expiry)> {
        let entry = &self.entries[*self.heap.first()? as usize];
        Some((entry.connection?, entry.expiry))
    }

    /// Returns all connections, the newest first.
    pub(crate) fn all(&self) -> Vec<ConnectionId> {
        let mut all = Vec::with_capacity(self.len);
        let mut next = self.newest;
        while let Some(entry) = self.entries.get(next as usize) {
            all.extend(entry.connection);
            next = entry.older;
        }
        all
    }

    /// Adds a connection as the newest.
    pub(crate) fn insert(&mut self, connection: ConnectionId, since: Moment, expiry: Expiry) {
        let index = connection.index;
        if self.entries.len() <= connection.index() {
            self.entries.resize(connection.index() + 1, IdleEntry::VACANT);
        }
        self.turn += 1;
        self.entries[connection.index()] = IdleEntry {
            connection: Some(connection),
            since,
            expiry,
            turn: self.turn,
            older: self.newest,
            ..IdleEntry::VACANT
        };
        match self.entries.get_mut(self.newest as usize) {
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

    /// Removes a connection from any position. Returns since when it was idle; `None` if it is not.
    pub(crate) fn remove(&mut self, connection: ConnectionId) -> Option<Moment> {
        let entry = *self.entries.get(connection.index())?;
        if entry.connection != Some(connection) {
            return None;
        }
        self.entries[connection.index()] = IdleEntry::VACANT;
        match self.entries.get_mut(entry.older as usize) {
            Some(older) => older.newer = entry.newer,
            None => self.oldest = entry.newer,
        }
        match self.entries.get_mut(entry.newer as usize) {
            Some(newer) => newer.older = entry.older,
            None => self.newest = entry.older,
        }
        self.len -= 1;
        if entry.position != NONE {
            let position = entry.position as usize;
            self.heap.swap_remove(position);
            if position < self.heap.len() {
                // The entry that was last is here now, and may belong nearer to the root or the
                // leaves.
                self.rise(position);
                self.sink(position);
            }
        }
        Some(entry.since)
    }

    fn key(&self, position: usize) -> (Moment, u64) {
        let entry = &self.entries[self.heap[position] as usize];
        (entry.expiry.moment, entry.turn)
    }

    /// Moves the entry at `position` towards the root, and notes its final position.
    fn rise(&mut self, mut position: usize) {
        while position > 0 && self.key(position) < self.key((position - 1) / 2) {
            let parent = (position - 1) / 2;
            self.heap.swap(position, parent);
            self.note(position);
            position = parent;
        }
        self.note(position);
    }

    /// Moves the entry at `position` towards the leaves.
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
        self.entries[self.heap[position] as usize].position = position as u32;
    }
}
