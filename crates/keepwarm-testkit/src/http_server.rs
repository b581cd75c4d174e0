//! An HTTP server that follows a script on each connection, in blocking threads, and keeps the
//! truth: the number of connections and requests, and the side that closed each connection first.
//! Of HTTP it knows only how to find the end of a request.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

/// The longest time that a script waits for its client: the bound of every test that uses it.
const PATIENCE: Duration = Duration::from_secs(20);

/// The truth about the connections of a server. Each connection is in exactly one of the `…_first`
/// counts, or stuck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServerTruth {
    /// Connections accepted.
    pub connections: u64,
    /// Requests read to their end.
    pub requests: u64,
    /// Connections on which this server sent the first FIN.
    pub server_fin_first: u64,
    /// Connections that this server aborted.
    pub server_rst_first: u64,
    /// Connections on which the client's FIN came first.
    pub client_fin_first: u64,
    /// Connections on which the client's RST came first.
    pub client_rst_first: u64,
    /// Connections on which the client neither closed nor sent anything for 20 seconds.
    pub stuck: u64,
}

/// The counters behind [`ServerTruth`], while the server runs.
#[derive(Debug, Default)]
struct TruthSoFar {
    connections: AtomicU64,
    requests: AtomicU64,
    /// Connections by [`First`].
    first: [AtomicU64; 5],
}

/// The side that closed a connection first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// This server, by FIN.
    ServerFin,
    /// This server, by RST.
    ServerRst,
    /// The client, by FIN.
    ClientFin,
    /// The client, by RST.
    ClientRst,
    /// Neither side, within 20 seconds.
    Stuck,
}

/// Holds threads back until it is opened.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl Gate {
    /// Makes a closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets all threads pass, now and later.
    pub fn open(&self) {
        let (open, changed) = &*self.inner;
        *open.lock().expect("no holder panics") = true;
        changed.notify_all();
    }

    /// Waits until the gate is open. Panics after 20 seconds, so that no test hangs.
    pub fn wait(&self) {
        let (open, changed) = &*self.inner;
        let guard = open.lock().expect("no holder panics");
        let waited = changed.wait_timeout_while(guard, PATIENCE, |open| !*open);
        assert!(*waited.expect("no holder panics").0, "a gate stayed shut");
    }
}

/// A scripted server on a loopback port of its own. The script runs once for every connection, on
/// a thread of its own; a connection it leaves open is closed by FIN when it returns.
#[derive(Debug)]
pub struct HttpServer {
    address: SocketAddr,
    counts: Arc<TruthSoFar>,
    /// The address of the connection that means "stop accepting".
    last_guest: Arc<Mutex<Option<SocketAddr>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens on 127.0.0.1.
    pub fn start(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        Self::start_on(Ipv4Addr::LOCALHOST.into(), script)
    }

    /// Listens on `ip`, which must be a loopback address.
    pub fn start_on(ip: IpAddr, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let listener = listen(SocketAddr::new(ip, 0));
        let address = listener.local_addr().expect("a bound socket has an address");
        let counts = Arc::new(TruthSoFar::default());
        let last_guest = Arc::new(Mutex::new(None));
        let acceptor = {
            let (counts, last_guest) = (Arc::clone(&counts), Arc::clone(&last_guest));
            let script = Arc::new(script);
            std::thread::spawn(move || accept_all(&listener, &counts, &last_guest, &script))
        };
        Self { address, counts, last_guest, acceptor: Some(acceptor) }
    }

    /// Returns the address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the root.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Stops accepting after every connection that came before, waits for all scripts, and returns
    /// the truth. Panics if a script has panicked.
    pub fn finish(mut self) -> ServerTruth {
        self.stop();
        let count = |first: First| self.counts.first[first as usize].load(SeqCst);
        ServerTruth {
            connections: self.counts.connections.load(SeqCst),
            requests: self.counts.requests.load(SeqCst),
            server_fin_first: count(First::ServerFin),
            server_rst_first: count(First::ServerRst),
            client_fin_first: count(First::ClientFin),
            client_rst_first: count(First::ClientRst),
            stuck: count(First::Stuck),
        }
    }

    fn stop(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        // Bound before it connects, so that the acceptor recognises it. It queues behind every
        // connection of the test, so none of them stays unaccepted.
        let guest = Socket::new(Domain::for_address(self.address), Type::STREAM, None)
            .expect("a descriptor is left");
        let any_port = SocketAddr::new(self.address.ip(), 0);
        guest.bind(&any_port.into()).expect("a port is left");
        let name = guest.local_addr().expect("a bound socket has an address");
        *self.last_guest.lock().expect("no holder panics") = name.as_socket();
        guest.connect(&self.address.into()).expect("the server listens");
        if let Err(panic) = acceptor.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None);
    let socket = socket.expect("a descriptor is left");
    socket.bind(&address.into()).expect("a port is left");
    socket.listen(4096).expect("a bound socket can listen");
    socket.into()
}

fn accept_all<F: Fn(&mut Conn) + Send + Sync + 'static>(
    listener: &TcpListener,
    counts: &Arc<TruthSoFar>,
    last_guest: &Mutex<Option<SocketAddr>>,
    script: &Arc<F>,
) {
    let mut scripts = Vec::new();
    loop {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            // Not an abort by a queued client: Linux hands such connections out all the same.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => panic!("accept: {error}"),
        };
        if *last_guest.lock().expect("no holder panics") == Some(peer) {
            break;
        }
        let nth = counts.connections.fetch_add(1, SeqCst);
        let (counts, script) = (Arc::clone(counts), Arc::clone(script));
        scripts.push(std::thread::spawn(move || {
            let mut conn = Conn::new(stream, nth, counts);
            script(&mut conn);
            conn.fin();
        }));
    }
    for script in scripts {
        if let Err(panic) = script.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// The server's side of one connection.
#[derive(Debug)]
pub struct Conn {
    stream: Option<TcpStream>,
    nth: u64,
    counts: Arc<TruthSoFar>,
    first: Option<First>,
    buffer: Vec<u8>,
    /// The length of the current request at the start of `buffer`.
    request: usize,
}

impl Conn {
    fn new(stream: TcpStream, nth: u64, counts: Arc<TruthSoFar>) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_write_timeout(Some(PATIENCE)).expect("not zero");
        stream.set_nodelay(true).expect("it is TCP");
        Self {
            stream: Some(stream),
            nth,
            counts,
            first: None,
            buffer: Vec::with_capacity(4096),
            request: 0,
        }
    }

    /// Returns how many connections the server had accepted before this one.
    pub fn nth(&self) -> u64 {
        self.nth
    }

    /// Returns the bytes of the request read last.
    pub fn request(&self) -> &[u8] {
        &self.buffer[..self.request]
    }

    /// Reads one request, with a body of its Content-Length. Returns false if the client or this
    /// side has closed. Allocates nothing for requests of less than 4 KiB.
    pub fn read_request(&mut self) -> bool {
        self.buffer.drain(..self.request);
        self.request = 0;
        loop {
            if let Some(length) = request_length(&self.buffer) {
                self.request = length;
                self.counts.requests.fetch_add(1, SeqCst);
                return true;
            }
            if !self.read_more() {
                return false;
            }
        }
    }

    /// Reads and drops everything until the client has closed.
    pub fn wait_for_client(&mut self) {
        while self.read_more() {
            self.buffer.clear();
        }
        self.request = 0;
    }

    fn read_more(&mut self) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        let mut bytes = [0; 4096];
        let end = match stream.read(&mut bytes) {
            Ok(0) => First::ClientFin,
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => First::Stuck,
            Err(_) => First::ClientRst,
        };
        self.note_first(end);
        false
    }

    /// Writes all of `bytes`, in one segment if they fit. Returns no error: the next read shows that
    /// the client is gone.
    pub fn send(&mut self, bytes: &[u8]) {
        let Some(stream) = &mut self.stream else {
            return;
        };
        // The kernel reports an abort only once, so reading would not see it.
        if let Err(error) = stream.write_all(bytes)
            && error.kind() == ErrorKind::ConnectionReset
        {
            self.note_first(First::ClientRst);
        }
    }

    /// Sends `bytes` again and again, `pause` apart, until the client is gone, for 20 seconds at
    /// most.
    pub fn send_for_ever(&mut self, bytes: &[u8], pause: Duration) {
        let begun = Instant::now();
        while let Some(stream) = &mut self.stream
            && begun.elapsed() < PATIENCE
        {
            if let Err(error) = stream.write_all(bytes) {
                if error.kind() == ErrorKind::ConnectionReset {
                    self.note_first(First::ClientRst);
                }
                return;
            }
            std::thread::sleep(pause);
        }
    }

    /// Sends a 200 with this body and its length, without a Connection field.
    pub fn respond(&mut self, body: &str) {
        let length = body.len();
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes());
    }

    /// Sends FIN. Reading remains possible.
    pub fn half_close(&mut self) {
        if let Some(stream) = &self.stream {
            let mut byte = [0];
            stream.set_nonblocking(true).expect("it is open");
            let first = match stream.peek(&mut byte) {
                Ok(0) => First::ClientFin,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => First::ClientRst,
                _ => First::ServerFin,
            };
            stream.set_nonblocking(false).expect("it is open");
            let _ = stream.shutdown(Shutdown::Write);
            self.note_first(first);
        }
    }

    /// Closes by FIN. Reads until the client has closed, because closing a socket with unread bytes
    /// would abort it.
    pub fn fin(&mut self) {
        self.half_close();
        self.wait_for_client();
        self.stream = None;
    }

    /// Aborts the connection.
    pub fn rst(&mut self) {
        if let Some(stream) = self.stream.take() {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it is TCP");
            self.note_first(First::ServerRst);
        }
    }

    /// Notes which side closed first. Later calls change nothing.
    fn note_first(&mut self, first: First) {
        if self.first.is_none() {
            self.first = Some(first);
            self.counts.first[first as usize].fetch_add(1, SeqCst);
        }
    }
}

/// Returns the length of the request at the start of `bytes`, if the request is complete.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let mut body = 0;
    for line in bytes[..head].split(|&b| b == b'\n') {
        const NAME: &[u8] = b"content-length:";
        if line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME) {
            let value = std::str::from_utf8(&line[NAME.len()..]).ok()?;
            body = value.trim().parse().ok()?;
        }
    }
    (bytes.len() >= head + body).then_some(head + body)
}

/// A port on which connecting is refused for as long as this lives.
#[derive(Debug)]
pub struct RefusedPort {
    socket: Socket,
}

impl RefusedPort {
    /// Takes a port of 127.0.0.1 without listening on it.
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is left");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a port is left");
        Self { socket }
    }

    /// Takes a port that refuses as soon as the listener is dropped. No other process can take the
    /// port meanwhile.
    pub fn after_listening() -> (Self, TcpListener) {
        let shared = |address: SocketAddr| {
            let socket =
                Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is left");
            socket.set_reuse_port(true).expect("Linux");
            socket.bind(&address.into()).expect("a port is left");
            socket
        };
        let refused = Self { socket: shared(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))) };
        let listener = shared(refused.address());
        listener.listen(4096).expect("a bound socket can listen");
        (refused, listener.into())
    }

    /// Returns the address that refuses.
    pub fn address(&self) -> SocketAddr {
        let address = self.socket.local_addr().expect("it is bound");
        address.as_socket().expect("it is IP")
    }
}

impl Default for RefusedPort {
    fn default() -> Self {
        Self::new()
    }
}

/// A port on which connecting is neither accepted nor refused: its queue is full.
#[derive(Debug)]
pub struct SilentPort {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl SilentPort {
    /// Listens with the shortest queue, and fills it.
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is left");
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).expect("a port is left");
        socket.listen(0).expect("a bound socket can listen");
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().expect("it is bound");
        let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        // A queue of length zero holds one connection. A second connect shows that it is full.
        let queued = std::iter::from_fn(connect).take(8).collect();
        Self { listener, _queued: queued }
    }

    /// Returns the address that does not answer.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }
}

impl Default for SilentPort {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns true if this host can listen on `::1`.
pub fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}
