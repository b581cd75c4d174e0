//! The chunked coding (RFC 9112, 7.1): sizes, extensions, trailers. Finds the data of each chunk and
//! the end of the last one. Extensions are checked for their shape and dropped; trailers are handed
//! to the caller. Lines end with CR LF only, because leniency here is what lets two readers differ.
//!
//! ```text
//!  Size ──► Blank ──► Extension ──► SizeLf ──► Data ──► DataCr ──► DataLf ──► Size …
//!    └────────┴────────────────────►│ size 0
//!                                   └──► LineStart ──► Name ──► Value ──► ValueLf ──► LineStart …
//!                                            └ CR ──► LastLf ──► Complete
//! ```

use crate::Refusal;
use crate::limits::Limits;

/// The next byte's part in the coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// `begun` once a digit has come.
    Size {
        begun: bool,
    },
    Blank,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    LineStart,
    Name,
    Value,
    ValueLf,
    LastLf,
    Complete,
}

/// Reads a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
    /// The size being read, then the bytes left of the chunk.
    left: u64,
    /// Bytes of the line before the chunk.
    line: usize,
    /// Bytes of the trailer section.
    trailers: usize,
}

impl Chunked {
    pub(crate) const fn new() -> Self {
        Self { state: State::Size { begun: false }, left: 0, line: 0, trailers: 0 }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Reads bytes that are no data, and returns how many there were: up to data, the end of the
    /// body, or the end of `bytes`. Trailer lines go to `trailers`. An error comes with its place.
    pub(crate) fn skip(
        &mut self,
        bytes: &[u8],
        limits: &Limits,
        mut trailers: impl FnMut(u8),
    ) -> Result<usize, (Refusal, usize)> {
        let mut at = 0;
        while at < bytes.len() && !matches!(self.state, State::Data | State::Complete) {
            let byte = bytes[at];
            self.step(byte, limits).map_err(|refusal| (refusal, at))?;
            if self.trailers > 0 {
                trailers(byte);
            }
            at += 1;
        }
        Ok(at)
    }

    /// Takes data of the current chunk: as much as is available of it.
    pub(crate) fn take_data(&mut self, available: usize) -> usize {
        if self.state != State::Data {
            return 0;
        }
        let taken = usize::try_from(self.left).map_or(available, |left| left.min(available));
        self.left -= taken as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        taken
    }

    #[inline]
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<(), Refusal> {
        self.state = match (self.state, byte) {
            (State::Size { .. } | State::Blank | State::Extension, _) => {
                self.line += 1;
                if self.line > limits.chunk_line {
                    return Err(Refusal::ChunkLineTooLong);
                }
                self.size_line(byte)?
            }
            (State::SizeLf, b'\n') if self.left == 0 => State::LineStart,
            (State::SizeLf, b'\n') => State::Data,
            (State::SizeLf, _) => return Err(Refusal::ChunkSize),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.line = 0;
                State::Size { begun: false }
            }
            (State::Data | State::DataCr | State::DataLf, _) => return Err(Refusal::ChunkEnd),
            (state, _) => {
                self.trailers += 1;
                if self.trailers > limits.trailers {
                    return Err(Refusal::TrailersTooLarge);
                }
                trailer(state, byte)?
            }
        };
        Ok(())
    }

    fn size_line(&mut self, byte: u8) -> Result<State, Refusal> {
        match (self.state, byte) {
            (State::Size { begun }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                let size = if begun { self.left } else { 0 };
                // Sixteen hexadecimal digits fill the 64 bits of `left`; zeros before them do not
                // count.
                if size >> 60 != 0 {
                    return Err(Refusal::ChunkSize);
                }
                self.left = size << 4 | digit;
                Ok(State::Size { begun: true })
            }
            (State::Size { begun: false }, _) => Err(Refusal::ChunkSize),
            (_, b'\r') => Ok(State::SizeLf),
            // Blanks may stand before an extension, as bad manners (RFC 9112, 7.1.1).
            (State::Size { .. } | State::Blank, b' ' | b'\t') => Ok(State::Blank),
            (State::Size { .. } | State::Blank, b';') => Ok(State::Extension),
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::Extension),
            _ => Err(Refusal::ChunkSize),
        }
    }
}

fn trailer(state: State, byte: u8) -> Result<State, Refusal> {
    match (state, byte) {
        (State::LineStart, b'\r') => Ok(State::LastLf),
        (State::LastLf, b'\n') => Ok(State::Complete),
        // A name comes at the start of a line, so a blank that would fold it is refused too.
        (State::LineStart | State::Name, _) if is_token(byte) => Ok(State::Name),
        (State::Name, b':') => Ok(State::Value),
        (State::Value, b'\r') => Ok(State::ValueLf),
        (State::Value, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::Value),
        (State::ValueLf, b'\n') => Ok(State::LineStart),
        _ => Err(Refusal::Trailer),
    }
}

/// Returns true for a character of a field name (RFC 9110, 5.6.2).
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}
