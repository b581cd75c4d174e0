//! A distribution: the points that are quoted, and the buckets behind them.

use serde::{Deserialize, Serialize};

use super::confidence::{self, Intervals};

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
