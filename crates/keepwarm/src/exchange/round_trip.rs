//! One round trip, without redirects: attempts on one connection after another until a response
//! comes.
//!
//! ```text
//!   round_trip ─► RoundTrip::poll ─┬─► Acquirer::poll_connection   from the pool
//!                                  ├─► attempt::begin              the request is written into a buffer
//!                                  ├─► Attempt::poll_head          until there is a head, or a failure
//!                                  ├─► Attempt::fail, give_up      a failure, and the room of its connection
//!                                  └─► RoundTrip::prepare          decided by `retry`
//! ```
//!
//! One state that is polled in place, and no chain of futures: each future of a chain would move the
//! response once more, and be moved itself before its first poll. The head of a response stays in
//! its connection until [`Arrived::into_response`] moves it to the caller.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::StatusCode;
use http::header::EXPECT;
use keepwarm_http1::ResponseHead;
use keepwarm_pool::Replacement;

use super::acquire::Acquirer;
use super::attempt::{self, Attempt, Failure};
use super::framing;
use super::outgoing::Outgoing;
use super::response_body::{ConnectionInfo, ResponseBody};
use super::retry::{FailedAttempt, Retry, decide_retry, is_idempotent};
use super::route::route;
use crate::deadline::{Deadline, StallWatch};
use crate::error::{Error, Result, Stage};
use crate::observe::request_events::RequestEvents;
use crate::pool::lease::Lease;
use crate::pool::origin::{Granted, Origin};
use crate::pool::origins::Origins;

/// Limit on the connections that one request is handed to. All but the last two had died before
/// a byte was written; each time, a dead connection leaves the pool.
const MAX_ATTEMPTS: u32 = 32;

/// Limit on the bytes of a response's body that are read to save its connection before the request
/// is sent again or a redirect is followed, if they have arrived with the head. As in Go
/// (`maxBodySlurpSize`); most such bodies are a line of text.
const MAX_DISCARDED_BYTES: usize = 2 << 10;

/// A response whose head has arrived, and is still in its connection.
pub(crate) struct Arrived {
    lease: Lease,
    info: ConnectionInfo,
    stall: StallWatch,
    events: RequestEvents,
}

impl Arrived {
    pub(crate) const fn info(&self) -> ConnectionInfo {
        self.info
    }

    /// Returns the head.
    pub(crate) fn head(&mut self) -> &ResponseHead {
        self.lease.connection().head()
    }

    /// Moves head and body to the caller. A connection whose response is complete already returns
    /// to the pool before that.
    pub(crate) fn into_response(self, deadline: Deadline) -> http::Response<ResponseBody> {
        let Self { mut lease, info, stall, events } = self;
        let ResponseHead { status, version, headers, .. } = lease.connection().take_head();
        let mut response = http::Response::new(ResponseBody::new(lease, info, deadline, stall));
        *response.status_mut() = status;
        *response.version_mut() = version;
        *response.headers_mut() = headers;
        response.body_mut().report_to(events);
        response
    }

    /// Drops the response, whose request is to be sent again or elsewhere. The bytes that arrived
    /// with its head are read, so that its connection can return to the pool.
    pub(crate) fn discard(self) {
        let mut body = self.into_response(Deadline::default()).into_body();
        body.discard_arrived(MAX_DISCARDED_BYTES);
    }
}

/// Sends one request and waits for the head of its response. The module [`retry`](super::retry) has
/// the rules by which it is sent again.
pub(crate) async fn round_trip(
    origins: &Origins,
    outgoing: &mut Outgoing,
    deadline: &mut Deadline,
) -> Result<Arrived> {
    let origin = route(origins, outgoing)?;
    let mut trip = RoundTrip::begin(origin, outgoing)?;
    poll_fn(|cx| trip.poll(outgoing, deadline, cx)).await
}

/// State of a round trip. Dropped in this order: the end of the request is its last event.
struct RoundTrip {
    attempt: Option<Attempt>,
    acquirer: Acquirer,
    /// Connections that the request was handed to.
    attempts: u32,
    /// Failure of the attempt that wrote bytes. Another failure after writing is final.
    first_failure: Option<Error>,
    events: RequestEvents,
    origin: Arc<Origin>,
}

impl RoundTrip {
    fn begin(origin: Arc<Origin>, outgoing: &Outgoing) -> Result<Self> {
        let shared = origin.shared();
        let (queue, clock) = (shared.events.as_ref(), &shared.clock);
        let mut events = RequestEvents::begin(queue, clock, origin.name(), &outgoing.method);
        match check(outgoing) {
            Ok(needs_chunks) => {
                let acquirer = Acquirer::new(&origin, events.request(), needs_chunks);
                let (attempts, first_failure, attempt) = (0, None, None);
                Ok(Self { origin, events, acquirer, attempts, first_failure, attempt })
            }
            Err(error) => {
                events.fail(&error);
                Err(error)
            }
        }
    }

    fn poll(
        &mut self,
        outgoing: &mut Outgoing,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Arrived>> {
        let span = self.events.span().clone();
        let polled = span.within(|| self.poll_attempts(outgoing, deadline, cx));
        match ready!(polled) {
            Ok(Attempt { lease, info, stall, .. }) => {
                let events = std::mem::take(&mut self.events);
                Poll::Ready(Ok(Arrived { lease, info, stall, events }))
            }
            Err(error) => {
                self.events.fail(&error);
                Poll::Ready(Err(error))
            }
        }
    }

    /// Makes attempts until one succeeds, or the policy allows no other one.
    fn poll_attempts(
        &mut self,
        outgoing: &mut Outgoing,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Attempt>> {
        loop {
            let Some(attempt) = &mut self.attempt else {
                let granted = ready!(self.acquirer.poll_connection(&self.origin, deadline, cx));
                self.begin_attempt(granted, outgoing)?;
                continue;
            };
            let outcome = ready!(attempt.poll_head(deadline, cx));
            let Some(mut attempt) = self.attempt.take() else { continue };
            let failure = match outcome {
                Ok(()) => {
                    let status = attempt.lease.connection().head().status;
                    self.events.head(status);
                    if !refuses_expectation(outgoing, status)
                        || !regain_body(&mut attempt.lease, outgoing)
                    {
                        return Poll::Ready(Ok(attempt));
                    }
                    self.drop_expectation(attempt, outgoing);
                    continue;
                }
                Err(outcome) => attempt.conclude(&self.origin, outcome),
            };
            self.prepare(failure, outgoing)?;
        }
    }

    /// Hands the request to a connection.
    fn begin_attempt(&mut self, granted: Result<Granted>, outgoing: &mut Outgoing) -> Result<()> {
        let granted = granted.map_err(|error| self.explain(error))?;
        self.attempts += 1;
        let Granted { mut lease, exchanges, idle_age } = granted;
        let info = ConnectionInfo {
            id: lease.connection().id(),
            exchanges_before: exchanges,
            idle_age,
            waited: self.acquirer.waited(),
            attempts: self.attempts,
            remote_address: lease.connection().remote_address(),
        };
        let attempt = attempt::begin(&self.origin, lease, info, outgoing, &self.events)?;
        self.attempt = Some(attempt);
        Ok(())
    }

    /// Explains that no connection could be had. If the request was written once, the result is
    /// that attempt's failure, also when the second attempt failed to connect: a caller that reads
    /// "connecting failed" may conclude that nothing was sent.
    #[cold]
    fn explain(&mut self, error: Error) -> Error {
        match self.first_failure.take() {
            None => error,
            Some(first) if error.is_timeout() => first.into_timeout(),
            Some(first) => first.with_message(format!("no connection to send it again: {error}")),
        }
    }

    /// Sends the request again without its expectation, which the server does not meet (417; RFC
    /// 9110, 10.1.1).
    #[cold]
    fn drop_expectation(&mut self, attempt: Attempt, outgoing: &mut Outgoing) {
        let Attempt { lease, info, stall, .. } = attempt;
        Arrived { lease, info, stall, events: RequestEvents::default() }.discard();
        outgoing.headers.remove(EXPECT);
        self.attempts = 0;
        self.first_failure = None;
    }

    /// Prepares the next attempt. `Err` if there is none.
    #[cold]
    fn prepare(&mut self, failure: Failure, outgoing: &mut Outgoing) -> Result<()> {
        let Failure { kind, error, unsent, info, broken } = failure;
        if let Some(body) = unsent {
            outgoing.put_back(body);
        }
        let attempt = FailedAttempt {
            failure: kind,
            may_be_stale: info.reused() || info.idle_age.is_some(),
            is_repeatable: outgoing.can_be_sent_again(),
            is_idempotent: is_idempotent(&outgoing.method, &outgoing.headers),
            was_sent_before: self.first_failure.is_some(),
        };
        let wanted = match decide_retry(attempt) {
            Retry::No => return Err(error),
            Retry::AnyConnection => Replacement::Any,
            Retry::FreshConnection => {
                self.first_failure = Some(error);
                Replacement::Fresh
            }
        };
        if self.attempts >= MAX_ATTEMPTS {
            return Err(Error::failed(Stage::Exchange, "one dead connection after another")
                .at(self.origin.name())
                .on_attempt(MAX_ATTEMPTS));
        }
        self.acquirer.replace(broken, wanted);
        Ok(())
    }
}

/// Rejects a request that cannot be sent. Returns true if it needs a server that understands chunks.
fn check(outgoing: &Outgoing) -> Result<bool> {
    if outgoing.method == http::Method::CONNECT {
        return Err(Error::invalid("CONNECT is not supported: it makes a tunnel, not a request"));
    }
    framing::check(outgoing)
}

/// Returns true if a response refuses the expectation of its request.
fn refuses_expectation(outgoing: &Outgoing, status: StatusCode) -> bool {
    status == StatusCode::EXPECTATION_FAILED && outgoing.headers.contains_key(EXPECT)
}

/// Takes the body of a request back for another attempt. False if it could be sent only once, and was
/// begun.
fn regain_body(lease: &mut Lease, outgoing: &mut Outgoing) -> bool {
    if outgoing.body().is_none()
        && let Some(body) = lease.connection().take_unsent()
    {
        outgoing.put_back(body);
    }
    outgoing.body().is_some()
}
