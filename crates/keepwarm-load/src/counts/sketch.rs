//! A distribution for one second: coarser than [`Histogram`](crate::Histogram), and small enough to
//! keep thousands of them. Owns its buckets: 32 per doubling, so that a value is known to within
//! 3.2 %.

/// Base-2 logarithm of the number of buckets per doubling.
const SUB_BITS: u32 = 5;
const SUB: u64 = 1 << SUB_BITS;

/// Number of buckets, up to 2^40 (twelve days, in microseconds). The last bucket takes all greater
/// values.
const BUCKETS: usize = ((40 - SUB_BITS as usize + 1) * SUB as usize) + 1;

#[inline]
fn bucket_of(value: u64) -> usize {
    if value < SUB {
        return usize::try_from(value).unwrap_or(0);
    }
    let exponent = value.ilog2();
    let within = (value >> (exponent - SUB_BITS)) & (SUB - 1);
    let bucket = u64::from(exponent - SUB_BITS + 1) * SUB + within;
    usize::try_from(bucket).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

/// Returns the greatest value of a bucket.
fn top_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < SUB {
        return bucket;
    }
    let shift = bucket / SUB - 1;
    ((SUB + bucket % SUB + 1) << shift) - 1
}

/// A distribution of whole numbers, to within 3.2 %. This crate uses it for microseconds. Count,
/// sum and maximum are exact. Only buckets that hold samples take memory. Sketches merge without
/// loss.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sketch {
    /// Buckets with their number of samples, in ascending order.
    buckets: Vec<(u16, u64)>,
    count: u64,
    sum: u64,
    greatest: u64,
}

impl Sketch {
    pub(crate) const EMPTY: Self = Self { buckets: Vec::new(), count: 0, sum: 0, greatest: 0 };

    /// Returns the number of samples.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the exact maximum; `None` without samples.
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.greatest)
    }

    /// Returns the exact mean; `None` without samples.
    #[expect(clippy::cast_precision_loss, reason = "a mean is an approximation")]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// Returns a value that at least the fraction `quantile` (0 to 1) of all samples do not exceed:
    /// the upper end of a bucket, or [`max`](Self::max) if that is less. `None` without samples.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "a rank of fewer than 2^53 samples is exact, and never negative"
    )]
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let rank = (quantile.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for &(bucket, samples) in &self.buckets {
            seen += samples;
            if seen >= rank {
                return Some(top_of(bucket).min(self.greatest));
            }
        }
        self.max()
    }

    /// Lists the buckets that hold samples, in ascending order: the greatest value of each, and its
    /// number of samples.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.buckets.iter().map(|&(bucket, samples)| (top_of(bucket), samples))
    }

    /// Adds the samples of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        let mut merged = Vec::with_capacity(self.buckets.len().max(other.buckets.len()));
        let (mut ours, mut theirs) = (&self.buckets[..], &other.buckets[..]);
        while let (Some(&(a, n)), Some(&(b, m))) = (ours.first(), theirs.first()) {
            merged.push((a.min(b), if a <= b { n } else { 0 } + if b <= a { m } else { 0 }));
            ours = &ours[usize::from(a <= b)..];
            theirs = &theirs[usize::from(b <= a)..];
        }
        merged.extend_from_slice(ours);
        merged.extend_from_slice(theirs);
        self.buckets = merged;
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.greatest = self.greatest.max(other.greatest);
    }
}

/// A sketch that is being filled. A sample costs one addition, into memory allocated beforehand.
#[derive(Debug)]
pub(crate) struct Filling {
    counts: Box<[u32]>,
    sum: u64,
    greatest: u64,
}

impl Filling {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS].into_boxed_slice(), sum: 0, greatest: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, value: u64) {
        self.counts[bucket_of(value)] += 1;
        self.sum = self.sum.saturating_add(value);
        self.greatest = self.greatest.max(value);
    }

    /// Returns the samples as a sketch, and empties itself.
    pub(crate) fn take(&mut self) -> Sketch {
        let mut sketch = Sketch { sum: self.sum, greatest: self.greatest, ..Sketch::default() };
        for (bucket, samples) in (0u16..).zip(self.counts.iter_mut()) {
            if *samples > 0 {
                sketch.buckets.push((bucket, u64::from(*samples)));
                sketch.count += u64::from(*samples);
                *samples = 0;
            }
        }
        sketch.buckets.shrink_to_fit();
        (self.sum, self.greatest) = (0, 0);
        sketch
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sketch(values: &[u64]) -> Sketch {
        let mut filling = Filling::new();
        values.iter().for_each(|value| filling.record(*value));
        filling.take()
    }

    #[test]
    fn buckets_cover_all_values_in_order() {
        for bucket in 0..u16::try_from(BUCKETS).unwrap() - 1 {
            assert_eq!(bucket_of(top_of(bucket)), usize::from(bucket));
            assert_eq!(bucket_of(top_of(bucket) + 1), usize::from(bucket) + 1);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn empty_sketch_names_no_value() {
        let empty = Sketch::default();
        assert_eq!((empty.max(), empty.mean(), empty.quantile(0.5)), (None, None, None));
    }

    proptest! {
        #[test]
        fn quantiles_are_within_one_bucket(
            mut values in prop::collection::vec(0u64..10_000_000_000, 1..300),
            quantile in 0.0f64..=1.0,
        ) {
            let sketch = sketch(&values);
            values.sort_unstable();
            let rank = (quantile * values.len() as f64).ceil().max(1.0) as usize;
            let exact = values[rank - 1];
            let told = sketch.quantile(quantile).unwrap();
            prop_assert!(told >= exact && told as f64 <= exact as f64 * 1.032, "{told} for {exact}");
            prop_assert_eq!(sketch.max(), values.last().copied());
            prop_assert_eq!(sketch.count(), values.len() as u64);
        }

        #[test]
        fn merging_equals_filling_one(
            a in prop::collection::vec(any::<u32>(), 0..100),
            b in prop::collection::vec(any::<u32>(), 0..100),
        ) {
            let values = |v: &[u32]| v.iter().map(|x| u64::from(*x)).collect::<Vec<_>>();
            let mut merged = sketch(&values(&a));
            merged.merge(&sketch(&values(&b)));
            prop_assert_eq!(merged, sketch(&values(&[a, b].concat())));
        }
    }
}
