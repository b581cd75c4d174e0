//! The stream beneath HTTP/2: counts what is read, remembers how it began, and knows whether the
//! kernel takes more.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::guard::{Farewell, Guard, Said};
use crate::wire::stream::Stream;

/// The longest wait for what the peer said before it closed, once it takes no more bytes.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Limit on the streams that are noted for the size of their heads.
const MAX_NOTED: usize = 1024;

/// Reads and writes of a connection, as far as its streams and its driver ask about them.
#[derive(Debug)]
pub(super) struct Heard {
    begun: Instant,
    bytes: AtomicU64,
    /// Milliseconds after `begun`.
    last: AtomicU64,
    is_http1: AtomicBool,
    peer_has_ended: AtomicBool,
    /// True if the kernel took no more bytes at the last write, or the peer has closed.
    is_blocked: AtomicBool,
    /// Wakers of requests that wait until the kernel takes more. `is_blocked` is cleared under this
    /// lock.
    blocked: Mutex<Vec<Waker>>,
    /// True once the connection was given up, because the peer answered no ping.
    is_gone: AtomicBool,
    /// Streams whose response has a head beyond the limit.
    too_large: Mutex<Vec<u32>>,
    /// The longest header list that the peer takes.
    max_header_list: AtomicU32,
    farewell: Mutex<Option<Farewell>>,
}

impl Heard {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            bytes: AtomicU64::new(0),
            last: AtomicU64::new(0),
            is_http1: AtomicBool::new(false),
            peer_has_ended: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
            blocked: Mutex::new(Vec::new()),
            is_gone: AtomicBool::new(false),
            too_large: Mutex::new(Vec::new()),
            max_header_list: AtomicU32::new(u32::MAX),
            farewell: Mutex::new(None),
        }
    }

    fn note_said(&self, said: &Said) {
        if let Some(limit) = said.max_header_list {
            self.max_header_list.store(limit, Ordering::Relaxed);
        }
        if said.farewell.is_some() {
            *self.farewell.lock().unwrap_or_else(PoisonError::into_inner) = said.farewell;
        }
    }

    /// Returns the longest header list that the peer takes; `u32::MAX` if it has set no limit.
    pub(super) fn max_header_list(&self) -> u32 {
        self.max_header_list.load(Ordering::Relaxed)
    }

    /// Returns the last GOAWAY with an error.
    pub(super) fn farewell(&self) -> Option<Farewell> {
        *self.farewell.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the peer is given up, for want of an answer.
    pub(super) fn give_up(&self) {
        self.is_gone.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Ordering::SeqCst)
    }

    fn note_too_large(&self, stream: u32) {
        let mut streams = self.too_large.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= MAX_NOTED {
            streams.swap_remove(0);
        }
        streams.push(stream);
    }

    /// Returns true if the response of the stream has a head beyond the limit; once.
    pub(super) fn is_too_large(&self, stream: u32) -> bool {
        let mut streams = self.too_large.lock().unwrap_or_else(PoisonError::into_inner);
        let found = streams.iter().position(|&noted| noted == stream);
        found.is_some_and(|index| streams.swap_remove(index) == stream)
    }

    /// Notes whether a write found the kernel's buffer full.
    fn wrote(&self, polled: &Poll<io::Result<usize>>) {
        match polled {
            Poll::Pending => self.is_blocked.store(true, Ordering::SeqCst),
            Poll::Ready(_) if self.is_blocked() => self.unblock(),
            Poll::Ready(_) => {}
        }
    }

    /// Returns true if a request that is sent now would wait behind bytes that the kernel does not
    /// accept.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::SeqCst)
    }

    /// Wakes the requests that wait for the kernel.
    pub(super) fn unblock(&self) {
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_blocked.store(false, Ordering::SeqCst);
        let wakers = std::mem::take(&mut *blocked);
        drop(blocked);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ready while the kernel accepts further bytes.
    pub(super) fn poll_unblocked(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.is_blocked() {
            return Poll::Ready(());
        }
        let mut blocked = self.blocked.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_blocked() {
            return Poll::Ready(());
        }
        if !blocked.iter().any(|waker| waker.will_wake(cx.waker())) {
            blocked.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn note(&self, read: &[u8]) {
        if read.is_empty() {
            return self.peer_has_ended.store(true, Ordering::Relaxed);
        }
        if self.bytes.fetch_add(read.len() as u64, Ordering::Relaxed) == 0 {
            self.is_http1.store(read.starts_with(b"HTTP/1"), Ordering::Relaxed);
        }
        let millis = self.begun.elapsed().as_millis();
        self.last.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn begins_as_http1(&self) -> bool {
        self.is_http1.load(Ordering::Relaxed)
    }

    pub(super) fn peer_has_ended(&self) -> bool {
        self.peer_has_ended.load(Ordering::Relaxed)
    }

    /// Returns the time since the peer was last heard.
    pub(super) fn silent_for(&self) -> Duration {
        let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(last)
    }
}

/// A stream whose reads are counted, and whose header blocks are guarded.
pub(super) struct Counted {
    stream: Stream,
    heard: std::sync::Arc<Heard>,
    guard: Guard,
    /// Bytes that the guard has held back or corrected, for the next reads.
    corrected: Bytes,
    refused: Option<Refused>,
}

/// A write that failed because the peer has closed. The peer's last words may still wait in the receive
/// buffer, and a GOAWAY among them says which requests go again: so they are read first, further writes
/// go nowhere, and the failure is told where the reading ends.
struct Refused {
    error: io::ErrorKind,
    patience: Pin<Box<Sleep>>,
}

impl Counted {
    pub(super) fn new(stream: Stream, heard: std::sync::Arc<Heard>) -> Self {
        Self { stream, heard, guard: Guard::default(), corrected: Bytes::new(), refused: None }
    }

    /// Writes, unless the peer takes no more. `length` is that of the bytes.
    fn poll_written(
        &mut self,
        length: usize,
        write: impl FnOnce(&mut Stream) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(length));
        }
        let polled = write(&mut self.stream);
        self.heard.wrote(&polled);
        match polled {
            Poll::Ready(Err(error)) => self.refuse(error).map(|()| length).into(),
            polled => polled,
        }
    }

    /// Notes a write that failed because the peer has closed; fails if it failed otherwise. Requests that
    /// come now wait as if the kernel took no more, until the connection ends, and go by another one.
    fn refuse(&mut self, error: io::Error) -> io::Result<()> {
        let kind = error.kind();
        if !matches!(kind, io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
            return Err(error);
        }
        let patience = Box::pin(tokio::time::sleep(LAST_WORDS));
        self.refused = Some(Refused { error: kind, patience });
        self.heard.is_blocked.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Reads from the stream; after a failed write until there is no more to read.
    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let Some(refused) = &mut self.refused else { return polled };
        match polled {
            // An RST that no FIN came before is told as one.
            Poll::Ready(Ok(()))
                if buf.filled().len() == before
                    && refused.error == io::ErrorKind::ConnectionReset => {}
            Poll::Ready(_) => return polled,
            Poll::Pending => ready!(refused.patience.as_mut().poll(cx)),
        }
        Poll::Ready(Err(refused.error.into()))
    }

    /// Shows the guard the bytes that were read. Returns true if they can be passed on as they are.
    fn passes(&mut self, read: &[u8]) -> bool {
        let taken = self.guard.take(read);
        while let Some(stream) = self.guard.take_too_large() {
            self.heard.note_too_large(stream);
        }
        if let Some(said) = self.guard.take_said() {
            self.heard.note_said(&said);
        }
        let Some(corrected) = taken else { return true };
        self.corrected = corrected.into();
        false
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.corrected.is_empty() {
                let part = self.corrected.len().min(buf.remaining());
                buf.put_slice(&self.corrected.split_to(part));
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            if let Err(error) = ready!(self.poll_stream(cx, buf)) {
                self.heard.peer_has_ended.store(true, Ordering::Relaxed);
                return Poll::Ready(Err(error));
            }
            let read = &buf.filled()[before..];
            self.heard.note(read);
            if read.is_empty() || self.passes(read) {
                return Poll::Ready(Ok(()));
            }
            buf.set_filled(before);
        }
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(bytes.len(), |stream| Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // The kernel takes one slice sooner by `send` than by `writev`.
        if let [slice] = slices {
            return self.poll_write(cx, slice);
        }
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.poll_written(length, |stream| Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(flushed.or_else(|error| self.refuse(error)))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
