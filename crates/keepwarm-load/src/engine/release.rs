//! Which slot gets the next request, and when. Owns the queue of an open loop; the instants are
//! the pacer's.
//!
//! In a closed loop whoever is free asks for the next request. In an open loop the instants come
//! whether anybody is free or not: a request goes to the connection that has been idle for
//! longest, else to a slot that dials, else into the backlog, first come first served. Beyond the
//! backlog's limit it is counted as unsent.

use std::num::NonZero;
use std::time::{Duration, Instant};

use super::slot::State;
use super::tally::micros;
use super::{Engine, STARTS_PER_TURN};
use crate::pacer::{Pacer, Step};
use crate::plan::Plan;

/// Instants taken from the schedule between two looks at the events.
const RELEASES_PER_TURN: usize = 4096;

/// How far behind its rate of dials a thread may be and still make up for it.
const CATCH_UP: Duration = Duration::from_millis(10);

/// The time between two dials of one thread.
pub(super) fn dial_gap(plan: &Plan) -> Duration {
    let threads = f64::from(u32::try_from(plan.threads()).unwrap_or(u32::MAX));
    plan.connect_rate().map_or(Duration::ZERO, |rate| Duration::from_secs_f64(threads / rate))
}

/// Lets the kernel wake this thread when its sleep ends and not up to 50 µs later, as it does to
/// save wake-ups. Without it every instant of an open loop would be late by that.
pub(super) fn wake_in_time() {
    // Refused only for real-time threads, which have no slack anyway.
    let _ = rustix::thread::set_current_timer_slack(NonZero::new(1));
}

impl Engine {
    /// Whether [`release`](Self::release) would start something without waiting for an event.
    pub(super) fn can_release(&self, now: Instant) -> bool {
        let may_dial = self.wants_to_dial() && now >= self.next_dial;
        may_dial || (!self.backlog.is_empty() && !self.idle.is_empty())
    }

    /// Whether a slot would dial if the rate of dials let it.
    pub(super) fn wants_to_dial(&self) -> bool {
        !self.ready.is_empty() && (!self.is_open_loop() || !self.backlog.is_empty())
    }

    /// Starts what can be started now.
    pub(super) fn release(&mut self, now: Instant) {
        match self.pacer {
            Pacer::Closed(_) => {
                for _ in 0..STARTS_PER_TURN {
                    let now = Instant::now();
                    let Some(index) = self.dialing_slot(now) else { return };
                    self.proceed(index, now);
                }
            }
            Pacer::Open(_) => self.release_due(now),
        }
    }

    /// A slot is vacant or open, and has no request.
    #[inline]
    pub(super) fn proceed(&mut self, index: usize, now: Instant) {
        match &self.pacer {
            Pacer::Closed(pacer) => {
                if pacer.next(now - self.started, self.tally.ledger.scheduled) == Step::Send {
                    self.tally.ledger.scheduled += 1;
                    self.start(index, now, now);
                }
            }
            Pacer::Open(_) => {
                let slot = &mut self.slots[index];
                if slot.state != State::Open {
                    self.ready.push_back(index);
                } else if !slot.parked {
                    slot.parked = true;
                    self.idle.push_back(index);
                }
                self.release_due(now);
            }
        }
    }

    /// Moves the instants that have come into the backlog, and from there to free slots.
    fn release_due(&mut self, now: Instant) {
        let Pacer::Open(schedule) = &mut self.pacer else { return };
        let elapsed = now - self.started;
        for _ in 0..RELEASES_PER_TURN {
            let Some(due) = schedule.take_due(elapsed) else { break };
            self.tally.ledger.scheduled += 1;
            self.tally.loader_lag.record(micros(elapsed - due));
            if self.backlog.len() < self.backlog_limit {
                self.backlog.push_back(due);
            } else {
                self.tally.ledger.unsent += 1;
            }
        }
        let mut dials = 0;
        while let Some(&due) = self.backlog.front() {
            let now = Instant::now();
            let Some(index) = self.free_slot(&mut dials, now) else { return };
            self.backlog.pop_front();
            self.start(index, self.started + due, now);
        }
    }

    /// The connection that has been idle for longest, or a slot that may dial.
    fn free_slot(&mut self, dials: &mut usize, now: Instant) -> Option<usize> {
        while let Some(index) = self.idle.pop_front() {
            self.slots[index].parked = false;
            // It may have been closed since, or closed and used again.
            if self.slots[index].state == State::Open {
                return Some(index);
            }
        }
        if *dials == STARTS_PER_TURN {
            return None;
        }
        *dials += 1;
        self.dialing_slot(now)
    }

    /// A vacant slot, if the rate of dials lets one dial now.
    fn dialing_slot(&mut self, now: Instant) -> Option<usize> {
        if now < self.next_dial {
            return None;
        }
        let index = self.ready.pop_front()?;
        if !self.dial_gap.is_zero() {
            // A thread that comes late may catch up with a little, but not with a burst.
            let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
            self.next_dial = self.next_dial.max(earliest) + self.dial_gap;
        }
        Some(index)
    }

    /// Gives the slot a request that was due at `due`.
    fn start(&mut self, index: usize, due: Instant, now: Instant) {
        self.in_flight += 1;
        self.last_begun = now;
        let slot = &mut self.slots[index];
        slot.written = 0;
        slot.due_at = due;
        self.arm(index, now + self.plan.timeout());
        if self.slots[index].state == State::Open {
            self.begin_exchange(index, now);
        } else {
            self.dial(index);
        }
    }

    /// Whether requests are due at instants of their own.
    #[inline]
    pub(super) fn is_open_loop(&self) -> bool {
        matches!(self.pacer, Pacer::Open(_))
    }
}
