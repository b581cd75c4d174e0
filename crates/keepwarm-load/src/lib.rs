//! A load engine for HTTP/1.1 that accounts for every connection.
//!
//! A [`Plan`] is validated settings. [`Run::start`] drives it with one thread per core; each thread
//! has its own event queue, connections and histograms. [`Run::wait`] returns a [`Summary`]:
//! service times, statuses, [`Errors`] by class and errno, the [`Ledger`], in which every
//! connection opened and every request released is counted exactly once, and the [`Timeline`],
//! which has the same counters second by second. [`Summary::check`] proves the sums of both.
//! [`Run::last_second`] shows the last second while the run goes on.
//!
//! A loop is closed unless a rate is set: as many requests are in flight as there are connections,
//! and the next request starts when the previous one ends. A server that stalls therefore receives
//! fewer requests while it stalls, and the tail of the service times looks better than what
//! independent users would see. With [`PlanBuilder::rate`] or [`PlanBuilder::stages`] the loop is
//! open: requests are due at instants fixed in advance, and [`Summary::response`] counts from
//! those.
//!
//! Memory does not grow with the number of requests. Nothing is printed. Linux only.
//!
//! ```no_run
//! use keepwarm_load::{Plan, Run};
//! let plan = Plan::builder("http://127.0.0.1:8080/stresstest")
//!     .requests(10_000)
//!     .concurrency(100)
//!     .build()?;
//! let summary = Run::start(plan)?.wait();
//! summary.check()?;
//! assert!(summary.ledger.opened <= 100, "connections are reused");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Inside
//!
//! Imports run one way: `run` → `summary` and `engine` → `plan` → `pacer`; `engine` and `summary` →
//! `counts`; [`limits`] lies beneath all. `pacer` and `counts` know no socket, thread or clock.
//! Responses are read by `keepwarm-http1`, which knows bytes only.

#![forbid(unsafe_code)]

mod counts;
mod engine;
pub mod limits;
mod pacer;
mod plan;
mod run;
mod summary;

pub use counts::{
    CloseCause, Count, Errno, ErrorClass, ErrorKey, ErrorStat, Errors, Exchange, Histogram,
    Imbalance, Ledger, Notable, Protocol, Row, Sketch, Slice, Streams, ThreadUse, Timeline,
};
pub use pacer::{Arrivals, Stage};
pub use plan::{
    Body, ClosePolicy, ConnectTo, Expectation, Family, Plan, PlanBuilder, PlanError,
    RequestFileError, RequestSpec, read_file,
};
pub use run::{Progress, Run, Stop};
pub use summary::{Loader, StopReason, Summary};

/// Entrance of a private decoder for the fuzz targets.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Reads a table; returns the number of columns and of rows, if it can be used.
    #[must_use]
    pub fn csv(text: &str) -> Option<(usize, usize)> {
        crate::plan::csv::shape(text)
    }
}

/// Compiles the example of the crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
