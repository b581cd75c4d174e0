//! The report of a watch for people: the answer, the table, the verdicts, and last what the watch
//! could not see.
//!
//! Owns the order of the parts and how they fit on a screen. `tables` has the tables, `cells` their
//! cells, `verdicts` the answer and the paragraphs.

mod cells;
pub(crate) mod columns;
pub(crate) mod levels;
mod tables;
#[cfg(test)]
mod tests;
mod verdicts;

use crate::show::numbers::{counted, thousands};
use keepwarm_record::watch::{
    DestinationRecord, Limitation, Mode, NamespacesRecord, PollsRecord, PriceRecord, ResetsRecord,
    WatchRecord,
};

use crate::show::table::{Table, paragraph};

#[cfg(test)]
pub(crate) use tables::COUNTERS;
pub(crate) use verdicts::answer;

/// Destinations that are shown; the others are counted.
const MAX_ROWS: usize = 15;
/// Rows of the table that are shown however low the terminal is.
const MIN_ROWS: usize = 3;
/// The page that has what the last lines leave out.
const EXPLAIN: &str = "`keepwarm explain levels`";

/// The room for a report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// For words.
    pub(crate) columns: usize,
    /// For the table.
    pub(crate) table_columns: usize,
    /// Lines, where the report has to fit on a screen.
    pub(crate) rows: Option<usize>,
}

pub(crate) fn render(record: &WatchRecord, colour: bool, page: Page) -> String {
    let columns = page.columns;
    let mut text = paragraph("", &verdicts::answer(record), columns);
    text.push_str(&head(record, columns));
    if let Some(polls) = &record.polls {
        text.push_str(&tables::counters(record.mode, polls, page));
        text.push_str(&verdicts::of_host(record, colour, columns));
    }
    let below = limitations(record, columns);
    if record.destinations.is_empty() {
        return format!("{text}\n{below}");
    }
    text.push('\n');
    let verdicts = resets(record, columns)
        + &growing(record, columns)
        + &prices(record, columns)
        + &verdicts::paragraphs(record, colour, columns);
    let rows = page.rows.map_or(MAX_ROWS, |rows| table_rows(rows, &text, &verdicts));
    let (table, least) = tables::destinations(record, rows);
    text.push_str(&fitted(table, page, least));
    let more = record.destinations.len().saturating_sub(rows);
    if more > 0 {
        text.push_str(&format!("and {more} more, quieter ones; --format json has all\n"));
    }
    if let Some(polls) = &record.polls {
        text.push_str(&bounds(record.mode, polls, columns));
    }
    format!("{text}{verdicts}\n{below}")
}

/// The number of rows for a screen of this many lines: a screen that is too low shows the busiest
/// destinations, and the first verdicts.
fn table_rows(rows: usize, above: &str, below: &str) -> usize {
    // One line has the names of the columns, one the number of further rows.
    let left = rows.saturating_sub(above.lines().count() + 2);
    left.saturating_sub(below.lines().count()).max(left / 2).clamp(MIN_ROWS, MAX_ROWS)
}

fn fitted(mut table: Table, page: Page, least: &[&str]) -> String {
    let taken = table.narrow(page.table_columns, least);
    let mut text = cut(&table.render(str::to_owned), page.table_columns);
    if !taken.is_empty() {
        let words =
            format!("no room for {}: widen the terminal, or use --format json", taken.join(", "));
        text.push_str(&paragraph("", &words, page.columns));
    }
    text
}

/// Cuts each line to a width.
fn cut(text: &str, columns: usize) -> String {
    let cut = |line: &str| {
        let line: String = line.chars().take(columns).collect();
        format!("{}\n", line.trim_end())
    };
    text.lines().map(cut).collect()
}

/// The reasons of resets of the destinations in the table, in the kernel's words.
fn resets(record: &WatchRecord, columns: usize) -> String {
    let line = |(name, resets): (String, &ResetsRecord)| {
        let reason = |(reason, count): (&String, &u64)| format!("{} {reason}", thousands(*count));
        let mut words: Vec<String> = resets.reasons.iter().map(reason).collect();
        if resets.after_fin > 0 {
            words.push(format!("{} after the other side's FIN", thousands(resets.after_fin)));
        }
        paragraph("", &format!("resets of {name}: {}", words.join(", ")), columns)
    };
    let shown = record.destinations.iter().take(MAX_ROWS);
    let with_resets = shown.filter_map(|one| {
        let resets = one.resets.as_ref().filter(|resets| !resets.is_empty())?;
        Some((cells::name_and_side(one), resets))
    });
    with_resets.map(line).collect()
}

/// The destinations whose connections stay open, and the file table that they fill.
fn growing(record: &WatchRecord, columns: usize) -> String {
    let line = |one: &DestinationRecord| {
        let name = cells::name_and_side(one);
        let mut words = match (one.growth_per_s, &one.files) {
            (Some(growth), _) => {
                format!("growing: {name} by {growth:.1} connections/s that stay open")
            }
            (None, Some(_)) => format!("growing: {name} and others, by connections that stay open"),
            (None, None) => return None,
        };
        if let Some(files) = &one.files {
            words.push_str(&format!(
                "; process {} has {} of {} files open, and may open no more in {} s (EMFILE, \"too many \
                 open files\")",
                files.pid,
                thousands(files.used),
                thousands(files.limit),
                thousands(files.exhausted_in_s)
            ));
        }
        Some(paragraph("", &words, columns))
    };
    record.destinations.iter().take(MAX_ROWS).filter_map(line).collect()
}

/// Waiting in each second from which it is worth a sentence.
const WORTH_A_PRICE_S: f64 = 0.01;

/// The waiting that new connections cost, of the destinations in the table.
fn prices(record: &WatchRecord, columns: usize) -> String {
    let line = |one: &DestinationRecord| {
        let price = one.price.filter(|price| price.waiting_s_per_s >= WORTH_A_PRICE_S)?;
        let words = format!("price of {}: {}", cells::name_and_side(one), price_of(&price));
        Some(paragraph("", &words, columns))
    };
    record.destinations.iter().take(MAX_ROWS).filter_map(line).collect()
}

fn price_of(price: &PriceRecord) -> String {
    let waiting = |seconds: f64| {
        let digits = if seconds < 10.0 { 2 } else { 0 };
        format!("{seconds:.digits$} s")
    };
    let connects = match price.connects_per_s {
        rate if rate < 10.0 => format!("{rate:.1}"),
        rate => thousands(rate.round() as u64),
    };
    let product = format!("{connects} connects/s × {}", cells::round_trip(price.round_trip_us));
    if price.tls_round_trips == 0 {
        return format!("{product}: {} of waiting in each second", waiting(price.waiting_s_per_s));
    }
    let with_13 = PriceRecord::of(price.connects_per_s, price.round_trip_us, 1).waiting_s_per_s;
    format!(
        "{product} and two round trips of TLS: {} of waiting in each second ({} with TLS 1.3, which takes \
         one)",
        waiting(price.waiting_s_per_s),
        waiting(with_13)
    )
}

/// Lateness of a watch from which evidence may have been gone before it was looked for.
const WORTH_A_NOTE_S: f64 = 0.3;

/// The time that the report is about, the level, and everything that weakens the numbers.
fn head(record: &WatchRecord, columns: usize) -> String {
    let mut notes = vec![about(record)];
    if let (Some(why), Some(above)) = (&record.level_refused, record.level.above()) {
        notes.push(format!("not level {above}: {why}"));
    }
    if let Some(of) = &record.network_namespaces {
        notes.push(namespaces(of));
    }
    let some = |count: Option<u64>| count.filter(|count| *count > 0);
    let were = |count: u64| if count == 1 { "was" } else { "were" };
    if let Some(lost) = some(record.lost_trace_events) {
        notes.push(format!(
            "{} {} lost: lifetimes, processes and reasons are of fewer connections",
            counted(lost, "traced event"),
            were(lost)
        ));
    }
    if let Some(lost) = some(record.lost_events) {
        notes.push(format!(
            "{} {} lost by the kernel: opened and closed may be too small by as many",
            counted(lost, "event"),
            were(lost)
        ));
    }
    if record.events_overdue == Some(true) {
        notes.push(
            "the kernel had not told all closes when the watch ended, for it got no processor time: opened \
             and closed may be too small"
                .to_owned(),
        );
    }
    if let Some(late) = record.late_s.filter(|late| *late >= WORTH_A_NOTE_S) {
        notes.push(format!(
            "the watch was late by {late:.1} s, for want of processor time or stopped: closes of then \
             may be unclassified"
        ));
    }
    if let Some(broken) = record.broken_rules.as_ref().filter(|broken| !broken.is_empty()) {
        notes.push(format!(
            "this kernel does not report {} as others do (found by a test on loopback): verdicts that \
             rest on it are left out",
            broken.join(", ")
        ));
    }
    if let Some(why) = &record.self_test_error {
        notes.push(format!("the test of how this kernel reports closes could not run: {why}"));
    }
    if record.without_owner > 0 {
        // Root that lacks something else, such as tracefs, has no need of root.
        let lacks_root = record.level != keepwarm_record::watch::Level::L2
            && record.level_refused.as_ref().is_none_or(|why| why.contains("root"));
        notes.push(format!(
            "left out: {} without a known owner; watch a while (--for 10s){}",
            counted(record.without_owner, "destination"),
            if lacks_root { ", or as root" } else { "" }
        ));
    }
    if let Some(aborts) = some(record.unattributed_aborts) {
        let aborts = counted(aborts, "abort");
        notes.push(format!("in no row: {aborts} on this host, whose port the kernel had cleared"));
    }
    notes.iter().map(|note| paragraph("", note, columns)).collect()
}

/// The network namespaces, and those of them that are not seen.
fn namespaces(of: &NamespacesRecord) -> String {
    let mut words = counted(of.watched, "network namespace");
    let more = [
        (of.ended, "ended, and counted".to_owned()),
        (of.left_out, "left out: at most 256 are watched at once".to_owned()),
    ];
    for (count, what) in more.iter().filter(|(count, _)| *count > 0) {
        words.push_str(&format!("; {} {what}", thousands(*count)));
    }
    if let (1.., Some(why)) = (of.refused, &of.refused_because) {
        words.push_str(&format!("; {} could not be watched: {why}", thousands(of.refused)));
    }
    if of.unreadable > 0 {
        let processes = counted_as(of.unreadable, "process", "processes");
        words.push_str(&format!("; those of {processes} may not be read (CAP_SYS_PTRACE)"));
    }
    words
}

fn counted_as(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(count), if count == 1 { one } else { many })
}

fn about(record: &WatchRecord) -> String {
    let level = format!("level {} ({})", record.level, record.level.sources());
    match (record.mode, record.watched_s) {
        (Mode::OneDump, _) => "one dump of the socket table".to_owned(),
        (Mode::Window { seconds }, Some(watched)) if watched > seconds => {
            format!("the last {seconds:.0} s of {watched:.0} s, {level}")
        }
        (Mode::Window { seconds }, _) => format!("{seconds:.1} s, {level}"),
    }
}

/// The meaning of the columns that level L0 has.
fn bounds(mode: Mode, polls: &PollsRecord, columns: usize) -> String {
    if mode == Mode::OneDump {
        return String::new();
    }
    let words = format!(
        "new, closed 1st (by this side) and gone (without a TIME_WAIT here) are lower bounds, from \
         {} polls of {}; kept: open for two seconds or more",
        thousands(polls.count),
        polls.source
    );
    paragraph("", &words, columns)
}

/// The facts that were not seen and the findings that were not judged, folded, and the next step.
fn limitations(record: &WatchRecord, columns: usize) -> String {
    let mode = match record.mode {
        Mode::OneDump => "in one dump".to_owned(),
        Mode::Window { .. } => format!("at level {}", record.level),
    };
    let mut words = format!("not seen {mode}: {}", record.limitations);
    let Some(polls) = &record.polls else {
        return paragraph("", &format!("{words} ({EXPLAIN})"), columns);
    };
    if !polls.not_judged.is_empty() {
        let codes: Vec<&str> = polls.not_judged.iter().map(|one| one.what.as_str()).collect();
        words.push_str(&format!("; not judged: {}", codes.join(", ")));
    }
    // The list of the level is part of the sentence above; one of the system is not.
    let is_of_system =
        |one: &&Limitation| one.what == keepwarm_record::watch::NOT_SEEN_WITHOUT_TIME_WAITS.0;
    for one in polls.not_seen.iter().filter(is_of_system) {
        words.push_str(&format!("; not known: {}: {}", one.what, one.why));
    }
    paragraph("", &format!("{words} ({EXPLAIN} has the reasons)"), columns)
        + &paragraph("to see more: ", &polls.hint, columns)
}
