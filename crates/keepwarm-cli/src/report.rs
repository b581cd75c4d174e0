//! `keepwarm report`: a run again, from its record.

use std::fs::File;
use std::io::Read;

use keepwarm_record::load::{LoadRecord, SCHEMA};
use serde_json::Value;

use crate::args::ReportOptions;
use crate::exit::{Exit, Failure};
use crate::load;
use crate::output::printable;

/// The largest record that is read; an hour with everything in it has about a tenth of this.
const MAX_BYTES: u64 = 256 << 20;
/// The largest whole number that readers of JSON agree on (RFC 8259, section 6). No run has counted
/// more, and sums have room.
const MAX_COUNT: u64 = 1 << 53;

pub(crate) fn run(options: &ReportOptions) -> Result<(), Failure> {
    let path = options.file.display();
    let unusable = |why: String| Failure::new(Exit::Usage, format!("cannot use {path}: {why}"));
    let mut text = String::new();
    File::open(&options.file)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| unusable(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(unusable(format!(
            "more than {MAX_BYTES} bytes are more than any run record has"
        )));
    }
    let mut record = parse(&text).map_err(unusable)?;
    if !options.assertions.is_empty() {
        record.judge(&options.assertions);
    }
    load::print(&record, options.format)?;
    load::judge_assertions(&record)
}

fn parse(text: &str) -> Result<LoadRecord, String> {
    let mut value: Value =
        serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    clean(&mut value)?;
    match value.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => serde_json::from_value(value)
            .map_err(|error| format!("it says {SCHEMA}, and differs from it: {error}")),
        Some(other) => Err(format!("it is a {other}, and this reads {SCHEMA}")),
        None => Err(format!("it has no schema; this reads {SCHEMA}")),
    }
}

/// Refuses numbers that no run has counted, and takes from texts what is meant for a terminal: the file
/// may be anybody's. A seed counts nothing.
fn clean(value: &mut Value) -> Result<(), String> {
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|count| count > MAX_COUNT) => {
            Err(format!("{number} is more than any run has counted"))
        }
        Value::String(text) => {
            *text = printable(text).into_owned();
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(clean),
        Value::Object(fields) => {
            fields.iter_mut().filter(|(name, _)| *name != "seed").try_for_each(|(_, v)| clean(v))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use keepwarm_testkit::mutate;
    use serde_json::json;

    use super::*;
    use crate::show;
    use keepwarm_record::assertion::{self, every_name};
    use keepwarm_record::load::fact;

    /// The record of a run of 100 requests on 4 connections.
    const PLAIN: &str = include_str!("../../keepwarm-record/records/load.json");

    /// A port that was watched, from a record.
    const HOP: &str = r#"{"port": 8081, "is_target": true, "opened_by_load": 200, "window_s": 0.41,
        "opened": 200, "closed": {"client_fin": 0, "server_fin": 200, "crossed_fin": 0,
        "client_rst": 0, "server_rst": 0, "unclassified": 0}, "closed_by_the_end": 0,
        "requests": {"total": 200, "mean": 1.0, "p50": 1, "max": 1}, "alive_at_start": 0,
        "alive_at_end": 0, "established": {"client": 0, "server": 0},
        "close_wait": {"client": 0, "server": 0}, "time_wait": {"before": {"client": 0, "server": 0},
        "peak": {"client": 0, "server": 200}, "peak_sum": 200, "after": {"client": 0, "server": 200},
        "entered": {"client": 0, "server": 200}}, "ports": {"range": 28232, "peak": 0, "after": 0,
        "forecast": {"closes_per_second": 0.0, "bearable_per_second": 470.5,
        "exhausted_after_s": null}}, "time_waits_refused": 0, "lost_events": 0, "settled": true,
        "samples": [{"at_s": 0.16, "time_wait": {"client": 0, "server": 0},
        "established": {"client": 0, "server": 0}, "ports": 0}], "finding": {"code": "D4-D6",
        "healthy": false, "confidence": 1.0, "summary": "the server closed 200 of 200 connections",
        "advice": "look at the server's keep-alive timeout", "remote": "it would be the same"}}"#;

    /// Changes one thing somewhere in a document.
    fn garble(dice: &mut Dice, value: &mut Value) {
        let mut below = |limit: usize| usize::try_from(dice.roll(limit as u64)).expect("small");
        let (lose, twice) = (below(20) == 0, below(20) == 0);
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                let at = below(fields.len());
                let name = fields.keys().nth(at).expect("one of them").clone();
                if lose {
                    fields.remove(&name);
                } else {
                    garble(dice, &mut fields[&name]);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                let at = below(items.len());
                if lose {
                    items.remove(at);
                } else if twice {
                    items.insert(at, items[at].clone());
                } else {
                    garble(dice, &mut items[at]);
                }
            }
            leaf => {
                let others = [
                    Value::Null,
                    json!(0),
                    json!(1),
                    json!(-1),
                    json!(0.5),
                    json!(1e308),
                    json!(-1e308),
                    json!(MAX_COUNT),
                    json!(u64::MAX),
                    json!(""),
                    json!("\u{1b}[2J\u{9b}31mé"),
                    json!(true),
                    json!([]),
                    json!({}),
                ];
                *leaf = others[below(others.len())].clone();
            }
        }
    }

    /// A record of a real run with a hop and errors, as a document.
    fn captured() -> Value {
        let mut record = PLAIN.parse::<Value>().expect("JSON");
        record["hops"] = json!([HOP.parse::<Value>().expect("JSON")]);
        record["errors"] = json!([{"class": "timeout", "errno": null, "count": 3, "first_s": 1.0,
            "last_s": 2.0, "example": "no answer", "hint": "wait longer"}]);
        record["settings"]["schedule"] = json!({"rate": 10.0, "stages": [[1.0, 2.0]], "seed": 1});
        record
    }

    #[test]
    fn a_garbled_record_is_refused_or_shown_in_every_way() {
        let captured = captured();
        let (mut refused, mut shown) = (0, 0);
        let mut dice = Dice::new(1);
        for _ in 0..3_000 {
            let mut garbled = captured.clone();
            for _ in 0..=dice.roll(3) {
                garble(&mut dice, &mut garbled);
            }
            let Ok(mut record) = parse(&garbled.to_string()) else {
                refused += 1;
                continue;
            };
            shown += 1;
            for text in [show::load::render(&record, false), show::ab::render(&record)] {
                assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text}");
            }
            every_name().iter().for_each(|name| drop(fact(&record, name.as_str())));
            record.judge(&[assertion::parse("p99<20ms").expect("an assertion")]);
        }
        assert!(refused > 300 && shown > 300, "{refused} refused, {shown} shown");
    }

    #[test]
    fn a_file_that_was_cut_or_scribbled_in_is_refused_or_read() {
        let text = captured().to_string();
        let mut dice = Dice::new(1);
        let refused = (0..300).filter(|_| parse(&mutate::text(&mut dice, &text)).is_err()).count();
        assert!(refused > 200, "{refused}");
    }
}
