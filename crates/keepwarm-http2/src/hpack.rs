//! Blocks of fields (RFC 7541) that refer to the static table alone: its fields, and literals. Owns the
//! reading of a block; the other table is `table`'s, and the meaning of a field the response's.

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

/// Position in a block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn of(block: &'a [u8]) -> Self {
        Self { rest: block }
    }

    /// Returns the next byte, and does not take it.
    #[inline]
    pub(crate) fn first(self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Returns the bytes from here to a later position of the same block.
    #[inline]
    pub(crate) fn until(self, later: Self) -> &'a [u8] {
        &self.rest[..self.rest.len().saturating_sub(later.rest.len())]
    }

    /// Reads an integer whose first byte has a prefix of `bits` bits (RFC 7541, 5.1).
    #[inline]
    pub(crate) fn integer(&mut self, bits: u32) -> Option<usize> {
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

    /// Reads a string, and leaves it as it stands there.
    #[inline]
    pub(crate) fn text(&mut self) -> Option<Text<'a>> {
        let is_huffman = self.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(if is_huffman { Text::Huffman(text) } else { Text::Plain(text) })
    }
}

/// The fields of a block that refers to the static table alone, one by one; `Err` for bytes that are no
/// such block. [`Connection`](crate::Connection) hands out blocks of this form.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: Cursor<'a>,
}

impl<'a> Fields<'a> {
    /// Reads the fields of `block`.
    #[must_use]
    pub fn of(block: &'a [u8]) -> Self {
        Self { rest: Cursor::of(block) }
    }

    #[inline]
    fn read(&mut self, first: u8) -> Option<Field<'a>> {
        let rest = &mut self.rest;
        if first & 0x80 != 0 {
            let index = rest.integer(7)?;
            let (_, value) = STATIC_TABLE.get(index.checked_sub(1)?)?;
            let value = Text::Plain(value.as_bytes());
            return Some(Field { name: Name::Static(index), value, is_indexed: true });
        }
        if first & 0xf0 != 0 {
            // An entry of a table, or a change of its size.
            return None;
        }
        let name = match rest.integer(4)? {
            0 => Name::Literal(rest.text()?),
            index if index <= STATIC_TABLE.len() => Name::Static(index),
            _ => return None,
        };
        Some(Field { name, value: rest.text()?, is_indexed: false })
    }
}

/// A block that cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadBlock;

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, BadBlock>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let first = self.rest.first()?;
        let field = self.read(first).ok_or(BadBlock);
        if field.is_err() {
            self.rest = Cursor::of(&[]);
        }
        Some(field)
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
