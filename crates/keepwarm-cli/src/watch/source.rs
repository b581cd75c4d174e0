//! What a watch gets its numbers from: destroy events, or where those are refused, looks.
//!
//! Owns the step down from one level to the one below. Only a refusal is a reason for it: a full
//! file table, say, is a failure at any level.

use std::time::Duration;

use keepwarm_sockets::{Error, Filter, HostReport, PollingWatch, Scope, Watch};

use crate::args::WatchLevel;
use crate::exit::{Exit, Failure};

/// A watch that goes on.
#[derive(Debug)]
pub(crate) enum Source {
    Events(Watch),
    Polls(Box<PollingWatch>),
}

impl Source {
    /// Begins the window; also why it is level L0, if more was asked for.
    pub(crate) fn start(
        level: WatchLevel,
        scope: Scope,
    ) -> Result<(Self, Option<String>), Failure> {
        let events = match level {
            WatchLevel::L0 => None,
            WatchLevel::L1 => Some(Watch::start(scope)),
            WatchLevel::L2 => Some(Watch::start_traced(scope)),
        };
        or_looks(events.map(|started| started.map(Self::Events)), || {
            PollingWatch::start(scope).map(|lookout| Self::Polls(Box::new(lookout)))
        })
    }

    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Events(watch) => watch.has_ended(),
            Self::Polls(_) => false,
        }
    }

    /// Looks have no thread of their own.
    pub(crate) fn look_if_due(&mut self) -> Result<(), Failure> {
        match self {
            Self::Events(_) => Ok(()),
            Self::Polls(lookout) => lookout.look_if_due().map_err(|error| failure(&error)),
        }
    }

    pub(crate) fn snapshot(&self) -> Result<HostReport, Failure> {
        match self {
            Self::Events(watch) => Ok(watch.snapshot()),
            Self::Polls(lookout) => lookout.snapshot().map_err(|error| failure(&error)),
        }
    }

    pub(crate) fn finish(self, settle: Duration) -> Result<HostReport, Failure> {
        let finished = match self {
            Self::Events(watch) => watch.finish(settle),
            Self::Polls(lookout) => lookout.finish(),
        };
        finished.map_err(|error| failure(&error))
    }
}

/// One look; also why it is level L0, if more was asked for.
pub(crate) fn look_once(
    level: WatchLevel,
    scope: Scope,
) -> Result<(HostReport, Option<String>), Failure> {
    let dumped = (level != WatchLevel::L0).then(|| keepwarm_sockets::look_once(scope));
    or_looks(dumped, || PollingWatch::look_once(scope))
}

/// How many sockets there are.
pub(crate) fn count(level: WatchLevel, filter: &Filter, scope: &Scope) -> Result<u64, Failure> {
    let dumped = (level != WatchLevel::L0).then(|| keepwarm_sockets::count(filter, scope));
    or_looks(dumped, || PollingWatch::count(filter, scope)).map(|(found, _)| found)
}

/// What was asked for, or where it is refused or was not asked for, what looks give.
fn or_looks<T>(
    asked: Option<Result<T, Error>>,
    looks: impl FnOnce() -> Result<T, Error>,
) -> Result<(T, Option<String>), Failure> {
    let refused = match asked {
        Some(Ok(given)) => return Ok((given, None)),
        Some(Err(error)) if error.is_denied() || error.is_unsupported() => Some(error),
        Some(Err(error)) => return Err(failure(&error)),
        None => None,
    };
    match looks() {
        Ok(given) => Ok((given, refused.map(|error| error.to_string()))),
        Err(error) => Err(match refused {
            Some(first) => Failure::new(exit(&first), format!("{first}; and without: {error}")),
            None => failure(&error),
        }),
    }
}

fn failure(error: &Error) -> Failure {
    Failure::new(exit(error), error.to_string())
}

fn exit(error: &Error) -> Exit {
    if error.is_denied() || error.is_unsupported() {
        Exit::Denied
    } else if error.is_file_table_full() {
        Exit::FileTable
    } else {
        Exit::Failed
    }
}
