//! The chunked coding (RFC 9112, section 7.1): sizes, extensions, trailers. Finds the end of the
//! last chunk. Content is counted; extensions and trailers are checked for their shape and dropped.
//! Lines end with CR LF only, because leniency here is what lets two parsers disagree.
//!
//! ```text
//!  Size ──► Extension ──► SizeLf ──► Data ──► DataCr ──► DataLf ──► Size …
//!    └────────────────────►│ size 0
//!                          └──► LineStart ──► Trailer ──► TrailerLf ──► LineStart …
//!                                   └ CR ──► LastLf ──► complete
//! ```

use super::Malformed;
use crate::limits::MAX_HEAD;

/// The longest chunk size line, extensions included.
const MAX_CHUNK_LINE: u32 = 4 * 1024;

/// The next byte's part in the coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    Size { digits: u8 },
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    Trailer { colon: bool },
    TrailerLf { colon: bool },
    LastLf,
}

/// Reads a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunked {
    state: ChunkState,
    /// The size being read, then the bytes left of the chunk.
    left: u64,
    line: u32,
    trailers: u32,
}

/// The result of a call to [`Chunked::feed`].
pub(super) struct FedChunks {
    pub(super) consumed: usize,
    pub(super) content: u64,
    pub(super) complete: bool,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self { state: ChunkState::Size { digits: 0 }, left: 0, line: 0, trailers: 0 }
    }

    /// Reads the next bytes. Stops behind the last byte of the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<FedChunks, Malformed> {
        let mut fed = FedChunks { consumed: 0, content: 0, complete: false };
        while !fed.complete && fed.consumed < bytes.len() {
            if self.state == ChunkState::Data {
                let rest = bytes.len() - fed.consumed;
                let used = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                self.left -= used as u64;
                fed.consumed += used;
                fed.content += used as u64;
                if self.left == 0 {
                    self.state = ChunkState::DataCr;
                }
                continue;
            }
            fed.complete = self.step(bytes[fed.consumed])?;
            fed.consumed += 1;
        }
        Ok(fed)
    }

    /// Reads a byte outside of chunk data. Returns true if it was the last byte of the body.
    fn step(&mut self, byte: u8) -> Result<bool, Malformed> {
        self.state = match (self.state, byte) {
            (ChunkState::Size { digits }, _) => self.size(digits, byte)?,
            (ChunkState::Extension, b'\r') => ChunkState::SizeLf,
            (ChunkState::Extension, b'\n' | 0) => return Err(Malformed::BadChunkSize),
            (ChunkState::Extension, _) => {
                self.line += 1;
                if self.line > MAX_CHUNK_LINE {
                    return Err(Malformed::ChunkLineTooLong);
                }
                ChunkState::Extension
            }
            (ChunkState::SizeLf, b'\n') if self.left == 0 => ChunkState::LineStart,
            (ChunkState::SizeLf, b'\n') => ChunkState::Data,
            (ChunkState::SizeLf, _) => return Err(Malformed::BadChunkSize),
            (ChunkState::DataCr, b'\r') => ChunkState::DataLf,
            (ChunkState::DataLf, b'\n') => {
                self.line = 0;
                ChunkState::Size { digits: 0 }
            }
            (ChunkState::Data | ChunkState::DataCr | ChunkState::DataLf, _) => {
                return Err(Malformed::BadChunkEnd);
            }
            (ChunkState::LastLf, b'\n') => return Ok(true),
            (state, _) => self.trailer(state, byte)?,
        };
        Ok(false)
    }

    fn size(&mut self, digits: u8, byte: u8) -> Result<ChunkState, Malformed> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == 0 {
                self.left = 0;
            }
            // Sixteen hexadecimal digits fill the 64 bits of `left`.
            if digits == 16 {
                return Err(Malformed::BadChunkSize);
            }
            self.left = self.left << 4 | u64::from(digit);
            return Ok(ChunkState::Size { digits: digits + 1 });
        }
        match byte {
            _ if digits == 0 => Err(Malformed::BadChunkSize),
            b'\r' => Ok(ChunkState::SizeLf),
            // RFC 9112, section 7.1.1, accepts blanks before an extension as bad manners.
            b';' | b' ' | b'\t' => Ok(ChunkState::Extension),
            _ => Err(Malformed::BadChunkSize),
        }
    }

    fn trailer(&mut self, state: ChunkState, byte: u8) -> Result<ChunkState, Malformed> {
        self.trailers += 1;
        if self.trailers as usize > MAX_HEAD {
            return Err(Malformed::TrailersTooLarge);
        }
        match (state, byte) {
            (ChunkState::LineStart, b'\r') => Ok(ChunkState::LastLf),
            // A name comes here, so neither a colon nor a blank that would fold the line before.
            (ChunkState::LineStart, b':' | b' ' | b'\t' | b'\n' | 0) => Err(Malformed::BadTrailer),
            (ChunkState::LineStart, _) => Ok(ChunkState::Trailer { colon: false }),
            (ChunkState::Trailer { colon }, b'\r') => Ok(ChunkState::TrailerLf { colon }),
            (ChunkState::Trailer { .. }, b'\n' | 0) => Err(Malformed::BadTrailer),
            (ChunkState::Trailer { colon }, _) => {
                Ok(ChunkState::Trailer { colon: colon || byte == b':' })
            }
            (ChunkState::TrailerLf { colon: true }, b'\n') => Ok(ChunkState::LineStart),
            _ => Err(Malformed::BadTrailer),
        }
    }
}
