//! `keepwarm merge`: real loads on a real server, merged.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use common::{Service, finish, keepwarm, run};
use serde_json::Value;

fn folder(name: &str) -> PathBuf {
    common::folder(&format!("merge-{name}-{}", std::process::id()))
}

fn merge(arguments: &[&str]) -> common::Output {
    run(keepwarm().arg("merge").args(arguments))
}

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("a record")
}

#[test]
fn merged_loads_add_up() {
    let data = Service::start(&["data"]);
    let folder = folder("adds");
    let port = data.address.port().to_string();
    let files =
        ["a.json", "b.json"].map(|name| folder.join(name).to_str().expect("plain").to_owned());
    // At the same time, as parts of one load do.
    let children = files.each_ref().map(|file| {
        let arguments =
            ["load", "-n", "2000", "-c", "3", "--watch", &port, "-o", file, "--assert", "p99<1h"];
        let mut command = keepwarm();
        command
            .args(arguments)
            .arg(data.url("/data"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().expect("the program starts")
    });
    for child in children {
        finish(child).exits_with(0);
    }
    let [a, b] = files.each_ref().map(|file| parsed(&fs::read_to_string(file).expect("written")));

    let all = folder.join("all.json");
    let all = all.to_str().expect("plain");
    let text = merge(&[&files[0], &files[1], "-o", all]);
    assert!(text.exits_with(0).stdout.starts_with("4,000 requests in "), "{}", text.stdout);
    assert!(text.stdout.contains("merged from 2 records"), "{}", text.stdout);
    let whole = parsed(&fs::read_to_string(all).expect("written"));
    for path in [
        "/requests/completed",
        "/connections/opened",
        "/connections/reused",
        "/bytes/read",
        "/latency_us/count",
        "/settings/concurrency",
        "/statuses/200",
        "/loader/threads",
    ] {
        let of = |record: &Value| record.pointer(path).and_then(Value::as_u64).expect(path);
        assert_eq!(of(&whole), of(&a) + of(&b), "{path}");
    }
    // One kernel, one namespace: both watched the same sockets.
    assert_eq!(whole["hops"].as_array().map(Vec::len), Some(1), "{}", whole["hops"]);
    assert_eq!(whole["hops"][0]["opened_by_load"], 6);
    assert_eq!(whole["assertions"][0]["outcome"], "held");
    let again = run(keepwarm().args(["report", all]));
    assert_eq!(again.exits_with(0).stdout, text.stdout, "the record has all that was said");
    fs::remove_dir_all(folder).expect("removable");
}

#[test]
fn records_that_are_no_parts_are_named() {
    let recorded = |name: &str| {
        format!("{}/../keepwarm-record/records/{name}.json", env!("CARGO_MANIFEST_DIR"))
    };
    let (load, open, lab) = (recorded("load"), recorded("load_open"), recorded("lab"));
    merge(&[&load, &load]).exits_with(2).says("parts 1 and 2 are the same record");
    merge(&[&load, &open]).exits_with(2).says("part 2 is of another load: its settings.");
    merge(&[&load, &lab]).exits_with(2).says("it is the record of a lab, and a merge takes");
    merge(&["-", "-"]).exits_with(2).says("can be read once");
    merge(&["/no/such/file"]).exits_with(2).says("cannot use /no/such/file");
    merge(&[]).exits_with(2);
    // One part is its own merge.
    let alone = merge(&[&load, "--format", "json"]);
    let record = parsed(&fs::read_to_string(&load).expect("a record"));
    assert_eq!(parsed(&alone.exits_with(0).stdout)["latency_us"], record["latency_us"]);
    merge(&[&load, "--assert", "p99<1us"]).exits_with(10).says("p99<1us does not hold");
}
