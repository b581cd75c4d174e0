//! The versioned files of a load, a watch and a lab.
//!
//! Owns every type that crosses a file, the assertions that can be judged by one, and what follows
//! from a record alone: verdicts, intervals, notes and sentences. Knows no engine and no kernel:
//! the tool fills the records, writes them and reads them. Does no I/O and reads no clock.
//!
//! Imports run one way, from left to right:
//! `read`, `compare` → `lab` → `load` → `watch` → `assertion`, `fold`, `duration`, `machine`,
//! `numbers`.

#![forbid(unsafe_code)]

pub mod assertion;
pub mod compare;
pub mod duration;
pub mod fold;
pub mod lab;
pub mod load;
pub mod machine;
pub mod numbers;
pub mod read;
pub mod watch;

/// Compiles the example of the crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
