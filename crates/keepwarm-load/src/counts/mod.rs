//! Everything a run counts, as plain data: counters, distributions, the ledger and the timeline,
//! with their merging and the checks of their sums. Knows no socket, thread, lock, clock or plan;
//! the engine does the counting.

mod close_cause;
mod counters;
mod detail;
mod errors;
mod exchange;
mod histogram;
mod latencies;
mod ledger;
mod protocol;
mod sketch;
mod streams;
mod tally;
mod timeline;

pub use close_cause::CloseCause;
pub(crate) use counters::Counts;
pub use counters::{Count, Imbalance};
pub(crate) use detail::{Misses, Notables, Rows};
pub use detail::{Notable, Row};
pub use errors::{Errno, ErrorClass, ErrorKey, ErrorStat, Errors};
pub use exchange::Exchange;
pub use histogram::Histogram;
pub(crate) use histogram::{MAX_LATENCY_US, micros};
pub use ledger::Ledger;
pub use protocol::Protocol;
pub use sketch::Sketch;
pub use streams::Streams;
pub use tally::ThreadUse;
pub(crate) use tally::{FirstResponse, Tally};
pub(crate) use timeline::FINEST;
pub use timeline::{Slice, Timeline};
