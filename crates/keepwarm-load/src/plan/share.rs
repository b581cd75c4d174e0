//! A load that several runs carry out together: which part of it a plan is, and how requests and
//! connections are divided. Owns the arithmetic; knows no machine and no clock.

use super::PlanError;
use crate::limits::MAX_SHARES;
use crate::pacer;

/// Part `index` of `of` parts of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Position of the part, from 0.
    pub(crate) index: usize,
    /// Number of parts, at least 1.
    pub(crate) of: usize,
}

impl Share {
    pub(crate) const WHOLE: Self = Self { index: 0, of: 1 };

    /// Refuses a part that does not exist, and one that would have nothing to do.
    pub(super) fn check(self, connections: usize, requests: Option<u64>) -> Result<(), PlanError> {
        let refused = |reason: String, way_out: &'static str| {
            Err(PlanError::new("share", format!("{}/{}", self.index + 1, self.of), reason, way_out))
        };
        if self.of == 0 || self.of > MAX_SHARES || self.index >= self.of {
            let reason = format!("a load has 1 to {MAX_SHARES} parts, counted from 1");
            return refused(reason, "write the part and the number of parts, such as 1/4");
        }
        if connections < self.of {
            let reason = format!("{connections} connections cannot be divided into {}", self.of);
            return refused(reason, "ask for at least one connection for each part");
        }
        match requests {
            Some(all) if all < self.of as u64 => {
                let reason = format!("{all} requests cannot be divided into {}", self.of);
                refused(reason, "ask for at least one request for each part")
            }
            _ => Ok(()),
        }
    }

    /// Returns this part's requests of `all`: the first parts take the remainder.
    pub(super) fn of_requests(self, all: u64) -> u64 {
        let (of, index) = (self.of as u64, self.index as u64);
        all / of + u64::from(index < all % of)
    }

    /// Returns this part's connections of `all`.
    pub(super) fn of_connections(self, all: usize) -> usize {
        pacer::even(all, self.of)[self.index]
    }

    /// Returns the number of parts, to divide a rate by.
    pub(super) fn parts(self) -> f64 {
        f64::from(u32::try_from(self.of).unwrap_or(u32::MAX))
    }

    /// Returns the number in the whole load of this part's request `local`.
    #[inline]
    pub(crate) fn global(self, local: u64) -> u64 {
        local * self.of as u64 + self.index as u64
    }

    /// Returns the position of a thread of this part among the threads of all parts.
    pub(crate) fn of_threads(self, thread: usize, threads: usize) -> (usize, usize) {
        (thread * self.of + self.index, threads * self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        for of in [1, 2, 3, 7, 64] {
            for all in [64_u64, 65, 100, 1_000_003] {
                let parts = (0..of).map(|index| Share { index, of });
                let requests: Vec<u64> = parts.clone().map(|part| part.of_requests(all)).collect();
                assert_eq!(requests.iter().sum::<u64>(), all);
                assert!(requests[0] - requests[of - 1] <= 1, "{requests:?}");
                let connections = parts.map(|part| part.of_connections(all as usize));
                assert_eq!(connections.sum::<usize>(), all as usize);
            }
        }
    }

    #[test]
    fn each_number_belongs_to_one_part() {
        let of = 3;
        let numbers = (0..of).flat_map(|index| {
            let part = Share { index, of };
            (0..part.of_requests(10)).map(move |local| part.global(local))
        });
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn part_without_work_is_refused() {
        let check = |index, of, connections, requests| {
            Share { index, of }.check(connections, requests).map_err(|error| error.to_string())
        };
        assert!(check(0, 1, 1, Some(1)).is_ok());
        assert!(check(3, 4, 4, Some(4)).is_ok());
        assert!(check(4, 4, 8, None).unwrap_err().contains("counted from 1"));
        assert!(check(0, 0, 8, None).is_err());
        assert!(check(0, MAX_SHARES + 1, 1_000_000, None).is_err());
        assert!(check(0, 4, 3, None).unwrap_err().contains("3 connections"));
        assert!(check(0, 4, 4, Some(3)).unwrap_err().contains("3 requests"));
    }
}
