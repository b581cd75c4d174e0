//! The stream under hyper, counted: how many bytes passed, and how the peer ended it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use keepwarm_pool::Closer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;

const OPEN: u8 = 0;
const FIN_SEEN: u8 = 1;
const RESET_SEEN: u8 = 2;

/// Handle on the counters of a [`CountedStream`], shared between hyper's side of it and ours.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    end: AtomicU8,
    read: AtomicU64,
    written: AtomicU64,
    /// No byte that was to be written waits for room.
    flushed: AtomicBool,
    /// A request body has not been taken to its end.
    uploading: AtomicBool,
}

/// Marks a request body as under way; dropped when the body was taken to its end.
#[derive(Debug)]
pub(crate) struct Upload(Witness);

impl Upload {
    pub(crate) fn begin(witness: &Witness) -> Self {
        witness.0.uploading.store(true, Ordering::Relaxed);
        Self(witness.clone())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.0.uploading.store(false, Ordering::Relaxed);
    }
}

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

impl Witness {
    /// Returns the side that closed first, if this side is about to close now.
    pub(crate) fn closer(&self) -> Closer {
        if self.0.end.load(Ordering::Relaxed) == OPEN { Closer::Client } else { Closer::Server }
    }

    /// Returns the bytes since the connection began.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            read: self.0.read.load(Ordering::Relaxed),
            written: self.0.written.load(Ordering::Relaxed),
        }
    }

    /// Returns true if no byte that was to be written waits for room.
    pub(crate) fn has_flushed(&self) -> bool {
        self.0.flushed.load(Ordering::Relaxed)
    }

    /// Returns true if all that was begun is with the kernel: the head, and the body if there is
    /// one.
    pub(crate) fn is_flushed(&self) -> bool {
        self.has_flushed() && !self.0.uploading.load(Ordering::Relaxed)
    }

    fn saw(&self, what: u8) {
        self.0.end.fetch_or(what, Ordering::Relaxed);
    }
}

/// Adds without a locked instruction: only the task that has the socket counts.
fn count(counter: &AtomicU64, bytes: usize) {
    counter.store(counter.load(Ordering::Relaxed) + bytes as u64, Ordering::Relaxed);
}

/// A stream that records its bytes, an end of file and a reset in its [`Witness`].
#[derive(Debug)]
pub(crate) struct CountedStream {
    stream: Stream,
    witness: Witness,
}

impl CountedStream {
    pub(crate) fn new(stream: Stream) -> Self {
        Self { stream, witness: Witness::default() }
    }

    pub(crate) fn witness(&self) -> Witness {
        self.witness.clone()
    }

    fn note_written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            count(&self.witness.0.written, *bytes);
        }
        self.note(result)
    }

    fn note<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        // A TLS peer that closes without a close_notify: the end of file is an error there, since
        // an attacker may have caused it (RFC 8446, 6.1).
        if let Poll::Ready(Err(error)) = &result
            && error.kind() == io::ErrorKind::UnexpectedEof
        {
            self.witness.saw(FIN_SEEN);
        }
        if let Poll::Ready(Err(error)) = &result
            && matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::ConnectionAborted
            )
        {
            self.witness.saw(RESET_SEEN);
        }
        result
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (room, filled) = (buf.remaining(), buf.filled().len());
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        let bytes = buf.filled().len() - filled;
        count(&self.witness.0.read, bytes);
        if matches!(result, Poll::Ready(Ok(()))) && room > 0 && bytes == 0 {
            self.witness.saw(FIN_SEEN);
        }
        self.note(result)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.witness.0.flushed.store(false, Ordering::Relaxed);
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.note_written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // Most often hyper has one piece, and send(2) costs less than writev(2).
        if let [slice] = slices {
            return self.poll_write(cx, slice);
        }
        self.witness.0.flushed.store(false, Ordering::Relaxed);
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.note_written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes when it has nothing left to write.
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.witness.0.flushed.store(matches!(result, Poll::Ready(Ok(()))), Ordering::Relaxed);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
