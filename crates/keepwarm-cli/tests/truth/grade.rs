//! Compares what a watch has said with what a situation expects and with the packets.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::packets::Packets;
use crate::situation::{Requests, Side, Situation, View};
use crate::stage::{Played, Watched};

/// From here on a finding is sure.
const SURE: f64 = 0.9;
/// Bounds of requests may be this many times apart, in the median.
const WIDEST: f64 = 2.0;
/// From here on a finding is said.
const SAID: f64 = 0.5;

/// The findings that one view of one side was given, and how right they are.
pub(crate) struct Cell {
    pub(crate) situation: &'static Situation,
    pub(crate) side: Side,
    pub(crate) view: View,
    pub(crate) expected: String,
    /// Codes with their confidence.
    pub(crate) said: Vec<(String, f64)>,
    pub(crate) verdict: Verdict,
    /// The watch's counts, beside those of the packets.
    pub(crate) counted: String,
    /// Root without a trace is at level L1 too, which the other view has judged.
    pub(crate) is_judged: bool,
    /// Aspects that are wrong: `verdict`, `counts`, `requests`, `words`.
    pub(crate) wrong: Vec<(&'static str, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    /// No wrong code is sure, and no right one is said.
    Unsure,
    /// A code that must not be said is said.
    Wrong,
    SureAndWrong,
    /// Nothing is expected of this view.
    Free,
}

/// Judges every view of a play.
pub(crate) fn cells(situation: &'static Situation, played: &Played) -> Vec<Cell> {
    let mut watched: Vec<&Watched> = played.watched.iter().collect();
    watched.sort_by_key(|one| (one.side, one.view));
    watched.into_iter().map(|one| cell(situation, played, one)).collect()
}

fn cell(situation: &'static Situation, played: &Played, watched: &Watched) -> Cell {
    let Watched { side, view, document } = watched;
    let (side, view) = (*side, *view);
    let rows = rows(document, side, situation.port);
    let findings = findings(document, &rows);
    let mut said: Vec<(String, f64)> =
        findings.iter().map(|one| (text(&one["code"]), number(&one["confidence"]))).collect();
    if view == View::Once && !rows.is_empty() {
        said.push(("row".to_owned(), 1.0));
    }
    let mut wrong = Vec::new();

    let (verdict, expected) = verdict(situation, side, view, &said);
    if verdict == Verdict::SureAndWrong {
        wrong.push(("verdict", "sure and wrong".to_owned()));
    } else if verdict == Verdict::Wrong {
        wrong.push(("verdict", "wrong".to_owned()));
    } else if verdict == Verdict::Unsure && !expected.ends_with('?') {
        wrong.push(("verdict", "unsure".to_owned()));
    }
    // User nobody is not told whose the sockets are, and gets advice for several runtimes.
    if view == View::L2 {
        wrong.extend(words(situation, side, &findings).map(|why| ("words", why)));
    }
    let mut counted = String::new();
    if matches!(view, View::L1 | View::L2) {
        let packets = &played.packets[usize::from(side == Side::Server)];
        let (text, differ) = counts(document, &rows, side, packets);
        counted = text;
        if situation.counts.contains(&side) {
            wrong.extend(differ.map(|why| ("counts", why)));
        }
        let asked = played.printed.get("requests").copied();
        if situation.requests != Requests::NotCompared {
            let asked = asked.expect("the play prints its requests");
            let (text, differ) = requests(situation.requests, &rows, asked);
            counted = format!("{counted}; {text}");
            wrong.extend(differ.map(|why| ("requests", why)));
        }
    }
    let is_judged = view != View::L2 || document["level"] == "L2";
    if !is_judged {
        wrong.clear();
        counted = format!("level {} only; {counted}", text(&document["level"]));
    }
    Cell { situation, side, view, expected, said, verdict, counted, is_judged, wrong }
}

fn verdict(
    situation: &Situation,
    side: Side,
    view: View,
    said: &[(String, f64)],
) -> (Verdict, String) {
    let expects: Vec<_> = situation.expect.iter().filter(|one| one.is_of(side, view)).collect();
    let codes: Vec<&str> = expects.iter().flat_map(|one| one.codes).copied().collect();
    let may_be_unsure = expects.iter().all(|one| one.may_be_unsure);
    let mark = if may_be_unsure && !expects.is_empty() { "?" } else { "" };
    let expected = format!("{}{mark}", codes.join("|"));
    let holds = |code: &str| codes.contains(&code) || situation.also.contains(&code);
    let never = |code: &str| !expects.is_empty() && situation.never.contains(&code);
    let said_nothing = |code: &str| ["mixed", "row"].contains(&code);
    let other = |code: &str| !codes.is_empty() && !holds(code) && !said_nothing(code);
    let sure_and_wrong =
        said.iter().any(|(code, confidence)| *confidence >= SURE && (never(code) || other(code)));
    let wrong = said.iter().any(|(code, confidence)| *confidence >= SAID && never(code));
    let right =
        |(code, confidence): &(String, f64)| codes.contains(&code.as_str()) && *confidence >= SAID;
    let verdict = if sure_and_wrong {
        Verdict::SureAndWrong
    } else if wrong {
        Verdict::Wrong
    } else if codes.is_empty() {
        Verdict::Free
    } else if said.iter().any(right) {
        Verdict::Right
    } else {
        Verdict::Unsure
    };
    (verdict, expected)
}

fn words(situation: &Situation, side: Side, findings: &[&Value]) -> impl Iterator<Item = String> {
    let said: String = findings
        .iter()
        .filter(|one| number(&one["confidence"]) >= SAID)
        .map(|one| format!("{} {} ", text(&one["summary"]), text(&one["advice"])))
        .collect();
    let of_side = situation.words.iter().filter(move |(of, _)| *of == side);
    let missing = of_side.filter(|(_, word)| !said.contains(word));
    let missing = missing.map(|(_, word)| format!("does not say {word:?}"));
    let of_side = situation.never_words.iter().filter(move |(of, _)| *of == side);
    let false_ones = of_side.filter(|(_, word)| said.contains(word));
    let false_ones = false_ones.map(|(_, word)| format!("says {word:?}"));
    missing.chain(false_ones).collect::<Vec<_>>().into_iter()
}

/// Returns the rows of the service, on one side.
fn rows(document: &Value, side: Side, port: u16) -> Vec<&Value> {
    let suffix = format!(":{port}");
    let all = document["destinations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let is_ours = |row: &&Value| {
        let remote = row["remote"].as_str();
        row["side"] == side.name()
            && (port == 0 || remote.is_none_or(|remote| remote.ends_with(&suffix)))
    };
    all.iter().filter(is_ours).collect()
}

/// Returns the findings of the rows, and of the whole host.
fn findings<'a>(document: &'a Value, rows: &[&'a Value]) -> Vec<&'a Value> {
    let of = |one: &'a Value| one.as_array().map(Vec::as_slice).unwrap_or_default();
    let hosts = [&document["host_findings"], &document["looks"]["findings"]];
    rows.iter().map(|row| &row["findings"]).chain(hosts).flat_map(of).collect()
}

/// Compares opened and closed connections with the packets of the same host. A category may be
/// smaller than the packets have it, by what is unclassified or in no row, and never larger.
fn counts(
    document: &Value,
    rows: &[&Value],
    side: Side,
    packets: &Packets,
) -> (String, Option<String>) {
    let mut closed = BTreeMap::<String, u64>::new();
    for row in rows {
        for (kind, count) in row["closed"].as_object().into_iter().flatten() {
            *closed.entry(kind.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    let of = |kind: &str| closed.get(kind).copied().unwrap_or(0);
    let opened: u64 = rows.iter().filter_map(|row| row["opened"].as_u64()).sum();
    let (ours, theirs) = match side {
        Side::Client => {
            ([packets.client_fin, packets.client_rst], [packets.server_fin, packets.server_rst])
        }
        Side::Server => {
            ([packets.server_fin, packets.server_rst], [packets.client_fin, packets.client_rst])
        }
    };
    // Either FIN may have been first in the packets of one host.
    let crossed = of("crossed_fin");
    let local_fin = of("local_fin").saturating_sub(crossed);
    let told = [local_fin, of("remote_fin"), of("local_rst") + of("undrained"), of("remote_rst")];
    let truth = [ours[0], theirs[0], ours[1], theirs[1]];
    let rest = of("unclassified") + of("timed_out") + crossed;
    let text = format!(
        "open {opened}/{}, closed {}/{}, rest {rest}",
        packets.opened,
        told.map(|one| one.to_string()).join(" "),
        truth.map(|one| one.to_string()).join(" "),
    );
    let lost_traces = document["lost_trace_events"].as_u64().unwrap_or(0);
    let lost_events = document["lost_events"].as_u64().unwrap_or(0);
    let lost = lost_events > 0;
    let text = if lost || lost_traces > 0 {
        format!("{text}, lost {lost_events} events and {lost_traces} traces")
    } else {
        text
    };
    let unattributed = document["unattributed_aborts"].as_u64().unwrap_or(0);
    let mut differ = Vec::new();
    if opened > packets.opened || (opened + unattributed < packets.opened && !lost) {
        differ.push("opened");
    }
    let names = ["our FIN", "their FIN", "our RST", "their RST"];
    let larger =
        names.iter().zip(told.iter().zip(truth)).filter(|(_, (told, truth))| *told > truth);
    differ.extend(larger.map(|(name, _)| *name));
    let sum = told.iter().sum::<u64>() + rest;
    let too_few = sum + unattributed < packets.over && !lost;
    if too_few || sum > packets.ended() + of("timed_out") {
        differ.push("sum of closes");
    }
    (text, (!differ.is_empty()).then(|| differ.join(", ")))
}

/// Returns the requests of some rows, at least and at most; `None` where they are not said.
fn bounds_of(rows: &[&Value]) -> Option<(u64, u64)> {
    let sum = |key: &str| {
        let of_row = |row: &&Value| row[key]["total"].as_u64();
        rows.iter().filter_map(of_row).reduce(|sum, one| sum + one)
    };
    sum("requests_per_connection").zip(sum("requests_at_most"))
}

/// Returns how many times the least requests of a connection the most are, in the median.
fn width(rows: &[&Value]) -> f64 {
    let median = |row: &&Value, key: &str| row[key]["p50"].as_f64().filter(|p50| *p50 > 0.0);
    let widths = rows.iter().filter_map(|row| {
        Some(median(row, "requests_at_most")? / median(row, "requests_per_connection")?)
    });
    widths.fold(1.0, f64::max)
}

/// Compares the requests with those that the client has counted. What is not said is not wrong, unless
/// it can be known.
fn requests(how: Requests, rows: &[&Value], asked: u64) -> (String, Option<String>) {
    let Some((least, most)) = bounds_of(rows) else {
        let differ = (how == Requests::Exact).then(|| "requests".to_owned());
        return (format!("requests -/{asked}"), differ);
    };
    let holds = match how {
        Requests::Exact => (least, most) == (asked, asked),
        Requests::Bound => least <= asked && asked <= most,
        Requests::NotCompared => true,
    };
    let width = width(rows);
    let text = format!("requests {least}..{most}/{asked}, x{width:.1}");
    let differ = match holds {
        false => Some("requests".to_owned()),
        true if how == Requests::Bound && width > WIDEST => Some("too wide".to_owned()),
        true => None,
    };
    (text, differ)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}
