//! How far a percentile may be from what another run of the same length would have said.
//!
//! Two ways, both for 95 %. *Blocks*: a run of at least ten slices is cut into blocks, which are
//! drawn anew, with repetition, some hundred times (a block bootstrap: Künsch 1989); what the drawn
//! runs disagree about is the interval. Requests that wait behind each other are in one block, so
//! that their likeness counts. *Ranks*: of a short run the interval is the engine's, that of order
//! statistics, as if requests were independent of each other, which they are not: it is too narrow
//! rather than too wide. Neither knows of what differs between runs.

use keepwarm_load::Histogram;
use serde::{Deserialize, Serialize};

use super::timeline::TimelineRecord;

/// Fewer slices than this say nothing about how slices differ.
const MIN_SLICES: usize = 10;
/// Longer runs are cut into this many blocks, so that the work does not grow with them.
const MAX_BLOCKS: usize = 60;
const DRAWS: usize = 400;

/// 95 % intervals, lower and upper end. `null` where there are too few samples for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intervals {
    pub(crate) method: Method,
    pub(crate) p50: Option<(u64, u64)>,
    pub(crate) p90: Option<(u64, u64)>,
    pub(crate) p99: Option<(u64, u64)>,
    pub(crate) p999: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    Blocks,
    Ranks,
}

type Buckets = [(u64, u64)];

/// The intervals of `whole`, of which `timeline` has the slices, if it has any.
pub(super) fn intervals(whole: &Histogram, timeline: Option<&TimelineRecord>) -> Intervals {
    let slices: Vec<&Buckets> = timeline
        .map(|timeline| timeline.slices.iter().map(|slice| &slice.latency_us.buckets[..]).collect())
        .unwrap_or_default();
    let blocks = (slices.len() >= MIN_SLICES).then(|| Blocks::of(&slices));
    let interval = |quantile: f64, point: Option<u64>| {
        let point = point?;
        let (low, high) = match &blocks {
            Some(blocks) => blocks.interval(quantile)?,
            None => whole.interval(quantile)?,
        };
        // Slices are kept more coarsely than the whole.
        Some((low.min(point), high.max(point)))
    };
    Intervals {
        method: if blocks.is_some() { Method::Blocks } else { Method::Ranks },
        p50: interval(0.5, whole.p50()),
        p90: interval(0.9, whole.p90()),
        p99: interval(0.99, whole.p99()),
        p999: interval(0.999, whole.p999()),
    }
}

/// Blocks of slices, in columns: every value that occurs, and how often in each block.
struct Blocks {
    values: Vec<u64>,
    /// By block, then by value.
    counts: Vec<Vec<u64>>,
}

impl Blocks {
    fn of(slices: &[&Buckets]) -> Self {
        let mut values: Vec<u64> =
            slices.iter().flat_map(|slice| slice.iter().map(|(value, _)| *value)).collect();
        values.sort_unstable();
        values.dedup();
        let length = slices.len().div_ceil(MAX_BLOCKS);
        let block = |slices: &[&Buckets]| {
            let mut counts = vec![0; values.len()];
            for (value, count) in slices.iter().flat_map(|slice| slice.iter()) {
                if let Ok(place) = values.binary_search(value) {
                    counts[place] += count;
                }
            }
            counts
        };
        let counts = slices.chunks(length).map(block).collect();
        Self { values, counts }
    }

    fn interval(&self, quantile: f64) -> Option<(u64, u64)> {
        // The same record says the same.
        let mut random = SplitMix(0x6b65_6570_7761_726d);
        let mut drawn: Vec<u64> = Vec::with_capacity(DRAWS);
        let mut sum = vec![0; self.values.len()];
        for _ in 0..DRAWS {
            sum.fill(0);
            for _ in 0..self.counts.len() {
                let block = &self.counts[random.below(self.counts.len())];
                sum.iter_mut().zip(block).for_each(|(sum, count)| *sum += count);
            }
            drawn.extend(self.quantile(&sum, quantile));
        }
        drawn.sort_unstable();
        let at = |part: f64| drawn.get((drawn.len() as f64 * part) as usize).copied();
        Some((at(0.025)?, at(0.975)?))
    }

    fn quantile(&self, counts: &[u64], quantile: f64) -> Option<u64> {
        let rank = (counts.iter().sum::<u64>() as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        let place = counts.iter().position(|count| {
            seen += count;
            *count > 0 && seen >= rank
        });
        Some(self.values[place?])
    }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `limit`, which is small: the bias of a remainder is not seen.
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between 0 and 1, never either.
    fn uniform(random: &mut SplitMix) -> f64 {
        ((random.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(random: &mut SplitMix, mean: f64) -> u64 {
        (-uniform(random).ln() * mean) as u64
    }

    fn buckets(samples: &[u64], grain: u32) -> Vec<(u64, u64)> {
        let mut counted = std::collections::BTreeMap::new();
        // Coarse ones, as in a slice, for the bootstrap: its work is in proportion to them.
        let rounded = samples.iter().map(|sample| sample >> grain << grain);
        rounded.for_each(|sample| *counted.entry(sample).or_insert(0) += 1);
        counted.into_iter().collect()
    }

    /// The interval as if all samples were independent of each other.
    fn by_ranks(mut samples: Vec<u64>, quantile: f64) -> Option<(u64, u64)> {
        samples.sort_unstable();
        let count = samples.len() as f64;
        let spread = 1.96 * (count * quantile * (1.0 - quantile)).sqrt();
        let at = |rank: f64| samples.get(rank as usize).copied();
        Some((at(count * quantile - spread)?, at(count * quantile + spread)?))
    }

    /// Trials of 100 whose interval has the true median in it.
    fn coverage(trial: impl Fn(&mut SplitMix) -> Option<(u64, u64)>, truth: f64) -> usize {
        let mut random = SplitMix(1);
        let trials = (0..100).filter_map(|_| trial(&mut random));
        trials.filter(|(low, high)| (*low as f64) <= truth && truth <= *high as f64).count()
    }

    /// Seconds differ more than requests within a second do: ranks overlook it, blocks do not.
    #[test]
    fn requests_that_suffer_together_are_drawn_together() {
        let run = |random: &mut SplitMix| -> Vec<Vec<u64>> {
            let second = |random: &mut SplitMix| {
                let scale = exponential(random, 10_000.0) + 1;
                (0..50).map(|_| scale + exponential(random, 100.0)).collect()
            };
            (0..20).map(|_| second(random)).collect()
        };
        let truth = 10_000.0 * std::f64::consts::LN_2 + 100.0;
        let by_blocks = |random: &mut SplitMix| {
            let columns: Vec<_> = run(random).iter().map(|second| buckets(second, 8)).collect();
            let slices: Vec<&Buckets> = columns.iter().map(Vec::as_slice).collect();
            Blocks::of(&slices).interval(0.5)
        };
        let by_ranks = |random: &mut SplitMix| by_ranks(run(random).concat(), 0.5);
        let (blocks, ranks) = (coverage(by_blocks, truth), coverage(by_ranks, truth));
        assert!(blocks >= 84, "{blocks} of 100");
        assert!(ranks < 60, "{ranks} of 100: then blocks would not be needed");
    }

    #[test]
    fn a_long_run_is_cut_into_no_more_than_sixty_blocks_and_loses_nothing() {
        let columns: Vec<Vec<(u64, u64)>> =
            (0..3600).map(|second| buckets(&[second % 7; 3], 0)).collect();
        let borrowed: Vec<&Buckets> = columns.iter().map(Vec::as_slice).collect();
        let blocks = Blocks::of(&borrowed);
        assert_eq!(blocks.counts.len(), MAX_BLOCKS);
        assert_eq!(blocks.counts.iter().flatten().sum::<u64>(), 3 * 3600);
    }
}
