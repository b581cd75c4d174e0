//! A server of raw frames (RFC 9113), over a pipe in memory.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use keepwarm::connect::Destination;
use keepwarm::{Client, ClientBuilder, RequestBuilder, Response};
use keepwarm_testkit::scripted::within;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
    DuplexStream, ReadBuf, duplex,
};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITY: u8 = 32;

pub(crate) const MAX_STREAMS: u16 = 3;
pub(crate) const INITIAL_WINDOW: u16 = 4;
pub(crate) const MAX_HEADER_LIST: u16 = 6;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const CALM_DOWN: u32 = 11;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    pub(crate) fn ends(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// Error code of a RST_STREAM.
    pub(crate) fn code(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().expect("four bytes"))
    }
}

/// Connections that the client under test dials.
pub(crate) struct Dials(mpsc::UnboundedReceiver<DuplexStream>);

/// A client whose every connection is one of the test's.
pub(crate) fn client(build: impl FnOnce(ClientBuilder) -> ClientBuilder) -> (Client, Dials) {
    client_by(|pipe| pipe, build)
}

fn client_by<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    wrap: impl FnMut(DuplexStream) -> S + Send + 'static,
    build: impl FnOnce(ClientBuilder) -> ClientBuilder,
) -> (Client, Dials) {
    let (sender, dials) = mpsc::unbounded_channel();
    let wrap = Arc::new(Mutex::new(wrap));
    let connector = tower::service_fn(move |_: Destination| {
        let (ours, theirs) = duplex(64 << 10);
        let sent = sender.send(theirs).map_err(|_| io::Error::other("the test is over"));
        let ours = (wrap.lock().expect("no panic"))(ours);
        std::future::ready(sent.map(|()| ours))
    });
    let builder = Client::builder().http2_prior_knowledge().connector(connector);
    (build(builder).build().expect("a client"), Dials(dials))
}

/// The client's end of a pipe whose writes can be made to fail, as a socket's do behind an RST. What its peer
/// sends can be read all the same.
pub(crate) struct Breakable {
    pipe: DuplexStream,
    wire: Option<Arc<Wire>>,
}

/// Whether a write may pass, and that one was refused.
#[derive(Default)]
pub(crate) struct Wire {
    is_broken: AtomicBool,
    refused: Notify,
}

impl Wire {
    /// Waits until a write was refused.
    pub(crate) async fn refused(&self) {
        within("a write", self.refused.notified()).await;
    }
}

impl AsyncRead for Breakable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wire = self.wire.as_ref().filter(|wire| wire.is_broken.load(Ordering::SeqCst));
        if let Some(wire) = wire {
            wire.refused.notify_one();
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// A client that had one answer by its first connection, whose wire is cut.
pub(crate) async fn client_behind_a_cut() -> (Client, Dials, Peer, Arc<Wire>) {
    let wire = Arc::new(Wire::default());
    let mut first = Some(Arc::clone(&wire));
    let (client, mut dials) =
        client_by(move |pipe| Breakable { pipe, wire: first.take() }, |builder| builder);
    let answered = get(&client);
    let mut peer = dials.accept(&[]).await;
    peer.serve("first").await;
    assert_eq!(text(answered).await, "first");
    wire.is_broken.store(true, Ordering::SeqCst);
    (client, dials, peer, wire)
}

impl Dials {
    /// The next connection, before a byte was read or written.
    pub(crate) async fn raw(&mut self) -> DuplexStream {
        within("a dial", self.0.recv()).await.expect("the client is there")
    }

    /// The next connection, whose settings are sent.
    pub(crate) async fn accept(&mut self, settings: &[(u16, u32)]) -> Peer {
        let mut peer = Peer::over(self.raw().await).await;
        peer.settings(settings).await;
        peer
    }

    /// Returns true if no dial is made within three seconds.
    pub(crate) async fn are_quiet(&mut self) -> bool {
        quiet(self.0.recv()).await
    }
}

/// Returns true if the event does not come within three (virtual) seconds.
pub(crate) async fn quiet(event: impl Future) -> bool {
    tokio::time::timeout(Duration::from_secs(3), event).await.is_err()
}

/// Sends a request in a task of its own.
pub(crate) fn go(request: RequestBuilder) -> JoinHandle<keepwarm::Result<Response>> {
    tokio::spawn(request.send())
}

pub(crate) fn get(client: &Client) -> JoinHandle<keepwarm::Result<Response>> {
    go(client.get("http://frames.test/"))
}

pub(crate) fn post(client: &Client, body: &'static str) -> JoinHandle<keepwarm::Result<Response>> {
    go(client.post("http://frames.test/").body(body))
}

/// The text of a response that has to come.
pub(crate) async fn text(request: JoinHandle<keepwarm::Result<Response>>) -> String {
    let response = within("a response", request).await.expect("no panic").expect("a response");
    within("a body", response.text()).await.expect("a body")
}

/// The error of a request whose head or body fails.
pub(crate) async fn failure(request: JoinHandle<keepwarm::Result<Response>>) -> keepwarm::Error {
    match within("an outcome", request).await.expect("no panic") {
        Ok(response) => within("a body", response.text()).await.expect_err("it cannot succeed"),
        Err(error) => error,
    }
}

/// One connection, from the server's side.
pub(crate) struct Peer {
    pub(crate) io: BufReader<DuplexStream>,
    /// Pings that the client sent, all of which are answered unless it is mute.
    pub(crate) pings: usize,
    pub(crate) is_mute: bool,
    /// Bytes that the client has allowed so far: on a stream that it reads, and on the connection.
    pub(crate) windows: (u64, u64),
}

impl Peer {
    /// Reads the client's preface.
    pub(crate) async fn over(mut io: DuplexStream) -> Self {
        let mut preface = [0; PREFACE.len()];
        within("the preface", io.read_exact(&mut preface)).await.expect("the preface");
        assert_eq!(preface, PREFACE);
        Self { io: BufReader::new(io), pings: 0, is_mute: false, windows: (65_535, 65_535) }
    }

    pub(crate) async fn settings(&mut self, settings: &[(u16, u32)]) {
        let payload: Vec<_> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        self.send(SETTINGS, 0, 0, &payload).await;
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let frame = frame(kind, flags, stream, payload);
        within("the client to read", self.io.write_all(&frame)).await.expect("written");
    }

    /// Returns true if something can be read within the time: bytes, or the end.
    pub(crate) async fn has_more(&mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.io.fill_buf()).await.is_ok()
    }

    /// Reads the next frame; `None` at the end.
    pub(crate) async fn raw(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.io.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.io.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes(head[5..].try_into().expect("four bytes"));
        self.count_windows(head[3], stream, &payload);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    fn count_windows(&mut self, kind: u8, stream: u32, payload: &[u8]) {
        let number = |bytes: &[u8]| u64::from(u32::from_be_bytes(bytes.try_into().expect("four")));
        match (kind, stream) {
            (WINDOW_UPDATE, 0) => self.windows.1 += number(payload),
            (WINDOW_UPDATE, _) => self.windows.0 += number(payload),
            (SETTINGS, _) => {
                let mut settings = payload.chunks(6);
                let window = settings.find(|one| one[..2] == INITIAL_WINDOW.to_be_bytes());
                self.windows.0 = window.map_or(self.windows.0, |window| number(&window[2..]));
            }
            _ => {}
        }
    }

    /// Reads the next frame of a stream, or GOAWAY. Settings and pings are answered on the way.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = self.raw().await?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]).await,
                PING if frame.flags & ACK == 0 => {
                    self.pings += 1;
                    if !self.is_mute {
                        self.send(PING, ACK, 0, &frame.payload).await;
                    }
                }
                SETTINGS | PING | WINDOW_UPDATE => {}
                _ => return Some(frame),
            }
        }
    }

    /// Reads until the next frame of that kind.
    pub(crate) async fn until(&mut self, kind: u8) -> Frame {
        let found = async {
            loop {
                let frame = self.next().await.expect("a frame, and not the end");
                if frame.kind == kind {
                    return frame;
                }
            }
        };
        within("a frame", found).await
    }

    /// Reads the head of the next request, and returns its stream.
    pub(crate) async fn request(&mut self) -> u32 {
        self.until(HEADERS).await.stream
    }

    /// Reads the body of a request to its end.
    pub(crate) async fn body(&mut self, stream: u32) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.until(DATA).await;
            if frame.stream == stream {
                body.extend_from_slice(&frame.payload);
                if frame.ends() {
                    return body;
                }
            }
        }
    }

    /// Answers pings and settings until the connection ends, and returns its last frames.
    pub(crate) async fn rest(mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = within("the end", self.next()).await {
            frames.push(frame);
        }
        frames
    }

    pub(crate) async fn fields(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) {
        let flags = END_HEADERS | u8::from(ends);
        self.send(HEADERS, flags, stream, &block(fields)).await;
    }

    pub(crate) async fn data(&mut self, stream: u32, data: &[u8], ends: bool) {
        self.send(DATA, u8::from(ends), stream, data).await;
    }

    /// Sends a whole response.
    pub(crate) async fn say(&mut self, stream: u32, body: &str) {
        self.fields(stream, &[(":status", "200")], false).await;
        self.data(stream, body.as_bytes(), true).await;
    }

    /// Answers the next request.
    pub(crate) async fn serve(&mut self, body: &str) {
        let stream = self.request().await;
        self.say(stream, body).await;
    }

    pub(crate) async fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes()).await;
    }

    pub(crate) async fn goaway(&mut self, last: u32, code: u32) {
        let payload = [last.to_be_bytes(), code.to_be_bytes()].concat();
        self.send(GOAWAY, 0, 0, &payload).await;
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header block without compression, and without a trace in the table (RFC 7541, 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A string's length, as an integer of a 7-bit prefix (RFC 7541, 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    if length < 127 {
        return block.push(u8::try_from(length).expect("below 127"));
    }
    block.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).expect("below 128") | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).expect("below 128"));
}
