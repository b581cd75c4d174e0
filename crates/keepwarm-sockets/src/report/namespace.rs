//! The network namespace of a destination, where several are watched at once.
//!
//! Owns the public type, and what is said of those that are watched. Finds none: see `kernel::proc`.

use crate::error::Error;
use crate::kernel::proc::sysctl::{EphemeralPorts, TimeWaitReuse};

/// A network namespace that is watched beside others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetworkNamespace {
    /// The inode, as `lsns` and `ls -i /proc/PID/ns/net` print it. One that has ended may leave it to
    /// another.
    pub inode: u64,
    /// The name by `ip netns`, if it has one.
    pub name: Option<String>,
    /// Number of this namespace among those that the watch has met: no other has it.
    pub number: u32,
    /// Ports that connect(2) can choose from there; `None` if that could not be read.
    pub ephemeral_ports: Option<EphemeralPorts>,
    /// When the port of a TIME_WAIT is taken again there.
    pub time_wait_reuse: Option<TimeWaitReuse>,
}

impl NetworkNamespace {
    /// Makes a namespace without a name, of whose settings nothing is known.
    pub fn new(inode: u64, number: u32) -> NetworkNamespace {
        NetworkNamespace { inode, name: None, number, ephemeral_ports: None, time_wait_reuse: None }
    }
}

/// Network namespaces of a watch of all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Namespaces {
    /// Those that are watched now.
    pub watched: u64,
    /// Those that were watched and have ended. Their closes are in the report.
    pub ended: u64,
    /// Those that could not be watched, and the last reason.
    pub refused: u64,
    /// Why the last of them could not be watched.
    pub refused_because: Option<Error>,
    /// Those beyond the most that are watched at once, as of now.
    pub left_out: u64,
    /// Processes whose namespace may not be read, as of now: without `CAP_SYS_PTRACE`.
    pub unreadable: u64,
}
