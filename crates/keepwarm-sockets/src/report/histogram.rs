//! A histogram of counts or milliseconds in little memory.
//!
//! Owns the buckets, and nothing about what is counted. Exact up to 128, then seven significant bits
//! (1.6 % wide), so that it has at most 1,600 entries, and usually a handful. Without values it is
//! one null pointer: of a destination's fourteen histograms most stay empty, and reports of
//! thousands of destinations are moved and cloned.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};

/// Number of times that each value was seen.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// `None` until the first value: an empty histogram has one form, so that equality is derived.
    values: Option<Box<Values>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Values {
    counts: BTreeMap<u32, u64>,
    count: u64,
    total: u64,
    max: Option<u32>,
}

static NO_VALUES: Values = Values { counts: BTreeMap::new(), count: 0, total: 0, max: None };

impl Debug for Histogram {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.values().fmt(f)
    }
}

/// The range in which most values of a [`Histogram`] lie together.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Cluster {
    /// The median of the cluster.
    pub centre: u32,
    /// The share of all values that lie in it, from 0 to 1.
    pub share: f64,
}

impl Histogram {
    fn values(&self) -> &Values {
        self.values.as_deref().unwrap_or(&NO_VALUES)
    }

    pub(crate) fn add(&mut self, value: u32) {
        self.add_many(value, 1);
    }

    /// Adds a value that was seen so often.
    pub(crate) fn add_many(&mut self, value: u32, count: u64) {
        if count == 0 {
            return;
        }
        let values = self.values.get_or_insert_default();
        *values.counts.entry(rounded(value)).or_default() += count;
        values.count += count;
        values.total += u64::from(value) * count;
        values.max = values.max.max(Some(value));
    }

    /// Adds the values of another histogram.
    pub fn merge(&mut self, other: &Histogram) {
        let Some(other) = &other.values else { return };
        let Some(values) = &mut self.values else {
            self.values = Some(other.clone());
            return;
        };
        for (value, count) in &other.counts {
            *values.counts.entry(*value).or_default() += count;
        }
        values.count += other.count;
        values.total += other.total;
        values.max = values.max.max(other.max);
    }

    /// Replaces the sum, where it is known better than by the values. Without values the sum is 0.
    pub(crate) fn set_total(&mut self, total: u64) {
        if let Some(values) = &mut self.values {
            values.total = total;
        }
    }

    /// Returns the values added since `earlier`. The maximum is exact if it is a new one, else the
    /// lower bound of its bucket.
    #[must_use]
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let (now, earlier) = (self.values(), earlier.values());
        let added = |(value, count): (&u32, &u64)| {
            let before = earlier.counts.get(value).copied().unwrap_or(0);
            (*count > before).then(|| (*value, count - before))
        };
        let counts: BTreeMap<u32, u64> = now.counts.iter().filter_map(added).collect();
        if counts.is_empty() {
            return Histogram::default();
        }
        let max = now.max.filter(|_| now.max > earlier.max);
        let max = max.or_else(|| counts.last_key_value().map(|(value, _)| *value));
        let (count, total) = (counts.values().sum(), now.total.saturating_sub(earlier.total));
        Histogram { values: Some(Box::new(Values { counts, count, total, max })) }
    }

    /// Returns the number of values.
    pub fn count(&self) -> u64 {
        self.values().count
    }

    /// Returns the sum of the values.
    pub fn total(&self) -> u64 {
        self.values().total
    }

    /// Returns the greatest value, exactly.
    pub fn max(&self) -> Option<u32> {
        self.values().max
    }

    /// Returns the mean.
    pub fn mean(&self) -> Option<f64> {
        (self.values().count > 0).then(|| self.values().total as f64 / self.values().count as f64)
    }

    /// Returns the value at or below which the share `q` of all values lie.
    pub fn quantile(&self, q: f64) -> Option<u32> {
        let wanted = ((q * self.values().count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        self.values().counts.iter().find_map(|(value, count)| {
            seen += count;
            (seen >= wanted).then_some(*value)
        })
    }

    /// Returns the share of values that are at most `limit`; `None` without values.
    pub fn share_up_to(&self, limit: u32) -> Option<f64> {
        let within: u64 = self.values().counts.range(..=limit).map(|(_, count)| count).sum();
        (self.values().count > 0).then(|| within as f64 / self.values().count as f64)
    }

    /// Returns the fullest range of values whose last is at most twice `width` above its first (0.03
    /// is 3 %).
    pub fn cluster(&self, width: f64) -> Option<Cluster> {
        let stretch = |from: u32| {
            let to = from.saturating_add((f64::from(from) * 2.0 * width) as u32);
            let within = self.values().counts.range(from..=to);
            let count: u64 = within.clone().map(|(_, count)| count).sum();
            let mut seen = 0;
            let centre = within.clone().find_map(|(value, part)| {
                seen += part;
                (seen * 2 >= count).then_some(*value)
            });
            (count, centre.unwrap_or(from))
        };
        let (count, centre) = self.values().counts.keys().map(|from| stretch(*from)).max()?;
        Some(Cluster { centre, share: count as f64 / self.values().count as f64 })
    }
}

fn rounded(value: u32) -> u32 {
    let surplus = (u32::BITS - value.leading_zeros()).saturating_sub(7);
    if value <= 128 { value } else { value >> surplus << surplus }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[u32]) -> Histogram {
        let mut all = Histogram::default();
        values.iter().for_each(|value| all.add(*value));
        all
    }

    #[test]
    fn no_values_mean_unknown_not_zero() {
        let nothing = Histogram::default();
        assert_eq!((nothing.quantile(0.5), nothing.max(), nothing.mean()), (None, None, None));
        assert_eq!((nothing.cluster(0.03), nothing.share_up_to(5)), (None, None));
    }

    #[test]
    fn quantiles_are_values_seen() {
        let few = histogram(&[1, 2, 3, 100]);
        assert_eq!(
            (few.quantile(0.5), few.quantile(0.99), few.quantile(0.0)),
            (Some(2), Some(100), Some(1))
        );
        assert_eq!((few.count(), few.total(), few.max()), (4, 106, Some(100)));
    }

    #[test]
    fn large_values_lose_under_two_percent() {
        for value in [129, 999, 1000, 5003, 60_000, u32::MAX] {
            let one = histogram(&[value]);
            let read = one.quantile(0.5).unwrap();
            assert!(read <= value && f64::from(read) > f64::from(value) * 0.984, "{value}: {read}");
            assert_eq!(one.max(), Some(value));
        }
    }

    #[test]
    fn fullest_cluster_is_found() {
        let mut values = vec![3, 40, 700, 20_000];
        values.extend([5_980, 5_990, 6_001, 6_010, 6_050, 6_100]);
        let cluster = histogram(&values).cluster(0.03).unwrap();
        assert!((5_900..=6_100).contains(&cluster.centre), "{cluster:?}");
        assert!((cluster.share - 0.6).abs() < 1e-9, "{cluster:?}");
    }

    #[test]
    fn difference_has_the_values_added() {
        let (before, more) = (histogram(&[1, 1, 5, 2_000]), [1, 7, 700]);
        let mut now = before.clone();
        more.iter().for_each(|value| now.add(*value));
        assert_eq!(now.since(&before).values().counts, histogram(&more).values().counts);
        assert_eq!((now.since(&before).total(), now.since(&before).count()), (708, 3));
        // 700 lies in the bucket of 696, and 2,000 was there before.
        assert_eq!(now.since(&before).max(), Some(rounded(700)));
        now.add(3_001);
        assert_eq!(now.since(&before).max(), Some(3_001), "exactly, if it is new");
        assert_eq!(before.since(&before), Histogram::default());
    }

    #[test]
    fn memory_is_bounded() {
        let mut all = Histogram::default();
        (0..u32::MAX).step_by(65_537).for_each(|value| all.add(value));
        (0..100_000).for_each(|value| all.add(value));
        assert!(all.values().counts.len() <= 1_700, "{}", all.values().counts.len());
    }
}
