//! The tables of a watch: the services, in three shapes by mode and level, and the counters of
//! level L0.

use super::{Page, cut};
use crate::show::numbers::thousands;
use keepwarm_record::watch::{DestinationRecord, Level, Mode, PollsRecord, WatchRecord};

use super::cells::{
    cliff, count, known, name, owner, ports, rate, requests, retransmits, round_trips, time,
};
use crate::show::table::{Table, paragraph};

/// Columns of a window's table in the order in which they go where there is no room.
const WINDOW_LEAST: &[&str] = &[
    "retrans", "life", "rtt", "idle", "close/s", "failed", "reset", "unread", "unclear", "t-wait",
    "req/conn", "estab", "theirs", "ours", "ports", "cliff",
];
/// Columns of one dump's table in that order.
const DUMP_LEAST: &[&str] = &["c-wait", "5 s", "estab", "ports", "cliff"];
/// Columns of level L0's table in that order.
const POLLS_LEAST: &[&str] = &["c-wait", "gone/s", "estab", "t-wait", "ports", "cliff", "kept"];

/// The table of the busiest services, and the columns that may go, the least important first.
pub(super) fn destinations(record: &WatchRecord, rows: usize) -> (Table, &'static [&'static str]) {
    let shown = &record.destinations[..rows.min(record.destinations.len())];
    match (record.mode, record.level) {
        (Mode::OneDump, _) => (of_one_dump(shown), DUMP_LEAST),
        (Mode::Window { seconds }, Level::L0) => (of_polls(shown, seconds), POLLS_LEAST),
        (Mode::Window { seconds }, Level::L1 | Level::L2) => {
            (of_window(record, shown, seconds), WINDOW_LEAST)
        }
    }
}

/// A window in which closes were counted.
fn of_window(record: &WatchRecord, shown: &[DestinationRecord], seconds: f64) -> Table {
    let mut table = Table::default();
    let columns = [
        "", "open/s", "close/s", "ours", "theirs", "reset", "unread", "unclear", "failed",
        "req/conn", "idle", "life", "rtt", "retrans", "estab", "t-wait", "ports", "cliff", "owner",
    ];
    // The columns "life" and "unclear" would be empty: lifetimes come from traces alone, and closes
    // without evidence are rare.
    let traced = record.level.traces();
    let unclear = record.destinations.iter().filter_map(|one| one.closed);
    let unclear = unclear.map(|closed| closed.unclassified).any(|count| count > 0);
    // An older record has no round trips.
    let measured = record.destinations.iter().any(|one| one.path.is_some());
    let again = |one: &DestinationRecord| one.path.is_some_and(|path| path.retransmits > 0);
    let again = record.destinations.iter().any(again);
    let is_shown = |name: &str| match name {
        "life" => traced,
        "rtt" => measured,
        "retrans" => again,
        "unclear" => unclear,
        _ => true,
    };
    let only_shown = |cells: [String; 19]| {
        let cells = cells.into_iter().zip(columns);
        cells.filter_map(|(cell, name)| is_shown(name).then_some(cell)).collect::<Vec<_>>()
    };
    table.row("destination", only_shown(columns.map(str::to_owned)));
    for one in shown {
        let closed = one.closed.unwrap_or_default();
        let cells = [
            one.side.as_str().to_owned(),
            rate(one.opened.unwrap_or(0), seconds),
            rate(closed.total(), seconds),
            count(closed.local_fin),
            count(closed.remote_fin),
            count(closed.local_rst.saturating_add(closed.remote_rst)),
            count(closed.with_unread_data),
            count(closed.unclassified),
            count(closed.connect_failed),
            requests(&one.requests_per_connection),
            time(one.idle_at_close_ms.p50),
            time(one.lifetime_ms.and_then(|lifetime| lifetime.p50)),
            round_trips(one),
            retransmits(one),
            thousands(one.established),
            known(one.time_wait),
            ports(one),
            cliff(one),
            owner(one),
        ];
        table.row(&name(one), only_shown(cells));
    }
    table
}

/// One dump, in which TIME_WAITs show the closes of the last minute.
fn of_one_dump(shown: &[DestinationRecord]) -> Table {
    let mut table = Table::default();
    let columns = ["", "closed first, 60 s", "5 s", "estab", "c-wait", "ports", "cliff", "owner"];
    table.row("destination", columns.map(str::to_owned));
    for one in shown {
        let by_second = one.closed_first_by_second.as_deref();
        let last_5_s =
            by_second.map(|ages| ages.iter().take(5).map(|count| u64::from(*count)).sum());
        table.row(
            &name(one),
            [
                one.side.as_str().to_owned(),
                known(one.time_wait),
                known(last_5_s),
                thousands(one.established),
                count(one.close_wait),
                ports(one),
                cliff(one),
                owner(one),
            ],
        );
    }
    table
}

/// A window of polls: bounds from below.
fn of_polls(shown: &[DestinationRecord], seconds: f64) -> Table {
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
    for one in shown {
        let seen = one.seen_by_polls.unwrap_or_default();
        let unknown = || known(None);
        // Where TIME_WAITs are not listed it is not known either which ports they take.
        let ports = if one.time_wait.is_some() { ports(one) } else { unknown() };
        table.row(
            &name(one),
            [
                one.side.as_str().to_owned(),
                rate(seen.opened_at_least, seconds),
                match (one.time_wait, seen.closed_first_at_least) {
                    (None, _) => unknown(),
                    (Some(_), closed) => rate(closed.unwrap_or(0), seconds),
                },
                rate(seen.gone_without_time_wait, seconds),
                thousands(seen.long_lived),
                thousands(one.established),
                thousands(one.close_wait),
                known(one.time_wait),
                ports,
                cliff(one),
                owner(one),
            ],
        );
    }
    table
}

/// The counters by their names in JSON, each with the words that the table has.
pub(crate) const COUNTERS: [(&str, &str); 15] = [
    ("opened_active", "connect(2) called (ActiveOpens)"),
    ("opened_passive", "accepted (PassiveOpens)"),
    ("attempt_fails", "handshakes failed (AttemptFails)"),
    ("estab_resets", "sockets reset (EstabResets)"),
    ("resets_sent", "resets sent (OutRsts)"),
    ("time_waits", "TIME_WAITs entered (TW)"),
    ("time_waits_recycled", "of these, port taken again (TWRecycled)"),
    ("time_wait_overflow", "TIME_WAITs not kept (TCPTimeWaitOverflow)"),
    ("abort_on_close", "closed with data unread (TCPAbortOnClose)"),
    ("abort_on_data", "SO_LINGER 0, or data after close (TCPAbortOnData)"),
    ("abort_on_timeout", "given up (TCPAbortOnTimeout)"),
    ("abort_on_memory", "dropped for memory (TCPAbortOnMemory)"),
    ("listen_overflows", "accept queue full (ListenOverflows)"),
    ("listen_drops", "SYNs dropped (ListenDrops)"),
    ("syn_retransmits", "SYNs sent again (TCPSynRetrans)"),
];

/// The counters of the whole network namespace, without those that are 0.
pub(super) fn counters(mode: Mode, polls: &PollsRecord, page: Page) -> String {
    let mut table = Table::default();
    let mut missing = Vec::new();
    let head = if mode == Mode::OneDump { ["", ""] } else { ["/s", "in all"] };
    table.row("whole network namespace", head.map(str::to_owned));
    for (key, words) in COUNTERS {
        match (polls.counters.get(key).copied().flatten(), mode.seconds()) {
            (Some(0), _) => {}
            (Some(count), Some(seconds)) => {
                table.row(words, [rate(count, seconds), thousands(count)]);
            }
            (Some(count), None) => table.row(words, [String::new(), thousands(count)]),
            (None, _) => missing.push(words),
        }
    }
    let now = |count| ["now".to_owned(), known(count)];
    table.row("ESTABLISHED or CLOSE_WAIT (CurrEstab)", now(polls.established_now));
    table.row("TIME_WAIT (sockstat)", now(polls.time_wait_now));
    let mut text = format!("\n{}", cut(&table.render(str::to_owned), page.table_columns));
    if mode == Mode::OneDump {
        return text;
    }
    text.push_str("counters that are not listed were 0\n");
    if !missing.is_empty() {
        let words = format!("not counted by this kernel: {}", missing.join("; "));
        text.push_str(&paragraph("", &words, page.columns));
    }
    text
}
