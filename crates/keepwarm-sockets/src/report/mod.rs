//! Reports: the plain numbers that leave this crate.
//!
//! Owns the public types and the arithmetic between two reports of one watch. `tracker` fills them.

pub(crate) mod histogram;
pub(crate) mod host;
pub(crate) mod port;
