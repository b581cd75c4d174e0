//! Responses, their bodies, and what is known of the connection they came by.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use keepwarm_pool::CloseReason;
use tokio::runtime::Handle;

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result, Stage};
use crate::exchange::drain::drain;
use crate::exchange::upload::{Carrier, carry};
use crate::observe::request_events::Trail;
use crate::pool::lease::Lease;
use crate::wire::waker::quietly;

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
}

impl ConnectionInfo {
    /// A number that no other connection of this process has had.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Whether the connection had served an exchange before.
    #[must_use]
    pub const fn reused(&self) -> bool {
        self.exchanges_before > 0
    }

    /// Exchanges that the connection had served before this one.
    #[must_use]
    pub const fn exchanges_before(&self) -> u64 {
        self.exchanges_before
    }

    /// How long the connection had been idle; `None` if it came straight from a dial or from
    /// another exchange.
    #[must_use]
    pub const fn idle_age(&self) -> Option<Duration> {
        self.idle_age
    }

    /// How long the request waited for a connection: for a return, a slot or a dial.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.waited
    }

    /// How many connections the request was handed to, this one included: 1, unless earlier ones
    /// turned out to be dead. See [`RequestBuilder::send`](crate::RequestBuilder::send).
    #[must_use]
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// A response: its head, and a body still to be read.
///
/// Read the body to its end: a [body that is dropped](ResponseBody) before it keeps its connection
/// only if the rest is small and comes fast.
///
/// ```no_run
/// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
/// let response = client.get("http://127.0.0.1:8081/data").send().await?;
/// if response.status().is_success() {
///     println!("{}", response.text().await?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Response {
    inner: http::Response<ResponseBody>,
    connection: ConnectionInfo,
}

impl Response {
    pub(crate) fn new(inner: http::Response<ResponseBody>, connection: ConnectionInfo) -> Self {
        Self { inner, connection }
    }

    /// The status code.
    #[must_use]
    pub fn status(&self) -> http::StatusCode {
        self.inner.status()
    }

    /// The header fields.
    #[must_use]
    pub fn headers(&self) -> &http::HeaderMap {
        self.inner.headers()
    }

    /// The connection that carried it.
    #[must_use]
    pub const fn connection(&self) -> ConnectionInfo {
        self.connection
    }

    /// The body, to be read frame by frame.
    pub fn body_mut(&mut self) -> &mut ResponseBody {
        self.inner.body_mut()
    }

    /// The whole body. Its size is bounded by memory only; see
    /// [`bytes_up_to`](Response::bytes_up_to).
    ///
    /// # Errors
    ///
    /// [`Stage::Body`] if the body breaks off or the total timeout passes.
    pub async fn bytes(self) -> Result<Bytes> {
        Ok(self.inner.into_body().collect().await?.to_bytes())
    }

    /// The whole body, of at most `limit` bytes. Beyond it the connection is closed, since the
    /// rest is not read.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Response::bytes), and [`is_too_large`](Error::is_too_large).
    pub async fn bytes_up_to(self, limit: usize) -> Result<Bytes> {
        let mut body = self.inner.into_body();
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            if first.len() + all.len() + data.len() > limit {
                let error = Error::new(Stage::Body, Kind::TooLarge)
                    .with_message(format!("more than the {limit} bytes that were allowed"));
                return Err(body.fail(error, CloseReason::Abandoned));
            }
            if first.is_empty() && all.is_empty() {
                first = data;
            } else {
                all.extend_from_slice(&std::mem::take(&mut first));
                all.extend_from_slice(&data);
            }
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    /// The whole body as text; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    ///
    /// As [`bytes`](Response::bytes).
    pub async fn text(self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.bytes().await?).into_owned())
    }

    /// The response as the `http` crate has it, with its [`ConnectionInfo`] as an extension.
    #[must_use]
    pub fn into_http(mut self) -> http::Response<ResponseBody> {
        self.inner.extensions_mut().insert(self.connection);
        self.inner
    }
}

/// The body of a response.
///
/// The connection is back in its pool before the reader sees the end.
///
/// If the response overtakes the body of its request, the rest of that body is sent in the
/// background, whether anybody reads the response or not. The response wins: when it is complete,
/// the upload has 50 ms to end. If it does, the connection goes back then; if not, it is closed, as
/// [`UploadUnfinished`](crate::CloseReason::UploadUnfinished).
///
/// A body that is dropped before its end is read to it in the background, and then its connection
/// goes back too: but for at most 256 KiB and 50 ms, and only inside a tokio runtime. Where more is
/// left, or where it comes slower, the connection is closed, as
/// [`Abandoned`](crate::CloseReason::Abandoned). Until then it counts as active. (Go 1.27 does the
/// same in `Body.Close`; it looks at the length of the whole body, this client at what is left.)
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
    /// Until the body is dropped.
    incoming: Option<Incoming>,
    /// Until the response is complete on the wire.
    lease: Option<Lease>,
    /// Instead of the lease, if the request outlived the head of the response.
    carrier: Option<Carrier>,
    reused: bool,
    attempts: u32,
    deadline: Deadline,
    trail: Trail,
}

impl ResponseBody {
    pub(crate) fn new(
        incoming: Incoming,
        mut lease: Lease,
        info: ConnectionInfo,
        deadline: Deadline,
    ) -> Self {
        let (reused, attempts) = (info.reused(), info.attempts);
        // An upload that outlives the head of its response needs somebody who drives it.
        let uploading = lease.connection().is_uploading();
        let (lease, carrier) = match uploading.then(Handle::try_current) {
            Some(Ok(runtime)) => (None, Some(carry(lease, &runtime))),
            _ => (Some(lease), None),
        };
        let incoming = Some(incoming);
        let mut body =
            Self { incoming, lease, carrier, reused, attempts, deadline, trail: Trail::default() };
        body.release_if_complete();
        body
    }

    /// Reads what has arrived already, up to `limit` bytes, without waiting for more. If that is
    /// all of it, the connection is back in the pool.
    pub(crate) fn discard_arrived(&mut self, limit: usize) {
        let mut left = limit;
        let mut unwoken = Context::from_waker(Waker::noop());
        while self.lease.is_some() {
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

    /// Tells the observers of the rest.
    pub(crate) fn follow(&mut self, trail: Trail) {
        self.trail = trail;
        if self.is_end_stream() {
            self.trail.complete();
        }
    }

    /// The rest of the request's time.
    pub(crate) fn into_deadline(mut self) -> Deadline {
        std::mem::take(&mut self.deadline)
    }

    /// The connection goes back as soon as the wire is done with the response, even if the reader
    /// has frames left to take: they are in memory.
    fn release_if_complete(&mut self) {
        let ended = self.is_end_stream();
        if ended && let Some(carrier) = self.carrier.take() {
            carrier.complete();
        }
        let Some(lease) = &mut self.lease else { return };
        if (lease.connection().is_ready() || ended)
            && let Some(lease) = self.lease.take()
        {
            lease.give_back();
        }
    }

    const fn is_on_the_wire(&self) -> bool {
        self.lease.is_some() || self.carrier.is_some()
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        if self.carrier.is_some() {
            return Pin::new(incoming).poll_frame(cx);
        }
        // Frames are made by `drive` in this very task, so waiting for one needs no waker.
        let mut unwoken = Context::from_waker(Waker::noop());
        quietly(|| Pin::new(incoming).poll_frame(&mut unwoken))
    }

    /// Lets bytes flow in this task, which may end the lease.
    fn drive(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.connection().drive();
            self.release_if_complete();
        }
    }

    /// The body ends here, and so does its connection unless it is back in the pool already.
    fn fail(&mut self, error: Error, reason: CloseReason) -> Error {
        if let Some(carrier) = self.carrier.take() {
            let error = error.at(carrier.origin().name());
            carrier.failed(reason);
            let error = error.on_reused(self.reused).on_attempt(self.attempts);
            self.trail.fail(&error);
            return error;
        }
        let Some(mut lease) = self.lease.take() else {
            self.trail.fail(&error);
            return error;
        };
        let error =
            error.at(lease.origin().name()).on_reused(self.reused).on_attempt(self.attempts);
        let connection = lease.connection();
        let error = error.after_writing(connection.traffic().written);
        let closer = connection.closer();
        lease.close(reason, closer);
        self.trail.fail(&error);
        error
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        if self.is_on_the_wire() && self.deadline.has_passed() {
            let error = Error::timeout(Stage::Body);
            return Poll::Ready(Some(Err(self.fail(error, CloseReason::Abandoned))));
        }
        let mut polled = self.poll_incoming(cx);
        if polled.is_pending() && self.lease.is_some() {
            self.drive();
            polled = self.poll_incoming(cx);
        }
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.release_if_complete();
                // The end of a chunked body may have arrived with this frame, and a reader may
                // know that it was the last one.
                self.drive();
                self.trail.received(frame.data_ref().map_or(0, Bytes::len));
                if self.is_end_stream() {
                    self.trail.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                if let Some(lease) = self.lease.take() {
                    lease.give_back();
                }
                if let Some(carrier) = self.carrier.take() {
                    carrier.complete();
                }
                self.trail.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let error = Error::failed(Stage::Body, error);
                Poll::Ready(Some(Err(self.fail(error, CloseReason::ExchangeFailed))))
            }
            Poll::Pending if self.deadline.poll_expired(cx) => {
                let error = Error::timeout(Stage::Body);
                Poll::Ready(Some(Err(self.fail(error, CloseReason::Abandoned))))
            }
            Poll::Pending => {
                if let Some(lease) = &mut self.lease {
                    lease.connection().wait(cx);
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        if let Some(lease) = self.lease.take() {
            drain(lease, incoming);
        } else if let Some(carrier) = self.carrier.take() {
            carrier.dropped(incoming);
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
