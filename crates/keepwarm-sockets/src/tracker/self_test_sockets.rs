//! Recognises the sockets of a self-test, which no report of a watch counts.
//!
//! Owns the address on which self-tests run. The test itself is `watch/self_test.rs`.

use std::net::Ipv4Addr;

use crate::kernel::socket::Socket;

/// Address on which self-tests open their connections. For a minute a self-test leaves TIME_WAITs
/// there; no watch counts them, in this process or another, unless its scope asks for this address.
pub(crate) const SELF_TEST_IP: Ipv4Addr = Ipv4Addr::new(127, 75, 87, 1);

/// Returns true if a socket belongs to a self-test. Either address decides: an abort clears the
/// remote port, and also the local address of a socket that was not bound to one.
pub(crate) fn is_of_self_test(socket: &Socket) -> bool {
    socket.local.ip() == SELF_TEST_IP || socket.remote.ip() == SELF_TEST_IP
}
