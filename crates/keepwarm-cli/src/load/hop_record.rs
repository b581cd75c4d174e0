//! Fills the record of a hop from the kernel's account and its judgement.
//!
//! Owns the link between a port's account and the load that caused it, and what that load knows for
//! the judge. Judges nothing itself: `evidence` does, as for a watch. Notes and doubts are the
//! record's own.

use std::time::Duration;

use keepwarm_diagnose::{
    Cause, Evidence, Level, LoadKnowledge, PortForecast, RequestCount, Side as ObservedSide, judge,
};
use keepwarm_load::CloseCause;
use keepwarm_record::load::{
    Forecast, HopCloses, HopFinding, HopRecord, HopRequests, HopSample, LoadRecord, PerSide,
    PortUse, SideFinding, Sides, TimeWaits,
};
use keepwarm_sockets::{BySide, Destination, EphemeralPorts, PortReport, Side};

use crate::evidence::{self, Judged};

/// The load that caused what a hop saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnLoad {
    pub(crate) concurrency: u64,
    pub(crate) elapsed: Duration,
    /// The load's own target; `None` where the hops do not include it.
    pub(crate) target: Option<Target>,
}

/// The load's own target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) port: u16,
    /// Connections that the load opened to it.
    pub(crate) opened: u64,
    /// Subset of `opened` that stayed open until the load closed them at its end.
    pub(crate) still_open: u64,
    /// True if the requests said `Connection: close`.
    pub(crate) says_close: bool,
    /// Connections that the load closed because the response said `Connection: close`.
    pub(crate) said_close: u64,
    /// Requests after which the load closes a connection, if it was told to.
    pub(crate) own_limit: Option<u64>,
    /// Requests on these connections, where the load speaks TLS or HTTP/2 with the target.
    pub(crate) by_ledger: Option<Carried>,
    /// The most requests at once on one connection, in HTTP/2.
    pub(crate) streams: Option<u64>,
}

/// Requests that connections carried, by the load's account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pub(crate) total: u64,
    pub(crate) mean: Option<f64>,
    pub(crate) p50: Option<u64>,
    pub(crate) max: Option<u64>,
}

impl OwnLoad {
    /// Takes from a load's record what its hops need.
    pub(crate) fn of(record: &LoadRecord) -> Self {
        Self {
            concurrency: record.settings.concurrency,
            elapsed: Duration::from_secs_f64(record.elapsed_s),
            target: Some(Target {
                port: record.settings.port,
                opened: record.connections.opened,
                still_open: record.connections.still_open,
                says_close: !record.settings.keep_alive,
                said_close: said_close(record),
                own_limit: record.settings.requests_per_connection,
                by_ledger: (record.settings.is_https() || record.settings.streams.is_some())
                    .then(|| Carried::of(record)),
                streams: record
                    .connections
                    .streams
                    .as_ref()
                    .map(|all| all.at_once.max.unwrap_or(0)),
            }),
        }
    }
}

/// Returns the connections that the load closed because the response said `Connection: close`. A
/// server that closes faster than the load is not among them.
fn said_close(record: &LoadRecord) -> u64 {
    let cause = CloseCause::ResponseSaidClose.as_str();
    record.connections.closed_by_us.get(cause).copied().unwrap_or(0)
}

impl Carried {
    fn of(record: &LoadRecord) -> Self {
        let each = &record.connections.requests_per_connection;
        let mean = each.mean.unwrap_or(0.0);
        Self {
            total: (mean * record.connections.opened as f64).round() as u64,
            mean: each.mean,
            p50: each.p50,
            max: each.max,
        }
    }
}

/// Hop that is to be recorded: the kernel's account of a port, and the load that caused it.
#[derive(Debug)]
pub(crate) struct Hop<'a> {
    pub(crate) account: &'a PortReport,
    pub(crate) load: &'a OwnLoad,
    /// True if the port speaks TLS, whose handshakes look like requests, and is not the target.
    pub(crate) secret: bool,
}

impl Hop<'_> {
    /// Returns the load's target, if it is this port.
    fn own(&self) -> Option<Target> {
        self.load.target.filter(|target| target.port == self.account.port)
    }

    /// Returns the connections that the load closed at the end of its run.
    fn closed_by_the_end(&self) -> u64 {
        self.own().map_or(0, |target| target.still_open.min(self.account.closed.total()))
    }

    /// Returns what the load knows of each destination of the port, for the judge.
    pub(crate) fn knowledge(&self) -> impl FnMut(&Destination) -> Option<LoadKnowledge> {
        let own = self.own();
        let known = LoadKnowledge {
            concurrency: self.load.concurrency,
            closed_at_end: 0,
            responses_said_close: own.map_or(0, |target| target.said_close),
            requests_said_close: own.is_some_and(|target| target.says_close),
            own_limit: own.and_then(|target| target.own_limit),
            requests: match (own.and_then(|target| target.by_ledger), own) {
                (Some(carried), Some(target)) if target.opened == self.account.opened => {
                    match target.streams {
                        Some(at_once) => RequestCount::Streams { total: carried.total, at_once },
                        None => RequestCount::Exact(carried.total),
                    }
                }
                (Some(_), _) => RequestCount::Encrypted,
                (None, _) if self.secret => RequestCount::Encrypted,
                (None, _) => RequestCount::Segments,
            },
        };
        let all = self.closed_by_the_end();
        let mut left = BySide { client: all, server: all };
        // A target with several addresses is several destinations, which share the closes.
        move |one| {
            let by_client = match one.side {
                Side::Client => one.closed.local(),
                Side::Server => one.closed.remote(),
            };
            let left = left.get_mut(one.side);
            let closed_at_end = by_client.min(*left);
            *left -= closed_at_end;
            Some(LoadKnowledge { closed_at_end, ..known })
        }
    }

    /// Builds the record. `judged` are the port's destinations, the busiest first.
    pub(crate) fn record(
        &self,
        judged: &[Judged],
        ports: Option<EphemeralPorts>,
        samples: Vec<HopSample>,
    ) -> HopRecord {
        let (account, own) = (self.account, self.own());
        let established = sides(account.established);
        let after = sides(account.time_wait_total);
        let ports_after = after.client + established.client;
        let most_ports = samples.iter().map(|sample| sample.ports).max();
        let range = ports.map(|ports| ports.size());
        let forecast = range.map(|range| self.forecast(range));
        let judged = client_first(judged);
        HopRecord {
            port: account.port,
            part: None,
            is_target: own.is_some(),
            opened_by_load: own.map(|target| target.opened),
            window_s: account.window.as_secs_f64(),
            opened: account.opened,
            closed: closes(account),
            closed_by_the_end: self.closed_by_the_end(),
            requests: requests(account, own.as_ref(), self.secret),
            alive_at_start: account.alive_at_start,
            alive_at_end: account.alive_at_end,
            established,
            close_wait: sides(account.close_wait),
            time_wait: time_waits(account, &samples),
            ports: PortUse {
                range,
                peak: most_ports.unwrap_or(0).max(ports_after),
                after: ports_after,
                forecast: forecast.as_ref().map(forecast_record),
            },
            time_waits_refused: account.time_waits_refused,
            lost_events: account.lost_events,
            settled: account.settled,
            samples,
            drain: None,
            finding: main_finding(&judged, forecast.as_ref()),
            findings: judged.iter().flat_map(|one| side_findings(one)).collect(),
            owner: per_side(&judged, |one| evidence::record::owners(one).into_iter().next()),
        }
    }

    /// Forecasts the effect of the run's closes by the client; those at its end are no churn.
    fn forecast(&self, range: u32) -> PortForecast {
        let by_client = self.account.closed.client_fin;
        let closes = by_client - self.closed_by_the_end().min(by_client);
        PortForecast::new(closes, self.load.elapsed, range.into())
    }
}

/// Sorts the client's destinations before the server's. Each side keeps its order.
fn client_first(judged: &[Judged]) -> Vec<&Judged> {
    let mut judged: Vec<&Judged> = judged.iter().collect();
    judged.sort_by_key(|one| one.destination.side == Side::Server);
    judged
}

fn main_finding(judged: &[&Judged], forecast: Option<&PortForecast>) -> HopFinding {
    // A port without connections is judged all the same: it has too little evidence.
    let nothing = Evidence::new(ObservedSide::Client, Level::Counted);
    let first = judged.first().and_then(|one| one.findings.first().cloned());
    let Some(finding) = first.or_else(|| judge(&nothing).into_iter().next()) else {
        return HopFinding::default();
    };
    HopFinding {
        // Nothing is to be fixed where connections are meant to end, or stay and are few.
        healthy: matches!(finding.cause, Cause::Healthy | Cause::Expiry | Cause::Multiplexed),
        code: finding.code.to_owned(),
        confidence: finding.confidence,
        summary: finding.summary,
        advice: finding.advice,
        remote: forecast.map(PortForecast::summary),
    }
}

fn side_findings(judged: &Judged) -> impl Iterator<Item = SideFinding> {
    let one = &judged.destination;
    judged.findings.iter().map(|finding| SideFinding {
        side: evidence::record::side(one.side),
        remote: one.service,
        finding: evidence::record::finding(finding),
    })
}

/// Takes a fact from the busiest destination of each side.
fn per_side<T>(judged: &[&Judged], fact: impl Fn(&Judged) -> Option<T>) -> PerSide<T> {
    let of = |side: Side| {
        judged.iter().find(|one| one.destination.side == side).and_then(|one| fact(one))
    };
    PerSide { client: of(Side::Client), server: of(Side::Server) }
}

fn closes(account: &PortReport) -> HopCloses {
    let closed = &account.closed;
    HopCloses {
        client_fin: closed.client_fin,
        server_fin: closed.server_fin,
        crossed_fin: closed.crossed_fin,
        client_rst: closed.client_rst,
        server_rst: closed.server_rst,
        timed_out: closed.timed_out,
        unclassified: closed.unclassified,
    }
}

fn requests(account: &PortReport, own: Option<&Target>, secret: bool) -> HopRequests {
    let counted = &account.requests;
    match own.and_then(|target| target.by_ledger) {
        Some(ledger) if own.is_some_and(|target| target.opened == account.opened) => HopRequests {
            total: Some(ledger.total),
            mean: ledger.mean,
            p50: ledger.p50,
            max: ledger.max,
            unknown: None,
        },
        Some(_) if own.is_some_and(|target| target.streams.is_some()) => HopRequests::unknown(
            "the load speaks HTTP/2, whose segments are not requests, and others use the port too",
        ),
        Some(_) => HopRequests::unknown(
            "the port speaks TLS, whose handshakes look like requests, and others than the load \
             use it",
        ),
        None if secret => {
            HopRequests::unknown("the port speaks TLS, whose handshakes look like requests")
        }
        None => HopRequests {
            total: Some(counted.total),
            mean: counted.mean,
            p50: counted.p50,
            max: counted.max,
            unknown: None,
        },
    }
}

fn time_waits(account: &PortReport, samples: &[HopSample]) -> TimeWaits {
    let after = sides(account.time_wait_total);
    let mut time_wait = TimeWaits {
        before: samples.first().map(|first| first.time_wait).unwrap_or_default(),
        peak: after,
        peak_sum: after.sum(),
        after,
        entered: sides(account.time_wait),
    };
    for sample in samples {
        time_wait.peak.at_least(sample.time_wait);
        time_wait.peak_sum = time_wait.peak_sum.max(sample.time_wait.sum());
    }
    time_wait
}

fn forecast_record(forecast: &PortForecast) -> Forecast {
    Forecast {
        closes_per_second: forecast.closes_per_second,
        bearable_per_second: forecast.sustainable_per_second(),
        exhausted_after_s: forecast.exhausted_after().map(|after| after.as_secs_f64()),
    }
}

fn sides(sides: BySide<u64>) -> Sides {
    Sides { client: sides.client, server: sides.server }
}

#[cfg(test)]
mod tests {
    use keepwarm_sockets::ConnectionCloses;

    use super::*;

    /// Three connections of a load, all of which it closed at its end, one of them by RST.
    fn account() -> PortReport {
        let mut report = PortReport::default();
        (report.port, report.opened) = (443, 3);
        report.closed =
            ConnectionCloses { client_fin: 2, client_rst: 1, ..ConnectionCloses::default() };
        let requests = &mut report.requests;
        (requests.connections, requests.total, requests.mean) = (3, 36, Some(12.0));
        (requests.p50, requests.max) = (Some(12), Some(12));
        report
    }

    fn load(by_ledger: Option<Carried>, opened: u64) -> OwnLoad {
        let (says_close, said_close) = (false, 0);
        let (still_open, streams, own_limit) = (3, None, None);
        let target = Target {
            port: 443,
            opened,
            still_open,
            says_close,
            said_close,
            own_limit,
            by_ledger,
            streams,
        };
        OwnLoad { concurrency: 3, elapsed: Duration::from_secs(1), target: Some(target) }
    }

    fn record(load: &OwnLoad, secret: bool) -> HopRecord {
        Hop { account: &account(), load, secret }.record(&[], None, Vec::new())
    }

    #[test]
    fn final_closes_are_no_churn() {
        let (account, load) = (account(), load(None, 3));
        let hop = Hop { account: &account, load: &load, secret: false };
        assert_eq!(hop.closed_by_the_end(), 3, "whether by FIN or by RST");
        assert_eq!(hop.forecast(28_232).closes_per_second, 0.0);
        let mut other = account.clone();
        other.port = 80;
        let other = Hop { account: &other, load: &load, secret: false };
        assert_eq!(other.closed_by_the_end(), 0, "the load ends no connection of another port");
        assert_eq!(other.forecast(28_232).closes_per_second, 2.0);
    }

    #[test]
    fn unseen_port_has_a_finding() {
        let hop = record(&load(None, 3), false);
        assert_eq!((hop.finding.code.as_str(), hop.findings.len()), ("mixed", 0));
        assert!(hop.finding.summary.contains("not enough evidence"), "{:?}", hop.finding);
    }

    #[test]
    fn tls_requests_come_from_the_load() {
        let carried = Carried { total: 30, mean: Some(10.0), p50: Some(10), max: Some(10) };
        let total = |hop: &HopRecord| hop.requests.total;
        assert_eq!(total(&record(&load(None, 3), false)), Some(36), "in plain, segments are right");
        assert_eq!(total(&record(&load(Some(carried), 3), false)), Some(30));
        for unknown in [record(&load(Some(carried), 2), false), record(&load(None, 3), true)] {
            assert_eq!(total(&unknown), None, "others use the port, or the load does not");
            assert!(unknown.notes().iter().any(|note| note.contains("the port speaks TLS")));
        }
    }
}
