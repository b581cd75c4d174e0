//! A load engine for HTTP/1.1 that accounts for every connection.
//!
//! A [`Plan`] is validated settings. [`Run::start`] drives it with one thread per core, each with
//! its own event queue, connections and histograms. [`Run::wait`] returns a [`Summary`]: service
//! times, statuses, [`Errors`] by class and errno, and the [`Ledger`], in which every connection
//! opened and every request released has exactly one place; the [`Timeline`] tells the same second
//! by second. [`Summary::check`] proves the sums of both. [`Run::last_second`] tells while it runs.
//!
//! A loop is closed unless a rate is set: as many requests are in flight as there are connections,
//! and the next one starts when the previous one ends. A server that stalls is therefore asked less
//! often while it stalls, and the tail of the service times is better than what independent users
//! would see. With [`PlanBuilder::rate`] or [`PlanBuilder::stages`] it is open: requests are due at
//! instants fixed in advance, and [`Summary::response`] counts from those.
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

#![forbid(unsafe_code)]

mod engine;
mod failure;
mod framing;
mod histogram;
mod ledger;
mod pacer;
mod plan;
mod run;
mod sketch;
mod summary;
mod timeline;

pub use failure::{Errno, ErrorClass, ErrorKey, ErrorStat, Errors};
pub use framing::{MAX_FIELDS, MAX_HEAD, MAX_INTERIM};
pub use histogram::Histogram;
pub use ledger::{CloseCause, Imbalance, Ledger};
pub use pacer::{Arrivals, Stage};
pub use plan::{
    ClosePolicy, ConnectTo, MAX_CONCURRENCY, MAX_DURATION, MAX_FILE_REQUESTS, MAX_RATE, Plan,
    PlanBuilder, PlanError, RequestFileError, RequestSpec,
};
pub use run::{Progress, Run, Stop};
pub use sketch::Sketch;
pub use summary::{Loader, StopReason, Summary, ThreadUse};
pub use timeline::{Count, MAX_SLICES, Slice, Timeline};
