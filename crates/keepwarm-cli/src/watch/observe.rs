//! From a destination's numbers to the evidence that is judged.

use std::collections::HashMap;
use std::net::IpAddr;

use keepwarm_diagnose::knowledge::Runtime;
use keepwarm_diagnose::{
    Finding, Glimpsed, HostEvidence, Idle, Observation, Open, PortOutlook, Ports, Requests, Resets,
    Side as Role, Untold, judge, judge_host,
};
use keepwarm_sockets::{
    Destination, Histogram, HostReport, Polls, SelfTest, Side, TimeWaitReuse, Tracing,
    ephemeral_ports, process, time_wait_reuse,
};

use super::runtime;

/// How close idle times, or numbers of requests, are to count as one.
const CLUSTER: f64 = 0.03;

/// The share of looks, of those that met a connection at all, that have to meet the idle set.
const OFTEN: f64 = 0.2;

/// One destination with what is thought of it.
#[derive(Debug, Clone)]
pub(crate) struct Judged {
    pub(crate) destination: Destination,
    pub(crate) ports: Option<Ports>,
    /// What its main owner runs on.
    pub(crate) runtime: Option<Runtime>,
    /// The cgroups of its owners, in their order.
    pub(crate) cgroups: Vec<Option<String>>,
    pub(crate) findings: Vec<Finding>,
}

/// What stays the same from one judgement to the next.
#[derive(Debug)]
pub(crate) struct Judge {
    /// Local ports there are.
    range: Option<u64>,
    /// Whether a client's TIME_WAIT towards another host may be reused.
    reuse: TimeWaitReuse,
    runtimes: HashMap<u32, Option<Runtime>>,
    cgroups: HashMap<u32, Option<String>>,
}

/// Processes whose runtime and cgroup are remembered.
const MAX_RUNTIMES: usize = 1 << 12;

impl Judge {
    pub(crate) fn new() -> Self {
        let reuse = time_wait_reuse().unwrap_or(TimeWaitReuse::OnLoopback);
        let range = ephemeral_ports().ok().map(|ports| ports.size().into());
        Self { range, reuse, runtimes: HashMap::new(), cgroups: HashMap::new() }
    }

    /// `rules`: those of the classifier, if they were tested; what does not hold was taken back.
    pub(crate) fn judge(&mut self, traffic: &HostReport, rules: Option<&SelfTest>) -> Vec<Judged> {
        let untold = rules.map(untold).unwrap_or_default();
        let judge = |one: &Destination| self.judge_one(one.clone(), traffic, untold);
        traffic.destinations.iter().map(judge).collect()
    }

    /// Learns of the owners what can be asked only while they live.
    pub(crate) fn meet(&mut self, traffic: &HostReport) {
        for one in &traffic.destinations {
            self.runtime(one);
            one.owners.iter().for_each(|owner| drop(self.cgroup(owner.pid)));
        }
    }

    fn judge_one(
        &mut self,
        destination: Destination,
        traffic: &HostReport,
        untold: Untold,
    ) -> Judged {
        // Without the TIME_WAITs it is not known which ports are taken.
        let known = traffic.looks.is_none_or(|looks| looks.lists_time_waits);
        let ports = self.ports(&destination).filter(|_| known);
        let runtime = self.runtime(&destination);
        let glimpsed = glimpsed(&destination, traffic);
        let seen = observation(&destination, traffic, ports, runtime);
        let findings = judge(&Observation { glimpsed, untold, ..seen });
        let cgroups = destination.owners.iter().map(|owner| self.cgroup(owner.pid)).collect();
        Judged { destination, ports, runtime, cgroups, findings }
    }

    fn runtime(&mut self, destination: &Destination) -> Option<Runtime> {
        let pid = destination.owners.first()?.pid;
        if let Some(known) = self.runtimes.get(&pid) {
            return *known;
        }
        let found = runtime::recognise(pid);
        if self.runtimes.len() < MAX_RUNTIMES {
            self.runtimes.insert(pid, found);
        }
        found
    }

    fn cgroup(&mut self, pid: u32) -> Option<String> {
        if let Some(known) = self.cgroups.get(&pid) {
            return known.clone();
        }
        let found = process::cgroup(pid);
        if self.cgroups.len() < MAX_RUNTIMES {
            self.cgroups.insert(pid, found.clone());
        }
        found
    }

    fn ports(&self, destination: &Destination) -> Option<Ports> {
        let (taken, range) = (destination.ports?, self.range?);
        // Whatever the window: what the last seconds brought goes on. Only what holds a port counts.
        let recent = &destination.time_wait_by_age[..destination.time_wait_by_age.len().min(5)];
        let rate = f64::from(recent.iter().sum::<u32>()) / 5.0;
        let outlook = if self.is_reused(&destination.service.map(|service| service.ip())) {
            PortOutlook { cliff_in: None, exhausted_in: None }
        } else {
            PortOutlook::of(taken.used, range, &destination.time_wait_by_age, rate)
        };
        let PortOutlook { cliff_in, exhausted_in } = outlook;
        Some(Ports { used: taken.used, range, cliff_in, exhausted_in })
    }

    /// Whether the kernel takes a port from TIME_WAIT after a second, so that it never runs out.
    fn is_reused(&self, ip: &Option<IpAddr>) -> bool {
        match self.reuse {
            TimeWaitReuse::Never => false,
            TimeWaitReuse::OnLoopback => ip.is_some_and(|ip| ip.is_loopback()),
            TimeWaitReuse::Always => true,
        }
    }
}

fn observation(
    one: &Destination,
    traffic: &HostReport,
    ports: Option<Ports>,
    runtime: Option<Runtime>,
) -> Observation {
    Observation {
        side: match one.side {
            Side::Client => Role::Client,
            Side::Server => Role::Server,
        },
        window: traffic.window,
        opened: one.opened,
        local_fin: one.closed.local_fin,
        remote_fin: one.closed.remote_fin,
        local_rst: one.closed.local_rst,
        remote_rst: one.closed.remote_rst,
        undrained: one.closed.undrained,
        // Nobody closed what timed out.
        unclassified: one.closed.unclassified + one.closed.timed_out,
        connect_failed: one.connect_failed,
        requests: requests(&one.requests),
        idle_local: idle(&one.idle_before_local_close),
        idle_remote: idle(&one.idle_before_remote_close),
        alive_at_start: one.alive_at_start,
        alive: one.alive,
        established: one.established,
        idle_set: idle_set(one),
        close_wait: one.close_wait,
        close_wait_at_start: one.close_wait_at_start,
        time_wait: one.time_wait,
        ports,
        resets: matches!(traffic.tracing, Tracing::On { .. }).then(|| resets(one)),
        runtime,
        open: open(one),
        untold: Untold::default(),
        glimpsed: None,
    }
}

/// Where nothing was fetched of what went over connections, nothing is known of it.
fn open(one: &Destination) -> Option<Open> {
    let (connections, requests) = (one.requests_open.count(), one.requests_open.total());
    (connections > 0).then_some(Open { connections, requests, answers: one.answers_open })
}

fn untold(rules: &SelfTest) -> Untold {
    Untold {
        closer: !rules.closer,
        abort: !rules.abort,
        unread: !rules.unread,
        requests: !rules.requests,
    }
}

/// A look that is met again and again at the same low level has met the idle set; one that happens
/// to fall into a burst has not.
fn idle_set(one: &Destination) -> Option<u64> {
    let open = u32::try_from(one.established).ok().filter(|open| *open > 0)?;
    let up_to = |count: u32| one.established_seen.share_up_to(count);
    let (less, none) = (up_to(open - 1)?, up_to(0)?);
    let is_lowest = less - none <= 0.0;
    (is_lowest && up_to(open)? - none >= OFTEN * (1.0 - none)).then_some(one.established)
}

/// What looks saw of it, at level L0.
fn glimpsed(one: &Destination, traffic: &HostReport) -> Option<Glimpsed> {
    let looks = traffic.looks?;
    // One look has nothing to compare with.
    let glimpsed = one.glimpsed.unwrap_or_default();
    Some(Glimpsed {
        opened: glimpsed.opened,
        opened_at_most: match one.side {
            Side::Client => looks.counters.active_opens,
            Side::Server => looks.counters.passive_opens,
        },
        closed_first: looks.lists_time_waits.then_some(glimpsed.closed_first),
        gone: glimpsed.gone,
        kept_closed: glimpsed.kept_closed,
        kept: glimpsed.kept,
    })
}

/// What the counters of the whole network namespace show, at level L0.
pub(crate) fn host(traffic: &HostReport) -> Vec<Finding> {
    let Some(Polls { counters, .. }) = traffic.looks else { return Vec::new() };
    judge_host(&HostEvidence {
        window: traffic.window,
        active_opens: counters.active_opens,
        attempt_fails: counters.attempt_fails,
        abort_on_close: counters.abort_on_close,
        listen_overflows: counters.listen_overflows,
        time_waits: counters.time_waits,
        resets: counters.estab_resets,
    })
}

fn resets(one: &Destination) -> Resets {
    let by_client = &one.traced.client_reset_reasons;
    // From the server's end it is the response that came late.
    let late = if one.side == Side::Client { one.traced.reset_after_fin } else { 0 };
    Resets::of(by_client.iter().map(|(reason, count)| (reason.as_str(), *count)), late)
}

fn requests(spread: &Histogram) -> Option<Requests> {
    let common = spread.cluster(CLUSTER)?;
    Some(Requests {
        connections: spread.count(),
        total: spread.total(),
        p50: spread.quantile(0.5)?,
        max: spread.max()?,
        none_share: spread.share_up_to(0)?,
        common: common.centre,
        common_share: common.share,
    })
}

fn idle(spread: &Histogram) -> Option<Idle> {
    let common = spread.cluster(CLUSTER)?;
    Some(Idle {
        closes: spread.count(),
        p50_ms: spread.quantile(0.5)?,
        common_ms: common.centre,
        common_share: common.share,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use keepwarm_sockets::{Scope, Watch};
    use keepwarm_testkit::churn::{Family, Upstream, Way};

    use super::*;

    /// Real closes, as this kernel tells them and as one would that does not tell who closed first.
    #[test]
    fn a_rule_that_does_not_hold_takes_its_findings_with_it() {
        let mut upstream = Upstream::listen(Family::V4).unwrap();
        let port = Some(upstream.port());
        let watch = Watch::start(Scope { port, ..Scope::default() }).unwrap();
        upstream.play(Way::ClientFin, 100, 1).unwrap();
        let told = watch.finish(Duration::from_secs(5)).unwrap();
        let mut rules = SelfTest::check().unwrap();
        let first = |traffic: &HostReport, rules: &SelfTest| {
            let mut traffic = traffic.clone();
            rules.apply(&mut traffic);
            let judged = Judge::new().judge(&traffic, Some(rules));
            judged[0].findings[0].clone()
        };
        assert_eq!(first(&told, &rules).code, "D1");
        rules.closer = false;
        let found = first(&told, &rules);
        assert_eq!((found.code, found.confidence), ("mixed", 0.0));
        assert!(found.summary.contains("does not tell who closed first"), "{}", found.summary);
        (rules.closer, rules.unread) = (true, false);
        let found = first(&told, &rules);
        assert!(found.code == "D1" && found.confidence < 1.0, "{found:?}");
        assert!(found.summary.contains("D3"), "{}", found.summary);
        (rules.unread, rules.requests) = (true, false);
        assert_eq!(first(&told, &rules).code, "mixed");
    }
}
