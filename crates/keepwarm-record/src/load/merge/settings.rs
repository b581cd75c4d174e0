//! Settings of a merged record: those that make two loads one have to be the same, amounts add.

use super::MergeError;
use crate::load::{LoadRecord, Schedule, Settings};

/// A setting that the parts of one load share: its key, and its value as text.
type Shared = (&'static str, fn(&Settings) -> String);

const SHARED: [Shared; 10] = [
    ("settings.url", |one| one.url.clone()),
    ("settings.method", |one| one.method.clone()),
    ("settings.open_loop", |one| one.open_loop.to_string()),
    ("settings.keep_alive", |one| one.keep_alive.to_string()),
    ("settings.close_policy", |one| one.close_policy.clone()),
    ("settings.requests_per_connection", |one| or_none(one.requests_per_connection)),
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

pub(super) fn merge(parts: &[LoadRecord]) -> Result<Settings, MergeError> {
    let [first, others @ ..] = parts else { return Err(MergeError::Nothing) };
    for (index, part) in others.iter().enumerate() {
        for (setting, value) in SHARED {
            let (of_first, other) = (value(&first.settings), value(&part.settings));
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
    let all = || parts.iter().map(|part| &part.settings);
    let sum = |of: fn(&Settings) -> u64| all().map(of).fold(0, u64::saturating_add);
    let mut addresses: Vec<String> = Vec::new();
    for address in all().flat_map(|one| &one.addresses) {
        if !addresses.contains(address) {
            addresses.push(address.clone());
        }
    }
    let same = first.settings.clone();
    Ok(Settings {
        url: same.url,
        host: same.host,
        port: same.port,
        path: same.path,
        method: same.method,
        requests: all().map(|one| one.requests).sum(),
        duration_s: all().filter_map(|one| one.duration_s).max_by(f64::total_cmp),
        open_loop: same.open_loop,
        schedule: schedule(&parts.iter().map(|part| &part.settings).collect::<Vec<_>>()),
        backlog: sum(|one| one.backlog),
        concurrency: sum(|one| one.concurrency),
        threads: sum(|one| one.threads),
        keep_alive: same.keep_alive,
        close_policy: same.close_policy,
        requests_per_connection: same.requests_per_connection,
        max_lifetime_s: same.max_lifetime_s,
        dns_ttl_s: same.dns_ttl_s,
        connect_rate: all().map(|one| one.connect_rate).sum(),
        addresses,
        timeout_s: same.timeout_s,
        request_bytes: all().map(|one| one.request_bytes).max().unwrap_or(0),
    })
}

/// Adds the rates. The stages have the same lengths.
fn schedule(all: &[&Settings]) -> Option<Schedule> {
    let schedules: Option<Vec<&Schedule>> = all.iter().map(|one| one.schedule.as_ref()).collect();
    let schedules = schedules?;
    let first = schedules.first()?;
    let stage = |index: usize, length: f64| {
        let rates = schedules.iter().filter_map(|one| one.stages.get(index));
        (length, rates.map(|(_, rate)| rate).sum())
    };
    let stages = first.stages.iter().enumerate();
    Some(Schedule {
        rate: schedules.iter().map(|one| one.rate).sum(),
        stages: stages.map(|(index, (length, _))| stage(index, *length)).collect(),
        seed: first.seed,
    })
}
