//! Misbehaving HTTP/1.1 servers, as data: the script of each, the outcome that a client must reach,
//! and whether the connection may serve again. [`animals()`] lists them; a [`Cage`] plays one of
//! them on a loopback port of its own, on the runtime of the test.
//!
//! Every response carries a [`marker`] that no other exchange has, so that a client which gives one
//! request the bytes of another one's response cannot go unseen. In a script `{M}` is the marker of
//! the animal's own exchange, and `{X}` one that belongs to no exchange at all. Both are eight
//! bytes long.
//!
//! This file plays the scripts of `zoo/animals.rs`, and of `zoo/featured.rs`, which are for clients
//! that undo codings, follow redirects, keep cookies and use proxies. It judges nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

mod animals;
mod featured;

pub use animals::animals;
pub use featured::{MAX_DECODED, featured_animals, proxies};

/// A step of a server's script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Reads the head of a request.
    Read,
    /// Reads exactly this many bytes, fewer than a request has.
    ReadBytes(usize),
    /// Writes at once.
    Write(String),
    /// Writes bytes that are made of the marker, at once.
    Make(fn(&str) -> Vec<u8>),
    /// Writes byte after byte, each in a segment of its own.
    Dribble(String),
    /// Writes this text this many times, as fast as the client takes it.
    Flood(String, usize),
    /// Writes this text every few milliseconds, until the client is gone.
    Endless(String),
    /// Waits until the client has its result of this exchange.
    WhenEnded,
    /// Closes: FIN. (The kernel adds an RST if bytes of the client are unread.)
    Fin,
    /// Aborts: RST.
    Rst,
    /// Sends a FIN, and reads until the client closes.
    HalfClose,
    /// Sends nothing more, until the client closes.
    Silence,
}

/// A status and a body, or nothing.
pub type Reply = Option<(u16, String)>;

/// The outcome of one visit by a client, which two clients can be compared by.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// The response of the animal.
    pub reply: Reply,
    /// True if the connection of the animal served again.
    pub reused: bool,
    /// True if the next two requests succeeded with their own markers.
    pub unhurt: bool,
}

/// The client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `POST` with a body of 8 MiB, which no socket buffers whole.
    PostLarge,
}

/// The expected outcome of the exchange with an animal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A response with this status and this body.
    Reply(u16, &'static str),
    /// The request fails, or reading its response's body does.
    Fails,
    /// A response or an error, depending on the order in which the kernel reports events, within
    /// the client's timeout.
    EitherButBounded,
}

/// The expected state of the connection after the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// Carries the next exchanges, because it has no fault.
    Reused,
    /// Never becomes idle again, because the exchange itself showed that it cannot be trusted.
    Refused,
    /// Becomes idle; the animal then sends bytes or closes, and the client notices by itself.
    Noticed,
}

/// A server that misbehaves once.
#[derive(Clone, Debug)]
pub struct Animal {
    /// A unique name.
    pub name: String,
    /// Its behaviour, in words.
    pub does: String,
    /// The client's request.
    pub ask: Ask,
    /// Its steps, in order. After the last step it behaves well, unless that step closed.
    pub script: Vec<Step>,
    /// The expected outcome of the exchange.
    pub expect: Expect,
    /// The expected state of the connection afterwards.
    pub afterwards: Afterwards,
    /// Number of requests that a client sends by itself after the script, to follow a redirect.
    pub follows: usize,
}

impl Animal {
    /// Returns true if only the client's own timeout ends the exchange.
    #[must_use]
    pub fn hangs(&self) -> bool {
        self.expect == Expect::Fails
            && self.script.iter().any(|step| matches!(step, Step::Silence | Step::Endless(_)))
    }

    /// Returns true if it reads the request first, so that it can be met on a reused connection.
    #[must_use]
    pub fn listens_first(&self) -> bool {
        matches!(self.script.first(), Some(Step::Read | Step::ReadBytes(_)))
    }

    /// Returns true if it ends the connection without a byte of a response. On a reused connection
    /// that looks like an idle close by the server, so a client may resend a `GET`.
    #[must_use]
    pub fn looks_like_an_idle_close(&self) -> bool {
        let silent = |step: &Step| {
            matches!(
                step,
                Step::Read | Step::ReadBytes(_) | Step::Fin | Step::Rst | Step::HalfClose
            )
        };
        self.ask != Ask::PostLarge && self.script.iter().all(silent)
    }
}

/// The exchange in which an animal is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// The first exchange of a new connection.
    Cold,
    /// The second exchange, on a reused connection.
    Warm,
}

/// Returns the eight bytes that mark exchange `exchange` with animal `index`, and no other
/// exchange. They are also the path of its request.
#[must_use]
pub fn marker(index: usize, exchange: usize) -> String {
    assert!(index < 10_000 && exchange < 10, "eight bytes");
    format!("~{index:04}.{exchange}~")
}

/// The exchange number of markers that belong to no exchange.
const STRAY: usize = 9;

/// An animal behind a port of its own. Every later connection, and the first one after the script,
/// answers each request with its marker.
#[derive(Debug)]
pub struct Cage {
    address: SocketAddr,
    state: Arc<CageState>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug)]
struct CageState {
    script: Vec<Step>,
    met: Met,
    index: usize,
    accepted: AtomicUsize,
    open: AtomicUsize,
    /// Number of requests on the animal's connection after its exchange.
    after: AtomicUsize,
    ended: watch::Sender<bool>,
    played: watch::Sender<bool>,
}

impl Cage {
    /// Listens, on the current runtime.
    pub async fn open(index: usize, animal: &Animal, met: Met) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("a bound address");
        let state = Arc::new(CageState {
            script: animal.script.clone(),
            met,
            index,
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            after: AtomicUsize::new(0),
            ended: watch::Sender::new(false),
            played: watch::Sender::new(false),
        });
        let acceptor = tokio::spawn(accept_all(listener, Arc::clone(&state)));
        Self { address, state, acceptor }
    }

    /// Returns the address of the listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL for exchange `exchange`.
    #[must_use]
    pub fn url(&self, exchange: usize) -> String {
        format!("http://{}/{}", self.address, marker(self.state.index, exchange))
    }

    /// Reports that the client has its result of the animal's exchange: lets [`Step::WhenEnded`]
    /// pass.
    pub fn exchange_ended(&self) {
        self.state.ended.send_replace(true);
    }

    /// Returns when the script is over and the kernel has all its bytes and closes.
    pub async fn played(&self) {
        // The sender lives as long as `self`.
        drop(self.state.played.subscribe().wait_for(|played| *played).await);
    }

    /// Returns the number of connections accepted so far.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(SeqCst)
    }

    /// Returns the number of connections that neither side has closed.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.state.open.load(SeqCst)
    }

    /// Returns the number of requests on the animal's connection after its exchange.
    #[must_use]
    pub fn requests_after(&self) -> usize {
        self.state.after.load(SeqCst)
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // Ends every connection's task too.
        self.acceptor.abort();
    }
}

async fn accept_all(listener: TcpListener, state: Arc<CageState>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("nodelay");
        let first = state.accepted.fetch_add(1, SeqCst) == 0;
        state.open.fetch_add(1, SeqCst);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            converse(Visitor { stream, unread: Vec::new() }, first, &state).await;
            state.open.fetch_sub(1, SeqCst);
        });
    }
}

async fn converse(mut visitor: Visitor, first: bool, state: &CageState) {
    if first {
        if state.met == Met::Warm && !visitor.behave().await {
            return;
        }
        let left = play(visitor, state).await;
        state.played.send_replace(true);
        match left {
            Some(left) => visitor = left,
            None => return,
        }
    }
    while visitor.behave_counting(first.then_some(&state.after)).await {}
}

/// Plays the script. Returns the connection if it is still open.
async fn play(mut visitor: Visitor, state: &CageState) -> Option<Visitor> {
    let exchange = if state.met == Met::Warm { 2 } else { 1 };
    let own = marker(state.index, exchange);
    let stray = marker(state.index, STRAY);
    let spell = |text: &str| text.replace("{M}", &own).replace("{X}", &stray);
    for step in &state.script {
        match step {
            Step::Read => drop(visitor.head().await?),
            Step::ReadBytes(count) => visitor.exactly(*count).await?,
            Step::Write(text) => visitor.write(spell(text)).await,
            Step::Make(make) => visitor.write(make(&own)).await,
            Step::Dribble(text) => {
                for byte in spell(text).chars() {
                    visitor.write(byte.encode_utf8(&mut [0; 4])).await;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Step::Flood(text, times) => {
                // Written in pieces, so that a client that has gone is noticed.
                let text = spell(text);
                for _ in 0..*times {
                    visitor.stream.write_all(text.as_bytes()).await.ok()?;
                }
            }
            Step::Endless(text) => {
                let text = spell(text);
                while visitor.stream.write_all(text.as_bytes()).await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                return None;
            }
            Step::WhenEnded => {
                drop(state.ended.subscribe().wait_for(|ended| *ended).await);
            }
            Step::Fin => {
                // Sends the FIN first, even if bytes are left unread.
                let _ = visitor.stream.shutdown().await;
                return None;
            }
            Step::Rst => {
                let socket = socket2::SockRef::from(&visitor.stream);
                socket.set_linger(Some(Duration::ZERO)).expect("set SO_LINGER");
                return None;
            }
            Step::HalfClose => {
                let _ = visitor.stream.shutdown().await;
                // The client acts next.
                state.played.send_replace(true);
                visitor.until_the_clients_end().await;
                return None;
            }
            Step::Silence => {
                visitor.until_the_clients_end().await;
                return None;
            }
        }
    }
    Some(visitor)
}

/// The server's side of a client's connection.
struct Visitor {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Visitor {
    /// Reads the head of the next request. Returns `None` at the end of the connection.
    async fn head(&mut self) -> Option<String> {
        // Each byte is looked at once: a client may send megabytes of content that ends no head.
        let mut searched = 0;
        loop {
            let found = self.unread[searched..].windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = found {
                let head = self.unread.drain(..searched + end + 4).collect::<Vec<_>>();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            searched = self.unread.len().saturating_sub(3);
            match self.stream.read_buf(&mut self.unread).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn exactly(&mut self, count: usize) -> Option<()> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).await.ok().map(drop)
    }

    /// Writes, and ignores a client that is gone.
    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    async fn behave(&mut self) -> bool {
        self.behave_counting(None).await
    }

    /// Answers a request with its marker. Returns false at the end of the connection.
    async fn behave_counting(&mut self, count: Option<&AtomicUsize>) -> bool {
        let Some(head) = self.head().await else {
            return false;
        };
        if let Some(count) = count {
            count.fetch_add(1, SeqCst);
        }
        let target = head.split(' ').nth(1).unwrap_or_default();
        // To a proxy the target is a whole URL.
        let body = target.rsplit('/').next().unwrap_or_default();
        let length = body.len();
        self.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")).await;
        true
    }

    async fn until_the_clients_end(&mut self) {
        let mut scratch = [0; 16 * 1024];
        while !matches!(self.stream.read(&mut scratch).await, Ok(0) | Err(_)) {}
    }
}
