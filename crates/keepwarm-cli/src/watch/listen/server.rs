//! The HTTP server of the page: HTTP/1.1 with connections that are kept, over TCP or TLS.
//!
//! Owns the limits on connections, heads and time. Knows no metric: a [`Responder`] makes the bodies.
//!
//! One thread a connection, [`MAX_CONNECTIONS`] of them. When all are taken, the connection that has
//! waited longest for its next head is closed for the new one, so that connections which never ask
//! keep no scrape out.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::auth::Users;

/// Connections at once.
const MAX_CONNECTIONS: usize = 32;
/// Bytes of a head.
const MAX_HEAD: usize = 8 << 10;
/// Header fields of a head.
const MAX_FIELDS: usize = 64;
/// The time from the first byte of a head to its last, and for a handshake of TLS.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// The time in which a response has to be taken.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// The time without a request after which a connection is closed. Longer than Prometheus keeps an idle
/// one (five minutes), so that the client closes first and no scrape meets a close.
const IDLE_WITHIN: Duration = Duration::from_secs(330);
/// Upper bound on the time that an end waits for responses under way.
const END_WITHIN: Duration = Duration::from_secs(2);
/// Stack of a connection's thread.
const STACK: usize = 256 << 10;

/// An answer to one request.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) media_type: &'static str,
    pub(crate) body: Arc<str>,
}

/// Makes the answers.
pub(crate) trait Responder: Send + Sync + 'static {
    /// Answers a GET of a path.
    fn respond(&self, path: &str) -> Response;
}

/// How connections are protected.
#[derive(Clone, Default)]
pub(crate) struct Protection {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) users: Option<Arc<Users>>,
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<ServerState>,
}

/// Counts of what the server did.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(super) refused: AtomicU64,
}

struct ServerState {
    responder: Arc<dyn Responder>,
    protection: Protection,
    traffic: Arc<Traffic>,
    connections: Mutex<Connections>,
    /// Notified when a response is out, or a connection gone.
    answered: Condvar,
    is_ending: AtomicBool,
}

#[derive(Default)]
struct Connections {
    next: u64,
    open: HashMap<u64, Connection>,
}

struct Connection {
    stream: TcpStream,
    /// Since when it waits for a head; `None` while a response is under way.
    waits_since: Option<Instant>,
}

impl Server {
    /// Serves on a listener, on threads of its own.
    pub(crate) fn start(
        listener: TcpListener,
        responder: Arc<dyn Responder>,
        protection: Protection,
        traffic: Arc<Traffic>,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(ServerState {
            responder,
            protection,
            traffic,
            connections: Mutex::default(),
            answered: Condvar::new(),
            is_ending: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("listen".to_owned()).stack_size(STACK);
        thread.spawn(move || accepting.accept_all(&listener))?;
        Ok(Self { address, shared })
    }

    /// Takes no more requests, and waits for the responses that are under way.
    pub(crate) fn end(&self) {
        self.shared.is_ending.store(true, Ordering::SeqCst);
        let is_busy = |connections: &mut Connections| {
            connections.open.values().any(|one| one.waits_since.is_none())
        };
        let connections = self.shared.lock();
        let waited = self.shared.answered.wait_timeout_while(connections, END_WITHIN, is_busy);
        let (connections, _) = waited.unwrap_or_else(PoisonError::into_inner);
        for one in connections.open.values() {
            let _ = one.stream.shutdown(Shutdown::Both);
        }
    }
}

impl ServerState {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self) {
        self.traffic.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn accept_all(self: Arc<Self>, listener: &TcpListener) {
        while !self.is_ending.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((stream, _)) => self.accept(stream),
                // The file table is full, say: another try at once would be the same.
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn accept(self: &Arc<Self>, stream: TcpStream) {
        let Ok(handle) = stream.try_clone() else { return self.refuse() };
        let Some(id) = self.enter(handle) else { return self.refuse() };
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new().name("scrape".to_owned()).stack_size(STACK);
        let started = thread.spawn(move || {
            shared.serve(id, stream);
            shared.lock().open.remove(&id);
            shared.answered.notify_all();
        });
        if started.is_err() {
            self.lock().open.remove(&id);
            self.refuse();
        }
    }

    /// Enters a connection; where all places are taken, in the place of the one that has waited
    /// longest. `None` while every connection has a response under way.
    fn enter(&self, stream: TcpStream) -> Option<u64> {
        let mut connections = self.lock();
        if connections.open.len() >= MAX_CONNECTIONS {
            let waiting =
                connections.open.iter().filter_map(|(id, one)| Some((one.waits_since?, *id)));
            let (_, oldest) = waiting.min()?;
            if let Some(closed) = connections.open.remove(&oldest) {
                let _ = closed.stream.shutdown(Shutdown::Both);
                self.refuse();
            }
        }
        connections.next += 1;
        let id = connections.next;
        connections.open.insert(id, Connection { stream, waits_since: Some(Instant::now()) });
        Some(id)
    }

    /// Notes that a connection waits for a head, or that a response is under way. False if the
    /// connection was closed for another.
    fn note(&self, id: u64, waits_since: Option<Instant>) -> bool {
        let mut connections = self.lock();
        let Some(one) = connections.open.get_mut(&id) else { return false };
        one.waits_since = waits_since;
        if waits_since.is_some() {
            self.answered.notify_all();
        }
        true
    }

    fn serve(&self, id: u64, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(socket) = stream.try_clone() else { return };
        let ended = match &self.protection.tls {
            None => self.exchange(id, stream, &socket),
            Some(config) => match ServerConnection::new(Arc::clone(config)) {
                Ok(session) => self.exchange(id, StreamOwned::new(session, stream), &socket),
                Err(_) => return self.refuse(),
            },
        };
        if ended.is_err() {
            self.refuse();
        }
    }

    /// Answers requests until the connection ends. An error: the connection was cut off.
    fn exchange(
        &self,
        id: u64,
        mut stream: impl Read + Write,
        socket: &TcpStream,
    ) -> io::Result<()> {
        let mut head = Head::default();
        loop {
            // The first head has to come at once: a connection is made to ask.
            let patience = if head.is_first { HEAD_WITHIN } else { IDLE_WITHIN };
            if !self.note(id, Some(Instant::now())) {
                return Ok(());
            }
            let asked = match head.read(&mut stream, socket, patience)? {
                Asked::Nothing => return Ok(()),
                Asked::Request(asked) => asked,
            };
            if !self.note(id, None) {
                return Ok(());
            }
            let (response, keeps) = self.answer(&asked);
            let keeps = keeps && !self.is_ending.load(Ordering::SeqCst);
            socket.set_write_timeout(Some(WRITE_WITHIN))?;
            write(&mut stream, &response, asked.is_head, keeps)?;
            if !keeps {
                // The peer reads to the end of this, and closes.
                let _ = socket.shutdown(Shutdown::Write);
                return linger(socket);
            }
        }
    }

    /// Answers a request; false: the connection ends with it.
    fn answer(&self, asked: &Request) -> (Response, bool) {
        let plain = |status, body: &str| Response {
            status,
            media_type: "text/plain; charset=utf-8",
            body: format!("{body}\n").into(),
        };
        if let Some((status, why)) = asked.refused {
            self.refuse();
            return (plain(status, why), false);
        }
        let is_admitted = |users: &Arc<Users>| users.admit(asked.authorization.as_deref());
        if !self.protection.users.as_ref().is_none_or(is_admitted) {
            self.refuse();
            return (plain(401, "name and password, please"), asked.keeps);
        }
        (self.responder.respond(&asked.path), asked.keeps)
    }
}

/// A request's head, as far as it matters.
#[derive(Debug, Default)]
struct Request {
    path: String,
    is_head: bool,
    authorization: Option<String>,
    keeps: bool,
    /// Status and reason, if the request is not served.
    refused: Option<(u16, &'static str)>,
}

enum Asked {
    /// The peer closed, or asked for nothing in its time.
    Nothing,
    Request(Request),
}

/// Reads heads, and keeps what came behind one.
struct Head {
    bytes: Vec<u8>,
    is_first: bool,
}

impl Default for Head {
    fn default() -> Self {
        Self { bytes: Vec::new(), is_first: true }
    }
}

impl Head {
    fn read(
        &mut self,
        stream: &mut impl Read,
        socket: &TcpStream,
        patience: Duration,
    ) -> io::Result<Asked> {
        let mut deadline = Instant::now() + patience;
        loop {
            if let Some((request, length)) = parse(&self.bytes) {
                self.bytes.drain(..length);
                self.is_first = false;
                return Ok(Asked::Request(request));
            }
            if self.bytes.len() >= MAX_HEAD {
                let refused = Some((431, "a head of more than 8 KiB"));
                return Ok(Asked::Request(Request { refused, ..Request::default() }));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return if self.bytes.is_empty() && !self.is_first {
                    Ok(Asked::Nothing)
                } else {
                    Err(io::ErrorKind::TimedOut.into())
                };
            }
            socket.set_read_timeout(Some(left))?;
            let mut more = [0; 2048];
            let room = more.len().min(MAX_HEAD - self.bytes.len());
            let began = self.bytes.is_empty();
            match stream.read(&mut more[..room]) {
                Ok(0) if began => return Ok(Asked::Nothing),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.bytes.extend_from_slice(&more[..count]),
                Err(error) if is_timeout(&error) => {}
                Err(_) if began && !self.is_first => return Ok(Asked::Nothing),
                Err(error) => return Err(error),
            }
            if began && !self.bytes.is_empty() {
                deadline = deadline.min(Instant::now() + HEAD_WITHIN);
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Parses a head, and returns it with its length; `None`: it is not complete.
fn parse(bytes: &[u8]) -> Option<(Request, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return None,
        Err(httparse::Error::TooManyHeaders) => {
            let refused = Some((431, "more than 64 header fields"));
            return Some((Request { refused, ..Request::default() }, bytes.len()));
        }
        Err(_) => {
            let refused = Some((400, "not a request of HTTP/1.1"));
            return Some((Request { refused, ..Request::default() }, bytes.len()));
        }
    };
    let field = |name: &str| {
        let found = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let method = head.method.unwrap_or_default();
    let has_body = field("content-length").is_some_and(|length| length.trim() != "0")
        || field("transfer-encoding").is_some();
    let refused = match method {
        _ if has_body => Some((413, "a request here has no body")),
        "GET" | "HEAD" => None,
        _ => Some((405, "GET and HEAD only")),
    };
    let connection = field("connection").unwrap_or_default().to_ascii_lowercase();
    let keeps = match head.version {
        Some(1) => !connection.contains("close"),
        _ => connection.contains("keep-alive"),
    };
    let target = head.path.unwrap_or_default();
    let request = Request {
        path: target.split(['?', '#']).next().unwrap_or_default().to_owned(),
        is_head: method == "HEAD",
        authorization: field("authorization").map(str::to_owned),
        keeps,
        refused,
    };
    Some((request, length))
}

fn write(
    stream: &mut impl Write,
    response: &Response,
    is_head: bool,
    keeps: bool,
) -> io::Result<()> {
    let reason = match response.status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let more = match response.status {
        401 => "WWW-Authenticate: Basic realm=\"keepwarm\"\r\n",
        405 => "Allow: GET, HEAD\r\n",
        _ => "",
    };
    let connection = if keeps { "keep-alive" } else { "close" };
    let head = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: \
         no-store\r\nConnection: {connection}\r\n{more}\r\n",
        response.status,
        response.media_type,
        response.body.len()
    );
    let deadline = Instant::now() + WRITE_WITHIN;
    stream.write_all(head.as_bytes())?;
    let mut rest = if is_head { &[][..] } else { response.body.as_bytes() };
    // In pieces, so that a peer which takes a byte now and then is cut off in time.
    while !rest.is_empty() {
        if Instant::now() > deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let (piece, behind) = rest.split_at(rest.len().min(64 << 10));
        stream.write_all(piece)?;
        rest = behind;
    }
    stream.flush()
}

/// Reads what the peer still sends, for a moment: a close with unread data would reset the connection
/// before the peer has read the answer.
fn linger(socket: &TcpStream) -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut bytes = [0; 4096];
    let mut socket = socket;
    for _ in 0..256 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        if !matches!(socket.read(&mut bytes), Ok(1..)) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(head: &str) -> Request {
        parse(head.as_bytes()).expect("complete").0
    }

    #[test]
    fn heads_are_read_or_refused() {
        let get = asked("GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(get.path == "/metrics" && get.keeps && get.refused.is_none());
        let old = asked("GET / HTTP/1.0\r\n\r\n");
        assert!(!old.keeps && old.refused.is_none());
        assert!(!asked("GET / HTTP/1.1\r\nConnection: Close\r\n\r\n").keeps);
        assert!(asked("HEAD / HTTP/1.1\r\n\r\n").is_head);
        for (head, status) in [
            ("POST / HTTP/1.1\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", 413),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
            ("\u{1}\u{2}\r\n\r\n", 400),
            (&format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65)), 431),
        ] {
            assert_eq!(asked(head).refused.map(|(status, _)| status), Some(status), "{head:?}");
        }
        assert!(parse(b"GET / HTTP/1.1\r\nHost: a\r\n").is_none(), "not complete");
    }
}
