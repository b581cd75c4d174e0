//! Blocks of fields (RFC 7541) with a table of size 0: fields of the static table, and literals. Owns the
//! reading of a block; the meaning of a field is the response's.

use alloc::vec::Vec;

use crate::{STATIC_TABLE, huffman};

/// A string of a block, as it stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    Plain(&'a [u8]),
    Huffman(&'a [u8]),
}

impl Text<'_> {
    /// Appends the bytes of the string, at most `limit` of them. Returns `None` for a string that
    /// cannot be decoded, or is longer.
    pub(crate) fn decode(self, limit: usize, out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Plain(bytes) if bytes.len() > limit => None,
            Self::Plain(bytes) => {
                out.extend_from_slice(bytes);
                Some(())
            }
            Self::Huffman(bytes) => huffman::decode(bytes, limit, out),
        }
    }

    /// Returns the number of bytes that stand in the block.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Plain(bytes) | Self::Huffman(bytes) => bytes.len(),
        }
    }
}

/// The name of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name<'a> {
    /// An index of the static table, from 1 to 61.
    Static(usize),
    Literal(Text<'a>),
}

/// A field of a block, not decoded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    pub(crate) name: Name<'a>,
    pub(crate) value: Text<'a>,
    /// Name and value are those of the static table.
    pub(crate) is_indexed: bool,
}

impl Field<'_> {
    /// Appends the name. Returns `None` if it cannot be decoded, or has more than `limit` bytes.
    pub fn decode_name(&self, limit: usize, out: &mut Vec<u8>) -> Option<()> {
        match self.name {
            Name::Static(index) => {
                out.extend_from_slice(STATIC_TABLE[index - 1].0.as_bytes());
                Some(())
            }
            Name::Literal(text) => text.decode(limit, out),
        }
    }

    /// Appends the value. Returns `None` if it cannot be decoded, or has more than `limit` bytes.
    pub fn decode_value(&self, limit: usize, out: &mut Vec<u8>) -> Option<()> {
        self.value.decode(limit, out)
    }
}

/// The fields of a block, one by one; `Err` for bytes that are no block, or that refer to a table
/// that has size 0.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    /// True once a field was read: no change of the table's size may follow (RFC 7541, 4.2).
    begun: bool,
}

impl<'a> Fields<'a> {
    /// Reads the fields of `block`.
    #[must_use]
    pub fn of(block: &'a [u8]) -> Self {
        Self { rest: block, begun: false }
    }

    fn read(&mut self, first: u8) -> Option<Option<Field<'a>>> {
        if first & 0x80 != 0 {
            let index = self.integer(7)?;
            let (_, value) = STATIC_TABLE.get(index.checked_sub(1)?)?;
            let value = Text::Plain(value.as_bytes());
            return Some(Some(Field { name: Name::Static(index), value, is_indexed: true }));
        }
        if first & 0xe0 == 0x20 {
            let size = self.integer(5)?;
            return (size == 0 && !self.begun).then_some(None);
        }
        // A table of size 0 stores no literal, whether the literal asks for it or not.
        let index = self.integer(if first & 0x40 != 0 { 6 } else { 4 })?;
        let name = match index {
            0 => Name::Literal(self.text()?),
            1..=61 => Name::Static(index),
            _ => return None,
        };
        Some(Some(Field { name, value: self.text()?, is_indexed: false }))
    }

    /// Reads an integer whose first byte has a prefix of `bits` bits (RFC 7541, 5.1).
    #[inline]
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let (first, mut rest) = self.rest.split_first()?;
        let mask = (1_u8 << bits) - 1;
        let mut value = usize::from(first & mask);
        if first & mask == mask {
            let mut shift = 0;
            loop {
                let (byte, behind) = rest.split_first()?;
                rest = behind;
                // No length of a block of 64 KiB takes more than three bytes; leading zeros do.
                if shift > 21 {
                    return None;
                }
                value += usize::from(byte & 0x7f) << shift;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
            }
        }
        self.rest = rest;
        Some(value)
    }

    #[inline]
    fn text(&mut self) -> Option<Text<'a>> {
        let is_huffman = self.rest.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(if is_huffman { Text::Huffman(text) } else { Text::Plain(text) })
    }
}

/// A block that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBlock;

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, BadBlock>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = *self.rest.first()?;
            match self.read(first) {
                Some(Some(field)) => {
                    self.begun = true;
                    return Some(Ok(field));
                }
                Some(None) => {}
                None => {
                    self.rest = &[];
                    return Some(Err(BadBlock));
                }
            }
        }
    }
}

/// Returns the index of the static table whose name is `name`, and whether its value is `value`.
pub(crate) fn find(name: &[u8], value: &[u8]) -> Option<(usize, bool)> {
    let mut by_name = None;
    for (at, (own_name, own_value)) in STATIC_TABLE.iter().enumerate() {
        if own_name.as_bytes() == name {
            if !own_value.is_empty() && own_value.as_bytes() == value {
                return Some((at + 1, true));
            }
            by_name = by_name.or(Some((at + 1, false)));
        }
    }
    by_name
}

/// Appends an integer with a prefix of `bits` bits, whose other bits are `first`.
pub(crate) fn write_integer(out: &mut Vec<u8>, value: usize, bits: u32, first: u8) {
    let most = (1_usize << bits) - 1;
    let low = |value: usize| u8::try_from(value & 0x7f).unwrap_or(0);
    if value < most {
        out.push(first | low(value));
        return;
    }
    out.push(first | u8::try_from(most).unwrap_or(0));
    let mut rest = value - most;
    while rest >= 0x80 {
        out.push(0x80 | low(rest));
        rest >>= 7;
    }
    out.push(low(rest));
}
