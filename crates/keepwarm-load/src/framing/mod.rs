//! Where a response ends, and whether its connection may carry another one (RFC 9112, section 6).
//! Bytes in, events out; incremental; body bytes are counted and dropped. Knows no socket, no
//! clock and no request but its method.
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
//! Limits, and what happens at each: a head of more than [`MAX_HEAD`] bytes, more than
//! [`MAX_FIELDS`] fields, or trailers beyond the same size are [`Malformed`] as too large; more
//! than [`MAX_INTERIM`] interim responses, and chunk lines beyond their limit, as bad framing.

mod chunked;
mod head;

use chunked::Chunked;
pub(crate) use head::Reuse;
use head::{BodyKind, Head};

/// The largest response head that is read, in bytes; also the limit for all trailers of a
/// response together.
pub const MAX_HEAD: usize = 64 * 1024;

/// The longest head that is remembered to be recognised: each connection keeps one.
const MAX_KNOWN: usize = 1024;

/// The most header fields of one response.
pub const MAX_FIELDS: usize = 100;

/// The most interim (1xx) responses before one final response.
pub const MAX_INTERIM: u32 = 16;

/// Why bytes are not a response that can be read to its end.
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
    /// Whether a limit on size was reached, rather than a rule broken.
    pub(crate) fn is_too_large(self) -> bool {
        matches!(self, Self::HeadTooLarge | Self::TooManyFields | Self::TrailersTooLarge)
    }

    /// One clause for people.
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

/// How far a call to [`Framing::feed`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fed {
    /// Bytes that belong to this response. Fewer than given only if it is complete.
    pub(crate) consumed: usize,
    pub(crate) complete: Option<Response>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    Length { left: u64 },
    Chunked(Chunked),
    UntilEnd,
}

/// Reads one response; [`reset`](Self::reset) makes it ready for the next one.
#[derive(Debug)]
pub(crate) struct Framing {
    stage: Stage,
    /// The part of a head that earlier calls brought; empty whenever a head comes in one piece.
    partial: Vec<u8>,
    /// The request was HEAD: the response has no content whatever its fields say.
    head_request: bool,
    /// Whether any byte has come since the reset.
    received: bool,
    interim: u32,
    response: Response,
    want_server: bool,
    server: Option<String>,
    /// The last head that came in one piece, and what it said.
    known: Vec<u8>,
    known_says: Option<(u16, BodyKind, Reuse)>,
}

impl Framing {
    pub(crate) fn new() -> Self {
        Self {
            stage: Stage::Head,
            partial: Vec::new(),
            head_request: false,
            received: false,
            interim: 0,
            response: Response { status: 0, body_bytes: 0, reuse: Reuse::Yes },
            want_server: false,
            server: None,
            known: Vec::new(),
            known_says: None,
        }
    }

    /// Forgets the last response. `head_request`: the next one answers HEAD. `want_server` keeps the next one's `Server` field for
    /// [`take_server`](Self::take_server); it allocates, so ask once a run and not once a request.
    #[inline]
    pub(crate) fn reset(&mut self, head_request: bool, want_server: bool) {
        self.head_request = head_request;
        self.stage = Stage::Head;
        self.partial.clear();
        self.received = false;
        self.interim = 0;
        self.response.body_bytes = 0;
        self.want_server = want_server;
    }

    /// Whether any byte of this response has come.
    pub(crate) fn received(&self) -> bool {
        self.received
    }

    /// The `Server` field of the final response, if it was wanted and there was one.
    pub(crate) fn take_server(&mut self) -> Option<String> {
        self.server.take()
    }

    /// Takes the next bytes. Not to be called again once complete or malformed.
    #[inline]
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Fed, Malformed> {
        let mut consumed = 0;
        self.received |= !bytes.is_empty();
        while self.stage == Stage::Head {
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

    /// The peer ends its stream: completes a response that is delimited by that, and no other.
    pub(crate) fn end_of_input(&mut self) -> Option<Response> {
        (self.stage == Stage::UntilEnd).then_some(self.response)
    }

    fn complete(&self, consumed: usize) -> Fed {
        Fed { consumed, complete: Some(self.response) }
    }

    /// Looks for the end of the head, over what came before and `bytes`. `Head::len` counts only
    /// bytes of `bytes`.
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
        // One byte beyond the limit is enough to see that the limit is broken.
        let room = (MAX_HEAD + 1).saturating_sub(before).min(bytes.len());
        self.partial.extend_from_slice(&bytes[..room]);
        // A head can only end, or first be seen to be wrong, at the end of a line. Parsing once a
        // line and not once a read bounds what a server that drips bytes can cost.
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

    /// The head, if it is the same as the last one, to the byte. Most servers change theirs once a
    /// second, with the date: a comparison is cheaper than parsing, and cannot be of another mind,
    /// because what a head says depends on nothing but its bytes up to the empty line.
    #[inline]
    fn recognise(&self, bytes: &[u8]) -> Option<Head> {
        let (status, body, reuse) = self.known_says?;
        let same = !self.want_server && bytes.starts_with(&self.known);
        same.then_some(Head { len: self.known.len(), status, body, reuse, server: None })
    }

    fn remember(&mut self, bytes: &[u8], head: &Head) {
        self.known_says = None;
        if bytes.len() <= MAX_KNOWN {
            self.known.clear();
            self.known.extend_from_slice(bytes);
            self.known_says = Some((head.status, head.body, head.reuse));
        }
    }

    fn keep_server(&mut self, mut head: Option<Head>) -> Result<Option<Head>, Malformed> {
        if let Some(head) = &mut head
            && let Some(server) = head.server.take()
        {
            self.server = Some(server);
        }
        Ok(head)
    }

    /// Chooses how the body ends. `true`: there is none, the response is complete.
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
        self.stage = match head.body {
            BodyKind::Length(0) => return Ok(true),
            BodyKind::Length(left) => Stage::Length { left },
            BodyKind::Chunked => Stage::Chunked(Chunked::new()),
            BodyKind::UntilEnd => {
                self.response.reuse = Reuse::EndsWithConnection;
                Stage::UntilEnd
            }
        };
        Ok(false)
    }

    /// Counts body bytes of `bytes[at..]`.
    fn feed_body(&mut self, bytes: &[u8], at: usize) -> Result<Fed, Malformed> {
        let rest = &bytes[at..];
        let (used, complete) = match &mut self.stage {
            Stage::Head => (0, false),
            Stage::UntilEnd => {
                self.response.body_bytes += rest.len() as u64;
                (rest.len(), false)
            }
            Stage::Length { left } => {
                let used = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
                *left -= used as u64;
                self.response.body_bytes += used as u64;
                (used, *left == 0)
            }
            Stage::Chunked(chunked) => {
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
