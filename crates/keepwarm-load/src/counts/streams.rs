//! The streams of connections of HTTP/2, counted. Owns their sums; a run of HTTP/1.1 has none.

use super::histogram::MAX_STREAMS;
use super::{ErrorClass, Errors, Histogram, Imbalance};

/// Totals of the streams of a run of HTTP/2. Each request written is a stream opened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Streams {
    /// The most streams at once on each connection: one sample per connection opened.
    pub at_once: Histogram,
    /// Streams that the server refused before any processing (REFUSED_STREAM).
    pub refused: u64,
    /// Streams that the server ended with another code.
    pub reset: u64,
    /// Streams that the server had not processed when it announced the end of their connection.
    pub unprocessed: u64,
    /// Of these, requests that were sent again on another connection; the others have failed.
    pub sent_again: u64,
    /// The fewest streams at once that the server has allowed a connection.
    pub limit: Option<u32>,
    /// Streams that this side ended: a timeout, a response that is none, an early response.
    pub cancelled: u64,
    /// GOAWAY frames received.
    pub goaways: u64,
    /// Connections opened because streams ran out: while each open one carried as many as it may (in an
    /// open loop), or after one whose stream ids were used up.
    pub opened_for_streams: u64,
}

impl Streams {
    pub(super) fn new() -> Self {
        Self {
            at_once: Histogram::up_to(MAX_STREAMS),
            refused: 0,
            reset: 0,
            unprocessed: 0,
            sent_again: 0,
            limit: None,
            cancelled: 0,
            goaways: 0,
            opened_for_streams: 0,
        }
    }

    /// Checks the sums of a run with these errors and `opened` connections.
    pub(crate) fn check(&self, errors: &Errors, opened: u64) -> Result<(), Imbalance> {
        let with_count = if self.at_once.count() == 0 { 0 } else { opened };
        Imbalance::check([
            ("opened = connections with a count of streams", with_count, self.at_once.count()),
            (
                "streams refused = requests that failed so",
                self.refused,
                errors.of(ErrorClass::StreamRefused),
            ),
            (
                "streams reset = requests that failed so",
                self.reset,
                errors.of(ErrorClass::StreamReset),
            ),
            (
                "streams unprocessed = sent again + requests that failed so",
                self.unprocessed,
                self.sent_again + errors.of(ErrorClass::Unprocessed),
            ),
            (
                "opened for streams = of these, connections opened",
                self.opened_for_streams,
                self.opened_for_streams.min(opened),
            ),
        ])
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.at_once.merge(&other.at_once);
        self.refused += other.refused;
        self.reset += other.reset;
        self.unprocessed += other.unprocessed;
        self.cancelled += other.cancelled;
        self.goaways += other.goaways;
        self.sent_again += other.sent_again;
        self.opened_for_streams += other.opened_for_streams;
        self.limit = [self.limit, other.limit].into_iter().flatten().min();
    }
}
