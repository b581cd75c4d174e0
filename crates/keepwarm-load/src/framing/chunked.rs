//! The chunked coding (RFC 9112, section 7.1): sizes, extensions, trailers. Owns where the last
//! chunk ends; content is counted, extensions and trailers are checked for their shape and
//! dropped. Line ends are CR LF and nothing else, because leniency here is what lets two parsers
//! disagree.
//!
//! ```text
//!  Size ──► Extension ──► SizeLf ──► Data ──► DataCr ──► DataLf ──► Size …
//!    └────────────────────►│ size 0
//!                          └──► LineStart ──► Trailer ──► TrailerLf ──► LineStart …
//!                                   └ CR ──► LastLf ──► complete
//! ```

use super::{MAX_HEAD, Malformed};

/// The longest chunk size line, extensions included.
const MAX_CHUNK_LINE: u32 = 4 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
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
    state: State,
    /// The size being read, then the bytes left of the chunk.
    left: u64,
    line: u32,
    trailers: u32,
}

/// How far a call to [`Chunked::feed`] came.
pub(super) struct FedChunks {
    pub(super) consumed: usize,
    pub(super) content: u64,
    pub(super) complete: bool,
}

impl Chunked {
    pub(super) fn new() -> Self {
        Self { state: State::Size { digits: 0 }, left: 0, line: 0, trailers: 0 }
    }

    /// Takes the next bytes; stops behind the last one that belongs to the body.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<FedChunks, Malformed> {
        let mut fed = FedChunks { consumed: 0, content: 0, complete: false };
        while !fed.complete && fed.consumed < bytes.len() {
            if self.state == State::Data {
                let rest = bytes.len() - fed.consumed;
                let used = usize::try_from(self.left).map_or(rest, |left| left.min(rest));
                self.left -= used as u64;
                fed.consumed += used;
                fed.content += used as u64;
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                continue;
            }
            fed.complete = self.step(bytes[fed.consumed])?;
            fed.consumed += 1;
        }
        Ok(fed)
    }

    /// One byte outside of chunk data. `true`: it was the last one.
    fn step(&mut self, byte: u8) -> Result<bool, Malformed> {
        self.state = match (self.state, byte) {
            (State::Size { digits }, _) => self.size(digits, byte)?,
            (State::Extension, b'\r') => State::SizeLf,
            (State::Extension, b'\n' | 0) => return Err(Malformed::BadChunkSize),
            (State::Extension, _) => {
                self.line += 1;
                if self.line > MAX_CHUNK_LINE {
                    return Err(Malformed::ChunkLineTooLong);
                }
                State::Extension
            }
            (State::SizeLf, b'\n') if self.left == 0 => State::LineStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::SizeLf, _) => return Err(Malformed::BadChunkSize),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.line = 0;
                State::Size { digits: 0 }
            }
            (State::Data | State::DataCr | State::DataLf, _) => return Err(Malformed::BadChunkEnd),
            (State::LastLf, b'\n') => return Ok(true),
            (state, _) => self.trailer(state, byte)?,
        };
        Ok(false)
    }

    fn size(&mut self, digits: u8, byte: u8) -> Result<State, Malformed> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == 0 {
                self.left = 0;
            }
            // Sixteen hexadecimal digits fill the 64 bits of `left`.
            if digits == 16 {
                return Err(Malformed::BadChunkSize);
            }
            self.left = self.left << 4 | u64::from(digit);
            return Ok(State::Size { digits: digits + 1 });
        }
        match byte {
            _ if digits == 0 => Err(Malformed::BadChunkSize),
            b'\r' => Ok(State::SizeLf),
            // Blanks before an extension are bad manners that RFC 9112, section 7.1.1, accepts.
            b';' | b' ' | b'\t' => Ok(State::Extension),
            _ => Err(Malformed::BadChunkSize),
        }
    }

    fn trailer(&mut self, state: State, byte: u8) -> Result<State, Malformed> {
        self.trailers += 1;
        if self.trailers as usize > MAX_HEAD {
            return Err(Malformed::TrailersTooLarge);
        }
        match (state, byte) {
            (State::LineStart, b'\r') => Ok(State::LastLf),
            // A name, so neither a colon nor a blank that would fold the line before.
            (State::LineStart, b':' | b' ' | b'\t' | b'\n' | 0) => Err(Malformed::BadTrailer),
            (State::LineStart, _) => Ok(State::Trailer { colon: false }),
            (State::Trailer { colon }, b'\r') => Ok(State::TrailerLf { colon }),
            (State::Trailer { .. }, b'\n' | 0) => Err(Malformed::BadTrailer),
            (State::Trailer { colon }, _) => Ok(State::Trailer { colon: colon || byte == b':' }),
            (State::TrailerLf { colon: true }, b'\n') => Ok(State::LineStart),
            _ => Err(Malformed::BadTrailer),
        }
    }
}
