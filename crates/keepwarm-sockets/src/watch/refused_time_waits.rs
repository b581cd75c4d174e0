//! Follows the kernel's count of TIME_WAITs that it did not keep.
//!
//! Owns three readings of the counter, which are passed in. Where TIME_WAITs are refused
//! (`net.ipv4.tcp_max_tw_buckets`), finding none proves nothing about a socket.

/// The counter at the start, and at the last two rounds; `None` where the kernel does not count.
#[derive(Debug)]
pub(crate) struct RefusedTimeWaits {
    at_start: Option<u64>,
    at_round_before: Option<u64>,
    at_last_round: Option<u64>,
}

impl RefusedTimeWaits {
    pub(crate) fn new(count: Option<u64>) -> RefusedTimeWaits {
        RefusedTimeWaits { at_start: count, at_round_before: count, at_last_round: count }
    }

    /// Takes the counter as read at the end of a round (a dump or lookups). Returns true if it has
    /// moved since the round before the last one: an event may be under way for as long as a round.
    pub(crate) fn handle_round(&mut self, count: Option<u64>) -> bool {
        let moved = count != self.at_round_before;
        self.at_round_before = std::mem::replace(&mut self.at_last_round, count);
        moved
    }

    /// TIME_WAITs refused since the start, as of the last round.
    pub(crate) fn since_start(&self) -> Option<u64> {
        Some(self.at_last_round?.saturating_sub(self.at_start?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_count_for_two_rounds() {
        let mut refused = RefusedTimeWaits::new(Some(7));
        assert!(!refused.handle_round(Some(7)), "none since the start");
        assert!(refused.handle_round(Some(9)), "two in this round");
        assert!(refused.handle_round(Some(9)), "events of that round may be under way");
        assert!(!refused.handle_round(Some(9)), "now they are not");
        assert_eq!(refused.since_start(), Some(2));
    }

    #[test]
    fn unknown_counts_are_not_zero() {
        let mut refused = RefusedTimeWaits::new(None);
        assert!(!refused.handle_round(None));
        assert_eq!(refused.since_start(), None);
        assert!(refused.handle_round(Some(1)), "unknown before: something may have been refused");
    }
}
