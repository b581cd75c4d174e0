//! The stream under hyper, with a witness of how the peer ended it and of how many bytes passed.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use keepwarm_pool::Closer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::wire::stream::Stream;

const OPEN: u8 = 0;
const FIN_SEEN: u8 = 1;
const RESET_SEEN: u8 = 2;

/// What the client has seen of the peer's end and of the bytes, shared between the socket and
/// whoever asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<Seen>);

#[derive(Debug, Default)]
struct Seen {
    end: AtomicU8,
    read: AtomicU64,
    written: AtomicU64,
    /// Nothing that was to be written waits for room.
    flushed: AtomicBool,
    /// A request body has not been taken to its end.
    uploading: AtomicBool,
}

/// A request body under way; dropped when it was taken to its end.
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

/// Bytes that passed, from the start of the connection or since some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// What the kernel gave us.
    pub(crate) read: u64,
    /// What the kernel took: whether it reached the peer, nobody knows.
    pub(crate) written: u64,
}

impl Traffic {
    pub(crate) const fn since(self, before: Self) -> Self {
        Self { read: self.read - before.read, written: self.written - before.written }
    }
}

impl Witness {
    /// Who closed first, if this side is about to close now.
    pub(crate) fn closer(&self) -> Closer {
        if self.0.end.load(Ordering::Relaxed) == OPEN { Closer::Client } else { Closer::Server }
    }

    /// Bytes since the connection began.
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            read: self.0.read.load(Ordering::Relaxed),
            written: self.0.written.load(Ordering::Relaxed),
        }
    }

    /// Whether nothing that was to be written waits for room.
    pub(crate) fn has_flushed(&self) -> bool {
        self.0.flushed.load(Ordering::Relaxed)
    }

    /// Whether all that was begun is with the kernel: the head, and the body if there is one.
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

/// A stream that tells its [`Witness`] of an end of file and of a reset.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Stream,
    witness: Witness,
}

impl Wire {
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
        // it may be somebody else's (RFC 8446, 6.1).
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

impl AsyncRead for Wire {
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

impl AsyncWrite for Wire {
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
        // hyper comes here when it has nothing left to write.
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.witness.0.flushed.store(matches!(result, Poll::Ready(Ok(()))), Ordering::Relaxed);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
