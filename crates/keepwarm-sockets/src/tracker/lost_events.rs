//! Times at which destroy events were lost.
//!
//! Owns the last such time, and whether it may have taken the event of a socket's peer. The kernel
//! drops events while its buffer is full, and says so when the buffer is read again.

use std::time::Duration;

use super::dead::DeadSocket;

/// Two sockets of one connection die within this time of each other, unless a program holds one.
const TOGETHER: Duration = Duration::from_secs(2);

/// The last time at which events were lost.
#[derive(Debug, Default)]
pub(super) struct LostEvents {
    count: u64,
    /// When the loss was noticed first and last; losses close to each other are one.
    last: Option<(Duration, Duration)>,
}

impl LostEvents {
    /// Takes the number of events that were lost so far.
    pub(super) fn handle(&mut self, count: u64, now: Duration) {
        if count <= self.count {
            return;
        }
        self.count = count;
        let before = self.last.filter(|(_, until)| *until + 2 * TOGETHER >= now);
        self.last = Some((before.map_or(now, |(from, _)| from), now));
    }

    /// Returns whether the event of a socket's peer may be among those that were lost.
    pub(super) fn may_have_taken_peer_of(&self, dead: &DeadSocket) -> bool {
        self.last.is_some_and(|(from, until)| {
            dead.not_before <= until + TOGETHER && from <= dead.at + TOGETHER
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::socket::TcpInfo;
    use crate::tracker::dead::tests::event;
    use crate::tracker::death_time::DeathTime;

    #[test]
    fn loss_takes_what_died_about_then() {
        let s = Duration::from_secs;
        let dead = |not_before, read_at| {
            let died = DeathTime { not_before, read_at };
            DeadSocket::new(event(TcpInfo::default()), false, None, died)
        };
        let mut lost = LostEvents::default();
        assert!(!lost.may_have_taken_peer_of(&dead(s(1), s(1))), "none was lost");
        lost.handle(5, s(20));
        lost.handle(5, s(90));
        assert!(!lost.may_have_taken_peer_of(&dead(s(10), s(11))), "long before");
        assert!(lost.may_have_taken_peer_of(&dead(s(14), s(20))), "read together with the loss");
        assert!(lost.may_have_taken_peer_of(&dead(s(18), s(18))));
        assert!(!lost.may_have_taken_peer_of(&dead(s(30), s(30))), "long after");
    }
}
