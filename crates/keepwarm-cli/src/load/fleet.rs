//! What a load does for the fleet that started it: it begins at an instant that all workers were
//! given, and prints a line of JSON each second. Owns both; the fleet's own binary does the rest.

use std::time::Duration;

use keepwarm_load::{Count, Run};
use serde::Serialize;

use crate::exit::Failure;
use crate::{interrupt, output};

/// Longest sleep before an instant without asking whether a signal has come.
const NAP: Duration = Duration::from_millis(20);

/// Returns CLOCK_MONOTONIC in nanoseconds.
fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Waits until CLOCK_MONOTONIC shows `instant`, in nanoseconds; not at all if that is over. A signal
/// ends the wait, and the command.
pub(super) fn wait_until(instant: u64) -> Result<(), Failure> {
    loop {
        if interrupt::happened() {
            return Err(interrupt::failure());
        }
        match Duration::from_nanos(instant.saturating_sub(monotonic())) {
            Duration::ZERO => return Ok(()),
            left => std::thread::sleep(left.min(NAP)),
        }
    }
}

/// The lines that a load prints for its worker: one when it has begun, one for each second.
#[derive(Debug, Default)]
pub(crate) struct LiveLines {
    begun: bool,
    printed: Option<u64>,
}

/// A line of a running load.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// The run has begun at this nanosecond of CLOCK_MONOTONIC.
    Begun { monotonic_ns: u64 },
    /// A whole second of the run is over.
    Second(Second),
}

#[derive(Serialize)]
struct Second {
    /// Position of the second in the run, from 0.
    second: u64,
    /// Requests that completed in it.
    completed: u64,
    /// Requests that failed in it.
    failed: u64,
    /// Requests that were due and never sent.
    unsent: u64,
    /// 99th percentile in microseconds of the response times of an open loop, else of the service
    /// times; none without a completed request.
    p99_us: Option<u64>,
    /// Connections open now.
    open: u64,
}

impl LiveLines {
    /// Prints what has happened since the last call.
    pub(super) fn update(&mut self, run: &Run) -> Result<(), Failure> {
        if !self.begun {
            self.begun = true;
            let ago = u64::try_from(run.started().elapsed().as_nanos()).unwrap_or(0);
            print(&Line::Begun { monotonic_ns: monotonic().saturating_sub(ago) })?;
        }
        let Some((second, slice)) = run.last_second() else { return Ok(()) };
        if self.printed.is_some_and(|printed| printed >= second) {
            return Ok(());
        }
        self.printed = Some(second);
        let times = if run.plan().is_open_loop() { &slice.response } else { &slice.latency };
        print(&Line::Second(Second {
            second,
            completed: slice.count(Count::Completed),
            failed: slice.count(Count::Failed),
            unsent: slice.count(Count::Unsent),
            p99_us: times.quantile(0.99),
            open: run.progress().open_connections,
        }))
    }
}

fn print(line: &Line) -> Result<(), Failure> {
    output::print_with(|to| output::write_json(line, to))
}
