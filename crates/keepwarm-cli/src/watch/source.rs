//! The source of a watch's numbers: destroy events, or polls where destroy events are refused.
//!
//! Owns the step down from one level to the one below. Only a refusal is a reason for it: a full
//! file table, say, is a failure at any level.

use std::sync::Arc;
use std::time::Duration;

use keepwarm_sockets::{
    Error, Filter, HostReport, NamespacesWatch, PollingWatch, PreparedNamespacesWatch,
    PreparedWatch, Scope, Watch,
};

use crate::args::WatchLevel;
use crate::exit::Failure;

/// A watch of the kernel that goes on.
#[derive(Debug)]
pub(crate) enum Source {
    Events(Watch),
    /// Of every network namespace.
    Everywhere(NamespacesWatch),
    Polls(Box<PollingWatch>),
}

/// The sources of a watch, open before its window begins.
#[derive(Debug)]
pub(crate) enum Prepared {
    Events(Box<PreparedWatch>),
    Everywhere(Box<PreparedNamespacesWatch>),
    /// Polls have nothing to open. Why the level is L0, if more was asked for.
    Polls(Option<Error>),
}

impl Prepared {
    /// Opens what a watch of this network namespace needs, with the capabilities of the caller.
    pub(crate) fn here(level: WatchLevel, scope: Scope) -> Result<Self, Failure> {
        let traced = match level {
            WatchLevel::L0 => return Ok(Self::Polls(None)),
            WatchLevel::L1 => false,
            WatchLevel::L2 => true,
        };
        match PreparedWatch::new(scope, traced) {
            Ok(prepared) => Ok(Self::Events(Box::new(prepared))),
            Err(error) if error.is_denied() || error.is_unsupported() => {
                Ok(Self::Polls(Some(error)))
            }
            Err(error) => Err(Failure::from(&error)),
        }
    }

    /// Opens what a watch of this network namespace needs that names no process: nor has it traces,
    /// which do.
    pub(crate) fn unowned(level: WatchLevel, scope: Scope) -> Result<Self, Failure> {
        match Self::here(if level == WatchLevel::L0 { level } else { WatchLevel::L1 }, scope)? {
            Self::Events(prepared) => Ok(Self::Events(Box::new(prepared.without_owners()))),
            other => Ok(other),
        }
    }

    /// Opens what a watch of every network namespace needs.
    pub(crate) fn everywhere(scope: Scope) -> Result<Self, Failure> {
        let prepared = PreparedNamespacesWatch::new(scope);
        prepared
            .map(|prepared| Self::Everywhere(Box::new(prepared)))
            .map_err(|error| Failure::from(&error))
    }
}

impl Source {
    /// Begins the window. Also returns why the level is L0, if more was asked for.
    pub(crate) fn start(
        prepared: Prepared,
        scope: Scope,
    ) -> Result<(Self, Option<String>), Failure> {
        let events = match prepared {
            Prepared::Events(prepared) => Some(prepared.begin().map(Self::Events)),
            Prepared::Everywhere(prepared) => {
                let begun = prepared.begin().map_err(|error| Failure::from(&error))?;
                return Ok((Self::Everywhere(begun), None));
            }
            Prepared::Polls(why) => why.map(Err),
        };
        or_polls(events, || {
            PollingWatch::start(scope).map(|polling| Self::Polls(Box::new(polling)))
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Events(watch) => watch.has_ended(),
            Self::Everywhere(watch) => watch.has_ended(),
            Self::Polls(_) => false,
        }
    }

    /// Polls the socket table when that is due: polls have no thread of their own.
    pub(crate) fn poll_if_due(&mut self) -> Result<(), Failure> {
        match self {
            Self::Events(_) | Self::Everywhere(_) => Ok(()),
            Self::Polls(polling) => polling.poll_if_due().map_err(|error| Failure::from(&error)),
        }
    }

    pub(crate) fn snapshot(&self) -> Result<HostReport, Failure> {
        match self {
            Self::Events(watch) => Ok(watch.snapshot()),
            Self::Everywhere(watch) => Ok(watch.snapshot()),
            Self::Polls(polling) => polling.snapshot().map_err(|error| Failure::from(&error)),
        }
    }

    /// Returns the reports that [`snapshot`](Self::snapshot) is made of.
    pub(crate) fn latest(&self) -> Result<Vec<Arc<HostReport>>, Failure> {
        match self {
            Self::Events(watch) => Ok(vec![watch.latest()]),
            Self::Everywhere(watch) => Ok(watch.latest()),
            Self::Polls(_) => Ok(vec![Arc::new(self.snapshot()?)]),
        }
    }

    pub(crate) fn finish(self, settle: Duration) -> Result<HostReport, Failure> {
        let finished = match self {
            Self::Events(watch) => watch.finish(settle),
            Self::Everywhere(watch) => watch.finish(settle),
            Self::Polls(polling) => polling.finish(),
        };
        finished.map_err(|error| Failure::from(&error))
    }
}

/// Takes one dump. Also returns why the level is L0, if more was asked for.
pub(crate) fn dump_once(
    level: WatchLevel,
    scope: Scope,
) -> Result<(HostReport, Option<String>), Failure> {
    let dumped = (level != WatchLevel::L0).then(|| keepwarm_sockets::dump_once(scope));
    or_polls(dumped, || PollingWatch::dump_once(scope))
}

/// Counts the sockets that a filter admits.
pub(crate) fn count(level: WatchLevel, filter: &Filter, scope: &Scope) -> Result<u64, Failure> {
    let dumped = (level != WatchLevel::L0).then(|| keepwarm_sockets::count(filter, scope));
    or_polls(dumped, || PollingWatch::count(filter, scope)).map(|(found, _)| found)
}

/// Returns the evidence that was asked for; where it is refused or was not asked for, the polls.
fn or_polls<T>(
    asked: Option<Result<T, Error>>,
    polls: impl FnOnce() -> Result<T, Error>,
) -> Result<(T, Option<String>), Failure> {
    let refused = match asked {
        Some(Ok(given)) => return Ok((given, None)),
        Some(Err(error)) if error.is_denied() || error.is_unsupported() => Some(error),
        Some(Err(error)) => return Err(Failure::from(&error)),
        None => None,
    };
    match polls() {
        Ok(given) => Ok((given, refused.map(|error| error.to_string()))),
        Err(error) => Err(match refused {
            Some(first) => {
                let exit = Failure::from(&first).exit();
                Failure::new(exit, format!("{first}; and at level L0: {error}"))
            }
            None => Failure::from(&error),
        }),
    }
}
