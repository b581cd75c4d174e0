//! What is kept of each socket that is open: there may be a hundred thousand, so in few bytes.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use super::{MAX_ADDRESSES, Tracker};
use crate::kernel::socket::Socket;

/// `Option<u32>` in four bytes. The greatest number is taken for the one below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Maybe(u32);

impl Maybe {
    pub(super) const NONE: Maybe = Maybe(u32::MAX);

    pub(super) fn get(self) -> Option<u32> {
        (self != Maybe::NONE).then_some(self.0)
    }
}

impl From<Option<u32>> for Maybe {
    fn from(number: Option<u32>) -> Maybe {
        number.map_or(Maybe::NONE, |number| Maybe(number.min(u32::MAX - 1)))
    }
}

/// A socket that was alive at some look.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenSocket {
    /// The last look that saw it.
    pub(super) seen: u64,
    pub(super) book: u32,
    pub(super) inode: u32,
    pub(super) pid: Maybe,
    /// Requests at the last look that fetched them.
    pub(super) requests: Maybe,
    /// Those when the window began.
    requests_at_start: Maybe,
    /// Segments with data from the server to the client, at the last look that fetched them, and
    /// when the window began.
    pub(super) answers: u32,
    pub(super) answers_at_start: u32,
    /// In CLOSE_WAIT: how long it had been idle when the peer's FIN came.
    pub(super) idle_at_fin_ms: Maybe,
    /// Local address, as a place among those known to be here, counted from 1.
    home: Option<NonZeroU16>,
    local_port: u16,
    remote_port: u16,
    /// It was open when the window began.
    pub(super) at_start: bool,
    /// A server's socket whose client is not in this network namespace.
    pub(super) server_only: bool,
}

impl OpenSocket {
    pub(super) fn new(book: u32, seen: u64, row: &Socket, home: Option<NonZeroU16>) -> OpenSocket {
        OpenSocket {
            seen,
            book,
            inode: row.inode,
            pid: Maybe::NONE,
            requests: Maybe::NONE,
            requests_at_start: Maybe::NONE,
            answers: 0,
            answers_at_start: 0,
            idle_at_fin_ms: Maybe::NONE,
            home,
            local_port: row.local.port(),
            remote_port: row.remote.port(),
            at_start: false,
            server_only: false,
        }
    }

    /// The window begins.
    pub(super) fn begin(&mut self) {
        self.at_start = true;
        self.requests_at_start = self.requests;
        self.answers_at_start = self.answers;
    }

    /// If it was open when the window began: with how many requests, if that is known.
    pub(super) fn start(&self) -> Option<Option<u32>> {
        self.at_start.then(|| self.requests_at_start.get())
    }
}

/// The local address of a socket, and its remote port.
pub(super) type LocalTrace = (SocketAddr, u16);

impl Tracker {
    /// The addresses of a socket as they were before tcp_disconnect(), which clears the local
    /// address and the remote port.
    pub(super) fn addresses_before(
        &self,
        seen: &OpenSocket,
        event: &Socket,
    ) -> (SocketAddr, SocketAddr) {
        let local = self.home_of(seen).unwrap_or(event.local.ip());
        let remote = SocketAddr::new(event.remote.ip(), seen.remote_port);
        (SocketAddr::new(local, seen.local_port), remote)
    }

    fn home_of(&self, seen: &OpenSocket) -> Option<IpAddr> {
        seen.home.and_then(|place| self.homes.get(usize::from(place.get()) - 1)).copied()
    }

    /// The local address and the remote port of an open socket: all that is kept of its addresses.
    pub(super) fn trace_of(&self, open: &OpenSocket) -> Option<LocalTrace> {
        let local = SocketAddr::new(self.home_of(open)?, open.local_port);
        Some((local, open.remote_port))
    }

    /// An address of this host; gives its place, if there is room for it.
    pub(super) fn learn(&mut self, ip: IpAddr) -> Option<NonZeroU16> {
        if let Some(place) = self.here.get(&ip) {
            return Some(*place);
        }
        if self.homes.len() >= MAX_ADDRESSES {
            return None;
        }
        self.homes.push(ip);
        let place = u16::try_from(self.homes.len()).ok().and_then(NonZeroU16::new)?;
        self.here.insert(ip, place);
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At 100,000 sockets, and the moment the table doubles: 11 MB.
    #[test]
    fn a_socket_that_is_open_takes_fifty_six_bytes_with_its_key() {
        assert!(size_of::<(u64, OpenSocket)>() <= 56, "{}", size_of::<(u64, OpenSocket)>());
    }

    #[test]
    fn a_number_is_kept_and_none_is_none() {
        for number in [None, Some(0), Some(7), Some(u32::MAX - 1)] {
            assert_eq!(Maybe::from(number).get(), number);
        }
        assert_eq!(Maybe::from(Some(u32::MAX)).get(), Some(u32::MAX - 1));
    }
}
