//! Claim: each rule finds its cause on the evidence it is made for, from both sides, and not on
//! evidence that looks like it.

use std::time::Duration;

use keepwarm_diagnose::knowledge::{Kind, Runtime, Version};
use keepwarm_diagnose::{
    Cause, Evidence, Finding, Idle, Level, Messages, PortOutlook, Ports, Requests, ResetReasons,
    Side, judge,
};

fn requests(p50: u32, max: u32, common: (u32, f64)) -> Option<Requests> {
    Some(Requests {
        connections: 1000,
        total: 1000 * u64::from(p50),
        p50,
        max,
        none_share: 0.0,
        common: common.0,
        common_share: common.1,
    })
}

fn idle(p50_ms: u32, common: (u32, f64)) -> Option<Idle> {
    Some(Idle { closes: 1000, p50_ms, common_ms: common.0, common_share: common.1 })
}

/// A client that opened and closed a thousand connections, and nothing else yet.
fn seen() -> Evidence {
    Evidence {
        window: Duration::from_secs(10),
        opened: 1000,
        requests: requests(1, 1, (1, 1.0)),
        ..Evidence::new(Side::Client, Level::Counted)
    }
}

/// Returns the evidence that the server has of a client's connections.
fn from_the_server(seen: &Evidence) -> Evidence {
    Evidence {
        runtime: seen.peer_runtime,
        peer_runtime: seen.runtime,
        side: Side::Server,
        local_fin: seen.remote_fin,
        remote_fin: seen.local_fin,
        local_rst: seen.remote_rst,
        remote_rst: seen.local_rst + seen.undrained,
        undrained: 0,
        idle_local: seen.idle_remote,
        idle_remote: seen.idle_local,
        ..seen.clone()
    }
}

#[track_caller]
fn main_finding(seen: &Evidence) -> Finding {
    let findings = judge(seen);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.into_iter().next().expect("one")
}

/// Returns the code, which must be equal from both sides.
#[track_caller]
fn code(seen: &Evidence) -> &'static str {
    let here = main_finding(seen).code;
    assert_eq!(main_finding(&from_the_server(seen)).code, here, "from the server");
    here
}

#[test]
fn client_per_request_is_d1() {
    let seen = Evidence { local_fin: 1000, idle_local: idle(1, (1, 0.9)), ..seen() };
    assert_eq!(code(&seen), "D1");
    assert_eq!(main_finding(&seen).confidence, 1.0);
    // A POST is two segments, TLS adds some.
    let tls = Evidence { requests: requests(4, 5, (4, 0.97)), ..seen };
    assert_eq!(code(&tls), "D1");
    assert!(main_finding(&tls).confidence < 0.9, "a few requests look the same");
}

#[test]
fn unknown_closers_are_spoken_for() {
    let known =
        Evidence { local_fin: 940, unclassified: 60, idle_local: idle(1, (1, 0.9)), ..seen() };
    assert_eq!(code(&known), "D1");
    let other = Evidence { remote_fin: 60, unclassified: 0, ..known };
    assert_eq!(code(&other), "D6", "the server closed some");
}

#[test]
fn messages_that_are_alike_are_requests() {
    let five = Evidence {
        requests: requests(5, 5, (5, 1.0)),
        local_fin: 1000,
        idle_local: idle(1, (1, 0.9)),
        ..seen()
    };
    assert_eq!(code(&five), "D1", "a handshake takes some");
    for messages in [Messages::Alike, Messages::Plain] {
        assert_eq!(code(&Evidence { messages, ..five.clone() }), "D5", "{messages:?}");
    }
    let three = Evidence { requests: requests(3, 3, (3, 1.0)), ..five };
    assert_eq!(code(&Evidence { messages: Messages::Plain, ..three.clone() }), "D1", "in parts");
    assert_eq!(code(&Evidence { messages: Messages::Alike, ..three }), "D5");
}

#[test]
fn requests_behind_a_handshake_are_bounds() {
    let one = Evidence {
        messages: Messages::BehindHandshake,
        requests_at_most: requests(2, 3, (2, 0.9)),
        local_fin: 1000,
        idle_local: idle(1, (1, 0.9)),
        ..seen()
    };
    assert_eq!(code(&one), "D1");
    let found = main_finding(&one);
    assert!((0.9..1.0).contains(&found.confidence), "{found:?}");
    assert!(found.summary.contains("1 to 2 a connection"), "{}", found.summary);
    let many = Evidence { requests_at_most: requests(6, 6, (6, 1.0)), ..one.clone() };
    assert!(main_finding(&many).summary.contains("made for a few requests"), "six may be some");
    let late = Evidence { idle_local: idle(280, (280, 0.9)), ..one };
    let found = main_finding(&late);
    assert!(found.confidence < 0.5 && found.summary.contains("D13"), "{found:?}");
}

#[test]
fn pools_that_pile_up_are_d1() {
    let seen = Evidence { alive: 1000, established: 1000, ..seen() };
    assert_eq!(code(&seen), "D1");
    let pool = Evidence { requests: requests(5, 9, (5, 0.5)), ..seen };
    assert_eq!(code(&pool), "healthy");
}

#[test]
fn small_idle_set_is_d2_and_names_client() {
    let seen = Evidence {
        local_fin: 998,
        idle_local: idle(2, (2, 0.8)),
        requests: requests(1, 34, (1, 0.8)),
        alive: 2,
        established: 2,
        idle_set: Some(2),
        ..seen()
    };
    assert_eq!(code(&seen), "D2");
    let finding = main_finding(&seen);
    assert_eq!(finding.cause, Cause::IdlePoolTooSmall { idle: 2 });
    assert!(finding.summary.contains("the default of Go net/http"), "{}", finding.summary);
    let seven = Evidence { established: 7, idle_set: Some(7), ..seen.clone() };
    assert!(main_finding(&seven).confidence < finding.confidence, "seven is no default");
    // Some pools keep 5, but none of Go's does.
    let go = Runtime { kind: Kind::Go, version: None };
    let five = Evidence { established: 5, idle_set: Some(5), runtime: Some(go), ..seen.clone() };
    assert!(!main_finding(&five).summary.contains("the default of"), "{five:?}");
    let busy = Evidence { idle_set: None, ..seen };
    assert!(!main_finding(&busy).summary.contains("may stay"), "two happen to be open in a burst");
}

#[test]
fn server_runtime_does_not_choose_client_setting() {
    let nginx = Runtime { kind: Kind::Nginx, version: None };
    let seen = Evidence {
        side: Side::Server,
        remote_fin: 998,
        idle_remote: idle(2, (2, 0.8)),
        requests: requests(1, 34, (1, 0.8)),
        runtime: Some(nginx),
        alive: 2,
        established: 2,
        ..seen()
    };
    let finding = main_finding(&seen);
    let advice = finding.advice.unwrap();
    assert_eq!(finding.code, "D2");
    assert!(advice.contains("go:") && !advice.contains("nginx"), "{advice}");
}

#[test]
fn two_kept_connections_mean_d2_not_d1() {
    let counted = Requests { connections: 338, total: 360, ..requests(1, 10, (1, 0.99)).unwrap() };
    let seen = Evidence {
        opened: 338,
        local_fin: 336,
        idle_local: idle(15, (15, 0.5)),
        requests: Some(counted),
        alive: 2,
        established: 2,
        ..seen()
    };
    assert_eq!(main_finding(&seen).code, "D2");
    // One connection of another program is not a pool.
    let other = Requests { connections: 1001, total: 1050, max: 50, ..counted };
    let other = Evidence {
        opened: 1000,
        local_fin: 1000,
        alive: 1,
        established: 1,
        requests: Some(other),
        ..seen
    };
    assert_eq!(main_finding(&other).code, "D1");
}

#[test]
fn unread_data_is_d3() {
    let seen = Evidence { local_fin: 200, undrained: 800, idle_local: idle(0, (0, 1.0)), ..seen() };
    assert_eq!(code(&seen), "D3");
}

/// Traces that name these reasons of a client's resets.
fn named(reasons: &[(&str, u64)], late_requests: u64) -> Level {
    Level::Traced(ResetReasons::of(reasons.iter().copied(), late_requests))
}

#[test]
fn traced_server_is_sure_of_d3() {
    let seen = Evidence { side: Side::Server, remote_rst: 1000, ..seen() };
    let guessed = main_finding(&seen);
    assert_eq!((guessed.code, guessed.confidence), ("D3", 0.4));
    let unread = named(&[("TCP_ABORT_ON_CLOSE", 1000)], 0);
    let sure = main_finding(&Evidence { level: unread, ..seen.clone() });
    assert_eq!((sure.code, sure.confidence), ("D3", 0.8), "or a farewell was unread");
    let cut = Evidence { level: unread, cut_answers: 500, ..seen.clone() };
    assert_eq!(main_finding(&cut).confidence, 1.0, "more was under way than a farewell");
    // A client on another host: its reasons are not named here, and nothing is taken from that.
    let elsewhere = main_finding(&Evidence { level: named(&[], 0), ..seen });
    assert_eq!((elsewhere.code, elsewhere.confidence), ("D3", 0.4));
}

/// Closes after which data came, of connections that carried one message or several.
#[test]
fn data_after_the_close_makes_d1_less_sure() {
    let each = |common, level| {
        let closes = Evidence { local_fin: 1000, idle_local: idle(0, (0, 1.0)), level, ..seen() };
        Evidence { requests: requests(common, common, (common, 1.0)), ..closes }
    };
    let sure = main_finding(&each(1, Level::Counted));
    assert_eq!((sure.code, sure.confidence), ("D1", 1.0));
    for level in [named(&[("TCP_ABORT_ON_DATA", 1000)], 0), Level::Counted] {
        let after = Evidence { answered_after_close: 1000, ..each(1, level) };
        let body = main_finding(&after);
        assert_eq!((body.code, body.confidence), ("D3", 0.8), "plain: no farewell");
        let few = main_finding(&Evidence { answered_after_close: 200, ..each(1, Level::Counted) });
        assert_eq!((few.code, few.confidence), ("D1", 0.8), "{few:#?}");
        let with_tls = Evidence { answered_after_close: 1000, ..each(3, level) };
        let farewell = main_finding(&with_tls);
        assert!(farewell.code == "D1" && farewell.confidence <= 0.8, "{farewell:#?}");
        assert!(farewell.summary.contains("a farewell of TLS"), "{}", farewell.summary);
    }
}

#[test]
fn guessed_side_makes_each_finding_less_sure() {
    let seen = Evidence { local_fin: 1000, idle_local: idle(0, (0, 1.0)), ..seen() };
    let guessed = main_finding(&Evidence { side_is_guess: true, ..seen.clone() });
    assert_eq!((guessed.code, guessed.confidence), ("D1", 0.5));
    assert!(guessed.summary.contains("which end is the service is a guess"), "{guessed:#?}");
    assert_eq!(main_finding(&seen).confidence, 1.0);
}

/// The kernel forgets the requests of connections that end by SO_LINGER 0.
#[test]
fn requests_of_a_few_say_nothing_of_the_rest() {
    let few = |connections| {
        let all = requests(10, 10, (10, 1.0));
        Evidence {
            local_rst: 900,
            local_fin: 100,
            idle_local: idle(0, (0, 1.0)),
            requests: all.map(|all| Requests { connections, ..all }),
            ..seen()
        }
    };
    assert_eq!(main_finding(&few(800)).code, "D5");
    assert_eq!(main_finding(&few(799)).code, "mixed");
}

#[test]
fn answers_that_were_cut_are_d3() {
    let cut = |cut_answers| Evidence {
        side: Side::Server,
        remote_fin: 1000,
        idle_remote: idle(0, (0, 1.0)),
        cut_answers,
        ..seen()
    };
    let found = main_finding(&cut(300));
    assert!(found.code == "D3" && found.confidence < 0.9, "{found:#?}");
    assert_eq!(main_finding(&cut(299)).code, "D1");
}

/// A close_notify that was not read is no body: the server had begun to close.
#[test]
fn unread_farewell_is_not_d3() {
    let unread = |unread_farewells| Evidence {
        undrained: 1000,
        unread_farewells,
        idle_local: idle(0, (0, 1.0)),
        ..seen()
    };
    assert_eq!(main_finding(&unread(0)).code, "D3");
    let found = main_finding(&unread(1000));
    assert_eq!(found.code, "D6", "{found:#?}");
    assert!(found.summary.contains("100 % of them first by the server"), "{}", found.summary);
}

#[test]
fn reset_on_purpose_is_not_d3() {
    let given_up = named(&[("TCP_STATE", 1000)], 0);
    let server = Evidence { side: Side::Server, remote_rst: 1000, level: given_up, ..seen() };
    let client = Evidence { local_rst: 1000, level: given_up, ..seen() };
    for seen in [server, client] {
        let finding = main_finding(&seen);
        assert!(finding.code == "D8" && finding.confidence < 0.9, "{finding:#?}");
        assert!(finding.summary.contains("1,000 of 1,000 connections"), "{finding:#?}");
        let haproxy = Some(Runtime { kind: Kind::Haproxy, version: None });
        let known = match seen.side {
            Side::Client => Evidence { runtime: haproxy, ..seen },
            Side::Server => Evidence { peer_runtime: haproxy, ..seen },
        };
        assert!(main_finding(&known).confidence >= 0.9, "its checks");
    }
}

#[test]
fn late_requests_are_d4_without_common_time() {
    let seen = Evidence {
        remote_fin: 500,
        remote_rst: 500,
        idle_remote: idle(0, (0, 0.9)),
        requests: requests(2, 3, (2, 0.5)),
        ..seen()
    };
    assert_eq!(main_finding(&seen).code, "mixed", "by the closes alone");
    let finding = main_finding(&Evidence { level: named(&[], 500), ..seen });
    assert_eq!((finding.code, finding.confidence), ("D4", 1.0));
    assert_eq!(finding.cause, Cause::ServerTimeout { idle_ms: None });
    assert!(finding.summary.contains("500 requests were written after that"), "{finding:#?}");
}

#[test]
fn late_requests_do_not_hide_the_timeout() {
    let seen = Evidence {
        remote_fin: 550,
        remote_rst: 450,
        idle_remote: idle(5_010, (5_005, 0.55)),
        requests: requests(5, 9, (5, 0.4)),
        ..seen()
    };
    assert_eq!(main_finding(&seen).confidence, 0.5, "too few were closed after one time");
    let finding = main_finding(&Evidence { level: named(&[], 450), ..seen });
    assert_eq!(finding.cause, Cause::ServerTimeout { idle_ms: Some(5_005) });
    assert!(finding.confidence > 0.99, "{finding:#?}");
    assert!(finding.summary.contains("450 requests did"), "{finding:#?}");
}

#[test]
fn common_idle_time_is_d4_and_names_server() {
    let seen = Evidence { remote_fin: 1000, idle_remote: idle(6_010, (6_005, 0.95)), ..seen() };
    assert_eq!(code(&seen), "D4");
    let finding = main_finding(&seen);
    assert_eq!(finding.cause, Cause::ServerTimeout { idle_ms: Some(6_005) });
    assert!(
        finding.summary.contains("node http.Server would do that by default"),
        "{}",
        finding.summary
    );
}

#[test]
fn request_limit_is_d5() {
    let seen = Evidence {
        remote_fin: 1000,
        idle_remote: idle(0, (0, 1.0)),
        requests: Some(Requests { total: 5_000, ..requests(100, 100, (100, 0.98)).unwrap() }),
        ..seen()
    };
    assert_eq!(code(&seen), "D5");
    assert_eq!(main_finding(&seen).cause, Cause::RequestLimit { limit: 100 });
}

/// A program that ends closes its whole pool, whose connections served alike and then waited.
#[test]
fn end_of_a_pool_is_no_request_limit() {
    let share = |share| Evidence {
        local_fin: 50,
        opened: 50,
        idle_local: idle(132, (132, 0.5)),
        requests: Some(Requests { total: 6_000, ..requests(121, 134, (121, share)).unwrap() }),
        ..seen()
    };
    assert_ne!(code(&share(0.64)), "D5");
    let at_once = Evidence { idle_local: idle(1, (1, 0.9)), ..share(0.64) };
    assert_eq!(code(&at_once), "D5");
    assert_eq!(code(&share(0.98)), "D5", "a number that is nearly always the same is one");
}

#[test]
fn one_request_ended_by_server_is_d6() {
    let seen = Evidence { remote_fin: 1000, idle_remote: idle(0, (0, 1.0)), ..seen() };
    assert_eq!(code(&seen), "D6");
    let crossing = Evidence { remote_fin: 640, local_fin: 360, ..seen };
    assert_eq!(code(&crossing), "D6");
}

#[test]
fn growing_close_wait_is_d7() {
    let healthy = Evidence {
        requests: requests(50, 60, (50, 0.9)),
        opened: 10,
        alive: 40,
        close_wait_at_start: 30,
        close_wait: 30,
        ..seen()
    };
    assert_eq!(code(&healthy), "healthy");
    let leak = Evidence { close_wait: 90, ..healthy };
    assert_eq!(main_finding(&leak).code, "D7");
}

#[test]
fn connections_without_requests_are_d8() {
    let probes = Requests { none_share: 0.95, ..requests(0, 1, (0, 0.95)).unwrap() };
    let seen = Evidence { remote_rst: 0, local_fin: 1000, requests: Some(probes), ..seen() };
    assert_eq!(code(&seen), "D8");
}

#[test]
fn failing_connects_are_d9_and_first() {
    let seen =
        Evidence { connect_failed: 500, local_fin: 1000, idle_local: idle(1, (1, 1.0)), ..seen() };
    let codes: Vec<_> = judge(&seen).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["D9", "D1"]);
}

#[test]
fn scarce_ports_are_d10_beside_their_cause() {
    let second = |s| Some(Duration::from_secs(s));
    let ports =
        Ports { used: 9_000, range: 28_232, cliff_in: second(10), exhausted_in: second(38) };
    let seen =
        Evidence { local_fin: 1000, idle_local: idle(1, (1, 1.0)), ports: Some(ports), ..seen() };
    let findings = judge(&seen);
    assert_eq!([findings[0].code, findings[1].code], ["D1", "D10"]);
    assert!(findings[1].summary.contains("slow in 10 s"), "{}", findings[1].summary);
    assert!(findings[1].summary.contains("fails in 38 s"), "{}", findings[1].summary);
}

#[test]
fn exhausted_ports_need_no_forecast() {
    let at_once = Some(Duration::ZERO);
    let ports = Ports { used: 2_000, range: 2_000, cliff_in: at_once, exhausted_in: at_once };
    let findings = judge(&Evidence { ports: Some(ports), ..seen() });
    let budget = findings.iter().find(|finding| finding.code == "D10").unwrap();
    assert!(budget.summary.contains("connect(2) fails, \"cannot"), "{}", budget.summary);
    assert!(!budget.summary.contains("fails in"), "{}", budget.summary);
}

#[test]
fn own_idle_timeout_is_d11() {
    let seen = Evidence {
        local_fin: 1000,
        idle_local: idle(15_010, (15_005, 0.97)),
        requests: requests(7, 9, (7, 0.4)),
        ..seen()
    };
    assert_eq!(code(&seen), "D11");
    assert_eq!(main_finding(&seen).advice, None);
}

#[test]
fn few_closes_for_many_requests_are_healthy() {
    let seen = Evidence {
        requests: requests(400, 700, (400, 0.2)),
        opened: 40,
        local_fin: 40,
        alive: 100,
        ..seen()
    };
    assert_eq!(code(&seen), "healthy");
}

#[test]
fn few_or_contradicting_closes_are_mixed() {
    let few = Requests { connections: 29, total: 29, ..requests(1, 1, (1, 1.0)).unwrap() };
    let few = Evidence { opened: 29, local_fin: 29, requests: Some(few), ..seen() };
    assert_eq!(code(&few), "mixed");
    assert!(main_finding(&few).summary.contains("not enough evidence"));
    let half =
        Evidence { local_fin: 500, remote_fin: 500, requests: requests(3, 90, (2, 0.3)), ..seen() };
    assert_eq!(code(&half), "mixed");
    assert!(main_finding(&half).summary.contains("no single cause"));
}

#[test]
fn one_dump_names_no_cause() {
    let seen = Evidence {
        level: Level::OneDump,
        opened: 0,
        time_wait: Some(5_000),
        alive: 2,
        established: 2,
        ..seen()
    };
    let finding = main_finding(&seen);
    assert_eq!(finding.code, "mixed");
    assert!(finding.summary.contains("closed 5,000 connections first"), "{}", finding.summary);
    assert!(finding.advice.is_some_and(|advice| advice.contains("--for 10s")));
}

#[test]
fn advice_is_for_the_recognised_version() {
    let go = |version| Some(Runtime { kind: Kind::Go, version: Version::parse(version) });
    let seen = |runtime| Evidence { undrained: 1000, runtime, ..seen() };
    let advice = |runtime| main_finding(&seen(runtime)).advice.expect("advice");
    assert!(advice(go("1.26.3")).contains("io.Discard"));
    assert!(advice(go("1.27")).contains("256 KiB"));
    let unknown = advice(None);
    assert!(unknown.contains("go: ") && unknown.contains("python: "), "{unknown}");
}

#[test]
fn advice_for_other_side_ignores_own_runtime() {
    let node = Some(Runtime { kind: Kind::Node, version: Version::parse("20.19") });
    let advice = |seen: &Evidence| main_finding(seen).advice.expect("advice");
    let client = Evidence { local_fin: 1000, runtime: node, ..seen() };
    assert!(advice(&client).starts_with("node 20.19: "), "{}", advice(&client));
    let at_server = from_the_server(&client);
    let named = advice(&at_server);
    assert!(named.starts_with("at the client, node 20.19: "), "{named}");
    let server = advice(&Evidence { peer_runtime: None, runtime: node, ..at_server });
    assert!(
        server.starts_with("at the client, if it is go: ") && !server.contains("node"),
        "{server}"
    );
    let limit = Evidence {
        remote_fin: 1000,
        idle_remote: idle(0, (0, 1.0)),
        requests: Some(Requests { total: 5_000, ..requests(100, 100, (100, 0.98)).unwrap() }),
        runtime: Some(Runtime { kind: Kind::Java, version: None }),
        ..seen()
    };
    assert!(advice(&limit).starts_with("at the server, if it is nginx: "), "{}", advice(&limit));
}

#[test]
fn port_outlook_counts_expiries_and_new_closes() {
    let secs = Duration::from_secs;
    // 400 a second for ever hold 24,000 of 28,232: past the cliff, never the end.
    let none = [0; 60];
    let outlook = PortOutlook::of(0, 28_232, &none, 400.0);
    assert_eq!((outlook.cliff_in, outlook.exhausted_in), (Some(secs(36)), None));
    // 1,000 a second do not last a minute.
    let outlook = PortOutlook::of(0, 28_232, &none, 1000.0);
    assert_eq!((outlook.cliff_in, outlook.exhausted_in), (Some(secs(15)), Some(secs(29))));
    // 14,000 that expire within ten seconds make room for as many.
    let mut old = [0; 60];
    old[50..].fill(1_400);
    let outlook = PortOutlook::of(14_000, 28_232, &old, 200.0);
    assert_eq!((outlook.cliff_in, outlook.exhausted_in), (None, None));
    // Beyond it already.
    assert_eq!(PortOutlook::of(20_000, 28_232, &none, 0.0).cliff_in, Some(secs(0)));
    // Connections that stay open, 46 more each second: no TIME_WAIT, and a cliff all the same.
    let outlook = PortOutlook::growing(0, 28_232, &none, 0.0, 46.0);
    let in_s = |when: Option<std::time::Duration>| when.map(|when| when.as_secs());
    assert_eq!((in_s(outlook.cliff_in), in_s(outlook.exhausted_in)), (Some(306), Some(613)));
    // Beside closes, of which a minute's stay.
    let outlook = PortOutlook::growing(0, 28_232, &none, 100.0, 10.0);
    assert_eq!(in_s(outlook.exhausted_in), Some(2_223));
    assert_eq!(PortOutlook::growing(0, 28_232, &none, 0.0, 0.1).cliff_in, None, "in days");
}
