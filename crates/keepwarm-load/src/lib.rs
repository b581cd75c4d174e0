//! wip
mod pacer;
mod plan;
mod framing;
pub use plan::*;
