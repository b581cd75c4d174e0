//! Judged assertions, and the words for those that fail.
//!
//! The record of a load and the record of a watch keep these types; both commands fail with the
//! same words.

use serde::{Deserialize, Serialize};

use super::{Assertion, Fact, Outcome};

/// An assertion and its outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssertionRecord {
    /// The assertion as it was typed.
    pub assertion: String,
    /// Outcome.
    pub outcome: AssertionOutcome,
    /// Measured value as people read it; `None` where it is not available.
    pub value: Option<String>,
    /// Reason why the value is not available.
    pub why: Option<String>,
}

/// Outcome of an assertion, without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AssertionOutcome {
    /// The value meets the bound.
    Held,
    /// The value does not meet the bound.
    Failed,
    /// The assertion could not be judged.
    NotAvailable,
}

impl AssertionRecord {
    /// Judges one assertion by the fact of its name.
    #[must_use]
    pub fn of(assertion: &Assertion, fact: Fact) -> Self {
        let show = |value: f64| Some(assertion.name().unit().show(value));
        let (outcome, value, why) = match assertion.judge(fact) {
            Outcome::Held(value) => (AssertionOutcome::Held, show(value), None),
            Outcome::Failed(value) => (AssertionOutcome::Failed, show(value), None),
            Outcome::NotAvailable(why) => (AssertionOutcome::NotAvailable, None, Some(why)),
        };
        Self { assertion: assertion.to_string(), outcome, value, why }
    }

    /// Writes why the assertion does not pass; `None` if it holds.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match self.outcome {
            AssertionOutcome::Held => None,
            AssertionOutcome::Failed => {
                let value = self.value.as_deref().unwrap_or_default();
                Some(format!("{} does not hold: it is {value}", self.assertion))
            }
            AssertionOutcome::NotAvailable => {
                let why = self.why.as_deref().unwrap_or_default();
                Some(format!("{} cannot be judged, not available here: {why}", self.assertion))
            }
        }
    }
}

/// Judges assertions in their order; `fact` returns the value of a name.
pub fn judge(assertions: &[Assertion], fact: impl Fn(&str) -> Fact) -> Vec<AssertionRecord> {
    let judge = |one: &Assertion| AssertionRecord::of(one, fact(one.name().as_str()));
    assertions.iter().map(judge).collect()
}

/// Writes why assertions do not pass, in one line; `None` if all hold.
#[must_use]
pub fn failures(assertions: &[AssertionRecord]) -> Option<String> {
    let failures: Vec<String> = assertions.iter().filter_map(AssertionRecord::failure).collect();
    (!failures.is_empty()).then(|| failures.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assertion::parse;

    #[test]
    fn failures_name_value_or_reason() {
        let assertions =
            ["p99<20ms", "conn.opened<=4", "rps>=1"].map(|text| parse(text).expect(text));
        let judged = judge(&assertions, |name| match name {
            "p99" => Fact::Absent("no request completed".to_owned()),
            "rps" => Fact::Known(1.0),
            _ => Fact::count(5),
        });
        let expected = "p99<20ms cannot be judged, not available here: no request completed; \
                        conn.opened<=4 does not hold: it is 5";
        assert_eq!(failures(&judged).as_deref(), Some(expected));
        assert_eq!(failures(&judged[2..]), None);
    }
}
