//! Claim: any counts have a verdict, and it can be printed. Counts that contradict each other come
//! from evidence that was lost.

use std::time::Duration;

use keepwarm_diagnose::knowledge::{Kind, Runtime, Version, explain};
use keepwarm_diagnose::{
    Evidence, Finding, HostCounters, Idle, Level, ListenQueue, LoadKnowledge, Messages,
    MissingEvidence, OpenTraffic, PolledEvidence, PortForecast, PortOutlook, Ports, RequestCount,
    Requests, ResetReasons, Side, StuckSockets, judge, judge_host,
};
use keepwarm_testkit::dice::Dice;
use keepwarm_testkit::mutate;

/// Counts at the edges of what the rules ask for, and far beyond what a host can have.
const COUNTS: [u64; 16] =
    [0, 0, 1, 2, 3, 9, 10, 29, 30, 99, 100, 1_000, 28_232, 70_000, 1 << 32, 1 << 56];
const SMALL: [u32; 10] = [0, 1, 2, 4, 20, 500, 900, 5_000, 75_000, u32::MAX];
const SHARES: [f64; 5] = [0.0, 0.05, 0.6, 0.8, 1.0];

fn pick<T: Copy>(dice: &mut Dice, of: &[T]) -> T {
    of[usize::try_from(dice.roll(of.len() as u64)).expect("small")]
}

fn maybe<T>(dice: &mut Dice, some: impl FnOnce(&mut Dice) -> T) -> Option<T> {
    (dice.roll(3) > 0).then(|| some(dice))
}

fn duration(dice: &mut Dice) -> Duration {
    pick(dice, &[Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(10), Duration::MAX])
}

fn idle(dice: &mut Dice) -> Idle {
    Idle {
        closes: pick(dice, &COUNTS),
        p50_ms: pick(dice, &SMALL),
        common_ms: pick(dice, &SMALL),
        common_share: pick(dice, &SHARES),
    }
}

fn polled(dice: &mut Dice) -> PolledEvidence {
    PolledEvidence {
        opened: pick(dice, &COUNTS),
        opened_at_most: maybe(dice, |dice| pick(dice, &COUNTS)),
        closed_first: maybe(dice, |dice| pick(dice, &COUNTS)),
        gone: pick(dice, &COUNTS),
        kept_closed: pick(dice, &COUNTS),
        kept: pick(dice, &COUNTS),
    }
}

fn level(dice: &mut Dice) -> Level {
    match dice.roll(6) {
        0 => Level::OneDump,
        1 => Level::Polled(polled(dice)),
        2 | 3 => Level::Counted,
        _ => Level::Traced(ResetReasons {
            unread: pick(dice, &COUNTS),
            after_close: pick(dice, &COUNTS),
            given_up: pick(dice, &COUNTS),
            late_requests: pick(dice, &COUNTS),
        }),
    }
}

fn load(dice: &mut Dice) -> LoadKnowledge {
    let exact = RequestCount::Exact(pick(dice, &COUNTS));
    let streams =
        RequestCount::Streams { total: pick(dice, &COUNTS), at_once: pick(dice, &COUNTS) };
    LoadKnowledge {
        concurrency: pick(dice, &COUNTS),
        closed_at_end: pick(dice, &COUNTS),
        responses_said_close: pick(dice, &COUNTS),
        requests_said_close: dice.roll(4) == 0,
        own_limit: (dice.roll(4) == 0).then(|| pick(dice, &COUNTS)),
        requests: pick(dice, &[RequestCount::Segments, RequestCount::Encrypted, exact, streams]),
    }
}

fn requests(dice: &mut Dice) -> Requests {
    Requests {
        connections: pick(dice, &COUNTS),
        total: pick(dice, &COUNTS),
        p50: pick(dice, &SMALL),
        max: pick(dice, &SMALL),
        none_share: pick(dice, &SHARES),
        common: pick(dice, &SMALL),
        common_share: pick(dice, &SHARES),
    }
}

fn messages(dice: &mut Dice) -> Messages {
    let perhaps = Messages::WithHandshakePerhaps(requests(dice));
    pick(
        dice,
        &[Messages::Unknown, Messages::Plain, Messages::Alike, perhaps, Messages::BehindHandshake],
    )
}

fn stuck(dice: &mut Dice) -> StuckSockets {
    StuckSockets {
        established: pick(dice, &COUNTS),
        closing: pick(dice, &COUNTS),
        oldest_ms: pick(dice, &SMALL),
        retransmits: pick(dice, &COUNTS),
    }
}

fn runtime(dice: &mut Dice) -> Runtime {
    Runtime { kind: pick(dice, &Kind::ALL), version: maybe(dice, |_| Version::default()) }
}

fn evidence(dice: &mut Dice) -> Evidence {
    Evidence {
        side: pick(dice, &[Side::Client, Side::Server]),
        level: level(dice),
        window: duration(dice),
        opened: pick(dice, &COUNTS),
        local_fin: pick(dice, &COUNTS),
        remote_fin: pick(dice, &COUNTS),
        local_rst: pick(dice, &COUNTS),
        remote_rst: pick(dice, &COUNTS),
        undrained: pick(dice, &COUNTS),
        unclassified: pick(dice, &COUNTS),
        connect_failed: pick(dice, &COUNTS),
        ipv4_only: maybe(dice, |_| std::net::SocketAddr::from(([127, 0, 0, 1], 8081))),
        unanswered: pick(dice, &COUNTS),
        given_up: pick(dice, &COUNTS),
        unattributed_aborts: pick(dice, &COUNTS),
        side_is_guess: dice.roll(4) == 0,
        met_waiting: pick(dice, &COUNTS),
        met_waiting_in_vain: pick(dice, &COUNTS),
        late_answers: maybe(dice, idle),
        cut_answers: pick(dice, &COUNTS),
        unread_farewells: pick(dice, &COUNTS),
        answered_after_close: pick(dice, &COUNTS),
        waited: maybe(dice, idle),
        requests: maybe(dice, requests),
        requests_at_most: maybe(dice, requests),
        messages: messages(dice),
        closed_requests: maybe(dice, requests),
        close_wait_rises: maybe(dice, |dice| pick(dice, &COUNTS)),
        ended_streams: pick(dice, &COUNTS),
        met_idle: pick(dice, &COUNTS),
        lifetime: maybe(dice, idle),
        most_established: pick(dice, &COUNTS),
        usual_established: pick(dice, &[None, Some(0), Some(30), Some(u64::MAX)]),
        keeper_closes: maybe(dice, |dice| dice.roll(2) == 0),
        idle_local: maybe(dice, idle),
        idle_remote: maybe(dice, idle),
        alive_at_start: pick(dice, &COUNTS),
        alive: pick(dice, &COUNTS),
        established: pick(dice, &COUNTS),
        idle_set: maybe(dice, |dice| pick(dice, &COUNTS)),
        close_wait: pick(dice, &COUNTS),
        close_wait_at_start: pick(dice, &COUNTS),
        time_wait: maybe(dice, |dice| pick(dice, &COUNTS)),
        ports: maybe(dice, |dice| Ports {
            used: pick(dice, &COUNTS),
            range: pick(dice, &COUNTS),
            cliff_in: maybe(dice, duration),
            exhausted_in: maybe(dice, duration),
        }),
        runtime: maybe(dice, runtime),
        peer_runtime: maybe(dice, runtime),
        stuck: if dice.roll(2) == 0 { StuckSockets::default() } else { stuck(dice) },
        unaccepted: pick(dice, &COUNTS),
        listen_queue: maybe(dice, |dice| ListenQueue {
            waiting: pick(dice, &COUNTS),
            backlog: pick(dice, &COUNTS),
        }),
        events_overdue: pick(dice, &[false, false, true]),
        lost_share: pick(dice, &[0.0, 0.0, 0.0, 0.01, 0.3, 1.0, f64::INFINITY, f64::NAN]),
        open: maybe(dice, |dice| OpenTraffic {
            connections: pick(dice, &COUNTS),
            requests: pick(dice, &COUNTS),
            answers: pick(dice, &COUNTS),
        }),
        missing: MissingEvidence {
            closer: dice.roll(4) == 0,
            abort: dice.roll(4) == 0,
            unread: dice.roll(4) == 0,
            requests: dice.roll(4) == 0,
        },
        load: (dice.roll(4) == 0).then(|| load(dice)),
    }
}

#[track_caller]
fn can_be_printed(finding: &Finding) {
    assert!(!finding.code.is_empty() && !finding.summary.is_empty(), "{finding:?}");
    assert!((0.0..=1.0).contains(&finding.confidence), "{finding:?}");
    assert!(!finding.summary.contains("NaN") && !finding.summary.contains("inf "), "{finding:?}");
}

#[test]
fn any_evidence_has_a_verdict() {
    let mut dice = Dice::new(1);
    let mut codes = std::collections::BTreeSet::new();
    for _ in 0..50_000 {
        let findings = judge(&evidence(&mut dice));
        assert!(!findings.is_empty());
        findings.iter().for_each(can_be_printed);
        codes.extend(findings.iter().map(|finding| finding.code));
    }
    assert!(codes.len() >= 14, "the rules that were reached: {codes:?}");
}

#[test]
fn any_host_and_rate_can_be_printed() {
    let mut dice = Dice::new(1);
    for _ in 0..50_000 {
        let findings = judge_host(&HostCounters {
            unattributed_aborts: maybe(&mut dice, |dice| pick(dice, &COUNTS)),
            active_opens: maybe(&mut dice, |dice| pick(dice, &COUNTS)),
            attempt_fails: maybe(&mut dice, |dice| pick(dice, &COUNTS)),
            abort_on_close: maybe(&mut dice, |dice| pick(dice, &COUNTS)),
            listen_overflows: maybe(&mut dice, |dice| pick(dice, &COUNTS)),
            time_waits: maybe(&mut dice, |dice| pick(dice, &COUNTS)),
            resets: maybe(&mut dice, |dice| pick(dice, &COUNTS)),
        });
        findings.iter().for_each(can_be_printed);
        let (closes, window) = (pick(&mut dice, &COUNTS), duration(&mut dice));
        let summary = PortForecast::new(closes, window, pick(&mut dice, &COUNTS)).summary();
        assert!(!summary.contains("NaN") && !summary.contains("inf "), "{summary}");
    }
}

#[test]
fn forecast_ends_after_a_minute() {
    let mut dice = Dice::new(1);
    for _ in 0..20_000 {
        let by_age: Vec<u32> = (0..dice.roll(70)).map(|_| pick(&mut dice, &SMALL)).collect();
        let rate = pick(&mut dice, &[0.0, 1.0, 471.0, 1e9, f64::INFINITY, f64::NAN]);
        let (used, range) = (pick(&mut dice, &COUNTS), pick(&mut dice, &COUNTS));
        let outlook = PortOutlook::of(used, range, &by_age, rate);
        let minute = Duration::from_secs(60);
        assert!(outlook.cliff_in.is_none_or(|when| when <= minute), "{outlook:?}");
        assert!(outlook.exhausted_in.is_none_or(|when| when <= minute), "{outlook:?}");
    }
}

#[test]
fn any_text_can_be_read() {
    let mut dice = Dice::new(1);
    let mut read = 0;
    for _ in 0..50_000 {
        let captured = pick(&mut dice, &["v20.19.2", "1.26rc1", "17.0.9"]);
        let text = mutate::text(&mut dice, captured);
        read += u32::from(Version::parse(&text).is_some());
        let topic = mutate::text(&mut dice, "time-wait");
        assert!(explain(&topic).is_none_or(|page| !page.is_empty()));
    }
    assert!(read > 5_000, "{read}");
}
