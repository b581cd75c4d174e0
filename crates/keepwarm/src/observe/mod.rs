//! Reports of a client about itself: statistics, events, warnings, explanations, spans.
//!
//! The lowest folder. Wire, pool and exchange report into it, and it imports none of them:
//! statistics are made from a [`snapshot::Snapshot`] that the pool fills in, and events go into an
//! [`event_queue::EventQueue`] that any layer may hold.
//!
//! | module | content |
//! |---|---|
//! | `observer` | the public trait and its events |
//! | `event_queue` | events recorded under a lock, delivered after it is released |
//! | `request_events` | events and span of one request |
//! | `snapshot`, `stats` | gauges and counters, as data and as public types |
//! | `recent_count` | a count over the last ten seconds |
//! | `explain` | statistics and settings turned into sentences |
//! | `warnings` | misuse of clients, noticed once a process |
//! | `spans`, `otel` | `tracing` and OpenTelemetry, behind their features |

pub(crate) mod event_queue;
pub(crate) mod explain;
pub(crate) mod observer;
#[cfg(feature = "opentelemetry")]
pub(crate) mod otel;
pub(crate) mod recent_count;
pub(crate) mod request_events;
pub(crate) mod snapshot;
pub(crate) mod spans;
pub(crate) mod stats;
pub(crate) mod warnings;
