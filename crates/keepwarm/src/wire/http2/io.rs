//! The stream beneath HTTP/2: counts what is read, and remembers how it began.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::wire::stream::Stream;

/// Signs of life of a peer.
#[derive(Debug)]
pub(super) struct Heard {
    begun: Instant,
    bytes: AtomicU64,
    /// Milliseconds after `begun`.
    last: AtomicU64,
    is_http1: AtomicBool,
    peer_has_ended: AtomicBool,
}

impl Heard {
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            bytes: AtomicU64::new(0),
            last: AtomicU64::new(0),
            is_http1: AtomicBool::new(false),
            peer_has_ended: AtomicBool::new(false),
        }
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

/// A stream whose reads are counted.
pub(super) struct Counted {
    stream: Stream,
    heard: std::sync::Arc<Heard>,
}

impl Counted {
    pub(super) const fn new(stream: Stream, heard: std::sync::Arc<Heard>) -> Self {
        Self { stream, heard }
    }
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        match &polled {
            Poll::Ready(Ok(())) => self.heard.note(&buf.filled()[before..]),
            Poll::Ready(Err(_)) => self.heard.peer_has_ended.store(true, Ordering::Relaxed),
            Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
