//! Requests as blocks of fields. Owns their encoding, and the frames around them; the plan of a load
//! owns their fields, and a [`Dictionary`] those that the server keeps.
//!
//! Literals are without Huffman code: the server decodes them at the price of a copy.

use alloc::vec::Vec;

use crate::dictionary::Kept;
use crate::{Dictionary, MAX_FRAME, frame, hpack};

/// The encoded fields of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Block {
    /// The fields in a form that no table takes.
    bytes: Vec<u8>,
    fields: Vec<Field>,
    /// The fields as references to a table that has the whole dictionary, and the dictionary's size.
    short: Vec<u8>,
    whole: usize,
}

/// A field of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    /// Its end in the block's bytes.
    end: usize,
    /// Its place in the dictionary, and the form in which it enters a table.
    entry: Option<(usize, Vec<u8>)>,
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
        self.fields.clear();
        self.short.clear();
        self.whole = 0;
    }

    /// Appends a field. Names are written in lower case, as HTTP/2 wants them (RFC 9113, 8.2.1).
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        write_field(&mut self.bytes, name, value, 4, 0);
    }

    /// Appends a field, and lets the server keep it if the dictionary has room for it.
    pub fn push_kept(&mut self, name: &[u8], value: &[u8], dictionary: &mut Dictionary) {
        let before = self.bytes.len();
        let entry = if write_field(&mut self.bytes, name, value, 4, 0) {
            None
        } else {
            let mut entering = Vec::new();
            write_field(&mut entering, name, value, 6, 0x40);
            let place = dictionary.place(&entering, name.len(), value.len());
            place.map(|place| (place, entering))
        };
        debug_assert_eq!(before, self.fields.last().map_or(0, |field| field.end));
        self.fields.push(Field { end: self.bytes.len(), entry });
    }

    /// Prepares the form that a server understands once it has all fields of the dictionary, to which
    /// none is added any more.
    pub fn shorten(&mut self, dictionary: &Dictionary) {
        self.whole = dictionary.len();
        let mut short = Vec::new();
        self.refer(&mut Kept::First(self.whole), &mut short);
        self.short = short;
    }

    /// Appends the fields in a form that refers to the server's table, and enters what comes next there.
    fn refer(&self, kept: &mut Kept, out: &mut Vec<u8>) {
        let mut start = 0;
        for Field { end, entry } in &self.fields {
            let literal = &self.bytes[start..*end];
            start = *end;
            match entry {
                None => out.extend_from_slice(literal),
                Some((place, entering)) => match (kept.index(*place), &mut *kept) {
                    (Some(index), _) => hpack::write_integer(out, index, 7, 0x80),
                    (None, Kept::First(count)) if count == place => {
                        *count += 1;
                        out.extend_from_slice(entering);
                    }
                    (None, _) => out.extend_from_slice(literal),
                },
            }
        }
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
    pub(crate) fn write(&self, kept: &mut Kept, out: &mut Vec<u8>, stream: u32, is_last: bool) {
        match *kept {
            Kept::First(count) if count == self.whole && !self.short.is_empty() => {
                write_frames(&self.short, out, stream, is_last);
            }
            Kept::Nothing => write_frames(&self.bytes, out, stream, is_last),
            Kept::First(_) if self.fields.is_empty() => {
                write_frames(&self.bytes, out, stream, is_last);
            }
            Kept::First(_) => {
                let mut block = Vec::new();
                self.refer(kept, &mut block);
                write_frames(&block, out, stream, is_last);
            }
            Kept::Refused => {
                // The new size of the table, which comes before any field (RFC 7541, 4.2).
                *kept = Kept::Nothing;
                write_frames(&[&[0x20], &self.bytes[..]].concat(), out, stream, is_last);
            }
        }
    }

    /// Returns the encoded fields.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Appends a field: its index if the static table has it, and returns true; else a literal whose first
/// byte has a prefix of `bits` bits and is `first` beside it.
fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8], bits: u32, first: u8) -> bool {
    let mut lower = [0; 64];
    let found = lower.get_mut(..name.len()).and_then(|lower| {
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        hpack::find(lower, value)
    });
    match found {
        Some((index, true)) => {
            hpack::write_integer(out, index, 7, 0x80);
            return true;
        }
        Some((index, false)) => hpack::write_integer(out, index, bits, first),
        None => {
            out.push(first);
            hpack::write_integer(out, name.len(), 7, 0);
            out.extend(name.iter().map(u8::to_ascii_lowercase));
        }
    }
    hpack::write_integer(out, value.len(), 7, 0);
    out.extend_from_slice(value);
    false
}

#[inline]
fn write_frames(block: &[u8], out: &mut Vec<u8>, stream: u32, is_last: bool) {
    let end_stream = if is_last { frame::END_STREAM } else { 0 };
    if block.len() <= MAX_FRAME {
        let flags = frame::END_HEADERS | end_stream;
        frame::write(out, block.len(), frame::HEADERS, flags, stream);
        out.extend_from_slice(block);
        return;
    }
    let parts = block.chunks(MAX_FRAME);
    let last = parts.len() - 1;
    for (at, part) in parts.enumerate() {
        let kind = if at == 0 { frame::HEADERS } else { frame::CONTINUATION };
        let mut flags = if at == 0 { end_stream } else { 0 };
        flags |= if at == last { frame::END_HEADERS } else { 0 };
        frame::write(out, part.len(), kind, flags, stream);
        out.extend_from_slice(part);
    }
}

/// Appends the header of a DATA frame of `length` bytes, at most [`MAX_FRAME`].
pub fn write_data_header(out: &mut Vec<u8>, stream: u32, length: usize, is_last: bool) {
    let flags = if is_last { frame::END_STREAM } else { 0 };
    frame::write(out, length, frame::DATA, flags, stream);
}
