//! Exit codes, and the failure that carries one with its message. docs/exit-codes.md lists the codes.

use std::fmt;
use std::process::ExitCode;

use crate::limits;

/// Exit codes. Stable: scripts depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// A reason without a code of its own.
    Failed = 1,
    /// The arguments cannot be used. clap uses the same number.
    Usage = 2,
    /// The target, or the upstream, cannot be reached.
    Unreachable = 3,
    /// The measurement contradicts itself, or is incomplete.
    Invalid = 4,
    /// The address to listen on is taken, or cannot be had.
    Listen = 5,
    /// The kernel does not let us ask about sockets.
    Denied = 6,
    /// No file descriptor is left, or there are too few for what is asked.
    FileTable = 7,
    /// A child process failed.
    Child = 8,
    /// The output could not be written.
    Output = 9,
    /// An assertion did not hold, or could not be judged.
    Assertion = 10,
    /// Interrupted by SIGINT or SIGTERM: 128 + SIGINT.
    Interrupted = 130,
}

impl Exit {
    /// Returns the exit code with which a child of ours ended, if the tool has it.
    pub(crate) fn from_code(code: i32) -> Option<Self> {
        [
            Self::Failed,
            Self::Usage,
            Self::Unreachable,
            Self::Invalid,
            Self::Listen,
            Self::Denied,
            Self::FileTable,
            Self::Child,
            Self::Output,
            Self::Assertion,
            Self::Interrupted,
        ]
        .into_iter()
        .find(|exit| *exit as i32 == code)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failed command: its exit code, and one message that says what failed, why, and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// The refusal of an argument that the workers of a fleet cannot share.
    pub(crate) fn of_one_machine(name: &str) -> Self {
        let message = format!(
            "{name} belongs to one machine, and cannot be shared by the workers of a fleet; leave it out"
        );
        Self::new(Exit::Usage, message)
    }

    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }
}

/// The failure of a watch of the kernel, with the limit to raise where one was met.
impl From<&keepwarm_sockets::Error> for Failure {
    fn from(error: &keepwarm_sockets::Error) -> Self {
        if error.is_file_table_full() {
            // The error itself names the limit.
            Self::new(Exit::FileTable, error.to_string())
        } else if error.is_denied() || error.is_unsupported() {
            Self::new(Exit::Denied, error.to_string())
        } else {
            match error.raw_os_error().and_then(limits::way_out) {
                Some(way_out) => Self::new(Exit::Failed, format!("{error}; {way_out}")),
                None => Self::new(Exit::Failed, error.to_string()),
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
