//! One request, one response: the round trip, without redirects.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::StatusCode;
use http::header::{CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::body::Incoming;
use keepwarm_pool::{CloseReason, Closer};

use crate::deadline::Deadline;
use crate::error::{Error, Result, Stage};
use crate::exchange::acquire::{Patience, acquire};
use crate::exchange::framing;
use crate::exchange::outgoing::Template;
use crate::observe::request_events::Trail;
use crate::observe::spans::SendSpan;
use crate::pool::lease::Lease;
use crate::pool::origin::Origin;
use crate::pool::origins::Origins;
use crate::pool::retry_budget::is_idempotent;
use crate::response::{ConnectionInfo, ResponseBody};
use crate::wire::body::Body;
use crate::wire::connection::says_close;
use crate::wire::counted_stream::Traffic;
use crate::wire::interim::{self, Expectation, MAX_BYTES_BEFORE_HEAD};
use crate::wire::origin_key::OriginRef;

/// How many connections one request may be handed to at most. All but the last two had died before
/// a byte was written; each time, a dead connection leaves the pool.
const MAX_ATTEMPTS: u32 = 32;

/// A 101 changes what is spoken on the connection, to what this client does not speak.
const SWITCHED: &str = "the server switched protocols (101), which this client does not";

const AGENT: &str = concat!("keepwarm/", env!("CARGO_PKG_VERSION"));

/// Sends one request and waits for the head of its response.
///
/// A connection that had been idle may have been closed by the server while the request was on its
/// way. What then happens is decided by the bytes that passed, and as Go does it:
///
/// * nothing was written: the request goes to another connection, whatever its method;
/// * something was written, nothing came back, and the request can be repeated and may be: once
///   more, on a new connection, within the origin's retry budget;
/// * a byte came back, or the connection was new: no second attempt.
pub(crate) async fn round_trip(
    origins: &Origins,
    template: &mut Template,
    deadline: Deadline,
) -> Result<(http::Response<ResponseBody>, ConnectionInfo)> {
    let origin = origins.get(OriginRef::of(&template.uri)?);
    let mut trail = Trail::begin(&origin, &template.method);
    let span = trail.span().clone();
    match span.around(attempt(&origin, template, deadline, &mut trail)).await {
        Ok((mut response, info)) => {
            response.body_mut().follow(trail);
            Ok((response, info))
        }
        Err(error) => {
            trail.fail(&error);
            Err(error)
        }
    }
}

/// As often as it takes and may be.
async fn attempt(
    origin: &Arc<Origin>,
    template: &mut Template,
    mut deadline: Deadline,
    trail: &mut Trail,
) -> Result<(http::Response<ResponseBody>, ConnectionInfo)> {
    if template.method == http::Method::CONNECT {
        return Err(Error::invalid("CONNECT is not supported: it makes a tunnel, not a request"));
    }
    let needs_chunks = framing::check(template)?;
    let mut unsent: Option<Box<http::Request<Body>>> = None;
    let mut waited = Duration::ZERO;
    let mut patience = Patience::new(origin.shared().settings.acquire_timeout);
    let mut broken = None;
    for attempts in 1..=MAX_ATTEMPTS {
        let acquired = loop {
            let (traced, new) = (trail.request(), broken.is_some());
            match acquire(origin, traced, new, &mut deadline, &mut patience).await {
                Ok((mut granted, wait)) => {
                    if !needs_chunks || granted.lease.connection().takes_chunks() {
                        break Ok((granted, wait));
                    }
                    granted.lease.close(CloseReason::NotPersistent, Closer::Client);
                }
                Err(error) => break Err(error),
            }
        };
        let (mut granted, wait) = match (acquired, broken.take()) {
            (Ok(acquired), first) => {
                broken = first;
                acquired
            }
            (Err(error), None) => return Err(error),
            (Err(error), Some(first)) => return Err(in_vain(first, &error)),
        };
        waited += wait;
        let info = ConnectionInfo {
            id: granted.lease.connection().id(),
            exchanges_before: granted.exchanges,
            idle_age: granted.idle_age,
            waited,
            attempts,
        };
        let may_be_stale = info.reused() || info.idle_age.is_some();
        let expectation =
            begin(origin, &mut granted.lease, template, unsent.take(), attempts, trail)?;
        match finish(origin, granted.lease, expectation, info, deadline, trail).await {
            Ok(response) => return Ok((response, info)),
            Err(Failure::Unsent(back, timer)) if may_be_stale => {
                unsent = Some(back);
                deadline = timer;
            }
            Err(Failure::Unsent(..)) => {
                return Err(failed(origin, info, 0, "the server closed the connection at once"));
            }
            Err(Failure::Cut(error, traffic, timer)) if may_be_stale && traffic.read == 0 => {
                if !template.can_be_sent_again() {
                    return Err(error);
                }
                if traffic.written > 0 {
                    if broken.is_some() || !is_idempotent(&template.method, &template.headers) {
                        return Err(error);
                    }
                    if !origin.may_retry() {
                        let spent = "not sent again, the retry budget of this origin is spent";
                        return Err(error.with_message(spent));
                    }
                    broken = Some(error);
                }
                deadline = timer;
            }
            Err(Failure::Cut(error, ..) | Failure::Broken(error)) => return Err(error),
        }
    }
    Err(Error::failed(Stage::Exchange, "one dead connection after another")
        .at(origin.name())
        .on_attempt(MAX_ATTEMPTS))
}

/// The request was written once, so this is no failure to connect, whatever the second attempt
/// failed of: who reads "connecting failed" may conclude that nothing was sent.
fn in_vain(first: Error, second: &Error) -> Error {
    if second.is_timeout() {
        return first.into_timeout();
    }
    first.with_message(format!("no connection to send it again: {second}"))
}

enum Failure {
    /// Not a byte of the request was written: here it is again, with the rest of its time.
    Unsent(Box<http::Request<Body>>, Deadline),
    /// The socket ended before a response, after these bytes.
    Cut(Error, Traffic, Deadline),
    /// No more to be done.
    Broken(Error),
}

/// Gives the connection the request: the one that is `unsent`, or a new one.
///
/// A request in a local of an `async fn` has a place in its future, and that is moved as a whole, before
/// it is polled. So it is made and handed on out here.
fn begin(
    origin: &Origin,
    lease: &mut Lease,
    template: &mut Template,
    unsent: Option<Box<http::Request<Body>>>,
    attempt: u32,
    trail: &Trail,
) -> Result<Option<Expectation>> {
    let mut request = match unsent {
        Some(request) => *request,
        None => prepare(origin, template)?,
    };
    trail.attempt(attempt, request.body_mut());
    let limit = origin.shared().settings.expect_continue_timeout;
    let expectation = Expectation::of(request.body(), limit);
    lease.begin();
    lease.connection().send(request);
    Ok(expectation)
}

/// Writes what the connection was given to send, and waits for what it comes to.
async fn finish(
    origin: &Arc<Origin>,
    mut lease: Lease,
    mut expectation: Option<Expectation>,
    info: ConnectionInfo,
    mut deadline: Deadline,
    trail: &mut Trail,
) -> Result<http::Response<ResponseBody>, Failure> {
    let connection = lease.connection();
    let patience = origin.shared().settings.response_header_timeout;
    let mut waiting: Option<Deadline> = None;
    let mut span = SendSpan::write();
    let sent = poll_fn(|cx| {
        // This alone can bring the reply, by the end of the connection at the latest.
        connection.drive();
        if let Some(expectation) = &mut expectation
            && expectation.poll_over(connection.has_flushed(), cx)
        {
            connection.drive();
        }
        span.look(|| connection.request_is_written());
        if let Poll::Ready(result) = connection.poll_reply() {
            return Poll::Ready(Ok(result));
        }
        if deadline.poll_expired(cx) {
            return Poll::Ready(Err(Error::timeout(Stage::Exchange)));
        }
        if patience.is_some() && connection.request_is_written() {
            let waiting = waiting.get_or_insert_with(|| Deadline::after(patience));
            if waiting.poll_expired(cx) {
                return Poll::Ready(Err(Error::header_timeout()));
            }
        }
        if connection.traffic().read > MAX_BYTES_BEFORE_HEAD {
            return Poll::Ready(Err(Error::endless_head()));
        }
        connection.wait(cx);
        Poll::Pending
    });
    let outcome = sent.await;
    span.end();
    match outcome {
        Ok(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            trail.head(response.status());
            let connection = lease.connection();
            let (closer, written) = (connection.closer(), connection.traffic().written);
            lease.close(CloseReason::ExchangeFailed, closer);
            Err(Failure::Broken(failed(origin, info, written, SWITCHED)))
        }
        Ok(Ok(response)) => {
            if expectation.is_some_and(|expectation| expectation.is_held()) {
                lease.connection().withhold();
            }
            trail.head(response.status());
            Ok(receive(lease, response, info, deadline))
        }
        Ok(Err(mut error)) => {
            let closer = lease.connection().closer();
            if let Some(request) = error.take_message() {
                lease.close(CloseReason::PeerClosedIdle, closer);
                return Err(Failure::Unsent(Box::new(request), deadline));
            }
            let connection = lease.connection();
            let (cut, traffic) = (connection.was_cut(), connection.traffic());
            lease.close(CloseReason::ExchangeFailed, closer);
            let error = failed(origin, info, traffic.written, error.into_error());
            Err(if cut { Failure::Cut(error, traffic, deadline) } else { Failure::Broken(error) })
        }
        Err(given_up) => {
            let written = lease.connection().traffic().written;
            if given_up.is_timeout() {
                // The response may still come soon, and be small.
                drop(lease);
            } else {
                let closer = lease.connection().closer();
                lease.close(CloseReason::Abandoned, closer);
            }
            let given_up = given_up.at(origin.name()).on_reused(info.reused());
            Err(Failure::Broken(given_up.on_attempt(info.attempts).after_writing(written)))
        }
    }
}

/// A head has come. A connection whose response is complete already goes back before the caller
/// sees the head.
fn receive(
    mut lease: Lease,
    response: http::Response<Incoming>,
    info: ConnectionInfo,
    deadline: Deadline,
) -> http::Response<ResponseBody> {
    lease.connection().note_response(&response);
    let (parts, incoming) = response.into_parts();
    let body = ResponseBody::new(incoming, lease, info, deadline);
    http::Response::from_parts(parts, body)
}

fn failed(
    origin: &Arc<Origin>,
    info: ConnectionInfo,
    written: u64,
    cause: impl Into<crate::error::BoxError>,
) -> Error {
    Error::failed(Stage::Exchange, cause)
        .at(origin.name())
        .on_reused(info.reused())
        .on_attempt(info.attempts)
        .after_writing(written)
}

/// What goes on the wire: origin-form target, `Host`, `User-Agent`, how the body is framed, and
/// whether it is the last one.
fn prepare(origin: &Origin, template: &mut Template) -> Result<http::Request<Body>> {
    let mut request = http::Request::new(template.take_body());
    *request.method_mut() = template.method.clone();
    *request.extensions_mut() = template.extensions.clone();
    if let Some(target) = template.uri.path_and_query() {
        *request.uri_mut() = target.clone().into();
    }
    // Of few fields, most often of none: then this allocates nothing.
    request.headers_mut().clone_from(&template.headers);
    framing::settle(&mut request)?;
    let headers = request.headers_mut();
    if !headers.contains_key(HOST) {
        headers.insert(HOST, origin.host_field().clone());
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    }
    // hyper takes the word of either side: such a connection ends after this exchange.
    if !origin.shared().settings.keep_alive && !says_close(headers) {
        headers.append(CONNECTION, HeaderValue::from_static("close"));
    }
    interim::prepare(&mut request, origin.shared().settings.expect_continue_timeout);
    Ok(request)
}
