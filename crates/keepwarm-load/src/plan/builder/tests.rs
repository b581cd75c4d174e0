use super::super::Endpoint;
use super::*;

fn builder() -> PlanBuilder {
    Plan::builder("http://127.0.0.1:9/").requests(1)
}

#[track_caller]
fn refused(builder: PlanBuilder) -> (&'static str, String) {
    let error = builder.build().expect_err("must be refused");
    assert!(!error.reason().is_empty() && !error.way_out().is_empty());
    assert!(!error.is_unresolved());
    (error.setting(), error.value().to_owned())
}

#[test]
fn defaults_are_as_documented() {
    let plan = builder().build().unwrap();
    assert_eq!((plan.concurrency(), plan.threads()), (1, 1));
    assert_eq!(plan.timeout(), Duration::from_secs(30));
    assert!(plan.keep_alive());
    assert_eq!(plan.close_policy(), ClosePolicy::Now);
    assert_eq!(plan.method(), "GET");
    assert_eq!(plan.endpoints(), [Endpoint::Tcp("127.0.0.1:9".parse().unwrap())]);
    let closing = builder().keep_alive(false).build().unwrap();
    assert_eq!(closing.close_policy(), ClosePolicy::WaitPeer);
    let chosen = builder().keep_alive(false).close_policy(ClosePolicy::Now);
    assert_eq!(chosen.build().unwrap().close_policy(), ClosePolicy::Now);
}

#[test]
fn bad_settings_are_named_with_value() {
    let table = [
        (Plan::builder("http://127.0.0.1/"), "requests", "none"),
        (builder().requests(0), "requests", "0"),
        (builder().concurrency(0), "concurrency", "0"),
        (builder().concurrency(1_000_001), "concurrency", "1000001"),
        (builder().concurrency(4).threads(0), "threads", "0"),
        (builder().concurrency(4).threads(5), "threads", "5"),
        (builder().duration(Duration::ZERO), "duration", "0ns"),
        (builder().requests_per_connection(0), "requests_per_connection", "0"),
        (builder().connect_rate(0.0), "connect_rate", "0"),
        (builder().rate(0.0), "rate", "0"),
        (builder().rate(f64::NAN), "rate", "NaN"),
        (builder().rate(1e9), "rate", "1000000000"),
        (builder().stages([stage(1, -1.0)]), "stages", "1s:-1"),
        (builder().stages([stage(1, 0.0)]), "stages", "0"),
        (builder().stages([stage(0, 5.0), stage(1, 5.0)]), "stages", "0ns:5"),
        (builder().rate(1.0).backlog(0), "backlog", "0"),
        (builder().timeout(Duration::ZERO), "timeout", "0ns"),
        (builder().timeout(Duration::MAX), "timeout", "18446744073709551615.999999999s"),
        (builder().method("G ET"), "method", "G ET"),
        (builder().method(""), "method", ""),
        (builder().method("CONNECT"), "method", "CONNECT"),
        (builder().header("a b", "c"), "header", "a b: c"),
        (builder().header("a", "b\r\nc: d"), "header", "a: b\r\nc: d"),
        (builder().header("Content-Length", "3"), "header", "Content-Length: 3"),
        (builder().header("connection", "close"), "header", "connection: close"),
    ];
    for (builder, setting, value) in table {
        assert_eq!(refused(builder), (setting, value.to_owned()));
    }
}

fn stage(seconds: u64, rate: f64) -> Stage {
    Stage { duration: Duration::from_secs(seconds), rate }
}

#[test]
fn stages_set_duration_threads_share_count() {
    let plan = Plan::builder("http://127.0.0.1:9/").stages([stage(2, 5.0), stage(3, 0.0)]);
    assert_eq!(plan.clone().build().unwrap().duration(), Some(Duration::from_secs(5)));
    let short = plan.duration(Duration::from_secs(1)).build().unwrap();
    assert_eq!(short.duration(), Some(Duration::from_secs(1)));
    for arrivals in [Arrivals::Constant, Arrivals::Poisson { seed: 1 }] {
        let plan = builder().requests(17).rate(5.0).arrivals(arrivals).build().unwrap();
        let shares = (0..5).map(|thread| plan.pacer(thread, &[1; 5]).1.unwrap());
        assert_eq!(shares.sum::<u64>(), 17);
    }
}

#[test]
fn more_connections_than_requests_are_allowed() {
    assert!(builder().requests(3).concurrency(100).build().is_ok());
}

#[test]
fn unresolved_name_is_no_wrong_setting() {
    let plan = Plan::builder("http://no-such-host.invalid/").requests(1);
    assert!(plan.build().unwrap_err().is_unresolved());
}
