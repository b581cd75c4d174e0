//! The HTTP server of the page: HTTP/1.1 with connections that are kept, over TCP or TLS.
//!
//! Owns the limits on connections and time. Knows no metric: a [`Responder`] makes the bodies; `head`
//! parses requests.
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
use super::head::{MAX_HEAD, Request, parse};

/// Connections at once.
const MAX_CONNECTIONS: usize = 32;
/// The time from the first byte of a head to its last, and for a handshake of TLS.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// The time in which a response has to be taken.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
/// The time without a request after which a connection is closed. Longer than Prometheus keeps an idle
/// one (five minutes), so that the client closes first and no scrape meets a close.
const IDLE_WITHIN: Duration = Duration::from_secs(330);
/// Upper bound on the time that an end waits for responses under way.
const END_WITHIN: Duration = Duration::from_secs(2);
/// The time for which a connection that has its last response is read.
const LINGERS: Duration = Duration::from_secs(1);
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
        let socket = Timed { stream, until: Instant::now(), within: None };
        let ended = match &self.protection.tls {
            None => self.exchange(id, socket),
            Some(config) => match ServerConnection::new(Arc::clone(config)) {
                Ok(session) => self.exchange(id, StreamOwned::new(session, socket)),
                Err(_) => return self.refuse(),
            },
        };
        if ended.is_err() {
            self.refuse();
        }
    }

    /// Answers requests until the connection ends. An error: the connection was cut off.
    fn exchange(&self, id: u64, mut channel: impl Channel) -> io::Result<()> {
        let mut heads = Heads::default();
        loop {
            // The first head has to come at once: a connection is made to ask.
            let patience = if heads.is_first { HEAD_WITHIN } else { IDLE_WITHIN };
            if !self.note(id, Some(Instant::now())) {
                return Ok(());
            }
            let asked = match heads.read(&mut channel, patience)? {
                Asked::Nothing => return Ok(()),
                Asked::Request(asked) => asked,
            };
            if !self.note(id, None) {
                return Ok(());
            }
            let (response, keeps) = self.answer(&asked);
            let keeps = keeps && !self.is_ending.load(Ordering::SeqCst);
            channel.socket().allow(WRITE_WITHIN, None);
            write(&mut channel, &response, asked.is_head, keeps)?;
            if !keeps {
                // The peer reads to the end of this, and closes.
                channel.say_goodbye();
                let socket = channel.socket();
                let _ = socket.stream.shutdown(Shutdown::Write);
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

enum Asked {
    /// The peer closed, or asked for nothing in its time.
    Nothing,
    Request(Request),
}

/// The socket of a connection, whose reads and writes end at a deadline together, however many they are:
/// TLS makes several of each.
#[derive(Debug)]
struct Timed {
    stream: TcpStream,
    until: Instant,
    /// The time from the next byte read to the end, if that is sooner.
    within: Option<Duration>,
}

impl Timed {
    /// Sets the time from now, and the one from the next byte that is read.
    fn allow(&mut self, length: Duration, within: Option<Duration>) {
        (self.until, self.within) = (Instant::now() + length, within);
    }

    /// Returns the time that is left. An error if that is none.
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for Timed {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        let count = self.stream.read(bytes)?;
        if let Some(within) = self.within.take_if(|_| count > 0) {
            self.until = self.until.min(Instant::now() + within);
        }
        Ok(count)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// A connection over TCP or TLS.
trait Channel: Read + Write {
    fn socket(&mut self) -> &mut Timed;

    /// Tells the peer that nothing follows, where the protocol has a word for it.
    fn say_goodbye(&mut self);
}

impl Channel for Timed {
    fn socket(&mut self) -> &mut Timed {
        self
    }

    fn say_goodbye(&mut self) {}
}

impl Channel for StreamOwned<ServerConnection, Timed> {
    fn socket(&mut self) -> &mut Timed {
        &mut self.sock
    }

    fn say_goodbye(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }
}

/// Reads heads, and keeps what came behind one.
struct Heads {
    bytes: Vec<u8>,
    is_first: bool,
}

impl Default for Heads {
    fn default() -> Self {
        Self { bytes: Vec::new(), is_first: true }
    }
}

impl Heads {
    /// Reads the next head, whose first byte comes within `patience`, and its last within
    /// [`HEAD_WITHIN`] of that.
    fn read(&mut self, channel: &mut impl Channel, patience: Duration) -> io::Result<Asked> {
        let length = if self.bytes.is_empty() { patience } else { HEAD_WITHIN };
        channel.socket().allow(length, Some(HEAD_WITHIN));
        loop {
            if let Some((request, length)) = parse(&self.bytes) {
                self.bytes.drain(..length);
                self.is_first = false;
                return Ok(Asked::Request(request));
            }
            if self.bytes.len() >= MAX_HEAD {
                return Ok(Asked::Request(Request::too_long()));
            }
            let mut more = [0; 2048];
            let room = more.len().min(MAX_HEAD - self.bytes.len());
            let has_begun = !self.bytes.is_empty();
            match channel.read(&mut more[..room]) {
                Ok(0) if has_begun => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(0) => return Ok(Asked::Nothing),
                Ok(count) => self.bytes.extend_from_slice(&more[..count]),
                // The next reading says so, if the time is over.
                Err(error) if is_timeout(&error) && channel.socket().left().is_ok() => {}
                Err(_) if !has_begun && !self.is_first => return Ok(Asked::Nothing),
                Err(error) => return Err(error),
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
    stream.write_all(head.as_bytes())?;
    if !is_head {
        stream.write_all(response.body.as_bytes())?;
    }
    stream.flush()
}

/// Reads what the peer still sends, for a moment: a close with unread data would reset the connection
/// before the peer has read the answer.
fn linger(socket: &mut Timed) -> io::Result<()> {
    socket.allow(LINGERS, None);
    let mut bytes = [0; 4096];
    for _ in 0..256 {
        if !matches!(socket.read(&mut bytes), Ok(1..)) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets a deadline end what a slow peer would draw out for minutes.
    const ALLOWED: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_secs(30);

    /// A connection, and its peer, which a thread handles until it fails.
    fn against(peer: impl Fn(&mut TcpStream) -> io::Result<()> + Send + 'static) -> Timed {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        std::thread::spawn(move || while peer(&mut other).is_ok() {});
        Timed { stream, until: Instant::now(), within: None }
    }

    /// The pace of a slow peer: time is what these tests are about.
    fn nap() {
        std::thread::sleep(Duration::from_millis(20));
    }

    #[test]
    fn slow_reader_is_cut_off() {
        let mut socket = against(|peer| {
            nap();
            peer.read_exact(&mut [0; 512])
        });
        let begun = Instant::now();
        socket.allow(ALLOWED, None);
        let error = socket.write_all(&vec![0; 64 << 20]).unwrap_err();
        assert!(is_timeout(&error) && begun.elapsed() < PATIENCE, "{error}");
    }

    #[test]
    fn slow_head_is_cut_off() {
        let mut socket = against(|peer| {
            nap();
            peer.write_all(b"x")
        });
        let begun = Instant::now();
        // The time for a head begins with its first byte.
        socket.allow(20 * PATIENCE, Some(ALLOWED));
        let error = socket.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(is_timeout(&error) && begun.elapsed() < PATIENCE, "{error}");
        assert!(begun.elapsed() >= ALLOWED);
    }
}
