//! Decides from the kernel's counters whether the next periodic dump can be skipped.
//!
//! Owns the comparison of two readings. Reads no counter and makes no dump itself. A reading of the
//! counters costs about fifty microseconds; a dump of 50,000 sockets costs hundreds of times as
//! much.

use std::time::Duration;

use crate::kernel::counters::Counters;

/// While connections carry data and none opens or closes, periodic dumps take at most one part in
/// this many of a core: after a dump that took 10 ms comes a pause of 10 s.
const DATA_SHARE: u32 = 1000;
/// The longest pause while there are segments at all.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The counters as they were before the last dump, the time of that dump, and its cost.
#[derive(Debug, Default)]
pub(crate) struct Quiescence {
    /// `None`: unknown, or not to be relied on; the next periodic dump is made.
    before_dump: Option<Counters>,
    dumped_at: Duration,
    cost: Duration,
}

impl Quiescence {
    /// Takes the counters as read before a dump: a change during the dump asks for another one.
    pub(crate) fn handle_dump_start(&mut self, counters: Option<Counters>) {
        self.before_dump = counters;
    }

    /// Takes the end of the dump, and the processor time that it took.
    pub(crate) fn handle_dump_end(&mut self, now: Duration, cost: Duration) {
        (self.dumped_at, self.cost) = (now, cost);
    }

    /// Forgets the counters, so that the next periodic dump cannot be skipped.
    pub(crate) fn forget(&mut self) {
        self.before_dump = None;
    }

    /// Returns true if connections have been opened since the last dump, or if that dump must be made
    /// again. Unknown counters show nothing.
    pub(crate) fn shows_open(&self, counters: Option<Counters>) -> bool {
        let opens = |counters: Counters| counters.active_opens.zip(counters.passive_opens);
        let Some(now) = counters.and_then(opens) else { return false };
        self.before_dump.is_none_or(|then| opens(then).is_some_and(|then| then != now))
    }

    /// Returns true if a dump would show nothing new but the age of TIME_WAITs.
    ///
    /// No connection opens, closes or changes its state without a segment; only TIME_WAITs and
    /// orphans end by a timer. While there are segments but no opens and closes, a dump could show
    /// new requests and sockets in CLOSE_WAIT: that may wait until it is cheap. Unknown counters
    /// prove nothing.
    pub(crate) fn allows_skip(&self, now: Duration, counters: Option<Counters>) -> bool {
        let (Some(then), Some(counters)) = (self.before_dump, counters) else { return false };
        if has_opened_or_closed(&then, &counters) {
            return false;
        }
        let segments = |counters: &Counters| counters.segments_in.zip(counters.segments_out);
        // `OutSegs` does not count retransmissions, and nothing else shows that a peer is silent.
        let silent = segments(&counters).is_some()
            && segments(&counters) == segments(&then)
            && counters.retransmitted_segments == then.retransmitted_segments;
        let pause = (self.cost * DATA_SHARE).min(LONGEST_PAUSE);
        silent || now.saturating_sub(self.dumped_at) < pause
    }
}

/// Returns true if connections may have been opened or closed between two readings. A counter that
/// the kernel does not have may hide a change.
fn has_opened_or_closed(then: &Counters, now: &Counters) -> bool {
    let known = |counters: &Counters| {
        Some([
            counters.active_opens?,
            counters.passive_opens?,
            counters.attempt_fails?,
            counters.estab_resets?,
            counters.established?,
        ])
    };
    known(now).is_none() || known(now) != known(then)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn counters(segments: u64, opens: u64) -> Option<Counters> {
        let (some, zero) = (Some(segments), Some(0));
        Some(Counters {
            active_opens: Some(opens),
            passive_opens: zero,
            attempt_fails: zero,
            estab_resets: zero,
            established: zero,
            segments_in: some,
            segments_out: some,
            ..Counters::default()
        })
    }

    /// A dump at second 10 that took 10 ms, with 5 segments and 1 open until then.
    fn dumped() -> Quiescence {
        let mut quiescence = Quiescence::default();
        quiescence.handle_dump_start(counters(5, 1));
        quiescence.handle_dump_end(SECOND * 10, Duration::from_millis(10));
        quiescence
    }

    #[test]
    fn silence_needs_no_dump_ever() {
        assert!(dumped().allows_skip(SECOND * 12, counters(5, 1)));
        assert!(dumped().allows_skip(SECOND * 100_000, counters(5, 1)));
    }

    #[test]
    fn opens_need_a_dump_at_once() {
        assert!(!dumped().allows_skip(SECOND * 12, counters(9, 2)));
    }

    #[test]
    fn data_waits_for_a_cheap_dump() {
        assert!(dumped().allows_skip(SECOND * 19, counters(9, 1)));
        assert!(!dumped().allows_skip(SECOND * 20, counters(9, 1)), "a thousandth of a core");
        let mut expensive = dumped();
        expensive.handle_dump_end(SECOND * 10, SECOND);
        assert!(expensive.allows_skip(SECOND * 19, counters(9, 1)));
        assert!(!expensive.allows_skip(SECOND * 20, counters(9, 1)), "ten seconds at most");
    }

    #[test]
    fn unknown_counters_need_a_dump() {
        assert!(!dumped().allows_skip(SECOND * 12, None));
        assert!(!dumped().allows_skip(SECOND * 12, Some(Counters::default())));
        assert!(!Quiescence::default().allows_skip(SECOND, counters(5, 1)));
    }

    #[test]
    fn forgotten_counters_need_a_dump() {
        let mut quiescence = dumped();
        quiescence.forget();
        assert!(!quiescence.allows_skip(SECOND * 12, counters(5, 1)));
    }
}
