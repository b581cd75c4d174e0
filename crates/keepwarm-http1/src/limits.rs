//! Bounds on what is read of a response. Each is in bytes on the wire.

/// The most bytes of each part of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes up to the end of the final head: empty lines, interim responses and that head
    /// together. Default 1 MiB, as Go's `MaxResponseHeaderBytes` counts them (there 10 MiB). A head
    /// may have any number of fields within it.
    pub head: usize,
    /// Interim responses before a final one. Default none: `head` bounds them.
    pub interim: u32,
    /// Bytes of the line before a chunk: size, blanks and extensions. Default 4 KiB.
    pub chunk_line: usize,
    /// Bytes of the trailer section. Default 16 KiB.
    pub trailers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: 1 << 20, interim: u32::MAX, chunk_line: 4 << 10, trailers: 16 << 10 }
    }
}

/// Treatment of a response with a length beside a transfer coding: RFC 9112, 6.3, lets a client
/// refuse it, or read it by the coding and end the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Doubt {
    /// Refuses the response.
    #[default]
    Refuse,
    /// Reads the body by the coding; the connection carries no other exchange.
    EndConnection,
}

/// Limits, and the rule for doubtful framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Rules {
    /// The bounds.
    pub limits: Limits,
    /// The rule for a length beside a transfer coding.
    pub doubt: Doubt,
}
