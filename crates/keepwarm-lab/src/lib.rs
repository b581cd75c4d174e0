//! The experiment's two services, and the client policies between them.
//!
//! * the *data service*: `GET /data` answers `Data OK.`; it has no other route;
//! * the *front service*: `GET /stresstest` calls the data service under a 100 ms timeout and
//!   writes its body back, through a client built after a [`Policy`].
//!
//! This crate owns the services. The command-line tool starts the processes, drives the load and
//! prints the results. For the tool only: not meant for other users.

#![forbid(unsafe_code)]

mod account;
pub mod data;
pub mod front;
mod policy;
mod serve;
mod slow_head;
mod upstream;

pub use account::{Account, ClosedCount, read_account};
pub use axum::Router;
pub use policy::{Policy, UnknownPolicy};
pub use serve::{GRACE, listen, serve};
