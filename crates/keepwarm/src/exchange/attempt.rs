//! One attempt: a request on one connection, until the head of its response is there, or a failure.
//!
//! The module [`round_trip`](super::round_trip) makes one attempt after another.

use std::io::ErrorKind;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderMap;
use http::header::{CONNECTION, HOST, HeaderValue, PROXY_AUTHORIZATION, UPGRADE, USER_AGENT};
use keepwarm_http1::encode::{BadTarget, HeadWriter, RequestFraming, Target};
use keepwarm_http1::fields::connection_lists;
use keepwarm_http1::{Asked, Refusal};
use keepwarm_pool::CloseReason;

use super::drain::drain_response;
use super::framing;
use super::outgoing::Outgoing;
use super::response_body::ConnectionInfo;
use super::retry::FailureKind;
use crate::deadline::{Deadline, StallWatch};
use crate::error::{Error, Result, Stage};
use crate::observe::request_events::RequestEvents;
use crate::observe::spans::SendSpan;
use crate::origin_key::OriginRef;
use crate::pool::lease::{Broken, Lease};
use crate::pool::origin::{AGENT, Origin};
use crate::settings::Settings;
use crate::wire::body::Body;
use crate::wire::connection::Sending;
use crate::wire::http1::Failure;
use crate::wire::interim::{Expectation, InterimListener, expects_continue};

/// Error of a head beyond the limit of the codec.
const TOO_LARGE: &str =
    "more than 1 MiB of interim responses (1xx) and header fields, and no end of them";

/// Error of a 101 that no `Upgrade` of the request asked for.
const SWITCHED: &str = "the server switched protocols (101), and the request did not ask for that";

/// A failed attempt. Its connection broke or was closed, or is being drained.
pub(super) struct AttemptFailure {
    pub(super) kind: FailureKind,
    pub(super) error: Error,
    /// The body of the request, if no byte of the request was written.
    pub(super) unsent: Option<Body>,
    pub(super) info: ConnectionInfo,
    /// Room of the connection, if it broke.
    pub(super) broken: Option<Broken>,
}

/// Reason why an attempt has no head.
pub(super) enum NoHead {
    /// The connection failed.
    Wire(Failure),
    /// The client gives up.
    GivenUp(Error),
}

/// A request that has been handed to a connection.
pub(super) struct Attempt {
    pub(super) lease: Lease,
    pub(super) info: ConnectionInfo,
    /// Set while the body waits for `100 Continue`.
    expectation: Option<Box<Expectation>>,
    /// Timer of the response header timeout. Runs since the request was written.
    header_timer: Option<Deadline>,
    pub(super) stall: StallWatch,
    span: SendSpan,
}

/// The parts of a request that an attempt takes, of either version.
pub(super) struct Ready {
    pub(super) body: Body,
    pub(super) framing: RequestFraming,
    pub(super) stall: StallWatch,
    /// Longest wait of the body for `100 Continue`; `None` if it does not wait.
    pub(super) held_for: Option<Duration>,
}

impl Ready {
    #[inline]
    pub(super) fn take(
        outgoing: &mut Outgoing,
        settings: &Settings,
        info: &ConnectionInfo,
        events: &RequestEvents,
    ) -> Result<Self> {
        let mut body = outgoing.take_body();
        let framing = framing::apply(&outgoing.method, &outgoing.headers, &mut body)?;
        if let Some(counter) = events.attempt(info.attempts) {
            body.count_into(counter);
        }
        let stall = StallWatch::new(outgoing.stall_timeout(settings));
        let limit = settings.expect_continue_timeout;
        let is_held = !limit.is_zero()
            && !http_body::Body::is_end_stream(&body)
            && expects_continue(&outgoing.headers);
        Ok(Self { body, framing, stall, held_for: is_held.then_some(limit) })
    }
}

/// Hands a connection a request.
pub(super) fn begin(
    mut lease: Lease,
    info: ConnectionInfo,
    outgoing: &mut Outgoing,
    events: &RequestEvents,
) -> Result<Attempt> {
    let (origin, connection) = lease.split();
    let settings = &origin.shared().settings;
    let Ready { body, framing, stall, held_for } = Ready::take(outgoing, settings, &info, events)?;
    let is_held = held_for.is_some();
    let says_close = !outgoing.headers.is_empty() && connection_lists(&outgoing.headers, "close");
    let is_last = says_close || !settings.keep_alive;
    let adds_close = is_last && !says_close;
    write_head(origin, outgoing, framing, adds_close, connection.head_buffer())?;
    lease.begin(drain_response);
    lease.connection().send(Sending {
        asked: asked(outgoing),
        body,
        is_chunked: framing == RequestFraming::Chunked,
        is_held,
        is_last,
        listener: outgoing.extensions.get::<InterimListener>().cloned(),
    });
    Ok(Attempt {
        lease,
        info,
        expectation: held_for.map(|limit| Box::new(Expectation::within(limit))),
        header_timer: None,
        stall,
        span: SendSpan::write(),
    })
}

/// Returns what the framing of the response depends on.
fn asked(outgoing: &Outgoing) -> Asked {
    match outgoing.method {
        http::Method::HEAD => Asked::Head,
        http::Method::CONNECT => Asked::Connect,
        _ if !outgoing.headers.is_empty()
            && outgoing.headers.contains_key(UPGRADE)
            && connection_lists(&outgoing.headers, "upgrade") =>
        {
            Asked::Upgrade
        }
        _ => Asked::Plain,
    }
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
    if origin.key().is_forwarded() || outgoing.method == http::Method::CONNECT {
        return write_forwarded(origin, outgoing, framing, adds_close, out);
    }
    let target = Target::Origin(outgoing.uri.path_and_query().map_or("", |target| target.as_str()));
    let (method, headers) = (&outgoing.method, &outgoing.headers);
    if headers.is_empty() && !adds_close {
        let head = HeadWriter::begin_encoded(out, method, target, origin.default_fields());
        head.map_err(unusable)?.end(framing);
        return Ok(());
    }
    let host = headers.get(HOST).unwrap_or(origin.host_field());
    let head = HeadWriter::begin(out, method, target, host).map_err(unusable)?;
    finish_head(head, headers, framing, adds_close);
    Ok(())
}

/// Writes the head of a request that a proxy reads: the target in absolute-form (RFC 9112, 3.2.2),
/// or in authority-form for CONNECT (3.2.3), and the proxy's own fields.
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
    let host = headers.get(HOST).unwrap_or(&own);
    let place;
    let target = if outgoing.method == http::Method::CONNECT {
        // The caller's `Host` names the end of the tunnel.
        place = match headers.get(HOST).and_then(|host| host.to_str().ok()) {
            Some(host) => host.to_owned(),
            None => OriginRef::of(&outgoing.uri)?.to_key().place(),
        };
        Target::Authority(&place)
    } else {
        Target::Absolute { scheme: "http", authority, path }
    };
    let mut head = HeadWriter::begin(out, &outgoing.method, target, host).map_err(unusable)?;
    if let Some(via) = origin.key().via().filter(|_| origin.key().is_forwarded()) {
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

fn unusable(error: BadTarget) -> Error {
    Error::invalid(error.to_string())
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
        head.field(&USER_AGENT, &AGENT);
    }
    if adds_close {
        head.field(&CONNECTION, &HeaderValue::from_static("close"));
    }
    head.end(framing);
}

impl Attempt {
    /// Drives the connection until the head of the response is there.
    pub(super) fn poll_head(
        &mut self,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), NoHead>> {
        let connection = self.lease.connection();
        // Only a drive brings the result, by the end of the connection at the latest.
        connection.drive();
        if let Some(expectation) = &mut self.expectation
            && expectation.poll_over(connection, cx)
        {
            connection.drive();
        }
        self.span.look(|| connection.request_is_written());
        if let Poll::Ready(responded) = connection.poll_response() {
            self.span.end();
            return Poll::Ready(responded.map_err(NoHead::Wire));
        }
        if deadline.poll_expired(cx) {
            return Poll::Ready(Err(NoHead::GivenUp(Error::timeout(Stage::Exchange))));
        }
        let header_timeout = self.lease.origin().shared().settings.response_header_timeout;
        let connection = self.lease.connection();
        if header_timeout.is_some() && connection.request_is_written() {
            let timer = self.header_timer.get_or_insert_with(|| Deadline::after(header_timeout));
            if timer.poll_expired(cx) {
                return Poll::Ready(Err(NoHead::GivenUp(Error::header_timeout())));
            }
        }
        // A body that is under way with no byte left to write is waited for itself.
        let waits_for_peer = !connection.is_uploading() || !connection.has_flushed();
        if self.stall.poll_stalled(connection.traffic().total(), waits_for_peer, cx) {
            return Poll::Ready(Err(NoHead::GivenUp(Error::stall_timeout(Stage::Exchange))));
        }
        connection.wait(cx);
        Poll::Pending
    }

    /// Ends the connection of an attempt that has no head.
    #[cold]
    pub(super) fn conclude(self, origin: &Origin, outcome: NoHead) -> AttemptFailure {
        match outcome {
            NoHead::Wire(failure) => self.fail(origin, failure),
            NoHead::GivenUp(error) => self.give_up(origin, error),
        }
    }

    /// Closes the connection after a failure.
    fn fail(self, origin: &Origin, failure: Failure) -> AttemptFailure {
        let Self { mut lease, info, .. } = self;
        let connection = lease.connection();
        let (closer, cut, traffic) =
            (connection.closer(), connection.was_cut(), connection.traffic());
        if matches!(failure, Failure::Unsent) {
            let unsent = connection.take_unsent();
            let broken = Some(lease.broken(CloseReason::PeerClosedIdle, closer));
            let error = failed(origin, info, 0, failure.into_error(Stage::Exchange));
            return AttemptFailure { kind: FailureKind::Unsent, error, unsent, info, broken };
        }
        if died_in_silence(&failure) {
            lease.doubt_siblings();
        }
        let broken = Some(lease.broken(CloseReason::ExchangeFailed, closer));
        let error = match &failure {
            Failure::Refused(refused) if refused.refusal == Refusal::HeadTooLarge => {
                failed(origin, info, traffic.written, Error::failed(Stage::Exchange, failure))
                    .with_message(TOO_LARGE)
            }
            Failure::Refused(refused) if refused.refusal == Refusal::UnaskedUpgrade => {
                failed(origin, info, traffic.written, Error::failed(Stage::Exchange, SWITCHED))
            }
            _ => failed(origin, info, traffic.written, failure.into_error(Stage::Exchange)),
        };
        let kind = if cut {
            FailureKind::Cut { written: traffic.written > 0, read: traffic.read > 0 }
        } else {
            FailureKind::Other
        };
        AttemptFailure { kind, error, unsent: None, info, broken }
    }

    /// Gives up for an error of the client's own.
    fn give_up(self, origin: &Origin, error: Error) -> AttemptFailure {
        let Self { mut lease, info, .. } = self;
        let connection = lease.connection();
        let (closer, written) = (connection.closer(), connection.traffic().written);
        let was_silent = connection.traffic().read == 0 && connection.request_is_written();
        if error.is_timeout() {
            if was_silent {
                lease.doubt_siblings();
            }
            // Dropped, the lease is drained: the response may still come soon, and be small.
            drop(lease);
        } else {
            lease.close(CloseReason::Abandoned, closer);
        }
        let error = error.at(origin.name()).on_reused(info.reused());
        let error = error.on_attempt(info.attempts).after_writing(written);
        AttemptFailure { kind: FailureKind::Other, error, unsent: None, info, broken: None }
    }
}

/// Returns true if the kernel has given a connection up whose peer said nothing any more: by the user
/// timeout, or by keep-alive probes.
fn died_in_silence(failure: &Failure) -> bool {
    matches!(failure, Failure::Io(error) if error.kind() == ErrorKind::TimedOut)
}

fn failed(origin: &Origin, info: ConnectionInfo, written: u64, error: Error) -> Error {
    error
        .at(origin.name())
        .on_reused(info.reused())
        .on_attempt(info.attempts)
        .after_writing(written)
}
