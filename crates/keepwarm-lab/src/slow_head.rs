//! A connection whose client has a limited time to send a request's head.
//!
//! Without a limit, clients that send a byte now and then hold a descriptor each for as long as they
//! like ("slowloris"). hyper's own limit also ends connections that idle between two requests, which
//! this experiment is about: here only a head that has begun counts. A connection of HTTP/2 has no
//! such heads, and no limit.
//!
//! ```text
//!            first byte              blank line             response
//!  Idle ───────────────────► Head ───────────────► Answer ───────────► Idle
//!   no limit                  │ HEAD_TIME           no limit here
//!                             ▼ TimedOut: hyper closes the connection
//!  the preface of HTTP/2 ───► Shared, to the end
//! ```

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Time from the first byte of a request to the end of its head.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(5);

/// The blank line that ends a head (RFC 9112, section 2.1).
const END: &[u8; 4] = b"\r\n\r\n";

/// The first line of a connection of HTTP/2 (RFC 9113, section 3.4); no request of HTTP/1.1 has it.
const PREFACE: &[u8; 14] = b"PRI * HTTP/2.0";

/// A stream that fails a read when a head takes longer than [`HEAD_TIME`].
#[derive(Debug)]
pub(crate) struct SlowHead<S> {
    stream: S,
    state: State,
    /// Bytes of [`PREFACE`] that began the connection; `None` once other bytes did.
    preface: Option<usize>,
}

#[derive(Debug)]
enum State {
    Idle,
    /// A head has begun. `matched` bytes of [`END`] came last.
    Head {
        matched: usize,
        limit: Pin<Box<Sleep>>,
    },
    Answer,
    /// The streams of HTTP/2.
    Shared,
}

impl<S> SlowHead<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, state: State::Idle, preface: Some(0) }
    }

    /// Follows the bytes that a read has brought.
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if let Some(matched) = self.preface {
                self.preface = (*byte == PREFACE[matched]).then_some(matched + 1);
                if self.preface == Some(PREFACE.len()) {
                    self.preface = None;
                    self.state = State::Shared;
                    return;
                }
            }
            if let State::Idle = self.state {
                let limit = Box::pin(sleep_until(Instant::now() + HEAD_TIME));
                self.state = State::Head { matched: 0, limit };
            }
            let State::Head { matched, .. } = &mut self.state else { return };
            *matched = match (byte, *matched) {
                (byte, matched) if *byte == END[matched] => matched + 1,
                (b'\r', _) => 1,
                _ => 0,
            };
            if *matched == END.len() {
                // The next bytes are a body, or a pipelined head, whose time begins with the
                // answer.
                self.state = State::Answer;
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for SlowHead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => {
                self.read(&buffer.filled()[before..]);
                Poll::Ready(Ok(()))
            }
            Poll::Pending => match &mut self.state {
                State::Head { limit, .. } => match limit.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    Poll::Pending => Poll::Pending,
                },
                State::Idle | State::Answer | State::Shared => Poll::Pending,
            },
            failed => failed,
        }
    }
}

impl<S: AsyncWrite + Unpin> SlowHead<S> {
    /// A response, or an error before the head was complete, ends the wait for the head.
    fn written(&mut self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(1..)) = result
            && !matches!(self.state, State::Shared)
        {
            self.state = State::Idle;
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SlowHead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{sleep, timeout};

    use super::*;

    fn pair() -> (DuplexStream, SlowHead<DuplexStream>) {
        let (client, server) = duplex(4096);
        (client, SlowHead::new(server))
    }

    async fn read(server: &mut SlowHead<DuplexStream>) -> io::Result<usize> {
        AsyncReadExt::read(server, &mut [0; 1024]).await
    }

    #[tokio::test(start_paused = true)]
    async fn slow_head_times_out() {
        let (mut client, mut server) = pair();
        let began = Instant::now();
        let sending = tokio::spawn(async move {
            for _ in 0..1000 {
                client.write_all(b"X").await?;
                sleep(Duration::from_millis(100)).await;
            }
            io::Result::Ok(())
        });
        let error = loop {
            if let Err(error) = read(&mut server).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let took = began.elapsed();
        assert!((HEAD_TIME..HEAD_TIME + Duration::from_millis(200)).contains(&took), "{took:?}");
        sending.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn idle_and_answering_have_no_limit() {
        let (mut client, mut server) = pair();
        for _ in 0..3 {
            assert!(timeout(HEAD_TIME * 10, read(&mut server)).await.is_err(), "idle");
            for part in ["GET / HTTP/1.1\r", "\nHost: a\r\n", "\r\n"] {
                client.write_all(part.as_bytes()).await.unwrap();
                assert_eq!(read(&mut server).await.unwrap(), part.len());
            }
            assert!(timeout(HEAD_TIME * 10, read(&mut server)).await.is_err(), "answering");
            server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_head_has_its_own_time() {
        let (mut client, mut server) = pair();
        for _ in 0..4 {
            client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            read(&mut server).await.unwrap();
            sleep(HEAD_TIME * 3 / 4).await;
            client.write_all(b"\r\n").await.unwrap();
            read(&mut server).await.unwrap();
            server.write_all(b"x").await.unwrap();
        }
        client.write_all(b"G").await.unwrap();
        read(&mut server).await.unwrap();
        assert_eq!(read(&mut server).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
