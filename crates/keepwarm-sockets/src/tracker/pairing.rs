//! From dead sockets to counted closes.
//!
//! Owns the pairing of the two sockets of a connection, the wait for a missing one, and where a close
//! is counted. How a pair was closed is decided in `classify`.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::Tracker;
use super::awaited_peers::{CountedAlone, CountedAtServer};
use super::classify::{
    Evidence, TimeWait, classify, entered_time_wait, rests_on_absence, shows_order, was_established,
};
use super::dead::{Asked, DeadPair, DeadSocket};
use super::destinations::DestinationId;
use super::open::OpenSocket;
use super::pair::{Member, Pair};
use super::removed_time_waits::Bounds;
use super::totals::Close;
use super::window::Window;
use crate::kernel::keyed_hash::Set;
use crate::kernel::proc::owners::ProcessKey;
use crate::kernel::socket::{Side, State};
use crate::report::closes::{CloseKind, SocketCloses};
use crate::report::host::{HostReport, Scope};
use crate::report::path::PathSample;

/// How long a dead socket waits for its peer's event. The kernel's work queues deliver within a few
/// milliseconds; the rest is for a program that is slow to close its file.
pub(super) const PEER_WAIT: Duration = Duration::from_secs(1);

/// A connection that is over, as one of its sockets is counted.
#[derive(Debug, Clone, Copy)]
struct Concluded {
    kind: CloseKind,
    /// Its kind rests on a missing TIME_WAIT alone.
    rests_on_absence: bool,
    idle_ms: Option<u32>,
    /// See [`Close::idle_if_own_ms`].
    idle_if_own_ms: Option<u32>,
    /// See [`Close::idle_is_exact`].
    idle_is_exact: bool,
    /// Requests as the peer knew them, if the peer is known.
    peer: Option<Asked>,
    /// TIME_WAITs that are accounted for by it.
    accounted: Bounds,
}

impl Concluded {
    fn of_kind(kind: CloseKind) -> Concluded {
        Concluded {
            kind,
            rests_on_absence: false,
            idle_ms: None,
            idle_if_own_ms: None,
            idle_is_exact: false,
            peer: None,
            accounted: Bounds::default(),
        }
    }
}

impl Tracker {
    // ---- settling ---------------------------------------------------------------------------

    /// Counts the closes that can be counted now; all of them if `finally`.
    pub(crate) fn settle(&mut self, now: Duration, finally: bool) {
        let (mut pairs, mut empty) = self.pending.take_all();
        let (most, mut is_waiting) = (pairs.len(), false);
        let settled = pairs.extract_if(|pair, dead| {
            while self.settle_oldest(pair, dead, now, finally) {}
            is_waiting |= dead.is_waiting();
            dead.is_empty()
        });
        empty.extend(settled.map(|(_, dead)| dead));
        self.pending.put_all(pairs, empty, is_waiting, most);
        self.settle_aborts(now, finally);
    }

    /// Counts the oldest sockets of a pair; returns false if they have to wait.
    fn settle_oldest(
        &mut self,
        pair: &Pair,
        dead: &mut DeadPair,
        now: Duration,
        finally: bool,
    ) -> bool {
        let is_ready =
            |member| dead.get(member).front().is_some_and(|dead| dead.searched || finally);
        match (is_ready(Member::Low), is_ready(Member::High)) {
            (true, true) => {
                let (low, high) = (dead.low.pop_front(), dead.high.pop_front());
                self.conclude(pair, low, high, None);
                true
            }
            (true, false) => self.settle_alone(pair, dead, Member::Low, now, finally),
            (false, true) => self.settle_alone(pair, dead, Member::High, now, finally),
            (false, false) => false,
        }
    }

    fn settle_alone(
        &mut self,
        pair: &Pair,
        dead: &mut DeadPair,
        member: Member,
        now: Duration,
        finally: bool,
    ) -> bool {
        let (local, remote) = pair.seen_from(member);
        let Some(oldest) = dead.get(member).front() else { return false };
        // The peer may be dead too and only wait for a search, or have aborted without a name.
        let is_expected =
            !dead.get(member.peer()).is_empty() || self.addresses.contains(&remote.ip());
        let waited = now.saturating_sub(oldest.at);
        let peer = self.aborts.take_peer(&local, &remote);
        if is_expected && peer.is_none() && !finally && waited < PEER_WAIT {
            return false;
        }
        let earlier =
            if peer.is_none() { self.awaited_peers.take(pair, member.peer()) } else { None };
        let is_alone = is_expected && peer.is_none() && earlier.is_none();
        let oldest = dead.get_mut(member).pop_front();
        let counted = match member {
            Member::Low => self.conclude(pair, oldest, peer, earlier),
            Member::High => self.conclude(pair, peer, oldest, earlier),
        };
        if let Some(counted) = counted.filter(|_| is_alone) {
            self.await_peer(pair, counted);
        }
        true
    }

    fn await_peer(&mut self, pair: &Pair, counted: CountedAlone) {
        if let Some(before) = self.awaited_peers.put(pair, counted) {
            self.count_at_server(&before);
        }
    }

    // ---- aborts without a name --------------------------------------------------------------

    /// Counts the aborts that no peer has claimed: the peer is on another host, or has not died.
    fn settle_aborts(&mut self, now: Duration, finally: bool) {
        if self.aborts.is_empty() {
            return;
        }
        let overdue = self.aborts.take_overdue(now, self.traces.readings(), finally);
        let cleared = u64::try_from(overdue.len()).unwrap_or(0);
        self.removed.account(Bounds { least: cleared, most: cleared });
        // A trace record has both addresses.
        let mut traced = if overdue.is_empty() { HashMap::new() } else { self.traces.aborted() };
        for mut dead in overdue {
            let key = (dead.event.local.port(), dead.event.remote.ip());
            match traced.get_mut(&key).and_then(VecDeque::pop_front) {
                Some(addresses) => {
                    (dead.event.local, dead.event.remote) = addresses;
                    self.conclude_traced_abort(&dead);
                }
                None => self.conclude_abort(dead, finally),
            }
        }
    }

    /// Counts the aborts that came before any socket of their destination.
    fn settle_early_aborts(&mut self) {
        for dead in self.aborts.take_early() {
            self.conclude_abort(dead, true);
        }
    }

    fn conclude_traced_abort(&mut self, dead: &DeadSocket) {
        let side = self.side(&dead.event);
        // Its RST was first, unless the trace says that the peer's FIN had come before.
        let evidence = self.evidence(dead, side);
        let kind = match side {
            Side::Client => classify(Some(&evidence), None),
            Side::Server => classify(None, Some(&evidence)),
        };
        let counted = self.count(side, dead, &evidence, &Concluded::of_kind(kind));
        if let Some(counted) = counted.filter(|_| self.addresses.contains(&dead.event.remote.ip()))
        {
            self.await_peer(&Pair::of(&dead.event), counted);
        }
    }

    /// Finds the destination of an abort by what its event has left: a server's own port; a client's
    /// remote host, if there is just one destination on it.
    /// Where no destination is known yet, the abort waits for one, unless `finally`.
    fn conclude_abort(&mut self, dead: DeadSocket, finally: bool) {
        let (local, host) = (dead.event.local, dead.event.remote.ip());
        let is_server = self.listeners.serves(&local) || self.scope.port == Some(local.port());
        let is_here = host == local.ip() || self.addresses.contains(&host);
        // The socket of a service on this host would have claimed it; and with a scope, the one
        // destination that fits is only the one that is watched.
        if !is_server && (self.scope != Scope::default() || is_here) {
            self.aborts.count_unattributed();
            return;
        }
        let id = match self.destinations_of_abort(&dead, is_server) {
            (Some(id), None) => id,
            // The first of a service, or of a service with several addresses: a socket of a listener
            // on every address has lost its own, and is counted at the unspecified one.
            _ if is_server => self.destination_id(local, Side::Server),
            (None, _) if !finally => {
                self.aborts.put_early(dead);
                return;
            }
            _ => {
                self.aborts.count_unattributed();
                return;
            }
        };
        let side = if is_server { Side::Server } else { Side::Client };
        let evidence = dead.evidence(side);
        let kind = match side {
            Side::Client => classify(Some(&evidence), None),
            Side::Server => classify(None, Some(&evidence)),
        };
        let idle_ms = dead.idle_ms(side, closer(kind));
        let server_only = is_server && !is_here;
        let close = Close { server_only, idle_ms, ..Close::of_kind(kind) };
        let totals = self.destinations.get_mut(id);
        totals.count(&close);
        totals.count_owner(None);
        if is_server && is_here {
            self.awaited_peers.count_abort(local.port(), host, id);
        }
    }

    /// Returns the first two destinations that an abort can belong to.
    fn destinations_of_abort(
        &self,
        dead: &DeadSocket,
        is_server: bool,
    ) -> (Option<DestinationId>, Option<DestinationId>) {
        let (port, host) = (dead.event.local.port(), dead.event.remote.ip());
        let fits = |service: SocketAddr, side: Side| match side {
            Side::Server => is_server && service.port() == port,
            Side::Client => !is_server && service.ip() == host && service.port() != 0,
        };
        let mut fitting = self.destinations.ids().filter(|id| {
            let (service, side) = self.destinations.get(*id).key();
            service.is_some_and(|service| fits(service, side))
        });
        (fitting.next(), fitting.next())
    }

    // ---- one connection ---------------------------------------------------------------------

    /// Counts both sockets of one connection, or the one that is known; `earlier` is the evidence of
    /// a socket that was counted before. Returns the socket that was counted last, in case that it
    /// was alone.
    pub(super) fn conclude(
        &mut self,
        pair: &Pair,
        low: Option<DeadSocket>,
        high: Option<DeadSocket>,
        earlier: Option<CountedAlone>,
    ) -> Option<CountedAlone> {
        let named = |member: Member, dead: Option<DeadSocket>| {
            dead.map(|mut dead| {
                (dead.event.local, dead.event.remote) = pair.seen_from(member);
                dead
            })
        };
        let (low, high) = (named(Member::Low, low), named(Member::High, high));
        let low_side = self.side_of_low(low.as_ref(), high.as_ref())?;
        let evidence = |dead: Option<&DeadSocket>, side: Side| match dead {
            Some(dead) => Some(self.evidence(dead, side)),
            None => earlier.filter(|earlier| earlier.side == side).map(|earlier| earlier.evidence),
        };
        let of_low = evidence(low.as_ref(), low_side);
        let of_high = evidence(high.as_ref(), low_side.other());
        let mut kind = match low_side {
            Side::Client => classify(of_low.as_ref(), of_high.as_ref()),
            Side::Server => classify(of_high.as_ref(), of_low.as_ref()),
        };
        let alone = match (&of_low, &of_high) {
            (Some(alone), None) | (None, Some(alone)) => Some(alone),
            _ => None,
        };
        let lone = low.as_ref().or(high.as_ref()).filter(|_| alone.is_some());
        if lone.is_some_and(|dead| self.may_lack_peer(dead)) && !alone.is_some_and(shows_order) {
            kind = CloseKind::Unclassified;
        }
        let rests_on_absence =
            kind != CloseKind::Unclassified && alone.is_some_and(rests_on_absence);
        let entered = account_for([of_low.as_ref(), of_high.as_ref()]);
        let accounted = entered - earlier.map(|one| one.accounted).unwrap_or_default();
        self.removed.account(accounted);
        // Where a program closes late, its peer's socket shows better how long the connection idled.
        let closer = closer(kind);
        let idle_by = |closer: Option<Side>| {
            let idle = |dead: &Option<DeadSocket>, side: Side| dead.as_ref()?.idle_ms(side, closer);
            [idle(&low, low_side), idle(&high, low_side.other())]
        };
        let both = idle_by(closer);
        let was_met = |dead: &Option<DeadSocket>| dead.as_ref().is_some_and(DeadSocket::met_fin);
        let idle_is_exact = both.iter().all(Option::is_some) || was_met(&low) || was_met(&high);
        let idle_ms = both.into_iter().flatten().min();
        let idle_if_own_ms = match rests_on_absence {
            true => idle_by(closer.map(Side::other)).into_iter().flatten().min(),
            false => None,
        };
        let mut counted = None;
        let both = [(&low, &high, low_side, of_low), (&high, &low, low_side.other(), of_high)];
        for (dead, peer, side, evidence) in both {
            let (Some(dead), Some(evidence)) = (dead, evidence) else { continue };
            let peer = match peer {
                Some(peer) => Some(peer.asked(side.other())),
                None => earlier.map(|earlier| earlier.asked),
            };
            let concluded = Concluded {
                kind,
                rests_on_absence,
                idle_ms,
                idle_if_own_ms,
                idle_is_exact,
                peer,
                accounted,
            };
            counted = self.count(side, dead, &evidence, &concluded);
        }
        counted
    }

    /// Returns whether the event of a socket's peer on this host may have been lost: then what the
    /// socket alone seems to show may be wrong.
    fn may_lack_peer(&self, dead: &DeadSocket) -> bool {
        self.addresses.contains(&dead.event.remote.ip()) && self.lost.may_have_taken_peer_of(dead)
    }

    /// Returns the side of the socket at the lower address. A socket of the baseline keeps the side
    /// that it was taken for. Others are decided anew: when a dump met one, it may not have come to
    /// the listener yet.
    fn side_of_low(&self, low: Option<&DeadSocket>, high: Option<&DeadSocket>) -> Option<Side> {
        let at_start = |dead: Option<&DeadSocket>| Some(self.side_of_open(dead?.at_start()?));
        let of_low = at_start(low).or_else(|| at_start(high).map(Side::other));
        of_low
            .or_else(|| Some(self.side(&low?.event)))
            .or_else(|| Some(self.side(&high?.event).other()))
    }

    fn side_of_open(&self, open: &OpenSocket) -> Side {
        self.destinations.get(open.destination).side()
    }

    /// Builds the evidence for one socket, adding what its trace record says.
    fn evidence(&self, dead: &DeadSocket, side: Side) -> Evidence {
        let mut evidence = dead.evidence(side);
        if let Some(record) = self.traces.peek(&(dead.event.local, dead.event.remote)) {
            if let Some(was_first) = record.closed_first {
                evidence.fin_seen = !was_first;
            }
            evidence.closed_first = record.closed_first;
            evidence.crossed = record.crossed;
            evidence.reset = Some(record.reset_in.is_some());
            if record.ended_established {
                // An RST ended it, and no FIN came before.
                (evidence.fin_seen, evidence.fin_possible) = (false, false);
                evidence.in_flight = evidence.in_flight.map(|_| false);
            }
        }
        evidence
    }

    /// Counts one socket of a connection that is over. Returns `None` if it never was established.
    fn count(
        &mut self,
        side: Side,
        dead: &DeadSocket,
        evidence: &Evidence,
        concluded: &Concluded,
    ) -> Option<CountedAlone> {
        let service = if side == Side::Client { dead.event.remote } else { dead.event.local };
        if !dead.disconnected && !was_established(side, &dead.event) {
            let id = self.destination_id(service, side);
            self.destinations.get_mut(id).count_failed_connect();
            return None;
        }
        let is_client_here =
            concluded.peer.is_some() || self.addresses.contains(&dead.event.remote.ip());
        // An abort clears the count of its own socket; the peer's kept it.
        let asked = dead.asked(side).or(side, concluded.peer.unwrap_or_default());
        let close = Close {
            kind: concluded.kind,
            rests_on_absence: concluded.rests_on_absence,
            unread: dead.has_unread_data(),
            unread_farewell: dead.has_unread_farewell(side),
            unread_bytes: dead.event.rqueue,
            server_only: side == Side::Server
                && dead.at_start().map_or(!is_client_here, |open| open.server_only),
            idle_ms: concluded.idle_ms,
            idle_if_own_ms: concluded.idle_if_own_ms,
            idle_is_exact: concluded.idle_is_exact,
            requests: asked.requests,
            requests_at_most: asked.at_most,
            behind_tls: asked.behind_tls,
            shape: asked.shape,
            is_unanswered: asked.is_unanswered == Some(true),
            waited_ms: asked.waited_ms,
            still_waits: asked.still_waits,
            cut: asked.cut,
            is_stream: asked.is_stream,
            met_idle: asked.met_idle,
            path: PathSample::of(&dead.event).filter(|_| !dead.disconnected),
            received: match dead.disconnected {
                true => concluded.peer.and_then(|peer| peer.delivered),
                false => Some(dead.event.info.and_then(|info| info.bytes_received).unwrap_or(0)),
            },
        };
        let known = dead.open.as_ref().and_then(|open| self.known_destination(open, service, side));
        let destination = known.unwrap_or_else(|| self.destination_id(service, side));
        self.note_side(destination, &dead.event);
        let (of_client, of_server) = segments(&close);
        if let Some(shown) = self.newborns.take(dead.event.cookie, of_client, of_server) {
            self.destinations.get_mut(destination).learn(shown.besides);
        }
        let totals = self.destinations.get_mut(destination);
        let counted = totals.count(&close);
        self.newborns.is_wanted |= close.shape.is_possible() && totals.is_curious();
        let traced = self.count_traced(destination, dead, close.kind, &counted);
        let seen = dead.open.and_then(|open| open.process());
        let totals = self.destinations.get_mut(destination);
        match traced.map(ProcessKey::of_number) {
            Some(process) => totals.sightings.traced(process),
            None => totals.count_owner(seen),
        }
        Some(CountedAlone {
            member: Member::of(&dead.event),
            side,
            evidence: *evidence,
            kind: close.kind,
            unread: close.unread,
            asked,
            at_start: dead.at_start().is_some(),
            destination,
            accounted: concluded.accounted,
        })
    }

    /// Returns the destination that a socket was given when a dump saw it, if it still belongs
    /// there.
    fn known_destination(
        &self,
        open: &OpenSocket,
        service: SocketAddr,
        side: Side,
    ) -> Option<DestinationId> {
        let (known, of) = self.destinations.get(open.destination).key();
        let fits = open.was_open_at_start() || known.is_none_or(|known| known == service);
        (of == side && fits).then_some(open.destination)
    }

    /// Counts what a trace adds to a close that has just been counted as `counted`. Returns the
    /// process of the socket.
    fn count_traced(
        &mut self,
        destination: DestinationId,
        dead: &DeadSocket,
        kind: CloseKind,
        counted: &SocketCloses,
    ) -> Option<u32> {
        let (local, remote) = (dead.event.local, dead.event.remote);
        let record = self.traces.take(&(local, remote));
        let totals = self.destinations.get_mut(destination);
        let is_ours = counted.local_rst + counted.undrained > 0;
        let reset_in = record.as_ref().and_then(|record| record.reset_in);
        let is_theirs = counted.remote_rst > 0 || reset_in.is_some();
        // Unread data is answered with an RST even if a FIN came first.
        let is_answer = dead.has_unread_data() && !is_theirs;
        let sent_here = is_ours || is_answer;
        let from_to = if sent_here { (local, remote) } else { (remote, local) };
        if let Some(reason) = self.traces.reset_reason(&from_to).filter(|_| sent_here || is_theirs)
        {
            let by = if sent_here { totals.side() } else { totals.side().other() };
            let is_late = [CloseKind::fin(by), CloseKind::CrossedFin].contains(&kind);
            totals.count_reset_reason(reason, by, is_late);
        }
        if reset_in == Some(State::CloseWait) {
            totals.count_reset_after_fin();
        }
        let record = record?;
        record.lifetime_ns.into_iter().for_each(|lifetime| totals.count_lifetime(lifetime));
        record.owner
    }

    fn count_at_server(&mut self, one: &CountedAtServer) {
        let CountedAtServer { destination, kind, unread, asked } = *one;
        let Asked { requests, at_most: requests_at_most, behind_tls, shape, .. } = asked;
        let counted = Close::of_kind(kind);
        let close = Close { unread, requests, requests_at_most, behind_tls, shape, ..counted };
        self.destinations.get_mut(destination).count_at_server(&close);
    }

    /// Counts a socket for which there was no room to wait.
    pub(super) fn count_unclassified(&mut self, dead: &DeadSocket) {
        let at_start = dead.at_start().map(|open| self.side_of_open(open));
        let side = at_start.unwrap_or_else(|| self.side(&dead.event));
        self.removed.account(Bounds { least: 0, most: 1 });
        let evidence = self.evidence(dead, side);
        self.count(side, dead, &evidence, &Concluded::of_kind(CloseKind::Unclassified));
    }

    // ---- end of the window ------------------------------------------------------------------

    /// Counts everything that waits, and reports the window.
    pub(crate) fn finish(mut self, window: &Window) -> HostReport {
        self.settle(window.now, true);
        self.settle_early_aborts();
        self.count_vanished();
        self.count_without_client();
        self.report(window)
    }

    /// Counts connections of the baseline that are neither alive nor had an event: over, with their
    /// file still open in some program, or their event was lost.
    fn count_vanished(&mut self) {
        for open in self.open.vanished() {
            let server = self.take_server_of(&open);
            let totals = self.destinations.get_mut(open.destination);
            let kind = server.map_or(CloseKind::Unclassified, |server| server.kind);
            totals.count(&Close { server_only: open.server_only, ..Close::of_kind(kind) });
            totals.count_owner(None);
        }
    }

    /// Takes the server's socket of a client's, if it has died before.
    fn take_server_of(&mut self, client: &OpenSocket) -> Option<CountedAlone> {
        let (Some(service), Side::Client) = self.destinations.get(client.destination).key() else {
            return None;
        };
        let (local, _) = client.addresses(&self.addresses)?;
        self.awaited_peers.take(&Pair::between(local, service), Member::at(&service, &local))
    }

    /// Counts at their server the connections whose client's socket is neither alive nor had an
    /// event.
    fn count_without_client(&mut self) {
        if self.awaited_peers.is_empty() {
            return;
        }
        let open: Set<_> =
            self.open.alive().filter_map(|open| open.addresses(&self.addresses)).collect();
        for one in std::mem::take(&mut self.awaited_peers).without_client(&open) {
            self.count_at_server(&one);
        }
    }
}

/// Returns the segments with data of the client's and of the server's on a connection.
fn segments(close: &Close) -> (u32, u32) {
    let both = close.behind_tls.segments;
    both.map_or((0, 0), |both| (both.asked.segments.1, both.answered.segments.1))
}

/// Returns the side that began a close, if one did.
fn closer(kind: CloseKind) -> Option<Side> {
    match kind {
        CloseKind::ClientFin | CloseKind::ClientRst => Some(Side::Client),
        CloseKind::ServerFin | CloseKind::ServerRst => Some(Side::Server),
        CloseKind::CrossedFin | CloseKind::TimedOut | CloseKind::Unclassified => None,
    }
}

/// Returns how many TIME_WAITs the sockets of one connection that are known are accounted for: those
/// that were found, and the one that must have been there, or may have.
fn account_for(known: [Option<&Evidence>; 2]) -> Bounds {
    let each = || known.into_iter().flatten();
    let count = |holds: fn(&Evidence) -> bool| {
        u64::try_from(each().filter(|one| holds(one)).count()).unwrap_or(0)
    };
    let found = count(|one| one.time_wait == TimeWait::Present);
    // SO_LINGER 0 is counted where data after a close is.
    let cleared = count(|one| one.disconnected);
    let (certain, possible) = entered_time_wait(known);
    let least = found.max(certain.into()) + cleared;
    Bounds { least, most: least.max(found.max(possible.into()) + cleared) }
}
