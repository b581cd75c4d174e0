//! Which addresses a name has lost.
//!
//! Owns the latest answers about one name, and decides from them alone. Pure: answers go in, and
//! addresses that are gone come out.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;

/// Answers that have to lack an address, one after the other, before it is gone. One answer may be
/// a part of the addresses, and a server that restarts may be missing from the next.
const MISSES: usize = 3;
/// Answers of which some two have to agree, or the name rotates.
const COMPARED: usize = 4;
/// Answers that are remembered: eight minutes of them at the usual interval.
const KEPT: usize = 16;
/// Answers that bring a missing address back, after which the name rotates. A deploy that is rolled
/// back, and made again, brings one back twice.
const RETURNS: usize = 3;

/// The latest answers about one name.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    answers: VecDeque<BTreeSet<IpAddr>>,
    /// Addresses that were gone at the latest answer.
    gone: BTreeSet<IpAddr>,
}

impl Freshness {
    /// Takes an answer, and the addresses that connections are open to. Returns those that are gone.
    pub(crate) fn handle_answer(
        &mut self,
        answer: BTreeSet<IpAddr>,
        connected: &BTreeSet<IpAddr>,
    ) -> &BTreeSet<IpAddr> {
        self.answers.push_back(answer);
        if self.answers.len() > KEPT {
            self.answers.pop_front();
        }
        let is_gone = |address: &&IpAddr| {
            let mut latest = self.answers.iter().rev().take(MISSES);
            latest.all(|answer| !answer.contains(*address))
        };
        let decides = self.answers.len() >= MISSES && !self.rotates();
        self.gone = match decides {
            true => connected.iter().filter(is_gone).copied().collect(),
            false => BTreeSet::new(),
        };
        &self.gone
    }

    /// Returns whether the answers are parts of a larger set of addresses: no two of the latest agree,
    /// or addresses that were missing come back again and again.
    pub(crate) fn rotates(&self) -> bool {
        let latest = || self.answers.iter().rev().take(COMPARED).enumerate();
        let agree = |(at, one): (usize, &BTreeSet<IpAddr>)| {
            latest().skip(at + 1).any(|(_, other)| other == one)
        };
        let enough = self.answers.len() >= MISSES;
        enough && (!latest().any(agree) || self.returns() >= RETURNS)
    }

    /// Returns the number of answers that bring an address back which the answer before them lacks,
    /// and an earlier one has.
    fn returns(&self) -> usize {
        let is_back = |at: &usize| {
            let before = self.answers.iter().take(at - 1);
            let appeared = self.answers[*at].difference(&self.answers[at - 1]);
            appeared.into_iter().any(|address| before.clone().any(|one| one.contains(address)))
        };
        (2..self.answers.len()).filter(is_back).count()
    }

    /// Returns the addresses that are gone.
    pub(crate) fn gone(&self) -> &BTreeSet<IpAddr> {
        &self.gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(hosts: &[u8]) -> BTreeSet<IpAddr> {
        hosts.iter().map(|host| IpAddr::from([10, 0, 0, *host])).collect()
    }

    /// Feeds answers, with connections to `connected`; returns what is gone after each.
    fn gone(connected: &[u8], answers: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut freshness = Freshness::default();
        let last = |address: &IpAddr| match address {
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(_) => 0,
        };
        let after = |answer: &&[u8]| {
            freshness.handle_answer(set(answer), &set(connected)).iter().map(last).collect()
        };
        answers.iter().map(after).collect()
    }

    #[test]
    fn address_is_gone_after_three_misses() {
        let none = Vec::new;
        assert_eq!(
            gone(&[1], &[&[1], &[2], &[2], &[2]]),
            [none(), none(), none(), vec![1]],
            "all connections move"
        );
        assert_eq!(
            gone(&[1, 2], &[&[1, 2], &[2], &[2], &[2], &[2]]),
            [none(), none(), none(), vec![1], vec![1]],
            "a server is taken out"
        );
        assert_eq!(gone(&[1], &[&[1], &[2], &[2], &[1, 2], &[2], &[2]]), vec![none(); 6]);
        assert_eq!(gone(&[2], &[&[1], &[2], &[2], &[2]]), vec![none(); 4]);
    }

    #[test]
    fn rotating_answers_prove_nothing() {
        let answers: &[&[u8]] = &[&[1, 2], &[3, 4], &[5, 6], &[7, 8], &[1, 3]];
        assert_eq!(gone(&[1, 2], answers), vec![Vec::<u8>::new(); 5]);
        let mut freshness = Freshness::default();
        for (hosts, rotates) in [([1], false), ([2], false), ([3], true), ([3], false)] {
            freshness.handle_answer(set(&hosts), &set(&[1]));
            assert_eq!(freshness.rotates(), rotates, "{hosts:?}");
        }
    }

    /// One address at a time, at random: two of four such answers often agree.
    #[test]
    fn returning_addresses_prove_nothing() {
        let answers: &[&[u8]] =
            &[&[1], &[2], &[1], &[1], &[2], &[1], &[2], &[2], &[2], &[2], &[1], &[2], &[2], &[2]];
        assert_eq!(gone(&[1, 2], answers), vec![Vec::<u8>::new(); answers.len()]);
        // Once none has come back for long enough, the name has moved.
        let mut answers = answers.to_vec();
        answers.extend([&[3_u8][..]; 12]);
        let gone = gone(&[1, 2], &answers);
        assert_eq!(gone.last(), Some(&vec![1, 2]));
    }

    /// A deploy that is rolled back, and made again.
    #[test]
    fn address_may_come_back_and_go_again() {
        let answers: &[&[u8]] = &[&[1], &[2], &[2], &[2], &[1], &[2], &[2], &[2]];
        let expected = [0, 0, 0, 1, 0, 0, 0, 1].map(|count| vec![1; count]);
        assert_eq!(gone(&[1], answers), expected);
    }
}
