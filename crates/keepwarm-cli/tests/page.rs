//! Pages of `keepwarm report --format html`, in a real browser.
//!
//! Takes Chromium, node, and `playwright-core` and `axe-core` of npm in a folder that
//! `KEEPWARM_PLAYWRIGHT` names, or that npm can fill; skipped loudly without them.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::{Service, keepwarm, kill, run};
use keepwarm_testkit::{mortal, skipped};
use serde_json::Value;

/// Versions that are tried: a newer one changes nothing of the page.
const PACKAGES: [&str; 2] = ["playwright-core@1.65.1", "axe-core@4"];

/// The folder with the packages of npm, or why there is none.
fn browser() -> Result<&'static Path, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOLDER.get_or_init(packages).as_deref().map_err(Clone::clone)
}

fn packages() -> Result<PathBuf, String> {
    let chromium = std::env::var("CHROMIUM").unwrap_or_else(|_| "/usr/bin/chromium".to_owned());
    if !Path::new(&chromium).exists() {
        return Err("Chromium is not installed".to_owned());
    }
    if let Some(folder) = std::env::var_os("KEEPWARM_PLAYWRIGHT") {
        return Ok(folder.into());
    }
    let folder = common::folder("playwright");
    if folder.join("node_modules/playwright-core").exists() {
        return Ok(folder);
    }
    let npm = Command::new("npm")
        .args(["install", "--silent", "--no-audit", "--no-fund", "--fetch-retries=0", "--prefix"])
        .arg(&folder)
        .args(PACKAGES)
        .output()
        .map_err(|error| format!("npm: {error}"))?;
    if npm.status.success() {
        Ok(folder)
    } else {
        Err("npm cannot fetch playwright-core".to_owned())
    }
}

/// The browser's findings on pages.
fn tried(pages: &[PathBuf]) -> Option<Vec<Value>> {
    let folder = match browser() {
        Ok(folder) => folder,
        Err(why) => {
            skipped::because(&format!("pages in a browser: {why}"));
            return None;
        }
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page/try.mjs");
    // Each with a browser and a patience of its own.
    let found = pages.iter().map(|page| {
        let output = run(Command::new("node").arg(script).arg(folder).arg(page));
        serde_json::from_str(&output.exits_with(0).stdout).expect("a line of JSON")
    });
    Some(found.collect())
}

fn recorded(name: &str) -> String {
    format!("{}/../keepwarm-record/records/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn page(folder: &Path, name: &str, records: &[&str], exit: i32) -> PathBuf {
    let path = folder.join(format!("{name}.html"));
    let report =
        run(keepwarm().arg("report").args(records).args(["--format", "html", "-o"]).arg(&path));
    report.exits_with(exit);
    path
}

/// Checks what holds of every page.
#[track_caller]
fn sound(found: &Value) {
    let path = &found["path"];
    for nothing in ["errors", "requests", "wrong"] {
        assert_eq!(found[nothing], Value::Array(Vec::new()), "{nothing} of {path}: {found:#}");
    }
    for scheme in ["light", "dark"] {
        let serious = found["axe"][scheme].as_array().map_or(0, Vec::len);
        assert_eq!(serious, 0, "{path}: {:#}", found["axe"]);
    }
    assert_eq!(found["overflow"], 0, "{path} is wider than a phone");
    assert_eq!((&found["same"], &found["tables"]), (&true.into(), &true.into()), "{found:#}");
    for chart in found["charts"].as_array().expect("charts") {
        assert!(chart["lines"].as_u64() > Some(0), "{path}: {chart} draws nothing");
    }
}

#[test]
fn pages_equal_their_records_in_chromium() {
    let folder = common::folder(&format!("page-{}", std::process::id()));
    let data = Service::start(&["data"]);
    let run_file = folder.join("run.json");
    let run_file = run_file.to_str().expect("plain");
    let port = data.address.port().to_string();
    let load = ["load", "--rate", "400", "-z", "3s", "-c", "8", "--watch", &port, "-o", run_file];
    let load = [&load[..], &["--drain", "300ms"]].concat();
    run(keepwarm().args(load).arg(data.url("/data?a=%3Cb%3E&b='")));
    let lines = folder.join("watch.jsonl");
    let watch = run(keepwarm().args(["watch", ":1", "--for", "2500ms", "--format", "jsonl"]));
    fs::write(&lines, &watch.exits_with(0).stdout).expect("written");
    let hostile = hostile(&folder);
    let (open, hops) = (recorded("load_open.json"), recorded("load_hops.json"));
    let code = run(keepwarm().args(["report", run_file])).status.code().expect("an exit code");
    let pages = [
        page(&folder, "run", &[run_file], code),
        page(&folder, "open", &[&open], 4),
        page(&folder, "hops", &[&hops], 10),
        page(&folder, "unreachable", &[&recorded("load_unreachable.json")], 3),
        page(&folder, "lab", &[&recorded("lab.json")], 0),
        page(&folder, "watch", &[&recorded("watch_go.json")], 0),
        page(&folder, "lines", &[lines.to_str().expect("plain")], 0),
        page(&folder, "two", &[&open, run_file], 0),
        page(&folder, "hostile", &[hostile.to_str().expect("plain")], 4),
    ];
    let Some(found) = tried(&pages) else { return };
    assert_eq!(found.len(), pages.len());
    found.iter().for_each(sound);
    let figures = |name: &str| {
        let one =
            found.iter().find(|one| one["path"].as_str().is_some_and(|path| path.ends_with(name)));
        one.map_or(0, |one| one["figures"].as_u64().unwrap_or(0))
    };
    assert!(figures("/run.html") > 60 && figures("/lab.html") > 60 && figures("/two.html") > 20);
    assert_eq!(found[0]["keys"]["focused"], true, "{}", found[0]["keys"]);
    assert_eq!(found[0]["keys"]["at"], 1, "two keys later");
    fs::remove_dir_all(folder).expect("removable");
}

/// A record whose texts are attacks.
fn hostile(folder: &Path) -> PathBuf {
    let attack = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'><svg onload=alert(1)>\u{202e}";
    let text = fs::read_to_string(recorded("load_open.json")).expect("a record");
    let mut record: Value = serde_json::from_str(&text).expect("JSON");
    for path in [
        "/settings/url",
        "/settings/method",
        "/errors/0/example",
        "/errors/0/class",
        "/errors/0/hint",
        "/machine/processor",
        "/server",
        "/verdict/evidence",
    ] {
        if let Some(place) = record.pointer_mut(path) {
            *place = attack.into();
        }
    }
    record["labels"] = serde_json::json!({ attack: attack });
    let slice = &mut record["timeline"]["slices"][0];
    slice["errors"] = serde_json::json!({ attack: 3 });
    slice["statuses"] = serde_json::json!({ attack: 3 });
    let path = folder.join("hostile.json");
    fs::write(&path, record.to_string()).expect("written");
    path
}

/// An hour, made of the seconds of a real run.
fn an_hour(folder: &Path) -> PathBuf {
    let text = fs::read_to_string(recorded("load_open.json")).expect("a record");
    let mut record: Value = serde_json::from_str(&text).expect("JSON");
    let slices = record["timeline"]["slices"].as_array().expect("slices").clone();
    let hour: Vec<Value> = slices.iter().cycle().take(3600).cloned().collect();
    record["timeline"]["slices"] = hour.into();
    let path = folder.join("hour.json");
    fs::write(&path, record.to_string()).expect("written");
    path
}

#[test]
fn hour_opens_soon() {
    let folder = common::folder(&format!("hour-{}", std::process::id()));
    let hour = an_hour(&folder);
    let size = fs::metadata(&hour).expect("there").len();
    let page = page(&folder, "hour", &[hour.to_str().expect("plain")], 4);
    let beside = fs::metadata(&page).expect("there").len().saturating_sub(size);
    assert!(beside < 200_000, "{beside} bytes beside the record");
    let Some(found) = tried(&[page]) else { return };
    sound(&found[0]);
    // About a second on an idle machine; a busy one gets its patience.
    let opened = found[0]["opened_ms"].as_u64().expect("a time");
    println!("an hour opens in {opened} ms and is drawn in {} ms", found[0]["drawn_ms"]);
    assert!(opened < 20_000, "{opened} ms");
    fs::remove_dir_all(folder).expect("removable");
}

/// The page of a running load is renewed in place, and ends with the load.
#[test]
fn live_page_follows_the_load_in_chromium() {
    let folder = match browser() {
        Ok(folder) => folder,
        Err(why) => return skipped::because(&format!("a live page in a browser: {why}")),
    };
    let data = Service::start(&["data"]);
    let port = data.address.port().to_string();
    let load = ["load", "--rate", "200", "-z", "10m", "-c", "4", "--watch", &port];
    let mut load = keepwarm()
        .args(load)
        .args(["--serve", "127.0.0.1:0"])
        .arg(data.url("/data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the load starts");
    let mut stderr = BufReader::new(load.stderr.take().expect("piped"));
    let mut line = String::new();
    stderr.read_line(&mut line).expect("a line");
    let url = line.strip_prefix("listening on ").expect("an address").trim();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/page/live.mjs");
    let mut node = mortal::command("node", "KILL")
        .arg(script)
        .arg(folder)
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("node starts");
    let mut lines = BufReader::new(node.stdout.take().expect("piped")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("a line").expect("UTF-8");
        serde_json::from_str(&line).expect("JSON")
    };
    let live = next();
    kill(load.id(), "INT");
    let over = next();
    assert!(live["after"].as_u64() > live["before"].as_u64(), "{live}");
    assert_eq!((&live["kept"]["plot"], &live["kept"]["focused"]), (&true.into(), &true.into()));
    assert!(live["kept"]["rows"].as_u64() > Some(0), "the open table stays: {live}");
    for nothing in [&live["serious"], &live["wrong"], &over["wrong"], &over["errors"]] {
        assert_eq!(*nothing, Value::Array(Vec::new()), "{live} {over}");
    }
    assert_eq!(over["elsewhere"], Value::Array(Vec::new()), "only the load is asked");
    assert_eq!((&live["overflow"], &over["stopped"]), (&0.into(), &"cancelled".into()));
    assert!(over["said"].as_u64() > Some(0), "the verdict comes at the end: {over}");
    assert_eq!(common::wait(&mut load).and_then(|status| status.code()), Some(130));
    assert!(common::wait(&mut node).is_some_and(|status| status.success()));
}
