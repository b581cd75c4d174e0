//! System calls, and the only choice by operating system.
//!
//! Owns netlink sockets, clocks and the fences of destroy events. `linux` calls the kernel;
//! `elsewhere` has the same functions, which fail as "unsupported". Decodes nothing: see `wire`.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::{
    Datagrams, Netlink, Waker, abort_on_close, boot_ns, connect_from, enter, fence, monotonic_ns,
    open_nonblocking, thread_cpu, wait,
};

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{
    Datagrams, Netlink, Waker, abort_on_close, boot_ns, connect_from, enter, fence, monotonic_ns,
    open_nonblocking, thread_cpu, wait,
};
