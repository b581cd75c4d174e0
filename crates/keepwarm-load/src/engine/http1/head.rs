//! The head of a response: its status, the end of its body, and the reuse of its connection (RFC
//! 9112, sections 4, 6.3 and 9.3). Owns the fields that decide these; httparse owns the syntax of
//! the head.

use std::mem::MaybeUninit;

use super::Malformed;
use crate::limits::{MAX_FIELDS, MAX_HEAD};

/// Start of every response that this engine can read.
pub(super) const PREFIX: &[u8] = b"HTTP/1.";

/// Fitness of a connection for another exchange, as far as the response says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reuse {
    Yes,
    /// `Connection: close`, or HTTP/1.0 without `keep-alive`.
    ServerCloses,
    /// The body has no length and ends with the connection.
    EndsWithConnection,
    /// Content-Length together with Transfer-Encoding, or Transfer-Encoding in HTTP/1.0. The body
    /// is read by the encoding, and the connection is then not trusted with another exchange (RFC
    /// 9112, sections 6.1, 6.3).
    Ambiguous,
}

/// How a body ends, before the exceptions for HEAD, 1xx, 204 and 304.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyKind {
    Length(u64),
    Chunked,
    UntilEnd,
}

/// A parsed head.
#[derive(Debug)]
pub(super) struct Head {
    /// Length in bytes, including the empty line.
    pub(super) len: usize,
    pub(super) status: u16,
    pub(super) body: BodyKind,
    pub(super) reuse: Reuse,
    pub(super) server: Option<String>,
    pub(super) location: Option<String>,
}

/// The relevant fields, collected over all lines.
#[derive(Default)]
struct Fields {
    content_length: Option<u64>,
    close: bool,
    keep_alive: bool,
    /// Transfer-Encoding is present.
    encoded: bool,
    chunked: u32,
    chunked_is_last: bool,
}

/// Parses a head at the start of `bytes`. Returns `None` if more bytes are needed.
pub(super) fn parse(bytes: &[u8], want_server: bool) -> Result<Option<Head>, Malformed> {
    let seen = bytes.len().min(PREFIX.len());
    if bytes[..seen] != PREFIX[..seen] {
        return Err(Malformed::NotHttp);
    }
    let within = &bytes[..bytes.len().min(MAX_HEAD)];
    // Left uninitialised, because clearing a hundred entries costs more than parsing a usual head.
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let len = match config.parse_response_with_uninit_headers(&mut response, within, &mut fields) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if bytes.len() > MAX_HEAD => {
            return Err(Malformed::HeadTooLarge);
        }
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Malformed::TooManyFields),
        Err(error) => return Err(Malformed::BadHead(error)),
    };
    let mut fields = Fields::default();
    let (mut server, mut location) = (None, None);
    for field in response.headers.iter() {
        fields.read(field.name, field.value)?;
        if want_server && field.name.eq_ignore_ascii_case("server") {
            server = Some(String::from_utf8_lossy(field.value).into_owned());
        }
        if want_server && field.name.eq_ignore_ascii_case("location") {
            location = Some(String::from_utf8_lossy(field.value).into_owned());
        }
    }
    let http_1_0 = response.version == Some(0);
    // RFC 9110, section 15: the first digit is 1 to 5. Clients do not refuse codes beyond 599.
    let status = response.code.filter(|code| *code >= 100);
    let status = status.ok_or(Malformed::BadHead(httparse::Error::Status))?;
    let (body, reuse) = (fields.body()?, fields.reuse(http_1_0));
    Ok(Some(Head { len, status, body, reuse, server, location }))
}

impl Fields {
    #[inline]
    fn read(&mut self, name: &str, value: &[u8]) -> Result<(), Malformed> {
        // The length of the name rules out nearly every field before letters are compared.
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => self.connection(value),
            14 if name.eq_ignore_ascii_case("content-length") => self.length(value)?,
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.encoding(value)?,
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

    /// Reads Content-Length. A list of equal values is one value; any other list is an error (RFC
    /// 9110, section 8.6).
    fn length(&mut self, value: &[u8]) -> Result<(), Malformed> {
        for member in value.split(|&b| b == b',') {
            let length = decimal(member.trim_ascii()).ok_or(Malformed::BadContentLength)?;
            if self.content_length.is_some_and(|before| before != length) {
                return Err(Malformed::ConflictingContentLength);
            }
            self.content_length = Some(length);
        }
        Ok(())
    }

    fn encoding(&mut self, value: &[u8]) -> Result<(), Malformed> {
        let before = self.chunked;
        self.encoded = true;
        let mut any = false;
        for coding in members(value) {
            any = true;
            self.chunked_is_last = coding.eq_ignore_ascii_case(b"chunked");
            self.chunked += u32::from(self.chunked_is_last);
        }
        // RFC 9112, section 6.1: chunked must not be applied more than once.
        if !any || self.chunked > 1 || before > 0 {
            return Err(Malformed::BadTransferEncoding);
        }
        Ok(())
    }

    fn body(&self) -> Result<BodyKind, Malformed> {
        if self.encoded {
            // Chunked under another coding says nothing about where the body ends.
            return match (self.chunked_is_last, self.chunked) {
                (true, _) => Ok(BodyKind::Chunked),
                (false, 0) => Ok(BodyKind::UntilEnd),
                (false, _) => Err(Malformed::BadTransferEncoding),
            };
        }
        Ok(self.content_length.map_or(BodyKind::UntilEnd, BodyKind::Length))
    }

    fn reuse(&self, http_1_0: bool) -> Reuse {
        if self.encoded && (self.content_length.is_some() || http_1_0) {
            Reuse::Ambiguous
        } else if self.close || (http_1_0 && !self.keep_alive) {
            Reuse::ServerCloses
        } else {
            Reuse::Yes
        }
    }
}

/// Lists the non-empty members of a comma-separated list (RFC 9110, section 5.6.1).
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Parses digits without sign or blank. Returns `None` for anything else, and if it does not fit.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |number, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
