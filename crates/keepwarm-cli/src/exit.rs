//! Why the tool ends, as a number and as words. The numbers are listed in the README.

use std::fmt;
use std::process::ExitCode;

/// Exit codes. Stable: scripts depend on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Something that has no code of its own.
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
    /// The exit code that a child of ours ended with, if it is one of these.
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

/// The end of a command that did not succeed: what, why, and the way out, in one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
