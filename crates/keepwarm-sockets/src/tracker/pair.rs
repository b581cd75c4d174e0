//! Address pairs of connections, the same for both of their sockets.
//!
//! Owns the fixed order of the two addresses. Which of the two is the service is decided in `sides`.

use std::net::SocketAddr;

use crate::kernel::socket::Socket;

/// The two addresses of a connection in a fixed order, whichever of its sockets names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) low: SocketAddr,
    pub(super) high: SocketAddr,
}

impl Pair {
    pub(super) fn of(socket: &Socket) -> Pair {
        Pair::between(socket.local, socket.remote)
    }

    pub(super) fn between(one: SocketAddr, other: SocketAddr) -> Pair {
        Pair { low: one.min(other), high: one.max(other) }
    }

    /// Returns the local and the remote address of a member.
    pub(super) fn seen_from(&self, member: Member) -> (SocketAddr, SocketAddr) {
        match member {
            Member::Low => (self.low, self.high),
            Member::High => (self.high, self.low),
        }
    }
}

/// Member of a [`Pair`]: the socket whose local address is the lower, or its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member {
    Low,
    High,
}

impl Member {
    pub(super) fn of(socket: &Socket) -> Member {
        Member::at(&socket.local, &socket.remote)
    }

    pub(super) fn at(local: &SocketAddr, remote: &SocketAddr) -> Member {
        if local <= remote { Member::Low } else { Member::High }
    }

    pub(super) fn peer(self) -> Member {
        match self {
            Member::Low => Member::High,
            Member::High => Member::Low,
        }
    }
}
