//! One round trip, without redirects: attempts on one connection after another until a response
//! comes.
//!
//! ```text
//!   round_trip ─► attempts ─┬─► Acquirer::connection         from the pool
//!                           ├─► begin                        the request is written into a buffer
//!                           ├─► Exchange::drive_until_head   until there is a head, or a failure
//!                           ├─► Exchange::conclude           a response, or a failure
//!                           └─► Next::prepare                decided by `retry`
//! ```

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, HOST, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, StatusCode};
use keepwarm_http1::encode::{HeadWriter, RequestFraming, Target};
use keepwarm_http1::fields::connection_lists;
use keepwarm_http1::{Asked, Refusal, ResponseHead};
use keepwarm_pool::{CloseReason, Replacement};

use super::acquire::Acquirer;
use super::drain::drain_response;
use super::framing;
use super::outgoing::Outgoing;
use super::response_body::{ConnectionInfo, ResponseBody};
use super::retry::{FailedAttempt, FailureKind, Retry, decide_retry, is_idempotent};
use super::route::route;
use crate::deadline::{Deadline, StallWatch};
use crate::error::{BoxError, Error, Result, Stage};
use crate::observe::request_events::RequestEvents;
use crate::observe::spans::SendSpan;
use crate::origin_key::OriginRef;
use crate::pool::lease::{Broken, Lease};
use crate::pool::origin::Origin;
use crate::pool::origins::Origins;
use crate::wire::body::Body;
use crate::wire::connection::{Responded, Sending};
use crate::wire::http1::Failure as WireFailure;
use crate::wire::interim::{Expectation, InterimListener, expects_continue};

/// Limit on the connections that one request is handed to. All but the last two had died before
/// a byte was written; each time, a dead connection leaves the pool.
const MAX_ATTEMPTS: u32 = 32;

/// Error of a head beyond the limit of the codec.
const TOO_LARGE: &str =
    "more than 1 MiB of interim responses (1xx) and header fields, and no end of them";

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
    let origin = route(origins, outgoing)?;
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
            remote_address: granted.lease.connection().remote_address(),
        };
        let expectation = begin(origin, &mut granted.lease, outgoing, number, events)?;
        let lease = granted.lease;
        let stall = outgoing.stall_timeout(&origin.shared().settings);
        let mut exchange = Exchange { origin, lease, expectation, info, deadline, stall };
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
        outgoing: &mut Outgoing,
        info: ConnectionInfo,
    ) -> Result<Deadline> {
        let Failure { kind, error, unsent, deadline, broken } = failure;
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
        self.broken = broken.map(|broken| (broken, wanted));
        Ok(deadline)
    }
}

/// A failed exchange. Its connection broke or was closed, or is being drained.
struct Failure {
    kind: FailureKind,
    error: Error,
    /// The body of the request, if no byte of the request was written.
    unsent: Option<Body>,
    /// Rest of the request's time.
    deadline: Deadline,
    /// Room of the connection, if it broke.
    broken: Option<Broken>,
}

/// Hands the connection a request.
fn begin(
    origin: &Origin,
    lease: &mut Lease,
    outgoing: &mut Outgoing,
    number: u32,
    events: &RequestEvents,
) -> Result<Option<Expectation>> {
    let mut body = outgoing.take_body();
    let framing = framing::apply(&outgoing.method, &outgoing.headers, &mut body)?;
    if let Some(counter) = events.attempt(number) {
        body.count_into(counter);
    }
    let settings = &origin.shared().settings;
    let limit = settings.expect_continue_timeout;
    let is_held = !limit.is_zero()
        && !http_body::Body::is_end_stream(&body)
        && expects_continue(&outgoing.headers);
    let says_close = connection_lists(&outgoing.headers, "close");
    let connection = lease.connection();
    write_head(
        origin,
        outgoing,
        framing,
        !settings.keep_alive && !says_close,
        connection.head_buffer(),
    )?;
    let asked = if outgoing.method == http::Method::HEAD { Asked::Head } else { Asked::Plain };
    let is_chunked = framing == RequestFraming::Chunked;
    let is_last = says_close || !settings.keep_alive;
    let listener = outgoing.extensions.get::<InterimListener>().cloned();
    lease.begin(drain_response);
    lease.connection().send(Sending { asked, body, is_chunked, is_held, is_last, listener });
    Ok(is_held.then(|| Expectation::within(limit)))
}

/// Writes the head that goes on the wire: origin-form target, `Host`, the caller's fields,
/// `User-Agent`, the framing of the body, and `Connection: close` if connections are not kept.
fn write_head(
    origin: &Origin,
    outgoing: &Outgoing,
    framing: RequestFraming,
    adds_close: bool,
    out: &mut Vec<u8>,
) -> Result<()> {
    let target = outgoing.uri.path_and_query().map_or("", |target| target.as_str());
    let headers = &outgoing.headers;
    if origin.key().is_forwarded() {
        return write_forwarded(origin, outgoing, framing, adds_close, out);
    }
    let host = headers.get(HOST).unwrap_or(origin.host_field());
    let begun = HeadWriter::begin(out, &outgoing.method, Target::Origin(target), host);
    let head = begun.map_err(|error| Error::invalid(error.to_string()))?;
    finish_head(head, headers, framing, adds_close);
    Ok(())
}

/// Writes the head of a request that a proxy reads: the target in absolute-form (RFC 9112, 3.2.2),
/// and the proxy's own fields.
fn write_forwarded(
    origin: &Origin,
    outgoing: &Outgoing,
    framing: RequestFraming,
    adds_close: bool,
    out: &mut Vec<u8>,
) -> Result<()> {
    let headers = &outgoing.headers;
    let own = OriginRef::of(&outgoing.uri)?.to_key().host_field();
    let authority = own.to_str().unwrap_or_default();
    let path = outgoing.uri.path_and_query().map_or("", |target| target.as_str());
    let target = Target::Absolute { scheme: "http", authority, path };
    let host = headers.get(HOST).unwrap_or(&own);
    let begun = HeadWriter::begin(out, &outgoing.method, target, host);
    let mut head = begun.map_err(|error| Error::invalid(error.to_string()))?;
    if let Some(via) = origin.key().via() {
        head.fields(&via.server.fields);
        if !headers.contains_key(PROXY_AUTHORIZATION)
            && let Some(authorization) = via.server.authorization()
        {
            head.field(&PROXY_AUTHORIZATION, &authorization);
        }
    }
    finish_head(head, headers, framing, adds_close);
    Ok(())
}

/// Writes the rest of a head.
fn finish_head(
    mut head: HeadWriter<'_>,
    headers: &HeaderMap,
    framing: RequestFraming,
    adds_close: bool,
) {
    head.fields(headers);
    if !headers.contains_key(USER_AGENT) {
        head.field(&USER_AGENT, &HeaderValue::from_static(AGENT));
    }
    if adds_close {
        head.field(&CONNECTION, &HeaderValue::from_static("close"));
    }
    head.end(framing);
}

/// An exchange whose request has been handed to its connection.
struct Exchange<'a> {
    origin: &'a Arc<Origin>,
    lease: Lease,
    expectation: Option<Expectation>,
    info: ConnectionInfo,
    deadline: Deadline,
    /// The stall timeout.
    stall: Option<Duration>,
}

impl Exchange<'_> {
    /// Drives the connection until there is a head or a failure. `Err` if the client gives up
    /// before.
    async fn drive_until_head(&mut self) -> Result<Responded> {
        let header_timeout = self.origin.shared().settings.response_header_timeout;
        let mut header_timer: Option<Deadline> = None;
        let mut stall = StallWatch::new(self.stall);
        let mut span = SendSpan::write();
        let (connection, deadline) = (self.lease.connection(), &mut self.deadline);
        let expectation = &mut self.expectation;
        let result = poll_fn(|cx| {
            // Only a drive brings the result, by the end of the connection at the latest.
            connection.drive();
            if let Some(expectation) = expectation
                && expectation.poll_over(connection, cx)
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
            Ok(Ok(head)) => Ok(self.receive(head, events)),
            Ok(Err(failure)) => Err(self.fail(failure)),
            Err(given_up) => Err(self.give_up(given_up)),
        }
    }

    /// Takes the head of a response. A connection whose response is complete already returns to the
    /// pool before the caller sees the head.
    fn receive(
        self,
        head: ResponseHead,
        events: &mut RequestEvents,
    ) -> http::Response<ResponseBody> {
        events.head(head.status);
        let Self { lease, info, deadline, stall, .. } = self;
        let stall = StallWatch::new(stall);
        let mut response = http::Response::new(ResponseBody::new(lease, info, deadline, stall));
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        response
    }

    /// Closes the connection after a failure.
    fn fail(self, failure: WireFailure) -> Failure {
        let Self { origin, mut lease, info, deadline, .. } = self;
        let connection = lease.connection();
        let (closer, cut, traffic) =
            (connection.closer(), connection.was_cut(), connection.traffic());
        if matches!(failure, WireFailure::Unsent) {
            let unsent = connection.take_unsent();
            let broken = Some(lease.broken(CloseReason::PeerClosedIdle, closer));
            let error = failed(origin, info, 0, failure);
            return Failure { kind: FailureKind::Unsent, error, unsent, deadline, broken };
        }
        let broken = Some(lease.broken(CloseReason::ExchangeFailed, closer));
        let error = match &failure {
            WireFailure::Refused(refused) if refused.refusal == Refusal::HeadTooLarge => {
                failed(origin, info, traffic.written, failure).with_message(TOO_LARGE)
            }
            WireFailure::Refused(refused) if refused.refusal == Refusal::UnaskedUpgrade => {
                failed(origin, info, traffic.written, SWITCHED)
            }
            _ => failed(origin, info, traffic.written, failure),
        };
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
