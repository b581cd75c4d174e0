//! Trace records of sockets, built from their events: when a connection was established, when it
//! ended, and which thread owned it.
//!
//! Owns the records of sockets that are still open. Pure. A socket is one side of a connection; its
//! kernel address identifies it until it is closed, and a new socket may have that address at once
//! afterwards. Joins no two sockets: see `tracker`.
//!
//! ```text
//!  client   CLOSE → SYN_SENT (its task) → ESTABLISHED ─┬→ FIN_WAIT1 (its task) ─→ CLOSE
//!  server            SYN_RECV (softirq) → ESTABLISHED ─┼→ CLOSE_WAIT → LAST_ACK (its task) → CLOSE
//!                                                      └→ CLOSE: an RST, sent or received
//! ```

use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use super::event::{Change, Event};
use crate::kernel::burst::Burst;
use crate::kernel::keyed_hash::Map;
use crate::kernel::socket::State;

/// Maximum number of open sockets; a record takes some hundred bytes.
const MAX_SOCKETS: usize = 1 << 17;

/// Trace record of a socket that has closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TracedSocket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// The thread that connected or closed; the tracer replaces it by the thread's process.
    pub(crate) owner: Option<u32>,
    /// Time at which it was met first, by the clock of the trace.
    pub(crate) owned_ns: u64,
    /// Time from ESTABLISHED until this socket was closed or reset; `None` if the beginning was not
    /// seen.
    pub(crate) lifetime_ns: Option<u64>,
    /// Time at which the socket ended, by the clock of the trace.
    pub(crate) ended_ns: u64,
    /// State in which the socket received an RST.
    pub(crate) reset_in: Option<State>,
    /// True if this socket sent its FIN before it received the peer's, false if after; `None`
    /// without a FIN.
    pub(crate) closed_first: Option<bool>,
    /// Whether the peer's FIN came before its own was acknowledged (state CLOSING): the FINs crossed.
    pub(crate) crossed: bool,
    /// It ended in ESTABLISHED: neither FIN had come or gone.
    pub(crate) ended_established: bool,
}

/// Records of the open sockets, by kernel address.
#[derive(Debug, Default)]
pub(crate) struct TracedSockets {
    open: Map<u64, PartialRecord>,
    burst: Burst,
    /// Number of sockets for which there was no room.
    pub(crate) overflowed: u64,
}

/// Events so far of a socket that is open.
#[derive(Debug, Clone, Copy, Default)]
struct PartialRecord {
    /// The first thread that was met, and when.
    task: Option<(u32, u64)>,
    established_ns: Option<u64>,
    closed_ns: Option<u64>,
    reset: bool,
    closed_first: Option<bool>,
    crossed: bool,
}

impl TracedSockets {
    /// Handles the next event in the order of time. Returns a record when its socket closes.
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

    /// Ends a reading: gives back the memory of many sockets that have closed since.
    pub(crate) fn end_reading(&mut self) {
        let count = self.open.len();
        self.burst.shrink_table(count, &mut self.open);
    }

    fn handle_change(&mut self, at_ns: u64, change: &Change) -> Option<TracedSocket> {
        if change.to == State::Close {
            return self.end(at_ns, change);
        }
        // The close of the last socket at this address may have been lost.
        let is_new = change.to == State::SynSent || change.from == State::SynReceived;
        let record = self.entry(change.socket, is_new)?;
        record.task = record.task.or_else(|| Some((change.task?, at_ns)));
        match change.to {
            State::Established => record.established_ns = Some(at_ns),
            State::FinWait1 | State::LastAck => {
                record.closed_ns = Some(at_ns);
                record.closed_first = Some(change.to == State::FinWait1);
            }
            State::Closing => record.crossed = true,
            _ => {}
        }
        None
    }

    fn end(&mut self, at_ns: u64, change: &Change) -> Option<TracedSocket> {
        let record = self.open.remove(&change.socket).unwrap_or_default();
        // A listener, or a connect(2) that failed.
        if matches!(change.from, State::Listen | State::SynSent) {
            return None;
        }
        let closed = record.closed_ns.unwrap_or(at_ns);
        let task = record.task.or_else(|| Some((change.task?, at_ns)));
        Some(TracedSocket {
            local: change.local,
            remote: change.remote,
            owner: task.map(|(thread, _)| thread),
            owned_ns: task.map_or(at_ns, |(_, since)| since),
            lifetime_ns: record.established_ns.map(|begun| closed.saturating_sub(begun)),
            ended_ns: at_ns,
            reset_in: record.reset.then_some(change.from),
            closed_first: record
                .closed_first
                .or_else(|| (change.from == State::CloseWait).then_some(false)),
            crossed: record.crossed,
            ended_established: change.from == State::Established,
        })
    }

    fn entry(&mut self, socket: u64, is_new: bool) -> Option<&mut PartialRecord> {
        let is_full = self.open.len() >= MAX_SOCKETS;
        match self.open.entry(socket) {
            Entry::Occupied(known) => {
                let record = known.into_mut();
                if is_new {
                    *record = PartialRecord::default();
                }
                Some(record)
            }
            Entry::Vacant(_) if is_full => {
                self.overflowed += 1;
                None
            }
            Entry::Vacant(place) => Some(place.insert(PartialRecord::default())),
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

    /// Handles events a millisecond apart and returns the records of sockets that closed.
    fn ended(events: &[Event]) -> Vec<TracedSocket> {
        let mut sockets = TracedSockets::default();
        let times = (1..).map(|ms| ms * 1_000_000);
        times.zip(events).filter_map(|(at, event)| sockets.handle(at, event)).collect()
    }

    #[test]
    fn a_lifetime_ends_with_the_own_close() {
        let client = ended(&[
            change(1, Close, SynSent, Some(7)),
            change(1, SynSent, Established, None),
            change(1, Established, FinWait1, Some(8)),
            change(1, FinWait2, Close, None),
        ]);
        assert_eq!((client[0].owner, client[0].lifetime_ns), (Some(7), Some(1_000_000)));
        assert_eq!(client[0].owned_ns, 1_000_000, "the connect");
        assert_eq!((client[0].ended_ns, client[0].reset_in), (4_000_000, None));
        let server = ended(&[
            change(1, SynReceived, Established, None),
            change(1, CloseWait, LastAck, Some(9)),
            change(1, LastAck, Close, None),
        ]);
        assert_eq!((server[0].owner, server[0].lifetime_ns), (Some(9), Some(1_000_000)));
    }

    #[test]
    fn a_reset_records_the_state_it_met() {
        let raced = ended(&[
            change(1, SynSent, Established, None),
            Event::ReceivedReset { socket: 1 },
            change(1, CloseWait, Close, None),
        ]);
        assert_eq!((raced[0].reset_in, raced[0].owner), (Some(CloseWait), None));
        assert!(!raced[0].ended_established, "the peer's FIN had come");
        let ours = ended(&[change(1, Established, Close, Some(5))]);
        assert_eq!((ours[0].owner, ours[0].lifetime_ns, ours[0].reset_in), (Some(5), None, None));
        assert!(ours[0].ended_established, "no FIN had come");
    }

    #[test]
    fn closing_records_crossed_fins() {
        let crossed = ended(&[
            change(1, SynSent, Established, None),
            change(1, Established, FinWait1, Some(5)),
            change(1, FinWait1, State::Closing, None),
            change(1, State::Closing, Close, None),
        ]);
        assert_eq!((crossed[0].closed_first, crossed[0].crossed), (Some(true), true));
    }

    #[test]
    fn a_reused_address_is_another_socket() {
        let second = ended(&[
            change(1, Close, SynSent, Some(1)),
            change(1, SynSent, Established, None),
            // The event of its close was lost.
            change(1, Close, SynSent, Some(2)),
            change(1, SynSent, Established, None),
            change(1, Established, FinWait1, Some(2)),
            change(1, FinWait2, Close, None),
        ]);
        assert_eq!(second.len(), 1);
        assert_eq!((second[0].owner, second[0].lifetime_ns), (Some(2), Some(1_000_000)));
    }

    #[test]
    fn only_connections_leave_records() {
        assert!(ended(&[change(1, State::Listen, Close, Some(1))]).is_empty());
        assert!(
            ended(&[change(1, Close, SynSent, Some(1)), change(1, SynSent, Close, None)])
                .is_empty()
        );
    }

    #[test]
    fn memory_of_closed_sockets_is_given_back() {
        let mut many = TracedSockets::default();
        let open = |socket| change(socket, SynSent, Established, None);
        let close = |socket| change(socket, FinWait2, Close, None);
        assert!((0..50_000).all(|socket| many.handle(0, &open(socket)).is_none()));
        many.end_reading();
        assert!((0..50_000).all(|socket| many.handle(1, &close(socket)).is_some()));
        assert!(many.open.is_empty());
        (0..100).for_each(|_| many.end_reading());
        // Without the marks that removed items leave, a table says how much room it has.
        many.open.clear();
        assert!(many.open.capacity() < 8_192, "{}", many.open.capacity());
    }

    #[test]
    fn sockets_beyond_the_limit_are_counted() {
        let mut many = TracedSockets::default();
        for socket in 0..MAX_SOCKETS as u64 + 3 {
            many.handle(0, &change(socket, SynSent, Established, None));
        }
        assert_eq!((many.open.len(), many.overflowed), (MAX_SOCKETS, 3));
    }
}
