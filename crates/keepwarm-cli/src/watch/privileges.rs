//! The capabilities of a watch that stays: those that it needs, one by one, and no other.
//!
//! Owns the list. A watch by root or by a service would else keep every capability for weeks. They are
//! dropped before the first thread is started, since each thread has its own.
//!
//! | capability | for | kept |
//! |---|---|---|
//! | `CAP_SYS_PTRACE` | which process has a socket: `/proc/PID/fd` of other users | yes |
//! | `CAP_DAC_READ_SEARCH` | the same folders, whose mode is 0500 | yes |
//! | `CAP_DAC_OVERRIDE` | tracefs, for a user that is not root | at level L2 |
//! | `CAP_SYS_ADMIN` | to enter another network namespace | no: it was entered before |
//! | every other | nothing | no |

use rustix::process::geteuid;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

use crate::args::WatchLevel;
use crate::exit::{Exit, Failure};

/// Drops what the calling thread, and the threads that it starts, need no more. Capabilities that it
/// does not have are not gained.
pub(super) fn keep_needed(level: WatchLevel) -> Result<(), Failure> {
    let mut needed = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    // Root owns tracefs.
    if level == WatchLevel::L2 && !geteuid().is_root() {
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
