//! The screens of a watch, from records: no kernel is asked.
//!
//! The snapshots are files beside this one, for a reviewer of a change to see; the report of each
//! record that the documentation shows has to stand there as well.

use insta::assert_snapshot;
use keepwarm_record::watch::{
    DestinationRecord, Level, Mode, PathRecord, PollsRecord, PriceRecord, RoundTripRecord,
    ScopeRecord, Side, WatchRecord,
};

use super::{Page, render};

macro_rules! record {
    ($name:literal) => {
        parse(include_str!(concat!("../../../../keepwarm-record/records/", $name)))
    };
}

fn parse(text: &str) -> WatchRecord {
    WatchRecord::from_json(text.parse().unwrap()).unwrap()
}

/// A pipe or a file.
const FILE: Page = Page { columns: 100, table_columns: usize::MAX, rows: None };

/// A report that stays on a terminal.
const fn terminal(columns: usize) -> Page {
    Page { columns, table_columns: columns, rows: None }
}

fn plain(record: &WatchRecord, page: Page) -> String {
    let text = render(record, false, page);
    for line in text.lines() {
        assert!(line.chars().count() <= page.table_columns, "{line}");
        assert_eq!(line.trim_end(), line);
    }
    text
}

/// Makes a record of as many services as there are ports from 8000, each like the record's first.
fn many(count: u16) -> WatchRecord {
    let mut record = record!("watch_go.json");
    let first = record.destinations.remove(0);
    let like = |place: u16| DestinationRecord {
        remote: Some(([10, 77, 0, 2], 8000 + place).into()),
        // Every other one has nothing to say.
        findings: first.findings[..usize::from(place.is_multiple_of(2))].to_vec(),
        ..first.clone()
    };
    record.destinations = (0..count).map(like).collect();
    record
}

#[test]
fn traced_window_has_verdicts() {
    assert_snapshot!("go_in_a_file", plain(&record!("watch_go.json"), FILE));
    assert_snapshot!("go_100_columns", plain(&record!("watch_go.json"), terminal(100)));
    assert_snapshot!("go_80_columns", plain(&record!("watch_go.json"), terminal(80)));
    assert_snapshot!("go_60_columns", plain(&record!("watch_go.json"), terminal(60)));
}

#[test]
fn colours_mark_faults_and_sound_services() {
    let mut record = record!("watch_go.json");
    record.destinations[0].findings[1].code = "healthy".to_owned();
    let text = render(&record, true, terminal(80)).replace('\u{1b}', "ESC");
    assert_snapshot!("go_in_colour", text);
}

#[test]
fn both_sides_have_one_verdict() {
    assert_snapshot!("l1_in_a_file", plain(&record!("watch_l1.json"), FILE));
    assert_snapshot!("l1_80_columns", plain(&record!("watch_l1.json"), terminal(80)));
}

#[test]
fn polls_have_bounds_and_counters() {
    assert_snapshot!("l0_in_a_file", plain(&record!("watch_l0.json"), FILE));
    assert_snapshot!("l0_80_columns", plain(&record!("watch_l0.json"), terminal(80)));
    assert_snapshot!("l0_60_columns", plain(&record!("watch_l0.json"), terminal(60)));
}

#[test]
fn unlisted_time_waits_are_unknown() {
    let mut record = record!("watch_l0.json");
    for one in &mut record.destinations {
        one.time_wait = None;
        one.closed_first_by_second = None;
        one.ports = None;
    }
    let polls = record.polls.as_mut().unwrap();
    polls.counters.insert("listen_drops".to_owned(), None);
    polls.not_seen.push(keepwarm_record::watch::NOT_SEEN_WITHOUT_TIME_WAITS.into());
    assert_snapshot!("l0_without_time_waits", plain(&record, FILE));
}

#[test]
fn one_dump_knows_the_last_minute() {
    assert_snapshot!("go_once", plain(&record!("watch_go_once.json"), FILE));
    assert_snapshot!("once_without_verdict", plain(&record!("watch_once.json"), FILE));
    assert_snapshot!("once_60_columns", plain(&record!("watch_once.json"), terminal(60)));
}

#[test]
fn empty_scope_says_so() {
    let mut record = WatchRecord::new(Level::L1, Mode::Window { seconds: 10.0 });
    record.scope =
        Some(ScopeRecord { port: Some(8081), side: Some(Side::Client), ..ScopeRecord::default() });
    record.empty_because = Some("there is no process of the name \"client\" now".to_owned());
    assert_snapshot!("empty_l1", plain(&record, terminal(80)));
    record.empty_because = None;
    record.unattributed_aborts = Some(80);
    assert_snapshot!("empty_but_for_aborts", plain(&record, terminal(80)));
    let mut record = WatchRecord::new(Level::L0, Mode::OneDump);
    record.polls = record!("watch_l0.json").polls.map(|polls| PollsRecord {
        counters: polls.counters.keys().map(|name| (name.clone(), None)).collect(),
        not_judged: Vec::new(),
        ..polls
    });
    assert_snapshot!("empty_l0_once", plain(&record, terminal(80)));
}

#[test]
fn weak_evidence_is_noted() {
    let mut record = record!("watch_l1.json");
    record.level_refused = Some("tracing connections: it takes root".to_owned());
    record.watched_s = Some(95.2);
    record.lost_events = Some(1_200);
    record.lost_trace_events = Some(7);
    record.late_s = Some(2.5);
    record.events_overdue = Some(true);
    record.broken_rules = Some(vec!["who closed first".to_owned(), "unread data".to_owned()]);
    record.self_test_error = Some("no file descriptor is left".to_owned());
    record.without_owner = 1;
    record.unattributed_aborts = Some(3);
    let resets = record!("watch_go.json").destinations[0].resets.clone();
    record.destinations[0].resets = resets.map(|mut resets| {
        resets.reasons.insert("TCP_ABORT_ON_DATA".to_owned(), 12);
        resets.after_fin = 4;
        resets
    });
    record.destinations[0].closed.as_mut().unwrap().unclassified = 5;
    assert_snapshot!("weak_evidence", plain(&record, FILE));
}

#[test]
fn crowded_screen_shows_the_busiest() {
    assert_snapshot!("many_in_a_file", plain(&many(21), FILE));
    let low = Page { rows: Some(23), ..terminal(80) };
    assert_snapshot!("many_on_a_low_screen", plain(&many(21), low));
}

#[test]
fn price_of_churn_is_one_sentence() {
    let mut record = record!("watch_go.json");
    let rtt_us = RoundTripRecord { p50: Some(420), p99: None, floor: Some(300), least: Some(61) };
    let path = PathRecord { rtt_us, segments_sent: 61_000, retransmits: 7 };
    let one = &mut record.destinations[0];
    (one.path, one.price) = (Some(path), Some(PriceRecord::of(611.0, 300, 2)));
    let text = plain(&record, FILE).replace('\n', " ");
    let sentence = "611 connects/s × 0.3 ms and two round trips of TLS: 0.55 s of waiting in each \
                    second";
    assert!(text.contains(sentence), "{text}");
    record.destinations[0].price = Some(PriceRecord::of(611.0, 300, 0));
    assert_snapshot!("go_with_path", plain(&record, FILE));
    record.destinations[0].price = Some(PriceRecord::of(6_545.0, 3, 0));
    assert!(plain(&record, FILE).contains("6,545 connects/s × 0.003 ms: 0.02 s"));
    record.destinations[0].price = Some(PriceRecord::of(3.0, 300, 0));
    assert!(!plain(&record, FILE).contains("waiting"), "a pool has no price worth a line");
}

#[test]
fn documented_captures_are_reports() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/watching.md");
    let page = std::fs::read_to_string(page).unwrap();
    for (record, columns) in [
        (record!("watch_go.json"), FILE),
        (record!("watch_go_once.json"), FILE),
        (record!("watch_nginx.json"), FILE),
        (record!("watch_node.json"), FILE),
        (record!("watch_go_live.json"), terminal(80)),
        (record!("watch_l0.json"), FILE),
    ] {
        let report = plain(&record, columns);
        let capture = format!("```\n{report}```\n");
        assert!(page.contains(&capture), "docs/watching.md lacks\n{capture}");
    }
}
