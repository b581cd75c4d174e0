//! The experiment's two services, and the client policies between them.
//!
//! * the *data service*: `GET /data` answers `Data OK.` and nothing else is routed there;
//! * the *front service*: `GET /stresstest` calls the data service under a 100 ms timeout and
//!   writes its body back, through a client built after a [`Policy`].
//!
//! This crate owns the services. It starts no processes, drives no load and prints nothing: that is
//! the command-line tool's part.

#![forbid(unsafe_code)]

mod account;
mod blueprint;
pub mod data;
pub mod front;
mod policy;
mod serve;
mod upstream;

pub use account::{Account, ClosedCount, read_account};
pub use axum::Router;
pub use policy::{Policy, UnknownPolicy};
pub use serve::{GRACE, listen, serve};
