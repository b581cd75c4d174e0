//! Reasons to refuse the bytes of a peer. Owns the words and the codes of RFC 9113, section 7.

use core::fmt;

/// An error code of HTTP/2 (RFC 9113, section 7). A code without a name is kept as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u32);

impl Code {
    /// No error: the end of a connection in order.
    pub const NO_ERROR: Self = Self(0);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1);
    /// The peer broke flow control.
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    /// A frame came for a stream that has ended.
    pub const STREAM_CLOSED: Self = Self(5);
    /// A frame has a size that its type does not allow.
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    /// The stream was refused before any processing.
    pub const REFUSED_STREAM: Self = Self(7);
    /// The stream is not needed any more.
    pub const CANCEL: Self = Self(8);
    /// A block of fields cannot be decoded.
    pub const COMPRESSION_ERROR: Self = Self(9);
    /// The peer behaves in a way that costs too much.
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
    /// The server wants HTTP/1.1 for this request.
    pub const HTTP_1_1_REQUIRED: Self = Self(13);

    /// Returns the name in RFC 9113, if the code has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES.get(usize::try_from(self.0).ok()?).copied()
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "code {}", self.0),
        }
    }
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The first frame is not SETTINGS: the peer does not speak HTTP/2.
    NotHttp2,
    /// A frame is longer than 16 KiB, or has a length that its type cannot have.
    FrameSize,
    /// A frame stands on a stream where its type cannot stand, or pads more than it has.
    Malformed,
    /// A frame came between the parts of a block of fields, or a CONTINUATION without HEADERS
    /// before it.
    Continuation,
    /// A setting has a value that RFC 9113, 6.5.2, does not allow.
    Setting,
    /// PUSH_PROMISE, although pushes are off.
    Push,
    /// A frame for a stream that was never opened.
    IdleStream,
    /// A window grew beyond 2^31-1 bytes, or was exceeded.
    Window,
    /// A WINDOW_UPDATE of 0 bytes.
    EmptyUpdate,
    /// A block of fields cannot be decoded, or refers to an entry that its table does not have.
    Compression,
    /// A block of fields is longer than the 1 MiB that are read and thrown away.
    EndlessBlock,
    /// Too many frames in a row bring no response forward.
    Flood,
    /// Too many answers wait because the peer does not read them.
    Unread,
}

impl Refusal {
    /// Returns the error code that tells the peer of this refusal.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Self::FrameSize => Code::FRAME_SIZE_ERROR,
            Self::Window => Code::FLOW_CONTROL_ERROR,
            Self::Compression => Code::COMPRESSION_ERROR,
            Self::EndlessBlock | Self::Flood | Self::Unread => Code::ENHANCE_YOUR_CALM,
            Self::NotHttp2
            | Self::Malformed
            | Self::Continuation
            | Self::Setting
            | Self::Push
            | Self::IdleStream
            | Self::EmptyUpdate => Code::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotHttp2 => "the first bytes are no SETTINGS frame of HTTP/2",
            Self::FrameSize => "a frame has a length that it cannot have",
            Self::Malformed => "a frame is malformed, or stands on a stream where it cannot stand",
            Self::Continuation => "the parts of a block of fields do not follow each other",
            Self::Setting => "a setting has a value that it cannot have",
            Self::Push => "the server pushes, although pushes are off",
            Self::IdleStream => "a frame came for a stream that was never opened",
            Self::Window => "a window grew beyond its limit, or was exceeded",
            Self::EmptyUpdate => "a window was to grow by nothing",
            Self::Compression => {
                "a block of fields cannot be decoded, or refers to an entry that its table does not have"
            }
            Self::EndlessBlock => "a block of fields is larger than 1 MiB, or has too many parts",
            Self::Flood => "too many frames in a row bring no response forward",
            Self::Unread => "too many answers wait because the server does not read them",
        })
    }
}

impl core::error::Error for Refusal {}
