//! The verdicts of a watch: the answer of the first line, and the paragraphs below the table.

use std::collections::HashMap;

use keepwarm_diagnose::knowledge;
use keepwarm_record::watch::{
    DestinationRecord, FindingKind, FindingRecord, ScopeRecord, Side, WatchRecord,
};

use super::cells::name_and_side;
use crate::show::numbers::{capitalised, counted};
use crate::show::table::paragraph;

/// Destinations whose verdicts are shown.
const MAX_VERDICTS: usize = 8;
/// Destinations that the first line names.
const MAX_NAMED: usize = 2;

/// The whole report in one sentence: which faults were found and where, or that none was.
pub(crate) fn answer(record: &WatchRecord) -> String {
    if record.destinations.is_empty() {
        return nothing(record);
    }
    let of_host = std::iter::once(("this host".to_owned(), host_findings(record)));
    let shown = without_repetition(record);
    let of_each = shown.iter().map(|one| (name_and_side(one), &one.findings));
    let all: Vec<_> = of_each.chain(of_host).collect();
    let of_kind = |kind| -> Vec<String> {
        let named = all.iter().filter_map(|(name, findings)| {
            let codes = findings.iter().filter(|f| f.kind() == kind).map(|f| f.code.as_str());
            let codes: Vec<&str> = codes.collect();
            Some((name, codes)).filter(|(_, codes)| !codes.is_empty())
        });
        let say = |(place, (name, codes)): (usize, (&String, Vec<&str>))| {
            // The first title is enough: others often have the same codes, and the paragraphs
            // explain.
            let title = if place == 0 { title(codes[0]) } else { String::new() };
            let more: String = codes[1..].iter().map(|code| format!(", {code}")).collect();
            format!("{name}: {}{title}{more}", codes[0])
        };
        named.enumerate().map(say).collect()
    };
    let (mut said, prefix) = match (of_kind(FindingKind::Fault), of_kind(FindingKind::Sound)) {
        (faults, _) if !faults.is_empty() => (faults, ""),
        (_, sound) if !sound.is_empty() => (sound, "no fault; "),
        _ => {
            let seen = counted(record.destinations.len() as u64, "destination");
            return format!("no verdict: too little was seen of {seen}");
        }
    };
    let more = said.len().saturating_sub(MAX_NAMED);
    said.truncate(MAX_NAMED);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("{prefix}{}{more}", said.join("; "))
}

/// The meaning of a code, in parentheses.
fn title(code: &str) -> String {
    let topics = knowledge::topics();
    let title = topics.iter().find(|(name, _)| *name == code).map(|(_, title)| *title);
    title.map(|title| format!(" ({title})")).unwrap_or_default()
}

/// The sentence of a report without any destination.
fn nothing(record: &WatchRecord) -> String {
    let scope = record.scope.as_ref().map(ScopeRecord::describe);
    let scope = scope.map_or_else(String::new, |scope| format!(" ({scope})"));
    let aborts = record.unattributed_aborts.filter(|aborts| *aborts > 0);
    if let Some(aborts) = aborts.filter(|_| record.empty_because.is_none()) {
        return format!(
            "No TCP connection was seen open in scope{scope}; {} by SO_LINGER 0, whose port the kernel \
             had cleared, may have been in it.",
            counted(aborts, "abort")
        );
    }
    match &record.empty_because {
        Some(why) => format!("No TCP connection in scope{scope}: {why}."),
        None => format!("No TCP connection in scope{scope}."),
    }
}

/// The destinations whose verdicts are worth a paragraph. Both sockets of a connection are often on
/// this host, and lead to the same codes: the client's verdict is enough then.
fn without_repetition(record: &WatchRecord) -> Vec<&DestinationRecord> {
    let codes = |one: &DestinationRecord| -> Vec<String> {
        one.findings.iter().map(|finding| finding.code.clone()).collect()
    };
    let clients = record.destinations.iter().filter(|one| one.side == Side::Client);
    let key = |one: &DestinationRecord| (one.remote, one.network_namespace.clone());
    let of_clients: HashMap<_, _> = clients.map(|one| (key(one), codes(one))).collect();
    let repeats_client = |one: &DestinationRecord| {
        one.side == Side::Server && of_clients.get(&key(one)) == Some(&codes(one))
    };
    record.destinations.iter().filter(|one| !repeats_client(one)).collect()
}

/// The verdicts of the busiest destinations, faults first.
pub(super) fn paragraphs(record: &WatchRecord, colour: bool, columns: usize) -> String {
    let alone = record.destinations.len() == 1;
    // A host has many destinations of which there is nothing to say.
    let says_something = |one: &&DestinationRecord| {
        let worth = |f: &FindingRecord| f.kind() != FindingKind::Undecided || f.advice.is_some();
        alone || one.findings.iter().any(worth)
    };
    let (mut worth, silent): (Vec<&DestinationRecord>, Vec<&DestinationRecord>) =
        without_repetition(record).into_iter().partition(|one| says_something(one));
    // A busy healthy service must not push a quiet faulty one off the list.
    worth.sort_by_key(|one| one.findings.iter().all(|f| f.kind() != FindingKind::Fault));
    let mut text = String::new();
    for one in worth.iter().take(MAX_VERDICTS) {
        let of = name_and_side(one);
        for finding in &one.findings {
            text.push_str(&paragraph_of(&of, finding, colour, columns));
        }
    }
    // Where there is no verdict at all, the first line says it.
    let silent = if worth.is_empty() { 0 } else { silent.len() };
    text + &left_out(worth.len().saturating_sub(MAX_VERDICTS), silent, columns)
}

/// Returns the findings about the whole host: an older record has them with the polls only.
fn host_findings(record: &WatchRecord) -> &Vec<FindingRecord> {
    match &record.polls {
        Some(polls) if record.host_findings.is_empty() => &polls.findings,
        _ => &record.host_findings,
    }
}

/// The verdicts on the whole host, from its counters.
pub(super) fn of_host(record: &WatchRecord, colour: bool, columns: usize) -> String {
    host_findings(record)
        .iter()
        .map(|finding| paragraph_of("this host", finding, colour, columns))
        .collect()
}

/// The numbers of destinations whose verdicts are not shown, and that have none.
fn left_out(more: usize, silent: usize, columns: usize) -> String {
    let silent = (silent > 0).then(|| {
        format!("Too little was seen of {} for a verdict.", counted(silent as u64, "destination"))
    });
    let more = (more > 0).then(|| {
        format!("Verdicts on {} more: --format json has all.", counted(more as u64, "destination"))
    });
    let sentences: Vec<String> = silent.into_iter().chain(more).collect();
    if sentences.is_empty() {
        return String::new();
    }
    format!("\n{}", paragraph("", &sentences.join(" "), columns))
}

fn paragraph_of(of: &str, finding: &FindingRecord, colour: bool, columns: usize) -> String {
    let kind = finding.kind();
    let sure = match kind {
        FindingKind::Undecided => String::new(),
        _ => format!(", {:.0} % sure", finding.confidence * 100.0),
    };
    let title = format!("\n{of}: {}{sure}", finding.code);
    let mut text = match (colour, kind) {
        (false, _) | (true, FindingKind::Undecided) => title,
        (true, FindingKind::Sound) => format!("\x1b[32m{title}\x1b[0m"),
        (true, FindingKind::Fault) => format!("\x1b[1;31m{title}\x1b[0m"),
    };
    text.push('\n');
    text.push_str(&paragraph("  ", &format!("{}.", capitalised(&finding.summary)), columns));
    if let Some(advice) = &finding.advice {
        let label = if kind == FindingKind::Undecided { "  Next: " } else { "  Fix: " };
        text.push_str(&paragraph(label, &format!("{advice}."), columns));
    }
    text
}
