//! HTTP/2 on a stream: one connection, shared by the requests that are its streams.
//!
//! Owns the preface, the peer's settings, pings, and the account of streams that were given up. A
//! task of its own, the [`Driver`], moves the bytes. Does not know which pool the connection is in:
//! what the pool has to know is said to a [`Listener`]. Never queues a request: the pool's queue is
//! the only one, so a request is handed over when the peer allows its stream.

mod driver;
mod guard;
mod hpack;
mod io;
mod shared;
mod stream;

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future as _;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use keepwarm_pool::{CloseReason, Closer};
use tokio::time::Instant;

pub(crate) use self::driver::Driver;
use self::guard::Farewell;
use self::io::{Counted, Heard};
use self::shared::SharedConnection;
pub(crate) use self::stream::{Http2Stream, StreamFailure};
use super::connection::next_id;
use super::peer::PeerFacts;
use super::stream::Stream;
use crate::error::{Error, Kind, Result, Stage};

/// Window of one stream: bytes that its peer may send ahead of the reader. `h2` gives back what was read
/// once it is a third of the window, so at least two thirds, Go's 4 MiB, can be used at any time.
const STREAM_WINDOW: u32 = 6 << 20;
/// Limit on the header list of a response, by the count of RFC 9113, 6.5.2.
const MAX_HEADER_LIST: u32 = 1 << 20;
/// Bytes that `h2` may spend on the bookkeeping of small DATA frames that are not read, for each byte of
/// `max_unread`. Beyond it `h2` ends the connection; by default that is half a byte, which slow readers
/// of small messages exceed.
const BOOKKEEPING: usize = 4;
/// The stream limit of a peer whose settings have not come.
const NO_SETTINGS: usize = usize::MAX - 1;
/// Limit on the streams given up in [`RESET_SPAN`]: half of what servers commonly take for an attack
/// (200 in 30 s).
const MAX_RESETS: usize = 100;
const RESET_SPAN: Duration = Duration::from_secs(30);
/// Silence of the peer after which the next request sends a ping beside it.
const SILENCE: Duration = Duration::from_secs(15);

/// Limit on the spare handles of a connection: about as many as threads hand requests over at once.
const MAX_SPARE: usize = 8;

/// Header list of a request from which on a server may take less: nginx ends a connection at a field of 8 KiB,
/// which may be compressed.
const LARGE_HEAD: usize = 4 << 10;
/// Limit on the streams that are remembered for a large head.
const MAX_LARGE: usize = 16;
/// Bytes that each field of a header list counts beyond its name and value (RFC 9113, 6.5.2).
const OVERHEAD: usize = 32;

/// What keeps a connection open besides its streams: its handles, and a stream that was parked.
type Handles = (Option<SendRequest<Bytes>>, Vec<SendRequest<Bytes>>, Option<RecvStream>);

/// Parts of the pool that a connection speaks to.
pub(crate) trait Listener: Send + Sync {
    /// The peer allows `streams` streams at once from now on.
    fn resized(&self, streams: u32);
    /// The connection takes no new request.
    fn draining(&self, reason: CloseReason, closer: Closer);
    /// The peer asks for a pause before the next dial.
    fn calm(&self);
    /// The peer may be gone.
    fn suspect(&self);
    /// The peer was heard.
    fn trusted(&self);
    /// The connection has ended.
    fn ended(&self, reason: CloseReason, closer: Closer);
}

/// An established HTTP/2 connection.
pub(crate) struct Http2 {
    id: u64,
    peer: PeerFacts,
    heard: Arc<Heard>,
    shared: SharedConnection,
    listener: OnceLock<Box<dyn Listener>>,
    state: Mutex<Http2State>,
}

struct Http2State {
    /// `None` once the connection is closed: without it the driver ends the connection in order.
    sender: Option<SendRequest<Bytes>>,
    /// Copies of it that no request uses. To make one and to drop one takes a lock of the connection's.
    spare: Vec<SendRequest<Bytes>>,
    /// Leases of streams that were given up, held until the peer has provably seen the reset.
    given_up: Vec<Box<dyn Any + Send>>,
    resets: VecDeque<Instant>,
    wants_ping: bool,
    is_doubted: bool,
    /// The peer has asked for calm, and the pool was told.
    is_calmed: bool,
    /// The end of a lone request's stream, which was read. Its drop wakes the task, and the task has
    /// nothing to do then: so the next request drops it, beside what it hands over itself.
    parked: Option<RecvStream>,
    /// The last streams whose requests have large heads.
    large: VecDeque<u32>,
}

/// A connection whose peer has sent its settings, and the task that has to be spawned for it.
pub(crate) struct Started {
    pub(crate) connection: Arc<Http2>,
    pub(crate) driver: Driver,
    pub(crate) streams: u32,
}

impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Starts HTTP/2 on a connected stream, and waits for the settings of its peer: so no request is
/// sent that the peer does not allow.
pub(crate) async fn start(stream: Stream, peer: PeerFacts, max_unread: u32) -> Result<Started> {
    let heard = Arc::new(Heard::new());
    let io = Counted::new(stream, Arc::clone(&heard));
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW.min(max_unread))
        .initial_connection_window_size(max_unread)
        .data_frame_budget(BOOKKEEPING * max_unread as usize)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_max_send_streams(NO_SETTINGS)
        .max_concurrent_reset_streams(4 * MAX_RESETS)
        .reset_stream_duration(RESET_SPAN)
        .max_local_error_reset_streams(None);
    let shaken = builder.handshake::<_, Bytes>(io).await;
    let (sender, mut connection) = shaken.map_err(|error| refused(Some(error), &heard))?;
    let ping_pong = connection.ping_pong();
    std::future::poll_fn(|cx| {
        let polled = std::pin::Pin::new(&mut connection).poll(cx);
        if connection.max_concurrent_send_streams() != NO_SETTINGS {
            return Poll::Ready(Ok(()));
        }
        match polled {
            Poll::Ready(result) => Poll::Ready(Err(refused(result.err(), &heard))),
            Poll::Pending => Poll::Pending,
        }
    })
    .await?;
    let streams = connection.max_concurrent_send_streams();
    let state = Http2State {
        sender: Some(sender.clone()),
        spare: Vec::new(),
        given_up: Vec::new(),
        resets: VecDeque::new(),
        wants_ping: false,
        is_doubted: false,
        is_calmed: false,
        parked: None,
        large: VecDeque::new(),
    };
    let http2 = Arc::new(Http2 {
        id: next_id(),
        peer,
        heard,
        shared: SharedConnection::new(connection),
        listener: OnceLock::new(),
        state: Mutex::new(state),
    });
    let driver = Driver::new(Arc::clone(&http2), sender, ping_pong, streams);
    Ok(Started { connection: http2, driver, streams: as_limit(streams) })
}

/// Returns the size of a request's header list, by the count of RFC 9113, 6.5.2.
pub(crate) fn header_list_size(request: &http::Request<()>) -> usize {
    let uri = request.uri();
    let own = [
        (":method", request.method().as_str()),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (":authority", uri.authority().map_or("", |authority| authority.as_str())),
        (":path", uri.path_and_query().map_or("", |target| target.as_str())),
    ];
    let own = own.iter().map(|(name, value)| name.len() + value.len());
    let headers = request.headers().iter();
    let others = headers.map(|(name, value)| name.as_str().len() + value.len());
    own.chain(others).map(|length| length + OVERHEAD).sum()
}

fn as_limit(streams: usize) -> u32 {
    u32::try_from(streams).unwrap_or(u32::MAX)
}

/// Error of a peer that does not begin as HTTP/2 does.
fn refused(error: Option<h2::Error>, heard: &Heard) -> Error {
    if heard.begins_as_http1() {
        return Error::new(Stage::Connect, Kind::NotHttp2)
            .with_message("the server answers in HTTP/1 to a client that speaks HTTP/2 only");
    }
    let closed = "the server closed the connection instead of beginning HTTP/2";
    let Some(error) = error else { return Error::failed(Stage::Connect, closed) };
    if error.is_io() {
        return Error::failed(Stage::Connect, error).with_message(closed);
    }
    Error::new(Stage::Connect, Kind::NotHttp2)
        .with_message(format!("the server does not begin as HTTP/2 does: {error}"))
}

impl Http2 {
    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) const fn peer(&self) -> &PeerFacts {
        &self.peer
    }

    /// Returns the bytes that were read from the peer.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.bytes()
    }

    /// Returns the longest header list that the peer takes, by the count of RFC 9113, 6.5.2; `u32::MAX` if
    /// it has set no limit.
    pub(crate) fn max_header_list(&self) -> u32 {
        self.heard.max_header_list()
    }

    /// Sets the pool's listener, once.
    pub(crate) fn attach(&self, listener: Box<dyn Listener>) {
        let first = self.listener.set(listener).is_ok();
        debug_assert!(first, "a connection is in one pool");
    }

    fn tell(&self, say: impl FnOnce(&dyn Listener)) {
        if let Some(listener) = self.listener.get() {
            say(&**listener);
        }
    }

    /// Ends the connection in order: without streams it says GOAWAY and closes.
    pub(crate) fn close(&self) {
        drop(self.take_handles());
        self.shared.task.wake_task();
    }

    /// Takes what keeps the connection open besides its streams.
    fn take_handles(&self) -> Handles {
        let mut state = self.lock();
        (state.sender.take(), std::mem::take(&mut state.spare), state.parked.take())
    }

    /// Returns a handle to send one request with, and the stream that was parked; `None` if the
    /// connection is closed. After a long silence of the peer, a ping is sent beside it.
    fn sender(&self) -> Option<(SendRequest<Bytes>, Option<RecvStream>)> {
        let mut state = self.lock();
        if self.heard.silent_for() >= SILENCE {
            state.wants_ping = true;
        }
        let parked = state.parked.take();
        let sender = match state.spare.pop() {
            Some(spare) => spare,
            None => state.sender.clone()?,
        };
        Some((sender, parked))
    }

    /// Keeps a handle for the next request, unless its stream waits until the peer allows it: that is
    /// cancelled when its caller drops it, and the handle would hold it.
    fn give_back(&self, mut sender: SendRequest<Bytes>) {
        if !matches!(
            sender.poll_ready(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(Ok(()))
        ) {
            return;
        }
        let mut state = self.lock();
        if state.sender.is_some() && state.spare.len() < MAX_SPARE {
            state.spare.push(sender);
        } else {
            drop(state);
            drop(sender);
        }
    }

    /// Keeps a stream that was read to its end until the next request, or the end of the connection.
    fn park(&self, stream: RecvStream) {
        let mut state = self.lock();
        let dropped = match state.sender {
            Some(_) => state.parked.replace(stream),
            None => Some(stream),
        };
        drop(state);
        drop(dropped);
    }

    /// Holds something for a stream that was given up, until the peer has provably seen the reset.
    /// After many of them the connection is drained.
    pub(crate) fn give_up(&self, held: Box<dyn Any + Send>) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.sender.is_none() {
            drop(state);
            return drop(held);
        }
        state.given_up.push(held);
        state.wants_ping = true;
        while state.resets.front().is_some_and(|at| now.duration_since(*at) >= RESET_SPAN) {
            state.resets.pop_front();
        }
        state.resets.push_back(now);
        let is_spent = state.resets.len() >= MAX_RESETS;
        drop(state);
        self.shared.task.wake_task();
        if is_spent {
            self.tell(|pool| pool.draining(CloseReason::ResetBudget, Closer::Client));
        }
    }

    /// Sends a ping, because a request has heard nothing of the peer: the connection is suspect
    /// until the peer is heard.
    pub(crate) fn doubt(&self) {
        let mut state = self.lock();
        let is_new = !std::mem::replace(&mut state.is_doubted, true);
        state.wants_ping = true;
        drop(state);
        if is_new {
            self.tell(|pool| pool.suspect());
        }
        self.shared.task.wake_task();
    }

    /// Notes a stream whose request has a large head.
    #[cold]
    fn note_large(&self, stream: u32) {
        let mut state = self.lock();
        if state.large.len() >= MAX_LARGE {
            state.large.pop_front();
        }
        state.large.push_back(stream);
    }

    /// Tells the pool, once, if the peer has ended the connection because its client does too much, unless
    /// that is about the large head that it read last. Called before the failure leads to another dial.
    fn heed(&self, error: &h2::Error) {
        let asks = error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
            && error.is_go_away()
            && error.is_remote();
        if !asks {
            return;
        }
        let farewell = self.heard.farewell();
        let mut state = self.lock();
        let blames = |said: Farewell, large| said.is_last(large) || said.begins_at(large);
        let is_about_head = |said| state.large.iter().any(|large| blames(said, *large));
        let is_new = !farewell.is_some_and(is_about_head) && !state.is_calmed;
        state.is_calmed |= is_new;
        drop(state);
        if is_new {
            self.tell(|pool| pool.calm());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Http2State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
