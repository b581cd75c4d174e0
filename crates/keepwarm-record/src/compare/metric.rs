//! The metrics by which two loads are compared.

use crate::load::LoadRecord;
use crate::numbers::{millis, thousands};

/// Unit in which a metric is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetricUnit {
    Micros,
    PerSecond,
    Number,
    Share,
}

/// A number that both loads have.
#[derive(Debug, PartialEq)]
pub struct Metric {
    /// Name, as in `p99.ratio<1.1`.
    pub name: &'static str,
    /// Name in a table.
    pub label: &'static str,
    /// True if a greater number is better.
    pub more_is_better: bool,
    /// Value of a point of the times, if it is one.
    pub(super) quantile: Option<f64>,
    unit: MetricUnit,
}

const fn time(name: &'static str, label: &'static str, quantile: Option<f64>) -> Metric {
    Metric { name, label, more_is_better: false, quantile, unit: MetricUnit::Micros }
}

/// All metrics. Times are response times in an open loop, else service times.
pub static METRICS: [Metric; 6] = [
    time("p50", "p50", Some(0.5)),
    time("p99", "p99", Some(0.99)),
    time("mean", "mean time", None),
    Metric {
        name: "rps",
        label: "completed",
        more_is_better: true,
        quantile: None,
        unit: MetricUnit::PerSecond,
    },
    Metric {
        name: "errors.share",
        label: "errors",
        more_is_better: false,
        quantile: None,
        unit: MetricUnit::Share,
    },
    Metric {
        name: "conn.opened_per_1000",
        label: "opened per 1,000",
        more_is_better: false,
        quantile: None,
        unit: MetricUnit::Number,
    },
];

impl Metric {
    /// Returns the value of a record; `None` where it has none.
    pub(super) fn value(&self, record: &LoadRecord) -> Option<f64> {
        let times =
            if record.settings.open_loop { &record.response_us } else { &record.latency_us };
        match self.name {
            "p50" => times.p50.map(|us| us as f64),
            "p99" => times.p99.map(|us| us as f64),
            "mean" => times.mean,
            "rps" => Some(record.requests_per_second),
            "errors.share" => record.error_share(),
            _ => {
                let completed = record.requests.completed;
                (completed > 0)
                    .then(|| record.connections.opened as f64 * 1_000.0 / completed as f64)
            }
        }
    }

    /// Writes a value as people read it.
    #[must_use]
    pub fn show(&self, value: f64) -> String {
        match self.unit {
            MetricUnit::Micros if value < 1_000.0 => format!("{:.3} ms", value / 1e3),
            MetricUnit::Micros => format!("{} ms", millis(value.round() as u64)),
            MetricUnit::PerSecond => format!("{}/s", thousands(value.round() as u64)),
            MetricUnit::Number => format!("{value:.1}"),
            MetricUnit::Share => format!("{:.2} %", value * 100.0),
        }
    }
}
