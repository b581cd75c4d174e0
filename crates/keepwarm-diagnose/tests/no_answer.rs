//! Claim: what is not answered, not accepted, not acknowledged or lost is said as such, just above its
//! threshold and not just below; and "healthy" is what is left.

mod common;

use std::time::Duration;

use common::{idle, requests};
use keepwarm_diagnose::knowledge::{Kind, Runtime};
use keepwarm_diagnose::{
    Cause, Evidence, Finding, HostCounters, Idle, Level, ListenQueue, Messages, OpenTraffic,
    PolledEvidence, Side, StuckSockets, judge, judge_host,
};

/// A client that opened and closed a thousand connections, one request each.
fn one_each() -> Evidence {
    Evidence {
        window: Duration::from_secs(10),
        opened: 1000,
        local_fin: 1000,
        idle_local: idle(1, 0.9),
        requests: requests(1, 1000),
        ..Evidence::new(Side::Client, Level::Counted)
    }
}

/// A client that kept forty connections for 10,000 requests, and closed forty.
fn kept() -> Evidence {
    Evidence {
        opened: 40,
        local_fin: 0,
        remote_fin: 40,
        idle_local: None,
        idle_remote: idle(1_000, 0.4),
        alive_at_start: 40,
        alive: 40,
        established: 40,
        requests: requests(125, 10_000),
        ..one_each()
    }
}

fn find(seen: &Evidence, code: &str) -> Option<Finding> {
    judge(seen).into_iter().find(|one| one.code == code)
}

#[track_caller]
fn is(seen: &Evidence, code: &str) -> Finding {
    let found = judge(seen).swap_remove(0);
    assert_eq!(found.code, code, "{:#?}", judge(seen));
    found
}

#[track_caller]
fn is_not(seen: &Evidence, code: &str) {
    assert_eq!(find(seen, code), None);
}

/// Returns the evidence that the server has.
fn at_server(seen: &Evidence) -> Evidence {
    Evidence {
        side: Side::Server,
        local_fin: seen.remote_fin,
        remote_fin: seen.local_fin,
        idle_local: seen.idle_remote,
        idle_remote: seen.idle_local,
        ..seen.clone()
    }
}

#[test]
fn d13_takes_closes_without_an_answer() {
    let unanswered = |unanswered| Evidence { unanswered, ..one_each() };
    for seen in [unanswered(300), at_server(&unanswered(300))] {
        let found = is(&seen, "D13");
        assert_eq!(found.cause, Cause::GivenUp { deadline_ms: None });
        assert!(found.confidence < 0.9, "{found:#?}");
        let advice = found.advice.unwrap();
        assert!(advice.contains("deadline") && !advice.contains("http.Client"), "{advice}");
    }
    is(&unanswered(299), "D1");
    let waited = Evidence { waited: idle(250, 0.1), given_up: 500, ..unanswered(1000) };
    assert!(is(&waited, "D13").confidence >= 0.9, "each of them");
    let few = Evidence { local_fin: 29, ..unanswered(29) };
    is(&few, "mixed");
    is(&Evidence { local_fin: 30, ..unanswered(30) }, "D13");
}

#[test]
fn d13_names_a_common_deadline() {
    let given = |given_up, ms, share| Evidence { given_up, waited: idle(ms, share), ..one_each() };
    let found = is(&given(900, 250, 0.6), "D13");
    assert_eq!(found.cause, Cause::GivenUp { deadline_ms: Some(250) });
    assert!(found.summary.contains("after 250 ms of waiting"), "{}", found.summary);
    assert_eq!(is(&given(900, 250, 0.59), "D13").cause, Cause::GivenUp { deadline_ms: None });
    assert!(is(&given(900, 250, 0.1), "D13").confidence < found.confidence);
    is(&given(299, 250, 0.9), "D1");
    // A farewell of the protocol goes right before the close.
    is(&given(1000, 70, 0.9), "D1");
    is(&given(1000, 71, 0.9), "D13");
    assert!(
        is(&given(1000, 139, 0.9), "D13").confidence < is(&given(1000, 140, 0.9), "D13").confidence
    );
    let go = Some(Runtime { kind: Kind::Go, version: None });
    let advice = |seen: &Evidence| is(seen, "D13").advice.unwrap();
    let client = Evidence { runtime: go, ..given(900, 250, 0.9) };
    assert!(advice(&client).contains("Client.Timeout"), "{}", advice(&client));
    let server = at_server(&client);
    assert!(!advice(&server).contains("Client.Timeout"), "the server is Go, not the client");
    let server = Evidence { peer_runtime: go, ..server };
    assert!(advice(&server).contains("at the client, go: Client.Timeout"), "{}", advice(&server));
}

#[test]
fn late_answers_are_d13_at_the_server() {
    let late = |late_answers| at_server(&Evidence { late_answers, ..one_each() });
    let after = |closes, ms| idle(ms, 0.9).map(|late| Idle { closes, ..late });
    let found = is(&late(after(1000, 300)), "D13");
    assert!(found.confidence >= 0.9, "{found:#?}");
    assert!(found.summary.contains("sent 300 ms after the request"), "{}", found.summary);
    assert!(is(&late(after(300, 300)), "D13").confidence < 0.9, "of some");
    is(&late(after(299, 300)), "D1");
    is(&late(after(1000, 20)), "D1");
}

/// A client that says farewell before it closes has sent last in each case.
#[test]
fn waiting_in_vain_is_d13() {
    let met = |met_waiting, met_waiting_in_vain| Evidence {
        met_waiting,
        met_waiting_in_vain,
        requests: requests(3, 3_000),
        ..one_each()
    };
    let found = is(&met(20, 20), "D13");
    assert!(found.confidence < 0.9, "{found:#?}");
    is(&met(9, 9), "D1");
    is(&met(20, 10), "D1");
    assert!(is(&met(1000, 1000), "D13").confidence > found.confidence);
    // Half of it is enough where the closes came after one time, behind a handshake that dumps met too.
    let deadline = Evidence {
        idle_local: idle(300, 0.9),
        messages: Messages::WithHandshakePerhaps(requests(1, 1_000).unwrap_or_default()),
        ..met(20, 10)
    };
    assert!(is(&deadline, "D13").confidence < 0.9, "{deadline:#?}");
    is_not(&Evidence { idle_local: idle(300, 0.5), ..deadline.clone() }, "D13");
    is_not(&Evidence { met_waiting_in_vain: 4, ..deadline }, "D13");
}

#[test]
fn unanswered_requests_are_not_d11() {
    let late =
        Evidence { idle_local: idle(15_000, 0.9), requests: requests(7, 7_000), ..one_each() };
    is(&late, "D11");
    is(&Evidence { unanswered: 1000, ..late }, "D13");
}

#[test]
fn many_open_requests_without_an_answer_are_d13() {
    let open = |connections, answers| Evidence {
        opened: 60,
        local_fin: 0,
        alive: 60,
        established: 60,
        open: Some(OpenTraffic { connections, requests: 900, answers }),
        requests: requests(15, 900),
        ..one_each()
    };
    for seen in [open(10, 0), at_server(&open(60, 0))] {
        assert_eq!(is(&seen, "D13").confidence, 0.5, "the protocol may have no answers");
    }
    is_not(&open(9, 0), "D13");
    is_not(&open(60, 1), "D13");
    is_not(&Evidence { local_fin: 61, ..open(60, 0) }, "D13");
}

#[test]
fn d14_takes_sockets_without_acknowledgement() {
    let stuck = |count, closing, oldest_ms| Evidence {
        alive: 200,
        stuck: StuckSockets {
            established: count,
            closing,
            oldest_ms,
            retransmits: 2 * (count + closing),
        },
        ..kept()
    };
    // Losses make some sockets send again, for a while.
    assert!(is(&stuck(39, 0, 2_999), "D14").confidence < 0.9);
    assert!(is(&stuck(40, 0, 1_000), "D14").confidence >= 0.9);
    let found = is(&stuck(10, 0, 3_000), "D14");
    assert!(found.confidence >= 0.9 && found.summary.contains("the server is silent"), "{found:?}");
    assert!(found.summary.contains("20 segments sent again"), "{found:?}");
    assert!(found.advice.unwrap().contains("TCP_USER_TIMEOUT"));
    is_not(&stuck(9, 0, 1_000), "D14");
    is_not(&stuck(10, 0, 999), "D14");
    is(&stuck(0, 10, 1_000), "D14");
    let one = |alive| Evidence { alive, ..stuck(1, 0, 1_000) };
    is(&one(20), "D14");
    is_not(&one(21), "D14");
    // Without retransmissions: keep-alive probes.
    let mut probed = stuck(20, 0, 30_000);
    probed.stuck.retransmits = 39;
    assert!(is(&probed, "D14").confidence < 0.9);
    assert!(is(&at_server(&stuck(10, 0, 1_000)), "D14").summary.contains("the client is silent"));
    let dump = Evidence { level: Level::OneDump, time_wait: Some(0), ..stuck(10, 0, 200_000) };
    is(&dump, "D14");
    is_not(&dump, "healthy");
    let polled = Level::Polled(PolledEvidence { kept: 200, ..PolledEvidence::default() });
    assert!(is(&Evidence { level: polled, ..dump }, "D14").confidence < 0.9);
}

#[test]
fn d9_takes_a_full_accept_queue() {
    let queue = |waiting, unaccepted| Evidence {
        side: Side::Server,
        unaccepted,
        listen_queue: Some(ListenQueue { waiting, backlog: 5 }),
        ..one_each()
    };
    let found = is(&queue(5, 0), "D9");
    assert_eq!(found.cause, Cause::AcceptQueueFull);
    assert!(found.summary.contains("5 of 5 places"), "{}", found.summary);
    is_not(&queue(4, 9), "D9");
    assert!(is(&queue(4, 10), "D9").confidence < found.confidence);
    is_not(&Evidence { side: Side::Client, ..queue(5, 10) }, "D9");
    is_not(&Evidence { listen_queue: None, unaccepted: 9, ..queue(0, 0) }, "D9");
    let resets = |count| HostCounters { unattributed_aborts: Some(count), ..Default::default() };
    assert_eq!(judge_host(&resets(29)), []);
    let found = &judge_host(&resets(30))[0];
    assert!(found.code == "D8" && found.confidence < 0.5, "a guess: {found:#?}");
    let overflows = HostCounters { listen_overflows: Some(1), ..HostCounters::default() };
    assert_eq!(judge_host(&overflows)[0].code, "D9");
    assert_eq!(judge_host(&HostCounters::default()), []);
}

#[test]
fn failures_rule_health_out() {
    is(&kept(), "healthy");
    let reset = |remote_rst| Evidence { remote_fin: 40 - remote_rst, remote_rst, ..kept() };
    is(&reset(2), "healthy");
    let found = is(&reset(3), "D4");
    assert!(found.summary.contains("3 were reset with a request under way"), "{}", found.summary);
    let by_server = |local_rst| Evidence {
        side: Side::Server,
        local_fin: 37,
        local_rst,
        remote_fin: 0,
        idle_local: idle(1_000, 0.4),
        ..kept()
    };
    is(&by_server(3), "D4");
    is(&Evidence { unanswered: 2, ..kept() }, "healthy");
    let found = is(&Evidence { unanswered: 3, ..kept() }, "mixed");
    assert!(found.summary.contains("3 ended without an answer"), "{}", found.summary);
    // Few closes among many requests name no cause, though each of them looks like one.
    let by_client = Evidence { remote_fin: 0, local_fin: 40, idle_local: idle(1, 0.9), ..kept() };
    is(&Evidence { unanswered: 3, ..by_client }, "mixed");
    is_not(&Evidence { given_up: 3, waited: idle(200, 0.5), ..kept() }, "healthy");
    let closing = |closing| StuckSockets { closing, ..StuckSockets::default() };
    is(&Evidence { stuck: closing(2), ..kept() }, "healthy");
    is_not(&Evidence { stuck: closing(3), ..kept() }, "healthy");
}

#[test]
fn one_long_upload_is_no_kept_connection() {
    // 48 connections closed at once, each with 700 segments of one body.
    let upload = Evidence {
        opened: 48,
        local_fin: 48,
        requests: requests(1, 48),
        requests_at_most: requests(700, 33_600),
        ..one_each()
    };
    let found = is(&upload, "D1");
    assert!(found.confidence < 0.9, "a bound is not sure: {found:#?}");
    assert!(found.summary.contains("1 to 700 a connection"), "{}", found.summary);
    let exact = Evidence { requests_at_most: upload.requests, ..upload.clone() };
    assert_eq!(is(&exact, "D1").confidence, 1.0);
    let closed = Evidence { local_fin: 0, remote_fin: 48, idle_remote: idle(0, 1.0), ..upload };
    assert!(is(&closed, "D6").confidence < 0.9);
    let limit = Evidence {
        remote_fin: 1000,
        local_fin: 0,
        idle_remote: idle(0, 1.0),
        requests: requests(10, 10_000),
        ..one_each()
    };
    assert_eq!(is(&limit, "D5").confidence, 1.0);
    let limit = Evidence { requests_at_most: requests(20, 20_000), ..limit };
    assert!(is(&limit, "D5").confidence < 0.9);
    // A certain finding "healthy" does not depend on the upper bound.
    let found = is(&Evidence { requests_at_most: requests(700, 56_000), ..kept() }, "healthy");
    assert!(found.summary.starts_with("at least 10,000 requests"), "{}", found.summary);
}

#[test]
fn streams_are_no_leak() {
    let streams = |opened, answers| Evidence {
        opened,
        local_fin: 0,
        alive: opened,
        established: opened,
        requests: requests(1, opened),
        open: Some(OpenTraffic { connections: opened, requests: opened, answers }),
        ..one_each()
    };
    for count in [40, 1000] {
        let found = is(&streams(count, 4 * count), "healthy");
        assert!(found.summary.contains(&format!("{count} streams open").replace("1000", "1,000")));
        is_not(&streams(count, 4 * count - 1), "healthy");
    }
    is(&streams(1000, 1000), "D1");
    // Half of the dumps met half of them: one is opened for each request.
    is(&Evidence { usual_established: Some(500), ..streams(1000, 1000) }, "D1");
    let at_once = Evidence {
        usual_established: Some(990),
        window: Duration::from_secs(10),
        ..streams(1000, 1000)
    };
    // A program that is quick leaves as many pools at once; so do subscriptions on which nothing happens.
    let found = is(&at_once, "D1");
    assert!(found.confidence <= 0.5 && found.summary.contains("subscriptions"), "{found:?}");
    let at_once =
        Evidence { usual_established: Some(50), window: at_once.window, ..streams(50, 50) };
    let found = is(&at_once, "healthy");
    assert!(found.confidence < 0.9 && found.summary.contains("at about one time"), "{found:?}");
    is(&Evidence { window: Duration::from_secs(2), ..at_once }, "mixed");
    // One of twenty that closes is a stream that ended.
    is(&Evidence { local_fin: 2, ..streams(40, 400) }, "healthy");
    is_not(&Evidence { local_fin: 3, ..streams(40, 400) }, "healthy");
}

#[test]
fn close_waits_that_turn_over_are_no_leak() {
    let waits = |remote_fin| Evidence {
        local_fin: 0,
        remote_fin,
        close_wait: 20,
        idle_remote: idle(400, 0.5),
        ..one_each()
    };
    assert!(find(&waits(19), "D7").is_some());
    assert_eq!(find(&waits(20), "D7"), None);
    // Aborts by SO_LINGER 0 are in no row: they may have closed as many.
    let confidence = |unattributed_aborts| {
        let seen = Evidence { unattributed_aborts, close_wait: 40, ..waits(0) };
        find(&seen, "D7").unwrap().confidence
    };
    assert!(confidence(39) >= 0.9 && confidence(40) < 0.6);
    // The program has not come to these: D9, and D13.
    assert!(find(&Evidence { unaccepted: 9, ..waits(0) }, "D7").is_some());
    assert_eq!(find(&Evidence { unaccepted: 10, ..waits(0) }, "D7"), None);
    let open = |answers| Some(OpenTraffic { connections: 9, requests: 9, answers });
    assert_eq!(find(&Evidence { open: open(0), ..waits(0) }, "D7"), None);
    assert!(find(&Evidence { open: open(1), ..waits(0) }, "D7").is_some());
}

#[test]
fn pools_collected_later_are_d1() {
    let late = |window| Evidence {
        window: Duration::from_secs(window),
        idle_local: idle(1_500, 0.9),
        ..one_each()
    };
    // 1,000 closes in 150 s, each after 1.5 s: 10 idle on average.
    for seen in [late(150), at_server(&late(150))] {
        let found = is(&seen, "D1");
        assert!(found.confidence < 0.9, "{found:#?}");
        assert!(found.summary.contains("about 10 idled"), "{}", found.summary);
    }
    is(&late(151), "D11");
    is(&Evidence { requests: requests(5, 5_000), ..late(10) }, "D11");
    is(&Evidence { opened: 799, ..late(10) }, "D11");
}

#[test]
fn limit_is_named_whoever_closes() {
    let limited = Evidence { requests: requests(10, 10_000), ..one_each() };
    let found = is(&limited, "D5");
    assert!(found.summary.contains("one of the two has a limit"), "{}", found.summary);
    is_not(&Evidence { idle_local: idle(501, 0.9), ..limited }, "D5");
}

#[test]
fn lost_events_lower_and_withhold() {
    let lost = |lost_share| Evidence { lost_share, ..one_each() };
    assert_eq!(is(&lost(0.009), "D1").confidence, 1.0);
    let found = is(&lost(0.01), "D1");
    assert!(found.confidence <= 0.6 && found.summary.contains("1 % of the events were lost"));
    is(&lost(0.29), "D1");
    let found = is(&lost(0.3), "mixed");
    assert!(found.summary.contains("D1 is withheld: 30 %"), "{}", found.summary);
    is(&Evidence { lost_share: 0.3, ..kept() }, "mixed");
    let overdue = is(&Evidence { events_overdue: true, ..one_each() }, "D1");
    assert!(overdue.confidence <= 0.6 && overdue.summary.contains("had not told"), "{overdue:#?}");
    // Levels do not rest on events.
    let stuck = StuckSockets { established: 40, closing: 0, oldest_ms: 5_000, retransmits: 400 };
    assert!(is(&Evidence { stuck, ..lost(0.5) }, "D14").confidence > 0.9);
}

#[test]
fn only_programs_that_are_there_are_named() {
    let runtime = |kind| Some(Runtime { kind, version: None });
    let d4 = Evidence {
        local_fin: 0,
        remote_fin: 1000,
        idle_local: None,
        idle_remote: idle(2_010, 0.9),
        ..one_each()
    };
    let unknown = is(&d4, "D4").summary;
    assert!(unknown.contains("the server is not known from here, and gunicorn"), "{unknown}");
    let known = is(&Evidence { peer_runtime: runtime(Kind::Node), ..d4.clone() }, "D4");
    assert!(!format!("{known:?}").contains("gunicorn"), "{known:#?}");
    assert!(known.advice.unwrap().starts_with("at the server, node: "));
    let server = Evidence { runtime: runtime(Kind::Python), ..at_server(&d4) };
    assert!(is(&server, "D4").summary.contains("gunicorn with a worker"));
    let both = Evidence { peer_runtime: runtime(Kind::Curl), ..server };
    let advice = is(&both, "D4").advice.unwrap();
    assert!(advice.starts_with("python: ") && advice.contains("; at the client, curl: "));
    for (kind, word) in [
        (Kind::Postgres, "psql"),
        (Kind::Redis, "redis-cli"),
        (Kind::Shell, "cron"),
        (Kind::Curl, "URLs"),
    ] {
        let advice = is(&Evidence { runtime: runtime(kind), ..one_each() }, "D1").advice.unwrap();
        assert!(advice.contains(word), "{advice}");
        for http in ["http.Client", "requests.Session", "nginx", "Connection: close"] {
            assert!(!advice.contains(http), "{advice}");
        }
    }
}
