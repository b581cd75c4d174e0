//! Retry budget of an origin: how many requests are sent a second time before used connections are
//! distrusted.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use keepwarm_pool::{Limit, Moment};

/// Limit on the retries in stock, in stocks of the start.
const MAX_STOCKS: u64 = 10;
/// Requests that earn one retry together.
const REQUESTS_PER_RETRY: u64 = 2;
/// Time that earns one retry, for clients with few requests.
const TIME_PER_RETRY: Duration = Duration::from_secs(1);

/// Number of requests to one origin that may be sent a second time.
///
/// Without a budget a server that breaks every used connection would get twice the requests. Once
/// it is spent, requests take only connections that were never used, until as many retries are in
/// stock again as at the start: none fails for it. Requests that were under way on used connections
/// at that moment may still be sent again, beyond the budget: there are no more of them than
/// connections.
///
/// The budget is a hundred retries at the start, if no other number is set; one more for each two
/// requests and for each second; never more than ten times that number in stock.
///
/// The budget must not be exhausted by a server that only closes idle connections. All idle
/// connections can go stale in the same instant, a burst of requests meets them all at once, and
/// servers exist that close every few requests: with one retry for ten requests GETs failed there
/// (`docs/idle-closes.md`). The cost of retries is bounded besides: each needs a connection that
/// has served or stood ready, and uses it up.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// Retries in stock at the start; `None` without a limit.
    first: Option<u64>,
    stock: Mutex<Stock>,
}

#[derive(Debug)]
struct Stock {
    /// Parts of a retry, `REQUESTS_PER_RETRY` of which make one.
    parts: u64,
    requests: u64,
    since: Option<Moment>,
}

impl RetryBudget {
    pub(crate) fn new(first: Limit) -> Self {
        let first = first.get().map(u64::from);
        let parts = first.unwrap_or(0) * REQUESTS_PER_RETRY;
        Self { first, stock: Mutex::new(Stock { parts, requests: 0, since: None }) }
    }

    /// Takes one retry; false if the budget is spent. `requests` is the count of all requests so
    /// far; the retries that they earned are added here, so that a request without failure costs
    /// nothing.
    pub(crate) fn take(&self, requests: u64, now: Moment) -> bool {
        let Some(first) = self.first else { return true };
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        stock.earn(requests, now, first);
        // The second attempt is a checkout too, and must not earn a retry by it.
        stock.requests += 1;
        let rest = stock.parts.checked_sub(REQUESTS_PER_RETRY);
        stock.parts = rest.unwrap_or(stock.parts);
        rest.is_some()
    }

    /// Returns true if as many retries are in stock as at the start, and one at least.
    pub(crate) fn has_recovered(&self, requests: u64, now: Moment) -> bool {
        let Some(first) = self.first else { return true };
        let mut stock = self.stock.lock().unwrap_or_else(PoisonError::into_inner);
        stock.earn(requests, now, first);
        stock.parts >= first.max(1) * REQUESTS_PER_RETRY
    }
}

impl Stock {
    /// Adds the retries earned since the last call.
    fn earn(&mut self, requests: u64, now: Moment, first: u64) {
        let since = self.since.unwrap_or(now);
        let passed = now.since(since).as_nanos();
        let seconds = u64::try_from(passed / TIME_PER_RETRY.as_nanos()).unwrap_or(u64::MAX);
        // Whole seconds are added, the rest goes on counting.
        let rest = u64::try_from(passed % TIME_PER_RETRY.as_nanos()).unwrap_or(0);
        self.since = Some(Moment::from_nanos(now.max(since).as_nanos() - rest));
        let earned = requests
            .saturating_sub(self.requests)
            .saturating_add(seconds.saturating_mul(REQUESTS_PER_RETRY));
        self.requests = self.requests.max(requests);
        let most = (first * MAX_STOCKS).max(1) * REQUESTS_PER_RETRY;
        self.parts = self.parts.saturating_add(earned).min(most);
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
    fn requests_and_seconds_earn_retries() {
        let budget = RetryBudget::new(Limit::at_most(100));
        assert_eq!(stock(&budget, 0, START), 100, "at first");
        assert_eq!(stock(&budget, 101, START), 0);
        assert_eq!(stock(&budget, 108, START), 3, "one for two requests");
        let later = START.after(Duration::from_millis(2_600));
        assert_eq!(stock(&budget, 109, later), 2, "one a second");
        let later = START.after(Duration::from_millis(3_000));
        assert_eq!(stock(&budget, 111, later), 1, "the rest of a second is not lost");
    }

    #[test]
    fn a_retry_earns_no_retry() {
        let budget = RetryBudget::new(Limit::at_most(100));
        assert_eq!(stock(&budget, 0, START), 100);
        assert_eq!(stock(&budget, 100, START), 0, "these are the hundred second attempts");
        assert_eq!(stock(&budget, 122, START), 10);
    }

    #[test]
    fn spent_budget_recovers_to_the_first_stock() {
        let budget = RetryBudget::new(Limit::at_most(100));
        assert!(budget.has_recovered(0, START));
        assert_eq!(stock(&budget, 0, START), 100);
        assert!(!budget.has_recovered(101, START));
        assert!(!budget.has_recovered(101 + 199, START));
        assert!(budget.has_recovered(101 + 200, START));
        assert_eq!(stock(&budget, 101 + 200, START), 100);
        let later = START.after(Duration::from_secs(100));
        assert!(budget.has_recovered(101 + 200, later), "by time alone");
    }

    #[test]
    fn stock_is_limited_to_a_thousand() {
        let budget = RetryBudget::new(Limit::at_most(100));
        assert_eq!(stock(&budget, 1_000_000, START), 1_000);
        assert_eq!(stock(&budget, 1_000_000, START.after(Duration::from_secs(1 << 20))), 1_000);
        assert_eq!(stock(&budget, 1_000_000, Moment::NEVER), 1_000);
    }

    #[test]
    fn other_stocks_are_kept_too() {
        let none = RetryBudget::new(Limit::NONE);
        assert_eq!(stock(&none, 0, START), 2_000, "no limit");
        let zero = RetryBudget::new(Limit::at_most(0));
        assert!(!zero.take(0, START) && !zero.has_recovered(1, START));
        assert!(zero.has_recovered(3, START), "after two requests");
        let small = RetryBudget::new(Limit::at_most(3));
        assert_eq!(stock(&small, 0, START), 3);
        assert_eq!(stock(&small, 1_000, START), 30);
    }
}
