//! Claim: on the weaker evidence of level L0 the rules name fewer causes, and say what they leave
//! open.

use std::time::Duration;

use keepwarm_diagnose::{
    Cause, Evidence, Finding, HostCounters, Level, PolledEvidence, Ports, Side, judge, judge_host,
    not_judged_by_polls,
};

fn seen(side: Side, polls: PolledEvidence) -> Evidence {
    Evidence {
        window: Duration::from_secs(10),
        alive: polls.kept,
        established: polls.kept,
        ..Evidence::new(side, Level::Polled(polls))
    }
}

const NOTHING: PolledEvidence = PolledEvidence {
    opened: 0,
    opened_at_most: Some(10_000),
    closed_first: Some(0),
    gone: 0,
    kept_closed: 0,
    kept: 0,
};

#[track_caller]
fn only(seen: &Evidence) -> Finding {
    let mut findings = judge(seen);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    findings.remove(0)
}

fn churn(closes: u64, kept: u64) -> PolledEvidence {
    PolledEvidence { opened: closes, closed_first: Some(closes), kept, ..NOTHING }
}

#[test]
fn polled_d1_has_half_the_confidence() {
    let finding = only(&seen(Side::Client, churn(1000, 0)));
    assert_eq!((finding.code, finding.confidence), ("D1", 0.5));
    assert!(finding.summary.contains("at least 1,000"), "{}", finding.summary);
    assert!(finding.summary.contains("D6") && finding.summary.contains("D3"));
}

#[test]
fn two_long_lived_connections_are_d2_not_forty() {
    let finding = only(&seen(Side::Client, churn(1000, 2)));
    assert_eq!((finding.code, finding.confidence), ("D2", 0.5));
    assert!(finding.summary.contains("Go net/http"), "{}", finding.summary);
    assert!(only(&seen(Side::Client, churn(1000, 7))).confidence < 0.5);
    assert_eq!(only(&seen(Side::Client, churn(1000, 40))).code, "mixed");
}

#[test]
fn short_window_separates_no_d1_from_d2() {
    let short = |window, alive| Evidence {
        window: Duration::from_millis(window),
        alive,
        ..seen(Side::Client, churn(1000, 0))
    };
    assert_eq!(only(&short(3_000, 2)).code, "mixed");
    assert_eq!(only(&short(4_000, 2)).code, "D1");
    assert_eq!(only(&short(500, 0)).code, "D1", "none is open at all");
}

#[test]
fn long_lived_closes_are_not_churn() {
    for kept_closed in [201, 1000] {
        let polls = PolledEvidence { kept_closed, ..churn(1000, 2) };
        let finding = only(&seen(Side::Client, polls));
        assert_eq!(finding.code, "mixed", "{kept_closed}");
        assert!(finding.summary.contains("D11"), "{}", finding.summary);
    }
}

#[test]
fn server_closes_are_surer_at_the_server() {
    let gone = PolledEvidence { opened: 1000, gone: 1000, ..NOTHING };
    let (here, there) =
        (only(&seen(Side::Server, churn(1000, 5))), only(&seen(Side::Client, gone)));
    assert_eq!((here.code, there.code), ("D4-D6", "D4-D6"));
    assert!(here.confidence > there.confidence, "{here:#?} {there:#?}");
    // A client elsewhere that closes first leaves nothing here.
    assert_eq!(only(&seen(Side::Server, gone)).code, "D1");
}

#[test]
fn unlisted_time_waits_name_no_closer() {
    let unlisted = PolledEvidence { opened: 1000, gone: 1000, closed_first: None, ..NOTHING };
    for side in [Side::Client, Side::Server] {
        let finding = only(&seen(side, unlisted));
        assert_eq!((finding.code, finding.confidence), ("mixed", 0.0));
        assert!(finding.summary.contains("not known here"), "{}", finding.summary);
    }
}

#[test]
fn quiet_host_is_needed_for_healthy() {
    let kept = |opened_at_most| PolledEvidence { kept: 100, opened_at_most, ..NOTHING };
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
fn d7_and_d10_are_less_sure_polled() {
    let leak = Evidence { close_wait: 90, ..seen(Side::Client, NOTHING) };
    let finding = only(&leak);
    assert_eq!((finding.code, finding.confidence < 0.9), ("D7", true));
    let second = |s| Some(Duration::from_secs(s));
    let ports = Ports { used: 20_000, range: 28_232, cliff_in: second(0), exhausted_in: second(9) };
    let short_of_ports = Evidence { ports: Some(ports), ..seen(Side::Client, churn(9000, 0)) };
    let codes: Vec<_> = judge(&short_of_ports).iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["D1", "D10"]);
}

#[test]
fn one_dump_is_judged_alike_at_any_level() {
    let dump = Evidence { time_wait: Some(0), ..Evidence::new(Side::Client, Level::OneDump) };
    assert!(only(&dump).summary.contains("too little to say more"));
    let unlisted = Evidence { time_wait: None, ..dump };
    assert!(only(&unlisted).summary.contains("how many were closed is not known"));
}

#[test]
fn host_counters_name_events_not_places() {
    let host = HostCounters::default();
    assert_eq!(judge_host(&host), [], "unknown is no finding");
    let refused = HostCounters { active_opens: Some(100), attempt_fails: Some(90), ..host };
    let [finding] = &judge_host(&refused)[..] else { panic!("{refused:?}") };
    assert_eq!(finding.cause, Cause::ConnectsFail);
    assert!(finding.summary.contains("not seen at this level"), "{}", finding.summary);
    let few = HostCounters { active_opens: Some(100), attempt_fails: Some(5), ..host };
    assert_eq!(judge_host(&few), []);
    let slow = HostCounters { listen_overflows: Some(7), ..host };
    assert!(judge_host(&slow)[0].summary.contains("accept queue"));
    let unread = HostCounters {
        abort_on_close: Some(500),
        time_waits: Some(100),
        resets: Some(1000),
        ..host
    };
    assert_eq!(judge_host(&unread)[0].code, "D3");
    let amid_many = HostCounters { time_waits: Some(100_000), ..unread };
    assert_eq!(judge_host(&amid_many), []);
}

#[test]
fn unjudged_findings_have_a_reason() {
    let said = not_judged_by_polls();
    for code in ["D3", "D4", "D5", "D8", "D11", "D12"] {
        let reason = said.iter().find(|(codes, _)| codes.contains(code));
        assert!(reason.is_some_and(|(_, why)| why.len() > 20), "{code}");
    }
}
