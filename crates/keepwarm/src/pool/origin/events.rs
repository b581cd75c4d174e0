//! What the observers are told of an origin: written down under its lock, told after it.

use std::sync::Arc;

use keepwarm_pool::{Assigned, Effect, Moment};

use super::{Origin, State, Waiter};
use crate::observe::observer::{Event, EventKind};

impl Origin {
    /// Writes down for the observers what happens, if there are any. Nothing is told yet.
    pub(super) fn put(&self, now: Moment, kind: impl FnOnce() -> EventKind) {
        if let Some(outbox) = &self.shared.outbox {
            let at = now.since(Moment::ZERO);
            outbox.put(Event::new(at, Arc::clone(&self.name), kind()));
        }
    }

    /// Tells the observers what happens outside the pool. To be used while no lock is held.
    pub(crate) fn tell(&self, kind: impl FnOnce() -> EventKind) {
        if let Some(outbox) = &self.shared.outbox {
            self.put(self.shared.clock.now(), kind);
            outbox.deliver();
        }
    }

    /// Writes down what an effect means.
    pub(super) fn put_effect(&self, state: &State, effect: &Effect, now: Moment) {
        if self.shared.outbox.is_none() {
            return;
        }
        match effect {
            Effect::Dial(permit) => {
                self.put(now, || EventKind::DialBegan { dial: permit.dial().as_u64() });
            }
            Effect::Assign(Assigned { waiter, lease, exchanges, idle_since }) => {
                let filed = state.waiters.get(waiter);
                if let Some(filed) = filed {
                    self.put(now, || filed.wait_ended(now, true));
                }
                self.put(now, || EventKind::ConnectionAssigned {
                    connection: state.births[lease.connection().index()].id,
                    request: filed.map_or(state.asking, |filed| filed.request),
                    exchanges_before: *exchanges,
                    idle_age: idle_since.map(|since| now.since(since)),
                });
            }
            Effect::Reject { waiter, .. } => {
                if let Some(filed) = state.waiters.get(waiter) {
                    self.put(now, || filed.wait_ended(now, false));
                }
            }
            Effect::Close { connection, reason, closer } => {
                let birth = state.births[connection.index()];
                self.put(now, || EventKind::ConnectionClosed {
                    connection: birth.id,
                    reason: *reason,
                    closer: *closer,
                    age: now.since(birth.at),
                    // One that is leased has its handle elsewhere.
                    active: state.connections[connection.index()].is_none(),
                });
            }
            Effect::AbortDial(_)
            | Effect::Claim { .. }
            | Effect::Withdraw(_)
            | Effect::Release(_) => {}
        }
    }
}

impl Waiter {
    pub(super) fn wait_ended(&self, now: Moment, served: bool) -> EventKind {
        EventKind::WaitEnded { request: self.request, waited: now.since(self.since), served }
    }
}
