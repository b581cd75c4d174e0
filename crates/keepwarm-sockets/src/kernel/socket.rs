//! The words in which a socket is described: address pair, state, side, the kernel's numbers.
//!
//! Owns plain types only; `wire` fills them from bytes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// A TCP state, with the numbers of `include/net/tcp_states.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // RFC 9293, section 3.3.2 says what each means.
#[repr(u8)]
pub enum State {
    Established = 1,
    SynSent = 2,
    SynReceived = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl State {
    /// The state with the kernel's number. 12 (`TCP_NEW_SYN_RECV`) is how the kernel calls a
    /// half-open request internally and reads as [`State::SynReceived`].
    pub(crate) fn from_kernel(number: u8) -> Option<State> {
        Some(match number {
            1 => State::Established,
            2 => State::SynSent,
            3 | 12 => State::SynReceived,
            4 => State::FinWait1,
            5 => State::FinWait2,
            6 => State::TimeWait,
            7 => State::Close,
            8 => State::CloseWait,
            9 => State::LastAck,
            10 => State::Listen,
            11 => State::Closing,
            _ => return None,
        })
    }
}

/// A set of [`State`]s: what a dump is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct States(u32);

impl States {
    /// No state.
    pub const NONE: States = States(0);
    /// Every state, listeners included.
    pub const ALL: States = States(0xffe);
    /// Every state but LISTEN: everything that belongs to one connection.
    pub const CONNECTED: States = States(0xffe & !(1 << State::Listen as u32));

    /// The set of just these.
    pub const fn of(states: &[State]) -> States {
        let mut mask = 0;
        let mut i = 0;
        while i < states.len() {
            mask |= 1 << states[i] as u32;
            i += 1;
        }
        States(mask)
    }

    /// Whether `state` is in the set.
    pub const fn contains(self, state: State) -> bool {
        self.0 & (1 << state as u32) != 0
    }

    /// The kernel's bit mask: bit n is state n.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl From<State> for States {
    fn from(state: State) -> States {
        States::of(&[state])
    }
}

impl std::ops::BitOr for States {
    type Output = States;
    fn bitor(self, other: States) -> States {
        States(self.0 | other.0)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = (1..=11).filter_map(State::from_kernel).filter(|state| self.contains(*state));
        f.debug_set().entries(members).finish()
    }
}

/// Which end of a connection a socket is, seen from the watched port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The socket that called connect(2): its *remote* port is the watched port.
    Client,
    /// The socket that came from accept(2): its *local* port is the watched port.
    Server,
}

impl Side {
    /// The other end.
    pub const fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// One number for each side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BySide<T> {
    /// At the end that called connect(2).
    pub client: T,
    /// At the end that came from accept(2).
    pub server: T,
}

impl<T> BySide<T> {
    /// The number of `side`.
    pub fn get(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// The number of `side`, to change it.
    pub fn get_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

/// One TCP socket as the kernel described it.
///
/// IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2) are given as IPv4, so that both ends of
/// a connection to a dual-stack listener carry the same pair of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// The state. A minisocket in `FIN_WAIT2` says so, see [`Socket::is_minisocket`].
    pub state: State,
    /// This end. Port 0 if the socket was never bound.
    pub local: SocketAddr,
    /// The other end. Port 0 for a listener and after tcp_disconnect().
    pub remote: SocketAddr,
    /// The kernel's unique number for this socket: 64 bits, never reused, the same in every dump
    /// and in the destroy event.
    pub cookie: u64,
    /// Bytes received and not read; 1 may stand for a FIN that was received and not read. For a
    /// listener: connections waiting for accept(2).
    pub rqueue: u32,
    /// Bytes sent or queued and not acknowledged. For a listener: the backlog.
    pub wqueue: u32,
    /// Inode of the socket's file; 0 without one (orphans, minisockets, destroy events).
    pub inode: u32,
    /// Owner's user id; meaningless in minisockets and destroy events, which say 0.
    pub uid: u32,
    /// The running timer: 0 none, 1 retransmission, 2 keep-alive or other, 3 TIME_WAIT, 4 probe.
    pub timer: u8,
    /// Milliseconds until that timer fires.
    pub expires_ms: u32,
    /// The device that it is bound to, by index; 0 is none.
    pub interface: u32,
    /// The kernel's numbers, if asked for and present (minisockets have none).
    pub info: Option<TcpInfo>,
}

impl Socket {
    /// Which side of a connection to `port` this socket is, `None` if it has nothing to do with
    /// the port. If both ports are `port` it is the client's: such a connection is counted once
    /// for each end that is visible, because nothing tells the ends apart.
    pub fn side(&self, port: u16) -> Option<Side> {
        side_of(port, &self.local, &self.remote)
    }

    /// Whether this is what the kernel keeps after the socket itself has died: TIME_WAIT, or
    /// FIN_WAIT2 of a socket that nobody holds (`inet_twsk_diag_fill` in net/ipv4/inet_diag.c).
    /// Such a socket had its destroy event when it became one.
    pub fn is_minisocket(&self) -> bool {
        self.state == State::TimeWait || (self.timer == TIMER_TIME_WAIT && self.inode == 0)
    }

    /// Whether this is an established connection that has not died: anything between the
    /// handshake and the destroy event.
    pub fn is_alive(&self) -> bool {
        ALIVE.contains(self.state) && !self.is_minisocket()
    }

    /// When TIME_WAIT was entered, of a row that was read `now`; `None` in FIN_WAIT2.
    pub(crate) fn entered_time_wait(&self, now: Duration) -> Option<Duration> {
        let age = Duration::from_millis(self.time_wait_age_ms()?.into());
        Some(now.saturating_sub(age))
    }

    /// For TIME_WAIT: milliseconds since it was entered, in the kernel's grain of a jiffy.
    pub fn time_wait_age_ms(&self) -> Option<u32> {
        (self.state == State::TimeWait).then(|| TIME_WAIT_MS.saturating_sub(self.expires_ms))
    }
}

pub(crate) fn side_of(port: u16, local: &SocketAddr, remote: &SocketAddr) -> Option<Side> {
    if remote.port() == port {
        Some(Side::Client)
    } else if local.port() == port {
        Some(Side::Server)
    } else {
        None
    }
}

/// `TCP_TIMEWAIT_LEN`, 60 seconds, a constant of include/net/tcp.h.
pub const TIME_WAIT_MS: u32 = 60_000;

const TIMER_TIME_WAIT: u8 = 3;

const ALIVE: States = States::of(&[
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::LastAck,
    State::Closing,
]);

/// The kernel's `struct tcp_info` (include/uapi/linux/tcp.h), the part that is used here.
///
/// Older kernels send a shorter struct: what is not there is `None`, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// Retransmissions in a row that nothing has answered.
    pub retransmits: Option<u8>,
    /// Keep-alive or window probes in a row that nothing has answered.
    pub probes: Option<u8>,
    /// Milliseconds since the last segment with data was sent.
    pub last_data_sent_ms: Option<u32>,
    /// Milliseconds since the last segment with data was received.
    pub last_data_recv_ms: Option<u32>,
    /// Milliseconds since the last acknowledgement was received.
    pub last_ack_recv_ms: Option<u32>,
    /// Smoothed round trip time in microseconds.
    pub rtt_us: Option<u32>,
    /// Sequence numbers the peer acknowledged: data, the FIN, and the SYN of an active opener.
    pub bytes_acked: Option<u64>,
    /// Sequence numbers received in order: data and the FIN.
    pub bytes_received: Option<u64>,
    /// Segments sent, of any kind.
    pub segs_out: Option<u32>,
    /// Segments received, of any kind.
    pub segs_in: Option<u32>,
    /// Segments received that carried data.
    pub data_segs_in: Option<u32>,
    /// Segments sent that carried data, retransmissions included.
    pub data_segs_out: Option<u32>,
    /// Bytes of data sent, retransmissions included (Linux 4.19).
    pub bytes_sent: Option<u64>,
    /// Bytes of data retransmitted (Linux 4.19).
    pub bytes_retrans: Option<u64>,
}
