//! A load's half of HTTP/2 (RFC 9113) on bytes: requests encoded once, responses counted.
//!
//! This crate owns the *wire format* and nothing else. It performs no I/O, reads no clock and knows
//! no task. Its user, the load engine, hands it the bytes that were read, and gets events; it hands
//! back the bytes to write.
//!
//! | module | content |
//! |---|---|
//! | [`Connection`] | frames in order, SETTINGS, PING, windows, GOAWAY, the limits of a connection |
//! | [`Response`] | one response as counts: status, content, interim responses, declared length |
//! | [`Block`] | a request's fields, encoded once; a copy and a stream id make a request of it |
//! | [`Dictionary`] | the fields of all requests that the server is to keep in its table |
//! | [`Refusal`], [`Fault`] | the closed lists of reasons to refuse a connection, or a stream |
//!
//! # Tables of fields
//!
//! Both sides use tables of fields, of the 4 KiB that RFC 9113 gives them, as other clients do: without
//! a table a server would do more work for a load than for its users.
//!
//! A block of the server is turned into one that refers to the static table alone before it is handed
//! on, so that it needs no other block. A block that is too large is passed over, and the connection
//! goes on until a later block refers to an entry of before.
//!
//! Towards the server, a [`Dictionary`] has the fields of all requests of a plan in one order, in which
//! they enter the server's table. Once all are there, a request is the same bytes each time.
//!
//! # Limits
//!
//! A frame has 16 KiB at most (the protocol's own default), a block of fields [`MAX_BLOCK`] bytes,
//! and what is passed over of a larger one [`MAX_PASSED_OVER`]. Frames in a row that bring no
//! response forward end the connection after [`MAX_IDLE_FRAMES`]. A response has at most
//! [`MAX_INTERIM`] interim responses.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod block;
mod connection;
mod dictionary;
mod error;
mod event;
mod frame;
mod hpack;
mod huffman;
mod reader;
mod response;
mod static_table;
mod table;

pub use block::{Block, write_data_header};
pub use connection::{Connection, Inflow};
pub use dictionary::Dictionary;
pub use error::{Code, Refusal};
pub use event::Event;
pub use hpack::{BadBlock, Field, Fields};
pub use reader::{MAX_BLOCK, MAX_IDLE_FRAMES, MAX_PASSED_OVER};
pub use response::{Counts, Fault, MAX_INTERIM, Response};
pub use static_table::STATIC_TABLE;

/// The longest payload of a frame, in either direction.
pub const MAX_FRAME: usize = 16 * 1024;

/// The bytes that a window has at first (RFC 9113, 6.9.2).
pub const FIRST_WINDOW: i64 = 65_535;

/// The largest window.
pub const MAX_WINDOW: i64 = 0x7fff_ffff;

/// The highest stream id.
pub const MAX_STREAM: u32 = 0x7fff_ffff;
