//! What the kernel says about every TCP socket, for any user: no capability, no eBPF.
//!
//! | question | answer |
//! |---|---|
//! | who opened and closed connections of a port, and how? | [`PortWatch`] gives a [`PortAccount`] |
//! | the same for every destination of the host, with processes? | [`Watch`] gives [`Traffic`], [`look_once`] one look |
//! | exact processes, lifetimes, why a reset was sent? (root) | [`Watch::start_traced`] gives [`TracedCloses`] |
//! | how far does it go without destroy events? | [`Lookout`] gives [`Traffic`] of less |
//! | which sockets are there now? | [`dump()`] |
//! | how many local ports are there to use? | [`ephemeral_ports`] |
//! | what do the kernel's own counters say? | [`Counters`] |
//!
//! Two sources, both of `NETLINK_SOCK_DIAG` (sock_diag(7)): *dumps*, one pass over the socket table
//! for IPv4 and IPv6 together (or a question for one socket, without a pass), and *destroy events*,
//! one message for each TCP socket that dies.
//! Both see one network namespace: that of the thread that starts them. A third needs root:
//! *traces*, the kernel's tracepoints of a connection's states and resets.
//!
//! Inside, bytes are decoded in `wire` (pure), the kernel is talked to in `sys`, traces are read in `trace`, connections are
//! put together in `ledger` (one port) and `ends` (many destinations; both pure), and who closed first is judged in `classify` (pure).
//!
//! Linux only, 4.19 or newer to be exact; elsewhere every function says so with
//! [`Error::is_unsupported`].

#![forbid(unsafe_code)]

mod account;
mod classify;
mod counters;
mod destroy;
mod dump;
mod ends;
mod error;
mod glimpses;
mod hash;
#[cfg(test)]
mod hostile;
mod ledger;
mod live;
mod lookout;
mod ports;
mod proc_net;
mod process;
mod pulse;
mod rules;
mod socket;
mod spread;
mod sys;
mod table;
mod trace;
mod traffic;
mod watch;
mod watcher;
mod wire;

pub use account::{Closes, PortAccount, RequestsPerConnection};
pub use classify::CloseKind;
pub use counters::Counters;
pub use dump::{Filter, dump};
pub use error::Error;
pub use glimpses::Glimpsed;
pub use live::{Watch, count, look_once};
pub use lookout::Lookout;
pub use ports::{EphemeralPorts, ephemeral_ports};
pub use process::{How, Owner};
pub use rules::Rules;
pub use socket::{BySide, Side, Socket, State, States, TIME_WAIT_MS, TcpInfo};
pub use spread::{Cluster, Spread};
pub use table::TableSource;
pub use traffic::{
    Destination, EndCloses, Looks, PortsTaken, Scope, TracedCloses, Tracing, Traffic,
};
pub use watch::PortWatch;
