//! Claim: the knowledge base is in order, and a fault of any kind is found.

use std::collections::HashSet;

use keepwarm_diagnose::knowledge::{
    self, ADVICE, Advice, DEFAULTS, Fact, Kind, Range, Runtime, STEPS, Situation, Step, TOPICS,
    Tables, Version, advice, explain, servers_with_idle_timeout, topics,
};

const SOURCE: &str = "https://example.org/";
const ANY: Range = Range { since: "", before: "" };

/// A default that is in order.
fn fact() -> Fact {
    Fact {
        kind: Kind::Go,
        program: "a client",
        versions: ANY,
        setting: "MaxIdle",
        default: "2",
        server_idle_ms: None,
        idle_set: None,
        source: SOURCE,
    }
}

/// An advice that is in order beside it.
fn told() -> Advice {
    Advice {
        code: "D2",
        kind: Kind::Go,
        versions: ANY,
        settings: &["MaxIdle"],
        text: "raise MaxIdle",
        source: SOURCE,
    }
}

/// Returns the faults of these entries, beside steps and pages that are in order.
fn faults(defaults: &[Fact], advice: &[Advice]) -> Vec<String> {
    knowledge::faults(&Tables { defaults, advice, steps: STEPS, topics: TOPICS })
}

#[track_caller]
fn assert_rejected(facts: &[Fact], told: &[Advice], why: &str) {
    let faults = faults(facts, told);
    assert!(faults.iter().any(|fault| fault.contains(why)), "{why:?} is not in {faults:#?}");
}

#[test]
fn our_tables_are_in_order() {
    assert_eq!(faults(DEFAULTS, &ADVICE), Vec::<String>::new());
    assert_eq!(faults(&[fact()], &[told()]), Vec::<String>::new());
}

#[test]
fn bad_source_or_version_is_rejected() {
    for source in ["", "I remember", "http://example.org/", "https://example.org/ page 2"] {
        assert_rejected(&[Fact { source, ..fact() }], &[], "no source that can be opened");
        assert_rejected(&[fact()], &[Advice { source, ..told() }], "no source that can be opened");
    }
    let range = |since, before| Fact { versions: Range { since, before }, ..fact() };
    assert_rejected(&[range("newest", "")], &[], "is no version");
    assert_rejected(&[range("1.27", "1.20")], &[], "no version is in");
    assert_rejected(&[Fact { default: "", ..fact() }], &[], "is empty");
}

#[test]
fn overlapping_ranges_are_rejected() {
    let old = Fact { versions: Range { since: "", before: "1.27" }, ..fact() };
    let met = Fact { versions: Range { since: "1.27", before: "" }, ..fact() };
    assert_eq!(faults(&[old, met], &[told()]), Vec::<String>::new());
    let over = Fact { versions: Range { since: "1.26.3", before: "" }, ..fact() };
    assert_rejected(&[old, over], &[], "stands in another line as well");
    assert_rejected(&[fact()], &[told(), told()], "stands in another entry as well");
}

#[test]
fn advice_needs_a_setting_that_exists() {
    let unknown = Advice { settings: &["MinIdle"], text: "raise MinIdle", ..told() };
    assert_rejected(&[fact()], &[unknown], "no default of go is named MinIdle");
    let of_another = Fact { kind: Kind::Node, ..fact() };
    assert_rejected(&[of_another], &[told()], "no default of go is named MaxIdle");
    let since = Fact { versions: Range { since: "1.27", before: "" }, ..fact() };
    assert_rejected(&[since], &[told()], "MaxIdle does not exist in any version");
    let hole = Fact { versions: Range { since: "", before: "1.26" }, ..fact() };
    assert_rejected(&[hole, since], &[told()], "MaxIdle does not exist in any version");
    assert_rejected(&[fact()], &[Advice { text: "raise it", ..told() }], "not in the text");
    assert_rejected(&[fact()], &[Advice { settings: &[], ..told() }], "not listed");
    assert_rejected(&[fact()], &[Advice { code: "D99", ..told() }], "there is no page D99");
}

#[test]
fn each_situation_needs_one_step() {
    let faults = |steps: &[Step]| {
        knowledge::faults(&Tables { defaults: &[], advice: &[], steps, topics: TOPICS })
    };
    assert_eq!(faults(STEPS), Vec::<String>::new());
    for place in 0..STEPS.len() {
        let mut steps = STEPS.to_vec();
        let removed = steps.remove(place);
        let name = removed.situation.as_str();
        assert_eq!(faults(&steps), [format!("{name}: there are 0 next steps, not one")]);
        steps.extend([removed, removed]);
        assert_eq!(faults(&steps), [format!("{name}: there are 2 next steps, not one")]);
        let bad = Step { code: "D99", text: "ends.", source: "I remember", ..removed };
        steps.truncate(STEPS.len() - 1);
        steps.push(bad);
        assert_eq!(faults(&steps).len(), 3, "{:#?}", faults(&steps));
    }
    assert_eq!(Situation::ALL.len(), STEPS.len());
}

#[test]
fn every_finding_has_a_page() {
    let pages: HashSet<&str> = TOPICS.iter().map(|topic| topic.name).collect();
    for number in 1..=14 {
        assert!(pages.contains(format!("D{number}").as_str()), "D{number}");
    }
    for code in ["D4-D6", "healthy", "mixed"] {
        assert!(pages.contains(code), "{code}");
    }
    assert!(explain("D9").unwrap().contains("TcpExtListenOverflows"), "steps are on the page");
    for one in ADVICE.iter() {
        assert!(pages.contains(one.code), "{}", one.code);
    }
    assert_eq!(pages.len(), TOPICS.len(), "a topic stands twice");
}

/// The evidence, its rivals, and how to be proved wrong.
#[test]
fn every_finding_page_has_three_parts() {
    let numbers = (1..=14).map(|number| format!("D{number}"));
    let others = ["D4-D6", "healthy", "mixed"].map(str::to_owned);
    for code in numbers.chain(others) {
        let page = TOPICS.iter().find(|topic| topic.name == code).unwrap();
        let parts: Vec<&str> = page.text.split("\n\n").collect();
        for opening in ["How it shows: ", "What it is not: ", "What would refute it: "] {
            let of_part = parts.iter().filter(|part| part.starts_with(opening));
            assert_eq!(of_part.count(), 1, "{code}: {opening:?}");
        }
    }
}

#[test]
fn every_listed_topic_is_explained() {
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
fn every_runtime_has_defaults_and_advice() {
    for kind in Kind::ALL {
        assert!(DEFAULTS.iter().any(|one| one.kind == kind), "{kind:?}");
        // These happen to every client; the others depend on its libraries.
        for code in ["D1", "D4", "D6"] {
            for version in [None, Version::parse("0.1"), Version::parse("99")] {
                let text = advice(code, Some(Runtime { kind, version })).unwrap();
                assert!(text.starts_with(kind.as_str()), "{code} {kind:?} {version:?}: {text}");
            }
        }
    }
    assert_eq!(advice("healthy", None), None);
}

/// A program without an entry of its own is not told what to set in another one.
#[test]
fn known_program_never_gets_advice_of_another() {
    for kind in Kind::ALL {
        for code in ["D1", "D2", "D3", "D4", "D5", "D6", "D7", "D13"] {
            let text = advice(code, Some(Runtime { kind, version: None })).unwrap();
            assert!(text.starts_with(kind.as_str()), "{code} {kind:?}: {text}");
            assert!(!text.contains("if it is"), "{code} {kind:?}: {text}");
        }
    }
    assert!(advice("D1", None).unwrap().starts_with("if it is go: "));
    let none = |kind| servers_with_idle_timeout(2_010, Some(Runtime { kind, version: None }));
    assert_eq!(none(Kind::Node), Vec::<&str>::new(), "2 s is gunicorn's");
    assert_eq!(none(Kind::Python).len(), 1);
    assert_eq!(none(Kind::Gunicorn).len(), 1);
    assert_eq!(none(Kind::Uvicorn), Vec::<&str>::new());
    let any = servers_with_idle_timeout(5_010, None);
    assert_eq!(any.len(), 4, "uvicorn, hypercorn, node, Apache");
}

#[test]
fn advice_depends_on_the_version() {
    for (code, kind, version, has, has_not) in [
        ("D1", Kind::Node, "18.20", "before Node 19", "leave requests to"),
        ("D1", Kind::Node, "20.19", "leave requests to http.globalAgent", "before Node 19"),
        ("D1", Kind::Java, "1.8.0", "OkHttpClient", "newHttpClient"),
        ("D1", Kind::Java, "17.0.15", "HttpClient.newHttpClient()", "jdk."),
        ("D1", Kind::Php, "8.2.36", "before PHP 8.5", "curl_share_init_persistent"),
        ("D1", Kind::Php, "8.5", "curl_share_init_persistent", "local proxy"),
        ("D3", Kind::Go, "1.26.3", "io.Discard", "256 KiB"),
        ("D3", Kind::Go, "1.27", "256 KiB", "io.Discard"),
        ("D6", Kind::Nginx, "1.22.1", "this is the default", "look for"),
        ("D6", Kind::Nginx, "1.29.7", "look for `keepalive 0;`", "this is the default"),
    ] {
        let runtime = Runtime { kind, version: Version::parse(version) };
        let text = advice(code, Some(runtime)).unwrap();
        assert!(text.contains(has) && !text.contains(has_not), "{runtime}: {text}");
    }
}

#[test]
fn versions_are_read_up_to_text() {
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

const FINDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/findings.md");

/// The page has what `keepwarm explain` says of each finding. `KEEPWARM_WRITE_DOCS=1` writes it anew.
#[test]
fn page_of_findings_is_what_explain_says() {
    let page = findings_page();
    if std::env::var_os("KEEPWARM_WRITE_DOCS").is_some() {
        std::fs::write(FINDINGS, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(FINDINGS).unwrap_or_default(), page, "{FINDINGS}");
}

fn findings_page() -> String {
    let mut page = wrapped(
        "# Findings\n\nThe pages of `keepwarm explain` on each finding: the evidence, what it is not, \
         and what would refute it. `keepwarm explain D1` also says what to set in each runtime, with \
         sources. How sure a finding is stands in [watching](watching.md#how-sure-a-finding-is).",
    );
    let is_finding = |name: &str| name.starts_with('D') || ["healthy", "mixed"].contains(&name);
    for topic in TOPICS.iter().filter(|topic| is_finding(topic.name)) {
        let mut text = topic.text.to_owned();
        for opening in ["How it shows:", "What it is not:", "What would refute it:"] {
            text = text.replacen(opening, &format!("**{opening}**"), 1);
        }
        page += &wrapped(&format!("\n## {}: {}\n\n{text}", topic.name, topic.title));
    }
    page
}

/// Breaks each line of a text at 100 columns.
fn wrapped(text: &str) -> String {
    let mut all = String::new();
    for line in text.lines() {
        let mut width = 0;
        for word in line.split(' ') {
            if width > 0 && width + 1 + word.len() > 100 {
                all.push('\n');
                width = 0;
            } else if width > 0 {
                all.push(' ');
                width += 1;
            }
            all += word;
            width += word.len();
        }
        all.push('\n');
    }
    all
}
