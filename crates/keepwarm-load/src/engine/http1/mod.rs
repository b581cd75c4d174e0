//! Finds the end of a response, and decides whether its connection may carry another exchange (RFC
//! 9112, section 6). Works incrementally on bytes; body bytes are counted and dropped. Knows no
//! socket, no clock, and of the request only whether its method is HEAD.
//!
//! ```text
//!            1xx, at most MAX_INTERIM of them
//!             ┌──────┐
//!             ▼      │
//!  reset ──► Head ───┴─► no body (HEAD, 204, 304, length 0) ─────────────► complete
//!             │
//!             ├────────► Length ── that many bytes ──────────────────────► complete
//!             ├────────► Chunked ── last chunk and trailers ─────────────► complete
//!             └────────► UntilEnd ── end of input ───────────────────────► complete
//!
//!  end of input anywhere else, or malformed bytes: the response failed
//! ```
//!
//! Limits: a head of more than [`MAX_HEAD`] bytes, more than
//! [`MAX_FIELDS`](crate::limits::MAX_FIELDS) fields, and trailers of more than [`MAX_HEAD`] bytes
//! are [`Malformed`] as too large. More than [`MAX_INTERIM`] interim responses, and chunk lines
//! beyond their limit, are bad framing.

mod chunked;
mod head;

use crate::limits::{MAX_HEAD, MAX_INTERIM};
use chunked::Chunked;
pub(crate) use head::Reuse;
use head::{BodyKind, Head};

/// The longest head that is remembered, to recognise it when it comes again. Each connection keeps
/// one.
const MAX_KNOWN: usize = 1024;

/// Reasons why bytes are not a response that can be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Malformed {
    NotHttp,
    BadHead(httparse::Error),
    HeadTooLarge,
    TooManyFields,
    TooManyInterim,
    UnaskedUpgrade,
    BadContentLength,
    ConflictingContentLength,
    BadTransferEncoding,
    BadChunkSize,
    ChunkLineTooLong,
    BadChunkEnd,
    BadTrailer,
    TrailersTooLarge,
}

impl Malformed {
    /// Returns true if a limit on size was exceeded, rather than a rule broken.
    pub(crate) fn is_too_large(self) -> bool {
        matches!(self, Self::HeadTooLarge | Self::TooManyFields | Self::TrailersTooLarge)
    }

    /// Describes the defect in a clause for people.
    pub(crate) fn describe(self) -> String {
        let text = match self {
            Self::NotHttp => "the bytes do not start with HTTP/1.",
            Self::BadHead(error) => return format!("the response head is malformed: {error}"),
            Self::HeadTooLarge => "the response head is larger than 64 KiB",
            Self::TooManyFields => "the response has more than 100 header fields",
            Self::TooManyInterim => "more than 16 interim responses came before a final one",
            Self::UnaskedUpgrade => "101 Switching Protocols, though no upgrade was asked for",
            Self::BadContentLength => "a Content-Length is not a number",
            Self::ConflictingContentLength => "two Content-Length values differ",
            Self::BadTransferEncoding => "the Transfer-Encoding is malformed",
            Self::BadChunkSize => "a chunk size is malformed",
            Self::ChunkLineTooLong => "a chunk size line is longer than 4 KiB",
            Self::BadChunkEnd => "a chunk does not end where its size says",
            Self::BadTrailer => "a trailer field is malformed",
            Self::TrailersTooLarge => "the trailers are larger than 64 KiB",
        };
        text.to_owned()
    }
}

/// A complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Bytes of content; chunk framing and trailers are not content.
    pub(crate) body_bytes: u64,
    pub(crate) reuse: Reuse,
}

/// The result of a call to [`Framing::feed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fed {
    /// Number of bytes that belong to this response. Fewer than given only if it is complete.
    pub(crate) consumed: usize,
    pub(crate) complete: Option<Response>,
}

/// The part of the response that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Head,
    Length { left: u64 },
    Chunked(Chunked),
    UntilEnd,
}

/// Reads one response. [`reset`](Self::reset) prepares it for the next one.
#[derive(Debug)]
pub(crate) struct Framing {
    expected: Expected,
    /// The part of a head that earlier calls brought; empty while heads come in one piece.
    partial: Vec<u8>,
    /// The request was HEAD: the response has no content, even if its fields announce one.
    head_request: bool,
    /// True once a byte has arrived since the reset.
    received: bool,
    interim: u32,
    response: Response,
    want_server: bool,
    server: Option<String>,
    location: Option<String>,
    /// The last head that came in one piece.
    known: Vec<u8>,
    /// Status, body and reuse as parsed from the known head.
    known_parsed: Option<(u16, BodyKind, Reuse)>,
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self {
            expected: Expected::Head,
            partial: Vec::new(),
            head_request: false,
            received: false,
            interim: 0,
            response: Response { status: 0, body_bytes: 0, reuse: Reuse::Yes },
            want_server: false,
            server: None,
            location: None,
            known: Vec::new(),
            known_parsed: None,
        }
    }

    /// Forgets the last response. With `head_request` the next response answers HEAD. `want_server`
    /// keeps its `Server` and `Location` fields for [`take_server`](Self::take_server) and
    /// [`take_location`](Self::take_location); that allocates, so it is for once a run, not for
    /// each request.
    #[inline]
    pub(crate) fn reset(&mut self, head_request: bool, want_server: bool) {
        self.head_request = head_request;
        self.expected = Expected::Head;
        self.partial.clear();
        self.received = false;
        self.interim = 0;
        self.response.body_bytes = 0;
        self.want_server = want_server;
    }

    /// Returns true if a byte of this response has arrived.
    pub(crate) fn received(&self) -> bool {
        self.received
    }

    /// Takes the `Server` field of the final response, if it was wanted and the response had one.
    pub(crate) fn take_server(&mut self) -> Option<String> {
        self.server.take()
    }

    /// Takes the `Location` field of the final response, as [`take_server`](Self::take_server).
    pub(crate) fn take_location(&mut self) -> Option<String> {
        self.location.take()
    }

    /// Reads the next bytes. Must not be called again once complete or malformed.
    #[inline]
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Fed, Malformed> {
        let mut consumed = 0;
        self.received |= !bytes.is_empty();
        while self.expected == Expected::Head {
            let rest = &bytes[consumed..];
            let Some(head) = self.feed_head(rest)? else {
                return Ok(Fed { consumed: bytes.len(), complete: None });
            };
            consumed += head.len;
            if self.begin_body(&head)? {
                return Ok(self.complete(consumed));
            }
        }
        self.feed_body(bytes, consumed)
    }

    /// Handles the end of the peer's stream, which completes a response without another delimiter.
    pub(crate) fn end_of_input(&mut self) -> Option<Response> {
        (self.expected == Expected::UntilEnd).then_some(self.response)
    }

    fn complete(&self, consumed: usize) -> Fed {
        Fed { consumed, complete: Some(self.response) }
    }

    /// Searches the end of the head in earlier bytes and `bytes`. `Head::len` counts bytes of
    /// `bytes` only.
    fn feed_head(&mut self, bytes: &[u8]) -> Result<Option<Head>, Malformed> {
        if self.partial.is_empty() {
            if let Some(head) = self.recognise(bytes) {
                return Ok(Some(head));
            }
            let head = head::parse(bytes, self.want_server)?;
            match &head {
                Some(head) => self.remember(&bytes[..head.len], head),
                None => self.partial.extend_from_slice(bytes),
            }
            return self.keep_server(head);
        }
        let before = self.partial.len();
        // A single byte beyond the limit shows that the limit is exceeded.
        let room = (MAX_HEAD + 1).saturating_sub(before).min(bytes.len());
        self.partial.extend_from_slice(&bytes[..room]);
        // A head can end, or turn out to be wrong, only at the end of a line. Parsing once per line
        // instead of once per read bounds the cost of a server that drips bytes.
        let line_ended = bytes[..room].contains(&b'\n');
        if !line_ended && self.partial.len() > head::PREFIX.len() && before >= head::PREFIX.len() {
            return if self.partial.len() > MAX_HEAD {
                Err(Malformed::HeadTooLarge)
            } else {
                Ok(None)
            };
        }
        let mut head = head::parse(&self.partial, self.want_server)?;
        if let Some(head) = &mut head {
            head.len -= before;
            self.partial.clear();
        }
        self.keep_server(head)
    }

    /// Returns the head if it equals the last one, byte by byte. Most servers change their head
    /// once a second, with the date. A comparison is cheaper than parsing and has the same result,
    /// because the meaning of a head depends only on its bytes up to the empty line.
    #[inline]
    fn recognise(&self, bytes: &[u8]) -> Option<Head> {
        let (status, body, reuse) = self.known_parsed?;
        let same = !self.want_server && bytes.starts_with(&self.known);
        same.then_some(Head {
            len: self.known.len(),
            status,
            body,
            reuse,
            server: None,
            location: None,
        })
    }

    fn remember(&mut self, bytes: &[u8], head: &Head) {
        self.known_parsed = None;
        if bytes.len() <= MAX_KNOWN {
            self.known.clear();
            self.known.extend_from_slice(bytes);
            self.known_parsed = Some((head.status, head.body, head.reuse));
        }
    }

    fn keep_server(&mut self, mut head: Option<Head>) -> Result<Option<Head>, Malformed> {
        if let Some(head) = &mut head {
            self.server = head.server.take().or_else(|| self.server.take());
            self.location = head.location.take().or_else(|| self.location.take());
        }
        Ok(head)
    }

    /// Decides how the body ends. Returns true if there is no body: the response is complete.
    fn begin_body(&mut self, head: &Head) -> Result<bool, Malformed> {
        if head.status == 101 {
            return Err(Malformed::UnaskedUpgrade);
        }
        if (100..200).contains(&head.status) {
            self.interim += 1;
            if self.interim > MAX_INTERIM {
                return Err(Malformed::TooManyInterim);
            }
            return Ok(false);
        }
        self.response.status = head.status;
        self.response.reuse = head.reuse;
        if self.head_request || head.status == 204 || head.status == 304 {
            return Ok(true);
        }
        self.expected = match head.body {
            BodyKind::Length(0) => return Ok(true),
            BodyKind::Length(left) => Expected::Length { left },
            BodyKind::Chunked => Expected::Chunked(Chunked::new()),
            BodyKind::UntilEnd => {
                self.response.reuse = Reuse::EndsWithConnection;
                Expected::UntilEnd
            }
        };
        Ok(false)
    }

    /// Counts body bytes of `bytes[at..]`.
    fn feed_body(&mut self, bytes: &[u8], at: usize) -> Result<Fed, Malformed> {
        let rest = &bytes[at..];
        let (used, complete) = match &mut self.expected {
            Expected::Head => (0, false),
            Expected::UntilEnd => {
                self.response.body_bytes += rest.len() as u64;
                (rest.len(), false)
            }
            Expected::Length { left } => {
                let used = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                *left -= used as u64;
                self.response.body_bytes += used as u64;
                (used, *left == 0)
            }
            Expected::Chunked(chunked) => {
                let fed = chunked.feed(rest)?;
                self.response.body_bytes += fed.content;
                (fed.consumed, fed.complete)
            }
        };
        Ok(Fed { consumed: at + used, complete: complete.then_some(self.response) })
    }
}

#[cfg(test)]
mod tests;
