//! Details beside the ledger: rows by request and by address, single requests worth a look, and
//! responses that missed an expectation. Owns their memory and their merging; a thread that keeps no
//! row pays one comparison per request.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ErrorClass, Histogram, MAX_LATENCY_US};

/// The most single requests that are kept of each kind.
pub(crate) const NOTABLE: usize = 10;

/// The counters of the requests of one name, or of one address.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Row {
    /// Requests whose response was complete, with any status.
    pub completed: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Completed requests that missed an expectation.
    pub missed: u64,
    /// Connections established; counted by address only.
    pub opened: u64,
    /// Attempts to connect that failed or timed out; counted by address only.
    pub connects_failed: u64,
    /// Completed requests by status code.
    pub statuses: BTreeMap<u16, u64>,
    /// Service times of completed requests, in microseconds.
    pub latency: Histogram,
}

impl Row {
    fn new() -> Self {
        Self {
            completed: 0,
            failed: 0,
            missed: 0,
            opened: 0,
            connects_failed: 0,
            statuses: BTreeMap::new(),
            latency: Histogram::up_to(MAX_LATENCY_US),
        }
    }

    /// Returns the completed requests whose status is 4xx or 5xx, or beyond.
    pub fn http_errors(&self) -> u64 {
        self.statuses.range(400..).map(|(_, count)| count).sum()
    }

    /// Counts a complete response.
    pub(crate) fn complete(&mut self, status: u16, service_us: u64, missed: bool) {
        self.completed += 1;
        self.missed += u64::from(missed);
        *self.statuses.entry(status).or_default() += 1;
        self.latency.record(service_us);
    }

    fn merge(&mut self, other: &Self) {
        self.completed += other.completed;
        self.failed += other.failed;
        self.missed += other.missed;
        self.opened += other.opened;
        self.connects_failed += other.connects_failed;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.latency.merge(&other.latency);
    }
}

/// Rows by a number. A row is allocated with its first count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    rows: Vec<Option<Box<Row>>>,
}

impl Rows {
    /// Returns the row of `index`.
    pub(crate) fn of(&mut self, index: usize) -> &mut Row {
        if index >= self.rows.len() {
            self.rows.resize(index + 1, None);
        }
        self.rows[index].get_or_insert_with(|| Box::new(Row::new()))
    }

    /// Lists all rows up to `count`, those without a count included.
    pub(crate) fn into_rows(mut self, count: usize) -> Vec<Row> {
        self.rows.resize(count, None);
        let row = |row: Option<Box<Row>>| row.map_or_else(Row::new, |row| *row);
        self.rows.into_iter().map(row).collect()
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (index, row) in other.rows.iter().enumerate() {
            if let Some(row) = row {
                self.of(index).merge(row);
            }
        }
    }
}

/// A single request that is worth a look: one of the slowest, or of the first that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notable {
    /// Time at which its first byte was about to be written, since the start of the run; of a
    /// request that was never written, the time at which it failed.
    pub at: Duration,
    /// Index of its name in [`Summary::rows`](crate::Summary::rows), or of a plan of one request 0.
    pub row: usize,
    /// Number of its connection in the run, from 1; 0 if none was opened.
    pub connection: u64,
    /// Number of the request on its connection, from 1; 0 if no byte was written.
    pub nth: u64,
    /// Index of the server's address among [`Summary::by_address`](crate::Summary::by_address).
    pub address: usize,
    /// Service time; of a failed request, the time until it failed.
    pub service_us: u64,
    /// Response time of an open loop.
    pub response_us: Option<u64>,
    /// Status of the response.
    pub status: Option<u16>,
    /// Class of the failure, and the failure in words.
    pub failure: Option<(ErrorClass, String)>,
    /// The `traceparent` field that the request had.
    pub traceparent: Option<String>,
}

/// Requests worth a look, of one thread or of all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notables {
    /// The slowest completed requests, in no order.
    pub(crate) slowest: Vec<Notable>,
    /// A service time that is not longer is none of the slowest.
    floor_us: u64,
    /// The first failed requests.
    pub(crate) failures: Vec<Notable>,
}

impl Notables {
    /// Returns true if a service time is among the slowest so far.
    #[inline]
    pub(crate) fn is_slow(&self, service_us: u64) -> bool {
        service_us > self.floor_us
    }

    /// Keeps a request that is among the slowest so far.
    #[cold]
    pub(crate) fn keep_slow(&mut self, notable: Notable) {
        if self.slowest.len() == NOTABLE {
            let fastest = (0..NOTABLE).min_by_key(|at| self.slowest[*at].service_us);
            self.slowest.swap_remove(fastest.unwrap_or(0));
        }
        self.slowest.push(notable);
        if self.slowest.len() == NOTABLE {
            let least = self.slowest.iter().map(|one| one.service_us).min();
            self.floor_us = least.unwrap_or(0);
        }
    }

    /// Returns true if there is room for another failure.
    pub(crate) fn wants_failure(&self) -> bool {
        self.failures.len() < NOTABLE
    }

    /// Adds the requests of another thread, and keeps the slowest and the first failures.
    pub(crate) fn merge(&mut self, other: Self) {
        self.slowest.extend(other.slowest);
        self.slowest.sort_by_key(|one| std::cmp::Reverse(one.service_us));
        self.slowest.truncate(NOTABLE);
        self.failures.extend(other.failures);
        self.failures.sort_by_key(|one| one.at);
        self.failures.truncate(NOTABLE);
    }
}

/// The misses of each expectation of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Misses {
    /// Number of misses, the time of the first one, and the first one in words.
    of: Vec<(u64, Option<(Duration, String)>)>,
}

impl Misses {
    /// Counts a miss of expectation `index`.
    pub(crate) fn record(&mut self, index: usize, at: Duration, example: impl FnOnce() -> String) {
        if index >= self.of.len() {
            self.of.resize(index + 1, (0, None));
        }
        let (count, first) = &mut self.of[index];
        *count += 1;
        first.get_or_insert_with(|| (at, example()));
    }

    pub(crate) fn merge(&mut self, other: Self) {
        if self.of.len() < other.of.len() {
            self.of.resize(other.of.len(), (0, None));
        }
        for ((count, first), (more, theirs)) in self.of.iter_mut().zip(other.of) {
            *count += more;
            let at = |first: &Option<(Duration, String)>| first.as_ref().map(|(at, _)| *at);
            if theirs.is_some() && at(first).is_none_or(|ours| at(&theirs) < Some(ours)) {
                *first = theirs;
            }
        }
    }

    /// Returns the misses of expectation `index`, and the first one in words.
    pub(crate) fn get(&self, index: usize) -> (u64, Option<String>) {
        let (count, first) = self.of.get(index).cloned().unwrap_or((0, None));
        (count, first.map(|(_, example)| example))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notable(service_us: u64) -> Notable {
        Notable {
            at: Duration::from_micros(service_us),
            row: 0,
            connection: 1,
            nth: 1,
            address: 0,
            service_us,
            response_us: None,
            status: Some(200),
            failure: None,
            traceparent: None,
        }
    }

    #[test]
    fn slowest_ten_of_all_threads_stay() {
        let mut all = Notables::default();
        for thread in 0..3 {
            let mut one = Notables::default();
            for number in 0..100 {
                let service_us = number * 3 + thread;
                if one.is_slow(service_us) {
                    one.keep_slow(notable(service_us));
                }
            }
            all.merge(one);
        }
        let times: Vec<_> = all.slowest.iter().map(|one| one.service_us).collect();
        assert_eq!(times, (290..300).rev().collect::<Vec<_>>());
    }

    #[test]
    fn merged_misses_keep_the_first_example() {
        let second = Duration::from_secs(1);
        let (mut ours, mut theirs) = (Misses::default(), Misses::default());
        ours.record(1, second * 2, || "late".to_owned());
        theirs.record(1, second, || "early".to_owned());
        theirs.record(1, second * 3, || unreachable!("only the first is asked for"));
        ours.merge(theirs);
        assert_eq!(ours.get(1), (3, Some("early".to_owned())));
        assert_eq!((ours.get(0), ours.get(9)), ((0, None), (0, None)));
    }
}
