//! Servers on loopback that the test itself drives, for tests of a client's connections. (The
//! module `http_server` is for scripts that are known beforehand, and knows which side closed
//! first.)
//!
//! A [`Stage`] does nothing by itself: the test accepts, reads, answers and closes, so that every
//! order of events is written down in the test and none is left to a sleep. A [`Server`] answers
//! every request at once from a thread of its own, and counts, for tests of many requests. Every
//! wait is bounded: a test that would hang panics and names the wait.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// Longer than any step takes on a busy machine, and short enough to fail a test before its runner
/// does.
const BOUND: Duration = Duration::from_secs(20);

/// Returns the output of `future`. Panics after 20 seconds, and names `what` was waited for.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(BOUND, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited 20 seconds for {what}"),
    }
}

/// Waits until `condition` holds, and checks it every millisecond. Panics after 20 seconds.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    within(what, becoming(condition)).await;
}

/// Returns true once `condition` holds, and false if it does not within 20 seconds.
pub async fn comes_true(condition: impl Fn() -> bool) -> bool {
    tokio::time::timeout(BOUND, becoming(condition)).await.is_ok()
}

async fn becoming(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Makes a `200 OK` response with a length.
#[must_use]
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A listener on loopback that accepts when the test says so.
#[derive(Debug)]
pub struct Stage {
    listener: TcpListener,
    address: SocketAddr,
}

impl Stage {
    /// Listens on a free port of 127.0.0.1.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("a bound address");
        Self { listener, address }
    }

    /// Listens like [`open`](Stage::open), with the shortest possible accept queue: see
    /// [`fill`](Stage::fill).
    #[must_use]
    pub fn open_narrow() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bind");
        let listener = socket.listen(0).expect("listen");
        let address = listener.local_addr().expect("a bound address");
        Self { listener, address }
    }

    /// Fills the accept queue with connections of its own, so that the next connect(2) hangs: Linux
    /// drops its SYN, and the client repeats it after a second. [`accept`](Stage::accept) makes
    /// room; it returns the fillers first.
    pub async fn fill(&self) -> Vec<TcpStream> {
        let mut queued = Vec::new();
        let patience = Duration::from_millis(100);
        while let Ok(stream) =
            tokio::time::timeout(patience, TcpStream::connect(self.address)).await
        {
            queued.push(stream.expect("connect"));
        }
        queued
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns `http://127.0.0.1:port`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the URL of `path` on this server.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// Accepts the next connection.
    pub async fn accept(&self) -> Peer {
        let (stream, _) = within("a connection", self.listener.accept()).await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        Peer::over(stream)
    }

    /// Returns true if a connection is established and not accepted yet.
    pub async fn has_another(&self) -> bool {
        // Yields to the event loop, so that it sees a complete handshake.
        tokio::task::yield_now().await;
        std::future::poll_fn(|cx| std::task::Poll::Ready(self.listener.poll_accept(cx).is_ready()))
            .await
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// Request line and fields, without the empty line.
    pub head: String,
    /// The body, chunks put together.
    pub body: Vec<u8>,
    /// The trailer fields of a chunked body.
    pub trailers: String,
}

impl Request {
    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// Returns the request target.
    #[must_use]
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// Returns the value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// The way in which a client ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order, by a FIN.
    Fin,
    /// By an RST.
    Reset,
}

/// The server's side of one connection.
#[derive(Debug)]
pub struct Peer<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Serves on a stream of any kind, on which no byte has been exchanged yet.
    pub fn over(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Reads the next request, body included.
    pub async fn request(&mut self) -> Request {
        match within("a request", self.next_request()).await {
            Ok(Some(request)) => request,
            other => panic!("a request was due, and not {other:?}"),
        }
    }

    /// Reads the head of the next request. [`body`](Peer::body) reads its body.
    pub async fn head(&mut self) -> Request {
        match within("a request head", self.next_head()).await {
            Ok(Some(request)) => request,
            other => panic!("a request was due, and not {other:?}"),
        }
    }

    /// Reads the body that follows this head.
    pub async fn body(&mut self, request: &mut Request) {
        let whole = within("a request body", self.next_body(request)).await;
        assert!(whole.expect("a request body"), "the body broke off");
    }

    /// Reads until the client closes. Returns all bytes that were not read as requests.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the client's end", async {
            while self.fill().await.is_ok_and(|bytes| bytes > 0) {}
        })
        .await;
        std::mem::take(&mut self.unread)
    }

    /// Waits until no byte has arrived for 30 ms. Returns the bytes that were not read as requests.
    pub async fn arrived(&mut self) -> &[u8] {
        let moment = Duration::from_millis(30);
        while let Ok(Ok(1..)) = tokio::time::timeout(moment, self.fill()).await {}
        &self.unread
    }

    /// Reads the next request. Returns `None` if the client ends the connection instead.
    pub async fn request_or_end(&mut self) -> Option<Request> {
        self.next_request().await.unwrap_or_default()
    }

    /// Sends bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("write");
    }

    /// Reads a request and answers it with `200 OK`.
    pub async fn serve(&mut self, body: &str) -> Request {
        let request = self.request().await;
        self.write(ok(body)).await;
        request
    }

    /// Waits until the client has closed.
    pub async fn ended(&mut self) -> Ending {
        within("the client's end", async {
            let mut scratch = [0; 1024];
            loop {
                match self.stream.read(&mut scratch).await {
                    Ok(0) => return Ending::Fin,
                    Ok(_) => {}
                    Err(_) => return Ending::Reset,
                }
            }
        })
        .await
    }

    /// Sends a FIN. Reading remains possible.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.expect("shut down");
    }

    /// Closes in order: a FIN.
    pub fn close(self) {
        drop(self.stream);
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.unread).await
    }

    /// Reads the next request. Returns `None` at the end of the connection.
    async fn next_request(&mut self) -> io::Result<Option<Request>> {
        let Some(mut request) = self.next_head().await? else { return Ok(None) };
        Ok(self.next_body(&mut request).await?.then_some(request))
    }

    async fn next_head(&mut self) -> io::Result<Option<Request>> {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                break end;
            }
            if self.fill().await? == 0 {
                return Ok(None);
            }
        };
        let head = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end + 4);
        Ok(Some(Request { head, body: Vec::new(), trailers: String::new() }))
    }

    /// Reads a body. Returns false if the connection ends within it.
    async fn next_body(&mut self, request: &mut Request) -> io::Result<bool> {
        if request.field("transfer-encoding").is_some() {
            while self.chunk(&mut request.body).await? {}
            loop {
                match self.line().await? {
                    line if line.is_empty() => break,
                    line => request.trailers += &(line + "\n"),
                }
            }
        } else if let Some(length) = request.field("content-length") {
            let length: usize = length.parse().expect("a length");
            while self.unread.len() < length {
                if self.fill().await? == 0 {
                    return Ok(false);
                }
            }
            request.body = self.unread.drain(..length).collect();
        }
        Ok(true)
    }

    /// Reads a line, and returns it without its end.
    async fn line(&mut self) -> io::Result<String> {
        let end = loop {
            if let Some(end) = find(&self.unread, b"\r\n") {
                break end;
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let line = String::from_utf8_lossy(&self.unread[..end]).into_owned();
        self.unread.drain(..end + 2);
        Ok(line)
    }

    /// Reads a chunk. Returns false at the last chunk, and leaves the trailers unread.
    async fn chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let size = usize::from_str_radix(self.line().await?.trim(), 16).expect("a chunk size");
        if size == 0 {
            return Ok(false);
        }
        while self.unread.len() < size + 2 {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        body.extend_from_slice(&self.unread[..size]);
        self.unread.drain(..size + 2);
        Ok(true)
    }
}

impl Peer {
    /// Returns the client's address.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.stream.peer_addr().expect("connected")
    }

    /// Aborts: an RST.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("set SO_LINGER");
        drop(self.stream);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The answer of a [`Server`] to a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Sends this and reads the next request.
    Send(String),
    /// Sends this and closes.
    SendAndClose(String),
    /// Sends this and then nothing until the client closes.
    SendAndStall(String),
}

/// A server that answers from a thread of its own.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    counts: Arc<ServerCounts>,
    end: Option<oneshot::Sender<()>>,
    closing: watch::Sender<usize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct ServerCounts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
}

impl Server {
    /// Answers every request by `answer`.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("a bound address");
        let counts = Arc::new(ServerCounts::default());
        let (end, ended) = oneshot::channel();
        let (closing, close) = watch::channel(0);
        let shared = Arc::clone(&counts);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = accept_all(listener, Arc::new(answer), shared, close) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, counts, end: Some(end), closing, thread: Some(thread) }
    }

    /// Answers every request with the same body.
    #[must_use]
    pub fn saying(body: &'static str) -> Self {
        Self::start(move |_| Answer::Send(ok(body)))
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns `http://127.0.0.1:port`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the URL of `path` on this server.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// Returns the number of connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Returns the number of connections that neither side has closed.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Returns the number of requests read so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Closes every connection that waits for a request, and returns when all are closed. Waits
    /// first until all `opened` connections are accepted, because the kernel may still hold some of
    /// them for accept(2).
    pub async fn close_idle(&self, opened: u64) {
        eventually("the last accept", || self.accepted() as u64 >= opened).await;
        self.closing.send_modify(|round| *round += 1);
        eventually("the server's closes", || self.open() == 0).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has failed the test already.
            drop(thread.join());
        }
    }
}

async fn accept_all(
    listener: std::net::TcpListener,
    answer: Arc<dyn Fn(&Request) -> Answer + Send + Sync>,
    counts: Arc<ServerCounts>,
    close: watch::Receiver<usize>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        // Before the connection counts as accepted, so that a later `close_idle` includes it.
        let mut close = close.clone();
        close.mark_unchanged();
        counts.accepted.fetch_add(1, Ordering::SeqCst);
        counts.open.fetch_add(1, Ordering::SeqCst);
        stream.set_nodelay(true).expect("nodelay");
        let (answer, counts) = (Arc::clone(&answer), Arc::clone(&counts));
        tokio::spawn(async move {
            let peer = Peer::over(stream);
            converse(peer, &*answer, &counts, close).await;
            // After the socket was closed, so that a connection counted as closed is closed.
            counts.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn converse(
    mut peer: Peer,
    answer: &(dyn Fn(&Request) -> Answer + Send + Sync),
    counts: &ServerCounts,
    mut close: watch::Receiver<usize>,
) {
    loop {
        let request = tokio::select! {
            request = peer.next_request() => request,
            _ = close.changed() => return,
        };
        let Ok(Some(request)) = request else { return };
        counts.requests.fetch_add(1, Ordering::SeqCst);
        let (bytes, go_on, stall) = match answer(&request) {
            Answer::Send(bytes) => (bytes, true, false),
            Answer::SendAndClose(bytes) => (bytes, false, false),
            Answer::SendAndStall(bytes) => (bytes, false, true),
        };
        if peer.stream.write_all(bytes.as_bytes()).await.is_err() {
            return;
        }
        if stall {
            let mut scratch = [0; 64];
            while !matches!(peer.stream.read(&mut scratch).await, Ok(0) | Err(_)) {}
        }
        if !go_on {
            return;
        }
    }
}
