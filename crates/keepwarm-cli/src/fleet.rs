//! `keepwarm fleet`: becomes keepwarm-fleet, a program of its own. It speaks NATS, which would
//! nearly double the dependencies of this one.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::exit::{Exit, Failure};

const PROGRAM: &str = "keepwarm-fleet";

/// Becomes the fleet's program; returns only if that cannot be started.
pub(crate) fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(PROGRAM)));
    let program = beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(PROGRAM));
    let error = Command::new(&program).args(arguments).exec();
    let message = match error.kind() {
        std::io::ErrorKind::NotFound => format!(
            "{PROGRAM} is neither beside this program nor in PATH; get it by `cargo install \
             {PROGRAM}`, or build it by `cargo build --release -p {PROGRAM}`"
        ),
        _ => format!("cannot start {}: {error}", program.display()),
    };
    Err(Failure::new(Exit::Child, message))
}
