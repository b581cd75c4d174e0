//! One connection: how its stream is opened, what HTTP/1.1 does on it, and who is woken by it.
//!
//! Knows no pool and no exchange. The pool registers itself as a [`waker::NotifyIdle`], and learns
//! through that trait alone that an idle connection has to be inspected.
//!
//! | module | content |
//! |---|---|
//! | `connection` | [`Connection`](connection::Connection): one exchange after another, suspended and resumed |
//! | `http1`, `request_writer` | the bytes: read buffer, codec, the request on its way |
//! | `http2` | [`Http2`](http2::Http2): streams of one connection, and the task that moves its bytes |
//! | `waker`, `wake_state` | who is woken when the socket becomes ready: the owner's task or the keeper |
//! | `stream`, `transport`, `tunnel`, `lookup`, `tcp`, `unix`, `tls`, `connect` | opening a stream |
//! | `peer` | the peer's address, and the facts of its TLS |
//! | `body`, `interim` | the request body, and interim responses |

pub(crate) mod body;
pub mod connect;
pub(crate) mod connection;
pub(crate) mod http1;
#[cfg(feature = "http2")]
pub(crate) mod http2;
#[cfg(not(feature = "http2"))]
#[path = "http2_off.rs"]
pub(crate) mod http2;
pub(crate) mod interim;
pub(crate) mod lookup;
pub(crate) mod peer;
pub(crate) mod request_writer;
pub(crate) mod stream;
pub(crate) mod tcp;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod tunnel;
#[cfg(unix)]
pub(crate) mod unix;
pub(crate) mod wake_state;
pub(crate) mod waker;
