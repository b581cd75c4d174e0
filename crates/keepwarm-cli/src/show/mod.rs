//! Views of records for people.
//!
//! Owns layout, words and colours. Reads records, and nothing of the engine or the kernel. Prints
//! nothing: each view returns its text.

pub(crate) mod ab;
mod capacity;
mod detail;
pub(crate) mod formats;
pub(crate) mod lab;
pub(crate) mod load;
pub(crate) mod numbers;
mod one;
pub(crate) mod table;
pub(crate) mod watch;

use std::borrow::Cow;

use keepwarm_diagnose::knowledge;
use keepwarm_record::read::is_obeyed;

/// The room for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Columns {
    /// Width of running text: longer lines than 100 are hard to read.
    pub(crate) text: usize,
    /// Width of tables.
    pub(crate) table: usize,
}

impl Columns {
    /// A file has room for every table.
    pub(crate) const FILE: Self = Self { text: 100, table: usize::MAX };

    /// A terminal of this width. Below 40 columns, lines wrap.
    pub(crate) fn terminal(width: usize) -> Self {
        let width = width.max(40);
        Self { text: width.min(100), table: width }
    }
}

/// Replaces the characters of a text that came from outside and that a terminal would obey.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(is_obeyed) { text.replace(is_obeyed, "\u{fffd}").into() } else { text.into() }
}

/// Wraps a text in an SGR code, such as `1;31`, if colours are wanted.
fn paint(text: &str, code: &str, colour: bool) -> String {
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// The meaning of a finding's code, as `keepwarm explain` titles it.
fn title(code: &str) -> Option<&'static str> {
    let topics = knowledge::topics();
    topics.into_iter().find(|(name, _)| *name == code).map(|(_, title)| title)
}
