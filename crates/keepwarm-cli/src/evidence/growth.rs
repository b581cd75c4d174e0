//! Growth: a pool that closes nothing runs out of ports and of files, too.
//!
//! Owns the samples of the last minute, and the decision whether a growth is steady: a pool that fills
//! up grows as well, and then stops. The forecast of ports is `keepwarm-diagnose`'s, that of files is
//! `files`'.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keepwarm_sockets::{Destination, Side};

/// The time that a growth is taken from, at most.
const SPAN: Duration = Duration::from_secs(60);
/// The shortest time that a growth is taken from.
const SHORTEST: Duration = Duration::from_secs(8);
/// The shortest time that a growth by bursts is taken from.
const SHORTEST_OF_BURSTS: Duration = Duration::from_secs(20);
/// Interval between two samples, at least.
const EVERY: Duration = Duration::from_secs(1);
/// Fewest connections, or files, that a growth has.
const LEAST: u64 = 20;
/// Fewest connections of what is sampled: a growth is taken from before it had enough.
pub(super) const SAMPLED_FROM: u64 = 4;
/// The part of its share by which each third of the time may differ from a steady growth, beside what
/// chance explains.
const OFF: f64 = 0.1;
/// The part of its share that each third of the time has of a growth by bursts.
const OF_BURSTS: f64 = 0.25;

/// A level at some times of the last minute: open connections, or open files.
#[derive(Debug, Default)]
pub(super) struct Samples {
    points: VecDeque<(Instant, u64)>,
}

impl Samples {
    /// Takes the level at a time, which is later than that of the last sample.
    pub(super) fn add(&mut self, at: Instant, level: u64) {
        let points = &mut self.points;
        if points.back().is_some_and(|(last, _)| *last >= at) {
            return;
        }
        // The latest sample counts; the one before it makes room.
        let before = points.len().checked_sub(2).and_then(|place| points.get(place)).copied();
        if before.is_some_and(|(before, _)| at.duration_since(before) < 2 * EVERY) {
            points.pop_back();
        }
        points.push_back((at, level));
        while points.front().is_some_and(|(first, _)| at.duration_since(*first) > SPAN) {
            points.pop_front();
        }
    }

    /// Returns by how much the level is higher than at the first sample.
    pub(super) fn grown(&self) -> u64 {
        let ends = self.points.front().zip(self.points.back());
        ends.map_or(0, |((_, first), (_, last))| last.saturating_sub(*first))
    }

    /// Returns the last level.
    pub(super) fn last(&self) -> Option<u64> {
        self.points.back().map(|(_, level)| *level)
    }

    fn is_older(&self, at: Instant) -> bool {
        self.points.back().is_none_or(|(last, _)| at.duration_since(*last) > SPAN)
    }

    /// Returns by how much the level rises a second; `None` if it does not, or not steadily. Taken from
    /// the longest time until now over which it rose evenly: a leak may have begun a moment ago.
    pub(super) fn growth(&self) -> Option<f64> {
        let even = (0..self.points.len()).find_map(|first| self.since(first)?.even());
        even.or_else(|| self.by_bursts())
    }

    /// Returns the growth since a sample, in each third of the time; `None` if that is too short, or too
    /// little.
    fn since(&self, first: usize) -> Option<Thirds> {
        let ((begun, before), (end, now)) = (*self.points.get(first)?, *self.points.back()?);
        let length = end.duration_since(begun);
        if length < SHORTEST || now < before + LEAST {
            return None;
        }
        let levels = [1, 2].map(|part| self.level_at(begun + length * part / 3));
        let (before, now) = (before as f64, now as f64);
        let grown = [levels[0] - before, levels[1] - levels[0], now - levels[1]];
        Some(Thirds { length, grown })
    }

    /// Returns the level at a time between two samples.
    fn level_at(&self, at: Instant) -> f64 {
        let after = self.points.partition_point(|(then, _)| *then < at);
        let before = after.checked_sub(1).and_then(|place| self.points.get(place));
        match (before, self.points.get(after)) {
            (Some((begun, low)), Some((end, high))) => {
                let length = end.duration_since(*begun).as_secs_f64();
                let part = at.duration_since(*begun).as_secs_f64() / length;
                *low as f64 + (*high as f64 - *low as f64) * part
            }
            (Some((_, level)), None) | (None, Some((_, level))) => *level as f64,
            (None, None) => 0.0,
        }
    }

    /// Returns the growth of a level that rises in each third of the time, and lately, and not evenly.
    fn by_bursts(&self) -> Option<f64> {
        let all = self.since(0).filter(|thirds| thirds.length >= SHORTEST_OF_BURSTS)?;
        let (per_s, (end, now)) = (all.total() / all.length.as_secs_f64(), *self.points.back()?);
        let lately = now as f64 - self.level_at(end.checked_sub(SHORTEST)?);
        let rises =
            |grown: f64, length: Duration| grown >= OF_BURSTS * per_s * length.as_secs_f64();
        let is_steady = all.grown.iter().all(|grown| rises(*grown, all.length / 3));
        (is_steady && rises(lately, SHORTEST)).then_some(per_s)
    }
}

/// Growth in each third of a time.
struct Thirds {
    length: Duration,
    grown: [f64; 3],
}

impl Thirds {
    fn total(&self) -> f64 {
        self.grown.iter().sum()
    }

    /// Returns the growth a second, if it is even.
    fn even(&self) -> Option<f64> {
        let share = self.total() / 3.0;
        let off = OFF * share + share.sqrt() + 1.0;
        if self.grown.iter().any(|grown| (grown - share).abs() > off) {
            return None;
        }
        // A leak that began within the first third has its rate from the rest.
        let [first, rest @ ..] = self.grown;
        let begun_late = share - first > (OFF / 2.0 * share).max(1.0);
        let (grown, parts) =
            if begun_late { (rest.iter().sum::<f64>(), 2) } else { (self.total(), 3) };
        Some(grown / (self.length * parts / 3).as_secs_f64())
    }
}

/// A destination; its network namespace where several are watched.
type Key = (Option<SocketAddr>, Side, Option<u32>);

fn key(one: &Destination) -> Key {
    (one.service, one.side, one.namespace.as_ref().map(|namespace| namespace.number))
}

/// Open connections of each destination during the last minute.
#[derive(Debug, Default)]
pub(super) struct Growths {
    samples: HashMap<Key, Samples>,
}

impl Growths {
    /// Takes a sample of every destination that has connections enough, or had.
    pub(super) fn observe<'a>(&mut self, all: impl Iterator<Item = &'a Destination>, at: Instant) {
        self.samples.retain(|_, samples| !samples.is_older(at));
        for one in all {
            let key = key(one);
            if one.alive < SAMPLED_FROM && !self.samples.contains_key(&key) {
                continue;
            }
            self.samples.entry(key).or_default().add(one.levels_at.unwrap_or(at), one.alive);
        }
    }

    /// Returns by how many connections a second a destination grows; `None` if it does not, or not
    /// steadily.
    pub(super) fn of(&self, one: &Destination) -> Option<f64> {
        self.samples.get(&key(one))?.growth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The growth of a level that is sampled every second, at the end of so many.
    fn growth(seconds: u64, level: impl Fn(f64) -> f64) -> Option<f64> {
        let begun = Instant::now();
        let mut samples = Samples::default();
        for second in 0..=seconds {
            samples.add(begun + Duration::from_secs(second), level(second as f64) as u64);
        }
        samples.growth()
    }

    fn is_about(found: Option<f64>, rate: f64) -> bool {
        found.is_some_and(|found| (found - rate).abs() <= 0.05 * rate)
    }

    #[test]
    fn only_steady_growth_is_a_leak() {
        assert_eq!(growth(12, |second| 46.0 * second), Some(46.0));
        assert_eq!(
            growth(12, |second| (50.0 * second).min(200.0)),
            None,
            "a pool that has filled up"
        );
        assert_eq!(growth(12, |second| if second < 11.0 { 30.0 } else { 400.0 }), None, "a burst");
        assert_eq!(growth(12, |second| 600.0 - 50.0 * second), None);
        assert_eq!(growth(12, |second| second), None, "a few");
        assert_eq!(growth(12, |_| 1_000.0), None);
        let bursts = growth(60, |second| 100.0 * (second / 6.0).floor());
        assert!(bursts.is_some_and(|found| (found - 16.7).abs() < 3.0), "{bursts:?}");
    }

    #[test]
    fn late_leak_has_its_own_rate() {
        for (rate, begins) in [(7.0, 20.0), (7.0, 43.0), (100.0, 30.0), (3.0, 25.0)] {
            let level = |second: f64| 50.0 + (second - begins).max(0.0) * rate;
            for lasted in [10, 15, 20, 30] {
                let found = growth(begins as u64 + lasted, level);
                assert!(is_about(found, rate), "{rate}/s, {lasted} s after its begin: {found:?}");
            }
        }
        let faster = growth(50, |second| 5.0 * second + (second - 30.0).max(0.0) * 20.0);
        assert!(is_about(faster, 25.0), "{faster:?}");
    }

    #[test]
    fn leak_that_stopped_is_none() {
        for rate in [7.0, 100.0] {
            let level = |second: f64| second.min(40.0) * rate;
            assert!(is_about(growth(40, level), rate));
            assert_eq!(growth(47, level), None, "{rate}/s");
        }
    }

    #[test]
    fn level_counts_at_its_own_time() {
        let begun = Instant::now();
        let mut growths = Growths::default();
        let mut one = Destination::new(Some(([10, 0, 0, 5], 443).into()), Side::Client);
        for half in 0..=32 {
            let at = begun + Duration::from_millis(500 * half);
            // Dumps of every three seconds, read up to three seconds later.
            let dumped = half / 6 * 3;
            (one.alive, one.levels_at) = (20 * dumped, Some(begun + Duration::from_secs(dumped)));
            growths.observe([&one].into_iter(), at);
        }
        assert_eq!(growths.of(&one), Some(20.0));
    }
}
