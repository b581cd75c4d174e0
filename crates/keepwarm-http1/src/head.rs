//! A response head: its status, the framing of its body, and the persistence of its connection (RFC
//! 9112, 4, 6.3 and 9.3). httparse owns the syntax; this module owns the fields that decide.

use alloc::vec;
use core::mem::MaybeUninit;

use httparse::{Header, ParserConfig, Status};

use crate::fields::{blanks_trimmed, decimal, members};
use crate::limits::Doubt;
use crate::{Asked, Error, Framing, Persistence, Refusal, Result};

/// Start of every response that is read.
pub(crate) const PREFIX: &[u8] = b"HTTP/1.";

/// Fields that are parsed without allocating. Most responses have fewer.
const FIELDS_ON_STACK: usize = 64;

/// The shortest field: `a:` and an LF.
const SHORTEST_FIELD: usize = 3;

/// Facts of a parsed head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Length in bytes, with empty lines before it and the one behind it.
    pub(crate) len: usize,
    pub(crate) status: u16,
    pub(crate) is_http_1_0: bool,
    /// Framing by the fields alone, before the exceptions of [`Head::framing`].
    body: Result<Framing, Refusal>,
    /// Persistence by the fields alone, see [`Head::persistence`].
    persistence: Persistence,
    /// `Keep-Alive` is among the fields.
    pub(crate) has_keep_alive: bool,
}

impl Head {
    pub(crate) const fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// Returns the framing of the body that follows (RFC 9112, 6.3). Fields that contradict each
    /// other are refused only where they decide: a response to HEAD ends with its head.
    #[inline]
    pub(crate) fn framing(&self, asked: Asked) -> Result<Framing, Refusal> {
        match (asked, self.status) {
            (_, 101) | (Asked::Connect, 200..=299) => Ok(Framing::Switched),
            (Asked::Head, _) | (_, 204 | 304) => Ok(Framing::Empty),
            _ => self.body,
        }
    }

    /// Returns the persistence of the connection behind a body of this framing.
    #[inline]
    pub(crate) fn persistence(&self, framing: Framing) -> Persistence {
        match framing {
            Framing::Switched => Persistence::Switched,
            Framing::UntilEnd => Persistence::EndsWithConnection,
            _ => self.persistence,
        }
    }
}

/// Parses a head at the start of `bytes`, and shows each of its fields to `visit`. `None` if more
/// bytes are needed. The offset of an error counts from the start of `bytes`.
pub(crate) fn parse(
    bytes: &[u8],
    doubt: Doubt,
    visit: impl FnMut(&str, &[u8]),
) -> Result<Option<Head>> {
    check_prefix(bytes)?;
    // Left uninitialised, because clearing the entries costs more than parsing a usual head.
    let mut on_stack = [const { MaybeUninit::uninit() }; FIELDS_ON_STACK];
    let mut response = httparse::Response::new(&mut []);
    let config = ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, bytes, &mut on_stack) {
        Ok(Status::Complete(len)) => judge(bytes, len, &response, doubt, visit).map(Some),
        Ok(Status::Partial) => Ok(None),
        // A large head is parsed once, when it is whole.
        Err(httparse::Error::TooManyHeaders) if ends(bytes) => parse_large(bytes, doubt, visit),
        Err(httparse::Error::TooManyHeaders) => Ok(None),
        Err(error) => Err(locate(bytes, error)),
    }
}

/// Returns true if an empty line follows another line in `bytes`.
fn ends(mut bytes: &[u8]) -> bool {
    while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
        bytes = &bytes[end + 1..];
        if matches!(bytes, [b'\n', ..] | [b'\r', b'\n', ..]) {
            return true;
        }
    }
    false
}

/// Parses a head of many fields, which are bounded by the bytes of the head only.
#[cold]
fn parse_large(bytes: &[u8], doubt: Doubt, visit: impl FnMut(&str, &[u8])) -> Result<Option<Head>> {
    let most = bytes.len() / SHORTEST_FIELD + 1;
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let mut fields = vec![httparse::EMPTY_HEADER; lines.min(most)];
    let mut response = httparse::Response::new(&mut fields);
    match response.parse(bytes) {
        Ok(Status::Complete(len)) => judge(bytes, len, &response, doubt, visit).map(Some),
        Ok(Status::Partial) => Ok(None),
        Err(error) => Err(locate(bytes, error)),
    }
}

/// Refuses bytes that start no response, as soon as they show it.
pub(crate) fn check_prefix(bytes: &[u8]) -> Result<()> {
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let start = start.unwrap_or(bytes.len());
    let seen = (bytes.len() - start).min(PREFIX.len());
    if bytes[start..start + seen] == PREFIX[..seen] {
        return Ok(());
    }
    Err(Error { refusal: Refusal::NotHttp, offset: start as u64 })
}

fn judge(
    bytes: &[u8],
    len: usize,
    response: &httparse::Response<'_, '_>,
    doubt: Doubt,
    mut visit: impl FnMut(&str, &[u8]),
) -> Result<Head> {
    let is_http_1_0 = response.version == Some(0);
    // RFC 9110, 15: the first digit is 1 to 5. Clients do not refuse codes beyond 599.
    let Some(status) = response.code.filter(|code| *code >= 100) else {
        return Err(Error { refusal: Refusal::StatusLine, offset: 0 });
    };
    let mut fields = Fields::default();
    for Header { name, value } in response.headers.iter() {
        if let Err(refusal) = fields.read(name, value) {
            return Err(Error { refusal, offset: distance(bytes, value) });
        }
        visit(name, value);
    }
    let body = fields.framing(doubt);
    let persistence = fields.persistence(is_http_1_0);
    let has_keep_alive = fields.has_hints;
    Ok(Head { len, status, is_http_1_0, body, persistence, has_keep_alive })
}

/// Returns the offset of `part` within `whole`.
fn distance(whole: &[u8], part: &[u8]) -> u64 {
    (part.as_ptr().addr() - whole.as_ptr().addr()) as u64
}

/// Finds the byte at which httparse refuses: the last byte of the shortest part that it refuses.
#[cold]
fn locate(bytes: &[u8], error: httparse::Error) -> Error {
    let refusal = match error {
        httparse::Error::HeaderName => Refusal::FieldName,
        httparse::Error::HeaderValue => Refusal::FieldValue,
        httparse::Error::NewLine => Refusal::LineEnd,
        httparse::Error::Version => Refusal::Version,
        httparse::Error::TooManyHeaders => Refusal::TooManyFields,
        httparse::Error::Status | httparse::Error::Token => Refusal::StatusLine,
    };
    let mut fields = vec![httparse::EMPTY_HEADER; bytes.len() / SHORTEST_FIELD + 1];
    let mut refuses =
        |len: usize| httparse::Response::new(&mut fields).parse(&bytes[..len]).is_err();
    let (mut accepted, mut refused) = (0, bytes.len());
    while refused - accepted > 1 {
        let middle = accepted + (refused - accepted) / 2;
        if refuses(middle) {
            refused = middle;
        } else {
            accepted = middle;
        }
    }
    Error { refusal, offset: accepted as u64 }
}

/// The fields that decide, collected over all lines.
#[derive(Default)]
struct Fields {
    content_length: Option<u64>,
    close: bool,
    keep_alive: bool,
    /// `Keep-Alive` is present.
    has_hints: bool,
    /// `Transfer-Encoding` is present.
    coded: bool,
    chunked: u32,
    chunked_is_last: bool,
}

impl Fields {
    #[inline]
    fn read(&mut self, name: &str, value: &[u8]) -> Result<(), Refusal> {
        // The length of the name rules out nearly every field before letters are compared.
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => self.connection(value),
            10 => self.has_hints |= name.eq_ignore_ascii_case("keep-alive"),
            14 if name.eq_ignore_ascii_case("content-length") => self.length(value)?,
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.coding(value)?,
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for option in members(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Reads `Content-Length`. A list of equal values is one value; any other list is refused (RFC
    /// 9110, 8.6), and so is an empty member.
    fn length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for member in value.split(|&byte| byte == b',') {
            let length = decimal(blanks_trimmed(member)).ok_or(Refusal::ContentLength)?;
            if self.content_length.is_some_and(|before| before != length) {
                return Err(Refusal::ConflictingLengths);
            }
            self.content_length = Some(length);
        }
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        let before = self.chunked;
        self.coded = true;
        let mut any = false;
        for coding in members(value) {
            any = true;
            self.chunked_is_last = coding.eq_ignore_ascii_case(b"chunked");
            self.chunked += u32::from(self.chunked_is_last);
        }
        // RFC 9112, 6.1: chunked must not be applied more than once.
        if !any || self.chunked > 1 || before > 0 {
            return Err(Refusal::TransferEncoding);
        }
        Ok(())
    }

    fn framing(&self, doubt: Doubt) -> Result<Framing, Refusal> {
        if self.coded {
            if self.content_length.is_some() && doubt == Doubt::Refuse {
                return Err(Refusal::LengthAndCoding);
            }
            // Chunked under another coding says nothing about where the body ends.
            return match (self.chunked_is_last, self.chunked) {
                (true, _) => Ok(Framing::Chunked),
                (false, 0) => Ok(Framing::UntilEnd),
                (false, _) => Err(Refusal::TransferEncoding),
            };
        }
        Ok(match self.content_length {
            None => Framing::UntilEnd,
            Some(0) => Framing::Empty,
            Some(length) => Framing::Length(length),
        })
    }

    fn persistence(&self, is_http_1_0: bool) -> Persistence {
        if self.coded && (self.content_length.is_some() || is_http_1_0) {
            Persistence::Ambiguous
        } else if self.close || (is_http_1_0 && !self.keep_alive) {
            Persistence::ServerCloses
        } else {
            Persistence::Persistent
        }
    }
}

/// Finds the end of heads that arrive in pieces, at a cost in proportion to their bytes.
///
/// A head can end, or turn out to be wrong, only at the end of a line. Parsing it whole at each line
/// would let a peer that drips lines cost the square of their bytes. So a head beyond
/// [`SMALL`] is parsed only when it has doubled, or an empty line has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// Bytes that have been searched for the end of a line.
    seen: usize,
    /// Bytes at which the next attempt is due.
    due: usize,
}

/// Bytes of a head that is parsed at each line.
const SMALL: usize = 2 << 10;

impl Attempts {
    pub(crate) const fn new() -> Self {
        Self { seen: 0, due: 0 }
    }

    /// Returns true if a head of these bytes is to be parsed now.
    pub(crate) fn is_due(&mut self, bytes: &[u8]) -> bool {
        let before = self.seen;
        self.seen = bytes.len();
        if before == 0 {
            self.count(bytes.len());
            return true;
        }
        let from = before.saturating_sub(2).min(bytes.len());
        let fresh = before.min(bytes.len());
        // Bytes that start no response are known within the first line.
        let is_due = (before < PREFIX.len() + 2 && before < bytes.len())
            || (bytes[fresh..].contains(&b'\n')
                && (bytes.len() <= SMALL || bytes.len() >= self.due || ends(&bytes[from..])));
        if is_due {
            self.count(bytes.len());
        }
        is_due
    }

    fn count(&mut self, len: usize) {
        self.due = len * 2;
    }
}
