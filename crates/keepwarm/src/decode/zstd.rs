//! Zstandard (RFC 8878) in any number of frames, with windows of at most 8 MiB (RFC 9659).
//!
//! Owns the bounds of frames and blocks; `ruzstd` decodes a block.

use bytes::{Buf as _, Bytes};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::{Decoder, Malformed, PIECE};

const MAX_WINDOW: u64 = 8 << 20;
/// RFC 8878, 3.1.1.2.4.
const MAX_BLOCK: usize = 128 << 10;

const BROKEN: Malformed = Malformed("the zstd data is malformed, or its window has over 8 MiB");

enum FramePart {
    /// The head of a frame.
    Frame,
    /// A skippable frame, and its remaining bytes.
    Skipped(usize),
    /// A block of a frame, which has a check sum behind its last one.
    Block { has_check: bool },
}

pub(super) struct Zstd {
    decoder: Box<FrameDecoder>,
    part: FramePart,
    /// Input that is not a whole head or block yet.
    held: Vec<u8>,
    frames: u64,
}

impl Zstd {
    pub(super) fn new() -> Self {
        let mut decoder = Box::new(FrameDecoder::new());
        decoder.set_max_window_size(MAX_WINDOW);
        Self { decoder, part: FramePart::Frame, held: Vec::new(), frames: 0 }
    }

    /// Returns the length of the next part; the inner `Err` is the number of bytes that have to
    /// come before it is known.
    fn wanted(&self) -> Result<Result<usize, usize>, Malformed> {
        let held = &self.held;
        Ok(match &self.part {
            FramePart::Frame => match held.get(..5) {
                None => Err(5),
                Some(&[_, 0x2a, 0x4d, 0x18, _]) if held[0] & 0xf0 == 0x50 => Ok(8),
                Some(&[0x28, 0xb5, 0x2f, 0xfd, descriptor]) => Ok(5 + head_length(descriptor)),
                Some(_) => return Err(Malformed("it does not begin as zstd")),
            },
            FramePart::Skipped(left) => Ok((*left).min(PIECE)),
            FramePart::Block { has_check } => match held.first_chunk::<3>() {
                None => Err(3),
                Some(&[a, b, c]) => {
                    let word = u32::from_le_bytes([a, b, c, 0]) as usize;
                    let (is_last, kind, size) = (word & 1 == 1, (word >> 1) & 3, word >> 3);
                    if size > MAX_BLOCK || kind == 3 {
                        return Err(BROKEN);
                    }
                    let content = if kind == 1 { 1 } else { size };
                    Ok(3 + content + if is_last && *has_check { 4 } else { 0 })
                }
            },
        })
    }

    /// Takes a whole part.
    fn take(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        let part = std::mem::take(&mut self.held);
        match self.part {
            FramePart::Frame if part[0] != 0x28 => {
                let length = u32::from_le_bytes([part[4], part[5], part[6], part[7]]);
                self.skip(length as usize);
            }
            FramePart::Frame => {
                self.decoder.reset(&part[..]).map_err(|_| BROKEN)?;
                self.part = FramePart::Block { has_check: part[4] & 4 != 0 };
            }
            FramePart::Skipped(left) => self.skip(left - part.len()),
            FramePart::Block { has_check } => {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                let ended = self.decoder.decode_blocks(&part[..], one).map_err(|_| BROKEN)?;
                out.extend(self.decoder.collect().unwrap_or_default());
                if ended {
                    let sums = (
                        self.decoder.get_checksum_from_data(),
                        self.decoder.get_calculated_checksum(),
                    );
                    if has_check && sums.0 != sums.1 {
                        return Err(Malformed("the check sum of zstd is wrong"));
                    }
                    self.part = FramePart::Frame;
                    self.frames += 1;
                }
            }
        }
        Ok(())
    }

    const fn skip(&mut self, left: usize) {
        self.part = if left == 0 { FramePart::Frame } else { FramePart::Skipped(left) };
    }
}

impl Decoder for Zstd {
    fn decode(&mut self, input: &mut Bytes, out: &mut Vec<u8>) -> Result<(), Malformed> {
        while out.len() < PIECE {
            let wanted = self.wanted()?;
            let (Ok(target) | Err(target)) = wanted;
            let missing = target.saturating_sub(self.held.len());
            let taken = missing.min(input.len());
            self.held.extend_from_slice(&input[..taken]);
            input.advance(taken);
            if taken < missing {
                return Ok(());
            }
            if wanted.is_ok() {
                self.take(out)?;
            }
        }
        Ok(())
    }

    fn may_end(&self) -> bool {
        matches!(self.part, FramePart::Frame) && self.held.is_empty() && self.frames > 0
    }
}

/// Returns the length of the head behind magic number and descriptor (RFC 8878, 3.1.1.1.1).
fn head_length(descriptor: u8) -> usize {
    let is_single = descriptor & 0x20 != 0;
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let content = match descriptor >> 6 {
        0 => usize::from(is_single),
        flag => 1 << flag,
    };
    usize::from(!is_single) + dictionary + content
}
