//! A wire between two network namespaces that a test can hold, pass, cut and mend, and give a
//! length, losses and a rate.
//!
//! Owns two namespaces, a TUN device in each, and the shuttle: the thread that carries packets from
//! one to the other. Events that loopback leaves to luck (two FINs under way at once, a SYN without
//! an answer, a peer that has vanished) are steps of the test here.
//!
//! ```text
//!  client's namespace                                       server's namespace
//!  10.107.0.1, fd07::1  wire0 ──► shuttle: carry, hold or drop ──► wire0  10.107.0.2, fd07::2
//!                             ◄──                              ◄──
//! ```
//! Those are the addresses of net 0. Each wire has a net of its own, since traces cover the whole
//! host and are joined by address: a test that runs beside would find the other's.
//!
//! When a call returns, the receiver's TCP has processed the packets that the call delivered; its
//! answers wait for the shuttle. Carries every IP packet (TCP, UDP, ICMP) of up to 1,500 bytes, as
//! Ethernet does: no segment on this wire is larger, unlike on loopback. [`Wire::set`] makes the
//! wire long, lossy or slow; such conditions apply to carried packets, not to held ones.

mod conditions;

use std::collections::{HashSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::time::Timespec;
use tun_rs::{DeviceBuilder, SyncDevice};

pub use self::conditions::Conditions;
use self::conditions::{Fate, Lane};
use crate::dice::Dice;
use crate::namespace::Namespace;

/// Nets that wires may have, from 10.107.0.0/24 and fd07::/64 on.
const NETS: u16 = 37_000;
/// The most held packets. Further packets are lost, as on any wire.
const MAX_HELD: usize = 1 << 16;
/// The most packets that a device keeps until the shuttle takes them.
const QUEUE: u32 = 1 << 14;
/// The largest packet, as on Ethernet.
const MTU: u16 = 1_500;
/// Longer than any step takes, so that a test that hangs fails and names the step.
const PATIENCE: Duration = Duration::from_secs(20);

/// Name of the device on each of the two hosts.
pub const DEVICE: &str = "wire0";

/// A TCP flag, as RFC 9293, section 3.1, numbers the control bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// No more data from the sender.
    Fin = 1,
    /// Synchronize sequence numbers.
    Syn = 2,
    /// Reset the connection.
    Rst = 4,
}

/// Two hosts and the wire between them.
#[derive(Debug)]
pub struct Wire {
    /// The clients' host.
    pub client: Namespace,
    /// The servers' host.
    pub server: Namespace,
    net: u16,
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
    shuttle: Option<JoinHandle<io::Result<()>>>,
}

impl Wire {
    /// Makes both namespaces and joins them by a wire with a net of its own.
    ///
    /// # Errors
    /// Without root, without `/dev/net/tun`, or without the programs `unshare` and `ip`.
    pub fn lay() -> io::Result<Wire> {
        Wire::lay_on(any_net())
    }

    /// Makes a wire whose net is 10.107.`net`.0/24, or a later one from 256 on. For tests with the
    /// addresses in their texts; other tests use [`lay`](Wire::lay).
    ///
    /// # Errors
    /// As [`lay`](Wire::lay).
    pub fn lay_on(net: u16) -> io::Result<Wire> {
        let (client, server) = (Namespace::make()?, Namespace::make()?);
        let devices = [device(&client, net, 1)?, device(&server, net, 2)?];
        let shared = Arc::new(Shared { devices, line: Mutex::default(), came: Condvar::new() });
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (carried, stopped) = (Arc::clone(&shared), Arc::clone(&stop));
        let shuttle = thread::Builder::new()
            .name("wire".into())
            .spawn(move || carried.carry(&stopped))
            .map(Some)?;
        Ok(Wire { client, server, net, shared, stop, shuttle })
    }

    /// Returns the address of the clients' host.
    #[must_use]
    pub fn client_ip(&self, v6: bool) -> IpAddr {
        address(self.net, v6, 1)
    }

    /// Returns the address of the servers' host.
    #[must_use]
    pub fn server_ip(&self, v6: bool) -> IpAddr {
        address(self.net, v6, 2)
    }

    /// Holds packets on the wire from now on.
    pub fn hold(&self) {
        self.shared.lock().mode = Mode::Held(None);
    }

    /// Holds packets with `flag` on the wire from now on. Other packets are carried past them.
    pub fn hold_only(&self, flag: Flag) {
        self.shared.lock().mode = Mode::Held(Some(flag));
    }

    /// Delivers the held packets. Later packets, such as the answers, are held in turn.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn pass(&self) -> io::Result<()> {
        self.shared.deliver(&mut self.shared.lock())
    }

    /// Delivers the held packets, and stops holding.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn release(&self) -> io::Result<()> {
        let mut line = self.shared.lock();
        self.shared.deliver(&mut line)?;
        line.mode = Mode::Open;
        Ok(())
    }

    /// Gives the wire a length, losses and a rate, in both directions, from the next packet on.
    pub fn set(&self, conditions: Conditions) {
        let mut line = self.shared.lock();
        for (direction, lane) in line.lanes.iter_mut().enumerate() {
            lane.change(conditions, direction as u64);
        }
    }

    /// Drops the held packets and those under way, and all later packets until the wire is mended.
    pub fn cut(&self) {
        let mut line = self.shared.lock();
        line.mode = Mode::Cut;
        line.held.clear();
        line.lanes.iter_mut().for_each(Lane::clear);
    }

    /// Loses all packets of the connections that are open now, without a word to either host, as a
    /// firewall or an address translator does that has forgotten them. Later connections work.
    pub fn forget(&self) {
        self.shared.lock().remembered = Some(HashSet::new());
    }

    /// Loses all packets that one of the hosts sends from now on, as a firewall with a rule for one
    /// direction does.
    pub fn mute(&self, client: bool) {
        self.shared.lock().muted[usize::from(!client)] = true;
    }

    /// Ends a cut, and what [`mute`](Wire::mute) began. Packets that were sent before are lost, even if
    /// the shuttle has not taken them.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn mend(&self) -> io::Result<()> {
        let mut line = self.shared.lock();
        let mut buffer = vec![0; 1 << 16];
        for from in 0..2 {
            while self.shared.receive(&mut line, from, &mut buffer)?.is_some() {}
        }
        (line.mode, line.muted) = (Mode::Open, [false; 2]);
        Ok(())
    }

    /// Returns the packets that the wire's conditions have lost so far, of those sent by the
    /// clients' host and by the servers' host.
    #[must_use]
    pub fn lost(&self) -> [u64; 2] {
        self.shared.lock().lanes.each_ref().map(|lane| lane.lost)
    }

    /// Returns the RSTs sent so far by the clients' host and by the servers' host, lost ones
    /// included.
    #[must_use]
    pub fn resets(&self) -> [u64; 2] {
        self.shared.lock().resets
    }

    /// Waits until packets with `flag` are held for this many connections, in each direction.
    ///
    /// # Errors
    /// The packets do not come.
    pub fn wait_for_held(&self, flag: Flag, connections: usize) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut line = self.shared.lock();
        loop {
            let held = line.connections_with(flag);
            if held == [connections; 2] {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let message = format!("{held:?} of {connections} {flag:?} are on the wire");
                return Err(io::Error::new(ErrorKind::TimedOut, message));
            }
            let waited = self.shared.came.wait_timeout(line, left);
            line = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(shuttle) = self.shuttle.take() {
            // A shuttle that failed has left the test without packets, so the test knows.
            let _ = shuttle.join();
        }
    }
}

/// Returns the number of a net by chance: that two tests meet in one of them is unlikely.
fn any_net() -> u16 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = now.as_nanos() as u64 ^ (u64::from(std::process::id()) << 40);
    1 + Dice::new(seed).roll(u64::from(NETS)) as u16
}

fn address(net: u16, v6: bool, host: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd07, net, 0, 0, 0, 0, 0, host.into()).into()
    } else {
        let [more, third] = net.to_be_bytes();
        Ipv4Addr::new(10, 107 + more, third, host).into()
    }
}

fn device(namespace: &Namespace, net: u16, host: u8) -> io::Result<SyncDevice> {
    let build = || DeviceBuilder::new().name(DEVICE).mtu(MTU).tx_queue_len(QUEUE).build_sync();
    let device = namespace.inside(build)?;
    device.set_nonblocking(true)?;
    let (v4, v6) = (address(net, false, host), address(net, true, host));
    namespace.run(&format!("ip address add {v4}/24 dev {DEVICE}"))?;
    // A private wire has no duplicate addresses to detect.
    namespace.run(&format!("ip address add {v6}/64 dev {DEVICE} nodad"))?;
    Ok(device)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Mode {
    #[default]
    Open,
    /// Holds all packets, or the packets with this flag.
    Held(Option<Flag>),
    Cut,
}

struct Shared {
    devices: [SyncDevice; 2],
    line: Mutex<Line>,
    /// Signals that a packet was held.
    came: Condvar,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("line", &self.line).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Line {
    mode: Mode,
    /// Held packets, each with the index of the device that it came from.
    held: VecDeque<(usize, Vec<u8>)>,
    /// Packets under way from each device.
    lanes: [Lane; 2],
    /// After [`Wire::forget`], the connections that have begun since.
    remembered: Option<HashSet<[u8; 5]>>,
    /// Whether all packets from each device are lost.
    muted: [bool; 2],
    /// RSTs that came from each device, whether delivered or lost.
    resets: [u64; 2],
}

impl Line {
    fn connections_with(&self, flag: Flag) -> [usize; 2] {
        [0, 1].map(|from| {
            let of_end = self.held.iter().filter(|(end, _)| *end == from);
            let flagged = of_end.filter(|(_, packet)| has(packet, flag));
            let ports = flagged.filter_map(|(_, packet)| Some(&tcp(packet)?[..4]));
            ports.collect::<HashSet<_>>().len()
        })
    }
}

impl Line {
    /// Returns whether a firewall that has forgotten its connections drops the packet.
    fn is_forgotten(&mut self, from: usize, packet: &[u8]) -> bool {
        let (Some(remembered), Some(segment)) = (&mut self.remembered, tcp(packet)) else {
            return false;
        };
        let mut ports = [&segment[..2], &segment[2..4]];
        if from == 1 {
            ports.reverse();
        }
        let [client, server] = ports;
        let connection = [packet[0] >> 4, client[0], client[1], server[0], server[1]];
        const ACK: u8 = 16;
        if segment[13] & (Flag::Syn as u8 | ACK) == Flag::Syn as u8 {
            remembered.insert(connection);
        }
        !remembered.contains(&connection)
    }
}

fn has(packet: &[u8], flag: Flag) -> bool {
    tcp(packet).is_some_and(|segment| segment[13] & flag as u8 != 0)
}

/// Returns the TCP segment in an IP packet. Does not handle fragments and extension headers.
fn tcp(packet: &[u8]) -> Option<&[u8]> {
    const TCP: u8 = 6;
    let first = *packet.first()?;
    let (protocol, start) = match first >> 4 {
        4 => (*packet.get(9)?, usize::from(first & 15) * 4),
        6 => (*packet.get(6)?, 40),
        _ => return None,
    };
    (protocol == TCP).then(|| packet.get(start..)).flatten().filter(|tcp| tcp.len() >= 20)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, line: &mut Line) -> io::Result<()> {
        while let Some((from, packet)) = line.held.pop_front() {
            self.devices[1 - from].send(&packet)?;
        }
        Ok(())
    }

    fn carry(&self, stop: &OwnedFd) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let mut ready = [
                PollFd::new(&self.devices[0], PollFlags::IN),
                PollFd::new(&self.devices[1], PollFlags::IN),
                PollFd::new(stop, PollFlags::IN),
            ];
            match poll(&mut ready, self.until_arrival().as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            self.deliver_arrived()?;
            let [client, server, stopped] = ready.map(|one| !one.revents().is_empty());
            if stopped {
                return Ok(());
            }
            for (from, ready) in [client, server].into_iter().enumerate() {
                if ready {
                    self.take(from, &mut buffer)?;
                }
            }
        }
    }

    /// Returns the time until the next packet arrives; `None` if no packet is under way.
    fn until_arrival(&self) -> Option<Timespec> {
        let line = self.lock();
        let next = line.lanes.iter().filter_map(Lane::next_arrival).min()?;
        let left = next.saturating_duration_since(Instant::now());
        Some(Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() })
    }

    fn deliver_arrived(&self) -> io::Result<()> {
        let mut line = self.lock();
        let now = Instant::now();
        for from in 0..2 {
            while let Some(packet) = line.lanes[from].arrived(now) {
                self.devices[1 - from].send(&packet)?;
            }
        }
        Ok(())
    }

    /// Takes the next packet of a device.
    fn receive(
        &self,
        line: &mut Line,
        from: usize,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        match self.devices[from].recv(buffer) {
            Ok(length) => {
                line.resets[from] += u64::from(has(&buffer[..length], Flag::Rst));
                Ok(Some(length))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes a batch of packets from one device.
    fn take(&self, from: usize, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..64 {
            // Under the lock, so that no packet is in hand while the mode changes.
            let mut line = self.lock();
            let Some(length) = self.receive(&mut line, from, buffer)? else { return Ok(()) };
            let packet = &buffer[..length];
            if line.muted[from] || line.is_forgotten(from, packet) {
                continue;
            }
            let holds = match line.mode {
                Mode::Open => false,
                Mode::Held(only) => only.is_none_or(|flag| has(packet, flag)),
                Mode::Cut => continue,
            };
            if !holds {
                if line.lanes[from].send(packet, Instant::now()) == Fate::Arrives {
                    self.devices[1 - from].send(packet)?;
                }
            } else if line.held.len() < MAX_HELD {
                line.held.push_back((from, packet.to_vec()));
                self.came.notify_all();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
    use std::process::Command;

    use super::*;
    use crate::skipped;

    const CLOSING: &str = "0B";
    const TIME_WAIT: &str = "06";

    fn lay() -> Option<Wire> {
        match Wire::lay() {
            Ok(wire) => Some(wire),
            Err(error) => {
                skipped::because(&format!("a wire takes root and /dev/net/tun: {error}"));
                None
            }
        }
    }

    fn connected(wire: &Wire, v6: bool) -> (TcpStream, TcpStream) {
        let any = SocketAddr::new(wire.server_ip(v6), 0);
        let listener = wire.server.inside(|| TcpListener::bind(any)).unwrap();
        let to = listener.local_addr().unwrap();
        let client = wire.client.inside(|| TcpStream::connect(to)).unwrap();
        (client, listener.accept().unwrap().0)
    }

    /// Counts the sockets of a namespace in one state.
    fn count(namespace: &Namespace, v6: bool, state: &str) -> usize {
        let table = if v6 { "tcp6" } else { "tcp" };
        let table =
            namespace.inside(|| fs::read_to_string(format!("/proc/thread-self/net/{table}")));
        let table = table.unwrap();
        table.lines().skip(1).filter(|line| line.split_whitespace().nth(3) == Some(state)).count()
    }

    #[test]
    fn two_wires_share_no_address() {
        let nets: HashSet<u16> = (0..20).map(|_| any_net()).collect();
        assert!(nets.len() > 15 && !nets.contains(&0), "{nets:?}");
        assert_eq!(address(0, false, 2), IpAddr::from([10, 107, 0, 2]));
        assert_eq!(address(NETS, false, 2), IpAddr::from([10, 251, 136, 2]));
        let (Some(one), Some(other)) = (lay(), lay()) else { return };
        assert_ne!(one.server_ip(false), other.server_ip(false));
        assert_ne!(one.client_ip(true), other.client_ip(true));
        for wire in [one, other] {
            connected(&wire, false);
            connected(&wire, true);
        }
    }

    #[test]
    fn crossing_fins_lead_to_time_wait_twice() {
        let Some(wire) = lay() else { return };
        for v6 in [false, true] {
            let (client, server) = connected(&wire, v6);
            wire.hold();
            client.shutdown(Shutdown::Write).unwrap();
            server.shutdown(Shutdown::Write).unwrap();
            wire.wait_for_held(Flag::Fin, 1).unwrap();
            wire.pass().unwrap();
            let both = |state| [&wire.client, &wire.server].map(|end| count(end, v6, state));
            // Each socket has the other's FIN. The acknowledgements wait on the wire.
            assert_eq!((both(CLOSING), both(TIME_WAIT)), ([1, 1], [0, 0]));
            wire.release().unwrap();
            let start = Instant::now();
            while both(TIME_WAIT) != [1, 1] {
                assert!(start.elapsed() < PATIENCE, "{:?} {:?}", both(CLOSING), both(TIME_WAIT));
                thread::yield_now();
            }
            assert_eq!(both(CLOSING), [0, 0]);
        }
    }

    const MS: Duration = Duration::from_millis(1);

    /// Two UDP sockets, connected to each other across the wire.
    fn datagrams(wire: &Wire) -> (UdpSocket, UdpSocket) {
        let [client, server] = [
            wire.client.inside(|| UdpSocket::bind((wire.client_ip(false), 0))).unwrap(),
            wire.server.inside(|| UdpSocket::bind((wire.server_ip(false), 0))).unwrap(),
        ];
        client.connect(server.local_addr().unwrap()).unwrap();
        server.connect(client.local_addr().unwrap()).unwrap();
        for socket in [&client, &server] {
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        (client, server)
    }

    #[test]
    fn delay_is_half_a_round_trip() {
        let Some(wire) = lay() else { return };
        let (client, server) = datagrams(&wire);
        wire.set(Conditions::delay(30 * MS));
        let start = Instant::now();
        client.send(b"ping").unwrap();
        server.recv(&mut [0; 4]).unwrap();
        let there = start.elapsed();
        server.send(b"pong").unwrap();
        client.recv(&mut [0; 4]).unwrap();
        let and_back = start.elapsed();
        assert!((30 * MS..500 * MS).contains(&there), "{there:?}");
        assert!((60 * MS..1_000 * MS).contains(&and_back), "{and_back:?}");
        let start = Instant::now();
        let _connected = connected(&wire, true);
        assert!((60 * MS..1_000 * MS).contains(&start.elapsed()), "{:?}", start.elapsed());
    }

    #[test]
    fn loss_takes_its_share() {
        const SENT: u64 = 2_000;
        let Some(wire) = lay() else { return };
        let (client, server) = datagrams(&wire);
        wire.set(Conditions::default().losing(10, 7));
        let received = thread::scope(|scope| {
            // A socket buffer holds some 250 datagrams, so they are read while they are sent.
            let received = scope.spawn(|| {
                let received = std::iter::repeat_with(|| server.recv(&mut [0; 4]).unwrap());
                received.take_while(|length| *length == 1).count() as u64
            });
            for number in 0..SENT {
                client.send(b"x").unwrap();
                if number % 20 == 0 {
                    thread::sleep(MS);
                }
            }
            // The shuttle has taken them all by then. Those that it has not do not get lost.
            thread::sleep(50 * MS);
            wire.set(Conditions::default());
            client.send(b"last").unwrap();
            received.join().unwrap()
        });
        let lost = SENT - received;
        // Ten percent of 2,000, and five standard deviations.
        assert!((133..=267).contains(&lost), "{lost}");
        // The hosts may have sent packets of their own, such as for IPv6 multicast.
        assert!((lost..lost + 10).contains(&wire.lost()[0]), "{:?} {lost}", wire.lost());
    }

    #[test]
    fn lossy_wire_carries_tcp_whole() {
        let Some(wire) = lay() else { return };
        let (mut client, mut server) = connected(&wire, false);
        wire.set(Conditions::delay(2 * MS).losing(5, 3));
        let sent = vec![b'x'; 200_000];
        let received = thread::scope(|scope| {
            scope.spawn(|| {
                io::Write::write_all(&mut client, &sent).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            });
            let mut received = Vec::new();
            io::Read::read_to_end(&mut server, &mut received).unwrap();
            received
        });
        assert_eq!(received.len(), sent.len());
        assert!(wire.lost()[0] > 0, "140 segments, of which seven are lost in the mean");
    }

    #[test]
    fn rate_bounds_a_transfer() {
        let Some(wire) = lay() else { return };
        let (mut client, mut server) = connected(&wire, false);
        wire.set(Conditions::default().at_most(500_000));
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                io::Write::write_all(&mut client, &vec![b'x'; 250_000]).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
            });
            io::Read::read_to_end(&mut server, &mut Vec::new()).unwrap();
        });
        let took = start.elapsed();
        assert!((500 * MS..3_000 * MS).contains(&took), "half a second at least: {took:?}");
    }

    #[test]
    fn packets_are_1500_bytes_at_most() {
        let Some(wire) = lay() else { return };
        let (client, server) = datagrams(&wire);
        for host in [&wire.client, &wire.server] {
            let shown = host.inside(|| Command::new("ip").args(["link", "show", DEVICE]).output());
            let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
            assert!(shown.contains("mtu 1500"), "{shown}");
        }
        // A larger datagram is carried in fragments.
        let sent = vec![b'x'; 4_000];
        client.send(&sent).unwrap();
        assert_eq!(server.recv(&mut [0; 8_000]).unwrap(), sent.len());
    }

    #[test]
    fn forgotten_connections_are_silent_and_new_ones_work() {
        let Some(wire) = lay() else { return };
        for v6 in [false, true] {
            let (old, old_server) = connected(&wire, v6);
            wire.forget();
            let resets = wire.resets();
            io::Write::write_all(&mut &old, b"x").unwrap();
            old_server.set_read_timeout(Some(100 * MS)).unwrap();
            let unheard = io::Read::read(&mut &old_server, &mut [0]).unwrap_err();
            assert_eq!(unheard.kind(), ErrorKind::WouldBlock);
            let (new, mut new_server) = connected(&wire, v6);
            io::Write::write_all(&mut &new, b"x").unwrap();
            io::Read::read_exact(&mut new_server, &mut [0]).unwrap();
            assert_eq!(wire.resets(), resets, "no word to either host");
        }
    }

    #[test]
    fn muted_host_hears_and_is_not_heard() {
        let Some(wire) = lay() else { return };
        let (mut client, server) = connected(&wire, false);
        wire.mute(true);
        io::Write::write_all(&mut &server, b"x").unwrap();
        io::Read::read_exact(&mut client, &mut [0]).unwrap();
        io::Write::write_all(&mut &client, b"x").unwrap();
        server.set_read_timeout(Some(100 * MS)).unwrap();
        let unheard = io::Read::read(&mut &server, &mut [0]).unwrap_err();
        assert_eq!(unheard.kind(), ErrorKind::WouldBlock);
        server.set_read_timeout(None).unwrap();
        wire.mend().unwrap();
        // TCP resends the lost segment.
        io::Read::read_exact(&mut &server, &mut [0]).unwrap();
    }

    #[test]
    fn cut_wire_loses_mended_wire_carries() {
        let Some(wire) = lay() else { return };
        wire.client.set("tcp_syn_retries", "1").unwrap();
        wire.client.set("tcp_syn_linear_timeouts", "0").unwrap();
        let (client, mut server) = connected(&wire, false);
        wire.cut();
        let to = client.peer_addr().unwrap();
        let lost = wire.client.inside(|| TcpStream::connect(to)).unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::TimedOut);
        // TCP resends the lost segment.
        io::Write::write_all(&mut &client, b"x").unwrap();
        wire.mend().unwrap();
        io::Read::read_exact(&mut server, &mut [0]).unwrap();
    }
}
