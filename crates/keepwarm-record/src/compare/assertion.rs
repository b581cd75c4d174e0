//! Conditions on a comparison, such as `p99.ratio<1.1`.

use std::fmt;

use super::{Comparison, METRICS};

/// A condition on the ratio of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct RatioAssertion {
    text: String,
    metric: &'static str,
    relation: &'static str,
    bound: f64,
}

/// A text that is no condition on a ratio.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RatioError(String);

impl fmt::Display for RatioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for RatioError {}

/// Relations, the longer ones first.
const RELATIONS: [&str; 4] = ["<=", ">=", "<", ">"];

impl RatioAssertion {
    /// Parses a condition.
    ///
    /// # Errors
    ///
    /// If the text is no condition. The message says what is missing.
    pub fn parse(text: &str) -> Result<Self, RatioError> {
        let names = || {
            let names: Vec<String> =
                METRICS.iter().map(|metric| format!("{}.ratio", metric.name)).collect();
            names.join(", ")
        };
        let relation = RELATIONS.into_iter().find(|relation| text.contains(relation));
        let Some((relation, (name, bound))) =
            relation.and_then(|relation| Some((relation, text.split_once(relation)?)))
        else {
            return Err(RatioError("a relation is missing, as in p99.ratio<1.1".to_owned()));
        };
        let name = name.trim();
        let metric = name.strip_suffix(".ratio");
        let metric = METRICS.iter().find(|one| Some(one.name) == metric);
        let metric = metric.ok_or_else(|| {
            RatioError(format!("{name:?} is not a name of a comparison; it has {}", names()))
        })?;
        let number = bound.trim().parse::<f64>().ok().filter(|bound| bound.is_finite());
        let bound = number.ok_or_else(|| {
            RatioError(format!("{:?} is not a number: write a ratio, like 1.1", bound.trim()))
        })?;
        Ok(Self { text: text.trim().to_owned(), metric: metric.name, relation, bound })
    }

    /// Returns why the comparison does not meet the condition; `None` if it does.
    #[must_use]
    pub fn failure(&self, comparison: &Comparison) -> Option<String> {
        let row = comparison.rows.iter().find(|row| row.metric.name == self.metric);
        let Some(ratio) = row.and_then(|row| row.ratio) else {
            return Some(format!(
                "{} cannot be judged, not available here: there is no ratio to nothing",
                self.text
            ));
        };
        let holds = match self.relation {
            "<=" => ratio <= self.bound,
            ">=" => ratio >= self.bound,
            "<" => ratio < self.bound,
            _ => ratio > self.bound,
        };
        (!holds).then(|| format!("{} does not hold: it is {ratio:.3}", self.text))
    }
}
