//! A network in memory that a test controls step by step: for tests of code that uses a client.
//! With the feature `testing`, which belongs among `[dev-dependencies]`.
//!
//! A [`Network`] is given to a client as its connector. Each dial then waits until the test
//! completes or fails it; each connection leads to a [`Peer`] that reads requests and writes
//! responses when the test calls it. No result depends on chance or on a port, and no socket is
//! opened. Everything between is the real client: the pool, the queue, retries, HTTP/1.1 and HTTP/2
//! ([`Dial::succeed_http2`], [`Http2Peer`]).
//!
//! All timers of the client, its timeouts and its idle clock, are tokio's. In a runtime whose time
//! is paused they cost no time: `tokio::time::sleep(Duration::from_secs(90)).await` lets 90 seconds
//! pass at once, with everything that falls due on the way. A test that waits for an event that never
//! comes panics after [`PATIENCE`], which is at once there too.
//!
//! ```
//! use std::time::Duration;
//! use keepwarm::{Client, testing::Network};
//!
//! /// The code to be tested: asks twice, and gives each try 100 ms.
//! async fn ask(client: &Client) -> keepwarm::Result<String> {
//!     let try_once = || client.get("http://data.test/").timeout(Duration::from_millis(100)).send();
//!     let response = match try_once().await {
//!         Err(error) if error.is_timeout() => try_once().await?,
//!         other => other?,
//!     };
//!     response.text().await
//! }
//!
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() -> keepwarm::Result<()> {
//!     let mut network = Network::new();
//!     let client = Client::builder().connector(network.connector()).build()?;
//!     let asked = tokio::spawn({
//!         let client = client.clone();
//!         async move { ask(&client).await }
//!     });
//!
//!     // The first connection is made, and its server falls silent.
//!     let mut silent = network.dial().await.succeed();
//!     assert_eq!(silent.request().await.target(), "/");
//!     // 100 ms pass at once, and the second try dials anew.
//!     let mut server = network.dial().await.succeed();
//!     server.serve(200, "Data OK.").await;
//!
//!     assert_eq!(asked.await.expect("no panic")?, "Data OK.");
//!     assert_eq!(client.stats().total.opened, 2);
//!     Ok(())
//! }
//! ```
//!
//! The effects of a kernel are missing: ports, TIME_WAIT, buffers of its sizes, and the time between
//! the arrival of a packet and its being read. TLS is not simulated either: use URLs with `http`.

#[cfg(feature = "http2")]
mod http2;
mod peer;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tower_service::Service;

use crate::wire::connect::Destination;
#[cfg(feature = "http2")]
pub use http2::{AskedStream, Http2Peer};
use peer::Pipe;
pub use peer::{Asked, Peer};

/// Limit on each wait for the client, by tokio's clock. Beyond it the wait panics and names its event.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Limit on the bytes that are under way in each direction of a connection. A writer of more waits
/// until the other side has read.
pub const MAX_UNREAD: usize = 64 << 10;

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Connections in memory, made by the test.
///
/// One network may serve several clients.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> keepwarm::Result<()> {
/// use std::io::ErrorKind;
/// use keepwarm::{Client, testing::Network};
///
/// let mut network = Network::new();
/// let client = Client::builder().connector(network.connector()).build()?;
/// let request = tokio::spawn(client.get("http://data.test:8081/").send());
/// let dial = network.dial().await;
/// assert_eq!(dial.destination().to_string(), "http://data.test:8081");
/// dial.fail(ErrorKind::ConnectionRefused);
/// assert!(request.await.expect("no panic").expect_err("refused").is_connect());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Network {
    sender: mpsc::UnboundedSender<Dial>,
    dials: mpsc::UnboundedReceiver<Dial>,
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl Network {
    /// Makes a network without connections.
    #[must_use]
    pub fn new() -> Self {
        // Dials are bounded by the client that makes them.
        let (sender, dials) = mpsc::unbounded_channel();
        Self { sender, dials }
    }

    /// Returns the connector for [`ClientBuilder::connector`](crate::ClientBuilder::connector).
    #[must_use]
    pub fn connector(&self) -> ScriptedConnector {
        ScriptedConnector { sender: self.sender.clone() }
    }

    /// Waits for the next dial, in the order in which the clients began them.
    ///
    /// # Panics
    ///
    /// If no dial comes within [`PATIENCE`].
    pub async fn dial(&mut self) -> Dial {
        let next = within("a dial", self.dials.recv()).await;
        next.expect("the network holds a sender itself")
    }

    /// Returns the next dial, if one has begun that was not taken yet. A task that is ready may not
    /// have run: to see that no dial comes, let some time pass before.
    pub fn try_dial(&mut self) -> Option<Dial> {
        self.dials.try_recv().ok()
    }
}

/// A dial that waits for the test to end it. Dropped, it fails.
#[derive(Debug)]
pub struct Dial {
    destination: Destination,
    answer: oneshot::Sender<io::Result<Connected>>,
}

impl Dial {
    /// Returns the origin that the client wants to connect to.
    #[must_use]
    pub const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Completes the dial, and returns the server's side of the connection.
    #[must_use = "a peer that is dropped closes the connection"]
    pub fn succeed(self) -> Peer {
        let (ours, theirs) = peer::pair();
        // A client that has given up closes the connection at once.
        drop(self.answer.send(Ok(Connected(theirs))));
        Peer::new(ours)
    }

    /// Completes the dial, and returns the server's side of a connection that speaks HTTP/2 and
    /// allows this many streams at once. The client has to speak it without asking
    /// ([`http2_prior_knowledge`](crate::ClientBuilder::http2_prior_knowledge)).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, in which a task of the peer's runs.
    #[cfg(feature = "http2")]
    #[must_use = "a peer that is dropped closes the connection"]
    pub fn succeed_http2(self, streams: u32) -> Http2Peer {
        let (ours, theirs) = peer::pair();
        drop(self.answer.send(Ok(Connected(theirs))));
        Http2Peer::start(ours, streams)
    }

    /// Fails the dial, with an [`io::ErrorKind`] or an [`io::Error`].
    pub fn fail(self, error: impl Into<io::Error>) {
        drop(self.answer.send(Err(error.into())));
    }

    /// Waits until the client gives the dial up: by its connect timeout, or by its own end. A
    /// request that is dropped does not give up its dial, which then serves the next request.
    ///
    /// # Panics
    ///
    /// If the client does not give up within [`PATIENCE`].
    pub async fn given_up(mut self) {
        within("the dial to be given up", self.answer.closed()).await;
    }
}

/// Connector of a [`Network`], for a client.
#[derive(Clone, Debug)]
pub struct ScriptedConnector {
    sender: mpsc::UnboundedSender<Dial>,
}

/// The future of a dial.
type Dialing = Pin<Box<dyn Future<Output = io::Result<Connected>> + Send>>;

impl Service<Destination> for ScriptedConnector {
    type Response = Connected;
    type Error = io::Error;
    type Future = Dialing;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Destination) -> Dialing {
        let (answer, answered) = oneshot::channel();
        let gone = || io::Error::new(io::ErrorKind::ConnectionAborted, "the test dropped the dial");
        let sent = self.sender.send(Dial { destination, answer });
        Box::pin(async move {
            sent.map_err(|_| gone())?;
            answered.await.map_err(|_| gone())?
        })
    }
}

/// The client's side of a connection in memory.
pub struct Connected(Pipe);

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connected")
    }
}

impl tokio::io::AsyncRead for Connected {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl tokio::io::AsyncWrite for Connected {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
