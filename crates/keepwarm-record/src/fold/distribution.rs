//! A distribution: the points that are quoted, and the buckets behind them.

use serde::{Deserialize, Serialize};

use super::confidence::{self, Intervals};

/// Samples that it takes to name a 99.9th percentile: ten lie beyond it.
pub const SAMPLES_FOR_P999: u64 = 10_000;

/// A distribution of whole numbers, whose unit is in the name of the field that holds it. A point
/// is `None` where there are too few samples for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Samples.
    pub count: u64,
    /// Least sample.
    pub min: Option<u64>,
    /// Mean.
    pub mean: Option<f64>,
    /// Standard deviation.
    pub std_dev: Option<f64>,
    /// Median.
    pub p50: Option<u64>,
    /// 75th percentile.
    pub p75: Option<u64>,
    /// 90th percentile.
    pub p90: Option<u64>,
    /// 95th percentile.
    pub p95: Option<u64>,
    /// 99th percentile.
    pub p99: Option<u64>,
    /// 99.9th percentile.
    pub p999: Option<u64>,
    /// Greatest sample.
    pub max: Option<u64>,
    /// Confidence intervals of the percentiles; only where percentiles are quoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervals: Option<Intervals>,
    /// Samples beyond the last bucket, counted in it.
    pub saturated: u64,
    /// Greatest value and number of samples of each bucket that has any, ascending.
    #[serde(deserialize_with = "super::hdr::buckets")]
    pub buckets: Vec<(u64, u64)>,
}

impl Distribution {
    /// Adds the intervals of the percentiles, if there are samples. `slices` are the buckets of
    /// these very samples, slice by slice.
    #[must_use]
    pub fn with_intervals(self, slices: &[&[(u64, u64)]]) -> Self {
        let intervals = (self.count > 0).then(|| confidence::intervals(&self, slices));
        Self { intervals, ..self }
    }

    /// Adds distributions of one quantity: equal buckets add, and every point is read anew from
    /// their sum. Intervals are left out: they need the slices.
    #[must_use]
    pub fn merged(parts: &[&Self]) -> Self {
        let sum =
            |of: fn(&Self) -> u64| parts.iter().map(|part| of(part)).fold(0, u64::saturating_add);
        let mut whole = Self {
            count: sum(|part| part.count),
            min: parts.iter().filter_map(|part| part.min).min(),
            max: parts.iter().filter_map(|part| part.max).max(),
            saturated: sum(|part| part.saturated),
            buckets: add_buckets(parts.iter().map(|part| &part.buckets[..])),
            ..Self::default()
        };
        let moments = Moments::of(parts);
        whole.mean = moments.as_ref().map(|moments| moments.mean);
        whole.std_dev = moments.as_ref().and_then(|moments| moments.std_dev);
        if !whole.is_empty() {
            [whole.p50, whole.p75, whole.p90, whole.p95, whole.p99] =
                [0.5, 0.75, 0.9, 0.95, 0.99].map(|quantile| whole.quantile(quantile));
            let is_enough = whole.count >= SAMPLES_FOR_P999;
            whole.p999 = if is_enough { whole.quantile(0.999) } else { None };
        }
        whole
    }

    /// Returns true if there is no sample.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the least kept value that at least the share `quantile` of all samples do not
    /// exceed.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let rank = ((self.count as f64 * quantile).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        let bucket = self.buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        // Not `clamp`: a record from a file may say that the least is more than the greatest.
        Some(bucket?.0.max(self.min?).min(self.max?))
    }

    /// Returns a point by its name in assertions, in the distribution's unit.
    #[must_use]
    pub fn point(&self, name: &str) -> Option<f64> {
        let whole = match name {
            "min" => self.min,
            "mean" => return self.mean,
            "p50" => self.p50,
            "p75" => self.p75,
            "p90" => self.p90,
            "p95" => self.p95,
            "p99" => self.p99,
            "p99.9" => self.p999,
            "max" => self.max,
            _ => None,
        };
        whole.map(|whole| whole as f64)
    }
}

/// Adds equal buckets of several lists; ascending, as each of them is.
pub(crate) fn add_buckets<'a>(lists: impl Iterator<Item = &'a [(u64, u64)]>) -> Vec<(u64, u64)> {
    let mut all: Vec<(u64, u64)> = lists.flatten().copied().collect();
    // Stable, because that finds the runs that are sorted already.
    all.sort_by_key(|(value, _)| *value);
    all.dedup_by(|next, kept| {
        let is_same = next.0 == kept.0;
        if is_same {
            kept.1 = kept.1.saturating_add(next.1);
        }
        is_same
    });
    all
}

/// Mean and standard deviation of several distributions together (Chan, Golub and LeVeque 1983).
struct Moments {
    mean: f64,
    std_dev: Option<f64>,
}

impl Moments {
    /// Returns `None` where no part has samples, or a part with samples does not know its mean.
    fn of(parts: &[&Distribution]) -> Option<Self> {
        let parts = || parts.iter().filter(|part| !part.is_empty());
        let count: f64 = parts().map(|part| part.count as f64).sum();
        let mut mean = 0.0;
        for part in parts() {
            mean += part.mean? * (part.count as f64 / count);
        }
        let variance = parts().map(|part| {
            let (own, distance) = (part.std_dev?, part.mean? - mean);
            Some((own * own + distance * distance) * (part.count as f64 / count))
        });
        let variance: Option<f64> = variance.sum();
        (count > 0.0).then(|| Self { mean, std_dev: variance.map(f64::sqrt) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_from_the_buckets() {
        let distribution = Distribution {
            count: 10,
            min: Some(1),
            max: Some(100),
            buckets: vec![(1, 5), (20, 4), (127, 1)],
            ..Distribution::default()
        };
        for (quantile, value) in
            [(0.0, 1), (0.5, 1), (0.51, 20), (0.9, 20), (0.91, 100), (1.0, 100)]
        {
            assert_eq!(distribution.quantile(quantile), Some(value), "{quantile}");
        }
        let empty = Distribution { count: 0, buckets: Vec::new(), ..distribution };
        assert_eq!(empty.quantile(0.5), None);
    }
}
