//! Limits of this crate: the largest plan that is accepted, and the largest response that is read.
//! Owns numbers only; each is enforced where its subject is handled.

use std::time::Duration;

use keepwarm_http1::{Doubt, Limits, Rules};

/// The most connections a plan may ask for: by default no Linux host has more descriptors.
pub const MAX_CONCURRENCY: usize = 1_000_000;

/// The most requests at once on one connection of HTTP/2.
pub const MAX_STREAMS: usize = 10_000;

/// The longest timeout and the longest duration a plan may ask for: one week.
pub const MAX_DURATION: Duration = Duration::from_secs(7 * 24 * 3600);

/// The most parts that a load is divided into.
pub const MAX_SHARES: usize = 10_000;

/// The highest rate of an open loop, in requests per second.
pub const MAX_RATE: f64 = 10_000_000.0;

/// Descriptors of a thread beside its connections: an epoll and two timers.
pub const DESCRIPTORS_PER_THREAD: u64 = 3;

/// The most requests in one file of requests.
pub const MAX_FILE_REQUESTS: usize = 100_000;

/// The most rows of a file of `{csv:FILE.column}`.
pub const MAX_CSV_ROWS: usize = 1_000_000;

/// The most names under which requests are counted apart; further ones share one row.
pub const MAX_ROWS: usize = 100;

/// The most requests in the order of requests with weights, after division by what the weights
/// have in common.
pub const MAX_ORDER: u64 = 1_000_000;

/// The largest file that is read into memory as a part of a plan, in bytes.
pub const MAX_FILE: u64 = 4 << 30;

/// The most bytes that are read from a pipe or a device, which may have no end.
pub const MAX_STREAM: u64 = 256 << 20;

/// The size, in bytes, above which the regular file of a body is read while it is sent, and not kept
/// in memory.
pub const MIN_STREAMED: u64 = 1 << 20;

/// The most slices of a timeline. In a longer run neighbouring slices are merged in pairs: a slice
/// lasts 2 seconds in a run of more than an hour, 4 seconds beyond two hours, and so on.
pub const MAX_SLICES: usize = 3600;

/// The largest response head that is read, in bytes, with the interim responses before it. Also
/// limits all trailers of a response together.
pub const MAX_HEAD: usize = 64 * 1024;

/// The most interim (1xx) responses before one final response.
pub const MAX_INTERIM: u32 = 16;

/// The longest chunk size line, extensions included, in bytes.
pub const MAX_CHUNK_LINE: usize = 4 * 1024;

/// The rules by which responses are read. A response that is delimited twice is counted, and ends
/// its connection.
pub(crate) const RULES: Rules = Rules {
    limits: Limits {
        head: MAX_HEAD,
        interim: MAX_INTERIM,
        chunk_line: MAX_CHUNK_LINE,
        trailers: MAX_HEAD,
    },
    doubt: Doubt::EndConnection,
};
