use super::*;
use crate::fold::confidence::SplitMix;
use crate::load::Schedule;
use crate::load::tests::a_run;

/// A run whose times are all about `us`.
fn a_load(us: f64, opened: u64) -> LoadRecord {
    let mut record = a_run();
    let whole = us.round() as u64;
    let times = &mut record.latency_us;
    (times.p50, times.p99, times.mean) = (Some(whole), Some(whole * 3), Some(us));
    record.requests_per_second = 1e6 / us;
    record.connections.opened = opened;
    record
}

/// Rounds whose runs differ by a few percent at random, and the new ones by a factor.
fn rounds(count: usize, factor: f64, seed: u64) -> Vec<Round> {
    let mut random = SplitMix::seeded(seed);
    let mut run =
        |factor: f64| a_load(1_000.0 * factor * (1.0 + random.below(40) as f64 / 1_000.0), 4);
    (0..count)
        .map(|_| Round { base: [run(1.0), run(1.0)], new: [run(factor), run(factor)] })
        .collect()
}

fn names() -> [String; 2] {
    ["base".to_owned(), "new".to_owned()]
}

fn claim_of(comparison: &Comparison, name: &str) -> Claim {
    comparison.rows.iter().find(|row| row.metric.name == name).expect(name).claim
}

#[test]
fn same_code_is_rarely_different() {
    let claims = |seed: u64| {
        let comparison = Comparison::in_turn(names(), &rounds(10, 1.0, seed));
        comparison.rows.iter().any(|row| matches!(row.claim, Claim::Better | Claim::Worse))
    };
    let false_claims = (0..200).filter(|seed| claims(*seed)).count();
    assert!(false_claims <= 10, "{false_claims} of 200");
}

#[test]
fn slower_code_is_found() {
    for seed in 0..20 {
        let comparison = Comparison::in_turn(names(), &rounds(10, 1.15, seed));
        assert_eq!(claim_of(&comparison, "p50"), Claim::Worse, "{seed}");
        assert_eq!(claim_of(&comparison, "rps"), Claim::Worse, "{seed}");
        let faster = Comparison::in_turn(names(), &rounds(10, 0.8, seed));
        assert_eq!(claim_of(&faster, "p99"), Claim::Better, "{seed}");
        assert!(
            faster.sentence().starts_with("new is better than base: p50 "),
            "{}",
            faster.sentence()
        );
    }
}

#[test]
fn under_two_percent_is_not_claimed() {
    let steady = |us: f64| Round {
        base: [a_load(1_000.0, 4), a_load(1_000.0, 4)],
        new: [a_load(us, 4), a_load(us, 4)],
    };
    let comparison = Comparison::in_turn(names(), &vec![steady(1_019.0); 10]);
    assert!(comparison.rows.iter().all(|row| row.claim == Claim::NoDifference), "{comparison:?}");
    let comparison = Comparison::in_turn(names(), &vec![steady(1_021.0); 10]);
    assert_eq!(claim_of(&comparison, "p50"), Claim::Worse);
    assert_eq!(
        comparison.sentence(),
        "new is worse than base: p50 2 % higher (2 to 2 %); p99 2 % higher (2 to 2 %); mean time 2 % higher (2 to 2 %); completed 2 % lower (2 to 2 %)."
    );
}

#[test]
fn noise_of_the_same_code_is_not_claimed() {
    // The second run of each round is always 30 % slower: the same code differs from itself by that.
    let round = Round {
        base: [a_load(1_000.0, 4), a_load(1_300.0, 4)],
        new: [a_load(1_200.0, 4), a_load(1_560.0, 4)],
    };
    let comparison = Comparison::in_turn(names(), &vec![round; 10]);
    let row = &comparison.rows[0];
    assert!(row.noise.is_some_and(|noise| (noise - 0.3).abs() < 1e-9), "{row:?}");
    assert_eq!(row.claim, Claim::NoDifference);
}

#[test]
fn few_rounds_cannot_claim() {
    let comparison = Comparison::in_turn(names(), &rounds(MIN_ROUNDS - 1, 2.0, 1));
    assert!(comparison.rows.iter().all(|row| !matches!(row.claim, Claim::Better | Claim::Worse)));
    let comparison = Comparison::in_turn(names(), &rounds(MIN_ROUNDS, 2.0, 1));
    assert_eq!(claim_of(&comparison, "p50"), Claim::Worse);
}

#[test]
fn short_records_claim_nothing() {
    let (base, new) = (a_load(1_000.0, 4), a_load(2_000.0, 40));
    let comparison = Comparison::of_records(names(), &base, &new);
    assert!(comparison.rows.iter().all(|row| row.claim == Claim::TooFew), "{comparison:?}");
    assert!(comparison.notes[0].contains("drift between the runs"), "{:?}", comparison.notes);
    assert_eq!(
        comparison.sentence(),
        "Too little was measured to say whether base and new differ."
    );
    let mut none = a_load(1_000.0, 4);
    (none.latency_us.p50, none.latency_us.p99, none.latency_us.mean) = (None, None, None);
    let comparison = Comparison::of_records(names(), &base, &none);
    let notes = comparison.notes.join("; ");
    assert!(notes.contains("only one of the two has a value for p50, p99, mean time"), "{notes}");
}

/// A run of some seconds, with a few requests of these times in each.
fn seconds(count: usize, times: [u64; 3]) -> LoadRecord {
    let mut record = a_run();
    let mut slice = record.timeline.slices[0].clone();
    slice.counts = [("completed".to_owned(), 300), ("opened".to_owned(), 3)].into();
    slice.statuses = [("2xx".to_owned(), 300)].into();
    slice.latency_us.buckets = times.map(|time| (time, 100)).into();
    record.timeline.slices = vec![slice; count];
    record.latency_us.buckets = times.map(|time| (time, 100 * count as u64)).into();
    record.latency_us.count = 300 * count as u64;
    record.latency_us.p50 = Some(times[1]);
    record.latency_us.p99 = Some(times[2]);
    record.latency_us.mean = Some(times.iter().sum::<u64>() as f64 / 3.0);
    record.requests_per_second = 300.0;
    record
}

#[test]
fn records_compare_by_their_seconds() {
    let base = seconds(20, [100, 200, 300]);
    let same = Comparison::of_records(names(), &base, &seconds(20, [100, 200, 300]));
    assert!(same.rows.iter().all(|row| row.claim == Claim::NoDifference), "{same:?}");
    let slower = Comparison::of_records(names(), &base, &seconds(20, [100, 250, 300]));
    assert_eq!(claim_of(&slower, "p50"), Claim::Worse);
    assert_eq!(claim_of(&slower, "p99"), Claim::NoDifference);
}

#[test]
fn differing_settings_are_named() {
    let base = a_run().settings;
    let mut new = base.clone();
    assert_eq!(differing_settings(&base, &new), Vec::<String>::new());
    new.host = "another".to_owned();
    new.port = 1;
    // Its name is in each request.
    let name =
        base.url.split("://").nth(1).and_then(|rest| rest.split('/').next()).expect("a host");
    new.url = base.url.replace(name, "another:1");
    new.request_bytes = base.request_bytes + 9 - name.len() as u64;
    assert_eq!(differing_settings(&base, &new), Vec::<String>::new(), "the target is compared");
    new.concurrency = 9;
    new.requests = Some(7);
    let named = differing_settings(&base, &new);
    assert_eq!(named, ["settings.requests (100 and 7)", "settings.concurrency (4 and 9)"]);
    let mut new = base.clone();
    (new.streams, new.max_lifetime_s, new.share) = (Some(8), Some(2.5), Some((1, 2)));
    new.request_bytes += 100;
    let named = differing_settings(&base, &new);
    assert_eq!(named[0], "settings.streams (none and 8)");
    assert_eq!(named[1], "settings.max_lifetime_s (none and 2.5)");
    assert!(
        named[2].starts_with("settings.request_bytes, without the host's name, ("),
        "{named:?}"
    );
    assert_eq!(named[3], "settings.share (none and 1/2)");
    // The seed draws other instants of the same load; evenly spread ones are another load.
    let arrivals = |seed| {
        let schedule = Schedule { rate: Some(10.0), stages: Vec::new(), seed };
        Settings { open_loop: true, schedule: Some(schedule), ..base.clone() }
    };
    assert_eq!(differing_settings(&arrivals(Some(1)), &arrivals(Some(2))), Vec::<String>::new());
    let named = differing_settings(&arrivals(None), &arrivals(Some(2)));
    assert_eq!(
        named,
        ["settings.schedule (rate 10, stages [], constant and rate 10, stages [], poisson)"]
    );
}

#[test]
fn conditions_judge_the_ratio() {
    let comparison = Comparison::in_turn(names(), &rounds(10, 1.5, 3));
    let failure = |text: &str| RatioAssertion::parse(text).expect(text).failure(&comparison);
    assert_eq!(failure("p99.ratio < 2"), None);
    assert!(
        failure("p99.ratio<1.1")
            .is_some_and(|why| why.starts_with("p99.ratio<1.1 does not hold: it is 1."))
    );
    assert!(failure("errors.share.ratio<=1").is_some_and(|why| why.contains("cannot be judged")));
    for (text, why) in [
        ("p99.ratio", "a relation"),
        ("p98.ratio<1", "not a name"),
        ("p99.ratio<x", "not a number"),
    ] {
        let error = RatioAssertion::parse(text).expect_err(text).to_string();
        assert!(error.contains(why), "{error}");
    }
}
