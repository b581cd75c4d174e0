//! What a look would tell, asked of single ends: for a few of them that is far cheaper.
//!
//! Owns the questions, and whether there have to be any. Concludes nothing.

use std::net::SocketAddr;
use std::time::Duration;

use super::{DeadPair, DeadSocket, Pair, Tracker, Which};
use crate::kernel::socket::{Side, Socket, State};
use crate::kernel::wire::diag::SocketLookup;
use crate::tracker::classify::{is_told, is_told_alone};

impl Tracker {
    /// Begins a round of questions: one for each end that nothing else tells about. False if a look
    /// is needed, or there would be more than `most`.
    pub(crate) fn begin_lookups(&mut self, most: usize, questions: &mut Vec<SocketLookup>) -> bool {
        questions.clear();
        for (pair, dead) in &self.pending {
            for end in [Which::Low, Which::High] {
                let (local, remote) = pair.seen_from(end);
                let Some(last) = dead.get(end).back().filter(|half| !half.looked) else { continue };
                if questions.len() >= most || self.sure_side(&local, &remote).is_none() {
                    return false;
                }
                let interface = last.event.interface;
                questions.push(SocketLookup { local, remote, interface });
            }
        }
        self.rounds += 1;
        true
    }

    /// What is there on a pair of addresses that was asked for.
    pub(crate) fn handle_found(&mut self, row: &Socket, now: Duration) {
        if row.state == State::Listen {
            self.listeners.handle(row);
        } else if row.is_minisocket() {
            self.found.push((Pair::of(row), Which::of(row), row.entered_time_wait(now)));
        }
    }

    pub(crate) fn end_lookups(&mut self, now: Duration, refused: bool) {
        self.judge_found(now, refused);
        self.settle(now, false);
    }

    /// Whether the ends of a pair tell all there is to know of them.
    pub(super) fn is_told(&self, pair: &Pair, dead: &DeadPair) -> bool {
        let (Some(low), Some(high)) = (dead.low.only(), dead.high.only()) else { return false };
        match self.sure_side(&pair.low, &pair.high) {
            Some(Side::Client) => {
                is_told(&low.evidence(Side::Client), &high.evidence(Side::Server))
            }
            Some(Side::Server) => {
                is_told(&high.evidence(Side::Client), &low.evidence(Side::Server))
            }
            None => false,
        }
    }

    /// Whether an end tells how it was closed by itself.
    pub(super) fn is_told_alone(&self, half: &DeadSocket) -> bool {
        let side = self.sure_side(&half.event.local, &half.event.remote);
        side.is_some_and(|side| is_told_alone(&half.evidence(side)))
    }

    /// The side of an end, where no look could teach better: a service on this host has a listener,
    /// and it is known.
    fn sure_side(&self, local: &SocketAddr, remote: &SocketAddr) -> Option<Side> {
        let side = self.listeners.side(local, remote)?;
        let service = if side == Side::Client { remote } else { local };
        let sure =
            self.listeners.serves(service) || side == Side::Client && !self.is_here(&service.ip());
        sure.then_some(side)
    }
}
