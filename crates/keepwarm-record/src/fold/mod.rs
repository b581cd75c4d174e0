//! Statistics over the distributions that records keep.

pub mod confidence;
mod distribution;
pub mod hdr;

pub(crate) use distribution::add_buckets;
pub use distribution::{Distribution, SAMPLES_FOR_P999};
