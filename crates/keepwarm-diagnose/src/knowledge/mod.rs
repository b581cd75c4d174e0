//! What is known of programs that speak HTTP: their defaults, and what to set.
//!
//! Owns the look-up. The facts are in `table`, one line each, with a source; that is the file to
//! extend.

mod table;

use std::fmt;

pub use table::{ADVICE, DEFAULTS, TOPICS};

/// A version, as far as it is known: `1`, `1.27` or `1.27.3`.
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

/// What a program runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs)] // Their names say it.
pub enum Kind {
    Go,
    Node,
    Python,
    Java,
    Nginx,
    Dotnet,
    Php,
    Rust,
    Keepwarm,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 9] = [
        Kind::Go,
        Kind::Node,
        Kind::Python,
        Kind::Java,
        Kind::Nginx,
        Kind::Dotnet,
        Kind::Php,
        Kind::Rust,
        Kind::Keepwarm,
    ];

    /// Its name, which is also its topic in `keepwarm explain`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Go => "go",
            Kind::Node => "node",
            Kind::Python => "python",
            Kind::Java => "java",
            Kind::Nginx => "nginx",
            Kind::Dotnet => "dotnet",
            Kind::Php => "php",
            Kind::Rust => "rust",
            Kind::Keepwarm => "keepwarm",
        }
    }
}

/// A recognised program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// What it runs on.
    pub kind: Kind,
    /// In which version; `None` if it cannot be read.
    pub version: Option<Version>,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        self.version.map_or(Ok(()), |version| write!(f, " {version}"))
    }
}

/// From which version to before which a fact holds; an empty end is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first version.
    pub since: &'static str,
    /// The first version for which it no longer holds.
    pub before: &'static str,
}

impl Range {
    /// Whether a version lies within; an unknown one may.
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

/// A default of a program.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// What runs it.
    pub kind: Kind,
    /// The library or program that has it.
    pub program: &'static str,
    /// The versions of `kind`, or of the program if it comes apart, that have it.
    pub versions: Range,
    /// Its name.
    pub setting: &'static str,
    /// What it is if nobody sets it.
    pub default: &'static str,
    /// For the idle timeout of a server: the milliseconds by which it can be recognised.
    pub server_idle_ms: Option<u32>,
    /// For an idle set of a client: the number by which it can be recognised.
    pub idle_set: Option<u32>,
    /// Where it stands.
    pub source: &'static str,
}

/// What to set, for one finding in one runtime.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// The finding's code.
    pub code: &'static str,
    /// What runs it.
    pub kind: Kind,
    /// The versions it is for.
    pub versions: Range,
    /// What to do.
    pub text: &'static str,
    /// Where it stands.
    pub source: &'static str,
}

/// A page of `keepwarm explain`.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// What to type.
    pub name: &'static str,
    /// Its line in the list of topics.
    pub title: &'static str,
    /// The page, paragraphs parted by empty lines.
    pub text: &'static str,
}

/// The advice for a finding: for the runtime that was recognised, or for the two likeliest.
#[must_use]
pub fn advice(code: &str, runtime: Option<Runtime>) -> Option<String> {
    let fits = |advice: &&Advice| advice.code == code;
    if let Some(runtime) = runtime {
        let own = ADVICE
            .iter()
            .filter(fits)
            .find(|advice| advice.kind == runtime.kind && advice.versions.admits(runtime.version));
        if let Some(own) = own {
            return Some(format!("{runtime}: {}", own.text));
        }
    }
    // The table is in the order of likelihood.
    let mut likeliest: Vec<&Advice> = Vec::new();
    for advice in ADVICE.iter().filter(fits) {
        if likeliest.len() < 2 && likeliest.iter().all(|known| known.kind != advice.kind) {
            likeliest.push(advice);
        }
    }
    let words = likeliest.iter().map(|advice| format!("{}: {}", advice.kind.as_str(), advice.text));
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// The servers whose idle timeout is about this long by default.
#[must_use]
pub fn servers_with_idle_timeout(ms: u32) -> Vec<&'static str> {
    let near = |known: u32| {
        // A timer fires late, never early.
        let (known, ms) = (f64::from(known), f64::from(ms));
        ms >= known * 0.99 && ms <= known * 1.04 + 150.0
    };
    let fits = DEFAULTS.iter().filter(|one| one.server_idle_ms.is_some_and(near));
    let mut names: Vec<&'static str> = fits.map(|one| one.program).collect();
    names.dedup();
    names
}

/// The clients that keep this many connections idle by default.
#[must_use]
pub fn clients_with_idle_set(size: u64) -> Vec<&'static str> {
    let fits = DEFAULTS.iter().filter(|one| one.idle_set.is_some_and(|set| u64::from(set) == size));
    fits.map(|one| one.program).collect()
}

/// The page of a topic: a finding, a runtime, a word.
#[must_use]
pub fn explain(topic: &str) -> Option<String> {
    let wanted = topic.trim().to_lowercase();
    let page = TOPICS.iter().find(|page| page.name.to_lowercase() == wanted);
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == wanted);
    let mut text = match (page, kind) {
        (None, None) => return None,
        (Some(page), _) => format!("{}: {}\n\n{}\n", page.name, page.title, page.text),
        (None, Some(kind)) => format!("{}: defaults, and what to set\n", kind.as_str()),
    };
    let defaults: Vec<&Fact> = DEFAULTS.iter().filter(|one| Some(one.kind) == kind).collect();
    if !defaults.is_empty() {
        text.push_str("\nDefaults\n");
    }
    for one in defaults {
        text.push_str(&format!(
            "  {}, {} ({}): {}\n      {}\n",
            one.program, one.setting, one.versions, one.default, one.source
        ));
    }
    let fits = |one: &&Advice| Some(one.kind) == kind || one.code.to_lowercase() == wanted;
    let advice: Vec<&Advice> = ADVICE.iter().filter(fits).collect();
    if !advice.is_empty() {
        text.push_str("\nWhat to set\n");
    }
    for one in advice {
        text.push_str(&format!(
            "  {} {} ({}): {}\n      {}\n",
            one.code,
            one.kind.as_str(),
            one.versions,
            one.text,
            one.source
        ));
    }
    Some(text)
}

/// Every topic that [`explain`] knows, with its title.
#[must_use]
pub fn topics() -> Vec<(&'static str, &'static str)> {
    let pages = TOPICS.iter().map(|page| (page.name, page.title));
    let kinds =
        Kind::ALL.into_iter().filter(|kind| !TOPICS.iter().any(|t| t.name == kind.as_str()));
    pages.chain(kinds.map(|kind| (kind.as_str(), "its defaults, and what to set"))).collect()
}
