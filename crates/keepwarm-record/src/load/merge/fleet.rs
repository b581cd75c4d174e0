//! The fleet behind a merged record: its common start, and the workers that it lost.

use serde::{Deserialize, Serialize};

use crate::load::{LoadRecord, Trust, Verdict};

/// A fleet of workers that carried out one load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FleetRecord {
    /// Name of the run.
    pub run: String,
    /// Workers among which the load was divided.
    pub workers: u64,
    /// Workers that may be lost before the run is invalid.
    pub tolerated: u64,
    /// Time from the first worker's start to the last one's; `None` where no start was told.
    pub start_spread_us: Option<u64>,
    /// Greatest uncertainty of a worker's clock against the coordinator's: half of the least round
    /// trip.
    pub clock_error_us: u64,
    /// Workers that were lost, or ended without a record, in the order of time.
    pub lost: Vec<LostWorker>,
}

/// A worker that was lost, or ended without a record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LostWorker {
    /// Name of the worker.
    pub worker: String,
    /// Time of the run at which the coordinator counted the worker as lost.
    pub at_s: f64,
    /// Reason, such as the last words of its load.
    pub why: String,
}

impl FleetRecord {
    /// Describes the common start, and the losses of a run that tolerated them.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let error = self.clock_error_us as f64 / 1e3;
        let spread = self.start_spread_us.map(|spread| {
            let spread = spread as f64 / 1e3;
            format!(
                "the workers began within {spread:.1} ms, by clocks that agree within {error:.1} ms"
            )
        });
        spread.into_iter().collect()
    }

    pub(super) fn doubts(&self) -> impl Iterator<Item = (Trust, String)> {
        let is_tolerated = self.lost.len() as u64 <= self.tolerated;
        let trust = if is_tolerated { Trust::WithCare } else { Trust::Invalid };
        self.lost.iter().map(move |lost| {
            let LostWorker { worker, at_s, why } = lost;
            let reason = format!(
                "worker {worker} was lost at {at_s:.1} s ({why}): from then on the load was smaller \
                 than declared"
            );
            (trust, reason)
        })
    }
}

impl LoadRecord {
    /// Names the fleet behind a merged record, marks the slices after a loss, and judges the record
    /// again.
    #[must_use]
    pub fn with_fleet(mut self, fleet: FleetRecord) -> Self {
        let width_s = self.timeline.width_s;
        for (index, slice) in self.timeline.slices.iter_mut().enumerate() {
            let end_s = (index + 1) as f64 * width_s;
            slice.lost_workers = fleet.lost.iter().filter(|lost| lost.at_s < end_s).count() as u64;
        }
        if let Some(merged) = &mut self.merged {
            merged.fleet = Some(fleet);
        }
        self.verdict = Verdict::of(&self);
        self
    }
}
