//! One attempt on a stream of an HTTP/2 connection, and the body that comes by it.
//!
//! Knows what a request looks like in HTTP/2, when it is sent again, and how a stream is given
//! up: its place is kept until the server has provably seen the reset.

use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE, USER_AGENT};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use http_body::Frame;
use keepwarm_http1::ResponseHead;
use keepwarm_http1::encode::RequestFraming;
use keepwarm_pool::{CloseReason, Closer};
use tokio::runtime::Handle;

use super::attempt::{AttemptFailure, Ready};
use super::framing::trimmed;
use super::outgoing::Outgoing;
use super::response_body::ConnectionInfo;
use super::retry::FailureKind;
use crate::deadline::{Deadline, StallWatch};
use crate::error::{Error, HEAD_TOO_LARGE, Kind, Result, Stage};
use crate::observe::request_events::RequestEvents;
use crate::pool::origin::{AGENT, Origin};
use crate::pool::stream_lease::StreamLease;
use crate::wire::body::Body;
use crate::wire::http2::{Http2Stream, StreamFailure, header_list_size};
use crate::wire::interim::InterimListener;
use crate::wire::peer::TlsInfo;

/// Limits on the rest of a body that is read instead of reset, as for HTTP/1.1.
const MAX_DRAINED_BYTES: u64 = 256 << 10;
const MAX_DRAIN_TIME: Duration = Duration::from_millis(50);

/// Fields of one connection, which HTTP/2 does not have (RFC 9113, 8.2.2).
const OF_CONNECTION: [HeaderName; 3] = [CONNECTION, TRANSFER_ENCODING, UPGRADE];
const OF_CONNECTION_BY_NAME: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

/// The one value of `TE` in HTTP/2 (RFC 9113, 8.2.2).
const TRAILERS: &str = "trailers";

/// Broken promise of a caller that takes a head.
const NO_HEAD: &str = "the head is taken once it has come";

/// A stream with its lease. However it ends, the lease ends once: at once if both sides of the
/// stream are complete, and else when the server has seen the reset.
#[derive(Debug)]
pub(super) struct InFlight {
    stream: Option<Http2Stream>,
    lease: Option<StreamLease>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        let Some(stream) = self.stream.take() else { return };
        if stream.response_is_complete() && !stream.is_uploading() {
            return drop(lease);
        }
        let http2 = Arc::clone(stream.http2());
        // Without its handles the stream is reset (CANCEL).
        drop(stream);
        http2.give_up(Box::new(lease));
    }
}

/// An attempt without a response, and the reason.
pub(super) struct Failed {
    failure: StreamFailure,
    lease: StreamLease,
    /// The body, if no part of it was taken.
    untouched: Option<Body>,
    written: u64,
}

impl Failed {
    /// Returns true if the server has ended the connection by an error where the request began.
    pub(super) const fn is_blamed(&self) -> bool {
        matches!(self.failure, StreamFailure::Blamed(_))
    }
}

/// Outcome of an attempt that has no response.
pub(super) enum StreamOutcome {
    Failed(Failed),
    GivenUp(Error, u64),
}

/// Reason why a stream has no head.
pub(super) enum NoHead {
    /// The stream failed.
    Wire(StreamFailure),
    /// The client gives up.
    GivenUp(Error),
}

/// A request that was handed to a shared connection, and later the response that came for it.
pub(super) struct StreamAttempt {
    flight: InFlight,
    pub(super) info: ConnectionInfo,
    /// Set while the body waits for `100 Continue`.
    held: Option<Deadline>,
    header_timer: Option<Deadline>,
    stall: StallWatch,
    listener: Option<InterimListener>,
    /// Bytes received from the server before the request.
    heard: u64,
    /// The head of the response, from its arrival until it is taken.
    head: Option<ResponseHead>,
}

/// Makes the request in the form of HTTP/2.
fn request(
    origin: &Origin,
    outgoing: &Outgoing,
    framing: RequestFraming,
) -> Result<http::Request<()>> {
    let mut headers = HeaderMap::with_capacity(outgoing.headers.len() + 2);
    let host = outgoing.headers.get(HOST).unwrap_or(origin.host_field());
    for (name, value) in &outgoing.headers {
        let is_hop = OF_CONNECTION.contains(name) || OF_CONNECTION_BY_NAME.contains(&name.as_str());
        let value = trimmed(value);
        if is_hop || (name == TE && !value.as_bytes().eq_ignore_ascii_case(TRAILERS.as_bytes())) {
            return Err(Error::invalid(format!(
                "{name} is a field of one HTTP/1.1 connection, and the server speaks HTTP/2, which \
                 has none such (RFC 9113, 8.2.2); remove it, or build the client with http1_only"
            )));
        }
        if name == TE {
            headers.append(name, HeaderValue::from_static(TRAILERS));
        } else if name != HOST && name != CONTENT_LENGTH {
            headers.append(name, value.into_owned());
        }
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, AGENT.clone());
    }
    if let RequestFraming::Length(length) = framing {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    let mut request = http::Request::new(());
    *request.method_mut() = outgoing.method.clone();
    *request.uri_mut() = uri(origin, &outgoing.uri, host)?;
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Returns the URI whose parts are the pseudo-fields: the authority is the one that `Host` would have.
fn uri(origin: &Origin, own: &Uri, host: &HeaderValue) -> Result<Uri> {
    let scheme = origin.key().scheme().name();
    let target = own.path_and_query().map_or("/", |target| target.as_str());
    let is_as_asked = target.starts_with('/')
        && own.scheme_str() == Some(scheme)
        && own.authority().is_some_and(|authority| authority.as_str() == host);
    if is_as_asked {
        // Cloned, not parsed again.
        return Ok(own.clone());
    }
    let unusable = || {
        let host = String::from_utf8_lossy(host.as_bytes());
        Error::invalid(format!("Host {host:?} cannot be the authority of an HTTP/2 request"))
    };
    // It names no user (RFC 9113, 8.3.1).
    let authority = Authority::try_from(host.as_bytes()).ok();
    let authority = authority.filter(|authority| !authority.as_str().contains('@'));
    let authority = authority.ok_or_else(unusable)?;
    // A path is never empty (RFC 9113, 8.3.1).
    let target = match target {
        "" => Cow::Borrowed("/"),
        query if query.starts_with('?') => Cow::Owned(format!("/{query}")),
        target => Cow::Borrowed(target),
    };
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(&*target);
    uri.build().map_err(|error| Error::invalid(error.to_string()))
}

/// Rejects a request with more fields than the server takes. Sent, it would fail or, at many servers, end
/// the connection for all of its requests.
fn check_size(request: &http::Request<()>, limit: u32) -> Result<()> {
    if limit == u32::MAX {
        return Ok(());
    }
    let size = header_list_size(request);
    if size <= limit as usize {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "its fields count {size} bytes, and the server takes {limit} \
         (SETTINGS_MAX_HEADER_LIST_SIZE; RFC 9113, 6.5.2); send fewer or shorter ones"
    )))
}

/// Sends a request on a stream. The inner `Err`: the connection takes no request.
pub(super) fn begin(
    origin: &Origin,
    mut lease: StreamLease,
    info: ConnectionInfo,
    outgoing: &mut Outgoing,
    events: &RequestEvents,
) -> Result<Result<Box<StreamAttempt>, Box<Failed>>> {
    let settings = &origin.shared().settings;
    let Ready { body, framing, stall, held_for } = Ready::take(outgoing, settings, &info, events)?;
    let is_held = held_for.is_some();
    let request = request(origin, outgoing, framing)?;
    check_size(&request, lease.http2().max_header_list())?;
    let heard = lease.http2().heard();
    match lease.http2().send(request, body, is_held, info.streams <= 1) {
        Ok(stream) => {
            lease.begin();
            Ok(Ok(Box::new(StreamAttempt {
                flight: InFlight { stream: Some(stream), lease: Some(lease) },
                info,
                held: held_for.map(|limit| Deadline::after(Some(limit))),
                header_timer: None,
                stall,
                listener: outgoing.extensions.get::<InterimListener>().cloned(),
                heard,
                head: None,
            })))
        }
        Err(body) => {
            let (failure, untouched) = (StreamFailure::Unsent, Some(body));
            Ok(Err(Box::new(Failed { failure, lease, untouched, written: 0 })))
        }
    }
}

impl StreamAttempt {
    /// Waits for the head of the response.
    pub(super) fn poll_head(
        &mut self,
        origin: &Origin,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), NoHead>> {
        let Some(stream) = &mut self.flight.stream else { return Poll::Pending };
        if self.held.as_mut().is_some_and(|held| held.poll_expired(cx)) {
            self.held = None;
            stream.release();
        }
        if let Poll::Ready(Err(failure)) = stream.poll_upload(cx) {
            return Poll::Ready(Err(NoHead::Wire(failure)));
        }
        let (listener, is_watched) = (self.listener.as_ref(), self.stall.is_set());
        let polled = stream.poll_head(&mut self.head, listener, is_watched, cx);
        if let Poll::Ready(result) = polled {
            return Poll::Ready(result.map_err(NoHead::Wire));
        }
        // An interim response may have released the body.
        if let Poll::Ready(Err(failure)) = stream.poll_upload(cx) {
            return Poll::Ready(Err(NoHead::Wire(failure)));
        }
        if deadline.poll_expired(cx) {
            return Poll::Ready(Err(NoHead::GivenUp(Error::timeout(Stage::Exchange))));
        }
        let header_timeout = origin.shared().settings.response_header_timeout;
        if header_timeout.is_some() && !stream.is_uploading() && !stream.is_unsent() {
            let timer = self.header_timer.get_or_insert_with(|| Deadline::after(header_timeout));
            if timer.poll_expired(cx) {
                return Poll::Ready(Err(NoHead::GivenUp(Error::header_timeout())));
            }
        }
        if self.stall.poll_stalled(stream.progress(), stream.waits_for_peer(), cx) {
            return Poll::Ready(Err(NoHead::GivenUp(Error::stall_timeout(Stage::Exchange))));
        }
        Poll::Pending
    }

    /// Returns the head of the response, once it has come.
    pub(super) const fn head(&self) -> Option<&ResponseHead> {
        self.head.as_ref()
    }

    /// Moves head and body to the caller. What is left of the request is sent in a task of its own,
    /// while the caller reads or does not.
    pub(super) fn receive(mut self: Box<Self>) -> (ResponseHead, StallWatch, Http2Body) {
        let head = self.head.take().expect(NO_HEAD);
        let stall = std::mem::take(&mut self.stall);
        if let Some(stream) = &mut self.flight.stream {
            stream.continue_upload();
        }
        (head, stall, Http2Body(self))
    }

    /// Turns the reason into an outcome.
    #[cold]
    pub(super) fn conclude(self, reason: NoHead) -> StreamOutcome {
        let Self { mut flight, heard, .. } = self;
        let stream = flight.stream.as_mut().expect("it is taken here first");
        let written = stream.written();
        match reason {
            NoHead::Wire(failure) => {
                let untouched = stream.take_untouched();
                flight.stream = None;
                let lease = flight.lease.take().expect("it is taken here first");
                StreamOutcome::Failed(Failed { failure, lease, untouched, written })
            }
            NoHead::GivenUp(given_up) => {
                if given_up.is_timeout() && stream.http2().heard() == heard {
                    stream.http2().doubt();
                }
                StreamOutcome::GivenUp(given_up, written)
            }
        }
    }
}

/// Decides what a failure means for the request, and ends its lease.
pub(super) fn conclude(
    origin: &Arc<Origin>,
    failed: Failed,
    info: ConnectionInfo,
    outgoing: &Outgoing,
) -> AttemptFailure {
    let Failed { failure, lease, untouched, written } = failed;
    if matches!(failure, StreamFailure::NeedsHttp1) {
        origin.need_http1();
        lease.drain(CloseReason::NotPersistent, Closer::Server);
    }
    let has_body = untouched.is_some() || outgoing.can_be_sent_again();
    let kind = match &failure {
        StreamFailure::Unsent => FailureKind::Unprocessed,
        StreamFailure::Unprocessed | StreamFailure::Blamed(_) if has_body => {
            FailureKind::Unprocessed
        }
        StreamFailure::NeedsHttp1 if has_body && origin.may_speak_http1() => {
            FailureKind::Unprocessed
        }
        StreamFailure::Cut(_) => FailureKind::Cut { written: true, read: false },
        _ => FailureKind::Other,
    };
    let broken = Some(if leaves_connection(&failure) {
        lease.refused()
    } else {
        let (reason, closer) = end_of(&failure);
        lease.broken(reason, closer)
    });
    let error = describe(origin, error_of(failure, Stage::Exchange), info, written);
    AttemptFailure { kind, error, unsent: untouched, info, broken }
}

/// Adds the request's facts to an error.
pub(super) fn describe(origin: &Origin, error: Error, info: ConnectionInfo, written: u64) -> Error {
    let error = error.at(origin.name()).on_reused(info.reused()).on_attempt(info.attempts);
    error.after_writing(written)
}

/// The body of a response that comes by a stream.
pub(super) struct Http2Body(Box<StreamAttempt>);

impl std::fmt::Debug for Http2Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Http2Body").field(&self.0.flight).finish()
    }
}

impl Http2Body {
    pub(super) fn length_left(&self) -> Option<u64> {
        self.0.flight.stream.as_ref().and_then(Http2Stream::length_left)
    }

    pub(super) fn progress(&self) -> u64 {
        self.0.flight.stream.as_ref().map_or(0, Http2Stream::progress)
    }

    pub(super) fn written(&self) -> u64 {
        self.0.flight.stream.as_ref().map_or(0, Http2Stream::written)
    }

    pub(super) fn tls(&self) -> Option<Arc<TlsInfo>> {
        self.0.flight.lease.as_ref().and_then(|lease| lease.http2().peer().tls.clone())
    }

    pub(super) fn origin_name(&self) -> Option<Arc<str>> {
        self.0.flight.lease.as_ref().map(|lease| Arc::clone(lease.origin().name()))
    }

    /// Returns true once every byte of the response has been taken off the wire.
    pub(super) fn is_complete(&self) -> bool {
        self.0.flight.stream.as_ref().is_none_or(Http2Stream::response_is_complete)
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamFailure>>> {
        let Some(stream) = &mut self.0.flight.stream else { return Poll::Ready(None) };
        let _uploading = stream.poll_upload(cx);
        stream.poll_frame(cx)
    }

    /// Ends the stream after its response: what is left of the request is given up.
    pub(super) fn finish(self) {
        let Self(mut attempt) = self;
        let flight = &mut attempt.flight;
        let is_reset = |stream: &Http2Stream| stream.is_refused() || !stream.response_is_complete();
        if flight.stream.as_ref().is_some_and(is_reset) {
            // Dropped, its stream is reset.
            return;
        }
        if flight.stream.as_ref().is_some_and(Http2Stream::is_uploading) {
            return rest_of_upload(attempt);
        }
        flight.stream = None;
        drop(flight.lease.take());
    }

    /// Ends a body that is not read to its end: a small rest is read, and else the stream is reset.
    pub(super) fn abandon(self) {
        let Self(mut attempt) = self;
        let is_small = attempt.flight.stream.as_ref().is_some_and(|stream| {
            stream.length_left().is_none_or(|left| left <= MAX_DRAINED_BYTES)
        });
        let Some(runtime) = is_small.then(Handle::try_current).and_then(std::result::Result::ok)
        else {
            return;
        };
        let mut noop = Context::from_waker(Waker::noop());
        let mut read = 0;
        if poll_rest(&mut attempt.flight, &mut read, &mut noop).is_ready() {
            return;
        }
        runtime.spawn(async move {
            let rest = poll_fn(|cx| poll_rest(&mut attempt.flight, &mut read, cx));
            drop(tokio::time::timeout(MAX_DRAIN_TIME, rest).await);
        });
    }
}

/// Reads the rest of a response; Ready at its end, or where it is too much.
fn poll_rest(flight: &mut InFlight, read: &mut u64, cx: &mut Context<'_>) -> Poll<()> {
    let Some(stream) = &mut flight.stream else { return Poll::Ready(()) };
    loop {
        let _uploading = stream.poll_upload(cx);
        match stream.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                *read += frame.data_ref().map_or(0, Bytes::len) as u64;
                if *read > MAX_DRAINED_BYTES {
                    return Poll::Ready(());
                }
            }
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Gives an upload that outlives its response a short time to end.
fn rest_of_upload(mut attempt: Box<StreamAttempt>) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        let rest = poll_fn(|cx| match &mut attempt.flight.stream {
            Some(stream) => stream.poll_upload(cx).map(drop),
            None => Poll::Ready(()),
        });
        drop(tokio::time::timeout(MAX_DRAIN_TIME, rest).await);
    });
}

/// Returns the error of a failed attempt, its stage and kind, without the request's facts.
pub(super) fn error_of(failure: StreamFailure, stage: Stage) -> Error {
    let words = "the server gave the stream up, or broke the rules of HTTP/2 on it";
    match failure {
        StreamFailure::Unsent => Error::failed(stage, crate::error::CLOSED_AT_ONCE),
        StreamFailure::Unprocessed => Error::new(stage, Kind::StreamError)
            .with_message("the server did not process the request (REFUSED_STREAM or GOAWAY)"),
        StreamFailure::Blamed(cause) => Error::caused(stage, Kind::StreamError, cause)
            .with_message("the server ended the connection where this request began"),
        StreamFailure::NeedsHttp1 => Error::new(stage, Kind::StreamError).with_message(
            "the server wants HTTP/1.1 (HTTP_1_1_REQUIRED), and so does no client \
                           that speaks HTTP/2 only",
        ),
        StreamFailure::HeadTooLarge => Error::failed(stage, HEAD_TOO_LARGE),
        StreamFailure::Cut(cause) => Error::failed(stage, cause),
        StreamFailure::Body(cause) => Error::caused(stage, Kind::RequestBody, cause),
        StreamFailure::Stream(cause) => {
            Error::caused(stage, Kind::StreamError, cause).with_message(words)
        }
        StreamFailure::Connection(cause) => Error::caused(stage, Kind::Http2Error, cause)
            .with_message("the connection broke the rules of HTTP/2"),
    }
}

/// Returns reason and closer for a connection on which a request failed in this way.
const fn end_of(failure: &StreamFailure) -> (CloseReason, Closer) {
    match failure {
        StreamFailure::Cut(_) | StreamFailure::Unsent => {
            (CloseReason::ExchangeFailed, Closer::Server)
        }
        _ => (CloseReason::ExchangeFailed, Closer::Client),
    }
}

/// Returns true if a failed stream leaves its connection alive.
const fn leaves_connection(failure: &StreamFailure) -> bool {
    matches!(
        failure,
        StreamFailure::Unprocessed
            | StreamFailure::Blamed(_)
            | StreamFailure::NeedsHttp1
            | StreamFailure::Stream(_)
            | StreamFailure::HeadTooLarge
            | StreamFailure::Body(_)
    )
}
