//! Sockets that were counted alone although their peer is in this network namespace: the peer has
//! not died yet, or died without a destroy event.
//!
//! Owns their evidence until the peer dies, and the decision which connections no client's socket
//! stands for when the watch ends.
//!
//! A server's socket that dies while its client is open (in CLOSE_WAIT in a pool, say) is counted
//! with its own destination after a second. When the client dies, minutes later perhaps, the
//! evidence of both decides which was first. If the client never dies by an event, because an RST
//! took the connection away under a file that stays open, the connection is counted at the server.

use std::collections::HashMap;
use std::net::IpAddr;

use super::classify::Evidence;
use super::dead::Asked;
use super::destinations::DestinationId;
use super::open::LocalAndPort;
use super::pair::{Member, Pair};
use super::removed_time_waits::Bounds;
use crate::kernel::keyed_hash::{Map, Set};
use crate::kernel::socket::Side;
use crate::report::closes::CloseKind;

/// Sockets whose evidence is kept, 256 bytes each; beyond it a peer is classified alone. As many fit a table of 2^14
/// places: 4 MB. Where events get lost, peers are awaited that never come.
const MAX_AWAITED: usize = 14_000;
/// Client addresses for which servers' aborts are counted apart.
const MAX_CLIENTS: usize = 1 << 12;

/// A socket that was counted before its peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountedAlone {
    pub(super) member: Member,
    pub(super) side: Side,
    pub(super) evidence: Evidence,
    pub(super) kind: CloseKind,
    /// True if it was closed with unread data.
    pub(super) unread: bool,
    /// Requests within the window.
    pub(super) asked: Asked,
    /// True if it was open when the window began.
    pub(super) at_start: bool,
    pub(super) destination: DestinationId,
    /// TIME_WAITs that it was accounted for.
    pub(super) accounted: Bounds,
}

/// A connection that is counted at its server, as no client's socket stands for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountedAtServer {
    pub(super) destination: DestinationId,
    pub(super) kind: CloseKind,
    pub(super) unread: bool,
    pub(super) asked: Asked,
}

/// A server's port, and the address of a client on this host.
type PortAndClient = (u16, IpAddr);

/// Sockets whose peer is still to come.
#[derive(Debug, Default)]
pub(super) struct AwaitedPeers {
    by_pair: Map<Pair, CountedAlone>,
    /// Aborts by servers that no client's socket claimed, and the destination that has them.
    aborts: HashMap<PortAndClient, (DestinationId, u64)>,
    /// Clients counted alone whose address pair has been used again since: an abort without a name
    /// may have been their server's.
    explained: HashMap<PortAndClient, u64>,
}

impl AwaitedPeers {
    /// Takes the socket at one address of a pair, whose peer has died now.
    pub(super) fn take(&mut self, pair: &Pair, member: Member) -> Option<CountedAlone> {
        let is_it = self.by_pair.get(pair).is_some_and(|one| one.member == member);
        if is_it { self.by_pair.remove(pair) } else { None }
    }

    /// Keeps a socket that was counted without its peer. Returns the connection that had the same
    /// addresses before, if it is to be counted at its server.
    pub(super) fn put(&mut self, pair: &Pair, one: CountedAlone) -> Option<CountedAtServer> {
        if self.by_pair.len() >= MAX_AWAITED && !self.by_pair.contains_key(pair) {
            return None;
        }
        // The pair serves another connection: the peer of the one before left without an event.
        let before = self.by_pair.insert(*pair, one)?;
        if before.side == Side::Client {
            self.explain(pair, before.member);
        }
        at_server(&before)
    }

    /// Counts an abort by a server that no client's socket claimed, though the client is on this
    /// host.
    pub(super) fn count_abort(&mut self, port: u16, client: IpAddr, destination: DestinationId) {
        if self.aborts.len() < MAX_CLIENTS || self.aborts.contains_key(&(port, client)) {
            self.aborts.entry((port, client)).or_insert((destination, 0)).1 += 1;
        }
    }

    /// Returns whether no peer is awaited.
    pub(super) fn is_empty(&self) -> bool {
        self.by_pair.is_empty() && self.aborts.is_empty()
    }

    /// Decides at the end of the window, when `open` has the sockets that are alive: returns the
    /// connections whose client's socket is neither alive nor had an event.
    pub(super) fn without_client(mut self, open: &Set<LocalAndPort>) -> Vec<CountedAtServer> {
        let mut found = Vec::new();
        for (pair, one) in std::mem::take(&mut self.by_pair) {
            let (peer, remote) = pair.seen_from(one.member.peer());
            if open.contains(&(peer, remote.port())) {
                continue;
            }
            match one.side {
                Side::Client => self.explain(&pair, one.member),
                Side::Server => found.extend(at_server(&one)),
            }
        }
        for (key, (destination, count)) in &self.aborts {
            let explained = self.explained.get(key).copied().unwrap_or(0);
            let abort = CountedAtServer {
                destination: *destination,
                kind: CloseKind::ServerRst,
                unread: false,
                asked: Asked::default(),
            };
            found.extend((explained..*count).map(|_| abort));
        }
        found
    }

    /// Remembers that an abort without a name may be that of this client's server.
    fn explain(&mut self, pair: &Pair, client: Member) {
        let (client, server) = pair.seen_from(client);
        let key = (server.port(), client.ip());
        if self.explained.len() < MAX_CLIENTS || self.explained.contains_key(&key) {
            *self.explained.entry(key).or_default() += 1;
        }
    }
}

fn at_server(one: &CountedAlone) -> Option<CountedAtServer> {
    // A server's socket that was open at the start without its client: the connection was over
    // before the window.
    (one.side == Side::Server && !one.at_start).then_some(CountedAtServer {
        destination: one.destination,
        kind: one.kind,
        unread: one.unread,
        asked: one.asked,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn awaited_peer_takes_256_bytes() {
        assert!(size_of::<(Pair, CountedAlone)>() <= 256, "{}", size_of::<(Pair, CountedAlone)>());
    }
}
