//! Two records: both are drawn anew from their own seconds, and the drawn ratios say how far the
//! ratio may be off (a block bootstrap: see `fold::confidence`).

use super::metric::{METRICS, Metric};
use super::{Claim, MIN_SLICES, Row};
use crate::fold::confidence::SplitMix;
use crate::load::{LoadRecord, SliceRecord};

/// Runs that are drawn: a probability is known to within a thousandth.
const DRAWS: usize = 2_000;

/// Neighbouring slices that are drawn together: a stall does not end with its second.
const BLOCK: usize = 2;

/// Units that a longer run is cut into, so that the work does not grow with its length.
const MAX_UNITS: usize = 120;

pub(super) fn rows(base: &LoadRecord, new: &LoadRecord) -> Vec<Row> {
    let units = ComparedRun::of(base).zip(ComparedRun::of(new));
    let drawn = units.map(|(base, new)| (base.draw(1), new.draw(2)));
    let row = |(at, metric): (usize, &'static Metric)| {
        let (of_base, of_new) = (metric.value(base)?, metric.value(new)?);
        let ratio = (of_base > 0.0).then(|| of_new / of_base);
        let ratios = drawn.as_ref().map(|(base, new)| ratios(&base[at], &new[at]));
        let ratios = ratios.filter(|ratios| ratios.len() == DRAWS);
        Some(Row {
            metric,
            base: of_base,
            new: of_new,
            ratio,
            interval: ratios.as_ref().filter(|_| ratio.is_some()).map(|ratios| interval(ratios)),
            noise: None,
            p: ratios.as_ref().map(|ratios| probability(ratios)),
            claim: Claim::TooFew,
        })
    };
    METRICS.iter().enumerate().filter_map(row).collect()
}

/// Ratios of drawn runs, ascending; those with a base of zero are left out, but for two zeros, which
/// are equal.
fn ratios(base: &[f64], new: &[f64]) -> Vec<f64> {
    let pairs = base.iter().zip(new);
    let mut ratios: Vec<f64> = pairs
        .filter_map(|(base, new)| match (*base > 0.0, *new > 0.0) {
            (true, _) => Some(new / base),
            (false, false) => Some(1.0),
            (false, true) => None,
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios
}

fn interval(sorted: &[f64]) -> (f64, f64) {
    let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
    (at(0.02), at(0.98))
}

/// Twice the share of the drawn ratios on the other side of 1, and never less than the drawing can
/// tell.
fn probability(sorted: &[f64]) -> f64 {
    let at_most = sorted.iter().filter(|ratio| **ratio <= 1.0).count();
    let at_least = sorted.iter().filter(|ratio| **ratio >= 1.0).count();
    let few = at_most.min(at_least) + 1;
    (2.0 * few as f64 / (sorted.len() + 1) as f64).min(1.0)
}

/// A run in units of one slice or more.
struct ComparedRun {
    /// Every value that occurs, ascending.
    values: Vec<u64>,
    units: Vec<SliceUnit>,
    seconds_each: f64,
}

struct SliceUnit {
    /// Count of each value.
    times: Vec<u64>,
    sum_us: f64,
    completed: f64,
    errors: f64,
    ended: f64,
    opened: f64,
}

impl ComparedRun {
    /// Returns `None` for a run that is too short. The last slice is left out: it is shorter than
    /// the others.
    fn of(record: &LoadRecord) -> Option<Self> {
        let slices = &record.timeline.slices;
        let slices = &slices[..slices.len().saturating_sub(1)];
        if slices.len() < MIN_SLICES - 1 {
            return None;
        }
        let open = record.settings.open_loop;
        let buckets = |slice: &SliceRecord| -> Vec<(u64, u64)> {
            let response = slice.response_us.as_ref().filter(|_| open);
            response.map_or_else(|| slice.latency_us.buckets.clone(), |times| times.buckets.clone())
        };
        let mut values: Vec<u64> =
            slices.iter().flat_map(buckets).map(|(value, _)| value).collect();
        values.sort_unstable();
        values.dedup();
        let length = slices.len().div_ceil(MAX_UNITS);
        let unit = |slices: &[SliceRecord]| {
            let mut unit = SliceUnit {
                times: vec![0; values.len()],
                sum_us: 0.0,
                completed: 0.0,
                errors: 0.0,
                ended: 0.0,
                opened: 0.0,
            };
            for slice in slices {
                for (value, count) in buckets(slice) {
                    if let Ok(at) = values.binary_search(&value) {
                        unit.times[at] += count;
                    }
                    unit.sum_us += value as f64 * count as f64;
                }
                let count = |name: &str| slice.counts.get(name).copied().unwrap_or(0) as f64;
                let bad = slice.statuses.iter().filter(|(kind, _)| kind.as_str() >= "4");
                unit.completed += count("completed");
                unit.errors += count("failed") + bad.map(|(_, count)| *count as f64).sum::<f64>();
                unit.ended += count("completed") + count("failed");
                unit.opened += count("opened");
            }
            unit
        };
        let units = slices.chunks(length).map(unit).collect();
        Some(Self { values, units, seconds_each: record.timeline.width_s * length as f64 })
    }

    /// Draws units with replacement until there are as many as in the run, again and again. Returns
    /// each metric's value in each drawn run.
    fn draw(&self, seed: u64) -> Vec<Vec<f64>> {
        // Fixed seeds: the same records always compare alike.
        let mut random = SplitMix::seeded(seed);
        let mut drawn: Vec<Vec<f64>> = METRICS.iter().map(|_| Vec::with_capacity(DRAWS)).collect();
        let count = self.units.len();
        for _ in 0..DRAWS {
            let mut chosen: Vec<&SliceUnit> = Vec::with_capacity(count + BLOCK);
            while chosen.len() < count {
                let first = random.below(count);
                chosen.extend((first..first + BLOCK).map(|at| &self.units[at % count]));
            }
            for (values, metric) in drawn.iter_mut().zip(&METRICS) {
                values.push(self.value(metric, &chosen));
            }
        }
        drawn
    }

    fn value(&self, metric: &Metric, units: &[&SliceUnit]) -> f64 {
        let sum = |of: fn(&SliceUnit) -> f64| units.iter().map(|unit| of(unit)).sum::<f64>();
        let by = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        if let Some(quantile) = metric.quantile {
            return self.quantile(units, quantile);
        }
        let completed = sum(|unit| unit.completed);
        match metric.name {
            "mean" => by(sum(|unit| unit.sum_us), completed),
            "rps" => by(completed, self.seconds_each * units.len() as f64),
            "errors.share" => by(sum(|unit| unit.errors), sum(|unit| unit.ended)),
            _ => by(sum(|unit| unit.opened) * 1_000.0, completed),
        }
    }

    fn quantile(&self, units: &[&SliceUnit], quantile: f64) -> f64 {
        let all: u64 = units.iter().flat_map(|unit| &unit.times).sum();
        let rank = (all as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (at, value) in self.values.iter().enumerate() {
            seen += units.iter().map(|unit| unit.times[at]).sum::<u64>();
            if seen >= rank && seen > 0 {
                return *value as f64;
            }
        }
        0.0
    }
}
