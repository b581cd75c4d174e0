//! Distributions of bounded size: 3 significant digits from HdrHistogram, with the exact count,
//! minimum, maximum and sum beside it. Owns the rule which percentiles few samples allow.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram as Hdr;

/// The largest latency that is distinguished from larger ones: 10 minutes, in microseconds.
pub(crate) const MAX_LATENCY_US: u64 = 600_000_000;

/// The longest connection lifetime that is distinguished from longer ones: a week and an hour, in
/// microseconds, which is longer than the longest run.
pub(crate) const MAX_LIFETIME_US: u64 = (7 * 24 + 1) * 3600 * 1_000_000;

/// The largest number of requests of one connection that is distinguished from larger ones.
pub(crate) const MAX_REQUESTS: u64 = 1_000_000_000_000;

/// The largest number of streams at once that is distinguished from larger ones.
pub(crate) const MAX_STREAMS: u64 = 100_000;

/// Samples needed to name a 99.9th percentile: ten samples must lie beyond it.
const SAMPLES_FOR_P999: u64 = 10_000;

/// Returns whole microseconds, rounded to the nearest; good for up to half a million years.
#[inline]
pub(crate) fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000) + u64::from((duration.subsec_nanos() + 500) / 1000)
}

/// A distribution of whole numbers; each use names the unit.
///
/// Values are kept to 3 significant digits. Count, minimum, maximum and mean are exact. Memory does
/// not depend on the number of samples. Histograms of the same quantity merge without loss.
#[derive(Clone)]
pub struct Histogram {
    hdr: Hdr<u64>,
    high: u64,
    least: u64,
    greatest: u64,
    sum: u128,
    saturated: u64,
}

impl fmt::Debug for Histogram {
    /// Writes a few numbers instead of thousands of buckets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("min", &self.min())
            .field("p50", &self.p50())
            .field("max", &self.max())
            .field("sum", &self.sum)
            .finish_non_exhaustive()
    }
}

impl Histogram {
    /// Makes an empty histogram. Values above `high` are counted as `high`, and as saturated.
    pub(crate) fn up_to(high: u64) -> Self {
        Self {
            // `Hdr` accepts every upper bound of 2 and more with three digits.
            hdr: Hdr::new_with_bounds(1, high.max(2), 3).expect("bounds are constants"),
            high,
            least: u64::MAX,
            greatest: 0,
            sum: 0,
            saturated: 0,
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, value: u64) {
        self.least = self.least.min(value);
        self.greatest = self.greatest.max(value);
        self.sum += u128::from(value);
        if value > self.high {
            self.saturated += 1;
        }
        self.hdr.saturating_record(value);
    }

    /// Adds the samples of `other`, which must have the same bounds.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.hdr.add(&other.hdr).expect("bounds are the same");
        self.least = self.least.min(other.least);
        self.greatest = self.greatest.max(other.greatest);
        self.sum += other.sum;
        self.saturated += other.saturated;
    }

    /// Returns the number of samples.
    pub fn count(&self) -> u64 {
        self.hdr.len()
    }

    /// Returns the exact minimum; `None` without samples.
    pub fn min(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.least)
    }

    /// Returns the exact maximum, even if it is beyond the range of the buckets; `None` without
    /// samples.
    pub fn max(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.greatest)
    }

    /// Returns the exact sum of all samples.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Returns the exact mean; `None` without samples.
    #[expect(clippy::cast_precision_loss, reason = "a mean is an approximation")]
    pub fn mean(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum as f64 / self.count() as f64)
    }

    /// Returns the standard deviation of the values to 3 digits; `None` without samples.
    pub fn std_dev(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.hdr.stdev())
    }

    /// Returns the smallest value that at least the fraction `quantile` (0 to 1) of all samples do
    /// not exceed, to 3 digits and never above [`max`](Self::max); `None` without samples. Does not
    /// check how many samples lie beyond the value, as [`p999`](Self::p999) does.
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let value = || self.hdr.value_at_quantile(quantile);
        (self.count() > 0).then(|| value().clamp(self.least, self.greatest))
    }

    /// Returns the median.
    pub fn p50(&self) -> Option<u64> {
        self.quantile(0.50)
    }

    /// Returns the 75th percentile.
    pub fn p75(&self) -> Option<u64> {
        self.quantile(0.75)
    }

    /// Returns the 90th percentile.
    pub fn p90(&self) -> Option<u64> {
        self.quantile(0.90)
    }

    /// Returns the 95th percentile.
    pub fn p95(&self) -> Option<u64> {
        self.quantile(0.95)
    }

    /// Returns the 99th percentile.
    pub fn p99(&self) -> Option<u64> {
        self.quantile(0.99)
    }

    /// Returns the 99.9th percentile; `None` with fewer than 10,000 samples, because fewer than ten
    /// would lie beyond it.
    pub fn p999(&self) -> Option<u64> {
        if self.count() < SAMPLES_FOR_P999 {
            return None;
        }
        self.quantile(0.999)
    }

    /// Returns the number of samples beyond the range of the buckets. Percentiles count these
    /// samples at the end of the range; [`max`](Self::max) and [`mean`](Self::mean) are exact.
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// Lists the buckets that hold samples, in ascending order: the highest value of each, and its
    /// number of samples.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        let recorded = self.hdr.iter_recorded();
        recorded.map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_histogram_names_no_value() {
        let empty = Histogram::up_to(MAX_LATENCY_US);
        assert_eq!((empty.min(), empty.max(), empty.p50()), (None, None, None));
        assert_eq!((empty.mean(), empty.std_dev(), empty.p999()), (None, None, None));
        assert_eq!(empty.buckets().count(), 0);
    }

    #[test]
    fn p999_needs_ten_thousand_samples() {
        let mut histogram = Histogram::up_to(MAX_LATENCY_US);
        (1..10_000).for_each(|value| histogram.record(value));
        assert_eq!(histogram.p999(), None);
        histogram.record(10_000);
        let p999 = histogram.p999().unwrap();
        assert!((9_980..=10_000).contains(&p999), "{p999}");
    }

    #[test]
    fn extremes_are_exact_and_saturation_counted() {
        let mut histogram = Histogram::up_to(MAX_LATENCY_US);
        for value in [10_007, 3, MAX_LATENCY_US * 2] {
            histogram.record(value);
        }
        assert_eq!(histogram.min(), Some(3));
        assert_eq!(histogram.max(), Some(MAX_LATENCY_US * 2));
        assert_eq!(histogram.sum(), 10_010 + u128::from(MAX_LATENCY_US) * 2);
        assert_eq!(histogram.saturated(), 1);
        assert_eq!(histogram.count(), 3);
    }

    #[test]
    fn merging_equals_recording_in_one() {
        let mut parts = [0, 1, 2].map(|_| Histogram::up_to(MAX_LATENCY_US));
        let mut whole = Histogram::up_to(MAX_LATENCY_US);
        for value in (0..3000u64).map(|i| i * i % 7919 * 131) {
            parts[usize::try_from(value % 3).unwrap()].record(value);
            whole.record(value);
        }
        let [mut merged, b, c] = parts;
        merged.merge(&b);
        merged.merge(&c);
        assert!(merged.buckets().eq(whole.buckets()));
        assert_eq!((merged.min(), merged.max()), (whole.min(), whole.max()));
        assert_eq!(merged.sum(), whole.sum());
    }
}
