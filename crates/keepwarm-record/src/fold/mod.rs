//! Statistics over the distributions that records keep.

pub mod confidence;
