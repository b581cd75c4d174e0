//! From ends to numbers: who closed first, and in whose book it goes.
//!
//! Owns the pairing of ends and the wait for a missing one.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::awaited::CountedAlone;
use super::dump::requests;
use super::totals::within;
use super::{DeadPair, DeadSocket, MATE_WAIT, OpenSocket, Pair, TRACE_WAIT, Tracker, Which};
use crate::kernel::socket::Side;
use crate::report::closes::CloseKind;
use crate::report::host::{HostReport, Scope};
use crate::tracker::classify::{Evidence, classify, was_established};
use crate::tracker::window::Window;

impl Tracker {
    /// Books what can be booked now; everything if `finally`.
    pub(crate) fn settle(&mut self, now: Duration, finally: bool) {
        let mut pending = std::mem::take(&mut self.pending);
        self.moves = Some(Vec::new());
        self.waiting = false;
        pending.retain(|pair, dead| {
            while self.settle_one(pair, dead, now, finally) {}
            self.waiting |= dead.low.front().or(dead.high.front()).is_some_and(|half| half.looked);
            !dead.is_empty()
        });
        if self.moves.as_ref().is_some_and(|moves| !moves.is_empty()) {
            let left = pending.values_mut().flat_map(DeadPair::halves_mut);
            for seen in left.filter_map(|half| half.seen.as_mut()) {
                seen.book = self.place_now(seen.book);
            }
        }
        self.moves = None;
        self.pending = pending;
        self.settle_strays(now, finally);
    }

    /// Books the oldest ends of a pair; false if they have to wait.
    fn settle_one(
        &mut self,
        pair: &Pair,
        dead: &mut DeadPair,
        now: Duration,
        finally: bool,
    ) -> bool {
        let ready = |end: Which| dead.get(end).front().is_some_and(|half| half.looked || finally);
        match (ready(Which::Low), ready(Which::High)) {
            (true, true) => {
                let (low, high) = (dead.low.pop_front(), dead.high.pop_front());
                self.conclude(pair, low, high, None);
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
        dead: &mut DeadPair,
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
        let earlier = if mate.is_none() { self.awaited.take(pair, end.other()) } else { None };
        let is_alone = expected && mate.is_none() && earlier.is_none();
        let half = dead.get_mut(end).pop_front();
        let alone = match end {
            Which::Low => self.conclude(pair, half, mate, earlier),
            Which::High => self.conclude(pair, mate, half, earlier),
        };
        if let Some(alone) = alone.filter(|_| is_alone) {
            self.await_peer(pair, alone);
        }
        true
    }

    /// The other end of `end`, if it aborted and so lost its name.
    fn take_stray(&mut self, pair: &Pair, end: Which) -> Option<DeadSocket> {
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
        let readings = self.unclaimed.readings;
        let mut strays = std::mem::take(&mut self.strays);
        let mut overdue = Vec::new();
        for queue in strays.values_mut() {
            while let Some(half) = queue.pop_front() {
                let waited = now.saturating_sub(half.at);
                // A trace that is read after the event has its life.
                let told = readings == 0 || readings > half.known_at_round || waited >= TRACE_WAIT;
                if finally || (told && waited >= MATE_WAIT) {
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
        // A trace has both addresses.
        let mut traced = if overdue.is_empty() { HashMap::new() } else { self.unclaimed.aborted() };
        for mut half in overdue {
            let key = (half.event.local.port(), half.event.remote.ip());
            match traced.get_mut(&key).and_then(VecDeque::pop_front) {
                Some(named) => {
                    (half.event.local, half.event.remote) = named;
                    self.conclude_traced_stray(&half);
                }
                None => self.conclude_stray(&half),
            }
        }
    }

    /// An abort whose addresses a trace has told, and that its other end did not claim.
    fn conclude_traced_stray(&mut self, half: &DeadSocket) {
        let (side, pair) = (self.side(&half.event), Pair::of(&half.event));
        let concluded = Concluded { kind: CloseKind::rst(side), idle: None, mate: None };
        let alone = self.book(side, half, &concluded);
        if let Some(alone) = alone.filter(|_| self.is_here(&half.event.remote.ip())) {
            self.await_peer(&pair, alone);
        }
    }

    fn conclude_stray(&mut self, half: &DeadSocket) {
        let (local, host) = (half.event.local, half.event.remote.ip());
        // A server's port is its own; a client's destination is known if there is just one.
        let of_server = |service: &SocketAddr, side: Side| {
            side == Side::Server && service.port() == local.port()
        };
        let of_client = |service: &SocketAddr, side: Side| {
            side == Side::Client && service.ip() == host && service.port() != 0
        };
        let serves = self.listeners.serves(&local) || self.scope.port == Some(local.port());
        let is_here = host == local.ip() || self.is_here(&host);
        // Of a service on this host the other end would have told; and with a filter, the one
        // destination that fits is only the one that is looked at.
        if !serves && (self.scope != Scope::default() || is_here) {
            self.unattributed_aborts += 1;
            return;
        }
        let mut fitting = (0_u32..).zip(&self.books).filter_map(|(place, book)| {
            let (Some(service), side) = book.key else { return None };
            let fits = if serves { of_server(&service, side) } else { of_client(&service, side) };
            fits.then_some(place)
        });
        let place = match (fitting.next(), fitting.next()) {
            (Some(place), None) => place,
            // The first of a service, or of several addresses: one that listens on every address
            // does not say at which, and is counted at the unspecified one.
            _ if serves => self.book_of(local, Side::Server),
            _ => {
                self.unattributed_aborts += 1;
                return;
            }
        };
        let book = &mut self.books[place as usize];
        book.closed.local_rst += 1;
        book.sightings.closed_unseen();
        if serves && is_here {
            self.await_client_of_abort(local.port(), host, place);
        } else if serves {
            book.server_only.closed.local_rst += 1;
        }
    }

    /// Both ends of one connection, or the one that is known, beside what is known of an end that
    /// was booked `earlier`. Gives what was booked last, for the case that it was alone.
    pub(super) fn conclude(
        &mut self,
        pair: &Pair,
        low: Option<DeadSocket>,
        high: Option<DeadSocket>,
        earlier: Option<CountedAlone>,
    ) -> Option<CountedAlone> {
        let ends = [(Which::Low, low), (Which::High, high)].map(|(end, half)| {
            half.map(|mut half| {
                (half.event.local, half.event.remote) = pair.seen_from(end);
                half
            })
        });
        let [low, high] = &ends;
        // What the baseline was taken for it stays. Others are looked at again: the look that met
        // one may have been past the listeners when its listener came.
        let side = None
            .or_else(|| self.side_at_start(low.as_ref()?))
            .or_else(|| self.side_at_start(high.as_ref()?).map(Side::other))
            .or_else(|| Some(self.side(&low.as_ref()?.event)))
            .or_else(|| Some(self.side(&high.as_ref()?.event).other()));
        let side = side?;
        let evidence = |end: &Option<DeadSocket>, side: Side| match end {
            Some(half) => Some(self.evidence(half, side)),
            None => earlier.filter(|earlier| earlier.side == side).map(|earlier| earlier.evidence),
        };
        let (low_evidence, high_evidence) = (evidence(low, side), evidence(high, side.other()));
        let kind = match side {
            Side::Client => classify(low_evidence.as_ref(), high_evidence.as_ref()),
            Side::Server => classify(high_evidence.as_ref(), low_evidence.as_ref()),
        };
        // Of a program that closes late, the other end knows better how long nothing was said.
        let idle = [low, high].into_iter().flatten().filter_map(DeadSocket::idle_ms).min();
        let mut booked = None;
        for (end, mate, side) in [(low, high, side), (high, low, side.other())] {
            let Some(half) = end else { continue };
            let mate = match mate {
                Some(mate) => Some(mate.requests_in_window(side.other())),
                None => earlier.map(|earlier| earlier.requests),
            };
            booked = self.book(side, half, &Concluded { kind, idle, mate });
        }
        booked
    }

    /// What is known of an end; of a traced one, more.
    fn evidence(&self, half: &DeadSocket, side: Side) -> Evidence {
        let mut evidence = half.evidence(side);
        if let Some(life) = self.unclaimed.life(&(half.event.local, half.event.remote)) {
            evidence.fin_seen |= life.closed_first == Some(false);
            evidence.closed_first = life.closed_first;
            evidence.reset = Some(life.reset_in.is_some());
        }
        evidence
    }

    fn side_at_start(&self, half: &DeadSocket) -> Option<Side> {
        let seen = half.seen.filter(|seen| seen.at_start)?;
        Some(self.books[self.place_now(seen.book) as usize].key.1)
    }

    /// The book that an end was put in when it was seen alive, if it still belongs there.
    fn place_of(&self, seen: &OpenSocket, service: SocketAddr, side: Side) -> Option<u32> {
        let place = self.place_now(seen.book);
        let (named, of) = self.books[place as usize].key;
        let here = seen.at_start || named.is_none_or(|named| named == service);
        (of == side && here).then_some(place)
    }

    fn book(
        &mut self,
        side: Side,
        half: &DeadSocket,
        concluded: &Concluded,
    ) -> Option<CountedAlone> {
        let Concluded { kind, idle, mate } = *concluded;
        let evidence = self.evidence(half, side);
        let service = if side == Side::Client { half.event.remote } else { half.event.local };
        if !half.disconnected && !was_established(side, &half.event) {
            let place = self.book_of(service, side);
            self.books[place as usize].connect_failed += 1;
            return None;
        }
        // An abort clears its own end's numbers; the other end kept them.
        let requests = half.requests_in_window(side).or(mate.flatten());
        let is_here = mate.is_some() || self.is_here(&half.event.remote.ip());
        let at_start = half.seen.filter(|seen| seen.at_start);
        let server_only =
            side == Side::Server && at_start.map_or(!is_here, |seen| seen.server_only);
        let place = half.seen.and_then(|seen| self.place_of(&seen, service, side));
        let place = place.unwrap_or_else(|| self.book_of(service, side));
        let book = &mut self.books[place as usize];
        let unread = !half.disconnected && half.event.rqueue > 1;
        let before = book.closed;
        book.closed.add(side, kind, unread);
        if let Some(idle) = idle {
            if book.closed.local() > before.local() {
                book.idle_local.add(idle);
            } else if book.closed.remote() > before.remote() {
                book.idle_remote.add(idle);
            }
        }
        let traced = self.book_traced(place, half, side, &before);
        let book = &mut self.books[place as usize];
        match (traced, half.seen.and_then(|seen| seen.pid.get())) {
            (Some(pid), _) => book.sightings.traced(pid),
            (None, Some(pid)) => book.sightings.closed(pid),
            (None, None) => book.sightings.closed_unseen(),
        }
        requests.into_iter().for_each(|requests| book.requests.add(requests));
        if server_only {
            book.server_only.closed.add(side, kind, unread);
            requests.into_iter().for_each(|requests| book.server_only.requests.add(requests));
        }
        if !half.disconnected {
            let received = half.event.info.and_then(|info| info.bytes_received);
            book.received.add(u32::try_from(received.unwrap_or(0)).unwrap_or(u32::MAX));
        }
        let (which, at_start) = (Which::of(&half.event), at_start.is_some());
        Some(CountedAlone { which, side, evidence, kind, unread, requests, at_start, book: place })
    }

    pub(super) fn book_unclassified(&mut self, half: &DeadSocket) {
        let side = self.side_at_start(half).unwrap_or_else(|| self.side(&half.event));
        let concluded = Concluded { kind: CloseKind::Unclassified, idle: None, mate: None };
        self.book(side, half, &concluded);
    }

    /// The traffic at the end of the window.
    pub(crate) fn finish(mut self, window: &Window) -> HostReport {
        self.settle(window.now, true);
        self.bury_the_vanished();
        self.count_unseen_clients();
        self.report(window)
    }

    /// Connections of the baseline that are neither alive nor had an event: over, with their file
    /// still open in some program, or their event was lost.
    fn bury_the_vanished(&mut self) {
        let looks = self.last_stock;
        let vanished = |alive: &&OpenSocket| alive.seen < looks && alive.at_start;
        let vanished: Vec<OpenSocket> = self.alive.values().filter(vanished).copied().collect();
        for alive in vanished {
            let server = self.server_of(&alive);
            let book = &mut self.books[alive.book as usize];
            let kind = server.map_or(CloseKind::Unclassified, |server| server.kind);
            book.closed.add(book.key.1, kind, false);
            book.sightings.closed_unseen();
            if alive.server_only {
                book.server_only.closed.unclassified += 1;
            }
        }
    }

    /// The server's socket of a client's, if that has died already.
    fn server_of(&mut self, client: &OpenSocket) -> Option<CountedAlone> {
        let (Some(service), Side::Client) = self.books[client.book as usize].key else {
            return None;
        };
        let (local, _) = self.trace_of(client)?;
        let pair = Pair::between(local, service);
        self.awaited.take(&pair, Which::at(&service, &local))
    }
}

/// What was found of a connection that is over.
#[derive(Debug)]
struct Concluded {
    kind: CloseKind,
    idle: Option<u32>,
    /// The other end is known, perhaps with its requests.
    mate: Option<Option<u32>>,
}

impl DeadSocket {
    /// Requests within the window, as this end counted them.
    fn requests_in_window(&self, side: Side) -> Option<u32> {
        let requests = requests(side, &self.event).filter(|_| !self.disconnected)?;
        within(Some(requests), self.seen.and_then(|seen| seen.start()))
    }

    pub(super) fn evidence(&self, side: Side) -> Evidence {
        let mut evidence = Evidence::of(side, &self.event);
        evidence.disconnected = self.disconnected;
        if evidence.disconnected {
            evidence.fin_acked = Some(false);
            (evidence.sent, evidence.received) = (None, None);
            (evidence.fin_sent, evidence.unanswered) = (false, false);
        }
        evidence.fin_seen = self.seen.is_some_and(|seen| seen.idle_at_fin_ms.get().is_some());
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
