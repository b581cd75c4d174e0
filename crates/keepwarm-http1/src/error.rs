//! Reasons to refuse a response: a closed list, with the place in the response.

use core::fmt;

/// The result of reading a response.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// A response that cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Error {
    /// The reason.
    pub refusal: Refusal,
    /// The place: bytes from the start of the response, interim responses included.
    pub offset: u64,
}

impl Error {
    /// Creates an error: for a driver that refuses a response on its own account.
    #[must_use]
    pub const fn new(refusal: Refusal, offset: u64) -> Self {
        Self { refusal, offset }
    }
}

/// Reasons to refuse a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The bytes do not start with `HTTP/1.`.
    NotHttp,
    /// The version is neither HTTP/1.1 nor HTTP/1.0.
    Version,
    /// The status line is malformed, or its code is below 100.
    StatusLine,
    /// A field name is malformed, a blank stands before its colon, or a line is folded.
    FieldName,
    /// A field value has a NUL, a bare CR or another control character.
    FieldValue,
    /// A line ends in a CR without LF.
    LineEnd,
    /// The heads are larger than [`Limits::head`](crate::Limits::head).
    HeadTooLarge,
    /// More fields than a map of fields holds: 32,768.
    TooManyFields,
    /// More interim responses than [`Limits::interim`](crate::Limits::interim).
    TooManyInterim,
    /// 101 Switching Protocols, though no upgrade was asked for.
    UnaskedUpgrade,
    /// A `Content-Length` is not a number of at most 64 bits.
    ContentLength,
    /// Two values of `Content-Length` differ.
    ConflictingLengths,
    /// `Transfer-Encoding` is empty, or `chunked` is not the last coding or named twice.
    TransferEncoding,
    /// A length stands beside a transfer coding, see [`Doubt`](crate::Doubt).
    LengthAndCoding,
    /// A chunk size is malformed, or larger than 64 bits.
    ChunkSize,
    /// The line before a chunk is longer than [`Limits::chunk_line`](crate::Limits::chunk_line).
    ChunkLineTooLong,
    /// A chunk does not end where its size says.
    ChunkEnd,
    /// A trailer field is malformed.
    Trailer,
    /// The trailers are larger than [`Limits::trailers`](crate::Limits::trailers).
    TrailersTooLarge,
    /// The peer ended the connection before a byte of a head.
    EndBeforeHead,
    /// The peer ended the connection within a head.
    EndWithinHead,
    /// The peer ended the connection within a body.
    EndWithinBody,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 22] = [
        Self::NotHttp,
        Self::Version,
        Self::StatusLine,
        Self::FieldName,
        Self::FieldValue,
        Self::LineEnd,
        Self::HeadTooLarge,
        Self::TooManyFields,
        Self::TooManyInterim,
        Self::UnaskedUpgrade,
        Self::ContentLength,
        Self::ConflictingLengths,
        Self::TransferEncoding,
        Self::LengthAndCoding,
        Self::ChunkSize,
        Self::ChunkLineTooLong,
        Self::ChunkEnd,
        Self::Trailer,
        Self::TrailersTooLarge,
        Self::EndBeforeHead,
        Self::EndWithinHead,
        Self::EndWithinBody,
    ];

    /// Returns true if a limit of the reader was exceeded, rather than a rule broken.
    #[must_use]
    pub const fn is_limit(self) -> bool {
        matches!(
            self,
            Self::HeadTooLarge
                | Self::TooManyFields
                | Self::TooManyInterim
                | Self::ChunkLineTooLong
                | Self::TrailersTooLarge
        )
    }

    /// Returns true if the peer ended the connection too early.
    #[must_use]
    pub const fn is_end(self) -> bool {
        matches!(self, Self::EndBeforeHead | Self::EndWithinHead | Self::EndWithinBody)
    }

    /// Describes the reason in a clause for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::NotHttp => "the bytes do not start with HTTP/1.",
            Self::Version => "the version is neither HTTP/1.1 nor HTTP/1.0",
            Self::StatusLine => "the status line is malformed",
            Self::FieldName => "a header field name is malformed, or its line is folded",
            Self::FieldValue => "a header field value has a control character",
            Self::LineEnd => "a line of the head ends in CR without LF",
            Self::HeadTooLarge => "the response head is larger than is read",
            Self::TooManyFields => "the response has more than 32,768 header fields",
            Self::TooManyInterim => "too many interim responses came before a final one",
            Self::UnaskedUpgrade => "101 Switching Protocols, though no upgrade was asked for",
            Self::ContentLength => "a Content-Length is not a number",
            Self::ConflictingLengths => "two Content-Length values differ",
            Self::TransferEncoding => "the Transfer-Encoding is malformed",
            Self::LengthAndCoding => "a Content-Length stands beside a Transfer-Encoding",
            Self::ChunkSize => "a chunk size is malformed",
            Self::ChunkLineTooLong => "the line before a chunk is longer than is read",
            Self::ChunkEnd => "a chunk does not end where its size says",
            Self::Trailer => "a trailer field is malformed",
            Self::TrailersTooLarge => "the trailers are larger than is read",
            Self::EndBeforeHead => "the connection was closed before a response",
            Self::EndWithinHead => "the connection was closed within the response head",
            Self::EndWithinBody => "the connection was closed within the response body",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at byte {} of the response)", self.refusal, self.offset)
    }
}

impl core::error::Error for Error {}
