//! The request of the current exchange on its way to the socket: its head, and its body as far as
//! that has been taken.
//!
//! Owns the bytes that are not written yet. Knows no response, and no reason why a body waits.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http_body::Body as _;
use keepwarm_http1::encode::{CHUNK_END, chunk_line, last_chunk};
use tokio::io::AsyncWrite as _;

use super::body::Body;
use super::stream::Stream;
use crate::error::BoxError;

/// Data of at most this size is copied behind the head, where a second slice would cost the kernel
/// more than the copy.
const COPIED: usize = 1 << 10;
/// Limit on buffered bytes: no further frame is taken from the body until some of them are written.
const MAX_BUFFERED: usize = 16 << 10;
/// Writes of one poll. A peer as fast as this client would otherwise keep the worker.
const MAX_WRITES: usize = 32;
/// Room that is kept for the next request.
const MAX_KEPT: usize = 32 << 10;
/// End of the last data of a chunked body without trailers.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

/// Failure to write a request.
#[derive(Debug)]
pub(crate) enum WriteFailure {
    Io(io::Error),
    /// The caller's body failed, or is not as long as declared.
    Body(BoxError),
}

/// Progress of the request body.
#[derive(Debug)]
enum UploadState {
    /// All of it was taken; the request ends with the bytes that are buffered.
    Taken,
    /// Waits for `100 Continue`.
    Held(Body),
    Sending(Body),
    /// It was not begun, and is not wanted: it can be sent elsewhere.
    Unwanted(Body),
    /// It was not sent, or not to its end, and will not be.
    Given,
}

/// Writes one request after another on a connection.
#[derive(Debug)]
pub(crate) struct RequestWriter {
    /// The head, chunk lines and small data.
    bytes: Vec<u8>,
    /// Bytes of `bytes` that have been written.
    written: usize,
    /// Data that comes behind `bytes`, written without a copy.
    data: Bytes,
    /// Bytes that come behind `data`.
    tail: &'static [u8],
    upload: UploadState,
    is_chunked: bool,
    /// A frame of the body was asked for, so that it cannot be handed back.
    touched: bool,
    flushed: bool,
}

impl RequestWriter {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            written: 0,
            data: Bytes::new(),
            tail: b"",
            upload: UploadState::Taken,
            is_chunked: false,
            touched: false,
            flushed: true,
        }
    }

    /// Begins a request: returns the empty buffer that its head is to be written into.
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.bytes.shrink_to(MAX_KEPT);
        self.written = 0;
        self.data = Bytes::new();
        self.tail = b"";
        self.touched = false;
        &mut self.bytes
    }

    /// Adds the body of the request whose head has been written into the buffer.
    pub(crate) fn set_body(&mut self, body: Body, is_chunked: bool, is_held: bool) {
        self.flushed = false;
        self.is_chunked = is_chunked;
        self.upload = match (body.is_end_stream(), is_held) {
            (true, _) => UploadState::Taken,
            (false, true) => UploadState::Held(body),
            (false, false) => UploadState::Sending(body),
        };
    }

    pub(crate) const fn is_held(&self) -> bool {
        matches!(self.upload, UploadState::Held(_))
    }

    /// Lets a body go that waits for `100 Continue`.
    pub(crate) fn release(&mut self) {
        self.upload = match std::mem::replace(&mut self.upload, UploadState::Given) {
            UploadState::Held(body) => UploadState::Sending(body),
            other => other,
        };
    }

    /// Gives the rest of the request up.
    pub(crate) fn give_up(&mut self) {
        if !self.is_complete() {
            self.upload = match std::mem::replace(&mut self.upload, UploadState::Given) {
                UploadState::Held(body) => UploadState::Unwanted(body),
                _ => UploadState::Given,
            };
            self.written = self.bytes.len();
            self.data = Bytes::new();
            self.tail = b"";
        }
    }

    /// Returns the body, if no frame of it was asked for.
    pub(crate) fn take_untouched(&mut self) -> Option<Body> {
        if self.touched {
            return None;
        }
        match std::mem::replace(&mut self.upload, UploadState::Given) {
            UploadState::Held(body) | UploadState::Sending(body) | UploadState::Unwanted(body) => {
                Some(body)
            }
            UploadState::Taken | UploadState::Given => Some(Body::empty()),
        }
    }

    /// Returns true if all that was taken of the request is with the kernel.
    pub(crate) const fn has_flushed(&self) -> bool {
        self.flushed
    }

    /// Returns true if the whole request is with the kernel.
    pub(crate) const fn is_complete(&self) -> bool {
        self.flushed && matches!(self.upload, UploadState::Taken)
    }

    /// Returns true if the request was given up before its end.
    pub(crate) const fn was_given_up(&self) -> bool {
        matches!(self.upload, UploadState::Given | UploadState::Unwanted(_))
    }

    /// Returns true if a poll may write something.
    pub(crate) const fn is_active(&self) -> bool {
        !self.is_complete() && !self.was_given_up()
    }

    pub(crate) const fn was_touched(&self) -> bool {
        self.touched
    }

    fn unwritten(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn is_empty(&self) -> bool {
        self.unwritten() == 0 && self.data.is_empty() && self.tail.is_empty()
    }

    /// Writes as far as possible without waiting, and adds the bytes to `written`. `Ready` once the
    /// whole request is with the kernel.
    pub(crate) fn poll(
        &mut self,
        stream: &mut Stream,
        written: &mut u64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteFailure>> {
        for _ in 0..MAX_WRITES {
            self.fill(cx).map_err(WriteFailure::Body)?;
            if self.is_empty() {
                if !self.flushed {
                    ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(WriteFailure::Io)?;
                    self.flushed = true;
                }
                return if self.is_complete() { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            self.flushed = false;
            let count = ready!(self.poll_write(stream, cx)).map_err(WriteFailure::Io)?;
            if count == 0 {
                return Poll::Ready(Err(WriteFailure::Io(io::ErrorKind::WriteZero.into())));
            }
            *written += count as u64;
            self.advance(count);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_write(&self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let bytes = &self.bytes[self.written..];
        // Most often there is one piece, and send(2) costs less than writev(2).
        if self.data.is_empty() && self.tail.is_empty() {
            return Pin::new(stream).poll_write(cx, bytes);
        }
        if !stream.is_write_vectored() {
            let first = [bytes, &self.data, self.tail].into_iter().find(|piece| !piece.is_empty());
            return Pin::new(stream).poll_write(cx, first.unwrap_or_default());
        }
        let slices = [bytes, &self.data, self.tail].map(IoSlice::new);
        Pin::new(stream).poll_write_vectored(cx, &slices)
    }

    fn advance(&mut self, mut count: usize) {
        let of_bytes = self.unwritten().min(count);
        self.written += of_bytes;
        count -= of_bytes;
        let of_data = self.data.len().min(count);
        self.data.advance(of_data);
        self.tail = &self.tail[count - of_data..];
        if self.unwritten() == 0 {
            self.bytes.clear();
            self.written = 0;
        }
    }

    /// Takes frames of the body, until enough is buffered.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), BoxError> {
        while self.data.is_empty() && self.tail.is_empty() && self.unwritten() < MAX_BUFFERED {
            let UploadState::Sending(body) = &mut self.upload else { break };
            self.touched = true;
            let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) else { break };
            let ended = body.is_end_stream();
            match frame.transpose()?.map(http_body::Frame::into_data) {
                None => self.end(None),
                Some(Ok(data)) => self.take(data, ended),
                Some(Err(frame)) => self.end(frame.into_trailers().ok().as_ref()),
            }
        }
        Ok(())
    }

    fn take(&mut self, data: Bytes, ended: bool) {
        let is_chunk = self.is_chunked && !data.is_empty();
        if is_chunk {
            chunk_line(&mut self.bytes, data.len());
        }
        let end = if is_chunk { CHUNK_END } else { b"" };
        if data.len() <= COPIED {
            self.bytes.extend_from_slice(&data);
            self.bytes.extend_from_slice(end);
            if ended {
                self.end(None);
            }
            return;
        }
        self.data = data;
        self.tail = end;
        if ended {
            self.tail = if is_chunk { LAST_CHUNK } else { b"" };
            self.upload = UploadState::Taken;
        }
    }

    fn end(&mut self, trailers: Option<&http::HeaderMap>) {
        if self.is_chunked {
            last_chunk(&mut self.bytes, trailers);
        }
        self.upload = UploadState::Taken;
    }
}
