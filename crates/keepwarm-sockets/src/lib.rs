//! What the kernel says about every TCP socket, for any user: no root, no capability, no eBPF.
//!
//! | question | answer |
//! |---|---|
//! | who opened and closed connections of a port, and how? | [`PortWatch`] gives a [`PortAccount`] |
//! | which sockets are there now? | [`dump()`] |
//! | how many local ports are there to use? | [`ephemeral_ports`] |
//! | what do the kernel's own counters say? | [`Counters`] |
//!
//! Two sources, both of `NETLINK_SOCK_DIAG` (sock_diag(7)): *dumps*, one pass over the socket table
//! for IPv4 and IPv6 together, and *destroy events*, one message for each TCP socket that dies.
//! Both see one network namespace: that of the thread that starts them.
//!
//! Inside, bytes are decoded in `wire` (pure), the kernel is talked to in `sys`, connections are
//! put together in `ledger` (pure), and who closed first is judged in `classify` (pure).
//!
//! Linux only, 4.19 or newer to be exact; elsewhere every function says so with
//! [`Error::is_unsupported`].

#![forbid(unsafe_code)]

mod account;
mod classify;
mod counters;
mod destroy;
mod dump;
mod error;
mod ledger;
mod ports;
mod socket;
mod sys;
mod watch;
mod wire;

pub use account::{Closes, PortAccount, RequestsPerConnection};
pub use classify::CloseKind;
pub use counters::Counters;
pub use dump::{Filter, dump};
pub use error::Error;
pub use ports::{EphemeralPorts, ephemeral_ports};
pub use socket::{BySide, Side, Socket, State, States, TIME_WAIT_MS, TcpInfo};
pub use watch::PortWatch;
