//! Parses an [`Assertion`], or fails with an error that points at the place.

use std::fmt;
use std::ops::Range;

use super::{Assertion, Relation, Unit, names};

/// Greatest length, which no assertion needs; a longer text is a mistake of a script.
const MAX_LENGTH: usize = 200;

/// A mistake in an assertion, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    text: String,
    /// Range of bytes in `text`; empty where something is missing.
    place: Range<usize>,
    message: String,
}

impl ParseError {
    fn new(text: &str, place: Range<usize>, message: impl Into<String>) -> Self {
        Self { text: text.to_owned(), place, message: message.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |range: Range<usize>| self.text.get(range).map_or(0, |s| s.chars().count());
        let before = " ".repeat(width(0..self.place.start));
        let marks = "^".repeat(width(self.place.clone()).max(1));
        let shown: String =
            self.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        write!(f, "{}\n    {shown}\n    {before}{marks}", self.message)
    }
}

impl std::error::Error for ParseError {}

/// Parses one assertion.
///
/// # Errors
///
/// If the text is not an assertion. The message has the reason, and marks under the place.
pub fn parse(text: &str) -> Result<Assertion, ParseError> {
    if text.len() > MAX_LENGTH {
        let message = format!("an assertion has at most {MAX_LENGTH} characters");
        return Err(ParseError::new("", 0..0, message));
    }
    let is_operator = |c: char| matches!(c, '<' | '>' | '=' | '!');
    let Some(start) = text.find(is_operator) else {
        let end = text.trim_end().len();
        let message = "a relation is missing, as in p99<20ms";
        return Err(ParseError::new(text, end..end, message));
    };
    let length = text[start..].find(|c| !is_operator(c)).unwrap_or(text.len() - start);
    let operator = start..start + length;
    let name_place = trimmed(text, 0..operator.start);
    let bound_place = trimmed(text, operator.end..text.len());

    let name = name(text, name_place)?;
    let relation = relation(text, operator)?;
    if let Some(second) = text[bound_place.clone()].find(is_operator) {
        let at = bound_place.start + second;
        let message = "there can be one relation only: give --assert twice";
        return Err(ParseError::new(text, at..bound_place.end, message));
    }
    let bound = bound(text, bound_place, name.as_str(), name.unit())?;
    Ok(Assertion { text: text.trim().to_owned(), name, relation, bound })
}

/// Returns `place` without the white space at its ends.
fn trimmed(text: &str, place: Range<usize>) -> Range<usize> {
    let inner = &text[place.clone()];
    let start = place.start + (inner.len() - inner.trim_start().len());
    start..start + inner.trim().len()
}

fn name(text: &str, place: Range<usize>) -> Result<names::Name, ParseError> {
    let typed = &text[place.clone()];
    if typed.is_empty() {
        return Err(ParseError::new(text, place, "a name is missing, as in p99<20ms"));
    }
    if typed.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(ParseError::new(text, place, "the name comes first, as in p99<20ms"));
    }
    names::find(typed).map_err(|nearest| {
        let offer = nearest.map(|name| format!(", but {name} is one")).unwrap_or_default();
        let message =
            format!("{typed:?} is not a name{offer}; `keepwarm explain assertions` has all");
        ParseError::new(text, place, message)
    })
}

fn relation(text: &str, place: Range<usize>) -> Result<Relation, ParseError> {
    let typed = &text[place.clone()];
    if let Some(relation) = Relation::ALL.into_iter().find(|one| one.as_str() == typed) {
        return Ok(relation);
    }
    let meant = match typed {
        "=" => "==",
        "=<" => "<=",
        "=>" => ">=",
        "<>" => "!=",
        _ => "one of <, <=, >, >=, == and !=",
    };
    Err(ParseError::new(text, place, format!("{typed:?} is not a relation: write {meant}")))
}

fn bound(text: &str, place: Range<usize>, name: &str, unit: Unit) -> Result<f64, ParseError> {
    let typed = &text[place.clone()];
    let fail = |message: String| ParseError::new(text, place.clone(), message);
    let (kind, example) = (unit.as_str(), unit.example());
    if typed.is_empty() {
        return Err(fail(format!("a bound is missing: {name} is a {kind}, such as {example}")));
    }
    let split = typed.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '_')));
    let (digits, suffix) = typed.split_at(split.unwrap_or(typed.len()));
    let scale = scale(unit, suffix.trim_start())
        .ok_or_else(|| fail(format!("{name} is a {kind}: write it like {example}")))?;
    let plain = digits.replace('_', "");
    let number: Option<f64> = if unit == Unit::Count {
        plain.parse::<u64>().ok().map(to_f64)
    } else {
        plain.parse().ok()
    };
    match number.map(|number| number * scale) {
        Some(bound) if bound.is_finite() => Ok(bound),
        _ if unit == Unit::Count => {
            Err(fail(format!("{name} is a count: write a whole number, like {example}")))
        }
        _ => Err(fail(format!("{digits:?} is not a number: {name} is a {kind}, like {example}"))),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a bound beyond 2^52 bounds nothing")]
const fn to_f64(count: u64) -> f64 {
    count as f64
}

/// Returns the factor for a number with this suffix; `None` if the suffix does not belong to the
/// unit.
fn scale(unit: Unit, suffix: &str) -> Option<f64> {
    Some(match (unit, suffix) {
        (Unit::Time, "us") => 1.0,
        (Unit::Time, "ms") => 1e3,
        (Unit::Time, "s") => 1e6,
        (Unit::Time, "m") => 60e6,
        (Unit::Time, "h") => 3_600e6,
        (Unit::Share, "%") => 0.01,
        (Unit::Rate, "" | "/s") | (Unit::Count | Unit::Number, "") => 1.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::assertion::names::every_name;

    #[track_caller]
    fn refused(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn errors_point_at_their_place() {
        assert_eq!(
            refused("p99 < 20"),
            "p99 is a duration: write it like 20ms\n    p99 < 20\n          ^^"
        );
        assert_eq!(
            refused("con.opened<5"),
            "\"con.opened\" is not a name, but conn.opened is one; `keepwarm explain assertions` has \
             all\n    con.opened<5\n    ^^^^^^^^^^"
        );
        assert_eq!(
            refused("p99=20ms"),
            "\"=\" is not a relation: write ==\n    p99=20ms\n       ^"
        );
        assert_eq!(
            refused("p99<"),
            "a bound is missing: p99 is a duration, such as 20ms\n    p99<\n        ^"
        );
    }

    #[test]
    fn each_mistake_has_its_message() {
        for (text, why) in [
            ("", "a relation is missing"),
            ("p99", "a relation is missing"),
            ("<20ms", "a name is missing"),
            ("20ms>p99", "the name comes first"),
            ("p50<p99<20ms", "one relation only"),
            ("p99=<20ms", "write <="),
            ("p99<<20ms", "one of <, <=, >, >="),
            ("p99<20%", "p99 is a duration"),
            ("conn.opened<1.5", "write a whole number"),
            ("conn.opened<-1", "conn.opened is a count"),
            ("conn.opened<99999999999999999999", "write a whole number"),
            ("errors.share<1", "errors.share is a percentage: write it like 1.5%"),
            ("p99<1.2.3ms", "\"1.2.3\" is not a number"),
            ("p99<.ms", "is not a number"),
            ("rps>=1000rps", "rps is a rate: write it like 1000/s"),
            ("status.700xx==0", "is not a name"),
        ] {
            assert!(refused(text).contains(why), "{text}: {}", refused(text));
        }
        assert!(refused(&"x".repeat(1000)).contains("at most 200 characters"));
    }

    fn unit_suffix(unit: Unit) -> &'static str {
        match unit {
            Unit::Time => "ms",
            Unit::Share => "%",
            Unit::Rate => "/s",
            Unit::Count | Unit::Number => "",
        }
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_marked(text in "\\PC{0,40}") {
            if let Err(error) = parse(&text) {
                prop_assert!(error.place.end <= text.len());
                prop_assert!(text.is_char_boundary(error.place.start));
                prop_assert!(error.to_string().contains('^'));
            }
        }

        #[test]
        fn near_assertions_parse_or_fail(
            text in "(p99|p99\\.9|conn\\.[a-z_.]{0,12}|status\\.[0-9x]{0,4})[ ]?[<>=!]{0,3}[ ]?[0-9._]{0,8}(us|ms|s|%|/s|)"
        ) {
            if let Ok(assertion) = parse(&text) {
                prop_assert!(text.starts_with(assertion.name().as_str()));
                prop_assert!(assertion.bound.is_finite() && assertion.bound >= 0.0);
                prop_assert_eq!(parse(&assertion.to_string()), Ok(assertion));
            }
        }

        #[test]
        fn every_name_takes_its_bounds(
            index in any::<prop::sample::Index>(),
            relation in prop::sample::select(Relation::ALL.to_vec()),
            number in 0_u32..1_000_000,
            space in "[ ]{0,2}",
        ) {
            let names = every_name();
            let name = index.get(&names);
            let suffix = unit_suffix(name.unit());
            let text = format!("{}{space}{}{space}{number}{suffix}", name.as_str(), relation.as_str());
            let assertion = parse(&text).expect(&text);
            prop_assert_eq!(assertion.name(), name);
            prop_assert_eq!(assertion.relation, relation);
            let scale = scale(name.unit(), suffix).unwrap();
            prop_assert_eq!(assertion.bound, f64::from(number) * scale);
        }
    }
}
