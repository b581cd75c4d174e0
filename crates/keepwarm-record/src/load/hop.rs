//! A hop: one port of this host during a load, as the kernel saw it.
//!
//! Owns the record, and the notes and doubts that follow from it. The tool fills and judges it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::numbers::{capitalised, thousands};
use crate::watch::{FindingRecord, OwnerRecord, Side};

/// Codes of findings that name no fault.
const CALM: [&str; 4] = ["healthy", "mixed", "D11", "D12"];

/// The kernel's account of one port, the samples taken on the way, and the finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopRecord {
    /// Port.
    pub port: u16,
    /// In a merged record, the number of the part, from 1, on whose machine the port is; `None` in
    /// the record of one run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u64>,
    /// True if the port is the load's own target: its connections are the load's.
    pub is_target: bool,
    /// Connections that the load opened to the port, by the load's account; `None` if the port is
    /// not the target.
    pub opened_by_load: Option<u64>,
    /// Length of the window.
    pub window_s: f64,
    /// Connections opened.
    pub opened: u64,
    /// Connections closed, by the side that was first.
    pub closed: HopCloses,
    /// Closes by the load at the end of the run. Part of `closed`, and not counted as churn.
    pub closed_by_the_end: u64,
    /// Requests of a connection.
    pub requests: HopRequests,
    /// Connections open when the window began.
    pub alive_at_start: u64,
    /// Connections open when the window ended.
    pub alive_at_end: u64,
    /// Sockets in ESTABLISHED at the end.
    pub established: Sides,
    /// Sockets in CLOSE_WAIT at the end.
    pub close_wait: Sides,
    /// Sockets in TIME_WAIT.
    pub time_wait: TimeWaits,
    /// Local ports that clients of this port hold.
    pub ports: PortUse,
    /// TIME_WAITs that the kernel did not make because its table was full.
    pub time_waits_refused: Option<u64>,
    /// Socket events that the kernel dropped.
    pub lost_events: u64,
    /// False if connections were still closing when the account was taken.
    pub settled: bool,
    /// Samples in the order of time; the run's length and the cost of a dump decide how often. Those
    /// of a drain stand behind those of the run.
    pub samples: Vec<HopSample>,
    /// Drain of the port after the run; `None` without `--drain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainRecord>,
    /// The main finding: the first one of the client's side where that is on this host, else of the
    /// server's.
    pub finding: HopFinding,
    /// Every finding, by the service and the side that it is about; the client's come first.
    #[serde(default)]
    pub findings: Vec<SideFinding>,
    /// Main owner of the connections at each side, with its runtime.
    #[serde(default)]
    pub owner: PerSide<OwnerRecord>,
}

/// A fact about each side; `None` where the side is not on this host, or the fact is not known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PerSide<T> {
    /// Fact about the client.
    pub client: Option<T>,
    /// Fact about the server.
    pub server: Option<T>,
}

impl<T> Default for PerSide<T> {
    fn default() -> Self {
        Self { client: None, server: None }
    }
}

/// One finding about one side of the connections to one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SideFinding {
    /// Side that it was observed from.
    pub side: Side,
    /// Address of the service; `None` for the quietest ones, which are judged as one.
    pub remote: Option<SocketAddr>,
    /// The finding, as a watch has it.
    #[serde(flatten)]
    pub finding: FindingRecord,
}

/// Connections closed, by the side that was first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopCloses {
    /// The client's FIN came first.
    pub client_fin: u64,
    /// The server's FIN came first.
    pub server_fin: u64,
    /// Both FINs crossed on the way.
    pub crossed_fin: u64,
    /// The client reset the connection.
    pub client_rst: u64,
    /// The server reset the connection.
    pub server_rst: u64,
    /// No answer came any more, and one side gave up.
    #[serde(default)]
    pub timed_out: u64,
    /// The kernel does not say how the connection ended.
    pub unclassified: u64,
}

/// Requests of a connection, counted as segments with data. Where those are not requests, because the
/// port speaks TLS or the load HTTP/2, the load's account is used if all connections are the load's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HopRequests {
    /// Requests on all connections.
    pub total: Option<u64>,
    /// Mean of a connection.
    pub mean: Option<f64>,
    /// Median of a connection.
    pub p50: Option<u64>,
    /// Most requests of a connection.
    pub max: Option<u64>,
    /// Reason why the requests are not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// A count for each side of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    /// Sockets that called connect(2).
    pub client: u64,
    /// Sockets that were accepted.
    pub server: u64,
}

/// Sockets of the port in TIME_WAIT, of any age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeWaits {
    /// Count before the run.
    pub before: Sides,
    /// Greatest count of each side.
    pub peak: Sides,
    /// Greatest count of both sides together.
    pub peak_sum: u64,
    /// Count after the run.
    pub after: Sides,
    /// Subset of `after` that entered TIME_WAIT during the run.
    pub entered: Sides,
}

/// Local ports that clients of this port hold on this host.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortUse {
    /// Local ports that one destination can have; `None` if not known.
    pub range: Option<u32>,
    /// Most ports held at once.
    pub peak: u64,
    /// Ports held after the run.
    pub after: u64,
    /// Forecast; `None` where the range is not known.
    pub forecast: Option<Forecast>,
}

/// Effect of this run's closes on the ports towards a remote destination, if they went on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Closes by the client, each of which holds a port for a minute.
    pub closes_per_second: f64,
    /// Greatest rate of closes that the ports bear for ever.
    pub bearable_per_second: f64,
    /// Time until the ports run out; `None` if they never do.
    pub exhausted_after_s: Option<f64>,
}

/// One dump's view of the port.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HopSample {
    /// Time since the watch began, just before the run.
    pub at_s: f64,
    /// Sockets in TIME_WAIT.
    pub time_wait: Sides,
    /// Sockets in ESTABLISHED.
    pub established: Sides,
    /// Client sockets in any state.
    pub ports: u64,
}

/// Sockets of a port after the run, as `--drain` watched them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// Time that was asked for.
    pub asked_s: f64,
    /// End of the run, as time since the watch began: later samples are of the drain.
    pub from_s: f64,
    /// Time from the end of the run to the last sample.
    pub took_s: f64,
    /// Time from the end of the run to the first sample from which on no TIME_WAIT was left; `None`
    /// if some were left at the last sample.
    pub emptied_after_s: Option<f64>,
    /// Sockets in TIME_WAIT at the last sample.
    pub left: Sides,
}

/// Judgement on the connections of a port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HopFinding {
    /// Code of the finding, such as `D1`, or `healthy`.
    pub code: String,
    /// True if there is nothing to fix.
    pub healthy: bool,
    /// Confidence, from 0 to 1.
    pub confidence: f64,
    /// One sentence that says what was found.
    pub summary: String,
    /// Setting that fixes it.
    pub advice: Option<String>,
    /// Difference that a remote destination would make, which loopback hides.
    pub remote: Option<String>,
}

impl DrainRecord {
    /// Reads the drain from the samples of a port. `from_s` is the end of the run.
    #[must_use]
    pub fn of(asked_s: f64, from_s: f64, samples: &[HopSample]) -> Self {
        let since = |sample: &HopSample| (sample.at_s - from_s).max(0.0);
        let waits = samples.iter().rposition(|sample| sample.time_wait.sum() > 0);
        let first_empty = waits.map_or(0, |last| last + 1);
        let last = samples.last();
        Self {
            asked_s,
            from_s,
            took_s: last.map_or(0.0, since),
            emptied_after_s: samples.get(first_empty).map(since),
            left: last.map(|sample| sample.time_wait).unwrap_or_default(),
        }
    }

    /// Writes the outcome of the drain as half a sentence.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.emptied_after_s {
            Some(after) if after <= 0.0 => "no TIME_WAIT was left at the end of the run".to_owned(),
            Some(after) => format!("the last TIME_WAIT was gone {after:.1} s after the run"),
            None => {
                let left = thousands(self.left.sum());
                format!("{left} in TIME_WAIT {:.1} s after the run", self.took_s)
            }
        }
    }
}

impl HopCloses {
    /// Sums the resets of both sides.
    #[must_use]
    pub const fn reset(&self) -> u64 {
        self.client_rst + self.server_rst
    }

    /// Sums all closes.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let by_fin = self.client_fin + self.server_fin + self.crossed_fin;
        by_fin + self.reset() + self.timed_out + self.unclassified
    }
}

impl Sides {
    /// Sums both sides.
    #[must_use]
    pub const fn sum(self) -> u64 {
        self.client + self.server
    }

    /// Raises each side to at least the same side of `other`.
    pub fn at_least(&mut self, other: Self) {
        self.client = self.client.max(other.client);
        self.server = self.server.max(other.server);
    }
}

impl HopRequests {
    /// Requests that are not known, and why.
    #[must_use]
    pub fn unknown(why: &str) -> Self {
        Self { unknown: Some(why.to_owned()), ..Self::default() }
    }
}

impl HopRecord {
    /// Returns the share of all local ports that was held at the peak.
    #[must_use]
    pub fn port_share(&self) -> Option<f64> {
        self.ports.range.map(|range| self.ports.peak as f64 / f64::from(range))
    }

    /// Returns the findings that name a fault, one of each code, without the main finding's.
    #[must_use]
    pub fn other_findings(&self) -> Vec<&FindingRecord> {
        let mut others: Vec<&FindingRecord> = Vec::new();
        for one in self.findings.iter().map(|one| &one.finding) {
            let is_known =
                one.code == self.finding.code || others.iter().any(|other| other.code == one.code);
            if !is_known && !CALM.contains(&one.code.as_str()) {
                others.push(one);
            }
        }
        others
    }

    /// Returns the limits of this account that do not make it wrong.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        // The kernel's table belongs to the whole namespace. A port without closes is not affected.
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

    /// Returns the evidence that this account lacks, which makes the whole run invalid.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
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

impl HopFinding {
    /// Writes the finding in sentences: what it is, how to fix it, and what loopback hides.
    #[must_use]
    pub fn sentences(&self) -> String {
        let mut sentences = with_fix(&self.summary, self.advice.as_deref());
        if let Some(remote) = &self.remote {
            sentences = format!("{sentences}. {}", capitalised(remote));
        }
        format!("{}.", capitalised(&sentences))
    }
}

/// Writes what was found, and how to fix it.
fn with_fix(summary: &str, advice: Option<&str>) -> String {
    advice.map_or_else(|| summary.to_owned(), |advice| format!("{summary}. Fix: {advice}"))
}

impl FindingRecord {
    /// Writes the finding in sentences: what it is, and how to fix it.
    #[must_use]
    pub fn sentences(&self) -> String {
        let sentences = with_fix(&self.summary, self.advice.as_deref());
        format!("{}.", capitalised(&sentences))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_s: f64, client: u64) -> HopSample {
        let time_wait = Sides { client, server: 0 };
        HopSample { at_s, time_wait, established: Sides::default(), ports: client }
    }

    #[test]
    fn drain_ends_with_the_last_time_wait() {
        let samples = [sample(1.0, 2), sample(9.0, 5), sample(40.0, 0), sample(50.0, 1)];
        let drained = |samples: &[HopSample]| DrainRecord::of(60.0, 10.0, samples);
        let left = drained(&samples);
        assert_eq!((left.emptied_after_s, left.left.client, left.took_s), (None, 1, 40.0));
        assert_eq!(left.describe(), "1 in TIME_WAIT 40.0 s after the run");
        let empty = drained(&[&samples[..], &[sample(70.5, 0), sample(71.0, 0)]].concat());
        assert_eq!((empty.emptied_after_s, empty.took_s), (Some(60.5), 61.0));
        assert_eq!(empty.describe(), "the last TIME_WAIT was gone 60.5 s after the run");
        let never = drained(&[sample(1.0, 0), sample(10.0, 0)]);
        assert_eq!(never.describe(), "no TIME_WAIT was left at the end of the run");
    }
}
