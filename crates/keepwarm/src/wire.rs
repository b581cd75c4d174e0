//! The socket under hyper, plain or under TLS, with a witness of how the peer ended it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use keepwarm_pool::Closer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

const OPEN: u8 = 0;
const FIN_SEEN: u8 = 1;
const RESET_SEEN: u8 = 2;

/// What the client has seen of the peer's end, shared between the socket and whoever asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Witness(Arc<AtomicU8>);

impl Witness {
    /// Who closed first, if this side is about to close now.
    pub(crate) fn closer(&self) -> Closer {
        if self.0.load(Ordering::Relaxed) == OPEN { Closer::Client } else { Closer::Server }
    }

    fn saw(&self, what: u8) {
        self.0.fetch_or(what, Ordering::Relaxed);
    }
}

/// What the bytes of a connection go through.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Does the same on every kind of stream.
macro_rules! each {
    ($wire:expr, $stream:ident => $action:expr) => {
        match &mut $wire.stream {
            Stream::Plain($stream) => $action,
            #[cfg(feature = "tls")]
            Stream::Tls($stream) => $action,
        }
    };
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
        let result = each!(self, stream => Pin::new(stream).poll_read(cx, buf));
        if matches!(result, Poll::Ready(Ok(()))) && room > 0 && buf.filled().len() == filled {
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
        let result = each!(self, stream => Pin::new(stream).poll_write(cx, bytes));
        self.note(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = each!(self, stream => Pin::new(stream).poll_write_vectored(cx, slices));
        self.note(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
