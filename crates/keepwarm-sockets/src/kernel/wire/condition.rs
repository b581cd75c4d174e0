//! An address, a port or both, as a filter program for dumps: what is not asked for is not sent.
//!
//! Owns the encoding of `struct inet_diag_hostcond` (include/uapi/linux/inet_diag.h).

use std::net::IpAddr;

use super::diag::{AF_INET, AF_INET6};

const JMP: u8 = 1;
const S_COND: u8 = 7;
const D_COND: u8 = 8;

const AF_UNSPEC: u8 = 0;
/// In place of a port: any.
const ANY_PORT: i32 = -1;

/// What has to stand at the local end of a socket, at the remote one, or at either of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition {
    /// IPv4 also finds IPv4-mapped sockets.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    pub(crate) local: bool,
    pub(crate) remote: bool,
}

impl Condition {
    /// The program, at most 60 bytes.
    ///
    /// A condition jumps `yes` bytes ahead when it holds and `no` when it does not. Running exactly
    /// to the end accepts; four bytes further rejects (`inet_diag_bc_run`, net/ipv4/inet_diag.c).
    /// For both ends, n being the length of a condition with its operand:
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

    /// Family, bits of the address that count, two bytes of padding, port, address.
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

    /// The kernel's interpreter, retold for the three operations used.
    fn run(code: &[u8], local: SocketAddr, remote: SocketAddr) -> bool {
        let mut at = 0;
        while at < code.len() {
            let (yes, no) = (usize::from(code[at + 1]), usize::from(u16_at(code, at + 2).unwrap()));
            let holds = match code[at] {
                S_COND => holds(&code[at + 4..], local),
                D_COND => holds(&code[at + 4..], remote),
                JMP => false,
                other => panic!("operation {other}"),
            };
            at += if holds { yes } else { no };
        }
        at == code.len()
    }

    fn holds(operand: &[u8], end: SocketAddr) -> bool {
        let port = u32_at(operand, 4).unwrap().cast_signed();
        let address = match end.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let same = usize::from(operand[1]) == 8 * address.len()
            && operand[8..8 + address.len()] == address[..];
        (port == ANY_PORT || port == i32::from(end.port())) && (operand[0] == AF_UNSPEC || same)
    }

    #[test]
    fn the_program_accepts_what_the_condition_says_at_the_ends_it_names_and_nothing_else() {
        let addresses = ["10.0.0.5:443", "10.0.0.5:80", "10.0.0.6:443", "[fe80::5]:443", "[::1]:1"];
        let addresses = addresses.map(|address| address.parse::<SocketAddr>().unwrap());
        let ips: Vec<_> = addresses.iter().map(|end| Some(end.ip())).chain([None]).collect();
        let ends = [(true, false), (false, true), (true, true)];
        for (ip, port) in ips.iter().flat_map(|ip| [Some(443), None].map(|port| (*ip, port))) {
            for (local, remote) in ends {
                let code = Condition { ip, port, local, remote }.program();
                assert!(code.len() <= 60 && code.len().is_multiple_of(4), "{}", code.len());
                for (here, there) in addresses.iter().flat_map(|a| addresses.map(|b| (*a, b))) {
                    let is = |end: SocketAddr| {
                        ip.is_none_or(|ip| ip == end.ip())
                            && port.is_none_or(|port| port == end.port())
                    };
                    let expected = (local && is(here)) || (remote && is(there));
                    assert_eq!(run(&code, here, there), expected, "{ip:?} {port:?} {here} {there}");
                }
            }
        }
    }
}
