//! A record as one page: self-contained HTML, opened without a network.
//!
//! Owns the frame of the page: what a browser may do with it, styles, scripts, the records inside it.
//! `load`, `lab`, `watch` and `two` write what is said, `figures` writes numbers, `write` escapes.
//! The charts are drawn by a script from the records in the page; text and tables need no script.
//!
//! Texts of a record are hostile until escaped: a record may come from anywhere.

mod figures;
mod lab;
mod load;
mod two;
mod watch;
mod write;

use keepwarm_record::base64;
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
    };
    page(&content)
}

/// The document of a record. A record that was read, or made by this tool, is always JSON.
fn value_of(record: &impl Serialize) -> Value {
    serde_json::to_value(record).unwrap_or_default()
}

fn page(content: &Content<'_>) -> String {
    let mut page =
        String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str(&format!(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; base-uri 'none'; \
         form-action 'none'; style-src 'sha256-{}'; script-src 'sha256-{}' 'sha256-{}'\">\n",
        hash(STYLE),
        hash(CHARTS),
        hash(SCRIPT)
    ));
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str("<meta name=\"referrer\" content=\"no-referrer\">\n");
    page.push_str(&format!("<title>{}</title>\n", escape(&content.title)));
    page.push_str(&format!("<style>{STYLE}</style>\n</head>\n<body>\n"));
    page.push_str("<a class=\"skip\" href=\"#said\">To the verdict</a>\n<main id=\"said\">\n");
    page.push_str(content.body.as_str());
    page.push_str(&save(&content.documents));
    page.push_str("</main>\n");
    page.push_str(&footer());
    for (at, document) in content.documents.iter().enumerate() {
        page.push_str(&island(&format!("record-{at}"), &document.json));
    }
    let shape = json!({ "kind": content.kind, "names": content.names });
    page.push_str(&island("shape", &shape.to_string()));
    if let Some(course) = content.course {
        page.push_str(&island("course", &value_of(course).to_string()));
    }
    page.push_str(&format!("<script>{CHARTS}</script>\n<script>{SCRIPT}</script>\n"));
    page.push_str("</body>\n</html>\n");
    page
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

fn footer() -> String {
    format!(
        "<footer>\n<p>Made by keepwarm {}. The page needs no network.</p>\n<details><summary>Licence of \
         the charts (uPlot)</summary><p class=\"codes\">{}</p></details>\n</footer>\n",
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
    base64::encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
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
