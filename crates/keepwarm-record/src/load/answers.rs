//! Answers of a load by status class, and how many of its requests are errors.
//!
//! Owns the one meaning of three words. `failed`: no complete response. `http_errors`: a complete
//! response with a 4xx or 5xx status. `errors`: both. Judges nothing: the verdict does.

use std::collections::BTreeMap;

use super::LoadRecord;
use crate::numbers::share_of;

/// Answers of one status class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// First digit of the status.
    pub class: u16,
    /// Complete responses.
    pub count: u64,
    /// Statuses and their responses, the most frequent first.
    pub statuses: Vec<(u16, u64)>,
}

impl LoadRecord {
    /// Counts complete responses with a 4xx or 5xx status, or one beyond.
    #[must_use]
    pub fn http_errors(&self) -> u64 {
        self.answered(400..1000)
    }

    /// Counts requests without a complete response, and those answered 4xx or 5xx.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.requests.failed.saturating_add(self.http_errors())
    }

    /// Counts complete responses with a 2xx or 3xx status.
    #[must_use]
    pub fn answered_well(&self) -> u64 {
        self.answered(200..400)
    }

    /// Counts the answers that speak for the target: 2xx or 3xx, or, if that is more and an expectation
    /// (`--expect`) names the status, those that met every expectation.
    #[must_use]
    pub fn wanted(&self) -> u64 {
        let names_status = |text: &str| text.trim_start().starts_with("status");
        if self.expectations.iter().any(|one| names_status(&one.expectation)) {
            let met = self.requests.completed.saturating_sub(self.misses.unwrap_or(0));
            return met.max(self.answered_well());
        }
        self.answered_well()
    }

    /// Counts complete responses with one of these statuses.
    #[must_use]
    pub fn answered(&self, statuses: std::ops::Range<u16>) -> u64 {
        let counts = self.statuses.iter().filter(|(status, _)| statuses.contains(status));
        counts.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Counts the requests that ended, with a complete response or without one.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.requests.completed.saturating_add(self.requests.failed)
    }

    /// Returns the errors as a share of the requests that ended; `None` if none did.
    #[must_use]
    pub fn error_share(&self) -> Option<f64> {
        (self.ended() > 0).then(|| self.errors() as f64 / self.ended() as f64)
    }

    /// Returns the answers by class, the most frequent class first.
    #[must_use]
    pub fn answers(&self) -> Vec<Answers> {
        let mut classes: BTreeMap<u16, Answers> = BTreeMap::new();
        for (status, count) in &self.statuses {
            let class = status / 100;
            let empty = || Answers { class, count: 0, statuses: Vec::new() };
            let answers = classes.entry(class).or_insert_with(empty);
            answers.count = answers.count.saturating_add(*count);
            answers.statuses.push((*status, *count));
        }
        let mut answers: Vec<Answers> = classes.into_values().collect();
        answers.sort_by_key(|one| std::cmp::Reverse(one.count));
        for one in &mut answers {
            one.statuses.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        }
        answers
    }
}

impl Answers {
    /// Names the status, such as `502`, or where the class has several, the class: `5xx`.
    #[must_use]
    pub fn name(&self) -> String {
        match self.statuses[..] {
            [(status, _)] => status.to_string(),
            _ => format!("{}xx", self.class),
        }
    }

    /// Says which share of all `ended` requests these answers are, such as `90 % answered 502`.
    #[must_use]
    pub fn describe(&self, ended: u64) -> String {
        if self.count == ended {
            return format!("all answered {}", self.name());
        }
        format!("{} answered {}", share_of(self.count, ended), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::a_run;
    use super::*;

    #[test]
    fn errors_are_failed_and_http_errors() {
        let mut record = a_run();
        assert_eq!((record.errors(), record.answered_well()), (0, 100));
        record.statuses = BTreeMap::from([(200, 60), (302, 10), (404, 5), (502, 20), (503, 5)]);
        record.requests.failed = 25;
        assert_eq!((record.http_errors(), record.errors(), record.answered_well()), (30, 55, 70));
        assert_eq!(record.error_share(), Some(55.0 / 125.0));
        let said: Vec<String> =
            record.answers().iter().map(|one| one.describe(record.ended())).collect();
        assert_eq!(
            said,
            ["48 % answered 200", "20 % answered 5xx", "8 % answered 302", "4 % answered 404"]
        );
    }

    #[test]
    fn one_status_is_all() {
        let mut record = a_run();
        record.statuses = BTreeMap::from([(502, 100)]);
        assert_eq!(record.answers()[0].describe(record.ended()), "all answered 502");
        record.requests.failed = 1;
        assert_eq!(record.answers()[0].describe(record.ended()), "99.0 % answered 502");
    }
}
