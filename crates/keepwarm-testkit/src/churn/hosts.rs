//! The hosts of a connection's two sockets: this host for both, or the two hosts of a wire.
//!
//! Owns their addresses, and the network namespace in which a socket is made.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
#[cfg(target_os = "linux")]
use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

#[cfg(target_os = "linux")]
use crate::wire::Wire;

/// The hosts of client and server.
#[derive(Debug, Clone)]
pub(super) enum Hosts {
    /// Client and server on loopback, in the namespace of the calling thread.
    Loopback,
    /// Clients on one host of a wire, servers on the other.
    #[cfg(target_os = "linux")]
    Across(Arc<Wire>),
}

impl Hosts {
    /// Returns the server's address.
    pub(super) fn server_ip(&self, v6: bool) -> IpAddr {
        match self {
            Hosts::Loopback if v6 => Ipv6Addr::LOCALHOST.into(),
            Hosts::Loopback => Ipv4Addr::LOCALHOST.into(),
            #[cfg(target_os = "linux")]
            Hosts::Across(wire) => wire.server_ip(v6),
        }
    }

    /// Returns a port to listen on; 0 leaves the choice to the kernel. Across a wire the port is
    /// one that clients never choose, as between real hosts.
    pub(super) fn port(&self) -> u16 {
        match self {
            Hosts::Loopback => 0,
            #[cfg(target_os = "linux")]
            Hosts::Across(_) => {
                static NEXT: AtomicU16 = AtomicU16::new(20_000);
                NEXT.fetch_add(1, Ordering::Relaxed)
            }
        }
    }

    /// Runs `act` on the clients' host.
    pub(super) fn at_client<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Hosts::Loopback => act(),
            #[cfg(target_os = "linux")]
            Hosts::Across(wire) => wire.client.inside(act),
        }
    }

    /// Runs `act` on the servers' host.
    pub(super) fn at_server<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Hosts::Loopback => act(),
            #[cfg(target_os = "linux")]
            Hosts::Across(wire) => wire.server.inside(act),
        }
    }
}

/// Waits for the peer's FIN behind data that must stay unread. Systems other than Linux have only
/// loopback here, where the FIN has arrived when the peer's close returns.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, clippy::unnecessary_wraps))]
pub(super) fn await_end_behind_data(end: &TcpStream) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
        if poll(&mut [PollFd::new(end, PollFlags::RDHUP)], Some(&patience))? == 0 {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer's end did not come"));
        }
    }
    Ok(())
}
