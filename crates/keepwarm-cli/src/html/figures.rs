//! Numbers of a record in a page. Each is read from the document by its path, and the path stands
//! beside it (`data-key`), so that a test can hold every figure in a page against the record.

use keepwarm_record::numbers::{millis, thousands};
use serde_json::Value;

use super::write::escape;

/// The numbers of one document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures<'a> {
    value: &'a Value,
    /// Number of the document in the page.
    document: usize,
    /// Path of the part that names begin at, such as `/runs/0`.
    root: &'a str,
}

/// The unit of a figure in a table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Unit {
    Count,
    Millis,
    Decimal,
    Rate,
    Share,
}

impl<'a> Figures<'a> {
    pub(super) const fn new(value: &'a Value, document: usize, root: &'a str) -> Self {
        Self { value, document, root }
    }

    fn number(&self, path: &str) -> Option<f64> {
        self.value.pointer(&format!("{}{path}", self.root)).and_then(Value::as_f64)
    }

    fn count_of(&self, path: &str) -> Option<u64> {
        self.value.pointer(&format!("{}{path}", self.root)).and_then(Value::as_u64)
    }

    /// A figure and where it comes from.
    fn figure(&self, path: &str, unit: &str, text: Option<String>) -> String {
        let text = text.unwrap_or_else(|| "-".to_owned());
        format!(
            "<span class=\"n\" data-document=\"{}\" data-key=\"{}\" data-unit=\"{unit}\">{}</span>",
            self.document,
            escape(&format!("{}{path}", self.root)),
            escape(&text)
        )
    }

    /// A figure of a unit.
    pub(super) fn show(&self, unit: Unit, path: &str) -> String {
        match unit {
            Unit::Count => self.count(path),
            Unit::Millis => self.millis(path),
            Unit::Decimal => self.decimal(path),
            Unit::Rate => self.rate(path),
            Unit::Share => self.share(path),
        }
    }

    /// A whole number.
    pub(super) fn count(&self, path: &str) -> String {
        self.figure(path, "count", self.count_of(path).map(thousands))
    }

    /// A time in microseconds, shown in milliseconds.
    pub(super) fn millis(&self, path: &str) -> String {
        self.figure(path, "us", self.count_of(path).map(|us| format!("{} ms", millis(us))))
    }

    /// A number with decimals, shown with one.
    pub(super) fn decimal(&self, path: &str) -> String {
        self.figure(path, "decimal", self.number(path).map(|value| format!("{value:.1}")))
    }

    /// A rate, shown whole.
    pub(super) fn rate(&self, path: &str) -> String {
        let text = self.number(path).map(|value| format!("{}/s", thousands(value.round() as u64)));
        self.figure(path, "rate", text)
    }

    /// A length of time in seconds.
    pub(super) fn seconds(&self, path: &str) -> String {
        self.figure(path, "s", self.number(path).map(|value| format!("{value:.2} s")))
    }

    /// A share, shown as a percentage.
    pub(super) fn share(&self, path: &str) -> String {
        self.figure(path, "share", self.number(path).map(|value| format!("{:.1} %", value * 100.0)))
    }

    /// An interval of times, or nothing.
    pub(super) fn interval(&self, path: &str) -> String {
        let pair = self.value.pointer(&format!("{}{path}", self.root)).and_then(Value::as_array);
        let ends: Vec<u64> = pair.into_iter().flatten().filter_map(Value::as_u64).collect();
        match ends[..] {
            [low, high] => {
                let text = format!("{} to {} ms", millis(low), millis(high));
                self.figure(path, "interval", Some(text))
            }
            _ => String::new(),
        }
    }
}
