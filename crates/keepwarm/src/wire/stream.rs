//! The stream of a connection: a socket, TLS on a socket, or a stream of the caller's own.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

use crate::error::panic_message;

/// Requirements that a connection has on its stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A stream of any kind. Plain sockets have variants of their own, since most requests use one.
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
    /// TLS, or the stream of a caller's connector.
    Boxed(Box<dyn Io>),
}

impl Stream {
    pub(crate) fn boxed(stream: impl Io + 'static) -> Self {
        Self::Boxed(Box::new(stream))
    }

    /// Returns the address of the peer; `None` if the stream was not opened by TCP.
    pub(crate) fn remote_address(&self) -> Option<SocketAddr> {
        let Self::Tcp(stream) = self else { return None };
        stream.peer_addr().ok()
    }

    /// Returns the address that the name of a host led to; `None` if `host` is an address, or the
    /// stream was not opened by TCP.
    pub(crate) fn looked_up_address(&self, host: &str) -> Option<IpAddr> {
        let Self::Tcp(stream) = self else { return None };
        let address = host.split('%').next().unwrap_or(host);
        match address.parse::<IpAddr>() {
            Ok(_) => None,
            Err(_) => stream.peer_addr().ok().map(|peer| peer.ip()),
        }
    }

    /// Wraps a stream whose code is not ours. A socket of TCP sends at once, as all of Go's do: held back
    /// until the last bytes are acknowledged (Nagle), a frame that widens a window costs a round trip.
    pub(crate) fn foreign(stream: impl Io + 'static) -> Self {
        if let Some(socket) = (&stream as &dyn Any).downcast_ref::<TcpStream>() {
            // A socket that has ended already says so at its first use.
            let _ = socket.set_nodelay(true);
        }
        Self::boxed(Foreign(Some(stream)))
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(stream) => stream.fmt(f),
            #[cfg(unix)]
            Self::Unix(stream) => stream.fmt(f),
            Self::Boxed(_) => f.write_str("Boxed"),
        }
    }
}

/// Runs one expression on every kind of stream.
macro_rules! each {
    ($stream:expr, $inner:ident => $action:expr) => {
        match $stream {
            Stream::Tcp($inner) => $action,
            #[cfg(unix)]
            Stream::Unix($inner) => $action,
            Stream::Boxed($inner) => $action,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}

/// A stream of a caller's connector, whose panics are caught. Tasks of requests poll the stream,
/// but so does the keeper, which all connections of a client share, and any of them may drop it: a
/// panic in it is a failure of this connection and of no other.
///
/// `None` once the stream is being dropped.
struct Foreign<S>(Option<S>);

impl<S> Drop for Foreign<S> {
    fn drop(&mut self) {
        // The panic hook has reported the panic; a drop can return no error.
        drop(catch_unwind(AssertUnwindSafe(|| self.0 = None)));
    }
}

impl<S: Unpin> Foreign<S> {
    fn guard<T>(
        self: Pin<&mut Self>,
        poll: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let Some(stream) = &mut self.get_mut().0 else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        catch_unwind(AssertUnwindSafe(|| poll(Pin::new(stream))))
            // A kind that no socket reports: nothing is concluded about the peer.
            .unwrap_or_else(|panic| {
                let words = format!("the connector's stream panicked: {}", panic_message(&*panic));
                Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, words)))
            })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Foreign<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.guard(|stream| stream.poll_read(cx, buf))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Foreign<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.guard(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.guard(|stream| stream.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guard(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.guard(|stream| stream.poll_shutdown(cx))
    }
}
