//! Ways in which connections end, and how often each was seen.
//!
//! Owns the kinds and the two counts of them: by socket (local or remote) and by connection (client
//! or server). Which kind a close was is decided in `tracker::classify`.

use crate::kernel::socket::Side;

/// The side that closed a connection first, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseKind {
    /// The client's FIN came first. An RST may have followed.
    ClientFin,
    /// The server's FIN came first. An RST may have followed.
    ServerFin,
    /// Each side had sent its FIN before it received the peer's. Recognised only where both sockets
    /// are visible; otherwise it counts as the FIN of the visible one.
    CrossedFin,
    /// The client aborted with an RST and no FIN was acknowledged.
    ClientRst,
    /// The server aborted with an RST and no FIN was acknowledged.
    ServerRst,
    /// The peer stopped answering: given up after retransmissions, keep-alive probes or
    /// TCP_USER_TIMEOUT, with no FIN acknowledged before. An RST that answers a retransmission
    /// counts here too, if the program keeps its socket for longer than the answer took.
    TimedOut,
    /// The evidence was gone when it was looked for, or contradicts itself.
    Unclassified,
}

impl CloseKind {
    pub(crate) fn fin(side: Side) -> CloseKind {
        match side {
            Side::Client => CloseKind::ClientFin,
            Side::Server => CloseKind::ServerFin,
        }
    }

    pub(crate) fn rst(side: Side) -> CloseKind {
        match side {
            Side::Client => CloseKind::ClientRst,
            Side::Server => CloseKind::ServerRst,
        }
    }
}

/// Closes as one side's sockets saw them.
///
/// Where the peer is on another host, a close is classified by the local socket alone, and without a
/// trace some kinds look like others: an RST after the peer's FIN may count as `remote_rst`, if the
/// program had read that FIN; an RST that came while data was unread, and a close with unread data
/// after the peer's FIN, count as `undrained`, unless the data is a close_notify of TLS. Any other close in
/// doubt is `unclassified`: so is SO_LINGER 0 right after a segment of the peer's, which may have been its
/// FIN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketCloses {
    /// The local FIN came first, or both crossed.
    pub local_fin: u64,
    /// The subset of `local_fin` in which both FINs crossed; known where both sockets were seen, and
    /// where a trace met the socket in CLOSING (level L2). So for connections within the host, `local_fin - crossed_fin` of the clients equals
    /// `remote_fin` of the servers, and the other way round. Already included in `local_fin`, so the sums do not add it. Each side counts such a
    /// close as its own: only without these do a client's local FINs equal its server's remote ones.
    pub crossed_fin: u64,
    /// The peer's FIN came first.
    pub remote_fin: u64,
    /// The local socket aborted, with nothing left unread (SO_LINGER 0).
    pub local_rst: u64,
    /// The peer aborted.
    pub remote_rst: u64,
    /// The local socket was closed with unread data, which makes the kernel abort: a body was not
    /// drained.
    pub undrained: u64,
    /// The peer stopped answering, and the local socket gave up.
    pub timed_out: u64,
    /// The evidence was gone when it was looked for, or contradicts itself. Also closes of sockets
    /// without TIME_WAIT whose peer is on another host, as many as TIME_WAITs are missing: an RST
    /// removes one if the peer had unread data, or sent data after the FIN. Where the kernel's counters
    /// show that all of them are missing, they are `local_fin`. Also closes of which the peer's event
    /// may have been lost; SO_LINGER 0 where a FIN may have come before; and a FIN with data on its way
    /// that met an RST, if the peer's FIN may have come before.
    pub unclassified: u64,
}

impl SocketCloses {
    /// Returns the number of closes of every kind.
    pub fn total(&self) -> u64 {
        self.local() + self.remote() + self.timed_out + self.unclassified
    }

    /// Returns the number of closes that the local side began.
    pub fn local(&self) -> u64 {
        self.local_fin + self.local_rst + self.undrained
    }

    /// Returns the number of closes that the peer began.
    pub fn remote(&self) -> u64 {
        self.remote_fin + self.remote_rst
    }

    /// Counts a close; `unread`: the local socket had unread data when it was closed.
    pub(crate) fn add(&mut self, side: Side, kind: CloseKind, unread: bool) {
        let is_local = |closer: Side| closer == side;
        self.crossed_fin += u64::from(kind == CloseKind::CrossedFin);
        *match kind {
            CloseKind::CrossedFin => &mut self.local_fin,
            CloseKind::ClientFin if is_local(Side::Client) => &mut self.local_fin,
            CloseKind::ServerFin if is_local(Side::Server) => &mut self.local_fin,
            CloseKind::ClientFin | CloseKind::ServerFin => &mut self.remote_fin,
            CloseKind::ClientRst if !is_local(Side::Client) => &mut self.remote_rst,
            CloseKind::ServerRst if !is_local(Side::Server) => &mut self.remote_rst,
            CloseKind::ClientRst | CloseKind::ServerRst if unread => &mut self.undrained,
            CloseKind::ClientRst | CloseKind::ServerRst => &mut self.local_rst,
            CloseKind::TimedOut => &mut self.timed_out,
            CloseKind::Unclassified => &mut self.unclassified,
        } += 1;
    }

    pub(crate) fn since(&self, earlier: &SocketCloses) -> SocketCloses {
        SocketCloses {
            local_fin: self.local_fin.saturating_sub(earlier.local_fin),
            crossed_fin: self.crossed_fin.saturating_sub(earlier.crossed_fin),
            remote_fin: self.remote_fin.saturating_sub(earlier.remote_fin),
            local_rst: self.local_rst.saturating_sub(earlier.local_rst),
            remote_rst: self.remote_rst.saturating_sub(earlier.remote_rst),
            undrained: self.undrained.saturating_sub(earlier.undrained),
            timed_out: self.timed_out.saturating_sub(earlier.timed_out),
            unclassified: self.unclassified.saturating_sub(earlier.unclassified),
        }
    }

    pub(crate) fn merge(&mut self, other: &SocketCloses) {
        self.local_fin += other.local_fin;
        self.crossed_fin += other.crossed_fin;
        self.remote_fin += other.remote_fin;
        self.local_rst += other.local_rst;
        self.remote_rst += other.remote_rst;
        self.undrained += other.undrained;
        self.timed_out += other.timed_out;
        self.unclassified += other.unclassified;
    }
}

/// Connections closed, by the side that was first (see [`CloseKind`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectionCloses {
    /// [`CloseKind::ClientFin`].
    pub client_fin: u64,
    /// [`CloseKind::ServerFin`].
    pub server_fin: u64,
    /// [`CloseKind::CrossedFin`].
    pub crossed_fin: u64,
    /// [`CloseKind::ClientRst`].
    pub client_rst: u64,
    /// [`CloseKind::ServerRst`].
    pub server_rst: u64,
    /// [`CloseKind::TimedOut`].
    pub timed_out: u64,
    /// [`CloseKind::Unclassified`].
    pub unclassified: u64,
}

impl ConnectionCloses {
    /// Returns the number of closes of every kind.
    pub fn total(&self) -> u64 {
        let fin = self.client_fin + self.server_fin + self.crossed_fin;
        fin + self.reset() + self.timed_out + self.unclassified
    }

    /// Returns the number of connections that either side aborted with an RST.
    pub fn reset(&self) -> u64 {
        self.client_rst + self.server_rst
    }

    /// Names the closer of the closes that sockets of one side saw.
    pub(crate) fn seen_from(side: Side, closed: &SocketCloses) -> ConnectionCloses {
        let local = (closed.local_fin - closed.crossed_fin, closed.local_rst + closed.undrained);
        let remote = (closed.remote_fin, closed.remote_rst);
        let ((client_fin, client_rst), (server_fin, server_rst)) = match side {
            Side::Client => (local, remote),
            Side::Server => (remote, local),
        };
        ConnectionCloses {
            client_fin,
            server_fin,
            crossed_fin: closed.crossed_fin,
            client_rst,
            server_rst,
            timed_out: closed.timed_out,
            unclassified: closed.unclassified,
        }
    }

    pub(crate) fn merge(&mut self, other: &ConnectionCloses) {
        self.client_fin += other.client_fin;
        self.server_fin += other.server_fin;
        self.crossed_fin += other.crossed_fin;
        self.client_rst += other.client_rst;
        self.server_rst += other.server_rst;
        self.timed_out += other.timed_out;
        self.unclassified += other.unclassified;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [CloseKind; 7] = [
        CloseKind::ClientFin,
        CloseKind::ServerFin,
        CloseKind::CrossedFin,
        CloseKind::ClientRst,
        CloseKind::ServerRst,
        CloseKind::TimedOut,
        CloseKind::Unclassified,
    ];

    #[test]
    fn both_sides_count_the_same_closes() {
        for side in [Side::Client, Side::Server] {
            let mut seen = SocketCloses::default();
            for (times, kind) in KINDS.into_iter().enumerate() {
                (0..1 << times).for_each(|n| seen.add(side, kind, n % 2 == 0));
            }
            let closes = ConnectionCloses::seen_from(side, &seen);
            let expected = ConnectionCloses {
                client_fin: 1,
                server_fin: 2,
                crossed_fin: 4,
                client_rst: 8,
                server_rst: 16,
                timed_out: 32,
                unclassified: 64,
            };
            assert_eq!(closes, expected, "{side:?}");
            assert_eq!((closes.total(), seen.total(), closes.reset()), (127, 127, 24));
        }
    }
}
