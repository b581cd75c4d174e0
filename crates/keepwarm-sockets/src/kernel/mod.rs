//! Sources: everything that is read from the kernel, and the pure decoders of it.
//!
//! Owns sock_diag, destroy events, counters, `/proc` and tracefs. Decides nothing: what the bytes
//! mean for a connection is decided in `tracker`. The lowest folder of the crate: it imports
//! `error` and nothing else of it.

pub(crate) mod burst;
pub(crate) mod counters;
pub(crate) mod destroy_events;
pub(crate) mod dump;
pub(crate) mod keyed_hash;
pub(crate) mod proc;
pub(crate) mod socket;
pub(crate) mod socket_table;
pub(crate) mod sys;
pub(crate) mod trace;
pub(crate) mod wire;
