//! Lookups of single sockets: for a few dead sockets they are far cheaper than a dump.
//!
//! Owns which sockets have to be looked up, and whether a lookup can decide at all. When lookups are
//! made in place of a dump is decided in `watch::schedule`; their result ends in `pending`, as that
//! of a dump.

use std::net::SocketAddr;
use std::time::Duration;

use super::Tracker;
use super::classify::{decides_alone, decides_together};
use super::dead::{DeadPair, DeadSocket};
use super::pair::Pair;
use crate::kernel::socket::{Side, Socket, State};
use crate::kernel::wire::diag::SocketLookup;

impl Tracker {
    /// Begins a round of lookups, one for each socket whose TIME_WAIT is missing. Returns false if a
    /// dump is needed, or if there would be more than `at_most`.
    pub(crate) fn begin_lookups(
        &mut self,
        at_most: usize,
        lookups: &mut Vec<SocketLookup>,
    ) -> bool {
        lookups.clear();
        for (pair, member, dead) in self.pending.unsearched() {
            let (local, remote) = pair.seen_from(member);
            if lookups.len() >= at_most || self.certain_side(&local, &remote).is_none() {
                return false;
            }
            let interface = dead.event.interface;
            lookups.push(SocketLookup { local, remote, interface, with_info: false });
        }
        self.pending.begin_search();
        true
    }

    /// Takes the socket that a lookup has found on a pair of addresses: a listener answers where no
    /// connection does.
    pub(crate) fn handle_found(&mut self, row: &Socket, now: Duration) {
        if row.state == State::Listen {
            self.listeners.handle(row);
        } else if row.is_minisocket() {
            self.pending.handle_found(row, now);
        }
    }

    /// Ends the round of lookups; `refused` as in [`end_dump`](Tracker::end_dump).
    pub(crate) fn end_lookups(&mut self, now: Duration, refused: bool) {
        self.pending.end_search(now, refused);
        self.settle(now, false);
    }

    /// Returns whether the events of both sockets decide how the connection was closed, so that no
    /// search for TIME_WAITs can change it.
    pub(super) fn is_decided(&self, pair: &Pair, dead: &DeadPair) -> bool {
        let (Some(low), Some(high)) = (dead.low.only(), dead.high.only()) else { return false };
        match self.certain_side(&pair.low, &pair.high) {
            Some(Side::Client) => {
                decides_together(&low.evidence(Side::Client), &high.evidence(Side::Server))
            }
            Some(Side::Server) => {
                decides_together(&high.evidence(Side::Client), &low.evidence(Side::Server))
            }
            None => false,
        }
    }

    /// Returns whether the event of one socket decides how it was closed.
    pub(super) fn is_decided_alone(&self, dead: &DeadSocket) -> bool {
        let side = self.certain_side(&dead.event.local, &dead.event.remote);
        side.is_some_and(|side| decides_alone(&dead.evidence(side)))
    }

    /// Returns the side of a socket if no later dump can change it: a service on this host has a
    /// listener, and the listener is known.
    fn certain_side(&self, local: &SocketAddr, remote: &SocketAddr) -> Option<Side> {
        let side = self.listeners.side(local, remote)?;
        let service = if side == Side::Client { remote } else { local };
        let is_certain = self.listeners.serves(service)
            || side == Side::Client && !self.addresses.contains(&service.ip());
        is_certain.then_some(side)
    }
}
