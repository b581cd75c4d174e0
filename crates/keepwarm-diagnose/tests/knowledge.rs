//! The knowledge base is data, and this is what keeps it in order.

use std::collections::HashSet;

use keepwarm_diagnose::knowledge::{
    ADVICE, DEFAULTS, Kind, Range, Runtime, TOPICS, Version, advice, explain, topics,
};

fn readable(range: Range) -> bool {
    let reads = |text: &str| text.is_empty() || Version::parse(text).is_some();
    reads(range.since) && reads(range.before)
}

fn overlap(a: Range, b: Range) -> bool {
    let low = |range: Range| Version::parse(range.since).unwrap_or_default();
    let high = |range: Range| {
        let open = Version { major: u16::MAX, ..Version::default() };
        Version::parse(range.before).unwrap_or(open)
    };
    low(a) < high(b) && low(b) < high(a)
}

#[test]
fn every_fact_and_every_advice_has_a_source_that_can_be_opened_and_versions_that_can_be_read() {
    let facts = DEFAULTS.iter().map(|one| (one.program, one.versions, one.default, one.source));
    let told = ADVICE.iter().map(|one| (one.code, one.versions, one.text, one.source));
    for (name, versions, text, source) in facts.chain(told) {
        assert!(source.starts_with("https://") && !source.contains(' '), "{name}: {source}");
        assert!(readable(versions), "{name}: {versions:?}");
        assert!(!text.is_empty() && !text.ends_with('.'), "{name}: {text}");
    }
}

#[test]
fn ranges_of_one_setting_do_not_overlap() {
    for (place, one) in DEFAULTS.iter().enumerate() {
        for other in &DEFAULTS[place + 1..] {
            let same = (one.program, one.setting) == (other.program, other.setting);
            assert!(!same || !overlap(one.versions, other.versions), "{one:?}\n{other:?}");
        }
    }
    for (place, one) in ADVICE.iter().enumerate() {
        for other in &ADVICE[place + 1..] {
            let same = (one.code, one.kind) == (other.code, other.kind);
            assert!(!same || !overlap(one.versions, other.versions), "{one:?}\n{other:?}");
        }
    }
}

#[test]
fn every_finding_has_a_page_and_every_advice_a_finding() {
    let pages: HashSet<&str> = TOPICS.iter().map(|topic| topic.name).collect();
    for number in 1..=12 {
        assert!(pages.contains(format!("D{number}").as_str()), "D{number}");
    }
    assert!(pages.contains("healthy") && pages.contains("mixed"));
    for one in ADVICE {
        assert!(pages.contains(one.code), "{}", one.code);
    }
    assert_eq!(pages.len(), TOPICS.len(), "a topic stands twice");
}

#[test]
fn every_topic_that_is_listed_can_be_explained_in_any_case() {
    for (topic, title) in topics() {
        let page = explain(topic).unwrap_or_else(|| panic!("{topic}"));
        assert!(!title.is_empty() && page.len() > 80, "{topic}: {page}");
        assert_eq!(explain(&topic.to_uppercase()), Some(page));
    }
    assert_eq!(explain("nothing of the kind"), None);
    assert!(explain("go").unwrap().contains("Transport.MaxIdleConnsPerHost"));
    assert!(explain("d2").unwrap().contains("MaxIdleConnsPerHost"));
}

#[test]
fn every_runtime_that_has_clients_is_told_what_d1_is_in_its_words() {
    for kind in Kind::ALL {
        let text = advice("D1", Some(Runtime { kind, version: None })).unwrap();
        assert!(text.starts_with(kind.as_str()), "{kind:?}: {text}");
    }
    assert_eq!(advice("healthy", None), None);
}

#[test]
fn versions_are_read_as_far_as_they_are_numbers() {
    let version = |text| Version::parse(text).map(|v| (v.major, v.minor, v.patch));
    assert_eq!(version("1.27"), Some((1, 27, 0)));
    assert_eq!(version("v20.19.2"), Some((20, 19, 2)));
    assert_eq!(version("1.26rc1"), Some((1, 26, 0)));
    assert_eq!(version("17.0.9+8"), Some((17, 0, 9)));
    assert_eq!(version("1."), Some((1, 0, 0)));
    assert_eq!((version(""), version("go"), version("99999999.1")), (None, None, None));
    let range = Range { since: "1.15.3", before: "1.29.7" };
    let admits = |text| range.admits(Version::parse(text));
    assert!(admits("1.15.3") && admits("1.29.6") && !admits("1.29.7") && !admits("1.14"));
    assert!(range.admits(None), "an unknown version may be any");
}
