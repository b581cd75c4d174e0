//! System calls, and the only choice by operating system.
//!
//! Owns netlink sockets, clocks and the fences of destroy events. `linux` calls the kernel;
//! `elsewhere` has the same functions, which fail as "unsupported". Decodes nothing: see `wire`.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::{
    Netlink, Waker, abort_on_close, connect_from, fence, monotonic_ns, open_nonblocking, thread_cpu,
};

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{
    Netlink, Waker, abort_on_close, connect_from, fence, monotonic_ns, open_nonblocking, thread_cpu,
};

/// Event that ended [`Netlink::wait`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// A message can be received, or an error fetched.
    Readable,
    /// The time is over.
    Nothing,
    /// [`Waker::wake`] was called.
    Woken,
}
