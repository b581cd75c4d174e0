//! A connector of the caller's own: what it is asked, what becomes of its dials, and what its
//! failures touch.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use keepwarm::connect::Destination;
use keepwarm::{BoxError, Client, CloseReason, Closer, Stage as At};
use keepwarm_testkit::scripted::{Server, Stage, eventually, within};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tower::{Service, service_fn};

use crate::support::{assert_at_rest, audit, by_hand, done, exchange, fetch, only, poll_once};

/// Counts the times it was asked, and connects to that port whatever it was asked for.
fn to(port: u16, asked: &Arc<AtomicUsize>) -> impl Connects<TcpStream> {
    let asked = Arc::clone(asked);
    service_fn(move |_: Destination| {
        asked.fetch_add(1, Ordering::SeqCst);
        TcpStream::connect(("127.0.0.1", port))
    })
}

trait Connects<S>:
    Service<Destination, Response = S, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static
{
}

impl<S, T> Connects<S> for T where
    T: Service<Destination, Response = S, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static
{
}

fn client<S>(connector: impl Connects<S>) -> Client
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let builder = Client::builder().connector(connector).max_connections_per_origin(1);
    builder.connect_timeout(Duration::from_secs(60)).build().expect("good settings")
}

/// The connector is given the origin of the URL.
#[tokio::test]
async fn connector_is_called_once_per_connection() {
    let server = Server::saying("through");
    let port = server.port();
    let destinations = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&destinations);
    let client = client(service_fn(move |destination: Destination| {
        told.lock().expect("no panic").push(destination);
        TcpStream::connect(("127.0.0.1", port))
    }));
    for _ in 0..3 {
        assert_eq!(exchange(&client, "http://NoWhere.test/path?query").await, "through");
    }
    assert_eq!((only(&client).opened, only(&client).reused), (1, 2));
    assert_eq!(exchange(&client, "http://[::1]:7/").await, "through");
    let told: Vec<_> = {
        let told = destinations.lock().expect("no panic");
        let parts = told.iter().map(|to| (to.to_string(), to.host().to_owned(), to.port()));
        assert!(told.iter().all(|to| to.scheme() == "http" && !to.is_tls()));
        parts.collect()
    };
    let named = ("http://nowhere.test:80".to_owned(), "nowhere.test".to_owned(), 80);
    assert_eq!(told, [named, ("http://[::1]:7".to_owned(), "::1".to_owned(), 7)]);
}

/// Without that, a frame that widens a window of HTTP/2 would wait for a round trip.
#[tokio::test]
async fn sockets_of_a_connector_send_at_once() {
    let server = Server::saying("at once");
    let port = server.port();
    let sockets = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&sockets);
    let client = client(service_fn(move |_: Destination| {
        let socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection");
        socket.set_nonblocking(true).expect("set");
        kept.lock().expect("no panic").push(socket.try_clone().expect("a descriptor"));
        std::future::ready(TcpStream::from_std(socket))
    }));
    assert_eq!(exchange(&client, "http://nowhere.test/").await, "at once");
    let sockets = sockets.lock().expect("no panic");
    assert!(sockets.iter().all(|socket| socket.nodelay().expect("an option")));
    assert_eq!(sockets.len(), 1);
}

/// Answers each request, as a server in this process: no socket is involved.
async fn answer_all(mut stream: DuplexStream) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut seen = Vec::new();
    while stream.read_buf(&mut seen).await.is_ok_and(|bytes| bytes > 0) {
        if seen.ends_with(b"\r\n\r\n") {
            seen.clear();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nduplex";
            stream.write_all(answer).await.expect("the client reads");
        }
    }
}

/// The clock stands still until nothing else is left to do: the whole wait takes no time.
/// Its end is noticed while it is idle.
#[tokio::test(start_paused = true)]
async fn memory_stream_carries_exchanges() {
    let (tell, told) = oneshot::channel();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let client = client(service_fn(move |_| {
        let (near, far) = duplex(1024);
        let server = tokio::spawn(answer_all(far));
        if let Some(tell) = tell.lock().expect("no panic").take() {
            tell.send(server).expect("the test waits");
        }
        std::future::ready(Ok::<_, io::Error>(near))
    }));
    for _ in 0..3 {
        assert_eq!(exchange(&client, "http://memory.test/").await, "duplex");
    }
    assert_eq!((only(&client).opened, only(&client).idle), (1, 1));
    told.await.expect("the server").abort();
    eventually("the end", || only(&client).idle == 0).await;
    let stats = only(&client);
    assert_eq!(stats.closed_for(CloseReason::PeerClosedIdle), 1);
    assert_eq!(stats.closed_by(Closer::Server), 1);
    assert_eq!(exchange(&client, "http://memory.test/").await, "duplex");
    audit(&only(&client));
}

/// The next dial is not affected.
#[tokio::test]
async fn connector_error_is_the_cause() {
    let server = Server::saying("x");
    let port = server.port();
    let asked = Arc::new(AtomicUsize::new(0));
    let client = client(service_fn(move |_| {
        let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                return Err(io::Error::new(io::ErrorKind::HostUnreachable, "no tunnel to there"));
            }
            TcpStream::connect(("127.0.0.1", port)).await
        }
    }));
    let error = within("an answer", client.get("http://a.test/").send()).await.expect_err("none");
    assert_eq!((error.stage(), error.origin()), (At::Connect, Some("http://a.test:80")));
    assert!(error.is_connect() && !error.is_timeout() && !error.is_tls(), "{error}");
    let cause = error.io_error().map(io::Error::kind);
    assert_eq!(cause, Some(io::ErrorKind::HostUnreachable));
    assert_eq!(
        error.to_string(),
        "http://a.test:80: connecting failed: no tunnel to there",
        "the cause is told once"
    );
    assert_eq!(exchange(&client, "http://a.test/").await, "x");
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.dials_failed, stats.opened), (1, 1));
}

/// The dial serves the next request.
#[tokio::test]
async fn dial_outlives_its_dropped_request() {
    let stage = Stage::open().await;
    let port = stage.port();
    let gate = Arc::new(Semaphore::new(0));
    let (at_gate, asked) = (Arc::clone(&gate), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let client = client(service_fn(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&at_gate);
        async move {
            gate.acquire().await.expect("it is never closed").forget();
            TcpStream::connect(("127.0.0.1", port)).await
        }
    }));
    let mut dropped = by_hand(&client, "http://a.test/dropped");
    assert!(poll_once(&mut dropped).is_pending());
    eventually("the dial", || asked.load(Ordering::SeqCst) == 1).await;
    drop(dropped);
    let next = fetch(&client, "http://a.test/next");
    eventually("the place", || only(&client).waiting == 1).await;
    gate.add_permits(1);
    assert_eq!(stage.accept().await.serve("next").await.target(), "/next");
    assert_eq!(done(next).await.expect("a body"), "next");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "one dial for both");
    assert_at_rest(&only(&client));
}

/// A connector that never ends, and tells when it is dropped.
struct Hangs(Option<oneshot::Sender<()>>);

impl Future for Hangs {
    type Output = io::Result<TcpStream>;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

impl Drop for Hangs {
    fn drop(&mut self) {
        self.0.take().map(|told| told.send(()));
    }
}

fn hanging() -> (impl Connects<TcpStream>, oneshot::Receiver<()>) {
    let (tell, told) = oneshot::channel();
    let tell = Arc::new(Mutex::new(Some(tell)));
    let hang = service_fn(move |_: Destination| Hangs(tell.lock().expect("no panic").take()));
    (hang, told)
}

/// The place of the dial is free then.
#[tokio::test(start_paused = true)]
async fn hanging_connector_ends_at_connect_timeout() {
    let (hang, dropped) = hanging();
    let builder = Client::builder().connector(hang).max_connections_per_origin(1);
    let client = builder.connect_timeout(Duration::from_secs(7)).build().expect("good");
    let began = tokio::time::Instant::now();
    let error = client.get("http://a.test/").send().await.expect_err("late");
    assert_eq!(began.elapsed().as_secs(), 7);
    assert!(error.is_timeout() && error.is_connect(), "{error}");
    assert_eq!(error.stage(), At::Connect);
    assert!(error.to_string().contains("connect_timeout"), "{error}");
    within("the drop", dropped).await.expect("told");
    assert_at_rest(&only(&client));
}

#[tokio::test]
async fn client_end_drops_hanging_connector() {
    let (hang, dropped) = hanging();
    let client = client(hang);
    let mut dialling = by_hand(&client, "http://a.test/");
    assert!(poll_once(&mut dialling).is_pending());
    tokio::task::yield_now().await;
    drop(client);
    within("the drop", dropped).await.expect("told");
    let error = within("the failure", dialling).await.expect_err("shut down");
    assert!(error.is_shut_down(), "{error}");
}

#[tokio::test]
async fn unready_connector_is_waited_for() {
    let server = Server::saying("ready");
    let asked = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(Semaphore::new(0));
    let slow = Rude { at: Where::Nowhere, port: server.port(), gate: Some(Arc::clone(&gate)) };
    let client = client(slow);
    let request = fetch(&client, "http://a.test/");
    eventually("the dial", || only_if(&client, |dialing| dialing == 1)).await;
    assert_eq!((server.accepted(), asked.load(Ordering::SeqCst)), (0, 0));
    gate.add_permits(1);
    assert_eq!(done(request).await.expect("a body"), "ready");
}

fn only_if(client: &Client, holds: impl Fn(usize) -> bool) -> bool {
    client.stats().origins.first().is_some_and(|origin| holds(origin.dialing))
}

/// Where a connector panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Nowhere,
    Clone,
    Ready,
    Call,
    Future,
    Read,
    Write,
    Drop,
}

/// A connector that panics somewhere, and one that is ready when its gate opens.
struct Rude {
    at: Where,
    port: u16,
    gate: Option<Arc<Semaphore>>,
}

impl Clone for Rude {
    fn clone(&self) -> Self {
        assert!(self.at != Where::Clone, "rude clone");
        Self { gate: self.gate.clone(), ..*self }
    }
}

impl Service<Destination> for Rude {
    type Response = RudeStream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<RudeStream>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert!(self.at != Where::Ready, "rude ready");
        match self.gate.as_ref().map(|gate| gate.try_acquire().map(|permit| permit.forget())) {
            None => {}
            Some(Ok(())) => self.gate = None,
            Some(Err(_)) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Destination) -> Self::Future {
        let (at, port) = (self.at, self.port);
        assert!(self.gate.is_none(), "called before it was ready");
        assert!(at != Where::Call, "rude call");
        Box::pin(async move {
            assert!(at != Where::Future, "rude future");
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            Ok(RudeStream { stream, at })
        })
    }
}

struct RudeStream {
    stream: TcpStream,
    at: Where,
}

impl AsyncRead for RudeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        assert!(self.at != Where::Read, "rude read");
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for RudeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert!(self.at != Where::Write, "rude write");
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for RudeStream {
    fn drop(&mut self) {
        assert!(self.at != Where::Drop, "rude drop");
    }
}

/// The place of the dial is free then.
#[tokio::test]
async fn connector_panic_fails_one_request() {
    let server = Server::saying("x");
    for at in [Where::Clone, Where::Ready, Where::Call, Where::Future] {
        let client = client(Rude { at, port: server.port(), gate: None });
        // Each would wait for ever if the one before had kept the only place.
        for _ in 0..3 {
            let error = within("an answer", client.get("http://a.test/").send()).await;
            let error = error.expect_err("a panic");
            assert_eq!(error.stage(), At::Connect, "{at:?}: {error}");
            assert!(error.to_string().contains("the connector panicked: rude"), "{at:?}: {error}");
        }
        let stats = only(&client);
        assert_at_rest(&stats);
        assert_eq!((stats.dials_failed, stats.opened), (3, 0), "{at:?}");
    }
}

#[tokio::test]
async fn stream_panic_ends_one_connection() {
    let server = Server::saying("x");
    for at in [Where::Read, Where::Write] {
        let client = client(Rude { at, port: server.port(), gate: None });
        for _ in 0..3 {
            let request = client.post("http://a.test/").send();
            let error = within("an answer", request).await.expect_err("a panic");
            // A connection is listened to before anything is sent on it.
            let stage = if at == Where::Read { At::Connect } else { At::Exchange };
            assert_eq!(error.stage(), stage, "{at:?}: {error}");
        }
        let stats = only(&client);
        assert_at_rest(&stats);
        assert_eq!(stats.opened + stats.dials_failed, 3, "{at:?}: {stats:?}");
    }
}

#[tokio::test]
async fn panic_on_drop_frees_the_place() {
    let server = Server::saying("x");
    let client = client(Rude { at: Where::Drop, port: server.port(), gate: None });
    for round in 1..4 {
        assert_eq!(exchange(&client, "http://a.test/").await, "x");
        client.close_idle();
        eventually("the close", || only(&client).closed() == round).await;
    }
    assert_at_rest(&only(&client));
}

#[tokio::test]
async fn connectors_share_no_connection() {
    let servers = [Server::saying("first"), Server::saying("second")];
    let asked = Arc::new(AtomicUsize::new(0));
    let clients = servers.each_ref().map(|server| client(to(server.port(), &asked)));
    for _ in 0..3 {
        for (client, said) in clients.iter().zip(["first", "second"]) {
            assert_eq!(exchange(client, "http://same.test/").await, said);
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
