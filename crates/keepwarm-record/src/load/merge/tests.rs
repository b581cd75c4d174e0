//! Merges against a deliberately simple model: a run is a list of events, and the record of all
//! events has to be the merge of the records of their parts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::load::tests::{a_run, an_error};
use crate::load::{HopRecord, Sketched, SliceRecord, TimelineRecord};
use crate::read::{AnyRecord, read};

/// A request: the second in which it ended, its time, and its status; no status is a failure.
#[derive(Clone, Debug)]
struct Request {
    second: u64,
    time_us: u64,
    status: Option<u16>,
}

/// A connection: the second in which it was opened, its length in seconds if it ended within the
/// run, and its requests.
#[derive(Clone, Debug)]
struct Connection {
    second: u64,
    length: Option<u64>,
    requests: u64,
}

/// A part of a run: its start in seconds, and what happened after it.
#[derive(Clone, Debug)]
struct Events {
    start: u64,
    requests: Vec<Request>,
    connections: Vec<Connection>,
}

impl Events {
    fn seconds(&self) -> u64 {
        let requests = self.requests.iter().map(|one| one.second);
        let ends = self.connections.iter().map(|one| one.second + one.length.unwrap_or(0));
        requests.chain(ends).max().unwrap_or(0) + 1
    }

    fn shifted(&self, by: u64) -> Self {
        let mut shifted = self.clone();
        shifted.requests.iter_mut().for_each(|one| one.second += by);
        shifted.connections.iter_mut().for_each(|one| one.second += by);
        shifted
    }
}

fn events() -> impl Strategy<Value = Events> {
    let status = prop_oneof![8 => Just(Some(200)), 1 => Just(Some(302)), 2 => Just(Some(503)), 1 => Just(None)];
    let request = (0..6_u64, 1..5_000_u64, status).prop_map(|(second, time_us, status)| Request {
        second,
        time_us,
        status,
    });
    let connection = (0..6_u64, prop::option::of(0..4_u64), 0..9_u64)
        .prop_map(|(second, length, requests)| Connection { second, length, requests });
    let lists = (prop::collection::vec(request, 0..60), prop::collection::vec(connection, 0..12));
    (0..4_u64, lists).prop_map(|(start, (requests, connections))| Events {
        start,
        requests,
        connections,
    })
}

fn counted(values: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    values.into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
    counts.into_iter().collect()
}

fn distribution_of(values: &[u64]) -> Distribution {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let count = sorted.len() as f64;
    let at =
        |quantile: f64| sorted.get(((count * quantile).ceil() as usize).saturating_sub(1)).copied();
    let mean = sorted.iter().sum::<u64>() as f64 / count;
    let variance = sorted.iter().map(|value| (*value as f64 - mean).powi(2)).sum::<f64>() / count;
    let is_any = !sorted.is_empty();
    Distribution {
        count: sorted.len() as u64,
        min: sorted.first().copied(),
        mean: is_any.then_some(mean),
        std_dev: is_any.then(|| variance.sqrt()),
        p50: at(0.5),
        p75: at(0.75),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: None,
        max: sorted.last().copied(),
        intervals: None,
        saturated: 0,
        buckets: counted(sorted),
    }
}

fn sketched_of(values: &[u64]) -> Sketched {
    let of_slice = |value: &u64| value / 32 * 32 + 31;
    let whole = distribution_of(&values.iter().map(of_slice).collect::<Vec<_>>());
    let max = values.iter().max().copied();
    let capped = |point: Option<u64>| point.zip(max).map(|(point, max)| point.min(max));
    Sketched { p50: capped(whole.p50), p99: capped(whole.p99), max, buckets: whole.buckets }
}

fn map_of<K: Ord>(keys: impl IntoIterator<Item = K>) -> BTreeMap<K, u64> {
    let mut map = BTreeMap::new();
    keys.into_iter().for_each(|key| *map.entry(key).or_default() += 1);
    map
}

fn slice_of(events: &Events, second: u64) -> SliceRecord {
    let requests: Vec<&Request> =
        events.requests.iter().filter(|one| one.second == second).collect();
    let done: Vec<u64> =
        requests.iter().filter(|one| one.status.is_some()).map(|one| one.time_us).collect();
    let of = |test: &dyn Fn(&Connection) -> bool| {
        events.connections.iter().filter(|one| test(one)).count() as u64
    };
    let ends = |one: &Connection| one.length.map(|length| one.second + length);
    let counts = [
        ("completed", done.len() as u64),
        ("failed", (requests.len() - done.len()) as u64),
        ("opened", of(&|one| one.second == second)),
        ("peer_fin", of(&|one| ends(one) == Some(second))),
    ];
    let failed = requests.iter().filter(|one| one.status.is_none()).map(|_| "timeout".to_owned());
    SliceRecord {
        counts: counts
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .map(|(name, n)| (name.to_owned(), n))
            .collect(),
        closed_by_us: BTreeMap::new(),
        errors: map_of(failed),
        statuses: map_of(
            requests.iter().filter_map(|one| Some(format!("{}xx", one.status? / 100))),
        ),
        open: of(&|one| one.second <= second && ends(one).is_none_or(|end| end > second)),
        latency_us: sketched_of(&done),
        response_us: None,
        loader_cpu_s: 0.0,
        busiest_thread_s: 0.0,
        lost_workers: 0,
    }
}

/// The record of events, without a machine's part in it.
fn record_of(events: &Events) -> LoadRecord {
    let mut record = a_run();
    let statuses: Vec<u16> = events.requests.iter().filter_map(|one| one.status).collect();
    let times = |class: Option<u16>| {
        let done = events.requests.iter().filter(|one| one.status.is_some());
        let done =
            done.filter(|one| class.is_none() || one.status.map(|status| status / 100) == class);
        distribution_of(&done.map(|one| one.time_us).collect::<Vec<_>>())
    };
    let (completed, all) = (statuses.len() as u64, events.requests.len() as u64);
    let opened = events.connections.len() as u64;
    let lifetimes: Vec<u64> = events.connections.iter().filter_map(|one| one.length).collect();
    record.started_unix_ms = 1_700_000_000_000 + events.start * 1_000;
    record.elapsed_s = events.seconds() as f64;
    record.requests_per_second = completed as f64 / record.elapsed_s;
    record.requests = Requests { scheduled: all, completed, failed: all - completed, unsent: 0 };
    let slices = (0..events.seconds()).map(|second| slice_of(events, second)).collect();
    record.timeline = TimelineRecord { width_s: 1.0, slices };
    record.latency_us = times(None).with_intervals(&record.timeline.latencies());
    let classes = map_of(statuses.iter().map(|status| status / 100));
    let of_class = |class: &u16| (format!("{class}xx"), times(Some(*class)));
    let several = classes.len() > 1;
    record.latency_us_by_class = classes.keys().filter(|_| several).map(of_class).collect();
    record.statuses = map_of(statuses.iter().copied());
    record.http_errors = Some(record.http_errors());
    record.errors = events
        .requests
        .iter()
        .filter(|one| one.status.is_none())
        .map(|one| ErrorRecord {
            first_s: one.second as f64,
            last_s: one.second as f64,
            ..an_error("timeout", 1)
        })
        .reduce(|one, next| ErrorRecord {
            count: one.count + 1,
            first_s: one.first_s.min(next.first_s),
            last_s: one.last_s.max(next.last_s),
            ..one
        })
        .into_iter()
        .collect();
    let each =
        distribution_of(&events.connections.iter().map(|one| one.requests).collect::<Vec<_>>());
    let connections = &mut record.connections;
    (connections.attempts, connections.opened) = (opened, opened);
    connections.reused = 0;
    connections.peer_fin = lifetimes.len() as u64;
    connections.still_open = opened - lifetimes.len() as u64;
    connections.lifetime_us = distribution_of(&lifetimes);
    connections.requests_per_connection = RequestsPerConnection {
        min: each.min,
        p50: each.p50,
        max: each.max,
        mean: each.mean,
        buckets: each.buckets,
    };
    record.connect_us = distribution_of(&vec![70; events.connections.len()]);
    record.verdict = Verdict::of(&record);
    record
}

/// Compares documents; numbers with decimals to within a millionth of a thousandth.
fn same(path: &str, one: &Value, other: &Value) {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{path}");
            a.iter().for_each(|(key, value)| same(&format!("{path}.{key}"), value, &b[key]));
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| same(&format!("{path}[{i}]"), a, b));
        }
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => {
            let (a, b) = (a.as_f64().expect("a number"), b.as_f64().expect("a number"));
            assert!((a - b).abs() <= 1e-9 * a.abs().max(1e-3), "{path}: {a} {b}");
        }
        (a, b) => assert_eq!(a, b, "{path}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn merge_of_parts_equals_whole(mut parts in prop::collection::vec(events(), 2..5)) {
        parts[0].start = 0;
        let records: Vec<LoadRecord> = parts
            .iter()
            .enumerate()
            .map(|(index, part)| {
                let mut record = record_of(part);
                // Parts of different processes are never the same record.
                record.machine.boot_id = Some(format!("boot {index}"));
                record
            })
            .collect();
        let merged = merge(&records).expect("parts of one load");
        let shifted: Vec<Events> = parts.iter().map(|part| part.shifted(part.start)).collect();
        let all = Events {
            start: 0,
            requests: shifted.iter().flat_map(|part| part.requests.clone()).collect(),
            connections: shifted.iter().flat_map(|part| part.connections.clone()).collect(),
        };
        let mut whole = record_of(&all);
        // The last part may end with seconds in which nothing happened.
        let ends = parts.iter().map(|part| part.start + part.seconds());
        prop_assert_eq!(merged.elapsed_s, ends.max().unwrap_or(0) as f64);
        prop_assert_eq!(merged.imbalance(), None);
        // Amounts that each part has for itself, and what follows from the parts.
        whole.settings = merged.settings.clone();
        whole.machine = merged.machine.clone();
        whole.merged = merged.merged.clone();
        whole.bytes = merged.bytes.clone();
        whole.loader = merged.loader.clone();
        whole.verdict = Verdict::of(&whole);
        let json = |record: &LoadRecord| serde_json::to_value(record).expect("JSON");
        same("record", &json(&merged), &json(&whole));

        // Merging in steps gives the same numbers.
        let (first, rest) = records.split_at(1);
        if rest.len() > 1 {
            let rest = merge(rest).expect("parts of one load");
            let mut in_steps = merge(&[first[0].clone(), rest]).expect("parts of one load");
            in_steps.merged = merged.merged.clone();
            in_steps.verdict = Verdict::of(&in_steps);
            same("in steps", &json(&in_steps), &json(&merged));
        }
    }
}

fn with_hops() -> LoadRecord {
    let AnyRecord::Load(record) =
        read(include_bytes!("../../../records/load_hops.json")).expect("a record").record
    else {
        panic!("it is a load");
    };
    *record
}

#[test]
fn hop_of_one_namespace_counts_once() {
    let mut record = with_hops();
    record.machine.boot_id = Some("boot".to_owned());
    record.machine.network_namespace = Some(1);
    let mut other = record.clone();
    other.started_unix_ms += 10;
    let ports = |record: &LoadRecord| record.hops.iter().map(|hop| hop.port).collect::<Vec<_>>();
    let merged = merge(&[record.clone(), other.clone()]).expect("parts");
    assert_eq!(ports(&merged), ports(&record), "the same sockets");
    assert_eq!(merged.hops[0].opened, record.hops[0].opened);
    let by_load = |record: &LoadRecord| record.hops.iter().find_map(|hop| hop.opened_by_load);
    assert_eq!(by_load(&merged), by_load(&record).map(|opened| opened * 2));

    other.machine.network_namespace = Some(2);
    let merged = merge(&[record.clone(), other.clone()]).expect("parts");
    assert_eq!(merged.hops.len(), record.hops.len() * 2, "sockets of two namespaces");
    let of_part = |part: u64| merged.hops.iter().filter(move |hop| hop.part == Some(part));
    assert!(of_part(1).count() == of_part(2).count());
    let port = record.hops[0].port;
    let opened = crate::load::fact(&merged, &format!("hop.{port}.opened"));
    assert_eq!(opened, assertion::Fact::count(record.hops[0].opened * 2));

    other.machine.boot_id = None;
    let merged = merge(&[record.clone(), other.clone()]).expect("parts");
    assert_eq!(merged.hops.len(), record.hops.len() * 2, "an unknown machine is another one");
}

#[test]
fn accounts_of_later_runs_add() {
    let record = with_hops();
    let mut later = record.clone();
    later.started_unix_ms += 60_000;
    let merged = merge(&[later, record.clone()]).expect("parts");
    let sum = |of: fn(&HopRecord) -> u64| {
        let of_all = |record: &LoadRecord| record.hops.iter().map(of).sum::<u64>();
        assert_eq!(of_all(&merged), of_all(&record) * 2);
    };
    sum(|hop| hop.opened);
    sum(|hop| hop.closed.total());
    sum(|hop| hop.requests.total.unwrap_or(0));
    assert_eq!(merged.hops.len(), record.hops.len());
    assert!(merged.hops[0].samples.is_sorted_by(|one, next| one.at_s <= next.at_s));
    assert_eq!(merged.imbalance(), None);
    let verdict = &merged.verdict;
    assert!(
        verdict.reasons.iter().any(|why| why.contains("did not run at the same time")),
        "{verdict:?}"
    );
}

#[test]
fn parts_of_other_loads_are_refused() {
    let record = a_run();
    assert_eq!(merge(&[]), Err(MergeError::Nothing));
    assert_eq!(merge(std::slice::from_ref(&record)), Ok(record.clone()));
    assert_eq!(merge(&[record.clone(), record.clone()]), Err(MergeError::Twice(1, 2)));
    let mut other = record.clone();
    other.settings.url = "http://other/".to_owned();
    let error = merge(&[record.clone(), other]).expect_err("another target").to_string();
    assert!(
        error.starts_with("part 2 is of another load: its settings.url is http://other/"),
        "{error}"
    );
    let mut later = record.clone();
    later.started_unix_ms += 30 * 24 * 3_600_000;
    let error = merge(&[record, later]).expect_err("a month later").to_string();
    assert!(error.contains("30 days apart"), "{error}");
}

#[test]
fn invalid_part_makes_whole_invalid() {
    let mut parts = [a_run(), a_run()];
    parts[1].verdict.trust = Trust::Invalid;
    parts[1].verdict.reasons = vec!["it was late".to_owned()];
    let merged = merge(&parts).expect("parts");
    assert_eq!(merged.verdict.trust, Trust::Invalid);
    assert_eq!(merged.verdict.reasons[0], "part 2 is invalid: it was late");
}

#[test]
fn long_gaps_make_slices_longer() {
    let (early, mut late) = (a_run(), a_run());
    late.started_unix_ms += 3 * 3_600_000;
    let merged = merge(&[early.clone(), late]).expect("parts");
    assert!(merged.timeline.slices.len() <= 3600, "{}", merged.timeline.slices.len());
    let completed = |record: &LoadRecord| {
        record.timeline.slices.iter().filter_map(|slice| slice.counts.get("completed")).sum::<u64>()
    };
    assert_eq!(completed(&merged), completed(&early) * 2);
}

#[test]
fn shares_of_one_load_have_its_schedule() {
    let share = |number: u64| {
        let mut part = a_run();
        part.settings.open_loop = true;
        part.settings.schedule =
            Some(crate::load::Schedule { rate: Some(90.0), stages: Vec::new(), seed: None });
        part.settings.share = Some((number, 3));
        part
    };
    let rate = |parts: &[LoadRecord]| {
        let merged = merge(parts).expect("parts of one load");
        let notes = merged.merged.map(|merged| merged.notes).unwrap_or_default();
        (merged.settings.schedule.and_then(|schedule| schedule.rate), notes)
    };
    assert_eq!(rate(&[share(1), share(2), share(3)]), (Some(90.0), Vec::new()));
    let (lost, notes) = rate(&[share(1), share(3)]);
    assert_eq!(
        (lost, &notes[..]),
        (Some(60.0), &["the load had 3 shares, and 2/3 are not here".to_owned()][..])
    );
    assert_eq!(merge(&[share(2), share(2)]), Err(MergeError::Twice(1, 2)));
    let (mut one, mut other) = (share(1), share(1));
    (one.elapsed_s, other.elapsed_s) = (1.0, 2.0);
    assert_eq!(merge(&[one, other]), Err(MergeError::Twice(1, 2)));
}

/// Parts of one load: each a share, with numbers and a start of its own.
fn shares(count: u64) -> Vec<LoadRecord> {
    let share = |number: u64| {
        let mut part = a_run();
        part.settings.share = Some((number, count));
        part.started_unix_ms += number;
        part.loader.cpu_s += number as f64;
        part.requests.completed += number;
        part.latency_us.buckets.push((60_000_000 + number, 1));
        part
    };
    (1..=count).map(share).collect()
}

fn in_turn(parts: &[LoadRecord]) -> LoadRecord {
    let first = parts.iter().map(|part| part.started_unix_ms).min().unwrap_or(0);
    let mut merger = Merger::new(first);
    for (index, part) in parts.iter().enumerate() {
        merger.push(part.clone(), &format!("w{}", index + 1), Some(7)).expect("a part");
    }
    merger.finish().expect("parts of one load")
}

#[test]
fn merge_in_turn_equals_merge() {
    let json = |record: &LoadRecord| serde_json::to_value(record).expect("JSON");
    for count in [2, 15, 16, 17, 40, 273] {
        let mut parts = shares(count);
        let mut at_once = merge(&parts).expect("parts of one load");
        let workers = at_once.merged.iter_mut().flat_map(|merged| &mut merged.parts);
        for (index, part) in workers.enumerate() {
            part.worker = Some(format!("w{}", index + 1));
            part.began_us = Some(7);
        }
        same("in turn", &json(&in_turn(&parts)), &json(&at_once));
        parts.remove(1);
        let merged = in_turn(&parts).merged.expect("merged");
        let missing = format!("the load had {count} shares, and 2/{count} are not here");
        assert_eq!(merged.notes, [missing]);
    }
}

#[test]
fn merge_in_turn_refuses_as_merge() {
    let parts = shares(3);
    let mut merger = Merger::new(0);
    for part in &parts {
        merger.push(part.clone(), "w", None).expect("a part");
    }
    assert_eq!(merger.push(parts[1].clone(), "w", None), Err(MergeError::Twice(2, 4)));
    let mut other = parts[0].clone();
    (other.settings.url, other.settings.share) = ("http://other/".to_owned(), None);
    let error = merger.push(other, "w", None).expect_err("another target");
    assert!(matches!(error, MergeError::Differs { setting: "settings.url", .. }), "{error}");
    assert_eq!(Merger::new(0).finish(), Err(MergeError::Nothing));
}

#[test]
fn lost_worker_marks_the_course() {
    let mut whole = in_turn(&shares(2));
    let slice = whole.timeline.slices[0].clone();
    whole.timeline = TimelineRecord { width_s: 1.0, slices: vec![slice; 4] };
    let fleet = |tolerated: u64| FleetRecord {
        run: "r".to_owned(),
        workers: 3,
        tolerated,
        start_spread_us: Some(1500),
        clock_error_us: 200,
        lost: vec![LostWorker { worker: "w3".to_owned(), at_s: 2.5, why: "silent".to_owned() }],
    };
    let marks = |record: &LoadRecord| {
        record.timeline.slices.iter().map(|slice| slice.lost_workers).collect::<Vec<_>>()
    };
    let tolerated = whole.clone().with_fleet(fleet(1));
    assert_eq!(marks(&tolerated), [0, 0, 1, 1]);
    let said = |record: &LoadRecord| {
        record.verdict.reasons.iter().any(|why| why.contains("worker w3 was lost at 2.5 s"))
    };
    assert!(said(&tolerated), "{:?}", tolerated.verdict);
    assert!(tolerated.verdict.trust <= Trust::WithCare, "{:?}", tolerated.verdict);
    let refused = whole.with_fleet(fleet(0));
    assert_eq!(refused.verdict.trust, Trust::Invalid);
    assert!(said(&refused), "{:?}", refused.verdict);
}
