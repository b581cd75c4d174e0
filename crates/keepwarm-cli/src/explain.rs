//! `keepwarm explain`: what is too long for `--help`, and the knowledge base in the terminal.

use keepwarm_diagnose::knowledge;
use keepwarm_record::assertion::{self, Entry, Unit};

use crate::exit::{Exit, Failure};
use crate::output;
use crate::show::table::paragraph;
use crate::show::watch::{columns, levels};

/// Width of the narrowest terminal that pages fit into.
const COLUMNS: usize = 80;
/// Topics about this tool, which are not in the knowledge base.
const ASSERTIONS: (&str, &str) = ("assertions", "what --assert can say");
const COLUMN_NAMES: (&str, &str) = ("columns", "what the table of `keepwarm watch` shows");

/// The topic of the knowledge base to which this tool adds what its reports leave out.
const LEVELS: &str = "levels";

pub(crate) fn run(topic: Option<&str>) -> Result<(), Failure> {
    let Some(topic) = topic else {
        return output::print(&list());
    };
    let page = page(topic).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("there is nothing on {topic:?}; `keepwarm explain` lists the topics"),
        )
    })?;
    output::print(&page)
}

pub(crate) fn page(topic: &str) -> Option<String> {
    if topic == ASSERTIONS.0 {
        return Some(assertions());
    }
    if topic == COLUMN_NAMES.0 {
        return Some(format!("{}\n", columns::PAGE));
    }
    let page = wrap(&knowledge::explain(topic)?);
    Some(if topic == LEVELS { page + &levels::reasons(COLUMNS) } else { page })
}

fn topics() -> impl Iterator<Item = (&'static str, &'static str)> {
    [ASSERTIONS, COLUMN_NAMES].into_iter().chain(knowledge::topics())
}

pub(crate) fn list() -> String {
    let width = topics().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = "keepwarm explain TOPIC, where TOPIC is one of\n\n".to_owned();
    for (name, title) in topics() {
        text.push_str(&format!("  {name:<width$}  {title}\n"));
    }
    text
}

/// The table of names that can be asserted on.
fn assertions() -> String {
    let table = assertion::table();
    let width = table.iter().map(|entry| entry.pattern.len()).max().unwrap_or(0);
    let mut text = String::from(
        "An assertion is a name, a relation and a bound: --assert 'p99<20ms'. It can be\n\
         given several times; if one does not hold, or its name was not measured in the\n\
         run, keepwarm ends with exit code 10. Relations are <  <=  >  >=  ==  and !=. A\n\
         bound has the unit of its name:\n\n",
    );
    for unit in Unit::ALL {
        text.push_str(&format!("  {:<11} such as {}\n", unit.as_str(), unit.example()));
    }
    text.push('\n');
    for Entry { pattern, unit, meaning } in table {
        let label = format!("  {pattern:<width$}  {:<11} ", unit.as_str());
        text.push_str(&paragraph(&label, meaning, COLUMNS));
    }
    for (name, words) in assertion::placeholders() {
        text.push('\n');
        text.push_str(&paragraph(&format!("  {name} is one of "), &words.join(", "), COLUMNS));
    }
    text
}

/// Wraps each line, its own indent kept.
fn wrap(page: &str) -> String {
    let line = |line: &str| {
        let text = line.trim_start();
        if text.is_empty() {
            return "\n".to_owned();
        }
        paragraph(&" ".repeat(line.len() - text.len()), text, COLUMNS)
    };
    page.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_fits_80_columns() {
        for page in topics().map(|(topic, _)| page(topic).unwrap()).chain([list()]) {
            for line in page.lines() {
                assert!(line.chars().count() <= COLUMNS, "{line}");
                assert_eq!(line.trim_end(), line);
            }
            assert!(page.ends_with('\n') && !page.ends_with("\n\n"), "{page}");
        }
    }

    #[test]
    fn assertions_page_has_every_name() {
        let page = assertions();
        for entry in assertion::table() {
            assert!(page.contains(entry.pattern), "{}", entry.pattern);
        }
    }
}
