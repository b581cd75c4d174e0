//! When a thread of a run ends, and what becomes of what is under way then. Owns the grace; which
//! requests are released until then is the pacer's.
//!
//! ```text
//!   start ───────────────── the last request is released ──── + 1 s ──── + grace
//!           requests are released      │ what waits for a       │ what is in flight
//!                                      │ connection is sent     │ is still answered
//! ```
//!
//! The last release is that of the plan, or the moment in which a stop is seen: then what waits for
//! a connection is not sent any more. The thread ends as soon as nothing is under way. Each
//! request has one of three fates: it completes, it fails, or it was never begun.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::exchange::End;
use super::slot::State;
use super::{Engine, Tally, seconds};
use crate::failure::ErrorClass;
use crate::pacer::{Pacer, Step};

/// The least that a request in flight is waited for when nothing more is released, unless it times
/// out before; and how long the backlog of an open loop is still sent.
const GRACE: Duration = Duration::from_secs(1);

impl Engine {
    pub(super) fn goes_on(&mut self, now: Instant) -> bool {
        if self.backlog_end().is_some_and(|end| now - self.started >= end) {
            self.give_backlog_up();
        }
        if !self.has_work(now) {
            return false;
        }
        if self.shared.is_aborted() {
            self.stop(now);
            self.tally.cut_short = true;
            return false;
        }
        if self.shared.is_stopped() && self.tally.stopped_at.is_none() {
            self.stop(now);
            return self.has_work(now);
        }
        true
    }

    /// Ends the releasing of requests before the plan does.
    fn stop(&mut self, now: Instant) {
        let elapsed = now - self.started;
        self.tally.stopped_at.get_or_insert(elapsed);
        self.tally.cut_short |= self.releases_more(elapsed) || !self.backlog.is_empty();
        self.pacer.end_at(elapsed);
        self.give_backlog_up();
    }

    fn give_backlog_up(&mut self) {
        self.tally.ledger.unsent += self.backlog.len() as u64;
        self.backlog.clear();
    }

    fn releases_more(&self, elapsed: Duration) -> bool {
        match &self.pacer {
            Pacer::Closed(pacer) => pacer.next(elapsed, self.tally.ledger.scheduled) == Step::Send,
            Pacer::Open(schedule) => schedule.next_due().is_some(),
        }
    }

    fn has_work(&self, now: Instant) -> bool {
        let elapsed = now - self.started;
        if self.releases_more(elapsed) || !self.backlog.is_empty() {
            return true;
        }
        let busy = self.in_flight > 0 || self.waiting > 0;
        busy && self.grace_end().is_none_or(|end| elapsed < end)
    }

    /// When requests in flight are given up. It is counted from the end of the releases, or from
    /// the last request that was begun after it.
    fn grace_end(&self) -> Option<Duration> {
        let last = self.pacer.deadline()?.max(self.last_begun - self.started);
        // A server that is slow by nature is not to fail for it.
        let longest = Duration::from_micros(self.tally.latency.max().unwrap_or(0));
        Some(last + (longest * 2).max(GRACE).min(self.plan.timeout()))
    }

    /// When the backlog of an open loop is given up.
    fn backlog_end(&self) -> Option<Duration> {
        let deadline = self.pacer.deadline().filter(|_| !self.backlog.is_empty())?;
        Some(deadline + GRACE)
    }

    /// The instants, since the start, at which a thread has to look whether it goes on.
    pub(super) fn limits(&self) -> impl Iterator<Item = Duration> {
        [self.pacer.deadline(), self.backlog_end(), self.grace_end()].into_iter().flatten()
    }

    /// Accounts for everything that has not ended by itself.
    pub(super) fn end(mut self) -> Tally {
        let now = Instant::now();
        self.tally.cut_short |= self.tally.stopped_at.is_some() && self.in_flight > 0;
        for index in 0..self.slots.len() {
            self.end_slot(index, now);
        }
        let never_released = self.pacer.left(self.tally.ledger.scheduled);
        self.tally.ledger.scheduled += never_released;
        self.tally.ledger.unsent += never_released;
        self.publish();
        self.hand_in_last();
        self.tally.used.cpu_time = seconds::thread_cpu_time();
        self.tally.used.waited_for_core = seconds::waited_for_core();
        self.tally.used.ran = self.started.elapsed();
        self.tally
    }

    /// Whatever the slot does is cut off here, and counted.
    fn end_slot(&mut self, index: usize, now: Instant) {
        match self.slots[index].state {
            State::Vacant | State::BackingOff => {}
            State::Dialing => {
                let since = self.slots[index].dialed_at;
                self.slots[index].socket = None;
                self.tally.ledger.connect_abandoned += 1;
                self.unanswered(index, now, since, "connect had no answer");
            }
            State::Handshaking => {
                let since = self.slots[index].opened_at;
                self.unanswered(index, now, since, "the TLS handshake was not over");
                self.close(index, End::StillOpen);
            }
            State::Exchanging => {
                let slot = &self.slots[index];
                let what = match slot.framing.received() {
                    true => "a part of the response had come",
                    false => "no byte of the response had come",
                };
                self.unanswered(index, now, slot.sent_at, what);
                self.close(index, End::StillOpen);
            }
            State::Open | State::Leaving { .. } => {
                let end = self.last_look(index);
                self.close(index, end);
            }
        }
    }

    fn unanswered(&mut self, index: usize, now: Instant, since: Instant, what: &str) {
        // The run has waited, and nothing has happened: its rate is not that of the waiting.
        let last_outcome = self.tally.last_outcome;
        let waited = now.saturating_duration_since(since).as_secs_f64();
        self.fail(index, ErrorClass::Unanswered, None, now, || {
            format!("{what} when the run ended, after {waited:.2} s")
        });
        self.tally.last_outcome = last_outcome;
    }

    pub(super) fn publish(&self) {
        let cell = self.shared.cell(self.thread);
        cell.completed.store(self.tally.ledger.completed, Relaxed);
        cell.failed.store(self.tally.ledger.failed, Relaxed);
        cell.open.store(self.open as u64, Relaxed);
        cell.in_flight.store(self.in_flight as u64, Relaxed);
    }
}
