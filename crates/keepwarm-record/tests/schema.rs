//! The schemas of a load and of a lab, against `docs/records.md`, both ways.

use std::collections::{BTreeMap, BTreeSet};

use keepwarm_record::assertion::{AssertionOutcome, AssertionRecord};
use keepwarm_record::fold::confidence::{Intervals, Method};
use keepwarm_record::lab::{
    ClientAccount, ClosedCount, LabLatency, LabLoad, LabRecord, LabRun, Upstream,
};
use keepwarm_record::load::{
    self, AddressRow, Bytes, CapacityRecord, CapacityStep, Connections, Distribution, DrainRecord,
    ErrorRecord, ExpectationRecord, FleetRecord, Forecast, HopCloses, HopFinding, HopRecord,
    HopRequests, HopSample, LoadRecord, Loader, LostWorker, Merged, NotableRequest, OneRecord,
    Part, PerSide, PortUse, RequestRow, Requests, RequestsPerConnection, Schedule, Settings,
    SideFinding, Sides, Sketched, SliceRecord, StageRecord, Stopped, Streams, TimeWaits,
    TimelineRecord, Trust, Verdict,
};
use keepwarm_record::machine::Machine;
use keepwarm_record::watch::{FindingRecord, OwnerRecord, Side};
use serde::Serialize;
use serde_json::Value;

fn map() -> BTreeMap<String, u64> {
    BTreeMap::from([("a".to_owned(), 1)])
}

fn text() -> Option<String> {
    Some("text".to_owned())
}

fn distribution() -> Distribution {
    let interval = Some((1, 2));
    Distribution {
        intervals: Some(Intervals {
            method: Method::Blocks,
            p50: interval,
            p90: interval,
            p99: interval,
            p999: interval,
        }),
        buckets: vec![(1, 1)],
        ..Distribution::default()
    }
}

fn sketched() -> Sketched {
    Sketched { p50: Some(1), p99: Some(1), max: Some(1), buckets: vec![(1, 1)] }
}

fn finding() -> HopFinding {
    HopFinding { advice: text(), remote: text(), ..HopFinding::default() }
}

fn hop() -> HopRecord {
    let sides = Sides::default();
    HopRecord {
        port: 1,
        part: Some(1),
        is_target: true,
        opened_by_load: Some(1),
        window_s: 1.0,
        opened: 1,
        closed: HopCloses {
            client_fin: 1,
            server_fin: 0,
            crossed_fin: 0,
            client_rst: 0,
            server_rst: 0,
            timed_out: 0,
            unclassified: 0,
        },
        closed_by_the_end: 0,
        requests: HopRequests::unknown("the port speaks TLS"),
        alive_at_start: 0,
        alive_at_end: 0,
        established: sides,
        close_wait: sides,
        time_wait: TimeWaits {
            before: sides,
            peak: sides,
            peak_sum: 0,
            after: sides,
            entered: sides,
        },
        ports: PortUse {
            range: Some(1),
            peak: 1,
            after: 1,
            forecast: Some(Forecast {
                closes_per_second: 1.0,
                bearable_per_second: 1.0,
                exhausted_after_s: Some(1.0),
            }),
        },
        time_waits_refused: Some(0),
        lost_events: 0,
        settled: true,
        samples: vec![HopSample { at_s: 0.1, time_wait: sides, established: sides, ports: 0 }],
        drain: Some(DrainRecord {
            asked_s: 0.1,
            from_s: 0.1,
            took_s: 0.1,
            emptied_after_s: Some(0.1),
            left: sides,
        }),
        finding: finding(),
        findings: vec![SideFinding {
            side: Side::Client,
            remote: Some(([10, 0, 0, 5], 443).into()),
            finding: FindingRecord {
                code: "D1".to_owned(),
                confidence: 1.0,
                summary: String::new(),
                advice: text(),
            },
        }],
        owner: PerSide { client: Some(owner()), server: Some(owner()) },
    }
}

fn owner() -> OwnerRecord {
    OwnerRecord {
        pid: 1,
        process: text(),
        runtime: text(),
        cgroup: text(),
        namespace: Some("shop".to_owned()),
        pod: Some("api-1".to_owned()),
        container: Some("api".to_owned()),
        unit: Some("api.service".to_owned()),
        share: 1.0,
        how: "listener".to_owned(),
    }
}

fn settings() -> Settings {
    Settings {
        url: "http://host/".to_owned(),
        host: "host".to_owned(),
        port: 80,
        path: "/".to_owned(),
        method: "GET".to_owned(),
        requests: Some(1),
        duration_s: Some(1.0),
        open_loop: true,
        schedule: Some(Schedule { rate: Some(1.0), stages: vec![(1.0, 1.0)], seed: Some(1) }),
        backlog: 1,
        concurrency: 1,
        streams: Some(1),
        threads: 1,
        keep_alive: true,
        close_policy: "now".to_owned(),
        requests_per_connection: Some(1),
        connect_rate: Some(1.0),
        max_lifetime_s: Some(1.0),
        dns_ttl_s: Some(1.0),
        addresses: vec!["127.0.0.1:80".to_owned()],
        timeout_s: 1.0,
        request_bytes: 1,
        share: Some((1, 4)),
    }
}

fn connections() -> Connections {
    Connections {
        attempts: 1,
        failed: map(),
        timed_out_connecting: 0,
        abandoned_connecting: 0,
        opened: 1,
        reused: 0,
        closed_by_us: map(),
        peer_fin: 0,
        peer_rst: 0,
        timed_out: 0,
        stray_bytes: 0,
        still_open: 0,
        requests_per_connection: RequestsPerConnection {
            min: Some(1),
            p50: Some(1),
            max: Some(1),
            mean: Some(1.0),
            buckets: vec![(1, 1)],
        },
        streams: Some(streams()),
        lifetime_us: distribution(),
        balanced: false,
        imbalance: text(),
    }
}

fn streams() -> Streams {
    Streams {
        at_once: RequestsPerConnection {
            min: Some(1),
            p50: Some(1),
            max: Some(1),
            mean: Some(1.0),
            buckets: vec![(1, 1)],
        },
        limit: Some(100),
        refused: 0,
        reset: 0,
        unprocessed: 0,
        sent_again: 0,
        cancelled: 0,
        goaways: 0,
        opened_for_streams: 0,
    }
}

fn timeline() -> TimelineRecord {
    let slice = SliceRecord {
        counts: map(),
        closed_by_us: map(),
        errors: map(),
        statuses: map(),
        open: 1,
        latency_us: sketched(),
        response_us: Some(sketched()),
        loader_cpu_s: 0.1,
        busiest_thread_s: 0.1,
        lost_workers: 1,
    };
    TimelineRecord { width_s: 1.0, slices: vec![slice] }
}

fn notable() -> NotableRequest {
    NotableRequest {
        at_s: 0.1,
        request: "GET /".to_owned(),
        connection: 1,
        nth: 1,
        address: text(),
        service_us: 1,
        response_us: Some(1),
        status: Some(200),
        class: text(),
        example: text(),
        traceparent: text(),
    }
}

fn one() -> OneRecord {
    OneRecord {
        stages: vec![StageRecord { stage: "connect".to_owned(), took_us: 1 }],
        ..OneRecord::default()
    }
}

fn capacity() -> CapacityRecord {
    CapacityRecord {
        steps: vec![CapacityStep {
            rate: 1.0,
            completed_per_second: 1.0,
            elapsed_s: 1.0,
            p50_us: Some(1),
            p99_us: Some(1),
            p99_interval_us: Some((1, 1)),
            max_us: Some(1),
            errors_share: 0.0,
            outcome: "held".to_owned(),
            why: String::new(),
        }],
        ..CapacityRecord::default()
    }
}

/// A record in which every object and every array has something in it. A new field does not compile
/// until it is here.
fn full_load() -> LoadRecord {
    LoadRecord {
        schema: load::SCHEMA.to_owned(),
        started_unix_ms: 1,
        command: vec!["keepwarm".to_owned()],
        labels: BTreeMap::from([("commit".to_owned(), "1234567".to_owned())]),
        settings: settings(),
        machine: Machine::default(),
        stopped: Stopped::Finished,
        elapsed_s: 1.0,
        requests_per_second: 1.0,
        requests: Requests { scheduled: 1, completed: 1, failed: 0, unsent: 0 },
        latency_us: distribution(),
        latency_us_by_class: BTreeMap::from([("2xx".to_owned(), distribution())]),
        response_us: distribution(),
        send_lag_us: distribution(),
        connect_us: distribution(),
        handshake_us: distribution(),
        handshakes_resumed: 0,
        statuses: BTreeMap::from([(200, 1)]),
        http_errors: Some(0),
        misses: Some(0),
        expectations: vec![ExpectationRecord {
            expectation: "status=2xx".to_owned(),
            misses: 0,
            example: text(),
        }],
        by_request: vec![RequestRow {
            name: "GET /".to_owned(),
            weight: 1,
            completed: 1,
            failed: 0,
            http_errors: 0,
            misses: 0,
            statuses: BTreeMap::from([(200, 1)]),
            latency_us: distribution(),
        }],
        by_address: vec![AddressRow {
            address: "127.0.0.1:80".to_owned(),
            opened: 1,
            connects_failed: 0,
            completed: 1,
            failed: 0,
            http_errors: 0,
            latency_us: distribution(),
        }],
        slowest: vec![notable()],
        first_failures: vec![notable()],
        one: Some(one()),
        capacity: Some(capacity()),
        aborted: text(),
        errors: vec![ErrorRecord {
            class: "timeout".to_owned(),
            errno: text(),
            count: 1,
            first_s: 0.1,
            last_s: 0.1,
            example: String::new(),
            hint: text(),
        }],
        connections: connections(),
        hops: vec![hop()],
        bytes: Bytes { read: 1, written: 1, content: 1 },
        server: text(),
        document_length: Some(1),
        location: text(),
        loader: Loader {
            threads: 1,
            cpu_s: 0.1,
            cpu_share: Some(0.1),
            busiest_share: Some(0.1),
            waited_share: Some(0.1),
            wakeups: 1,
            events: 1,
            turns_us: distribution(),
            lag_us: distribution(),
            lateness_us: Distribution { count: 1, ..distribution() },
        },
        verdict: Verdict {
            trust: Trust::WithCare,
            evidence: String::new(),
            reasons: vec!["a reason".to_owned()],
        },
        assertions: vec![AssertionRecord {
            assertion: "p99<1s".to_owned(),
            outcome: AssertionOutcome::Held,
            value: text(),
            why: text(),
        }],
        timeline: timeline(),
        merged: Some(Merged {
            parts: vec![Part {
                started_unix_ms: 1,
                elapsed_s: 1.0,
                completed: 1,
                machine: Machine::default(),
                trust: Trust::Trustworthy,
                reasons: vec!["a reason".to_owned()],
                worker: text(),
                began_us: Some(1),
            }],
            notes: vec!["a note".to_owned()],
            fleet: Some(FleetRecord {
                run: "a run".to_owned(),
                workers: 2,
                tolerated: 1,
                start_spread_us: Some(1),
                clock_error_us: 1,
                lost: vec![LostWorker {
                    worker: "w2".to_owned(),
                    at_s: 0.1,
                    why: "silent".to_owned(),
                }],
            }),
        }),
    }
}

fn full_lab() -> LabRecord {
    let load = LabLoad {
        completed: 1,
        failed: 0,
        http_errors: 0,
        requests_per_second: 1.0,
        latency_us: LabLatency {
            p50: Some(1),
            p90: Some(1),
            p99: Some(1),
            p999: Some(1),
            max: Some(1),
            mean: Some(1.0),
        },
        statuses: BTreeMap::from([(200, 1)]),
        record: full_load(),
    };
    let upstream = Upstream {
        opened: 1,
        closed_by_client: 1,
        closed_by_server: 0,
        reset: 0,
        closed_at_once: 0,
        unclassified: 0,
        requests_per_connection: Some(1.0),
        time_wait: 1,
        time_wait_client: 1,
        time_wait_server: 0,
        established: 0,
        ports: Some(1),
        port_share: Some(0.1),
        lost_events: 0,
        settled: true,
    };
    let closed = ClosedCount { reason: "idle".to_owned(), closer: "client".to_owned(), count: 1 };
    LabRecord::new(
        0.1,
        vec![LabRun {
            policy: "tuned".to_owned(),
            load,
            upstream,
            client: ClientAccount { opened: 1, reused: 0, open: 0, closed: vec![closed] },
            finding: finding(),
            notes: vec!["a note".to_owned()],
            doubts: vec!["a doubt".to_owned()],
        }],
    )
}

/// The tables of the page: for each heading, its keys and their types.
struct Page(BTreeMap<String, Vec<(String, String)>>);

impl Page {
    fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/records.md");
        let page = std::fs::read_to_string(path).expect("the page");
        let mut tables: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        let mut heading = String::new();
        for line in page.lines() {
            if let Some(title) = line.strip_prefix("## ") {
                heading = title.to_lowercase().replace(' ', "-");
            }
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            if let (Some(key), false) = (cells.get(1), heading.is_empty())
                && let Some(key) = key.strip_prefix('`')
            {
                assert_eq!(cells.len(), 6, "{line}");
                let key = key.trim_end_matches('`').to_owned();
                tables.entry(heading.clone()).or_default().push((key, cells[2].to_owned()));
            }
        }
        Self(tables)
    }

    /// Every path under `heading`; a key whose type links to a heading has the keys of that one.
    fn paths(&self, heading: &str, prefix: &str, paths: &mut BTreeSet<String>) {
        for (key, kind) in &self.0[heading] {
            let path = format!("{prefix}{key}");
            if let Some((_, link)) = kind.split_once("](#") {
                let link = link.split(')').next().expect("a closed link");
                let items = if kind.starts_with("array") { "[]" } else { "" };
                self.paths(link, &format!("{path}{items}."), paths);
            }
            assert!(paths.insert(path.clone()), "{path} is documented twice");
        }
    }

    /// Paths of keys whose value is a map: its own keys are data.
    fn is_map(&self, path: &str) -> bool {
        let key = path.rsplit('.').next().expect("a key");
        let is_it = |(name, kind): &&(String, String)| {
            kind.starts_with("map") && path.ends_with(name.as_str()) && name.ends_with(key)
        };
        self.0.values().flatten().any(|row| is_it(&row))
    }
}

fn written_paths(page: &Page, value: &Value, prefix: &str, paths: &mut BTreeSet<String>) {
    let Some(object) = value.as_object() else { return };
    for (key, value) in object {
        let path = format!("{prefix}{key}");
        match value {
            Value::Array(items) => items
                .iter()
                .for_each(|item| written_paths(page, item, &format!("{path}[]."), paths)),
            Value::Object(_) if page.is_map(&path) => {}
            value => written_paths(page, value, &format!("{path}."), paths),
        }
        paths.insert(path);
    }
}

#[track_caller]
fn documented(heading: &str, record: &impl Serialize) {
    let page = Page::read();
    let (mut documented, mut written) = (BTreeSet::new(), BTreeSet::new());
    page.paths(heading, "", &mut documented);
    let record = serde_json::to_value(record).expect("JSON");
    written_paths(&page, &record, "", &mut written);
    let undocumented: Vec<_> = written.difference(&documented).collect();
    let invented: Vec<_> = documented.difference(&written).collect();
    assert!(undocumented.is_empty(), "not documented: {undocumented:#?}");
    assert!(invented.is_empty(), "documented and not written: {invented:#?}");
}

#[test]
fn load_keys_equal_the_page() {
    documented("load-record", &full_load());
}

#[test]
fn lab_keys_equal_the_page() {
    documented("lab-record", &full_lab());
}
