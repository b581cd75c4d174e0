//! HTTP/1.1 on a stream: the stream, a read buffer, the request on its way, and the codec. Polled by
//! the task that owns the connection.
//!
//! Owns the bytes of one exchange after another. Does not know which pool the connection is in, nor
//! what a request is for.
//!
//! Reading is bounded: one read fills one buffer of at most [`MAX_READ`], and every limit of the
//! codec is checked before the next read. After [`MAX_READS`] reads or [`MAX_IN_A_ROW`] bytes the
//! task yields, also on streams that take no part in tokio's budget.

use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::Frame;
use keepwarm_http1::{Asked, Decoder, Doubt, Event, Persistence, Refusal, ResponseHead, Rules};
use keepwarm_pool::Closer;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};

use super::request_writer::{RequestWriter, WriteFailure};
use super::stream::Stream;
use crate::error::{BoxError, CLOSED_AT_ONCE, Error, Kind, Stage};

/// Size of the first read buffer.
const MIN_READ: usize = 8 << 10;
/// Size of the largest read buffer. A field that its caller keeps keeps no more than that alive.
const MAX_READ: usize = 64 << 10;
/// Reads in a row, after which the task yields.
const MAX_READS: u32 = 32;
/// Bytes that are read in a row, after which the task yields. A runtime looks at its timers after
/// some sixty polls: within milliseconds, at this size.
const MAX_IN_A_ROW: usize = 256 << 10;

/// Bytes that passed, from the start of the connection or since a given moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Bytes that the kernel handed over.
    pub(crate) read: u64,
    /// Bytes that the kernel took. Whether they reached the peer is not known.
    pub(crate) written: u64,
}

impl Traffic {
    pub(crate) const fn total(self) -> u64 {
        self.read + self.written
    }

    pub(crate) const fn since(self, before: Self) -> Self {
        Self { read: self.read - before.read, written: self.written - before.written }
    }
}

/// Failure of an exchange.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection ended before a byte of the request was written, and the body of the request
    /// is untouched.
    Unsent,
    Io(io::Error),
    /// The response is no HTTP/1.1, exceeds a limit, or ended too early.
    Refused(keepwarm_http1::Error),
    /// The caller's body failed, or is not as long as declared.
    Body(BoxError),
    /// No byte passed for the time of the stall timeout.
    Stalled,
}

impl Failure {
    /// Returns the error of a request that failed so at this stage, without the request's facts.
    pub(crate) fn into_error(self, stage: Stage) -> Error {
        match self {
            Failure::Body(cause) => Error::caused(stage, Kind::RequestBody, cause),
            Failure::Stalled => Error::stall_timeout(stage),
            failure => Error::failed(stage, failure),
        }
    }
}

impl From<Failure> for BoxError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsent => CLOSED_AT_ONCE.into(),
            Failure::Io(error) => error.into(),
            Failure::Refused(error) => error.into(),
            Failure::Body(error) => error,
            Failure::Stalled => io::Error::from(io::ErrorKind::TimedOut).into(),
        }
    }
}

/// Ways in which a connection ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The peer closed its side.
    Peer,
    /// The socket failed, or the runtime that it is registered with is gone.
    Socket { runtime_gone: bool },
    /// The peer sent bytes that HTTP does not allow there.
    Protocol,
    /// The caller's body broke the request off.
    Body,
}

impl Death {
    fn of(failure: &Failure) -> Self {
        match failure {
            // A socket's own errors have other kinds; tokio reports the end of a runtime as
            // `Other`.
            Failure::Io(io) => Self::Socket { runtime_gone: io.kind() == io::ErrorKind::Other },
            Failure::Refused(error) if error.refusal.is_end() => Self::Peer,
            Failure::Refused(_) | Failure::Unsent | Failure::Stalled => Self::Protocol,
            Failure::Body(_) => Self::Body,
        }
    }
}

/// A stream that speaks HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Http1 {
    stream: Stream,
    /// Bytes that were read, and belong to no event yet.
    read: BytesMut,
    /// Size of the next buffer.
    read_size: usize,
    /// Reads, and their bytes, since a read found nothing.
    reads: u32,
    in_a_row: usize,
    decoder: Decoder,
    pub(crate) writer: RequestWriter,
    traffic: Traffic,
    /// Bytes that had passed before the current exchange.
    before: Traffic,
    /// A FIN or a reset was seen.
    peer_has_ended: bool,
    /// The last read found nothing: the stream wakes the connection when it becomes ready.
    is_armed: bool,
    death: Option<Death>,
    /// A failure that is reported by the next poll for a frame.
    failure: Option<Failure>,
}

impl Http1 {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            read_size: MIN_READ,
            reads: 0,
            in_a_row: 0,
            // Servers that send a length beside chunks are read by the chunks, and left (RFC 9112, 6.3).
            decoder: Decoder::new(Rules { doubt: Doubt::EndConnection, ..Rules::default() }),
            writer: RequestWriter::new(),
            traffic: Traffic::default(),
            before: Traffic::default(),
            peer_has_ended: false,
            is_armed: false,
            death: None,
            failure: None,
        }
    }

    /// Begins an exchange. Its request has been given to the writer.
    pub(crate) fn begin(&mut self, asked: Asked) {
        self.before = self.traffic;
        self.decoder.begin(asked);
    }

    /// Returns the bytes of the current exchange.
    pub(crate) const fn traffic(&self) -> Traffic {
        self.traffic.since(self.before)
    }

    /// Returns the bytes of the connection that were read and are part of an event, or are framing.
    pub(crate) fn consumed(&self) -> u64 {
        self.traffic.read - self.read.len() as u64
    }

    pub(crate) const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    pub(crate) const fn death(&self) -> Option<Death> {
        self.death
    }

    /// Returns the side that closed first, if this side is about to close now.
    pub(crate) const fn closer(&self) -> Closer {
        if self.peer_has_ended { Closer::Server } else { Closer::Client }
    }

    /// Returns true if bytes were read that belong to no response.
    pub(crate) fn has_surplus(&self) -> bool {
        self.decoder.is_complete() && !self.read.is_empty()
    }

    /// Notes that the connection was woken: the stream may have become ready.
    pub(crate) const fn disarm(&mut self) {
        self.is_armed = false;
    }

    /// Reads the next head. `interim` is called for each interim response before it.
    pub(crate) fn poll_head(
        &mut self,
        mut interim: impl FnMut(&mut RequestWriter, &ResponseHead),
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        if self.death.is_some() {
            let gone = io::Error::from(io::ErrorKind::NotConnected);
            return Poll::Ready(Err(self.failure.take().unwrap_or(Failure::Io(gone))));
        }
        loop {
            match self.decoder.decode(&mut self.read) {
                Ok(Some(Event::Interim(head))) => interim(&mut self.writer, &head),
                Ok(Some(Event::Head(head))) => return Poll::Ready(Ok(head)),
                Ok(_) => {
                    if self.is_armed {
                        return Poll::Pending;
                    }
                    let filled = ready!(self.poll_fill(cx));
                    if self.traffic().written == 0 && !self.writer.has_flushed() {
                        return Poll::Ready(Err(self.fail_unsent(filled)));
                    }
                    match filled {
                        Ok(0) => {
                            let end = self.decoder.end(&self.read);
                            let error = end.err().map(Failure::Refused);
                            let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
                            let error = error.unwrap_or(Failure::Io(cut));
                            return Poll::Ready(Err(self.die(error)));
                        }
                        Ok(_) => {}
                        Err(error) => return Poll::Ready(Err(self.die(Failure::Io(error)))),
                    }
                }
                Err(error) => return Poll::Ready(Err(self.die(Failure::Refused(error)))),
            }
        }
    }

    /// Ends the exchange because the stream was ready to be read before a byte was written: the peer
    /// has closed, or has sent bytes that belong to no response.
    fn fail_unsent(&mut self, filled: io::Result<usize>) -> Failure {
        let failure = match filled {
            Ok(0) => {
                let refusal = Refusal::EndBeforeHead;
                Failure::Refused(keepwarm_http1::Error::new(refusal, 0))
            }
            Ok(_) => Failure::Refused(keepwarm_http1::Error::new(Refusal::NotHttp, 0)),
            Err(error) => Failure::Io(error),
        };
        self.death = Some(Death::of(&failure));
        if self.writer.was_touched() { failure } else { Failure::Unsent }
    }

    /// Returns the next frame of the response's body, as far as its bytes have been read.
    pub(crate) fn buffered_frame(&mut self) -> Option<Frame<Bytes>> {
        match self.decoder.decode(&mut self.read) {
            Ok(Some(Event::Data(data))) => Some(Frame::data(data)),
            Ok(Some(Event::Trailers(trailers))) => Some(Frame::trailers(trailers)),
            Ok(_) => None,
            Err(error) => {
                self.break_off(Failure::Refused(error));
                None
            }
        }
    }

    /// Reads the next frame of the response's body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        loop {
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Some(Err(failure)));
            }
            if let Some(frame) = self.buffered_frame() {
                return Poll::Ready(Some(Ok(frame)));
            }
            if self.failure.is_some() {
                continue;
            }
            if self.decoder.is_complete() || self.death.is_some() {
                return Poll::Ready(None);
            }
            if self.is_armed {
                return Poll::Pending;
            }
            // A body of known length fills a buffer of its own size.
            if let Some(left) = self.decoder.length_left() {
                let left = usize::try_from(left).unwrap_or(MAX_READ);
                self.read_size = self.read_size.max(left.min(MAX_READ));
            }
            let failure = match ready!(self.poll_fill(cx)) {
                Ok(0) => self.decoder.end(&self.read).err().map(Failure::Refused),
                Ok(_) => None,
                Err(error) => Some(Failure::Io(error)),
            };
            if let Some(failure) = failure {
                return Poll::Ready(Some(Err(self.die(failure))));
            }
        }
    }

    /// Writes the request as far as possible without waiting.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if self.death.is_some() || !self.writer.is_active() {
            return Poll::Ready(Ok(()));
        }
        match ready!(self.writer.poll(&mut self.stream, &mut self.traffic.written, cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(WriteFailure::Io(error)) => {
                self.note(&error);
                Poll::Ready(Err(Failure::Io(error)))
            }
            Err(WriteFailure::Body(error)) => Poll::Ready(Err(Failure::Body(error))),
        }
    }

    /// Polls the stream of a connection without an exchange: from now on it wakes the waker of `cx`
    /// when it becomes ready. Anything but silence ends the connection.
    pub(crate) fn poll_idle(&mut self, cx: &mut Context<'_>) {
        if self.is_armed || self.death.is_some() {
            return;
        }
        // One byte is enough to show that the peer is not silent.
        let mut byte = [0; 1];
        let mut buffer = ReadBuf::new(&mut byte);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => self.is_armed = true,
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                self.peer_has_ended = true;
                self.death = Some(Death::Peer);
            }
            Poll::Ready(Ok(())) => {
                self.traffic.read += 1;
                self.death = Some(Death::Protocol);
            }
            Poll::Ready(Err(error)) => {
                self.note(&error);
                self.death = Some(Death::of(&Failure::Io(error)));
            }
        }
    }

    pub(crate) const fn switched(&mut self) -> (&mut BytesMut, &mut Stream) {
        (&mut self.read, &mut self.stream)
    }

    pub(crate) const fn note_peer_end(&mut self) {
        self.peer_has_ended = true;
    }

    /// Ends the stream in order, where that costs no wait: TLS says that it ends. A socket says so
    /// when it is closed.
    pub(crate) fn shut_down(&mut self) {
        if matches!(self.stream, Stream::Boxed(_)) && self.death.is_none() {
            let mut unwoken = Context::from_waker(std::task::Waker::noop());
            let _ended = Pin::new(&mut self.stream).poll_shutdown(&mut unwoken);
        }
    }

    /// Ends the connection with a failure, and returns that.
    pub(crate) fn die(&mut self, failure: Failure) -> Failure {
        self.death = Some(Death::of(&failure));
        failure
    }

    /// Ends the connection with a failure, which the next poll for a frame reports.
    pub(crate) fn break_off(&mut self, failure: Failure) {
        let failure = self.die(failure);
        self.failure = Some(failure);
    }

    /// Returns the failure that the next poll for a frame would report.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Returns true if the response is over and its connection may carry another one, as far as the
    /// response says.
    pub(crate) fn persists(&self) -> bool {
        self.decoder.persistence() == Persistence::Persistent
    }

    /// Reads once. `Ready(Ok(0))` at the end of the peer's side.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.reads >= MAX_READS || self.in_a_row >= MAX_IN_A_ROW {
            (self.reads, self.in_a_row) = (0, 0);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.read.capacity() - self.read.len() < self.read_size / 2 {
            self.read.reserve(self.read_size);
        }
        // A buffer that holds the part of a head may have more room than one read may fill.
        let room = (self.read.capacity() - self.read.len()).min(MAX_READ);
        let polled = pin!(self.stream.read_buf(&mut (&mut self.read).limit(room))).poll(cx);
        match &polled {
            Poll::Pending => {
                (self.reads, self.in_a_row) = (0, 0);
                self.is_armed = true;
            }
            Poll::Ready(Ok(0)) => self.peer_has_ended = true,
            Poll::Ready(Ok(count)) => {
                self.reads += 1;
                self.in_a_row += *count;
                self.traffic.read += *count as u64;
                if *count == room {
                    self.read_size = (self.read_size * 2).min(MAX_READ);
                }
            }
            Poll::Ready(Err(error)) => self.note(error),
        }
        polled
    }

    fn note(&mut self, error: &io::Error) {
        self.peer_has_ended |= matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::ConnectionAborted
                // A TLS peer that closes without a close_notify: the end of file is an error there,
                // since an attacker may have caused it (RFC 8446, 6.1).
                | io::ErrorKind::UnexpectedEof
        );
    }
}
