//! The server's side of a connection in memory that speaks HTTP/2, and the requests that are its
//! streams.

use std::fmt::Write as _;
use std::future::poll_fn;
use std::ops::Deref;
use std::task::Poll;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::sync::mpsc;

use super::peer::{Asked, Pipe};
use super::within;

/// Limit on the bytes of a request's body: 64 MiB. A larger one is a mistake of the test.
const MAX_BODY_BYTES: usize = 64 << 20;

/// A stream that the client has opened.
type Opened = (Request<RecvStream>, SendResponse<Bytes>);

/// The server's side of a connection that speaks HTTP/2, controlled by the test. Answers no request
/// by itself; a task of its own acknowledges settings and pings, and opens windows. Dropped, it
/// closes the connection.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> keepwarm::Result<()> {
/// use keepwarm::{Client, testing::Network};
///
/// let mut network = Network::new();
/// let client = Client::builder().http2_prior_knowledge().connector(network.connector()).build()?;
/// let requests = ["one", "two"].map(|body| {
///     tokio::spawn(client.post("http://data.test/").body(body).send())
/// });
/// // One connection for both, which are open at once.
/// let mut peer = network.dial().await.succeed_http2(100);
/// let (first, second) = (peer.request().await, peer.request().await);
/// assert_eq!((first.body(), second.body()), (&b"one"[..], &b"two"[..]));
/// second.respond(200, "2");
/// // Refused, the first one goes again.
/// first.refuse();
/// peer.serve(200, "1").await;
/// for request in requests {
///     assert_eq!(request.await.expect("no panic")?.status(), 200);
/// }
/// assert_eq!(client.stats().total.opened, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Http2Peer {
    opened: mpsc::UnboundedReceiver<Opened>,
    /// Dropped, it lets the task end.
    orders: mpsc::UnboundedSender<Order>,
}

/// An order to the task of a connection.
#[derive(Debug)]
enum Order {
    GoAway,
}

/// A request on a stream of its own. Its method, target, fields and body are those of [`Asked`];
/// `:authority` is its field `host`. Dropped without a response, it resets the stream.
#[derive(Debug)]
pub struct AskedStream {
    asked: Asked,
    respond: SendResponse<Bytes>,
}

impl Http2Peer {
    pub(super) fn start(pipe: Pipe, streams: u32) -> Self {
        // Streams are bounded by the limit, and orders by the test.
        let (sender, opened) = mpsc::unbounded_channel();
        let (orders, received) = mpsc::unbounded_channel();
        tokio::spawn(serve_streams(pipe, streams, sender, received));
        Self { opened, orders }
    }

    /// Reads the next request to the end of its body.
    ///
    /// # Panics
    ///
    /// If the request does not come within [`PATIENCE`](super::PATIENCE), or the connection ends
    /// before.
    pub async fn request(&mut self) -> AskedStream {
        let opened = within("a request", self.opened.recv()).await;
        let (request, respond) =
            opened.unwrap_or_else(|| panic!("the connection ended before a request"));
        let asked = within("the body of a request", read(request)).await;
        AskedStream { asked, respond }
    }

    /// Reads a request, and responds to it.
    ///
    /// # Panics
    ///
    /// Like [`request`](Http2Peer::request).
    pub async fn serve(&mut self, status: u16, body: impl AsRef<[u8]>) -> Asked {
        let AskedStream { asked, respond } = self.request().await;
        say(respond, status, body.as_ref());
        asked
    }

    /// Says GOAWAY: the connection takes no further request, and ends with its last stream.
    pub fn go_away(&self) {
        // A connection that has ended says nothing more.
        drop(self.orders.send(Order::GoAway));
    }

    /// Closes the connection in an orderly way: responses can still be read. Requests without one are
    /// cut off.
    pub fn close(self) {}

    /// Waits until the client closes the connection.
    ///
    /// # Panics
    ///
    /// If the client does not within [`PATIENCE`](super::PATIENCE), or sends another request before.
    pub async fn closed(mut self) {
        let more = within("the end of a connection", self.opened.recv()).await;
        assert!(more.is_none(), "the client sent another request");
    }
}

impl AskedStream {
    /// Sends a response with this body.
    ///
    /// # Panics
    ///
    /// If the status is no three-digit number.
    pub fn respond(self, status: u16, body: impl AsRef<[u8]>) {
        say(self.respond, status, body.as_ref());
    }

    /// Refuses the request without having processed it (`REFUSED_STREAM`).
    pub fn refuse(self) {
        self.reset(Reason::REFUSED_STREAM.into());
    }

    /// Resets the stream with an error code of RFC 9113, section 7.
    pub fn reset(mut self, code: u32) {
        self.respond.send_reset(code.into());
    }
}

impl Deref for AskedStream {
    type Target = Asked;

    fn deref(&self) -> &Asked {
        &self.asked
    }
}

/// Takes the streams of a connection, until that ends.
async fn serve_streams(
    pipe: Pipe,
    streams: u32,
    opened: mpsc::UnboundedSender<Opened>,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(streams);
    let Ok(mut connection) = builder.handshake(pipe).await else { return };
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::GoAway) => connection.graceful_shutdown(),
                None => break,
            },
            accepted = connection.accept() => match accepted {
                Some(Ok(stream)) => drop(opened.send(stream)),
                Some(Err(_)) | None => return,
            },
        }
    }
    // What was said is written.
    poll_fn(|cx| {
        let _ = connection.poll_closed(cx);
        Poll::Ready(())
    })
    .await;
}

/// Reads a request to the end of its body.
async fn read(request: Request<RecvStream>) -> Asked {
    let (head, mut body) = request.into_parts();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let mut text = format!("{} {target} HTTP/2\r\n", head.method);
    if let Some(authority) = head.uri.authority() {
        let _ = write!(text, "host: {authority}\r\n");
    }
    for (name, value) in &head.headers {
        let _ = write!(text, "{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()));
    }
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap_or_else(|error| panic!("the request was given up: {error}"));
        // Fails only where the stream has ended.
        let _ = body.flow_control().release_capacity(data.len());
        bytes.extend_from_slice(&data);
        assert!(bytes.len() <= MAX_BODY_BYTES, "a request beyond any reason");
    }
    Asked::of(text, bytes)
}

/// Sends a response. To a client that has given up it says nothing.
fn say(mut respond: SendResponse<Bytes>, status: u16, body: &[u8]) {
    let head = http::Response::builder().status(status).header("content-length", body.len());
    let head = head.body(()).unwrap_or_else(|error| panic!("no response: {error}"));
    if let Ok(mut stream) = respond.send_response(head, body.is_empty())
        && !body.is_empty()
    {
        // Fails only where the client has given up.
        let _ = stream.send_data(Bytes::copy_from_slice(body), true);
    }
}
