//! Request bodies.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::error::BoxError;
use crate::wire::counted_stream::{Upload, Witness};
use crate::wire::interim::Gate;

/// The body of a request: bytes in memory, which can be sent again, or a stream, which cannot unless
/// it can be made anew.
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
    /// `None` where there is nothing to send, as in most requests. Behind a pointer, since hyper moves
    /// a request some twenty times on its way.
    Option<Box<Content>>,
);

struct Content {
    kind: Kind,
    /// While it is being sent.
    upload: Option<Upload>,
    /// Where the bytes of it that are taken are counted, if somebody asks.
    taken: Option<Arc<AtomicU64>>,
    /// While it may not be sent yet.
    gate: Option<Arc<Gate>>,
}

enum Kind {
    /// `None` once sent, or when there is nothing to send.
    Full(Option<Bytes>),
    Stream(Stream),
    /// Makes the stream anew for each attempt.
    Replayable(Arc<dyn Fn() -> Stream + Send + Sync>),
}

/// A body that is read while it is sent.
pub(crate) type Stream = Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>;

impl Default for Content {
    fn default() -> Self {
        Self { kind: Kind::Full(None), upload: None, taken: None, gate: None }
    }
}

impl Body {
    fn of(kind: Kind) -> Self {
        Self(Some(Box::new(Content { kind, ..Content::default() })))
    }

    /// Tells the witness when the last of it was taken, or it was dropped.
    pub(crate) fn begin_upload(&mut self, witness: &Witness) {
        if !http_body::Body::is_end_stream(self)
            && let Some(content) = &mut self.0
        {
            content.upload = Some(Upload::begin(witness));
        }
    }

    /// Adds to this the bytes that are taken of it.
    pub(crate) fn count_into(&mut self, taken: Arc<AtomicU64>) {
        if let Some(content) = &mut self.0 {
            content.taken = Some(taken);
        }
    }

    /// Holds it back, until the gate is opened.
    pub(crate) fn hold(&mut self) -> Arc<Gate> {
        Arc::clone(self.0.get_or_insert_default().gate.get_or_insert_default())
    }

    /// What it waits at.
    pub(crate) fn gate(&self) -> Option<&Arc<Gate>> {
        self.0.as_ref()?.gate.as_ref()
    }

    /// Begins the stream that it makes, if it is one that can be made anew.
    pub(crate) fn make(&mut self) {
        if let Some(content) = &mut self.0 {
            content.make();
        }
    }

    /// Puts something around the stream that it is.
    pub(crate) fn wrap<B>(&mut self, wrap: impl FnOnce(Stream) -> B)
    where
        B: http_body::Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        if let Some(content) = &mut self.0
            && let Kind::Stream(stream) = std::mem::replace(&mut content.kind, Kind::Full(None))
        {
            content.kind = Kind::Stream(Box::pin(wrap(stream)));
        }
    }

    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self(None)
    }

    /// A body that is read while it is sent. It cannot be sent twice, so a redirect that asks for
    /// it again (307, 308) is not followed, and no second attempt is made once a byte of the request
    /// was written.
    ///
    /// Its length is that of a field `Content-Length`, or of an exact `size_hint`; else it is sent in
    /// chunks. One that turns out to be longer or shorter is an error: the connection is closed, and
    /// what was sent is no complete request. For that its last bytes are sent when it has ended, and
    /// not before. Trailers are sent if a field `Trailer` announces them, in chunks then; others are
    /// an error.
    pub fn stream<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::of(Kind::Stream(boxed(body)))
    }

    /// A stream that can be made anew, so that it can be sent again: for a redirect (307, 308), and
    /// for a second attempt. Go: `Request.GetBody`.
    ///
    /// `make` is called for each time that it is sent, by the task of the request.
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
        Self::of(Kind::Replayable(Arc::new(move || boxed(make()))))
    }

    /// Whether it can be sent again.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self.kind(), Some(Kind::Stream(_)))
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self.kind(), None | Some(Kind::Full(_)))
    }

    /// A second copy, if this body can be sent again.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        match self.kind() {
            None => Some(Self::empty()),
            Some(Kind::Full(bytes)) => Some(Self::of(Kind::Full(bytes.clone()))),
            Some(Kind::Stream(_)) => None,
            Some(Kind::Replayable(make)) => Some(Self::of(Kind::Replayable(Arc::clone(make)))),
        }
    }

    fn kind(&self) -> Option<&Kind> {
        self.0.as_ref().map(|content| &content.kind)
    }
}

impl Content {
    fn make(&mut self) {
        if let Kind::Replayable(make) = &self.kind {
            self.kind = Kind::Stream(make());
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(gate) = &self.gate {
            ready!(gate.poll_open(cx));
            self.gate = None;
        }
        self.make();
        let polled = match &mut self.kind {
            Kind::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Kind::Stream(stream) => stream.as_mut().poll_frame(cx),
            Kind::Replayable(_) => unreachable!("it was made just now"),
        };
        if let (Some(taken), Poll::Ready(Some(Ok(frame)))) = (&self.taken, &polled) {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            taken.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        polled
    }
}

fn boxed<B>(body: B) -> Stream
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
        if bytes.is_empty() { Self::empty() } else { Self::of(Kind::Full(Some(bytes))) }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            None => f.write_str("Body(0 bytes)"),
            Some(Kind::Full(bytes)) => {
                write!(f, "Body({} bytes)", bytes.as_ref().map_or(0, Bytes::len))
            }
            Some(Kind::Stream(_)) => f.write_str("Body(stream)"),
            Some(Kind::Replayable(_)) => f.write_str("Body(replayable stream)"),
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
        match self.kind() {
            None => true,
            Some(Kind::Full(bytes)) => bytes.is_none(),
            Some(Kind::Stream(stream)) => stream.is_end_stream(),
            Some(Kind::Replayable(_)) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.kind() {
            None => SizeHint::with_exact(0),
            Some(Kind::Full(bytes)) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Some(Kind::Stream(stream)) => stream.size_hint(),
            Some(Kind::Replayable(_)) => SizeHint::default(),
        }
    }
}
