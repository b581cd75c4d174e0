//! The client's half of HTTP/1.1 (RFC 9112) on bytes: request heads out, responses in.
//!
//! This crate owns the *wire format* and nothing else. It performs no I/O, reads no clock and knows
//! no task. Its two users, the `keepwarm` client and the load engine, hand it the bytes that they
//! have read, and learn where a response ends, to the byte, and whether its connection may carry
//! another one.
//!
//! | module | content |
//! |---|---|
//! | [`encode`] | request line, `Host`, fields, framing of a request body, chunks, trailers |
//! | [`Decoder`] | a response as events: interim heads, the head, data, trailers |
//! | [`Counter`] | a response as counts, for a load: no field and no byte of it is kept |
//! | [`fields`] | lists by bytes, `Connection`, `Keep-Alive` |
//! | [`Rules`], [`Limits`] | bounds in bytes, and the rule for doubtful framing |
//! | [`Error`], [`Refusal`] | the closed list of reasons to refuse a response, with an offset |
//!
//! ```text
//!          1xx: Interim, and the same again
//!             ┌──────┐
//!             ▼      │
//!  begin ──► head ───┴─► none (HEAD, 204, 304, length 0) ──────────────► complete
//!             │
//!             ├────────► length ── that many bytes ────────────────────► complete
//!             ├────────► chunked ── last chunk and trailers ───────────► complete
//!             ├────────► until end ── end of input ────────────────────► complete
//!             └────────► 101 that was asked for, CONNECT 2xx ──────────► switched
//!
//!  end of input anywhere else, or refused bytes: the response failed
//! ```
//!
//! # Strictness
//!
//! Two readers that see another end of one response let an attacker smuggle in a response. So this
//! crate refuses two lengths that differ, a length that is no number, `chunked` that is not the
//! last coding or is named twice, a bare CR, NUL, folded lines, blanks before a colon, chunk lines
//! that do not end in CR LF, and sizes that are malformed or overflow. A length beside a transfer
//! coding is refused or ends the connection, see [`Doubt`]. It is lenient where no reader can
//! differ: lines of a head may end in LF alone, and empty lines may come before a head (RFC 9112,
//! 2.2).

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod chunked;
mod counter;
mod decoder;
pub mod encode;
mod error;
pub mod fields;
mod head;
mod limits;

pub use counter::{Counter, Counts, Fed};
pub use decoder::{Decoder, Event, ResponseHead};
pub use error::{Error, Refusal, Result};
pub use limits::{Doubt, Limits, Rules};

/// A request, as far as the framing of its response depends on it (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Asked {
    /// Any method but HEAD and CONNECT, without `Upgrade`.
    #[default]
    Plain,
    /// HEAD: its response has no body, though its fields describe one.
    Head,
    /// CONNECT: a 2xx response makes the connection a tunnel.
    Connect,
    /// A request with `Upgrade`, which a 101 grants.
    Upgrade,
}

/// Length of a body on the wire (RFC 9112, 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    Empty,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks, and trailers.
    Chunked,
    /// All bytes until the peer ends the connection.
    UntilEnd,
    /// No body: the connection belongs to another protocol from here on.
    Switched,
}

/// Fitness of a connection for another exchange, as far as a response says (RFC 9112, 9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Persistence {
    /// Another exchange can follow.
    #[default]
    Persistent,
    /// `Connection: close`, or HTTP/1.0 without `keep-alive`.
    ServerCloses,
    /// The body has no length and ends with the connection.
    EndsWithConnection,
    /// A length beside a transfer coding, or a transfer coding in HTTP/1.0. The body is read by the
    /// coding, and no later response on the connection can be trusted (RFC 9112, 6.1 and 6.3).
    Ambiguous,
    /// The connection belongs to another protocol from here on.
    Switched,
}
