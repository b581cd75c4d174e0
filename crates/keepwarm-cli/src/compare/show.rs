//! The text of a comparison: the sentence first, then the table, then how it was found.

use keepwarm_record::compare::{Claim, Comparison, Row};

use crate::show::table::{Table, paragraph};
use crate::show::{Columns, printable};

/// Mark by which a script finds its own comment again, to replace it.
const MARK: &str = "<!-- keepwarm compare -->";

pub(super) fn text(comparison: &Comparison, colour: bool, columns: Columns) -> String {
    let mut text = paragraph("", &printable(&comparison.sentence()), columns.text);
    text.push('\n');
    let [base, new] = &comparison.names;
    let is_in_turn = comparison.rows.iter().any(|row| row.noise.is_some());
    let mut table = Table::default();
    let mut head = vec![short(base), short(new), "ratio".to_owned(), "95 % within".to_owned()];
    if is_in_turn {
        head.push("itself".to_owned());
    }
    head.push(String::new());
    table.row("", head);
    for row in &comparison.rows {
        let mut cells =
            vec![row.metric.show(row.base), row.metric.show(row.new), ratio(row), interval(row)];
        if is_in_turn {
            cells.push(noise(row));
        }
        cells.push(claim(row.claim).to_owned());
        table.row(row.metric.label, cells);
    }
    table.narrow(columns.table, &["itself"]);
    text.push_str(&table.render_within(columns.table, |head| {
        if colour { format!("\x1b[1m{head}\x1b[0m") } else { head.to_owned() }
    }));
    text.push('\n');
    text.push_str(&paragraph("", &comparison.method, columns.text));
    for note in &comparison.notes {
        text.push_str(&paragraph("Note: ", &printable(note), columns.text));
    }
    text
}

/// A comment for a pull request, with a mark that is not seen.
pub(super) fn github(comparison: &Comparison) -> String {
    let [base, new] = &comparison.names;
    let mut text = format!("{MARK}\n**{}**\n\n", escaped(&comparison.sentence()));
    text.push_str(&format!(
        "| | {} | {} | ratio | 95 % within | same code twice | |\n|---|---:|---:|---:|---:|---:|---|\n",
        escaped(base),
        escaped(new)
    ));
    for row in &comparison.rows {
        let mark = match row.claim {
            Claim::Better => "✅ ",
            Claim::Worse => "❌ ",
            Claim::NoDifference | Claim::TooFew => "",
        };
        text.push_str(&format!(
            "| {} | {} | {} | {} | {} | {} | {mark}{} |\n",
            row.metric.label,
            row.metric.show(row.base),
            row.metric.show(row.new),
            ratio(row),
            interval(row),
            noise(row),
            claim(row.claim)
        ));
    }
    text.push_str(&format!("\n{}\n", comparison.method));
    for note in &comparison.notes {
        text.push_str(&format!("\n{}.\n", escaped(note)));
    }
    text
}

/// A text without what Markdown, HTML or a terminal would obey.
fn escaped(text: &str) -> String {
    let text = printable(text);
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '*' | '`' | '[' | '_' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            '\n' => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// The end of a long name, which is what files differ in.
fn short(name: &str) -> String {
    const MOST: usize = 14;
    let name = printable(name);
    let length = name.chars().count();
    if length <= MOST {
        return name.into_owned();
    }
    let end: String = name.chars().skip(length - MOST + 1).collect();
    format!("…{end}")
}

fn ratio(row: &Row) -> String {
    row.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn interval(row: &Row) -> String {
    row.interval.map_or_else(|| "-".to_owned(), |(low, high)| format!("{low:.2}-{high:.2}"))
}

fn noise(row: &Row) -> String {
    row.noise.map_or_else(|| "-".to_owned(), |noise| format!("±{:.1} %", noise * 100.0))
}

const fn claim(claim: Claim) -> &'static str {
    match claim {
        Claim::Better => "better",
        Claim::Worse => "worse",
        Claim::NoDifference => "no difference",
        Claim::TooFew => "too few to say",
    }
}
