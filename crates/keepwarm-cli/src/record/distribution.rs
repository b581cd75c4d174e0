//! A distribution as it is kept: the points that are quoted, and the buckets behind them.

use keepwarm_load::Histogram;
use serde::{Deserialize, Serialize};

use super::confidence::{self, Intervals};

/// Whole numbers; the unit is in the name of the field. `null` where there are too few samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Distribution {
    pub(crate) count: u64,
    pub(crate) min: Option<u64>,
    pub(crate) mean: Option<f64>,
    pub(crate) std_dev: Option<f64>,
    pub(crate) p50: Option<u64>,
    pub(crate) p75: Option<u64>,
    pub(crate) p90: Option<u64>,
    pub(crate) p95: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) p999: Option<u64>,
    pub(crate) max: Option<u64>,
    /// Of the percentiles above, where they are quoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) intervals: Option<Intervals>,
    /// Samples beyond the last bucket, counted in it.
    pub(crate) saturated: u64,
    /// Highest value and number of samples of each bucket that has any, ascending.
    pub(crate) buckets: Vec<(u64, u64)>,
}

impl Distribution {
    pub(crate) fn of(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            min: histogram.min(),
            mean: histogram.mean(),
            std_dev: histogram.std_dev(),
            p50: histogram.p50(),
            p75: histogram.p75(),
            p90: histogram.p90(),
            p95: histogram.p95(),
            p99: histogram.p99(),
            p999: histogram.p999(),
            max: histogram.max(),
            intervals: None,
            saturated: histogram.saturated(),
            buckets: histogram.buckets().collect(),
        }
    }

    /// The same with the intervals of the percentiles; `slices` are the buckets of these very
    /// samples, slice by slice.
    pub(super) fn with_intervals(histogram: &Histogram, slices: &[&[(u64, u64)]]) -> Self {
        let whole = Self::of(histogram);
        let intervals = (whole.count > 0).then(|| confidence::intervals(&whole, slices));
        Self { intervals, ..whole }
    }

    /// The least kept value that at least the part `quantile` of all samples do not exceed.
    pub(crate) fn quantile(&self, quantile: f64) -> Option<u64> {
        let rank = ((self.count as f64 * quantile).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        let bucket = self.buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        // Not `clamp`: a record from a file may say that the least is more than the greatest.
        Some(bucket?.0.max(self.min?).min(self.max?))
    }

    /// A point by its name in assertions, in the distribution's unit.
    pub(super) fn point(&self, name: &str) -> Option<f64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_buckets_are_those_of_the_samples() {
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
