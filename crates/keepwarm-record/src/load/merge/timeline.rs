//! The timeline of a merged record: slices of the same time add.

use std::collections::BTreeMap;

use super::Span;
use crate::fold::add_buckets;
use crate::load::{Distribution, LoadRecord, Sketched, SliceRecord, TimelineRecord};

/// The most slices; a longer course has slices of twice the length.
const MAX_SLICES: usize = 3600;

/// The least length of a slice that a record may have.
const LEAST_WIDTH_S: f64 = 1e-3;

/// Counts of the connections that ended.
const CLOSED: [&str; 4] = ["closed_by_us", "peer_fin", "peer_rst", "timed_out"];

pub(super) fn merge(parts: &[LoadRecord], span: &Span) -> TimelineRecord {
    let widths = parts.iter().map(|part| part.timeline.width_s);
    let mut width_s = widths.fold(LEAST_WIDTH_S, f64::max);
    let place = |part: &LoadRecord, index: usize, width_s: f64| {
        // Starts are a little apart, and a part keeps its own slices whole.
        let offset = (span.offset_s(part) / width_s).round();
        offset + (index as f64 * part.timeline.width_s / width_s + 1e-9).floor()
    };
    let last = |width_s: f64| {
        let ends = parts.iter().map(|part| place(part, part.timeline.slices.len(), width_s));
        ends.fold(0.0, f64::max)
    };
    while last(width_s) > MAX_SLICES as f64 {
        width_s *= 2.0;
    }
    let mut slots: BTreeMap<usize, Vec<&SliceRecord>> = BTreeMap::new();
    // Busiest thread in each slice of the whole. Slices of one part follow each other and add up; parts
    // ran at the same time, and the busiest of them counts.
    let mut busiest: BTreeMap<usize, f64> = BTreeMap::new();
    for part in parts {
        let mut own: BTreeMap<usize, f64> = BTreeMap::new();
        for (index, slice) in part.timeline.slices.iter().enumerate() {
            let slot = place(part, index, width_s) as usize;
            slots.entry(slot).or_default().push(slice);
            *own.entry(slot).or_default() += slice.busiest_thread_s;
        }
        for (slot, seconds) in own {
            let most = busiest.entry(slot).or_default();
            *most = most.max(seconds);
        }
    }
    let length = slots.keys().next_back().map_or(0, |last| last + 1);
    let mut open = 0_u64;
    let slices = (0..length)
        .map(|slot| {
            let parts = slots.get(&slot).map_or(&[][..], Vec::as_slice);
            let mut slice = add(parts);
            slice.busiest_thread_s = busiest.get(&slot).copied().unwrap_or(0.0);
            let count = |name: &str| slice.counts.get(name).copied().unwrap_or(0);
            let closed = CLOSED.iter().fold(0, |sum: u64, name| sum.saturating_add(count(name)));
            open = open.saturating_add(count("opened")).saturating_sub(closed);
            slice.open = open;
            slice
        })
        .collect();
    TimelineRecord { width_s, slices }
}

/// Adds slices of the same time, but for what the caller knows better.
fn add(parts: &[&SliceRecord]) -> SliceRecord {
    let mut sum = SliceRecord {
        counts: BTreeMap::new(),
        closed_by_us: BTreeMap::new(),
        errors: BTreeMap::new(),
        statuses: BTreeMap::new(),
        open: 0,
        latency_us: sketched(parts.iter().map(|part| &part.latency_us)),
        response_us: None,
        loader_cpu_s: parts.iter().map(|part| part.loader_cpu_s).sum(),
        busiest_thread_s: 0.0,
        lost_workers: 0,
    };
    for part in parts {
        add_to(&mut sum.counts, &part.counts);
        add_to(&mut sum.closed_by_us, &part.closed_by_us);
        add_to(&mut sum.errors, &part.errors);
        add_to(&mut sum.statuses, &part.statuses);
    }
    if parts.iter().any(|part| part.response_us.is_some()) {
        sum.response_us = Some(sketched(parts.iter().filter_map(|part| part.response_us.as_ref())));
    }
    sum
}

pub(super) fn add_to<K: Ord + Clone>(sums: &mut BTreeMap<K, u64>, counts: &BTreeMap<K, u64>) {
    for (name, count) in counts {
        let sum = sums.entry(name.clone()).or_default();
        *sum = sum.saturating_add(*count);
    }
}

fn sketched<'a>(parts: impl Iterator<Item = &'a Sketched> + Clone) -> Sketched {
    let buckets = add_buckets(parts.clone().map(|part| &part.buckets[..]));
    let whole = Distribution {
        count: buckets.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count)),
        min: buckets.first().map(|_| 0),
        max: parts.filter_map(|part| part.max).max(),
        buckets,
        ..Distribution::default()
    };
    let (p50, p99) = (whole.quantile(0.5), whole.quantile(0.99));
    Sketched { p50, p99, max: whole.max, buckets: whole.buckets }
}
