//! Misuse of clients that fails no request, noticed while the program runs: a client for each
//! request, response bodies left unread, an observer that panics.
//!
//! Each kind is reported once in the life of the process, however many clients there are. This
//! module keeps the warnings; it prints nothing.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::observe::stats::Stats;

/// Limit on the requests of a client that counts as spent: it hardly pooled. Two, since a redirect
/// counts as a request.
const FEW_REQUESTS: u64 = 2;
/// Spent clients to the same origin that are a habit, and not a test or a short program.
const MANY_CLIENTS: u64 = 100;
/// Time within which the spent clients have to be dropped.
const SPENT_WINDOW: Duration = Duration::from_secs(60);
/// Limit on the origins that are watched at once. Beyond it the one that began longest ago is
/// forgotten.
const MAX_WATCHED: usize = 16;

/// Bodies left unread from which on a warning is due; fewer may be an accident.
const MANY_BODIES: u64 = 10;
/// No warning is due while fewer than one request in ten leaves its body: that may be intended.
const ONE_IN: u64 = 10;

/// Warnings of this process, at most one of each kind.
static NOTICED: Mutex<Vec<Warning>> = Mutex::new(Vec::new());
static SPENT: Mutex<SpentClients> = Mutex::new(SpentClients::new());

/// A mistake in the use of clients that fails no request: two ways of opening connections at the
/// rate of requests, and an observer that failed.
///
/// ```
/// for warning in keepwarm::warnings() {
///     eprintln!("{warning}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// Clients were built, used for one or two requests, and dropped: each had a pool of its own,
    /// and closed its connection with it. Noticed at the hundredth to one origin within a minute.
    ClientPerRequest {
        /// The origin of their requests.
        origin: Arc<str>,
        /// The number of such clients when it was noticed.
        clients: u64,
        /// The time from the first to the last of them.
        within: Duration,
    },
    /// Response bodies were dropped before their end, with too much left to read, or too slow, so
    /// that their connections were closed. Noticed at the tenth of one origin, unless fewer than
    /// one request in ten did so.
    BodiesLeftUnread {
        /// The origin of the responses.
        origin: Arc<str>,
        /// Connections closed for it when it was noticed.
        connections: u64,
        /// Requests to that origin when it was noticed.
        requests: u64,
    },
    /// An [`Observer`](crate::Observer) panicked, and is not called again.
    ObserverPanicked {
        /// The message of the panic.
        message: Arc<str>,
    },
}

/// Returns the warnings of this process so far: at most one [`Warning`] of each kind, oldest first.
///
/// They are kept for the whole process, because a client that is dropped after each request has no
/// caller left to ask it. With the feature `tracing` each is also an event of level `WARN`, when it
/// is noticed.
#[must_use]
pub fn warnings() -> Vec<Warning> {
    NOTICED.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Counts a client whose last handle is being dropped.
pub(crate) fn client_dropped(stats: &Stats) {
    if !(1..=FEW_REQUESTS).contains(&stats.total.checkouts) {
        return;
    }
    let now = Instant::now();
    for origin in stats.origins.iter().filter(|origin| origin.opened > 0) {
        let warning = {
            let mut spent = SPENT.lock().unwrap_or_else(PoisonError::into_inner);
            spent.note(&origin.origin, now)
        };
        if let Some(warning) = warning {
            notice(warning);
        }
    }
}

/// Counts a body of that origin that was left unread and cost its connection.
pub(crate) fn body_left_unread(origin: &Arc<str>, connections: u64, requests: u64) {
    if connections >= MANY_BODIES && connections.saturating_mul(ONE_IN) >= requests {
        notice(Warning::BodiesLeftUnread { origin: Arc::clone(origin), connections, requests });
    }
}

/// Notes that an observer has panicked.
pub(crate) fn observer_panicked(message: &str) {
    notice(Warning::ObserverPanicked { message: message.into() });
}

/// Keeps the first warning of a kind, and emits it as a `tracing` event.
fn notice(warning: Warning) {
    let mut noticed = NOTICED.lock().unwrap_or_else(PoisonError::into_inner);
    let kind = std::mem::discriminant(&warning);
    if noticed.iter().any(|known| std::mem::discriminant(known) == kind) {
        return;
    }
    noticed.push(warning.clone());
    // Unlocked, because a subscriber may call `warnings`.
    drop(noticed);
    #[cfg(feature = "tracing")]
    tracing::warn!(target: "keepwarm", "{warning}");
}

impl Warning {
    /// Returns the origin at which it was noticed, if it concerns one.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        match self {
            Self::ClientPerRequest { origin, .. } | Self::BodiesLeftUnread { origin, .. } => {
                Some(origin)
            }
            Self::ObserverPanicked { .. } => None,
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientPerRequest { origin, clients, within } => write!(
                f,
                "{clients} clients were built, used for one or two requests to {origin}, and \
                 dropped within {within:.1?}: each request opened a connection and closed it again; \
                 build one client when the program starts, and share it"
            ),
            Self::BodiesLeftUnread { origin, connections, requests } => write!(
                f,
                "{connections} connections to {origin} were closed in {requests} requests because \
                 response bodies were dropped before their end: read bodies to the end, or ask for \
                 less (HEAD, Range)"
            ),
            Self::ObserverPanicked { message } => {
                write!(f, "an observer panicked and is not called again: {message}")
            }
        }
    }
}

/// Clients that were dropped after one or two requests, by the origin of these.
#[derive(Debug)]
struct SpentClients(Vec<Spent>);

#[derive(Debug)]
struct Spent {
    origin: Arc<str>,
    since: Instant,
    clients: u64,
}

impl SpentClients {
    const fn new() -> Self {
        Self(Vec::new())
    }

    fn note(&mut self, origin: &str, now: Instant) -> Option<Warning> {
        self.0.retain(|spent| now.saturating_duration_since(spent.since) <= SPENT_WINDOW);
        let found = self.0.iter().position(|spent| &*spent.origin == origin);
        let place = found.unwrap_or_else(|| {
            if self.0.len() >= MAX_WATCHED {
                // Ordered by when their counting began.
                self.0.remove(0);
            }
            self.0.push(Spent { origin: origin.into(), since: now, clients: 0 });
            self.0.len() - 1
        });
        let spent = &mut self.0[place];
        spent.clients += 1;
        (spent.clients >= MANY_CLIENTS).then(|| Warning::ClientPerRequest {
            origin: Arc::clone(&spent.origin),
            clients: spent.clients,
            within: now.saturating_duration_since(spent.since),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hundred_spent_clients_warn() {
        let start = Instant::now();
        let mut spent = SpentClients::new();
        // A client each 0.7 s: a minute has at most 86 of them.
        let slow = (0..1_000u32).find_map(|nth| spent.note("slow", start + nth * MS * 700));
        assert_eq!(slow, None, "spread over more than a minute they are no habit");
        let start = start + Duration::from_secs(3_600);
        let fast = (0..1_000u32).find_map(|nth| spent.note("fast", start + nth * MS * 500));
        let Some(Warning::ClientPerRequest { clients, within, .. }) = fast else {
            panic!("{fast:?}");
        };
        assert_eq!((clients, within), (100, MS * 99 * 500));
    }

    #[test]
    fn origins_are_counted_in_bounded_memory() {
        let now = Instant::now();
        let mut spent = SpentClients::new();
        for nth in 0..10_000 {
            assert_eq!(spent.note(&format!("origin {nth}"), now), None);
            assert!(spent.0.len() <= MAX_WATCHED);
        }
    }

    const MS: Duration = Duration::from_millis(1);
}
