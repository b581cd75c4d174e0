//! A record as one page: self-contained HTML, opened without a network.
//!
//! Owns the frame of the page: what a browser may do with it, styles, scripts, the records inside it.
//! `load`, `lab`, `watch` and `two` write what is said, `figures` writes numbers, `write` escapes.
//! The charts are drawn by a script from the records in the page; text and tables need no script.
//!
//! Texts of a record are hostile until escaped: a record may come from anywhere.

mod figures;
mod lab;
pub(crate) mod live;
mod load;
mod two;
mod watch;
mod write;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use keepwarm_record::lab::LabRecord;
use keepwarm_record::load::LoadRecord;
use keepwarm_record::read::is_obeyed;
use keepwarm_record::watch::WatchRecord;
use ring::digest;
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use watch::Course;

use crate::args::VERSION;
use write::{Html, escape};

const STYLE: &str = concat!(
    include_str!("../../assets/report/uPlot.min.css"),
    include_str!("../../assets/report/page.css")
);
const CHARTS: &str = include_str!("../../assets/report/uPlot.iife.min.js");
const SCRIPT: &str = include_str!("../../assets/report/page.js");
const LIVE_SCRIPT: &str = include_str!("../../assets/report/live.js");
const LICENCE: &str = include_str!("../../assets/report/uPlot.LICENSE");

/// A record in the page: its name, and its document as it can be saved again.
struct Document<'a> {
    /// File name to save it under.
    file: &'a str,
    json: String,
}

/// The content of a page, without its frame.
struct Content<'a> {
    /// Kind of the records, by which the script finds its loads.
    kind: &'static str,
    /// Names of the loads in the page.
    names: Vec<String>,
    title: String,
    body: Html,
    documents: Vec<Document<'a>>,
    course: Option<&'a Course>,
    /// State of a load that is served while it runs.
    live: Option<Value>,
}

/// Whether a page asks its server for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Live {
    No,
    Yes,
}

/// Writes the page of a load.
pub(crate) fn of_load(record: &LoadRecord) -> String {
    let value = value_of(record);
    let content = Content {
        kind: "load",
        names: vec!["the load".to_owned()],
        title: format!("keepwarm: load on {}", record.settings.url),
        body: load::body(record, &value),
        documents: vec![Document { file: "run.json", json: value.to_string() }],
        course: None,
        live: None,
    };
    page(&content)
}

/// Writes the page of two loads laid over each other. `names` are those of their files.
pub(crate) fn of_two(records: [&LoadRecord; 2], names: [&str; 2]) -> String {
    let values = records.map(value_of);
    let names = if names[0] == names[1] { ["first", "second"] } else { names };
    let content = Content {
        kind: "two",
        names: names.map(str::to_owned).into(),
        title: format!("keepwarm: {} and {}", names[0], names[1]),
        body: two::body(records, &values, names),
        documents: values
            .iter()
            .zip(["first.json", "second.json"])
            .map(|(value, file)| Document { file, json: value.to_string() })
            .collect(),
        course: None,
        live: None,
    };
    page(&content)
}

/// Writes the page of a lab.
pub(crate) fn of_lab(record: &LabRecord) -> String {
    let value = value_of(record);
    let content = Content {
        kind: "lab",
        names: record.runs.iter().map(|run| run.policy.clone()).collect(),
        title: "keepwarm: lab".to_owned(),
        body: lab::body(record, &value),
        documents: vec![Document { file: "lab.json", json: value.to_string() }],
        course: None,
        live: None,
    };
    page(&content)
}

/// Writes the page of a watch, and its course where it comes from JSON lines.
pub(crate) fn of_watch(record: &WatchRecord, course: Option<&Course>) -> String {
    let value = value_of(record);
    let content = Content {
        kind: "watch",
        names: Vec::new(),
        title: "keepwarm: watch".to_owned(),
        body: watch::body(record, &value, course),
        documents: vec![Document { file: "watch.json", json: value.to_string() }],
        course,
        live: None,
    };
    page(&content)
}

/// The document of a record. A record that was read, or made by this tool, is always JSON.
fn value_of(record: &impl Serialize) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}

fn page(content: &Content<'_>) -> String {
    let inside = format!("{}{}{}", main_part(content), footer(Live::No), data(content));
    frame(&escape(&content.title), &inside, Live::No)
}

/// The frame of a page: what a browser may do with it, styles and scripts. `title` and `inside` are
/// HTML.
fn frame(title: &str, inside: &str, live: Live) -> String {
    let mut page =
        String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    let mut policy = format!(
        "default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{}'; script-src \
         'sha256-{}' 'sha256-{}'",
        hash(STYLE),
        hash(CHARTS),
        hash(SCRIPT)
    );
    if live == Live::Yes {
        policy.push_str(&format!(" 'sha256-{}'; connect-src 'self'", hash(LIVE_SCRIPT)));
    }
    page.push_str(&format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n"));
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str("<meta name=\"referrer\" content=\"no-referrer\">\n");
    page.push_str(&format!("<title>{title}</title>\n"));
    page.push_str(&format!("<style>{STYLE}</style>\n</head>\n<body>\n"));
    page.push_str("<a class=\"skip\" href=\"#said\">To the verdict</a>\n");
    page.push_str(inside);
    page.push_str(&format!("<script>{CHARTS}</script>\n<script>{SCRIPT}</script>\n"));
    if live == Live::Yes {
        page.push_str(&format!("<script>{LIVE_SCRIPT}</script>\n"));
    }
    page.push_str("</body>\n</html>\n");
    page
}

/// The text of a page.
fn main_part(content: &Content<'_>) -> String {
    let (body, save) = (content.body.as_str(), save(&content.documents));
    format!("<main id=\"said\">\n{body}{save}</main>\n")
}

/// The records of a page, and how the script reads them.
fn data(content: &Content<'_>) -> String {
    let mut data = String::new();
    for (at, document) in content.documents.iter().enumerate() {
        data.push_str(&island(&format!("record-{at}"), &document.json));
    }
    let mut shape = json!({ "kind": content.kind, "names": content.names });
    if let Some(live) = &content.live {
        shape["live"] = live.clone();
    }
    data.push_str(&island("shape", &shape.to_string()));
    if let Some(course) = content.course {
        data.push_str(&island("course", &value_of(course).to_string()));
    }
    data
}

fn save(documents: &[Document<'_>]) -> String {
    let mut html = Html::new();
    html.heading("The record");
    html.paragraph(
        "Everything on this page is in its record. `keepwarm report FILE` shows and judges it again.",
    );
    for (at, document) in documents.iter().enumerate() {
        html.raw(&format!(
            "<button type=\"button\" data-save=\"{at}\" data-name=\"{0}\">Save {0}</button>\n",
            document.file
        ));
    }
    html.as_str().to_owned()
}

fn footer(live: Live) -> String {
    let needs = match live {
        Live::No => "The page needs no network.",
        Live::Yes => "The page asks nothing but the load that serves it.",
    };
    format!(
        "<footer>\n<p>Made by keepwarm {}. {needs}</p>\n<details><summary>Licence of the charts \
         (uPlot)</summary><p class=\"codes\">{}</p></details>\n</footer>\n",
        escape(VERSION),
        escape(LICENCE)
    )
}

/// Data for the script. No `<` is left in it, so that no text in it can end it, and no character
/// that turns the direction of a text around.
fn island(id: &str, json: &str) -> String {
    let mut data = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter == '<' || is_obeyed(letter) {
            data.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            data.push(letter);
        }
    }
    format!("<script type=\"application/json\" id=\"{id}\">{data}</script>\n")
}

/// The hash of a style or a script, as a content security policy names it.
fn hash(text: &str) -> String {
    BASE64_STANDARD.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use keepwarm_record::read::{AnyRecord, read};

    use super::*;

    /// Most bytes of a page beside its records.
    const MOST: usize = 200_000;

    fn load(name: &[u8]) -> LoadRecord {
        match read(name).expect("a record").record {
            AnyRecord::Load(record) => *record,
            _ => panic!("it is a load"),
        }
    }

    fn open() -> LoadRecord {
        load(include_bytes!("../../../keepwarm-record/records/load_open.json"))
    }

    #[test]
    fn page_is_small_beside_its_record() {
        let record = open();
        let data = serde_json::to_string(&record).expect("JSON").len();
        let page = of_load(&record);
        assert!(page.len() < data + MOST, "{} bytes and {data} of data", page.len() - data);
        for name in ["http://", "https://", "src=", "@import", "url("] {
            let frame = page
                .replace(&record.settings.url, "")
                .replace("https://github.com/leeoniya/uPlot", "");
            assert!(!frame.contains(name), "{name} could load something");
        }
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let mut record = open();
        let hostile =
            "</script><script>alert(1)</script><!--\"'><img src=x onerror=alert(1)>&lt;\u{202e}x";
        record.settings.url = hostile.to_owned();
        record.server = Some(hostile.to_owned());
        record.errors[0].example = hostile.to_owned();
        record.errors[0].hint = Some(hostile.to_owned());
        record.verdict.reasons = vec![hostile.to_owned()];
        record.labels = [(hostile.to_owned(), hostile.to_owned())].into();
        record.command = vec![hostile.to_owned()];
        let count = |page: &str, text: &str| page.matches(text).count();
        let page = of_load(&record);
        assert_eq!(count(&page, "<script>"), 2, "charts and page");
        assert_eq!(count(&page, "<img"), 0);
        assert_eq!(count(&page, "<!--"), 0);
        assert!(!page.contains('\u{202e}'), "no direction is obeyed");
        let two = of_two([&record, &record], [hostile, "b"]);
        assert_eq!((count(&two, "<script>"), count(&two, "<img")), (2, 0));
    }

    #[test]
    fn verdict_stands_first() {
        let page = of_load(&open());
        let first = page.split("<main id=\"said\">").nth(1).expect("a body").trim_start();
        assert!(first.starts_with("<h1>538 requests in 11.24 s"), "{}", &first[..80]);
    }
}
