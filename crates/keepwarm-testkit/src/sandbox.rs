//! A sandbox like that of a container: system calls that the kernel refuses (seccomp(2)).
//!
//! Owns the filter. It applies to one thread and to every process that the thread starts, so a
//! program is started inside the sandbox while the test stays outside.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

/// Number of `socket` in the system call table of the architecture.
#[cfg(target_arch = "x86_64")]
const SYS_SOCKET: i64 = 41;
#[cfg(not(target_arch = "x86_64"))]
const SYS_SOCKET: i64 = 198;

const AF_NETLINK: u64 = 16;
const NETLINK_SOCK_DIAG: u64 = 4;

/// Error of a sandbox that forbids the call.
pub const EPERM: u32 = 1;
/// Error of a kernel without sock_diag, such as one that only emulates Linux.
pub const EPROTONOSUPPORT: u32 = 93;

/// Runs `work` on a thread of its own. On that thread, and in every process that it starts, opening
/// a socket of `NETLINK_SOCK_DIAG` fails with `errno`.
///
/// # Panics
/// If the kernel has no seccomp filters, or `work` panics.
pub fn without_sock_diag<T: Send>(errno: u32, work: impl FnOnce() -> T + Send) -> T {
    let filter = refusing(errno).expect("a filter of two conditions");
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            apply_filter(&filter).expect("seccomp filters");
            work()
        });
        inside.join().expect("what is done in the sandbox")
    })
}

fn refusing(errno: u32) -> Result<BpfProgram, seccompiler::BackendError> {
    let argument = |number, value| {
        SeccompCondition::new(number, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    let sock_diag =
        SeccompRule::new(vec![argument(0, AF_NETLINK)?, argument(2, NETLINK_SOCK_DIAG)?])?;
    let filter = SeccompFilter::new(
        BTreeMap::from([(SYS_SOCKET, vec![sock_diag])]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno),
        std::env::consts::ARCH.try_into()?,
    )?;
    filter.try_into()
}
