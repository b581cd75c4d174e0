//! A connection that has left HTTP: after `101 Switching Protocols`, or a CONNECT that was granted.
//!
//! Owns the connection until it is dropped. It counts as active meanwhile, so that limits hold.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use keepwarm_pool::CloseReason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::pool::lease::Lease;
use crate::wire::stream::Stream;

/// A stream of bytes in both directions, in the protocol that the server has switched to.
///
/// Bytes that came with the head of the response are read first. Dropped, the connection closes.
///
/// ```no_run
/// use tokio::io::AsyncWriteExt;
///
/// # async fn example(client: keepwarm::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let request = client.get("http://127.0.0.1:8081/echo");
/// let request = request.header("connection", "upgrade").header("upgrade", "echo");
/// let response = request.send().await?;
/// assert_eq!(response.status(), 101);
/// let mut stream = response.upgrade()?;
/// stream.write_all(b"hello").await?;
/// # Ok(())
/// # }
/// ```
pub struct Upgraded(Option<Lease>);

impl Upgraded {
    pub(crate) const fn new(lease: Lease) -> Self {
        Self(Some(lease))
    }

    fn stream(&mut self) -> io::Result<&mut Stream> {
        let lease = self.0.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(lease.connection().switched().1)
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        if let Some(mut lease) = self.0.take() {
            let closer = lease.connection().closer();
            lease.close(CloseReason::NotPersistent, closer);
        }
    }
}

impl fmt::Debug for Upgraded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upgraded")
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(lease) = &mut self.0 else { return Poll::Ready(Ok(())) };
        let (early, stream) = lease.connection().switched();
        if !early.is_empty() {
            let taken = early.split_to(early.len().min(buf.remaining()));
            buf.put_slice(&taken);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(stream).poll_read(cx, buf);
        if matches!(polled, Poll::Ready(Ok(())))
            && buf.filled().len() == before
            && buf.remaining() > 0
        {
            lease.connection().note_peer_end();
        }
        polled
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream()?).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.stream()?).poll_write_vectored(cx, slices)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream()?).poll_shutdown(cx)
    }
}

/// The place of an upgraded connection among the extensions of its response.
#[derive(Clone, Debug)]
pub(crate) struct Switched(Arc<Mutex<Option<Upgraded>>>);

impl Switched {
    pub(crate) fn new(lease: Lease) -> Self {
        Self(Arc::new(Mutex::new(Some(Upgraded::new(lease)))))
    }

    pub(crate) fn take(&self) -> Option<Upgraded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
