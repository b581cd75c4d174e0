//! Description of a socket: address pair, state, side, and the kernel's numbers.
//!
//! Owns plain types only. Decodes nothing: `wire` fills them from bytes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// TCP state, with the kernel's number (`include/net/tcp_states.h`).
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
    /// Returns the state with the kernel's number. 12 (`TCP_NEW_SYN_RECV`), the kernel's internal
    /// state of a half-open request, is read as [`State::SynReceived`].
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

/// Set of [`State`]s that a dump selects.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct States(u32);

impl States {
    /// No state.
    pub const NONE: States = States(0);
    /// Every state, listeners included.
    pub const ALL: States = States(0xffe);
    /// Every state but LISTEN: the states of sockets that belong to one connection.
    pub const CONNECTED: States = States(0xffe & !(1 << State::Listen as u32));

    /// Returns the set of exactly these states.
    pub const fn of(states: &[State]) -> States {
        let mut mask = 0;
        let mut i = 0;
        while i < states.len() {
            mask |= 1 << states[i] as u32;
            i += 1;
        }
        States(mask)
    }

    /// Returns true if `state` is in the set.
    pub const fn contains(self, state: State) -> bool {
        self.0 & (1 << state as u32) != 0
    }

    /// Returns the kernel's bit mask: bit n is state n.
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

/// States that end by themselves or by the program's next call: a host at rest has none.
pub(crate) const TRANSITIONAL: States = States::of(&[
    State::SynSent,
    State::SynReceived,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::LastAck,
    State::Closing,
]);

/// Role of a socket in its connection, as seen from the watched port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// The socket that called connect(2): its *remote* port is the watched port.
    Client,
    /// The socket that came from accept(2): its *local* port is the watched port.
    Server,
}

impl Side {
    /// Returns the opposite side.
    pub const fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// Pair of values, for the client and the server side of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BySide<T> {
    /// Value of the side that called connect(2).
    pub client: T,
    /// Value of the side that came from accept(2).
    pub server: T,
}

impl<T> BySide<T> {
    /// Returns the value of `side`.
    pub fn get(&self, side: Side) -> &T {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// Returns the value of `side`, to change it.
    pub fn get_mut(&mut self, side: Side) -> &mut T {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }
}

/// TCP socket as the kernel described it.
///
/// IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2) are given as IPv4, so that both sockets
/// of a connection to a dual-stack listener carry the same pair of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Socket {
    /// The state. A minisocket may also be in `FIN_WAIT2`, see [`Socket::is_minisocket`].
    pub state: State,
    /// The local address. Port 0 if the socket was never bound.
    pub local: SocketAddr,
    /// The remote address. Port 0 for a listener and after tcp_disconnect().
    pub remote: SocketAddr,
    /// The kernel's unique number of this socket: 64 bits, never reused, equal in every dump and in
    /// the destroy event.
    pub cookie: u64,
    /// Bytes received and not read; 1 may stand for a FIN that was received and not read. For a
    /// listener: connections waiting for accept(2).
    pub rqueue: u32,
    /// Bytes sent or queued and not acknowledged. For a listener: the backlog.
    pub wqueue: u32,
    /// Inode of the socket's file; 0 without a file (orphans, minisockets, destroy events).
    pub inode: u32,
    /// User id of the owner; meaningless in minisockets and destroy events, where it is 0.
    pub uid: u32,
    /// The running timer: 0 none, 1 retransmission, 2 keep-alive or other, 3 TIME_WAIT, 4 probe.
    pub timer: u8,
    /// Milliseconds until that timer fires.
    pub expires_ms: u32,
    /// Index of the device that the socket is bound to; 0 for none.
    pub interface: u32,
    /// The kernel's `tcp_info`, if requested and present (minisockets have none).
    pub info: Option<TcpInfo>,
}

impl Socket {
    /// Returns the side of this socket in a connection to `port`; `None` if neither of its ports is
    /// `port`. If both are, the side is the client: such a connection is counted once for each of
    /// its sockets that is visible, because the two cannot be distinguished.
    pub fn side(&self, port: u16) -> Option<Side> {
        if self.remote.port() == port {
            Some(Side::Client)
        } else if self.local.port() == port {
            Some(Side::Server)
        } else {
            None
        }
    }

    /// Returns true for the remainder that the kernel keeps after the socket itself has died:
    /// TIME_WAIT, or FIN_WAIT2 of a socket without a file (`inet_twsk_diag_fill` in
    /// net/ipv4/inet_diag.c). The destroy event was sent when the socket became one.
    pub fn is_minisocket(&self) -> bool {
        self.state == State::TimeWait || (self.timer == TIMER_TIME_WAIT && self.inode == 0)
    }

    /// Returns true between the end of the handshake and the destroy event.
    pub fn is_alive(&self) -> bool {
        ALIVE.contains(self.state) && !self.is_minisocket()
    }

    /// Returns the time at which TIME_WAIT was entered, for a row that was read at `now`; `None` in
    /// FIN_WAIT2.
    pub(crate) fn entered_time_wait(&self, now: Duration) -> Option<Duration> {
        let age = Duration::from_millis(self.time_wait_age_ms()?.into());
        Some(now.saturating_sub(age))
    }

    /// Returns the milliseconds since TIME_WAIT was entered, with the resolution of a kernel jiffy;
    /// `None` in other states.
    pub fn time_wait_age_ms(&self) -> Option<u32> {
        (self.state == State::TimeWait).then(|| TIME_WAIT_MS.saturating_sub(self.expires_ms))
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

/// Fields of the kernel's `struct tcp_info` (include/uapi/linux/tcp.h) that are used here.
///
/// Older kernels send a shorter struct: a missing field is `None`, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TcpInfo {
    /// Retransmissions in a row without an answer.
    pub retransmits: Option<u8>,
    /// Keep-alive or window probes in a row without an answer.
    pub probes: Option<u8>,
    /// Greatest segment that is sent to the peer now, in bytes.
    pub send_mss: Option<u32>,
    /// Estimate of the greatest segment that the peer sends, in bytes.
    pub receive_mss: Option<u32>,
    /// Segments sent and not acknowledged.
    pub unacked: Option<u32>,
    /// Segments of any kind sent again since the connection was opened.
    pub total_retrans: Option<u32>,
    /// Milliseconds since the last segment with data was sent.
    pub last_data_sent_ms: Option<u32>,
    /// Milliseconds since the last segment with data was received.
    pub last_data_recv_ms: Option<u32>,
    /// Milliseconds since the last acknowledgement was received.
    pub last_ack_recv_ms: Option<u32>,
    /// Smoothed round trip time in microseconds.
    pub rtt_us: Option<u32>,
    /// Least round trip time in microseconds of the last five minutes (Linux 4.6); the greatest number
    /// if none was measured.
    pub min_rtt_us: Option<u32>,
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
    /// Segments that the peer has acknowledged: the SYN, data, and a FIN behind it; those of `dsack_dups` twice
    /// (Linux 4.18). `None` without SACK, where the kernel guesses it.
    pub delivered: Option<u32>,
    /// Segments that the peer reported to have got twice (DSACK, Linux 4.19).
    pub dsack_dups: Option<u32>,
    /// Segments received before one that should have come first (Linux 5.4).
    pub received_out_of_order: Option<u32>,
    /// Bytes of data sent, retransmissions included (Linux 4.19).
    pub bytes_sent: Option<u64>,
    /// Bytes of data retransmitted (Linux 4.19).
    pub bytes_retrans: Option<u64>,
}
