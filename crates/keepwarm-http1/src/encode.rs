//! Requests on the wire: the head, chunks and trailers, written behind what a buffer has already.
//!
//! A caller reuses one buffer, so a request allocates nothing here.
//!
//! ```
//! use http::{HeaderMap, HeaderValue, Method};
//! use keepwarm_http1::encode::{HeadWriter, RequestFraming, Target};
//!
//! let mut out = Vec::new();
//! let host = HeaderValue::from_static("example.com");
//! let mut head = HeadWriter::begin(&mut out, &Method::GET, Target::Origin("/data?x=1"), &host)?;
//! head.fields(&HeaderMap::new());
//! head.end(RequestFraming::Undeclared);
//! assert_eq!(out, b"GET /data?x=1 HTTP/1.1\r\nhost: example.com\r\n\r\n");
//! # Ok::<(), keepwarm_http1::encode::BadTarget>(())
//! ```

use alloc::vec::Vec;
use core::fmt;

use http::header::{CONTENT_LENGTH, EXPECT, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method};

/// Target of a request (RFC 9112, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// Origin-form, to an origin server: path and query. An empty path is written as `/`.
    Origin(&'a str),
    /// Absolute-form, to a proxy.
    Absolute {
        /// `http` or `https`.
        scheme: &'a str,
        /// Host, and port if it is not the scheme's.
        authority: &'a str,
        /// Path and query. An empty path is written as `/`.
        path: &'a str,
    },
    /// Authority-form, for CONNECT: host and port.
    Authority(&'a str),
    /// Asterisk-form, for OPTIONS of a whole server.
    Asterisk,
}

/// A target that would break the request line: it has a blank or a control character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadTarget;

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the target of a request has a blank or a control character")
    }
}

impl core::error::Error for BadTarget {}

/// Framing of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFraming {
    /// No body, and no field that says so.
    Undeclared,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Writes a request head into a buffer: the request line and `Host` first (RFC 9112, 3.2), then the
/// fields, then the framing.
#[derive(Debug)]
#[must_use = "a head ends with `end`"]
pub struct HeadWriter<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> HeadWriter<'a> {
    /// Writes the request line and `Host`.
    ///
    /// # Errors
    ///
    /// The target has a blank or a control character. Nothing is written then.
    pub fn begin(
        out: &'a mut Vec<u8>,
        method: &Method,
        target: Target<'_>,
        host: &HeaderValue,
    ) -> Result<Self, BadTarget> {
        let mut head = Self::begin_line(out, method, target)?;
        head.field(&HOST, host);
        Ok(head)
    }

    /// Writes the request line, and fields that were encoded before: `Host` first, and each with the
    /// line break behind it.
    ///
    /// # Errors
    ///
    /// The target has a blank or a control character. Nothing is written then.
    pub fn begin_encoded(
        out: &'a mut Vec<u8>,
        method: &Method,
        target: Target<'_>,
        fields: &[u8],
    ) -> Result<Self, BadTarget> {
        let head = Self::begin_line(out, method, target)?;
        head.out.extend_from_slice(fields);
        Ok(head)
    }

    fn begin_line(
        out: &'a mut Vec<u8>,
        method: &Method,
        target: Target<'_>,
    ) -> Result<Self, BadTarget> {
        let (scheme, authority, path) = match target {
            Target::Origin(path) => ("", "", path),
            Target::Absolute { scheme, authority, path } => (scheme, authority, path),
            Target::Authority(authority) => ("", authority, ""),
            Target::Asterisk => ("", "", "*"),
        };
        if breaks_line(path) || breaks_line(authority) || breaks_line(scheme) {
            return Err(BadTarget);
        }
        out.extend_from_slice(method.as_str().as_bytes());
        out.push(b' ');
        if !scheme.is_empty() {
            out.extend_from_slice(scheme.as_bytes());
            out.extend_from_slice(b"://");
        }
        out.extend_from_slice(authority.as_bytes());
        let has_path = !matches!(target, Target::Authority(_) | Target::Asterisk);
        if has_path && !path.starts_with('/') {
            out.push(b'/');
        }
        out.extend_from_slice(path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        Ok(Self { out })
    }

    /// Writes one field.
    pub fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        self.out.reserve(name.len() + value.len() + 4);
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b": ");
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes all fields but `Host`, which has been written, and `Content-Length` and
    /// `Transfer-Encoding`, which [`end`](Self::end) writes.
    pub fn fields(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            if name != HOST && name != CONTENT_LENGTH && name != TRANSFER_ENCODING {
                self.field(name, value);
            }
        }
    }

    /// Writes `Expect: 100-continue` (RFC 9110, 10.1.1).
    pub fn expect_continue(&mut self) {
        self.field(&EXPECT, &HeaderValue::from_static("100-continue"));
    }

    /// Writes the framing and the empty line.
    pub fn end(self, framing: RequestFraming) {
        match framing {
            RequestFraming::Undeclared => {}
            RequestFraming::Length(length) => {
                self.out.extend_from_slice(b"content-length: ");
                number(self.out, length, 10);
                self.out.extend_from_slice(b"\r\n");
            }
            RequestFraming::Chunked => {
                self.out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Returns true if a blank or a control character is in a part of the request line. Every byte is
/// looked at, without a branch for each.
#[inline]
fn breaks_line(part: &str) -> bool {
    part.bytes().fold(false, |breaks, byte| breaks | (byte <= b' ') | (byte == 0x7f))
}

/// Encodes fields for [`HeadWriter::begin_encoded`].
#[must_use]
pub fn encode_fields<'a>(
    fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut head = HeadWriter { out: &mut out };
    for (name, value) in fields {
        head.field(name, value);
    }
    out
}

/// End of a chunk's data.
pub const CHUNK_END: &[u8] = b"\r\n";

/// Writes the line before the data of a chunk. A chunk has at least a byte: the empty one is the
/// last (RFC 9112, 7.1).
pub fn chunk_line(out: &mut Vec<u8>, size: usize) {
    debug_assert!(size > 0, "the empty chunk ends the body");
    number(out, size as u64, 16);
    out.extend_from_slice(CHUNK_END);
}

/// Writes the last chunk and the trailers.
pub fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    let mut section = HeadWriter { out };
    for (name, value) in trailers.into_iter().flatten() {
        section.field(name, value);
    }
    section.end(RequestFraming::Undeclared);
}

/// Writes a number in a base of at most 16, with capital letters.
fn number(out: &mut Vec<u8>, mut number: u64, base: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b"0123456789ABCDEF"[(number % base) as usize];
        number /= base;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
