//! Follows young connections: looks each up several times in a round trip, and searches for further ones.
//!
//! Owns when that happens, and what it may cost. What a connection shows is the tracker's to read
//! (`tracker::newborns`).

use std::time::Duration;

use crate::error::Error;
use crate::kernel::dump::{Dumper, Filter};
use crate::kernel::socket::{State, States};
use crate::kernel::sys::thread_cpu;
use crate::kernel::wire::diag::SocketLookup;
use crate::tracker::Tracker;
use crate::tracker::newborns::Newborn;
use crate::watch::threads::Shared;

/// Young connections that are followed at once, after one lookup of each that a dump has met.
const MAX_FOLLOWED: usize = 24;
/// Between two lookups, at least and at most.
const LOOK_UP_EVERY: (Duration, Duration) = (Duration::from_micros(250), Duration::from_millis(20));
/// Lookups in a round trip: in half of one, the order of what was sent is known.
const LOOKUPS_EACH_TRIP: u32 = 4;
/// Following takes at most one part in this many of a core.
const SHARE: u32 = 50;
/// For so long after a dump it searches, if connections have closed before it of which more can be learned.
const SEARCH_FOR: Duration = Duration::from_secs(2);
/// States of young connections.
const YOUNG: States = States::of(&[State::SynSent, State::SynReceived, State::Established]);

/// Young connections that are followed.
#[derive(Debug, Default)]
pub(super) struct Following {
    followed: Vec<Newborn>,
    /// The next lookup of those.
    look_up_at: Duration,
    /// No further connection is met before: so long the time spent so far has to last.
    meet_after: Duration,
    /// Further ones are searched for until then.
    search_until: Duration,
}

impl Following {
    /// Returns when the next step is due, if one is. A search whose time has passed is none.
    pub(super) fn next_due(&self, now: Duration) -> Option<Duration> {
        let look_up_at = (!self.followed.is_empty()).then_some(self.look_up_at);
        let searches = self.meet_after.max(now) < self.search_until;
        let has_room = self.followed.len() < MAX_FOLLOWED;
        look_up_at.into_iter().chain((searches && has_room).then_some(self.meet_after)).min()
    }

    /// Returns whether connections that a dump meets now may be followed.
    pub(super) fn may_meet(&self, now: Duration) -> bool {
        now >= self.meet_after && self.followed.len() < MAX_FOLLOWED
    }

    /// Takes that a search for further connections may find something.
    pub(super) fn search(&mut self, now: Duration) {
        self.search_until = now + SEARCH_FOR;
    }

    /// Follows no connection any more, and searches for none.
    pub(super) fn end(&mut self) {
        (self.followed, self.search_until) = (Vec::new(), Duration::ZERO);
    }

    /// Takes the young connections that a dump has met.
    pub(super) fn meet(
        &mut self,
        dumper: &mut Dumper,
        tracker: &mut Tracker,
        shared: &Shared,
    ) -> Result<(), Error> {
        let mut met = tracker.take_newborns();
        self.look_up(&mut met, dumper, tracker, shared)?;
        met.truncate(MAX_FOLLOWED.saturating_sub(self.followed.len()));
        self.followed.append(&mut met);
        Ok(())
    }

    /// Looks those that are followed up, or searches for more of them.
    pub(super) fn step(
        &mut self,
        dumper: &mut Dumper,
        filter: &Filter,
        tracker: &mut Tracker,
        shared: &Shared,
    ) -> Result<(), Error> {
        let now = shared.now();
        let mut followed = std::mem::take(&mut self.followed);
        if now >= self.look_up_at {
            self.look_up(&mut followed, dumper, tracker, shared)?;
        }
        self.followed = followed;
        if self.may_meet(now) && now < self.search_until {
            let before = thread_cpu();
            tracker.expect_newborns(true);
            let filter = Filter { states: YOUNG, with_info: true, ..*filter };
            dumper.each(&filter, |row| tracker.handle_young(row, &self.followed))?;
            self.take_cost(thread_cpu().saturating_sub(before), shared.now());
            self.meet(dumper, tracker, shared)?;
        }
        Ok(())
    }

    /// Looks each of these up once. Keeps those that can show more.
    fn look_up(
        &mut self,
        newborns: &mut Vec<Newborn>,
        dumper: &mut Dumper,
        tracker: &mut Tracker,
        shared: &Shared,
    ) -> Result<(), Error> {
        if newborns.is_empty() {
            return Ok(());
        }
        let before = thread_cpu();
        let lookups: Vec<SocketLookup> = newborns.iter().map(|one| one.lookup).collect();
        let asked_at = shared.now();
        dumper.look_up(&lookups, |row| {
            let now = shared.now();
            let _ = newborns.iter_mut().any(|one| one.handle_found(row, asked_at, now));
        })?;
        newborns.iter_mut().for_each(|one| one.end_round(asked_at));
        newborns.iter_mut().for_each(|one| tracker.handle_followed(one));
        newborns.retain(Newborn::is_followed);
        let round_trips = newborns.iter().filter_map(Newborn::round_trip);
        let pause = round_trips.min().map_or(LOOK_UP_EVERY.0, |least| least / LOOKUPS_EACH_TRIP);
        let now = shared.now();
        self.look_up_at = now + pause.clamp(LOOK_UP_EVERY.0, LOOK_UP_EVERY.1);
        self.take_cost(thread_cpu().saturating_sub(before), now);
        Ok(())
    }

    /// Takes processor time that was spent.
    fn take_cost(&mut self, cost: Duration, now: Duration) {
        self.meet_after = self.meet_after.max(now) + cost * SHARE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_keeps_to_its_share() {
        const SECOND: Duration = Duration::from_secs(1);
        let mut following = Following::default();
        assert_eq!(following.next_due(SECOND), None, "nothing is to be learned");
        following.search(SECOND);
        assert_eq!(following.next_due(SECOND), Some(Duration::ZERO));
        assert!(following.may_meet(SECOND));
        following.take_cost(Duration::from_millis(1), SECOND);
        let next = Duration::from_millis(1_050);
        assert_eq!(following.next_due(SECOND), Some(next), "a fiftieth of a core");
        assert_eq!(following.next_due(4 * SECOND), None, "a watch that is late searches no more");
        assert!(!following.may_meet(next - Duration::from_millis(1)));
        following.take_cost(Duration::from_millis(60), next);
        assert_eq!(
            following.next_due(next),
            None,
            "the search is over before its share allows another"
        );
        following.search(4 * SECOND);
        assert_eq!(following.next_due(4 * SECOND), Some(Duration::from_millis(4_050)));
    }
}
