//! The only way to the pool: feeds one input under the lock, and performs its effects after it.

use std::sync::Arc;

use keepwarm_pool::{Assigned, ClaimId, DialPermit, Effect, Moment, Place, RejectReason};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Answer, Assignment, Filed, Handed, Origin, State};
use crate::error::{Error, Kind, Stage};
use crate::observe::observer::EventKind;
use crate::pool::dial;
use crate::wire::connection::Connection;
use crate::wire::http2::Http2;

/// Result of feeding one input.
pub(super) struct Fed<R> {
    result: R,
    /// Answer to the checkout that this very input made, if it was answered at once.
    own: Option<Result<Assignment, Error>>,
    /// Connections that are idle now, and the moment when the first of them expires.
    idle: usize,
    pub(super) deadline: Moment,
}

/// Work to be done once the lock is released, in the order of decision.
enum Action {
    Dial(DialPermit, oneshot::Receiver<()>, Option<Handle>),
    Abort(oneshot::Sender<()>),
    Answer(oneshot::Sender<Answer>, Answer),
    Close(Box<Connection>),
    End(Arc<Http2>),
    Claim(ClaimId, Moment),
    Withdraw(ClaimId),
    Release(Place),
}

impl Action {
    /// Returns true if the limit on all connections has work to do afterwards.
    const fn moves_places(&self) -> bool {
        matches!(self, Self::Claim(..) | Self::Withdraw(_) | Self::Release(_))
    }
}

impl Origin {
    /// Feeds one input, and notifies the keeper of the next deadline.
    ///
    /// Returns the input's result, and the answer to the checkout that this very input made, if it
    /// was answered at once.
    pub(super) fn feed<R>(
        self: &Arc<Self>,
        error: Option<Error>,
        input: impl FnOnce(&mut State, Moment) -> R,
    ) -> (R, Option<Result<Assignment, Error>>) {
        self.feed_at(self.shared.clock.now(), error, input)
    }

    /// Feeds one input at a moment, and notifies the keeper of the next deadline.
    pub(super) fn feed_at<R>(
        self: &Arc<Self>,
        now: Moment,
        error: Option<Error>,
        input: impl FnOnce(&mut State, Moment) -> R,
    ) -> (R, Option<Result<Assignment, Error>>) {
        let Fed { result, own, idle, deadline } = self.feed_without_keeper(now, error, input);
        // Also for idle connections that never expire: the keeper inspects them.
        if idle > 0 || !deadline.is_never() {
            self.shared.keeper.expect(deadline);
        }
        (result, own)
    }

    /// Locks, feeds one input, moves the effects out, unlocks, and performs them.
    ///
    /// `error` is the answer to a waiter that this input rejects because a dial failed.
    pub(super) fn feed_without_keeper<R>(
        self: &Arc<Self>,
        now: Moment,
        error: Option<Error>,
        input: impl FnOnce(&mut State, Moment) -> R,
    ) -> Fed<R> {
        let mut actions = Vec::new();
        let mut own = None;
        let mut state = self.lock();
        let idle_before = state.pool.idle();
        state.pool.oldest_claim_waits(self.shared.connection_limit.oldest_claim());
        let result = input(&mut state, now);
        while let Some(effect) = state.pool.poll_effect() {
            if let Some(answer) = self.detach(&mut state, effect, error.as_ref(), now, &mut actions)
            {
                own = Some(answer);
            }
        }
        state.peak = state.peak.max(state.pool.active() + state.pool.waiting());
        let idle_after = state.pool.idle();
        let deadline = state.pool.next_deadline();
        drop(state);

        let mut places_moved = false;
        for action in actions {
            places_moved |= action.moves_places();
            self.perform(action);
        }
        if self.shared.idle_limit.moved(idle_before, idle_after) {
            self.shared.keeper.call();
        }
        if idle_after > idle_before && !self.shared.connection_limit.oldest_claim().is_never() {
            self.shared.connection_limit.idle_appeared();
            places_moved = true;
        }
        if places_moved {
            self.shared.connection_limit.serve(|| self.shared.keeper.origins());
        }
        self.shared.closing.note_change();
        // Observers come last, since they may run any code.
        if let Some(events) = &self.shared.events {
            events.deliver();
        }
        Fed { result, own, idle: idle_after, deadline }
    }

    /// Feeds a failed dial.
    ///
    /// The pool answers with a dial for the next waiter, which may fail on the same thread before
    /// this call returns: a runtime that has ended drops a spawned task at once. Some thousands of
    /// such failures, fed one inside the other, would overflow the stack. So they go into a work
    /// list, and the outermost call feeds them one after the other; a thread that finds another one
    /// at it leaves its failure there.
    pub(crate) fn dial_failed(self: &Arc<Self>, permit: DialPermit, error: Error) {
        let mut state = self.lock();
        state.failed_dials.push_back((permit, error));
        if std::mem::replace(&mut state.handles_failures, true) {
            return;
        }
        drop(state);
        while let Some((permit, error)) = self.next_failed_dial() {
            let refused_here = error.is_out_of_descriptors();
            if refused_here {
                self.refused.send_replace(Some(error.clone()));
            }
            let (_abort, _) = self.feed(Some(error.clone()), |state, now| {
                let dial = permit.dial().as_u64();
                self.record(now, || EventKind::DialFailed { dial, error });
                let abort = state.dials.remove(&permit.dial());
                if refused_here {
                    state.pool.dial_refused(permit, now);
                } else {
                    state.pool.dial_failed(permit, now);
                }
                abort
            });
        }
    }

    fn next_failed_dial(&self) -> Option<(DialPermit, Error)> {
        let mut state = self.lock();
        let next = state.failed_dials.pop_front();
        state.handles_failures = next.is_some();
        next
    }

    /// Takes an effect's handles out of the state. Returns the answer to a waiter that is not
    /// filed: only the checkout of the present input is not.
    fn detach(
        self: &Arc<Self>,
        state: &mut State,
        effect: Effect,
        error: Option<&Error>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Option<Result<Assignment, Error>> {
        self.record_effect(state, &effect, now);
        let (waiter, answer) = match effect {
            Effect::Assign(Assigned { waiter, lease: token, exchanges, idle_since, streams }) => {
                let id = token.connection();
                let handle = match state.take(id) {
                    Some(connection) => Handed::Exclusive(connection),
                    None => {
                        let Filed::Shared(http2) = &state.connections[id.index()] else {
                            unreachable!("a connection that is assigned has its handle filed");
                        };
                        Handed::Shared(Arc::clone(http2))
                    }
                };
                let idle_age = idle_since.map(|since| now.since(since));
                (waiter, Ok(Assignment { token, handle, exchanges, streams, idle_age }))
            }
            Effect::Reject { waiter, reason } => (waiter, Err(self.rejection(reason, error))),
            Effect::Dial(permit) => {
                let (abort, aborted) = oneshot::channel();
                state.dials.insert(permit.dial(), abort);
                // The task that caused the dial may run in a runtime that is just ending; a
                // waiter's runtime is alive.
                let runtime = state.waiters.last_key_value();
                let runtime = runtime.and_then(|(_, waiter)| waiter.runtime.clone());
                actions.push(Action::Dial(permit, aborted, runtime));
                return None;
            }
            Effect::AbortDial(dial) => {
                actions.extend(state.dials.remove(&dial).map(Action::Abort));
                return None;
            }
            Effect::Close { connection, .. } => {
                if let Some(filed) = state.connections.get_mut(connection.index()) {
                    match std::mem::replace(filed, Filed::Nothing) {
                        Filed::Exclusive(connection) => actions.push(Action::Close(connection)),
                        Filed::Shared(http2) => actions.push(Action::End(http2)),
                        Filed::Nothing => {}
                    }
                }
                return None;
            }
            Effect::Claim { claim, since } => {
                actions.push(Action::Claim(claim, since));
                return None;
            }
            Effect::Withdraw(claim) => {
                actions.push(Action::Withdraw(claim));
                return None;
            }
            Effect::Release(place) => {
                actions.push(Action::Release(place));
                return None;
            }
        };
        match state.waiters.remove(&waiter) {
            Some(filed) => {
                let origin = &mut Some(Arc::clone(self));
                let answer = answer.map(|assigned| assigned.grant(origin));
                actions.push(Action::Answer(filed.sender, answer));
                None
            }
            None => Some(answer),
        }
    }

    fn perform(self: &Arc<Self>, action: Action) {
        let limit = &self.shared.connection_limit;
        match action {
            Action::Dial(permit, aborted, runtime) => {
                dial::start(self, permit, aborted, runtime);
            }
            // A receiver that is gone belongs to a finished dial or a cancelled waiter: an answer
            // that cannot be delivered is dropped, and the lease in it returns to the pool.
            Action::Abort(sender) => drop(sender.send(())),
            Action::Answer(sender, answer) => drop(sender.send(answer)),
            Action::Close(connection) => drop(connection),
            Action::End(http2) => http2.close(),
            Action::Claim(claim, since) => {
                limit.claim(self.number, claim, Arc::downgrade(self), since);
            }
            Action::Withdraw(claim) => limit.withdraw(self.number, claim),
            Action::Release(place) => limit.release(place),
        }
    }

    fn rejection(&self, reason: RejectReason, error: Option<&Error>) -> Error {
        match (reason, error) {
            (RejectReason::DialFailed, Some(error)) => error.clone(),
            (RejectReason::TooManyWaiters, _) => Error::new(Stage::Wait, Kind::TooManyWaiters)
                .with_message("too many requests are waiting already")
                .at(&self.name),
            _ => Error::new(Stage::Wait, Kind::ShutDown)
                .with_message("the client has shut down")
                .at(&self.name),
        }
    }
}
