//! Header blocks, as far as it takes to judge their fields and to know what the peer's table holds:
//! names, values and Huffman's code are measured, not decoded (RFC 7541). Pure.

use std::collections::VecDeque;

use keepwarm_http2::STATIC_TABLE;

use super::MAX_HEADER_LIST;

/// Size of an entry beyond its name and value.
const OVERHEAD: usize = 32;
/// The table that the client's settings allow.
const TABLE_SIZE: usize = 4096;
/// Name of the field that stands for what `h2` cannot decode. With another value than `trailers` it
/// is a field of one connection, for which `h2` resets the stream.
const STAND_IN: &[u8] = b"te";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldKind {
    Plain,
    /// A field that the stand-in replaces.
    Undecodable,
    /// A pseudo-field of requests.
    OfRequests,
    Status {
        is_final: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: FieldKind,
    name: usize,
    value: usize,
}

impl Entry {
    const fn size(&self) -> usize {
        self.name + self.value + OVERHEAD
    }
}

/// The peer's dynamic table, by the sizes and kinds of its entries.
#[derive(Debug)]
pub(super) struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
    /// Changes since the start of a block, so that it can be read twice.
    entered: usize,
    evicted: Vec<Entry>,
    limit_before: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: TABLE_SIZE,
            entered: 0,
            evicted: Vec::new(),
            limit_before: TABLE_SIZE,
        }
    }
}

/// Facts of one block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SeenBlock {
    pub(super) is_malformed: bool,
    pub(super) is_too_large: bool,
    /// True if the block has a status of 200 or more.
    pub(super) is_final: bool,
    /// Size of its fields (RFC 9113, 6.5.2).
    pub(super) size: usize,
}

/// One instruction of a block.
enum Step {
    Indexed(usize),
    Literal { enters: bool, entry: Entry },
    Resize(usize),
}

impl Table {
    /// Reads a block. `None` if it is no header block.
    pub(super) fn read(&mut self, block: &[u8], is_trailer: bool) -> Option<SeenBlock> {
        (self.entered, self.limit_before) = (0, self.limit);
        self.evicted.clear();
        let mut seen = SeenBlock::default();
        let mut rest = block;
        while !rest.is_empty() {
            let step = self.step(&mut rest)?;
            self.apply(&step, is_trailer, &mut seen)?;
        }
        Some(seen)
    }

    /// Returns true if the block that was read last has changed the table.
    pub(super) fn has_changed(&self) -> bool {
        self.entered > 0 || !self.evicted.is_empty() || self.limit != self.limit_before
    }

    /// Goes back to the start of the block that was read last.
    pub(super) fn rewind(&mut self) {
        self.entries.extend(self.evicted.drain(..).rev());
        self.entries.drain(..self.entered.min(self.entries.len()));
        self.size = self.entries.iter().map(Entry::size).sum();
        (self.entered, self.limit) = (0, self.limit_before);
    }

    /// Returns a block that `h2` decodes to the same table, and takes for malformed.
    pub(super) fn correct(&mut self, block: &[u8], is_trailer: bool) -> Option<Vec<u8>> {
        let (mut corrected, mut seen) =
            (Vec::with_capacity(block.len() + 16), SeenBlock::default());
        let mut rest = block;
        while !rest.is_empty() {
            let before = rest;
            let step = self.step(&mut rest)?;
            match &step {
                Step::Literal { enters, entry } if entry.kind == FieldKind::Undecodable => {
                    corrected.push(if *enters { 0x40 } else { 0 });
                    put(&mut corrected, STAND_IN);
                    let filler = (entry.name + entry.value).saturating_sub(STAND_IN.len());
                    put(&mut corrected, &vec![b'x'; filler]);
                }
                _ => corrected.extend_from_slice(&before[..before.len() - rest.len()]),
            }
            self.apply(&step, is_trailer, &mut seen)?;
        }
        corrected.push(0);
        put(&mut corrected, STAND_IN);
        put(&mut corrected, b"x");
        Some(corrected)
    }

    fn apply(&mut self, step: &Step, is_trailer: bool, seen: &mut SeenBlock) -> Option<()> {
        let entry = match step {
            Step::Resize(limit) => {
                self.limit = (*limit).min(TABLE_SIZE);
                self.evict(0);
                return Some(());
            }
            Step::Indexed(index) => self.entry(*index)?,
            Step::Literal { entry, .. } => *entry,
        };
        if let Step::Literal { enters: true, .. } = step {
            self.evict(entry.size());
            if entry.size() <= self.limit {
                self.size += entry.size();
                self.entered += 1;
                self.entries.push_front(entry);
            }
        }
        seen.size = seen.size.saturating_add(entry.size());
        seen.is_too_large = seen.size >= MAX_HEADER_LIST as usize;
        match entry.kind {
            FieldKind::Plain => {}
            FieldKind::Undecodable | FieldKind::OfRequests => seen.is_malformed = true,
            FieldKind::Status { is_final } => {
                seen.is_malformed |= is_trailer;
                seen.is_final |= is_final;
            }
        }
        Some(())
    }

    /// Makes room for an entry.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.limit {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size();
            self.evicted.push(oldest);
        }
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        match index.checked_sub(1)? {
            index if index < STATIC.len() => {
                let (name, value) = STATIC[index];
                Some(Entry { kind: static_kind(index), name, value })
            }
            index => self.entries.get(index - STATIC.len()).copied(),
        }
    }

    /// Takes one instruction off.
    #[inline]
    fn step(&self, rest: &mut &[u8]) -> Option<Step> {
        let first = *rest.first()?;
        if first & 0x80 != 0 {
            return Some(Step::Indexed(integer(rest, 7)?));
        }
        if first & 0xe0 == 0x20 {
            return Some(Step::Resize(integer(rest, 5)?));
        }
        let enters = first & 0x40 != 0;
        let index = integer(rest, if enters { 6 } else { 4 })?;
        let (name, kind) = match index {
            0 => {
                let name = Text::take(rest)?;
                let kind = match name.is_status() {
                    true => FieldKind::Status { is_final: true },
                    false if name.is_field_name() => FieldKind::Plain,
                    false => FieldKind::Undecodable,
                };
                (name.length()?, kind)
            }
            index => {
                let entry = self.entry(index)?;
                (entry.name, entry.kind)
            }
        };
        let value = Text::take(rest)?;
        let kind = match kind {
            FieldKind::Status { .. } => value.status(),
            FieldKind::Plain if value.is_field_value() => FieldKind::Plain,
            _ => FieldKind::Undecodable,
        };
        Some(Step::Literal { enters, entry: Entry { kind, name, value: value.length()? } })
    }
}

/// A string of a block.
struct Text<'a> {
    bytes: &'a [u8],
    is_huffman: bool,
}

impl<'a> Text<'a> {
    fn take(rest: &mut &'a [u8]) -> Option<Self> {
        let is_huffman = *rest.first()? & 0x80 != 0;
        let length = integer(rest, 7)?;
        let bytes = rest.get(..length)?;
        *rest = &rest[length..];
        Some(Self { bytes, is_huffman })
    }

    /// Bytes of the text.
    fn length(&self) -> Option<usize> {
        if self.is_huffman { huffman_length(self.bytes) } else { Some(self.bytes.len()) }
    }

    /// The text itself, if it is short.
    fn short(&self) -> Option<([u8; 16], usize)> {
        let mut text = [0; 16];
        if !self.is_huffman {
            text.get_mut(..self.bytes.len())?.copy_from_slice(self.bytes);
            return Some((text, self.bytes.len()));
        }
        let length = self.length().filter(|length| *length <= text.len())?;
        let mut bits = Bits::of(self.bytes);
        for byte in &mut text[..length] {
            *byte = text_of(bits.symbol()?).unwrap_or(b'?');
        }
        Some((text, length))
    }

    fn is(&self, other: &[u8]) -> bool {
        self.short().is_some_and(|(text, length)| text[..length] == *other)
    }

    fn is_status(&self) -> bool {
        self.begins_with_colon() && self.is(b":status")
    }

    fn begins_with_colon(&self) -> bool {
        match self.bytes.first() {
            Some(first) if self.is_huffman => first >> 1 == 0x5c,
            Some(first) => *first == b':',
            None => false,
        }
    }

    /// Returns true unless it is known not to be a name: a pseudo-field, or no token in lower case.
    fn is_field_name(&self) -> bool {
        if !self.is_huffman {
            let is_token = |byte: &u8| {
                byte.is_ascii_lowercase()
                    || byte.is_ascii_digit()
                    || b"!#$%&'*+-.^_`|~".contains(byte)
            };
            return !self.bytes.is_empty() && self.bytes.iter().all(is_token);
        }
        let mut bits = Bits::of(self.bytes);
        while let Some(symbol) = bits.symbol() {
            let is_refused = match text_of(symbol) {
                Some(byte) => byte.is_ascii_uppercase() || b" /=:,;".contains(&byte),
                None => false,
            };
            if is_refused {
                return false;
            }
        }
        true
    }

    /// Returns true unless it is known to have a byte that no value has.
    fn is_field_value(&self) -> bool {
        let is_refused = |&byte: &u8| (byte < b' ' && byte != b'\t') || byte == 0x7f;
        self.is_huffman || !self.bytes.iter().any(is_refused)
    }

    /// Kind of a status with this value.
    fn status(&self) -> FieldKind {
        match self.short() {
            // HTTP/2 has no upgrade (RFC 9113, 8.6).
            Some(([b'1', b'0', b'1', ..], 3)) => FieldKind::Undecodable,
            Some(([first @ b'1'..=b'9', second, third, ..], 3))
                if second.is_ascii_digit() && third.is_ascii_digit() =>
            {
                FieldKind::Status { is_final: first != b'1' }
            }
            _ => FieldKind::Undecodable,
        }
    }
}

/// An integer of a prefix (RFC 7541, 5.1).
#[inline]
fn integer(rest: &mut &[u8], prefix: u32) -> Option<usize> {
    let (&first, mut tail) = rest.split_first()?;
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(first) & mask;
    if value == mask {
        for shift in (0..28).step_by(7) {
            let (&byte, next) = tail.split_first()?;
            tail = next;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *rest = tail;
                return Some(value);
            }
        }
        return None;
    }
    *rest = tail;
    Some(value)
}

/// Writes a string without Huffman's code.
fn put(block: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        block.push(u8::try_from(text.len()).unwrap_or_default());
    } else {
        block.push(127);
        let mut rest = text.len() - 127;
        while rest >= 128 {
            block.push(u8::try_from(rest & 127).unwrap_or_default() | 128);
            rest >>= 7;
        }
        block.push(u8::try_from(rest).unwrap_or_default());
    }
    block.extend_from_slice(text);
}

/// Symbols of each width in Huffman's code, which is canonical (RFC 7541, appendix B).
const WIDTHS: [(u32, u32); 21] = [
    (5, 10),
    (6, 26),
    (7, 32),
    (8, 6),
    (10, 5),
    (11, 3),
    (12, 2),
    (13, 6),
    (14, 2),
    (15, 3),
    (19, 3),
    (20, 8),
    (21, 13),
    (22, 26),
    (23, 29),
    (24, 12),
    (25, 4),
    (26, 15),
    (27, 19),
    (28, 29),
    (30, 4),
];

/// Bits of a text in Huffman's code, from the first on.
struct Bits<'a> {
    bytes: &'a [u8],
    window: u64,
    filled: u32,
}

impl<'a> Bits<'a> {
    const fn of(bytes: &'a [u8]) -> Self {
        Self { bytes, window: 0, filled: 0 }
    }

    /// Width and rank of the next symbol; `None` at the end, or at no symbol.
    #[inline]
    fn symbol(&mut self) -> Option<(u32, usize)> {
        while self.filled <= 56
            && let Some((&byte, rest)) = self.bytes.split_first()
        {
            self.window |= u64::from(byte) << (56 - self.filled);
            self.filled += 8;
            self.bytes = rest;
        }
        let (mut first, mut last_width) = (0_u64, 5);
        for (width, count) in WIDTHS {
            first <<= width - last_width;
            last_width = width;
            let code = self.window >> (64 - width);
            if code < first + u64::from(count) {
                if width > self.filled {
                    return None;
                }
                self.window <<= width;
                self.filled -= width;
                return Some((width, usize::try_from(code - first).ok()?));
            }
            first += u64::from(count);
        }
        None
    }
}

/// The byte of a symbol, if it has one of the short codes.
fn text_of((width, rank): (u32, usize)) -> Option<u8> {
    match width {
        5 => Some(b"012aceiost"[rank]),
        6 => Some(b" %-./3456789=A_bdfghlmnpru"[rank]),
        7 => Some(b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz"[rank]),
        8 => Some(b"&*,;XZ"[rank]),
        _ => None,
    }
}

/// Bytes of a text in Huffman's code. The rest of the last byte is ones, fewer than eight.
fn huffman_length(bytes: &[u8]) -> Option<usize> {
    let mut bits = Bits::of(bytes);
    let mut length = 0;
    while bits.symbol().is_some() {
        length += 1;
    }
    (bits.bytes.is_empty() && bits.filled < 8).then_some(length)
}

const fn static_kind(index: usize) -> FieldKind {
    match index {
        0..=6 => FieldKind::OfRequests,
        7..=13 => FieldKind::Status { is_final: true },
        _ => FieldKind::Plain,
    }
}

/// Lengths of names and values in the static table.
const STATIC: [(usize, usize); STATIC_TABLE.len()] = lengths(STATIC_TABLE);

const fn lengths<const N: usize>(fields: [(&str, &str); N]) -> [(usize, usize); N] {
    let mut lengths = [(0, 0); N];
    let mut index = 0;
    while index < fields.len() {
        lengths[index] = (fields[index].0.len(), fields[index].1.len());
        index += 1;
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of RFC 7541, appendix C.4 and C.6.
    #[test]
    fn huffman_texts_are_measured() {
        for (length, bytes) in [
            (15, &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..]),
            (8, &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            (10, &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f]),
            (3, &[0x64, 0x02]),
            (7, &[0xae, 0xc3, 0x77, 0x1a, 0x4b]),
        ] {
            assert_eq!(huffman_length(bytes), Some(length), "{bytes:?}");
        }
        let widths: u32 = WIDTHS.iter().map(|(_, count)| count).sum();
        assert_eq!(widths, 257, "every byte, and the end");
    }

    /// The three responses of appendix C.6, whose table of 256 bytes evicts on the way.
    #[test]
    fn table_follows_the_examples() {
        let hex = |text: &str| -> Vec<u8> {
            let digits: Vec<_> = text.bytes().filter(|byte| *byte != b' ').collect();
            let byte = |pair: &[u8]| {
                let pair = std::str::from_utf8(pair).expect("digits");
                u8::from_str_radix(pair, 16).expect("a byte")
            };
            digits.chunks(2).map(byte).collect()
        };
        let responses = [
            (
                "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b \
              ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
                222,
            ),
            ("4883 640e ffc1 c0bf", 222),
            (
                "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad \
              94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 \
              65c0 03ed 4ee5 b106 3d50 07",
                215,
            ),
        ];
        let mut table = Table { limit: 256, ..Table::default() };
        for (block, size) in responses {
            for _ in 0..2 {
                let seen = table.read(&hex(block), false).expect("a block");
                assert!(!seen.is_malformed && seen.is_final);
                assert_eq!(table.size, size);
                table.rewind();
            }
            table.read(&hex(block), false).expect("a block");
        }
    }
}
