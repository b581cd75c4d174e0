//! The formats of HdrHistogram: the percentile distribution (`hgrm`) and the interval log with
//! compressed histograms of version 2 (`hlog`).
//!
//! Owns both texts, and the compression; a histogram is `keepwarm-record`'s. Times are those that the
//! report quotes: response times of an open loop, else service times; milliseconds in the text,
//! microseconds in the histograms.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use keepwarm_record::fold::hdr::{self, HALF_BITS, HIGHEST};
use keepwarm_record::load::LoadRecord;

/// Rows of a percentile distribution for each halving of what is left to 100 %.
const TICKS: f64 = 5.0;

/// Cookie of a compressed histogram, version 2.
const COMPRESSED_COOKIE: u32 = 0x1c84_9314;

/// Writes the percentile distribution of the whole run.
pub(crate) fn hgrm(record: &LoadRecord) -> String {
    let times = if record.settings.open_loop { &record.response_us } else { &record.latency_us };
    let mut text = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let millis = |micros: u64| micros as f64 / 1000.0;
    let total: u64 = times.buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count));
    let (mut level, mut seen) = (0.0, 0_u64);
    for (index, (value, count)) in times.buckets.iter().enumerate() {
        seen = seen.saturating_add(*count);
        let reached = 100.0 * seen as f64 / total.max(1) as f64;
        let is_last = index + 1 == times.buckets.len();
        // The greatest sample is exact.
        let value = millis(times.max.map_or(*value, |max| max.min(*value)));
        while level <= reached && level < 100.0 {
            let share = level / 100.0;
            let _ =
                writeln!(text, "{value:12.3} {share:2.12} {seen:10} {:14.2}", 1.0 / (1.0 - share));
            let halvings = (100.0 / (100.0 - level)).log2().floor() + 1.0;
            level += 100.0 / (TICKS * halvings.exp2());
            if is_last {
                break;
            }
        }
        if is_last {
            let _ = writeln!(text, "{value:12.3} {:2.12} {seen:10}", 1.0);
        }
    }
    let mean = times.mean.unwrap_or(0.0) / 1000.0;
    let deviation = times.std_dev.unwrap_or(0.0) / 1000.0;
    let max = times.max.map_or(0.0, millis);
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {total:12}]");
    let (buckets, subs) = (HIGHEST.ilog2() - HALF_BITS, 2 << HALF_BITS);
    let _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {subs:12}]");
    text
}

/// Writes a log with a histogram for each slice of the run, which knows times to within 3.2 %.
pub(crate) fn hlog(record: &LoadRecord) -> String {
    let start = record.started_unix_ms as f64 / 1000.0;
    let mut text = format!(
        "#[keepwarm {}, times in microseconds, Interval_Max in milliseconds]\n\
         #[Histogram log format version 1.3]\n\
         #[StartTime: {start:.3} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
        record.machine.version
    );
    let width = record.timeline.width_s;
    for (index, slice) in record.timeline.slices.iter().enumerate() {
        let times = match &slice.response_us {
            Some(times) if record.settings.open_loop => times,
            _ => &slice.latency_us,
        };
        let greatest = times.max.unwrap_or(0);
        let exact = times.buckets.iter().map(|(value, count)| (*value.min(&greatest), *count));
        let _ = writeln!(
            text,
            "{:.3},{width:.3},{:.3},{}",
            index as f64 * width,
            greatest as f64 / 1000.0,
            compressed(exact)
        );
    }
    text
}

/// Encodes a histogram: values and their counts, ascending.
fn compressed(samples: impl Iterator<Item = (u64, u64)>) -> String {
    let stored = zlib(&hdr::encode(samples.map(|(value, count)| (value.min(HIGHEST), count))));
    let mut whole = COMPRESSED_COOKIE.to_be_bytes().to_vec();
    whole.extend_from_slice(&length_of(&stored).to_be_bytes());
    whole.extend_from_slice(&stored);
    BASE64_STANDARD.encode(whole)
}

fn length_of(bytes: &[u8]) -> i32 {
    i32::try_from(bytes.len()).unwrap_or(i32::MAX)
}

/// Wraps bytes as zlib (RFC 1950) without making them smaller: runs of zeros are short already.
fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut whole = vec![0x78, 0x01];
    let mut blocks = bytes.chunks(0xffff).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        whole.push(u8::from(blocks.peek().is_none()));
        whole.extend_from_slice(&length.to_le_bytes());
        whole.extend_from_slice(&(!length).to_le_bytes());
        whole.extend_from_slice(block);
    }
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65521;
        b = (b + a) % 65521;
    }
    whole.extend_from_slice(&((b << 16) | a).to_be_bytes());
    whole
}

#[cfg(test)]
mod tests {
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use proptest::prelude::*;

    use super::*;

    fn read(samples: &[(u64, u64)]) -> Histogram<u64> {
        let bytes = BASE64_STANDARD.decode(compressed(samples.iter().copied())).expect("base64");
        Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram of version 2")
    }

    #[test]
    fn another_implementation_reads_histograms() {
        let samples = [(0, 3), (1, 1), (2047, 2), (2048, 5), (123_456, 1000), (HIGHEST, 1)];
        let histogram = read(&samples);
        assert_eq!(histogram.len(), 1012);
        assert_eq!(histogram.value_at_quantile(0.5), histogram.highest_equivalent(123_456));
        assert!(read(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn every_sample_is_read_back(
            samples in proptest::collection::btree_map(0..HIGHEST, 1..(1_u64 << 50), 0..50),
        ) {
            let samples: Vec<(u64, u64)> = samples.into_iter().collect();
            let histogram = read(&samples);
            let mut expected = Histogram::<u64>::new_with_bounds(1, HIGHEST, 3).expect("bounds");
            for (value, count) in &samples {
                expected.record_n(*value, *count).expect("within the bounds");
            }
            prop_assert_eq!(histogram, expected);
        }
    }
}
