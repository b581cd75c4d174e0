//! One round trip, without redirects: attempts on one connection after another until a response
//! comes.
//!
//! ```text
//!   RoundTrip::poll ─┬─► Acquirer::poll_connection   from the pool
//!                    ├─► attempt::begin              the request is written into a buffer
//!                    ├─► Attempt::poll_head          until there is a head, or a failure
//!                    ├─► Attempt::fail, give_up      a failure, and the room of its connection
//!                    └─► RoundTrip::prepare          decided by `retry`
//! ```
//!
//! One state that is polled in place, and no chain of futures: each future of a chain would move the
//! response once more, and be moved itself before its first poll. The head of a response stays in
//! its connection until [`RoundTrip::receive`] moves it to the caller.

use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use http::header::EXPECT;
use keepwarm_http1::{Framing, ResponseHead};
use keepwarm_pool::Replacement;

use super::acquire::Acquirer;
use super::attempt::{self, Attempt, AttemptFailure};
use super::framing;
use super::http2::{self, StreamAttempt};
use super::outgoing::Outgoing;
use super::received::Received;
use super::response_body::{ConnectionInfo, ResponseBody};
use super::retry::{FailedAttempt, FailureKind, Retry, decide_retry, is_idempotent};
use super::route::route;
use super::upgrade::Switched;
use crate::deadline::Deadline;
use crate::error::{Error, Result, Stage};
use crate::observe::request_events::RequestEvents;
use crate::pool::closing::{Closing, Hold};
use crate::pool::lease::Lease;
use crate::pool::origin::{Granted, Granting, Origin};
use crate::pool::origins::Origins;
use crate::pool::stream_lease::StreamLease;

/// Limit on the connections that one request is handed to. All but the last two had died before
/// a byte was written; each time, a dead connection leaves the pool.
const MAX_ATTEMPTS: u32 = 32;

/// Limit on the connections that a server may end by an error where this request began: the request is
/// probably what it cannot read, and each time the connection's other requests are held up.
const MAX_BLAMED: u32 = 3;

/// Limit on the bytes of a response's body that are read to save its connection before the request
/// is sent again or a redirect is followed, if they have arrived with the head. As in Go
/// (`maxBodySlurpSize`); most such bodies are a line of text.
const MAX_DISCARDED_BYTES: usize = 2 << 10;

/// Broken promise of a caller that asks for a head.
const NO_HEAD: &str = "the head is asked for when it is there";

/// State of a round trip. Dropped in this order: the end of the request is its last event.
pub(crate) struct RoundTrip {
    /// The attempt under way, or the one that the response came by.
    attempt: Option<Attempt>,
    /// The attempt on a shared connection (HTTP/2); `attempt` is `None` then. Boxed, so that a request by
    /// HTTP/1.1 reserves no room for it.
    stream: Option<Box<StreamAttempt>>,
    /// Runs before a request goes again that a server has refused.
    pause: Deadline,
    /// Set from when the response to an expectation was dropped until the request has a connection
    /// again.
    goes_again: Option<Hold>,
    acquirer: Acquirer,
    /// Connections that the request was handed to.
    attempts: u32,
    /// Connections among them that the server ended by an error where this request began.
    blamed: u32,
    /// Failure of the attempt that wrote bytes. Another failure after writing is final.
    first_failure: Option<Error>,
    events: RequestEvents,
    /// `None` while an attempt holds it.
    origin: Option<Arc<Origin>>,
}

impl RoundTrip {
    /// Begins a round trip of a request.
    #[inline]
    pub(crate) fn begin(origins: &Origins, outgoing: &mut Outgoing) -> Result<Self> {
        let origin = route(origins, outgoing)?;
        let shared = origin.shared();
        let (queue, clock) = (shared.events.as_ref(), &shared.clock);
        let mut events = RequestEvents::begin(queue, clock, origin.name(), &outgoing.method);
        let needs_chunks = check(outgoing).inspect_err(|error| events.fail(error))?;
        Ok(Self {
            attempt: None,
            stream: None,
            pause: Deadline::default(),
            goes_again: None,
            acquirer: Acquirer::new(&origin, events.request(), needs_chunks),
            attempts: 0,
            blamed: 0,
            first_failure: None,
            events,
            origin: Some(origin),
        })
    }

    fn origin(&self) -> &Arc<Origin> {
        let lent = || self.attempt.as_ref().map(|attempt| attempt.lease.origin());
        self.origin.as_ref().or_else(lent).expect("a request or its attempt holds the origin")
    }

    /// Sends the request, and waits for the head of its response. The module
    /// [`retry`](super::retry) has the rules by which it is sent again.
    pub(crate) fn poll(
        &mut self,
        outgoing: &mut Outgoing,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let span = self.events.span().clone();
        let polled = span.within(|| self.poll_attempts(outgoing, deadline, cx));
        if let Poll::Ready(Err(error)) = &polled {
            self.events.fail(error);
        }
        polled
    }

    /// Returns the head, once [`poll`](Self::poll) has ended.
    pub(crate) fn head(&mut self) -> &ResponseHead {
        match &mut self.attempt {
            Some(attempt) => attempt.lease.connection().head(),
            None => self.stream.as_ref().and_then(|stream| stream.head()).expect(NO_HEAD),
        }
    }

    /// Moves head and body to the caller, once [`poll`](Self::poll) has ended. A connection whose
    /// response is complete already returns to the pool before that.
    pub(crate) fn receive(&mut self, deadline: Deadline) -> Received {
        let events = std::mem::take(&mut self.events);
        match self.attempt.take() {
            Some(attempt) => of_connection(attempt, deadline, events),
            None => of_stream(self.stream.take().expect(NO_HEAD), deadline, events),
        }
    }

    /// Drops the response, whose request is to be sent again or elsewhere. The bytes that arrived
    /// with its head are read, so that its connection can return to the pool.
    pub(crate) fn discard(&mut self) {
        let mut body = self.receive(Deadline::default()).body;
        body.discard_arrived(MAX_DISCARDED_BYTES);
    }

    /// Makes attempts until one succeeds, or the policy allows no other one.
    fn poll_attempts(
        &mut self,
        outgoing: &mut Outgoing,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        loop {
            let Some(attempt) = &mut self.attempt else {
                if self.stream.is_some() {
                    ready!(self.poll_stream(outgoing, deadline, cx))?;
                    if self.stream.is_some() {
                        return Poll::Ready(Ok(()));
                    }
                    continue;
                }
                if self.pause.is_set() && !self.pause.poll_expired(cx) {
                    return self.wait_in_pause(deadline, cx);
                }
                self.pause = Deadline::default();
                let origin = &mut self.origin;
                let granted = ready!(self.acquirer.poll_connection(origin, deadline, cx));
                self.begin_attempt(granted, outgoing)?;
                continue;
            };
            match ready!(attempt.poll_head(deadline, cx)) {
                Ok(()) => {
                    let status = attempt.lease.connection().head().status;
                    self.events.head(status);
                    if !refuses_expectation(outgoing, status)
                        || !regain_body(&mut attempt.lease, outgoing)
                    {
                        return Poll::Ready(Ok(()));
                    }
                    self.drop_expectation(outgoing);
                }
                Err(outcome) => {
                    let Some(attempt) = self.attempt.take() else { continue };
                    let origin = Arc::clone(attempt.lease.origin());
                    let failure = attempt.conclude(&origin, outcome);
                    self.origin = Some(origin);
                    self.prepare(failure, outgoing)?;
                }
            }
        }
    }

    /// Hands the request to a connection.
    fn begin_attempt(&mut self, granted: Result<Granted>, outgoing: &mut Outgoing) -> Result<()> {
        let granted = granted.map_err(|error| self.explain(error))?;
        self.goes_again = None;
        self.attempts += 1;
        let Granted { lease, exchanges, idle_age, streams } = granted;
        let mut lease = match lease {
            Granting::Exclusive(lease) => lease,
            Granting::Stream(lease) => {
                return self.begin_stream(lease, exchanges, idle_age, streams, outgoing);
            }
        };
        let info = ConnectionInfo {
            id: lease.connection().id(),
            exchanges_before: exchanges,
            idle_age,
            waited: self.acquirer.waited(),
            attempts: self.attempts,
            remote_address: lease.connection().remote_address(),
            version: http::Version::HTTP_11,
            streams: 1,
        };
        let attempt = attempt::begin(lease, info, outgoing, &self.events)?;
        self.attempt = Some(attempt);
        Ok(())
    }

    /// Hands the request to a shared connection.
    fn begin_stream(
        &mut self,
        lease: StreamLease,
        exchanges_before: u64,
        idle_age: Option<Duration>,
        streams: u32,
        outgoing: &mut Outgoing,
    ) -> Result<()> {
        let info = ConnectionInfo {
            id: lease.http2().id(),
            exchanges_before,
            idle_age,
            waited: self.acquirer.waited(),
            attempts: self.attempts,
            remote_address: lease.http2().peer().address,
            version: http::Version::HTTP_2,
            streams,
        };
        match http2::begin(self.origin(), lease, info, outgoing, &self.events)? {
            Ok(attempt) => self.stream = Some(attempt),
            Err(failed) => {
                let failure = http2::conclude(self.origin(), *failed, info, outgoing);
                self.prepare(failure, outgoing)?;
            }
        }
        Ok(())
    }

    /// Waits for the head of a response on a stream. Without a stream afterwards, the request goes
    /// again.
    fn poll_stream(
        &mut self,
        outgoing: &mut Outgoing,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<()>> {
        let (Some(stream), Some(origin)) = (&mut self.stream, &self.origin) else {
            return Poll::Ready(Ok(()));
        };
        if let Err(reason) = ready!(stream.poll_head(origin, deadline, cx)) {
            return Poll::Ready(self.conclude_stream(reason, outgoing));
        }
        let status = stream.head().expect(NO_HEAD).status;
        self.events.head(status);
        if refuses_expectation(outgoing, status) && outgoing.body().is_some() {
            self.goes_again = Some(Closing::hold(&self.origin().shared().closing));
            if let Some(stream) = self.stream.take() {
                let (_, _, body) = stream.receive();
                body.abandon();
            }
            outgoing.headers.remove(EXPECT);
            (self.attempts, self.first_failure) = (0, None);
        }
        Poll::Ready(Ok(()))
    }

    /// Decides whether the request goes again whose stream has no head. `Err` if it does not.
    #[cold]
    fn conclude_stream(&mut self, reason: http2::NoHead, outgoing: &mut Outgoing) -> Result<()> {
        let Some(stream) = self.stream.take() else { return Ok(()) };
        let info = stream.info;
        match stream.conclude(reason) {
            http2::StreamOutcome::GivenUp(error, written) => {
                Err(http2::describe(self.origin(), error, info, written))
            }
            http2::StreamOutcome::Failed(failed) => {
                self.blamed += u32::from(failed.is_blamed());
                let failure = http2::conclude(self.origin(), failed, info, outgoing);
                if self.blamed >= MAX_BLAMED {
                    return Err(failure.error);
                }
                if failure.kind == FailureKind::Unprocessed && self.attempts > 1 {
                    let pause = Duration::from_millis(10 << self.attempts.min(7));
                    self.pause = Deadline::after(Some(pause));
                }
                self.prepare(failure, outgoing)
            }
        }
    }

    /// Waits before a request goes again that a server has refused.
    #[cold]
    fn wait_in_pause<T>(&self, deadline: &mut Deadline, cx: &mut Context<'_>) -> Poll<Result<T>> {
        if !deadline.poll_expired(cx) {
            return Poll::Pending;
        }
        let error = Error::timeout(Stage::Exchange).at(self.origin().name());
        Poll::Ready(Err(error.on_attempt(self.attempts)))
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
    fn drop_expectation(&mut self, outgoing: &mut Outgoing) {
        let origin = Arc::clone(self.origin());
        self.goes_again = Some(Closing::hold(&origin.shared().closing));
        self.origin = Some(origin);
        // The events go on with the next attempt.
        let events = std::mem::take(&mut self.events);
        self.discard();
        self.events = events;
        outgoing.headers.remove(EXPECT);
        self.attempts = 0;
        self.first_failure = None;
    }

    /// Prepares the next attempt. `Err` if there is none.
    #[cold]
    fn prepare(&mut self, failure: AttemptFailure, outgoing: &mut Outgoing) -> Result<()> {
        let AttemptFailure { kind, error, unsent, info, broken } = failure;
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
        if kind == FailureKind::Unprocessed && self.attempts >= MAX_ATTEMPTS {
            return Err(error);
        }
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
                .at(self.origin().name())
                .on_attempt(MAX_ATTEMPTS));
        }
        self.acquirer.replace(broken, wanted);
        Ok(())
    }
}

/// Rejects a request that cannot be sent. Returns true if it needs a server that understands chunks.
fn check(outgoing: &Outgoing) -> Result<bool> {
    // A tunnel takes a connection of HTTP/1.1, and ALPN may choose HTTP/2.
    if outgoing.method == http::Method::CONNECT && outgoing.uri.scheme_str() == Some("https") {
        return Err(Error::invalid("CONNECT goes to an http URL; through a proxy, set proxy"));
    }
    framing::check(outgoing)
}

fn of_connection(attempt: Attempt, deadline: Deadline, events: RequestEvents) -> Received {
    let Attempt { mut lease, info, stall, .. } = attempt;
    let ResponseHead { status, version, headers, framing } = lease.connection().take_head();
    let mut extensions = http::Extensions::new();
    let body = if framing == Framing::Switched {
        switch(lease, &info, &mut extensions)
    } else {
        ResponseBody::new(lease, &info, deadline, stall)
    };
    let mut received = Received { status, version, headers, extensions, body, connection: info };
    received.body.report_to(events);
    received
}

fn of_stream(stream: Box<StreamAttempt>, deadline: Deadline, events: RequestEvents) -> Received {
    let info = stream.info;
    let (head, stall, body) = stream.receive();
    let ResponseHead { status, version, headers, .. } = head;
    let body = ResponseBody::of_stream(body, &info, deadline, stall);
    let extensions = http::Extensions::new();
    let mut received = Received { status, version, headers, extensions, body, connection: info };
    received.body.report_to(events);
    received
}

/// Hands over a connection that has left HTTP: see [`Response::upgrade`](crate::Response::upgrade).
#[cold]
fn switch(
    mut lease: Lease,
    info: &ConnectionInfo,
    extensions: &mut http::Extensions,
) -> ResponseBody {
    let body = ResponseBody::without_connection(info, lease.connection().tls().cloned());
    extensions.insert(Switched::new(lease));
    body
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
