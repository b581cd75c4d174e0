//! The sums that a record of a load must hold.
//!
//! The load checks more sums before it writes a record. These are the sums whose terms are in the
//! record, so that a record that was edited, or merged wrongly, contradicts itself.

use super::{LoadRecord, Streams};

/// Seconds that no run takes: a run ends within a week, and so do the requests in flight.
const MAX_RUN_S: f64 = 15.0 * 24.0 * 3600.0;

impl LoadRecord {
    /// Returns the first sum that does not hold: the one that the load found, or one of the record.
    #[must_use]
    pub fn imbalance(&self) -> Option<String> {
        let (requests, connections) = (&self.requests, &self.connections);
        let failed_to_connect = connections.failed.values().copied();
        let closed_by_us = connections.closed_by_us.values().copied();
        let record_streams = connections.streams.as_ref();
        let of_class =
            |class: &'static str| self.errors.iter().filter(move |one| one.class == class);
        let failed = |class| sum(of_class(class).map(|error| error.count));
        let sums = [
            (
                "scheduled = completed + failed + unsent",
                requests.scheduled,
                sum([requests.completed, requests.failed, requests.unsent]),
            ),
            (
                "completed = sum of statuses",
                requests.completed,
                sum(self.statuses.values().copied()),
            ),
            (
                "http_errors = sum of 4xx and 5xx",
                self.http_errors.unwrap_or_else(|| self.http_errors()),
                self.http_errors(),
            ),
            ("completed = service times", requests.completed, self.latency_us.count),
            (
                "misses = sum of the misses of each expectation",
                self.misses.unwrap_or(0),
                sum(self.expectations.iter().map(|one| one.misses)),
            ),
            (
                "misses = of these, completed requests",
                self.misses.unwrap_or(0),
                self.misses.unwrap_or(0).min(requests.completed),
            ),
            (
                "completed = sum of the requests by name",
                all_or_none(&self.by_request, requests.completed),
                sum(self.by_request.iter().map(|row| row.completed)),
            ),
            (
                "failed = sum of the requests by name",
                all_or_none(&self.by_request, requests.failed),
                sum(self.by_request.iter().map(|row| row.failed)),
            ),
            (
                "completed = sum of the requests by address",
                all_or_none(&self.by_address, requests.completed),
                sum(self.by_address.iter().map(|row| row.completed)),
            ),
            (
                "opened = sum of the connections by address",
                all_or_none(&self.by_address, connections.opened),
                sum(self.by_address.iter().map(|row| row.opened)),
            ),
            (
                "failed = sum of errors",
                requests.failed,
                sum(self.errors.iter().map(|error| error.count)),
            ),
            (
                "connect attempts = opened + failed + timed out + abandoned",
                connections.attempts,
                sum(failed_to_connect.chain([
                    connections.opened,
                    connections.timed_out_connecting,
                    connections.abandoned_connecting,
                ])),
            ),
            (
                "opened = closed by us + peer FIN + peer RST + timed out + still open",
                connections.opened,
                sum(closed_by_us.chain([
                    connections.peer_fin,
                    connections.peer_rst,
                    connections.timed_out,
                    connections.still_open,
                ])),
            ),
            (
                "opened = connections with a lifetime + still open",
                connections.opened,
                sum([connections.lifetime_us.count, connections.still_open]),
            ),
            (
                "streams unprocessed = sent again + requests that failed so",
                streams(record_streams, |one| one.unprocessed),
                streams(record_streams, |one| one.sent_again).saturating_add(failed("unprocessed")),
            ),
            (
                "streams refused = requests that failed so",
                streams(record_streams, |one| one.refused),
                failed("stream_refused"),
            ),
            (
                "streams reset = requests that failed so",
                streams(record_streams, |one| one.reset),
                failed("stream_reset"),
            ),
            (
                "opened for streams = of these, connections opened",
                streams(record_streams, |one| one.opened_for_streams),
                streams(record_streams, |one| one.opened_for_streams).min(connections.opened),
            ),
            ("opened = connect times", connections.opened, self.connect_us.count),
        ];
        if !(0.0..MAX_RUN_S).contains(&self.elapsed_s) {
            return Some(format!("elapsed_s is {}, which no run took", self.elapsed_s));
        }
        let broken = sums.into_iter().find(|(_, left, right)| left != right);
        let broken =
            broken.map(|(sum, left, right)| format!("{sum} does not hold: {left} is not {right}"));
        connections.imbalance.clone().or(broken).or_else(|| self.wrong_rate())
    }
}

impl LoadRecord {
    /// Says that the rate is not that of the requests and the time.
    fn wrong_rate(&self) -> Option<String> {
        let seconds = self.elapsed_s;
        let rate = if seconds > 0.0 { self.requests.completed as f64 / seconds } else { 0.0 };
        // Rounded once, when it was divided.
        let is_wrong = (rate - self.requests_per_second).abs() > rate * 1e-6;
        is_wrong.then(|| {
            format!(
                "requests_per_second = completed / elapsed_s does not hold: {} is not {rate}",
                self.requests_per_second
            )
        })
    }
}

/// Returns a number of the streams; 0 with HTTP/1.1.
fn streams(streams: Option<&Streams>, number: fn(&Streams) -> u64) -> u64 {
    streams.map_or(0, number)
}

/// Returns the sum that rows must have: all, or nothing where there are no rows.
const fn all_or_none<T>(rows: &[T], all: u64) -> u64 {
    if rows.is_empty() { 0 } else { all }
}

/// Sums without overflow: the terms may come from any file.
fn sum(terms: impl IntoIterator<Item = u64>) -> u64 {
    terms.into_iter().fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::super::tests::a_run;
    use super::*;
    use crate::read::{AnyRecord, read};

    #[test]
    fn real_records_balance() {
        for bytes in [
            &include_bytes!("../../records/load.json")[..],
            include_bytes!("../../records/load_hops.json"),
            include_bytes!("../../records/load_open.json"),
            include_bytes!("../../records/load_unreachable.json"),
        ] {
            let AnyRecord::Load(record) = read(bytes).expect("a record").record else {
                panic!("it is a load");
            };
            assert_eq!(record.imbalance(), None, "{}", record.settings.url);
        }
    }

    #[test]
    fn every_changed_term_breaks_a_sum() {
        let changes: [fn(&mut LoadRecord); 12] = [
            |record| record.misses = Some(1),
            |record| record.requests.scheduled += 1,
            |record| record.requests.unsent += 1,
            |record| _ = record.statuses.insert(500, 1),
            |record| record.latency_us.count += 1,
            |record| record.requests.failed += 1,
            |record| record.connections.attempts += 1,
            |record| record.connections.peer_rst += 1,
            |record| record.connect_us.count += 1,
            |record| record.http_errors = Some(1),
            |record| record.elapsed_s = -1.0,
            |record| record.requests_per_second *= 1.01,
        ];
        for (index, change) in changes.into_iter().enumerate() {
            let mut record = a_run();
            change(&mut record);
            assert!(record.imbalance().is_some(), "change {index}");
        }
    }
}
