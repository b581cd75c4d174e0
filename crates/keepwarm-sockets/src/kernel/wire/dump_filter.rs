//! Filter programs for dumps, in the kernel's `struct inet_diag_bc_op`
//! (include/uapi/linux/inet_diag.h). The kernel does not send rows that a program rejects.
//!
//! Owns the encoding of the conditions that a state mask and the request's own ports cannot
//! express: a port on either side, and an address ([`AddressFilter`], `struct inet_diag_hostcond`).
//! Sends nothing.
//!
//! A condition jumps `yes` bytes ahead if it holds and `no` bytes if it does not. A program that
//! runs exactly to its end accepts; four bytes further it rejects (`inet_diag_bc_run`,
//! net/ipv4/inet_diag.c).

use std::net::IpAddr;

use super::diag::{AF_INET, AF_INET6};

const JMP: u8 = 1;
const S_COND: u8 = 7;
const D_COND: u8 = 8;
const S_EQ: u8 = 11;
const D_EQ: u8 = 12;

const AF_UNSPEC: u8 = 0;
/// Stands for "any port" in `struct inet_diag_hostcond`.
const ANY_PORT: i32 = -1;

/// Encodes `sport == port or dport == port`, 20 bytes. S_EQ and D_EQ exist since Linux 4.16 and are
/// followed by an operand that holds the port.
///
/// ```text
///  0  S_EQ yes 8 (to the jump)  no 12 (to D_EQ)
///  4  port
///  8  JMP 12 (to 20, the end: accept)
/// 12  D_EQ yes 8 (to 20: accept) no 12 (to 24: reject)
/// 16  port
/// ```
pub(crate) fn either_port(port: u16) -> Vec<u8> {
    let mut code = Vec::with_capacity(20);
    push(&mut code, S_EQ, 8, 12);
    push(&mut code, 0, 0, port.into());
    push(&mut code, JMP, 4, 12);
    push(&mut code, D_EQ, 8, 12);
    push(&mut code, 0, 0, port.into());
    code
}

/// An address, a port or both that a socket must have as its local address, its remote address, or
/// either of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressFilter {
    /// An IPv4 address also matches IPv4-mapped sockets.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    pub(crate) local: bool,
    pub(crate) remote: bool,
}

impl AddressFilter {
    /// Encodes the filter, in at most 60 bytes. For both sides, n being the length of a condition
    /// with its operand:
    ///
    /// ```text
    ///  0    S_COND yes n (to the jump)  no n + 4 (to D_COND)
    ///  n    JMP n + 4 (to the end: accept)
    ///  n+4  D_COND yes n (to the end: accept)  no n + 4 (reject)
    /// ```
    pub(crate) fn program(&self) -> Vec<u8> {
        let mut code = Vec::with_capacity(60);
        let operand = self.operand();
        let length = 4 + operand.len();
        if self.local {
            push(&mut code, S_COND, length, length + 4);
            code.extend_from_slice(&operand);
        }
        if self.local && self.remote {
            push(&mut code, JMP, 4, length + 4);
        }
        if self.remote {
            push(&mut code, D_COND, length, length + 4);
            code.extend_from_slice(&operand);
        }
        code
    }

    /// Encodes family, number of address bits that count, two bytes of padding, port, address.
    fn operand(&self) -> Vec<u8> {
        let (family, address) = match self.ip {
            None => (AF_UNSPEC, Vec::new()),
            Some(IpAddr::V4(ip)) => (AF_INET, ip.octets().to_vec()),
            Some(IpAddr::V6(ip)) => (AF_INET6, ip.octets().to_vec()),
        };
        let bits = u8::try_from(8 * address.len()).unwrap_or(0);
        let mut operand = vec![family, bits, 0, 0];
        operand.extend_from_slice(&self.port.map_or(ANY_PORT, i32::from).to_ne_bytes());
        operand.extend_from_slice(&address);
        operand
    }
}

fn push(code: &mut Vec<u8>, operation: u8, yes: usize, no: usize) {
    code.push(operation);
    code.push(u8::try_from(yes).unwrap_or(u8::MAX));
    code.extend_from_slice(&u16::try_from(no).unwrap_or(u16::MAX).to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::kernel::wire::{u16_at, u32_at};

    /// Runs a program as the kernel does, for the five operations used.
    fn accepts(code: &[u8], local: SocketAddr, remote: SocketAddr) -> bool {
        let mut at = 0;
        while at < code.len() {
            let (yes, no) = (usize::from(code[at + 1]), usize::from(u16_at(code, at + 2).unwrap()));
            let port = || u16_at(code, at + 6).unwrap();
            let holds = match code[at] {
                S_EQ => local.port() == port(),
                D_EQ => remote.port() == port(),
                S_COND => holds(&code[at + 4..], local),
                D_COND => holds(&code[at + 4..], remote),
                JMP => false,
                other => panic!("operation {other}"),
            };
            at += if holds { yes } else { no };
        }
        at == code.len()
    }

    fn holds(operand: &[u8], address: SocketAddr) -> bool {
        let port = u32_at(operand, 4).unwrap().cast_signed();
        let octets = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let same = usize::from(operand[1]) == 8 * octets.len()
            && operand[8..8 + octets.len()] == octets[..];
        (port == ANY_PORT || port == i32::from(address.port())) && (operand[0] == AF_UNSPEC || same)
    }

    #[test]
    fn either_port_accepts_both_sides() {
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        for port in [1, 80, 8081, u16::MAX] {
            let code = either_port(port);
            assert_eq!(code.len(), 20);
            for (local, remote) in [(port, 5), (5, port), (port, port)] {
                assert!(accepts(&code, address(local), address(remote)), "{local} {remote}");
            }
            assert!(!accepts(&code, address(port ^ 1), address(port ^ 2)), "{port}");
        }
    }

    #[test]
    fn address_filters_accept_exactly_their_addresses() {
        let addresses = ["10.0.0.5:443", "10.0.0.5:80", "10.0.0.6:443", "[fe80::5]:443", "[::1]:1"];
        let addresses = addresses.map(|address| address.parse::<SocketAddr>().unwrap());
        let ips: Vec<_> = addresses.iter().map(|one| Some(one.ip())).chain([None]).collect();
        let sides = [(true, false), (false, true), (true, true)];
        for (ip, port) in ips.iter().flat_map(|ip| [Some(443), None].map(|port| (*ip, port))) {
            for (local, remote) in sides {
                let code = AddressFilter { ip, port, local, remote }.program();
                assert!(code.len() <= 60 && code.len().is_multiple_of(4), "{}", code.len());
                for (here, there) in addresses.iter().flat_map(|a| addresses.map(|b| (*a, b))) {
                    let is = |one: SocketAddr| {
                        ip.is_none_or(|ip| ip == one.ip())
                            && port.is_none_or(|port| port == one.port())
                    };
                    let expected = (local && is(here)) || (remote && is(there));
                    let accepted = accepts(&code, here, there);
                    assert_eq!(accepted, expected, "{ip:?} {port:?} {here} {there}");
                }
            }
        }
    }
}
