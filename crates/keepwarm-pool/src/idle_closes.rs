//! Tells a server's idle timeout from its restarts, by the idle connections that it closed.
//!
//! Owns the tally of those closes. It decides nothing: `learned` has the conclusion that the pool
//! acts on, which takes more evidence.
//!
//! A timeout closes each connection after the same idle time, again and again. A restart closes all
//! connections at the same time, whatever their idle times, and then none. So closes are gathered
//! into bursts: those within a second of the first one. Constant memory.

use core::time::Duration;

use crate::Moment;

/// Closes within this time of the first one are one burst.
const BURST: Duration = Duration::from_secs(1);

/// Shortest idle time that is taken for a timeout: below it any two closes look alike.
const SHORTEST: Duration = Duration::from_millis(50);

/// Idle times that are remembered until a later burst confirms them.
const REMEMBERED: usize = 4;

/// Idle connections that the server closed, by the cause that the pattern of the closes shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdleCloses {
    /// Connections closed after a common idle time, again and again: an idle timeout.
    pub by_timeout: u64,
    /// Idle time of the latest of these closes.
    pub timeout: Option<Duration>,
    /// Connections closed at the same time: a restart or deploy of the server.
    pub at_once: u64,
    /// Number of the bursts of `at_once`.
    pub bursts: u64,
    /// Connections closed one at a time, without a common idle time.
    pub single: u64,
}

impl IdleCloses {
    fn add_burst(&mut self, closes: u64) {
        match closes {
            0 => {}
            1 => self.single += 1,
            _ => {
                self.at_once += closes;
                self.bursts += 1;
            }
        }
    }
}

/// The latest burst, which may not be over.
#[derive(Clone, Copy, Debug)]
struct Burst {
    began: Moment,
    last: Moment,
    closes: u64,
    least: Duration,
    most: Duration,
}

/// Idle time of an earlier burst, and the closes of it that wait for a confirmation.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    age: Duration,
    closes: u64,
}

/// Tally of the idle connections that one server closed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    burst: Option<Burst>,
    /// The newest last.
    candidates: [Option<Candidate>; REMEMBERED],
    known: IdleCloses,
}

/// Largest difference of idle times that count as the same: timers of a server, and delays of a
/// busy client.
fn slack(age: Duration) -> Duration {
    age / 16 + Duration::from_millis(25)
}

impl Tally {
    /// Notes that the server has closed a connection that had been idle for `age`.
    pub(crate) fn note(&mut self, age: Duration, now: Moment) {
        match &mut self.burst {
            Some(burst) if now.since(burst.began) <= BURST => {
                burst.last = burst.last.max(now);
                burst.closes += 1;
                burst.least = burst.least.min(age);
                burst.most = burst.most.max(age);
            }
            _ => {
                self.end_burst();
                self.burst =
                    Some(Burst { began: now, last: now, closes: 1, least: age, most: age });
            }
        }
    }

    /// Returns the closes so far. Those of the latest burst and those without a confirmation are
    /// counted as a burst or as single.
    pub(crate) fn summary(&self) -> IdleCloses {
        let mut tally = *self;
        tally.end_burst();
        for candidate in tally.candidates.into_iter().flatten() {
            tally.known.add_burst(candidate.closes);
        }
        tally.known
    }

    fn end_burst(&mut self) {
        let Some(burst) = self.burst.take() else { return };
        let slack = slack(burst.least);
        if burst.most > burst.least + slack || burst.least < SHORTEST {
            self.known.add_burst(burst.closes);
            return;
        }
        let alike = |known: &&mut Candidate| {
            known.age <= burst.least + slack && burst.least <= known.age + slack
        };
        if let Some(earlier) = self.candidates.iter_mut().flatten().find(alike) {
            self.known.by_timeout += burst.closes + core::mem::take(&mut earlier.closes);
            self.known.timeout = Some(burst.least);
            return;
        }
        // Closes that are spread over more time than their idle times have each waited for their
        // own end: one burst shows it.
        let spread = burst.last.since(burst.began);
        let confirmed = spread > slack + (burst.most - burst.least);
        if confirmed {
            self.known.by_timeout += burst.closes;
            self.known.timeout = Some(burst.least);
        }
        let closes = if confirmed { 0 } else { burst.closes };
        if let Some(oldest) = self.candidates[0] {
            self.known.add_burst(oldest.closes);
        }
        self.candidates.rotate_left(1);
        self.candidates[REMEMBERED - 1] = Some(Candidate { age: burst.least, closes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Notes closes: when, and after which idle time, both in milliseconds.
    fn summary(closes: impl IntoIterator<Item = (u32, u32)>) -> IdleCloses {
        let mut tally = Tally::default();
        for (at, age) in closes {
            tally.note(MS * age, Moment::ZERO.after(MS * at));
        }
        tally.summary()
    }

    #[test]
    fn closes_at_once_are_a_restart() {
        let restart = (0..20).map(|nth| (60_000 + nth, 100 + 700 * nth));
        let expected = IdleCloses { at_once: 20, bursts: 1, ..IdleCloses::default() };
        assert_eq!(summary(restart.clone()), expected);
        // Idle since the same moment: the idle times agree, but only once.
        assert_eq!(summary((0..20).map(|nth| (60_000 + nth, 5_000 + nth))), expected);
        // Each deploy finds other idle times.
        let deploys = [(0, 900), (3, 7_000), (600_000, 20_000), (600_004, 20_010)];
        let expected = IdleCloses { at_once: 4, bursts: 2, ..IdleCloses::default() };
        assert_eq!(summary(deploys), expected);
    }

    #[test]
    fn common_idle_time_again_is_a_timeout() {
        for per_burst in [1, 5] {
            let bursts = (1..=3).flat_map(|nth| {
                (0..per_burst).map(move |close| (nth * 60_000 + close, 5_000 + nth))
            });
            let found = summary(bursts);
            let closes = u64::from(3 * per_burst);
            assert_eq!((found.by_timeout, found.at_once, found.single), (closes, 0, 0));
            assert_eq!(found.timeout, Some(MS * 5_003));
        }
        // A steady load: one connection after the other comes to its end.
        let steady = summary((0..100).map(|nth| (5_000 + 40 * nth, 5_000)));
        assert_eq!((steady.by_timeout, steady.at_once, steady.single), (100, 0, 0));
        // Within one burst, at ends of their own.
        let one = summary((0..10).map(|nth| (5_000 + 90 * nth, 5_000 + nth % 2)));
        assert_eq!((one.by_timeout, one.at_once), (10, 0));
    }

    /// The timeout is still there, and the restart is not counted as its doing.
    #[test]
    fn restart_among_timeouts_is_told_apart() {
        let timeouts = (1..=4).map(|nth| (nth * 10_000, 5_000));
        let restart = (0..3).map(|nth| (55_000, 400 + 1_000 * nth));
        let later = (7..=8).map(|nth| (nth * 10_000, 5_000));
        let found = summary(timeouts.chain(restart).chain(later));
        assert_eq!((found.by_timeout, found.at_once, found.bursts), (6, 3, 1));
    }

    #[test]
    fn single_closes_show_no_cause() {
        assert_eq!(summary([]), IdleCloses::default());
        let one = IdleCloses { single: 1, ..IdleCloses::default() };
        assert_eq!(summary([(9_000, 5_000)]), one);
        let scattered = (0..12).map(|nth| (nth * 10_000, 60 << nth));
        assert_eq!(summary(scattered), IdleCloses { single: 12, ..IdleCloses::default() });
    }

    /// Right behind a response, any idle times agree.
    #[test]
    fn tiny_idle_times_are_no_timeout() {
        let found = summary((0..10).map(|nth| (nth * 2_000, nth)));
        assert_eq!((found.by_timeout, found.single), (0, 10));
    }
}
