//! From ends to connections to the account.
//!
//! Owns the pairing of ends, the wait for a missing one, and the sums at the end.

use std::collections::HashSet;
use std::time::Duration;

use super::{Ledger, MATE_WAIT, MAX_PENDING, PortAlive, PortEnds, PortHalf, PortPair, Role, Start};
use crate::kernel::socket::Side;
use crate::report::port::{PortReport, Tally};
use crate::tracker::classify::{CloseKind, classify};

impl Ledger {
    /// Concludes what can be concluded now; everything if `finally`.
    pub(crate) fn settle(&mut self, now: Duration, finally: bool) {
        let mut pending = std::mem::take(&mut self.pending);
        self.waiting = false;
        pending.retain(|pair, ends| {
            while self.settle_one(pair, ends, now, finally) {}
            self.waiting |= ends.client.front().is_some_and(|half| half.looked);
            !(ends.client.is_empty() && ends.server.is_empty())
        });
        self.pending = pending;
    }

    /// Concludes the oldest connection of a pair; false if it has to wait.
    fn settle_one(
        &mut self,
        pair: &PortPair,
        ends: &mut PortEnds,
        now: Duration,
        finally: bool,
    ) -> bool {
        let (client, server) = (ends.client.front(), ends.server.front());
        let looked = |half: &PortHalf| half.looked || finally;
        match (client, server) {
            (Some(client), Some(server)) if looked(client) && looked(server) => {
                let client = ends.client.pop_front();
                self.conclude(client, ends.server.pop_front());
            }
            (Some(client), None) if looked(client) => {
                let expected = self.server_is_here(pair);
                if expected && !finally && now.saturating_sub(client.at) < MATE_WAIT {
                    return false;
                }
                self.conclude(ends.client.pop_front(), None);
                if expected {
                    self.expect_late(pair);
                }
            }
            (None, Some(server)) if looked(server) => {
                if !self.client_is_here(pair) {
                    self.conclude(None, ends.server.pop_front());
                } else if let Some(stray) = self.take_stray(pair) {
                    self.conclude(Some(stray), ends.server.pop_front());
                } else if finally && !self.view.clients.contains(pair) {
                    // The client's file is still open, or its event was lost.
                    self.conclude(None, ends.server.pop_front());
                } else if finally {
                    ends.server.pop_front();
                } else {
                    return false;
                }
            }
            _ => return false,
        }
        true
    }

    fn expect_late(&mut self, pair: &PortPair) {
        if self.unheard.len() < MAX_PENDING {
            *self.unheard.entry(*pair).or_default() += 1;
        } else {
            self.forget(pair.client.ip(), 1);
        }
    }

    fn take_stray(&mut self, pair: &PortPair) -> Option<PortHalf> {
        let key = (pair.client.port(), pair.server.ip());
        let queue = self.strays.get_mut(&key)?;
        let half = queue.pop_front();
        if queue.is_empty() {
            self.strays.remove(&key);
        }
        self.stray_count -= usize::from(half.is_some());
        half
    }

    fn conclude(&mut self, client: Option<PortHalf>, server: Option<PortHalf>) {
        let evidence = |half: &Option<PortHalf>| half.as_ref().and_then(|half| half.evidence);
        self.closed.add(classify(evidence(&client).as_ref(), evidence(&server).as_ref()));
        let requests = [&client, &server].into_iter().flatten().find_map(|half| half.requests);
        let start = [&client, &server].into_iter().flatten().find_map(|half| half.start);
        if let Some(requests) = requests {
            self.tally.count(requests, start);
        }
    }

    /// The account so far.
    pub(crate) fn account(&mut self) -> PortReport {
        let alive = self.count_alive();
        let opened = (self.closed.total() + alive).saturating_sub(self.alive_at_start);
        self.opened_so_far = self.opened_so_far.max(opened);
        PortReport {
            port: self.port,
            opened: self.opened_so_far,
            closed: self.closed,
            requests: self.tally.summary(),
            alive_at_start: self.alive_at_start,
            alive_at_end: alive,
            established: self.view.established,
            close_wait: self.view.close_wait,
            time_wait: self.view.time_wait,
            time_wait_total: self.view.time_wait_total,
            unattributed_aborts: self.unattributed_aborts,
            overflowed: self.overflowed,
            ..PortReport::default()
        }
    }

    /// The account at the end of the window.
    pub(crate) fn finish(mut self, now: Duration) -> PortReport {
        self.bury_the_vanished(now);
        self.settle(now, true);
        self.count_unclaimed_aborts();
        self.unattributed_aborts += self.stray_count as u64;
        let live: Vec<(u64, PortAlive)> = self.view.alive.iter().map(|(c, a)| (*c, *a)).collect();
        for (cookie, alive) in live {
            if let (true, Some(requests)) = (self.counts(&alive), alive.requests) {
                self.tally.count(requests, self.baseline.get(&cookie).copied());
            }
        }
        // What was published on the way may have been too much; the end is exact.
        self.opened_so_far = 0;
        self.account()
    }

    /// Connections of the baseline that are neither alive nor had an event: over, with their file
    /// still open in some program, or their event was lost.
    fn bury_the_vanished(&mut self, now: Duration) {
        let gone: Vec<u64> = self
            .baseline
            .iter()
            .filter(|(cookie, start)| {
                start.role == Role::Counted && !self.view.alive.contains_key(cookie)
            })
            .map(|(cookie, _)| *cookie)
            .collect();
        for cookie in gone {
            let Some(start) = self.baseline.remove(&cookie) else {
                continue;
            };
            self.push(
                start.side,
                start.pair,
                PortHalf {
                    at: now,
                    silent: Duration::ZERO,
                    evidence: None,
                    known_at_look: 0,
                    looked: true,
                    requests: None,
                    start: Some(start),
                },
            );
        }
    }

    /// Servers' aborts that no client's end accounts for: the client's file is still open.
    fn count_unclaimed_aborts(&mut self) {
        let mut explained = std::mem::take(&mut self.unheard_before);
        let served: HashSet<PortPair> = self
            .view
            .alive
            .values()
            .filter(|alive| alive.side == Side::Server)
            .map(|alive| alive.pair)
            .collect();
        for (pair, count) in &self.unheard {
            if !served.contains(pair) {
                *explained.entry(pair.client.ip()).or_default() += u64::from(*count);
            }
        }
        for (client, aborts) in std::mem::take(&mut self.server_aborts) {
            let claimed = explained.get(&client).copied().unwrap_or(0);
            for _ in claimed..aborts {
                self.closed.add(CloseKind::ServerRst);
            }
        }
    }

    fn count_alive(&self) -> u64 {
        self.view.alive.values().filter(|alive| self.counts(alive)).count() as u64
    }

    /// Whether a live socket is the end at which its connection is counted.
    fn counts(&self, alive: &PortAlive) -> bool {
        alive.side == Side::Client
            || !(self.view.clients.contains(&alive.pair) || self.client_is_here(&alive.pair))
    }
}

impl Tally {
    /// Counts a connection's requests within the window.
    fn count(&mut self, requests: u64, start: Option<Start>) {
        match start {
            None => self.add(requests),
            Some(Start { requests: Some(before), .. }) if requests > before => {
                self.add(requests - before);
            }
            Some(_) => {}
        }
    }
}
