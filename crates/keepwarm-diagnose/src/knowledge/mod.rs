//! What is known of programs that speak HTTP: their defaults, and what to set.
//!
//! Owns the look-up. The facts are in `defaults`, what to set in `advice`, pages in `topics`: the files
//! to extend. Each entry has its versions and its source; [`faults`] says what is wrong with one.

mod advice;
mod check;
mod defaults;
mod explain;
mod range;
mod source;
mod topics;

use std::fmt;

pub use self::advice::ADVICE;
pub use self::check::faults;
pub use self::defaults::DEFAULTS;
pub use self::explain::{explain, topics};
pub use self::range::{Range, Version};
pub use self::topics::TOPICS;

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
    Ruby,
    Rust,
    Keepwarm,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 10] = [
        Kind::Go,
        Kind::Node,
        Kind::Python,
        Kind::Java,
        Kind::Nginx,
        Kind::Dotnet,
        Kind::Php,
        Kind::Ruby,
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
            Kind::Ruby => "ruby",
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

/// A default of a program.
#[derive(Clone, Copy, Debug)]
pub struct Fact {
    /// What runs it.
    pub kind: Kind,
    /// The library or program that has it.
    pub program: &'static str,
    /// The versions of `kind` that have it. What comes apart from it, in versions of its own, says
    /// them in its name.
    pub versions: Range,
    /// Its name, as one writes it.
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
    /// The settings that the text names, each among the defaults.
    pub settings: &'static [&'static str],
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
pub fn clients_with_idle_set(size: u64, runtime: Option<Runtime>) -> Vec<&'static str> {
    let fits = DEFAULTS.iter().filter(|one| one.idle_set.is_some_and(|set| u64::from(set) == size));
    let fits = fits.filter(|one| runtime.is_none_or(|runtime| runtime.kind == one.kind));
    fits.map(|one| one.program).collect()
}
