//! `keepwarm report`: a record from a file or from standard input, shown and judged again.
//!
//! Owns the choice of the view and of the exit code by the record's schema. `record_file` reads, the
//! views show, and each command judges its own record.

use std::path::Path;

use keepwarm_record::assertion::{self, Assertion};
use keepwarm_record::lab::LabRecord;
use keepwarm_record::load::LoadRecord;
use keepwarm_record::read::{AnyRecord, ReadRecord, read};
use keepwarm_record::watch::WatchRecord;

use crate::args::{LoadFormat, ReportFormat, ReportOptions, WatchFormat};
use crate::exit::{Exit, Failure};
use crate::html::Course;
use crate::output_file::Output;
use crate::{html, lab, load, output, record_file, show, watch};

pub(crate) fn run(options: &ReportOptions) -> Result<(), Failure> {
    refuse(options)?;
    if let Some(second) = &options.second {
        return of_two(second, options);
    }
    let bytes = record_file::bytes(&options.file)?;
    match record_file::of_bytes(&options.file, &bytes)? {
        AnyRecord::Lab(_) | AnyRecord::Watch(_) if options.otlp.is_some() => {
            let message =
                "--otlp sends the metrics of a load, and this record is of none; leave it out";
            Err(Failure::new(Exit::Usage, message))
        }
        AnyRecord::Load(record) => of_load(*record, options),
        AnyRecord::Lab(record) => of_lab(*record, options),
        AnyRecord::Watch(record) => of_watch(*record, &bytes, options),
    }
}

/// Refuses arguments that only a page takes.
fn refuse(options: &ReportOptions) -> Result<(), Failure> {
    let usage = |message: &str| Err(Failure::new(Exit::Usage, message));
    if options.format == ReportFormat::Html {
        return Ok(());
    }
    if options.second.is_some() {
        return usage(
            "two records are laid over each other by --format html alone; `keepwarm compare` says \
             what differs",
        );
    }
    if options.output.is_some() {
        return usage("--output takes --format html; every other format goes to stdout");
    }
    Ok(())
}

/// Writes a page to stdout, or to the file that was asked for.
fn write(page: &str, is_private: bool, options: &ReportOptions) -> Result<(), Failure> {
    match Output::create(options.output.as_deref())? {
        Output::None | Output::Stdout => output::print(page),
        Output::File(file) => file.write(is_private, |to| to.write_all(page.as_bytes())),
    }
}

/// Shows two loads laid over each other. Neither is judged: the page is of both.
fn of_two(second: &Path, options: &ReportOptions) -> Result<(), Failure> {
    record_file::refuse_twice(&[&options.file, second])?;
    if !options.assertions.is_empty() {
        let message = "--assert judges one record; give `keepwarm compare` a condition on both";
        return Err(Failure::new(Exit::Usage, message));
    }
    let what = "a page of two";
    let records = [&options.file, second].map(|file| record_file::open_load(file, what));
    let [first, other] = records;
    let (first, other) = (first?, other?);
    let names = [record_file::place(&options.file), record_file::place(second)];
    let page = html::of_two([&first, &other], [&names[0], &names[1]]);
    write(&page, load::is_private(&first) || load::is_private(&other), options)
}

fn of_load(mut record: LoadRecord, options: &ReportOptions) -> Result<(), Failure> {
    if !options.assertions.is_empty() {
        record.judge(&options.assertions);
    }
    let format = match options.format {
        ReportFormat::Html => {
            write(&html::of_load(&record), load::is_private(&record), options)?;
            return send_and_judge(&record, options);
        }
        ReportFormat::Text => LoadFormat::Text,
        ReportFormat::Json => LoadFormat::Json,
        ReportFormat::Ab => LoadFormat::Ab,
        ReportFormat::Csv => LoadFormat::Csv,
        ReportFormat::Hgrm => LoadFormat::Hgrm,
        ReportFormat::Hlog => LoadFormat::Hlog,
        ReportFormat::Junit => LoadFormat::Junit,
        ReportFormat::Github => LoadFormat::Github,
        ReportFormat::Openmetrics => LoadFormat::Openmetrics,
    };
    load::print(&record, format)?;
    send_and_judge(&record, options)
}

/// Sends the metrics, if that was asked for, and returns the exit of the run.
fn send_and_judge(record: &LoadRecord, options: &ReportOptions) -> Result<(), Failure> {
    options.otlp.as_ref().map_or(Ok(()), |otlp| otlp.send(record))?;
    load::judge_found(record)?;
    load::judge(record, None)
}

fn of_lab(mut record: LabRecord, options: &ReportOptions) -> Result<(), Failure> {
    let failures = judge_runs(&mut record, &options.assertions);
    match options.format {
        ReportFormat::Json => output::print_with(|to| output::write_json(&record, to)),
        ReportFormat::Text => {
            output::print(&show::lab::render(&record, output::colour(), output::columns()))
        }
        ReportFormat::Html => write(&html::of_lab(&record), false, options),
        _ => Err(only_of_a_load("a lab")),
    }?;
    lab::judge(&record)?;
    failures.map_or(Ok(()), |why| Err(Failure::new(Exit::Assertion, why)))
}

fn of_watch(mut record: WatchRecord, bytes: &[u8], options: &ReportOptions) -> Result<(), Failure> {
    let format = match options.format {
        ReportFormat::Text => WatchFormat::Text,
        // Of lines, only the last is shown: one document either way.
        ReportFormat::Json => WatchFormat::Json,
        ReportFormat::Html => {
            watch::judge_again(&mut record, &options.assertions)?;
            write(&html::of_watch(&record, course(&record, bytes).as_ref()), false, options)?;
            return watch::judge_assertions(&record);
        }
        _ => return Err(only_of_a_load("a watch")),
    };
    watch::show_again(record, format, &options.assertions)
}

/// Returns the course of a watch, if its file has a line for each moment. Lines that are no record
/// are left out: the last one is read, and said to be truncated, elsewhere.
fn course(last: &WatchRecord, bytes: &[u8]) -> Option<Course> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut course = Course::ending_with(last);
    let mut count = 0;
    for line in lines {
        if let Ok(ReadRecord { record: AnyRecord::Watch(line), .. }) = read(line) {
            course.add(&line);
            count += 1;
        }
    }
    (count > 1).then_some(course)
}

/// Judges each policy's load by the assertions, and says which policies do not pass.
fn judge_runs(record: &mut LabRecord, assertions: &[Assertion]) -> Option<String> {
    let mut failures = Vec::new();
    for run in &mut record.runs {
        let load = &mut run.load.record;
        if !assertions.is_empty() {
            load.judge(assertions);
        }
        let failure = assertion::failures(&load.assertions);
        failures.extend(failure.map(|why| format!("{}: {why}", run.policy)));
    }
    (!failures.is_empty()).then(|| failures.join("; "))
}

fn only_of_a_load(what: &str) -> Failure {
    let message =
        format!("{what} has no such format, only a load has; use --format text, json or html");
    Failure::new(Exit::Usage, message)
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::dice::Dice;
    use serde_json::{Value, json};

    use super::*;
    use crate::show;
    use keepwarm_record::assertion::every_name;
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
                    json!(1_u64 << 53),
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
    fn garbled_records_are_rejected_or_shown() {
        let captured = captured();
        let (mut refused, mut shown) = (0, 0);
        let mut dice = Dice::new(1);
        for _ in 0..3_000 {
            let mut garbled = captured.clone();
            for _ in 0..=dice.roll(3) {
                garble(&mut dice, &mut garbled);
            }
            let text = garbled.to_string();
            let Ok(AnyRecord::Load(mut record)) = read(text.as_bytes()).map(|read| read.record)
            else {
                refused += 1;
                continue;
            };
            shown += 1;
            for text in
                [show::load::render(&record, false, show::Columns::FILE), show::ab::render(&record)]
            {
                assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text}");
            }
            every_name().iter().for_each(|name| drop(fact(&record, name.as_str())));
            record.judge(&[assertion::parse("p99<20ms").expect("an assertion")]);
        }
        assert!(refused > 300 && shown > 300, "{refused} refused, {shown} shown");
    }

    #[test]
    fn garbled_watches_are_rejected_or_shown() {
        let page = show::watch::Page { columns: 80, table_columns: 80, rows: Some(20) };
        let (mut rejected, mut shown) = (0, 0);
        let mut dice = Dice::new(1);
        for text in [
            include_str!("../../keepwarm-record/records/watch_go.json"),
            include_str!("../../keepwarm-record/records/watch_l0.json"),
        ] {
            let captured = text.parse::<Value>().expect("JSON");
            for _ in 0..1_500 {
                let mut garbled = captured.clone();
                for _ in 0..=dice.roll(3) {
                    garble(&mut dice, &mut garbled);
                }
                let text = garbled.to_string();
                let Ok(AnyRecord::Watch(mut record)) =
                    read(text.as_bytes()).map(|read| read.record)
                else {
                    rejected += 1;
                    continue;
                };
                shown += 1;
                let text = show::watch::render(&record, false, page);
                assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text}");
                record.judge(&[assertion::parse("hop.8081.closed<5").expect("an assertion")]);
            }
        }
        assert!(rejected > 300 && shown > 300, "{rejected} rejected, {shown} shown");
    }
}
