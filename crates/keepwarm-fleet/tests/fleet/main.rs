//! Claim: a fleet's result is that of one load, and a fleet that cannot give it says so.
//!
//! Real nats-servers, real workers, real HTTP servers that count. Skipped, loudly, without a
//! nats-server in PATH or in KEEPWARM_NATS_SERVER.

#![allow(clippy::unwrap_used)] // A failed step of the set-up fails the test.

mod common;
mod course;
mod faults;
mod hosts;
mod launchers;
mod refusals;
mod servers;
