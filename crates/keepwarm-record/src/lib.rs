//! The versioned files of a load, a watch and a lab.
//!
//! Owns every type that crosses a file, and what can be said of a record alone: assertions and
//! folds. Knows no engine and no kernel: the tool fills the records. Does no I/O.

#![forbid(unsafe_code)]

pub mod assertion;
pub mod fold;
pub mod lab;
pub mod load;
pub mod machine;
pub mod watch;
