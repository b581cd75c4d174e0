//! Sockets that were closed on purpose: once their events have come, those of all earlier deaths have.
//!
//! Owns which of their events are missing. Pure: the sockets are made by the caller.
//!
//! The kernel drops the event of a fence like any other while the receive buffer is full. Events of one core come
//! in order, so a fence that is missing when a later one of every core has come was dropped: it is among the
//! events that the kernel counts as lost, and no connection's.

/// The fences of one wait.
#[derive(Debug, Default)]
pub(super) struct Fences {
    /// Cookies of the latest, one for each core.
    latest: Vec<u64>,
    earlier: Vec<u64>,
}

impl Fences {
    /// Takes a fence on each core, later than those before.
    pub(super) fn put(&mut self, cookies: Vec<u64>) {
        self.earlier.append(&mut self.latest);
        self.latest = cookies;
    }

    /// Takes the event of a socket. Returns whether it was a fence.
    pub(super) fn handle(&mut self, cookie: u64) -> bool {
        [&mut self.latest, &mut self.earlier].into_iter().any(|fences| {
            let place = fences.iter().position(|fence| *fence == cookie);
            place.map(|place| fences.swap_remove(place)).is_some()
        })
    }

    /// Returns whether the events of the latest have come.
    pub(super) fn have_passed(&self) -> bool {
        self.latest.is_empty()
    }

    /// Ends the wait. Returns the number of fences that were dropped, as far as that is certain.
    pub(super) fn end(&mut self) -> u64 {
        let dropped = if self.have_passed() { self.earlier.len() } else { 0 };
        *self = Fences::default();
        u64::try_from(dropped).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_fence_shows_that_earlier_ones_were_dropped() {
        let mut fences = Fences::default();
        fences.put(vec![1, 2]);
        assert!(!fences.handle(7) && !fences.have_passed());
        assert!(fences.handle(2) && !fences.have_passed());
        fences.put(vec![3, 4]);
        assert!(fences.handle(4) && fences.handle(3) && fences.have_passed());
        assert_eq!(fences.end(), 1, "the first of core 1");
        assert_eq!(fences.end(), 0);
    }

    #[test]
    fn missing_fences_may_be_late() {
        let mut fences = Fences::default();
        fences.put(vec![1, 2]);
        fences.put(vec![3, 4]);
        assert!(fences.handle(3) && fences.handle(1) && fences.handle(2));
        assert_eq!(fences.end(), 0, "one of the latest has not come: it may be late");
        fences.put(vec![5]);
        assert!(fences.handle(5));
        assert_eq!(fences.end(), 0);
    }
}
