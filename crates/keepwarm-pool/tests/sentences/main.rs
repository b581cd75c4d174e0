//! One example for each sentence of the documentation, by topic.
//!
//! What the generated sequences check by the thousand, these say once and readably.

mod accounts;
mod advice;
mod connections;
mod dials;
mod dismissals;
mod inspections;
mod lifetimes;
mod reasons;
mod settings;
mod shutdown;
mod steps;
mod time;
mod waiters;
