//! One request on an HTTP/2 connection: a stream.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body as _, Frame};
use keepwarm_http1::{Framing, ResponseHead};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::guard::Farewell;
use super::{Http2, LARGE_HEAD, header_list_size};
use crate::error::BoxError;
use crate::wire::body::Body;
use crate::wire::interim::InterimListener;

/// Failure of a request.
#[derive(Debug)]
pub(crate) enum StreamFailure {
    /// Nothing of the request was handed over.
    Unsent,
    /// The peer says that it has not processed the request, and will not.
    Unprocessed,
    /// The same, and the peer has ended the connection by an error where the request began.
    Blamed(BoxError),
    /// The peer wants the request by HTTP/1.1.
    NeedsHttp1,
    /// The connection ended.
    Cut(BoxError),
    /// The peer gave the stream up, or the response broke the rules; the connection goes on.
    Stream(BoxError),
    /// The head of the response is larger than this client reads; the connection goes on.
    HeadTooLarge,
    /// The peer broke the rules of the connection.
    Connection(BoxError),
    /// The caller's body failed, or is not as long as declared.
    Body(BoxError),
}

/// Cause of the errors of requests on a connection whose peer has not answered a ping.
const SILENT: &str = "the server answered nothing for 10 s, not even a ping";

impl StreamFailure {
    fn of(error: h2::Error, of: &Http2Stream, stream: u32) -> Self {
        let (http2, head_size) = (&of.http2, of.head_size);
        http2.heed(&error);
        let farewell = http2.heard.farewell();
        // What the peer said last, and what it may be about.
        let told = |said: Farewell| match head_size {
            LARGE_HEAD.. => {
                format!(
                    "{said}; the request's fields count {head_size} bytes, maybe more than it takes"
                )
            }
            _ => said.to_string(),
        };
        match error.reason() {
            Some(_) if error.is_go_away() && error.is_remote() => match farewell {
                Some(said) if said.begins_at(stream) => Self::Blamed(told(said).into()),
                _ => Self::Unprocessed,
            },
            Some(Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => match farewell
            {
                Some(said) if said.is_last(stream) => Self::Blamed(told(said).into()),
                _ => Self::Unprocessed,
            },
            Some(Reason::HTTP_1_1_REQUIRED) if error.is_reset() && error.is_remote() => {
                Self::NeedsHttp1
            }
            _ if http2.heard.is_gone() => {
                let after = |said| format!(", since its {}", told(said));
                let after = farewell.map_or_else(String::new, after);
                let words = format!("{SILENT}{after}");
                Self::Cut(io::Error::new(io::ErrorKind::TimedOut, words).into())
            }
            _ if error.is_io() => Self::Cut(match (error.into_io(), farewell) {
                (Some(error), None) => error.into(),
                (Some(error), Some(said)) => {
                    let words = format!("the server ended the connection: {}", told(said));
                    io::Error::new(error.kind(), words).into()
                }
                (None, _) => "the connection ended".into(),
            }),
            _ if error.is_reset() && error.is_library() && http2.heard.is_too_large(stream) => {
                Self::HeadTooLarge
            }
            _ if error.is_reset() => Self::Stream(error.into()),
            _ => Self::Connection(error.into()),
        }
    }
}

/// The request's side of a stream.
struct StreamUpload {
    body: Body,
    send: SendStream<Bytes>,
    /// Bytes that wait for the peer's window.
    waiting: Bytes,
    /// The body waits for `100 Continue`.
    is_held: bool,
    /// The final response has come before the leave: no byte of the body is sent. Its stream is open
    /// until the response has been read, since a reset would end both.
    is_refused: bool,
    is_touched: bool,
    waits_for_peer: bool,
}

/// A request that waits until the kernel has accepted the bytes before it. If its caller drops it
/// meanwhile, it is never sent.
struct Unsent {
    request: http::Request<()>,
    body: Body,
    is_held: bool,
}

/// A request on a connection, and its response.
pub(crate) struct Http2Stream {
    /// Set until the request has been handed over.
    unsent: Option<Box<Unsent>>,
    head: Option<ResponseFuture>,
    receive: Option<RecvStream>,
    /// `None` once the body has been handed over, and for a request without one.
    upload: Option<Box<StreamUpload>>,
    /// The task that sends the rest of the body once the head of the response has come.
    background: Option<JoinHandle<()>>,
    /// The failure of the caller's body in that task, for which the stream was reset.
    body_failure: Option<Arc<Mutex<Option<BoxError>>>>,
    /// Bytes of the announced body length that have not come.
    left: Option<u64>,
    is_head_request: bool,
    /// The response has no body, by its request or its status.
    is_bodiless: bool,
    /// No other request was on the connection when this one was sent.
    is_alone: bool,
    /// Count of progress, by which a stall is noticed: bytes and heads, in either direction.
    progress: u64,
    written: u64,
    /// Size of the request's header list.
    head_size: usize,
    http2: Arc<Http2>,
}

impl fmt::Debug for Http2Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2Stream").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Http2 {
    /// Hands a request over, or lets it wait while the kernel takes no more. `Err` with the body if
    /// the connection takes no request. The head of a request that is alone on its connection
    /// leaves at once; those of others leave together, by the connection's task.
    pub(crate) fn send(
        self: &Arc<Self>,
        request: http::Request<()>,
        body: Body,
        is_held: bool,
        is_alone: bool,
    ) -> Result<Http2Stream, Body> {
        let mut stream = Http2Stream {
            unsent: None,
            head: None,
            receive: None,
            upload: None,
            background: None,
            body_failure: None,
            left: None,
            is_head_request: request.method() == Method::HEAD,
            is_bodiless: false,
            is_alone,
            progress: 0,
            written: 0,
            head_size: 0,
            http2: Arc::clone(self),
        };
        if self.heard.is_blocked() {
            stream.unsent = Some(Box::new(Unsent { request, body, is_held }));
        } else {
            stream.hand_over(request, body, is_held, is_alone)?;
        }
        Ok(stream)
    }
}

impl Http2Stream {
    /// Hands the request to the connection. `Err` with the body if that takes none.
    fn hand_over(
        &mut self,
        request: http::Request<()>,
        body: Body,
        is_held: bool,
        is_alone: bool,
    ) -> Result<(), Body> {
        let Some((mut sender, parked)) = self.http2.sender() else { return Err(body) };
        let ends = body.is_end_stream();
        self.head_size = header_list_size(&request);
        let send = || {
            drop(parked);
            sender.send_request(request, ends)
        };
        let sent = if is_alone && ends {
            self.http2.shared.hand_over(|| self.http2.heard(), send)
        } else {
            send()
        };
        let (head, send) = match sent {
            Ok(sent) => sent,
            Err(error) => {
                self.http2.heed(&error);
                return Err(body);
            }
        };
        self.http2.give_back(sender);
        if self.head_size >= LARGE_HEAD {
            self.http2.note_large(head.stream_id().as_u32());
        }
        if !ends {
            let upload = StreamUpload {
                body,
                send,
                waiting: Bytes::new(),
                is_held,
                is_refused: false,
                is_touched: false,
                waits_for_peer: false,
            };
            self.upload = Some(Box::new(upload));
        }
        self.head = Some(head);
        self.written = 1;
        Ok(())
    }

    /// Hands the request over that waited for the kernel, once that takes more. `Err` with the body
    /// put back if the connection takes no request any more.
    fn poll_hand_over(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFailure>> {
        ready!(self.http2.heard.poll_unblocked(cx));
        let Some(unsent) = self.unsent.take() else { return Poll::Ready(Ok(())) };
        let Unsent { request, body, is_held } = *unsent;
        if let Err(body) = self.hand_over(request, body, is_held, false) {
            let request = http::Request::new(());
            self.unsent = Some(Box::new(Unsent { request, body, is_held }));
            return Poll::Ready(Err(StreamFailure::Unsent));
        }
        match self.poll_upload(cx) {
            Poll::Ready(Err(failure)) => Poll::Ready(Err(failure)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    /// Returns true if the request has not been handed over.
    pub(crate) const fn is_unsent(&self) -> bool {
        self.unsent.is_some()
    }

    pub(crate) const fn http2(&self) -> &Arc<Http2> {
        &self.http2
    }

    pub(crate) const fn progress(&self) -> u64 {
        self.progress
    }

    pub(crate) const fn written(&self) -> u64 {
        self.written
    }

    pub(crate) const fn length_left(&self) -> Option<u64> {
        self.left
    }

    pub(crate) fn is_uploading(&self) -> bool {
        self.upload.is_some() || self.background.as_ref().is_some_and(|task| !task.is_finished())
    }

    /// Lets a task send the rest of the body, also while the response is not read.
    pub(crate) fn continue_upload(&mut self) {
        if self.upload.as_ref().is_none_or(|upload| upload.is_refused) {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        let Some(mut upload) = self.upload.take() else { return };
        let told = Arc::clone(self.body_failure.get_or_insert_default());
        self.background = Some(runtime.spawn(async move {
            let mut written = 0;
            if let Err(failure) = poll_fn(|cx| upload.poll(&mut written, cx)).await {
                if let StreamFailure::Body(cause) = failure {
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
                }
                upload.send.send_reset(Reason::CANCEL);
            }
        }));
    }

    /// Returns true if the peer has answered a request whose body waited for its leave.
    pub(crate) fn is_refused(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.is_refused)
    }

    /// Returns true if the upload waits for the peer's window, not for the caller's body.
    pub(crate) fn waits_for_peer(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.waits_for_peer || upload.is_held)
    }

    /// Returns true if the response is complete.
    pub(crate) const fn response_is_complete(&self) -> bool {
        self.head.is_none() && self.receive.is_none()
    }

    /// Lets the body go that waits for `100 Continue`.
    pub(crate) fn release(&mut self) {
        if let Some(unsent) = &mut self.unsent {
            unsent.is_held = false;
        }
        if let Some(upload) = &mut self.upload {
            upload.is_held = false;
        }
    }

    pub(crate) fn is_held(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.is_held)
    }

    /// Returns the body if no part of it was taken.
    pub(crate) fn take_untouched(&mut self) -> Option<Body> {
        if let Some(unsent) = self.unsent.take() {
            return Some(unsent.body);
        }
        let upload = self.upload.take_if(|upload| !upload.is_touched)?;
        Some(upload.body)
    }

    /// Sends what the peer allows of the body. Ready when the body has been handed over.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamFailure>> {
        if let Some(task) = self.background.as_mut().filter(|task| !task.is_finished()) {
            let _ended = ready!(Pin::new(task).poll(cx));
            self.background = None;
        }
        let Some(upload) = &mut self.upload else { return Poll::Ready(Ok(())) };
        let before = upload.waiting.len();
        let polled = upload.poll(&mut self.written, cx);
        self.progress += u64::from(before != upload.waiting.len());
        let result = ready!(polled);
        self.progress += 1;
        match result {
            Ok(()) => {
                self.upload = None;
                Poll::Ready(Ok(()))
            }
            Err(failure) => {
                if let Some(mut upload) = self.upload.take() {
                    upload.send.send_reset(Reason::CANCEL);
                }
                Poll::Ready(Err(failure))
            }
        }
    }

    /// Reads the head of the response into `received`. `is_watched`: interim responses count as
    /// progress.
    pub(crate) fn poll_head(
        &mut self,
        received: &mut Option<ResponseHead>,
        listener: Option<&InterimListener>,
        is_watched: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), StreamFailure>> {
        if self.is_unsent() {
            ready!(self.poll_hand_over(cx))?;
        }
        if listener.is_some() || is_watched || self.is_held() {
            self.poll_interim(listener, cx);
        }
        let Some(head) = &mut self.head else { return Poll::Pending };
        let response = match ready!(Pin::new(&mut *head).poll(cx)) {
            Ok(response) => response,
            Err(error) => {
                let stream = head.stream_id().as_u32();
                return Poll::Ready(Err(StreamFailure::of(error, self, stream)));
            }
        };
        self.head = None;
        self.progress += 1;
        let (parts, receive) = response.into_parts();
        self.is_bodiless = self.is_head_request
            || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&parts.status);
        self.left = self.expected_length(&parts.headers)?;
        if let Some(upload) = self.upload.as_mut().filter(|upload| upload.is_held) {
            upload.is_refused = true;
        }
        let is_end = may_have_ended(self.left) && receive.is_end_stream();
        self.receive = Some(receive);
        if is_end {
            self.end_response();
            self.check_length()?;
        }
        *received = Some(ResponseHead {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            framing: Framing::UntilEnd,
        });
        Poll::Ready(Ok(()))
    }

    /// Passes the interim responses on that have come.
    fn poll_interim(&mut self, listener: Option<&InterimListener>, cx: &mut Context<'_>) {
        let Some(head) = &mut self.head else { return };
        while let Poll::Ready(Some(Ok(interim))) = head.poll_informational(cx) {
            self.progress += 1;
            if interim.status() == StatusCode::CONTINUE
                && let Some(upload) = &mut self.upload
            {
                upload.is_held = false;
            }
            if let Some(listener) = listener {
                listener.hear(interim.status(), interim.headers());
            }
        }
    }

    /// Returns the declared length of the body. `Err` if the response declares several.
    fn expected_length(&self, headers: &HeaderMap) -> Result<Option<u64>, StreamFailure> {
        let mut declared = headers.get_all(CONTENT_LENGTH).iter();
        let first = declared.next();
        if declared.any(|other| Some(other) != first) {
            return Err(StreamFailure::Stream("the response declares several lengths".into()));
        }
        if self.is_bodiless {
            return Ok(Some(0));
        }
        Ok(first.and_then(|length| length.to_str().ok()?.parse().ok()))
    }

    fn check_length(&self) -> Result<(), StreamFailure> {
        match self.left {
            Some(left @ 1..) => {
                let words = format!("the response ended {left} bytes before its declared length");
                Err(StreamFailure::Stream(words.into()))
            }
            _ => Ok(()),
        }
    }

    /// Gives the handle of a response up that was read to its end.
    fn end_response(&mut self) {
        // A stream that is still open is reset by the drop of its handles.
        if let Some(receive) = self.receive.take()
            && self.is_alone
            && !self.is_uploading()
        {
            self.http2.park(receive);
        }
    }

    /// Reads the next frame of the response's body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StreamFailure>>> {
        let Some(receive) = &mut self.receive else { return Poll::Ready(None) };
        if let Some(data) = ready!(receive.poll_data(cx)) {
            let data = match data {
                // As by HTTP/1.1, there is nothing to read, whatever the server sends. Its stream is reset.
                Ok(data) if self.is_bodiless && !data.is_empty() => return Poll::Ready(None),
                Err(error) if self.is_bodiless && error.is_reset() && error.is_library() => {
                    return Poll::Ready(None);
                }
                Ok(data) => data,
                Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
            };
            self.progress += 1;
            if let Some(left) = &mut self.left {
                *left = left.saturating_sub(data.len() as u64);
            }
            if may_have_ended(self.left) && receive.is_end_stream() {
                // What the reader has had is released with the handle.
                self.end_response();
                if let Err(failure) = self.check_length() {
                    return Poll::Ready(Some(Err(failure)));
                }
            } else {
                // The reader has it: the peer may send as much again.
                let _ = receive.flow_control().release_capacity(data.len());
            }
            if data.is_empty() && self.receive.is_none() {
                // An empty frame is how many a server ends its bodies.
                return Poll::Ready(None);
            }
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let trailers = match ready!(receive.poll_trailers(cx)) {
            Ok(trailers) => trailers,
            Err(error) => return Poll::Ready(Some(Err(self.fail(error)))),
        };
        self.receive = None;
        if let Err(failure) = self.check_length() {
            return Poll::Ready(Some(Err(failure)));
        }
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn fail(&mut self, error: h2::Error) -> StreamFailure {
        let stream = self.receive.take().map_or(0, |receive| receive.stream_id().as_u32());
        if error.is_reset()
            && let Some(told) = &self.body_failure
            && let Some(cause) = told.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            return StreamFailure::Body(cause);
        }
        // The response has begun, so the request was processed: it must not be sent again.
        match StreamFailure::of(error, self, stream) {
            StreamFailure::Unprocessed | StreamFailure::Blamed(_) | StreamFailure::NeedsHttp1 => {
                StreamFailure::Stream("the server gave the response up within its body".into())
            }
            failure => failure,
        }
    }
}

/// Returns true if no byte of the body is known to be on its way. Where one is, the connection is not
/// asked, which takes a lock: an end that comes nevertheless is found by the next read.
const fn may_have_ended(left: Option<u64>) -> bool {
    matches!(left, None | Some(0))
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        if let Some(task) = &self.background {
            task.abort();
        }
    }
}

impl StreamUpload {
    fn poll(&mut self, written: &mut u64, cx: &mut Context<'_>) -> Poll<Result<(), StreamFailure>> {
        self.waits_for_peer = false;
        loop {
            if self.send.poll_reset(cx).is_ready() {
                // The peer wants no more of the body. The response's side reports the reason; with
                // NO_ERROR it is no failure (RFC 9113, 8.1).
                return Poll::Ready(Ok(()));
            }
            if self.is_held {
                return Poll::Pending;
            }
            if !self.waiting.is_empty() {
                self.send.reserve_capacity(self.waiting.len());
                self.waits_for_peer = true;
                let Some(Ok(granted)) = ready!(self.send.poll_capacity(cx)) else {
                    return Poll::Ready(Ok(()));
                };
                self.waits_for_peer = false;
                let part = self.waiting.split_to(granted.min(self.waiting.len()));
                *written += part.len() as u64;
                let ends = self.waiting.is_empty() && self.body.is_end_stream();
                if self.send.send_data(part, ends).is_err() || ends {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            self.is_touched = true;
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                None => {
                    let _ = self.send.send_data(Bytes::new(), true);
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(StreamFailure::Body(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() && self.body.is_end_stream() => {
                        let _ = self.send.send_data(data, true);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(data) => self.waiting = data,
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        let _ = self.send.send_trailers(trailers);
                        return Poll::Ready(Ok(()));
                    }
                },
            }
        }
    }
}
