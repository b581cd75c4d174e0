//! The series of the page: what each destination has counted, under the names of its owner.
//!
//! Owns the bound on series and their end. Takes reports, and reads nothing. The kernel's report
//! counts by destination alone; here a count goes to the owner that the destination has at that time,
//! so that after a deployment the new pod's series grow and the old pod's end.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use keepwarm_record::watch::{DestinationRecord, Level, Side, WatchRecord};
use keepwarm_sockets::{Destination, EphemeralPorts, HostReport, SideEvidence};

use super::counts::Counts;
use crate::evidence::record::side;

/// Series with names of their own: destinations times owners. Further ones count as `other`.
pub(super) const MAX_SERIES: usize = 1_024;
/// The time without a change after which a series ends, if nothing of it is open.
pub(super) const ENDS_AFTER: Duration = Duration::from_secs(300);
/// The time after which a series ends to make room for another.
const MAKES_ROOM_AFTER: Duration = Duration::from_secs(60);

type Key = (Option<SocketAddr>, Side);

/// The labels that a series has beside the metric's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Labels {
    pub(super) side: Side,
    /// The service; `None` is `other`.
    pub(super) remote: Option<SocketAddr>,
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
        Self { side, remote: None, owner }
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
    pub(super) slow_in_s: Option<u64>,
    pub(super) exhausted_in_s: Option<u64>,
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
struct Row {
    seen: Counts,
    /// A record has had it: the filter by owner admits it.
    is_admitted: bool,
    /// Where its counts went last.
    labels: Option<Labels>,
}

/// Every series.
#[derive(Debug, Default)]
pub(super) struct Book {
    rows: HashMap<Key, Row>,
    pub(super) series: HashMap<Labels, Series>,
    pub(super) ports_limit: Option<u64>,
    pub(super) level: Option<Level>,
    pub(super) lost_events: Option<u64>,
    pub(super) lost_trace_events: Option<u64>,
    pub(super) unattributed_aborts: Option<u64>,
    pub(super) host_findings: Vec<(String, f64)>,
    pub(super) watched: Duration,
}

impl Book {
    /// Takes the report of the whole watch, and the record of its last part.
    pub(super) fn take(
        &mut self,
        report: &HostReport,
        record: &WatchRecord,
        ports: Option<EphemeralPorts>,
    ) {
        let at = report.window;
        self.watched = at;
        self.ports_limit = ports.map(|ports| ports.size().into());
        self.level = Some(record.level);
        let counts = record.level.counts_closes();
        self.lost_events = counts.then_some(report.lost_events);
        self.unattributed_aborts = counts.then_some(report.unattributed_aborts);
        self.lost_trace_events = match report.tracing {
            keepwarm_sockets::Tracing::On { lost_events, .. } => Some(lost_events),
            _ => None,
        };
        self.host_findings = findings(&record.host_findings);
        let recorded: HashMap<Key, &DestinationRecord> =
            record.destinations.iter().map(|one| ((one.remote, one.side), one)).collect();
        let gone = self.forget_folded(report);
        self.series.values_mut().for_each(|series| series.now = None);
        for one in &report.destinations {
            let key = (one.service, side(one.side));
            let (labels, now) = match recorded.get(&key) {
                Some(recorded) => (Some(labels(one, recorded, ports)), Some(now(recorded))),
                None => (None, None),
            };
            let folded = one.service.is_none().then(|| gone.get(&key.1)).flatten();
            let counts = if counts { Counts::of(one) } else { Counts::default() };
            self.take_row(key, counts, folded, labels, now, at);
        }
        self.end_series(at);
    }

    /// Counts what one destination has more than before.
    fn take_row(
        &mut self,
        key: Key,
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
    /// by side: the folded row has them now, and must not count them again.
    fn forget_folded(&mut self, report: &HostReport) -> HashMap<Side, Counts> {
        let there: std::collections::HashSet<Key> =
            report.destinations.iter().map(|one| (one.service, side(one.side))).collect();
        let mut gone: HashMap<Side, Counts> = HashMap::new();
        self.rows.retain(|key, row| {
            let stays = there.contains(key);
            if !stays {
                gone.entry(key.1).or_default().merge(&row.seen);
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
/// connection, so a service that was only guessed at such a port is `other`.
fn labels(
    one: &Destination,
    recorded: &DestinationRecord,
    ports: Option<EphemeralPorts>,
) -> Labels {
    let is_ephemeral = |service: SocketAddr| {
        let port = service.port();
        ports.is_some_and(|range| range.low <= port && port <= range.high)
    };
    let is_guess = one.side_evidence == SideEvidence::Guess;
    let remote = one.service.filter(|service| !(is_guess && is_ephemeral(*service)));
    if remote.is_none() {
        return Labels::other(recorded.side);
    }
    let owner = recorded.owners.iter().find(|owner| keepwarm_sockets::process::exists(owner.pid));
    let owner = owner.or_else(|| recorded.owners.first());
    let owner = owner.map(|owner| OwnerLabels {
        process: owner.process.clone(),
        namespace: owner.namespace.clone(),
        pod: owner.pod.clone(),
        container: owner.container.clone(),
        unit: owner.unit.clone(),
    });
    Labels { side: recorded.side, remote, owner: owner.unwrap_or_default() }
}

fn now(one: &DestinationRecord) -> Now {
    Now {
        established: one.established,
        close_wait: one.close_wait,
        time_wait: one.time_wait,
        ports_used: one.ports.map(|ports| ports.used),
        slow_in_s: one.ports.and_then(|ports| ports.cliff_in_s),
        exhausted_in_s: one.ports.and_then(|ports| ports.exhausted_in_s),
        growth_per_s: one.growth_per_s,
        files_used: one.files.map(|files| files.used),
        files_limit: one.files.map(|files| files.limit),
        files_exhausted_in_s: one.files.map(|files| files.exhausted_in_s),
        findings: findings(&one.findings),
    }
}
