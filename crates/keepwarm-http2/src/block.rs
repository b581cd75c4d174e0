//! Requests as blocks of fields. Owns their encoding, and the frames around them; the plan of a load
//! owns their fields.
//!
//! Every literal is one that no table takes, and without Huffman code: the bytes of a request do not
//! depend on the requests before it, and the server decodes them at the price of a copy.

use alloc::vec::Vec;

use crate::{MAX_FRAME, frame, hpack};

/// The encoded fields of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    bytes: Vec<u8>,
}

impl Block {
    /// Starts a block without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes all fields, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Appends a field. Names are written in lower case, as HTTP/2 wants them (RFC 9113, 8.2.1).
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let mut lower = [0; 64];
        let found = lower.get_mut(..name.len()).and_then(|lower| {
            lower.copy_from_slice(name);
            lower.make_ascii_lowercase();
            hpack::find(lower, value)
        });
        match found {
            Some((index, true)) => return hpack::write_integer(&mut self.bytes, index, 7, 0x80),
            Some((index, false)) => hpack::write_integer(&mut self.bytes, index, 4, 0),
            None => {
                self.bytes.push(0);
                hpack::write_integer(&mut self.bytes, name.len(), 7, 0);
                self.bytes.extend(name.iter().map(u8::to_ascii_lowercase));
            }
        }
        hpack::write_integer(&mut self.bytes, value.len(), 7, 0);
        self.bytes.extend_from_slice(value);
    }

    /// Returns the length in bytes, without the headers of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns true for a block without fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends the frames that open `stream` with these fields: HEADERS, and CONTINUATION for what
    /// 16 KiB do not hold. `is_last` says that no body follows.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, stream: u32, is_last: bool) {
        let end_stream = if is_last { frame::END_STREAM } else { 0 };
        if self.bytes.len() <= MAX_FRAME {
            let flags = frame::END_HEADERS | end_stream;
            frame::write(out, self.bytes.len(), frame::HEADERS, flags, stream);
            out.extend_from_slice(&self.bytes);
            return;
        }
        let parts = self.bytes.chunks(MAX_FRAME);
        let last = parts.len() - 1;
        for (at, part) in parts.enumerate() {
            let kind = if at == 0 { frame::HEADERS } else { frame::CONTINUATION };
            let mut flags = if at == 0 { end_stream } else { 0 };
            flags |= if at == last { frame::END_HEADERS } else { 0 };
            frame::write(out, part.len(), kind, flags, stream);
            out.extend_from_slice(part);
        }
    }

    /// Returns the encoded fields.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Appends the header of a DATA frame of `length` bytes, at most [`MAX_FRAME`].
pub fn write_data_header(out: &mut Vec<u8>, stream: u32, length: usize, is_last: bool) {
    let flags = if is_last { frame::END_STREAM } else { 0 };
    frame::write(out, length, frame::DATA, flags, stream);
}
