//! The traffic for people: a table, and the verdicts below it.

use keepwarm_diagnose::{Cause, Finding, Ports};
use keepwarm_sockets::{Histogram, Side};

use super::observe::Judged;
use super::record::side;
use super::{Level, Report, unseen};
use crate::output::printable;
use crate::show::numbers::thousands;
use crate::show::table::{Table, paragraph};

/// Destinations that are shown; the rest is counted.
const MAX_ROWS: usize = 15;
/// Destinations whose verdicts are shown.
const MAX_VERDICTS: usize = 8;

/// Rows of the table that there are at least, however low the terminal is.
const MIN_ROWS: usize = 3;

/// The room for a report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// For words.
    pub(crate) columns: usize,
    /// For the table.
    pub(crate) table_columns: usize,
    /// Lines, where it has to fit on a screen.
    pub(crate) rows: Option<usize>,
}

pub(crate) fn render(report: &Report, colour: bool, page: Page) -> String {
    let columns = page.columns;
    let mut text = head(report, columns);
    if let Some(looks) = &report.looks {
        text.push_str(&unseen::counters(report, looks));
        text.push_str(&host_verdicts(report, colour, columns));
    }
    text.push('\n');
    let legend = |looks| unseen::legend(report, looks, columns);
    let legend = report.looks.as_ref().map(legend).unwrap_or_default();
    if report.destinations.is_empty() {
        text.push_str(&paragraph("", &report.nothing, columns));
        return text + &legend;
    }
    let below = resets(report, columns) + &verdicts(report, colour, columns);
    let rows = page.rows.map_or(MAX_ROWS, |rows| table_rows(rows, &text, &below));
    let (table, least) = match report.level {
        _ if report.window.is_zero() => (look_table(report, rows), LOOK_LEAST),
        Level::L0 => (unseen::table(report, rows), unseen::LEAST),
        Level::L1 | Level::L2 => (table(report, rows), LEAST),
    };
    text.push_str(&fitted(table, page, least));
    let more = report.destinations.len().saturating_sub(rows);
    if more > 0 {
        text.push_str(&format!("and {more} more, quieter ones; --format json has all\n"));
    }
    text + &below + &legend
}

/// A screen that is too low for all of it shows the busiest destinations, and the first verdicts.
fn table_rows(rows: usize, above: &str, below: &str) -> usize {
    // The names of the columns, and how many rows there are more.
    let left = rows.saturating_sub(above.lines().count() + 2);
    left.saturating_sub(below.lines().count()).max(left / 2).clamp(MIN_ROWS, MAX_ROWS)
}

fn fitted(mut table: Table, page: Page, least: &[&str]) -> String {
    let taken = table.narrow(page.table_columns, least);
    let text = table.render(str::to_owned);
    let cut = |line: &str| line.chars().take(page.table_columns).chain(['\n']).collect::<String>();
    let mut text: String = text.lines().map(cut).collect();
    if !taken.is_empty() {
        let words =
            format!("no room for {}: a wider terminal, or --format json, has it", taken.join(", "));
        text.push_str(&paragraph("", &words, page.columns));
    }
    text
}

/// Why connections of the destinations in the table were reset, in the kernel's words.
fn resets(report: &Report, columns: usize) -> String {
    let mut text = String::new();
    for judged in report.destinations.iter().take(MAX_ROWS) {
        let traced = &judged.destination.traced;
        if traced.reset_reasons.is_empty() && traced.reset_after_fin == 0 {
            continue;
        }
        let reason = |(reason, count): (&String, &u64)| format!("{} {reason}", thousands(*count));
        let mut words: Vec<String> = traced.reset_reasons.iter().map(reason).collect();
        if traced.reset_after_fin > 0 {
            words.push(format!("{} after the other end's FIN", thousands(traced.reset_after_fin)));
        }
        let of = format!("{} ({})", name(judged), side(judged.destination.side));
        text.push_str(&paragraph("", &format!("resets of {of}: {}", words.join(", ")), columns));
    }
    text
}

/// What was looked at, how, and what cannot be seen that way.
fn head(report: &Report, columns: usize) -> String {
    let seen = if report.window.is_zero() {
        "one look at the sockets that there are".to_owned()
    } else {
        let (window, watched) = (report.window.as_secs_f64(), report.watched.as_secs_f64());
        let of = if watched > window {
            format!("the last {window:.0} s of {watched:.0} s")
        } else {
            format!("{window:.1} s")
        };
        format!("{of}, {}", report.level.description())
    };
    let words = format!("{seen}; not seen: {}", report.blind_to());
    let mut text = paragraph("", &words, columns);
    if let Some(why) = &report.refused {
        let above = if report.level == Level::L0 { "L1" } else { "L2" };
        text.push_str(&paragraph("", &format!("not level {above}: {why}"), columns));
    }
    if let Some(lost) = report.lost_traces.filter(|lost| *lost > 0) {
        text.push_str(&format!(
            "{} traced events were lost: lifetimes, processes and reasons are of fewer connections\n",
            thousands(lost)
        ));
    }
    if report.lost_events > 0 {
        text.push_str(&format!(
            "{} events were lost by the kernel: opened and closed may be too small by as many\n",
            thousands(report.lost_events)
        ));
    }
    if let Some(broken) = report.broken_rules.as_ref().filter(|broken| !broken.is_empty()) {
        text.push_str(&format!(
            "this kernel does not tell {} as others do (found by a test on loopback): what rests on \
             it is left out\n",
            broken.join(", ")
        ));
    }
    if report.nobodys > 0 {
        let words = format!(
            "left out: {} of which it could not be told whose it is; watch a while (--for 10s), or as \
             root",
            if report.nobodys == 1 {
                "1 destination".to_owned()
            } else {
                format!("{} destinations", report.nobodys)
            }
        );
        text.push_str(&paragraph("", &words, columns));
    }
    if let Some(why) = &report.untested {
        let words = format!("how closes are told apart could not be tested on this host: {why}");
        text.push_str(&paragraph("", &words, columns));
    }
    if report.unattributed_aborts > 0 {
        text.push_str(&format!(
            "{} aborts on this host, of which the kernel had cleared the port, are in no row\n",
            thousands(report.unattributed_aborts)
        ));
    }
    text
}

/// Columns of a window's table that are done without first, where there is no room.
const LEAST: &[&str] = &[
    "life", "idle", "close/s", "failed", "reset", "unread", "untold", "t-wait", "req/conn",
    "estab", "theirs", "ours", "ports", "cliff",
];

fn table(report: &Report, rows: usize) -> Table {
    let mut table = Table::default();
    let columns = [
        "", "open/s", "close/s", "ours", "theirs", "reset", "unread", "untold", "failed",
        "req/conn", "idle", "life", "estab", "t-wait", "ports", "cliff", "owner",
    ];
    // Only traces tell lifetimes; and as a rule nothing is untold.
    let traced = report.level == Level::L2;
    let untold =
        report.destinations.iter().any(|judged| judged.destination.closed.unclassified > 0);
    let is_shown = move |name: &str| match name {
        "life" => traced,
        "untold" => untold,
        _ => true,
    };
    let shown = |cells: [String; 17]| {
        cells
            .into_iter()
            .zip(columns)
            .filter_map(move |(cell, name)| is_shown(name).then_some(cell))
    };
    table.row("destination", shown(columns.map(str::to_owned)));
    let seconds = report.window.as_secs_f64();
    for judged in report.destinations.iter().take(rows) {
        let one = &judged.destination;
        let closed = &one.closed;
        let mut idle = one.idle_before_local_close.clone();
        idle.merge(&one.idle_before_remote_close);
        table.row(
            &name(judged),
            shown([
                side(one.side).to_owned(),
                rate(one.opened, seconds),
                rate(closed.total(), seconds),
                count(closed.local_fin),
                count(closed.remote_fin),
                count(closed.local_rst + closed.remote_rst),
                count(closed.undrained),
                count(closed.unclassified),
                count(one.connect_failed),
                spread(&one.requests),
                idle.quantile(0.5).map_or_else(|| "-".to_owned(), time),
                one.traced.lifetime_ms.quantile(0.5).map_or_else(|| "-".to_owned(), time),
                thousands(one.established),
                thousands(one.time_wait),
                ports(judged),
                cliff(judged),
                owner(judged),
            ]),
        );
    }
    table
}

/// The same of one look's.
const LOOK_LEAST: &[&str] = &["c-wait", "5 s", "estab", "ports", "cliff"];

fn look_table(report: &Report, rows: usize) -> Table {
    let mut table = Table::default();
    let columns = ["", "closed first, 60 s", "5 s", "estab", "c-wait", "ports", "cliff", "owner"];
    table.row("destination", columns.map(str::to_owned));
    for judged in report.destinations.iter().take(rows) {
        let one = &judged.destination;
        let recent: u32 = one.time_wait_by_age.iter().take(5).sum();
        let held = |count: u64| match unseen::lists_time_waits(report) {
            true => thousands(count),
            false => "?".to_owned(),
        };
        table.row(
            &name(judged),
            [
                side(one.side).to_owned(),
                held(one.time_wait),
                held(recent.into()),
                thousands(one.established),
                count(one.close_wait),
                ports(judged),
                cliff(judged),
                owner(judged),
            ],
        );
    }
    table
}

pub(crate) fn name(judged: &Judged) -> String {
    let one = &judged.destination;
    match one.service {
        Some(service) if service.port() == 0 => format!("{} (port not known)", service.ip()),
        Some(service) => service.to_string(),
        None => format!("{} others", thousands(one.folded)),
    }
}

/// Zero is nothing to look at.
fn count(count: u64) -> String {
    if count == 0 { "-".to_owned() } else { thousands(count) }
}

pub(crate) fn rate(count: u64, seconds: f64) -> String {
    let rate = count as f64 / seconds.max(1e-3);
    if rate >= 10.0 || count == 0 { thousands(rate.round() as u64) } else { format!("{rate:.1}") }
}

/// The median, and the maximum where it differs.
fn spread(spread: &Histogram) -> String {
    match (spread.quantile(0.5), spread.max()) {
        (Some(p50), Some(max)) if p50 == max => thousands(p50.into()),
        (Some(p50), Some(max)) => format!("{}..{}", thousands(p50.into()), thousands(max.into())),
        _ => "-".to_owned(),
    }
}

fn time(ms: u32) -> String {
    if ms < 1000 { format!("{ms} ms") } else { format!("{:.1} s", f64::from(ms) / 1000.0) }
}

pub(crate) fn ports(judged: &Judged) -> String {
    judged.ports.map_or_else(|| "-".to_owned(), |ports| thousands(ports.used))
}

pub(crate) fn cliff(judged: &Judged) -> String {
    match judged.ports {
        Some(ports) if ports.used >= ports.range => "no port".to_owned(),
        Some(ports) if ports.used * 2 >= ports.range => "past".to_owned(),
        Some(Ports { cliff_in: Some(length), .. }) => format!("{} s", length.as_secs()),
        _ => "-".to_owned(),
    }
}

pub(crate) fn owner(judged: &Judged) -> String {
    let owners = &judged.destination.owners;
    let Some(owner) = owners.first() else { return "-".to_owned() };
    let name = printable(owner.process.as_deref().unwrap_or("?"));
    // Workers of one program, or one process for each connection.
    let same = || owners.iter().filter(|other| other.process == owner.process);
    let (mut text, share) = match same().count() {
        many if many > 1 && owner.process.is_some() => {
            (format!("{name} ({many} processes)"), same().map(|one| one.share).sum::<f64>())
        }
        _ => (format!("{name}[{}]", owner.pid), owner.share),
    };
    if share < 0.995 {
        text.push_str(&format!(" {:.0} %", share * 100.0));
    }
    text
}

/// The verdicts of the busiest destinations. Both ends of one connection are on this host often,
/// and come to the same: the client's word is enough then.
fn verdicts(report: &Report, colour: bool, columns: usize) -> String {
    let mut text = String::new();
    let said_by_client = |judged: &Judged| {
        judged.destination.side == Side::Server
            && report.destinations.iter().any(|other| {
                other.destination.side == Side::Client
                    && other.destination.service == judged.destination.service
                    && other
                        .findings
                        .iter()
                        .map(|f| f.code)
                        .eq(judged.findings.iter().map(|f| f.code))
            })
    };
    let alone = report.destinations.len() == 1;
    // A host has many destinations of which there is nothing to say.
    let says_something = |judged: &&Judged| {
        alone || judged.findings.iter().any(|f| f.cause != Cause::Mixed || f.advice.is_some())
    };
    let told: Vec<&Judged> =
        report.destinations.iter().filter(|judged| !said_by_client(judged)).collect();
    let (mut worth, silent): (Vec<&Judged>, Vec<&Judged>) =
        told.into_iter().partition(|judged| says_something(judged));
    // What is healthy must not stand in the way of a quiet one that is not.
    let is_well = |judged: &&Judged| {
        let well = |cause| matches!(cause, Cause::Healthy | Cause::Expiry | Cause::Mixed);
        judged.findings.iter().all(|finding| well(finding.cause))
    };
    worth.sort_by_key(is_well);
    for judged in worth.iter().take(MAX_VERDICTS) {
        let of = format!("{} ({})", name(judged), side(judged.destination.side));
        for finding in &judged.findings {
            text.push_str(&verdict(&of, finding, colour, columns));
        }
    }
    text + &unsaid(worth.len().saturating_sub(MAX_VERDICTS), silent.len(), columns)
}

/// How many destinations have verdicts that there is no room for, and how many have none.
fn unsaid(more: usize, silent: usize, columns: usize) -> String {
    let words = match (more, silent) {
        (0, 0) => return String::new(),
        (0, 1) => "Of 1 destination too little was seen for a verdict.".to_owned(),
        (0, _) => format!("Of {silent} destinations too little was seen for a verdict."),
        (_, 0) => format!("There are verdicts on {more} more; --format json has all."),
        _ => format!(
            "There are verdicts on {more} more (--format json has all); of {silent} too little was \
             seen for one."
        ),
    };
    format!("\n{}", paragraph("", &words, columns))
}

/// What the counters of the whole network namespace show.
fn host_verdicts(report: &Report, colour: bool, columns: usize) -> String {
    let verdicts = report.host.iter().map(|finding| verdict("this host", finding, colour, columns));
    verdicts.collect()
}

fn verdict(of: &str, finding: &Finding, colour: bool, columns: usize) -> String {
    let sure = match finding.cause {
        Cause::Mixed => String::new(),
        _ => format!(", {:.0} % sure", finding.confidence * 100.0),
    };
    let title = format!("\n{of}: {}{sure}", finding.code);
    let mut text = match (colour, finding.cause) {
        (false, _) | (true, Cause::Mixed) => title,
        (true, Cause::Healthy | Cause::Multiplexed | Cause::Expiry) => {
            format!("\x1b[32m{title}\x1b[0m")
        }
        (true, _) => format!("\x1b[1;31m{title}\x1b[0m"),
    };
    text.push('\n');
    text.push_str(&paragraph("  ", &format!("{}.", sentence(&finding.summary)), columns));
    if let Some(advice) = &finding.advice {
        let label = if finding.cause == Cause::Mixed { "  Next: " } else { "  Fix: " };
        text.push_str(&paragraph(label, &format!("{advice}."), columns));
    }
    text
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
