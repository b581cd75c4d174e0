//! The capabilities of a watch that stays: those that it needs, one by one, and no other.
//!
//! Owns the list. A watch by root or by a service would else keep every capability for weeks. They are
//! dropped when its sources are open and before it starts a thread, since each thread has its own.
//!
//! | capability | for | kept |
//! |---|---|---|
//! | `CAP_SYS_PTRACE` | which process has a socket: `/proc/PID/fd` of other users; namespaces of theirs | yes |
//! | `CAP_DAC_READ_SEARCH` | the same folders, whose mode is 0500 | yes |
//! | `CAP_DAC_OVERRIDE` | tracefs, for a user that is not root | at level L2 |
//! | `CAP_SYS_ADMIN` | to enter network namespaces that come later | with `--all-netns` |
//! | `CAP_NET_ADMIN` | a receive buffer beyond `net.core.rmem_max` | no: it was made before |
//! | every other | nothing | no |
//!
//! With `--no-owners` none is kept, and the watch is confined: see `confine`.

use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

use crate::args::{WatchLevel, WatchOptions};
use crate::exit::{Exit, Failure};

/// Capabilities without which a watch of all network namespaces does not begin, with their uses.
const FOR_ALL_NETNS: [(CapabilitySet, &str, &str); 2] = [
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN", "to enter each of them"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE", "to find those of other users' processes"),
];

/// Fails if a capability is missing without which not every namespace would be seen.
pub(super) fn check_all_netns() -> Result<(), Failure> {
    let has = capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
    let missing = FOR_ALL_NETNS.iter().filter(|(one, _, _)| !has.contains(*one));
    let missing: Vec<String> = missing.map(|(_, name, why)| format!("{name} ({why})")).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let missing = missing.join(" and ");
    Err(Failure::new(
        Exit::Denied,
        format!(
            "--all-netns takes {missing}: run it as root, or without --all-netns for the sockets of \
             this network namespace alone"
        ),
    ))
}

/// Drops what the calling thread, and the threads that it starts, need no more. Capabilities that it
/// does not have are not gained.
pub(super) fn keep_needed(options: &WatchOptions) -> Result<(), Failure> {
    if options.no_owners {
        return keep_none();
    }
    let mut needed = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    if options.all_netns {
        needed |= CapabilitySet::SYS_ADMIN;
    } else if options.level == WatchLevel::L2 && !geteuid().is_root() {
        // Root owns tracefs.
        needed |= CapabilitySet::DAC_OVERRIDE;
    }
    keep(needed)
}

/// Drops every capability of the calling thread.
pub(super) fn keep_none() -> Result<(), Failure> {
    keep(CapabilitySet::empty())
}

fn keep(needed: CapabilitySet) -> Result<(), Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("cannot drop capabilities: {error}"));
    let had = capabilities(None).map_err(failed)?;
    let sets = CapabilitySets {
        effective: had.effective & needed,
        permitted: had.permitted & needed,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).map_err(failed)?;
    // No program that is started gains what was dropped.
    set_no_new_privs(true).map_err(failed)
}
