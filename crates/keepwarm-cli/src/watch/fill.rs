//! From the kernel's report to the record of a watch.
//!
//! Owns the one place where a [`WatchRecord`] is made: what is judged, whose destinations are left
//! out, and which numbers are not known. What a record looks like is not decided here.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use keepwarm_diagnose::not_judged_by_polls;
use keepwarm_record::assertion::Assertion;
use keepwarm_record::machine::Machine;
use keepwarm_record::watch::{
    AcceptQueueRecord, Closed, DestinationRecord, FilesRecord, FindingRecord, HINT_AT_L0,
    IdleRecord, Level, LifetimeRecord, Limitation, Mode, NOT_SEEN_BY_POLLS,
    NOT_SEEN_WITHOUT_TIME_WAITS, NamespaceRecord, NamespacesRecord, PathRecord, PerConnection,
    PollDiffRecord, PollsRecord, PortsRecord, PriceRecord, ResetsRecord, RoundTripRecord,
    ScopeRecord, StuckRecord, WaitingRecord, WatchRecord,
};
use keepwarm_sockets::{
    Counters, Destination, Handshake, Histogram, HostReport, Namespaces, NetworkPath, Polls, Scope,
    SelfTest, Side, Tracing,
};

use crate::args::{WatchLevel, WatchOptions};
use crate::evidence::names::NameFinder;
use crate::evidence::owner::OwnerFilter;
use crate::evidence::record::{finding, owners, side};
use crate::evidence::{Judge, Judged};
use crate::exit::{Exit, Failure};
use crate::watch::resolve::Resolver;
use crate::{limits, machine};

/// Makes the records of one watch.
pub(crate) struct Recorder {
    judge: Judge,
    filter: OwnerFilter,
    /// Names of addresses, by the hosts file.
    hosts: HashMap<IpAddr, String>,
    scope: Scope,
    machine: Machine,
    assertions: Vec<Assertion>,
    self_test: Option<SelfTest>,
    self_test_error: Option<String>,
    level_refused: Option<String>,
    wants_traces: bool,
    names_nothing: bool,
    /// Names of addresses, by DNS.
    resolver: Option<Resolver>,
}

impl Recorder {
    pub(crate) fn new(options: &WatchOptions, scope: Scope) -> Result<Self, Failure> {
        let filter = OwnerFilter::new(options);
        let finder = NameFinder::new(options.rootfs.as_deref());
        filter.check()?;
        Ok(Self {
            judge: Judge::naming(finder.clone()),
            hosts: finder.hosts(),
            filter,
            scope,
            machine: machine::this(),
            assertions: options.assertions.clone(),
            self_test: None,
            self_test_error: None,
            level_refused: None,
            wants_traces: options.level == WatchLevel::L2,
            names_nothing: options.no_owners,
            resolver: None,
        })
    }

    /// Asks DNS for names from now on. Starts a thread, which has the capabilities of the caller.
    /// `name_servers`: the text of resolv.conf(5).
    pub(crate) fn resolve(&mut self, name_servers: &str) -> Result<(), Failure> {
        let failed = |error| {
            limits::refused(Exit::Failed, "cannot start a thread that asks for names", &error)
        };
        self.resolver = Some(Resolver::start(name_servers).map_err(failed)?);
        Ok(())
    }

    /// Tests on this kernel how closes are told apart. Comes before the window, so that the test's
    /// own connections are not in it.
    pub(crate) fn test_kernel(&mut self) {
        match SelfTest::check() {
            Ok(test) => self.self_test = Some(test),
            Err(error) => self.self_test_error = Some(error.to_string()),
        }
    }

    /// Notes why the watch is at a lower level than was asked for.
    pub(crate) fn refused(&mut self, why: Option<String>) {
        self.level_refused = why;
    }

    /// Reads the facts about owners that can only be read while they live.
    pub(crate) fn remember_owners<'a>(
        &mut self,
        all: impl Iterator<Item = &'a Destination> + Clone,
    ) {
        self.judge.remember_owners(all.clone());
        for one in all {
            if let Some(service) = one.service {
                self.remote_name(service.ip(), one.side);
            }
        }
    }

    /// Returns the name of a service's address, as far as it is known by now. Only that of another
    /// host is asked for.
    fn remote_name(&mut self, ip: IpAddr, side: Side) -> Option<String> {
        let name = self.hosts.get(&ip).cloned();
        let resolver = self.resolver.as_mut().filter(|_| side == Side::Client);
        name.or_else(|| resolver?.name(ip))
    }

    /// Makes the record of a report about the last part of a watch, or about all of it.
    pub(crate) fn record(&mut self, report: HostReport, watched: Duration) -> WatchRecord {
        self.numbered(report, watched).0
    }

    /// Makes the record as [`record`](Self::record) does, and has the number of the network namespace of
    /// each of its destinations: an inode may be another namespace's by now.
    pub(crate) fn numbered(
        &mut self,
        mut report: HostReport,
        watched: Duration,
    ) -> (WatchRecord, Vec<Option<u32>>) {
        if let Some(test) = &self.self_test {
            test.apply(&mut report);
        }
        let mut judged = self.judge.judge(&report, self.self_test.as_ref());
        let without_owner = judged.iter().filter(|one| self.filter.cannot_tell(one)).count();
        judged.retain(|one| self.filter.admits(one));
        let level = level(&report);
        let mode = Mode::of_seconds(report.window.as_secs_f64());
        let mut record = WatchRecord::new(level, mode);
        record.machine = Some(self.machine.clone());
        record.scope = Some(scope(&self.scope));
        record.watched_s = Some(watched.as_secs_f64());
        record.network_namespaces = report.namespaces.as_ref().map(namespaces);
        if level.counts_closes() {
            record.lost_events = Some(report.lost_events);
            record.unattributed_aborts = Some(report.unattributed_aborts);
            record.late_s = Some(report.late.as_secs_f64());
            record.events_overdue = Some(report.events_overdue);
            record.broken_rules = self.self_test.as_ref().map(broken_rules);
            record.self_test_error.clone_from(&self.self_test_error);
        }
        match &report.tracing {
            _ if level == Level::L0 => record.level_refused.clone_from(&self.level_refused),
            Tracing::Off if self.wants_traces && report.namespaces.is_some() => {
                record.level_refused =
                    Some("a trace does not name the network namespace".to_owned());
            }
            Tracing::Off if self.wants_traces && self.names_nothing => {
                record.level_refused = Some("a trace names processes (--no-owners)".to_owned());
            }
            Tracing::Off => {}
            Tracing::Refused(error) => record.level_refused = Some(error.to_string()),
            Tracing::On { events, lost_events } => {
                record.trace_events = Some(*events);
                record.lost_trace_events = Some(*lost_events);
            }
        }
        let of_host = self.judge.judge_host(&report);
        record.host_findings = of_host.iter().map(finding).collect();
        let polls = report.polls.as_ref();
        record.polls = polls.map(|polls| polls_record(polls, mode, &record.host_findings));
        record.without_owner = without_owner as u64;
        if judged.is_empty() {
            record.empty_because = self.filter.why_nothing();
        }
        let known = Known {
            counted: record.counts_closes(),
            seconds: mode.seconds(),
            traced: level.traces(),
            lists_time_waits: report.polls.is_none_or(|polls| polls.lists_time_waits),
        };
        record.destinations = judged.iter().map(|one| destination(one, known)).collect();
        for one in &mut record.destinations {
            let side = match one.side {
                keepwarm_record::watch::Side::Client => Side::Client,
                keepwarm_record::watch::Side::Server => Side::Server,
            };
            let ip = one.remote.map(|remote| remote.ip());
            one.remote_name = ip.and_then(|ip| self.remote_name(ip, side));
        }
        record.judge(&self.assertions);
        let number = |one: &Judged| Some(one.destination.namespace.as_ref()?.number);
        (record, judged.iter().map(number).collect())
    }
}

fn level(report: &HostReport) -> Level {
    match report.tracing {
        _ if report.polls.is_some() => Level::L0,
        Tracing::Off | Tracing::Refused(_) => Level::L1,
        Tracing::On { .. } => Level::L2,
    }
}

fn namespaces(of: &Namespaces) -> NamespacesRecord {
    NamespacesRecord {
        watched: of.watched,
        ended: of.ended,
        refused: of.refused,
        refused_because: of.refused_because.as_ref().map(ToString::to_string),
        left_out: of.left_out,
        unreadable: of.unreadable,
    }
}

fn broken_rules(test: &SelfTest) -> Vec<String> {
    test.failures().into_iter().map(str::to_owned).collect()
}

fn scope(scope: &Scope) -> ScopeRecord {
    ScopeRecord { ip: scope.ip, port: scope.port, side: scope.side.map(side) }
}

/// The counters that a record has, by their names there.
fn named(counters: &Counters) -> [(&'static str, Option<u64>); 15] {
    [
        ("opened_active", counters.active_opens),
        ("opened_passive", counters.passive_opens),
        ("attempt_fails", counters.attempt_fails),
        ("estab_resets", counters.estab_resets),
        ("resets_sent", counters.out_resets),
        ("time_waits", counters.time_waits),
        ("time_waits_recycled", counters.time_waits_recycled),
        ("time_wait_overflow", counters.time_wait_overflow),
        ("abort_on_close", counters.abort_on_close),
        ("abort_on_data", counters.abort_on_data),
        ("abort_on_timeout", counters.abort_on_timeout),
        ("abort_on_memory", counters.abort_on_memory),
        ("listen_overflows", counters.listen_overflows),
        ("listen_drops", counters.listen_drops),
        ("syn_retransmits", counters.syn_retransmits),
    ]
}

fn polls_record(polls: &Polls, mode: Mode, host_findings: &[FindingRecord]) -> PollsRecord {
    let counters = named(&polls.counters);
    let per_s = |count: Option<u64>| Some(count? as f64 / mode.seconds()?);
    let mut not_seen: Vec<Limitation> = NOT_SEEN_BY_POLLS.into_iter().map(Into::into).collect();
    if !polls.lists_time_waits {
        not_seen.push(NOT_SEEN_WITHOUT_TIME_WAITS.into());
    }
    // Closes are not judged in one dump, so no finding on them is missing.
    let not_judged = if mode == Mode::OneDump { &[] } else { not_judged_by_polls() };
    PollsRecord {
        source: polls.source.as_str().to_owned(),
        count: polls.count,
        counters: counters.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
        per_s: counters.iter().map(|(name, count)| ((*name).to_owned(), per_s(*count))).collect(),
        established_now: polls.counters.established,
        time_wait_now: polls.counters.time_wait_now,
        findings: host_findings.to_vec(),
        not_seen,
        not_judged: not_judged.iter().copied().map(Into::into).collect(),
        hint: HINT_AT_L0.to_owned(),
    }
}

/// Kinds of numbers that are known in a report.
#[derive(Debug, Clone, Copy)]
struct Known {
    counted: bool,
    /// Length of the window; `None` of one dump.
    seconds: Option<f64>,
    traced: bool,
    lists_time_waits: bool,
}

fn destination(judged: &Judged, known: Known) -> DestinationRecord {
    let one = &judged.destination;
    let path = path(one);
    let mut idle = one.idle_before_local_close.clone();
    idle.merge(&one.idle_before_remote_close);
    DestinationRecord {
        remote: one.service,
        remote_name: None,
        network_namespace: one.namespace.as_ref().map(|namespace| NamespaceRecord {
            inode: namespace.inode,
            name: namespace.name.clone(),
        }),
        side: side(one.side),
        side_evidence: one.service.map(|_| one.side_evidence.as_str().to_owned()),
        folded: one.folded,
        folded_at_least: one.folded_at_least,
        opened: known.counted.then_some(one.opened),
        closed: known.counted.then(|| closed(one)),
        requests_per_connection: per_connection(&one.requests, known),
        requests_at_most: Some(per_connection(&one.requests_at_most, known)),
        handshake: Some(one.handshake.as_str().to_owned()),
        waiting: known.counted.then(|| WaitingRecord {
            unanswered: one.unanswered,
            given_up: one.given_up,
            p50_ms: one.waited_before_give_up.quantile(0.5),
            met: one.met_waiting,
            met_in_vain: one.met_waiting_in_vain,
            late_answers: one.late_answers.count(),
            cut_answers: one.cut_answers,
        }),
        stuck: Some(StuckRecord {
            established: one.stuck.established,
            closing: one.stuck.closing,
            silent_ms: one.stuck.oldest_ms,
            retransmits: one.stuck.retransmits,
        }),
        accept_queue: one.listen_queue.map(|queue| AcceptQueueRecord {
            waiting: queue.waiting,
            backlog: queue.backlog,
            unaccepted: one.unaccepted,
        }),
        idle_at_close_ms: IdleRecord { p50: idle.quantile(0.5), p99: idle.quantile(0.99) },
        lifetime_ms: known.traced.then(|| lifetime(&one.traced.lifetime_ms)),
        resets: known.traced.then(|| ResetsRecord {
            reasons: one.traced.reset_reasons.clone(),
            after_fin: one.traced.reset_after_fin,
        }),
        seen_by_polls: one.seen_by_polls.map(|seen| PollDiffRecord {
            opened_at_least: seen.opened,
            closed_first_at_least: known.lists_time_waits.then_some(seen.closed_first),
            gone_without_time_wait: seen.gone,
            long_lived: seen.long_lived,
        }),
        established: one.established,
        close_wait: one.close_wait,
        time_wait: known.lists_time_waits.then_some(one.time_wait),
        price: path.and_then(|path| price(one, &path, known)),
        path,
        closed_first_by_second: known.lists_time_waits.then(|| one.time_wait_by_age.clone()),
        ports: judged.ports.map(|ports| PortsRecord {
            used: ports.used,
            range: ports.range,
            cliff_in_s: ports.cliff_in.map(|length| length.as_secs()),
            exhausted_in_s: ports.exhausted_in.map(|length| length.as_secs()),
        }),
        growth_per_s: judged.growth_per_s,
        files: judged.files.map(|files| FilesRecord {
            pid: files.pid,
            used: files.used,
            limit: files.limit,
            exhausted_in_s: files.exhausted_in.as_secs(),
        }),
        owners: owners(judged),
        findings: judged.findings.iter().map(finding).collect(),
    }
}

/// Round trips and retransmissions of the closed and the open connections together.
fn path(one: &Destination) -> Option<PathRecord> {
    let mut path = one.path.clone();
    path.merge(&one.path_open);
    let NetworkPath { rtt_us, min_rtt_us, least_rtt_us, segments_sent, retransmits, .. } = &path;
    if rtt_us.count() == 0 && *segments_sent == 0 {
        return None;
    }
    Some(PathRecord {
        rtt_us: RoundTripRecord {
            p50: rtt_us.quantile(0.5),
            p99: rtt_us.quantile(0.99),
            floor: min_rtt_us.quantile(0.5),
            least: *least_rtt_us,
        },
        segments_sent: *segments_sent,
        retransmits: *retransmits,
    })
}

/// Round trips of a handshake of TLS 1.2; one of TLS 1.3 takes one.
const TLS_ROUND_TRIPS: u32 = 2;

/// The waiting that a client's new connections cost.
fn price(one: &Destination, path: &PathRecord, known: Known) -> Option<PriceRecord> {
    let seconds = known.seconds.filter(|seconds| *seconds > 0.0 && known.counted)?;
    if one.side != Side::Client || one.opened == 0 {
        return None;
    }
    let tls = if one.handshake == Handshake::Tls { TLS_ROUND_TRIPS } else { 0 };
    Some(PriceRecord::of(one.opened as f64 / seconds, path.rtt_us.floor?, tls))
}

fn closed(one: &Destination) -> Closed {
    Closed {
        local_fin: one.closed.local_fin,
        crossed_fin: one.closed.crossed_fin,
        remote_fin: one.closed.remote_fin,
        local_rst: one.closed.local_rst,
        remote_rst: one.closed.remote_rst,
        with_unread_data: one.closed.undrained,
        connect_failed: one.connect_failed,
        timed_out: one.closed.timed_out,
        unclassified: one.closed.unclassified,
    }
}

fn per_connection(requests: &Histogram, known: Known) -> PerConnection {
    PerConnection {
        p50: requests.quantile(0.5),
        max: requests.max(),
        mean: requests.mean(),
        total: known.counted.then(|| requests.total()),
    }
}

fn lifetime(lifetime: &Histogram) -> LifetimeRecord {
    LifetimeRecord {
        p50: lifetime.quantile(0.5),
        p99: lifetime.quantile(0.99),
        max: lifetime.max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_words() {
        let in_record: Vec<&str> = named(&Counters::default()).map(|(name, _)| name).into();
        let in_text: Vec<&str> = crate::show::watch::COUNTERS.map(|(name, _)| name).into();
        assert_eq!(in_record, in_text);
    }
}
