//! Gives requests to slots. Owns the backlog of an open loop; the pacer owns the instants.
//!
//! In a closed loop each free slot asks for the next request. In an open loop the instants come
//! whether a slot is free or not: a request goes to the connection that has been idle for longest,
//! else to a slot that dials, else into the backlog, first come first served. A request beyond the
//! limit of the backlog is counted as unsent.

use std::collections::VecDeque;
use std::num::NonZero;
use std::time::{Duration, Instant};

use super::slot::{Current, State};
use super::{Engine, STARTS_PER_BATCH};
use crate::counts::micros;
use crate::pacer::{Pacer, Step};
use crate::plan::Plan;

/// Instants taken from the schedule before events are read again.
const RELEASES_PER_BATCH: usize = 4096;

/// Requests on their way from the pacer to the slots.
#[derive(Debug)]
pub(super) struct Pacing {
    pub(super) pacer: Pacer,
    /// Instants that have come, of requests for which no connection was free. Used in an open loop
    /// only.
    pub(super) backlog: VecDeque<Duration>,
    /// The most instants in the backlog.
    backlog_limit: usize,
    /// Time at which the last request was begun.
    pub(super) last_begun: Instant,
    /// Requests that this thread has begun to write, or tried to.
    pub(super) begun: u64,
}

impl Pacing {
    pub(super) fn new(pacer: Pacer, plan: &Plan, started: Instant) -> Self {
        Self {
            pacer,
            backlog: VecDeque::new(),
            backlog_limit: plan.backlog().div_ceil(plan.threads()),
            last_begun: started,
            begun: 0,
        }
    }
}

/// Lets the kernel wake this thread when its sleep ends, and not up to 50 µs later, as the kernel
/// does to save wake-ups. Without this every instant of an open loop would be late by that.
pub(super) fn wake_in_time() {
    // Refused only for real-time threads, which have no slack anyway.
    let _ = rustix::thread::set_current_timer_slack(NonZero::new(1));
}

impl Engine {
    /// Returns true if [`release`](Self::release) would start a request without waiting for an
    /// event.
    pub(super) fn can_release(&self, now: Instant) -> bool {
        let may_dial = self.wants_to_dial() && self.dialing.is_due(now);
        may_dial || (self.has_waiting() && !self.queues.idle.is_empty())
    }

    /// Returns true if a slot would dial, were it not for the limit on the rate of dials.
    pub(super) fn wants_to_dial(&self) -> bool {
        !self.queues.ready.is_empty() && (!self.is_open_loop() || self.has_waiting())
    }

    /// Returns true if a request waits for a connection.
    fn has_waiting(&self) -> bool {
        !self.pacing.backlog.is_empty() || !self.queues.given_back.is_empty()
    }

    /// Starts every request that can be started now.
    pub(super) fn release(&mut self, now: Instant) {
        match self.pacing.pacer {
            Pacer::Closed(_) => {
                for _ in 0..STARTS_PER_BATCH {
                    let now = Instant::now();
                    let Some(index) = self.dialing_slot(now) else { return };
                    self.proceed(index, now);
                }
            }
            Pacer::Open(_) => self.release_due(now),
        }
    }

    /// Looks for work for a slot that is vacant or open, and has no request.
    #[inline]
    pub(super) fn proceed(&mut self, index: usize, now: Instant) {
        if self.slots[index].http2.is_some() {
            // `go_on` has asked for as many requests as the connection takes.
            return;
        }
        if let Some(request) = self.queues.given_back.pop_front() {
            return self.resume(index, request);
        }
        match &self.pacing.pacer {
            Pacer::Closed(pacer) => {
                if pacer.next(now - self.started, self.tally.ledger.scheduled) == Step::Send {
                    self.tally.ledger.scheduled += 1;
                    self.start(index, now, now);
                }
            }
            Pacer::Open(_) => {
                let slot = &mut self.slots[index];
                if slot.state != State::Open {
                    self.queues.ready.push_back(index);
                } else if !slot.in_idle_queue {
                    slot.in_idle_queue = true;
                    self.queues.idle.push_back(index);
                    if let Some(age) = self.plan.max_lifetime() {
                        let reached = slot.opened_at + age;
                        self.arm(index, reached);
                    }
                }
                self.release_due(now);
            }
        }
    }

    /// Moves the instants that have come into the backlog, and from there to free slots.
    pub(super) fn release_due(&mut self, now: Instant) {
        let Pacer::Open(schedule) = &mut self.pacing.pacer else { return };
        let elapsed = now - self.started;
        for _ in 0..RELEASES_PER_BATCH {
            let Some(due) = schedule.take_due(elapsed) else { break };
            self.tally.ledger.scheduled += 1;
            self.tally.loader_lag.record(micros(elapsed - due));
            if self.pacing.backlog.len() < self.pacing.backlog_limit {
                self.pacing.backlog.push_back(due);
            } else {
                self.tally.ledger.unsent += 1;
            }
        }
        let mut dials = 0;
        while !self.queues.given_back.is_empty() {
            let Some(index) = self.free_slot(&mut dials, Instant::now()) else { return };
            if let Some(request) = self.queues.given_back.pop_front() {
                self.resume(index, request);
            }
        }
        while let Some(&due) = self.pacing.backlog.front() {
            let now = Instant::now();
            let Some(index) = self.free_slot(&mut dials, now) else { return };
            self.pacing.backlog.pop_front();
            self.start(index, self.started + due, now);
        }
    }

    /// Takes the connection that has been idle for longest, or a slot that may dial.
    fn free_slot(&mut self, dials: &mut usize, now: Instant) -> Option<usize> {
        while let Some(index) = self.queues.idle.pop_front() {
            self.slots[index].in_idle_queue = false;
            // The connection may have been closed since, or closed and used again.
            match self.room(index) {
                0 => continue,
                1 => {}
                // Behind the others, so that connections share the load.
                _ => self.offer(index),
            }
            return Some(index);
        }
        if *dials == STARTS_PER_BATCH {
            return None;
        }
        *dials += 1;
        let index = self.dialing_slot(now)?;
        // No connection has room, and one is in use: each has as many streams as it may.
        let is_full = self.plan.is_http2()
            && self.gauges.open > 0
            && self.slots.iter().any(|slot| slot.takes_streams());
        self.slots[index].is_for_streams |= is_full;
        Some(index)
    }

    /// Takes a vacant slot, if the rate of dials lets one dial now.
    fn dialing_slot(&mut self, now: Instant) -> Option<usize> {
        if !self.dialing.is_due(now) {
            return None;
        }
        let index = self.queues.ready.pop_front()?;
        self.dialing.spend(now);
        Some(index)
    }

    /// Gives the slot a request that was due at `due`.
    pub(super) fn start(&mut self, index: usize, due: Instant, now: Instant) {
        self.gauges.in_flight += 1;
        self.pacing.last_begun = now;
        let slot = &mut self.slots[index];
        slot.current.written = 0;
        slot.current.due_at = due;
        slot.current.given_back = 0;
        // Numbers alternate between threads, so that each number is used once and each request
        // equally often.
        let local = self.pacing.begun * self.plan.threads() as u64 + self.thread as u64;
        slot.current.number = self.plan.number(local);
        self.pacing.begun += 1;
        if self.plan.prepared().len() > 1 {
            slot.current.which = self.plan.which(slot.current.number);
        }
        self.arm(index, now + self.plan.timeout());
        if self.slots[index].state == State::Open || self.slots[index].http2.is_some() {
            self.begin_exchange(index, now);
        } else {
            self.dial(index);
        }
    }

    /// Gives the slot a request that a server has given back.
    #[cold]
    pub(super) fn resume(&mut self, index: usize, (request, deadline): (Current, Instant)) {
        self.slots[index].current = request;
        self.arm(index, deadline);
        if self.slots[index].http2.is_some() {
            self.open_stream(index, Instant::now());
        } else {
            self.dial(index);
        }
    }

    /// Returns true if requests are due at instants of their own.
    #[inline]
    pub(super) fn is_open_loop(&self) -> bool {
        matches!(self.pacing.pacer, Pacer::Open(_))
    }
}
