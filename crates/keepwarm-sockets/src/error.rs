//! The error type of this crate.
//!
//! Owns the text that a user reads after a failure: the operation, the reason, and a hint what to
//! do. Decides nothing.

use std::fmt;

// Errno values of the Linux ABI (include/uapi/asm-generic/errno-base.h, errno.h). On systems with
// other numbers the crate compiles, but receives no errno.
const EPERM: i32 = 1;
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const EPROTONOSUPPORT: i32 = 93;
const EOPNOTSUPP: i32 = 95;
const EAFNOSUPPORT: i32 = 97;

/// Failure to read from the kernel.
///
/// Opaque: a program decides by the predicates, a person reads the text of `Display`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    operation: Operation,
    reason: Reason,
}

/// Operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    OpenNetlink,
    Dump,
    Subscribe,
    ReadEvents,
    ReadProc(&'static str),
    Watch,
    Trace,
    EnterNamespace,
}

/// Cause of a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reason {
    Os(i32),
    Unsupported(&'static str),
    Malformed(String),
    TooMany { what: &'static str, limit: usize },
    Stopped,
}

impl Error {
    pub(crate) fn os(operation: Operation, errno: i32) -> Error {
        Error { operation, reason: Reason::Os(errno) }
    }

    pub(crate) fn io(operation: Operation, error: &std::io::Error) -> Error {
        match error.raw_os_error() {
            Some(errno) => Error::os(operation, errno),
            None => Error::malformed(operation, error.to_string()),
        }
    }

    pub(crate) fn unsupported(operation: Operation, why: &'static str) -> Error {
        Error { operation, reason: Reason::Unsupported(why) }
    }

    pub(crate) fn malformed(operation: Operation, what: impl Into<String>) -> Error {
        Error { operation, reason: Reason::Malformed(what.into()) }
    }

    pub(crate) fn too_many(operation: Operation, what: &'static str, limit: usize) -> Error {
        Error { operation, reason: Reason::TooMany { what, limit } }
    }

    pub(crate) fn stopped() -> Error {
        Error { operation: Operation::Watch, reason: Reason::Stopped }
    }

    /// Returns true if the kernel or a security module forbids the operation (`EPERM`, `EACCES`).
    /// sock_diag itself needs no privilege, so the usual cause is a sandbox: seccomp, SELinux,
    /// AppArmor.
    pub fn is_denied(&self) -> bool {
        matches!(self.reason, Reason::Os(EPERM | EACCES))
    }

    /// Returns true if this system lacks the feature: not Linux, no `NETLINK_SOCK_DIAG`, no
    /// inet_diag, no destroy events.
    pub fn is_unsupported(&self) -> bool {
        match self.reason {
            Reason::Unsupported(_) => true,
            Reason::Os(EPROTONOSUPPORT | EAFNOSUPPORT | EOPNOTSUPP) => true,
            // Reply to a dump if no handler is registered (net/core/sock_diag.c).
            Reason::Os(ENOENT) => !matches!(self.operation, Operation::ReadProc(_)),
            _ => false,
        }
    }

    /// Returns true if no file descriptor was left (`EMFILE`, `ENFILE`).
    pub fn is_file_table_full(&self) -> bool {
        matches!(self.reason, Reason::Os(EMFILE | ENFILE))
    }

    /// Returns the errno, if the kernel gave one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self.reason {
            Reason::Os(errno) => Some(errno),
            _ => None,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        if self.operation == Operation::Trace {
            self.is_denied().then_some("needs root, or CAP_DAC_OVERRIDE for /sys/kernel/tracing")
        } else if self.is_denied() {
            Some(
                "no privilege is needed for this; look for a seccomp, SELinux or AppArmor rule \
                 against NETLINK_SOCK_DIAG",
            )
        } else if self.is_file_table_full() {
            Some("raise the limit on open files (ulimit -n, fs.file-max)")
        } else if self.is_unsupported() {
            Some("needs Linux 4.19 or newer with CONFIG_INET_DIAG (modules inet_diag and tcp_diag)")
        } else if matches!(self.reason, Reason::Malformed(_)) {
            Some("please report it with the output of `uname -r`")
        } else {
            None
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::OpenNetlink => f.write_str("opening a sock_diag netlink socket"),
            Operation::Dump => f.write_str("dumping the kernel's TCP sockets"),
            Operation::Subscribe => f.write_str("subscribing to TCP destroy events"),
            Operation::ReadEvents => f.write_str("reading TCP destroy events"),
            Operation::ReadProc(path) => write!(f, "reading {path}"),
            Operation::Watch => f.write_str("watching a port"),
            Operation::Trace => f.write_str("tracing connections"),
            Operation::EnterNamespace => f.write_str("entering a network namespace"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.operation)?;
        match &self.reason {
            Reason::Os(errno) => write!(f, "{}", std::io::Error::from_raw_os_error(*errno))?,
            Reason::Unsupported(why) => f.write_str(why)?,
            Reason::Malformed(what) => write!(f, "the answer was not understood: {what}")?,
            Reason::TooMany { what, limit } => write!(f, "more than {limit} {what}")?,
            Reason::Stopped => f.write_str("its thread stopped without an answer")?,
        }
        match self.hint() {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicates_follow_the_errno() {
        for errno in 1..134 {
            let error = Error::os(Operation::OpenNetlink, errno);
            let predicates =
                [error.is_denied(), error.is_unsupported(), error.is_file_table_full()];
            let expected = match errno {
                1 | 13 => [true, false, false],
                2 | 93 | 95 | 97 => [false, true, false],
                23 | 24 => [false, false, true],
                _ => [false, false, false],
            };
            assert_eq!(predicates, expected, "at most one is true for errno {errno}");
            assert_eq!(error.raw_os_error(), Some(errno));
        }
    }

    #[test]
    fn missing_proc_files_are_not_unsupported() {
        assert!(!Error::os(Operation::ReadProc("/proc/net/snmp"), ENOENT).is_unsupported());
        assert!(Error::os(Operation::Dump, ENOENT).is_unsupported());
    }

    #[test]
    fn the_text_names_reason_and_hint() {
        let text = Error::os(Operation::OpenNetlink, EMFILE).to_string();
        assert!(text.contains("opening a sock_diag netlink socket"), "{text}");
        assert!(text.contains("open files"), "{text}");
        assert!(text.contains("ulimit -n"), "{text}");
    }
}
