//! The rules on the weaker evidence of level L0: what they still name, and what they leave open.

use std::time::Duration;

use keepwarm_diagnose::{
    Cause, Finding, Glimpsed, HostEvidence, Observation, Ports, Side, Untold, judge, judge_host,
    not_judged_by_looks,
};

fn seen(side: Side, glimpsed: Glimpsed) -> Observation {
    Observation {
        side,
        window: Duration::from_secs(10),
        opened: 0,
        local_fin: 0,
        remote_fin: 0,
        local_rst: 0,
        remote_rst: 0,
        undrained: 0,
        unclassified: 0,
        connect_failed: 0,
        requests: None,
        idle_local: None,
        idle_remote: None,
        alive_at_start: 0,
        alive: glimpsed.kept,
        established: glimpsed.kept,
        idle_set: None,
        close_wait: 0,
        close_wait_at_start: 0,
        time_wait: 0,
        ports: None,
        resets: None,
        runtime: None,
        open: None,
        untold: Untold::default(),
        glimpsed: Some(glimpsed),
    }
}

const NOTHING: Glimpsed = Glimpsed {
    opened: 0,
    opened_at_most: Some(10_000),
    closed_first: Some(0),
    gone: 0,
    kept_closed: 0,
    kept: 0,
};

#[track_caller]
fn only(seen: &Observation) -> Finding {
    let mut findings = judge(seen);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

fn churn(closes: u64, kept: u64) -> Glimpsed {
    Glimpsed { opened: closes, closed_first: Some(closes), kept, ..NOTHING }
}

#[test]
fn a_client_that_closes_first_and_keeps_nothing_is_d1_at_half_the_confidence() {
    let finding = only(&seen(Side::Client, churn(1000, 0)));
    assert_eq!((finding.code, finding.confidence), ("D1", 0.5));
    assert!(finding.summary.contains("at least 1,000"), "{}", finding.summary);
    assert!(finding.summary.contains("D6") && finding.summary.contains("D3"));
}

#[test]
fn two_that_stay_are_d2_and_forty_are_nothing_that_names_a_pool() {
    let finding = only(&seen(Side::Client, churn(1000, 2)));
    assert_eq!((finding.code, finding.confidence), ("D2", 0.5));
    assert!(finding.summary.contains("Go net/http"), "{}", finding.summary);
    assert!(only(&seen(Side::Client, churn(1000, 7))).confidence < 0.5);
    assert_eq!(only(&seen(Side::Client, churn(1000, 40))).code, "mixed");
}

#[test]
fn a_window_too_short_to_see_anything_stay_does_not_tell_d1_from_d2() {
    let short = |window, alive| Observation {
        window: Duration::from_millis(window),
        alive,
        ..seen(Side::Client, churn(1000, 0))
    };
    assert_eq!(only(&short(3_000, 2)).code, "mixed");
    assert_eq!(only(&short(4_000, 2)).code, "D1");
    assert_eq!(only(&short(500, 0)).code, "D1", "none is open at all");
}

#[test]
fn closes_of_long_lived_connections_are_not_called_churn() {
    for kept_closed in [201, 1000] {
        let glimpsed = Glimpsed { kept_closed, ..churn(1000, 2) };
        let finding = only(&seen(Side::Client, glimpsed));
        assert_eq!(finding.code, "mixed", "{kept_closed}");
        assert!(finding.summary.contains("D11"), "{}", finding.summary);
    }
}

#[test]
fn a_server_that_closes_first_is_told_from_either_side_and_less_surely_from_the_clients() {
    let gone = Glimpsed { opened: 1000, gone: 1000, ..NOTHING };
    let (here, there) =
        (only(&seen(Side::Server, churn(1000, 5))), only(&seen(Side::Client, gone)));
    assert_eq!((here.code, there.code), ("D4-D6", "D4-D6"));
    assert!(here.confidence > there.confidence, "{here:#?} {there:#?}");
    // A client elsewhere that closes first leaves nothing here.
    assert_eq!(only(&seen(Side::Server, gone)).code, "D1");
}

#[test]
fn a_system_that_lists_no_time_waits_names_no_closer() {
    let unlisted = Glimpsed { opened: 1000, gone: 1000, closed_first: None, ..NOTHING };
    for side in [Side::Client, Side::Server] {
        let finding = only(&seen(side, unlisted));
        assert_eq!((finding.code, finding.confidence), ("mixed", 0.0));
        assert!(finding.summary.contains("not known here"), "{}", finding.summary);
    }
}

#[test]
fn few_closes_are_healthy_only_if_the_whole_host_opened_next_to_nothing() {
    let kept = |opened_at_most| Glimpsed { kept: 100, opened_at_most, ..NOTHING };
    for (opened_at_most, code) in
        [(Some(0), "healthy"), (Some(5), "healthy"), (Some(6), "mixed"), (None, "mixed")]
    {
        let finding = only(&seen(Side::Client, kept(opened_at_most)));
        assert_eq!(finding.code, code, "{opened_at_most:?}");
        assert!(finding.confidence <= 0.5);
    }
    assert_eq!(only(&seen(Side::Client, churn(29, 0))).code, "mixed", "29 are too few");
    assert_eq!(only(&seen(Side::Client, churn(30, 0))).code, "D1");
}

#[test]
fn what_the_table_of_sockets_shows_is_judged_as_ever_and_a_little_less_surely() {
    let leak = Observation { close_wait: 90, ..seen(Side::Client, NOTHING) };
    let finding = only(&leak);
    assert_eq!((finding.code, finding.confidence < 0.9), ("D7", true));
    let second = |s| Some(Duration::from_secs(s));
    let ports = Ports { used: 20_000, range: 28_232, cliff_in: second(0), exhausted_in: second(9) };
    let short_of_ports = Observation { ports: Some(ports), ..seen(Side::Client, churn(9000, 0)) };
    let codes: Vec<_> = judge(&short_of_ports).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["D1", "D10"]);
}

#[test]
fn one_look_is_judged_as_one_look_at_any_level() {
    let look = Observation { window: Duration::ZERO, ..seen(Side::Client, NOTHING) };
    assert!(only(&look).summary.contains("too little to say more"));
    let unlisted = Glimpsed { closed_first: None, ..NOTHING };
    let look = Observation { glimpsed: Some(unlisted), ..look };
    assert!(only(&look).summary.contains("what was closed is not known"));
}

#[test]
fn counters_name_what_happens_and_not_where() {
    let host = HostEvidence { window: Duration::from_secs(10), ..HostEvidence::default() };
    assert_eq!(judge_host(&host), [], "unknown is no finding");
    let refused = HostEvidence { active_opens: Some(100), attempt_fails: Some(90), ..host };
    let [finding] = &judge_host(&refused)[..] else { panic!("{refused:?}") };
    assert_eq!(finding.cause, Cause::ConnectsFail);
    assert!(finding.summary.contains("not seen at this level"), "{}", finding.summary);
    let few = HostEvidence { active_opens: Some(100), attempt_fails: Some(5), ..host };
    assert_eq!(judge_host(&few), []);
    let slow = HostEvidence { listen_overflows: Some(7), ..host };
    assert!(judge_host(&slow)[0].summary.contains("accept queue"));
    let unread = HostEvidence {
        abort_on_close: Some(500),
        time_waits: Some(100),
        resets: Some(1000),
        ..host
    };
    assert_eq!(judge_host(&unread)[0].code, "D3");
    let amid_many = HostEvidence { time_waits: Some(100_000), ..unread };
    assert_eq!(judge_host(&amid_many), []);
}

#[test]
fn what_is_not_judged_is_said_with_a_reason() {
    let said = not_judged_by_looks();
    for code in ["D3", "D4", "D5", "D8", "D11", "D12"] {
        let reason = said.iter().find(|(codes, _)| codes.contains(code));
        assert!(reason.is_some_and(|(_, why)| why.len() > 20), "{code}");
    }
}
