//! gzip (RFC 1952) in any number of members, and deflate: zlib's format (RFC 1950), or bare as some
//! servers send it.

use std::cell::Cell;

use bytes::{Buf as _, Bytes};
use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{Decoder, Malformed, PIECE, TRAILING};

/// Limit on the head of a member, with the name and comment that it may have.
const MAX_HEAD: usize = 64 << 10;

const BROKEN: Malformed = Malformed("the deflate data is malformed");

thread_local! {
    /// The last inflater that this thread had no more use for. One has 43 KiB, and making it writes
    /// three times as many bytes as clearing it.
    static SPARE: Cell<Option<Decompress>> = const { Cell::new(None) };
}

/// The state of deflate data, which goes back to the thread that drops it.
struct Inflater(Option<Decompress>);

impl Inflater {
    /// Takes the thread's spare one, or makes one.
    fn new(is_zlib: bool) -> Self {
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        Self(Some(match spare {
            Some(mut spare) => {
                spare.reset(is_zlib);
                spare
            }
            None => Decompress::new(is_zlib),
        }))
    }

    /// Inflates until the input is used up or the output has about [`PIECE`] bytes more. Returns true
    /// at the end of the deflate data.
    fn inflate(&mut self, input: &mut Bytes, out: &mut Vec<u8>) -> Result<bool, Malformed> {
        let Some(inflater) = &mut self.0 else { return Ok(true) };
        let start = out.len();
        // Text shrinks to a quarter, about.
        let mut room = (4 * input.len()).clamp(1 << 10, PIECE);
        loop {
            let filled = out.len();
            out.resize((filled + room).min(start + PIECE), 0);
            let (taken, made) = (inflater.total_in(), inflater.total_out());
            let status = inflater.decompress(input, &mut out[filled..], FlushDecompress::None);
            let taken = usize::try_from(inflater.total_in() - taken).unwrap_or_default();
            let made = usize::try_from(inflater.total_out() - made).unwrap_or_default();
            input.advance(taken);
            out.truncate(filled + made);
            match status.map_err(|_| BROKEN)? {
                Status::StreamEnd => return Ok(true),
                Status::Ok | Status::BufError => {}
            }
            let is_stuck = taken == 0 && made == 0;
            if is_stuck || out.len() >= start + PIECE {
                return Ok(false);
            }
            room = 8 << 10;
        }
    }
}

impl Drop for Inflater {
    fn drop(&mut self) {
        // A thread that ends keeps none.
        let _ = SPARE.try_with(|spare| spare.set(self.0.take()));
    }
}

/// Part of a gzip file that comes next.
enum MemberPart {
    /// The head of a member, as far as it has come.
    Head(Vec<u8>),
    Data(Inflater, Crc),
    /// Check sum and length of a member, as far as they have come.
    Tail(Vec<u8>, Crc),
    /// Behind a member: zeros, or another one.
    Between,
    /// Zeros behind the last member, as tar(1) and gzip(1) pad.
    Padding,
}

pub(super) struct Gzip(MemberPart);

impl Gzip {
    pub(super) const fn new() -> Self {
        Self(MemberPart::Head(Vec::new()))
    }
}

impl Decoder for Gzip {
    fn decode(&mut self, input: &mut Bytes, out: &mut Vec<u8>) -> Result<(), Malformed> {
        // Deflate data may have output left when all of its input is taken.
        while !input.is_empty() || matches!(self.0, MemberPart::Data(..)) {
            match &mut self.0 {
                MemberPart::Head(head) => {
                    head.push(input.get_u8());
                    if is_whole_head(head)? {
                        self.0 = MemberPart::Data(Inflater::new(false), Crc::new());
                    }
                }
                MemberPart::Data(inflater, crc) => {
                    let start = out.len();
                    let ended = inflater.inflate(input, out)?;
                    crc.update(&out[start..]);
                    if ended {
                        let crc = std::mem::take(crc);
                        self.0 = MemberPart::Tail(Vec::new(), crc);
                    } else {
                        return Ok(());
                    }
                }
                MemberPart::Tail(tail, crc) => {
                    tail.push(input.get_u8());
                    if tail.len() == 8 {
                        let expected = [crc.sum().to_le_bytes(), crc.amount().to_le_bytes()];
                        if *tail != expected.concat() {
                            return Err(Malformed("the check sum or length of gzip is wrong"));
                        }
                        self.0 = MemberPart::Between;
                    }
                }
                MemberPart::Between => match input[0] {
                    0 => self.0 = MemberPart::Padding,
                    0x1f => self.0 = MemberPart::Head(Vec::new()),
                    _ => return Err(TRAILING),
                },
                MemberPart::Padding => {
                    if input.get_u8() != 0 {
                        return Err(TRAILING);
                    }
                }
            }
            if out.len() >= PIECE {
                return Ok(());
            }
        }
        Ok(())
    }

    fn may_end(&self) -> bool {
        matches!(self.0, MemberPart::Between | MemberPart::Padding)
    }
}

/// Returns true if these bytes are a whole head of a member (RFC 1952, 2.3), called with each byte
/// more.
fn is_whole_head(head: &[u8]) -> Result<bool, Malformed> {
    const CHECK: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const FIRST: [u8; 3] = [0x1f, 0x8b, 8];
    let known = head.len().min(FIRST.len());
    if head[..known] != FIRST[..known] || head.get(3).is_some_and(|flags| flags & 0xe0 != 0) {
        return Err(Malformed("it does not begin as gzip"));
    }
    if head.len() > MAX_HEAD {
        return Err(Malformed("the head of gzip has more than 64 KiB"));
    }
    let Some(mut rest) = head.get(10..) else { return Ok(false) };
    let flags = head[3];
    if flags & EXTRA != 0 {
        let Some(length) = rest.first_chunk() else { return Ok(false) };
        let length = usize::from(u16::from_le_bytes(*length));
        let Some(behind) = rest.get(2 + length..) else { return Ok(false) };
        rest = behind;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let Some(end) = rest.iter().position(|byte| *byte == 0) else { return Ok(false) };
            rest = &rest[end + 1..];
        }
    }
    Ok(flags & CHECK == 0 || rest.len() >= 2)
}

/// Zlib's format, or bare deflate data.
pub(super) struct Deflate {
    /// The first two bytes, which tell them apart.
    first: Vec<u8>,
    inflater: Option<Inflater>,
    ended: bool,
}

impl Deflate {
    pub(super) const fn new() -> Self {
        Self { first: Vec::new(), inflater: None, ended: false }
    }
}

impl Decoder for Deflate {
    fn decode(&mut self, input: &mut Bytes, out: &mut Vec<u8>) -> Result<(), Malformed> {
        while self.inflater.is_none() && !input.is_empty() {
            self.first.push(input.get_u8());
            if let [method, flags] = self.first[..] {
                // RFC 1950, 2.2: the method is 8, and the two bytes are a multiple of 31.
                let is_zlib = method & 0x0f == 8
                    && (u16::from(method) << 8 | u16::from(flags)).is_multiple_of(31);
                let mut inflater = Inflater::new(is_zlib);
                let mut first = Bytes::from(std::mem::take(&mut self.first));
                self.ended = inflater.inflate(&mut first, out)?;
                self.inflater = Some(inflater);
            }
        }
        if let Some(inflater) = &mut self.inflater
            && !self.ended
        {
            self.ended = inflater.inflate(input, out)?;
        }
        if self.ended && !input.is_empty() { Err(TRAILING) } else { Ok(()) }
    }

    fn may_end(&self) -> bool {
        self.ended
    }
}
