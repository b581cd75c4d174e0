//! The level of a watch and its mode: which evidence a record rests on, and what that leaves out.
//!
//! Owns the words for both, which text and JSON share. Knows no numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The evidence that the kernel gave to a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// The kernel's counters, and polls of the socket table.
    L0,
    /// Destroy events, and dumps of the socket table.
    L1,
    /// Destroy events and dumps, and traces of connections' states and resets.
    L2,
}

impl Level {
    /// All levels, the lowest first.
    pub const ALL: [Self; 3] = [Self::L0, Self::L1, Self::L2];

    /// Returns the name that `--level` takes and JSON has.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::L0 => "L0",
            Self::L1 => "L1",
            Self::L2 => "L2",
        }
    }

    /// Returns the sources that a watch of this level reads.
    #[must_use]
    pub const fn sources(self) -> &'static str {
        match self {
            Self::L0 => "counters, and polls of the socket table",
            Self::L1 => "destroy events and dumps, no privilege needed",
            Self::L2 => "destroy events, dumps and traces, as root",
        }
    }

    /// Returns the facts that a watch of this level cannot see.
    #[must_use]
    pub const fn limitations(self) -> &'static str {
        match self {
            Self::L0 => {
                "single closes (so not how many, by whom, by FIN or by reset, what was carried, nor \
                 idle times), and connections that open and close between two polls"
            }
            Self::L1 => {
                "the process of a connection that was too short to be seen open, why a reset was \
                 sent, and lifetimes"
            }
            Self::L2 => {
                "why another host sent a reset, the process of a server's socket that was reset, \
                 and what was opened before the window"
            }
        }
    }

    /// Returns the next higher level, where there is one.
    #[must_use]
    pub const fn above(self) -> Option<Self> {
        match self {
            Self::L0 => Some(Self::L1),
            Self::L1 => Some(Self::L2),
            Self::L2 => None,
        }
    }

    /// Returns true where each close is an event of the kernel, so that opens and closes are
    /// counted rather than bounded from below.
    #[must_use]
    pub const fn counts_closes(self) -> bool {
        matches!(self, Self::L1 | Self::L2)
    }

    /// Returns true where lifetimes and the reasons of resets are known.
    #[must_use]
    pub const fn traces(self) -> bool {
        matches!(self, Self::L2)
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The time that a watch is about. In JSON the number `window_s`: 0 for one dump.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub enum Mode {
    /// One dump of the socket table (`--once`): nothing is counted, and TIME_WAITs tell of the
    /// last minute.
    OneDump,
    /// A window of time.
    Window {
        /// The length of the window, more than 0.
        seconds: f64,
    },
}

impl Mode {
    /// Returns the mode of a window of this length; no length is one dump.
    #[must_use]
    pub fn of_seconds(seconds: f64) -> Self {
        if seconds > 0.0 { Self::Window { seconds } } else { Self::OneDump }
    }

    /// Returns the length of the window; `None` for one dump.
    #[must_use]
    pub const fn seconds(self) -> Option<f64> {
        match self {
            Self::OneDump => None,
            Self::Window { seconds } => Some(seconds),
        }
    }

    /// Returns the facts that cannot be seen in this mode at this level.
    #[must_use]
    pub const fn limitations(self, level: Level) -> &'static str {
        match self {
            Self::OneDump => {
                "closes that the other side began, resets, what connections carried, and the \
                 processes of closed connections: --for 10s sees more"
            }
            Self::Window { .. } => level.limitations(),
        }
    }
}

impl TryFrom<f64> for Mode {
    type Error = &'static str;

    fn try_from(seconds: f64) -> Result<Self, Self::Error> {
        if seconds.is_finite() && seconds >= 0.0 {
            Ok(Self::of_seconds(seconds))
        } else {
            Err("a window is 0 or longer")
        }
    }
}

impl From<Mode> for f64 {
    fn from(mode: Mode) -> Self {
        mode.seconds().unwrap_or(0.0)
    }
}

/// A fact or a finding that a level does not give, and the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limitation {
    /// The fact, or the code of the finding.
    pub what: String,
    /// The reason.
    pub why: String,
}

impl From<(&str, &str)> for Limitation {
    fn from((what, why): (&str, &str)) -> Self {
        Self { what: what.to_owned(), why: why.to_owned() }
    }
}

/// Facts that polls cannot see, each with the reason.
pub const NOT_SEEN_BY_POLLS: [(&str, &str); 5] = [
    ("opened, closed", "counted by destroy events"),
    ("closed by whom, by FIN or reset, with unread data", "known from destroy events"),
    ("requests per connection, idle time at close", "part of destroy events"),
    ("failed connects, lost events, aborts", "counted by destroy events"),
    ("lifetimes, reasons of resets", "known from traces (level L2)"),
];

/// Facts that polls cannot see either where the system does not list TIME_WAITs.
pub const NOT_SEEN_WITHOUT_TIME_WAITS: (&str, &str) = (
    "TIME_WAIT, closed first, local ports taken",
    "this system does not list TIME_WAITs (no `tw` in /proc/net/sockstat)",
);

/// The way from level L0 to level L1.
pub const HINT_AT_L0: &str = "level L1 needs no privilege, but Linux 4.19 or newer with inet_diag, \
                              and a sandbox that admits NETLINK_SOCK_DIAG (or a watch from outside \
                              the sandbox, as root: --netns PID)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dump_is_a_window_of_zero() {
        assert_eq!(serde_json::to_string(&Mode::OneDump).unwrap(), "0.0");
        assert_eq!(serde_json::from_str::<Mode>("0").unwrap(), Mode::OneDump);
        assert_eq!(serde_json::from_str::<Mode>("1.5").unwrap(), Mode::Window { seconds: 1.5 });
        assert!(serde_json::from_str::<Mode>("-1").is_err());
    }

    #[test]
    fn every_level_is_written_by_its_name() {
        for level in Level::ALL {
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
            assert_eq!(level.traces(), level.above().is_none(), "only the highest traces");
        }
    }
}
