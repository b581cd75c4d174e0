//! Aborts whose event does not name the connection.
//!
//! Owns the sockets that wait for their peer, and the number of those that never found one. Closing
//! with SO_LINGER 0 calls tcp_disconnect(), which clears the remote port (net/ipv4/tcp.c): if no dump
//! has seen the socket alive, its event has the local port and the peer's host only.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::dead::DeadSocket;
use super::pairing::PEER_WAIT;
use crate::kernel::keyed_hash::Map;

/// Aborts that wait, some 400 bytes each.
const MAX_ABORTS: usize = 1 << 16;
/// How long an abort waits for the trace to be read, which a busy host may delay as well.
const TRACE_WAIT: Duration = Duration::from_secs(3);
/// Aborts that wait for a destination to become known.
const MAX_EARLY: usize = 1 << 12;

/// Aborts without a remote port.
#[derive(Debug, Default)]
pub(super) struct UnmatchedAborts {
    /// By local port and the peer's host.
    waiting: Map<(u16, IpAddr), VecDeque<DeadSocket>>,
    count: usize,
    /// Aborts towards a host of which no destination was known.
    early: Vec<DeadSocket>,
    unattributed: u64,
}

impl UnmatchedAborts {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Aborts that no destination could be found for.
    pub(super) fn unattributed(&self) -> u64 {
        self.unattributed + u64::try_from(self.early.len()).unwrap_or(0)
    }

    /// Keeps an abort until a destination on its host is known.
    pub(super) fn put_early(&mut self, dead: DeadSocket) {
        if self.early.len() < MAX_EARLY {
            self.early.push(dead);
        } else {
            self.unattributed += 1;
        }
    }

    /// Takes the aborts of [`put_early`](UnmatchedAborts::put_early).
    pub(super) fn take_early(&mut self) -> Vec<DeadSocket> {
        std::mem::take(&mut self.early)
    }

    pub(super) fn count_unattributed(&mut self) {
        self.unattributed += 1;
    }

    pub(super) fn push(&mut self, dead: DeadSocket) {
        if self.count >= MAX_ABORTS {
            self.unattributed += 1;
            return;
        }
        self.count += 1;
        let key = (dead.event.local.port(), dead.event.remote.ip());
        self.waiting.entry(key).or_default().push_back(dead);
    }

    /// Takes the oldest abort that can be the peer of the socket at `local`.
    pub(super) fn take_peer(
        &mut self,
        local: &SocketAddr,
        remote: &SocketAddr,
    ) -> Option<DeadSocket> {
        let key = (remote.port(), local.ip());
        let queue = self.waiting.get_mut(&key)?;
        let dead = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&key);
        }
        self.count -= usize::from(dead.is_some());
        dead
    }

    /// Takes the aborts that have waited for long enough, or all if `finally`. `readings`: how often
    /// the trace has been read; 0 without one.
    pub(super) fn take_overdue(
        &mut self,
        now: Duration,
        readings: u64,
        finally: bool,
    ) -> Vec<DeadSocket> {
        let mut overdue = Vec::new();
        let is_overdue = |dead: &DeadSocket| {
            let waited = now.saturating_sub(dead.at);
            // A trace that is read after the event has the record of its socket.
            let is_traced = readings == 0 || readings > dead.known_at || waited >= TRACE_WAIT;
            finally || (is_traced && waited >= PEER_WAIT)
        };
        for queue in self.waiting.values_mut() {
            while queue.front().is_some_and(is_overdue) {
                overdue.extend(queue.pop_front());
            }
        }
        if !overdue.is_empty() {
            self.waiting.retain(|_, queue| !queue.is_empty());
            self.count -= overdue.len();
        }
        overdue
    }
}
