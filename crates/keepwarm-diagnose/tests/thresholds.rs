//! Claim: evidence just short of a rule's threshold, and evidence that only looks like it, gives no
//! finding of that rule; and no finding rests on evidence that the kernel does not report.

mod common;

use std::time::Duration;

use common::idle;
use keepwarm_diagnose::{
    Cause, Evidence, Finding, Level, MissingEvidence, OpenTraffic, Ports, Requests, Side, judge,
};
use keepwarm_testkit::dice::Dice;

/// A client that opened and closed a thousand connections, one request each, and keeps two.
fn seen() -> Evidence {
    Evidence {
        window: Duration::from_secs(10),
        opened: 1000,
        requests: requests(1, 1.0),
        alive_at_start: 2,
        alive: 2,
        established: 2,
        idle_set: Some(2),
        ..Evidence::new(Side::Client, Level::Counted)
    }
}

/// A thousand connections, of which this share carried `common` requests.
fn requests(common: u32, common_share: f64) -> Option<Requests> {
    Some(Requests {
        connections: 1000,
        total: 1000 * u64::from(common),
        p50: common,
        max: common,
        none_share: 0.0,
        common,
        common_share,
    })
}

/// A window so long that only a few of a thousand connections idle at once.
const MINUTES: Duration = Duration::from_secs(1_000);

fn first(seen: &Evidence) -> Finding {
    judge(seen).swap_remove(0)
}

#[track_caller]
fn is(seen: &Evidence, code: &str) {
    assert_eq!(first(seen).code, code, "{:#?}", judge(seen));
}

#[track_caller]
fn is_not(seen: &Evidence, code: &str) {
    assert!(judge(seen).iter().all(|finding| finding.code != code), "{:#?}", judge(seen));
}

/// A client that closes first and at once.
fn by_client() -> Evidence {
    Evidence { local_fin: 1000, idle_local: idle(1, 0.9), ..seen() }
}

/// A server that closes first after `ms` idle, seen from the client.
fn by_server(ms: u32, share: f64) -> Evidence {
    Evidence { remote_fin: 1000, idle_remote: idle(ms, share), ..seen() }
}

#[test]
fn d1_takes_closes_at_once_after_one_request() {
    is(&by_client(), "D1");
    is_not(&Evidence { local_fin: 940, remote_fin: 60, ..by_client() }, "D1");
    is_not(&Evidence { requests: requests(1, 0.94), ..by_client() }, "D1");
    is_not(&Evidence { requests: requests(9, 1.0), ..by_client() }, "D1");
    let introduced = first(&Evidence { requests: requests(8, 1.0), ..by_client() });
    assert!(introduced.code == "D1" && introduced.confidence < 0.9, "or D5: {introduced:#?}");
    // A pool whose connections expire one request later closes them late, and few of them.
    for ms in [2_000, 5_000] {
        let few = Evidence { idle_local: idle(ms, 0.1), window: MINUTES, ..by_client() };
        is_not(&few, "D1");
    }
    // A host without a free core closes late, too.
    let busy = Evidence { idle_local: idle(1_999, 0.1), ..by_client() };
    is(&busy, "D1");
    assert!(first(&busy).confidence < first(&by_client()).confidence);
    is_not(&Evidence { local_fin: 29, ..by_client() }, "D1");
}

#[test]
fn probes_do_not_hide_d1() {
    let among = |none_share: f64| Evidence {
        requests: requests(1, 1.0 - none_share).map(|all| Requests { none_share, ..all }),
        ..by_client()
    };
    for none_share in [0.0, 0.1, 0.4] {
        is(&among(none_share), "D1");
    }
    assert!(first(&among(0.1)).summary.contains("10 % carried nothing"));
    is(&among(0.8), "D8");
    is_not(&among(0.79), "D8");
}

#[test]
fn d2_takes_an_idle_set() {
    let mixed = Evidence { requests: requests(2, 0.4), ..by_client() };
    is(&mixed, "D2");
    is_not(&Evidence { idle_local: idle(501, 0.1), ..mixed.clone() }, "D2");
    is_not(&Evidence { local_fin: 790, remote_fin: 210, ..mixed.clone() }, "D2");
    let none = Evidence { established: 0, alive: 0, idle_set: None, ..mixed };
    is(&none, "D1");
    assert!(first(&none).confidence <= 0.6);
}

#[test]
fn d3_takes_three_tenths_of_closes() {
    let unread = |undrained| Evidence {
        local_fin: 1000 - undrained,
        undrained,
        requests: requests(2, 0.4),
        ..by_client()
    };
    is(&unread(300), "D3");
    is_not(&unread(299), "D3");
}

#[test]
fn d4_takes_a_server_that_closes_late() {
    is(&by_server(5_000, 0.6), "D4");
    // A time shorter than any default has to be that of nearly all closes.
    is(&by_server(890, 0.8), "D4");
    is(&by_server(200, 0.9), "D4");
    is_not(&by_server(890, 0.79), "D4");
    is_not(&by_server(199, 0.9), "D4");
    is_not(&by_server(0, 1.0), "D4");
    assert!(first(&by_server(890, 1.0)).confidence < 0.9);
    is_not(&Evidence { local_fin: 210, remote_fin: 790, ..by_server(5_000, 0.9) }, "D4");
    let scattered = by_server(5_000, 0.2);
    is(&scattered, "D4");
    assert_eq!(first(&scattered).confidence, 0.5);
    is_not(&scattered, "D6");
}

#[test]
fn d11_takes_a_client_that_closes_late() {
    for share in [0.1, 0.9] {
        let late =
            Evidence { idle_local: idle(15_000, share), requests: requests(7, 0.4), ..by_client() };
        is(&late, "D11");
        assert_eq!(first(&late).advice, None);
    }
    is_not(&Evidence { idle_local: idle(890, 0.9), ..by_client() }, "D11");
}

#[test]
fn d5_takes_a_small_limit() {
    let limited =
        |common, share| Evidence { requests: requests(common, share), ..by_server(0, 1.0) };
    is(&limited(100, 0.98), "D5");
    assert_eq!(first(&limited(100, 0.98)).cause, Cause::RequestLimit { limit: 100 });
    is(&limited(9, 1.0), "D5");
    assert!(first(&limited(10, 1.0)).confidence >= 0.9);
    is(&limited(5, 0.6), "D5");
    is_not(&limited(8, 1.0), "D5");
    is_not(&limited(100, 0.59), "D5");
    is_not(&limited(4, 1.0), "D5");
    // One connection in a thousand is no churn.
    is(&limited(1000, 0.98), "healthy");
    // A server that is restarted closes each connection once, after as many requests as it had.
    let restart = Evidence { alive_at_start: 1000, alive: 1000, ..limited(100, 0.98) };
    is(&restart, "healthy");
    // A connection that is longer than the others does not name the limit.
    let stray = limited(100, 0.98);
    let max = stray.requests.map(|all| Requests { max: 5_000, ..all });
    let stray = Evidence { requests: max, ..stray };
    assert_eq!(first(&stray).cause, Cause::RequestLimit { limit: 100 });
}

#[test]
fn d6_takes_orderly_closes_at_once() {
    is(&by_server(0, 1.0), "D6");
    is(&Evidence { local_fin: 400, remote_fin: 600, ..by_server(0, 1.0) }, "D6");
    is_not(&Evidence { remote_fin: 0, remote_rst: 1000, ..by_server(0, 1.0) }, "D6");
    let of_known = Evidence { remote_fin: 700, unclassified: 300, ..by_server(0, 1.0) };
    is(&of_known, "D6");
    assert!(first(&of_known).confidence < 0.7, "as sure as its share of all closes");
    is_not(&Evidence { remote_fin: 490, unclassified: 510, ..by_server(0, 1.0) }, "D6");
    is_not(&by_server(2_000, 0.1), "D6");
    is(&by_server(1_999, 0.1), "D6");
}

#[test]
fn d7_takes_growing_close_wait() {
    let waits = |then, now| Evidence {
        close_wait_at_start: then,
        close_wait: now,
        opened: 10,
        requests: requests(50, 1.0),
        ..seen()
    };
    is(&waits(0, 10), "D7");
    is(&waits(0, 9), "healthy");
    is(&waits(50, 50), "healthy");
    // Ten more of a hundred are the fluctuation of a large pool.
    is(&waits(90, 100), "healthy");
}

#[test]
fn d9_takes_more_than_few_failures() {
    let failing = |connect_failed| Evidence { connect_failed, opened: 95, ..seen() };
    is_not(&failing(2), "D9");
    is_not(&failing(5), "D9");
    is(&failing(6), "D9");
    assert!(first(&failing(6)).confidence < first(&failing(30)).confidence);
}

#[test]
fn d10_takes_a_third_of_the_ports() {
    let ports = |used, cliff_in| Evidence {
        ports: Some(Ports { used, range: 28_000, cliff_in, exhausted_in: None }),
        ..by_client()
    };
    is_not(&ports(9_799, None), "D10");
    let taken = |seen: &Evidence| judge(seen).into_iter().find(|one| one.code == "D10");
    let (counted, foretold) =
        (taken(&ports(9_800, None)).unwrap(), taken(&ports(100, Some(Duration::from_secs(30)))));
    assert!(counted.confidence > foretold.expect("a cliff in sight").confidence);
}

#[test]
fn d12_takes_unpaired_segments_on_few_connections() {
    let open = |connections, requests, answers| Evidence {
        opened: 0,
        open: Some(OpenTraffic { connections, requests, answers }),
        requests: self::requests(700, 0.5),
        ..seen()
    };
    let many = open(2, 1_400, 1_000);
    is(&many, "D12");
    assert!(first(&many).summary.contains("1,400 segments"), "{}", first(&many).summary);
    assert_eq!(first(&many).advice, None);
    // HTTP/1.1: an answer for each request, or more. A twentieth may be retransmissions.
    for answers in [1_400, 1_334, 100_000] {
        is(&open(2, 1_400, answers), "healthy");
    }
    is(&open(2, 199, 100), "healthy");
    is(&open(33, 33_000, 100), "healthy");
    is_not(&Evidence { opened: 15, ..open(2, 1_400, 1_000) }, "D12");
    is_not(&Evidence { remote_fin: 40, ..open(2, 1_400, 1_000) }, "D12");
    assert!(first(&open(2, 1_400, 1_000)).confidence > first(&open(2, 1_400, 1_300)).confidence);
}

#[test]
fn kept_connections_are_always_healthy() {
    let mut dice = Dice::new(1);
    for _ in 0..20_000 {
        let (opened, closed) = (dice.roll(1_000), dice.roll(1_000));
        let shares = [dice.roll(closed + 1), dice.roll(closed + 1)];
        let parts = [shares[0].min(shares[1]), shares[0].max(shares[1])];
        let carried = 20 * opened.max(closed).max(1) + dice.roll(100_000);
        let small = |dice: &mut Dice| u32::try_from(dice.roll(20_000)).expect("small");
        let per_connection = u32::try_from(200 + dice.roll(2_000)).expect("small");
        let healthy = Evidence {
            opened,
            local_fin: parts[0],
            remote_fin: parts[1] - parts[0],
            unclassified: closed - parts[1],
            requests: requests(per_connection, 0.9).map(|all| Requests { total: carried, ..all }),
            idle_local: idle(small(&mut dice), 0.9),
            idle_remote: idle(small(&mut dice), 0.9),
            alive: 10 + dice.roll(1_000),
            close_wait: dice.roll(10),
            connect_failed: dice.roll(3),
            ports: Some(Ports {
                used: dice.roll(9_800),
                range: 28_000,
                cliff_in: None,
                exhausted_in: None,
            }),
            ..seen()
        };
        for side in [Side::Client, Side::Server] {
            is(&Evidence { side, ..healthy.clone() }, "healthy");
        }
    }
}

#[test]
fn missing_evidence_withholds_findings() {
    let missing = |kind: &str| MissingEvidence {
        closer: kind == "closer",
        abort: kind == "abort",
        unread: kind == "unread",
        requests: kind == "requests",
    };
    let limited = Evidence { requests: requests(100, 0.98), ..by_server(0, 1.0) };
    let d2 = Evidence { requests: requests(2, 0.4), ..by_client() };
    let d3 = Evidence { local_fin: 500, undrained: 500, ..by_client() };
    let d11 = Evidence { idle_local: idle(15_000, 0.9), requests: requests(7, 0.4), ..by_client() };
    let open = OpenTraffic { connections: 2, requests: 1_400, answers: 1_000 };
    let d12 = Evidence { opened: 0, open: Some(open), ..seen() };
    for (seen, code, kinds) in [
        (by_client(), "D1", &["closer", "requests"][..]),
        (d2, "D2", &["closer", "requests"]),
        (d3, "D3", &["abort", "unread"]),
        (by_server(5_000, 0.9), "D4", &["closer"]),
        (limited, "D5", &["closer", "requests"]),
        (by_server(0, 1.0), "D6", &["closer", "requests"]),
        (d11, "D11", &["closer"]),
        (d12, "D12", &["requests"]),
    ] {
        is(&seen, code);
        for kind in ["closer", "abort", "unread", "requests"] {
            let found = first(&Evidence { missing: missing(kind), ..seen.clone() });
            if kinds.contains(&kind) {
                assert_eq!((found.code, found.confidence), ("mixed", 0.0), "{code} {kind}");
                assert!(
                    found.summary.contains(&format!("{code} is withheld")),
                    "{}",
                    found.summary
                );
                assert_eq!(found.advice, None);
            } else {
                assert_eq!(found.code, code, "{kind}");
            }
        }
    }
}

#[test]
fn indistinguishable_cause_lowers_confidence() {
    let unread = MissingEvidence { unread: true, ..MissingEvidence::default() };
    let (sure, less) = (first(&by_client()), first(&Evidence { missing: unread, ..by_client() }));
    assert!(less.confidence < sure.confidence);
    assert!(less.summary.contains("D3) looks the same on this kernel"), "{}", less.summary);
    // A finding without a cause says which evidence was missing.
    let none = Evidence { unclassified: 1000, missing: unread, ..seen() };
    assert!(
        first(&none).summary.contains("does not report data left unread"),
        "{:#?}",
        first(&none)
    );
}
