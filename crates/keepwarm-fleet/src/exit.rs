//! Exit codes, and the failure that carries one with its message. The codes are those of `keepwarm`.

use std::fmt;
use std::process::ExitCode;

/// Exit codes: docs/exit-codes.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// A reason without a code of its own.
    Failed = 1,
    /// The arguments, or the plan, cannot be used.
    Usage = 2,
    /// The server cannot be reached, or too few workers answer.
    Unreachable = 3,
    /// A worker was lost, or began late: the run is not the load that was asked for.
    Invalid = 4,
    /// The server does not let this key in.
    Denied = 6,
    /// `keepwarm` itself failed, or cannot be started.
    Child = 8,
    /// A record could not be written.
    Output = 9,
    /// Interrupted by SIGINT or SIGTERM.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failed command: its exit code, and one message that says what failed, why, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
