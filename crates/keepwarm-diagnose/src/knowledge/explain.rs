//! The pages of `keepwarm explain`: of a finding, a runtime, a word.
//!
//! Lines are not wrapped, except that a source has a line of its own; the caller wraps them and
//! keeps the indent.

use super::range::ANY;
use super::{ADVICE, Advice, DEFAULTS, Fact, Kind, Range, STEPS, TOPICS};

/// Returns the page of a topic: a finding, a runtime, a word.
#[must_use]
pub fn explain(topic: &str) -> Option<String> {
    let wanted = topic.trim().to_lowercase();
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == wanted) {
        return Some(runtime(kind));
    }
    let page = TOPICS.iter().find(|page| page.name.to_lowercase() == wanted)?;
    let mut text = format!("{}: {}\n\n{}\n", page.name, page.title, page.text);
    let advice: Vec<&Advice> = ADVICE.iter().filter(|one| one.code == page.name).collect();
    if !advice.is_empty() {
        text.push_str("\nWhat to set\n");
    }
    for one in advice {
        text.push_str(&entry(one.kind.as_str(), one.versions, one.text, one.source));
    }
    let steps = || STEPS.iter().filter(|one| one.code == page.name);
    if steps().next().is_some() {
        text.push_str("\nWhat to do\n");
    }
    for one in steps() {
        text.push_str(&entry(one.situation.as_str(), ANY, one.text, one.source));
    }
    Some(text)
}

/// Lists every topic that [`explain`] knows, with its title.
#[must_use]
pub fn topics() -> Vec<(&'static str, &'static str)> {
    let pages = TOPICS.iter().map(|page| (page.name, page.title));
    let kinds = Kind::ALL.into_iter();
    pages.chain(kinds.map(|kind| (kind.as_str(), "its defaults, and what to set"))).collect()
}

fn runtime(kind: Kind) -> String {
    let mut text = format!("{}: defaults, and what to set\n\nDefaults\n", kind.as_str());
    for one in DEFAULTS.iter().filter(|one| one.kind == kind || one.kind.language() == kind) {
        text.push_str(&default(one));
    }
    text.push_str("\nWhat to set, by finding (`keepwarm explain D1` says what D1 is)\n");
    for one in ADVICE.iter().filter(|one| one.kind == kind) {
        text.push_str(&entry(one.code, one.versions, one.text, one.source));
    }
    text
}

fn default(one: &Fact) -> String {
    let name = format!("{}, {}", one.program, one.setting);
    entry(&name, one.versions, one.default, one.source)
}

fn entry(name: &str, versions: Range, text: &str, source: &str) -> String {
    let versions = if versions == ANY { String::new() } else { format!(" ({versions})") };
    format!("  {name}{versions}: {text}\n    {source}\n")
}
