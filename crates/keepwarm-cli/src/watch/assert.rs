//! The facts that a watch has for assertions: those of a hop, `hop.PORT.*`.
//!
//! Owns which names a watch measures and what each is of a record. Comparing and the words for a
//! failure are `assertion`'s.

use keepwarm_record::assertion::{Assertion, Fact, Outcome};
use keepwarm_record::watch::{
    Closed, DestinationRecord, HINT_AT_L0, Mode, PollDiffRecord, Side, WatchRecord,
};
use keepwarm_sockets::Scope;

use crate::exit::{Exit, Failure};

/// The facts of a port that a watch measures.
const KNOWN: [&str; 9] = [
    "opened",
    "closed",
    "closed_by_client",
    "closed_by_server",
    "reset",
    "established",
    "close_wait",
    "requests",
    "requests.max",
];

/// Fails if an assertion can never be judged, before anyone waits for the end of a window.
pub(crate) fn check(assertions: &[Assertion], scope: &Scope) -> Result<(), Failure> {
    for assertion in assertions {
        let name = assertion.name().as_str();
        let hop = name.strip_prefix("hop.").and_then(|rest| rest.split_once('.'));
        let Some((port, _)) = hop.filter(|(_, rest)| KNOWN.contains(rest)) else {
            let known: Vec<String> = KNOWN.iter().map(|rest| format!("hop.PORT.{rest}")).collect();
            let why =
                format!("{assertion}: a watch does not measure {name}, only {}", known.join(", "));
            return Err(Failure::new(Exit::Usage, why));
        };
        if let Some(watched) = scope.port.filter(|watched| port != watched.to_string()) {
            let why = format!("{assertion}: only port {watched} is watched, as the filter says");
            return Err(Failure::new(Exit::Usage, why));
        }
    }
    Ok(())
}

/// Fails if an assertion does not hold, or could not be judged.
pub(crate) fn judge(record: &WatchRecord, assertions: &[Assertion]) -> Result<(), Failure> {
    let broken = |assertion: &Assertion| {
        let name = assertion.name();
        match assertion.judge(fact(record, name.as_str())) {
            Outcome::Held(_) => None,
            Outcome::Failed(value) => {
                Some(format!("{assertion} does not hold: it is {}", name.unit().show(value)))
            }
            Outcome::NotAvailable(why) => {
                Some(format!("{assertion} cannot be judged, not available here: {why}"))
            }
        }
    };
    let broken: Vec<String> = assertions.iter().filter_map(broken).collect();
    if broken.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Assertion, broken.join("; "))) }
}

fn fact(record: &WatchRecord, name: &str) -> Fact {
    let Some((port, rest)) = name.strip_prefix("hop.").and_then(|rest| rest.split_once('.')) else {
        return Fact::Absent("a watch knows ports: hop.PORT.opened".to_owned());
    };
    // One dump shows the sockets that are open, so these facts are known.
    let is_a_state = matches!(rest, "established" | "close_wait");
    if record.mode == Mode::OneDump && !is_a_state {
        return Fact::Absent("one dump counts nothing: give --for".to_owned());
    }
    if let Some(lost) = record.lost_events.filter(|lost| *lost > 0) {
        return Fact::Absent(format!("{lost} events were lost"));
    }
    let (side, rows) = rows_of(record, port.parse().unwrap_or(0));
    if !record.counts_closes() && !is_a_state {
        return Fact::Absent(uncounted(rest, &rows));
    }
    let sum = |count: &dyn Fn(&DestinationRecord) -> u64| {
        Fact::count(rows.iter().fold(0, |sum, one| sum.saturating_add(count(one))))
    };
    let closed = |count: &dyn Fn(&Closed) -> u64| sum(&|one| one.closed.as_ref().map_or(0, count));
    match (rest, side) {
        ("opened", _) => sum(&|one| one.opened.unwrap_or(0)),
        ("closed", _) => closed(&Closed::total),
        ("closed_by_client", Side::Client) | ("closed_by_server", Side::Server) => {
            closed(&|closed| closed.local_fin)
        }
        ("closed_by_client" | "closed_by_server", _) => closed(&|closed| closed.remote_fin),
        ("reset", _) => closed(&Closed::by_reset),
        ("established", _) => sum(&|one| one.established),
        ("close_wait", _) => sum(&|one| one.close_wait),
        ("requests", _) => {
            let totals: Option<u64> = rows.iter().try_fold(0_u64, |sum, one| {
                one.requests_per_connection.total.map(|total| sum.saturating_add(total))
            });
            let missing = || Fact::Absent("a record of keepwarm.watch/1 has no sum".to_owned());
            totals.map_or_else(missing, Fact::count)
        }
        ("requests.max", _) => {
            let most = rows.iter().filter_map(|one| one.requests_per_connection.max).max();
            let missing = || Fact::Absent("no request was seen".to_owned());
            most.map_or_else(missing, |max| Fact::count(max.into()))
        }
        _ => Fact::Absent("a watch does not measure it".to_owned()),
    }
}

/// The rows of a port. Where both sockets of its connections are on this host, the client's are
/// counted.
fn rows_of(record: &WatchRecord, port: u16) -> (Side, Vec<&DestinationRecord>) {
    let rows = |side: Side| -> Vec<&DestinationRecord> {
        let is_wanted = |one: &&DestinationRecord| {
            one.side == side && one.remote.is_some_and(|service| service.port() == port)
        };
        record.destinations.iter().filter(is_wanted).collect()
    };
    match rows(Side::Client) {
        clients if clients.is_empty() => (Side::Server, rows(Side::Server)),
        clients => (Side::Client, clients),
    }
}

/// Writes why level L0 does not count a fact, and the lower bound that it has.
fn uncounted(name: &str, rows: &[&DestinationRecord]) -> String {
    let least = |count: &dyn Fn(&PollDiffRecord) -> u64| -> u64 {
        let seen = rows.iter().filter_map(|one| one.seen_by_polls.as_ref());
        seen.fold(0, |sum, one| sum.saturating_add(count(one)))
    };
    let known = match name {
        "opened" => format!(" (at least {} were)", least(&|seen| seen.opened_at_least)),
        "closed" => {
            let closed = |seen: &PollDiffRecord| {
                let first = seen.closed_first_at_least.unwrap_or(0);
                first.saturating_add(seen.gone_without_time_wait)
            };
            format!(" (at least {} were)", least(&closed))
        }
        _ => String::new(),
    };
    format!("level L0 does not count {name}{known}; {HINT_AT_L0}")
}
