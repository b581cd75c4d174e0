//! Whether a request may go out a second time: by what it is, and by how many did so lately.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, Method};
use keepwarm_pool::Moment;

/// Retries that an origin may have in stock at the start.
const FIRST_RETRIES: u64 = 100;
/// Retries that an origin may have in stock at most.
const MAX_RETRIES: u64 = 1_000;
/// Each request earns this part of a retry.
const REQUESTS_PER_RETRY: u64 = 2;
/// A quiet client earns retries by the clock.
const TIME_PER_RETRY: Duration = Duration::from_secs(1);

/// Whether sending it twice does what sending it once does: by the method, or because the caller
/// says so with a key. Go's list (`Request.isReplayable`): PUT and DELETE are not on it.
pub(crate) fn is_idempotent(method: &Method, headers: &HeaderMap) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method)
        || headers.contains_key("idempotency-key")
        || headers.contains_key("x-idempotency-key")
}

/// How many requests to one origin may be sent a second time.
///
/// A server that breaks every connection would otherwise get twice the load that breaks it. A hundred
/// at the start; one more for each two requests and for each second; never more than a thousand in
/// stock.
///
/// It is not to be felt where a server merely closes what is idle. All idle connections can go stale
/// in the same instant, a burst finds that out all at once, and servers exist that close every few
/// requests: with one retry for ten requests GETs failed there (`docs/idle-closes.md`). What a retry
/// can cost is bounded besides: it needs a connection that has served or stood ready, and breaks it.
#[derive(Debug)]
pub(crate) struct RetryBudget(Mutex<Stock>);

#[derive(Debug)]
struct Stock {
    /// In parts of which `REQUESTS_PER_RETRY` make a retry.
    parts: u64,
    requests: u64,
    since: Option<Moment>,
}

impl RetryBudget {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Stock {
            parts: FIRST_RETRIES * REQUESTS_PER_RETRY,
            requests: 0,
            since: None,
        }))
    }

    /// Takes one retry, if there is one. `requests` is the count of all so far; what they earned is
    /// booked here, so that a request without failure costs nothing.
    pub(crate) fn take(&self, requests: u64, now: Moment) -> bool {
        let mut stock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = stock.since.unwrap_or(now);
        let passed = now.since(since).as_nanos();
        let seconds = u64::try_from(passed / TIME_PER_RETRY.as_nanos()).unwrap_or(u64::MAX);
        // Whole ones are booked, the rest goes on counting.
        let rest = u64::try_from(passed % TIME_PER_RETRY.as_nanos()).unwrap_or(0);
        stock.since = Some(Moment::from_nanos(now.max(since).as_nanos() - rest));
        let earned = requests
            .saturating_sub(stock.requests)
            .saturating_add(seconds.saturating_mul(REQUESTS_PER_RETRY));
        stock.requests = stock.requests.max(requests);
        stock.parts = stock.parts.saturating_add(earned).min(MAX_RETRIES * REQUESTS_PER_RETRY);
        match stock.parts.checked_sub(REQUESTS_PER_RETRY) {
            Some(rest) => {
                stock.parts = rest;
                // The second attempt asks for a connection too, and is to earn nothing by it.
                stock.requests += 1;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_nanos(1 << 40);

    fn stock(budget: &RetryBudget, requests: u64, now: Moment) -> usize {
        (0..2_000).take_while(|_| budget.take(requests, now)).count()
    }

    #[test]
    fn the_budget_is_a_hundred_at_first_then_one_for_two_requests_and_one_a_second() {
        let budget = RetryBudget::new();
        assert_eq!(stock(&budget, 0, START), 100);
        assert_eq!(stock(&budget, 101, START), 0);
        assert_eq!(stock(&budget, 106, START), 3);
        let later = START.after(Duration::from_millis(2_600));
        assert_eq!(stock(&budget, 109, later), 2);
        let later = START.after(Duration::from_millis(3_000));
        assert_eq!(stock(&budget, 111, later), 1, "the rest of a second is not lost");
    }

    #[test]
    fn a_retry_earns_no_retry() {
        let budget = RetryBudget::new();
        assert_eq!(stock(&budget, 0, START), 100);
        assert_eq!(stock(&budget, 100, START), 0, "these are the hundred second attempts");
        assert_eq!(stock(&budget, 120, START), 10);
    }

    #[test]
    fn the_budget_never_holds_more_than_a_thousand() {
        let budget = RetryBudget::new();
        assert_eq!(stock(&budget, 1_000_000, START), 1_000);
        assert_eq!(stock(&budget, 1_000_000, START.after(Duration::from_secs(1 << 20))), 1_000);
        assert_eq!(stock(&budget, 1_000_000, Moment::NEVER), 1_000);
    }
}
