//! Cells that are known to be wrong, as `known_wrong.txt` has them: `MECHANISM SITUATION SIDE VIEW
//! ASPECT`, and a question mark behind an aspect that is right in some runs. Behind a `#` stands why it
//! is not cured.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;

use crate::grade::{Cell, Verdict};
use crate::situation::Situation;

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/truth/known_wrong.txt")
}

const ASPECTS: [&str; 4] = ["verdict", "counts", "requests", "words"];

/// Marks, and whether each holds in some runs only.
type Marks<'a> = BTreeMap<&'a str, bool>;

fn read(text: &str) -> Marks<'_> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let marks = lines.map(|line| line.split_once('#').map_or(line, |(mark, _)| mark).trim_end());
    marks.map(|mark| (mark.trim_end_matches('?'), mark.ends_with('?'))).collect()
}

/// Returns the reason that stands behind a mark, with its `#`.
fn reason<'a>(text: &'a str, mark: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (before, reason) = line.split_once('#')?;
        (before.trim_end().trim_end_matches('?') == mark.trim_end_matches('?')).then_some(reason)
    })
}

fn text() -> String {
    std::fs::read_to_string(file()).unwrap_or_default()
}

/// How much may differ from the marks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rigour {
    /// Nothing.
    Strict,
    /// Differences that a busy machine may cause, which are printed.
    Lenient,
}

/// Returns the differences between the cells and the marks that fail the test. Writes the marks anew
/// where `KEEPWARM_TRUTH_MARK` is set.
pub(crate) fn compare(cells: &[Cell], rigour: Rigour) -> Vec<String> {
    let text = text();
    let marks = read(&text);
    match std::env::var("KEEPWARM_TRUTH_MARK").as_deref() {
        Err(_) => {}
        Ok("sometimes") => {
            doubt(cells, &marks, &text);
            return Vec::new();
        }
        Ok(_) => {
            write(cells, &marks, &text);
            return Vec::new();
        }
    }
    let all = differences(cells, &marks).map(|(_, difference)| difference);
    let (excused, failing): (Vec<_>, Vec<_>) =
        all.partition(|one| rigour == Rigour::Lenient && one.is_excusable);
    for one in excused {
        println!("excused: {}", one.text);
    }
    failing.into_iter().map(|one| one.text).collect()
}

/// A cell's aspect that differs from the marks.
struct Difference {
    text: String,
    /// A verdict that is unsure, a mark that goes, counts or requests, of which a busy machine mistakes
    /// one in a hundred in some runs. A sure verdict that is wrong is never excused.
    is_excusable: bool,
}

fn differences<'a>(
    cells: &'a [Cell],
    marks: &'a Marks<'_>,
) -> impl Iterator<Item = (&'a Cell, Difference)> {
    let judged = cells.iter().filter(|cell| cell.is_judged);
    let pairs = judged.flat_map(|cell| ASPECTS.map(|aspect| (cell, aspect)));
    pairs.filter_map(|(cell, aspect)| {
        let key = key(cell, aspect);
        let wrong = cell.wrong.iter().find(|(one, _)| *one == aspect);
        let difference = match (wrong, marks.get(key.as_str())) {
            (Some((_, why)), None) => Difference {
                text: format!("WRONG: {key}: {why}"),
                is_excusable: match aspect {
                    "verdict" => cell.verdict == Verdict::Unsure,
                    aspect => aspect == "counts" || aspect == "requests",
                },
            },
            (None, Some(false)) => {
                Difference { text: format!("RIGHT, remove the mark: {key}"), is_excusable: true }
            }
            _ => return None,
        };
        Some((cell, difference))
    })
}

/// Returns the situations of which every difference may be due to a busy machine.
pub(crate) fn excusable(cells: &[Cell]) -> VecDeque<&'static Situation> {
    if std::env::var_os("KEEPWARM_TRUTH_MARK").is_some() {
        return VecDeque::new();
    }
    let text = text();
    let marks = read(&text);
    let mut all = BTreeMap::<&str, (&'static Situation, bool)>::new();
    for (cell, difference) in differences(cells, &marks) {
        let (_, excusable) = all.entry(cell.situation.name).or_insert((cell.situation, true));
        *excusable &= difference.is_excusable;
    }
    all.into_values().filter(|(_, excusable)| *excusable).map(|(one, _)| one).collect()
}

/// Returns whether a line of the marks stands for the whole of something.
pub(crate) fn is_marked(name: &str) -> bool {
    text().lines().any(|line| line == format!("0 {name}"))
}

fn key(cell: &Cell, aspect: &str) -> String {
    let one = cell.situation;
    format!("{} {} {} {} {aspect}", one.mechanism, one.name, cell.side.name(), cell.view)
}

/// Puts a question mark behind what differs from the marks.
fn doubt(cells: &[Cell], marks: &Marks<'_>, text: &str) {
    let mut new: BTreeMap<String, bool> =
        marks.iter().map(|(mark, sometimes)| ((*mark).to_owned(), *sometimes)).collect();
    for cell in cells.iter().filter(|cell| cell.is_judged) {
        for aspect in ASPECTS {
            let key = key(cell, aspect);
            let wrong = cell.wrong.iter().any(|(one, _)| *one == aspect);
            if wrong != new.contains_key(&key) {
                new.insert(key, true);
            }
        }
    }
    save(new.into_iter().map(|(mark, sometimes)| marked(&mark, sometimes)).collect(), text);
}

fn marked(mark: &str, sometimes: bool) -> String {
    format!("{mark}{}", if sometimes { "?" } else { "" })
}

/// Keeps the marks of situations that were not played, and those that hold in some runs only.
fn write(cells: &[Cell], marks: &Marks<'_>, text: &str) {
    let is_of = |cell: &Cell, mark: &str| mark.split(' ').nth(1) == Some(cell.situation.name);
    let mut new: Vec<String> = Vec::new();
    for (mark, sometimes) in marks {
        let was_played = cells.iter().any(|cell| is_of(cell, mark));
        if !was_played || *sometimes {
            new.push(marked(mark, *sometimes));
        }
    }
    for cell in cells.iter().filter(|cell| cell.is_judged) {
        let keys = cell.wrong.iter().map(|(aspect, _)| key(cell, aspect));
        new.extend(keys.filter(|key| marks.get(key.as_str()) != Some(&true)));
    }
    save(new, text);
}

fn save(mut marks: Vec<String>, text: &str) {
    let number = |mark: &String| mark.split(' ').next().and_then(|one| one.parse::<u8>().ok());
    marks.sort_by_key(|mark| (number(mark), mark.clone()));
    marks.dedup();
    for mark in &mut marks {
        if let Some(reason) = reason(text, mark) {
            *mark = format!("{mark:<52} #{reason}");
        }
    }
    let head: String =
        text.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
    std::fs::write(file(), format!("{head}{}\n", marks.join("\n"))).unwrap();
}
