//! Connections that serve several requests at once, connections in doubt, and what is expected of
//! dials.
//!
//! A shared connection is idle while no stream is leased, and active otherwise. One that has ended
//! is forgotten at once; leases of its streams that are still out are *orphans*, whose end changes
//! nothing but their number.

use core::time::Duration;

use super::{Pool, SlotState};
use crate::settings::Sharing;
use crate::token::{Capacity, Rank};
use crate::{
    CloseReason, Closer, ConnectionId, Lease, Moment, RejectReason, Replacement, WaiterId,
};

/// Position of no connection in the list of those with room.
pub(super) const NOWHERE: u32 = u32::MAX;

/// The most streams that are expected of a connection that nothing is known of.
const EXPECTED: u32 = 100;

/// Forecast of what a dial brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Forecast {
    Exclusive,
    Shared(u32),
    /// Nothing is known. While the gate is closed one dial is expected to serve every waiter.
    Unknown {
        gate_is_open: bool,
    },
}

impl Forecast {
    pub(super) const fn of(sharing: Sharing, max_streams: u32) -> Self {
        match sharing {
            Sharing::Never => Self::Exclusive,
            Sharing::Unknown => Self::Unknown { gate_is_open: false },
            Sharing::Always => Self::Shared(match max_streams {
                0 => 1,
                1..EXPECTED => max_streams,
                _ => EXPECTED,
            }),
        }
    }
}

/// Inputs about shared connections, and about connections in doubt.
impl Pool {
    /// While waiters share a dial that takes long, one dial more starts for each of these.
    pub const GATE_STEP: Duration = Duration::from_millis(250);

    /// Time that a suspect connection may stay idle, see [`suspect`](Self::suspect).
    pub const SUSPECT_FOR: Duration = Duration::from_secs(1);

    /// Sets the streams that the peer of a shared connection allows at once. Fewer than are in use
    /// end none of them: the connection takes no new ones until enough have ended. With zero it
    /// takes none, and is kept; no dial starts instead of it.
    pub fn resized(&mut self, connection: ConnectionId, streams: u32, now: Moment) {
        self.advance(now);
        if !self.is_open(connection) || !self.slots[connection.index()].shared {
            return;
        }
        let limit = streams.min(self.settings.max_streams.max(1));
        self.set_limit(connection, limit);
        self.expect_shared(limit);
        self.settle();
    }

    /// Ends a connection in order: it takes no new requests, and is closed when it is unused, for
    /// this reason, by this side. False if it has ended already.
    pub fn draining(
        &mut self,
        connection: ConnectionId,
        (reason, closer): (CloseReason, Closer),
        now: Moment,
    ) -> bool {
        self.advance(now);
        if !self.is_open(connection) {
            return false;
        }
        self.drain(connection, reason, closer);
        self.settle();
        true
    }

    /// Notes a doubt that the peer of a connection is there: another connection to it died in
    /// silence, or it is being asked (PING). No request takes the connection while it can dial, or a
    /// dial is under way for it. An idle connection is closed [`SUSPECT_FOR`](Self::SUSPECT_FOR)
    /// later, with [`CloseReason::Suspect`], unless it is [`trusted`](Self::trusted) before. An
    /// exclusive connection in use is in no doubt: its own request is waiting. False if nothing
    /// changes.
    pub fn suspect(&mut self, connection: ConnectionId, now: Moment) -> bool {
        self.advance(now);
        if !self.is_open(connection) {
            return false;
        }
        let until = self.now.after(Self::SUSPECT_FOR);
        let slot = &mut self.slots[connection.index()];
        let is_busy = slot.state == SlotState::Active && !slot.shared;
        if is_busy || slot.suspect_until.is_some() {
            return false;
        }
        let was_doubtful = slot.is_doubtful();
        slot.suspect_until = Some(until);
        self.doubtful += usize::from(!was_doubtful);
        self.note_room(connection);
        if !self.waiters.is_empty() {
            self.replenish();
        }
        true
    }

    /// Ends the doubt about a connection: its peer has been heard.
    pub fn trusted(&mut self, connection: ConnectionId, now: Moment) {
        self.advance(now);
        if !self.is_open(connection) {
            return;
        }
        if self.clear_doubt(connection) {
            self.settle();
        }
    }

    /// Ends a connection that broke, with all of its streams. Their leases end as any other lease,
    /// and mean nothing any more. False if it has ended already.
    pub fn lost(
        &mut self,
        connection: ConnectionId,
        (reason, closer): (CloseReason, Closer),
        now: Moment,
    ) -> bool {
        self.advance(now);
        if !self.is_open(connection) {
            return false;
        }
        let slot = &self.slots[connection.index()];
        if !slot.shared && slot.state == SlotState::Active {
            debug_assert!(false, "an exclusive connection in use ends by its lease");
            return false;
        }
        if self.idle.remove(connection).is_some() {
            self.slots[connection.index()].inspected = true;
            self.learn_if_closed_idle(connection, reason, closer);
        } else {
            self.active -= 1;
        }
        self.vacate(connection, reason, closer);
        self.settle();
        true
    }

    /// Ends a stream that its peer has not processed, and asks for another one for its request,
    /// which is served before requests that never had one. The connection goes on.
    pub fn go_again(&mut self, lease: Lease, now: Moment) -> WaiterId {
        self.advance(now);
        // The request waits before the stream is free, so that it comes before other waiters.
        self.counts.checkouts += 1;
        let waiter = WaiterId { rank: Rank::Again, number: self.mint_id() };
        if self.shut_down {
            self.reject(waiter, RejectReason::ShutDown);
        } else {
            self.waiters.insert(waiter, self.now);
        }
        self.returned_unused(lease, now);
        self.settle();
        waiter
    }
}

impl Pool {
    /// Returns true if the connection has not ended.
    pub(super) fn is_open(&self, connection: ConnectionId) -> bool {
        let slot = self.slots.get(connection.index());
        slot.is_some_and(|slot| {
            slot.generation == connection.generation && slot.state != SlotState::Vacant
        })
    }

    /// Ends a doubt. False if there was none.
    #[inline(never)]
    pub(super) fn clear_doubt(&mut self, connection: ConnectionId) -> bool {
        let slot = &mut self.slots[connection.index()];
        if slot.suspect_until.take().is_none() {
            return false;
        }
        let is_doubtful = slot.is_doubtful();
        self.doubtful -= usize::from(!is_doubtful);
        self.note_room(connection);
        true
    }

    /// Ends the lease of a stream whose connection has ended. False if it is no such lease.
    #[inline]
    pub(super) fn end_orphan(&mut self, connection: ConnectionId) -> bool {
        if self.orphans == 0 || self.is_open(connection) {
            return false;
        }
        self.orphans -= 1;
        true
    }

    pub(super) fn ask_again(&mut self, wanted: Replacement) -> WaiterId {
        self.counts.checkouts += 1;
        let waiter = WaiterId { rank: Rank::Again, number: self.mint_id() };
        if self.shut_down {
            self.reject(waiter, RejectReason::ShutDown);
            return waiter;
        }
        self.expire();
        self.waiters.insert(waiter, self.now);
        if wanted == Replacement::Fresh && self.crowded.is_none() {
            self.wants_fresh.insert(waiter);
        }
        self.settle();
        waiter
    }

    /// Makes a new connection shared, and serves the oldest waiters with it.
    pub(super) fn begin_sharing(&mut self, connection: ConnectionId, streams: u32) {
        let limit = streams.min(self.settings.max_streams.max(1));
        self.slots[connection.index()].shared = true;
        if self.settings.sharing == Sharing::Never {
            // The settings were wrong; from here on the forecast may shrink.
            self.settings.sharing = Sharing::Unknown;
        }
        self.set_limit(connection, limit);
        if self.shut_down {
            self.active -= 1;
            return self.vacate(connection, CloseReason::ShutDown, Closer::Client);
        }
        self.expect_shared(limit);
        while self.slots[connection.index()].has_room()
            && let Some((&oldest, _)) = self.waiters.first_key_value()
        {
            self.end_waiter(oldest);
            self.assign_stream(oldest, connection, None);
        }
        self.rest_if_unused(connection);
        self.settle();
    }

    /// Takes one stream of a connection back.
    #[inline(never)]
    pub(super) fn release_stream(&mut self, connection: ConnectionId) {
        self.slots[connection.index()].in_use -= 1;
        if self.shut_down {
            self.drain_as(connection, CloseReason::ShutDown, Closer::Client);
        } else if let Some(reason) = self.end_of_sharing(connection) {
            self.drain_as(connection, reason, Closer::Client);
        } else if let Some(waiter) = self.oldest_that_takes_used()
            && self.overtakes_too_much(waiter)
        {
            self.drain_as(connection, CloseReason::TotalLimit, Closer::Client);
        }
        self.note_room(connection);
        // The connection stays active until no waiter has taken its free stream.
        self.settle();
        self.rest_if_unused(connection);
        self.replenish();
    }

    /// Makes an active connection without a stream idle, or closes it if it is draining.
    fn rest_if_unused(&mut self, connection: ConnectionId) {
        let slot = &self.slots[connection.index()];
        if slot.generation != connection.generation
            || slot.state != SlotState::Active
            || slot.in_use > 0
        {
            return;
        }
        self.active -= 1;
        if let Some((reason, closer)) = slot.drains {
            return self.vacate(connection, reason, closer);
        }
        self.make_idle(connection);
        self.note_room(connection);
    }

    /// Returns the reason why a shared connection in use must take no other request, if there is
    /// one.
    fn end_of_sharing(&self, connection: ConnectionId) -> Option<CloseReason> {
        let slot = &self.slots[connection.index()];
        if slot.exchanges > 0 && self.distrusts_used {
            Some(CloseReason::Distrusted)
        } else {
            (!slot.ends.is_never() && slot.ends <= self.now).then_some(CloseReason::Lifetime)
        }
    }

    /// Lets every shared connection in use drain.
    pub(super) fn dismiss_shared(&mut self) {
        for index in 0..self.slots.len() as u32 {
            let slot = &self.slots[index as usize];
            if slot.shared && slot.state == SlotState::Active {
                let connection = ConnectionId { index, generation: slot.generation };
                self.drain_as(connection, CloseReason::CloseIdle, Closer::Client);
            }
        }
        if !self.waiters.is_empty() {
            self.replenish();
        }
    }

    /// Marks a connection as draining, the first reason counts; closes it if it is idle.
    fn drain(&mut self, connection: ConnectionId, reason: CloseReason, closer: Closer) {
        self.drain_as(connection, reason, closer);
        if self.idle.remove(connection).is_some() {
            let (reason, closer) =
                self.slots[connection.index()].drains.unwrap_or((reason, closer));
            self.vacate(connection, reason, closer);
        }
    }

    fn drain_as(&mut self, connection: ConnectionId, reason: CloseReason, closer: Closer) {
        let slot = &mut self.slots[connection.index()];
        slot.drains.get_or_insert((reason, closer));
        self.note_room(connection);
    }

    #[inline(never)]
    pub(super) fn assign_stream(
        &mut self,
        waiter: WaiterId,
        connection: ConnectionId,
        idle_since: Option<Moment>,
    ) {
        if self.slots[connection.index()].state != SlotState::Active {
            self.activate(connection);
        }
        let slot = &mut self.slots[connection.index()];
        if idle_since.is_some() {
            slot.rested_for = self.now.since(slot.rested_since);
            slot.inspected = false;
        }
        slot.in_use += 1;
        let (exchanges, streams) = (slot.exchanges, slot.in_use);
        slot.exchanges += 1;
        if self.settings.max_exchanges.is_reached(slot.exchanges) {
            slot.drains.get_or_insert((CloseReason::ExchangeLimit, Closer::Client));
        }
        self.note_room(connection);
        self.emit_assign(waiter, connection, exchanges, idle_since, streams);
    }

    fn set_limit(&mut self, connection: ConnectionId, limit: u32) {
        let slot = &mut self.slots[connection.index()];
        let was_doubtful = slot.is_doubtful();
        slot.limit = limit;
        match (was_doubtful, slot.is_doubtful()) {
            (false, true) => self.doubtful += 1,
            (true, false) => self.doubtful -= 1,
            _ => {}
        }
        self.note_room(connection);
    }

    /// Files a connection among the active ones with room, or takes it out.
    pub(super) fn note_room(&mut self, connection: ConnectionId) {
        let slot = &self.slots[connection.index()];
        let belongs =
            slot.state == SlotState::Active && slot.has_room() && slot.suspect_until.is_none();
        let at = slot.roomy_at;
        if belongs && at == NOWHERE {
            self.slots[connection.index()].roomy_at = self.roomy.len() as u32;
            self.roomy.push(connection.index);
        } else if !belongs && at != NOWHERE {
            self.slots[connection.index()].roomy_at = NOWHERE;
            self.roomy.swap_remove(at as usize);
            if let Some(moved) = self.roomy.get(at as usize) {
                self.slots[*moved as usize].roomy_at = at;
            }
        }
    }

    /// Returns the connection that the next request takes, if one is free that is in no doubt.
    #[inline]
    pub(super) fn pick(&mut self) -> Option<ConnectionId> {
        if self.roomy.is_empty() && self.doubtful == 0 {
            return self.idle.newest();
        }
        self.pick_with_care()
    }

    #[inline(never)]
    fn pick_with_care(&mut self) -> Option<ConnectionId> {
        loop {
            let idle = self.newest_idle_in_no_doubt();
            if self.settings.spread && idle.is_some() {
                return idle;
            }
            let Some(active) = self.pick_active() else { return idle };
            if let Some(reason) = self.end_of_sharing(active) {
                self.drain_as(active, reason, Closer::Client);
            } else if self.settings.shares_places
                && self.oldest_claim.after(self.max_overtaking) < self.now
            {
                // Without this a claim of another pool could wait for ever: the connection may
                // never be unused.
                self.drain_as(active, CloseReason::TotalLimit, Closer::Client);
            } else {
                return Some(active);
            }
        }
    }

    fn newest_idle_in_no_doubt(&self) -> Option<ConnectionId> {
        if self.doubtful == 0 {
            return self.idle.newest();
        }
        self.idle.newest_where(|connection| !self.slots[connection.index()].is_doubtful())
    }

    /// Returns the fullest connection with room, or the emptiest; of several the one with the
    /// smallest index.
    fn pick_active(&self) -> Option<ConnectionId> {
        let in_use = |index: &u32| self.slots[*index as usize].in_use;
        let ranked = self.roomy.iter().copied();
        let index = if self.settings.spread {
            ranked.min_by_key(|index| (in_use(index), *index))
        } else {
            ranked.min_by_key(|index| (u32::MAX - in_use(index), *index))
        }?;
        Some(ConnectionId { index, generation: self.slots[index as usize].generation })
    }

    /// Assigns a connection that is idle or active.
    #[inline(always)]
    pub(super) fn assign_picked(&mut self, waiter: WaiterId, connection: ConnectionId) {
        let since = self.idle.remove(connection);
        self.assign(waiter, connection, since);
    }

    /// Serves waiters while connections have room, and dials for the others. Runs after every input
    /// that may have added room.
    pub(super) fn settle(&mut self) {
        while let Some(waiter) = self.oldest_that_takes_used()
            && let Some(connection) = self.pick()
        {
            self.end_waiter(waiter);
            self.assign_picked(waiter, connection);
        }
        self.replenish();
    }

    /// Serves waiters that no dial will serve by connections in doubt.
    #[cold]
    pub(super) fn settle_in_doubt(&mut self) {
        while self.waiters.len() > self.cover().saturating_add(self.claims.len())
            && !self.has_room_to_dial()
            && let Some(waiter) = self.oldest_that_takes_used()
            && let Some(connection) = self.pick_in_doubt()
        {
            self.end_waiter(waiter);
            self.assign_picked(waiter, connection);
        }
    }

    pub(super) fn pick_in_doubt(&self) -> Option<ConnectionId> {
        let takes = |connection: ConnectionId| {
            let slot = &self.slots[connection.index()];
            !slot.shared || slot.has_room()
        };
        let active = |(index, slot): (usize, &super::Slot)| {
            let suspect = slot.state == SlotState::Active && slot.suspect_until.is_some();
            let generation = slot.generation;
            (suspect && slot.has_room()).then_some(ConnectionId { index: index as u32, generation })
        };
        let idle = self.idle.newest_where(takes);
        idle.or_else(|| self.slots.iter().enumerate().find_map(active))
    }

    /// Rejects the youngest waiters beyond the limit, where less came than was expected.
    pub(super) fn shed_waiters(&mut self) {
        while self.queued() > 0 && !self.settings.max_waiters.has_room(self.queued() - 1) {
            let Some((&youngest, _)) = self.waiters.last_key_value() else { return };
            self.end_waiter(youngest);
            self.reject(youngest, RejectReason::TooManyWaiters);
        }
    }

    /// Closes idle connections that have been suspect for too long.
    #[cold]
    pub(super) fn expire_suspects(&mut self) {
        loop {
            let is_over = |connection: ConnectionId| {
                let suspect_until = self.slots[connection.index()].suspect_until;
                suspect_until.is_some_and(|until| until <= self.now)
            };
            let Some(connection) = self.idle.newest_where(is_over) else { return };
            self.idle.remove(connection);
            self.vacate(connection, CloseReason::Suspect, Closer::Client);
        }
    }

    /// Returns the moment at which the first idle suspect is closed.
    pub(super) fn first_suspect_ends(&self) -> Moment {
        let idle = self.slots.iter().filter(|slot| slot.state == SlotState::Idle);
        idle.filter_map(|slot| slot.suspect_until).min().unwrap_or(Moment::NEVER)
    }

    /// Returns the number of waiters that one dial is expected to serve.
    pub(super) const fn expected(&self) -> usize {
        match self.forecast {
            Forecast::Exclusive | Forecast::Unknown { gate_is_open: true } => 1,
            Forecast::Shared(streams) => streams as usize,
            Forecast::Unknown { gate_is_open: false } => {
                match Forecast::of(Sharing::Always, self.settings.max_streams) {
                    Forecast::Shared(streams) => streams as usize,
                    _ => 1,
                }
            }
        }
    }

    /// Returns the number of waiters that the dials under way are expected to serve, and the
    /// connections whose peers have allowed no stream yet.
    pub(super) fn cover(&self) -> usize {
        let mut coming = self.dials.len();
        if self.doubtful > 0 {
            let parked = |slot: &&super::Slot| slot.is_parked();
            coming += self.slots.iter().filter(parked).count();
        }
        coming.saturating_mul(self.expected())
    }

    /// Returns the number of dials that are to start, or places to be claimed, beside the dials
    /// under way.
    pub(super) fn dials_wanted(&self) -> usize {
        let expected = self.expected();
        if expected == 1 && self.doubtful == 0 {
            return self.waiters.len().saturating_sub(self.dials.len());
        }
        let uncovered = self.waiters.len().saturating_sub(self.cover());
        let wanted = uncovered.div_ceil(expected);
        wanted.max(usize::from(self.is_gate_late() && self.gate_step <= self.now))
    }

    /// Returns true if waiters share the dials under way, so that another one may help.
    pub(super) fn is_gate_late(&self) -> bool {
        self.expected() > 1 && !self.dials.is_empty() && self.waiters.len() > self.dials.len()
    }

    /// Expects as many streams of the next connections as of this one; a peer that allows none for
    /// now says nothing about their number.
    fn expect_shared(&mut self, limit: u32) {
        self.forecast = match (limit, self.forecast) {
            (0, Forecast::Shared(_)) => return,
            (0, _) => Forecast::of(Sharing::Always, self.settings.max_streams),
            _ => Forecast::Shared(limit),
        };
    }

    /// Takes the outcome of a dial into the forecast.
    pub(super) fn learn_capacity(&mut self, capacity: Capacity) {
        if capacity == Capacity::Exclusive {
            self.forecast = Forecast::Exclusive;
        }
    }

    /// Opens the gate after a failed dial. True if it was closed.
    pub(super) fn open_gate(&mut self) -> bool {
        let was_closed = self.forecast == Forecast::Unknown { gate_is_open: false };
        if was_closed {
            self.forecast = Forecast::Unknown { gate_is_open: true };
        }
        was_closed
    }
}
