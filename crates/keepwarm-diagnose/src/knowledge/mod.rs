//! Facts about programs that speak HTTP: their defaults, and the settings to change.
//!
//! Owns the search in the tables. The files to extend are `defaults`, `advice` (settings to
//! change), `steps` (next steps that depend on no runtime) and `topics` (pages). Each entry has its
//! source, and its versions where it has any; [`faults`] lists the faults of a table.

mod advice;
mod check;
mod defaults;
mod explain;
mod range;
mod source;
mod steps;
mod topics;

use std::fmt;

pub use self::advice::ADVICE;
pub use self::check::{Tables, faults};
pub use self::defaults::DEFAULTS;
pub use self::explain::{explain, topics};
pub use self::range::{Range, Version};
pub use self::steps::STEPS;
pub use self::topics::TOPICS;

/// Runtime of a program: its language, or the server it is.
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
    Apache,
    Haproxy,
    Curl,
    Postgres,
    Redis,
    Shell,
    Keepwarm,
    Gunicorn,
    Uvicorn,
    Hypercorn,
    HttpServer,
    Werkzeug,
}

impl Kind {
    /// Every runtime.
    pub const ALL: [Kind; 21] = [
        Kind::Go,
        Kind::Node,
        Kind::Python,
        Kind::Java,
        Kind::Nginx,
        Kind::Dotnet,
        Kind::Php,
        Kind::Ruby,
        Kind::Rust,
        Kind::Apache,
        Kind::Haproxy,
        Kind::Curl,
        Kind::Postgres,
        Kind::Redis,
        Kind::Shell,
        Kind::Keepwarm,
        Kind::Gunicorn,
        Kind::Uvicorn,
        Kind::Hypercorn,
        Kind::HttpServer,
        Kind::Werkzeug,
    ];

    /// Returns the name, which is also the topic in `keepwarm explain`.
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
            Kind::Apache => "apache",
            Kind::Haproxy => "haproxy",
            Kind::Curl => "curl",
            Kind::Postgres => "postgres",
            Kind::Redis => "redis",
            Kind::Shell => "shell",
            Kind::Keepwarm => "keepwarm",
            Kind::Gunicorn => "gunicorn",
            Kind::Uvicorn => "uvicorn",
            Kind::Hypercorn => "hypercorn",
            Kind::HttpServer => "http.server",
            Kind::Werkzeug => "werkzeug",
        }
    }

    /// Returns the runtime that a server program runs on (Python of Gunicorn), or the runtime itself.
    /// As a client the program behaves as the runtime's clients do.
    #[must_use]
    pub const fn language(self) -> Kind {
        match self {
            Kind::Gunicorn
            | Kind::Uvicorn
            | Kind::Hypercorn
            | Kind::HttpServer
            | Kind::Werkzeug => Kind::Python,
            other => other,
        }
    }

    /// Returns true if a fact about `of` may hold for a program that was recognised as this: an
    /// interpreter may run any of its servers, and a server's program has the clients of its language.
    const fn may_be(self, of: Kind) -> bool {
        self as u8 == of as u8
            || self as u8 == of.language() as u8
            || self.language() as u8 == of as u8
    }
}

/// A recognised program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Runtime of the program.
    pub kind: Kind,
    /// Version; `None` if it cannot be read.
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
    /// Runtime that the program belongs to.
    pub kind: Kind,
    /// The library or program that has it.
    pub program: &'static str,
    /// The versions of `kind` that have it. A library with version numbers of its own states them
    /// in its name.
    pub versions: Range,
    /// Name of the setting, as one writes it.
    pub setting: &'static str,
    /// Default value.
    pub default: &'static str,
    /// For the idle timeout of a server: the milliseconds by which it can be recognised.
    pub server_idle_ms: Option<u32>,
    /// For an idle set of a client: the number by which it can be recognised.
    pub idle_set: Option<u32>,
    /// Public page that states it.
    pub source: &'static str,
}

/// Setting to change, for one finding in one runtime.
#[derive(Clone, Copy, Debug)]
pub struct Advice {
    /// The finding's code.
    pub code: &'static str,
    /// Runtime of the program.
    pub kind: Kind,
    /// The versions it is for.
    pub versions: Range,
    /// The settings that the text names, each among the defaults.
    pub settings: &'static [&'static str],
    /// Instruction, without a full stop.
    pub text: &'static str,
    /// Public page that states it.
    pub source: &'static str,
}

/// Situation whose next step depends on no runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Situation {
    /// Counters show unread bodies, not whose.
    BodiesUnreadOnHost,
    /// The server closes first, and polls cannot show why.
    ServerCloses,
    /// Connects to one destination fail.
    ConnectsFail,
    /// Connects to IPv6 fail, and the service listens on IPv4 only.
    Ipv4Only,
    /// Counters show failed handshakes, not to which service.
    HandshakesFailOnHost,
    /// Counters show full accept queues, not which.
    AcceptQueueFullOnHost,
    /// Local ports towards a destination get scarce.
    PortsRunOut,
    /// As `PortsRunOut`, and one dump does not show why.
    PortsRunOutInOneDump,
    /// One dump shows closes, not their cause.
    OneDump,
    /// A listener's accept queue is full.
    AcceptQueueFull,
    /// Requests are given up before their answer.
    GivenUp,
    /// The peer acknowledges nothing.
    PeerSilent,
    /// Connections end by SO_LINGER 0, of ports that are not known.
    ResetsOnPurposeOnHost,
    /// The client closes after a number of requests.
    ClientClosesAtLimit,
    /// A load closes after the number of requests that it was told.
    LoadClosesAtLimit,
}

impl Situation {
    /// Every situation.
    pub const ALL: [Situation; 15] = [
        Situation::BodiesUnreadOnHost,
        Situation::ServerCloses,
        Situation::ConnectsFail,
        Situation::Ipv4Only,
        Situation::HandshakesFailOnHost,
        Situation::AcceptQueueFullOnHost,
        Situation::PortsRunOut,
        Situation::PortsRunOutInOneDump,
        Situation::OneDump,
        Situation::AcceptQueueFull,
        Situation::GivenUp,
        Situation::PeerSilent,
        Situation::ResetsOnPurposeOnHost,
        Situation::ClientClosesAtLimit,
        Situation::LoadClosesAtLimit,
    ];

    /// Returns the situation in a few words, for the page of its finding.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Situation::BodiesUnreadOnHost => "unread bodies on this host",
            Situation::ServerCloses => "the server closes first",
            Situation::ConnectsFail => "connects to a service fail",
            Situation::Ipv4Only => "a service listens on IPv4 only",
            Situation::HandshakesFailOnHost => "handshakes fail on this host",
            Situation::AcceptQueueFullOnHost => "an accept queue is full on this host",
            Situation::PortsRunOut => "ports get scarce",
            Situation::PortsRunOutInOneDump => "ports are scarce in one dump",
            Situation::OneDump => "closes in one dump",
            Situation::AcceptQueueFull => "an accept queue is full",
            Situation::GivenUp => "requests are given up",
            Situation::PeerSilent => "the peer is silent",
            Situation::ResetsOnPurposeOnHost => "resets on purpose on this host",
            Situation::ClientClosesAtLimit => "the client closes at the limit",
            Situation::LoadClosesAtLimit => "a load closes at its own limit",
        }
    }
}

/// Next step in one situation.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The situation.
    pub situation: Situation,
    /// The finding's code, whose page shows the step.
    pub code: &'static str,
    /// Instruction, without a full stop.
    pub text: &'static str,
    /// Public page that explains it.
    pub source: &'static str,
}

/// A page of `keepwarm explain`.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// Word to type after `keepwarm explain`.
    pub name: &'static str,
    /// Line in the list of topics.
    pub title: &'static str,
    /// The page; empty lines separate its paragraphs.
    pub text: &'static str,
}

/// Returns the advice for a finding: for the runtime that was recognised, or, as possibilities, for the
/// two likeliest. A recognised program without an entry gets the words that hold for any program,
/// never those for another one.
#[must_use]
pub fn advice(code: &str, runtime: Option<Runtime>) -> Option<String> {
    let fits = |advice: &&Advice| advice.code == code;
    if let Some(runtime) = runtime {
        let of = |kind: Kind| {
            ADVICE
                .iter()
                .filter(fits)
                .find(|advice| advice.kind == kind && advice.versions.admits(runtime.version))
        };
        if let Some(own) = of(runtime.kind).or_else(|| of(runtime.kind.language())) {
            return Some(format!("{runtime}: {}", own.text));
        }
        let general = GENERAL.iter().find(|(known, _)| *known == code);
        return general.map(|(_, text)| format!("{runtime}: {text}"));
    }
    // The table is in the order of likelihood.
    let mut likeliest: Vec<&Advice> = Vec::new();
    for advice in ADVICE.iter().filter(fits) {
        if likeliest.len() < 2 && likeliest.iter().all(|known| known.kind != advice.kind) {
            likeliest.push(advice);
        }
    }
    let words = likeliest
        .iter()
        .map(|advice| format!("if it is {}: {}", advice.kind.as_str(), advice.text));
    let words: Vec<String> = words.collect();
    (!words.is_empty()).then(|| words.join("; "))
}

/// Instructions that hold for any program, by code: for one that is recognised and has no entry.
const GENERAL: [(&str, &str); 8] = [
    ("D1", "keep one connection, or one pool, for all requests of the process"),
    ("D2", "let as many connections idle as are used at once"),
    ("D3", "read each answer to its end before the connection is closed"),
    ("D4", "the server's idle timeout has to be longer than that of every client before it"),
    ("D5", "raise the limit of requests on each connection"),
    ("D6", "look for a setting that ends the connection after each exchange"),
    ("D7", "close connections whose peer has closed, or check them more often"),
    ("D13", "set the deadline from the time that the slowest good answers take"),
];

/// Returns the next step in a situation; empty if the table has none, which a test forbids.
pub(crate) fn next_step(situation: Situation) -> String {
    let step = STEPS.iter().find(|one| one.situation == situation);
    step.map_or_else(String::new, |step| step.text.to_owned())
}

/// Returns the servers whose idle timeout is about this long by default; only those of the runtime, in
/// its version, if it is known.
#[must_use]
pub fn servers_with_idle_timeout(ms: u32, runtime: Option<Runtime>) -> Vec<&'static str> {
    let near = |known: u32| {
        // A timer fires late, never early.
        let (known, ms) = (f64::from(known), f64::from(ms));
        ms >= known * 0.99 && ms <= known * 1.04 + 150.0
    };
    let admits = |one: &&Fact| {
        runtime
            .is_none_or(|known| known.kind.may_be(one.kind) && one.versions.admits(known.version))
    };
    let fits = DEFAULTS.iter().filter(|one| one.server_idle_ms.is_some_and(near)).filter(admits);
    let mut names: Vec<&'static str> = fits.map(|one| one.program).collect();
    names.dedup();
    names
}

/// Returns the clients that keep this many connections idle by default.
#[must_use]
pub fn clients_with_idle_set(size: u64, runtime: Option<Runtime>) -> Vec<&'static str> {
    let fits = DEFAULTS.iter().filter(|one| one.idle_set.is_some_and(|set| u64::from(set) == size));
    let fits = fits.filter(|one| runtime.is_none_or(|runtime| runtime.kind.may_be(one.kind)));
    fits.map(|one| one.program).collect()
}
