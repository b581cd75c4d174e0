//! One connection and the bytes on it. Knows no pool and no exchange.

pub(crate) mod body;
pub mod connect;
pub(crate) mod connection;
pub(crate) mod counted_stream;
pub(crate) mod interim;
pub(crate) mod keep_alive;
pub(crate) mod origin_key;
pub(crate) mod pending_response;
pub(crate) mod stream;
pub(crate) mod tcp;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod transport;
#[cfg(unix)]
pub(crate) mod unix;
pub(crate) mod wake_state;
pub(crate) mod waker;
