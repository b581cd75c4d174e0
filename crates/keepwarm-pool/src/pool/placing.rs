//! Places connections: with a waiter, on the idle list, or nowhere. Every close passes through
//! here.

use core::time::Duration;

use super::{Pool, Slot, SlotState};
use crate::idle::Expiry;
use crate::{Assigned, CloseReason, Closer, ConnectionId, Effect, Lease, Moment, WaiterId};

impl Pool {
    /// Places a returned connection, or closes it if it must serve no other request. Not used for a
    /// new connection: that always serves a waiter of its dial, or dials would follow dials.
    pub(super) fn place_or_close(&mut self, connection: ConnectionId) {
        if self.slots[connection.index()].shared {
            return self.release_stream(connection);
        }
        match self.retirement(connection) {
            Some(reason) if !self.shut_down => {
                self.active -= 1;
                self.vacate(connection, reason, Closer::Client);
                self.replenish();
            }
            _ if self.doubtful > 0 && self.slots[connection.index()].suspect_until.is_some() => {
                self.place(connection, None);
                self.replenish();
            }
            _ => {
                let waiter = self.oldest_that_takes_used();
                if waiter.is_some_and(|waiter| self.overtakes_too_much(waiter)) {
                    self.active -= 1;
                    self.vacate(connection, CloseReason::TotalLimit, Closer::Client);
                    self.replenish();
                } else {
                    self.place(connection, waiter);
                }
            }
        }
    }

    /// Returns true if the oldest claim of any pool has waited so much longer than this waiter that
    /// a connection for the waiter has to make room for the claim.
    pub(super) fn overtakes_too_much(&self, waiter: WaiterId) -> bool {
        let since = self.waiters.get(&waiter).copied().unwrap_or(Moment::ZERO);
        self.settings.shares_places && self.oldest_claim.after(self.max_overtaking) < since
    }

    /// Returns the oldest waiter that does not want a fresh connection.
    pub(super) fn oldest_that_takes_used(&self) -> Option<WaiterId> {
        self.waiters.keys().find(|waiter| !self.wants_fresh.contains(waiter)).copied()
    }

    /// Places a connection: with this waiter, or on the idle list; closes it after shutdown.
    #[inline(always)]
    pub(super) fn place(&mut self, connection: ConnectionId, waiter: Option<WaiterId>) {
        self.active -= 1;
        if self.shut_down {
            self.vacate(connection, CloseReason::ShutDown, Closer::Client);
        } else if let Some(waiter) = waiter {
            self.end_waiter(waiter);
            self.assign(waiter, connection, None);
            self.replenish();
        } else {
            self.make_idle(connection);
            if !self.waiters.is_empty() {
                self.replenish();
            }
        }
    }

    pub(super) fn learn_if_closed_idle(
        &mut self,
        connection: ConnectionId,
        reason: CloseReason,
        closer: Closer,
    ) {
        if reason == CloseReason::PeerClosedIdle && closer == Closer::Server {
            self.learn_from(connection);
        }
    }

    /// Learns from a connection that the server has closed while it was idle. A connection in use
    /// may have been closed for another reason than its idle age: with its last response, for
    /// example.
    pub(super) fn learn_from(&mut self, connection: ConnectionId) {
        let slot = &self.slots[connection.index()];
        let was_idle = slot.inspected && slot.exchanges > 0;
        if !was_idle {
            return;
        }
        let age = self.now.since(slot.rested_since);
        self.idle_closes.note(age, self.now);
        if self.settings.learns_idle_timeout && slot.has_no_advice() {
            self.learned.observe(age, self.now);
        }
    }

    /// Returns the moment at which the learned idle timeout of the server is nearly over for a
    /// connection.
    pub(super) fn learned_end(&mut self, connection: ConnectionId) -> Moment {
        let slot = &self.slots[connection.index()];
        if !self.settings.learns_idle_timeout || slot.exchanges == 0 || !slot.has_no_advice() {
            return Moment::NEVER;
        }
        let usable_for = self.learned.usable_for(self.now);
        usable_for.map_or(Moment::NEVER, |span| slot.rested_since.after(span))
    }

    /// Returns the reason why a healthy connection must serve no other request, if there is one.
    pub(super) fn retirement(&mut self, connection: ConnectionId) -> Option<CloseReason> {
        let slot = &self.slots[connection.index()];
        if let Some((reason, _)) = slot.drains {
            Some(reason)
        } else if slot.epoch < self.epoch {
            Some(CloseReason::CloseIdle)
        } else if slot.exchanges > 0 && self.distrusts_used {
            Some(CloseReason::Distrusted)
        } else if slot.exchanges > 0 && self.settings.max_exchanges.is_reached(slot.exchanges) {
            Some(CloseReason::ExchangeLimit)
        } else if !slot.ends.is_never() && slot.ends <= self.now {
            Some(CloseReason::Lifetime)
        } else if slot.exchanges >= slot.server_limit
            || (!slot.usable_until.is_never() && slot.usable_until <= self.now)
        {
            Some(CloseReason::ServerLimit)
        } else {
            let end = self.learned_end(connection);
            (!end.is_never() && end <= self.now).then_some(CloseReason::LearnedTimeout)
        }
    }

    /// Makes a connection idle, or closes it if the idle limit is reached.
    #[inline(always)]
    pub(super) fn make_idle(&mut self, connection: ConnectionId) {
        // An expired connection must not count against the limit; and with a timeout of zero this
        // one expires.
        self.expire();
        if !self.settings.keeps_connections {
            self.vacate(connection, CloseReason::NotPersistent, Closer::Client);
            return;
        }
        if !self.settings.max_idle.has_room(self.idle.len()) {
            self.vacate(connection, CloseReason::IdleLimit, Closer::Client);
            return;
        }
        self.slots[connection.index()].state = SlotState::Idle;
        let expiry = self.expiry(connection);
        self.idle.insert(connection, self.now, expiry);
        self.expire();
    }

    #[inline]
    pub(super) fn expire(&mut self) {
        if self.doubtful > 0 {
            self.expire_suspects();
        }
        while let Some((connection, expiry)) = self.idle.first_to_expire()
            && expiry.moment <= self.now
        {
            self.idle.remove(connection);
            self.vacate(connection, expiry.reason, Closer::Client);
        }
    }

    /// Returns the expiry of a connection that becomes idle now.
    pub(super) fn expiry(&mut self, connection: ConnectionId) -> Expiry {
        let learned_end = self.learned_end(connection);
        let slot = &self.slots[connection.index()];
        let timeout = self.now_and(self.settings.idle_timeout);
        let mut first = Expiry { moment: timeout, reason: CloseReason::IdleTimeout };
        for (moment, reason) in [
            (slot.ends, CloseReason::Lifetime),
            (slot.usable_until, CloseReason::ServerLimit),
            (learned_end, CloseReason::LearnedTimeout),
        ] {
            if moment < first.moment {
                first = Expiry { moment, reason };
            }
        }
        first
    }

    /// Returns the moment that is `span` from now. [`Duration::MAX`] is for ever.
    pub(super) fn now_and(&self, span: Duration) -> Moment {
        if span == Duration::MAX { Moment::NEVER } else { self.now.after(span) }
    }

    pub(super) fn close_all_idle(&mut self, reason: CloseReason) {
        while let Some((oldest, _)) = self.idle.oldest() {
            self.idle.remove(oldest);
            self.vacate(oldest, reason, Closer::Client);
        }
    }

    #[inline(always)]
    pub(super) fn assign(
        &mut self,
        waiter: WaiterId,
        connection: ConnectionId,
        idle_since: Option<Moment>,
    ) {
        let slot = &mut self.slots[connection.index()];
        if slot.shared {
            return self.assign_stream(waiter, connection, idle_since);
        }
        slot.state = SlotState::Active;
        self.active += 1;
        slot.rested_for = self.now.since(slot.rested_since);
        slot.inspected = false;
        let exchanges = slot.exchanges;
        self.emit_assign(waiter, connection, exchanges, idle_since, 1);
    }

    #[inline]
    pub(super) fn emit_assign(
        &mut self,
        waiter: WaiterId,
        connection: ConnectionId,
        exchanges: u64,
        idle_since: Option<Moment>,
        streams: u32,
    ) {
        if exchanges > 0 {
            self.counts.reused += 1;
        } else {
            self.counts.assigned_new += 1;
        }
        self.leases += 1;
        let lease = Lease { connection };
        let assigned = Assigned { waiter, lease, exchanges, idle_since, streams };
        self.effects.push_back(Effect::Assign(assigned));
    }

    pub(super) fn activate(&mut self, connection: ConnectionId) {
        self.slots[connection.index()].state = SlotState::Active;
        self.active += 1;
    }

    pub(super) fn check_active(&self, connection: ConnectionId) {
        let slot = &self.slots[connection.index()];
        debug_assert!(
            slot.generation == connection.generation && slot.state == SlotState::Active,
            "a lease of another pool: {connection:?} is {slot:?}"
        );
    }

    /// Takes a slot for a new connection, active until it is placed.
    pub(super) fn occupy_slot(&mut self) -> ConnectionId {
        let index = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::VACANT);
            (self.slots.len() - 1) as u32
        });
        let ends = self.now_and(self.settings.lifetime_of(self.counts.opened));
        let slot = &mut self.slots[index as usize];
        let generation = slot.generation;
        let (epoch, state) = (self.epoch, SlotState::Active);
        *slot = Slot { generation, epoch, ends, state, ..Slot::VACANT };
        ConnectionId { index, generation }
    }

    /// Ends a connection, forgets it, and releases its place.
    pub(super) fn vacate(&mut self, connection: ConnectionId, reason: CloseReason, closer: Closer) {
        self.forget(connection, reason, closer);
        self.release_place();
    }

    /// Ends a connection and forgets it. Every close passes through here.
    pub(super) fn forget(&mut self, connection: ConnectionId, reason: CloseReason, closer: Closer) {
        let slot = &mut self.slots[connection.index()];
        slot.state = SlotState::Vacant;
        if slot.shared {
            self.orphans += slot.in_use as usize;
            self.note_room(connection);
        }
        let slot = &mut self.slots[connection.index()];
        self.doubtful -= usize::from(slot.is_doubtful());
        (slot.suspect_until, slot.limit) = (None, 1);
        slot.generation += 1;
        self.vacant.push(connection.index);
        self.counts.closed[reason.index()][closer.index()] += 1;
        self.effects.push_back(Effect::Close { connection, reason, closer });
    }
}
