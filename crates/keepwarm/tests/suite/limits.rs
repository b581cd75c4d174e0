//! Limits on what is read of a response, against a peer that is as fast as the client: each is kept
//! to within one read buffer, and no worker is kept from its timers.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use keepwarm::connect::Destination;
use keepwarm::{Client, ClientBuilder, CloseReason, Error};
use keepwarm_testkit::scripted::{eventually, within};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::MissedTickBehavior;
use tower::service_fn;

use crate::support::{assert_at_rest, only};

/// The largest read buffer.
const BUFFER: u64 = 64 << 10;
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A server in memory that has bytes whenever it is read, outside tokio's budget: first these, then
/// those, for ever. It answers only after a request.
struct Fast {
    start: &'static str,
    endless: &'static str,
    at: usize,
    asked: bool,
    read: Arc<AtomicU64>,
    waiting: Option<std::task::Waker>,
}

impl AsyncRead for Fast {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        while buffer.remaining() > 0 {
            let (from, at) = match self.at.checked_sub(self.start.len()) {
                None => (self.start, self.at),
                Some(over) => (self.endless, over % self.endless.len()),
            };
            let rest = &from.as_bytes()[at..];
            let count = rest.len().min(buffer.remaining());
            buffer.put_slice(&rest[..count]);
            self.at += count;
        }
        self.read.fetch_add((buffer.filled().len() - before) as u64, Ordering::SeqCst);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fast {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.asked = true;
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A client of such servers, and the bytes that it has read off all of them.
fn client_of(
    builder: ClientBuilder,
    start: &'static str,
    endless: &'static str,
) -> (Client, Arc<AtomicU64>) {
    let read = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&read);
    let connector = service_fn(move |_: Destination| {
        let read = Arc::clone(&counter);
        async move {
            Ok::<_, io::Error>(Fast { start, endless, at: 0, asked: false, read, waiting: None })
        }
    });
    (builder.connector(connector).build().expect("good settings"), read)
}

async fn fetch(client: &Client) -> Result<u64, Error> {
    let response = client.get("http://fast.test/").send().await?;
    let mut body = response.into_http().into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, |data| data.len() as u64);
    }
    Ok(bytes)
}

/// Parts of a response without end, and the limit on each.
const FLOODS: [(&str, &str, &str, u64); 9] = [
    ("interim", "", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 1 << 20),
    ("empty lines", "", "\r\n", 1 << 20),
    ("a reason", "HTTP/1.1 200 ", "x", 1 << 20),
    ("fields", "HTTP/1.1 200 OK\r\n", "X: y\r\n", 1 << 20),
    ("a field", "HTTP/1.1 200 OK\r\nX: ", "x", 1 << 20),
    ("digits of a chunk size", CHUNKED, "0", 4 << 10),
    (
        "blanks behind a chunk size",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8",
        " ",
        4 << 10,
    ),
    ("a chunk extension", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8;", "x", 4 << 10),
    (
        "trailers",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        "X: y\r\n",
        16 << 10,
    ),
];

#[tokio::test]
async fn every_limit_holds_within_one_buffer() {
    for (part, start, endless, limit) in FLOODS {
        let (client, read) = client_of(Client::builder(), start, endless);
        within(part, fetch(&client)).await.expect_err(part);
        let read = read.load(Ordering::SeqCst);
        assert!(read <= start.len() as u64 + limit + BUFFER, "{part}: {read} bytes");
        assert_at_rest(&only(&client));
        assert_eq!(only(&client).idle, 0, "{part}");
    }
}

#[tokio::test]
async fn limits_hold_for_dropped_requests() {
    for (part, start, endless, limit) in FLOODS {
        let (client, read) = client_of(Client::builder(), start, endless);
        let mut request = Box::pin(client.get("http://fast.test/").send());
        // The request is written, and dropped before its head or body is read.
        let mut polls = 0;
        while client.stats().total.active == 0 && polls < 100 {
            if let Poll::Ready(response) = futures_poll(&mut request).await {
                drop(response);
                break;
            }
            tokio::task::yield_now().await;
            polls += 1;
        }
        drop(request);
        eventually(part, || only(&client).active == 0).await;
        let read = read.load(Ordering::SeqCst);
        let most = start.len() as u64 + limit.max(256 << 10) + BUFFER;
        assert!(read <= most, "{part}: {read} bytes");
        assert_at_rest(&only(&client));
    }
}

async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// Framing counts too: of a body in chunks of one byte, a sixth is data.
#[tokio::test]
async fn drain_is_bounded_on_the_wire() {
    let endless: [(&str, &str); 2] = [(CHUNKED, "1\r\nx\r\n"), ("HTTP/1.1 200 OK\r\n\r\n", "x")];
    for (start, endless) in endless {
        let (client, read) = client_of(Client::builder(), start, endless);
        drop(client.get("http://fast.test/").send().await.expect("a head"));
        eventually("the close", || only(&client).active == 0).await;
        let read = read.load(Ordering::SeqCst);
        assert!(read <= (256 << 10) + 2 * BUFFER, "{read} bytes");
        assert_eq!(only(&client).idle, 0);
        let is_last = start.len() < CHUNKED.len();
        assert_eq!(only(&client).closed_for(CloseReason::Abandoned), 1, "{is_last}");
    }
}

/// A timer of the request, and one of another task on the same thread.
#[tokio::test]
async fn fast_peers_leave_timers_alone() {
    const TIMEOUT: Duration = Duration::from_millis(300);
    for (start, endless) in
        [(CHUNKED, "1\r\nx\r\n"), ("HTTP/1.1 200 OK\r\n\r\n", "xxxxxxxxxxxxxxxx")]
    {
        let (client, _) = client_of(Client::builder().timeout(TIMEOUT), start, endless);
        let ticks = Arc::new(AtomicU64::new(0));
        let ticker = tokio::spawn({
            let ticks = Arc::clone(&ticks);
            async move {
                let mut clock = tokio::time::interval(Duration::from_millis(5));
                clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
                clock.tick().await;
                loop {
                    clock.tick().await;
                    ticks.fetch_add(1, Ordering::SeqCst);
                }
            }
        });
        let began = Instant::now();
        let error = within("the timeout", fetch(&client)).await.expect_err("endless");
        let took = began.elapsed();
        ticker.abort();
        assert!(error.is_timeout(), "{error}");
        // On a busy machine, a few times as long.
        assert!(took < TIMEOUT * 10, "{took:?}");
        let ticks = ticks.load(Ordering::SeqCst);
        // A request that kept the thread would leave none; a busy machine leaves few.
        assert!(ticks >= 1, "{ticks} ticks of 5 ms in {took:?}");
    }
}
