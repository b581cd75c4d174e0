//! One response as counts (RFC 9113, section 8.1). Owns the order of its parts, the status and the
//! declared length; keeps no field and no byte of content.

use alloc::vec::Vec;
use core::fmt;

use crate::hpack::{Field, Fields, Name, Text};

/// The most interim (1xx) responses before one final response.
pub const MAX_INTERIM: u32 = 16;

/// The longest name that is decoded to see whether it has a meaning here.
const LONGEST_NAME: usize = 32;

/// Statuses of the static table, from index 8.
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// A complete response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Status of the final response.
    pub status: u16,
    /// Bytes of content.
    pub body_bytes: u64,
}

/// Why a stream cannot go on, while its connection can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No status of three digits, or more than one.
    Status,
    /// A field that HTTP/2 does not allow in a response (RFC 9113, 8.2.2 and 8.3).
    Field,
    /// Content before the final head, or a second head that is no trailer.
    Order,
    /// The content is longer or shorter than its declared length, or the length is no number.
    Length,
    /// More than [`MAX_INTERIM`] interim responses.
    Interim,
    /// A block of fields larger than [`MAX_BLOCK`](crate::MAX_BLOCK).
    TooLarge,
    /// A block of fields cannot be decoded: an error of the whole connection (RFC 9113, 4.3).
    Compression,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Status => "the response has no status of three digits, or several",
            Self::Field => "the response has a field that HTTP/2 does not allow",
            Self::Order => "the parts of the response come in a wrong order",
            Self::Length => "the content has another length than its content-length",
            Self::Interim => "more than 16 interim responses came before a final one",
            Self::TooLarge => "the response's fields are larger than 64 KiB",
            Self::Compression => "the response's fields cannot be decoded",
        })
    }
}

impl core::error::Error for Fault {}

/// Fields of a block that have a meaning for the counts.
#[derive(Debug, Default)]
struct Head {
    status: Option<u16>,
    length: Option<u64>,
}

/// A response whose end has not come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Response {
    is_head_request: bool,
    /// Status of the final head; 0 before it.
    status: u16,
    interim: u32,
    body_bytes: u64,
    declared: Option<u64>,
    received: bool,
}

impl Response {
    /// Expects the response to a request; `is_head` for the method HEAD, whose response has no
    /// content although its fields announce one.
    #[must_use]
    pub fn to(is_head: bool) -> Self {
        Self { is_head_request: is_head, ..Self::default() }
    }

    /// Returns true if a part of the response has come.
    #[must_use]
    pub fn received(&self) -> bool {
        self.received
    }

    /// Takes a block of fields: a head, an interim head or trailers. Returns the counts if it ends
    /// the response.
    #[inline]
    pub fn headers(
        &mut self,
        block: Option<&[u8]>,
        is_last: bool,
    ) -> Result<Option<Counts>, Fault> {
        self.received = true;
        let block = block.ok_or(Fault::TooLarge)?;
        let in_trailers = self.status != 0;
        let head = read_head(block, in_trailers)?;
        if in_trailers {
            return if is_last { self.end().map(Some) } else { Err(Fault::Order) };
        }
        let status = head.status.ok_or(Fault::Status)?;
        if status < 200 {
            self.interim += 1;
            return match (is_last, status) {
                _ if self.interim > MAX_INTERIM => Err(Fault::Interim),
                (true, _) => Err(Fault::Order),
                // HTTP/2 has no upgrade (RFC 9113, 8.6).
                (_, 101) => Err(Fault::Status),
                _ => Ok(None),
            };
        }
        self.status = status;
        self.declared = head.length;
        if is_last { self.end().map(Some) } else { Ok(None) }
    }

    /// Takes content. Returns the counts if it is the last.
    #[inline]
    pub fn data(&mut self, length: usize, is_last: bool) -> Result<Option<Counts>, Fault> {
        if self.status == 0 {
            return Err(Fault::Order);
        }
        self.body_bytes += length as u64;
        if self
            .declared
            .is_some_and(|declared| self.body_bytes > declared && !self.has_no_content())
        {
            return Err(Fault::Length);
        }
        if is_last { self.end().map(Some) } else { Ok(None) }
    }

    fn has_no_content(&self) -> bool {
        self.is_head_request || matches!(self.status, 204 | 304)
    }

    fn end(&self) -> Result<Counts, Fault> {
        let counts = Counts { status: self.status, body_bytes: self.body_bytes };
        match self.declared {
            _ if self.has_no_content() && self.body_bytes > 0 => Err(Fault::Length),
            Some(declared) if declared != self.body_bytes && !self.has_no_content() => {
                Err(Fault::Length)
            }
            _ => Ok(counts),
        }
    }
}

/// Reads the fields of a block that the counts need, and refuses those that HTTP/2 does not allow
/// there.
fn read_head(block: &[u8], in_trailers: bool) -> Result<Head, Fault> {
    let mut head = Head::default();
    let mut has_fields = false;
    let mut fault = None;
    for field in Fields::of(block) {
        let field = field.map_err(|_| Fault::Compression)?;
        if fault.is_some() {
            // An undecodable rest ends the whole connection, which is worse: so it is decoded to
            // its end.
            continue;
        }
        let kind = kind_of(&field)?;
        let is_pseudo = matches!(kind, Kind::Status | Kind::Refused);
        fault = match kind {
            Kind::Status if in_trailers || has_fields || head.status.is_some() => {
                Some(Fault::Field)
            }
            Kind::Status => {
                head.status = Some(status_of(&field)?);
                None
            }
            Kind::Refused => Some(Fault::Field),
            Kind::Length if !in_trailers => match (length_of(&field), head.length) {
                (Some(length), None) => {
                    head.length = Some(length);
                    None
                }
                (Some(length), Some(before)) if length == before => None,
                _ => Some(Fault::Length),
            },
            Kind::Length | Kind::Other => None,
        };
        has_fields |= !is_pseudo;
    }
    fault.map_or(Ok(head), Err)
}

/// Meaning of a field for the counts.
enum Kind {
    Status,
    Length,
    /// A pseudo-field of requests, or a field of HTTP/1's connections.
    Refused,
    Other,
}

#[inline]
fn kind_of(field: &Field<'_>) -> Result<Kind, Fault> {
    let text = match field.name {
        Name::Static(8..=14) => return Ok(Kind::Status),
        Name::Static(28) => return Ok(Kind::Length),
        // :authority to :scheme, and transfer-encoding.
        Name::Static(1..=7 | 57) => return Ok(Kind::Refused),
        Name::Static(_) => return Ok(Kind::Other),
        Name::Literal(text) => text,
    };
    let mut decoded = Vec::new();
    let name = match text {
        Text::Plain(bytes) => bytes,
        Text::Huffman(bytes) if bytes.len() > LONGEST_NAME => return Ok(Kind::Other),
        Text::Huffman(_) => {
            text.decode(8 * LONGEST_NAME, &mut decoded).ok_or(Fault::Compression)?;
            &decoded
        }
    };
    Ok(match name {
        b":status" => Kind::Status,
        b"content-length" => Kind::Length,
        b"connection"
        | b"keep-alive"
        | b"proxy-connection"
        | b"transfer-encoding"
        | b"upgrade"
        | b""
        | [b':', ..] => Kind::Refused,
        _ if name.iter().any(u8::is_ascii_uppercase) => Kind::Refused,
        _ => Kind::Other,
    })
}

#[inline]
fn status_of(field: &Field<'_>) -> Result<u16, Fault> {
    if let Name::Static(index @ 8..=14) = field.name
        && field.is_indexed
    {
        return Ok(STATUSES[index - 8]);
    }
    let decoded;
    let digits = match field.value {
        Text::Plain(digits) => digits,
        Text::Huffman(_) => {
            decoded = digits_of(field).ok_or(Fault::Compression)?;
            &decoded
        }
    };
    match digits {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            Ok([a, b, c].into_iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))
        }
        _ => Err(Fault::Status),
    }
}

fn length_of(field: &Field<'_>) -> Option<u64> {
    let parse = |digits: &[u8]| {
        let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        core::str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()
    };
    match field.value {
        Text::Plain(digits) => parse(digits),
        Text::Huffman(_) => parse(&digits_of(field)?),
    }
}

/// Decodes a short value. One that is longer than any number becomes empty text, which is no
/// number.
fn digits_of(field: &Field<'_>) -> Option<Vec<u8>> {
    let mut digits = Vec::new();
    if field.value.len() > LONGEST_NAME {
        return Some(digits);
    }
    field.value.decode(8 * LONGEST_NAME, &mut digits).map(|()| digits)
}
