//! Settings of a merged record: those that make two loads one have to be the same, amounts add.

use super::MergeError;
use crate::load::{Schedule, Settings};

/// The most shares of a load that are looked for by number.
const MAX_SHARES: u64 = 10_000;

/// A setting that the parts of one load share: its key, and its value as text.
type Shared = (&'static str, fn(&Settings) -> String);

const SHARED: [Shared; 11] = [
    ("settings.url", |one| one.url.clone()),
    ("settings.method", |one| one.method.clone()),
    ("settings.open_loop", |one| one.open_loop.to_string()),
    ("settings.keep_alive", |one| one.keep_alive.to_string()),
    ("settings.close_policy", |one| one.close_policy.clone()),
    ("settings.requests_per_connection", |one| or_none(one.requests_per_connection)),
    ("settings.streams", |one| or_none(one.streams)),
    ("settings.timeout_s", |one| one.timeout_s.to_string()),
    ("settings.max_lifetime_s", |one| seconds_or_none(one.max_lifetime_s)),
    ("settings.dns_ttl_s", |one| seconds_or_none(one.dns_ttl_s)),
    ("settings.schedule.stages", |one| {
        let stages = one.schedule.iter().flat_map(|schedule| &schedule.stages);
        let lengths: Vec<String> = stages.map(|(length, _)| format!("{length}s")).collect();
        if lengths.is_empty() { "none".to_owned() } else { lengths.join(" ") }
    }),
];

fn or_none(value: Option<u64>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn seconds_or_none(value: Option<f64>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

/// Refuses settings that are not of one load, and a share of it that is given twice.
pub(super) fn check(all: &[&Settings]) -> Result<(), MergeError> {
    let [first, others @ ..] = all else { return Err(MergeError::Nothing) };
    for (index, part) in others.iter().enumerate() {
        for (setting, value) in SHARED {
            let (of_first, other) = (value(first), value(part));
            if of_first != other {
                return Err(MergeError::Differs {
                    part: index + 2,
                    setting,
                    first: of_first,
                    other,
                });
            }
        }
    }
    refuse_same_share(all)
}

/// Unites settings that were checked; there is one at least.
pub(super) fn unite(parts: &[&Settings]) -> Settings {
    let all = || parts.iter().copied();
    let sum = |of: fn(&Settings) -> u64| all().map(of).fold(0, u64::saturating_add);
    let mut addresses: Vec<String> = Vec::new();
    for address in all().flat_map(|one| &one.addresses) {
        if !addresses.contains(address) {
            addresses.push(address.clone());
        }
    }
    let same = parts[0].clone();
    Settings {
        url: same.url,
        host: same.host,
        port: same.port,
        path: same.path,
        method: same.method,
        requests: all().map(|one| one.requests).sum(),
        duration_s: all().filter_map(|one| one.duration_s).max_by(f64::total_cmp),
        open_loop: same.open_loop,
        schedule: schedule(parts),
        backlog: sum(|one| one.backlog),
        concurrency: sum(|one| one.concurrency),
        streams: same.streams,
        threads: sum(|one| one.threads),
        keep_alive: same.keep_alive,
        close_policy: same.close_policy,
        requests_per_connection: same.requests_per_connection,
        max_lifetime_s: same.max_lifetime_s,
        dns_ttl_s: same.dns_ttl_s,
        connect_rate: all().map(|one| one.connect_rate).sum(),
        addresses,
        timeout_s: same.timeout_s,
        // The merged record is a whole load, not part K of N of one.
        share: None,
        request_bytes: all().map(|one| one.request_bytes).max().unwrap_or(0),
    }
}

/// Adds the rates. The stages have the same lengths. A part that is a share of a larger load has the
/// schedule of that, and counts for its share.
fn schedule(all: &[&Settings]) -> Option<Schedule> {
    let schedules: Option<Vec<&Schedule>> = all.iter().map(|one| one.schedule.as_ref()).collect();
    let schedules = schedules?;
    let first = schedules.first()?;
    if missing(all).is_some_and(|missing| missing.is_empty()) {
        return Some((*first).clone());
    }
    let part = |one: &Settings| one.share.map_or(1.0, |(_, of)| 1.0 / of.max(1) as f64);
    let stage = |index: usize, length: f64| {
        let rates = all.iter().zip(&schedules).filter_map(|(settings, schedule)| {
            schedule.stages.get(index).map(|(_, rate)| rate * part(settings))
        });
        (length, rates.sum())
    };
    let rates = all.iter().zip(&schedules);
    Some(Schedule {
        rate: rates.map(|(settings, one)| one.rate.map(|rate| rate * part(settings))).sum(),
        stages: first.stages.iter().enumerate().map(|(i, (length, _))| stage(i, *length)).collect(),
        seed: first.seed,
    })
}

/// Returns the shares of one larger load that are not here; `None` if the parts are no shares of one
/// load.
fn missing(all: &[&Settings]) -> Option<Vec<u64>> {
    let shares: Option<Vec<(u64, u64)>> = all.iter().map(|one| one.share).collect();
    let shares = shares?;
    let (_, of) = *shares.first()?;
    let is_one_load = shares.iter().all(|(_, other)| *other == of) && of <= MAX_SHARES;
    let missing = (1..=of).filter(|share| !shares.iter().any(|(one, _)| one == share));
    is_one_load.then(|| missing.collect())
}

/// Says which shares of the larger load are missing.
pub(super) fn missing_note(all: &[&Settings]) -> Option<String> {
    let missing = missing(all)?;
    let of = all.first()?.share?.1;
    let names: Vec<String> = missing.iter().map(|share| format!("{share}/{of}")).collect();
    let note = || format!("the load had {of} shares, and {} are not here", names.join(", "));
    (!missing.is_empty()).then(note)
}

/// Refuses a share of the larger load that is given twice.
fn refuse_same_share(all: &[&Settings]) -> Result<(), MergeError> {
    for (index, part) in all.iter().enumerate() {
        let same = |earlier: &&Settings| part.share.is_some() && earlier.share == part.share;
        if let Some(earlier) = all[..index].iter().position(same) {
            return Err(MergeError::Twice(earlier + 1, index + 1));
        }
    }
    Ok(())
}
