//! The pools of a client: one an origin. Knows no exchange.

pub(crate) mod connection_limit;
pub(crate) mod dial;
pub(crate) mod idle_limit;
pub(crate) mod keeper;
pub(crate) mod lease;
pub(crate) mod origin;
pub(crate) mod origins;
pub(crate) mod retry_budget;
