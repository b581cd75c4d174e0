//! Statistics over the distributions that records keep.

pub mod confidence;
mod distribution;

pub use distribution::{Distribution, SAMPLES_FOR_P999};
