//! Growth of open connections: a pool that closes nothing runs out of ports and of files, too.
//!
//! Owns the samples of the last minute, and the decision whether a growth is steady: a pool that fills
//! up grows as well, and then stops. The forecasts are `keepwarm-diagnose`'s and the judge's.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keepwarm_sockets::{Destination, HostReport, Side};

/// The time that a growth is taken from, at most.
const SPAN: Duration = Duration::from_secs(60);
/// The shortest time that a growth is taken from: some dumps, which are two seconds apart.
const SHORTEST: Duration = Duration::from_secs(8);
/// Interval between two samples, at least.
const EVERY: Duration = Duration::from_secs(1);
/// Fewest connections that a growth has.
const LEAST: u64 = 20;
/// The part of its share that each third of the time has of a steady growth.
const STEADY: f64 = 0.25;

/// A destination; its network namespace where several are watched.
type Key = (Option<SocketAddr>, Side, Option<u32>);

fn key(one: &Destination) -> Key {
    (one.service, one.side, one.namespace.as_ref().map(|namespace| namespace.number))
}

/// Open connections of each destination during the last minute.
#[derive(Debug, Default)]
pub(super) struct Growths {
    samples: HashMap<Key, VecDeque<(Instant, u64)>>,
}

impl Growths {
    /// Takes a sample of every destination that has connections enough.
    pub(super) fn observe(&mut self, report: &HostReport, at: Instant) {
        self.samples.retain(|_, samples| {
            samples.back().is_some_and(|(last, _)| at.duration_since(*last) <= SPAN)
        });
        for one in report.destinations.iter().filter(|one| one.alive >= LEAST) {
            let samples = self.samples.entry(key(one)).or_default();
            if samples.back().is_some_and(|(last, _)| at.duration_since(*last) < EVERY) {
                continue;
            }
            samples.push_back((at, one.alive));
            while samples.front().is_some_and(|(first, _)| at.duration_since(*first) > SPAN) {
                samples.pop_front();
            }
        }
    }

    /// Returns by how many connections a second a destination grows; `None` if it does not, or not
    /// steadily. `window`: the time since the destination had `alive_at_start` connections.
    pub(super) fn of(&self, one: &Destination, window: Duration, at: Instant) -> Option<f64> {
        let samples = self.samples.get(&key(one))?;
        // The edges of a window are dumps of their own; a sample may be two seconds old.
        let (length, before) = if window <= SPAN {
            (window, one.alive_at_start)
        } else {
            let (first, alive) = samples.front()?;
            (at.duration_since(*first), *alive)
        };
        let grown = one.alive.checked_sub(before).filter(|grown| *grown >= LEAST)?;
        if length < SHORTEST || !is_steady(samples, at, length, before, one.alive) {
            return None;
        }
        Some(grown as f64 / length.as_secs_f64())
    }
}

/// Returns true if the number grew in each third of the time, and not all at once.
fn is_steady(
    samples: &VecDeque<(Instant, u64)>,
    at: Instant,
    length: Duration,
    before: u64,
    now: u64,
) -> bool {
    let level = |ago: Duration| {
        let sample = samples.iter().rev().find(|(then, _)| at.duration_since(*then) >= ago);
        sample.map_or(before, |(_, alive)| *alive)
    };
    let levels = [before, level(length * 2 / 3), level(length / 3), now];
    let share = now.saturating_sub(before) as f64 / 3.0;
    levels.windows(2).all(|pair| pair[1] as f64 - pair[0] as f64 >= STEADY * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(level: impl Fn(u64) -> u64) -> Option<f64> {
        let begun = Instant::now();
        let mut growths = Growths::default();
        let mut one = Destination::new(Some(([10, 0, 0, 5], 443).into()), Side::Client);
        let mut last = None;
        for second in 0..=12 {
            one.alive = level(second);
            let mut report = HostReport::default();
            report.destinations = vec![one.clone()];
            let at = begun + Duration::from_secs(second);
            growths.observe(&report, at);
            last = growths.of(&one, Duration::from_secs(second), at);
        }
        last
    }

    #[test]
    fn only_steady_growth_is_a_leak() {
        assert_eq!(growth(|second| 46 * second), Some(46.0));
        assert_eq!(growth(|second| 20 * (second / 2 * 2)), Some(20.0), "by dumps of two seconds");
        assert_eq!(growth(|second| (50 * second).min(200)), None, "a pool that has filled up");
        assert_eq!(growth(|second| if second < 11 { 30 } else { 400 }), None, "a burst");
        assert_eq!(growth(|second| 600 - 50 * second), None);
        assert_eq!(growth(|second| second), None, "a few");
        assert_eq!(growth(|_| 1_000), None);
    }
}
