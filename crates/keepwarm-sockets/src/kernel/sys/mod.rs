//! The border to the operating system: the one place that asks which one it is.
//!
//! `linux` talks to the kernel, `elsewhere` has the same functions and says "unsupported".

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::{
    Netlink, Waker, abort_on_close, fence, monotonic_ns, open_nonblocking, thread_cpu,
};

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{
    Netlink, Waker, abort_on_close, fence, monotonic_ns, open_nonblocking, thread_cpu,
};

/// What [`Netlink::wait`] saw first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    /// Something to receive (or an error to fetch).
    Readable,
    /// Somebody called [`Waker::wake`].
    Woken,
}
