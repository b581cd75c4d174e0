//! Dumps into the books: what is alive, and which TIME_WAIT is whose.
//!
//! Owns the pass of one dump. Concludes nothing.

use std::time::Duration;

use super::{
    DECISIVE, FIT_SLACK, Ledger, PortAlive, PortHalf, PortLook, PortPair, TRANSITIONAL, requests,
};
use crate::kernel::socket::{Side, Socket, State};
use crate::tracker::classify::TimeWait;

impl Ledger {
    /// A dump begins.
    pub(crate) fn begin_look(&mut self) {
        self.looks += 1;
        self.look = Some(PortLook::default());
    }

    /// One row of it, read just now.
    pub(crate) fn handle_row(&mut self, row: &Socket, now: Duration) {
        let Some(side) = row.side(self.port) else {
            return;
        };
        let pair = PortPair::of(side, row);
        if row.is_alive() {
            self.learn(side, &pair);
        }
        let waited_for = row.is_minisocket() && self.pending.contains_key(&pair);
        let old = self.minisockets_at_start.contains(&row.cookie);
        let Some(look) = &mut self.look else { return };
        let view = &mut look.view;
        view.transitional |= TRANSITIONAL.contains(row.state);
        match row.state {
            State::Established => *view.established.get_mut(side) += 1,
            State::CloseWait => *view.close_wait.get_mut(side) += 1,
            State::TimeWait => {
                *view.time_wait_total.get_mut(side) += 1;
                *view.time_wait.get_mut(side) += u64::from(!old);
            }
            _ => {}
        }
        if row.is_minisocket() && self.opened_at.is_none() {
            view.minisockets.insert(row.cookie);
        }
        if row.is_alive() {
            if side == Side::Client {
                view.clients.insert(pair);
            }
            let requests = requests(side, row);
            view.alive.insert(row.cookie, PortAlive { side, pair, requests });
        } else if waited_for {
            let age = row.time_wait_age_ms().map(|age| Duration::from_millis(age.into()));
            // What was entered before the watch began is put at the zero of its clock.
            look.found.push((side, pair, age.map(|age| now.saturating_sub(age))));
        }
    }

    /// The dump has ended. `refused`: the kernel did not keep some TIME_WAITs lately, so that
    /// finding none proves nothing.
    pub(crate) fn end_look(&mut self, now: Duration, refused: bool) {
        let Some(look) = self.look.take() else { return };
        for (side, pair, entered) in look.found {
            let Some(ends) = self.pending.get_mut(&pair) else {
                continue;
            };
            // A pair that lived twice: connecting again removed the older TIME_WAIT, so the one
            // that is there belongs to the last.
            let last = ends.get_mut(side).iter_mut().rev().find(|half| !half.looked);
            if let Some(half) = last.filter(|half| fits(half, entered)) {
                half.see(TimeWait::Present);
            }
        }
        self.unlooked_since = None;
        for ends in self.pending.values_mut() {
            for half in ends.client.iter_mut().chain(&mut ends.server).filter(|half| !half.looked) {
                if half.known_at_look < self.looks {
                    let late = now.saturating_sub(half.at) + half.silent > DECISIVE;
                    half.see(if late || refused { TimeWait::Unknown } else { TimeWait::Absent });
                } else {
                    // It came while the dump was walking: for the next one.
                    let oldest = self.unlooked_since.map_or(half.at, |oldest| oldest.min(half.at));
                    self.unlooked_since = Some(oldest);
                }
            }
        }
        // A second look after the window's end only answers what was open.
        if !self.closing {
            let before = std::mem::replace(&mut self.view, look.view);
            self.seen_before = before.alive;
        }
        self.settle(now, false);
    }

    /// Arrival of the oldest end that no dump has looked for yet.
    pub(crate) fn unlooked_since(&self) -> Option<Duration> {
        self.unlooked_since
    }

    /// Whether some end has been looked for and waits only for its mate.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Whether the last look saw a socket between two states.
    pub(crate) fn is_transitional(&self) -> bool {
        self.view.transitional
    }

    /// How many sockets the last look saw alive.
    pub(crate) fn alive_sockets(&self) -> usize {
        self.view.alive.len()
    }
}

impl PortHalf {
    fn see(&mut self, time_wait: TimeWait) {
        self.looked = true;
        if let Some(evidence) = &mut self.evidence {
            evidence.time_wait = time_wait;
        }
    }
}

/// Whether a TIME_WAIT entered then (`None`: it is in FIN_WAIT2 still) can be this end's.
fn fits(half: &PortHalf, entered: Option<Duration>) -> bool {
    entered.is_none_or(|entered| entered + half.silent + FIT_SLACK >= half.at)
}
