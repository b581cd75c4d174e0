//! Content codings of responses (RFC 9110, 8.4.1), undone piece by piece.
//!
//! Owns which codings are asked for and how each is undone. Reads no connection: bytes are given to
//! a decoder as they come, and each step makes a bounded piece.

#![cfg_attr(
    not(any(feature = "gzip", feature = "brotli", feature = "zstd")),
    allow(dead_code, reason = "there is no coding to undo")
)]

#[cfg(feature = "brotli")]
mod brotli;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "zstd")]
mod zstd;

use std::fmt;

use bytes::Bytes;
use http::HeaderValue;

/// About the number of bytes that one step decodes. A block of zstd has twice as many.
pub(crate) const PIECE: usize = 64 << 10;

/// A coding that is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    #[cfg(feature = "gzip")]
    Gzip,
    #[cfg(feature = "gzip")]
    Deflate,
    #[cfg(feature = "brotli")]
    Brotli,
    #[cfg(feature = "zstd")]
    Zstd,
}

impl Coding {
    /// All codings that are built in, in the order in which they are asked for.
    const ALL: &[Self] = &[
        #[cfg(feature = "zstd")]
        Self::Zstd,
        #[cfg(feature = "brotli")]
        Self::Brotli,
        #[cfg(feature = "gzip")]
        Self::Gzip,
        #[cfg(feature = "gzip")]
        Self::Deflate,
    ];

    const fn name(self) -> &'static str {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => "gzip",
            #[cfg(feature = "gzip")]
            Self::Deflate => "deflate",
            #[cfg(feature = "brotli")]
            Self::Brotli => "br",
            #[cfg(feature = "zstd")]
            Self::Zstd => "zstd",
        }
    }

    fn bit(self) -> u8 {
        let place = Self::ALL.iter().position(|one| *one == self).unwrap_or_default();
        1 << place
    }

    pub(crate) fn decoder(self) -> Box<dyn Decoder> {
        match self {
            #[cfg(feature = "gzip")]
            Self::Gzip => Box::new(gzip::Gzip::new()),
            #[cfg(feature = "gzip")]
            Self::Deflate => Box::new(gzip::Deflate::new()),
            #[cfg(feature = "brotli")]
            Self::Brotli => Box::new(brotli::Brotli::new()),
            #[cfg(feature = "zstd")]
            Self::Zstd => Box::new(zstd::Zstd::new()),
        }
    }
}

/// A set of codings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Codings(u8);

impl Codings {
    /// Returns all codings that are built in.
    pub(crate) fn all() -> Self {
        Self(Coding::ALL.iter().map(|coding| coding.bit()).sum())
    }

    pub(crate) fn set(&mut self, coding: Coding, wanted: bool) {
        if wanted {
            self.0 |= coding.bit();
        } else {
            self.0 &= !coding.bit();
        }
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn iter(self) -> impl Iterator<Item = Coding> {
        Coding::ALL.iter().copied().filter(move |coding| self.0 & coding.bit() != 0)
    }

    /// Returns the value of `Accept-Encoding`.
    pub(crate) fn accepted(self) -> HeaderValue {
        let names: Vec<_> = self.iter().map(Coding::name).collect();
        HeaderValue::from_str(&names.join(", ")).expect("names of codings are tokens")
    }

    /// Returns the coding of the set that has this registered name, or `x-gzip` (RFC 9110, 8.4.1.3).
    pub(crate) fn named(self, name: &[u8]) -> Option<Coding> {
        let name = if name.eq_ignore_ascii_case(b"x-gzip") { &b"gzip"[..] } else { name };
        self.iter().find(|coding| coding.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

/// The reason why bytes are not of their coding.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

#[cfg(any(feature = "gzip", feature = "brotli"))]
const TRAILING: Malformed = Malformed("there are bytes behind the end of the compressed data");

/// Undoes one coding.
pub(crate) trait Decoder: Send {
    /// Takes bytes off the input and adds to the output, until the input is used up or the output
    /// has about [`PIECE`] bytes.
    fn decode(&mut self, input: &mut Bytes, out: &mut Vec<u8>) -> Result<(), Malformed>;

    /// Returns true if the data may end here.
    fn may_end(&self) -> bool;
}

impl fmt::Debug for dyn Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decoder")
    }
}
