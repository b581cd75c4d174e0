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
//! | [`Refusal`], [`Fault`] | the closed lists of reasons to refuse a connection, or a stream |
//!
//! # No table of fields
//!
//! The first bytes to the server say that this side's table of fields has size 0
//! (SETTINGS_HEADER_TABLE_SIZE, RFC 9113, 6.5.2). A block of fields then refers to the static table
//! alone, so that it needs no other block: a block that is too large, or of a stream that is gone,
//! is passed over, and the connection goes on. Towards the server every field is a literal that no
//! table takes, so that the same bytes are right in each request.
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
mod error;
mod event;
mod frame;
mod hpack;
mod huffman;
mod reader;
mod response;
mod static_table;

pub use block::{Block, write_data_header};
pub use connection::{Connection, Inflow};
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
