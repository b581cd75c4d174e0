//! Whether anything has moved: the kernel's counters, read before a dump that nobody may need.
//!
//! Owns the decision whether a look that no event asked for can be left out. Reading the counters
//! costs some fifty microseconds, a look at 50,000 sockets hundreds of times as much.

use std::time::Duration;

use crate::kernel::counters::Counters;

/// What looks may take of a core while connections carry data and none is opened or closed: after
/// one that took 10 ms comes a pause of 10 s.
const PAUSE: u32 = 1000;
/// The longest pause, while there are segments at all.
const LONGEST: Duration = Duration::from_secs(10);

/// The counters at the last look, and what that one cost.
#[derive(Debug, Default)]
pub(crate) struct Quiescence {
    at_look: Option<Counters>,
    looked_at: Duration,
    cost: Duration,
}

impl Quiescence {
    /// A look is about to begin.
    pub(crate) fn handle_look(&mut self, counters: Option<Counters>) {
        self.at_look = counters;
    }

    /// It has ended, and took so much of a core.
    pub(crate) fn handle_looked(&mut self, now: Duration, cost: Duration) {
        (self.looked_at, self.cost) = (now, cost);
    }

    /// Whether a look would show nothing but TIME_WAITs that are older.
    ///
    /// No connection opens, closes or changes its state without a segment; only TIME_WAIT and
    /// orphans end by a timer. While segments come and none opens or closes, a look could show new
    /// requests, and CLOSE_WAIT: that may wait until it is cheap. Unknown counters are no pulse to
    /// go by.
    pub(crate) fn is_calm(&self, now: Duration, counters: Option<Counters>) -> bool {
        let (Some(then), Some(counters)) = (self.at_look, counters) else { return false };
        if changed(&then, &counters) {
            return false;
        }
        let segments = |counters: &Counters| counters.segments_in.zip(counters.segments_out);
        let silent = segments(&counters).is_some() && segments(&counters) == segments(&then);
        let pause = (self.cost * PAUSE).min(LONGEST);
        silent || now.saturating_sub(self.looked_at) < pause
    }
}

/// Whether connections were opened or ended. `None` is unknown, and so may have.
fn changed(then: &Counters, now: &Counters) -> bool {
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

    /// A look at second 10 that took 10 ms, with 5 segments and 1 open until then.
    fn pulse() -> Quiescence {
        let mut pulse = Quiescence::default();
        pulse.handle_look(counters(5, 1));
        pulse.handle_looked(SECOND * 10, Duration::from_millis(10));
        pulse
    }

    #[test]
    fn without_a_segment_nothing_is_looked_at_however_long_it_lasts() {
        assert!(pulse().is_calm(SECOND * 12, counters(5, 1)));
        assert!(pulse().is_calm(SECOND * 100_000, counters(5, 1)));
    }

    #[test]
    fn an_open_is_looked_at_at_once_and_data_when_a_thousandth_of_a_core_allows() {
        assert!(!pulse().is_calm(SECOND * 12, counters(9, 2)));
        assert!(pulse().is_calm(SECOND * 19, counters(9, 1)));
        assert!(!pulse().is_calm(SECOND * 20, counters(9, 1)));
        let mut dear = pulse();
        dear.handle_looked(SECOND * 10, SECOND);
        assert!(dear.is_calm(SECOND * 19, counters(9, 1)));
        assert!(!dear.is_calm(SECOND * 20, counters(9, 1)), "ten seconds at most");
    }

    #[test]
    fn what_is_not_known_is_looked_at() {
        assert!(!pulse().is_calm(SECOND * 12, None));
        assert!(!pulse().is_calm(SECOND * 12, Some(Counters::default())));
        assert!(!Quiescence::default().is_calm(SECOND, counters(5, 1)));
    }
}
