//! Decides when a watch acts, and what it does then: a dump, lookups, a reading of the counters, or
//! settling.
//!
//! Owns every interval and every limit of cost of a [`Watch`](crate::Watch). Pure: the time, the
//! measured costs and the counters are passed in. Reads no clock, and does none of what it decides.
//!
//! ```text
//!                           ┌ a dead socket's TIME_WAIT is wanted ─► lookups, or a dump if cheaper
//!  250 ms after the last ───┤
//!  round at the earliest    └ a dead socket waits for its peer's event ─► settle
//!
//!  periodically: every 2 s; ┌ a TIME_WAIT is wanted ─► a dump
//!  while sockets die, down ─┤
//!  to every 250 ms          └ otherwise ─► counters ─► nothing has moved ─► settle
//!                                                  └─► a change         ─► a dump
//!
//!  every 250 ms between, ────── counters ─► a connection opened, and a dump is cheap ─► a dump
//!  or 1 s where it is calm              └─► otherwise ─► settle
//! ```
//! Dumps soon after an open meet connections while they live: a dead socket has no owner to find.
//! Events wait in the inbox for 250 ms at most. Where nothing is unfinished the first event ends the
//! wait, so that a dead socket's TIME_WAIT is searched for while its absence still proves something
//! (900 ms on loopback); then the events of 250 ms are read at once. One of many watches searches less
//! often where that proves as much later.

use std::time::Duration;

use crate::kernel::counters::Counters;
use crate::watch::quiescence::Quiescence;

/// Between two rounds while events come in. A dump walks the kernel's whole table (about 10 ms);
/// on loopback, a search within 900 ms of the event also proves the absence of a TIME_WAIT.
const ROUND_EVERY: Duration = Duration::from_millis(250);
/// Between two readings of the inbox while nothing is unfinished: a close every few milliseconds
/// wakes the tracking thread eight times a second at most.
const READ_EVERY: Duration = Duration::from_millis(250);
/// Between two of them of one of many watches, unless an event on loopback comes.
const READ_EVERY_OF_MANY: Duration = Duration::from_secs(1);
/// Events arrive in pairs and bursts: this long after the first one, more have come for the same
/// round.
const GATHER: Duration = Duration::from_millis(100);
/// A search for TIME_WAITs waits for a periodic dump that begins within this time of the first event:
/// the dump finds them too. On loopback, finding none proves something for 900 ms: the rest of them is
/// left for a machine that is late.
const AWAIT_DUMP: Duration = Duration::from_millis(350);
/// From so many watches of network namespaces on, each has its rounds less often.
pub(crate) const MANY: u32 = 4;
/// Between two rounds then, and after the first event: together still less than the 900 ms.
const ROUND_OF_MANY: Duration = Duration::from_millis(400);
const GATHER_OF_MANY: Duration = Duration::from_millis(200);
/// Between two rounds of one of many watches whose dead sockets all had a peer on another host, as those of
/// namespaces have: there, finding no TIME_WAIT proves something for five seconds.
const PATIENT_ROUND: Duration = Duration::from_secs(3);
/// The periodic dumps of many watches take together at most one part in this many of a core.
const MANY_SHARE: u32 = 1000;
/// Between two periodic dumps of one of many watches, for each of them: the reading of the counters
/// that shows a dump needless costs, too.
const DUMP_EACH: Duration = Duration::from_millis(40);
/// Between two readings of the counters of one of many watches where it is calm: for a namespace in which
/// nothing happens, that is all that a watch costs.
const DUMP_OF_MANY_WHEN_CALM: Duration = Duration::from_secs(5);
/// Longest time between two periodic dumps of one of many watches.
const DUMP_AT_MOST: Duration = Duration::from_secs(45);
/// Between two periodic dumps, or readings of the counters in place of one, when no socket dies.
const DUMP_EVERY: Duration = Duration::from_secs(2);
/// While sockets die, the periodic dumps between those of [`DUMP_EVERY`] take at most one part in
/// this many of a core: after a dump that took 5 ms comes a pause of a second.
const CLOSING_SHARE: u32 = 200;
/// While connections open and none dies, the dumps between those of [`DUMP_EVERY`] take at most one
/// part in this many of a core: after a dump that took 1 ms comes a pause of half a second.
const OPENING_SHARE: u32 = 500;
/// Between two readings of the counters, to learn that a connection opened. One costs about fifty
/// microseconds.
const COUNTERS_EVERY: Duration = Duration::from_millis(250);
/// Between two of them where it is calm: no connection has opened and no socket has died for
/// [`CALM_AFTER`]. The first death does not wait for them, and connections that stay are met later.
const COUNTERS_WHEN_CALM: Duration = Duration::from_secs(1);
const CALM_AFTER: Duration = Duration::from_secs(5);
/// Upper bound on single-socket lookups per round. Lookups are used while they cost less than a
/// dump.
const MAX_LOOKUPS: usize = 1 << 16;
/// Assumed cost of one lookup until it has been measured.
const LOOKUP_COST: Duration = Duration::from_micros(2);
/// Pairs of addresses that may come to wait between two rounds, a kilobyte each. More come to a watch that has
/// got no processor time for a while, and handles at once what the kernel has kept for it.
const CROWD: usize = 1 << 11;
/// Open sockets up to which each dump fetches `tcp_info`: 0.7 us each, beside the walk over the kernel's
/// table. A connection that idles for a second is met idle then.
const FEW: usize = 500;
/// Maximum age of the requests and idle times of live connections, while dumps are made.
const INFO_EVERY: Duration = Duration::from_secs(1);

/// The tracker's unfinished work, as far as it decides when to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unfinished {
    Nothing,
    /// Some dead socket waits only for its peer's event, or for a trace.
    Pairing,
    /// Some dead socket may have left a TIME_WAIT, and neither a dump nor a lookup has searched for
    /// it. The oldest such event arrived at `since`.
    TimeWaits {
        since: Duration,
        /// A search some seconds later proves as much.
        is_patient: bool,
    },
}

/// An action whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Conclude what has waited long enough. Reads nothing from the kernel.
    Settle,
    /// Look up the wanted TIME_WAITs one by one, unless that takes more lookups than this: then
    /// dump.
    Lookups { at_most: usize },
    /// Read the counters; [`Schedule::handle_counters`] decides between a dump and settling.
    Counters,
    /// Dump the socket table.
    Dump,
}

/// How long the tracking thread may sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) until: Duration,
    pub(crate) wake: Wake,
}

/// Events that end a sleep before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Wake {
    /// Any event.
    Any,
    /// One on loopback, where a search for TIME_WAITs proves something for less than a second; else as
    /// many as for `Many`.
    Loopback,
    /// A quarter of an inbox of events.
    #[default]
    Many,
}

/// When a watch acted last, what that cost, and so when it acts next.
#[derive(Debug)]
pub(crate) struct Schedule {
    last_dump: Duration,
    /// Processor time of the last dump.
    dump_cost: Duration,
    /// Processor time of one lookup, in the last round of them.
    lookup_cost: Duration,
    /// False once this system has refused to look up single sockets.
    lookups_work: bool,
    /// The last dump, round of lookups, or settling.
    last_round: Duration,
    /// The last reading of the counters in place of a periodic dump that showed no need for it.
    last_skip: Duration,
    /// The last reading of the counters between periodic dumps.
    last_glance: Duration,
    last_event: Duration,
    /// The last reading of the counters that showed connections opened.
    last_open: Duration,
    /// The last reading of the inbox that brought events.
    last_read: Duration,
    /// Pairs of addresses that wait now, and those that waited after the last round.
    waiting: usize,
    left_waiting: usize,
    quiescence: Quiescence,
    /// Watches of network namespaces that share a machine's time, this one included.
    watches: u32,
}

impl Default for Schedule {
    fn default() -> Schedule {
        Schedule {
            last_dump: Duration::ZERO,
            dump_cost: Duration::ZERO,
            lookup_cost: LOOKUP_COST,
            lookups_work: true,
            last_round: Duration::ZERO,
            last_skip: Duration::ZERO,
            last_glance: Duration::ZERO,
            last_event: Duration::ZERO,
            last_open: Duration::ZERO,
            last_read: Duration::ZERO,
            waiting: 0,
            left_waiting: 0,
            quiescence: Quiescence::default(),
            watches: 1,
        }
    }
}

impl Schedule {
    /// Takes the death of a socket in scope.
    pub(crate) fn handle_event(&mut self, at: Duration) {
        self.last_event = at;
    }

    /// Takes the number of watches that share the machine's time, this one included.
    pub(crate) fn handle_watches(&mut self, watches: u32) {
        self.watches = watches;
    }

    /// Returns whether many watches of network namespaces share the machine's time.
    pub(crate) fn is_of_many(&self) -> bool {
        self.watches >= MANY
    }

    /// Takes a reading of the inbox that brought events, after which so many pairs of addresses wait.
    pub(crate) fn handle_read(&mut self, now: Duration, waiting: usize) {
        (self.last_read, self.waiting) = (now, waiting);
    }

    /// Takes the end of what was due, after which so many pairs of addresses wait further.
    pub(crate) fn handle_round_end(&mut self, waiting: usize) {
        (self.waiting, self.left_waiting) = (waiting, waiting);
    }

    /// Returns how long to sleep now.
    pub(crate) fn wait(&self, now: Duration, unfinished: Unfinished) -> Wait {
        let until = self.next_due(unfinished);
        let is_of_many = self.is_of_many();
        let read_at = self.last_read + READ_EVERY;
        let read_of_many_at = self.last_read + READ_EVERY_OF_MANY;
        match unfinished {
            Unfinished::Nothing if now < read_at => {
                Wait { until: until.min(read_at), wake: Wake::Many }
            }
            Unfinished::Nothing if is_of_many && now < read_of_many_at => {
                Wait { until: until.min(read_of_many_at), wake: Wake::Loopback }
            }
            Unfinished::Nothing => Wait { until, wake: Wake::Any },
            Unfinished::TimeWaits { is_patient: true, .. } if is_of_many => {
                Wait { until, wake: Wake::Loopback }
            }
            Unfinished::Pairing | Unfinished::TimeWaits { .. } => Wait { until, wake: Wake::Many },
        }
    }

    /// Takes the counters as read before a dump, `None` if the next periodic dump must not be
    /// skipped.
    pub(crate) fn handle_dump_start(&mut self, counters: Option<Counters>) {
        self.quiescence.handle_dump_start(counters);
    }

    /// Takes the end of a dump, and the processor time that it took.
    pub(crate) fn handle_dump_end(&mut self, now: Duration, cost: Duration) {
        (self.last_dump, self.last_round, self.dump_cost) = (now, now, cost);
        self.quiescence.handle_dump_end(now, cost);
    }

    /// Takes a round of so many lookups, and the processor time that they took together.
    pub(crate) fn handle_lookups(&mut self, count: usize, cost: Duration) {
        if let Some(count) = u32::try_from(count).ok().filter(|count| *count > 0) {
            self.lookup_cost = cost / count;
        }
    }

    /// Takes this system's refusal to look up single sockets: from now on dumps do without.
    pub(crate) fn handle_lookups_refused(&mut self) {
        self.lookups_work = false;
    }

    /// Takes the counters read for [`Due::Counters`]. Returns true if the dump is to be skipped: it
    /// would show nothing new, and only time passes.
    pub(crate) fn handle_counters(&mut self, now: Duration, counters: Option<Counters>) -> bool {
        let shows_open = self.quiescence.shows_open(counters);
        if shows_open {
            self.last_open = now;
        }
        if now < self.next_periodic_dump() {
            self.last_glance = now;
            let pause = (self.dump_cost * OPENING_SHARE).max(COUNTERS_EVERY);
            return now < self.last_dump + pause || !shows_open;
        }
        let skips = self.quiescence.allows_skip(now, counters);
        if skips {
            self.last_skip = now;
        }
        skips
    }

    /// Makes the next periodic dump a certainty, though the counters show no change: an owner that
    /// was found shows in the next dump only.
    pub(crate) fn require_dump(&mut self) {
        self.quiescence.forget();
    }

    /// Returns whether this system looks single sockets up.
    pub(crate) fn looks_up(&self) -> bool {
        self.lookups_work
    }

    pub(crate) fn last_event(&self) -> Duration {
        self.last_event
    }

    /// Returns the time of the last periodic dump that was skipped, since the counters showed no need for
    /// it.
    pub(crate) fn last_skip(&self) -> Duration {
        self.last_skip
    }

    pub(crate) fn last_dump(&self) -> Duration {
        self.last_dump
    }

    /// Returns true if the next dump, for any purpose, should fetch `tcp_info`; `age` is that of
    /// the last one that did, `sockets` how many there are.
    pub(crate) fn wants_info(age: Option<Duration>, sockets: usize) -> bool {
        sockets <= FEW || age.is_none_or(|age| age >= INFO_EVERY)
    }

    /// Returns the time of the next action.
    pub(crate) fn next_due(&self, unfinished: Unfinished) -> Duration {
        if self.waiting >= self.left_waiting.saturating_add(CROWD) {
            return self.last_read;
        }
        let may_wait = matches!(unfinished, Unfinished::TimeWaits { is_patient: true, .. });
        let (round, gather, await_dump) = match self.is_of_many() {
            true if may_wait => (PATIENT_ROUND, PATIENT_ROUND, PATIENT_ROUND),
            true => (ROUND_OF_MANY, GATHER_OF_MANY, AWAIT_DUMP),
            false => (ROUND_EVERY, GATHER, AWAIT_DUMP),
        };
        let next_round = self.last_round + round;
        let periodic = self.next_periodic_dump();
        let needed = match unfinished {
            Unfinished::Nothing => Some(self.next_glance()),
            Unfinished::Pairing => Some(next_round.min(self.next_glance())),
            Unfinished::TimeWaits { since, .. } if periodic <= since + await_dump => Some(periodic),
            Unfinished::TimeWaits { since, .. } => Some(next_round.max(since + gather)),
        };
        needed.map_or(periodic, |needed| needed.min(periodic))
    }

    /// Takes the action that is due, if there is one; the next round counts from it.
    pub(crate) fn take_due(&mut self, now: Duration, unfinished: Unfinished) -> Option<Due> {
        if now < self.next_due(unfinished) {
            return None;
        }
        self.last_round = now;
        let periodic = now >= self.next_periodic_dump();
        let searches = matches!(unfinished, Unfinished::TimeWaits { .. });
        Some(match (periodic, searches) {
            (true, true) => Due::Dump,
            (true, false) => Due::Counters,
            (false, true) if self.lookups_work => Due::Lookups { at_most: self.affordable() },
            (false, true) => Due::Dump,
            (false, false) if now >= self.next_glance() => Due::Counters,
            (false, false) => Due::Settle,
        })
    }

    /// The time of the next periodic dump, or of the counters that show it needless: sooner while
    /// sockets die.
    fn next_periodic_dump(&self) -> Duration {
        let last = self.last_dump.max(self.last_skip);
        if self.is_of_many() {
            let of_cost = self.dump_cost * MANY_SHARE;
            let each = of_cost.max(DUMP_EACH).saturating_mul(self.watches);
            let is_calm = last >= self.calm_from();
            let least = if is_calm { DUMP_OF_MANY_WHEN_CALM } else { DUMP_EVERY };
            return last + each.clamp(least, DUMP_AT_MOST);
        }
        let pause = (self.dump_cost * CLOSING_SHARE).max(ROUND_EVERY);
        let sockets_die = self.last_event > last;
        last + if sockets_die { pause.min(DUMP_EVERY) } else { DUMP_EVERY }
    }

    /// The time of the next reading of the counters between periodic dumps; one of many watches has
    /// none.
    fn next_glance(&self) -> Duration {
        if self.is_of_many() {
            return Duration::MAX;
        }
        let last = self.last_glance.max(self.last_dump).max(self.last_skip);
        last + if last >= self.calm_from() { COUNTERS_WHEN_CALM } else { COUNTERS_EVERY }
    }

    /// The time from which on it is calm, unless a connection opens or a socket dies by then.
    fn calm_from(&self) -> Duration {
        self.last_open.max(self.last_event) + CALM_AFTER
    }

    /// How many lookups cost no more than a dump.
    fn affordable(&self) -> usize {
        let as_expensive = self.dump_cost.as_nanos() / self.lookup_cost.as_nanos().max(1);
        usize::try_from(as_expensive).unwrap_or(MAX_LOOKUPS).min(MAX_LOOKUPS)
    }
}

#[cfg(test)]
mod tests;
