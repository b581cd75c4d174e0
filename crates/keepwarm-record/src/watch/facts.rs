//! The facts that a watch has for assertions: those of a port, `hop.PORT.*`.
//!
//! Owns which names a watch measures, and the value of each in a record. Comparing, and the words
//! for a failure, are `assertion`'s.

use super::destination::sum;
use super::{Closed, DestinationRecord, HINT_AT_L0, Mode, Side, WatchRecord};
use crate::assertion::{Assertion, Fact};

/// The facts of a port that a watch measures.
const MEASURED: [&str; 9] = [
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

/// Says why a watch of `port` alone (`None`: of every port) can never judge an assertion; `None` if
/// it can.
#[must_use]
pub fn cannot_judge(assertion: &Assertion, port: Option<u16>) -> Option<String> {
    let name = assertion.name().as_str();
    let hop = name.strip_prefix("hop.").and_then(|rest| rest.split_once('.'));
    let Some((asserted, _)) = hop.filter(|(_, rest)| MEASURED.contains(rest)) else {
        let names: Vec<String> = MEASURED.iter().map(|rest| format!("hop.PORT.{rest}")).collect();
        let names = names.join(", ");
        return Some(format!("{assertion}: a watch does not measure {name}, only {names}"));
    };
    let watched = port.filter(|watched| asserted != watched.to_string())?;
    Some(format!("{assertion}: only port {watched} is watched, as the filter says"))
}

/// Returns the value of a name in a record, or why there is none.
#[must_use]
pub fn fact(record: &WatchRecord, name: &str) -> Fact {
    let Some((port, rest)) = name.strip_prefix("hop.").and_then(|rest| rest.split_once('.')) else {
        return Fact::Absent("a watch measures ports: hop.PORT.opened".to_owned());
    };
    // One dump shows the sockets that are open, so their states are known in any mode.
    let is_a_state = matches!(rest, "established" | "close_wait");
    if record.mode == Mode::OneDump && !is_a_state {
        return Fact::Absent("one dump counts nothing: give --for".to_owned());
    }
    if let Some(lost) = record.lost_events.filter(|lost| *lost > 0) {
        return Fact::Absent(format!("{lost} events were lost"));
    }
    if record.events_overdue == Some(true) {
        return Fact::Absent("the kernel had not told all events when the watch ended".to_owned());
    }
    let rows = Rows::of(record, port.parse().unwrap_or(0));
    if !record.counts_closes() && !is_a_state {
        return Fact::Absent(rows.uncounted(rest));
    }
    rows.fact(rest)
}

/// The rows of one port, all from one side.
struct Rows<'a> {
    side: Side,
    rows: Vec<&'a DestinationRecord>,
}

impl<'a> Rows<'a> {
    /// Finds the rows of a port. Where both sockets of its connections are on this host, the
    /// client's are counted.
    fn of(record: &'a WatchRecord, port: u16) -> Self {
        let of_side = |side: Side| {
            let is_wanted = |one: &&DestinationRecord| {
                one.side == side && one.remote.is_some_and(|service| service.port() == port)
            };
            Self { side, rows: record.destinations.iter().filter(is_wanted).collect() }
        };
        let clients = of_side(Side::Client);
        if clients.rows.is_empty() { of_side(Side::Server) } else { clients }
    }

    fn fact(&self, name: &str) -> Fact {
        match (name, self.side) {
            ("opened", _) => self.sum(|one| one.opened.unwrap_or(0)),
            ("closed", _) => self.closed(Closed::total),
            ("closed_by_client", Side::Client) | ("closed_by_server", Side::Server) => {
                self.closed(|closed| closed.local_fin)
            }
            ("closed_by_client" | "closed_by_server", _) => self.closed(|closed| closed.remote_fin),
            ("reset", _) => self.closed(Closed::by_reset),
            ("established", _) => self.sum(|one| one.established),
            ("close_wait", _) => self.sum(|one| one.close_wait),
            ("requests", _) => self.requests(),
            ("requests.max", _) => {
                let most = self.rows.iter().filter_map(|one| one.requests_per_connection.max).max();
                let missing = || Fact::Absent("no request was seen".to_owned());
                most.map_or_else(missing, |max| Fact::count(max.into()))
            }
            _ => Fact::Absent("a watch does not measure it".to_owned()),
        }
    }

    fn sum(&self, count: impl Fn(&DestinationRecord) -> u64) -> Fact {
        Fact::count(sum(self.rows.iter().map(|one| count(one))))
    }

    fn closed(&self, count: impl Fn(&Closed) -> u64) -> Fact {
        self.sum(|one| one.closed.as_ref().map_or(0, &count))
    }

    fn requests(&self) -> Fact {
        let totals: Option<Vec<u64>> =
            self.rows.iter().map(|one| one.requests_per_connection.total).collect();
        let missing = || Fact::Absent("a record of keepwarm.watch/1 has no sum".to_owned());
        totals.map_or_else(missing, |totals| Fact::count(sum(totals)))
    }

    /// Says why polls do not count a fact, and the lower bound that they have.
    fn uncounted(&self, name: &str) -> String {
        let seen = || self.rows.iter().filter_map(|one| one.seen_by_polls.as_ref());
        let least = match name {
            "opened" => Some(sum(seen().map(|seen| seen.opened_at_least))),
            "closed" => Some(sum(seen().flat_map(|seen| {
                [seen.closed_first_at_least.unwrap_or(0), seen.gone_without_time_wait]
            }))),
            _ => None,
        };
        let least = least.map(|count| format!(" (at least {count} were)")).unwrap_or_default();
        format!("level L0 does not count what is {name}{least}; {HINT_AT_L0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assertion::parse;
    use crate::read::{AnyRecord, read};
    use crate::watch::Level;

    const COUNTED: &str = include_str!("../../records/watch_1_l1.json");
    const POLLED: &str = include_str!("../../records/watch_1_l0.jsonl");
    const ONE_DUMP: &str = include_str!("../../records/watch_1_once.json");

    fn record(text: &str) -> WatchRecord {
        match read(text.as_bytes()).unwrap().record {
            AnyRecord::Watch(record) => *record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn client_rows_are_counted_on_loopback() {
        let record = record(COUNTED);
        for (name, count) in [
            ("opened", 604),
            ("closed", 604),
            ("closed_by_client", 4),
            ("closed_by_server", 600),
            ("reset", 0),
            ("established", 0),
            ("requests.max", 76),
        ] {
            let fact = fact(&record, &format!("hop.8081.{name}"));
            assert_eq!(fact, Fact::count(count), "{name}");
        }
    }

    #[test]
    fn unknown_facts_are_absent_with_reason() {
        for (text, name, reason) in [
            (COUNTED, "hop.8081.requests", "keepwarm.watch/1 has no sum"),
            (COUNTED, "rps", "hop.PORT.opened"),
            (ONE_DUMP, "hop.8081.opened", "one dump counts nothing"),
            (POLLED, "hop.8081.opened", "(at least 4 were)"),
            (POLLED, "hop.8081.reset", "level L0 does not count what is reset; level L1 needs"),
        ] {
            match fact(&record(text), name) {
                Fact::Absent(why) => assert!(why.contains(reason), "{name}: {why}"),
                known => panic!("{name}: {known:?}"),
            }
        }
    }

    #[test]
    fn lost_events_make_facts_absent() {
        let mut record = WatchRecord::new(Level::L1, Mode::Window { seconds: 1.0 });
        assert_eq!(fact(&record, "hop.1.opened"), Fact::count(0));
        record.lost_events = Some(3);
        assert_eq!(fact(&record, "hop.1.opened"), Fact::Absent("3 events were lost".to_owned()));
        (record.lost_events, record.events_overdue) = (Some(0), Some(true));
        assert!(
            matches!(fact(&record, "hop.1.opened"), Fact::Absent(why) if why.contains("ended"))
        );
    }

    #[test]
    fn unmeasured_names_are_rejected_early() {
        let why = |text: &str, port| cannot_judge(&parse(text).unwrap(), port);
        assert_eq!(why("hop.80.opened<5", None), None);
        assert_eq!(why("hop.80.opened<5", Some(80)), None);
        assert!(why("hop.80.opened<5", Some(81)).unwrap().contains("only port 81"));
        assert!(why("p99<20ms", None).unwrap().contains("does not measure p99"));
        assert!(why("hop.80.ports.peak<5", None).unwrap().contains("hop.80.ports.peak"));
    }
}
