//! Claim: knowledge of a load makes a finding surer or finds one where the kernel's evidence is too
//! little; it never contradicts.

use std::time::Duration;

use keepwarm_diagnose::{
    Cause, Evidence, Finding, Idle, Level, LoadKnowledge, PortForecast, RequestCount, Requests,
    Side, judge,
};

const LOAD: LoadKnowledge = LoadKnowledge {
    concurrency: 100,
    closed_at_end: 0,
    responses_said_close: 0,
    requests_said_close: false,
    own_limit: None,
    requests: RequestCount::Segments,
};

/// A load of 10,000 requests, 100 at once, over connections that are kept.
fn kept() -> Evidence {
    Evidence {
        window: Duration::from_secs(2),
        opened: 100,
        requests: requests(10_000, 100, 100),
        alive: 100,
        established: 100,
        load: Some(LOAD),
        ..Evidence::new(Side::Client, Level::Counted)
    }
}

fn requests(total: u64, connections: u64, common: u32) -> Option<Requests> {
    let (p50, max) = (common, common);
    let common_share = 1.0;
    Some(Requests { connections, total, p50, max, none_share: 0.0, common, common_share })
}

fn at_once(closes: u64) -> Option<Idle> {
    Some(Idle { closes, p50_ms: 1, common_ms: 1, common_share: 0.9 })
}

/// Evidence of as many connections as requests.
fn one_each(by_client: u64, by_server: u64) -> Evidence {
    Evidence {
        opened: 10_000,
        local_fin: by_client,
        remote_fin: by_server,
        requests: requests(10_000, 10_000, 1),
        idle_local: at_once(by_client),
        idle_remote: at_once(by_server),
        alive: 0,
        established: 0,
        ..kept()
    }
}

fn first(seen: &Evidence) -> Finding {
    judge(seen).swap_remove(0)
}

#[track_caller]
fn has_code(seen: &Evidence, code: &str) {
    assert_eq!(first(seen).code, code, "{:#?}", judge(seen));
}

#[test]
fn kept_connections_are_healthy() {
    let finding = first(&kept());
    assert_eq!((finding.code, finding.cause), ("healthy", Cause::Healthy));
    assert_eq!(finding.advice, None);
    assert!(finding.summary.contains("10,000 requests on 100 connections"), "{finding:#?}");
}

#[test]
fn closes_at_end_of_load_are_no_churn() {
    let load = |closed_at_end| Some(LoadKnowledge { closed_at_end, ..LOAD });
    // Three requests each, closed by the load when it was over, some of them by RST.
    let ended = Evidence {
        local_fin: 60,
        local_rst: 40,
        requests: requests(300, 100, 3),
        idle_local: at_once(100),
        alive: 0,
        established: 0,
        ..kept()
    };
    has_code(&ended, "D1");
    let known = Evidence { load: load(100), ..ended.clone() };
    has_code(&known, "healthy");
    let server = Evidence {
        side: Side::Server,
        local_fin: 0,
        local_rst: 0,
        remote_fin: 60,
        remote_rst: 40,
        ..known
    };
    has_code(&server, "healthy");
    // Closes beyond those of the end are still churn.
    has_code(&Evidence { load: load(100), ..one_each(10_000, 0) }, "D1");
}

#[test]
fn load_tells_a_new_pool_from_a_leak() {
    let filled = Evidence { opened: 100, requests: requests(100, 100, 1), ..kept() };
    has_code(&filled, "healthy");
    has_code(&Evidence { load: None, ..filled.clone() }, "D1");
    let leak = Evidence { opened: 1000, alive: 1000, requests: requests(1000, 1000, 1), ..filled };
    has_code(&leak, "D1");
}

#[test]
fn limit_of_a_load_is_its_own() {
    let limited = |by_client, by_server, own_limit| {
        first(&Evidence {
            requests: requests(500_000, 10_000, 50),
            load: Some(LoadKnowledge { own_limit, ..LOAD }),
            ..one_each(by_client, by_server)
        })
    };
    let advice = |found: Finding| found.advice.unwrap_or_default();
    let own = limited(10_000, 0, Some(50));
    assert_eq!(own.cause, Cause::RequestLimit { limit: 50 });
    assert!(advice(own).contains("--requests-per-connection"));
    let of_server = advice(limited(0, 10_000, Some(50)));
    assert!(of_server.contains("keepalive_requests"), "{of_server}");
    let of_either = advice(limited(10_000, 0, None));
    assert!(of_either.starts_with("the client closes first"), "{of_either}");
}

#[test]
fn limit_beside_failed_connects_may_be_restarts() {
    let seen = Evidence {
        requests: requests(500_000, 10_000, 50),
        connect_failed: 300,
        load: None,
        ..one_each(0, 10_000)
    };
    let found = judge(&seen).into_iter().find(|one| one.code == "D5").unwrap();
    assert!(found.confidence < 0.9 && found.summary.contains("restarts"), "{found:?}");
}

#[test]
fn one_connection_per_request_is_d1() {
    let finding = first(&one_each(10_000, 0));
    assert_eq!((finding.code, finding.cause), ("D1", Cause::ClientPerRequest));
    assert!(finding.summary.contains("10,000 connections were closed"), "{finding:#?}");
}

#[test]
fn two_idle_after_a_burst_name_the_setting() {
    let seen = Evidence {
        opened: 6_461,
        local_fin: 6_459,
        requests: Some(Requests { common_share: 0.8, ..requests(10_000, 6_461, 1).unwrap() }),
        idle_local: at_once(6_459),
        alive: 2,
        established: 2,
        ..kept()
    };
    let finding = first(&seen);
    assert_eq!((finding.code, finding.cause), ("D2", Cause::IdlePoolTooSmall { idle: 2 }));
    assert!(finding.advice.unwrap().contains("MaxIdleConnsPerHost"));
    assert!(finding.summary.contains("up to 100 requests in flight"), "{}", finding.summary);
}

#[test]
fn server_closes_are_not_blamed_on_client() {
    let finding = first(&one_each(1_000, 9_000));
    assert_eq!(finding.cause, Cause::ConnectionClose { said_by: None });
    assert!(!finding.summary.contains("the client's"), "{finding:#?}");
}

#[test]
fn known_speaker_makes_d6_surer() {
    let seen = one_each(4_000, 6_000);
    let unknown = first(&seen);
    let said = |load| first(&Evidence { load: Some(load), ..seen.clone() });
    let server = said(LoadKnowledge { responses_said_close: 3_900, ..LOAD });
    let client = said(LoadKnowledge { requests_said_close: true, ..LOAD });
    for (found, side) in [(&server, Side::Server), (&client, Side::Client)] {
        assert_eq!(found.cause, Cause::ConnectionClose { said_by: Some(side) });
        assert!(found.confidence > unknown.confidence, "{found:#?}");
        assert_eq!(found.advice, unknown.advice, "advice depends on the cause alone");
    }
    for few in [900, 2_000] {
        let few = said(LoadKnowledge { responses_said_close: few, ..LOAD });
        assert_eq!(few, unknown, "the load closed most of them for another reason");
    }
}

#[test]
fn half_and_half_is_mixed() {
    let both = Evidence { requests: requests(30_000, 10_000, 3), ..one_each(5_000, 5_000) };
    let spread = both.requests.map(|all| Requests { common_share: 0.3, max: 90, ..all });
    has_code(&Evidence { requests: spread, ..both }, "mixed");
}

#[test]
fn few_closes_are_mixed() {
    let few = Evidence { opened: 120, local_fin: 20, requests: requests(150, 120, 1), ..kept() };
    has_code(&few, "mixed");
}

#[test]
fn nothing_opened_is_mixed() {
    let none = Evidence { opened: 0, requests: None, alive: 0, established: 0, ..kept() };
    has_code(&none, "mixed");
}

#[test]
fn exact_requests_replace_tls_segments() {
    let tls = |requests| Some(LoadKnowledge { requests, ..LOAD });
    let exact = Evidence { load: tls(RequestCount::Exact(9_700)), ..kept() };
    assert!(first(&exact).summary.contains("9,700 requests"), "{:#?}", first(&exact));
    let unknown = first(&Evidence { load: tls(RequestCount::Encrypted), ..kept() });
    assert!(unknown.summary.contains("data segments (TLS handshakes among them)"), "{unknown:#?}");
}

/// Segments say nothing of HTTP/2. The load has counted its streams.
#[test]
fn streams_of_a_load_are_d12() {
    let spoken = |total, at_once| {
        let requests = RequestCount::Streams { total, at_once };
        let load = Some(LoadKnowledge { concurrency: 200, requests, ..LOAD });
        Evidence { opened: 2, alive: 2, established: 2, load, ..kept() }
    };
    for side in [Side::Client, Side::Server] {
        let found = first(&Evidence { side, ..spoken(12_345, 100) });
        assert_eq!(found.code, "D12", "{found:#?}");
        for part in ["12,345 requests of HTTP/2 on 2 connections", "up to 100 at once on each"] {
            assert!(found.summary.contains(part), "{found:#?}");
        }
        let advice = found.advice.expect("advice");
        assert!(advice.contains("SETTINGS") && advice.contains("more connections"), "{advice}");
    }
    let alone = first(&spoken(12_345, 1));
    assert_eq!(alone.code, "healthy", "{alone:#?}");
    assert!(alone.summary.starts_with("12,345 requests on 2 connections"), "{alone:#?}");
    // A hundred connections for two hundred requests, all closed by the server, are churn.
    let churn = Evidence { opened: 100, remote_fin: 100, alive: 0, ..spoken(200, 2) };
    assert!(!["D12", "healthy"].contains(&first(&churn).code), "{:#?}", first(&churn));
}

#[test]
fn sustainable_rate_never_exhausts_ports() {
    let calm = PortForecast { closes_per_second: 470.0, ports: 28_232 };
    assert_eq!(calm.exhausted_after(), None);
    let storm = PortForecast { closes_per_second: 471.0, ports: 28_232 };
    assert!((storm.exhausted_after().unwrap().as_secs_f64() - 59.94).abs() < 0.01);
}

#[test]
fn forecast_says_what_loopback_hides() {
    let forecast = |closes| PortForecast::new(closes, Duration::from_secs(2), 28_232).summary();
    assert!(forecast(0).contains("no port is held"), "{}", forecast(0));
    let storm = forecast(10_000);
    for part in
        ["5,000 closes a second", "28,232 ports / 60 s of TIME_WAIT sustain 471 a second", "in 6 s"]
    {
        assert!(storm.contains(part), "{storm}");
    }
    assert!(forecast(200).contains("hold 6,000 of 28,232"), "{}", forecast(200));
    assert_eq!(PortForecast::new(9, Duration::ZERO, 1).closes_per_second, 0.0);
}
