//! Delay, loss and rate of a wire, in place of netem, which many kernels lack.
//!
//! Owns one direction's queue: which packet is lost, and when a packet arrives. It has no clock and
//! no sockets; the shuttle passes the time in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::dice::Dice;

/// The most packets under way in one direction where nothing else is said, as netem's default.
/// Further packets are lost, as in the queue of any router.
const LIMIT: usize = 1_000;
const MILLION: u64 = 1_000_000;

/// How a wire treats packets. Each direction has the same conditions and dice of its own. The
/// default is a perfect wire.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Conditions {
    /// The time that a packet takes, one way. The round trip takes twice as long.
    pub delay: Duration,
    /// Packets lost of a million, in each direction.
    pub loss_ppm: u32,
    /// Seed of the losses: equal seeds lose the same packets of an equal sequence.
    pub seed: u64,
    /// Bytes a second, IP headers included; `None` has no limit.
    pub bytes_per_s: Option<u64>,
    /// The most packets under way in one direction; `None` for 1,000. Further packets are lost.
    pub room: Option<usize>,
}

impl Conditions {
    /// Returns a perfect wire of this length: half a round trip.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }

    /// Loses this share of the packets, in percent.
    #[must_use]
    pub fn losing(self, percent: u32, seed: u64) -> Self {
        Self { loss_ppm: percent * 10_000, seed, ..self }
    }

    /// Limits the rate.
    #[must_use]
    pub fn at_most(self, bytes_per_s: u64) -> Self {
        Self { bytes_per_s: Some(bytes_per_s), ..self }
    }

    /// Lets so many packets be under way in one direction.
    #[must_use]
    pub fn with_room(self, packets: usize) -> Self {
        Self { room: Some(packets), ..self }
    }
}

/// A direction of a wire.
#[derive(Debug)]
pub(super) struct Lane {
    conditions: Conditions,
    dice: Dice,
    /// When the sender has put its last packet onto the wire.
    free_at: Option<Instant>,
    /// Packets under way, each with its arrival, in order.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    /// Packets lost to the conditions.
    pub(super) lost: u64,
}

impl Default for Lane {
    fn default() -> Self {
        Self::new(Conditions::default(), 0)
    }
}

/// Fate of a packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Arrives at once.
    Arrives,
    /// Is under way: [`Lane::arrived`] returns the packet later.
    UnderWay,
    Lost,
}

impl Lane {
    pub(super) fn new(conditions: Conditions, direction: u64) -> Self {
        let mut dice = Dice::new(conditions.seed);
        (0..direction).for_each(|_| drop(dice.split()));
        let dice = dice.split();
        Self { conditions, dice, free_at: None, under_way: VecDeque::new(), lost: 0 }
    }

    /// Changes the conditions. Packets under way arrive as they would have.
    pub(super) fn change(&mut self, conditions: Conditions, direction: u64) {
        let new = Self::new(conditions, direction);
        (self.conditions, self.dice) = (new.conditions, new.dice);
    }

    pub(super) fn send(&mut self, packet: &[u8], now: Instant) -> Fate {
        let Conditions { delay, loss_ppm, bytes_per_s, room, .. } = self.conditions;
        let unlucky = loss_ppm > 0 && self.dice.roll(MILLION) < loss_ppm.into();
        if unlucky || self.under_way.len() >= room.unwrap_or(LIMIT) {
            self.lost += 1;
            return Fate::Lost;
        }
        let takes = bytes_per_s.map_or(Duration::ZERO, |rate| {
            Duration::from_nanos(packet.len() as u64 * 1_000_000_000 / rate.max(1))
        });
        let sent = self.free_at.map_or(now, |free| free.max(now)) + takes;
        if bytes_per_s.is_some() {
            self.free_at = Some(sent);
        }
        // Packets stay in order, also after a change to a shorter wire.
        let last = self.under_way.back().map(|(arrival, _)| *arrival);
        let arrival = last.map_or(sent + delay, |last| last.max(sent + delay));
        if arrival <= now {
            return Fate::Arrives;
        }
        self.under_way.push_back((arrival, packet.to_vec()));
        Fate::UnderWay
    }

    /// Returns the next packet that has arrived.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (arrival, _) = self.under_way.front()?;
        if *arrival > now {
            return None;
        }
        self.under_way.pop_front().map(|(_, packet)| packet)
    }

    /// Returns when the next packet arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.front().map(|(arrival, _)| *arrival)
    }

    /// Loses the packets under way.
    pub(super) fn clear(&mut self) {
        self.under_way.clear();
        self.free_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn perfect_wire_delivers_at_once() {
        let mut lane = Lane::default();
        let now = Instant::now();
        assert_eq!(lane.send(&[0; 1500], now), Fate::Arrives);
        assert_eq!(lane.next_arrival(), None);
    }

    #[test]
    fn delay_and_rate_add_up() {
        // 1,500 bytes at 150,000 bytes a second take 10 ms.
        let mut lane = Lane::new(Conditions::delay(5 * MS).at_most(150_000), 0);
        let now = Instant::now();
        for _ in 0..2 {
            assert_eq!(lane.send(&[0; 1500], now), Fate::UnderWay);
        }
        assert_eq!(lane.next_arrival(), Some(now + 15 * MS));
        assert_eq!(lane.arrived(now + 14 * MS), None);
        assert!(lane.arrived(now + 15 * MS).is_some());
        assert_eq!(lane.next_arrival(), Some(now + 25 * MS));
    }

    #[test]
    fn equal_seeds_lose_equal_packets() {
        let lost = |seed, direction| {
            let mut lane = Lane::new(Conditions::default().losing(10, seed), direction);
            let now = Instant::now();
            (0..1_000).map(|_| lane.send(&[0], now) == Fate::Lost).collect::<Vec<_>>()
        };
        assert_eq!(lost(1, 0), lost(1, 0));
        assert_ne!(lost(1, 0), lost(2, 0));
        assert_ne!(lost(1, 0), lost(1, 1), "each direction has dice of its own");
        let share = lost(1, 0).iter().filter(|lost| **lost).count();
        // Ten percent of 1,000, and five standard deviations.
        assert!((53..=147).contains(&share), "{share}");
    }

    #[test]
    fn shorter_wire_keeps_packets_in_order() {
        let mut lane = Lane::new(Conditions::delay(50 * MS), 0);
        let now = Instant::now();
        lane.send(b"first", now);
        lane.change(Conditions::default(), 0);
        assert_eq!(lane.send(b"second", now), Fate::UnderWay);
        let later = now + 50 * MS;
        assert_eq!(lane.arrived(later).as_deref(), Some(&b"first"[..]));
        assert_eq!(lane.arrived(later).as_deref(), Some(&b"second"[..]));
    }

    #[test]
    fn full_queue_loses_packets() {
        let mut lane = Lane::new(Conditions::delay(50 * MS), 0);
        let now = Instant::now();
        let lost = (0..LIMIT + 5).filter(|_| lane.send(&[0], now) == Fate::Lost).count();
        assert_eq!((lost, lane.lost), (5, 5));
        lane.clear();
        assert_eq!(lane.send(&[0], now), Fate::UnderWay);
    }
}
