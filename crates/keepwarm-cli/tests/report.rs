//! `keepwarm report`: records from files and from standard input, shown and judged again.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{finish, keepwarm, run, silent};
use serde_json::Value;

fn report(arguments: &[&str]) -> common::Output {
    run(keepwarm().arg("report").args(arguments))
}

/// Reports what is written to standard input.
fn report_of(bytes: &[u8], arguments: &[&str]) -> common::Output {
    let mut child = keepwarm()
        .args(["report", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    // A record that is rejected early is not read to its end.
    let _ = stdin.write_all(bytes);
    drop(stdin);
    finish(child)
}

/// A record of the record crate.
fn recorded(name: &str) -> String {
    format!("{}/../keepwarm-record/records/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("keepwarm-report-{name}-{}", std::process::id()))
}

#[test]
fn report_repeats_the_exit_code() {
    report(&[&recorded("load")]).exits_with(0);
    report(&[&recorded("load_unreachable")]).exits_with(3).says("cannot be reached");
    report(&[&recorded("load_open")]).exits_with(4).says("the measurement is invalid");
    report(&[&recorded("load_hops")]).exits_with(10).says("hop.8081.opened<10 does not hold");
    report(&[&recorded("lab")]).exits_with(0);
    let kept = temporary("unanswered");
    let path = kept.to_str().expect("plain");
    let first = run(keepwarm().args(["load", "-z", "200ms", "-c", "2", "-o", path, &silent()]));
    let again = report(&[path]);
    assert_eq!(again.exits_with(1).stderr, first.exits_with(1).stderr);
    fs::remove_file(kept).expect("removable");
}

#[test]
fn other_assertions_replace_the_recorded_ones() {
    report(&[&recorded("load_hops"), "--assert", "hop.8081.opened==600"]).exits_with(0);
    let failed = report(&[&recorded("load_hops"), "--assert", "conn.opened<6", "--format", "json"]);
    failed.exits_with(10).says("conn.opened<6 does not hold: it is 6");
    let document: Value = serde_json::from_str(&failed.stdout).expect("JSON");
    assert_eq!(document["assertions"][0]["outcome"], "failed");
}

#[test]
fn edited_numbers_contradict_the_record() {
    let text = fs::read_to_string(recorded("load")).expect("readable");
    let edited = text.replace(r#""completed":100,"failed":0"#, r#""completed":99,"failed":0"#);
    assert_ne!(text, edited);
    report_of(edited.as_bytes(), &[])
        .exits_with(4)
        .says("scheduled = completed + failed + unsent does not hold: 100 is not 99");
}

#[test]
fn lab_assertions_hold_for_every_policy() {
    report(&[&recorded("lab"), "--assert", "errors<=7"]).exits_with(0);
    report(&[&recorded("lab"), "--assert", "rps>1000000"])
        .exits_with(10)
        .says("per-request: rps>1000000 does not hold")
        .says("keepwarm: rps>1000000 does not hold");
}

#[test]
fn contradicting_lab_is_invalid() {
    let mut document: Value =
        serde_json::from_slice(&fs::read(recorded("lab")).expect("readable")).expect("JSON");
    document["runs"][1]["doubts"] = serde_json::json!(["the kernel counted 3, and the client 4"]);
    report_of(document.to_string().as_bytes(), &[])
        .exits_with(4)
        .says("the measurement of go-default is invalid: the kernel counted 3");
}

/// The text of a snapshot of this crate.
fn snapshot(name: &str) -> String {
    let file =
        format!("{}/src/snapshots/keepwarm__screens__{name}.snap", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(file).expect("a snapshot");
    // Two lines of dashes stand around the snapshot's origin.
    text.splitn(3, "---\n").nth(2).expect("a snapshot's text").to_owned()
}

#[test]
fn report_prints_the_reviewed_screens() {
    let text = |name: &str, arguments: &[&str]| {
        report(&[&[recorded(name).as_str()], arguments].concat()).stdout.trim().to_owned()
    };
    assert_eq!(text("load_hops", &[]), snapshot("load_with_hops").trim());
    assert_eq!(text("load_open", &["--format", "ab"]), snapshot("ab_open_loop").trim());
    assert_eq!(text("lab", &[]), snapshot("lab").trim());
}

#[test]
fn standard_input_equals_the_file() {
    for name in ["load_hops", "lab"] {
        for format in ["text", "json"] {
            let file = report(&[&recorded(name), "--format", format]);
            let stdin =
                report_of(&fs::read(recorded(name)).expect("readable"), &["--format", format]);
            assert_eq!((&file.stdout, &file.stderr), (&stdin.stdout, &stdin.stderr), "{name}");
            assert_eq!(file.status, stdin.status);
        }
    }
}

#[test]
fn report_json_is_the_record() {
    for name in ["load_hops", "load_open", "lab"] {
        let shown = report(&[&recorded(name), "--format", "json"]).stdout;
        assert_eq!(shown, fs::read_to_string(recorded(name)).expect("readable"), "{name}");
    }
}

#[test]
fn truncated_records_are_called_truncated() {
    let whole = fs::read(recorded("load_open")).expect("readable");
    for length in [1, 100, whole.len() / 2, whole.len() - 2] {
        report_of(&whole[..length], &[])
            .exits_with(2)
            .says("cannot use standard input: it is truncated");
    }
    report_of(b"", &[]).exits_with(2).says("it is empty");
}

#[test]
fn unusable_files_are_named() {
    report(&["/no/such/file"]).exits_with(2).says("cannot use /no/such/file: ");
    let folder = std::env::temp_dir();
    report(&[folder.to_str().expect("plain")]).exits_with(2);
    assert!(Path::new(&recorded("lab")).exists());
    report(&[&recorded("lab"), "--format", "ab"]).exits_with(2).says("a lab has no such format");
}
