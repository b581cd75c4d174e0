//! One request and its response.

pub(crate) mod acquire;
pub(crate) mod attempt;
pub(crate) mod drain;
pub(crate) mod framing;
pub(crate) mod outgoing;
pub(crate) mod send;
pub(crate) mod upload;
