//! Where the two ends of a connection are: on this host, or on the two hosts of a wire.
//!
//! Owns addresses, and in which network namespace a socket is made.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
#[cfg(target_os = "linux")]
use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

#[cfg(target_os = "linux")]
use crate::wire::Wire;

/// Both ends' whereabouts.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// Both on loopback, in the namespace of the calling thread.
    Loopback,
    /// Clients at one end of a wire, servers at the other.
    #[cfg(target_os = "linux")]
    Across(Arc<Wire>),
}

impl Place {
    /// The server's address.
    pub(super) fn server_ip(&self, v6: bool) -> IpAddr {
        match self {
            Place::Loopback if v6 => Ipv6Addr::LOCALHOST.into(),
            Place::Loopback => Ipv4Addr::LOCALHOST.into(),
            #[cfg(target_os = "linux")]
            Place::Across(_) => Wire::server_ip(v6),
        }
    }

    /// A port to listen on; 0 is one of the kernel's choice. Across a wire it is none that clients
    /// choose, as between hosts.
    pub(super) fn port(&self) -> u16 {
        match self {
            Place::Loopback => 0,
            #[cfg(target_os = "linux")]
            Place::Across(_) => {
                static NEXT: AtomicU16 = AtomicU16::new(20_000);
                NEXT.fetch_add(1, Ordering::Relaxed)
            }
        }
    }

    /// Acts where clients are.
    pub(super) fn at_client<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Place::Loopback => act(),
            #[cfg(target_os = "linux")]
            Place::Across(wire) => wire.client.inside(act),
        }
    }

    /// Acts where servers are.
    pub(super) fn at_server<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Place::Loopback => act(),
            #[cfg(target_os = "linux")]
            Place::Across(wire) => wire.server.inside(act),
        }
    }
}

/// Waits for the peer's FIN behind data that is not to be read. Elsewhere than on Linux there is
/// only loopback, where it has come when the peer's close returns.
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
