//! `keepwarm explain`: what is too long for `--help`, and the knowledge base in the terminal.

use keepwarm_diagnose::knowledge;
use keepwarm_load::ErrorClass;
use keepwarm_record::assertion::{self, Entry, Unit};

use crate::args::EXIT_CODES;
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

/// Words that people type, and the topic that answers them.
const ALIASES: [(&str, &str); 40] = [
    ("golang", "go"),
    ("nodejs", "node"),
    ("node.js", "node"),
    ("javascript", "node"),
    ("express", "node"),
    ("python3", "python"),
    ("requests", "python"),
    ("httpx", "python"),
    ("aiohttp", "python"),
    ("urllib3", "python"),
    ("gunicorn", "python"),
    ("uvicorn", "python"),
    ("jvm", "java"),
    ("okhttp", "java"),
    ("kotlin", "java"),
    ("tomcat", "java"),
    ("spring", "java"),
    ("c#", "dotnet"),
    (".net", "dotnet"),
    ("csharp", "dotnet"),
    ("kestrel", "dotnet"),
    ("guzzle", "php"),
    ("faraday", "ruby"),
    ("reqwest", "rust"),
    ("hyper", "rust"),
    ("axum", "rust"),
    ("eaddrnotavail", "D10"),
    ("cannot-assign-requested-address", "D10"),
    ("ephemeral-ports", "D10"),
    ("econnrefused", "D9"),
    ("connection-refused", "D9"),
    ("close-wait", "D7"),
    ("keep-alive", "D4"),
    ("keepalive", "D4"),
    ("econnreset", "reset-before-response"),
    ("connection-reset-by-peer", "reset-before-response"),
    ("assert", "assertions"),
    ("exit", EXIT_TOPIC),
    ("exit-code", EXIT_TOPIC),
    ("p99", "assertions"),
];

/// Topic with the exit codes.
const EXIT_TOPIC: &str = "exit-codes";

pub(crate) fn run(topic: Option<&str>) -> Result<(), Failure> {
    let Some(topic) = topic else {
        return output::print(&list());
    };
    let page = page(topic).ok_or_else(|| {
        let near = nearest(&normal(topic));
        let near = near.map_or_else(String::new, |near| format!("did you mean {near:?}? "));
        Failure::new(
            Exit::Usage,
            format!("there is nothing on {topic:?}; {near}`keepwarm explain` lists the topics"),
        )
    })?;
    output::print(&page)
}

/// One spelling for `TIME_WAIT`, `time wait` and `time-wait`.
fn normal(topic: &str) -> String {
    topic.trim().to_lowercase().replace(['_', ' '], "-")
}

/// Finds the page of any word that people type.
pub(crate) fn page(topic: &str) -> Option<String> {
    let name = normal(topic);
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, topic)| *topic);
    let name = alias.unwrap_or(&name);
    topic_page(name)
        .or_else(|| exit_code(name))
        .or_else(|| column(name))
        .or_else(|| error_class(name))
}

/// The exit codes, or one of them: `exit-3`, `3`.
fn exit_code(name: &str) -> Option<String> {
    let codes = EXIT_CODES.split_once('\n')?.1;
    if name == EXIT_TOPIC {
        return Some(format!("{EXIT_CODES}\n"));
    }
    let code = name.trim_start_matches("exit-").trim_start_matches("code-");
    code.parse::<u8>().ok()?;
    entry(
        codes,
        |line| line.split_whitespace().next() == Some(code),
        |line| line.starts_with("    "),
    )
    .map(|entry| format!("exit code\n\n{entry}\nkeepwarm explain exit-codes has all\n"))
}

/// A column of the table of a watch, by its head.
fn column(name: &str) -> Option<String> {
    let head = |line: &str| {
        let words = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '))?;
        words.split("  ").next().map(normal)
    };
    entry(
        columns::PAGE,
        |line| head(line).is_some_and(|head| head == name),
        |line| line.starts_with("    "),
    )
    .map(|entry| {
        format!("a column of `keepwarm watch`\n\n{entry}\nkeepwarm explain columns has all\n")
    })
}

/// The first entry whose first line is wanted, with the lines that go on with it.
fn entry(
    text: &str,
    is_first: impl Fn(&str) -> bool,
    goes_on: impl Fn(&str) -> bool,
) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| !is_first(line));
    let first = lines.next()?;
    let more = lines.take_while(|line| goes_on(line));
    Some(std::iter::once(first).chain(more).map(|line| format!("{line}\n")).collect())
}

/// A class of failed requests, with its hint.
fn error_class(name: &str) -> Option<String> {
    let class = ErrorClass::ALL.into_iter().find(|class| normal(class.as_str()) == name)?;
    let hint = class.hint().unwrap_or("its message says why");
    let text = format!("{}: a class of failed requests of `keepwarm load`\n\n", class.as_str());
    let next = format!("--assert 'errors.{}==0' fails a run for it", class.as_str());
    Some(
        text + &paragraph("", &format!("{hint}."), COLUMNS) + "\n" + &paragraph("", &next, COLUMNS),
    )
}

/// The topic or alias that differs least, if it differs little.
fn nearest(name: &str) -> Option<String> {
    let topics = topics().map(|(name, _)| name.to_owned());
    let aliases = ALIASES.iter().map(|(alias, _)| (*alias).to_owned());
    let all = topics.chain(aliases).map(|known| (distance(name, &normal(&known)), known));
    let near = all.min_by_key(|(distance, _)| *distance)?;
    (near.0 <= 2 && near.0 < name.len()).then_some(near.1)
}

/// Letters to insert, remove or replace until one word is the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    // A word much longer than any topic is near none.
    for (index, letter) in one.chars().take(64).enumerate() {
        let mut corner = std::mem::replace(&mut row[0], index + 1);
        for (at, same) in other.iter().enumerate() {
            let replaced = corner + usize::from(*same != letter);
            corner = row[at + 1];
            row[at + 1] = replaced.min(corner + 1).min(row[at] + 1);
        }
    }
    row.last().copied().unwrap_or(0) + one.chars().skip(64).count()
}

fn topic_page(topic: &str) -> Option<String> {
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
    [ASSERTIONS, COLUMN_NAMES, (EXIT_TOPIC, "what each exit code means")]
        .into_iter()
        .chain(knowledge::topics())
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
    for Entry { pattern, unit, meaning, .. } in table {
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
    fn typed_words_have_a_page() {
        for word in [
            "TIME_WAIT",
            "time_wait",
            "golang",
            "nodejs",
            "reqwest",
            "EADDRNOTAVAIL",
            "cannot assign requested address",
            "p99",
            "d2",
            "exit codes",
            "exit 3",
            "130",
            "open/s",
            "t-wait",
            "closed 1st/s",
            "cliff",
        ] {
            assert!(page(word).is_some_and(|page| page.lines().count() > 1), "{word}");
        }
        for class in ErrorClass::ALL {
            assert!(page(class.as_str()).is_some(), "{class:?}");
        }
        for (alias, _) in ALIASES {
            assert!(page(alias).is_some(), "{alias}");
        }
    }

    #[test]
    fn near_misses_get_a_suggestion() {
        for (typed, meant) in [("tim_wait", "time-wait"), ("pyhton", "python"), ("ngnix", "nginx")]
        {
            assert_eq!(nearest(&normal(typed)).as_deref(), Some(meant), "{typed}");
        }
        assert_eq!(nearest("something-else"), None);
        assert_eq!(nearest("x"), None);
    }

    #[test]
    fn assertions_page_has_every_name() {
        let page = assertions();
        for entry in assertion::table() {
            assert!(page.contains(entry.pattern), "{}", entry.pattern);
        }
    }
}
