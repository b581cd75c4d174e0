//! The schema of a watch record: what is written is documented, what was written is read.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use keepwarm_record::assertion::{AssertionOutcome, AssertionRecord};
use keepwarm_record::machine::Machine;
use keepwarm_record::read::{AnyRecord, ReadError};
use keepwarm_record::watch::{
    AcceptQueueRecord, Closed, DestinationRecord, FilesRecord, FindingKind, FindingRecord,
    IdleRecord, Level, LifetimeRecord, Mode, NamespaceRecord, NamespacesRecord, OwnerRecord,
    PathRecord, PerConnection, PollDiffRecord, PollsRecord, PortsRecord, PriceRecord, ResetsRecord,
    RoundTripRecord, SCHEMA, ScopeRecord, Side, StuckRecord, WaitingRecord, WatchRecord,
};
use serde_json::Value;

/// A watch record that was read, and whether its file was truncated.
struct Read {
    record: WatchRecord,
    is_truncated: bool,
}

fn read(text: &str) -> Result<Read, ReadError> {
    let read = keepwarm_record::read::read(text.as_bytes())?;
    match read.record {
        AnyRecord::Watch(record) => Ok(Read { record: *record, is_truncated: read.is_truncated }),
        other => panic!("{other:?}"),
    }
}

/// Objects whose keys are data.
const MAPS: [&str; 3] = ["looks.counters", "looks.per_s", "destinations[].resets.reasons"];

fn finding() -> FindingRecord {
    FindingRecord {
        code: "D1".to_owned(),
        confidence: 0.9,
        summary: "the client closed all".to_owned(),
        advice: Some("share one client".to_owned()),
    }
}

/// A record in which every key has a value; no watch has a level that would fill all.
fn full() -> WatchRecord {
    let destination = DestinationRecord {
        remote: Some("10.0.0.5:443".parse().unwrap()),
        remote_name: Some("db.internal".to_owned()),
        network_namespace: Some(NamespaceRecord {
            inode: 4_026_532_246,
            name: Some("a".to_owned()),
        }),
        side: Side::Client,
        side_evidence: Some("listener".to_owned()),
        folded: 1,
        folded_at_least: false,
        opened: Some(10),
        closed: Some(Closed { local_fin: 9, ..Closed::default() }),
        requests_per_connection: PerConnection {
            p50: Some(1),
            max: Some(2),
            mean: Some(1.1),
            total: Some(11),
        },
        requests_at_most: Some(PerConnection { p50: Some(2), ..PerConnection::default() }),
        handshake: Some("possible".to_owned()),
        waiting: Some(WaitingRecord { p50_ms: Some(300), ..WaitingRecord::default() }),
        stuck: Some(StuckRecord::default()),
        accept_queue: Some(AcceptQueueRecord::default()),
        idle_at_close_ms: IdleRecord { p50: Some(1), p99: Some(2) },
        lifetime_ms: Some(LifetimeRecord { p50: Some(3), p99: Some(4), max: Some(5) }),
        resets: Some(ResetsRecord {
            reasons: BTreeMap::from([("TCP_ABORT_ON_DATA".to_owned(), 1)]),
            after_fin: 0,
        }),
        seen_by_polls: Some(PollDiffRecord::default()),
        established: 1,
        close_wait: 0,
        time_wait: Some(9),
        closed_first_by_second: Some(vec![9, 0]),
        ports: Some(PortsRecord {
            used: 10,
            range: 28_232,
            cliff_in_s: Some(11),
            exhausted_in_s: Some(35),
        }),
        path: Some(PathRecord {
            rtt_us: RoundTripRecord {
                p50: Some(400),
                p99: Some(900),
                floor: Some(300),
                least: Some(1),
            },
            segments_sent: 100,
            retransmits: 2,
        }),
        price: Some(PriceRecord::of(611.0, 300, 2)),
        growth_per_s: Some(46.0),
        files: Some(FilesRecord { pid: 1, used: 800, limit: 1024, exhausted_in_s: 5 }),
        owners: vec![OwnerRecord {
            pid: 4_711,
            process: Some("client".to_owned()),
            runtime: Some("go 1.27.3".to_owned()),
            cgroup: Some("/system.slice/client.service".to_owned()),
            namespace: Some("shop".to_owned()),
            pod: Some("api-1".to_owned()),
            container: Some("api".to_owned()),
            unit: Some("api.service".to_owned()),
            share: 1.0,
            how: "sampled".to_owned(),
        }],
        findings: vec![finding()],
    };
    let limitation = || ("D3", "no unread data").into();
    WatchRecord {
        machine: Some(Machine { boot_id: Some("0".to_owned()), ..Machine::default() }),
        network_namespaces: Some(NamespacesRecord {
            refused_because: Some("it takes CAP_SYS_ADMIN".to_owned()),
            ..NamespacesRecord::default()
        }),
        scope: Some(ScopeRecord { port: Some(443), ..ScopeRecord::default() }),
        host_findings: vec![finding()],
        polls: Some(PollsRecord {
            source: "sock_diag".to_owned(),
            count: 8,
            counters: BTreeMap::from([("opened_active".to_owned(), Some(10))]),
            per_s: BTreeMap::from([("opened_active".to_owned(), Some(1.0))]),
            established_now: Some(1),
            time_wait_now: Some(9),
            findings: vec![finding()],
            not_seen: vec![limitation()],
            not_judged: vec![limitation()],
            hint: "level L1".to_owned(),
        }),
        destinations: vec![destination],
        assertions: vec![AssertionRecord {
            assertion: "hop.443.opened<5".to_owned(),
            outcome: AssertionOutcome::NotAvailable,
            value: None,
            why: Some("level L0 does not count it".to_owned()),
        }],
        ..WatchRecord::new(Level::L0, Mode::Window { seconds: 10.5 })
    }
}

/// Every key of a document by its path.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) if !MAPS.contains(&path) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                found.insert(path.clone());
                paths(value, &path, found);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            found.remove(path);
            let path = format!("{path}[]");
            found.insert(path.clone());
            items.iter().for_each(|item| paths(item, &path, found));
        }
        _ => {}
    }
}

/// The paths in the first column of the documentation's tables. A name that begins with a dot
/// stands beside the one before it.
fn documented() -> BTreeSet<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/watching.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
    let mut found = BTreeSet::new();
    for row in rows {
        let mut last = String::new();
        for name in format!("`{row}").split('`').skip(1).step_by(2) {
            last = match (name.strip_prefix('.'), last.rsplit_once('.')) {
                (Some(name), Some((parent, _))) => format!("{parent}.{name}"),
                (Some(name), None) => name.to_owned(),
                (None, _) => name.to_owned(),
            };
            found.insert(last.clone());
        }
    }
    found
}

#[test]
fn documentation_has_every_key_and_no_other() {
    let mut written = BTreeSet::new();
    paths(&serde_json::to_value(full()).unwrap(), "", &mut written);
    assert_eq!(documented(), written);
}

#[test]
fn a_record_is_read_as_written() {
    let record = full();
    let read = read(&record.to_json().unwrap()).unwrap();
    assert_eq!((read.record, read.is_truncated), (record, false));
}

#[test]
fn renamed_keys_are_the_new_ones() {
    let document = serde_json::to_value(full()).unwrap();
    for (value, new, old) in [
        (&document, "limitations", "blind_to"),
        (&document, "level_refused", "refused"),
        (&document["looks"], "hint", "way_up"),
    ] {
        assert!(value.get(new).is_some() && value.get(old).is_none(), "{new}, not {old}");
    }
}

#[test]
fn schema_1_of_a_window_is_read() {
    let read = read(include_str!("../records/watch_1_l1.json")).unwrap();
    let record = read.record;
    assert_eq!(
        (record.schema.as_str(), record.level, read.is_truncated),
        (SCHEMA, Level::L1, false)
    );
    assert!(record.limitations.starts_with("the process of a connection"), "{record:?}");
    assert_eq!((record.machine, record.scope, record.watched_s), (None, None, None));
    let server = &record.destinations[0];
    assert_eq!((server.side, server.opened), (Side::Server, Some(604)));
    assert_eq!(server.closed.unwrap().total(), 604);
    assert_eq!(server.requests_per_connection.total, None, "it had no sum");
    assert_eq!(server.findings[0].kind(), FindingKind::Fault);
}

#[test]
fn schema_1_of_polls_is_read() {
    let read = read(include_str!("../records/watch_1_l0.jsonl")).unwrap();
    let polls = read.record.polls.unwrap();
    assert!(polls.hint.contains("NETLINK_SOCK_DIAG"), "{}", polls.hint);
    assert_eq!(polls.counters["opened_active"], Some(619));
    let seen = read.record.destinations[0].seen_by_polls.unwrap();
    assert_eq!((seen.closed_first_at_least, seen.long_lived), (Some(600), 0));
}

#[test]
fn schema_1_of_one_dump_is_read() {
    let record = read(include_str!("../records/watch_1_once.json")).unwrap().record;
    assert_eq!((record.mode, record.counts_closes()), (Mode::OneDump, false));
    assert_eq!(record.destinations[0].opened, None);
}

#[test]
fn last_complete_line_is_the_record() {
    let line =
        |seconds| WatchRecord::new(Level::L1, Mode::Window { seconds }).to_json().unwrap() + "\n";
    let (first, second) = (line(1.0), line(2.0));
    let whole = read(&format!("{first}{second}")).unwrap();
    assert_eq!((whole.record.mode.seconds(), whole.is_truncated), (Some(2.0), false));
    for cut in 1..second.len() - 1 {
        let broken = read(&format!("{first}{}", &second[..cut])).unwrap();
        assert_eq!((broken.record.mode.seconds(), broken.is_truncated), (Some(1.0), true), "{cut}");
    }
    let error = read(&first[..first.len() / 2]).err().unwrap().to_string();
    assert!(error.contains("truncated"), "{error}");
}

#[test]
fn pretty_printed_records_are_read() {
    let pretty = serde_json::to_string_pretty(&full()).unwrap();
    assert_eq!(read(&pretty).unwrap().record, full());
}

#[test]
fn impossible_records_are_rejected() {
    for (key, value) in [
        ("schema", Value::from("keepwarm.watch/3")),
        ("window_s", Value::from(-1)),
        ("level", Value::from("L3")),
        ("level", Value::from("L1")),
        ("without_owner", Value::from(u64::MAX)),
        ("destinations", Value::from(1)),
    ] {
        let mut document = serde_json::to_value(full()).unwrap();
        document[key] = value;
        assert!(read(&document.to_string()).is_err(), "{key}: {}", document[key]);
    }
}

#[test]
fn texts_command_no_terminal() {
    let mut record = full();
    record.destinations[0].owners[0].process = Some("\u{1b}[31mred".to_owned());
    let read = read(&record.to_json().unwrap()).unwrap().record;
    assert_eq!(read.destinations[0].owners[0].process.as_deref(), Some("\u{fffd}[31mred"));
}
