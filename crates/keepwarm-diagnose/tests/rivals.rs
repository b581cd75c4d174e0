//! Claim: where another cause leaves the same evidence, no finding is sure, and it names the other;
//! evidence that tells them apart makes it sure again.

mod common;

use std::time::Duration;

use common::{idle, requests};
use keepwarm_diagnose::knowledge::{Kind, Runtime};
use keepwarm_diagnose::{Evidence, Finding, Level, Messages, Requests, Side, StuckSockets, judge};

/// From here on a finding is sure.
const SURE: f64 = 0.9;

/// A client that opened and closed a thousand connections, one request each.
fn one_each() -> Evidence {
    Evidence {
        window: Duration::from_secs(10),
        opened: 1000,
        local_fin: 1000,
        idle_local: idle(1, 0.9),
        requests: requests(1, 1000),
        closed_requests: requests(1, 1000),
        ..Evidence::new(Side::Client, Level::Counted)
    }
}

fn first(seen: &Evidence) -> Finding {
    judge(seen).swap_remove(0)
}

#[track_caller]
fn is_sure(seen: &Evidence, code: &str) {
    let found = first(seen);
    assert!(found.code == code && found.confidence >= SURE, "{found:#?}");
}

/// Asserts that the finding is less than sure and names its rival.
#[track_caller]
fn is_doubted(seen: &Evidence, code: &str, rival: &str) {
    let found = first(seen);
    assert!(found.code == code && found.confidence < SURE, "{found:#?}");
    assert!(found.summary.contains(rival), "{rival:?} is not in {:?}", found.summary);
}

/// Two connections stay and carry a third of the requests.
fn beside_two() -> Evidence {
    let all = requests(1, 1500).map(|all| Requests {
        max: 250,
        connections: 1002,
        common_share: 0.998,
        ..all
    });

    Evidence {
        requests: all,
        alive_at_start: 2,
        alive: 2,
        established: 2,
        idle_set: Some(2),
        ..one_each()
    }
}

#[test]
fn closes_beside_a_pool_may_be_a_stranger() {
    is_doubted(&beside_two(), "D2", "(D1)");
    let up_to_nine = |common_share| Evidence {
        closed_requests: requests(1, 1000).map(|all| Requests { max: 9, common_share, ..all }),
        ..beside_two()
    };
    is_sure(&up_to_nine(0.7), "D2");
    is_doubted(&up_to_nine(0.97), "D2", "(D1)");
    is_sure(&Evidence { closed_requests: None, ..beside_two() }, "D2");
    let go = Some(Runtime { kind: Kind::Go, version: None });
    let own = Evidence { keeper_closes: Some(true), ..beside_two() };
    is_doubted(&own, "D2", "(D1)");
    is_sure(&Evidence { runtime: go, ..own.clone() }, "D2");
    // Its default is ten.
    let python = Some(Runtime { kind: Kind::Python, version: None });
    is_doubted(&Evidence { runtime: python, ..own }, "D2", "(D1)");
    is_sure(&Evidence { keeper_closes: Some(false), ..beside_two() }, "D1");
}

/// Fifty connections, and closes by the server after five seconds without a request.
fn timed_out(closes: u64) -> Evidence {
    Evidence {
        local_fin: 0,
        remote_fin: closes,
        opened: closes,
        idle_local: None,
        idle_remote: idle(5_010, 1.0),
        requests: requests(7, 7 * closes),
        alive: 50,
        established: 50,
        ..one_each()
    }
}

#[test]
fn restart_closes_each_connection_once() {
    is_sure(&timed_out(100), "D4");
    is_doubted(&timed_out(99), "D4", "restart");
    let gone = Evidence { alive: 0, established: 0, ..timed_out(60) };
    is_sure(&gone, "D4");
    is_doubted(&Evidence { most_established: 60, ..gone }, "D4", "restart");
    let client = |closes| Evidence {
        local_fin: closes,
        remote_fin: 0,
        idle_local: idle(5_010, 1.0),
        idle_remote: None,
        requests: requests(9, 9 * closes),
        window: Duration::from_secs(1_000),
        ..timed_out(closes)
    };
    is_sure(&client(100), "D11");
    is_doubted(&client(99), "D11", "end or restart of the client");
}

/// A thousand connections, closed right after an answer and this number of requests.
fn limited(each: u32) -> Evidence {
    Evidence {
        requests: requests(each, 1000 * u64::from(each)),
        closed_requests: None,
        ..one_each()
    }
}

/// One POST of sixty kilobytes on each connection: 42 segments, and as many requests at most.
#[test]
fn segments_of_a_large_request_are_no_limit() {
    let perhaps = |least: u32| Evidence {
        requests_at_most: requests(42, 42_000),
        messages: Messages::WithHandshakePerhaps(
            requests(least, 1000 * u64::from(least)).unwrap_or_default(),
        ),
        lifetime: idle(300, 0.2),
        ..limited(42)
    };
    is_doubted(&perhaps(1), "D1", "1 to 42 a connection");
    is_doubted(&perhaps(20), "D5", "42 requests");
    is_sure(&perhaps(21), "D5");
    let by_server = Evidence {
        local_fin: 0,
        remote_fin: 1000,
        idle_local: None,
        idle_remote: idle(1, 0.9),
        ..perhaps(1)
    };
    is_doubted(&by_server, "D6", "1 to 42 a connection");
}

/// A few connections carry nearly all requests; the server's timeout ends the others.
#[test]
fn timeouts_beside_busy_connections_are_doubted() {
    let all = requests(21, 21_000).map(|all| Requests { p50: 1, common: 1, ..all });
    let seen = |share, ms| Evidence {
        local_fin: 90,
        remote_fin: 910,
        idle_local: None,
        idle_remote: idle(ms, share),
        requests: all,
        closed_requests: all,
        ..one_each()
    };
    is_doubted(&seen(0.9, 824), "healthy", "(D4)");
    is_doubted(&seen(0.6, 5_000), "healthy", "(D4)");
    is_sure(&seen(0.59, 5_000), "healthy");
    is_sure(&seen(0.9, 100), "healthy");
}

#[test]
fn steady_requests_turn_a_lifetime_into_a_number() {
    is_sure(&limited(20), "D5");
    is_doubted(&limited(19), "D5", "(D11)");
    let aged = |share| Evidence { lifetime: idle(600, share), ..limited(19) };
    is_doubted(&aged(1.0), "D5", "(D11)");
    is_sure(&aged(0.59), "D5");
}

#[test]
fn d11_takes_a_common_lifetime() {
    let loose = requests(19, 19_000).map(|all| Requests { common_share: 0.7, ..all });
    let aged = |ms, share| Evidence { lifetime: idle(ms, share), requests: loose, ..limited(19) };
    let found = first(&aged(600, 0.71));
    assert!(found.code == "D11" && found.confidence < SURE, "{found:#?}");
    assert!(found.summary.contains("600 ms after they were opened"), "{}", found.summary);
    assert_eq!(first(&aged(600, 0.7)).code, "D5");
    assert_eq!(first(&aged(199, 0.9)).code, "D5");
    let by_server = Evidence {
        local_fin: 0,
        remote_fin: 1000,
        idle_local: None,
        idle_remote: idle(1, 0.9),
        ..aged(600, 0.9)
    };
    assert_eq!(first(&by_server).code, "D11");
    let late = Evidence { idle_remote: idle(501, 0.1), ..by_server };
    assert_ne!(first(&late).code, "D11");
}

#[test]
fn nothing_back_at_once_may_be_the_protocol() {
    let unanswered = Evidence { unanswered: 1000, ..one_each() };
    is_doubted(&unanswered, "D13", "no answers");
    let by_server =
        Evidence { local_fin: 0, remote_fin: 1000, idle_local: None, ..unanswered.clone() };
    is_doubted(&by_server, "D13", "the server refused");
    let waited = |given_up| Evidence { waited: idle(300, 0.1), given_up, ..unanswered.clone() };
    is_doubted(&waited(499), "D13", "no answers");
    is_sure(&waited(500), "D13");
}

#[test]
fn streams_that_end_are_by_design() {
    let streams = |ended_streams| Evidence { ended_streams, ..one_each() };
    is_sure(&streams(799), "D1");
    is_doubted(&streams(800), "D1", "streams that ended");
    let by_server =
        Evidence { local_fin: 0, remote_fin: 1000, idle_remote: idle(1, 0.9), ..streams(800) };
    is_doubted(&by_server, "D6", "streams that ended");
    let unread = Evidence { local_fin: 0, undrained: 1000, ..streams(800) };
    is_doubted(&unread, "D3", "streams that ended");
    is_sure(&Evidence { ended_streams: 0, ..unread }, "D3");
}

#[test]
fn d14_needs_no_silence_where_nothing_is_acknowledged() {
    let stuck = |oldest_ms, retransmits| Evidence {
        opened: 20,
        local_fin: 0,
        stuck: StuckSockets { established: 20, closing: 0, oldest_ms, retransmits },
        alive: 20,
        established: 20,
        requests: requests(50, 1000),
        ..one_each()
    };
    is_sure(&stuck(1_000, 40), "D14");
    assert_eq!(first(&stuck(999, 59)).code, "healthy");
    is_sure(&stuck(10, 60), "D14");
}

/// A farewell of TLS is data: the last data was at once before the close, whatever went before.
#[test]
fn connections_met_idle_were_not_closed_at_once() {
    let three = requests(3, 3000);
    let behind = Evidence {
        requests: three,
        requests_at_most: three,
        messages: Messages::WithHandshakePerhaps(requests(1, 1000).unwrap_or_default()),
        ..one_each()
    };
    assert_eq!(first(&Evidence { met_idle: 299, ..behind.clone() }).code, "D1");
    assert_ne!(first(&Evidence { met_idle: 300, ..behind }).code, "D1");
    assert_eq!(first(&Evidence { met_idle: 1000, ..one_each() }).code, "D1", "no farewell");
}

#[test]
fn usual_limit_is_found_before_each_connection_ended_twice() {
    let all = requests(104, 7_280).map(|all| Requests { common_share: 0.6, ..all });
    let seen = Evidence {
        local_fin: 0,
        remote_fin: 42,
        idle_local: None,
        idle_remote: idle(1, 0.9),
        opened: 70,
        alive: 28,
        established: 28,
        requests: all,
        closed_requests: requests(104, 4_368),
        messages: Messages::WithHandshakePerhaps(requests(98, 4_116).unwrap_or_default()),
        ..one_each()
    };
    is_doubted(&seen, "D5", "limit of requests");
    assert_eq!(first(&Evidence { alive: 43, ..seen.clone() }).code, "healthy");
    let odd = Evidence { closed_requests: requests(119, 4_998), ..seen };
    assert_eq!(first(&odd).code, "healthy", "a restart, perhaps");
}

#[test]
fn connections_met_idle_make_a_second_a_timeout() {
    let late = Evidence {
        idle_local: None,
        idle_remote: idle(900, 0.1),
        local_fin: 0,
        remote_fin: 1000,
        ..one_each()
    };
    let found = first(&Evidence { met_idle: 300, ..late.clone() });
    assert!(found.code == "D4" && found.confidence < SURE, "{found:#?}");
    assert_eq!(first(&Evidence { met_idle: 299, ..late }).code, "D6", "a busy host, perhaps");
}

#[test]
fn exact_requests_behind_handshakes_are_requests() {
    let over_tls = |each| Evidence {
        messages: Messages::BehindHandshake,
        requests: requests(each, 1000 * u64::from(each)),
        requests_at_most: requests(each, 1000 * u64::from(each)),
        closed_requests: requests(each, 1000 * u64::from(each)),
        ..one_each()
    };
    is_sure(&over_tls(1), "D1");
    assert_eq!(first(&over_tls(5)).code, "D5");
    // A farewell comes after the close of one request, too: what it is behind shows no single message.
    let farewells = Evidence { answered_after_close: 1000, ..over_tls(1) };
    assert_eq!(first(&farewells).code, "D1");
    let bounds = Evidence { requests_at_most: requests(3, 3000), ..over_tls(1) };
    assert_eq!(first(&bounds).code, "D1");
    let plain = Evidence { messages: Messages::Plain, answered_after_close: 1000, ..over_tls(1) };
    assert_eq!(first(&plain).code, "D3");
}

#[test]
fn lifetime_may_be_an_idle_time_before_a_farewell() {
    let all = requests(7, 7_000).map(|all| Requests { max: 9, common_share: 0.6, ..all });
    let aged = |messages| Evidence {
        messages,
        requests: all,
        requests_at_most: all,
        closed_requests: all,
        lifetime: idle(600, 0.99),
        ..one_each()
    };
    let perhaps = Messages::WithHandshakePerhaps(requests(2, 2_000).expect("some"));
    is_doubted(&aged(perhaps), "D11", "D4");
    assert!(first(&aged(perhaps)).confidence < 0.5);
    let plain = first(&aged(Messages::Plain));
    assert!(plain.code == "D11" && plain.confidence > 0.5, "{plain:?}");
}

#[test]
fn closes_of_a_server_may_answer_farewells() {
    let mixed = Evidence { local_fin: 880, remote_fin: 120, ..one_each() };
    assert_eq!(first(&mixed).code, "D6");
    let over_tls = Evidence {
        messages: Messages::WithHandshakePerhaps(requests(1, 1000).unwrap()),
        requests: requests(5, 5000),
        ..mixed
    };
    is_doubted(&over_tls, "D1", "(D6)");
    let most = Evidence { local_fin: 490, remote_fin: 510, ..over_tls.clone() };
    is_doubted(&most, "D6", "(D1)");
    let all = Evidence { local_fin: 20, remote_fin: 980, ..over_tls };
    assert!(!first(&all).summary.contains("(D1)"), "{:?}", first(&all));
}

#[test]
fn few_messages_behind_a_handshake_are_no_limit() {
    let mixed = requests(5, 5_000).map(|all| Requests { common_share: 0.62, ..all });
    let seen = |least| Evidence {
        messages: Messages::WithHandshakePerhaps(requests(least, 1_000).expect("some")),
        requests: mixed,
        requests_at_most: mixed,
        closed_requests: mixed,
        ..one_each()
    };
    assert_eq!(first(&seen(1)).code, "D1", "some took a segment less");
    assert_eq!(first(&seen(2)).code, "D5");
}
