//! Request bodies.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::error::BoxError;

/// The body of a request: bytes in memory, which can be sent again; or a stream, which can be sent
/// again only if it can be made anew.
///
/// ```
/// use keepwarm::Body;
///
/// let bytes = Body::from("in memory");
/// assert!(bytes.try_clone().is_some());
///
/// let stream = Body::stream(http_body_util::Full::new(bytes::Bytes::from("once")));
/// assert!(stream.try_clone().is_none());
/// ```
pub struct Body(
    /// `None` for an empty body, as in most requests: a body is one word.
    Option<Box<Content>>,
);

struct Content {
    source: Source,
    /// Counter of the bytes that are taken, for observers.
    taken: Option<Arc<AtomicU64>>,
}

enum Source {
    /// `None` once sent, or when there is nothing to send.
    Full(Option<Bytes>),
    Stream(BodyStream),
    /// Makes the stream anew for each attempt.
    Replayable(Arc<dyn Fn() -> BodyStream + Send + Sync>),
}

/// A body that is read while it is sent.
pub(crate) type BodyStream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>;

impl Default for Content {
    fn default() -> Self {
        Self { source: Source::Full(None), taken: None }
    }
}

impl Body {
    fn of(source: Source) -> Self {
        Self(Some(Box::new(Content { source, ..Content::default() })))
    }

    /// Adds the bytes that are taken of the body to this counter.
    pub(crate) fn count_into(&mut self, taken: Arc<AtomicU64>) {
        if let Some(content) = &mut self.0 {
            content.taken = Some(taken);
        }
    }

    /// Makes the stream of a replayable body.
    pub(crate) fn make(&mut self) {
        if let Some(content) = &mut self.0 {
            content.make();
        }
    }

    /// Wraps the stream of a streamed body.
    pub(crate) fn wrap<B>(&mut self, wrap: impl FnOnce(BodyStream) -> B)
    where
        B: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        if let Some(content) = &mut self.0
            && let Source::Stream(stream) =
                std::mem::replace(&mut content.source, Source::Full(None))
        {
            content.source = Source::Stream(Box::pin(wrap(stream)));
        }
    }

    /// Returns an empty body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(None)
    }

    /// Creates a body that is read while it is sent. The body cannot be sent twice, so a redirect
    /// that asks for it again (307, 308) is not followed, and no second attempt is made once a byte
    /// of the request was written.
    ///
    /// Its length is that of a field `Content-Length`, or of an exact `size_hint`; otherwise it is
    /// sent in chunks. A body that turns out to be longer or shorter is an error: the connection is
    /// closed, and the server has not seen a complete request. To ensure that, the last bytes are
    /// sent only when the stream has ended. Trailers are sent if a field `Trailer` announces them,
    /// and then in chunks; other trailers are an error.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::of(Source::Stream(boxed(body)))
    }

    /// Creates a streamed body that can be made anew and so be sent again: for a redirect (307,
    /// 308), and for a second attempt. Go: `Request.GetBody`.
    ///
    /// The task of the request calls `make` each time that the body is sent.
    ///
    /// ```
    /// use keepwarm::Body;
    ///
    /// let lines = Body::replayable(|| http_body_util::Full::new(bytes::Bytes::from("again")));
    /// assert!(lines.try_clone().is_some());
    /// ```
    pub fn replayable<B>(make: impl Fn() -> B + Send + Sync + 'static) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::of(Source::Replayable(Arc::new(move || boxed(make()))))
    }

    /// Creates a body of a stream of bytes, which is read while it is sent, as
    /// [`stream`](Self::stream) does. reqwest: `Body::wrap_stream`.
    #[cfg(feature = "stream")]
    pub fn from_stream<S, D, E>(stream: S) -> Self
    where
        S: futures_core::Stream<Item = std::result::Result<D, E>> + Send + 'static,
        D: Into<Bytes>,
        E: Into<BoxError>,
    {
        Self::of(Source::Stream(Box::pin(Streamed(Box::pin(stream)))))
    }

    /// Returns the bytes of a body in memory, for a look at it; `None` for a stream.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self.source() {
            None => Some(&[]),
            Some(Source::Full(bytes)) => Some(bytes.as_deref().unwrap_or_default()),
            Some(Source::Stream(_) | Source::Replayable(_)) => None,
        }
    }

    /// Returns true if the body can be sent again.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self.source(), Some(Source::Stream(_)))
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.source(), None | Some(Source::Full(_)))
    }

    /// Returns a second copy, if this body can be sent again.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        match self.source() {
            None => Some(Self::empty()),
            Some(Source::Full(bytes)) => Some(Self::of(Source::Full(bytes.clone()))),
            Some(Source::Stream(_)) => None,
            Some(Source::Replayable(make)) => Some(Self::of(Source::Replayable(Arc::clone(make)))),
        }
    }

    fn source(&self) -> Option<&Source> {
        self.0.as_ref().map(|content| &content.source)
    }
}

impl Content {
    fn make(&mut self) {
        if let Source::Replayable(make) = &self.source {
            self.source = Source::Stream(make());
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.make();
        let polled = match &mut self.source {
            Source::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Stream(stream) => stream.as_mut().poll_frame(cx),
            Source::Replayable(_) => unreachable!("its stream was made just now"),
        };
        if let (Some(taken), Poll::Ready(Some(Ok(frame)))) = (&self.taken, &polled) {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            taken.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        polled
    }
}

/// A stream of bytes as a body.
#[cfg(feature = "stream")]
struct Streamed<S>(Pin<Box<S>>);

#[cfg(feature = "stream")]
impl<S, D, E> http_body::Body for Streamed<S>
where
    S: futures_core::Stream<Item = std::result::Result<D, E>>,
    D: Into<Bytes>,
    E: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = self.0.as_mut().poll_next(cx);
        polled.map(|next| {
            next.map(|item| item.map(|data| Frame::data(data.into())).map_err(Into::into))
        })
    }
}

fn boxed<B>(body: B) -> BodyStream
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Box::pin(http_body_util::BodyExt::map_err(body, Into::into))
}

impl Default for Body {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::empty() } else { Self::of(Source::Full(Some(bytes))) }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source() {
            None => f.write_str("Body(0 bytes)"),
            Some(Source::Full(bytes)) => {
                write!(f, "Body({} bytes)", bytes.as_ref().map_or(0, Bytes::len))
            }
            Some(Source::Stream(_)) => f.write_str("Body(stream)"),
            Some(Source::Replayable(_)) => f.write_str("Body(replayable stream)"),
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |content| content.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        match self.source() {
            None => true,
            Some(Source::Full(bytes)) => bytes.is_none(),
            Some(Source::Stream(stream)) => stream.is_end_stream(),
            Some(Source::Replayable(_)) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.source() {
            None => SizeHint::with_exact(0),
            Some(Source::Full(bytes)) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Some(Source::Stream(stream)) => stream.size_hint(),
            Some(Source::Replayable(_)) => SizeHint::default(),
        }
    }
}
