//! From ends to numbers: who closed first, and in whose book it goes.
//!
//! Owns the pairing of ends and the wait for a missing one.

use std::net::SocketAddr;
use std::time::Duration;

use super::look::requests;
use super::{Dead, Ends, Half, MATE_WAIT, Pair, Which};
use crate::classify::{CloseKind, Evidence, classify, was_established};
use crate::socket::Side;
use crate::traffic::{Scope, Traffic};
use crate::watcher::Ending;

impl Ends {
    /// Books what can be booked now; everything if `finally`.
    pub(crate) fn settle(&mut self, now: Duration, finally: bool) {
        let mut pending = std::mem::take(&mut self.pending);
        self.waiting = false;
        pending.retain(|pair, dead| {
            while self.settle_one(pair, dead, now, finally) {}
            self.waiting |= dead.low.front().or(dead.high.front()).is_some_and(|half| half.looked);
            !dead.is_empty()
        });
        self.pending = pending;
        self.settle_strays(now, finally);
    }

    /// Books the oldest ends of a pair; false if they have to wait.
    fn settle_one(&mut self, pair: &Pair, dead: &mut Dead, now: Duration, finally: bool) -> bool {
        let ready = |end: Which| dead.get(end).front().is_some_and(|half| half.looked || finally);
        match (ready(Which::Low), ready(Which::High)) {
            (true, true) => {
                let (low, high) = (dead.low.pop_front(), dead.high.pop_front());
                self.conclude(pair, low, high);
            }
            (true, false) => return self.settle_lone(pair, dead, Which::Low, now, finally),
            (false, true) => return self.settle_lone(pair, dead, Which::High, now, finally),
            (false, false) => return false,
        }
        true
    }

    fn settle_lone(
        &mut self,
        pair: &Pair,
        dead: &mut Dead,
        end: Which,
        now: Duration,
        finally: bool,
    ) -> bool {
        let (_, remote) = pair.seen_from(end);
        let Some(half) = dead.get(end).front() else { return false };
        // The mate is dead too and only waits for its look, or it may be a stray.
        let expected = !dead.get(end.other()).is_empty() || self.is_here(&remote.ip());
        let mate = self.take_stray(pair, end);
        if expected && mate.is_none() && !finally && now.saturating_sub(half.at) < MATE_WAIT {
            return false;
        }
        let half = dead.get_mut(end).pop_front();
        match end {
            Which::Low => self.conclude(pair, half, mate),
            Which::High => self.conclude(pair, mate, half),
        }
        true
    }

    /// The other end of `end`, if it aborted and so lost its name.
    fn take_stray(&mut self, pair: &Pair, end: Which) -> Option<Half> {
        let (local, remote) = pair.seen_from(end);
        let key = (remote.port(), local.ip());
        let queue = self.strays.get_mut(&key)?;
        let half = queue.pop_front();
        if queue.is_empty() {
            self.strays.remove(&key);
        }
        self.stray_count -= usize::from(half.is_some());
        half
    }

    /// Aborts that the other end does not claim: of a destination elsewhere, or the other end has
    /// not died.
    fn settle_strays(&mut self, now: Duration, finally: bool) {
        if self.stray_count == 0 {
            return;
        }
        let mut strays = std::mem::take(&mut self.strays);
        let mut overdue = Vec::new();
        for queue in strays.values_mut() {
            while let Some(half) = queue.pop_front() {
                if finally || now.saturating_sub(half.at) >= MATE_WAIT {
                    overdue.push(half);
                } else {
                    queue.push_front(half);
                    break;
                }
            }
        }
        strays.retain(|_, queue| !queue.is_empty());
        self.strays = strays;
        self.stray_count -= overdue.len();
        overdue.into_iter().for_each(|half| self.conclude_stray(&half));
    }

    fn conclude_stray(&mut self, half: &Half) {
        let (local, host) = (half.event.local, half.event.remote.ip());
        // A server's port is its own; a client's destination is known if there is just one.
        let of_server = |service: &SocketAddr, side: Side| {
            side == Side::Server && service.port() == local.port()
        };
        let of_client = |service: &SocketAddr, side: Side| {
            side == Side::Client && service.ip() == host && service.port() != 0
        };
        let serves = self.listeners.serves(&local);
        // Of a service on this host the other end would have told; and with a filter, the one
        // destination that fits is only the one that is looked at.
        if !serves && (self.scope != Scope::default() || self.is_here(&host)) {
            self.unattributed_aborts += 1;
            return;
        }
        let mut fitting = self.books.iter_mut().filter(|book| {
            let (Some(service), side) = book.key else { return false };
            if serves { of_server(&service, side) } else { of_client(&service, side) }
        });
        match (fitting.next(), fitting.next()) {
            (Some(book), None) => {
                book.closed.local_rst += 1;
                book.sightings.closed_unseen();
            }
            _ => self.unattributed_aborts += 1,
        }
    }

    /// Both ends of one connection, or the one that is known.
    pub(super) fn conclude(&mut self, pair: &Pair, low: Option<Half>, high: Option<Half>) {
        let ends = [(Which::Low, low), (Which::High, high)].map(|(end, half)| {
            let half = half.map(|mut half| {
                (half.event.local, half.event.remote) = pair.seen_from(end);
                half
            });
            half.map(|half| (self.booked_side(&half), half))
        });
        let [low, high] = &ends;
        // Sides are told apart by ports alone, so both ends of a pair cannot be the same.
        let side = match (low, high) {
            // What was only guessed now gives way to what the other end has been counted as.
            (Some((_, low)), Some((side, high))) if low.seen.is_none() && high.seen.is_some() => {
                side.other()
            }
            (Some((side, _)), _) => *side,
            (None, Some((side, _))) => side.other(),
            (None, None) => return,
        };
        let evidence = |end: &Option<(Side, Half)>, side: Side| {
            end.as_ref().map(|(_, half)| half.evidence(side))
        };
        let (low_evidence, high_evidence) = (evidence(low, side), evidence(high, side.other()));
        let kind = match side {
            Side::Client => classify(low_evidence.as_ref(), high_evidence.as_ref()),
            Side::Server => classify(high_evidence.as_ref(), low_evidence.as_ref()),
        };
        // Of a program that closes late, the other end knows better how long nothing was said.
        let idle = [low, high].into_iter().flatten().filter_map(|(_, half)| half.idle_ms()).min();
        let sides = [side, side.other()];
        for (end, side) in ends.into_iter().zip(sides) {
            if let Some((_, half)) = end {
                self.book(side, &half, kind, idle);
            }
        }
    }

    /// The side of an end: that of the book in which it has been counted alive, whatever has been
    /// learned of listeners since.
    fn booked_side(&self, half: &Half) -> Side {
        half.seen
            .map_or_else(|| self.side(&half.event), |seen| self.books[seen.book as usize].key.1)
    }

    fn book(&mut self, side: Side, half: &Half, kind: CloseKind, idle: Option<u32>) {
        let service = if side == Side::Client { half.event.remote } else { half.event.local };
        if !half.disconnected && !was_established(side, &half.event) {
            let place = self.book_of(service, side);
            self.books[place as usize].connect_failed += 1;
            return;
        }
        let place = match half.seen {
            Some(seen) => seen.book,
            None => self.book_of(service, side),
        };
        let book = &mut self.books[place as usize];
        // Of two ends that were counted as the same side, both stay where they were.
        let side = book.key.1;
        let unread = !half.disconnected && half.event.rqueue > 1;
        let before = book.closed;
        book.closed.add(side, kind, unread);
        if let Some(idle) = idle {
            let ours = book.closed.local() > before.local();
            (if ours { &mut book.idle_local } else { &mut book.idle_remote }).add(idle);
        }
        let traced = self.book_traced(place, half, side, &before);
        let book = &mut self.books[place as usize];
        match (traced, half.seen.and_then(|seen| seen.pid.get())) {
            (Some(pid), _) => book.sightings.traced(pid),
            (None, Some(pid)) => book.sightings.closed(pid),
            (None, None) => book.sightings.closed_unseen(),
        }
        if half.disconnected {
            return;
        }
        if let Some(requests) = requests(side, &half.event) {
            book.count_requests(requests, half.seen.and_then(|seen| seen.start()));
        }
        let received = half.event.info.and_then(|info| info.bytes_received);
        book.received.add(u32::try_from(received.unwrap_or(0)).unwrap_or(u32::MAX));
    }

    pub(super) fn book_unclassified(&mut self, half: &Half) {
        let side = self.booked_side(half);
        self.book(side, half, CloseKind::Unclassified, None);
    }

    /// The traffic at the end of the window.
    pub(crate) fn finish(mut self, ending: &Ending) -> Traffic {
        self.bury_the_vanished();
        self.settle(ending.now, true);
        self.traffic(ending)
    }

    /// Connections of the baseline that are neither alive nor had an event: over, with their file
    /// still open in some program, or their event was lost.
    fn bury_the_vanished(&mut self) {
        let looks = self.last_stock;
        for alive in self.alive.values().filter(|alive| alive.seen < looks) {
            if alive.at_start {
                let book = &mut self.books[alive.book as usize];
                book.closed.unclassified += 1;
                book.sightings.closed_unseen();
            }
        }
    }
}

impl Half {
    pub(super) fn evidence(&self, side: Side) -> Evidence {
        let mut evidence = Evidence::of(side, &self.event);
        evidence.disconnected = self.disconnected;
        if evidence.disconnected {
            evidence.fin_acked = Some(false);
            (evidence.sent, evidence.received) = (None, None);
        }
        evidence.time_wait = self.time_wait;
        evidence
    }

    /// How long nothing had been said when the connection was closed.
    fn idle_ms(&self) -> Option<u32> {
        if let Some(idle) = self.seen.and_then(|seen| seen.idle_at_fin_ms.get()) {
            return Some(idle);
        }
        let info = self.event.info.filter(|_| !self.disconnected)?;
        info.last_data_recv_ms.into_iter().chain(info.last_data_sent_ms).min()
    }
}
