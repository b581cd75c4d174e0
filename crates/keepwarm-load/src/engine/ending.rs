//! The end of a thread: when it comes, and how it is counted. Owns the grace; the pacer owns the
//! release of requests.
//!
//! ```text
//!   start ───────────────── the last request is released ──── + 1 s ──── + grace
//!           requests are released      │ requests that wait for │ requests in flight
//!                                      │ a connection are sent  │ are still answered
//! ```
//!
//! The last release is the plan's, or the moment in which a stop is seen; after a stop, requests
//! that wait for a connection are not sent. The thread ends as soon as nothing is under way. Each
//! request ends in one of three ways: it completes, it fails, or it was never begun.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use super::exchange::ConnectionEnd;
use super::slot::State;
use super::{Engine, Gauges, seconds};
use crate::counts::{ErrorClass, Tally};
use crate::pacer::{Pacer, Step};

/// The shortest grace for a request in flight after the last release, unless the request times out
/// before; and the time for which the backlog of an open loop is still sent.
const GRACE: Duration = Duration::from_secs(1);

impl Engine {
    /// Returns false if the thread is to end.
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

    /// Ends the release of requests before the plan does.
    fn stop(&mut self, now: Instant) {
        let elapsed = now - self.started;
        self.tally.stopped_at.get_or_insert(elapsed);
        self.tally.cut_short |= self.releases_more(elapsed) || !self.pacing.backlog.is_empty();
        self.pacing.pacer.end_at(elapsed);
        self.give_backlog_up();
    }

    fn give_backlog_up(&mut self) {
        self.tally.ledger.unsent += self.pacing.backlog.len() as u64;
        self.pacing.backlog.clear();
    }

    fn releases_more(&self, elapsed: Duration) -> bool {
        match &self.pacing.pacer {
            Pacer::Closed(pacer) => pacer.next(elapsed, self.tally.ledger.scheduled) == Step::Send,
            Pacer::Open(schedule) => schedule.next_due().is_some(),
        }
    }

    fn has_work(&self, now: Instant) -> bool {
        let elapsed = now - self.started;
        if self.releases_more(elapsed) || !self.pacing.backlog.is_empty() {
            return true;
        }
        let busy = self.gauges.in_flight > 0 || self.gauges.waiting > 0;
        busy && self.grace_end().is_none_or(|end| elapsed < end)
    }

    /// Returns when requests in flight are given up, counted from the end of the releases, or from
    /// the last request that was begun after it.
    fn grace_end(&self) -> Option<Duration> {
        let last_begun = self.pacing.last_begun - self.started;
        let last = self.pacing.pacer.deadline()?.max(last_begun);
        // A server that is slow by nature must not fail for it.
        let longest = Duration::from_micros(self.tally.latency.max().unwrap_or(0));
        Some(last + (longest * 2).max(GRACE).min(self.plan.timeout()))
    }

    /// Returns when the backlog of an open loop is given up.
    fn backlog_end(&self) -> Option<Duration> {
        let pacing = &self.pacing;
        let deadline = pacing.pacer.deadline().filter(|_| !pacing.backlog.is_empty())?;
        Some(deadline + GRACE)
    }

    /// Lists the instants, since the start, at which a thread checks whether it goes on.
    pub(super) fn limits(&self) -> impl Iterator<Item = Duration> {
        [self.pacing.pacer.deadline(), self.backlog_end(), self.grace_end()].into_iter().flatten()
    }

    /// Counts every request and connection that has not ended by itself.
    pub(super) fn end(mut self) -> Tally {
        let now = Instant::now();
        self.tally.cut_short |= self.tally.stopped_at.is_some() && self.gauges.in_flight > 0;
        for index in 0..self.slots.len() {
            self.end_slot(index, now);
        }
        while let Some((request, _)) = self.queues.given_back.pop_front() {
            self.slots[0].current = request;
            let since = request.sent_at;
            self.unanswered(0, now, since, "the server had given it back unprocessed");
        }
        let never_released = self.pacing.pacer.left(self.tally.ledger.scheduled);
        self.tally.ledger.scheduled += never_released;
        self.tally.ledger.unsent += never_released;
        self.publish();
        self.hand_in_last();
        self.tally.used.cpu_time = seconds::thread_cpu_time();
        self.tally.used.waited_for_core = seconds::waited_for_core();
        self.tally.used.ran = self.started.elapsed();
        if self.plan.shows_exchange() {
            let capture = self.slots.first_mut().and_then(|slot| slot.capture.as_mut());
            self.tally.exchange = capture.and_then(|capture| capture.kept.take());
        }
        self.tally
    }

    /// Ends the work of one slot, and counts it.
    fn end_slot(&mut self, index: usize, now: Instant) {
        match self.slots[index].state {
            State::Vacant | State::BackingOff => {}
            State::Dialing => {
                let since = self.slots[index].dialed_at;
                self.slots[index].socket = None;
                self.slots[index].state = State::Vacant;
                self.tally.ledger.connect_abandoned += 1;
                self.unanswered(index, now, since, "connect had no answer");
            }
            State::Handshaking => {
                let since = self.slots[index].opened_at;
                self.unanswered(index, now, since, "the TLS handshake was not over");
                self.close(index, ConnectionEnd::StillOpen);
            }
            State::Exchanging if self.slots[index].http2.is_some() => {
                self.streams_unanswered(index, now);
                self.close(index, ConnectionEnd::StillOpen);
            }
            State::Exchanging => {
                let slot = &self.slots[index];
                let what = match slot.response.received() {
                    true => "a part of the response had come",
                    false => "no byte of the response had come",
                };
                self.unanswered(index, now, slot.current.sent_at, what);
                self.close(index, ConnectionEnd::StillOpen);
            }
            State::Open | State::Leaving { .. } => {
                let end = self.check_for_close(index);
                self.close(index, end);
            }
        }
    }

    fn unanswered(&mut self, index: usize, now: Instant, since: Instant, what: &str) {
        // Nothing happened while the run waited, so the wait must not lower the rate.
        let last_outcome = self.tally.last_outcome;
        let waited = now.saturating_duration_since(since).as_secs_f64();
        self.fail(index, ErrorClass::Unanswered, None, now, || {
            format!("{what} when the run ended, after {waited:.2} s")
        });
        self.tally.last_outcome = last_outcome;
    }

    /// Publishes the thread's progress.
    pub(super) fn publish(&self) {
        debug_assert_eq!(self.gauges, Gauges::of(&self.slots, self.queues.given_back.len()));
        let cell = self.shared.cell(self.thread);
        cell.completed.store(self.tally.ledger.completed, Relaxed);
        cell.failed.store(self.tally.ledger.failed, Relaxed);
        cell.open.store(self.gauges.open as u64, Relaxed);
        cell.in_flight.store(self.gauges.in_flight as u64, Relaxed);
    }
}
