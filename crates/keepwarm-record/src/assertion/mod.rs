//! Assertions: conditions that a run has to meet, in a small typed language, such as `p99<20ms`.
//!
//! Owns the names that can be asserted on, the parser, the comparison and the words for a failure.
//! Measures nothing: the caller hands in a fact for each name. Chooses no exit code.
//!
//! ```text
//! assertion  = name relation bound
//! relation   = "<" | "<=" | ">" | ">=" | "==" | "!="
//! bound      = number unit     in the unit of the name: 20ms, 110, 1000/s, 1.5%, 2.5
//! ```
//! Spaces may stand between the three. There is no "and": several assertions are several arguments.

mod names;
mod parse;
mod verdict;

use std::fmt;

pub use names::{ERROR_CLASSES, Entry, Name, every_name, placeholders, table};
pub use parse::{ParseError, parse};
pub use verdict::{AssertionOutcome, AssertionRecord, failures, judge};

/// Unit of the values of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A duration, kept in microseconds.
    Time,
    /// A whole number of things.
    Count,
    /// Things a second.
    Rate,
    /// A part of a whole, kept as a fraction of 1.
    Share,
    /// A number that may have decimals.
    Number,
}

impl Unit {
    /// Every unit, in the order of the help page.
    pub const ALL: [Self; 5] = [Self::Time, Self::Count, Self::Rate, Self::Share, Self::Number];

    /// Returns the word for the unit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Time => "duration",
            Self::Count => "count",
            Self::Rate => "rate",
            Self::Share => "percentage",
            Self::Number => "number",
        }
    }

    /// Returns a bound of this unit, as it is typed.
    #[must_use]
    pub const fn example(self) -> &'static str {
        match self {
            Self::Time => "20ms",
            Self::Count => "110",
            Self::Rate => "1000/s",
            Self::Share => "1.5%",
            Self::Number => "2.5",
        }
    }

    /// Writes a value of this unit as people read it.
    #[must_use]
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Time if value < 1_000.0 => format!("{}us", trimmed(value)),
            Self::Time if value < 1_000_000.0 => format!("{}ms", trimmed(value / 1e3)),
            Self::Time => format!("{}s", trimmed(value / 1e6)),
            Self::Count => format!("{value:.0}"),
            Self::Rate => format!("{}/s", trimmed(value)),
            Self::Share => format!("{}%", trimmed(value * 100.0)),
            Self::Number => trimmed(value),
        }
    }
}

/// Up to three decimals, without zeros at the end.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Comparison of a value with a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Less,
    AtMost,
    Greater,
    AtLeast,
    Equal,
    NotEqual,
}

impl Relation {
    const ALL: [Self; 6] =
        [Self::Less, Self::AtMost, Self::Greater, Self::AtLeast, Self::Equal, Self::NotEqual];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::Greater => ">",
            Self::AtLeast => ">=",
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }

    /// Compares exactly: values are whole numbers or were measured, and bounds are as typed.
    #[expect(clippy::float_cmp, reason = "counts are whole, and rates are compared as typed")]
    fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Self::Less => value < bound,
            Self::AtMost => value <= bound,
            Self::Greater => value > bound,
            Self::AtLeast => value >= bound,
            Self::Equal => value == bound,
            Self::NotEqual => value != bound,
        }
    }
}

/// A parsed assertion.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// The assertion as it was typed.
    text: String,
    name: Name,
    relation: Relation,
    /// Microseconds for a duration, a fraction of 1 for a percentage, else the number as typed.
    bound: f64,
}

/// Value of a name in one run.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The measured value, in the unit of the name.
    Known(f64),
    /// The reason why the run has no value.
    Absent(String),
}

impl Fact {
    /// A count, as a known value.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    pub const fn count(count: u64) -> Self {
        Self::Known(count as f64)
    }
}

/// Outcome of an assertion.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The value meets the bound.
    Held(f64),
    /// The value does not meet the bound.
    Failed(f64),
    /// The assertion could not be judged, for this reason. Not a failure, and never a success.
    NotAvailable(String),
}

impl Assertion {
    /// Returns the name that is asserted on.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Judges the assertion by the fact of its name.
    #[must_use]
    pub fn judge(&self, fact: Fact) -> Outcome {
        match fact {
            Fact::Known(value) if self.relation.holds(value, self.bound) => Outcome::Held(value),
            Fact::Known(value) => Outcome::Failed(value),
            Fact::Absent(why) => Outcome::NotAvailable(why),
        }
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str, fact: Fact) -> Outcome {
        parse(text).expect(text).judge(fact)
    }

    #[test]
    fn relations_compare_as_they_read() {
        for (relation, below, at, above) in [
            ("<", true, false, false),
            ("<=", true, true, false),
            (">", false, false, true),
            (">=", false, true, true),
            ("==", false, true, false),
            ("!=", true, false, true),
        ] {
            for (value, holds) in [(9, below), (10, at), (11, above)] {
                let outcome = judged(&format!("conn.opened{relation}10"), Fact::count(value));
                let held = matches!(outcome, Outcome::Held(_));
                assert_eq!(held, holds, "{value} {relation} 10");
            }
        }
    }

    #[test]
    fn bounds_convert_to_one_unit() {
        for (text, just_below, just_above) in [
            ("p99<20ms", 19_999.0, 20_001.0),
            ("p99<1.5s", 1_499_999.0, 1_500_001.0),
            ("p99<500us", 499.0, 501.0),
            ("errors.share<1%", 0.0099, 0.0101),
            ("rps<1000/s", 999.0, 1001.0),
            ("rps<1000", 999.0, 1001.0),
            ("conn.requests.mean<2.5", 2.4, 2.6),
            ("conn.opened<28_232", 28_231.0, 28_233.0),
        ] {
            assert_eq!(judged(text, Fact::Known(just_below)), Outcome::Held(just_below), "{text}");
            assert_eq!(judged(text, Fact::Known(just_above)), Outcome::Failed(just_above));
        }
    }

    #[test]
    fn absent_facts_never_pass() {
        for relation in Relation::ALL {
            let text = format!("p99.9{}1ms", relation.as_str());
            let outcome = judged(&text, Fact::Absent("too few samples".to_owned()));
            assert_eq!(outcome, Outcome::NotAvailable("too few samples".to_owned()));
        }
    }

    #[test]
    fn assertions_display_as_typed() {
        assert_eq!(parse(" p99<1h ").expect("an assertion").to_string(), "p99<1h");
    }

    #[test]
    fn values_show_in_readable_units() {
        for (unit, value, shown) in [
            (Unit::Time, 0.0, "0us"),
            (Unit::Time, 999.0, "999us"),
            (Unit::Time, 1_250.0, "1.25ms"),
            (Unit::Time, 60e6, "60s"),
            (Unit::Count, 28_232.0, "28232"),
            (Unit::Rate, 1000.25, "1000.25/s"),
            (Unit::Share, 0.005, "0.5%"),
            (Unit::Number, 1.0, "1"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
    }
}
