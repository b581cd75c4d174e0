//! Events of an origin: recorded under its lock, delivered after it.

use keepwarm_pool::{Assigned, Effect, Moment};

use super::{Filed, Origin, State, Waiter};
use crate::observe::observer::EventKind;

impl Origin {
    /// Records an event if the client has observers. No event is delivered here.
    pub(super) fn record(&self, now: Moment, kind: impl FnOnce() -> EventKind) {
        if let Some(events) = &self.shared.events {
            events.record(now, &self.name, kind());
        }
    }

    /// Records the events of an effect.
    pub(super) fn record_effect(&self, state: &State, effect: &Effect, now: Moment) {
        if self.shared.events.is_none() {
            return;
        }
        match effect {
            Effect::Dial(permit) => {
                self.record(now, || EventKind::DialBegan { dial: permit.dial().as_u64() });
            }
            Effect::Assign(Assigned { waiter, lease, exchanges, idle_since, .. }) => {
                let filed = state.waiters.get(waiter);
                if let Some(filed) = filed {
                    self.record(now, || filed.wait_ended(now, true));
                }
                self.record(now, || EventKind::ConnectionAssigned {
                    connection: state.births[lease.connection().index()].id,
                    request: filed.map_or(state.requesting, |filed| filed.request),
                    exchanges_before: *exchanges,
                    idle_age: idle_since.map(|since| now.since(since)),
                });
            }
            Effect::Reject { waiter, .. } => {
                if let Some(filed) = state.waiters.get(waiter) {
                    self.record(now, || filed.wait_ended(now, false));
                }
            }
            Effect::Close { connection, reason, closer } => {
                let birth = state.births[connection.index()];
                self.record(now, || EventKind::ConnectionClosed {
                    connection: birth.id,
                    reason: *reason,
                    closer: *closer,
                    age: now.since(birth.at),
                    // The handle of a leased connection is not filed here.
                    active: matches!(state.connections[connection.index()], Filed::Nothing),
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
