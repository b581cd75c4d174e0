//! Sockets that were counted alone although their peer is in this network namespace: the peer has
//! not died yet, or died without a destroy event.
//!
//! Owns their evidence until the peer dies, and decides at the end of a watch which connections
//! no client's socket stands for.
//!
//! A server's socket that dies while its client is open (in CLOSE_WAIT in a pool, say) is counted
//! with its own destination after a second. When the client dies, minutes later perhaps, both are
//! there to say who was first. If the client never dies by an event, because an RST took the
//! connection away under a file that stays open, the connection is counted at the server.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::open::LocalTrace;
use super::{Pair, Tracker, Which};
use crate::kernel::keyed_hash::Map;
use crate::kernel::socket::Side;
use crate::report::closes::CloseKind;
use crate::tracker::classify::Evidence;

/// Sockets whose evidence is kept, some 200 bytes each; beyond it the peer is judged alone.
const MAX_AWAITED: usize = 1 << 15;
/// Client addresses whose servers' aborts are told apart.
const MAX_CLIENTS: usize = 1 << 12;

/// A socket that was counted while its peer was still to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountedAlone {
    pub(super) which: Which,
    pub(super) side: Side,
    pub(super) evidence: Evidence,
    pub(super) kind: CloseKind,
    /// It closed with unread data.
    pub(super) unread: bool,
    /// Requests within the window.
    pub(super) requests: Option<u32>,
    pub(super) at_start: bool,
    pub(super) book: u32,
}

/// A server's port, and the address of a client on this host.
type PortAndClient = (u16, IpAddr);

/// Sockets whose peer is still to come.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    by_pair: Map<Pair, CountedAlone>,
    /// Servers' aborts that no client's socket claimed, and the book they are in.
    aborts: HashMap<PortAndClient, (u32, u64)>,
    /// Clients counted alone whose pair has been used again since: an abort without a name may
    /// have been their servers'.
    explained: HashMap<PortAndClient, u64>,
}

impl Awaited {
    /// Takes the socket at one end of a pair.
    pub(super) fn take(&mut self, pair: &Pair, which: Which) -> Option<CountedAlone> {
        let is_it = self.by_pair.get(pair).is_some_and(|one| one.which == which);
        if is_it { self.by_pair.remove(pair) } else { None }
    }

    pub(super) fn books_mut(&mut self) -> impl Iterator<Item = &mut u32> {
        let sockets = self.by_pair.values_mut().map(|one| &mut one.book);
        sockets.chain(self.aborts.values_mut().map(|(book, _)| book))
    }

    fn explain(&mut self, pair: &Pair, client: Which) {
        let (client, server) = pair.seen_from(client);
        let key = (server.port(), client.ip());
        if self.explained.len() < MAX_CLIENTS || self.explained.contains_key(&key) {
            *self.explained.entry(key).or_default() += 1;
        }
    }
}

impl Tracker {
    /// Remembers a socket that was counted without its peer.
    pub(super) fn await_peer(&mut self, pair: &Pair, one: CountedAlone) {
        let room = self.awaited.by_pair.len() < MAX_AWAITED;
        if !room && !self.awaited.by_pair.contains_key(pair) {
            return;
        }
        // The pair serves another connection: the peer of the one before left without an event.
        match self.awaited.by_pair.insert(*pair, one) {
            Some(before) if before.side == Side::Server => self.count_at_server(&before),
            Some(before) => self.awaited.explain(pair, before.which),
            None => {}
        }
    }

    /// A server's abort that no client's socket claimed, though the client is on this host.
    pub(super) fn await_client_of_abort(&mut self, port: u16, client: IpAddr, book: u32) {
        let aborts = &mut self.awaited.aborts;
        if aborts.len() < MAX_CLIENTS || aborts.contains_key(&(port, client)) {
            aborts.entry((port, client)).or_insert((book, 0)).1 += 1;
        }
    }

    fn count_at_server(&mut self, one: &CountedAlone) {
        // Open at the start without its client: the connection was over before the window.
        if one.at_start {
            return;
        }
        let only = &mut self.books[one.book as usize].server_only;
        only.closed.add(Side::Server, one.kind, one.unread);
        one.requests.into_iter().for_each(|requests| only.requests.add(requests));
    }

    /// Counts at the server the connections whose client's socket is neither alive nor had an
    /// event.
    pub(super) fn count_unseen_clients(&mut self) {
        let awaited = std::mem::take(&mut self.awaited.by_pair);
        let aborts = std::mem::take(&mut self.awaited.aborts);
        if awaited.is_empty() && aborts.is_empty() {
            return;
        }
        let alive = self.alive.values().filter(|alive| alive.seen >= self.last_stock);
        let open: HashSet<LocalTrace> = alive.filter_map(|alive| self.trace_of(alive)).collect();
        for (pair, one) in &awaited {
            let (peer, remote) = pair.seen_from(one.which.other());
            if open.contains(&(peer, remote.port())) {
                continue;
            }
            match one.side {
                Side::Server => self.count_at_server(one),
                Side::Client => self.awaited.explain(pair, one.which),
            }
        }
        for (key, (book, count)) in aborts {
            let explained = self.awaited.explained.get(&key).copied().unwrap_or(0);
            let only = &mut self.books[book as usize].server_only;
            only.closed.local_rst += count.saturating_sub(explained);
        }
    }
}
