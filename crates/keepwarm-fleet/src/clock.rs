//! Monotonic clocks of two machines: how far apart they are, and how surely. Owns the estimate; knows
//! no network.
//!
//! Cristian's method (1989): of several round trips the shortest bounds the error best. Wall clocks
//! are never compared.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Round trips of one comparison.
pub(crate) const ROUND_TRIPS: usize = 16;

/// Returns CLOCK_MONOTONIC in nanoseconds. It is never negative.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
}

/// The clocks of this machine, read at one instant: what each shows when the others show this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) monotonic_ns: u64,
    /// Time since 1970 by the wall clock, which may be set wrong.
    pub(crate) unix: Duration,
}

impl Now {
    pub(crate) fn read() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), monotonic_ns: monotonic_ns(), unix }
    }
}

/// One round trip of a question to another machine: this machine's clock when the question was sent and
/// when the answer came, and the other's clock as the answer tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RoundTrip {
    pub(crate) sent_ns: u64,
    pub(crate) other_ns: u64,
    pub(crate) received_ns: u64,
}

/// How far this machine's clock is ahead of the other's, and by how much that may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offset {
    pub(crate) ahead_ns: i64,
    pub(crate) error_ns: u64,
}

impl Offset {
    /// Estimates by the shortest round trip; `None` without one.
    pub(crate) fn of(round_trips: &[RoundTrip]) -> Option<Self> {
        let took = |trip: &&RoundTrip| trip.received_ns.saturating_sub(trip.sent_ns);
        let best = round_trips.iter().min_by_key(took)?;
        let error_ns = took(&best).div_ceil(2);
        let middle = i128::from(best.sent_ns) + i128::from(error_ns);
        let ahead = middle - i128::from(best.other_ns);
        Some(Self { ahead_ns: i64::try_from(ahead).ok()?, error_ns })
    }

    /// Translates an instant of the other clock to the own one.
    pub(crate) fn to_own(self, other_ns: u64) -> u64 {
        let own = i128::from(other_ns) + i128::from(self.ahead_ns);
        u64::try_from(own.max(0)).unwrap_or(u64::MAX)
    }

    /// Translates an instant of the own clock to the other one, which may have begun later.
    pub(crate) fn to_other(self, own_ns: u64) -> i64 {
        i64::try_from(i128::from(own_ns) - i128::from(self.ahead_ns)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortest_round_trip_decides() {
        let trip = |sent_ns, other_ns, received_ns| RoundTrip { sent_ns, other_ns, received_ns };
        // The own clock is 1,000,000 ahead; the second trip is delayed one way.
        let trips = [trip(1_000_100, 150, 1_000_200), trip(1_000_300, 900, 1_000_910)];
        let offset = Offset::of(&trips).unwrap();
        assert_eq!(offset, Offset { ahead_ns: 1_000_000, error_ns: 50 });
        assert_eq!(offset.to_own(5), 1_000_005);
        assert_eq!(offset.to_other(1_000_005), 5);
        assert_eq!(Offset::of(&[]), None);
    }

    #[test]
    fn younger_clock_is_behind() {
        let trip = RoundTrip { sent_ns: 10, other_ns: 5_000, received_ns: 30 };
        let offset = Offset::of(&[trip]).unwrap();
        assert_eq!(offset.ahead_ns, -4_980);
        assert_eq!(offset.to_own(4_000), 0, "before the own clock began");
        assert_eq!(offset.to_other(0), 4_980);
    }
}
