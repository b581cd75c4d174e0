//! Reports: the plain numbers that leave this crate.
//!
//! Owns the public types, the arithmetic between two reports of one watch, and the fold from sockets
//! to the connections of one port. Counts nothing: `tracker` fills the reports.

pub(crate) mod closes;
pub(crate) mod destination;
pub(crate) mod histogram;
pub(crate) mod host;
pub(crate) mod namespace;
pub(crate) mod path;
pub(crate) mod polls;
pub(crate) mod port;
