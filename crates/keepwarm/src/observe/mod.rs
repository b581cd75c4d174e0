//! What a client reports of itself.

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
