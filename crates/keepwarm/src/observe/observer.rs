//! The public trait [`Observer`] and its events.
//!
//! Delivery is the business of the [event queue](super::event_queue).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use keepwarm_pool::{CloseReason, Closer};

use crate::error::Error;

/// Receiver of the events of a client, see
/// [`ClientBuilder::observer`](crate::ClientBuilder::observer). Every closure over an [`Event`] is
/// an observer.
///
/// * Events of one client come one after the other, never two at once, in the order in which they
///   happened; so the events of one connection, and of one request, are in order.
/// * Events come after the fact and with no lock held: an observer may call
///   [`stats`](crate::Client::stats), and send requests. Events that this causes come when it has
///   returned.
/// * Events come on the thread that caused them or another one, in the middle of a request or a
///   drop, or in a task if there are many. A slow observer makes that request slow, and should hand
///   over to a channel instead. While it runs, events wait, at most 65,536 of them; further ones
///   are lost, and counted in [`Stats::events_lost`](crate::Stats::events_lost). Events left
///   undelivered when a runtime ends come with the next event.
/// * An observer that panics is not called again. The panic goes no further, the pool is as it was,
///   and [`warnings`](crate::warnings) reports it.
/// * When a client is at rest and no event was lost, counts of events equal those of
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
    /// Receives one event.
    fn observe(&self, event: Event);
}

impl<F: Fn(Event) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: Event) {
        self(event);
    }
}

/// An event of a client.
///
/// ```
/// fn line(event: &keepwarm::Event) -> String {
///     format!("{:>9.3?} {} {:?}", event.at, event.origin, event.kind)
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Time since the client was built, by the client's clock.
    pub at: Duration,
    /// The origin, `scheme://host:port`, as in [`Stats`](crate::Stats).
    pub origin: Arc<str>,
    /// The kind of event.
    pub kind: EventKind,
}

impl Event {
    pub(crate) const fn new(at: Duration, origin: Arc<str>, kind: EventKind) -> Self {
        Self { at, origin, kind }
    }
}

/// Kinds of events. Numbers of connections are those of
/// [`ConnectionInfo::id`](crate::ConnectionInfo::id); requests are numbered by the client, and
/// dials by the origin.
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
    /// A connection could not be established.
    DialFailed {
        /// The dial.
        dial: u64,
        /// The cause, with its stage.
        error: Error,
    },
    /// A connection is established. It is idle until it is assigned, which is often at once.
    ConnectionOpened {
        /// The connection.
        connection: u64,
        /// The dial it came from.
        dial: u64,
        /// The version that it speaks: HTTP/1.1 or HTTP/2.
        version: http::Version,
    },
    /// A connection was assigned to a request. The connection is active.
    ConnectionAssigned {
        /// The connection.
        connection: u64,
        /// The request.
        request: u64,
        /// Exchanges that the connection had served before; above 0 it is reused.
        exchanges_before: u64,
        /// Time for which the connection had been idle; `None` straight from a dial or from another
        /// exchange.
        idle_age: Option<Duration>,
    },
    /// The socket of an idle connection became ready, and is inspected. The connection is active
    /// meanwhile.
    ConnectionInspected {
        /// The connection.
        connection: u64,
    },
    /// A connection returned to the pool, fit for another exchange. It is idle until it is assigned
    /// or closed, which may be at once.
    ConnectionReturned {
        /// The connection.
        connection: u64,
        /// True after an exchange; false if the connection was inspected, or returned unused.
        served: bool,
    },
    /// A connection is closed.
    ConnectionClosed {
        /// The connection.
        connection: u64,
        /// The reason.
        reason: CloseReason,
        /// The side that closed first, as far as the client saw.
        closer: Closer,
        /// The time since the connection was opened.
        age: Duration,
        /// True if the connection was active, and had not returned before.
        active: bool,
    },
    /// A request begins. A redirect that is followed is a request of its own.
    RequestBegan {
        /// The request.
        request: u64,
        /// Its method.
        method: Method,
    },
    /// A request waits for a connection: none was idle.
    WaitBegan {
        /// The request.
        request: u64,
    },
    /// A request waits no more.
    WaitEnded {
        /// The request.
        request: u64,
        /// Time spent waiting.
        waited: Duration,
        /// True if the request got a connection; false if it was refused one or gave up.
        served: bool,
    },
    /// A request is handed to another connection, because the previous one was dead.
    RequestRetried {
        /// The request.
        request: u64,
        /// The number of this attempt: 2 or more.
        attempt: u32,
    },
    /// The head of a request's response has come.
    HeadReceived {
        /// The request.
        request: u64,
        /// The status.
        status: StatusCode,
    },
    /// A request is over for the caller: the body was read to its end, the request failed, or
    /// either was dropped. The connection may have returned before, or may return later.
    RequestEnded {
        /// The request.
        request: u64,
        /// Its method.
        method: Method,
        /// The status of the response, if its head has come.
        status: Option<StatusCode>,
        /// The outcome.
        outcome: Outcome,
        /// The time since the request began.
        took: Duration,
        /// Bytes of the request's body that were taken to be sent, in the last attempt.
        sent: u64,
        /// Bytes of the response's body that the caller has read.
        received: u64,
    },
}

/// Outcome of a request.
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
