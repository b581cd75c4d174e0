//! Brotli (RFC 7932), with windows of at most 16 MiB: the large ones of another format are refused.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf as _, Bytes};

use super::{Decoder, Malformed, PIECE, TRAILING};

type Decompressor = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

pub(super) struct Brotli {
    state: Box<Decompressor>,
    total: usize,
    ended: bool,
}

impl Brotli {
    pub(super) fn new() -> Self {
        let alloc = StandardAlloc::default;
        let state = Box::new(Decompressor::new_strict(alloc(), alloc(), alloc()));
        Self { state, total: 0, ended: false }
    }
}

impl Decoder for Brotli {
    fn decode(&mut self, input: &mut Bytes, out: &mut Vec<u8>) -> Result<(), Malformed> {
        while !self.ended && out.len() < PIECE {
            let start = out.len();
            out.resize(start + (16 << 10), 0);
            let (mut left, mut taken) = (input.len(), 0);
            let (mut room, mut made) = (out.len() - start, 0);
            let result = BrotliDecompressStream(
                &mut left,
                &mut taken,
                input,
                &mut room,
                &mut made,
                &mut out[start..],
                &mut self.total,
                &mut self.state,
            );
            out.truncate(start + made);
            input.advance(taken);
            match result {
                BrotliResult::ResultSuccess => self.ended = true,
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::NeedsMoreInput => return Ok(()),
                BrotliResult::ResultFailure => {
                    return Err(Malformed("the brotli data is malformed"));
                }
            }
        }
        if self.ended && !input.is_empty() { Err(TRAILING) } else { Ok(()) }
    }

    fn may_end(&self) -> bool {
        self.ended
    }
}
