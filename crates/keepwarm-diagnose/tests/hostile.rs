//! Claim: whatever was counted, there is a verdict, and it can be printed. Counts that contradict each
//! other come from evidence that was lost.

use std::time::Duration;

use keepwarm_diagnose::knowledge::{Kind, Runtime, Version, explain};
use keepwarm_diagnose::{
    Evidence, Finding, Glimpsed, Idle, Observation, Open, PortOutlook, Ports, Requests, Resets,
    Side, Untold, diagnose, judge,
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

fn observation(dice: &mut Dice) -> Observation {
    Observation {
        side: pick(dice, &[Side::Client, Side::Server]),
        window: duration(dice),
        opened: pick(dice, &COUNTS),
        local_fin: pick(dice, &COUNTS),
        remote_fin: pick(dice, &COUNTS),
        local_rst: pick(dice, &COUNTS),
        remote_rst: pick(dice, &COUNTS),
        undrained: pick(dice, &COUNTS),
        unclassified: pick(dice, &COUNTS),
        connect_failed: pick(dice, &COUNTS),
        requests: maybe(dice, |dice| Requests {
            connections: pick(dice, &COUNTS),
            total: pick(dice, &COUNTS),
            p50: pick(dice, &SMALL),
            max: pick(dice, &SMALL),
            none_share: pick(dice, &SHARES),
            common: pick(dice, &SMALL),
            common_share: pick(dice, &SHARES),
        }),
        idle_local: maybe(dice, idle),
        idle_remote: maybe(dice, idle),
        alive_at_start: pick(dice, &COUNTS),
        alive: pick(dice, &COUNTS),
        established: pick(dice, &COUNTS),
        idle_set: maybe(dice, |dice| pick(dice, &COUNTS)),
        close_wait: pick(dice, &COUNTS),
        close_wait_at_start: pick(dice, &COUNTS),
        time_wait: pick(dice, &COUNTS),
        ports: maybe(dice, |dice| Ports {
            used: pick(dice, &COUNTS),
            range: pick(dice, &COUNTS),
            cliff_in: maybe(dice, duration),
            exhausted_in: maybe(dice, duration),
        }),
        resets: maybe(dice, |dice| Resets {
            unread: pick(dice, &COUNTS),
            given_up: pick(dice, &COUNTS),
            late_requests: pick(dice, &COUNTS),
        }),
        runtime: maybe(dice, |dice| Runtime {
            kind: pick(dice, &Kind::ALL),
            version: maybe(dice, |_| Version::default()),
        }),
        open: maybe(dice, |dice| Open {
            connections: pick(dice, &COUNTS),
            requests: pick(dice, &COUNTS),
            answers: pick(dice, &COUNTS),
        }),
        untold: Untold {
            closer: dice.roll(4) == 0,
            abort: dice.roll(4) == 0,
            unread: dice.roll(4) == 0,
            requests: dice.roll(4) == 0,
        },
        glimpsed: (dice.roll(4) == 0).then(|| Glimpsed {
            opened: pick(dice, &COUNTS),
            opened_at_most: maybe(dice, |dice| pick(dice, &COUNTS)),
            closed_first: maybe(dice, |dice| pick(dice, &COUNTS)),
            gone: pick(dice, &COUNTS),
            kept_closed: pick(dice, &COUNTS),
            kept: pick(dice, &COUNTS),
        }),
    }
}

#[track_caller]
fn can_be_printed(finding: &Finding) {
    assert!(!finding.code.is_empty() && !finding.summary.is_empty(), "{finding:?}");
    assert!((0.0..=1.0).contains(&finding.confidence), "{finding:?}");
    assert!(!finding.summary.contains("NaN") && !finding.summary.contains("inf "), "{finding:?}");
}

#[test]
fn any_observation_has_a_verdict() {
    let mut dice = Dice::new(1);
    let mut codes = std::collections::BTreeSet::new();
    for _ in 0..50_000 {
        let findings = judge(&observation(&mut dice));
        assert!(!findings.is_empty());
        findings.iter().for_each(can_be_printed);
        codes.extend(findings.iter().map(|finding| finding.code));
    }
    assert!(codes.len() >= 12, "the rules that were reached: {codes:?}");
}

#[test]
fn any_account_has_a_verdict() {
    let mut dice = Dice::new(1);
    for _ in 0..50_000 {
        can_be_printed(&diagnose(&Evidence {
            requests: pick(&mut dice, &COUNTS),
            concurrency: pick(&mut dice, &COUNTS),
            window: duration(&mut dice),
            opened: pick(&mut dice, &COUNTS),
            closed_by_client: pick(&mut dice, &COUNTS),
            closed_by_server: pick(&mut dice, &COUNTS),
            reset: pick(&mut dice, &COUNTS),
            established: pick(&mut dice, &COUNTS),
            ports: maybe(&mut dice, |dice| pick(dice, &COUNTS)),
        }));
    }
}

#[test]
fn a_forecast_looks_no_further_than_a_minute() {
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
fn any_text_is_a_version_or_a_topic_or_neither() {
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
