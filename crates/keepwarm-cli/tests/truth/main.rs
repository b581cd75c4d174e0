//! Holds `keepwarm watch` against packets, off loopback: real programs on two hosts with a cable
//! between them, watched from both as user nobody and as root.
//!
//! A [`Situation`] is data: programs, events of the cable, the codes that each side has to be told,
//! and the codes that must not be said. `tcpdump` on each host is the truth of who closed first and
//! how many connections were opened. A verdict may be unsure where the situation admits it; it may
//! never be sure and wrong.
//!
//! `just truth` plays all situations; the core of them takes about a minute. Both print a table. Cells
//! that are wrong today stand in `known_wrong.txt`, each with the number of the mechanism that its
//! cure belongs to: a marked cell that is right fails `just truth`, so that the mark goes. The core,
//! which is played in every test run, excuses what a busy machine may cause.
//! `KEEPWARM_TRUTH_MARK=1` writes the file anew, `KEEPWARM_TRUTH_MARK=sometimes` puts a question mark
//! behind what differs from the file; such a cell may be right or wrong. `KEEPWARM_TRUTH_ONLY=words`
//! plays the situations whose name has one of the words, `KEEPWARM_TRUTH_JOBS` are played at once (3).
//! With `KEEPWARM_TRUTH_KEEP=1` the folder of the programs stays, with what each watch has said.

// A helper of a test is a test: a panic is its answer.
#![allow(clippy::unwrap_used)]
// The table is for the reader of a run.
#![allow(clippy::print_stdout, clippy::print_stderr)]

#[path = "../common/mod.rs"]
mod common;
mod grade;
mod marks;
mod mixtures;
mod packets;
mod programs;
mod situation;
mod situations;
mod stage;
mod table;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Instant;

use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::Wire;

use crate::grade::Cell;
use crate::marks::Rigour;
use crate::programs::Tools;
use crate::situation::Situation;

/// Plays of a situation after the first, until what may be due to a busy machine is gone.
const AGAIN: u32 = 2;

#[test]
fn core_situations_are_judged_rightly() {
    judge(|situation| situation.core, "core", Rigour::Lenient);
}

#[test]
#[ignore = "takes minutes: just truth"]
fn all_situations_are_judged_rightly() {
    judge(|_| true, "all", Rigour::Strict);
}

/// The figure of docs/watching.md: how often a finding names a cause that the generator put in.
#[test]
#[ignore = "takes many minutes: just calibrate"]
fn sure_findings_name_causes_of_mixtures() {
    let Some(tools) = tools() else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let (mixtures, seed) = (
        number("KEEPWARM_TRUTH_MIXTURES").unwrap_or(200),
        number("KEEPWARM_TRUTH_SEED").unwrap_or(1),
    );
    let is_wanted = wanted();
    let all = (0..mixtures).map(|one| mixtures::mixture(seed, one));
    let (cells, broken) = play(all.filter(|one| is_wanted(one)).collect(), &tools);
    let (text, holds) = mixtures::calibration(&cells);
    println!("{mixtures} mixtures of seed {seed}\n{text}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
    assert_eq!(
        holds,
        !marks::is_marked("calibration"),
        "whether sure findings are right 95 times of 100; the mark in known_wrong.txt says the other"
    );
}

fn tools() -> Option<Tools> {
    if let Err(error) = Wire::lay() {
        skipped::because(&format!("a wire takes root and /dev/net/tun: {error}"));
        return None;
    }
    if std::fs::read_dir("/sys/kernel/tracing").is_ok_and(|mut files| files.next().is_none()) {
        skipped::because("level L2, which takes tracefs: root watches at level L1 too");
    }
    Tools::find()
}

/// Returns whether a situation is to be played: its name has one of the words of
/// `KEEPWARM_TRUTH_ONLY`, or is one with a full stop behind.
fn wanted() -> impl Fn(&Situation) -> bool {
    let only = std::env::var("KEEPWARM_TRUTH_ONLY").unwrap_or_default();
    let only: Vec<String> = only.split_whitespace().map(str::to_owned).collect();
    let fits = |name: &str, word: &str| match word.strip_suffix('.') {
        Some(whole) => name == whole,
        None => name.contains(word),
    };
    move |one| only.is_empty() || only.iter().any(|word| fits(one.name, word))
}

/// Plays the chosen situations, prints the table, and compares it with the marks.
fn judge(chosen: impl Fn(&Situation) -> bool, name: &str, rigour: Rigour) {
    let Some(tools) = tools() else { return };
    let is_wanted = wanted();
    let queue: VecDeque<&'static Situation> =
        situations::all().filter(|one| chosen(one) && is_wanted(one)).collect();
    let (mut cells, mut surprises) = play(queue, &tools);
    for _ in 0..AGAIN {
        let doubtful = marks::excusable(&cells);
        if doubtful.is_empty() {
            break;
        }
        // A busy machine makes timeouts late, and a verdict less sure: they are played once more.
        eprintln!("once more: {:?}", doubtful.iter().map(|one| one.name).collect::<Vec<_>>());
        let (again, broken) = play(doubtful, &tools);
        cells.retain(|cell| again.iter().all(|one| one.situation.name != cell.situation.name));
        cells.extend(again);
        cells.sort_by_key(|cell| situations::all().position(|one| one.name == cell.situation.name));
        surprises.extend(broken);
    }
    let text = table::render(&cells);
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("truth-{name}.txt"));
    std::fs::write(&file, &text).unwrap();
    surprises.extend(marks::compare(&cells, rigour));
    println!("{text}\nThe table: {}", file.display());
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

/// Returns the cells in the order of the situations, and the situations that could not be played.
fn play(queue: VecDeque<&'static Situation>, tools: &Tools) -> (Vec<Cell>, Vec<String>) {
    let jobs = std::env::var("KEEPWARM_TRUTH_JOBS").ok().and_then(|jobs| jobs.parse().ok());
    let order: Vec<&str> = queue.iter().map(|one| one.name).collect();
    let (queue, cells, broken) =
        (Mutex::new(queue), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let next = queue.lock().unwrap().pop_front();
            let Some(situation) = next else { return };
            if let Some(missing) = tools.missing(situation.needs) {
                skipped::because(&format!("{}: no {missing}", situation.name));
                continue;
            }
            let begin = Instant::now();
            let played = catch_unwind(AssertUnwindSafe(|| {
                grade::cells(situation, &stage::play(situation, tools))
            }));
            eprintln!("{} took {:.1} s", situation.name, begin.elapsed().as_secs_f64());
            match played {
                Ok(played) => cells.lock().unwrap().extend(played),
                Err(_) => broken.lock().unwrap().push(format!("BROKEN: {}", situation.name)),
            }
        }
    };
    std::thread::scope(|scope| {
        (0..jobs.unwrap_or(3)).for_each(|_| drop(scope.spawn(work)));
    });
    let mut cells = cells.into_inner().unwrap();
    let place = |cell: &Cell| order.iter().position(|name| *name == cell.situation.name);
    cells.sort_by_key(place);
    (cells, broken.into_inner().unwrap())
}
