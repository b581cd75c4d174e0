//! Service times apart by the first digit of the status: an error is often answered faster, or more
//! slowly, than a good request. Owns the histograms; knows no meaning of a status.

use std::collections::BTreeMap;

use super::{Histogram, MAX_LATENCY_US};

/// Service times in microseconds. The histogram of 2xx exists from the start; that of another digit
/// is allocated with its first response.
#[derive(Debug)]
pub(crate) struct Latencies {
    by_class: [Option<Box<Histogram>>; 10],
}

impl Latencies {
    pub(crate) fn new() -> Self {
        let mut by_class = [const { None }; 10];
        by_class[2] = Some(empty());
        Self { by_class }
    }

    /// Counts the service time of one complete response.
    #[inline]
    pub(crate) fn record(&mut self, status: u16, service_us: u64) {
        // A status has three digits.
        let class = &mut self.by_class[usize::from(status / 100 % 10)];
        class.get_or_insert_with(empty).record(service_us);
    }

    /// Returns the greatest service time of all.
    pub(crate) fn max(&self) -> Option<u64> {
        self.by_class.iter().flatten().filter_map(|times| times.max()).max()
    }

    /// Returns the histograms that have samples.
    pub(crate) fn into_map(self) -> BTreeMap<u8, Histogram> {
        let classes = (0_u8..).zip(self.by_class);
        let filled = classes.filter_map(|(class, times)| Some((class, *times?)));
        filled.filter(|(_, times)| times.count() > 0).collect()
    }
}

fn empty() -> Box<Histogram> {
    Box::new(Histogram::up_to(MAX_LATENCY_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_kept_apart() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.max(), None);
        for (status, service_us) in [(200, 10), (204, 20), (503, 1), (302, 7), (999, 3)] {
            latencies.record(status, service_us);
        }
        assert_eq!(latencies.max(), Some(20));
        let classes = latencies.into_map();
        let counts: Vec<_> = classes.iter().map(|(class, times)| (*class, times.count())).collect();
        assert_eq!(counts, [(2, 2), (3, 1), (5, 1), (9, 1)]);
        assert_eq!(classes[&2].max(), Some(20));
    }
}
