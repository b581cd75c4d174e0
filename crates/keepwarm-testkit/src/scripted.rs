//! Servers on loopback whose script is the test itself, for what a client does with its connections.
//! (`http_server` is for scripts that are known beforehand, and knows who closed first.)
//!
//! Two kinds. A [`Stage`] does nothing by itself: the test accepts, reads, answers and closes, so
//! that every order of events is written down in the test and none is left to a sleep. A
//! [`Server`] answers every request at once from a thread of its own, and counts, for tests about
//! many requests. Every wait is bounded: a test that would hang panics and says where.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// Longer than anything here takes on a busy machine, short enough to fail a test by itself.
const BOUND: Duration = Duration::from_secs(20);

/// The output of `future`, or a panic that names `what` was waited for.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(BOUND, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Waits until `condition` holds, looking every millisecond.
pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// A `200 OK` response with a length.
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
    /// On a free port of 127.0.0.1.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("a bound address");
        Self { listener, address }
    }

    /// As [`open`](Stage::open), with the shortest accept queue there is: see
    /// [`fill`](Stage::fill).
    #[must_use]
    pub fn open_narrow() -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("bind");
        let listener = socket.listen(0).expect("listen");
        let address = listener.local_addr().expect("a bound address");
        Self { listener, address }
    }

    /// Fills the accept queue with connections of its own, so that the next connect(2) hangs:
    /// Linux drops its SYN, and repeats it after a second. [`accept`](Stage::accept) makes room;
    /// it returns the fillers first.
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

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A URL here.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// The next connection.
    pub async fn accept(&self) -> Peer {
        let (stream, _) = within("a connection", self.listener.accept()).await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        Peer::over(stream)
    }

    /// Whether a connection has been made that was not accepted yet.
    pub async fn has_another(&self) -> bool {
        // A turn of the event loop, so that a handshake that is complete is seen.
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
    /// Fields after a body in chunks.
    pub trailers: String,
}

impl Request {
    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }

    /// The request target.
    #[must_use]
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a field.
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

/// How a client ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order.
    Fin,
    /// By a reset.
    Reset,
}

/// The server's side of one connection.
#[derive(Debug)]
pub struct Peer<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Over a stream of any kind, on which nothing has been said.
    pub fn over(stream: S) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// The next request, body included.
    pub async fn request(&mut self) -> Request {
        match within("a request", self.next_request()).await {
            Ok(Some(request)) => request,
            other => panic!("a request was due, and not {other:?}"),
        }
    }

    /// The head of the next request: its body is left to [`body`](Peer::body).
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

    /// Everything that the client sends until it closes, beyond what was read as requests.
    pub async fn rest(&mut self) -> Vec<u8> {
        within("the client's end", async {
            while self.fill().await.is_ok_and(|bytes| bytes > 0) {}
        })
        .await;
        std::mem::take(&mut self.unread)
    }

    /// What has arrived beyond what was read as requests, after a moment for more.
    pub async fn arrived(&mut self) -> &[u8] {
        let moment = Duration::from_millis(30);
        while let Ok(Ok(1..)) = tokio::time::timeout(moment, self.fill()).await {}
        &self.unread
    }

    /// The next request, or `None` if the client ends the connection instead.
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

    /// Says that nothing more comes, and goes on reading.
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

    /// `None` at the end of the connection.
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

    /// False if the connection ends within it.
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

    /// Up to a line's end, without it.
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

    /// One chunk; false at the last one, whose trailers are left.
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
    /// The client's address.
    #[must_use]
    pub fn client(&self) -> SocketAddr {
        self.stream.peer_addr().expect("connected")
    }

    /// Aborts: a RST.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("set SO_LINGER");
        drop(self.stream);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// What a [`Server`] does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Sends this and goes on.
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
    counts: Arc<Counts>,
    end: Option<oneshot::Sender<()>>,
    closing: watch::Sender<usize>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
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
        let counts = Arc::new(Counts::default());
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

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://127.0.0.1:port`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A URL here.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin())
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Connections whose end neither side has seen.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Requests read so far.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Closes every connection that waits for a request, and returns when that is done. `opened`
    /// have been opened so far: one that the kernel holds for accept(2) is waited for.
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
            // A panic in it has failed the test already.
            drop(thread.join());
        }
    }
}

async fn accept_all(
    listener: std::net::TcpListener,
    answer: Arc<dyn Fn(&Request) -> Answer + Send + Sync>,
    counts: Arc<Counts>,
    close: watch::Receiver<usize>,
) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        // Before it counts as accepted: what is closed from then on includes this one.
        let mut close = close.clone();
        close.mark_unchanged();
        counts.accepted.fetch_add(1, Ordering::SeqCst);
        counts.open.fetch_add(1, Ordering::SeqCst);
        stream.set_nodelay(true).expect("nodelay");
        let (answer, counts) = (Arc::clone(&answer), Arc::clone(&counts));
        tokio::spawn(async move {
            let peer = Peer::over(stream);
            converse(peer, &*answer, &counts, close).await;
            // The socket was closed before: what is counted as closed is closed.
            counts.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn converse(
    mut peer: Peer,
    answer: &(dyn Fn(&Request) -> Answer + Send + Sync),
    counts: &Counts,
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
