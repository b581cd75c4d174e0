//! Records which paths a sequence has taken.

use std::collections::BTreeSet;

use keepwarm_pool::{CloseReason, ConnectionId, Replacement};

use super::Input;
use super::model::{Decision, Model};
use super::paths::{Path, Seen};

#[derive(Debug, Default)]
pub(crate) struct Coverage {
    reached: BTreeSet<Path>,
    /// Inputs so far.
    step: usize,
    /// Step at which each checkout came, and at which it ended.
    waiters: Vec<(usize, Option<usize>)>,
    /// Checkout that each dial was started for, if there was one.
    causes: Vec<Option<usize>>,
    before: Before,
}

/// State of the model when the input came.
#[derive(Debug, Default)]
struct Before {
    waiting: usize,
    claims: usize,
    waiting_for_new: Vec<usize>,
    idle: usize,
    active: usize,
    full: bool,
    oldest_idle: Option<usize>,
    running: Vec<usize>,
    shut_down: bool,
}

impl Coverage {
    pub(crate) const fn reached(&self) -> &BTreeSet<Path> {
        &self.reached
    }

    pub(crate) fn before(&mut self, model: &Model, now: u64) {
        self.step += 1;
        self.before = Before {
            waiting: model.waiting().len(),
            claims: model.claims().len(),
            waiting_for_new: model.waiting_for_new(),
            idle: model.idle().len(),
            active: model.active().len(),
            full: model.is_full(),
            oldest_idle: model.idle().first().copied(),
            running: model.running(),
            shut_down: model.is_shut_down(),
        };
        self.see_if(now < model.now(), Seen::ClockBackwards);
    }

    pub(crate) fn after(
        &mut self,
        input: Input,
        answer: Option<bool>,
        decisions: &[Decision],
        connections: &[ConnectionId],
    ) {
        if input.asks() {
            self.waiters.push((self.step, None));
        }
        for decision in decisions {
            self.see_decision(input, decision, decisions);
        }
        self.see_input(input, answer, decisions, connections);
        self.see_fresh(input, answer, decisions);
        self.see_expiry(input, decisions);
    }

    fn see_decision(&mut self, input: Input, decision: &Decision, decisions: &[Decision]) {
        match *decision {
            Decision::Dial(_) => {
                let cause = input.asks().then(|| self.waiters.len() - 1);
                self.causes.push(cause);
                self.see(Seen::Dial);
                self.see_if(matches!(input, Input::DialFailed(_)), Seen::FailureDials);
                self.see_if(matches!(input, Input::Closed(..)), Seen::CloseDials);
            }
            Decision::Claim(_) => {
                self.see(Seen::Claim);
                let asks = input.asks();
                self.see_if(!asks, Seen::ClaimLate);
                self.see_if(asks && self.before.claims > 0, Seen::ClaimMore);
            }
            Decision::Withdraw(_) => {
                let cancelled = matches!(input, Input::Cancel(_));
                self.see_if(cancelled, Seen::WithdrawCancelled);
                self.see_if(input == Input::ShutDown, Seen::WithdrawShutDown);
                let served = matches!(input, Input::Returned(_) | Input::ReturnedUnused(_));
                self.see_if(served, Seen::WithdrawServed);
                self.see_if(served && !self.before.running.is_empty(), Seen::WithdrawCovered);
                self.see_if(matches!(input, Input::Deferred(_)), Seen::WithdrawRejected);
            }
            Decision::Release => {}
            Decision::Abort(_) => self.see(Seen::AbortDial),
            Decision::Assign { waiter, exchanges, .. } => {
                self.see(if exchanges > 0 { Seen::AssignReused } else { Seen::AssignNew });
                self.see_late_binding(input, waiter);
                self.waiters[waiter].1 = Some(self.step);
            }
            Decision::Reject { waiter, reason } => {
                self.reached.insert(Path::Reject(reason));
                self.waiters[waiter].1 = Some(self.step);
            }
            Decision::Close { connection, reason, closer } => {
                self.see_lifetime(input, connection, reason, decisions);
                self.see_advice(input, reason);
                self.reached.insert(Path::Close(reason, closer));
                let dismissed = reason == CloseReason::CloseIdle;
                self.see_if(
                    dismissed && matches!(input, Input::ReturnedUnused(_)),
                    Seen::DismissedPutBack,
                );
            }
        }
    }

    fn see_lifetime(
        &mut self,
        input: Input,
        connection: usize,
        reason: CloseReason,
        decisions: &[Decision],
    ) {
        if reason != CloseReason::Lifetime {
            return;
        }
        if matches!(input, Input::Returned(back) | Input::ReturnedUnused(back) if back == connection)
        {
            return self.see(Seen::LifetimeAtReturn);
        }
        self.see_if(input == Input::Checkout, Seen::LifetimeAtCheckout);
        self.see_if(input == Input::Tick, Seen::LifetimeAtTick);
        let is_oldest = |decision: &Decision| {
            let oldest = self.before.oldest_idle;
            matches!(decision, Decision::Close { connection, .. } if Some(*connection) == oldest)
        };
        let closes_oldest = decisions.iter().any(is_oldest);
        self.see_if(!closes_oldest, Seen::ExpireYounger);
    }

    fn see_advice(&mut self, input: Input, reason: CloseReason) {
        if reason == CloseReason::ServerLimit {
            self.see_if(matches!(input, Input::Returned(_)), Seen::AdviceAtReturn);
            self.see_if(matches!(input, Input::ReturnedUnused(_)), Seen::AdviceAtPutBack);
            self.see_if(input == Input::Checkout, Seen::AdviceAtCheckout);
            self.see_if(input == Input::Tick, Seen::AdviceAtTick);
        }
    }

    fn see_late_binding(&mut self, input: Input, waiter: usize) {
        match input {
            Input::Dialed(dial) => {
                let Some(cause) = self.causes[dial].filter(|cause| *cause != waiter) else {
                    return;
                };
                self.see(Seen::ForeignDial);
                let (came, _) = self.waiters[waiter];
                let outlived = self.waiters[cause].1.is_some_and(|ended| ended < came);
                self.see_if(outlived, Seen::SurplusDialServesLater);
            }
            Input::Returned(_) | Input::ReturnedUnused(_) => {
                let mut running = self.before.running.iter();
                let beaten = running.any(|dial| self.causes[*dial] == Some(waiter));
                self.see_if(beaten, Seen::ReturnBeatsDial);
            }
            _ => {}
        }
    }

    fn see_input(
        &mut self,
        input: Input,
        answer: Option<bool>,
        decisions: &[Decision],
        connections: &[ConnectionId],
    ) {
        let after_shut_down = self.before.shut_down;
        let idle = self.before.idle;
        let closes = decisions.iter().any(|d| matches!(d, Decision::Close { .. }));
        let serves = decisions.iter().any(|d| matches!(d, Decision::Assign { .. }));
        let dials = decisions.iter().any(|d| matches!(d, Decision::Dial(_)));
        match input {
            Input::Checkout => {
                self.see_if(serves, Seen::Hit);
                self.see_if(serves && idle > 1, Seen::NewestOfSeveral);
                let waits = self.waiters.last().is_some_and(|(_, ended)| ended.is_none());
                self.see_if(waits && !dials, Seen::WaitWithoutDial);
            }
            Input::Cancel(waiter) if answer == Some(true) => {
                self.waiters[waiter].1 = Some(self.step);
                self.see(Seen::CancelWaiting);
            }
            Input::Cancel(_) => {
                self.see(Seen::CancelEnded);
                self.see_if(after_shut_down, Seen::CancelAfterShutDown);
            }
            Input::Dialed(_) => {
                self.see_if(after_shut_down, Seen::DialedAfterShutDown);
                self.see_if(!closes && !serves, Seen::SurplusDialIdle);
                self.see_if(closes && !after_shut_down, Seen::SurplusDialClosed);
                let (newest, earlier) = connections.split_last().expect("one was opened");
                let again = earlier.iter().any(|c| c.index() == newest.index());
                self.see_if(again, Seen::IndexAgain);
            }
            Input::DialFailed(_) => {
                let waiting = self.before.waiting > 0;
                self.see_if(after_shut_down, Seen::FailedAfterShutDown);
                self.see_if(waiting && decisions.is_empty(), Seen::FailureRejectsNone);
                self.see_if(!waiting && !after_shut_down, Seen::FailureWithoutWaiters);
            }
            Input::DialRefused(_) => {
                let waits = self.before.waiting > 0 && self.before.idle + self.before.active > 0;
                self.see_if(waits && !dials, Seen::RefusalWaits);
            }
            Input::Returned(_) => {
                self.see_if(serves, Seen::ReturnServes);
                self.see_if(after_shut_down, Seen::ReturnedAfterShutDown);
                self.see_if(closes && dials, Seen::RetiredDials);
            }
            Input::ReturnedUnused(_) => {
                self.see_if(serves, Seen::PutBackServes);
                self.see_if(!serves && !closes, Seen::PutBackIdle);
                self.see_if(closes && !after_shut_down, Seen::PutBackClosed);
            }
            Input::Closed(..) => self.see_if(after_shut_down, Seen::ClosedAfterShutDown),
            Input::Inspect(_) => {
                self.see_if(answer == Some(true), Seen::InspectFound);
                self.see_if(answer == Some(false), Seen::InspectGone);
                self.see_if(answer == Some(false) && closes, Seen::InspectExpired);
            }
            Input::Evict => {
                self.see_if(answer == Some(true), Seen::EvictOne);
                self.see_if(answer == Some(false), Seen::EvictNone);
            }
            Input::Granted(_) => {
                self.see_if(answer == Some(true), Seen::GrantDials);
                self.see_if(answer == Some(false), Seen::GrantTooLate);
            }
            Input::Deferred(_) => {
                let rejects = decisions.iter().any(|d| matches!(d, Decision::Reject { .. }));
                self.see(if rejects { Seen::DeferRejects } else { Seen::DeferWaits });
            }
            Input::Advised(..)
            | Input::OldestClaim(_)
            | Input::Replace(..)
            | Input::Distrust(_) => {}
            Input::CloseIdle => {
                let (active, dialing) = (self.before.active, !self.before.running.is_empty());
                self.see_if(idle > 1, Seen::DismissSeveral);
                self.see_if(active > 0, Seen::DismissActive);
                self.see_if(!after_shut_down && dialing, Seen::DismissDialing);
                self.see_if(idle + active == 0, Seen::DismissNone);
                self.see_if(after_shut_down, Seen::DismissedAfterShutDown);
            }
            Input::Tick => {
                self.see_if(idle > 0 && !closes, Seen::TickInVain);
                self.see_if(dials, Seen::TickDials);
            }
            Input::ShutDown => self.see_shut_down(),
        }
    }

    fn see_fresh(&mut self, input: Input, answer: Option<bool>, decisions: &[Decision]) {
        let known = core::mem::take(&mut self.before.waiting_for_new);
        let served = decisions.iter().find_map(|decision| match decision {
            Decision::Assign { waiter, .. } => Some(*waiter),
            _ => None,
        });
        let dials = decisions.iter().any(|d| matches!(d, Decision::Dial(_)));
        let rests = decisions.is_empty() && !self.before.shut_down;
        let by_dial = |waiter: usize| known.contains(&waiter);
        match input {
            Input::Replace(_, wanted) => {
                let waits = self.waiters.last().is_some_and(|(_, ended)| ended.is_none());
                self.see_if(dials, Seen::ReplaceDials);
                self.see_if(dials && self.before.waiting > 0, Seen::ReplacePassesQueue);
                let fresh = wanted == Replacement::Fresh;
                self.see_if(fresh && dials && self.before.idle > 0, Seen::FreshPassesIdle);
                self.see_if(waits && !dials, Seen::ReplaceTakesSurplusDial);
                self.see_if(served.is_some(), Seen::ReplaceFromIdle);
                self.see_if(self.before.shut_down, Seen::ReplaceAfterShutDown);
            }
            Input::Distrust(true) => {
                self.see_if(!decisions.is_empty(), Seen::DistrustClosesIdle);
                self.see_if(self.before.idle > 0 && decisions.is_empty(), Seen::DistrustKeepsNew);
            }
            Input::Dialed(_) => self.see_if(served.is_some_and(by_dial), Seen::FreshServed),
            Input::DialFailed(_) => {
                let rejects =
                    |d: &Decision| matches!(d, Decision::Reject { waiter, .. } if by_dial(*waiter));
                self.see_if(decisions.iter().any(rejects), Seen::FreshRejected);
                let rejections = decisions.iter().filter(|d| matches!(d, Decision::Reject { .. }));
                self.see_if(rejections.count() > 1, Seen::FailureRejectsSeveral);
            }
            Input::Cancel(waiter) => {
                self.see_if(answer == Some(true) && by_dial(waiter), Seen::FreshCancelled);
            }
            Input::Returned(_) | Input::ReturnedUnused(_) if !known.is_empty() => {
                let later = served.is_some_and(|waiter| known.iter().any(|n| *n < waiter));
                self.see_if(later, Seen::FreshPassedBy);
                self.see_if(rests, Seen::FreshLeavesToRest);
            }
            Input::Checkout if !known.is_empty() => {
                self.see_if(served.is_some(), Seen::FreshPassedByHit);
            }
            _ => {}
        }
    }

    fn see_shut_down(&mut self) {
        let again = self.before.shut_down;
        self.see_if(self.before.waiting > 0, Seen::ShutDownWithWaiters);
        self.see_if(!again && !self.before.running.is_empty(), Seen::ShutDownWithDials);
        self.see_if(self.before.idle > 0, Seen::ShutDownWithIdle);
        self.see_if(!again && self.before.active > 0, Seen::ShutDownWithActive);
        self.see_if(again, Seen::ShutDownTwice);
    }

    fn see_expiry(&mut self, input: Input, decisions: &[Decision]) {
        let expired = decisions.iter().filter(|decision| {
            let reason = CloseReason::IdleTimeout;
            matches!(decision, Decision::Close { reason: why, .. } if *why == reason)
        });
        let count = expired.count();
        if count == 0 {
            return;
        }
        self.see_if(count > 1, Seen::ExpireSeveral);
        match input {
            Input::Checkout => self.see(Seen::ExpireAtCheckout),
            Input::Tick => self.see(Seen::ExpireAtTick),
            Input::Returned(_) | Input::ReturnedUnused(_) | Input::Dialed(_) => {
                let found = self.before.idle > 0;
                self.see_if(found && self.before.full, Seen::ExpireMakesRoom);
                self.see(if found { Seen::ExpireAtReturn } else { Seen::ExpireAtOnce });
            }
            _ => {}
        }
    }

    fn see(&mut self, seen: Seen) {
        self.reached.insert(Path::Seen(seen));
    }

    fn see_if(&mut self, taken: bool, seen: Seen) {
        if taken {
            self.see(seen);
        }
    }
}
