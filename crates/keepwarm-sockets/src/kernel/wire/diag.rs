//! inet_diag requests and replies (include/uapi/linux/inet_diag.h).
//!
//! Owns the fixed parts and the attributes that are used. One reply struct carries both a row of a
//! dump and a destroy event.
//!
//! ```text
//! struct inet_diag_msg                  struct inet_diag_sockid (big-endian ports, addresses)
//!  0 u8  family                          0 be16 sport
//!  1 u8  state                           2 be16 dport
//!  2 u8  timer                           4 be32 src[4]
//!  3 u8  retrans                        20 be32 dst[4]
//!  4 id: inet_diag_sockid               36 u32  interface
//! 52 u32 expires (ms)                   40 u32  cookie[2], low word first
//! 56 u32 rqueue
//! 60 u32 wqueue
//! 64 u32 uid
//! 68 u32 inode
//! 72 attributes
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::dump_filter::{AddressFilter, either_port};
use super::netlink::{Attributes, encode_dump, push_request};
use super::{DecodeError, bytes_at, tcp_info, u32_at};
use crate::kernel::socket::{Socket, State, States};

/// Request type without protocol and family: one walk gives IPv4 and IPv6
/// (`inet_diag_rcv_msg_compat`, net/ipv4/inet_diag.c). Rows of the reply have this type too.
const TCPDIAG_GETSOCK: u16 = 18;
/// Type of a destroy event, and of a lookup (include/uapi/linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;

const REPLY_LEN: usize = 72;
const REQUEST_LEN: usize = 60;
const LOOKUP_LEN: usize = 56;
const IPPROTO_TCP: u8 = 6;
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_INFO: u16 = 2;

pub(crate) const AF_INET: u8 = 2;
pub(crate) const AF_INET6: u8 = 10;

/// Selection of a dump, in the terms of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) states: States,
    pub(crate) local_port: Option<u16>,
    pub(crate) remote_port: Option<u16>,
    pub(crate) either_port: Option<u16>,
    /// Replaces `either_port`: a request carries one program.
    pub(crate) address: Option<AddressFilter>,
    pub(crate) with_info: bool,
}

/// Encodes the dump request for `query`: `struct inet_diag_req` and, if needed, a filter program.
pub(crate) fn encode_query(query: &Query) -> Vec<u8> {
    let mut body = [0; REQUEST_LEN];
    // Byte 0 is the family, which the kernel ignores in a dump of this type: both families come.
    if query.with_info {
        body[3] = 1 << (INET_DIAG_INFO - 1);
    }
    body[4..6].copy_from_slice(&query.local_port.unwrap_or(0).to_be_bytes());
    body[6..8].copy_from_slice(&query.remote_port.unwrap_or(0).to_be_bytes());
    body[52..56].copy_from_slice(&query.states.bits().to_ne_bytes());
    let code = match (&query.address, query.either_port) {
        (Some(filter), _) => filter.program(),
        (None, Some(port)) => either_port(port),
        (None, None) => return encode_dump(TCPDIAG_GETSOCK, &body, &[]),
    };
    encode_dump(TCPDIAG_GETSOCK, &body, &[(INET_DIAG_REQ_BYTECODE, &code)])
}

/// Lookup of a single socket by its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SocketLookup {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Index of the device that the socket is bound to, 0 for none. The kernel does not find a
    /// bound socket under another index.
    pub(crate) interface: u32,
    /// Fetches `tcp_info` too.
    pub(crate) with_info: bool,
}

/// Appends the request of one lookup to a datagram: `struct inet_diag_req_v2`.
///
/// The kernel replies with the socket that a segment from `remote` to `local` would reach: a
/// connection or a TIME_WAIT, else a listener, else `ENOENT` (`inet_diag_find_one_icsk`,
/// net/ipv4/inet_diag.c). IPv4-mapped sockets are found as IPv4.
pub(crate) fn encode_lookup(lookup: &SocketLookup, sequence: u32, datagram: &mut Vec<u8>) {
    let mut body = [0; LOOKUP_LEN];
    body[0] = if lookup.local.is_ipv4() { AF_INET } else { AF_INET6 };
    body[1] = IPPROTO_TCP;
    if lookup.with_info {
        body[2] = 1 << (INET_DIAG_INFO - 1);
    }
    body[4..8].copy_from_slice(&States::ALL.bits().to_ne_bytes());
    body[8..10].copy_from_slice(&lookup.local.port().to_be_bytes());
    body[10..12].copy_from_slice(&lookup.remote.port().to_be_bytes());
    for (at, ip) in [(12, lookup.local.ip()), (28, lookup.remote.ip())] {
        match ip {
            IpAddr::V4(ip) => body[at..at + 4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => body[at..at + 16].copy_from_slice(&ip.octets()),
        }
    }
    body[44..48].copy_from_slice(&lookup.interface.to_ne_bytes());
    // INET_DIAG_NOCOOKIE, twice.
    body[48..].fill(0xff);
    push_request(datagram, SOCK_DIAG_BY_FAMILY, sequence, &body);
}

/// Returns true if a message of this type carries an `inet_diag_msg`.
pub(crate) fn is_socket(kind: u16) -> bool {
    kind == TCPDIAG_GETSOCK || kind == SOCK_DIAG_BY_FAMILY
}

/// Returns the local and the remote port of a reply without decoding the rest, so that dropping a
/// destroy event of another port costs two loads.
pub(crate) fn ports(body: &[u8]) -> Option<(u16, u16)> {
    Some((bytes_at(body, 4).map(u16::from_be_bytes)?, bytes_at(body, 6).map(u16::from_be_bytes)?))
}

/// Decodes one reply.
pub(crate) fn decode_socket(body: &[u8]) -> Result<Socket, DecodeError> {
    let fixed: [u8; REPLY_LEN] = bytes_at(body, 0).ok_or(DecodeError::Truncated {
        what: "inet_diag_msg",
        need: REPLY_LEN,
        have: body.len(),
    })?;
    let number = |at| u32_at(&fixed, at).unwrap_or_default();
    let family = fixed[0];
    let (local, remote) = (address(family, &fixed, 8, 4)?, address(family, &fixed, 24, 6)?);
    let state = State::from_kernel(fixed[1])
        .ok_or(DecodeError::Unknown { what: "TCP state", value: fixed[1].into() })?;
    let mut info = None;
    for attribute in Attributes::of(&body[REPLY_LEN..]) {
        if let (INET_DIAG_INFO, value) = attribute? {
            info = Some(tcp_info::decode(value));
        }
    }
    Ok(Socket {
        state,
        local,
        remote,
        cookie: u64::from(number(44)) | u64::from(number(48)) << 32,
        rqueue: number(56),
        wqueue: number(60),
        inode: number(68),
        uid: number(64),
        timer: fixed[2],
        expires_ms: number(52),
        interface: number(40),
        info,
    })
}

fn address(
    family: u8,
    fixed: &[u8; REPLY_LEN],
    at: usize,
    port_at: usize,
) -> Result<SocketAddr, DecodeError> {
    let octets: [u8; 16] = bytes_at(fixed, at).unwrap_or_default();
    let ip = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
        AF_INET6 => Ipv6Addr::from(octets).to_canonical(),
        other => {
            return Err(DecodeError::Unknown { what: "address family", value: other.into() });
        }
    };
    let port = bytes_at(fixed, port_at).map(u16::from_be_bytes).unwrap_or_default();
    Ok(SocketAddr::new(ip, port))
}
