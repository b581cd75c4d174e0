//! Checks a knowledge base: the rules that keep ours in order.

use super::range::ANY;
use super::{Advice, Fact, Kind, Range, Situation, Step, Topic, Version};

/// Longest source for which `keepwarm explain` has room on one line.
const LONGEST_SOURCE: usize = 76;

/// The tables of a knowledge base.
#[derive(Clone, Copy, Debug)]
pub struct Tables<'a> {
    /// Defaults of programs.
    pub defaults: &'a [Fact],
    /// Settings to change, by finding and runtime.
    pub advice: &'a [Advice],
    /// Next steps that depend on no runtime.
    pub steps: &'a [Step],
    /// Pages.
    pub topics: &'a [Topic],
}

/// Lists every fault of the tables in words; empty if they are in order. A test holds ours to it.
#[must_use]
pub fn faults(tables: &Tables<'_>) -> Vec<String> {
    let Tables { defaults, advice, steps, topics } = *tables;
    let mut faults = default_faults(defaults);
    faults.extend(advice_faults(advice, defaults, topics));
    faults.extend(step_faults(steps, topics));
    faults.extend(topic_faults(topics));
    faults
}

fn default_faults(defaults: &[Fact]) -> Vec<String> {
    let mut faults = Vec::new();
    for (place, one) in defaults.iter().enumerate() {
        let name = format!("{}, {}", one.program, one.setting);
        faults.extend(entry_faults(&name, one.versions, one.default, one.source));
        let same = |other: &&Fact| {
            (other.kind, other.program, other.setting) == (one.kind, one.program, one.setting)
        };
        let mut others = defaults[place + 1..].iter().filter(same);
        if others.any(|other| overlap(one.versions, other.versions)) {
            faults.push(format!("{name}: {} stands in another line as well", one.versions));
        }
    }
    faults
}

fn advice_faults(advice: &[Advice], defaults: &[Fact], topics: &[Topic]) -> Vec<String> {
    let mut faults = Vec::new();
    for (place, one) in advice.iter().enumerate() {
        let name = format!("{} {}", one.code, one.kind.as_str());
        faults.extend(entry_faults(&name, one.versions, one.text, one.source));
        let same = |other: &&Advice| (other.code, other.kind) == (one.code, one.kind);
        let mut others = advice[place + 1..].iter().filter(same);
        if others.any(|other| overlap(one.versions, other.versions)) {
            faults.push(format!("{name}: {} stands in another entry as well", one.versions));
        }
        faults.extend(page_fault(&name, one.code, topics));
        faults.extend(setting_faults(&name, one, defaults));
    }
    faults
}

/// Each situation has one step, and each step a page and a source.
fn step_faults(steps: &[Step], topics: &[Topic]) -> Vec<String> {
    let mut faults = Vec::new();
    for situation in Situation::ALL {
        let name = situation.as_str();
        let count = steps.iter().filter(|one| one.situation == situation).count();
        if count != 1 {
            faults.push(format!("{name}: there are {count} next steps, not one"));
        }
    }
    for one in steps {
        let name = one.situation.as_str();
        faults.extend(entry_faults(name, ANY, one.text, one.source));
        faults.extend(page_fault(name, one.code, topics));
    }
    faults
}

fn topic_faults(topics: &[Topic]) -> Vec<String> {
    let mut faults = Vec::new();
    for (place, one) in topics.iter().enumerate() {
        if one.title.is_empty() || one.text.is_empty() {
            faults.push(format!("{}: an empty page", one.name));
        }
        let same = |other: &Topic| other.name.eq_ignore_ascii_case(one.name);
        if topics[place + 1..].iter().any(same) {
            faults.push(format!("{}: a page stands twice", one.name));
        }
    }
    faults
}

fn page_fault(name: &str, code: &str, topics: &[Topic]) -> Option<String> {
    let has_page = topics.iter().any(|topic| topic.name == code);
    (!has_page).then(|| format!("{name}: there is no page {code}"))
}

fn entry_faults(name: &str, versions: Range, text: &str, source: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut wrong = |what: String| faults.push(format!("{name}: {what}"));
    if !source.starts_with("https://") || source.contains(char::is_whitespace) {
        wrong(format!("{source:?} is no source that can be opened"));
    } else if source.len() > LONGEST_SOURCE {
        wrong(format!("{source} is longer than {LONGEST_SOURCE}"));
    }
    for end in [versions.since, versions.before] {
        if !end.is_empty() && Version::parse(end).is_none() {
            wrong(format!("{end:?} is no version"));
        }
    }
    if low(versions) >= high(versions) {
        wrong(format!("no version is in {versions}"));
    }
    if text.is_empty() || text.ends_with('.') {
        wrong(format!("{text:?} is empty, or ends with a full stop"));
    }
    faults
}

/// Checks that the settings that an advice names exist in all the versions that it is for.
fn setting_faults(name: &str, advice: &Advice, defaults: &[Fact]) -> Vec<String> {
    let mut faults = Vec::new();
    let of_kind = || {
        defaults.iter().filter(|one| one.kind == advice.kind || one.kind.language() == advice.kind)
    };
    for setting in advice.settings {
        let ranges: Vec<Range> =
            of_kind().filter(|one| one.setting == *setting).map(|one| one.versions).collect();
        if ranges.is_empty() {
            faults.push(format!("{name}: no default of {} is named {setting}", kind(advice)));
        } else if !cover(&ranges, advice.versions) {
            faults.push(format!("{name}: {setting} does not exist in {}", advice.versions));
        }
        if !mentions(advice.text, setting) {
            faults.push(format!("{name}: {setting} is listed, and not in the text"));
        }
    }
    for one in of_kind().filter(|one| mentions(advice.text, one.setting)) {
        if !advice.settings.contains(&one.setting) {
            faults.push(format!("{name}: {} is in the text, and not listed", one.setting));
        }
    }
    faults
}

fn kind(advice: &Advice) -> &'static str {
    Kind::as_str(advice.kind)
}

/// Returns true if a text has a name, not as a part of a longer one.
fn mentions(text: &str, name: &str) -> bool {
    let in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let bounded = |at: usize| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        let starts = in_word(name.chars().next()) && in_word(before.chars().next_back());
        let goes_on = in_word(name.chars().next_back()) && in_word(after.chars().next());
        !starts && !goes_on
    };
    text.match_indices(name).any(|(at, _)| bounded(at))
}

fn low(range: Range) -> Version {
    Version::parse(range.since).unwrap_or_default()
}

fn high(range: Range) -> Version {
    Version::parse(range.before).unwrap_or(Version {
        major: u16::MAX,
        minor: u16::MAX,
        patch: u16::MAX,
    })
}

fn overlap(a: Range, b: Range) -> bool {
    low(a) < high(b) && low(b) < high(a)
}

/// Returns true if ranges together have every version of another one.
fn cover(ranges: &[Range], wanted: Range) -> bool {
    let mut from = low(wanted);
    while from < high(wanted) {
        let goes_on = ranges.iter().filter(|one| low(**one) <= from).map(|one| high(*one)).max();
        match goes_on {
            Some(until) if until > from => from = until,
            _ => return false,
        }
    }
    true
}
