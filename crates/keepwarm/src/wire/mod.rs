//! One connection: how its stream is opened, what HTTP/1.1 does on it, and who is woken by it.
//!
//! Knows no pool and no exchange. The pool registers itself as a [`waker::NotifyIdle`], and learns
//! through that trait alone that an idle connection has to be inspected.
//!
//! | module | content |
//! |---|---|
//! | `connection` | [`Connection`](connection::Connection): hyper's sender and driver, suspended and resumed |
//! | `pending_response` | the future of the response head, stored in the connection |
//! | `waker`, `wake_state` | who is woken when the socket becomes ready: the owner's task or the keeper |
//! | `counted_stream` | byte counts, and how the peer ended the stream |
//! | `stream`, `transport`, `lookup`, `tcp`, `unix`, `tls`, `connect` | opening a stream |
//! | `body`, `gate`, `interim` | the request body, and what holds it back |
//! | `keep_alive` | the `Keep-Alive` field of a response |

pub(crate) mod body;
pub mod connect;
pub(crate) mod connection;
pub(crate) mod counted_stream;
pub(crate) mod gate;
pub(crate) mod interim;
pub(crate) mod keep_alive;
pub(crate) mod lookup;
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
