//! Children that end with the program that started them, however that ends: a SIGKILL leaves it no time
//! to end them itself.
//!
//! Owns the step between parent and child. The parent starts this program again; that asks the kernel for
//! a SIGKILL at the parent's end, and then becomes the child. `nats-server` watches no pipe, so a pipe
//! would take a process that stands by (docs/decisions/0020-tethered-children.md).

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::exit::{Exit, Failure};

/// Returns a command that becomes `program`, which ends with this process. The kernel ties it to the
/// thread that starts it, which has to be the main one.
pub(crate) fn command(program: &Path) -> std::io::Result<tokio::process::Command> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["tethered", &std::process::id().to_string(), "--"]).arg(program);
    // Ctrl-C at a terminal is for the coordinator, which then ends its children.
    command.process_group(0).kill_on_drop(true);
    Ok(command)
}

/// Becomes the program of `command`, which ends with the process `parent`. Returns only if that fails.
pub(crate) fn become_child(parent: i32, command: &[OsString]) -> Failure {
    let failed = |why: &dyn std::fmt::Display| Failure::new(Exit::Child, why.to_string());
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return failed(&format!("cannot end with the coordinator: {error}"));
    }
    // It may have ended before the kernel was asked.
    if getppid() != Pid::from_raw(parent) {
        return failed(&"the coordinator is gone");
    }
    let Some((program, arguments)) = command.split_first() else {
        return failed(&"no program is named");
    };
    let error = Command::new(program).args(arguments).exec();
    failed(&format!("cannot start {}: {error}", Path::new(program).display()))
}
