//! Loads two targets in turn: base, new, new, base, round by round.
//!
//! Owns the commands that are run, which are this very tool's loads, and what is done about a run
//! that fails or is invalid.

use std::process::{Command, Stdio};

use keepwarm_record::compare::{Comparison, Round};
use keepwarm_record::load::{LoadRecord, Trust};
use keepwarm_record::read::{AnyRecord, read};

use crate::args::records::CompareOptions;
use crate::exit::{Exit, Failure};
use crate::output::Progress;

/// Runs of one load before it is given up as invalid.
const TRIES: usize = 3;

/// Command that an arm runs.
const LOAD: &str = "load";

/// One of the two: its name, and the arguments of its load.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arm {
    name: String,
    arguments: Vec<String>,
}

/// Returns the two arms; `None` where the arguments are two files.
pub(super) fn arms(options: &CompareOptions) -> Result<Option<[Arm; 2]>, Failure> {
    let [base, new] = [&options.base, &options.new];
    let is_turn = |text: &String| {
        text.split_once('=')
            .is_some_and(|(_, value)| value.starts_with("load ") || options.each.is_some())
    };
    if !is_turn(base) && !is_turn(new) {
        if options.each.is_some() {
            let message = "--each is given, so write the targets as NAME=URL, such as \
                           base=http://127.0.0.1:8081/ new=http://127.0.0.1:8082/";
            return Err(Failure::new(Exit::Usage, message));
        }
        return Ok(None);
    }
    let (base, new) = (arm(base, options)?, arm(new, options)?);
    if base.name == new.name {
        let message = format!("both are named {:?}: give each a name of its own", base.name);
        return Err(Failure::new(Exit::Usage, message));
    }
    Ok(Some([base, new]))
}

fn arm(text: &str, options: &CompareOptions) -> Result<Arm, Failure> {
    let usage = |message: String| Failure::new(Exit::Usage, message);
    let (name, value) = text.split_once('=').ok_or_else(|| {
        usage(format!("{text:?} has no name: write NAME=URL or NAME='load … URL'"))
    })?;
    let line =
        options.each.as_ref().map_or_else(|| value.to_owned(), |each| format!("{each} {value}"));
    let mut arguments = words(&line).map_err(usage)?;
    if arguments.first().map(String::as_str) != Some(LOAD) {
        return Err(usage(format!("{line:?} is not a load: begin it with load")));
    }
    let taken = ["-o", "--output", "--format"];
    if let Some(flag) = arguments.iter().find(|one| taken.iter().any(|flag| one.starts_with(flag)))
    {
        return Err(usage(format!("{flag} is the comparison's own: leave it out of the load")));
    }
    arguments.extend(["--format".to_owned(), "json".to_owned()]);
    Ok(Arm { name: name.to_owned(), arguments })
}

/// Splits a line into words as a shell does: blanks, quotes, backslashes. Nothing is expanded.
fn words(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            (letter, Some(end)) if letter == end => quote = None,
            ('\\', None | Some('"')) => word.get_or_insert_default().extend(letters.next()),
            (letter, Some(_)) => word.get_or_insert_default().push(letter),
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (blank, None) if blank.is_whitespace() => words.extend(word.take()),
            (letter, None) => word.get_or_insert_default().push(letter),
        }
    }
    if let Some(quote) = quote {
        return Err(format!("a quote ({quote}) is open in {line:?}"));
    }
    words.extend(word);
    Ok(words)
}

/// Runs all rounds, and compares them.
pub(super) fn compare(arms: &[Arm; 2], options: &CompareOptions) -> Result<Comparison, Failure> {
    let mut progress = Progress::new();
    let mut tally = Tally::default();
    let mut rounds = Vec::new();
    let [base, new] = arms;
    for number in 1..=options.rounds {
        progress.update(&format!("compare: round {number} of {}", options.rounds));
        let first = run(base, &mut tally)?;
        let both = [run(new, &mut tally)?, run(new, &mut tally)?];
        rounds.push(Round { base: [first, run(base, &mut tally)?], new: both });
    }
    progress.clear();
    let names = [base.name.clone(), new.name.clone()];
    let mut comparison = Comparison::in_turn(names, &rounds);
    let runs = options.rounds * 4;
    comparison.notes.push(format!(
        "{} rounds in turn (base new new base); the load itself: trustworthy in {} of {runs} runs, with \
         care in {}",
        options.rounds, tally.trustworthy, tally.with_care
    ));
    if tally.repeated > 0 {
        comparison.notes.push(format!(
            "{} runs were invalid, and were repeated: their loads were late, or contradicted themselves",
            tally.repeated
        ));
    }
    Ok(comparison)
}

/// Runs by the trust that they deserve.
#[derive(Debug, Default)]
struct Tally {
    trustworthy: usize,
    with_care: usize,
    repeated: usize,
}

/// Runs one load; an invalid one is repeated.
fn run(arm: &Arm, tally: &mut Tally) -> Result<LoadRecord, Failure> {
    let mut why = String::new();
    for _ in 0..TRIES {
        let record = once(arm)?;
        match record.verdict.trust {
            Trust::Trustworthy => tally.trustworthy += 1,
            Trust::WithCare => tally.with_care += 1,
            Trust::Invalid => {
                tally.repeated += 1;
                why = record.verdict.reasons.first().cloned().unwrap_or_default();
                continue;
            }
        }
        return Ok(record);
    }
    let message = format!(
        "nothing can be compared: {TRIES} runs of {} in a row were invalid measurements: {why}",
        arm.name
    );
    Err(Failure::new(Exit::Invalid, message))
}

/// Runs one load, and reads its record. The exit code of a load that left a record is not looked at:
/// the record says the same.
fn once(arm: &Arm) -> Result<LoadRecord, Failure> {
    let failed =
        |what: String| Failure::new(Exit::Child, format!("the load of {} {what}", arm.name));
    let program =
        std::env::current_exe().map_err(|error| failed(format!("cannot be found: {error}")))?;
    let output = Command::new(program)
        .args(&arm.arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let Ok(AnyRecord::Load(record)) = read(&output.stdout).map(|read| read.record) else {
        let code = output.status.code().and_then(Exit::from_code).unwrap_or(Exit::Child);
        return Err(Failure::new(code, format!("the load of {} left no record: {said}", arm.name)));
    };
    if record.is_unreachable() || record.requests.completed == 0 {
        let code = output.status.code().and_then(Exit::from_code).unwrap_or(Exit::Unreachable);
        return Err(Failure::new(
            code,
            format!("the load of {} has nothing to compare: {said}", arm.name),
        ));
    }
    Ok(*record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_split_as_in_a_shell() {
        for (line, expected) in [
            ("load -z 10s  URL", vec!["load", "-z", "10s", "URL"]),
            ("load -H 'A: b c' \"d e\"", vec!["load", "-H", "A: b c", "d e"]),
            (r#"a\ b "c\"d" '' e'f g'h"#, vec!["a b", "c\"d", "", "ef gh"]),
            ("", vec![]),
        ] {
            assert_eq!(words(line).expect(line), expected, "{line}");
        }
        assert!(words("load 'x").is_err());
    }
}
