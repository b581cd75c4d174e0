//! Confidence intervals: how far a percentile may be from that of another run of the same length.
//!
//! Two methods, both for 95 %. *Blocks*: the run is cut into units of a second (or a few), and runs
//! of as many units are drawn from it, with repetition, two neighbours at a time, some hundred
//! times (a block bootstrap: Künsch 1989). The interval is the range over which the drawn runs
//! disagree. Requests that wait behind each other are in one block, so their dependence counts. A
//! run with few blocks is drawn too much alike; the interval then takes in more of the drawn runs
//! (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3).
//!
//! *Ranks*, for a run that is too short for blocks: order statistics, as if requests were
//! independent of each other. They are not, and the interval is too narrow wherever one stall
//! delays several requests; so the record says which method it used.
//!
//! Neither method knows more than the run has seen: a stall that comes once an hour is in no
//! interval of a minute, and no interval includes the differences between runs.

use serde::{Deserialize, Serialize};

use super::Distribution;

/// Slices that it takes to say how slices differ.
const MIN_SLICES: usize = 10;
/// Units that a longer run is cut into, so that the work does not grow with its length.
const MAX_UNITS: usize = 120;
/// Neighbouring units that are drawn together: a stall does not end with its second.
const BLOCK: usize = 2;
/// Runs that are drawn.
const DRAWS: usize = 400;
/// Least number of blocks, and the share of the drawn runs that is left out at each end:
/// Φ(-√(n/(n-1)) · t(0.975, n-1)), which is 2.5 % of very many.
const LEFT_OUT: [(usize, f64); 7] = [
    (60, 0.0218),
    (30, 0.0188),
    (20, 0.0159),
    (15, 0.0132),
    (10, 0.0086),
    (7, 0.0041),
    (5, 0.0010),
];

/// 95 % intervals, lower and upper bound. `None` where there are too few samples for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervals {
    /// Method by which they were found.
    pub method: Method,
    /// Interval of the median.
    pub p50: Option<(u64, u64)>,
    /// Interval of the 90th percentile.
    pub p90: Option<(u64, u64)>,
    /// Interval of the 99th percentile.
    pub p99: Option<(u64, u64)>,
    /// Interval of the 99.9th percentile.
    pub p999: Option<(u64, u64)>,
}

/// Method by which intervals were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Block bootstrap.
    Blocks,
    /// Order statistics, because the run was too short for blocks.
    Ranks,
}

type Buckets = [(u64, u64)];

/// Returns the intervals of `whole`, whose parts are `slices`.
pub fn intervals(whole: &Distribution, slices: &[&Buckets]) -> Intervals {
    let quantiles = [0.5, 0.9, 0.99, 0.999];
    let (method, found) = if slices.len() >= MIN_SLICES {
        (Method::Blocks, SlicedRun::of(slices).intervals(quantiles))
    } else {
        (Method::Ranks, quantiles.map(|quantile| by_ranks(whole, quantile)))
    };
    let points = [whole.p50, whole.p90, whole.p99, whole.p999];
    let mut found = found.into_iter().zip(points).map(|(interval, point)| {
        // Slices are kept more coarsely than the whole.
        let ((low, high), point) = interval.zip(point)?;
        Some((low.min(point), high.max(point)))
    });
    let mut next = || found.next().flatten();
    Intervals { method, p50: next(), p90: next(), p99: next(), p999: next() }
}

/// A run in units of one slice or more, in columns: every value that occurs, and its count in each
/// unit.
struct SlicedRun {
    values: Vec<u64>,
    /// Counts by unit, then by value.
    counts: Vec<Vec<u64>>,
}

impl SlicedRun {
    fn of(slices: &[&Buckets]) -> Self {
        let mut values: Vec<u64> =
            slices.iter().flat_map(|slice| slice.iter().map(|(value, _)| *value)).collect();
        values.sort_unstable();
        values.dedup();
        let length = slices.len().div_ceil(MAX_UNITS);
        let unit = |slices: &[&Buckets]| {
            let mut counts = vec![0; values.len()];
            for (value, count) in slices.iter().flat_map(|slice| slice.iter()) {
                if let Ok(place) = values.binary_search(value) {
                    counts[place] += count;
                }
            }
            counts
        };
        let counts = slices.chunks(length).map(unit).collect();
        Self { values, counts }
    }

    fn intervals<const N: usize>(&self, quantiles: [f64; N]) -> [Option<(u64, u64)>; N] {
        let units = self.counts.len();
        let blocks = units.div_ceil(BLOCK);
        // A fixed seed: the same record always gives the same intervals.
        let mut random = SplitMix(0x6b65_6570_7761_726d);
        let mut drawn: [Vec<u64>; N] = std::array::from_fn(|_| Vec::with_capacity(DRAWS));
        let mut sum = vec![0; self.values.len()];
        for _ in 0..DRAWS {
            sum.fill(0);
            for _ in 0..blocks {
                let first = random.below(units);
                for unit in first..first + BLOCK {
                    let counts = &self.counts[unit % units];
                    sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
                }
            }
            for (drawn, quantile) in drawn.iter_mut().zip(quantiles) {
                drawn.extend(self.quantile(&sum, quantile));
            }
        }
        let few = LEFT_OUT.iter().find(|(least, _)| blocks >= *least);
        let left_out = few.map_or(0.0, |(_, part)| *part);
        drawn.map(|mut drawn| {
            drawn.sort_unstable();
            let skipped = (drawn.len() as f64 * left_out) as usize;
            let low = *drawn.get(skipped)?;
            let high = *drawn.get(drawn.len().checked_sub(skipped + 1)?)?;
            // The value of a slice's bucket is its upper end.
            Some((low - low / 33, high))
        })
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

/// Returns two samples that enclose the quantile with at least 95 %, if all were independent;
/// `None` if there are too few samples.
fn by_ranks(whole: &Distribution, quantile: f64) -> Option<(u64, u64)> {
    let (low, high) = ranks(whole.count, quantile)?;
    let at = |rank: u64| {
        let mut seen = 0;
        let bucket = whole.buckets.iter().find(|(_, count)| {
            seen += count;
            seen >= rank
        });
        bucket.map(|(value, _)| *value)
    };
    let (low, high) = (at(low)?, at(high)?);
    // Samples are kept to three digits: a bucket is named by its upper end, and begins about a
    // thousandth below.
    Some(((low - low / 1024).max(whole.min?), high.min(whole.max?)))
}

/// Returns the ranks, from 1, of the two samples of `n` that enclose a quantile with at least 95 %.
///
/// Exact where one tail is so thin that a normal curve would not fit: the binomial is summed from
/// the end at which few samples are expected.
fn ranks(n: u64, quantile: f64) -> Option<(u64, u64)> {
    /// Variance from which the normal curve is exact to less than a rank's noise.
    const NORMAL_FROM: f64 = 400.0;
    if n == 0 || !(quantile > 0.0 && quantile < 1.0) {
        return None;
    }
    let samples = n as f64;
    let variance = samples * quantile * (1.0 - quantile);
    let (low, high) = if variance > NORMAL_FROM {
        let (middle, half) = (samples * quantile, 1.959_964 * variance.sqrt());
        ((middle - half).floor(), (middle + half).ceil() + 1.0)
    } else {
        // Counted from the thin end, then turned round if that is the upper one.
        let thin = quantile.min(1.0 - quantile);
        let (few, many) = (below(n, thin, 0.025), below(n, thin, 0.975) + 1);
        let (few, many) = (few as f64, many as f64);
        if quantile <= 0.5 { (few, many) } else { (samples + 1.0 - many, samples + 1.0 - few) }
    };
    (low >= 1.0 && high <= samples).then_some((low as u64, high as u64))
}

/// Returns the least `k` for which at most `k` of `n` events happen with a probability above
/// `share`, when each happens with probability `p`, which is at most a half.
fn below(n: u64, p: f64, share: f64) -> u64 {
    let mut log_term = n as f64 * (1.0 - p).ln();
    let mut sum = log_term.exp();
    let mut k = 0;
    while sum <= share && k < n {
        log_term += ((n - k) as f64 / (k + 1) as f64).ln() + p.ln() - (1.0 - p).ln();
        k += 1;
        sum += log_term.exp();
    }
    k
}

/// Random numbers by Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
pub(crate) struct SplitMix(u64);

impl SplitMix {
    /// Begins a sequence that depends on the seed alone.
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`, which is small: the bias of the remainder does not show.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number between 0 and 1, both excluded.
    fn uniform(random: &mut SplitMix) -> f64 {
        ((random.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(random: &mut SplitMix, mean: f64) -> f64 {
        -uniform(random).ln() * mean
    }

    /// Buckets like those of a slice: 32 to each doubling.
    fn buckets(samples: &[u64]) -> Vec<(u64, u64)> {
        let mut counted = std::collections::BTreeMap::new();
        for sample in samples {
            let shift = sample.max(&1).ilog2().saturating_sub(5);
            *counted.entry((((sample >> shift) + 1) << shift) - 1).or_insert(0) += 1;
        }
        counted.into_iter().collect()
    }

    fn distribution(samples: &[u64]) -> Distribution {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        Distribution {
            count: sorted.len() as u64,
            min: sorted.first().copied(),
            max: sorted.last().copied(),
            buckets: sorted.iter().map(|sample| (*sample, 1)).collect(),
            ..Distribution::default()
        }
    }

    /// Response times, in microseconds, of an open loop of 20 a second at a server that freezes for
    /// a second at a time, at random moments, on average once in `gap` seconds; by the second in
    /// which each request completes.
    fn stalling_run(random: &mut SplitMix, seconds: usize, gap: f64) -> Vec<Vec<u64>> {
        let mut slices = vec![Vec::new(); seconds + 2];
        let (mut last, mut next) = (f64::NEG_INFINITY, -5.0 + exponential(random, gap));
        for request in 0..seconds * 20 {
            let due = request as f64 / 20.0;
            while next <= due {
                last = next;
                next += exponential(random, gap);
            }
            let response = (last + 1.0 - due).max(0.0) + 0.005;
            slices[(due + response) as usize].push((response * 1e6) as u64);
        }
        slices
    }

    /// The true quantile (s): a request waits longer than x if a freeze began in the last 1 - x
    /// seconds.
    fn truth(gap: f64, quantile: f64) -> f64 {
        (1.0 + quantile.ln() * gap).max(0.0) + 0.005
    }

    const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

    /// Counts the runs, of a hundred, whose intervals contain the truth.
    fn covered(
        (seconds, gap): (usize, f64),
        interval: impl Fn(&[Vec<u64>]) -> [Option<(u64, u64)>; 3],
    ) -> [u32; 3] {
        let mut random = SplitMix(1);
        let mut covered = [0; 3];
        for _ in 0..100 {
            let found = interval(&stalling_run(&mut random, seconds, gap));
            for ((covered, found), quantile) in covered.iter_mut().zip(found).zip(QUANTILES) {
                let truth = truth(gap, quantile) * 1e6;
                let (low, high) = found.expect("enough samples");
                *covered += u32::from(low as f64 <= truth && truth <= high as f64);
            }
        }
        covered
    }

    #[test]
    fn block_intervals_cover_the_true_percentile() {
        for course in [(60, 1.0), (60, 5.0), (20, 1.0)] {
            let blocks = covered(course, |slices| {
                let columns: Vec<_> = slices.iter().map(|slice| buckets(slice)).collect();
                let columns: Vec<&Buckets> = columns.iter().map(Vec::as_slice).collect();
                SlicedRun::of(&columns).intervals(QUANTILES)
            });
            assert!(blocks.iter().all(|covered| *covered >= 90), "{blocks:?} of 100 of {course:?}");
        }
        let ranks = covered((60, 2.0), |slices| {
            QUANTILES.map(|quantile| by_ranks(&distribution(&slices.concat()), quantile))
        });
        assert!(ranks[1] < 80, "{ranks:?} of 100: then blocks would not be needed");
    }

    #[test]
    fn ranks_follow_the_binomial() {
        // Of five samples the least and the greatest enclose the median with 93.75 %: too little.
        assert_eq!(ranks(5, 0.5), None);
        // Of six with 96.875 %.
        assert_eq!(ranks(6, 0.5), Some((1, 6)));
        assert_eq!(ranks(10, 0.5), Some((2, 9)));
        assert_eq!(ranks(100, 0.5), Some((40, 61)));
        // 1 - 0.99^n must reach 97.5 % for a sample to lie above p99.
        assert_eq!(ranks(300, 0.99), None);
        assert!(ranks(400, 0.99).is_some());
        assert_eq!((ranks(0, 0.5), ranks(10, 0.0), ranks(10, 1.0)), (None, None, None));
        let (low, high) = ranks(1_000_000, 0.99).unwrap();
        assert!((989_800..989_810).contains(&low) && (990_190..990_200).contains(&high));
    }

    #[test]
    fn ranks_cover_independent_samples() {
        let mut random = SplitMix(11);
        for (samples, quantile) in [(60, 0.5), (500, 0.9), (2000, 0.99), (4000, 0.5)] {
            let covered = (0..300).filter(|_| {
                let values: Vec<u64> = (0..samples).map(|_| random.next() % 1_000_000).collect();
                let (low, high) = by_ranks(&distribution(&values), quantile).unwrap();
                (low as f64..=high as f64).contains(&(quantile * 1e6))
            });
            let covered = covered.count();
            assert!(covered >= 276, "{covered} of 300 for p{quantile} of {samples}");
        }
    }

    #[test]
    fn long_runs_keep_every_sample() {
        let columns: Vec<Vec<(u64, u64)>> =
            (0..3600).map(|second| buckets(&[second % 7; 3])).collect();
        let borrowed: Vec<&Buckets> = columns.iter().map(Vec::as_slice).collect();
        let units = SlicedRun::of(&borrowed);
        assert_eq!(units.counts.len(), MAX_UNITS);
        assert_eq!(units.counts.iter().flatten().sum::<u64>(), 3 * 3600);
    }
}
