//! Which of a connection's two addresses is the service.
//!
//! Owns the listeners that were seen. Decides by what is surest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::kernel::keyed_hash::Map;
use crate::kernel::proc::sysctl::EphemeralPorts;
use crate::kernel::socket::{Side, Socket};

/// Processes that share a port and are told apart.
const MAX_SHARING: usize = 64;

/// Ports that somebody listens on, now or earlier in the watch.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// Inode of the newest listener.
    ports: Map<u16, u32>,
    /// Inodes by address, as the last look saw them: several where the port is shared
    /// (SO_REUSEPORT).
    places: Map<SocketAddr, Vec<u32>>,
    ephemeral: Option<EphemeralPorts>,
    /// The only port that is watched: a service, if nothing else says so.
    watched: Option<u16>,
}

impl Listeners {
    pub(crate) fn new(ephemeral: Option<EphemeralPorts>, watched: Option<u16>) -> Listeners {
        Listeners { ports: Map::default(), places: Map::default(), ephemeral, watched }
    }

    pub(crate) fn handle(&mut self, listener: &Socket) {
        self.ports.insert(listener.local.port(), listener.inode);
        let inodes = self.places.entry(listener.local).or_default();
        // It may be met by a look, and as the answer to a question.
        let is_known = inodes.contains(&listener.inode);
        if listener.inode != 0 && !is_known && inodes.len() < MAX_SHARING {
            inodes.push(listener.inode);
        }
    }

    /// A look begins, which will see the listeners that there are.
    pub(crate) fn begin_dump(&mut self) {
        self.places.clear();
    }

    /// The files of the listeners of a service: of its own address, else of any address.
    pub(crate) fn inodes(&self, service: &SocketAddr) -> &[u32] {
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let places = [service.ip(), any[0], any[1]].map(|ip| SocketAddr::new(ip, service.port()));
        places.iter().find_map(|place| self.places.get(place)).map_or(&[], Vec::as_slice)
    }

    /// Whether somebody listens, or has listened, on this port.
    pub(crate) fn serves(&self, end: &SocketAddr) -> bool {
        self.ports.contains_key(&end.port())
    }

    /// The side of the end at `local`, or `None` if only a look at other connections could tell:
    /// the server is the one with a listener, else the one whose port connect(2) does not choose.
    pub(crate) fn side(&self, local: &SocketAddr, remote: &SocketAddr) -> Option<Side> {
        match (self.serves(local), self.serves(remote)) {
            (true, false) => return Some(Side::Server),
            // A listener here says nothing of another host's port, but our own port has none.
            (false, true) if local.ip() == remote.ip() || remote.ip().is_loopback() => {
                return Some(Side::Client);
            }
            _ => {}
        }
        let chosen = |end: &SocketAddr| {
            self.ephemeral.is_some_and(|range| (range.low..=range.high).contains(&end.port()))
        };
        match (chosen(local), chosen(remote)) {
            (true, false) => Some(Side::Client),
            (false, true) => Some(Side::Server),
            _ => None,
        }
    }

    /// The same, with the lower port as the service where nothing else tells.
    pub(crate) fn guess(&self, local: &SocketAddr, remote: &SocketAddr) -> Side {
        let is_watched = |end: &SocketAddr| self.watched == Some(end.port());
        let watched = match (is_watched(local), is_watched(remote)) {
            (true, false) => Some(Side::Server),
            (false, true) => Some(Side::Client),
            _ => None,
        };
        // No listener on a port that connect(2) may have chosen: another host's is more likely.
        let lower = || if remote.port() <= local.port() { Side::Client } else { Side::Server };
        self.side(local, remote).or(watched).unwrap_or_else(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners() -> Listeners {
        Listeners::new(Some(EphemeralPorts { low: 32768, high: 60999, reserved: 0 }), None)
    }

    fn side(listeners: &Listeners, local: &str, remote: &str) -> Option<Side> {
        listeners.side(&local.parse().unwrap(), &remote.parse().unwrap())
    }

    #[test]
    fn a_port_that_connect_does_not_choose_is_the_service() {
        let none = listeners();
        assert_eq!(side(&none, "10.0.0.1:40000", "10.0.0.5:443"), Some(Side::Client));
        assert_eq!(side(&none, "10.0.0.5:443", "10.0.0.1:40000"), Some(Side::Server));
        assert_eq!(side(&none, "10.0.0.1:40000", "10.0.0.5:50000"), None);
        let guess =
            none.guess(&"10.0.0.1:50000".parse().unwrap(), &"10.0.0.5:40000".parse().unwrap());
        assert_eq!(guess, Side::Client, "the lower port is the service");
        let watched = Listeners { watched: Some(50_000), ..listeners() };
        let guess =
            watched.guess(&"10.0.0.1:50000".parse().unwrap(), &"10.0.0.5:40000".parse().unwrap());
        assert_eq!(guess, Side::Server, "the watched port is the service");
    }

    #[test]
    fn a_listener_is_believed_before_the_range() {
        let mut listeners = listeners();
        listeners.ports.insert(50_000, 7);
        assert_eq!(side(&listeners, "10.0.0.1:50000", "10.0.0.9:40000"), Some(Side::Server));
        assert_eq!(side(&listeners, "127.0.0.1:40000", "127.0.0.1:50000"), Some(Side::Client));
        // Our listener on 50000 does not make another host's port 50000 a service.
        assert_eq!(side(&listeners, "10.0.0.1:443", "10.0.0.9:50000"), Some(Side::Server));
    }
}
