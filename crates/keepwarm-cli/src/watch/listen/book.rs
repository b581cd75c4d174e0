//! The series of the page: what each destination has counted, under the names of its owner.
//!
//! Owns the bound on series and their end. Takes reports, and reads nothing. The kernel's report
//! counts by destination alone; here a count goes to the owner that the destination has at that time,
//! so that after a deployment the new pod's series grow and the old pod's end.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use keepwarm_record::watch::{DestinationRecord, Level, OwnerRecord, Side, WatchRecord};
use keepwarm_sockets::{Destination, EphemeralPorts, HostReport, Owner, SideEvidence};

use super::counts::Counts;
use super::page::bounded;
use crate::evidence::is_there;
use crate::evidence::record::side;

/// Series with names of their own: destinations times owners. Further ones count as `other`.
pub(super) const MAX_SERIES: usize = 1_024;
/// The time without a change after which a series ends, if nothing of it is open.
pub(super) const ENDS_AFTER: Duration = Duration::from_secs(300);
/// The time after which a series ends to make room for another.
const MAKES_ROOM_AFTER: Duration = Duration::from_secs(60);

/// A destination; the number of its network namespace where all are watched. The inode would not do: one
/// that has ended leaves it to another.
type SeriesKey = (Option<SocketAddr>, Side, Option<u32>);

fn key(one: &Destination) -> SeriesKey {
    (one.service, side(one.side), one.namespace.as_ref().map(|namespace| namespace.number))
}

/// A row that is folded away, by side and network namespace: where its counts are then.
type Folded = (Side, Option<u32>);

/// The labels that a series has beside the metric's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Labels {
    pub(super) side: Side,
    /// The service; `None` is `other`.
    pub(super) remote: Option<SocketAddr>,
    /// The network namespace by its name or inode, where all are watched.
    pub(super) netns: Option<String>,
    pub(super) owner: OwnerLabels,
}

/// The names of an owner; one that is `None` is not known, or does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OwnerLabels {
    pub(super) process: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) container: Option<String>,
    pub(super) unit: Option<String>,
}

impl Labels {
    const fn other(side: Side) -> Self {
        let owner =
            OwnerLabels { process: None, namespace: None, pod: None, container: None, unit: None };
        Self { side, remote: None, netns: None, owner }
    }
}

/// One set of labels with its numbers.
#[derive(Debug, Default)]
pub(super) struct Series {
    pub(super) counts: Counts,
    /// The numbers of now; `None` for an owner that the destination had before.
    pub(super) now: Option<Now>,
    changed_at: Duration,
}

/// Numbers that rise and fall.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Now {
    pub(super) established: u64,
    pub(super) close_wait: u64,
    /// `None` where the system does not list them.
    pub(super) time_wait: Option<u64>,
    pub(super) ports_used: Option<u64>,
    /// Of the network namespace that it is in.
    pub(super) ports_limit: Option<u64>,
    pub(super) slow_in_s: Option<u64>,
    pub(super) exhausted_in_s: Option<u64>,
    /// Seconds of a round trip: the median, and the least.
    pub(super) round_trip_s: Option<f64>,
    pub(super) least_round_trip_s: Option<f64>,
    /// Seconds of waiting for new connections in each second.
    pub(super) waiting_s_per_s: Option<f64>,
    pub(super) growth_per_s: Option<f64>,
    pub(super) files_used: Option<u64>,
    pub(super) files_limit: Option<u64>,
    pub(super) files_exhausted_in_s: Option<u64>,
    /// Codes of the findings with their confidence.
    pub(super) findings: Vec<(String, f64)>,
}

impl Now {
    fn is_open(&self) -> bool {
        self.established + self.close_wait + self.time_wait.unwrap_or(0) > 0
    }

    /// Adds the levels of another destination. A forecast and a finding are about one alone.
    fn add_levels(&mut self, other: &Self) {
        self.established += other.established;
        self.close_wait += other.close_wait;
        if let Some(time_wait) = other.time_wait {
            self.time_wait = Some(self.time_wait.unwrap_or(0) + time_wait);
        }
    }
}

/// A destination as the last report had it.
#[derive(Debug, Default)]
struct Recorded {
    seen: Counts,
    /// A record has had it: the filter by owner admits it.
    is_admitted: bool,
    /// Where its counts went last.
    labels: Option<Labels>,
}

/// Every series.
#[derive(Debug, Default)]
pub(super) struct Book {
    rows: HashMap<SeriesKey, Recorded>,
    pub(super) series: HashMap<Labels, Series>,
    pub(super) level: Option<Level>,
    pub(super) lost_events: Option<u64>,
    pub(super) lost_trace_events: Option<u64>,
    pub(super) unattributed_aborts: Option<u64>,
    pub(super) host_findings: Vec<(String, f64)>,
    pub(super) watched: Duration,
}

impl Book {
    /// Takes the report of the whole watch, and the record of its last part, with the number of the
    /// network namespace of each destination there.
    pub(super) fn take(
        &mut self,
        report: &HostReport,
        record: &WatchRecord,
        numbers: &[Option<u32>],
        ports: Option<EphemeralPorts>,
    ) {
        let at = report.window;
        self.watched = at;
        self.level = Some(record.level);
        let counts = record.level.counts_closes();
        self.lost_events = counts.then_some(report.lost_events);
        self.unattributed_aborts = counts.then_some(report.unattributed_aborts);
        self.lost_trace_events = match report.tracing {
            keepwarm_sockets::Tracing::On { lost_events, .. } => Some(lost_events),
            _ => None,
        };
        self.host_findings = findings(&record.host_findings);
        let recorded: HashMap<SeriesKey, &DestinationRecord> = record
            .destinations
            .iter()
            .zip(numbers)
            .map(|(one, number)| ((one.remote, one.side, *number), one))
            .collect();
        let gone = self.forget_folded(report);
        self.series.values_mut().for_each(|series| series.now = None);
        for one in &report.destinations {
            let key = key(one);
            let (labels, now) = match recorded.get(&key) {
                Some(recorded) => {
                    let last = self.rows.get(&key).and_then(|row| row.labels.as_ref());
                    let last = last.map(|labels| &labels.owner);
                    (Some(labels(one, recorded, ports, last)), Some(now(recorded)))
                }
                None => (None, None),
            };
            let folded = one.service.is_none().then(|| gone.get(&(key.1, key.2))).flatten();
            let counts = if counts { Counts::of(one) } else { Counts::default() };
            self.take_row(key, counts, folded, labels, now, at);
        }
        self.end_series(at);
    }

    /// Counts what one destination has more than before.
    fn take_row(
        &mut self,
        key: SeriesKey,
        counts: Counts,
        folded: Option<&Counts>,
        labels: Option<Labels>,
        now: Option<Now>,
        at: Duration,
    ) {
        let row = self.rows.entry(key).or_default();
        let mut before =
            if row.is_admitted || labels.is_none() { row.seen } else { Counts::default() };
        if let Some(folded) = folded {
            before.merge(folded);
        }
        row.seen = counts;
        let Some(labels) = labels.or_else(|| row.labels.clone()) else { return };
        row.is_admitted = true;
        row.labels = Some(labels.clone());
        let grown = counts.since(&before);
        let labels = self.listed(labels, at);
        let series = self.series.entry(labels.clone()).or_default();
        if !grown.is_zero() || series.changed_at.is_zero() {
            series.changed_at = at;
        }
        series.counts.merge(&grown);
        let Some(now) = now else { return };
        if now.is_open() {
            series.changed_at = at;
        }
        match &mut series.now {
            Some(sum) => sum.add_levels(&now),
            None if labels.remote.is_none() => {
                series.now = Some(Now::default());
                series.now.as_mut().expect("just set").add_levels(&now);
            }
            none => *none = Some(now),
        }
    }

    /// Returns the labels themselves while there is room, and those of `other` beyond.
    fn listed(&mut self, labels: Labels, at: Duration) -> Labels {
        if self.series.len() < MAX_SERIES || self.series.contains_key(&labels) {
            return labels;
        }
        self.end_after(MAKES_ROOM_AFTER, at);
        if self.series.len() < MAX_SERIES { labels } else { Labels::other(labels.side) }
    }

    /// Forgets the rows that the report has no more, because they were folded, and returns their sums
    /// by side: the folded row has them now, and must not count them again. That is the row of the same
    /// network namespace or, of one that the report has no more, the row of all that ended earlier.
    fn forget_folded(&mut self, report: &HostReport) -> HashMap<Folded, Counts> {
        let there: HashSet<SeriesKey> = report.destinations.iter().map(key).collect();
        let namespaces: HashSet<Option<u32>> = there.iter().map(|key| key.2).collect();
        let mut gone: HashMap<Folded, Counts> = HashMap::new();
        self.rows.retain(|key, row| {
            let stays = there.contains(key);
            if !stays {
                let namespace = key.2.filter(|number| namespaces.contains(&Some(*number)));
                gone.entry((key.1, namespace)).or_default().merge(&row.seen);
            }
            stays
        });
        gone
    }

    fn end_series(&mut self, at: Duration) {
        self.end_after(ENDS_AFTER, at);
    }

    fn end_after(&mut self, length: Duration, at: Duration) {
        self.series.retain(|_, series| {
            series.changed_at + length > at || series.now.as_ref().is_some_and(Now::is_open)
        });
    }
}

fn findings(findings: &[keepwarm_record::watch::FindingRecord]) -> Vec<(String, f64)> {
    findings.iter().map(|one| (one.code.clone(), one.confidence)).collect()
}

/// Returns the labels of a destination. A port that connect(2) chose would make a series for each
/// connection, so a service that was only guessed at such a port is `other`. An owner that is not known for
/// now is the last one, while its process lives.
fn labels(
    one: &Destination,
    recorded: &DestinationRecord,
    ports: Option<EphemeralPorts>,
    last: Option<&OwnerLabels>,
) -> Labels {
    let there = one.namespace.as_ref().and_then(|namespace| namespace.ephemeral_ports);
    let ports = there.or(ports);
    let is_ephemeral = |service: SocketAddr| {
        let port = service.port();
        ports.is_some_and(|range| range.low <= port && port <= range.high)
    };
    let is_guess = one.side_evidence == SideEvidence::Guess;
    let remote = one.service.filter(|service| !(is_guess && is_ephemeral(*service)));
    if remote.is_none() {
        return Labels::other(recorded.side);
    }
    // Of two processes with one id, the later one lives at most.
    let lives = |recorded: &&OwnerRecord| {
        let mut all = one.owners.iter().chain(&one.owners_open);
        all.any(|one| one.pid == recorded.pid && one.process == recorded.process && is_there(one))
    };
    let owner = recorded.owners.iter().find(lives).or_else(|| recorded.owners.first());
    let owner = owner.map(|owner| OwnerLabels {
        process: label(owner.process.as_deref()),
        namespace: label(owner.namespace.as_deref()),
        pod: label(owner.pod.as_deref()),
        container: label(owner.container.as_deref()),
        unit: label(owner.unit.as_deref()),
    });
    let is_last = |owner: &&Owner| {
        last.is_some_and(|last| label(owner.process.as_deref()) == last.process) && is_there(owner)
    };
    let last = || one.owners.iter().find(is_last).and(last).cloned();
    let netns = recorded.network_namespace.as_ref();
    let netns = netns.map(|of| label(of.name.as_deref()).unwrap_or_else(|| of.inode.to_string()));
    Labels { side: recorded.side, remote, netns, owner: owner.or_else(last).unwrap_or_default() }
}

/// Returns a name as the page has it. Names that look the same there are one: two samples with the same
/// labels would be refused.
fn label(name: Option<&str>) -> Option<String> {
    name.map(bounded).filter(|name| !name.is_empty())
}

fn now(one: &DestinationRecord) -> Now {
    let seconds = |us: u32| f64::from(us) / 1e6;
    Now {
        established: one.established,
        close_wait: one.close_wait,
        time_wait: one.time_wait,
        ports_used: one.ports.map(|ports| ports.used),
        ports_limit: one.ports.map(|ports| ports.range),
        slow_in_s: one.ports.and_then(|ports| ports.cliff_in_s),
        exhausted_in_s: one.ports.and_then(|ports| ports.exhausted_in_s),
        round_trip_s: one.path.and_then(|path| path.rtt_us.p50).map(seconds),
        least_round_trip_s: one.path.and_then(|path| path.rtt_us.least).map(seconds),
        waiting_s_per_s: one.price.map(|price| price.waiting_s_per_s),
        growth_per_s: one.growth_per_s,
        files_used: one.files.map(|files| files.used),
        files_limit: one.files.map(|files| files.limit),
        files_exhausted_in_s: one.files.map(|files| files.exhausted_in_s),
        findings: findings(&one.findings),
    }
}

#[cfg(test)]
mod tests {
    use keepwarm_record::watch::Mode;
    use keepwarm_sockets::NetworkNamespace;

    use super::*;

    const PORTS: EphemeralPorts = EphemeralPorts { low: 32_768, high: 60_999, reserved: 0 };

    /// A destination with connections that were opened, and as many closed but those that are open.
    fn row(service: Option<u32>, opened: u64, alive: u64) -> Destination {
        let service = service.map(|n| SocketAddr::new(std::net::Ipv4Addr::from(n).into(), 443));
        let mut one = Destination::new(service, keepwarm_sockets::Side::Client);
        one.side_evidence = SideEvidence::Connected;
        (one.opened, one.alive, one.established) = (opened, alive, alive);
        one.closed.local_fin = opened - alive;
        one
    }

    fn take(book: &mut Book, second: u64, rows: &[Destination], process: &str) {
        take_of(book, second, rows, Some(process));
    }

    fn take_of(book: &mut Book, second: u64, rows: &[Destination], process: Option<&str>) {
        let number = |one: &Destination| one.namespace.as_ref().map(|namespace| namespace.number);
        let numbers: Vec<_> = rows.iter().map(number).collect();
        let mut report = HostReport::default();
        report.window = Duration::from_secs(second);
        report.destinations = rows.to_vec();
        let mut record = WatchRecord::new(Level::L1, Mode::of_seconds(30.0));
        let json = include_str!("../../../../keepwarm-record/records/watch_go.json");
        let like = WatchRecord::from_json(json.parse().unwrap()).unwrap().destinations.remove(0);
        let owner = process.map(|process| OwnerRecord {
            pid: std::process::id(),
            process: Some(process.to_owned()),
            ..like.owners[0].clone()
        });
        let recorded = |one: &Destination| DestinationRecord {
            remote: one.service,
            established: one.alive,
            close_wait: 0,
            time_wait: Some(0),
            owners: owner.iter().cloned().collect(),
            ..like.clone()
        };
        record.destinations = rows.iter().map(recorded).collect();
        book.take(&report, &record, &numbers, Some(PORTS));
    }

    fn opened(book: &Book) -> u64 {
        book.series.values().map(|series| series.counts.opened).sum()
    }

    #[test]
    fn series_are_bounded_and_lose_nothing() {
        let mut book = Book::default();
        let rows: Vec<Destination> = (1..=3_000).map(|n| row(Some(n), 2, 1)).collect();
        take(&mut book, 2, &rows, "api");
        assert_eq!(book.series.len(), MAX_SERIES + 1);
        assert_eq!(opened(&book), 6_000);
        let other = &book.series[&Labels::other(Side::Client)];
        let rest = 3_000 - MAX_SERIES as u64;
        assert_eq!(other.now.as_ref().map(|now| now.established), Some(rest));
        assert_eq!(other.counts.closes(), rest);
    }

    #[test]
    fn folded_destination_is_not_counted_again() {
        let mut book = Book::default();
        take(&mut book, 2, &[row(Some(1), 5, 1), row(Some(2), 7, 0)], "api");
        take(&mut book, 4, &[row(Some(1), 5, 1), row(None, 7, 0)], "api");
        assert_eq!(opened(&book), 12);
        take(&mut book, 6, &[row(Some(1), 6, 1), row(None, 9, 0)], "api");
        assert_eq!(
            (opened(&book), book.series[&Labels::other(Side::Client)].counts.opened),
            (15, 2)
        );
        // It comes again, and begins at nothing.
        take(&mut book, 8, &[row(Some(1), 6, 1), row(None, 9, 0), row(Some(2), 3, 0)], "api");
        assert_eq!(opened(&book), 18);
    }

    #[test]
    fn series_of_the_gone_end() {
        let mut book = Book::default();
        let at = |second: u64| second + ENDS_AFTER.as_secs();
        take(&mut book, 2, &[row(Some(1), 5, 0), row(Some(2), 5, 1)], "api");
        take(&mut book, at(1), &[row(Some(1), 5, 0), row(Some(2), 5, 1)], "api");
        assert_eq!(book.series.len(), 2);
        take(&mut book, at(3), &[row(Some(1), 5, 0), row(Some(2), 5, 1)], "api");
        assert_eq!((book.series.len(), opened(&book)), (1, 5), "one has a connection open");
        take(&mut book, at(5), &[row(Some(1), 8, 0), row(Some(2), 5, 1)], "api");
        assert_eq!((book.series.len(), opened(&book)), (2, 8), "three since");
    }

    #[test]
    fn counts_go_to_the_owner_of_the_time() {
        let mut book = Book::default();
        take(&mut book, 2, &[row(Some(1), 5, 1)], "old");
        take(&mut book, 4, &[row(Some(1), 8, 1)], "new");
        let of = |process: &str| {
            let mut named = book
                .series
                .iter()
                .filter(|(labels, _)| labels.owner.process.as_deref() == Some(process));
            named.next().map(|(_, series)| (series.counts.opened, series.now.is_some())).unwrap()
        };
        assert_eq!((of("old"), of("new")), ((5, false), (3, true)));
    }

    #[test]
    fn living_owner_stays_while_none_is_known() {
        let owner = |started_at| Owner {
            pid: std::process::id(),
            started_at,
            process: Some("api".to_owned()),
            share: 1.0,
            how: keepwarm_sockets::OwnerEvidence::Sampled,
        };
        let here = keepwarm_sockets::process::started_at(std::process::id());
        for (started_at, series) in [(here, 1), (Some(1), 2)] {
            let mut book = Book::default();
            let mut one = row(Some(1), 5, 1);
            one.owners = vec![owner(started_at)];
            take(&mut book, 2, &[one.clone()], "api");
            (one.opened, one.closed.local_fin) = (8, 7);
            take_of(&mut book, 4, &[one], None);
            assert_eq!((book.series.len(), opened(&book)), (series, 8));
        }
    }

    #[test]
    fn close_of_another_kind_is_no_second_one() {
        let mut book = Book::default();
        let mut one = row(Some(1), 10, 0);
        take(&mut book, 2, &[one.clone()], "api");
        (one.closed.local_fin, one.closed.remote_fin) = (0, 10);
        take(&mut book, 4, &[one.clone()], "api");
        one.closed.remote_fin = 12;
        one.opened = 12;
        take(&mut book, 6, &[one], "api");
        let closes: u64 = book.series.values().map(|series| series.counts.closes()).sum();
        assert_eq!(closes, 12);
    }

    /// A row of a network namespace of this inode and number.
    fn within(inode: u64, number: u32, service: Option<u32>, opened: u64) -> Destination {
        let mut one = row(service, opened, 0);
        one.namespace = Some(std::sync::Arc::new(NetworkNamespace::new(inode, number)));
        one
    }

    #[test]
    fn inode_may_be_another_namespaces() {
        let mut book = Book::default();
        take(&mut book, 2, &[within(7, 1, Some(1), 5)], "api");
        // The first has ended, and another has its inode.
        for second in [4, 6, 8] {
            let rows = [within(7, 1, Some(1), 5), within(7, 2, Some(1), 9)];
            take(&mut book, second, &rows, "api");
            assert_eq!(opened(&book), 14, "second {second}");
        }
    }

    #[test]
    fn sum_of_ended_namespaces_counts_once() {
        let mut book = Book::default();
        let rows = [within(7, 1, Some(1), 5), within(8, 2, Some(1), 9), within(9, 3, None, 2)];
        take(&mut book, 2, &rows, "api");
        assert_eq!(opened(&book), 16);
        // The oldest two are added up; of a third, one service is folded.
        let rows = [row(None, 14, 0), within(9, 3, None, 2)];
        take(&mut book, 4, &rows, "api");
        assert_eq!(opened(&book), 16);
        let rows = [row(None, 14, 0), within(9, 3, None, 3)];
        take(&mut book, 6, &rows, "api");
        assert_eq!(opened(&book), 17);
    }

    #[test]
    fn names_that_look_alike_are_one_series() {
        let mut book = Book::default();
        let long = |end: &str| "x".repeat(200) + end;
        take(&mut book, 2, &[row(Some(1), 5, 1)], &long("a"));
        take(&mut book, 4, &[row(Some(1), 8, 1)], &long("b"));
        take(&mut book, 6, &[row(Some(2), 8, 1)], "a\u{1b}b");
        take(&mut book, 8, &[row(Some(2), 9, 1)], "a\u{7}b");
        assert_eq!((book.series.len(), opened(&book)), (2, 17));
    }

    #[test]
    fn guessed_ephemeral_port_is_no_label() {
        let mut book = Book::default();
        let mut guessed = row(Some(1), 1, 1);
        guessed.side_evidence = SideEvidence::Guess;
        guessed.service = Some("10.0.0.5:40000".parse().unwrap());
        let mut known = guessed.clone();
        known.side_evidence = SideEvidence::Listener;
        known.service = Some("10.0.0.5:40001".parse().unwrap());
        take(&mut book, 2, &[guessed, known], "api");
        let mut remotes: Vec<_> = book.series.keys().map(|labels| labels.remote).collect();
        remotes.sort_unstable();
        assert_eq!(remotes, [None, Some("10.0.0.5:40001".parse().unwrap())]);
    }
}
