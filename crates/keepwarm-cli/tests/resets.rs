//! `keepwarm watch` before connections that were reset in known ways. Root is told why by the kernel,
//! and with that the same closes come to another, or a surer, finding than without.

// A helper of a test is a test: a panic is its answer.
#![allow(clippy::unwrap_used)]

mod common;

use std::process::Child;

use keepwarm_testkit::churn::{Family, Upstream, Way};
use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::{end_watch, keepwarm, start_watch};

/// Connections of each way.
const N: u64 = 100;

fn watch(port: u16, level: &str) -> Child {
    let port = format!(":{port}");
    start_watch(keepwarm().args(["watch", &port, "--level", level, "--format", "json"]))
}

/// Returns the first finding of one side.
fn finding(document: &Value, side: &str) -> Value {
    let all = document["destinations"].as_array().unwrap();
    let end = all.iter().find(|one| one["side"] == side);
    end.unwrap_or_else(|| panic!("no {side} in {document:#}"))["findings"][0].clone()
}

/// Returns the documents of two watches of one play, without traces and with them; `None` where
/// there are no traces.
fn without_and_with_traces(way: Way) -> Option<(Value, Value)> {
    let mut upstream = Upstream::listen(Family::V4).unwrap();
    let (plain, traced) = (watch(upstream.port(), "l1"), watch(upstream.port(), "l2"));
    upstream.play(way, N, 1).unwrap();
    let (plain, traced) = (end_watch(plain), end_watch(traced));
    if let Some(refused) = traced["level_refused"].as_str() {
        skipped::because(&format!("L2: {refused}"));
        return None;
    }
    assert_eq!(traced["lost_trace_events"], 0);
    Some((plain, traced))
}

#[track_caller]
fn assert_found(document: &Value, side: &str, code: &str, confidence: f64, in_words: &str) {
    let finding = finding(document, side);
    let found = (&finding["code"], &finding["confidence"]);
    assert_eq!(found, (&code.into(), &confidence.into()), "{document:#}");
    let summary = finding["summary"].as_str().unwrap();
    assert!(summary.contains(in_words), "{in_words:?} is not in {summary}");
}

#[test]
fn traced_server_is_surer_of_unread_bodies() {
    let Some((plain, traced)) = without_and_with_traces(Way::ClientUnread) else { return };
    assert_found(&plain, "server", "D3", 0.4, "or is cancelled");
    // A farewell that was left unread has the same reason.
    assert_found(&traced, "server", "D3", 0.8, "TCP_ABORT_ON_CLOSE");
    for document in [plain, traced] {
        assert_found(&document, "client", "D3", 1.0, "unread");
    }
}

#[test]
fn reset_on_purpose_is_not_d3() {
    let Some((plain, traced)) = without_and_with_traces(Way::ClientRst) else { return };
    assert_found(&plain, "server", "D3", 0.4, "or is cancelled");
    assert_found(&traced, "server", "D8", 0.6, "with a reset on purpose");
    // Of such a socket the kernel keeps no numbers; those of its peer on this host stand in.
    assert_found(&traced, "client", "D8", 0.6, "with a reset on purpose");
}

#[test]
fn late_requests_are_d4_and_counted() {
    let way = Way::ServerFinClientWrites;
    let Some((plain, traced)) = without_and_with_traces(way) else { return };
    assert_ne!(finding(&plain, "client")["code"], "D4");
    let told = format!("{N} requests were written after that");
    assert_found(&traced, "client", "D4", 1.0, &told);
}
