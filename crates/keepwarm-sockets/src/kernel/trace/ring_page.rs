//! Decoder of the pages of the kernel's trace ring, as read from `trace_pipe_raw`: records with
//! their times.
//!
//! Owns the layout of a page (Documentation/trace/ring-buffer-map.rst,
//! include/linux/ring_buffer.h). Pure: an entry that is cut off or inconsistent ends the page and
//! is counted, and never panics. Decodes no record: see `event`.

use super::event_format::{Field, Format};

/// Bits of the commit word (kernel/trace/ring_buffer.c): records were lost before this page, and
/// their number is stored after its data.
const MISSED: u64 = 1 << 31;
const MISSED_STORED: u64 = 1 << 30;
const LENGTH: u64 = MISSED_STORED - 1;

const PADDING: u32 = 29;
const TIME_EXTEND: u32 = 30;
const TIME_STAMP: u32 = 31;
/// Width of a record's time difference.
const DELTA_BITS: u32 = 27;
/// Bits that an absolute time stamp does not carry; they are taken from the time of the page.
const HIGH_BITS: u64 = 0xf8 << 56;

/// Offsets of the parts of a page, from `events/header_page`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageLayout {
    timestamp: usize,
    commit: Field,
    data: usize,
}

/// Losses that a page reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Missed {
    /// Minimum number of records that the kernel overwrote before they were read.
    pub(crate) lost: u64,
    /// True if the page ended before its stated length.
    pub(crate) malformed: bool,
}

impl PageLayout {
    pub(crate) fn parse(header_page: &str) -> Option<PageLayout> {
        let format = Format::parse(header_page);
        let timestamp = format.field("timestamp").filter(|field| field.size == 8)?.offset;
        Some(PageLayout {
            timestamp,
            commit: format.field("commit")?,
            data: format.field("data")?.offset,
        })
    }

    /// Hands each record of a page to `with`, with its time in nanoseconds of the trace clock.
    pub(crate) fn each(&self, page: &[u8], mut with: impl FnMut(u64, &[u8])) -> Missed {
        let malformed = Missed { lost: 0, malformed: true };
        let Some(begun) = long(page, self.timestamp) else { return malformed };
        let Some(commit) = self.commit.number(page) else { return malformed };
        let Some(rest) = page.get(self.data..) else { return malformed };
        let length = usize::try_from(commit & LENGTH).unwrap_or(usize::MAX);
        let lost = match commit & (MISSED | MISSED_STORED) {
            0 => 0,
            flags if flags & MISSED_STORED != 0 => long(rest, length).unwrap_or(1).max(1),
            _ => 1,
        };
        let Some(mut data) = rest.get(..length) else { return Missed { lost, malformed: true } };
        let mut time = begun;
        while !data.is_empty() {
            let Some((size, record)) = step(data, begun, &mut time) else {
                return Missed { lost, malformed: true };
            };
            if let Some(record) = record {
                with(time, record);
            }
            data = &data[size..];
        }
        Missed { lost, malformed: false }
    }
}

/// Returns the size of the next entry, at most the rest of the data, and its record if the entry is
/// one.
fn step<'a>(data: &'a [u8], begun: u64, time: &mut u64) -> Option<(usize, Option<&'a [u8]>)> {
    let (kind, delta) = split(word(data, 0)?);
    let size = |bytes: u32| usize::try_from(bytes).ok().filter(|bytes| *bytes <= data.len());
    match kind {
        // The rest of the page is empty, or a record was discarded.
        PADDING if delta == 0 => Some((data.len(), None)),
        PADDING => Some((size(word(data, 4)?.checked_add(4)?)?, None)).filter(|step| step.0 >= 8),
        TIME_EXTEND => {
            let more = (u64::from(word(data, 4)?) << DELTA_BITS) + u64::from(delta);
            *time = time.wrapping_add(more);
            Some((8, None))
        }
        TIME_STAMP => {
            let low = (u64::from(word(data, 4)?) << DELTA_BITS) + u64::from(delta);
            *time = (begun & HIGH_BITS) | (low & !HIGH_BITS);
            Some((8, None))
        }
        kind => {
            *time = time.wrapping_add(delta.into());
            // A long record carries its length, which includes the four bytes of the length itself.
            let (start, end) = match kind {
                0 => (8, size(word(data, 4)?.checked_add(4)?)?),
                words => (4, size(words * 4 + 4)?),
            };
            // Entries are aligned to four bytes.
            let next = end.next_multiple_of(4).min(data.len());
            Some((next, Some(data.get(start..end)?)))
        }
    }
}

/// Splits the header of an entry into kind and time difference.
fn split(header: u32) -> (u32, u32) {
    if cfg!(target_endian = "little") {
        (header & 31, header >> 5)
    } else {
        (header >> DELTA_BITS, header & ((1 << DELTA_BITS) - 1))
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    // A test helper fails by a panic, as a test does.
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::tests::captured_trace as captured;

    fn layout() -> PageLayout {
        PageLayout::parse(captured::HEADER_PAGE).unwrap()
    }

    fn page(begun: u64, commit: u64, words: &[u32]) -> Vec<u8> {
        let mut page = begun.to_le_bytes().to_vec();
        page.extend(commit.to_le_bytes());
        page.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        page
    }

    fn read(page: &[u8]) -> (Vec<(u64, Vec<u8>)>, Missed) {
        let mut records = Vec::new();
        let missed = layout().each(page, |time, record| records.push((time, record.to_vec())));
        (records, missed)
    }

    #[test]
    fn the_captured_page_keeps_its_order() {
        let (records, missed) = read(captured::PAGE);
        assert_eq!(missed, Missed::default());
        assert_eq!(records.len(), captured::RECORDS);
        assert!(records.is_sorted_by_key(|(time, _)| *time));
        let seconds = records[0].0 as f64 / 1e9;
        assert!((seconds - captured::FIRST_S).abs() < 1e-5, "{seconds}");
    }

    #[test]
    fn extensions_and_stamps_change_the_time() {
        let words = [
            (5 << 5) | 1,
            7, // A record of one word, 5 ns later.
            (3 << 5) | TIME_EXTEND,
            1, // 2^27 + 3 ns later.
            (2 << 5),
            8,
            9, // A long record: 4 bytes of length, 4 of data.
            (1 << 5) | TIME_STAMP,
            2,
            1,
            7,
            (1 << 5) | PADDING,
            4, // A record that was discarded: 8 bytes.
            1,
            7,
        ];
        let (records, missed) = read(&page(100, words.len() as u64 * 4, &words));
        let seven = 7_u32.to_le_bytes().to_vec();
        let absolute = (2 << 27) + 1;
        let expected = vec![
            (105, seven.clone()),
            (105 + (1 << 27) + 3 + 2, 9_u32.to_le_bytes().to_vec()),
            (absolute, seven.clone()),
            (absolute, seven),
        ];
        assert_eq!((records, missed), (expected, Missed::default()));
    }

    #[test]
    fn losses_before_a_page_are_counted() {
        let words = [1, 7, 41, 0];
        let missed = |flags| read(&page(0, 8 | flags, &words)).1.lost;
        assert_eq!((missed(0), missed(MISSED), missed(MISSED | MISSED_STORED)), (0, 1, 41));
        // Without room for the number after the data, at least one was lost.
        assert_eq!(read(&page(0, 8 | MISSED | MISSED_STORED, &[1, 7])).1.lost, 1);
    }

    #[test]
    fn no_cut_or_garbled_page_panics() {
        for length in 0..captured::PAGE.len() {
            let (records, missed) = read(&captured::PAGE[..length]);
            assert!(missed.malformed && records.is_empty(), "{length}");
        }
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        let mut page = captured::PAGE.to_vec();
        for _ in 0..20_000 {
            let (at, byte) = (next() as usize % page.len(), next() as u8);
            page[at] = byte;
            let (records, _) = read(&page);
            assert!(records.len() <= page.len() / 4);
            if next() % 8 == 0 {
                page.copy_from_slice(captured::PAGE);
            }
        }
    }
}
