//! The screen of a watch: where reports go, one below the other or each in the place of the last.
//!
//! Owns the drawing in place and the size of the page. What stands in a report is `show`'s.

use std::io::IsTerminal;

use keepwarm_record::watch::WatchRecord;

use crate::exit::Failure;
use crate::output;
use crate::show::watch::{Page, render};

/// The width of text where the output is no terminal, and the widest on one: longer lines are hard
/// to read.
const COLUMNS: usize = 100;
/// The height of a terminal that does not say how high it is.
const ROWS: usize = 24;

/// How reports follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drawing {
    /// Each below the one before it.
    Appended,
    /// Each in the place of the one before it: a live watch on a terminal.
    InPlace,
}

/// A place for reports.
#[derive(Debug)]
pub(crate) struct Screen {
    drawing: Drawing,
    /// Lines of the report that is on the screen.
    lines: usize,
}

impl Screen {
    pub(crate) const fn new(drawing: Drawing) -> Self {
        Self { drawing, lines: 0 }
    }

    /// Shows a report. On a terminal that can be drawn over, the next report takes its place; elsewhere
    /// it is appended.
    pub(crate) fn refresh(&mut self, record: &WatchRecord) -> Result<(), Failure> {
        if self.drawing == Drawing::Appended {
            return self.finish(record);
        }
        let (columns, rows) = size();
        let last_row = rows.saturating_sub(1);
        let page =
            Page { columns: columns.min(COLUMNS), table_columns: columns, rows: Some(last_row) };
        let text = render(record, output::colour(), page);
        // A line that wraps, or scrolls away, could not be drawn over.
        let lines: Vec<String> =
            text.lines().take(last_row).map(|line| cut(line, columns)).collect();
        let erase = self.erase();
        self.lines = lines.len();
        output::print(&format!("{erase}{}\n", lines.join("\n")))
    }

    /// Shows a report that stays, so it need not fit.
    pub(crate) fn finish(&mut self, record: &WatchRecord) -> Result<(), Failure> {
        let erase = if self.drawing == Drawing::InPlace { self.erase() } else { String::new() };
        output::print(&format!("{erase}{}", render(record, output::colour(), page())))
    }

    /// Goes up to where the last report began, and clears from there.
    fn erase(&self) -> String {
        let up = if self.lines > 0 { format!("\x1b[{}F", self.lines) } else { String::new() };
        format!("{up}\x1b[J")
    }
}

/// Returns true where stdout is a terminal that can be drawn on.
pub(crate) fn is_terminal() -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    std::io::stdout().is_terminal() && !dumb
}

/// The page of a report that stays: a file has room for every column.
pub(crate) fn page() -> Page {
    if !std::io::stdout().is_terminal() {
        return Page { columns: COLUMNS, table_columns: usize::MAX, rows: None };
    }
    let (columns, _) = size();
    Page { columns: columns.min(COLUMNS), table_columns: columns, rows: None }
}

/// Columns and rows of the terminal.
fn size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => (COLUMNS, ROWS),
    }
}

/// Cuts a line to what fits; colours take no room.
fn cut(line: &str, columns: usize) -> String {
    let mut cut = String::new();
    let (mut width, mut escaped) = (0, false);
    for letter in line.chars() {
        escaped |= letter == '\x1b';
        if escaped {
            escaped = letter != 'm';
        } else if width == columns {
            continue;
        } else {
            width += 1;
        }
        cut.push(letter);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_take_no_room() {
        assert_eq!(cut("abcdef", 4), "abcd");
        assert_eq!(cut("\x1b[1;31mabcdef\x1b[0m", 4), "\x1b[1;31mabcd\x1b[0m");
        assert_eq!(cut("abc", 4), "abc");
    }
}
