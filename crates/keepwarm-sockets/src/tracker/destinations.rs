//! The destinations of a watch, and folding when there are too many.
//!
//! Owns their totals and their ids. An id is for ever: of a destination that was folded it leads to
//! the folded one, so sockets keep the id that they were first given.

use std::hash::BuildHasher;
use std::net::SocketAddr;

use super::totals::{Level, Totals};
use crate::kernel::keyed_hash::{Keyed, Map, Set};
use crate::kernel::socket::Side;

/// Destinations with numbers of their own; when there are twice as many, the quietest are folded
/// into one for each side.
pub(super) const MAX_DESTINATIONS: usize = 1 << 10;
/// Ids that are given out, four bytes each. Destinations beyond them are counted in the folded one.
const MAX_IDS: usize = 1 << 22;

/// Destinations that were folded and are told apart, eight bytes each.
const MAX_FOLDED: usize = 1 << 16;

/// A service and the side of its connections; `None` is the folded destination.
pub(super) type Key = (Option<SocketAddr>, Side);

/// Stable name of a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(test, derive(Default))]
pub(super) struct DestinationId(u32);

/// Totals of every destination.
#[derive(Debug)]
pub(super) struct Destinations {
    /// The most with numbers of their own.
    room: usize,
    slots: Vec<Totals>,
    /// The id under which each slot is listed.
    listed: Vec<DestinationId>,
    /// Slots whose destination was folded.
    free: Vec<u32>,
    /// The slot of each id.
    places: Vec<u32>,
    ids: Map<Key, DestinationId>,
    /// Hashes of the destinations that were ever folded.
    folded: Set<u64>,
    hash: Keyed,
}

impl Default for Destinations {
    fn default() -> Self {
        Self {
            room: MAX_DESTINATIONS,
            slots: Vec::new(),
            listed: Vec::new(),
            free: Vec::new(),
            places: Vec::new(),
            ids: Map::default(),
            folded: Set::default(),
            hash: Keyed::default(),
        }
    }
}

impl Destinations {
    /// Gives fewer destinations numbers of their own, at least three.
    pub(super) fn limit(&mut self, room: usize) {
        self.room = room.clamp(3, MAX_DESTINATIONS);
    }

    /// Returns the id of a destination, which is added if need be. `dump`: the levels that a dump
    /// under way has counted so far. They weigh in if destinations have to be folded, and are folded
    /// with them.
    pub(super) fn id_of(
        &mut self,
        service: SocketAddr,
        side: Side,
        dump: Option<&mut Map<DestinationId, Level>>,
    ) -> DestinationId {
        let key = (Some(service), side);
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        if self.ids.len() >= 2 * self.room {
            self.fold(dump);
        }
        if self.places.len() >= MAX_IDS {
            return self.folded(side);
        }
        self.add(Totals::new(key))
    }

    /// Returns whether a destination has numbers of its own.
    pub(super) fn contains(&self, service: SocketAddr, side: Side) -> bool {
        self.ids.contains_key(&(Some(service), side))
    }

    pub(super) fn get(&self, id: DestinationId) -> &Totals {
        &self.slots[self.place(id)]
    }

    pub(super) fn get_mut(&mut self, id: DestinationId) -> &mut Totals {
        let place = self.place(id);
        &mut self.slots[place]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Totals> {
        self.ids.values().map(|id| self.get(*id))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = DestinationId> {
        self.ids.values().copied()
    }

    /// Applies `change` to every destination.
    pub(super) fn for_each_mut(&mut self, mut change: impl FnMut(&mut Totals)) {
        for id in self.ids.values() {
            change(&mut self.slots[self.places[id.0 as usize] as usize]);
        }
    }

    /// Returns the id under which a destination is listed now: its own, or the folded one's.
    pub(super) fn current(&self, id: DestinationId) -> DestinationId {
        self.listed[self.place(id)]
    }

    fn place(&self, id: DestinationId) -> usize {
        self.places[id.0 as usize] as usize
    }

    fn add(&mut self, totals: Totals) -> DestinationId {
        let key = totals.key();
        let id = DestinationId(u32::try_from(self.places.len()).unwrap_or(u32::MAX));
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = totals;
                self.listed[place as usize] = id;
                place
            }
            None => {
                self.slots.push(totals);
                self.listed.push(id);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.places.push(place);
        self.ids.insert(key, id);
        id
    }

    fn folded(&mut self, side: Side) -> DestinationId {
        let key = (None, side);
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        self.add(Totals::folded(side))
    }

    /// Returns whether a destination is folded for the first time; `None` if too many are to know.
    fn is_first_folding(&mut self, key: &Key) -> Option<bool> {
        let hash = self.hash.hash_one(key);
        if self.folded.contains(&hash) {
            return Some(false);
        }
        (self.folded.len() < MAX_FOLDED).then(|| self.folded.insert(hash))
    }

    /// Keeps the busiest and folds the others into one for each side.
    fn fold(&mut self, mut dump: Option<&mut Map<DestinationId, Level>>) {
        let named = self.ids.iter().filter(|(key, _)| key.0.is_some());
        let mut order: Vec<(u64, Key, DestinationId)> = named
            .map(|(key, id)| {
                let level = dump.as_ref().and_then(|levels| levels.get(id));
                (self.get(*id).weight(level), *key, *id)
            })
            .collect();
        // The two folded ones count among those that are kept.
        let quiet = order.len().saturating_sub(self.room - 2);
        order.sort_unstable_by_key(|(weight, key, _)| (*weight, *key));
        for (_, key, id) in order.into_iter().take(quiet) {
            let into = self.folded(key.1);
            let is_new = self.is_first_folding(&key);
            self.get_mut(into).count_folded(is_new);
            self.move_into(into, id);
            self.ids.remove(&key);
            if let Some(levels) = dump.as_mut()
                && let Some(level) = levels.remove(&id)
            {
                levels.entry(into).or_default().merge(&level);
            }
        }
    }

    /// Adds the totals of a destination to those of another, and frees its slot.
    fn move_into(&mut self, into: DestinationId, id: DestinationId) {
        let (place, into) = (self.place(id), self.place(into));
        let Ok([one, sum]) = self.slots.get_disjoint_mut([place, into]) else { return };
        sum.fold_in(one);
        self.places[id.0 as usize] = u32::try_from(into).unwrap_or(u32::MAX);
        self.free.push(u32::try_from(place).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::totals::{Doubt, OpenNow};

    fn service(n: u32) -> SocketAddr {
        let [a, b, c, d] = n.to_be_bytes();
        SocketAddr::from(([a, b, c, d], 443))
    }

    #[test]
    fn ids_outlive_folding() {
        let mut all = Destinations::default();
        let many = 10 * MAX_DESTINATIONS as u32;
        let mut ids = Vec::new();
        for n in 0..many {
            let id = all.id_of(service(n), Side::Client, None);
            (0..n % 7).for_each(|_| all.get_mut(id).count_failed_connect());
            ids.push(id);
        }
        assert!(all.iter().count() <= 2 * MAX_DESTINATIONS + 1);
        assert!(all.slots.len() <= 2 * MAX_DESTINATIONS + 2, "{} slots", all.slots.len());
        let reports = || {
            all.iter().map(|one| one.report(OpenNow::default(), Doubt::default(), |_| Vec::new()))
        };
        let sum: u64 = reports().map(|one| one.connect_failed).sum();
        assert_eq!(sum, (0..many).map(|n| u64::from(n % 7)).sum::<u64>());
        for (n, id) in (0..).zip(&ids) {
            let key = all.get(*id).key();
            assert!(key == (Some(service(n)), Side::Client) || key == (None, Side::Client));
            assert_eq!(all.get(all.current(*id)).key(), key);
        }
        let folded: u64 = reports().map(|one| one.folded).sum();
        assert_eq!(folded, u64::from(many), "each is counted once");
    }

    #[test]
    fn destination_folded_twice_counts_once() {
        let mut all = Destinations::default();
        let few = 3 * MAX_DESTINATIONS as u32;
        for _ in 0..5 {
            (0..few).map(|n| all.id_of(service(n), Side::Client, None)).for_each(|_| ());
        }
        let reports = || {
            all.iter().map(|one| one.report(OpenNow::default(), Doubt::default(), |_| Vec::new()))
        };
        let folded = reports().find(|one| one.service.is_none()).unwrap();
        assert!(folded.folded <= few.into(), "{} of {few}", folded.folded);
        assert!(!folded.folded_at_least);
        let many = 2 * MAX_FOLDED as u32;
        (0..many).map(|n| all.id_of(service(n), Side::Client, None)).for_each(|_| ());
        let reports = || {
            all.iter().map(|one| one.report(OpenNow::default(), Doubt::default(), |_| Vec::new()))
        };
        let folded = reports().find(|one| one.service.is_none()).unwrap();
        assert!(folded.folded_at_least && folded.folded == MAX_FOLDED as u64);
    }

    #[test]
    fn busiest_destinations_keep_their_names() {
        let mut all = Destinations::default();
        let busy = all.id_of(service(0), Side::Server, None);
        all.get_mut(busy).count_failed_connect();
        (1..=2 * MAX_DESTINATIONS as u32).for_each(|n| {
            all.id_of(service(n), Side::Server, None);
        });
        assert!(all.contains(service(0), Side::Server));
        let folded = all.folded(Side::Server);
        let folded = all.get(folded).report(OpenNow::default(), Doubt::default(), |_| Vec::new());
        assert!(folded.folded > 900, "{}", folded.folded);
    }
}
