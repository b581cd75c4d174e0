//! The source of a watch's numbers: destroy events, or polls where destroy events are refused.
//!
//! Owns the step down from one level to the one below. Only a refusal is a reason for it: a full
//! file table, say, is a failure at any level.

use std::time::Duration;

use keepwarm_sockets::{Error, Filter, HostReport, PollingWatch, Scope, Watch};

use crate::args::WatchLevel;
use crate::exit::Failure;

/// A watch of the kernel that goes on.
#[derive(Debug)]
pub(crate) enum Source {
    Events(Watch),
    Polls(Box<PollingWatch>),
}

impl Source {
    /// Begins the window. Also returns why the level is L0, if more was asked for.
    pub(crate) fn start(
        level: WatchLevel,
        scope: Scope,
    ) -> Result<(Self, Option<String>), Failure> {
        let events = match level {
            WatchLevel::L0 => None,
            WatchLevel::L1 => Some(Watch::start(scope)),
            WatchLevel::L2 => Some(Watch::start_traced(scope)),
        };
        or_polls(events.map(|started| started.map(Self::Events)), || {
            PollingWatch::start(scope).map(|polling| Self::Polls(Box::new(polling)))
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Events(watch) => watch.has_ended(),
            Self::Polls(_) => false,
        }
    }

    /// Polls the socket table when that is due: polls have no thread of their own.
    pub(crate) fn poll_if_due(&mut self) -> Result<(), Failure> {
        match self {
            Self::Events(_) => Ok(()),
            Self::Polls(polling) => polling.poll_if_due().map_err(|error| Failure::from(&error)),
        }
    }

    pub(crate) fn snapshot(&self) -> Result<HostReport, Failure> {
        match self {
            Self::Events(watch) => Ok(watch.snapshot()),
            Self::Polls(polling) => polling.snapshot().map_err(|error| Failure::from(&error)),
        }
    }

    pub(crate) fn finish(self, settle: Duration) -> Result<HostReport, Failure> {
        let finished = match self {
            Self::Events(watch) => watch.finish(settle),
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
