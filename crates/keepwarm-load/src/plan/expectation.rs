//! Expectations of a response: its status, its length, its content. Owns their syntax and their
//! judgement; the engine hands in the response.
//!
//! ```text
//! expectation = "status" ( "=" | "!=" ) ( CODE | D "xx" )
//!             | "len" ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) BYTES
//!             | "body" ( "~" | "!~" ) TEXT       contains, or does not contain
//! ```
//! TEXT may stand in double quotes, in which `\"` is a quote and `\\` a backslash.

use std::fmt;
use std::str::FromStr;

/// The longest text of a `body` expectation, in bytes.
const MAX_TEXT: usize = 1024;

/// A condition that every response has to meet. A response that does not is a miss: it stays a
/// completed request.
///
/// ```
/// let expectation: keepwarm_load::Expectation = "status=2xx".parse()?;
/// assert_eq!(expectation.to_string(), "status=2xx");
/// assert!("status=2".parse::<keepwarm_load::Expectation>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    typed: String,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// The status lies in this range of codes, or outside of it.
    Status { from: u16, to: u16, inside: bool },
    /// The content has a length in this relation to a number of bytes.
    Length(Relation, u64),
    /// The content contains the text, or does not.
    Body { text: Box<[u8]>, contains: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Relation {
    /// Longer signs first, so that `<=` is not read as `<`.
    const ALL: [(&'static str, Self); 7] = [
        ("!=", Self::NotEqual),
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("==", Self::Equal),
        ("=", Self::Equal),
        ("<", Self::Less),
        (">", Self::Greater),
    ];

    fn split(text: &str) -> Option<(Self, &str)> {
        Self::ALL.iter().find_map(|(sign, relation)| Some((*relation, text.strip_prefix(sign)?)))
    }

    fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Greater => left > right,
            Self::AtLeast => left >= right,
        }
    }
}

impl Expectation {
    /// Returns the text that the content is searched for, if it is searched.
    pub(crate) fn text(&self) -> Option<&[u8]> {
        match &self.condition {
            Condition::Body { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Returns true if a response meets the expectation. `found` says that its content has the text.
    pub(crate) fn is_met(&self, status: u16, body_bytes: u64, found: bool) -> bool {
        match &self.condition {
            Condition::Status { from, to, inside } => (*from..=*to).contains(&status) == *inside,
            Condition::Length(relation, length) => relation.holds(body_bytes, *length),
            Condition::Body { contains, .. } => found == *contains,
        }
    }
}

impl FromStr for Expectation {
    type Err = String;

    fn from_str(typed: &str) -> Result<Self, String> {
        let text = typed.trim();
        let wrong = || {
            format!(
                "{typed:?} is no expectation: write status=2xx, status=204, len=8, len<1000, \
                 body~\"text\" or body!~\"text\""
            )
        };
        let condition = if let Some(rest) = text.strip_prefix("status") {
            status(rest.trim_start()).ok_or_else(wrong)?
        } else if let Some(rest) = text.strip_prefix("len") {
            let (relation, length) = Relation::split(rest.trim_start()).ok_or_else(wrong)?;
            let length = length.trim();
            let digits = !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit());
            let length = length.parse().ok().filter(|_| digits).ok_or_else(wrong)?;
            Condition::Length(relation, length)
        } else if let Some(rest) = text.strip_prefix("body") {
            let rest = rest.trim_start();
            let (rest, contains) = match rest.strip_prefix("!~") {
                Some(rest) => (rest, false),
                None => (rest.strip_prefix('~').ok_or_else(wrong)?, true),
            };
            let text = unquoted(rest.trim_start()).ok_or_else(wrong)?;
            if text.is_empty() || text.len() > MAX_TEXT {
                return Err(format!("{typed:?}: the text has to have 1 to {MAX_TEXT} bytes"));
            }
            Condition::Body { text: text.into_bytes().into(), contains }
        } else {
            return Err(wrong());
        };
        Ok(Self { typed: text.to_owned(), condition })
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.typed)
    }
}

fn status(text: &str) -> Option<Condition> {
    let (relation, text) = Relation::split(text)?;
    let inside = match relation {
        Relation::Equal => true,
        Relation::NotEqual => false,
        _ => return None,
    };
    let text = text.trim();
    let (from, to) = match text.strip_suffix("xx") {
        Some(digit) if digit.len() == 1 => {
            let from = digit.parse::<u16>().ok()? * 100;
            (from, from + 99)
        }
        Some(_) => return None,
        None if text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit()) => {
            let code = text.parse().ok()?;
            (code, code)
        }
        None => return None,
    };
    (from >= 100).then_some(Condition::Status { from, to, inside })
}

/// Removes double quotes around a text, and the backslashes that they need.
fn unquoted(text: &str) -> Option<String> {
    let Some(inside) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    let mut plain = String::with_capacity(inside.len());
    let mut letters = inside.chars();
    loop {
        match letters.next()? {
            '"' => return letters.as_str().trim().is_empty().then_some(plain),
            '\\' => match letters.next()? {
                'n' => plain.push('\n'),
                'r' => plain.push('\r'),
                't' => plain.push('\t'),
                letter @ ('"' | '\\') => plain.push(letter),
                _ => return None,
            },
            letter => plain.push(letter),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn conditions_hold_as_written() {
        let table = [
            ("status=2xx", (204, 0, false), true),
            ("status=2xx", (302, 0, false), false),
            ("status!=5xx", (302, 0, false), true),
            ("status = 200", (200, 0, false), true),
            ("len=8", (200, 8, false), true),
            ("len==8", (200, 9, false), false),
            ("len>=8", (200, 8, false), true),
            ("len<8", (200, 8, false), false),
            ("body~\"ok\"", (200, 8, true), true),
            ("body~ok", (200, 8, false), false),
            ("body!~ok", (200, 8, false), true),
        ];
        for (typed, (status, length, found), met) in table {
            let expectation: Expectation = typed.parse().expect(typed);
            assert_eq!(expectation.is_met(status, length, found), met, "{typed}");
        }
    }

    #[test]
    fn quotes_are_removed_and_escapes_read() {
        for (typed, text) in [
            ("body~\"ok\"", "ok"),
            ("body~ok", "ok"),
            ("body~\"a\\\"b\\\\c\\n\"", "a\"b\\c\n"),
            ("body~{\"id\":1}", "{\"id\":1}"),
        ] {
            let expectation: Expectation = typed.parse().expect(typed);
            assert_eq!(expectation.text(), Some(text.as_bytes()), "{typed}");
        }
    }

    #[test]
    fn wrong_expectations_name_the_forms() {
        for typed in [
            "",
            "status",
            "status=",
            "status=2",
            "status=2x",
            "status=20x",
            "status=0xx",
            "status<200",
            "len=",
            "len=8b",
            "len~8",
            "body",
            "body=ok",
            "body~",
            "body~\"\"",
            "body~\"a",
            "body~\"a\" b",
            "body~\"\\q\"",
            "size=8",
        ] {
            assert!(typed.parse::<Expectation>().is_err(), "{typed}");
        }
        assert!("size=8".parse::<Expectation>().unwrap_err().contains("status=2xx"));
    }

    proptest! {
        #[test]
        fn no_text_panics(typed in "(status|len|body)?[!=<>~]{0,2}\\PC{0,12}") {
            if let Ok(expectation) = typed.parse::<Expectation>() {
                expectation.is_met(200, 8, true);
            }
        }
    }
}
