//! A count over the last ten seconds, in a fixed amount of memory.

use std::time::Duration;

use keepwarm_pool::Moment;

/// Seconds that are remembered, the present one included.
const SECONDS: usize = 10;

/// Length of the counted span: the second that is passing, and the nine before it.
pub(crate) const WINDOW: Duration = Duration::from_secs(SECONDS as u64);

/// A count for each of the last ten seconds of a client's clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecentCount {
    /// Indexed by second, modulo `SECONDS`.
    counts: [u64; SECONDS],
    /// The youngest second that is counted.
    youngest: u64,
}

impl RecentCount {
    /// Counts one now.
    pub(crate) fn note(&mut self, now: Moment) {
        // Threads read the clock before they take a lock, so `now` may be earlier than a previous
        // one.
        self.advance(second(now));
        self.counts[place(self.youngest)] += 1;
    }

    pub(crate) fn count(&self, now: Moment) -> u64 {
        let mut seen = *self;
        seen.advance(second(now));
        seen.counts.iter().sum()
    }

    /// Adds another count, second by second.
    pub(crate) fn absorb(&mut self, other: &Self) {
        let mut other = *other;
        let youngest = self.youngest.max(other.youngest);
        self.advance(youngest);
        other.advance(youngest);
        for (ours, theirs) in self.counts.iter_mut().zip(other.counts) {
            *ours += theirs;
        }
    }

    fn advance(&mut self, second: u64) {
        let passed = second.saturating_sub(self.youngest);
        for later in 1..=passed.min(SECONDS as u64) {
            self.counts[place(self.youngest + later)] = 0;
        }
        self.youngest += passed;
    }
}

const fn second(moment: Moment) -> u64 {
    moment.as_nanos() / 1_000_000_000
}

const fn place(second: u64) -> usize {
    (second % SECONDS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::ZERO.after(Duration::from_millis(millis))
    }

    #[test]
    fn counts_are_forgotten_after_ten_seconds() {
        let mut recent = RecentCount::default();
        recent.note(at(900));
        recent.note(at(1_000));
        recent.note(at(1_100));
        assert_eq!(recent.count(at(9_999)), 3, "nothing younger is forgotten");
        assert_eq!(recent.count(at(10_000)), 2, "the first second is over");
        assert_eq!(recent.count(at(11_000)), 0);
        recent.note(at(1_000_000));
        assert_eq!(recent.count(at(1_000_000)), 1);
        assert_eq!(recent.count(Moment::NEVER), 0);
    }

    #[test]
    fn early_clock_reading_counts_as_now() {
        let mut recent = RecentCount::default();
        recent.note(at(20_000));
        recent.note(at(5_000));
        assert_eq!(recent.count(at(20_000)), 2);
    }

    #[test]
    fn counts_merge_second_by_second() {
        let (mut ours, mut theirs) = (RecentCount::default(), RecentCount::default());
        ours.note(at(1_000));
        ours.note(at(5_000));
        theirs.note(at(5_000));
        theirs.note(at(12_000));
        ours.absorb(&theirs);
        assert_eq!(ours.count(at(12_000)), 3, "the second of 1 s is out of sight");
        assert_eq!(ours.count(at(15_000)), 1);
    }
}
