//! The events of a connection: frames as far as they concern its streams. The reader makes those that it
//! hands on as they are, the connection the others.

use crate::Code;

/// A frame of the peer, as far as the owner of the streams has to act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A frame that needs no action of the caller: its answer is written, or a load ignores it.
    Nothing,
    /// The peer's settings: the window of every open stream changes by `window`.
    Settings {
        /// Bytes, negative if the window has shrunk.
        window: i64,
    },
    /// The peer opens no further stream; those above `last` were not processed.
    GoAway {
        /// The highest stream that may have been processed.
        last: u32,
        /// The reason.
        code: Code,
    },
    /// The connection's window for bodies of requests has grown.
    Window,
    /// A stream's window for its body has grown.
    StreamWindow {
        /// The stream.
        stream: u32,
        /// Bytes.
        by: i64,
    },
    /// The peer has ended a stream.
    Reset {
        /// The stream.
        stream: u32,
        /// The reason.
        code: Code,
    },
    /// A head, an interim head or trailers.
    Headers {
        /// The stream.
        stream: u32,
        /// The block of fields; `None` if it was too large.
        block: Option<&'a [u8]>,
        /// The response ends here.
        is_last: bool,
    },
    /// Content.
    Data {
        /// The stream.
        stream: u32,
        /// The content, without padding.
        bytes: &'a [u8],
        /// Bytes that count against the windows.
        flow: usize,
        /// The response ends here.
        is_last: bool,
    },
}
