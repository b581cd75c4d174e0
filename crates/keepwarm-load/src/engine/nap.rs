//! Short sleeps of a closed loop that is faster than its server. Owns their length and the decision
//! to take one.
//!
//! A loader that answers each response at once sleeps in epoll_wait after nearly every response,
//! and the server pays: the send(2) that ends a sleep also wakes a processor. With a thousand
//! connections at a server whose core is full, that costs more requests than the loader's own speed
//! wins. A nap ends by the clock, without a send(2) that wakes a processor, and all responses that
//! arrived meanwhile are read in one batch.
//!
//! The price is a response that is read late, so a nap is at most a [`SHARE`]th of the shortest
//! service time lately seen. With several streams on a connection it is a [`SHARE_OF_STREAMS`]th: a
//! hundred streams keep a server busy for less than a thousand connections do, and some servers write
//! each response by two calls, each of which would end a sleep. An open loop has instants to keep, and
//! never naps.

use std::time::Duration;

/// The longest nap. A longer one would only make the batches larger, which saves nothing more.
const LONGEST: Duration = Duration::from_micros(50);

/// The shortest nap. A shorter one costs more than it saves: setting the timer and waking up take
/// microseconds.
const SHORTEST: Duration = Duration::from_micros(10);

/// Divides the shortest service time lately seen: a nap may add half a per cent to it.
const SHARE: u64 = 200;

/// The divisor with several streams on a connection: a nap may add two per cent to the service time, and
/// adds one on average.
const SHARE_OF_STREAMS: u64 = 50;

/// The most events, or responses, after which a nap is worthwhile. While a larger batch is handled,
/// further ones arrive anyway. One event of HTTP/2 may bring the responses of many streams.
const SMALL_BATCH: usize = 8;

/// The fewest responses that a nap must be expected to gather.
const WORTH: u128 = 2;

#[derive(Debug)]
pub(super) struct Nap {
    /// The shortest service time lately seen, in nanoseconds. Falls at once, and doubles in 710
    /// responses. `u64::MAX` before the first response.
    shortest_ns: u64,
    /// Responses since the last decision.
    responses: usize,
    share: u64,
}

impl Nap {
    pub(super) fn new(streams: usize) -> Self {
        let share = if streams > 1 { SHARE_OF_STREAMS } else { SHARE };
        Self { shortest_ns: u64::MAX, responses: 0, share }
    }

    /// Takes a service time into account.
    #[inline]
    pub(super) fn saw(&mut self, service: Duration) {
        self.responses += 1;
        let service_ns = u64::try_from(service.as_nanos()).unwrap_or(u64::MAX);
        self.shortest_ns = service_ns.min(self.shortest_ns.saturating_add(self.shortest_ns / 1024));
    }

    /// Returns how long to sleep before events are read again, after a batch of `events` events and
    /// with `in_flight` requests in flight.
    #[inline]
    pub(super) fn after(&mut self, events: usize, in_flight: usize) -> Option<Duration> {
        let batch = std::mem::take(&mut self.responses).max(events);
        if events == 0 || batch > SMALL_BATCH || self.shortest_ns == u64::MAX {
            return None;
        }
        let nap = Duration::from_nanos(self.shortest_ns / self.share).min(LONGEST);
        let gathered = in_flight as u128 * nap.as_nanos();
        (nap >= SHORTEST && gathered >= WORTH * u128::from(self.shortest_ns)).then_some(nap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Has the responses so far be of an earlier batch.
    fn decide_anew(nap: &mut Nap) {
        assert_eq!(nap.after(0, 0), None);
    }

    fn after_many(service: Duration) -> Nap {
        let mut nap = Nap::new(1);
        for _ in 0..10 {
            nap.saw(service);
        }
        decide_anew(&mut nap);
        nap
    }

    #[test]
    fn slow_server_makes_the_loader_nap() {
        assert_eq!(after_many(10 * MS).after(3, 1000), Some(50 * MS / 1000));
        assert_eq!(after_many(4 * MS).after(1, 1000), Some(20 * MS / 1000));
    }

    #[test]
    fn nap_adds_half_a_per_cent_at_most() {
        for service_us in (0..30_000).step_by(37) {
            let service = Duration::from_micros(service_us);
            let slept = after_many(service).after(1, 100_000).unwrap_or_default();
            assert!(slept * 200 <= service, "{slept:?} of {service:?}");
        }
    }

    /// A server that is busy with a hundred streams for 1 ms.
    #[test]
    fn streams_allow_longer_naps() {
        for (streams, expected) in [(1, None), (100, Some(MS / 50))] {
            let mut nap = Nap::new(streams);
            nap.saw(MS);
            decide_anew(&mut nap);
            assert_eq!(nap.after(1, 100), expected, "{streams}");
            assert_eq!(nap.after(1, 99), None, "it would gather less than two");
        }
    }

    #[test]
    fn no_nap_with_little_to_gather() {
        assert_eq!(Nap::new(1).after(1, 1000), None);
        // With a slow server and ten connections the next response is far away.
        assert_eq!(after_many(100 * MS).after(1, 10), None);
    }

    #[test]
    fn no_nap_after_busy_or_empty_batch() {
        assert_eq!(after_many(10 * MS).after(9, 1000), None);
        assert_eq!(after_many(10 * MS).after(0, 1000), None);
    }

    /// One event, by which the responses of many streams came.
    #[test]
    fn no_nap_after_many_streams() {
        let mut nap = after_many(10 * MS);
        for responses in [9, 100] {
            (0..responses).for_each(|_| nap.saw(10 * MS));
            assert_eq!(nap.after(1, 1000), None, "{responses}");
        }
        (0..8).for_each(|_| nap.saw(10 * MS));
        assert!(nap.after(1, 1000).is_some());
    }

    #[test]
    fn one_fast_response_forbids_naps() {
        let mut nap = after_many(10 * MS);
        nap.saw(MS / 10);
        for _ in 0..3000 {
            assert_eq!(nap.after(1, 1000), None);
            nap.saw(10 * MS);
        }
        for _ in 0..3000 {
            nap.saw(10 * MS);
        }
        decide_anew(&mut nap);
        assert_eq!(nap.after(1, 1000), Some(50 * MS / 1000));
    }
}
