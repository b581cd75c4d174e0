//! Judges the kernel's report: each destination with its program and its findings.
//!
//! Owns the one way from a destination to a judgement, for `watch`, `load --watch` and `lab`: so
//! the same connections have the same findings, owner, runtime and advice in all three. The rules
//! are `keepwarm-diagnose`'s.

mod destination;
pub(crate) mod files;
mod growth;
pub(crate) mod names;
pub(crate) mod owner;
pub(crate) mod record;
mod regular_file;
mod runtime;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use keepwarm_diagnose::knowledge::{Kind, Runtime};
use keepwarm_diagnose::{
    Finding, HostCounters, LoadKnowledge, PortOutlook, Ports, judge, judge_host,
};
use keepwarm_sockets::{
    Counters, Destination, HostReport, Owner, SelfTest, Side, TimeWaitReuse, ephemeral_ports,
    process, time_wait_reuse,
};

use self::destination::Context;
use self::files::{FileTables, Files};
use self::growth::Growths;
use self::names::{NameFinder, Names};

/// Processes whose runtime and cgroup are remembered.
const MAX_PROCESSES: usize = 1 << 12;

/// Seconds of TIME_WAITs from which the rate of new ones is taken.
const RECENT_SECONDS: usize = 5;

/// Destination with its judgement.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) destination: Destination,
    pub(crate) ports: Option<Ports>,
    /// Runtime of the main owner.
    pub(crate) runtime: Option<Runtime>,
    /// The cgroups of the owners, in their order.
    pub(crate) cgroups: Vec<Option<String>>,
    /// The names of the owners, in their order.
    pub(crate) names: Vec<Names>,
    /// Connections by which it grows a second, if that goes on.
    pub(crate) growth_per_s: Option<f64>,
    /// The file table of an owner of its open connections that runs out first, where connections that stay
    /// open fill it.
    pub(crate) files: Option<Files>,
    /// The most important finding comes first.
    pub(crate) findings: Vec<Finding>,
}

/// Judges reports, and remembers processes from one report to the next.
#[derive(Debug)]
pub(crate) struct Judge {
    /// Number of local ports.
    range: Option<u64>,
    /// Hosts towards which a client's TIME_WAIT may be reused.
    reuse: TimeWaitReuse,
    /// Counters of the network namespace when the watch began.
    counters: Option<Counters>,
    /// Growth of these counters from then to the report that was judged last.
    counted: Option<Counters>,
    runtimes: Remembered<Runtime>,
    cgroups: Remembered<String>,
    names: Remembered<Names>,
    finder: NameFinder,
    growths: Growths,
    tables: FileTables,
}

/// A fact of each process that was met, by its id and the time at which it started: an id is given to
/// another process sooner or later.
type Remembered<T> = HashMap<(u32, Option<u64>), Option<T>>;

impl Judge {
    pub(crate) fn new() -> Self {
        Self::naming(NameFinder::new(None))
    }

    /// Makes a judge whose names come from a finder.
    pub(crate) fn naming(finder: NameFinder) -> Self {
        Self {
            range: ephemeral_ports().ok().map(|ports| ports.size().into()),
            // An unreadable setting is most likely the default.
            reuse: time_wait_reuse().unwrap_or(TimeWaitReuse::OnLoopback),
            counters: Counters::read().ok(),
            counted: None,
            runtimes: HashMap::new(),
            cgroups: HashMap::new(),
            names: HashMap::new(),
            finder,
            growths: Growths::default(),
            tables: FileTables::default(),
        }
    }

    /// Judges every destination of a report. `test` is the self-test that was applied to it, if
    /// there was one: a finding that rests on a count which the test removed is withheld.
    pub(crate) fn judge(&mut self, report: &HostReport, test: Option<&SelfTest>) -> Vec<Judged> {
        self.judge_with(report, test, |_| None)
    }

    /// Judges every destination as [`judge`](Self::judge) does, with what a load knows of it.
    pub(crate) fn judge_with(
        &mut self,
        report: &HostReport,
        test: Option<&SelfTest>,
        mut load: impl FnMut(&Destination) -> Option<LoadKnowledge>,
    ) -> Vec<Judged> {
        let missing = test.map(destination::missing).unwrap_or_default();
        self.counted = self.counted_since_start(report);
        let resets_sent = self.counted.and_then(|since| since.out_resets);
        let lost_share = destination::lost_share(report);
        let programs = self.programs(report);
        let at = Instant::now();
        self.observe(report.destinations.iter(), at);
        let mut judge = |one: &Destination| {
            let growth_per_s = self.growths.of(one);
            let number = one.namespace.as_ref().map(|namespace| namespace.number);
            let peer = one.service.map(|service| (service, one.side.other(), number));
            let context = Context {
                ports: self.ports(one, growth_per_s.unwrap_or(0.0), at),
                is_reused: self.is_reused(one),
                runtime: self.runtime(one),
                peer_runtime: peer.and_then(|peer| programs.get(&peer).copied()),
                resets_sent,
                lost_share,
                missing,
                load: load(one),
            };
            let judged = self.judge_one(one.clone(), report, context);
            let files = self.tables.of(one).filter(|_| one.alive > one.alive_at_start);
            Judged { growth_per_s, files, ..judged }
        };
        report.destinations.iter().map(&mut judge).collect()
    }

    fn observe<'a>(&mut self, all: impl Iterator<Item = &'a Destination> + Clone, at: Instant) {
        self.growths.observe(all.clone(), at);
        self.tables.observe(all, at, process::open_files);
    }

    /// Judges the counters of the whole network namespace, after the report's destinations: those of the
    /// polls at level L0; above it, since the watch began, only what no destination shows.
    pub(crate) fn judge_host(&self, report: &HostReport) -> Vec<Finding> {
        if let Some(polls) = &report.polls {
            return judge_host(&destination::host_counters(polls));
        }
        if report.window.is_zero() {
            return Vec::new();
        }
        let listen_overflows = self.counted.and_then(|since| since.listen_overflows);
        let unattributed_aborts = Some(report.unattributed_aborts);
        judge_host(&HostCounters {
            listen_overflows,
            unattributed_aborts,
            ..HostCounters::default()
        })
    }

    /// Returns the counters since the watch began; they are of one network namespace.
    fn counted_since_start(&self, report: &HostReport) -> Option<Counters> {
        let before = self.counters.as_ref().filter(|_| report.namespaces.is_none())?;
        Some(Counters::read().ok()?.since(before))
    }

    /// Returns the programs of both sides of each service, as far as they run on this host.
    fn programs(
        &mut self,
        report: &HostReport,
    ) -> HashMap<(SocketAddr, Side, Option<u32>), Runtime> {
        let mut known = HashMap::new();
        for one in &report.destinations {
            if let (Some(service), Some(runtime)) = (one.service, self.runtime(one)) {
                let number = one.namespace.as_ref().map(|namespace| namespace.number);
                known.insert((service, one.side, number), runtime);
            }
        }
        known
    }

    /// Reads the facts about owners that can only be read while they live.
    pub(crate) fn remember_owners<'a>(
        &mut self,
        all: impl Iterator<Item = &'a Destination> + Clone,
    ) {
        self.observe(all.clone(), Instant::now());
        for one in all {
            self.runtime(one);
            for owner in &one.owners {
                self.cgroup(owner);
                self.names(owner);
            }
        }
    }

    fn judge_one(
        &mut self,
        destination: Destination,
        report: &HostReport,
        context: Context,
    ) -> Judged {
        let runtime = context.runtime;
        let evidence = destination::evidence(&destination, report, context);
        let cgroups = destination.owners.iter().map(|owner| self.cgroup(owner)).collect();
        let names = destination.owners.iter().map(|owner| self.names(owner)).collect();
        let findings = judge(&evidence);
        let ports = evidence.ports;
        let (growth_per_s, files) = (None, None);
        Judged { findings, ports, runtime, cgroups, names, growth_per_s, files, destination }
    }

    fn runtime(&mut self, destination: &Destination) -> Option<Runtime> {
        let owner = destination.owners.first()?;
        // A shell may become another program by exec, so it is read again.
        let key = (owner.pid, owner.started_at);
        if let Some(Some(Runtime { kind: Kind::Shell, .. })) = self.runtimes.get(&key) {
            self.runtimes.remove(&key);
        }
        let runtime = remembered(&mut self.runtimes, owner, runtime::recognise);
        // A process that ended has left its name alone (curl in a loop).
        runtime.or_else(|| runtime::named(owner.process.as_deref()?))
    }

    fn cgroup(&mut self, owner: &Owner) -> Option<String> {
        remembered(&mut self.cgroups, owner, process::cgroup)
    }

    fn names(&mut self, owner: &Owner) -> Names {
        let finder = &self.finder;
        remembered(&mut self.names, owner, |pid| Some(finder.find(pid))).unwrap_or_default()
    }

    /// Forecasts the local ports towards a destination, from `at` on: its levels are somewhat older.
    fn ports(&self, destination: &Destination, growth_per_s: f64, at: Instant) -> Option<Ports> {
        // Ports are counted for each service: a sum over several says nothing.
        if destination.folded > 1 || destination.service.is_none() {
            return None;
        }
        let there = destination.namespace.as_ref();
        let range_there =
            there.and_then(|there| there.ephemeral_ports).map(|ports| ports.size().into());
        let (taken, range) = (destination.ports?, range_there.or(self.range)?);
        let by_age = &destination.time_wait_by_age;
        // The last seconds are assumed to go on, however long the window is. Only a close that
        // holds a port counts.
        let recent = by_age.iter().take(RECENT_SECONDS).sum::<u32>();
        let rate = f64::from(recent) / RECENT_SECONDS as f64;
        let outlook = if self.is_reused(destination) {
            // Only what stays open takes ports for good.
            let waiting: u32 = by_age.iter().sum();
            let open = taken.used.saturating_sub(waiting.into());
            PortOutlook::growing(open, range, &[], 0.0, growth_per_s)
        } else {
            PortOutlook::growing(taken.used, range, by_age, rate, growth_per_s)
        };
        let age = destination.levels_at.map(|then| at.duration_since(then)).unwrap_or_default();
        let left = |length: Duration| length.saturating_sub(age);
        let (cliff_in, exhausted_in) = (outlook.cliff_in.map(left), outlook.exhausted_in.map(left));
        Some(Ports { used: taken.used, range, cliff_in, exhausted_in })
    }

    /// Returns true if the kernel takes a port from TIME_WAIT after a second, so that ports never
    /// run out.
    fn is_reused(&self, destination: &Destination) -> bool {
        let ip: Option<IpAddr> = destination.service.map(|service| service.ip());
        let there = destination.namespace.as_ref().and_then(|there| there.time_wait_reuse);
        match there.unwrap_or(self.reuse) {
            TimeWaitReuse::Never => false,
            TimeWaitReuse::OnLoopback => ip.is_some_and(|ip| ip.is_loopback()),
            TimeWaitReuse::Always => true,
        }
    }
}

/// Returns true if a process lives. Another one may have its id by now.
pub(crate) fn is_there(owner: &Owner) -> bool {
    owner.started_at.is_some() && process::started_at(owner.pid) == owner.started_at
}

/// Returns a fact about a process, read once while it lives, and kept after its end. Nothing is read of
/// another process that has its id by then.
fn remembered<T: Clone>(
    known: &mut Remembered<T>,
    owner: &Owner,
    read: impl FnOnce(u32) -> Option<T>,
) -> Option<T> {
    let key = (owner.pid, owner.started_at);
    if let Some(fact) = known.get(&key) {
        return fact.clone();
    }
    let fact = read(owner.pid).filter(|_| is_there(owner));
    if known.len() >= MAX_PROCESSES {
        known.retain(|(pid, then), _| then.is_some() && process::started_at(*pid) == *then);
    }
    if known.len() < MAX_PROCESSES {
        known.insert(key, fact.clone());
    }
    fact
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use keepwarm_sockets::{Scope, Watch};
    use keepwarm_testkit::churn::{Family, Upstream, Way};

    use super::*;

    #[test]
    fn reused_process_id_is_read_anew() {
        let pid = std::process::id();
        let owner = |started_at| Owner {
            pid,
            started_at,
            process: None,
            share: 1.0,
            how: keepwarm_sockets::OwnerEvidence::Sampled,
        };
        let (before, now) = (owner(Some(1)), owner(process::started_at(pid)));
        let mut known = Remembered::from([((pid, Some(1)), Some("before"))]);
        let mut ask = |owner: &Owner| remembered(&mut known, owner, |_| Some("now"));
        assert_eq!(ask(&now), Some("now"), "another process had the id before");
        assert_eq!(ask(&before), Some("before"), "it has ended, and is remembered");
        assert_eq!(ask(&owner(Some(2))), None, "it had ended before it was asked about");
        assert_eq!(ask(&owner(None)), None, "it was never met alive");
        let mut asked = false;
        remembered(&mut known, &now, |_| {
            asked = true;
            None::<&str>
        });
        assert!(!asked, "it is read once");
    }

    /// Judges real closes as this kernel reports them, and as a kernel would that reports less.
    #[test]
    fn failed_self_test_withholds_findings() {
        let mut upstream = Upstream::listen(Family::V4).unwrap();
        let port = upstream.port();
        let watch = Watch::start(Scope::of_port(port)).unwrap();
        upstream.play(Way::ClientFin, 100, 1).unwrap();
        let seen = watch.finish(Duration::from_secs(5)).unwrap();
        let mut test = SelfTest::check().unwrap();
        let first = |report: &HostReport, test: &SelfTest| {
            let mut report = report.clone();
            test.apply(&mut report);
            let judged = Judge::new().judge(&report, Some(test));
            judged[0].findings[0].clone()
        };
        assert_eq!(first(&seen, &test).code, "D1");
        test.closer = false;
        let found = first(&seen, &test);
        assert_eq!((found.code, found.confidence), ("mixed", 0.0));
        assert!(found.summary.contains("does not report who closed first"), "{}", found.summary);
        (test.closer, test.unread) = (true, false);
        let found = first(&seen, &test);
        assert!(found.code == "D1" && found.confidence < 1.0, "{found:?}");
        assert!(found.summary.contains("D3"), "{}", found.summary);
        (test.unread, test.requests) = (true, false);
        assert_eq!(first(&seen, &test).code, "mixed");
    }
}
