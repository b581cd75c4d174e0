//! What a watch knows of the names that can be asserted on: those of a hop, `hop.PORT.*`.

use keepwarm_record::assertion::{Assertion, Fact, Outcome};
use keepwarm_sockets::{Destination, PollDiff, Scope, Side};

use super::{Level, Report, unseen};
use crate::exit::{Exit, Failure};

/// What a watch measures, of a port.
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

/// Fails if an assertion can never be judged: nobody should wait for a window to learn that.
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
pub(crate) fn judge(report: &Report, assertions: &[Assertion]) -> Result<(), Failure> {
    let broken = |assertion: &Assertion| {
        let name = assertion.name();
        match assertion.judge(fact(report, name.as_str())) {
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

fn fact(report: &Report, name: &str) -> Fact {
    let Some((port, rest)) = name.strip_prefix("hop.").and_then(|rest| rest.split_once('.')) else {
        return Fact::Absent("a watch knows ports: hop.PORT.opened".to_owned());
    };
    // What is there is there at one look, too.
    if report.window.is_zero() && !matches!(rest, "established" | "close_wait") {
        return Fact::Absent("one look counts nothing: give --for".to_owned());
    }
    if report.lost_events > 0 {
        return Fact::Absent(format!("{} events were lost", report.lost_events));
    }
    let port = port.parse().unwrap_or(0);
    let all = || report.destinations.iter().map(|judged| &judged.destination);
    let of = |side: Side| -> Vec<&Destination> {
        let wanted = |one: &&Destination| {
            one.side == side && one.service.is_some_and(|service| service.port() == port)
        };
        all().filter(wanted).collect()
    };
    // Where both ends of a connection are on this host, the client's is counted.
    let (side, ends) = match of(Side::Client) {
        clients if clients.is_empty() => (Side::Server, of(Side::Server)),
        clients => (Side::Client, clients),
    };
    let sum =
        |count: &dyn Fn(&Destination) -> u64| Fact::count(ends.iter().map(|one| count(one)).sum());
    let ours = side == Side::Client;
    if report.level == Level::L0 && !matches!(rest, "established" | "close_wait") {
        return Fact::Absent(uncounted(rest, &ends));
    }
    match rest {
        "opened" => sum(&|one| one.opened),
        "closed" => sum(&|one| one.closed.total()),
        "closed_by_client" => {
            sum(&|one| if ours { one.closed.local_fin } else { one.closed.remote_fin })
        }
        "closed_by_server" => {
            sum(&|one| if ours { one.closed.remote_fin } else { one.closed.local_fin })
        }
        "reset" => sum(&|one| one.closed.local_rst + one.closed.undrained + one.closed.remote_rst),
        "established" => sum(&|one| one.established),
        "close_wait" => sum(&|one| one.close_wait),
        "requests" => sum(&|one| one.requests.total()),
        "requests.max" => {
            let most = ends.iter().filter_map(|one| one.requests.max()).max();
            most.map_or_else(
                || Fact::Absent("no request was seen".to_owned()),
                |max| Fact::count(max.into()),
            )
        }
        _ => Fact::Absent("a watch does not measure it".to_owned()),
    }
}

/// Why level L0 does not know it, and what it does know.
fn uncounted(name: &str, ends: &[&Destination]) -> String {
    let least = |count: &dyn Fn(&PollDiff) -> u64| -> u64 {
        ends.iter().filter_map(|one| one.glimpsed.as_ref()).map(count).sum()
    };
    let known = match name {
        "opened" => format!(" (at least {} were)", least(&|seen| seen.opened)),
        "closed" => format!(" (at least {} were)", least(&|seen| seen.closed_first + seen.gone)),
        _ => String::new(),
    };
    format!("level L0 does not count what is {name}{known}; {}", unseen::WAY_UP)
}
