//! Response bodies, and the connection that a response came by.
//!
//! A body holds its connection's lease until the response is complete on the wire, and the reader
//! of the body drives the connection. If the request outlives the head of its response, an
//! [`UploadTask`](super::upload) holds the lease instead.

use std::fmt;
use std::future::Future as _;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use keepwarm_pool::CloseReason;
use tokio::runtime::Handle;
use tokio::task::coop::consume_budget;

use super::decoding::{Decoding, DecodingState};
use super::drain::drain;
use super::frames::Frames;
use super::http2::{Http2Body, error_of};
use super::upload::{UploadHandle, continue_upload};
use crate::deadline::{Deadline, StallWatch};
use crate::error::{Error, Result, Stage};
use crate::observe::request_events::RequestEvents;
use crate::pool::lease::Lease;
use crate::wire::http1::Failure;
use crate::wire::peer::TlsInfo;

/// The connection that carried a response.
///
/// ```no_run
/// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
/// let response = client.get("http://127.0.0.1:8081/data").send().await?;
/// let connection = response.connection();
/// println!(
///     "connection {}, exchange {}, idle before for {:?}, waited {:?}",
///     connection.id(),
///     connection.exchanges_before() + 1,
///     connection.idle_age(),
///     connection.waited(),
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    pub(crate) id: u64,
    pub(crate) exchanges_before: u64,
    pub(crate) idle_age: Option<Duration>,
    pub(crate) waited: Duration,
    pub(crate) attempts: u32,
    pub(crate) remote_address: Option<SocketAddr>,
    pub(crate) version: http::Version,
    pub(crate) streams: u32,
}

impl ConnectionInfo {
    /// Returns a number that no other connection of this process has had.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Returns true if the connection had served an exchange before.
    #[must_use]
    pub const fn reused(&self) -> bool {
        self.exchanges_before > 0
    }

    /// Returns the exchanges that the connection had served before this one.
    #[must_use]
    pub const fn exchanges_before(&self) -> u64 {
        self.exchanges_before
    }

    /// Returns the time for which the connection had been idle; `None` if it came straight from a
    /// dial or from another exchange.
    #[must_use]
    pub const fn idle_age(&self) -> Option<Duration> {
        self.idle_age
    }

    /// Returns the time that the request waited for a connection: for a return, a slot or a dial.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns the version of HTTP that the connection speaks: HTTP/1.1 or HTTP/2.
    #[must_use]
    pub const fn version(&self) -> http::Version {
        self.version
    }

    /// Returns the requests that the connection served at once when this one began, itself included:
    /// 1, unless it speaks HTTP/2.
    #[must_use]
    pub const fn streams(&self) -> u32 {
        self.streams
    }

    /// Returns the number of connections that the request was handed to, this one included: 1,
    /// unless earlier ones turned out to be dead. See
    /// [`RequestBuilder::send`](crate::RequestBuilder::send).
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Returns the address of the peer that was connected to; `None` if the connection was not
    /// opened by TCP, as with a Unix socket or a connector. Go: `httptrace.GotConnInfo.Conn`.
    #[must_use]
    pub const fn remote_address(&self) -> Option<SocketAddr> {
        self.remote_address
    }
}

/// The body of a response.
///
/// The connection has returned to its pool before the reader sees the end.
///
/// If the response overtakes the body of its request, the rest of that body is sent in the
/// background, also while the caller does not read the response. The response wins: when it is
/// complete, the upload has 50 ms to end. If it does, the connection returns to the pool then; if
/// not, the connection is closed, as [`UploadUnfinished`](crate::CloseReason::UploadUnfinished).
///
/// A body that is dropped before its end is read to the end in the background, and then its
/// connection returns too: but for at most 256 KiB and 50 ms, and only inside a tokio runtime.
/// Where more is left, or where it comes slower, the connection is closed, as
/// [`Abandoned`](crate::CloseReason::Abandoned). Until then it counts as active. (Go 1.27 does the
/// same in `Body.Close`; Go checks the length of the whole body, this client the rest.)
///
/// ```no_run
/// use http_body_util::BodyExt;
///
/// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
/// let mut response = client.get("http://127.0.0.1:8081/large").send().await?;
/// let mut size = 0;
/// while let Some(frame) = response.body_mut().frame().await {
///     size += frame?.data_ref().map_or(0, |data| data.len());
/// }
/// # Ok(())
/// # }
/// ```
pub struct ResponseBody {
    /// Frames that have been read.
    frames: Frames,
    /// Bytes that the reader has not been given yet; `None` if the head does not say.
    left: Option<u64>,
    /// `None` once the response is complete on the wire.
    lease: Option<Lease>,
    /// Set instead of the lease if the request outlived the head of the response.
    upload: Option<Box<UploadHandle>>,
    /// Set instead of both if the response comes by HTTP/2.
    http2: Option<Http2Body>,
    reused: bool,
    attempts: u32,
    deadline: Deadline,
    stall: StallWatch,
    events: RequestEvents,
    tls: Option<Arc<TlsInfo>>,
    /// Set if the body is given to its reader without its coding.
    decoding: Option<Box<Decoding>>,
}

impl ResponseBody {
    /// Returns the facts of the TLS connection that carries the body; `None` without TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.tls.as_deref()
    }

    pub(crate) fn new(
        mut lease: Lease,
        info: &ConnectionInfo,
        deadline: Deadline,
        stall: StallWatch,
    ) -> Self {
        let (reused, attempts) = (info.reused(), info.attempts);
        let connection = lease.connection();
        let tls = connection.tls().cloned();
        let left = connection.length_left();
        // An upload that outlives the head of its response needs a task that drives it.
        let uploading = connection.is_uploading();
        let (lease, upload, stall) = match uploading.then(Handle::try_current) {
            Some(Ok(runtime)) => {
                let upload = continue_upload(lease, stall, &runtime);
                (None, Some(Box::new(upload)), StallWatch::new(None))
            }
            _ => (Some(lease), None, stall),
        };
        let (frames, events) = (Frames::default(), RequestEvents::default());
        let mut body = Self {
            frames,
            left,
            lease,
            upload,
            http2: None,
            reused,
            attempts,
            deadline,
            stall,
            events,
            tls,
            decoding: None,
        };
        body.take_buffered();
        body
    }

    /// Makes the body of a response that comes by a stream of HTTP/2.
    pub(super) fn of_stream(
        body: Http2Body,
        info: &ConnectionInfo,
        deadline: Deadline,
        stall: StallWatch,
    ) -> Self {
        let tls = body.tls();
        let is_complete = body.is_complete();
        let left = if is_complete { Some(0) } else { body.length_left() };
        let mut this = Self {
            frames: Frames::default(),
            left,
            lease: None,
            upload: None,
            http2: Some(body),
            reused: info.reused(),
            attempts: info.attempts,
            deadline,
            stall,
            events: RequestEvents::default(),
            tls,
            decoding: None,
        };
        this.release_stream();
        this
    }

    /// Ends the stream of a response that is complete on the wire.
    fn release_stream(&mut self) {
        if let Some(body) = self.http2.take_if(|body| body.is_complete()) {
            body.finish();
        }
    }

    /// Reads the next frame of a stream.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Some(body) = &mut self.http2 else { return Poll::Ready(None) };
        let polled = body.poll_frame(cx);
        let progress = body.progress();
        if polled.is_pending() {
            let error = if self.deadline.poll_expired(cx) {
                Error::timeout(Stage::Body)
            } else if self.stall.poll_stalled(progress, true, cx) {
                Error::stall_timeout(Stage::Body)
            } else {
                return Poll::Pending;
            };
            return Poll::Ready(Some(Err(self.fail(error, CloseReason::Abandoned))));
        }
        match ready!(polled) {
            Some(Ok(frame)) => {
                self.release_stream();
                Poll::Ready(Some(Ok(self.give(frame))))
            }
            Some(Err(failure)) => {
                let error = error_of(failure, Stage::Body);
                Poll::Ready(Some(Err(self.fail(error, CloseReason::ExchangeFailed))))
            }
            None => {
                self.release_stream();
                self.events.complete();
                Poll::Ready(None)
            }
        }
    }

    /// Returns the empty body of a response whose connection has left HTTP.
    pub(crate) fn without_connection(info: &ConnectionInfo, tls: Option<Arc<TlsInfo>>) -> Self {
        Self {
            frames: Frames::default(),
            left: Some(0),
            lease: None,
            upload: None,
            http2: None,
            reused: info.reused(),
            attempts: info.attempts,
            deadline: Deadline::default(),
            stall: StallWatch::new(None),
            events: RequestEvents::default(),
            tls,
            decoding: None,
        }
    }

    /// Takes the frames whose bytes have been read, and returns the connection to the pool if the
    /// response is complete with them.
    fn take_buffered(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        let connection = lease.connection();
        // Trailers come with the end.
        while !connection.response_is_complete()
            && !self.frames.is_full()
            && let Some(frame) = connection.buffered_frame()
        {
            self.frames.push(frame);
        }
        self.release_if_complete();
    }

    /// Returns the connection to the pool once the response is complete on the wire, even if the
    /// reader has frames left to take: they are in memory.
    fn release_if_complete(&mut self) {
        let Some(lease) = &mut self.lease else { return };
        if !lease.connection().response_is_complete() {
            return;
        }
        while let Some(frame) = lease.connection().buffered_frame() {
            self.frames.push(frame);
        }
        if let Some(lease) = self.lease.take() {
            lease.return_to_pool();
        }
    }

    /// Reads the bytes that have arrived already, up to `limit`, without waiting for more. If that
    /// is the whole body, the connection has returned to the pool.
    pub(crate) fn discard_arrived(&mut self, limit: usize) {
        let mut left = limit;
        let mut unwoken = Context::from_waker(Waker::noop());
        while self.lease.is_some() || self.http2.is_some() {
            match Pin::new(&mut *self).poll_frame(&mut unwoken) {
                Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                    Some(data) if data.len() > left => return,
                    Some(data) => left -= data.len(),
                    None => {}
                },
                Poll::Ready(Some(Err(_)) | None) | Poll::Pending => return,
            }
        }
    }

    /// Reports the rest of the request to these events.
    pub(crate) fn report_to(&mut self, events: RequestEvents) {
        self.events = events;
        if self.is_at_end_of_wire() {
            self.events.complete();
        }
    }

    /// Has the body decoded from now on.
    pub(super) fn decode_by(&mut self, decoding: Decoding) {
        self.decoding = Some(Box::new(decoding));
    }

    fn poll_decoded(
        &mut self,
        decoding: &mut Decoding,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        loop {
            match decoding.state {
                DecodingState::Open => {}
                DecodingState::WireEnded => {
                    decoding.state = DecodingState::Done;
                    let trailers = decoding.trailers.take();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                DecodingState::Done => return Poll::Ready(None),
            }
            // A few bytes may decode into many pieces, which must not keep the thread.
            ready!(pin!(consume_budget()).poll(cx));
            let failure = match decoding.step() {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(None) => match ready!(self.poll_on_wire(cx)) {
                    Some(Ok(frame)) => {
                        match frame.into_data() {
                            Ok(data) => decoding.give(data),
                            Err(frame) => decoding.trailers = frame.into_trailers().ok(),
                        }
                        continue;
                    }
                    Some(Err(failure)) => failure,
                    None => match decoding.end() {
                        Ok(()) => continue,
                        Err(malformed) => self.annotate(malformed),
                    },
                },
                Err(malformed) => self.annotate(malformed),
            };
            decoding.state = DecodingState::Done;
            return Poll::Ready(Some(Err(failure)));
        }
    }

    /// Names the connection of a failure that is not the connection's: it can be kept.
    fn annotate(&mut self, error: Error) -> Error {
        let error = match (&self.lease, &self.upload) {
            (Some(lease), _) => error.at(lease.origin().name()),
            (None, Some(upload)) => error.at(upload.origin().name()),
            (None, None) => error,
        };
        let error = error.on_reused(self.reused).on_attempt(self.attempts);
        self.events.fail(&error);
        error
    }

    const fn is_on_the_wire(&self) -> bool {
        self.lease.is_some() || self.upload.is_some() || self.http2.is_some()
    }

    /// Reads the next frame off the wire.
    fn poll_wire(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if let Some(lease) = &mut self.lease {
            let polled = lease.connection().poll_frame();
            if polled.is_pending() {
                lease.connection().wait(cx);
            }
            return polled;
        }
        self.upload.as_mut().map_or(Poll::Ready(None), |upload| upload.poll_frame(cx))
    }

    /// Gives the reader a frame, and ends the request if that was the last one.
    fn give(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(bytes as u64);
        }
        self.events.received(bytes);
        self.end_upload_if_complete();
        if self.is_at_end_of_wire() {
            self.events.complete();
        }
        frame
    }

    /// Leaves the rest of an upload to its task, once the reader has taken the whole response.
    fn end_upload_if_complete(&mut self) {
        if self.upload.as_ref().is_some_and(|upload| upload.is_at_end())
            && let Some(upload) = self.upload.take()
        {
            upload.complete();
        }
    }

    /// Ends the body with an error, and closes its connection unless that has returned to the pool.
    pub(crate) fn fail(&mut self, error: Error, reason: CloseReason) -> Error {
        if let Some(upload) = self.upload.take() {
            let error = error.at(upload.origin().name());
            upload.failed(reason);
            let error = error.on_reused(self.reused).on_attempt(self.attempts);
            self.events.fail(&error);
            return error;
        }
        if let Some(body) = self.http2.take() {
            let error = match body.origin_name() {
                Some(origin) => error.at(&origin),
                None => error,
            };
            let error = error.on_reused(self.reused).on_attempt(self.attempts);
            let error = error.after_writing(body.written());
            self.events.fail(&error);
            return error;
        }
        let Some(mut lease) = self.lease.take() else {
            self.events.fail(&error);
            return error;
        };
        let error =
            error.at(lease.origin().name()).on_reused(self.reused).on_attempt(self.attempts);
        let connection = lease.connection();
        let error = error.after_writing(connection.traffic().written);
        let closer = connection.closer();
        lease.close(reason, closer);
        self.events.fail(&error);
        error
    }

    /// Returns the next frame of the body as it is on the wire.
    fn poll_on_wire(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        if !self.is_on_the_wire() {
            // As the most bodies: they are in memory before the caller asks for them.
            let Some(frame) = self.frames.pop() else {
                self.events.complete();
                return Poll::Ready(None);
            };
            return Poll::Ready(Some(Ok(self.give(frame))));
        }
        if self.deadline.has_passed() {
            let error = Error::timeout(Stage::Body);
            return Poll::Ready(Some(Err(self.fail(error, CloseReason::Abandoned))));
        }
        if let Some(frame) = self.frames.pop() {
            return Poll::Ready(Some(Ok(self.give(frame))));
        }
        // A peer that sends tiny frames as fast as they are read must not keep the thread.
        ready!(pin!(consume_budget()).poll(cx));
        if self.http2.is_some() {
            return self.poll_stream(cx);
        }
        let polled = self.poll_wire(cx);
        if polled.is_pending() && self.deadline.poll_expired(cx) {
            let error = Error::timeout(Stage::Body);
            return Poll::Ready(Some(Err(self.fail(error, CloseReason::Abandoned))));
        }
        if polled.is_pending()
            && let Some(lease) = &mut self.lease
        {
            let bytes = lease.connection().traffic().total();
            if self.stall.poll_stalled(bytes, true, cx) {
                let error = Error::stall_timeout(Stage::Body);
                return Poll::Ready(Some(Err(self.fail(error, CloseReason::Abandoned))));
            }
        }
        match ready!(polled) {
            Some(Ok(frame)) => {
                self.release_if_complete();
                Poll::Ready(Some(Ok(self.give(frame))))
            }
            Some(Err(Failure::Stalled)) => {
                let error = Error::stall_timeout(Stage::Body);
                Poll::Ready(Some(Err(self.fail(error, CloseReason::Abandoned))))
            }
            Some(Err(failure)) => {
                let error = failure.into_error(Stage::Body);
                Poll::Ready(Some(Err(self.fail(error, CloseReason::ExchangeFailed))))
            }
            None => {
                self.release_if_complete();
                if let Some(upload) = self.upload.take() {
                    upload.complete();
                }
                if let Some(frame) = self.frames.pop() {
                    return Poll::Ready(Some(Ok(self.give(frame))));
                }
                self.events.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_at_end_of_wire(&self) -> bool {
        self.frames.is_empty()
            && self.lease.is_none()
            && self.http2.is_none()
            && self.upload.as_ref().is_none_or(|upload| upload.is_at_end())
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Some(mut decoding) = self.decoding.take() else { return self.poll_on_wire(cx) };
        let polled = self.poll_decoded(&mut decoding, cx);
        self.decoding = Some(decoding);
        polled
    }

    fn is_end_stream(&self) -> bool {
        if let Some(decoding) = &self.decoding {
            return decoding.state == DecodingState::Done;
        }
        self.is_at_end_of_wire()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            // The head gives the length of the coded body, not of the decoded one.
            _ if self.decoding.is_some() => SizeHint::default(),
            Some(left) => SizeHint::with_exact(left),
            None if self.is_end_stream() => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            drain(lease, self.frames.bytes());
        } else if let Some(upload) = self.upload.take() {
            upload.dropped();
        } else if let Some(body) = self.http2.take() {
            body.abandon();
        }
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("complete", &!self.is_on_the_wire())
            .finish_non_exhaustive()
    }
}
