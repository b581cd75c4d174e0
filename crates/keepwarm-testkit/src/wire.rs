//! A wire between two network namespaces that a test can hold, pass, cut and mend.
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
//!
//! When a call returns, the receiver's TCP has processed the packets that the call delivered; its
//! answers wait for the shuttle. Carries TCP only.

use std::collections::{HashSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::namespace::Namespace;

/// The most held packets. Further packets are lost, as on any wire.
const MAX_HELD: usize = 1 << 16;
/// The most packets that a device keeps until the shuttle takes them.
const QUEUE: u32 = 1 << 14;
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
    shared: Arc<Shared>,
    stop: Arc<OwnedFd>,
    shuttle: Option<JoinHandle<io::Result<()>>>,
}

impl Wire {
    /// Makes both namespaces and joins them.
    ///
    /// # Errors
    /// Without root, without `/dev/net/tun`, or without the programs `unshare` and `ip`.
    pub fn lay() -> io::Result<Wire> {
        let (client, server) = (Namespace::make()?, Namespace::make()?);
        let devices = [device(&client, 1)?, device(&server, 2)?];
        let shared = Arc::new(Shared { devices, line: Mutex::default(), came: Condvar::new() });
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let (carried, stopped) = (Arc::clone(&shared), Arc::clone(&stop));
        let shuttle = thread::Builder::new()
            .name("wire".into())
            .spawn(move || carried.carry(&stopped))
            .map(Some)?;
        Ok(Wire { client, server, shared, stop, shuttle })
    }

    /// Returns the address of the clients' host.
    #[must_use]
    pub fn client_ip(v6: bool) -> IpAddr {
        address(v6, 1)
    }

    /// Returns the address of the servers' host.
    #[must_use]
    pub fn server_ip(v6: bool) -> IpAddr {
        address(v6, 2)
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

    /// Drops the held packets, and all later packets until the wire is mended.
    pub fn cut(&self) {
        let mut line = self.shared.lock();
        line.mode = Mode::Cut;
        line.held.clear();
    }

    /// Ends a cut. Packets that were sent before are lost, even if the shuttle has not taken them.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn mend(&self) -> io::Result<()> {
        let mut line = self.shared.lock();
        let mut buffer = vec![0; 1 << 16];
        for from in 0..2 {
            while self.shared.receive(&mut line, from, &mut buffer)?.is_some() {}
        }
        line.mode = Mode::Open;
        Ok(())
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

fn address(v6: bool, host: u8) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, host.into()).into()
    } else {
        Ipv4Addr::new(10, 107, 0, host).into()
    }
}

fn device(namespace: &Namespace, host: u8) -> io::Result<SyncDevice> {
    let build = || DeviceBuilder::new().name(DEVICE).tx_queue_len(QUEUE).build_sync();
    let device = namespace.inside(build)?;
    device.set_nonblocking(true)?;
    let (v4, v6) = (address(false, host), address(true, host));
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
            match poll(&mut ready, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
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
            if tcp(packet).is_none() {
                continue;
            }
            let holds = match line.mode {
                Mode::Open => false,
                Mode::Held(only) => only.is_none_or(|flag| has(packet, flag)),
                Mode::Cut => continue,
            };
            if !holds {
                self.devices[1 - from].send(packet)?;
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
    use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

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
        let any = SocketAddr::new(Wire::server_ip(v6), 0);
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
