//! The server's side of a connection in memory, and the requests that it receives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};

use super::{MAX_UNREAD, within};

/// Limit on a request, its body included: 64 MiB. A larger one is a mistake of the test.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// Half of a bidirectional pipe that can be reset like a socket.
#[derive(Debug)]
pub(super) struct Pipe {
    stream: DuplexStream,
    /// True if the other half was reset, and not closed in an orderly way.
    reset: Arc<AtomicBool>,
}

pub(super) fn pair() -> (Pipe, Pipe) {
    let (ours, theirs) = tokio::io::duplex(MAX_UNREAD);
    let reset = Arc::new(AtomicBool::new(false));
    (Pipe { stream: ours, reset: Arc::clone(&reset) }, Pipe { stream: theirs, reset })
}

impl Pipe {
    fn was_reset(&self) -> bool {
        self.reset.load(Ordering::SeqCst)
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // As in a kernel, bytes that were not read before a reset are lost.
        if self.was_reset() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.was_reset() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The server's side of a connection, controlled by the test. Does nothing by itself. Dropped, it
/// closes the connection.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> keepwarm::Result<()> {
/// # let mut network = keepwarm::testing::Network::new();
/// # let client = keepwarm::Client::builder().connector(network.connector()).build()?;
/// # let request = tokio::spawn(client.post("http://data.test/").body("4").send());
/// let mut peer = network.dial().await.succeed();
/// assert_eq!(peer.request().await.body(), b"4");
/// peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n1").await;
/// let response = request.await.expect("no panic")?;
/// // The second half of the body never comes.
/// peer.reset();
/// assert!(response.text().await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Peer {
    pipe: Pipe,
    /// Bytes that were read, and are not yet part of a request.
    unread: Vec<u8>,
}

/// A request as the server received it.
#[derive(Clone, Debug)]
pub struct Asked {
    head: String,
    body: Vec<u8>,
}

impl Asked {
    #[cfg(feature = "http2")]
    pub(super) const fn of(head: String, body: Vec<u8>) -> Self {
        Self { head, body }
    }

    fn start(&self, place: usize) -> &str {
        self.head.split([' ', '\r']).nth(place).unwrap_or_default()
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.start(0)
    }

    /// Returns the target: path and query.
    #[must_use]
    pub fn target(&self) -> &str {
        self.start(1)
    }

    /// Returns the first header field of this name, in any case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    /// Returns the body; the data of its chunks, if it came in chunks.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

impl Peer {
    pub(super) const fn new(pipe: Pipe) -> Self {
        Self { pipe, unread: Vec::new() }
    }

    /// Reads the next request to the end of its body.
    ///
    /// # Panics
    ///
    /// If the request does not come within [`PATIENCE`](super::PATIENCE), or the connection ends before.
    pub async fn request(&mut self) -> Asked {
        let asked = within("a request", self.read_request()).await;
        asked.unwrap_or_else(|| panic!("the connection ended before a request"))
    }

    /// Reads the next request like [`request`](Peer::request); `None` if the client closes the connection
    /// before a byte of a request.
    ///
    /// # Panics
    ///
    /// If neither comes within [`PATIENCE`](super::PATIENCE), or only half a request.
    pub async fn request_or_end(&mut self) -> Option<Asked> {
        within("a request or the end", self.read_request()).await
    }

    /// Writes these bytes, which need not be HTTP.
    ///
    /// # Panics
    ///
    /// If the client has closed the connection, or does not read within
    /// [`PATIENCE`](super::PATIENCE).
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let written = within("the client to read", self.pipe.write_all(bytes.as_ref())).await;
        written.unwrap_or_else(|error| panic!("the connection had ended: {error}"));
    }

    /// Writes a response with a length.
    ///
    /// # Panics
    ///
    /// Like [`write`](Peer::write).
    pub async fn respond(&mut self, status: u16, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status} -\r\nContent-Length: {}\r\n\r\n", body.len());
        self.write([head.as_bytes(), body].concat()).await;
    }

    /// Reads a request, and responds to it.
    ///
    /// # Panics
    ///
    /// Like [`request`](Peer::request) and [`write`](Peer::write).
    pub async fn serve(&mut self, status: u16, body: impl AsRef<[u8]>) -> Asked {
        let asked = self.request().await;
        self.respond(status, body).await;
        asked
    }

    /// Closes the connection in an orderly way. Written bytes can still be read.
    pub fn close(self) {}

    /// Resets the connection. Bytes that were written and not yet read are lost.
    pub fn reset(self) {
        self.pipe.reset.store(true, Ordering::SeqCst);
    }

    /// Waits until the client closes the connection.
    ///
    /// # Panics
    ///
    /// If the client does not within [`PATIENCE`](super::PATIENCE), or sends another request before.
    pub async fn closed(mut self) {
        let more = self.request_or_end().await;
        assert!(more.is_none(), "the client sent another request: {more:?}");
    }

    /// Reads more bytes; false at the end.
    async fn fill(&mut self) -> bool {
        assert!(self.unread.len() <= MAX_REQUEST_BYTES, "a request beyond any reason");
        matches!(self.pipe.read_buf(&mut self.unread).await, Ok(1..))
    }

    async fn read_request(&mut self) -> Option<Asked> {
        let head = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break self.take(end + 4);
            }
            if !self.fill().await {
                assert!(self.unread.is_empty(), "the connection ended within a head");
                return None;
            }
        };
        let head = String::from_utf8_lossy(&head).into_owned();
        let mut asked = Asked { head, body: Vec::new() };
        if asked.field("transfer-encoding").is_some() {
            asked.body = self.read_chunks().await;
        } else if let Some(length) = asked.field("content-length") {
            let length = length.parse().expect("a length is a number");
            asked.body = self.read_exactly(length).await;
        }
        Some(asked)
    }

    async fn read_chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16).expect("the size of a chunk");
            if size == 0 {
                // Trailers, up to an empty line.
                while !self.read_line().await.is_empty() {}
                return body;
            }
            body.extend(self.read_exactly(size).await);
            self.read_line().await;
        }
    }

    async fn read_line(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                let line = self.take(end + 2);
                return String::from_utf8_lossy(&line[..end]).into_owned();
            }
            assert!(self.fill().await, "the connection ended within a body");
        }
    }

    async fn read_exactly(&mut self, length: usize) -> Vec<u8> {
        while self.unread.len() < length {
            assert!(self.fill().await, "the connection ended within a body");
        }
        self.take(length)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        self.unread.drain(..length).collect()
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
