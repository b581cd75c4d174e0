//! Watches: threads and time around the tracker.
//!
//! Owns the threads, the schedule of dumps, and the public watches. Decides nothing about a
//! connection: see `tracker`.

pub(crate) mod host;
pub(crate) mod polling;
pub(crate) mod port;
pub(crate) mod quiescence;
pub(crate) mod self_test;
pub(crate) mod threads;
