//! One example for each sentence of the documentation, by topic.
//!
//! The generated sequences check the same by the thousand; these say it once and readably.

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
