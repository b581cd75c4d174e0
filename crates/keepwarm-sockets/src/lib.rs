//! Reads from the kernel what it knows about every TCP socket: for any user, without a capability and
//! without eBPF.
//!
//! | question | answer |
//! |---|---|
//! | who opened and closed connections of a port, and how? | [`HostReport::port`] gives a [`PortReport`] |
//! | the same for every destination of the host, with processes? | [`Watch`] gives [`HostReport`], [`dump_once`] one dump |
//! | the same in every network namespace of the host? (root) | [`NamespacesWatch`] gives [`HostReport`] |
//! | exact processes, lifetimes, why a reset was sent? (root) | [`Watch::start_traced`] gives [`TracedCloses`] |
//! | how far does it go without destroy events? | [`PollingWatch`] gives [`HostReport`] of less |
//! | which sockets are there now? | [`dump()`] |
//! | how many local ports are there to use? | [`ephemeral_ports`] |
//! | when is the local port of a TIME_WAIT reused? | [`time_wait_reuse`] |
//! | which processes are there, and in which cgroups? | [`process`] |
//! | which boot and network namespace is this? | [`boot_id`], [`network_namespace`] |
//! | what do the kernel's own counters say? | [`Counters`] |
//!
//! Two sources come from `NETLINK_SOCK_DIAG` (sock_diag(7)): *dumps*, one pass over the socket table
//! for IPv4 and IPv6 together (or a lookup of one socket, without a pass), and *destroy events*, one
//! message for each TCP socket that dies. Both see one network namespace: that of the thread that
//! starts them. A third source needs root: *traces*, the kernel's tracepoints of a connection's
//! states and resets.
//!
//! Four folders import one way, from the first to the last; `error` is beneath all of them:
//!
//! ```text
//!  watch/    threads, time and schedule around a tracker; the public watches
//!  tracker/  the bookkeeping of every socket in scope (pure)
//!  report/   the numbers that leave the crate (pure)
//!  kernel/   sock_diag, destroy events, counters, /proc, tracefs, and their decoders
//! ```
//!
//! Works on Linux only, exactly from 4.19 on; on other systems every function returns an error for
//! which [`Error::is_unsupported`] is true.

#![forbid(unsafe_code)]

mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod kernel;
mod report;
#[cfg(test)]
mod tests;
mod tracker;
mod watch;

pub use error::Error;
pub use kernel::counters::Counters;
pub use kernel::dump::{Filter, dump};
pub use kernel::proc::identity::{boot_id, network_namespace};
pub use kernel::proc::owners::{Owner, OwnerEvidence};
pub use kernel::proc::process;
pub use kernel::proc::sysctl::{EphemeralPorts, TimeWaitReuse, ephemeral_ports, time_wait_reuse};
pub use kernel::socket::{BySide, Side, Socket, State, States, TIME_WAIT_MS, TcpInfo};
pub use kernel::socket_table::TableSource;
pub use report::closes::{CloseKind, ConnectionCloses, SocketCloses};
pub use report::destination::{
    Destination, Handshake, ListenQueue, PortsTaken, ServerOnly, SideEvidence, StuckSockets,
    TracedCloses,
};
pub use report::histogram::{Cluster, Histogram};
pub use report::host::{HostReport, Scope, Tracing};
pub use report::namespace::{Namespaces, NetworkNamespace};
pub use report::path::NetworkPath;
pub use report::polls::{PollDiff, Polls};
pub use report::port::{PortReport, RequestsPerConnection};
pub use watch::host::{PreparedWatch, Watch, count, dump_once};
pub use watch::namespaces::{NamespacesWatch, PreparedNamespacesWatch};
pub use watch::polling::PollingWatch;
pub use watch::self_test::SelfTest;

/// Compiles the example of the crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
