//! Versions, and ranges of them.

use std::fmt;

/// Version, as far as it is known: `1`, `1.27` or `1.27.3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second, or 0.
    pub minor: u16,
    /// The third, or 0.
    pub patch: u16,
}

impl Version {
    /// Reads the numbers at the start of a text, such as `1.26rc1` or `v20.19.2`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Version> {
        let text = text.trim().trim_start_matches(['v', 'V']);
        let mut numbers = [0; 3];
        let mut rest = text;
        for (place, number) in numbers.iter_mut().enumerate() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 && place == 0 {
                return None;
            }
            *number = rest[..digits].parse().ok()?;
            match rest[digits..].strip_prefix('.') {
                Some(more) if more.starts_with(|c: char| c.is_ascii_digit()) => rest = more,
                _ => break,
            }
        }
        let [major, minor, patch] = numbers;
        Some(Version { major, minor, patch })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if self.patch > 0 { write!(f, ".{}", self.patch) } else { Ok(()) }
    }
}

/// Versions for which a fact holds; an empty end is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first version.
    pub since: &'static str,
    /// The first version for which it no longer holds.
    pub before: &'static str,
}

impl Range {
    /// Returns true if a version lies within. An unknown version may, so it does.
    #[must_use]
    pub fn admits(&self, version: Option<Version>) -> bool {
        let Some(version) = version else { return true };
        Version::parse(self.since).is_none_or(|since| version >= since)
            && Version::parse(self.before).is_none_or(|before| version < before)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.since, self.before) {
            ("", "") => f.write_str("any version"),
            (since, "") => write!(f, "{since} and newer"),
            ("", before) => write!(f, "before {before}"),
            (since, before) => write!(f, "{since} until before {before}"),
        }
    }
}

/// Every version.
pub(super) const ANY: Range = Range { since: "", before: "" };

pub(super) const fn since(version: &'static str) -> Range {
    Range { since: version, before: "" }
}

pub(super) const fn before(version: &'static str) -> Range {
    Range { since: "", before: version }
}

pub(super) const fn between(since: &'static str, before: &'static str) -> Range {
    Range { since, before }
}
