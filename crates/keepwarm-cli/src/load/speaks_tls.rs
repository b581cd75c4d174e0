//! Detects whether a port speaks TLS: the kernel counts segments, and cannot tell a handshake from
//! a request.
//!
//! A listener on this host gets the first message of a handshake, which a TLS server answers in a
//! way that no other server does. The probe comes after the account is closed, on one connection
//! that ends by RST and leaves nothing behind. A port without a listener here belongs to another
//! host and is not probed: its number decides.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use keepwarm_sockets::{Filter, State, States, dump};
use rustix::net::sockopt::set_socket_linger;

/// Ports on which a service of another host is assumed to speak TLS.
const BY_CONVENTION: [u16; 2] = [443, 8443];

/// Time limit for each of connecting, writing and reading.
const PATIENCE: Duration = Duration::from_millis(300);

/// ClientHello of TLS 1.2 (RFC 5246, section 7.4.1.2) without extensions. A TLS server answers it
/// with a record, if only an alert that asks for another version.
const HELLO: [u8; 54] = [
    0x16, 3, 1, 0, 49, // A record of the handshake, 49 bytes.
    1, 0, 0, 45, // ClientHello, 45 bytes.
    3, 3, // TLS 1.2.
    0x6b, 0x65, 0x65, 0x70, 0x77, 0x61, 0x72, 0x6d, 0x20, 0x61, 0x73, 0x6b, 0x73, 0x20, 0x69, 0x66,
    0x20, 0x69, 0x74, 0x20, 0x73, 0x70, 0x65, 0x61, 0x6b, 0x73, 0x20, 0x54, 0x4c, 0x53, 0x3f, 0x21,
    0, // No session.
    0, 6, 0xc0, 0x2f, 0xc0, 0x2b, 0, 0x2f, // Three suites.
    1, 0, // No compression.
];

pub(super) fn speaks_tls(port: u16) -> bool {
    let listeners = Filter::of_states(States::of(&[State::Listen])).with_local_port(port);
    // A refused dump leaves no listener, and the port number decides.
    let listeners = dump(&listeners).unwrap_or_default();
    match listeners.first() {
        Some(listener) => probe(within_reach(listener.local)).unwrap_or(false),
        None => BY_CONVENTION.contains(&port),
    }
}

/// Returns the address at which a listener is reached from its own host.
fn within_reach(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, listener.port())
}

fn probe(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    stream.write_all(&HELLO)?;
    let mut head = [0; 3];
    stream.read_exact(&mut head)?;
    // An alert or a handshake, of some version 3.x.
    Ok(matches!(head, [0x15 | 0x16, 3, 0..=4]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hello_has_the_stated_length() {
        assert_eq!(usize::from(HELLO[4]) + 5, HELLO.len());
        assert_eq!(usize::from(HELLO[8]) + 9, HELLO.len());
    }
}
