//! From events to lives: when a connection was established, when it ended, and whose it was.
//!
//! Owns the sockets that are under way. Pure. One socket is one end; its kernel address names it
//! until it is closed, and another one may have it at once after that.
//!
//! ```text
//!  client   CLOSE → SYN_SENT (its task) → ESTABLISHED ─┬→ FIN_WAIT1 (its task) ─→ CLOSE
//!  server            SYN_RECV (softirq) → ESTABLISHED ─┼→ CLOSE_WAIT → LAST_ACK (its task) → CLOSE
//!                                                      └→ CLOSE: an RST, ours or theirs
//! ```

use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use super::event::{Change, Event};
use crate::kernel::hash::Map;
use crate::kernel::socket::State;

/// Sockets under way; one is some hundred bytes.
const MAX_LIVES: usize = 1 << 17;

/// What an end's events told, when it was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TracedSocket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The thread that connected, or that closed; the process of it when the tracer gives it away.
    pub(crate) owner: Option<u32>,
    /// From established to closed by this end or reset; `None` if its beginning was not seen.
    pub(crate) lifetime_ns: Option<u64>,
    /// When it ended, by the trace's clock.
    pub(crate) ended_ns: u64,
    /// The state in which an RST found it.
    pub(crate) reset_in: Option<State>,
    /// Whether this end's FIN left before the other's came, or after; `None` without a FIN.
    pub(crate) closed_first: Option<bool>,
}

/// Sockets under way.
#[derive(Debug, Default)]
pub(crate) struct TracedSockets {
    under_way: Map<u64, Start>,
    /// Sockets that could not be remembered.
    pub(crate) overflowed: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Start {
    task: Option<u32>,
    established_ns: Option<u64>,
    closed_ns: Option<u64>,
    reset: bool,
    closed_first: Option<bool>,
}

impl TracedSockets {
    /// Events come in the order of their times. Gives a life when one ends.
    pub(crate) fn handle(&mut self, at_ns: u64, event: &Event) -> Option<TracedSocket> {
        match event {
            Event::State(change) => self.handle_change(at_ns, change),
            Event::ReceivedReset { socket } => {
                self.entry(*socket, false)?.reset = true;
                None
            }
            Event::SentReset { .. } => None,
        }
    }

    fn handle_change(&mut self, at_ns: u64, change: &Change) -> Option<TracedSocket> {
        if change.to == State::Close {
            return self.end(at_ns, change);
        }
        // It may be under an address whose last end was not seen.
        let is_new = change.to == State::SynSent || change.from == State::SynReceived;
        let start = self.entry(change.socket, is_new)?;
        start.task = start.task.or(change.task);
        match change.to {
            State::Established => start.established_ns = Some(at_ns),
            State::FinWait1 | State::LastAck => {
                start.closed_ns = Some(at_ns);
                start.closed_first = Some(change.to == State::FinWait1);
            }
            _ => {}
        }
        None
    }

    fn end(&mut self, at_ns: u64, change: &Change) -> Option<TracedSocket> {
        let start = self.under_way.remove(&change.socket).unwrap_or_default();
        // A listener, or a connect that failed.
        if matches!(change.from, State::Listen | State::SynSent) {
            return None;
        }
        let closed = start.closed_ns.unwrap_or(at_ns);
        Some(TracedSocket {
            local: change.local,
            remote: change.remote,
            owner: start.task.or(change.task),
            lifetime_ns: start.established_ns.map(|begun| closed.saturating_sub(begun)),
            ended_ns: at_ns,
            reset_in: start.reset.then_some(change.from),
            closed_first: start
                .closed_first
                .or_else(|| (change.from == State::CloseWait).then_some(false)),
        })
    }

    fn entry(&mut self, socket: u64, is_new: bool) -> Option<&mut Start> {
        let is_full = self.under_way.len() >= MAX_LIVES;
        match self.under_way.entry(socket) {
            Entry::Occupied(known) => {
                let start = known.into_mut();
                if is_new {
                    *start = Start::default();
                }
                Some(start)
            }
            Entry::Vacant(_) if is_full => {
                self.overflowed += 1;
                None
            }
            Entry::Vacant(place) => Some(place.insert(Start::default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Close, CloseWait, Established, FinWait1, FinWait2, LastAck, SynReceived, SynSent};

    const CLIENT: &str = "10.0.0.1:40000";
    const SERVER: &str = "10.0.0.2:80";

    fn change(socket: u64, from: State, to: State, task: Option<u32>) -> Event {
        let (local, remote) = (CLIENT.parse().unwrap(), SERVER.parse().unwrap());
        Event::State(Change { socket, from, to, local, remote, task })
    }

    /// Feeds events a millisecond apart and gives what ended.
    fn lives(events: &[Event]) -> Vec<TracedSocket> {
        let mut lives = TracedSockets::default();
        let times = (1..).map(|ms| ms * 1_000_000);
        times.zip(events).filter_map(|(at, event)| lives.handle(at, event)).collect()
    }

    #[test]
    fn an_end_belongs_to_who_connected_or_to_who_closed_and_lives_until_its_own_close() {
        let client = lives(&[
            change(1, Close, SynSent, Some(7)),
            change(1, SynSent, Established, None),
            change(1, Established, FinWait1, Some(8)),
            change(1, FinWait2, Close, None),
        ]);
        assert_eq!((client[0].owner, client[0].lifetime_ns), (Some(7), Some(1_000_000)));
        assert_eq!((client[0].ended_ns, client[0].reset_in), (4_000_000, None));
        let server = lives(&[
            change(1, SynReceived, Established, None),
            change(1, CloseWait, LastAck, Some(9)),
            change(1, LastAck, Close, None),
        ]);
        assert_eq!((server[0].owner, server[0].lifetime_ns), (Some(9), Some(1_000_000)));
    }

    #[test]
    fn a_reset_is_known_with_the_state_in_which_it_came() {
        let raced = lives(&[
            change(1, SynSent, Established, None),
            Event::ReceivedReset { socket: 1 },
            change(1, CloseWait, Close, None),
        ]);
        assert_eq!((raced[0].reset_in, raced[0].owner), (Some(CloseWait), None));
        let ours = lives(&[change(1, Established, Close, Some(5))]);
        assert_eq!((ours[0].owner, ours[0].lifetime_ns, ours[0].reset_in), (Some(5), None, None));
    }

    #[test]
    fn an_address_that_is_used_again_is_another_socket() {
        let second = lives(&[
            change(1, Close, SynSent, Some(1)),
            change(1, SynSent, Established, None),
            // Its end was lost.
            change(1, Close, SynSent, Some(2)),
            change(1, SynSent, Established, None),
            change(1, Established, FinWait1, Some(2)),
            change(1, FinWait2, Close, None),
        ]);
        assert_eq!(second.len(), 1);
        assert_eq!((second[0].owner, second[0].lifetime_ns), (Some(2), Some(1_000_000)));
    }

    #[test]
    fn listeners_and_failed_connects_are_no_lives_and_memory_has_a_limit() {
        assert!(lives(&[change(1, State::Listen, Close, Some(1))]).is_empty());
        assert!(
            lives(&[change(1, Close, SynSent, Some(1)), change(1, SynSent, Close, None)])
                .is_empty()
        );
        let mut many = TracedSockets::default();
        for socket in 0..MAX_LIVES as u64 + 3 {
            many.handle(0, &change(socket, SynSent, Established, None));
        }
        assert_eq!((many.under_way.len(), many.overflowed), (MAX_LIVES, 3));
    }
}
