//! `keepwarm explain`: what is too long for `--help`, and the knowledge base in the terminal.

use keepwarm_diagnose::knowledge;

use crate::exit::{Exit, Failure};
use crate::table::paragraph;
use crate::{assertion, output};

const COLUMNS: usize = 100;
/// The one topic that is not in the knowledge base.
const ASSERTIONS: (&str, &str) = ("assertions", "what --assert can say");

pub(crate) fn run(topic: Option<&str>) -> Result<(), Failure> {
    let Some(topic) = topic else {
        return output::print(&list());
    };
    if topic == ASSERTIONS.0 {
        return output::print(&assertion::help());
    }
    let page = knowledge::explain(topic).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format!("there is nothing on {topic:?}; `keepwarm explain` lists the topics"),
        )
    })?;
    output::print(&wrap(&page))
}

fn list() -> String {
    let topics: Vec<_> = [ASSERTIONS].into_iter().chain(knowledge::topics()).collect();
    let width = topics.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut text = "keepwarm explain TOPIC, where TOPIC is one of\n\n".to_owned();
    for (name, title) in topics {
        text.push_str(&format!("  {name:<width$}  {title}\n"));
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
