//! Rank statistics over rounds: small samples, so exact ones.

use std::collections::BTreeMap;

/// Returns the median; `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    let is_odd = sorted.len() % 2 == 1;
    Some(if is_odd { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// Returns the exact two-sided probability of Mann and Whitney (1947): of all ways to deal the
/// ranks, the share whose sum is as far from the middle as this one. Equal values share their mean
/// rank, and the ways are those of these very ranks, so ties need no correction.
pub(super) fn mann_whitney(one: &[f64], other: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> = one.iter().map(|value| (*value, true)).collect();
    all.extend(other.iter().map(|value| (*value, false)));
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    // Twice the rank, so that a mean of two is whole.
    let mut ranks: Vec<(u64, bool)> = Vec::with_capacity(all.len());
    let mut at = 0;
    while at < all.len() {
        let value = all[at].0;
        let ties = all[at..].iter().take_while(|(next, _)| next.total_cmp(&value).is_eq()).count();
        let twice = (2 * at + ties + 1) as u64;
        ranks.extend(all[at..at + ties].iter().map(|(_, is_one)| (twice, *is_one)));
        at += ties;
    }
    let observed: u64 = ranks.iter().filter(|(_, is_one)| *is_one).map(|(rank, _)| rank).sum();
    let total: u64 = ranks.iter().map(|(rank, _)| rank).sum();
    // Ways to choose a number of ranks with a sum, rank by rank.
    let mut ways: Vec<BTreeMap<u64, f64>> = vec![BTreeMap::new(); one.len() + 1];
    ways[0].insert(0, 1.0);
    for (rank, _) in &ranks {
        for chosen in (0..one.len()).rev() {
            let grown: Vec<(u64, f64)> =
                ways[chosen].iter().map(|(sum, count)| (sum + rank, *count)).collect();
            for (sum, count) in grown {
                *ways[chosen + 1].entry(sum).or_default() += count;
            }
        }
    }
    let expected = total as f64 * one.len() as f64 / ranks.len().max(1) as f64;
    let distance = (observed as f64 - expected).abs();
    let deals = &ways[one.len()];
    let all: f64 = deals.values().sum();
    let far = deals.iter().filter(|(sum, _)| (**sum as f64 - expected).abs() >= distance - 1e-6);
    far.map(|(_, count)| count).sum::<f64>() / all.max(1.0)
}

/// Returns the ratio of Hodges and Lehmann (1963), the median of all pairs new by base, and its 95 %
/// interval, if there are enough values for one; `None` where a base is zero.
pub(super) fn hodges_lehmann_ratio(base: &[f64], new: &[f64]) -> Option<(f64, Option<(f64, f64)>)> {
    if base.iter().any(|value| *value <= 0.0) {
        return None;
    }
    let mut pairs: Vec<f64> =
        base.iter().flat_map(|base| new.iter().map(move |new| new / base)).collect();
    pairs.sort_by(f64::total_cmp);
    let left_out = left_out(base.len(), new.len());
    let interval = left_out.and_then(|left_out| {
        Some((*pairs.get(left_out)?, *pairs.get(pairs.len().checked_sub(left_out + 1)?)?))
    });
    Some((median(&pairs)?, interval))
}

/// Returns the pairs to leave out at each end for a 95 % interval: the greatest k with
/// P(U < k) ≤ 2.5 %; `None` if not even one may be left out.
fn left_out(one: usize, other: usize) -> Option<usize> {
    // Ways by the statistic U (Mann and Whitney's recursion), for m of `one` and n of `other`.
    let mut ways = vec![vec![vec![1.0_f64]; other + 1]; one + 1];
    for m in 1..=one {
        for n in 1..=other {
            let mut sums = vec![0.0; m * n + 1];
            for (u, sum) in sums.iter_mut().enumerate() {
                let first = u.checked_sub(n).and_then(|u| ways[m - 1][n].get(u));
                *sum = first.unwrap_or(&0.0) + ways[m][n - 1].get(u).unwrap_or(&0.0);
            }
            ways[m][n] = sums;
        }
    }
    let deals = &ways[one][other];
    let all: f64 = deals.iter().sum();
    let mut below = 0.0;
    let mut count = 0;
    for ways in deals {
        below += ways / all;
        if below > 0.025 {
            break;
        }
        count += 1;
    }
    (count > 0).then_some(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_equal_the_tables() {
        // Without ties: 2 · (ways with U at most u) / C(m+n, m); scipy.stats.mannwhitneyu(exact).
        for (one, other, p) in [
            (vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0], 2.0 / 20.0),
            (vec![1.0, 2.0, 4.0], vec![3.0, 5.0, 6.0], 4.0 / 20.0),
            ((1..=5).map(f64::from).collect(), (6..=10).map(f64::from).collect(), 2.0 / 252.0),
            (
                (1..=10).map(f64::from).collect(),
                (11..=20).map(f64::from).collect(),
                2.0 / 184_756.0,
            ),
            (vec![1.0, 4.0], vec![2.0, 3.0], 1.0),
            // All equal: every deal is as far.
            (vec![7.0; 5], vec![7.0; 5], 1.0),
            // Ties: 1 2 2 against 2 3 3; of 20 deals, 4 are as far as the sum 2+4·3/3.
            (vec![1.0, 2.0, 2.0], vec![2.0, 3.0, 3.0], 4.0 / 20.0 + 2.0 / 20.0),
        ] {
            let found = mann_whitney(&one, &other);
            assert!((found - p).abs() < 1e-9, "{one:?} {other:?}: {found}, not {p}");
        }
    }

    #[test]
    fn interval_leaves_out_the_tabulated_pairs() {
        // Critical values of U at 5 %, two-sided, plus one (Siegel 1956, table K).
        for (m, n, k) in [(5, 5, 3), (6, 6, 6), (8, 8, 14), (10, 10, 24), (20, 20, 128)] {
            assert_eq!(left_out(m, n), Some(k), "{m} {n}");
        }
        assert_eq!(left_out(3, 3), None);
    }

    #[test]
    fn ratio_is_the_median_of_pairs() {
        let (ratio, interval) = hodges_lehmann_ratio(&[2.0, 4.0], &[1.0, 2.0]).expect("a ratio");
        assert!((ratio - 0.5).abs() < 1e-12 && interval.is_none());
        assert_eq!(hodges_lehmann_ratio(&[0.0, 1.0], &[1.0, 1.0]), None);
    }
}
