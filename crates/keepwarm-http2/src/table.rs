//! The table of fields that the server fills (RFC 7541, 2.3.2). Owns its entries, and turns a block that
//! refers to them into one that refers to the static table alone. The meaning of such a block does not
//! depend on the blocks before it, so the reader of responses keeps no state.
//!
//! A server's heads repeat. The last block that left the table as it was is kept beside its other form,
//! and the same bytes again are not read again.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::hpack::{Cursor, Text, write_integer};
use crate::{MAX_BLOCK, Refusal, STATIC_TABLE};

/// The size of a table whose owner does not choose another one (RFC 9113, 6.5.2).
pub(crate) const TABLE_SIZE: usize = 4096;

/// The size that an entry has beside its bytes (RFC 7541, 4.1).
pub(crate) const OVERHEAD: usize = 32;

/// The longest block that is kept as the last one.
const LONGEST_KNOWN: usize = 1024;

/// A field that the server has put into the table.
#[derive(Debug)]
struct Entry {
    /// The field as a literal that no table takes.
    literal: Box<[u8]>,
    /// Length of the name's part of `literal`.
    name_part: usize,
    /// Decoded length of the name.
    name: usize,
    /// Size by RFC 7541, 4.1.
    size: usize,
}

/// A server's table of fields.
#[derive(Debug)]
pub(crate) struct Table {
    /// Entries, the newest first.
    entries: VecDeque<Entry>,
    size: usize,
    limit: usize,
    /// The last block that left the table as it was; empty after one that changed it.
    known: Vec<u8>,
    /// The other form of the last block.
    plain: Vec<u8>,
    /// Memory for a string that is decoded to learn its length.
    decoded: Vec<u8>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            limit: TABLE_SIZE,
            known: Vec::new(),
            plain: Vec::new(),
            decoded: Vec::new(),
        }
    }
}

impl Table {
    /// Takes the entries of `block` into the table, and returns the block in a form that refers to the
    /// static table alone; `None` if that form is larger than [`MAX_BLOCK`].
    ///
    /// # Errors
    ///
    /// The block cannot be decoded, so that the table is not known any more.
    #[inline]
    pub(crate) fn resolve(&mut self, block: &[u8]) -> Result<Option<&[u8]>, Refusal> {
        if self.known.is_empty() || self.known != block {
            self.known.clear();
            let read = self.read(block).ok_or(Refusal::Compression)?;
            if read.is_too_large {
                return Ok(None);
            }
            if !read.has_changed && block.len() <= LONGEST_KNOWN {
                self.known.extend_from_slice(block);
            }
        }
        Ok(Some(&self.plain))
    }

    /// Forgets all entries, because a block was passed over that may have changed them. A later block
    /// that refers to one of them cannot be decoded.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        self.entries.clear();
        self.size = 0;
    }

    /// Reads a block into `plain`. Returns `None` if it cannot be decoded.
    fn read(&mut self, block: &[u8]) -> Option<Seen> {
        self.plain.clear();
        let mut seen = Seen::default();
        let mut rest = Cursor::of(block);
        let mut has_fields = false;
        while let Some(first) = rest.first() {
            if first & 0xe0 == 0x20 {
                let limit = rest.integer(5)?;
                if has_fields || limit > TABLE_SIZE {
                    return None;
                }
                seen.has_changed |= limit != self.limit;
                self.limit = limit;
                self.evict(0);
                continue;
            }
            has_fields = true;
            let start = self.plain.len();
            let start_of_field = rest;
            if first & 0x80 != 0 {
                match rest.integer(7)? {
                    0 => return None,
                    1..=STATIC => self.plain.extend_from_slice(start_of_field.until(rest)),
                    index => {
                        let entry = self.entries.get(index - STATIC - 1)?;
                        if !seen.is_too_large {
                            self.plain.extend_from_slice(&entry.literal);
                        }
                    }
                }
            } else {
                let enters = first & 0x40 != 0;
                seen.has_changed |= self.literal(&mut rest, enters)?;
            }
            if self.plain.len() > MAX_BLOCK {
                seen.is_too_large = true;
                self.plain.truncate(start);
            }
        }
        Some(seen)
    }

    /// Appends a literal field to `plain`, and lets it enter the table. Returns true if that has changed
    /// the table.
    fn literal(&mut self, rest: &mut Cursor<'_>, enters: bool) -> Option<bool> {
        let start = self.plain.len();
        let index = rest.integer(if enters { 6 } else { 4 })?;
        let may_enter = enters && self.limit >= OVERHEAD;
        let name = match index {
            0 => {
                let before = *rest;
                let name = rest.text()?;
                self.plain.push(0);
                self.plain.extend_from_slice(before.until(*rest));
                if may_enter { self.length_of(name)? } else { 0 }
            }
            1..=STATIC => {
                write_integer(&mut self.plain, index, 4, 0);
                STATIC_TABLE[index - 1].0.len()
            }
            _ => {
                let entry = self.entries.get(index - STATIC - 1)?;
                self.plain.extend_from_slice(&entry.literal[..entry.name_part]);
                entry.name
            }
        };
        let name_part = self.plain.len() - start;
        let before = *rest;
        let value = rest.text()?;
        self.plain.extend_from_slice(before.until(*rest));
        if !may_enter {
            return Some(false);
        }
        let size = name + self.length_of(value)? + OVERHEAD;
        if size > self.limit {
            // It empties the table, and does not enter it (RFC 7541, 4.4).
            let had_entries = !self.entries.is_empty();
            self.forget();
            return Some(had_entries);
        }
        self.evict(size);
        self.size += size;
        let literal = self.plain[start..].into();
        self.entries.push_front(Entry { literal, name_part, name, size });
        Some(true)
    }

    /// Removes the oldest entries until `room` bytes more fit.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.limit
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size -= oldest.size;
        }
    }

    /// Returns the decoded length of a string.
    fn length_of(&mut self, text: Text<'_>) -> Option<usize> {
        if let Text::Plain(bytes) = text {
            return Some(bytes.len());
        }
        self.decoded.clear();
        text.decode(usize::MAX, &mut self.decoded)?;
        Some(self.decoded.len())
    }
}

/// Number of entries of the static table.
const STATIC: usize = STATIC_TABLE.len();

/// Result of reading a block.
#[derive(Debug, Default)]
struct Seen {
    has_changed: bool,
    is_too_large: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(table: &mut Table, block: &[u8]) -> Vec<u8> {
        table.resolve(block).expect("a block").expect("a small one").to_vec()
    }

    /// ":status: 302" in Huffman's code enters, then "a: b"; the newest has index 62.
    const ENTERS: &[u8] = &[0x48, 0x82, 0x64, 0x02, 0x40, 1, b'a', 1, b'b'];

    #[test]
    fn references_become_literals() {
        let mut table = Table::default();
        let first = [0x08, 0x82, 0x64, 0x02, 0, 1, b'a', 1, b'b'];
        assert_eq!(resolved(&mut table, ENTERS), first);
        assert_eq!(table.size, (7 + 3 + 32) + (1 + 1 + 32));
        for _ in 0..3 {
            assert_eq!(resolved(&mut table, &[0xbf, 0xbe]), first);
            assert_eq!(table.known, [0xbf, 0xbe]);
        }
        // A name of the table with another value, and one that enters: it moves the others.
        let other = [0x0f, 0x2f, 1, b'c', 0x7e, 1, b'd', 0xbe, 0xbf];
        let expected = [0, 1, b'a', 1, b'c', 0, 1, b'a', 1, b'd', 0, 1, b'a', 1, b'd'];
        let expected = [&expected[..], &[0, 1, b'a', 1, b'b']].concat();
        assert_eq!(resolved(&mut table, &other), expected);
        assert_eq!(table.known, [], "the same bytes would mean something else now");
        assert_eq!(resolved(&mut table, &[0xbf]), [0, 1, b'a', 1, b'b']);
    }

    #[test]
    fn blocks_without_references_stay_as_they_are() {
        let mut table = Table::default();
        let block = [0x88, 0x0f, 0x0d, 1, b'4', 0x10, 1, b'a', 1, b'b'];
        let expected = [0x88, 0x0f, 0x0d, 1, b'4', 0, 1, b'a', 1, b'b'];
        assert_eq!(resolved(&mut table, &block), expected);
        assert_eq!(resolved(&mut table, &[]), []);
    }

    #[test]
    fn oldest_entries_leave_first() {
        let mut table = Table::default();
        // Each has 1,000 + 1 + 32 bytes: three fit.
        let entry = |name: u8| {
            let mut bytes = alloc::vec![0x40, 1, name];
            write_integer(&mut bytes, 1000, 7, 0);
            bytes.resize(bytes.len() + 1000, b'x');
            bytes
        };
        for name in [b'a', b'b', b'c', b'd'] {
            resolved(&mut table, &entry(name));
        }
        assert_eq!((table.entries.len(), table.size), (3, 3 * 1033));
        assert_eq!(resolved(&mut table, &[0xc0])[..3], [0, 1, b'b']);
        assert_eq!(table.resolve(&[0xc1]), Err(Refusal::Compression));
        // A smaller limit, and an entry that is larger than the table.
        resolved(&mut table, &[0x3f, 0xe1, 0x0f]);
        assert_eq!((table.entries.len(), table.limit), (1, 2048));
        resolved(&mut table, &[0x3f, 0xe1, 0x03]);
        assert_eq!((table.entries.len(), table.limit), (0, 512));
        resolved(&mut table, &entry(b'e'));
        assert_eq!((table.entries.len(), table.size), (0, 0));
    }

    /// nginx does so: it shrinks the table to nothing, and goes on to offer entries.
    #[test]
    fn table_without_room_stays_empty_and_knows_the_block() {
        let mut table = Table::default();
        resolved(&mut table, &[0x20, 0x88]);
        for _ in 0..2 {
            assert_eq!(resolved(&mut table, ENTERS)[0], 0x08);
            assert_eq!((table.entries.len(), &table.known[..]), (0, ENTERS));
        }
    }

    #[test]
    fn undecodable_blocks_are_refused() {
        let blocks: [&[u8]; 7] = [
            &[0x80],
            &[0xbe],
            &[0x88, 0x20],
            &[0x3f, 0xe2, 0x1f],
            &[0x7e, 1, b'a'],
            &[0x40, 1, b'a', 0x81, 0x18],
            &[0x40, 1],
        ];
        for block in blocks {
            assert_eq!(Table::default().resolve(block), Err(Refusal::Compression), "{block:?}");
        }
    }

    /// Each byte of such a block stands for an entry of 4 KiB.
    #[test]
    fn bomb_is_too_large() {
        let mut table = Table::default();
        let mut entry = alloc::vec![0x40, 1, b'a'];
        write_integer(&mut entry, 4000, 7, 0);
        entry.resize(entry.len() + 4000, b'x');
        resolved(&mut table, &entry);
        assert_eq!(table.resolve(&[0xbe; 60_000]), Ok(None));
        assert!(table.plain.capacity() <= 2 * MAX_BLOCK + 8192, "{}", table.plain.capacity());
        assert_eq!(resolved(&mut table, &[0x88]), [0x88]);
        assert_eq!(resolved(&mut table, &[0xbe]).len(), 4006);
    }

    #[test]
    fn forgotten_entries_cannot_be_referred_to() {
        let mut table = Table::default();
        resolved(&mut table, ENTERS);
        resolved(&mut table, &[0xbe]);
        table.forget();
        assert_eq!(table.resolve(&[0xbe]), Err(Refusal::Compression));
        assert_eq!(resolved(&mut table, &[0x88]), [0x88]);
    }
}
