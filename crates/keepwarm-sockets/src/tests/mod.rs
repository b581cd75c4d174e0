//! Tests of several files together, and the bytes that a kernel wrote for them.
//!
//! Tests of one file stand in it.

mod captured_messages;
pub(crate) mod captured_trace;
mod hostile_kernel;
#[cfg(target_endian = "little")]
mod hostile_traces;
mod tracing;
