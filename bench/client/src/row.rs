//! One measurement as a row, and the document of all rows: `keepwarm.bench.client/1`.

use serde::{Deserialize, Serialize};

pub(crate) const SCHEMA: &str = "keepwarm.bench.client/1";

/// One client in one scenario: of one round, or the medians of all rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    pub(crate) client: String,
    /// User and system time of the client's process, for each measured request.
    pub(crate) cpu_us_per_request: f64,
    pub(crate) requests_per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    /// Connections that the server accepted, from the first request of the warm-up to the end; `None`
    /// from a server that does not count them.
    pub(crate) opened: Option<u64>,
    pub(crate) allocations_per_request: f64,
}

/// The medians of a client in a scenario, and how it did beside two peers in the same rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Summary {
    #[serde(flatten)]
    pub(crate) medians: Row,
    /// In the worst round.
    pub(crate) opened_max: Option<u64>,
    pub(crate) cpu_ratio_to_reqwest: Option<f64>,
    pub(crate) cpu_ratio_to_hyper_util: Option<f64>,
    pub(crate) cpu_ratio_to_hyper_spawned: Option<f64>,
    pub(crate) cpu_ratio_to_h2_spawned: Option<f64>,
}

/// A client that was not measured, and why.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Skipped {
    pub(crate) client: String,
    pub(crate) why: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Document {
    pub(crate) schema: &'static str,
    pub(crate) rounds: usize,
    pub(crate) requests_percent: usize,
    pub(crate) cores: usize,
    pub(crate) rows: Vec<Summary>,
    pub(crate) skipped: Vec<Skipped>,
}

impl Summary {
    /// `rounds` are one client's rows of one scenario; `all` is everything of that scenario, with
    /// the rounds of each client in the same order.
    pub(crate) fn of(rounds: &[Row], all: &[Row]) -> Self {
        let column = |value: fn(&Row) -> f64| median(rounds.iter().map(value).collect());
        let ratio = |peer: &str| {
            let peers = all.iter().filter(|row| row.client == peer);
            let ratios: Vec<f64> = rounds
                .iter()
                .zip(peers)
                .map(|(own, peer)| own.cpu_us_per_request / peer.cpu_us_per_request)
                .collect();
            (!ratios.is_empty()).then(|| median(ratios))
        };
        let mut opened: Vec<Option<u64>> = rounds.iter().map(|row| row.opened).collect();
        opened.sort_unstable();
        Self {
            medians: Row {
                scenario: rounds[0].scenario.clone(),
                client: rounds[0].client.clone(),
                cpu_us_per_request: column(|row| row.cpu_us_per_request),
                requests_per_second: column(|row| row.requests_per_second),
                p50_us: column(|row| row.p50_us),
                p99_us: column(|row| row.p99_us),
                p999_us: column(|row| row.p999_us),
                opened: opened[opened.len() / 2],
                allocations_per_request: column(|row| row.allocations_per_request),
            },
            opened_max: opened[opened.len() - 1],
            cpu_ratio_to_reqwest: ratio("reqwest"),
            cpu_ratio_to_hyper_util: ratio("hyper-util"),
            cpu_ratio_to_hyper_spawned: ratio("hyper-spawned"),
            cpu_ratio_to_h2_spawned: ratio("h2-spawned"),
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let (low, high) = ((values.len() - 1) / 2, values.len() / 2);
    f64::midpoint(values[low], values[high])
}
