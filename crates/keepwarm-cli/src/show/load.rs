//! The text of a load: outcome and verdict first, then latency, connections, hops, errors.

use keepwarm_record::assertion::AssertionOutcome;
use keepwarm_record::fold::confidence::{Intervals, Method};
use keepwarm_record::load::{Distribution, HopRecord, LoadRecord, Merged, Sides, Streams, Trust};
use keepwarm_record::watch::OwnerRecord;

use super::numbers::{counted, millis, millis_or_dash, tenths, thousands};
use super::table::{Table, paragraph};
use super::{Columns, capacity, detail, one, paint, printable};

/// Code of a finding without a next step.
const HEALTHY: &str = "healthy";

/// Label of the rows with the intervals of percentiles.
const RANGES: &str = "  95 % within";

const SHORT: &str =
    "Under 10 s: the 95 % ranges take requests as independent, and may be too narrow.";

/// Time after which the kernel sends a SYN again, in microseconds.
const SYN_SENT_AGAIN_US: u64 = 1_000_000;

const SLOW_CONNECT: &str = "A connect of a second or more is a SYN that was dropped and sent again \
                            after a second: the server's accept queue was full (listen backlog, \
                            net.core.somaxconn), or the network lost it.";

pub(crate) fn render(record: &LoadRecord, colour: bool, columns: Columns) -> String {
    if let Some(one) = &record.one {
        let assertions = assertions(record, colour, columns.text);
        return one::render(record, one, &assertions, colour, columns);
    }
    let mut text = String::new();
    if let Some(capacity) = &record.capacity {
        text.push_str(&capacity::render(capacity, colour, columns));
    }
    text.push_str(&outcome(record, colour, columns.text));
    if record.is_unreachable() {
        // There is nothing to trust, and no time to show: the error says what to do.
        text.push_str(&assertions(record, colour, columns.text));
        text.push_str(&errors(record, colour, columns.text));
        return text;
    }
    text.push_str(&trust(record, colour, columns.text));
    for note in record.merged.iter().flat_map(Merged::all_notes) {
        text.push_str(&paragraph("Note: ", &printable(&note), columns.text));
    }
    text.push_str(&detail::expectations(record, colour, columns.text));
    text.push_str(&assertions(record, colour, columns.text));
    text.push('\n');
    text.push_str(&latency(record, colour, columns));
    text.push_str(&detail::by_request(record, colour, columns));
    text.push_str(&detail::by_address(record, colour, columns));
    text.push_str(&heading("connections of the load generator", colour));
    text.push_str(&connections(record, columns.text));
    for hop in &record.hops {
        text.push_str(&self::hop(hop, colour, columns.text));
    }
    text.push_str(&statuses(record, colour, columns.text));
    text.push_str(&errors(record, colour, columns.text));
    text.push_str(&detail::notables(record, colour, columns));
    text.push('\n');
    if !record.settings.open_loop {
        text.push_str(&closed_loop(columns.text));
    }
    text
}

/// Returns the first line of the report on one line.
pub(crate) fn outcome_sentence(record: &LoadRecord) -> String {
    first_lines(record).0
}

/// Returns the request and the pace of a load on one line.
pub(crate) fn what(record: &LoadRecord) -> String {
    first_lines(record).1
}

fn first_lines(record: &LoadRecord) -> (String, String) {
    let text = outcome(record, false, usize::MAX);
    let (outcome, what) = text.split_once('\n').unwrap_or((&text, ""));
    (outcome.trim_end().to_owned(), what.trim_end().to_owned())
}

fn closed_loop(columns: usize) -> String {
    paragraph(
        "",
        "Closed loop: the next request of a connection waits for its last response, so a stall of \
         the server delays requests that are then never measured. --rate measures them.",
        columns,
    )
}

/// The first line: how many requests, how fast, and how they were answered.
fn outcome(record: &LoadRecord, colour: bool, columns: usize) -> String {
    let settings = &record.settings;
    let mut parts = vec![format!(
        "{} in {:.2} s, {} requests/s",
        counted(record.requests.completed, "request"),
        record.elapsed_s,
        thousands(record.requests_per_second.round() as u64),
    )];
    let requests = &record.requests;
    let (failed, unsent) = (requests.failed, requests.unsent);
    // A failed request is worse than an error status, and that is worse than a redirect.
    let worst = match record.answers().iter().map(|one| one.class).max() {
        _ if failed > 0 => "1;31",
        Some(4..) => "1;31",
        Some(3) => "1;33",
        _ if unsent > 0 => "1;33",
        _ => "1;32",
    };
    parts[0] = paint(&parts[0], worst, colour);
    for answers in record.answers() {
        let shade = match answers.class {
            2 => "32",
            3 => "33",
            _ => "1;31",
        };
        parts.push(paint(&answers.describe(record.ended()), shade, colour));
    }
    if failed > 0 {
        let failed = format!("{} failed", thousands(failed));
        parts.push(paint(&failed, "1;31", colour));
    } else if record.http_errors() == 0 {
        parts.push(paint("none failed", worst, colour));
    }
    if let Some(misses @ 1..) = record.misses {
        let missed = format!("{} missed what was expected", thousands(misses));
        parts.push(paint(&missed, "1;31", colour));
    }
    if unsent > 0 {
        parts.push(paint(&format!("{} never sent", thousands(unsent)), "33", colour));
    }
    let outcome = paragraph("", &parts.join(", "), columns);
    let kind = if settings.open_loop { open_loop(record) } else { String::new() };
    let mut connections = counted(settings.concurrency, "connection");
    if let Some(streams) = settings.streams {
        connections
            .push_str(&format!(" of HTTP/2, {} at once on each", counted(streams, "request")));
    }
    let parts = record.merged.as_ref().map_or(0, |merged| merged.parts.len());
    let fleet = record.merged.as_ref().and_then(|merged| merged.fleet.as_ref());
    let merged = match fleet {
        Some(fleet) => format!(", by {parts} of {}", counted(fleet.workers, "worker")),
        None if parts > 0 => format!(", merged from {parts} records"),
        None => String::new(),
    };
    let url = printable(&settings.url);
    let what = format!("{} {url}, {kind}{connections}{merged}", settings.method);
    format!("{outcome}{}", paragraph("", &what, columns))
}

/// The pace of an open loop, and the requests that were due.
fn open_loop(record: &LoadRecord) -> String {
    let schedule = record.settings.schedule.as_ref();
    let course = match schedule.map(|schedule| (schedule.rate, schedule.stages.len())) {
        Some((Some(rate), 0)) => format!("open loop at {rate}/s"),
        Some((_, stages @ 1..)) => format!("open loop in {}", counted(stages as u64, "stage")),
        _ => "open loop".to_owned(),
    };
    format!("{course}, {} due, at most ", thousands(record.requests.scheduled))
}

/// The verdict on the load's own numbers.
fn trust(record: &LoadRecord, colour: bool, columns: usize) -> String {
    let verdict = &record.verdict;
    let (word, code) = match verdict.trust {
        Trust::Trustworthy => ("trustworthy", "32"),
        Trust::WithCare => ("with care", "33"),
        Trust::Invalid => ("INVALID", "1;31"),
    };
    let mut label = format!("{word}: ");
    let mut text = String::new();
    let said = if verdict.reasons.is_empty() {
        std::slice::from_ref(&verdict.evidence)
    } else {
        &verdict.reasons
    };
    for sentence in said {
        text.push_str(&paragraph(&label, &printable(sentence), columns));
        label = " ".repeat(label.len());
    }
    text.replacen(word, &paint(word, code, colour), 1)
}

/// The heading above a part of the screen.
fn heading(text: &str, colour: bool) -> String {
    format!("\n{}\n", paint(text, "1", colour))
}

/// A line for each assertion, with its value, or the reason why there is none.
fn assertions(record: &LoadRecord, colour: bool, columns: usize) -> String {
    let mut text = String::new();
    for one in &record.assertions {
        let (word, code, rest) = match one.outcome {
            AssertionOutcome::Held => ("holds", "32", one.value.as_deref()),
            AssertionOutcome::Failed => ("FAILS", "1;31", one.value.as_deref()),
            AssertionOutcome::NotAvailable => ("NOT AVAILABLE", "1;31", one.why.as_deref()),
        };
        let word = paint(word, code, colour);
        let said = format!("{}: {}", one.assertion, rest.unwrap_or_default());
        text.push_str(&paragraph(&format!("{word}  "), &said, columns));
    }
    text
}

fn latency(record: &LoadRecord, colour: bool, columns: Columns) -> String {
    let mut table = Table::default();
    let names = ["p50", "p90", "p99", "p99.9", "max"];
    table.row("latency, ms", names.map(str::to_owned));
    times(&mut table, "service time", &record.latency_us);
    for (class, times) in &record.latency_us_by_class {
        table.row(&format!("  answered {}", printable(class)), quantiles(times));
    }
    if record.settings.open_loop {
        times(&mut table, "response time", &record.response_us);
        table.row("send lag", quantiles(&record.send_lag_us));
    }
    if record.connect_us.count > 0 {
        table.row("connect", quantiles(&record.connect_us));
    }
    if record.handshake_us.count > 0 {
        table.row("TLS handshake", quantiles(&record.handshake_us));
    }
    if table.columns() > columns.table {
        // The record has the ranges, too.
        table.remove_rows(RANGES);
    }
    table.narrow(columns.table, &["p99.9"]);
    let mut text = table.render(|head| paint(head, "1", colour));
    let ranks = record.latency_us.intervals.as_ref().filter(|all| all.method == Method::Ranks);
    if ranks.is_some_and(|intervals| intervals.p50.is_some()) {
        text.push_str(&paragraph("", SHORT, columns.text));
    }
    // A SYN is sent again after one second, and then after three (RFC 6298, section 2.1).
    if record.connect_us.p99.is_some_and(|p99| p99 >= SYN_SENT_AGAIN_US) {
        text.push_str(&paragraph("", SLOW_CONNECT, columns.text));
    }
    text
}

/// A row of percentiles, and where intervals are known, a row of those.
fn times(table: &mut Table, label: &str, times: &Distribution) {
    table.row(label, quantiles(times));
    let known = |intervals: &&Intervals| intervals.p50.is_some();
    if let Some(Intervals { p50, p90, p99, p999, .. }) = times.intervals.as_ref().filter(known) {
        let range = |interval: &Option<(u64, u64)>| {
            let ends = |(low, high): (u64, u64)| format!("{}-{}", millis(low), millis(high));
            interval.map(ends).unwrap_or_default()
        };
        table.row(RANGES, [p50, p90, p99, p999].map(range));
    }
}

fn quantiles(times: &Distribution) -> [String; 5] {
    [times.p50, times.p90, times.p99, times.p999, times.max].map(millis_or_dash)
}

fn connections(record: &LoadRecord, columns: usize) -> String {
    let ledger = &record.connections;
    let per_connection = &ledger.requests_per_connection;
    let mut lines = vec![
        ("connections opened", thousands(ledger.opened)),
        ("requests on a reused one", thousands(ledger.reused)),
    ];
    if let (Some(min), Some(mean), Some(max)) =
        (per_connection.min, per_connection.mean, per_connection.max)
    {
        lines.push((
            "requests per connection",
            format!("{} mean, {} to {}", tenths(mean), thousands(min), thousands(max)),
        ));
    }
    lines.extend(ledger.streams.iter().flat_map(streams));
    lines.push(("still open at the end", thousands(ledger.still_open)));
    let lifetime = &ledger.lifetime_us;
    if let (Some(p50), Some(max)) = (lifetime.p50, lifetime.max) {
        let (p50, max) = (millis(p50), millis(max));
        lines.push(("lifetime of those closed", format!("{p50} ms median, at most {max} ms")));
    }
    for (cause, count) in &ledger.closed_by_us {
        lines.push(("closed by us", format!("{}  {}", thousands(*count), cause)));
    }
    for (label, count) in [
        ("closed by the peer's FIN", ledger.peer_fin),
        ("closed by the peer's RST", ledger.peer_rst),
        ("closed after a timeout", ledger.timed_out),
        ("connects that timed out", ledger.timed_out_connecting),
        ("had bytes of no response", ledger.stray_bytes),
    ] {
        if count > 0 {
            lines.push((label, thousands(count)));
        }
    }
    for (errno, count) in &ledger.failed {
        lines.push(("connects that failed", format!("{}  {errno}", thousands(*count))));
    }
    if let Some(imbalance) = &ledger.imbalance {
        lines.push(("LEDGER", imbalance.clone()));
    }
    aligned(&lines, columns)
}

/// The lines of the streams of HTTP/2: how many at once, and all that went another way.
fn streams(streams: &Streams) -> Vec<(&'static str, String)> {
    let each = &streams.at_once;
    let mut lines = Vec::new();
    if let (Some(min), Some(mean), Some(max)) = (each.min, each.mean, each.max) {
        let of = streams
            .limit
            .map_or_else(String::new, |limit| format!("; the server allows {}", thousands(limit)));
        let range = format!("{} mean, {} to {}{of}", tenths(mean), thousands(min), thousands(max));
        lines.push(("streams at once", range));
    }
    for (label, count) in [
        ("GOAWAY received", streams.goaways),
        ("streams not processed", streams.unprocessed),
        ("of these, sent again", streams.sent_again),
        ("streams refused", streams.refused),
        ("streams reset by the server", streams.reset),
        ("streams reset by us", streams.cancelled),
        ("opened as streams ran out", streams.opened_for_streams),
    ] {
        if count > 0 {
            lines.push((label, thousands(count)));
        }
    }
    lines
}

/// A watched port: the kernel's account of it, its findings, notes and doubts.
fn hop(hop: &HopRecord, colour: bool, columns: usize) -> String {
    let mut whose = hop.part.map(|part| format!(" of part {part}")).unwrap_or_default();
    if hop.is_target {
        whose.push_str(" (the target)");
    }
    let closed = &hop.closed;
    let mut lines = vec![("connections opened", thousands(hop.opened))];
    if let (Some(mean), Some(max)) = (hop.requests.mean, hop.requests.max) {
        let most = thousands(max);
        lines.push(("requests per connection", format!("{} mean, at most {most}", tenths(mean))));
    }
    for (label, count) in [
        ("closed first by the client", closed.client_fin),
        ("closed first by the server", closed.server_fin),
        ("closed by both at once", closed.crossed_fin),
        ("reset by the client", closed.client_rst),
        ("reset by the server", closed.server_rst),
        ("timed out", closed.timed_out),
        ("closed, not known by whom", closed.unclassified),
        ("in CLOSE_WAIT at the end", hop.close_wait.sum()),
    ] {
        if count > 0 {
            lines.push((label, thousands(count)));
        }
    }
    let waits = &hop.time_wait;
    let side = |of: fn(&Sides) -> u64| {
        let [before, peak, after] =
            [&waits.before, &waits.peak, &waits.after].map(|sides| thousands(of(sides)));
        format!("{before} before, {peak} at the peak, {after} after")
    };
    lines.push(("TIME_WAIT, client's side", side(|sides| sides.client)));
    lines.push(("TIME_WAIT, server's side", side(|sides| sides.server)));
    lines.extend(hop.drain.map(|drain| ("drain", drain.describe())));
    if let (Some(range), Some(share)) = (hop.ports.range, hop.port_share()) {
        let peak = thousands(hop.ports.peak);
        let range = thousands(range.into());
        lines.push(("local ports used", format!("{peak} of {range} ({:.1} %)", share * 100.0)));
    }
    for (label, owner) in [("client", &hop.owner.client), ("server", &hop.owner.server)] {
        lines.extend(owner.as_ref().map(|owner| (label, program(owner))));
    }
    let mut text = heading(&format!("port {}{whose}", hop.port), colour);
    text.push_str(&aligned(&lines, columns));
    let by_the_end = match hop.closed_by_the_end {
        0 => String::new(),
        count => format!(" {} of the closes are the end of this run.", thousands(count)),
    };
    let main = format!("{}{by_the_end}", hop.finding.sentences());
    let shade = if hop.finding.healthy { "32" } else { "1;31" };
    text.push_str(&finding(&hop.finding.code, &main, shade, colour, columns));
    for one in hop.other_findings() {
        text.push_str(&finding(&one.code, &one.sentences(), "1;31", colour, columns));
    }
    for note in hop.notes() {
        text.push_str(&paragraph("Note: ", &note, columns));
    }
    for doubt in hop.doubts() {
        text.push_str(&paragraph("INVALID: ", &doubt, columns));
    }
    text
}

/// A finding: its code and title in colour, its sentences, and where more is said.
fn finding(code: &str, sentences: &str, shade: &str, colour: bool, columns: usize) -> String {
    let title = super::title(code).map(|title| format!(": {title}")).unwrap_or_default();
    let mut text = format!("{}{title}\n", paint(code, shade, colour));
    text.push_str(&paragraph("  ", sentences, columns));
    if code != HEALTHY && super::title(code).is_some() {
        text.push_str(&format!("  Next: keepwarm explain {code}\n"));
    }
    text
}

/// The program that owns connections: its name, process id and runtime.
fn program(owner: &OwnerRecord) -> String {
    let name = printable(owner.process.as_deref().unwrap_or("?"));
    let runtime = owner.runtime.as_ref().map(|runtime| format!(", {runtime}")).unwrap_or_default();
    format!("{name}[{}]{runtime}", owner.pid)
}

/// Counts by status, only if a status is not 2xx.
fn statuses(record: &LoadRecord, colour: bool, columns: usize) -> String {
    let odd = record.statuses.keys().any(|status| !(200..300).contains(status));
    if !odd {
        return String::new();
    }
    let line = |(status, count): (&u16, &u64)| (status.to_string(), thousands(*count));
    let lines: Vec<(String, String)> = record.statuses.iter().map(line).collect();
    format!("{}{}", heading("statuses", colour), aligned(&lines, columns))
}

fn errors(record: &LoadRecord, colour: bool, columns: usize) -> String {
    if record.errors.is_empty() {
        return String::new();
    }
    let mut text = heading("errors", colour);
    for error in &record.errors {
        let errno = error.errno.as_ref().map(|errno| format!(" ({errno})")).unwrap_or_default();
        let times = if error.count == 1 { "once" } else { "times" };
        let count = if error.count == 1 { String::new() } else { thousands(error.count) + " " };
        let when = if error.count == 1 {
            format!("at {:.2} s", error.first_s)
        } else {
            format!("from {:.2} to {:.2} s", error.first_s, error.last_s)
        };
        let head = format!("{}{errno}  {count}{times}, {when}\n", error.class);
        let fits = head.chars().count() <= columns;
        text.push_str(&if fits { head } else { paragraph("", &head, columns) });
        text.push_str(&paragraph("  ", &printable(&error.example), columns));
        if let Some(hint) = &error.hint {
            text.push_str(&paragraph("  hint: ", hint, columns));
        }
    }
    text
}

/// Lines of label and value, the labels padded to the longest. A value that is too long wraps.
fn aligned<L: AsRef<str>>(lines: &[(L, String)], columns: usize) -> String {
    let width = lines.iter().map(|(label, _)| label.as_ref().len()).max().unwrap_or(0);
    let line = |(label, value): &(L, String)| {
        let label = format!("{:<width$}  ", label.as_ref());
        if label.len() + value.chars().count() <= columns {
            return format!("{label}{value}\n");
        }
        paragraph(&label, value, columns)
    };
    lines.iter().map(line).collect()
}
