//! One round trip, without redirects: attempts on one connection after another until a response
//! comes.
//!
//! ```text
//!   round_trip ─► attempts ─┬─► Acquirer::connection         from the pool
//!                           ├─► begin                        the request is made and handed over
//!                           ├─► Exchange::drive_until_head   until hyper has a result
//!                           ├─► Exchange::conclude           a response, or a failure
//!                           └─► Next::prepare                decided by `retry`
//! ```

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use http::StatusCode;
use http::header::{CONNECTION, EXPECT, HOST, HeaderValue, USER_AGENT};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use keepwarm_pool::{CloseReason, Replacement};

use super::acquire::Acquirer;
use super::drain::drain_response;
use super::framing;
use super::outgoing::Outgoing;
use super::response_body::{ConnectionInfo, ResponseBody};
use super::retry::{FailedAttempt, FailureKind, Retry, decide_retry, is_idempotent};
use crate::deadline::{Deadline, StallWatch};
use crate::error::{BoxError, CLOSED_AT_ONCE, Error, Result, Stage};
use crate::observe::request_events::RequestEvents;
use crate::observe::spans::SendSpan;
use crate::origin_key::OriginRef;
use crate::pool::lease::{Broken, Lease};
use crate::pool::origin::Origin;
use crate::pool::origins::Origins;
use crate::wire::body::Body;
use crate::wire::connection::says_close;
use crate::wire::interim::{self, Expectation, MAX_BYTES_BEFORE_HEAD};
use crate::wire::pending_response::Responded;

/// Limit on the connections that one request is handed to. All but the last two had died before
/// a byte was written; each time, a dead connection leaves the pool.
const MAX_ATTEMPTS: u32 = 32;

/// Error of a 101, which switches the connection to a protocol that this client does not support.
const SWITCHED: &str = "the server switched protocols (101), which this client does not";

/// Limit on the bytes of a response's body that are read to save its connection before the request
/// is sent again or a redirect is followed, if they have arrived with the head. As in Go
/// (`maxBodySlurpSize`); most such bodies are a line of text.
pub(super) const MAX_DISCARDED_BYTES: usize = 2 << 10;

const AGENT: &str = concat!("keepwarm/", env!("CARGO_PKG_VERSION"));

/// Sends one request and waits for the head of its response. The module [`retry`](super::retry) has
/// the rules by which it is sent again.
pub(crate) async fn round_trip(
    origins: &Origins,
    outgoing: &mut Outgoing,
    deadline: Deadline,
) -> Result<(http::Response<ResponseBody>, ConnectionInfo)> {
    let origin = origins.get(OriginRef::of(&outgoing.uri)?);
    let shared = origin.shared();
    let (queue, clock) = (shared.events.as_ref(), &shared.clock);
    let mut events = RequestEvents::begin(queue, clock, origin.name(), &outgoing.method);
    let span = events.span().clone();
    match span.around(with_expectation(&origin, outgoing, deadline, &mut events)).await {
        Ok((mut response, info)) => {
            response.body_mut().report_to(events);
            Ok((response, info))
        }
        Err(error) => {
            events.fail(&error);
            Err(error)
        }
    }
}

/// Sends a request, and sends it again without its expectation if the server does not meet that
/// (417; RFC 9110, 10.1.1) and the body can still be sent.
async fn with_expectation(
    origin: &Arc<Origin>,
    outgoing: &mut Outgoing,
    deadline: Deadline,
    events: &mut RequestEvents,
) -> Result<(http::Response<ResponseBody>, ConnectionInfo)> {
    let (response, info) = attempts(origin, outgoing, deadline, events).await?;
    let is_refused = response.status() == StatusCode::EXPECTATION_FAILED
        && outgoing.headers.contains_key(EXPECT)
        && outgoing.can_be_sent_again();
    if !is_refused {
        return Ok((response, info));
    }
    outgoing.headers.remove(EXPECT);
    let mut body = response.into_body();
    body.discard_arrived(MAX_DISCARDED_BYTES);
    let deadline = body.into_deadline();
    attempts(origin, outgoing, deadline, events).await
}

/// Makes attempts until one succeeds, or the policy allows no other one.
async fn attempts(
    origin: &Arc<Origin>,
    outgoing: &mut Outgoing,
    mut deadline: Deadline,
    events: &mut RequestEvents,
) -> Result<(http::Response<ResponseBody>, ConnectionInfo)> {
    if outgoing.method == http::Method::CONNECT {
        return Err(Error::invalid("CONNECT is not supported: it makes a tunnel, not a request"));
    }
    let needs_chunks = framing::check(outgoing)?;
    let mut acquirer = Acquirer::new(origin, events.request(), needs_chunks);
    let mut next = Next::default();
    for number in 1..=MAX_ATTEMPTS {
        let mut granted = match acquirer.connection(next.broken.take(), &mut deadline).await {
            Ok(granted) => granted,
            Err(error) => return Err(next.explain(error)),
        };
        let info = ConnectionInfo {
            id: granted.lease.connection().id(),
            exchanges_before: granted.exchanges,
            idle_age: granted.idle_age,
            waited: acquirer.waited(),
            attempts: number,
        };
        let unsent = next.unsent.take();
        let expectation = begin(origin, &mut granted.lease, outgoing, unsent, number, events)?;
        let lease = granted.lease;
        let mut exchange = Exchange { origin, lease, expectation, info, deadline };
        let outcome = exchange.drive_until_head().await;
        match exchange.conclude(outcome, events) {
            Ok(response) => return Ok((response, info)),
            Err(failure) => deadline = next.prepare(failure, outgoing, info)?,
        }
    }
    Err(Error::failed(Stage::Exchange, "one dead connection after another")
        .at(origin.name())
        .on_attempt(MAX_ATTEMPTS))
}

/// State that one attempt leaves to the next.
#[derive(Default)]
struct Next {
    /// The request itself, if no byte of it was written.
    unsent: Option<Box<http::Request<Body>>>,
    /// Failure of the attempt that wrote bytes. Another failure after writing is final.
    first_failure: Option<Error>,
    /// Room of the connection that broke, which is the next attempt's.
    broken: Option<(Broken, Replacement)>,
}

impl Next {
    /// Explains that no connection could be had. If the request was written once, the result is
    /// that attempt's failure, also when the second attempt failed to connect: a caller that reads
    /// "connecting failed" may conclude that nothing was sent.
    fn explain(self, error: Error) -> Error {
        match self.first_failure {
            None => error,
            Some(first) if error.is_timeout() => first.into_timeout(),
            Some(first) => first.with_message(format!("no connection to send it again: {error}")),
        }
    }

    /// Prepares the next attempt, and returns the rest of the request's time. `Err` if there is no
    /// other attempt.
    fn prepare(
        &mut self,
        failure: Failure,
        outgoing: &Outgoing,
        info: ConnectionInfo,
    ) -> Result<Deadline> {
        let Failure { kind, error, unsent, deadline, broken } = failure;
        let attempt = FailedAttempt {
            failure: kind,
            may_be_stale: info.reused() || info.idle_age.is_some(),
            is_repeatable: outgoing.can_be_sent_again(),
            is_idempotent: is_idempotent(&outgoing.method, &outgoing.headers),
            was_sent_before: self.first_failure.is_some(),
        };
        let wanted = match decide_retry(attempt) {
            Retry::No => return Err(error),
            Retry::AnyConnection => {
                self.unsent = unsent;
                Replacement::Any
            }
            Retry::FreshConnection => {
                self.first_failure = Some(error);
                Replacement::Fresh
            }
        };
        self.broken = broken.map(|broken| (broken, wanted));
        Ok(deadline)
    }
}

/// A failed exchange. Its connection broke or was closed, or is being drained.
struct Failure {
    kind: FailureKind,
    error: Error,
    /// The request, if no byte of it was written.
    unsent: Option<Box<http::Request<Body>>>,
    /// Rest of the request's time.
    deadline: Deadline,
    /// Room of the connection, if it broke.
    broken: Option<Broken>,
}

/// Hands the connection a request: the `unsent` one, or a new one.
///
/// Not an `async fn`: a request in a local of an `async fn` is stored in its future, and that is
/// moved as a whole before it is polled.
fn begin(
    origin: &Origin,
    lease: &mut Lease,
    outgoing: &mut Outgoing,
    unsent: Option<Box<http::Request<Body>>>,
    number: u32,
    events: &RequestEvents,
) -> Result<Option<Expectation>> {
    let mut request = match unsent {
        Some(request) => *request,
        None => prepare(origin, outgoing)?,
    };
    if let Some(counter) = events.attempt(number) {
        request.body_mut().count_into(counter);
    }
    let limit = origin.shared().settings.expect_continue_timeout;
    let expectation = Expectation::of(request.body(), limit);
    lease.begin(drain_response);
    lease.connection().send(request);
    Ok(expectation)
}

/// Makes the request that goes on the wire: origin-form target, `Host`, `User-Agent`, the framing
/// of the body, and `Connection: close` if connections are not kept.
fn prepare(origin: &Origin, outgoing: &mut Outgoing) -> Result<http::Request<Body>> {
    let mut request = http::Request::new(outgoing.take_body());
    *request.method_mut() = outgoing.method.clone();
    *request.extensions_mut() = outgoing.extensions.clone();
    if let Some(target) = outgoing.uri.path_and_query() {
        *request.uri_mut() = target.clone().into();
    }
    // Most requests have no fields here: then this allocates nothing.
    request.headers_mut().clone_from(&outgoing.headers);
    framing::apply(&mut request)?;
    let headers = request.headers_mut();
    if !headers.contains_key(HOST) {
        headers.insert(HOST, origin.host_field().clone());
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    }
    // hyper follows the field of either side: such a connection ends after this exchange.
    if !origin.shared().settings.keep_alive && !says_close(headers) {
        headers.append(CONNECTION, HeaderValue::from_static("close"));
    }
    interim::prepare(&mut request, origin.shared().settings.expect_continue_timeout);
    Ok(request)
}

/// An exchange whose request has been handed to its connection.
struct Exchange<'a> {
    origin: &'a Arc<Origin>,
    lease: Lease,
    expectation: Option<Expectation>,
    info: ConnectionInfo,
    deadline: Deadline,
}

impl Exchange<'_> {
    /// Drives the connection until hyper has a result. `Err` if the client gives up before.
    async fn drive_until_head(&mut self) -> Result<Responded> {
        let header_timeout = self.origin.shared().settings.response_header_timeout;
        let mut header_timer: Option<Deadline> = None;
        let mut stall = StallWatch::new(self.origin.shared().settings.stall_timeout);
        let mut span = SendSpan::write();
        let (connection, deadline) = (self.lease.connection(), &mut self.deadline);
        let expectation = &mut self.expectation;
        let result = poll_fn(|cx| {
            // Only a drive brings the result, by the end of the connection at the latest.
            connection.drive();
            if let Some(expectation) = expectation
                && expectation.poll_over(connection.has_flushed(), cx)
            {
                connection.drive();
            }
            span.look(|| connection.request_is_written());
            if let Poll::Ready(responded) = connection.poll_response() {
                return Poll::Ready(Ok(responded));
            }
            if deadline.poll_expired(cx) {
                return Poll::Ready(Err(Error::timeout(Stage::Exchange)));
            }
            if header_timeout.is_some() && connection.request_is_written() {
                let timer = header_timer.get_or_insert_with(|| Deadline::after(header_timeout));
                if timer.poll_expired(cx) {
                    return Poll::Ready(Err(Error::header_timeout()));
                }
            }
            if connection.traffic().read > MAX_BYTES_BEFORE_HEAD {
                return Poll::Ready(Err(Error::endless_head()));
            }
            // A body that is under way with no byte left to write is waited for itself.
            let waits_for_peer = !connection.is_uploading() || !connection.has_flushed();
            if stall.poll_stalled(connection.traffic().total(), waits_for_peer, cx) {
                return Poll::Ready(Err(Error::stall_timeout(Stage::Exchange)));
            }
            connection.wait(cx);
            Poll::Pending
        })
        .await;
        span.end();
        result
    }

    /// Concludes the exchange: takes the response, or ends the connection.
    fn conclude(
        self,
        outcome: Result<Responded>,
        events: &mut RequestEvents,
    ) -> Result<http::Response<ResponseBody>, Failure> {
        match outcome {
            Ok(Ok(response)) => self.receive(response, events),
            Ok(Err(error)) => Err(self.fail(error)),
            Err(given_up) => Err(self.give_up(given_up)),
        }
    }

    /// Takes the head of a response. A connection whose response is complete already returns to the
    /// pool before the caller sees the head.
    fn receive(
        mut self,
        response: http::Response<Incoming>,
        events: &mut RequestEvents,
    ) -> Result<http::Response<ResponseBody>, Failure> {
        events.head(response.status());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let connection = self.lease.connection();
            let (closer, written) = (connection.closer(), connection.traffic().written);
            self.lease.close(CloseReason::ExchangeFailed, closer);
            let error = failed(self.origin, self.info, written, SWITCHED);
            let (kind, deadline) = (FailureKind::Other, self.deadline);
            return Err(Failure { kind, error, unsent: None, deadline, broken: None });
        }
        let Self { mut lease, expectation, info, deadline, .. } = self;
        let connection = lease.connection();
        if expectation.is_some_and(|expectation| expectation.is_held()) {
            connection.withhold();
        }
        connection.note_response(&response);
        let (parts, incoming) = response.into_parts();
        let body = ResponseBody::new(incoming, lease, info, deadline);
        Ok(http::Response::from_parts(parts, body))
    }

    /// Ends the connection after hyper's error.
    fn fail(self, mut error: TrySendError<http::Request<Body>>) -> Failure {
        let Self { origin, mut lease, info, deadline, .. } = self;
        let connection = lease.connection();
        let closer = connection.closer();
        if let Some(request) = error.take_message() {
            let broken = Some(lease.broken(CloseReason::PeerClosedIdle, closer));
            let error = failed(origin, info, 0, CLOSED_AT_ONCE);
            let (kind, unsent) = (FailureKind::Unsent, Some(Box::new(request)));
            return Failure { kind, error, unsent, deadline, broken };
        }
        let (cut, traffic) = (connection.was_cut(), connection.traffic());
        let broken = Some(lease.broken(CloseReason::ExchangeFailed, closer));
        let error = failed(origin, info, traffic.written, error.into_error());
        let kind = if cut {
            FailureKind::Cut { written: traffic.written > 0, read: traffic.read > 0 }
        } else {
            FailureKind::Other
        };
        Failure { kind, error, unsent: None, deadline, broken }
    }

    /// Gives up for an error of the client's own.
    fn give_up(self, error: Error) -> Failure {
        let Self { origin, mut lease, info, deadline, .. } = self;
        let connection = lease.connection();
        let (closer, written) = (connection.closer(), connection.traffic().written);
        if error.is_timeout() {
            // Dropped, the lease is drained: the response may still come soon, and be small.
            drop(lease);
        } else {
            lease.close(CloseReason::Abandoned, closer);
        }
        let error = error.at(origin.name()).on_reused(info.reused());
        let error = error.on_attempt(info.attempts).after_writing(written);
        Failure { kind: FailureKind::Other, error, unsent: None, deadline, broken: None }
    }
}

fn failed(
    origin: &Origin,
    info: ConnectionInfo,
    written: u64,
    cause: impl Into<BoxError>,
) -> Error {
    Error::failed(Stage::Exchange, cause)
        .at(origin.name())
        .on_reused(info.reused())
        .on_attempt(info.attempts)
        .after_writing(written)
}
