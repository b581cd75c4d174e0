//! Fills the record of a hop from the kernel's account, and judges it.
//!
//! Owns the link between a port's account and the load that caused it. Notes and doubts are the
//! record's own.

use std::time::Duration;

use keepwarm_diagnose::{Evidence, Finding, PortForecast, diagnose};
use keepwarm_record::load::{
    Forecast, HopCloses, HopFinding, HopRecord, HopRequests, HopSample, LoadRecord, PortUse, Sides,
    TimeWaits,
};
use keepwarm_sockets::{BySide, EphemeralPorts, PortReport};

/// The load that caused what a hop saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause {
    /// Completed requests.
    pub(crate) requests: u64,
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
    /// Requests on these connections, where the load speaks TLS with the target.
    pub(crate) by_ledger: Option<Carried>,
}

/// Requests that connections carried, by the load's account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    pub(crate) total: u64,
    pub(crate) mean: Option<f64>,
    pub(crate) p50: Option<u64>,
    pub(crate) max: Option<u64>,
}

impl Cause {
    /// Takes from a load's record what its hops need.
    pub(crate) fn of(record: &LoadRecord) -> Self {
        Self {
            requests: record.requests.completed,
            concurrency: record.settings.concurrency,
            elapsed: Duration::from_secs_f64(record.elapsed_s),
            target: Some(Target {
                port: record.settings.port,
                opened: record.connections.opened,
                still_open: record.connections.still_open,
                by_ledger: record.settings.is_https().then(|| Carried::of(record)),
            }),
        }
    }
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

/// Builds the record of a hop. `secret` says that the port speaks TLS, whose handshakes look like
/// requests.
pub(crate) fn record(
    account: &PortReport,
    ports: Option<EphemeralPorts>,
    samples: Vec<HopSample>,
    cause: &Cause,
    secret: bool,
) -> HopRecord {
    let own = cause.target.filter(|target| target.port == account.port);
    let closed = closes(account);
    let established = sides(account.established);
    let after = sides(account.time_wait_total);
    let ports_after = after.client + established.client;
    let most_ports = samples.iter().map(|sample| sample.ports).max();
    let mut hop = HopRecord {
        port: account.port,
        is_target: own.is_some(),
        opened_by_load: own.map(|target| target.opened),
        window_s: account.window.as_secs_f64(),
        opened: account.opened,
        closed,
        closed_by_the_end: own.map_or(0, |target| target.still_open.min(closed.total())),
        requests: requests(account, own.as_ref(), secret),
        alive_at_start: account.alive_at_start,
        alive_at_end: account.alive_at_end,
        established,
        close_wait: sides(account.close_wait),
        time_wait: time_waits(account, &samples),
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
        finding: HopFinding::default(),
    };
    let evidence = evidence(&hop, cause);
    hop.ports.forecast = forecast(&evidence);
    hop.finding = finding(&diagnose(&evidence));
    hop
}

fn closes(account: &PortReport) -> HopCloses {
    let closed = &account.closed;
    HopCloses {
        client_fin: closed.client_fin,
        server_fin: closed.server_fin,
        crossed_fin: closed.crossed_fin,
        client_rst: closed.client_rst,
        server_rst: closed.server_rst,
        unclassified: closed.unclassified + closed.timed_out,
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

/// Evidence of a hop. Connections that the load closes at its end count as kept, not as closed.
fn evidence(hop: &HopRecord, cause: &Cause) -> Evidence {
    // A connection that still waited for an answer at the end may have been closed by RST.
    let by_fin = hop.closed_by_the_end.min(hop.closed.client_fin);
    let by_rst = (hop.closed_by_the_end - by_fin).min(hop.closed.client_rst);
    Evidence {
        requests: hop.requests.total.filter(|total| *total > 0).unwrap_or(cause.requests),
        concurrency: cause.concurrency,
        window: cause.elapsed,
        opened: hop.opened,
        closed_by_client: hop.closed.client_fin - by_fin,
        closed_by_server: hop.closed.server_fin,
        reset: hop.closed.reset() - by_rst,
        established: hop.established.client.max(hop.established.server) + hop.closed_by_the_end,
        ports: hop.ports.range.map(u64::from),
    }
}

fn forecast(evidence: &Evidence) -> Option<Forecast> {
    let forecast = PortForecast::of(evidence)?;
    Some(Forecast {
        closes_per_second: forecast.closes_per_second,
        bearable_per_second: forecast.sustainable_per_second(),
        exhausted_after_s: forecast.exhausted_after().map(|after| after.as_secs_f64()),
    })
}

fn finding(finding: &Finding) -> HopFinding {
    HopFinding {
        code: finding.code.to_owned(),
        healthy: finding.cause == keepwarm_diagnose::Cause::Healthy,
        confidence: finding.confidence,
        summary: finding.summary.clone(),
        advice: finding.advice.clone(),
        remote: finding.remote.clone(),
    }
}

fn sides(sides: BySide<u64>) -> Sides {
    Sides { client: sides.client, server: sides.server }
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
        record(&account(), None, Vec::new(), cause, secret)
    }

    #[test]
    fn closes_at_the_end_are_healthy() {
        let hop = hop(&cause(None, 3), false);
        let found = (hop.closed_by_the_end, hop.finding.code.as_str());
        assert_eq!(found, (3, "healthy"), "whether by FIN or by RST");
    }

    #[test]
    fn tls_requests_come_from_the_load() {
        let carried = Carried { total: 30, mean: Some(10.0), p50: Some(10), max: Some(10) };
        let total = |hop: &HopRecord| hop.requests.total;
        assert_eq!(total(&hop(&cause(None, 3), false)), Some(36), "in plain, segments are right");
        assert_eq!(total(&hop(&cause(Some(carried), 3), false)), Some(30));
        for unknown in [hop(&cause(Some(carried), 2), false), hop(&cause(None, 3), true)] {
            assert_eq!(total(&unknown), None, "others use the port, or the load does not");
            assert!(unknown.notes().iter().any(|note| note.contains("the port speaks TLS")));
        }
    }
}
