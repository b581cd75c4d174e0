//! Compares two loads: two records, or two targets that were loaded in turn.
//!
//! Owns the metrics, the tests, and what may be claimed. A difference is claimed only if it is
//! significant among all metrics (Holm), at least 2 %, and, for loads in turn, beyond what the same
//! code differs from itself. Runs nothing and reads no file.

mod assertion;
mod bootstrap;
mod metric;
mod rank;

pub use assertion::{RatioAssertion, RatioError};
pub use metric::{METRICS, Metric};

use crate::load::{LoadRecord, Settings};

/// The least difference that is claimed.
const LEAST: f64 = 0.02;

/// Probability of at least one false claim among all metrics.
const LEVEL: f64 = 0.05;

/// Fewest rounds with which a difference can be claimed: with fewer, no order of them is rare enough
/// among six metrics.
pub const MIN_ROUNDS: usize = 5;

/// Fewest slices of a record that blocks are drawn from.
const MIN_SLICES: usize = 10;

/// Two loads beside each other.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Names of the two: base and new.
    pub names: [String; 2],
    /// A row for each metric that both have.
    pub rows: Vec<Row>,
    /// Method, in words.
    pub method: String,
    /// Limits of the comparison.
    pub notes: Vec<String>,
}

/// One metric of both loads.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The metric.
    pub metric: &'static Metric,
    /// Typical value of the base, in the metric's unit.
    pub base: f64,
    /// Typical value of the new one.
    pub new: f64,
    /// New by base; `None` where the base is zero.
    pub ratio: Option<f64>,
    /// 95 % interval of the ratio; `None` where there are too few rounds or seconds.
    pub interval: Option<(f64, f64)>,
    /// Greatest difference of the same code with itself; `None` for two records.
    pub noise: Option<f64>,
    /// Probability of such a difference without a cause, corrected for the number of metrics.
    pub p: Option<f64>,
    /// The claim.
    pub claim: Claim,
}

/// A claim on a metric, or the reason for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The new one is better.
    Better,
    /// The new one is worse.
    Worse,
    /// No difference beyond the noise.
    NoDifference,
    /// Too few events, rounds or seconds to say.
    TooFew,
}

/// One round: two runs of each, in the order base, new, new, base.
#[derive(Clone, Debug)]
pub struct Round {
    /// Runs of the base: the first and the last of the round.
    pub base: [LoadRecord; 2],
    /// Runs of the new one, between them.
    pub new: [LoadRecord; 2],
}

impl Comparison {
    /// Compares loads that were run in turn.
    #[must_use]
    pub fn in_turn(names: [String; 2], rounds: &[Round]) -> Self {
        let mut rows: Vec<Row> =
            METRICS.iter().filter_map(|metric| in_turn(metric, rounds)).collect();
        judge(&mut rows);
        let count = rounds.len();
        Self {
            names,
            method: format!(
                "Exact two-sided Mann-Whitney over {count} rounds each, Holm over {} metrics; \
                 Hodges-Lehmann ratio with its 95 % interval. Not claimed: differences under 2 %, or \
                 within those of the same code with itself.",
                rows.len()
            ),
            rows,
            notes: Vec::new(),
        }
    }

    /// Compares two records, one run each.
    #[must_use]
    pub fn of_records(names: [String; 2], base: &LoadRecord, new: &LoadRecord) -> Self {
        let mut rows = bootstrap::rows(base, new);
        judge(&mut rows);
        let mut notes = vec![
            "one run each: drift between the runs (other load, another machine, a warmer cache) is \
             not covered; --each compares in turn"
                .to_owned(),
        ];
        if rows.iter().any(|row| row.interval.is_none()) {
            notes.push(format!(
                "a run of fewer than {MIN_SLICES} s says nothing of how its seconds differ: nothing \
                 is claimed of it"
            ));
        }
        let is_of_one =
            |metric: &&Metric| metric.value(base).is_some() != metric.value(new).is_some();
        let of_one: Vec<&str> =
            METRICS.iter().filter(is_of_one).map(|metric| metric.label).collect();
        if !of_one.is_empty() {
            notes.push(format!("only one of the two has a value for {}", of_one.join(", ")));
        }
        if base.machine.processor != new.machine.processor
            || base.machine.cores != new.machine.cores
        {
            notes.push("the loads ran on different machines".to_owned());
        }
        Self {
            names,
            method: format!(
                "Block bootstrap over the seconds of both runs, Holm over {} metrics. Not claimed: \
                 differences under 2 %.",
                rows.len()
            ),
            rows,
            notes,
        }
    }

    /// Says the whole comparison in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let [base, new] = &self.names;
        let of = |claim: Claim| {
            let rows = self.rows.iter().filter(|row| row.claim == claim);
            rows.map(Row::describe).collect::<Vec<_>>()
        };
        let (better, worse) = (of(Claim::Better), of(Claim::Worse));
        match (better.is_empty(), worse.is_empty()) {
            (true, true) if self.rows.iter().all(|row| row.claim == Claim::TooFew) => {
                format!("Too little was measured to say whether {base} and {new} differ.")
            }
            (true, true) => format!("No difference between {base} and {new} is beyond the noise."),
            (false, true) => format!("{new} is better than {base}: {}.", better.join("; ")),
            (true, false) => format!("{new} is worse than {base}: {}.", worse.join("; ")),
            (false, false) => format!(
                "{new} is better than {base} in {}; worse in {}.",
                better.join("; "),
                worse.join("; ")
            ),
        }
    }
}

impl Row {
    /// Says the difference, such as `p99 30 % lower (25 to 34 %)`.
    fn describe(&self) -> String {
        let label = self.metric.label;
        let Some(ratio) = self.ratio else {
            return format!(
                "{label} {} instead of {}",
                self.metric.show(self.new),
                self.metric.show(self.base)
            );
        };
        let percent = |ratio: f64| ((ratio - 1.0).abs() * 100.0).round();
        let way = if ratio < 1.0 { "lower" } else { "higher" };
        let within = self.interval.map_or_else(String::new, |(low, high)| {
            let (a, b) = (percent(low), percent(high));
            format!(" ({} to {} %)", a.min(b), a.max(b))
        });
        format!("{label} {} % {way}{within}", percent(ratio))
    }
}

/// Returns the settings in which two loads differ, with both values: such records are not compared.
/// The target's host and port may differ: they are what is compared.
#[must_use]
pub fn differing_settings(base: &Settings, new: &Settings) -> Vec<String> {
    let differs = |((name, base), (_, new)): ((&str, String), (&str, String))| {
        (base != new).then(|| format!("settings.{name} ({base} and {new})"))
    };
    shown(base).into_iter().zip(shown(new)).filter_map(differs).collect()
}

/// Returns each setting that has to be the same, by its key, as text. A new key does not compile
/// until it has its rule here.
fn shown(settings: &Settings) -> Vec<(&'static str, String)> {
    let Settings {
        url,
        host: _,
        port: _,
        path,
        method,
        requests,
        duration_s,
        open_loop,
        schedule,
        backlog,
        concurrency,
        streams,
        threads,
        keep_alive,
        close_policy,
        requests_per_connection,
        connect_rate,
        max_lifetime_s,
        dns_ttl_s,
        addresses: _,
        timeout_s,
        request_bytes,
        share,
    } = settings;
    // The Host field names the target, whose length is none of the load's settings.
    let authority = url.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next());
    let request_bytes = request_bytes.saturating_sub(authority.map_or(0, str::len) as u64);
    let schedule = schedule.as_ref().map(|schedule| {
        let arrivals = if schedule.seed.is_some() { "poisson" } else { "constant" };
        format!("rate {}, stages {:?}, {arrivals}", or_none(schedule.rate), schedule.stages)
    });
    vec![
        ("method", method.clone()),
        ("path", path.clone()),
        ("https", settings.is_https().to_string()),
        ("streams", or_none(*streams)),
        ("open_loop", open_loop.to_string()),
        ("schedule", or_none(schedule)),
        ("backlog", if *open_loop { backlog.to_string() } else { "none".to_owned() }),
        ("requests", or_none(*requests)),
        ("duration_s", or_none(*duration_s)),
        ("concurrency", concurrency.to_string()),
        ("threads", threads.to_string()),
        ("keep_alive", keep_alive.to_string()),
        ("close_policy", close_policy.clone()),
        ("requests_per_connection", or_none(*requests_per_connection)),
        ("connect_rate", or_none(*connect_rate)),
        ("max_lifetime_s", or_none(*max_lifetime_s)),
        ("dns_ttl_s", or_none(*dns_ttl_s)),
        ("timeout_s", timeout_s.to_string()),
        ("request_bytes, without the host's name,", request_bytes.to_string()),
        ("share", or_none(share.map(|(part, parts)| format!("{part}/{parts}")))),
    ]
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// One metric over all rounds; `None` where a run has no value for it.
fn in_turn(metric: &'static Metric, rounds: &[Round]) -> Option<Row> {
    let values = |of: fn(&Round) -> &[LoadRecord; 2], at: usize| -> Option<Vec<f64>> {
        rounds.iter().map(|round| metric.value(&of(round)[at])).collect()
    };
    let base = [values(|round| &round.base, 0)?, values(|round| &round.base, 1)?];
    let new = [values(|round| &round.new, 0)?, values(|round| &round.new, 1)?];
    // One value for each round: the order base, new, new, base cancels a steady drift.
    let mean = |both: &[Vec<f64>; 2]| -> Vec<f64> {
        both[0].iter().zip(&both[1]).map(|(first, last)| (first + last) / 2.0).collect()
    };
    let (of_base, of_new) = (mean(&base), mean(&new));
    let noise = [&base, &new].into_iter().filter_map(|both| {
        let ratio = rank::hodges_lehmann_ratio(&both[0], &both[1])?.0;
        Some((ratio - 1.0).abs())
    });
    let found = rank::hodges_lehmann_ratio(&of_base, &of_new);
    Some(Row {
        metric,
        base: rank::median(&of_base)?,
        new: rank::median(&of_new)?,
        ratio: found.map(|(ratio, _)| ratio),
        interval: found.and_then(|(_, interval)| interval),
        noise: noise.max_by(f64::total_cmp),
        p: Some(rank::mann_whitney(&of_base, &of_new)),
        claim: Claim::TooFew,
    })
}

/// Corrects the probabilities (Holm 1979), and decides what may be claimed.
fn judge(rows: &mut [Row]) {
    let mut order: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].p.is_some()).collect();
    let raw = |rows: &[Row], at: usize| rows[at].p.unwrap_or(1.0);
    order.sort_by(|one, other| raw(rows, *one).total_cmp(&raw(rows, *other)));
    let mut least: f64 = 0.0;
    let count = order.len();
    for (rank, at) in order.into_iter().enumerate() {
        least = least.max(raw(rows, at) * (count - rank) as f64).min(1.0);
        rows[at].p = Some(least);
    }
    for row in rows {
        row.claim = claim(row);
    }
}

fn claim(row: &Row) -> Claim {
    let Some(p) = row.p else { return Claim::TooFew };
    let is_change = row.ratio.map_or(row.new - row.base >= LEAST, |ratio| {
        (ratio - 1.0).abs() >= LEAST.max(row.noise.unwrap_or(0.0))
    });
    match row.ratio {
        None if row.base == row.new => Claim::NoDifference,
        None if !is_change => Claim::TooFew,
        _ if p >= LEVEL || !is_change => Claim::NoDifference,
        _ if (row.new > row.base) == row.metric.more_is_better => Claim::Better,
        _ => Claim::Worse,
    }
}

#[cfg(test)]
mod tests;
