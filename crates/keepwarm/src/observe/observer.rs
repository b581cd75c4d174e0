//! What happens in a client, told to whoever wants to know: the trait and its events.
//!
//! How they are delivered is the [outbox](crate::observe::event_queue)'s.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use keepwarm_pool::{CloseReason, Closer};

use crate::error::Error;

/// Is told what happens in a client, see [`ClientBuilder::observer`](crate::ClientBuilder::observer).
/// Every closure over an [`Event`] is one.
///
/// * Events of one client come one after the other, never two at once, in the order in which they
///   happened; so those of one connection, and those of one request, are in order.
/// * They come after the fact and with no lock held: an observer may ask for
///   [`stats`](crate::Client::stats), and send requests. What that causes is told when it has
///   returned.
/// * They come on whatever thread is there, in the middle of somebody's request or drop, or in a task
///   if there are many. An observer that takes long makes that one slow, and should hand over to a
///   channel instead. While it runs, events wait, at most 65,536 of them; the next ones are lost, and
///   counted in [`Stats::events_lost`](crate::Stats::events_lost). Those that a runtime leaves
///   behind when it ends are told with the next one.
/// * An observer that panics is not called again. The panic goes no further, the pool is as it was,
///   and [`warnings`](crate::warnings) tells of it.
/// * When a client is at rest and no event was lost, counts of events are those of
///   [`Stats`](crate::Stats).
///
/// An observer that holds a clone of its client keeps it alive for ever.
///
/// ```
/// use keepwarm::{Event, EventKind};
///
/// let client = keepwarm::Client::builder()
///     .observer(|event: Event| match event.kind {
///         EventKind::ConnectionClosed { reason, closer, age, .. } => {
///             println!("{}: closed by {}: {} after {age:?}", event.origin, closer.name(), reason.name());
///         }
///         _ => {}
///     })
///     .build()?;
/// # drop(client);
/// # Ok::<(), keepwarm::Error>(())
/// ```
pub trait Observer: Send + Sync + 'static {
    /// This has happened.
    fn observe(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: Event) {
        self(event);
    }
}

/// Something that happened in a client.
///
/// ```
/// fn line(event: &keepwarm::Event) -> String {
///     format!("{:>9.3?} {} {:?}", event.at, event.origin, event.kind)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// When: the time since the client was built, by the client's clock.
    pub at: Duration,
    /// Where: `scheme://host:port`, as in [`Stats`](crate::Stats).
    pub origin: Arc<str>,
    /// What.
    pub kind: EventKind,
}

impl Event {
    pub(crate) const fn new(at: Duration, origin: Arc<str>, kind: EventKind) -> Self {
        Self { at, origin, kind }
    }
}

/// What happened. Numbers of connections are those of
/// [`ConnectionInfo::id`](crate::ConnectionInfo::id); numbers of requests are the client's, and
/// those of dials the origin's.
///
/// ```text
/// a dial:        DialBegan, then ConnectionOpened or DialFailed
/// a connection:  ConnectionOpened, then (ConnectionAssigned or ConnectionInspected, then
///                ConnectionReturned) any number of times, then ConnectionClosed at any point
/// a request:     RequestBegan, then (WaitBegan, WaitEnded), ConnectionAssigned, RequestRetried any
///                number of times, then HeadReceived, then RequestEnded at any point
/// ```
///
/// ```
/// fn is_churn(kind: &keepwarm::EventKind) -> bool {
///     use keepwarm::{Closer, EventKind};
///     matches!(kind, EventKind::ConnectionClosed { closer: Closer::Client, .. })
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EventKind {
    /// A connection is being established.
    DialBegan {
        /// The dial.
        dial: u64,
    },
    /// It could not be.
    DialFailed {
        /// The dial.
        dial: u64,
        /// Why, and at which stage.
        error: Error,
    },
    /// A connection is established. It is idle until it is assigned, which is often at once.
    ConnectionOpened {
        /// The connection.
        connection: u64,
        /// The dial it came from.
        dial: u64,
    },
    /// A request got it. It is active.
    ConnectionAssigned {
        /// The connection.
        connection: u64,
        /// The request.
        request: u64,
        /// Exchanges that it had served before; above 0 it is reused.
        exchanges_before: u64,
        /// How long it had been idle; `None` straight from a dial or from another exchange.
        idle_age: Option<Duration>,
    },
    /// Its socket has spoken while it was idle, and is looked at. It is active meanwhile.
    ConnectionInspected {
        /// The connection.
        connection: u64,
    },
    /// It came back, fit for another exchange. It is idle until it is assigned or closed, which may
    /// be at once.
    ConnectionReturned {
        /// The connection.
        connection: u64,
        /// Whether an exchange was served: it may have been inspected, or come back unused.
        served: bool,
    },
    /// It is closed.
    ConnectionClosed {
        /// The connection.
        connection: u64,
        /// Why.
        reason: CloseReason,
        /// Who closed first, as far as the client saw.
        closer: Closer,
        /// The time since it was opened.
        age: Duration,
        /// Whether it was active, and did not come back before.
        active: bool,
    },
    /// A request begins. A redirect that is followed is a request of its own.
    RequestBegan {
        /// The request.
        request: u64,
        /// Its method.
        method: Method,
    },
    /// It waits for a connection: none was idle.
    WaitBegan {
        /// The request.
        request: u64,
    },
    /// It waits no more.
    WaitEnded {
        /// The request.
        request: u64,
        /// How long it waited.
        waited: Duration,
        /// Whether it got a connection. If not, it was refused one or gave up.
        served: bool,
    },
    /// It is handed to another connection, because the one before was dead.
    RequestRetried {
        /// The request.
        request: u64,
        /// The number of this attempt: 2 or more.
        attempt: u32,
    },
    /// The head of its response has come.
    HeadReceived {
        /// The request.
        request: u64,
        /// The status.
        status: StatusCode,
    },
    /// It is over for the caller: the body was read to its end, the request failed, or either was
    /// dropped. The connection may have come back before, or come back later.
    RequestEnded {
        /// The request.
        request: u64,
        /// Its method.
        method: Method,
        /// The status of the response, if its head has come.
        status: Option<StatusCode>,
        /// How it ended.
        outcome: Outcome,
        /// The time since it began.
        took: Duration,
        /// Bytes of the request's body that were taken to be sent, in the last attempt.
        sent: u64,
        /// Bytes of the response's body that the caller has read.
        received: u64,
    },
}

/// How a request ended.
///
/// ```
/// fn word(outcome: &keepwarm::Outcome) -> String {
///     match outcome {
///         keepwarm::Outcome::Complete => "complete".to_owned(),
///         keepwarm::Outcome::Dropped => "dropped".to_owned(),
///         keepwarm::Outcome::Failed(error) => error.to_string(),
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The response was read to its end.
    Complete,
    /// The caller dropped the request, or the body before its end.
    Dropped,
    /// An error was returned.
    Failed(Error),
}

/// The observers among a client's settings.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn add(&mut self, observer: impl Observer) {
        self.0.push(Arc::new(observer));
    }

    pub(crate) fn into_vec(self) -> Vec<Arc<dyn Observer>> {
        self.0
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} observers", self.0.len())
    }
}
