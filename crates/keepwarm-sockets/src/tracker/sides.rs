//! The side of a socket: which of its two addresses is the service.
//!
//! Owns the listeners that were seen. Decides by the surest evidence that there is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::kernel::keyed_hash::Map;
use crate::kernel::proc::sysctl::EphemeralPorts;
use crate::kernel::socket::{Side, Socket, State};
use crate::report::destination::{ListenQueue, SideEvidence};
use crate::report::host::Scope;

/// Processes that share an address and are told apart.
const MAX_SHARING: usize = 64;

/// Ports that have, or had earlier in the watch, a listener.
#[derive(Debug)]
pub(super) struct Listeners {
    /// Inode of the newest listener.
    ports: Map<u16, u32>,
    /// Inodes by address, as the last dump saw them: several where the address is shared
    /// (SO_REUSEPORT).
    addresses: Map<SocketAddr, Vec<u32>>,
    /// Accept queues by address, as the last dump saw them; of sharing listeners together.
    queues: Map<SocketAddr, ListenQueue>,
    ephemeral: Option<EphemeralPorts>,
    /// The scope: an address that it names is the service, if no other evidence says so.
    watched: Scope,
}

impl Listeners {
    pub(super) fn new(ephemeral: Option<EphemeralPorts>, watched: Scope) -> Listeners {
        Listeners {
            ports: Map::default(),
            addresses: Map::default(),
            queues: Map::default(),
            ephemeral,
            watched,
        }
    }

    /// Takes a listener that a dump or a lookup has found.
    pub(super) fn handle(&mut self, listener: &Socket) {
        self.ports.insert(listener.local.port(), listener.inode);
        let inodes = self.addresses.entry(listener.local).or_default();
        let is_known = inodes.contains(&listener.inode);
        if listener.inode != 0 && !is_known && inodes.len() < MAX_SHARING {
            inodes.push(listener.inode);
            let queue = self.queues.entry(listener.local).or_default();
            queue.waiting = queue.waiting.saturating_add(listener.rqueue);
            queue.backlog = queue.backlog.saturating_add(listener.wqueue);
        }
    }

    /// Begins a dump, which will see the listeners that there are.
    pub(super) fn begin_dump(&mut self) {
        self.addresses.clear();
        self.queues.clear();
    }

    /// Returns the inodes of a service's listeners: of its own address, else of any address.
    pub(super) fn inodes(&self, service: &SocketAddr) -> &[u32] {
        let bound = addresses_of(service);
        bound.iter().find_map(|one| self.addresses.get(one)).map_or(&[], Vec::as_slice)
    }

    /// Returns the accept queue of a service's listeners, as the last dump saw it.
    pub(super) fn queue(&self, service: &SocketAddr) -> Option<ListenQueue> {
        addresses_of(service).iter().find_map(|one| self.queues.get(one)).copied()
    }

    /// Returns whether a service listens at this IPv4 address, and none at its port on IPv6. A
    /// listener on `[::]` takes IPv4 too, unless IPV6_V6ONLY is set, and is no such service.
    pub(super) fn is_ipv4_only(&self, service: &SocketAddr) -> bool {
        let same_port = self.addresses.keys().filter(|one| one.port() == service.port());
        let (mut v4, mut v6) = (false, false);
        for listener in same_port {
            v6 |= listener.is_ipv6();
            v4 |= listener.ip() == service.ip()
                || listener.ip() == IpAddr::from(Ipv4Addr::UNSPECIFIED);
        }
        service.is_ipv4() && v4 && !v6
    }

    /// Returns whether the port of this address has or had a listener.
    pub(super) fn serves(&self, address: &SocketAddr) -> bool {
        self.ports.contains_key(&address.port())
    }

    /// Returns the side of the socket at `local`; `None` if only other connections could show it.
    pub(super) fn side(&self, local: &SocketAddr, remote: &SocketAddr) -> Option<Side> {
        self.evidence(local, remote).map(|(side, _)| side)
    }

    /// Returns the side of the socket at `local`, and what shows it: the server is the one with a
    /// listener, else the one whose port connect(2) does not choose.
    pub(super) fn evidence(
        &self,
        local: &SocketAddr,
        remote: &SocketAddr,
    ) -> Option<(Side, SideEvidence)> {
        match (self.serves(local), self.serves(remote)) {
            (true, false) => return Some((Side::Server, SideEvidence::Listener)),
            // A listener here is no evidence about another host's port, but our own port has none.
            (false, true) if local.ip() == remote.ip() || remote.ip().is_loopback() => {
                return Some((Side::Client, SideEvidence::Listener));
            }
            _ => {}
        }
        let is_ephemeral = |address: &SocketAddr| {
            self.ephemeral.is_some_and(|range| (range.low..=range.high).contains(&address.port()))
        };
        match (is_ephemeral(local), is_ephemeral(remote)) {
            (true, false) => Some((Side::Client, SideEvidence::PortRange)),
            (false, true) => Some((Side::Server, SideEvidence::PortRange)),
            _ => None,
        }
    }

    /// Guesses the side of the socket at `local`, of which there is no evidence: the address that the
    /// scope names is the service, else the lower port.
    pub(super) fn guess(&self, local: &SocketAddr, remote: &SocketAddr) -> Side {
        match (self.watched.names(local), self.watched.names(remote)) {
            (true, false) => Side::Server,
            (false, true) => Side::Client,
            // A port that connect(2) may have chosen, without a listener: the service of another
            // host is likelier than one of this host.
            _ if remote.port() <= local.port() => Side::Client,
            _ => Side::Server,
        }
    }
}

/// Addresses that are counted.
const MAX_COUNTED: usize = 1 << 14;

/// How often each address was met at one end of a socket whose side was not known: a service is met
/// with each of its clients' ports, and a client's port once.
#[derive(Debug, Default)]
pub(super) struct ManyPorts {
    met: Map<SocketAddr, u32>,
}

impl ManyPorts {
    /// Takes a socket of which no other evidence shows the side.
    pub(super) fn handle(&mut self, local: &SocketAddr, remote: &SocketAddr) {
        if self.met.len() + 2 > MAX_COUNTED {
            self.met.retain(|_, count| *count > 2);
        }
        if self.met.len() + 2 > MAX_COUNTED {
            return;
        }
        for address in [local, remote] {
            let count = self.met.entry(*address).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// Returns the side of the socket at `local`, if one end was met with several ports of the other,
    /// and twice as often.
    pub(super) fn side(&self, local: &SocketAddr, remote: &SocketAddr) -> Option<Side> {
        let count = |address| self.met.get(address).copied().unwrap_or(0);
        let (local, remote) = (count(local), count(remote));
        let outdoes = |one: u32, other: u32| one >= 3 && one >= other.saturating_mul(2);
        match (outdoes(local, remote), outdoes(remote, local)) {
            (true, false) => Some(Side::Server),
            (false, true) => Some(Side::Client),
            _ => None,
        }
    }
}

/// Returns the side of a socket by the kernel's count of what the peer acknowledged: it includes the
/// SYN of the socket that connected (`tcpi_bytes_acked`), so there is one more than bytes of data. An
/// acknowledged FIN is one more in turn. `None` where the count does not decide, or is not known.
pub(super) fn connecting_side(socket: &Socket) -> Option<Side> {
    let info = socket.info.as_ref()?;
    let data = info.bytes_sent?.checked_sub(info.bytes_retrans?)?;
    let beyond = info.bytes_acked?.checked_sub(data)?;
    match (socket.state, beyond) {
        (State::Established | State::CloseWait, 0) if socket.wqueue == 0 => Some(Side::Server),
        (State::Established | State::CloseWait, 1) => Some(Side::Client),
        (State::Close, 2) => Some(Side::Client),
        _ => None,
    }
}

/// Age of the last acknowledgement, in ms, from which it came before its row of a dump was begun.
const SURELY_BEFORE_MS: u32 = 1_000;

/// Returns whether an open socket may have sent a FIN while its row was written: the kernel notes the state
/// first, and waits for the socket's lock before it notes the rest (net/ipv4/inet_diag.c,
/// `inet_sk_diag_fill`). A FIN that was acknowledged meanwhile looks like a SYN to [`connecting_side`].
pub(super) fn may_be_closing_meanwhile(socket: &Socket) -> bool {
    let last = socket.info.as_ref().and_then(|info| info.last_ack_recv_ms);
    socket.is_alive() && last.is_none_or(|ago| ago < SURELY_BEFORE_MS)
}

/// Returns the addresses that a listener of this service may be bound to: its own, else any.
fn addresses_of(service: &SocketAddr) -> [SocketAddr; 3] {
    let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    [service.ip(), any[0], any[1]].map(|ip| SocketAddr::new(ip, service.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watching(scope: Scope) -> Listeners {
        Listeners::new(Some(EphemeralPorts { low: 32768, high: 60999, reserved: 0 }), scope)
    }

    fn listeners() -> Listeners {
        watching(Scope::default())
    }

    fn side(listeners: &Listeners, local: &str, remote: &str) -> Option<Side> {
        listeners.side(&local.parse().unwrap(), &remote.parse().unwrap())
    }

    #[test]
    fn non_ephemeral_port_is_the_service() {
        let none = listeners();
        assert_eq!(side(&none, "10.0.0.1:40000", "10.0.0.5:443"), Some(Side::Client));
        assert_eq!(side(&none, "10.0.0.5:443", "10.0.0.1:40000"), Some(Side::Server));
        assert_eq!(side(&none, "10.0.0.1:40000", "10.0.0.5:50000"), None);
    }

    #[test]
    fn guess_prefers_the_scope_then_low_ports() {
        let guess = |scope| {
            let (local, remote) = ("10.0.0.1:50000", "10.0.0.5:40000");
            watching(scope).guess(&local.parse().unwrap(), &remote.parse().unwrap())
        };
        assert_eq!(guess(Scope::default()), Side::Client, "the lower port is the service");
        assert_eq!(guess(Scope::of_port(50_000)), Side::Server);
        assert_eq!(guess(Scope::of_port(40_000)), Side::Client);
        let at = |ip: [u8; 4]| Scope { ip: Some(ip.into()), ..Scope::default() };
        assert_eq!(guess(at([10, 0, 0, 1])), Side::Server);
        assert_eq!(guess(at([10, 0, 0, 5])), Side::Client);
    }

    #[test]
    fn many_ports_name_the_other_end() {
        let mut ports = ManyPorts::default();
        let service: SocketAddr = "10.0.0.5:50000".parse().unwrap();
        let client = |n: u16| SocketAddr::from(([10, 0, 0, 1], 40_000 + n));
        ports.handle(&client(0), &service);
        assert_eq!(ports.side(&client(0), &service), None, "one connection shows nothing");
        (1..3).for_each(|n| ports.handle(&client(n), &service));
        assert_eq!(ports.side(&client(7), &service), Some(Side::Client));
        assert_eq!(ports.side(&service, &client(0)), Some(Side::Server));
        // Each of two services is met as often.
        (0..3)
            .for_each(|n| ports.handle(&client(9), &SocketAddr::from(([10, 0, 0, 6], 60_000 + n))));
        assert_eq!(ports.side(&client(9), &service), None);
        for n in 0..u16::MAX {
            ports.handle(
                &SocketAddr::from(([10, 1, 0, 1], n)),
                &SocketAddr::from(([10, 2, 0, 1], n)),
            );
        }
        assert!(ports.met.len() <= MAX_COUNTED);
        assert_eq!(ports.side(&client(7), &service), Some(Side::Client), "it is not forgotten");
    }

    #[test]
    fn acknowledged_syn_names_the_client() {
        use crate::kernel::socket::TcpInfo;
        let side = |state, acked, wqueue| {
            let info = TcpInfo {
                bytes_sent: Some(120),
                bytes_retrans: Some(20),
                bytes_acked: Some(acked),
                ..TcpInfo::default()
            };
            let event = crate::tracker::dead::tests::event(info);
            connecting_side(&Socket { state, wqueue, ..event })
        };
        assert_eq!(side(State::Established, 101, 0), Some(Side::Client));
        assert_eq!(side(State::Established, 100, 0), Some(Side::Server));
        assert_eq!(side(State::Established, 100, 1), None, "a byte is under way: either");
        assert_eq!(side(State::FinWait2, 101, 0), None, "a SYN or a FIN");
        assert_eq!(side(State::Close, 102, 0), Some(Side::Client));
        assert_eq!(side(State::Close, 101, 0), None);
    }

    #[test]
    fn listener_outranks_the_ephemeral_range() {
        let mut listeners = listeners();
        listeners.ports.insert(50_000, 7);
        assert_eq!(side(&listeners, "10.0.0.1:50000", "10.0.0.9:40000"), Some(Side::Server));
        assert_eq!(side(&listeners, "127.0.0.1:40000", "127.0.0.1:50000"), Some(Side::Client));
        // Our listener on 50000 does not make another host's port 50000 a service.
        assert_eq!(side(&listeners, "10.0.0.1:443", "10.0.0.9:50000"), Some(Side::Server));
    }
}
