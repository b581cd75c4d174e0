//! A hop: one port of this host during the run, as the kernel saw it.

use std::time::Duration;

use crate::show::numbers::thousands;
use keepwarm_diagnose::{Evidence, Finding, PortForecast, diagnose};
use keepwarm_sockets::{BySide, EphemeralPorts, PortReport};
use serde::{Deserialize, Serialize};

/// The kernel's account of one port, what was sampled on the way, and what is to be made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HopRecord {
    pub(crate) port: u16,
    /// The load's own target: its connections are the load's.
    pub(crate) is_target: bool,
    /// Connections that the load opened to it, by the load's ledger; `None` if it is not the target.
    pub(crate) opened_by_load: Option<u64>,
    pub(crate) window_s: f64,
    pub(crate) opened: u64,
    pub(crate) closed: HopCloses,
    /// Closes at the end of the run that are the load's own: in `closed`, but no fault of anybody.
    pub(crate) closed_by_the_end: u64,
    pub(crate) requests: HopRequests,
    pub(crate) alive_at_start: u64,
    pub(crate) alive_at_end: u64,
    pub(crate) established: Sides,
    pub(crate) close_wait: Sides,
    pub(crate) time_wait: TimeWaits,
    pub(crate) ports: PortUse,
    pub(crate) time_waits_refused: Option<u64>,
    pub(crate) lost_events: u64,
    pub(crate) settled: bool,
    /// In the order of time; how often, the run's length and the cost of looking decide.
    pub(crate) samples: Vec<HopSample>,
    pub(crate) finding: FindingRecord,
}

/// Connections closed, by who was first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HopCloses {
    pub(crate) client_fin: u64,
    pub(crate) server_fin: u64,
    pub(crate) crossed_fin: u64,
    pub(crate) client_rst: u64,
    pub(crate) server_rst: u64,
    pub(crate) unclassified: u64,
}

/// Requests of a connection, by its data segments; where the port speaks TLS, whose handshakes
/// look like requests, by the load's ledger if all of the connections are the load's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct HopRequests {
    pub(crate) total: Option<u64>,
    pub(crate) mean: Option<f64>,
    pub(crate) p50: Option<u64>,
    pub(crate) max: Option<u64>,
    /// Why they are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unknown: Option<String>,
}

impl HopRequests {
    fn of(account: &PortReport, own: Option<&Target>, secret: bool) -> Self {
        let counted = &account.requests;
        match own.and_then(|target| target.by_ledger) {
            Some(ledger) if own.is_some_and(|target| target.opened == account.opened) => Self {
                total: Some(ledger.total),
                mean: ledger.mean,
                p50: ledger.p50,
                max: ledger.max,
                unknown: None,
            },
            Some(_) => Self::unknown(
                "the port speaks TLS, whose handshakes look like requests, and others than the load \
                 use it",
            ),
            None if secret => {
                Self::unknown("the port speaks TLS, whose handshakes look like requests")
            }
            None => Self {
                total: Some(counted.total),
                mean: counted.mean,
                p50: counted.p50,
                max: counted.max,
                unknown: None,
            },
        }
    }

    fn unknown(why: &str) -> Self {
        Self { unknown: Some(why.to_owned()), ..Self::default() }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sides {
    pub(crate) client: u64,
    pub(crate) server: u64,
}

/// TIME_WAITs of the port, of whatever age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimeWaits {
    pub(crate) before: Sides,
    /// The most that was seen: each side's own, and `peak_sum` both sides' together.
    pub(crate) peak: Sides,
    pub(crate) peak_sum: u64,
    pub(crate) after: Sides,
    /// Of those after, entered during the run.
    pub(crate) entered: Sides,
}

/// Local ports that clients of this port hold on this host.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PortUse {
    /// There are this many for one destination; `None` if not known.
    pub(crate) range: Option<u32>,
    pub(crate) peak: u64,
    pub(crate) after: u64,
    /// `None` where the range is not known.
    pub(crate) forecast: Option<Forecast>,
}

/// What the closes of this run would do, if they went on, to the ports towards a remote destination.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Forecast {
    /// Closes by the client, each of which holds a port for a minute.
    pub(crate) closes_per_second: f64,
    /// As many as the ports bear for ever.
    pub(crate) bearable_per_second: f64,
    /// `null` if they never run out.
    pub(crate) exhausted_after_s: Option<f64>,
}

impl Forecast {
    fn of(evidence: &Evidence) -> Option<Self> {
        let forecast = PortForecast::of(evidence)?;
        Some(Self {
            closes_per_second: forecast.closes_per_second,
            bearable_per_second: forecast.sustainable_per_second(),
            exhausted_after_s: forecast.exhausted_after().map(|after| after.as_secs_f64()),
        })
    }
}

/// One look at the port.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HopSample {
    /// Since the watch began, just before the run.
    pub(crate) at_s: f64,
    pub(crate) time_wait: Sides,
    pub(crate) established: Sides,
    /// Client's sockets in any state.
    pub(crate) ports: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FindingRecord {
    pub(crate) code: String,
    pub(crate) healthy: bool,
    pub(crate) confidence: f64,
    pub(crate) summary: String,
    pub(crate) advice: Option<String>,
    pub(crate) remote: Option<String>,
}

impl HopCloses {
    pub(crate) const fn reset(&self) -> u64 {
        self.client_rst + self.server_rst
    }

    pub(crate) const fn total(&self) -> u64 {
        self.client_fin + self.server_fin + self.crossed_fin + self.reset() + self.unclassified
    }
}

impl Sides {
    pub(crate) const fn sum(self) -> u64 {
        self.client + self.server
    }

    pub(crate) fn at_least(&mut self, other: Self) {
        self.client = self.client.max(other.client);
        self.server = self.server.max(other.server);
    }
}

impl From<BySide<u64>> for Sides {
    fn from(sides: BySide<u64>) -> Self {
        Self { client: sides.client, server: sides.server }
    }
}

/// What the load did, as far as a hop needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause {
    pub(crate) requests: u64,
    pub(crate) concurrency: u64,
    pub(crate) elapsed: Duration,
    /// The load's own target.
    pub(crate) target: Option<Target>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) port: u16,
    /// Connections that the load opened to it.
    pub(crate) opened: u64,
    /// Of these, open until the load closed them at its end.
    pub(crate) still_open: u64,
    /// What they carried, where the load speaks TLS with it.
    pub(crate) by_ledger: Option<Carried>,
}

/// Requests that connections carried, by the load's ledger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pub(crate) total: u64,
    pub(crate) mean: Option<f64>,
    pub(crate) p50: Option<u64>,
    pub(crate) max: Option<u64>,
}

impl HopRecord {
    pub(crate) fn of(
        account: &PortReport,
        ports: Option<EphemeralPorts>,
        samples: Vec<HopSample>,
        cause: &Cause,
        secret: bool,
    ) -> Self {
        let own = cause.target.filter(|target| target.port == account.port);
        let closed = &account.closed;
        let after: Sides = account.time_wait_total.into();
        let established: Sides = account.established.into();
        let ports_after = after.client + established.client;
        let mut time_wait = TimeWaits {
            before: samples.first().map(|first| first.time_wait).unwrap_or_default(),
            peak: after,
            peak_sum: after.sum(),
            after,
            entered: account.time_wait.into(),
        };
        for sample in &samples {
            time_wait.peak.at_least(sample.time_wait);
            time_wait.peak_sum = time_wait.peak_sum.max(sample.time_wait.sum());
        }
        let most_ports = samples.iter().map(|sample| sample.ports).max();
        let mut hop = Self {
            port: account.port,
            is_target: own.is_some(),
            opened_by_load: own.map(|target| target.opened),
            window_s: account.window.as_secs_f64(),
            opened: account.opened,
            closed: HopCloses {
                client_fin: closed.client_fin,
                server_fin: closed.server_fin,
                crossed_fin: closed.crossed_fin,
                client_rst: closed.client_rst,
                server_rst: closed.server_rst,
                unclassified: closed.unclassified + closed.timed_out,
            },
            closed_by_the_end: own.map_or(0, |target| target.still_open.min(closed.total())),
            requests: HopRequests::of(account, own.as_ref(), secret),
            alive_at_start: account.alive_at_start,
            alive_at_end: account.alive_at_end,
            established,
            close_wait: account.close_wait.into(),
            time_wait,
            ports: PortUse {
                range: ports.map(|ports| ports.size()),
                peak: most_ports.unwrap_or(0).max(ports_after),
                after: ports_after,
                forecast: None,
            },
            time_waits_refused: account.time_waits_refused,
            lost_events: account.lost_events,
            settled: account.settled,
            samples,
            finding: FindingRecord::unjudged(),
        };
        let evidence = hop.evidence(cause);
        hop.ports.forecast = Forecast::of(&evidence);
        hop.finding = FindingRecord::of(&diagnose(&evidence));
        hop
    }

    /// The connections that the load closes at its end were kept as long as it ran.
    fn evidence(&self, cause: &Cause) -> Evidence {
        // A connection that still waited for an answer then may have ended by RST.
        let by_fin = self.closed_by_the_end.min(self.closed.client_fin);
        let by_rst = (self.closed_by_the_end - by_fin).min(self.closed.client_rst);
        Evidence {
            requests: self.requests.total.filter(|total| *total > 0).unwrap_or(cause.requests),
            concurrency: cause.concurrency,
            window: cause.elapsed,
            opened: self.opened,
            closed_by_client: self.closed.client_fin - by_fin,
            closed_by_server: self.closed.server_fin,
            reset: self.closed.reset() - by_rst,
            established: self.established.client.max(self.established.server)
                + self.closed_by_the_end,
            ports: self.ports.range.map(u64::from),
        }
    }

    /// Ports held at the peak, of all that there are.
    pub(crate) fn port_share(&self) -> Option<f64> {
        self.ports.range.map(|range| self.ports.peak as f64 / f64::from(range))
    }

    /// What limits this account without making it wrong.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        // The table is the whole namespace's: it matters only to those who have closed something.
        if let Some(refused @ 1..) = self.time_waits_refused.filter(|_| self.closed.total() > 0) {
            notes.push(format!(
                "the kernel's table of TIME_WAITs was full, and {} were never made \
                 (net.ipv4.tcp_max_tw_buckets): the counts of TIME_WAIT are too low",
                thousands(refused)
            ));
        }
        if let Some(own) = self.opened_by_load.filter(|own| *own != self.opened) {
            notes.push(format!(
                "the load opened {} of these connections: others use the port too, or its listen \
                 queue overflowed and SYN cookies made connections that nobody asked for",
                thousands(own)
            ));
        }
        if let Some(why) = &self.requests.unknown {
            notes.push(format!("requests over this port are not known: {why}"));
        }
        if !self.settled {
            notes.push("some connections were still closing when the account was taken".to_owned());
        }
        notes
    }

    /// What is missing from this account.
    pub(crate) fn doubts(&self) -> Vec<String> {
        if self.lost_events == 0 {
            return Vec::new();
        }
        vec![format!(
            "the kernel dropped socket events {} times, so its account of port {} is too low",
            thousands(self.lost_events),
            self.port
        )]
    }
}

impl FindingRecord {
    fn unjudged() -> Self {
        Self {
            code: String::new(),
            healthy: false,
            confidence: 0.0,
            summary: String::new(),
            advice: None,
            remote: None,
        }
    }

    fn of(finding: &Finding) -> Self {
        Self {
            code: finding.code.to_owned(),
            healthy: finding.cause == keepwarm_diagnose::Cause::Healthy,
            confidence: finding.confidence,
            summary: finding.summary.clone(),
            advice: finding.advice.clone(),
            remote: finding.remote.clone(),
        }
    }

    /// The finding in sentences: what, what to do, and what loopback hides.
    pub(crate) fn sentences(&self) -> String {
        let mut sentences = self.summary.clone();
        if let Some(advice) = &self.advice {
            sentences = format!("{sentences}. Fix: {advice}");
        }
        if let Some(remote) = &self.remote {
            sentences = format!("{sentences}. {}", capitalised(remote));
        }
        format!("{}.", capitalised(&sentences))
    }
}

fn capitalised(sentence: &str) -> String {
    let mut chars = sentence.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use keepwarm_sockets::{ConnectionCloses, RequestsPerConnection};

    use super::*;

    /// Three connections of a load, all of which it closed at its end, one of them by RST.
    fn account() -> PortReport {
        PortReport {
            port: 443,
            opened: 3,
            closed: ConnectionCloses {
                client_fin: 2,
                client_rst: 1,
                ..ConnectionCloses::default()
            },
            requests: RequestsPerConnection {
                connections: 3,
                total: 36,
                mean: Some(12.0),
                p50: Some(12),
                max: Some(12),
            },
            ..PortReport::default()
        }
    }

    fn cause(by_ledger: Option<Carried>, opened: u64) -> Cause {
        let target = Some(Target { port: 443, opened, still_open: 3, by_ledger });
        Cause { requests: 30, concurrency: 3, elapsed: Duration::from_secs(1), target }
    }

    fn hop(cause: &Cause, secret: bool) -> HopRecord {
        HopRecord::of(&account(), None, Vec::new(), cause, secret)
    }

    #[test]
    fn a_close_at_the_end_of_the_run_is_nobodys_fault_however_it_was_done() {
        let hop = hop(&cause(None, 3), false);
        assert_eq!((hop.closed_by_the_end, hop.finding.code.as_str()), (3, "healthy"));
    }

    #[test]
    fn requests_over_tls_are_the_ledgers_or_unknown() {
        let carried = Carried { total: 30, mean: Some(10.0), p50: Some(10), max: Some(10) };
        let total = |hop: &HopRecord| hop.requests.total;
        assert_eq!(total(&hop(&cause(None, 3), false)), Some(36), "in plain, segments are right");
        assert_eq!(total(&hop(&cause(Some(carried), 3), false)), Some(30));
        for unknown in [hop(&cause(Some(carried), 2), false), hop(&cause(None, 3), true)] {
            assert_eq!(total(&unknown), None);
            assert!(unknown.notes().iter().any(|note| note.contains("the port speaks TLS")));
        }
    }
}
