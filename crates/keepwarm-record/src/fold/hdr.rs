//! Buckets as a histogram of HdrHistogram, version 2, with three digits: the form in which other programs
//! read them, and in which records travel to the coordinator of a fleet.
//!
//! Owns the encoding of a histogram, and its reading. Its compression, and logs of several, are the
//! tool's.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};

/// Base-2 logarithm of half the sub-buckets that three digits take.
pub const HALF_BITS: u32 = 10;

/// The greatest value that readers are told to have room for at least: an hour, in microseconds.
pub const HIGHEST: u64 = 3_600_000_000;

/// Cookie of version 2 with counts in LEB128.
const COOKIE: u32 = 0x1c84_9313;

/// Bytes before the counts.
const HEAD: usize = 40;

/// Encodes buckets: values and their counts, ascending. Values of one bucket of the histogram add.
#[must_use]
pub fn encode(buckets: impl Iterator<Item = (u64, u64)>) -> Vec<u8> {
    let mut counts = Vec::new();
    let (mut next, mut greatest) = (0, HIGHEST);
    let mut pending: Option<(usize, u64)> = None;
    let mut put = |(place, count): (usize, u64)| {
        if place > next {
            // A run of places without a sample is their number, negated.
            push_zigzag(&mut counts, -i64::try_from(place - next).unwrap_or(0));
        }
        push_zigzag(&mut counts, i64::try_from(count).unwrap_or(i64::MAX));
        next = place + 1;
    };
    for (value, count) in buckets.filter(|(_, count)| *count > 0) {
        greatest = greatest.max(value);
        let place = place_of(value);
        pending = match pending {
            Some((last, sum)) if last == place => Some((last, sum.saturating_add(count))),
            last => {
                last.into_iter().for_each(&mut put);
                Some((place, count))
            }
        };
    }
    pending.into_iter().for_each(&mut put);
    let mut bytes = Vec::with_capacity(HEAD + counts.len());
    bytes.extend_from_slice(&COOKIE.to_be_bytes());
    bytes.extend_from_slice(&i32::try_from(counts.len()).unwrap_or(i32::MAX).to_be_bytes());
    bytes.extend_from_slice(&0_i32.to_be_bytes());
    bytes.extend_from_slice(&3_i32.to_be_bytes());
    bytes.extend_from_slice(&1_u64.to_be_bytes());
    bytes.extend_from_slice(&greatest.to_be_bytes());
    bytes.extend_from_slice(&1.0_f64.to_be_bytes());
    bytes.extend_from_slice(&counts);
    bytes
}

/// Reads a histogram of three digits: the greatest value and the count of each bucket that has any.
///
/// # Errors
///
/// If the bytes are another kind of histogram, or none.
pub fn decode(bytes: &[u8]) -> Result<Vec<(u64, u64)>, String> {
    let (head, mut counts) = bytes
        .split_at_checked(HEAD)
        .ok_or_else(|| format!("{} bytes are too few for a histogram", bytes.len()))?;
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(0) != COOKIE {
        return Err(format!("{:#x} is not the cookie of a histogram of version 2", word(0)));
    }
    if usize::try_from(word(4)) != Ok(counts.len()) {
        return Err(format!("{} bytes of counts are announced, {} came", word(4), counts.len()));
    }
    let lowest = u64::from(word(16)) << 32 | u64::from(word(20));
    if (word(8), word(12), lowest) != (0, 3, 1) {
        return Err(format!(
            "a histogram of {} digits from {lowest}, shifted by {}, is none of ours",
            word(12),
            word(8)
        ));
    }
    let last = place_of(u64::MAX);
    let mut buckets = Vec::new();
    let mut place = 0_usize;
    while !counts.is_empty() {
        let (number, rest) = read_zigzag(counts).ok_or("the last count is cut")?;
        counts = rest;
        let run = if number > 0 { 1 } else { number.unsigned_abs().max(1) };
        let is_within = place <= last;
        if number > 0 && is_within {
            buckets.push((top_of(place), number.unsigned_abs()));
        }
        place =
            usize::try_from(run).ok().and_then(|run| place.checked_add(run)).unwrap_or(usize::MAX);
        if !is_within || place > last + 1 {
            return Err("a count stands beyond the last bucket".to_owned());
        }
    }
    Ok(buckets)
}

/// Encodes buckets as a text in base64, if exactly these are read back. `None` for an empty list, and for
/// one that another histogram made.
#[must_use]
pub fn to_text(buckets: &[(u64, u64)]) -> Option<String> {
    let is_exact = |(value, count): &(u64, u64)| {
        let fits = i64::try_from(*value).is_ok() && i64::try_from(*count).is_ok() && *count > 0;
        fits && top_of(place_of(*value)) == *value
    };
    let is_ascending = buckets.windows(2).all(|two| two[0].0 < two[1].0);
    let is_exact = !buckets.is_empty() && is_ascending && buckets.iter().all(is_exact);
    is_exact.then(|| BASE64_STANDARD.encode(encode(buckets.iter().copied())))
}

/// Reads the buckets of a record: a list of pairs, or the text of [`to_text`].
pub(crate) fn buckets<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<(u64, u64)>, D::Error> {
    struct Buckets;
    impl<'de> Visitor<'de> for Buckets {
        type Value = Vec<(u64, u64)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("pairs of a value and a count, or a histogram in base64")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            let bytes = BASE64_STANDARD.decode(text).map_err(E::custom)?;
            decode(&bytes).map_err(E::custom)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Self::Value, A::Error> {
            let mut buckets = Vec::new();
            while let Some(pair) = pairs.next_element()? {
                buckets.push(pair);
            }
            Ok(buckets)
        }
    }
    from.deserialize_any(Buckets)
}

/// Returns the place of a value among the counts.
fn place_of(value: u64) -> usize {
    let mask = (2 << HALF_BITS) - 1;
    let bucket = (value | mask).ilog2() - HALF_BITS;
    let within = value >> bucket;
    let place = (u64::from(bucket + 1) << HALF_BITS) + within - (1 << HALF_BITS);
    usize::try_from(place).unwrap_or(usize::MAX)
}

/// Returns the greatest value of a place, which is at most that of [`u64::MAX`].
fn top_of(place: usize) -> u64 {
    let half = 1 << HALF_BITS;
    if place < 2 * half {
        return place as u64;
    }
    let (bucket, within) = (place / half - 1, place % half + half);
    (within as u64) << bucket | ((1 << bucket) - 1)
}

/// Appends a number in ZigZag LEB128 of at most nine bytes, the last of which has eight bits.
fn push_zigzag(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)).cast_unsigned();
    for _ in 0..8 {
        let low = u8::try_from(rest & 0x7f).unwrap_or(0);
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
    bytes.push(u8::try_from(rest & 0xff).unwrap_or(0));
}

/// Reads a number of [`push_zigzag`]; returns what stands behind it too. `None` if it is cut.
fn read_zigzag(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        let is_last = index == 8 || byte & 0x80 == 0;
        let bits = if index == 8 { *byte } else { byte & 0x7f };
        number |= u64::from(bits) << (7 * index);
        if is_last {
            let number = (number >> 1).cast_signed() ^ -(number & 1).cast_signed();
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Buckets as a load's histogram has them.
    fn aligned(samples: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
        let mut buckets: Vec<(u64, u64)> =
            samples.into_iter().map(|(value, count)| (top_of(place_of(value)), count)).collect();
        buckets.sort_unstable();
        buckets.dedup_by_key(|bucket| bucket.0);
        buckets
    }

    #[test]
    fn places_and_values_agree() {
        for value in (0..5000).chain([HIGHEST, 1 << 40, i64::MAX as u64, u64::MAX]) {
            let top = top_of(place_of(value));
            assert!(top >= value && top - value <= value / 1000, "{value}: {top}");
            assert_eq!(place_of(top), place_of(value));
            assert!(top == u64::MAX || place_of(top + 1) == place_of(value) + 1);
        }
    }

    #[test]
    fn foreign_lists_keep_their_form() {
        for list in [&[][..], &[(5000, 1)], &[(7, 0)], &[(9, 1), (3, 1)], &[(u64::MAX, 1)]] {
            assert_eq!(to_text(list), None, "{list:?}");
        }
        assert!(to_text(&[(3, 1), (9, 1)]).is_some());
    }

    #[test]
    fn other_bytes_are_refused() {
        let good = encode([(3, 7), (5001, 1)].into_iter());
        assert_eq!(decode(&good), Ok(vec![(3, 7), (5003, 1)]));
        for (place, byte) in [(0, 9), (7, 1), (11, 1), (15, 2), (23, 2), (HEAD, 0x80)] {
            let mut bad = good.clone();
            bad[place] = byte;
            assert!(place == HEAD || decode(&bad).is_err(), "byte {place} is {byte}");
            let _ = decode(&bad[..bad.len() - 1]);
        }
        let mut far = encode(std::iter::empty());
        push_zigzag(&mut far, i64::MIN);
        push_zigzag(&mut far, 1);
        let length = u32::try_from(far.len() - HEAD).unwrap();
        far[4..8].copy_from_slice(&length.to_be_bytes());
        assert!(decode(&far).unwrap_err().contains("beyond"), "{:?}", decode(&far));
    }

    proptest! {
        #[test]
        fn every_bucket_is_read_back(
            samples in prop::collection::vec((0..=i64::MAX as u64, 1..=i64::MAX as u64), 0..60),
        ) {
            let buckets = aligned(samples);
            prop_assert_eq!(decode(&encode(buckets.iter().copied())), Ok(buckets.clone()));
            if let Some(text) = to_text(&buckets) {
                let json = serde_json::json!(text);
                prop_assert_eq!(super::buckets(&json).unwrap(), buckets.clone());
            }
            let json = serde_json::json!(buckets);
            prop_assert_eq!(super::buckets(&json).unwrap(), buckets);
        }

        #[test]
        fn hostile_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut framed = encode(std::iter::empty());
            let length = u32::try_from(bytes.len()).unwrap();
            framed[4..8].copy_from_slice(&length.to_be_bytes());
            framed.extend_from_slice(&bytes);
            if let Ok(buckets) = decode(&framed) {
                prop_assert!(buckets.windows(2).all(|two| two[0].0 < two[1].0));
                prop_assert!(buckets.len() <= bytes.len());
            }
            let _ = decode(&bytes);
        }
    }
}
