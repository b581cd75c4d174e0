//! Details of a merged record: rows of one name or address add, and single requests are chosen anew.

use std::collections::BTreeMap;

use super::{Span, timeline};
use crate::load::{
    AddressRow, Distribution, ExpectationRecord, LoadRecord, NotableRequest, RequestRow,
};

/// Single requests that a record keeps of each kind.
const KEPT: usize = 10;

/// The command line, if all parts have the same.
pub(super) fn command(parts: &[LoadRecord]) -> Vec<String> {
    let first = parts.first().map(|part| part.command.clone()).unwrap_or_default();
    if parts.iter().all(|part| part.command == first) { first } else { Vec::new() }
}

/// The labels that all parts have.
pub(super) fn labels(parts: &[LoadRecord]) -> BTreeMap<String, String> {
    let mut labels = parts.first().map(|part| part.labels.clone()).unwrap_or_default();
    labels.retain(|key, value| parts.iter().all(|part| part.labels.get(key) == Some(value)));
    labels
}

pub(super) fn misses(parts: &[LoadRecord]) -> Option<u64> {
    parts.iter().filter_map(|part| part.misses).reduce(u64::saturating_add)
}

pub(super) fn expectations(parts: &[LoadRecord]) -> Vec<ExpectationRecord> {
    let mut merged: Vec<ExpectationRecord> = Vec::new();
    for one in parts.iter().flat_map(|part| &part.expectations) {
        match merged.iter_mut().find(|there| there.expectation == one.expectation) {
            Some(there) => {
                there.misses = there.misses.saturating_add(one.misses);
                there.example = there.example.take().or_else(|| one.example.clone());
            }
            None => merged.push(one.clone()),
        }
    }
    merged
}

/// Rows by name, if each part that did anything has them: else they would not add up to the whole.
pub(super) fn by_request(parts: &[LoadRecord]) -> Vec<RequestRow> {
    if parts.iter().any(|part| part.by_request.is_empty() && part.ended() > 0) {
        return Vec::new();
    }
    let mut merged: Vec<RequestRow> = Vec::new();
    for row in parts.iter().flat_map(|part| &part.by_request) {
        let Some(there) = merged.iter_mut().find(|there| there.name == row.name) else {
            merged.push(row.clone());
            continue;
        };
        there.weight = there.weight.max(row.weight);
        there.completed = there.completed.saturating_add(row.completed);
        there.failed = there.failed.saturating_add(row.failed);
        there.http_errors = there.http_errors.saturating_add(row.http_errors);
        there.misses = there.misses.saturating_add(row.misses);
        timeline::add_to(&mut there.statuses, &row.statuses);
        there.latency_us = Distribution::merged(&[&there.latency_us, &row.latency_us]);
    }
    merged
}

/// Rows by address, if there are several addresses and each part knows its own.
pub(super) fn by_address(parts: &[LoadRecord]) -> Vec<AddressRow> {
    let rows: Option<Vec<Vec<AddressRow>>> = parts.iter().map(addresses).collect();
    let mut merged: Vec<AddressRow> = Vec::new();
    for row in rows.into_iter().flatten().flatten() {
        let Some(there) = merged.iter_mut().find(|there| there.address == row.address) else {
            merged.push(row);
            continue;
        };
        there.opened = there.opened.saturating_add(row.opened);
        there.connects_failed = there.connects_failed.saturating_add(row.connects_failed);
        there.completed = there.completed.saturating_add(row.completed);
        there.failed = there.failed.saturating_add(row.failed);
        there.http_errors = there.http_errors.saturating_add(row.http_errors);
        there.latency_us = Distribution::merged(&[&there.latency_us, &row.latency_us]);
    }
    if merged.len() < 2 { Vec::new() } else { merged }
}

/// Rows of a part: its own, or where it has one address, that of all. `None` where the addresses of
/// its requests are not known.
fn addresses(part: &LoadRecord) -> Option<Vec<AddressRow>> {
    if !part.by_address.is_empty() {
        return Some(part.by_address.clone());
    }
    let [address] = &part.settings.addresses[..] else { return None };
    let failed = part.connections.failed.values().fold(0, |sum: u64, n| sum.saturating_add(*n));
    Some(vec![AddressRow {
        address: address.clone(),
        opened: part.connections.opened,
        connects_failed: failed.saturating_add(part.connections.timed_out_connecting),
        completed: part.requests.completed,
        failed: part.requests.failed,
        http_errors: part.http_errors(),
        latency_us: part.latency_us.clone(),
    }])
}

pub(super) fn slowest(parts: &[LoadRecord], span: &Span) -> Vec<NotableRequest> {
    let mut all = shifted(parts, span, |part| &part.slowest);
    all.sort_by_key(|one| std::cmp::Reverse(one.service_us));
    all.truncate(KEPT);
    all
}

pub(super) fn first_failures(parts: &[LoadRecord], span: &Span) -> Vec<NotableRequest> {
    let mut all = shifted(parts, span, |part| &part.first_failures);
    all.sort_by(|one, other| one.at_s.total_cmp(&other.at_s));
    all.truncate(KEPT);
    all
}

fn shifted(
    parts: &[LoadRecord],
    span: &Span,
    of: fn(&LoadRecord) -> &Vec<NotableRequest>,
) -> Vec<NotableRequest> {
    let mut all = Vec::new();
    for part in parts {
        let offset = span.offset_s(part);
        let later =
            |one: &NotableRequest| NotableRequest { at_s: one.at_s + offset, ..one.clone() };
        all.extend(of(part).iter().map(later));
    }
    all
}

/// Says which details of the parts a merged record has no place for.
pub(super) fn left_out(parts: &[LoadRecord]) -> Option<String> {
    let is_search = parts.iter().any(|part| part.capacity.is_some());
    is_search.then(|| {
        "the steps of the parts' searches for the capacity are not in it: each part searched for \
         itself"
            .to_owned()
    })
}
