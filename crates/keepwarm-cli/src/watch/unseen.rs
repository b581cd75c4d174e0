//! Level L0 for people: what the counters say, what looks saw, and of each column that is not there
//! and each finding that is not judged, why.
//!
//! Owns the words for what is not known, which the JSON has as well.

use keepwarm_diagnose::not_judged_by_looks;
use keepwarm_sockets::{Counters, Polls};

use super::record::side;
use super::text::{cliff, name, owner, ports, rate};
use super::{Level, Report};
use crate::show::numbers::thousands;
use crate::show::table::{Table, paragraph};

/// What is not known, and why.
pub(crate) type Unseen = (&'static str, &'static str);

const EVENTS: &str = "counted by destroy events";

/// What a report of this level leaves open.
pub(crate) fn not_seen(report: &Report) -> Vec<Unseen> {
    if report.level != Level::L0 {
        return Vec::new();
    }
    let mut unseen: Vec<Unseen> = vec![
        ("opened, closed", EVENTS),
        ("closed by whom, by FIN or reset, with data unread", "told by destroy events"),
        ("requests per connection, idle time at close", "stand in destroy events"),
        ("failed connects, lost events, aborts", EVENTS),
        ("lifetimes, reasons of resets", "told by traces (level L2)"),
    ];
    if !lists_time_waits(report) {
        unseen.push((
            "TIME_WAIT, closed first, local ports taken",
            "this system does not list TIME_WAITs (no `tw` in /proc/net/sockstat)",
        ));
    }
    unseen
}

/// Whether what is not seen in TIME_WAIT is not there.
pub(crate) fn lists_time_waits(report: &Report) -> bool {
    report.looks.is_none_or(|looks| looks.lists_time_waits)
}

/// How to see it.
pub(crate) const WAY_UP: &str = "level L1 needs no privilege, but Linux 4.19 or newer with inet_diag, \
                                 and a sandbox that admits NETLINK_SOCK_DIAG (or watch from outside \
                                 of it, as root: --netns PID)";

/// The counters, by the names that JSON and text have for them.
pub(crate) fn counted(counters: &Counters) -> [(&'static str, &'static str, Option<u64>); 15] {
    [
        ("opened_active", "connect(2) called (ActiveOpens)", counters.active_opens),
        ("opened_passive", "accepted (PassiveOpens)", counters.passive_opens),
        ("attempt_fails", "handshakes failed (AttemptFails)", counters.attempt_fails),
        ("estab_resets", "ends reset (EstabResets)", counters.estab_resets),
        ("resets_sent", "resets sent (OutRsts)", counters.out_resets),
        ("time_waits", "TIME_WAITs entered (TW)", counters.time_waits),
        (
            "time_waits_recycled",
            "of these, port taken again (TWRecycled)",
            counters.time_waits_recycled,
        ),
        (
            "time_wait_overflow",
            "TIME_WAITs not kept (TCPTimeWaitOverflow)",
            counters.time_wait_overflow,
        ),
        ("abort_on_close", "closed with data unread (TCPAbortOnClose)", counters.abort_on_close),
        (
            "abort_on_data",
            "SO_LINGER 0, or data after close (TCPAbortOnData)",
            counters.abort_on_data,
        ),
        ("abort_on_timeout", "given up (TCPAbortOnTimeout)", counters.abort_on_timeout),
        ("abort_on_memory", "dropped for memory (TCPAbortOnMemory)", counters.abort_on_memory),
        ("listen_overflows", "accept queue full (ListenOverflows)", counters.listen_overflows),
        ("listen_drops", "SYNs dropped (ListenDrops)", counters.listen_drops),
        ("syn_retransmits", "SYNs sent again (TCPSynRetrans)", counters.syn_retransmits),
    ]
}

/// The counters of the whole network namespace.
pub(crate) fn counters(report: &Report, looks: &Polls) -> String {
    let seconds = report.window.as_secs_f64();
    let mut table = Table::default();
    let mut untold = Vec::new();
    let head = if report.window.is_zero() { ["", ""] } else { ["/s", "in all"] };
    table.row("whole network namespace", head.map(str::to_owned));
    for (_, words, count) in counted(&looks.counters) {
        match count {
            Some(0) => {}
            Some(count) => table.row(words, [rate(count, seconds), thousands(count)]),
            None => untold.push(words),
        }
    }
    let now = |count: Option<u64>| ["now".to_owned(), count.map_or("?".to_owned(), thousands)];
    table.row("ESTABLISHED or CLOSE_WAIT (CurrEstab)", now(looks.counters.established));
    table.row("TIME_WAIT (sockstat)", now(looks.counters.time_wait_now));
    let mut text = format!("\n{}", table.render(str::to_owned));
    if report.window.is_zero() {
        return text;
    }
    text.push_str("what is not listed was 0\n");
    if !untold.is_empty() {
        let words = format!("not counted by this kernel: {}", untold.join("; "));
        text.push_str(&paragraph("", &words, usize::MAX));
    }
    text
}

/// Columns that are done without first, where there is no room.
pub(crate) const LEAST: &[&str] = &["c-wait", "gone/s", "estab", "t-wait", "ports", "cliff"];

/// The destinations of a window.
pub(crate) fn table(report: &Report, rows: usize) -> Table {
    let mut table = Table::default();
    let columns = [
        "",
        "new/s",
        "closed 1st/s",
        "gone/s",
        "kept",
        "estab",
        "c-wait",
        "t-wait",
        "ports",
        "cliff",
        "owner",
    ];
    table.row("destination", columns.map(str::to_owned));
    let seconds = report.window.as_secs_f64();
    let unless_unlisted = |cell| if lists_time_waits(report) { cell } else { "?".to_owned() };
    for judged in report.destinations.iter().take(rows) {
        let one = &judged.destination;
        let glimpsed = one.glimpsed.unwrap_or_default();
        table.row(
            &name(judged),
            [
                side(one.side).to_owned(),
                rate(glimpsed.opened, seconds),
                unless_unlisted(rate(glimpsed.closed_first, seconds)),
                rate(glimpsed.gone, seconds),
                thousands(glimpsed.kept),
                thousands(one.established),
                thousands(one.close_wait),
                unless_unlisted(thousands(one.time_wait)),
                unless_unlisted(ports(judged)),
                cliff(judged),
                owner(judged),
            ],
        );
    }
    table
}

/// What the columns are, what is not there, and the way up.
pub(crate) fn legend(report: &Report, looks: &Polls, columns: usize) -> String {
    let mut text = String::new();
    if !report.window.is_zero() {
        let words = format!(
            "new, closed 1st (by this side) and gone (without a TIME_WAIT here) are at least so many, by \
             {} looks through {}; kept: open for two seconds and more",
            thousands(looks.count),
            looks.source.as_str()
        );
        text.push_str(&paragraph("", &words, columns));
    }
    text.push('\n');
    for (what, why) in not_seen(report) {
        text.push_str(&paragraph("not seen: ", &format!("{what}: {why}"), columns));
    }
    if !report.window.is_zero() {
        for (code, why) in not_judged_by_looks() {
            text.push_str(&paragraph("not judged: ", &format!("{code}: {why}"), columns));
        }
    }
    text.push_str(&paragraph("to see more: ", WAY_UP, columns));
    text
}
