//! One live connection: hyper's two halves, and the watch that is kept on it.
//!
//! hyper gives a sender and a driver; the driver is a future that must be polled for anything to
//! happen. Whoever holds the lease polls it, so a request costs no wake-up of another task. While
//! the connection is idle nobody polls: the [`watch`](crate::wire::waker), whose waker the driver is always
//! polled with, tells the keeper when the socket has something to say. An idle socket has only three
//! things to say: end of file, reset, and bytes that belong to no request.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use keepwarm_pool::{Advice, CloseReason, Closer};

use crate::pool::keeper::Keeper;
use crate::wire::body::Body;
use crate::wire::counted_stream::{Traffic, Wire, Witness};
use crate::wire::keep_alive;
use crate::wire::pending_response::{Replied, Reply};
use crate::wire::waker::{Watch, Watcher, quietly};

/// Numbers connections across the whole process, from 1.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An established HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    sender: http1::SendRequest<Body>,
    driver: Driver,
    reply: Reply,
    /// Client and server agreed that the current exchange is the last one.
    last_exchange: bool,
    /// What the server said in the current exchange of how long it keeps the connection.
    advice: Option<Advice>,
    /// The body of the current request was not sent, and will not be.
    withheld: bool,
    /// The server's last response was in HTTP/1.0.
    is_http_1_0: bool,
    /// Server and client may disagree on where a response ended.
    framing_in_doubt: bool,
    /// A drive is under way, or has panicked.
    in_doubt: bool,
    witness: Witness,
    /// What had passed before the current exchange.
    before: Traffic,
    watcher: Watcher,
}

/// hyper's half that moves the bytes.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a connection is boxed as a whole, and most of them run"
)]
enum Driver {
    Running(http1::Connection<TokioIo<Wire>, Body>),
    Ended(Ended),
}

impl Driver {
    /// Its end drops hyper's future, and with it a request that it has not begun: its
    /// [`reply`](Connection::poll_reply) gets it back. One that has ended and is kept would keep it too.
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::Running(driver) = self
            && let Poll::Ready(result) = Pin::new(driver).poll(cx)
        {
            *self = Self::Ended(Ended::of(&result));
        }
    }
}

/// How the driver ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Cleanly,
    /// The socket failed, or the runtime that it is registered with is gone.
    BySocket {
        runtime_gone: bool,
    },
    /// The peer sent what HTTP does not allow there.
    ByProtocol,
}

impl Ended {
    fn of(result: &hyper::Result<()>) -> Self {
        let Err(error) = result else {
            return Self::Cleanly;
        };
        let io = std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<std::io::Error>());
        match io {
            // A socket's own errors have kinds of their own; tokio reports the end of a runtime so.
            Some(io) => Self::BySocket { runtime_gone: io.kind() == std::io::ErrorKind::Other },
            None => Self::ByProtocol,
        }
    }
}

/// Why a connection cannot be kept, and who ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) reason: CloseReason,
    pub(crate) closer: Closer,
}

impl Connection {
    /// Starts HTTP/1.1 on a connected stream. Nothing is sent.
    pub(crate) async fn start(wire: Wire, keeper: Arc<Keeper>) -> hyper::Result<Self> {
        let witness = wire.witness();
        let (sender, driver) = http1::Builder::new().handshake(TokioIo::new(wire)).await?;
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            sender,
            driver: Driver::Running(driver),
            reply: Reply::none(),
            last_exchange: false,
            advice: None,
            withheld: false,
            is_http_1_0: false,
            framing_in_doubt: false,
            in_doubt: false,
            witness,
            before: Traffic::default(),
            watcher: Watcher::new(keeper),
        })
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn watch(&self) -> &Arc<Watch> {
        self.watcher.watch()
    }

    /// Who closed first, if this connection is dropped now.
    pub(crate) fn closer(&self) -> Closer {
        self.witness.closer()
    }

    /// Bytes of the current exchange.
    pub(crate) fn traffic(&self) -> Traffic {
        self.witness.traffic().since(self.before)
    }

    /// Whether the request of the current exchange is with the kernel, its body included.
    pub(crate) fn request_is_written(&self) -> bool {
        self.traffic().written > 0 && self.witness.is_flushed()
    }

    /// Whether the socket ended the connection, and not what was said on it.
    pub(crate) fn was_cut(&self) -> bool {
        self.closer() == Closer::Server
            || matches!(self.driver, Driver::Ended(Ended::BySocket { .. }))
    }

    /// Queues one request. Its reply comes while somebody calls [`drive`](Self::drive).
    pub(crate) fn send(&mut self, mut request: http::Request<Body>) {
        self.last_exchange = says_close(request.headers());
        self.before = self.witness.traffic();
        request.body_mut().begin_upload(&self.witness);
        quietly(|| self.reply.send(&mut self.sender, request));
    }

    /// The head of the response, after a [`drive`](Self::drive).
    pub(crate) fn poll_reply(&mut self) -> Poll<Replied> {
        self.reply.poll()
    }

    /// Whether a drive has panicked: what hyper would do next is anybody's guess.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Whether nothing is left of the current exchange but its response, not a byte of which anybody
    /// has taken.
    pub(crate) fn owes_reply(&self) -> bool {
        self.reply.is_owed() && !self.has_ended() && !self.in_doubt && self.request_is_written()
    }

    /// Lets bytes flow, until the connection ends. Who returns `Pending` after it calls
    /// [`wait`](Self::wait) before.
    pub(crate) fn drive(&mut self) {
        let cx = &mut self.watcher.look();
        // A caller's code may panic in there, an observer's of interim responses or a body's.
        self.in_doubt = true;
        self.driver.poll(cx);
        self.in_doubt = false;
    }

    /// Has the task of `cx` woken when a [`drive`](Self::drive) may find more than the last one did.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        self.watcher.wait(cx);
    }

    /// Whether the exchange is over on the wire and the next request could be sent.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.driver, Driver::Running(_)) && self.sender.is_ready()
    }

    /// Whether nothing will happen on it any more.
    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self.driver, Driver::Ended(_))
    }

    /// Whether the request of the current exchange is still being written.
    pub(crate) fn is_uploading(&self) -> bool {
        !self.has_ended() && !self.withheld && !self.request_is_written()
    }

    /// The response is there, and the body that waited for leave to be sent does not go. So the
    /// request has no end, and the connection serves no other one.
    pub(crate) const fn withhold(&mut self) {
        self.withheld = true;
    }

    /// Whether all that was given to the socket in the current exchange is with the kernel.
    pub(crate) fn has_flushed(&self) -> bool {
        self.traffic().written > 0 && self.witness.has_flushed()
    }

    /// Whether it is known already that no other exchange can follow.
    pub(crate) const fn is_on_last_exchange(&self) -> bool {
        self.last_exchange
    }

    /// Whether the server may understand chunks. One that answered in HTTP/1.0 does not (RFC 9112,
    /// 6.1), and to such a one hyper would send a body of unknown length as none at all.
    pub(crate) const fn takes_chunks(&self) -> bool {
        !self.is_http_1_0
    }

    /// Learns from a response head whether the connection is meant to live on (RFC 9112, 9.3).
    pub(crate) fn note_response(&mut self, response: &http::Response<Incoming>) {
        let headers = response.headers();
        // Neither a length nor chunks, and yet a body: it ends with the connection (RFC 9112, 6.3).
        let length_known = http_body::Body::size_hint(response.body()).exact().is_some()
            || headers.contains_key(TRANSFER_ENCODING)
            || headers.contains_key(CONTENT_LENGTH);
        self.last_exchange |= says_close(headers)
            || !length_known
            || (response.version() < http::Version::HTTP_11 && !says_keep_alive(headers));
        self.is_http_1_0 = response.version() < http::Version::HTTP_11;
        self.advice = keep_alive::read(headers);
        self.framing_in_doubt |= framing_in_doubt(headers);
    }

    /// What the server said in the exchange that has ended. Once.
    pub(crate) fn take_advice(&mut self) -> Option<Advice> {
        self.advice.take()
    }

    /// Leaves the connection to its watch. `Err` says why it cannot be kept.
    ///
    /// To be called before the pool is told, and followed by [`Watch::recheck`] after.
    pub(crate) fn park(&mut self) -> Result<(), End> {
        // The last drive left nothing to do if hyper wants the next request, and left its waker with
        // the socket. Unless something has happened since, another one would find nothing.
        if self.watcher.leave() || !self.is_ready() {
            self.driver.poll(&mut self.watcher.context());
        }
        self.check()
    }

    /// Takes the connection back from its watch. `Err` if the socket has spoken meanwhile and what it
    /// said ends the connection; a connection that says nothing costs no system call here.
    pub(crate) fn unpark(&mut self) -> Result<(), End> {
        if self.watcher.take() {
            self.drive();
            self.check()?;
        }
        Ok(())
    }

    /// Whether another exchange can follow now; why not, if not.
    fn check(&self) -> Result<(), End> {
        if self.is_ready() && !self.framing_in_doubt {
            return Ok(());
        }
        let closer = self.closer();
        let reason = match self.driver {
            Driver::Running(_) if self.framing_in_doubt => CloseReason::NotPersistent,
            Driver::Running(_) => CloseReason::UploadUnfinished,
            Driver::Ended(_) if self.last_exchange => CloseReason::NotPersistent,
            Driver::Ended(_) if closer == Closer::Server => CloseReason::PeerClosedIdle,
            Driver::Ended(Ended::ByProtocol) => CloseReason::StrayBytes,
            Driver::Ended(Ended::BySocket { runtime_gone: true }) => CloseReason::ShutDown,
            // Keep-alive probes went unanswered: the peer is gone, though it did not say so.
            Driver::Ended(Ended::BySocket { .. }) => CloseReason::PeerClosedIdle,
            Driver::Ended(Ended::Cleanly) => CloseReason::NotPersistent,
        };
        Err(End { reason, closer })
    }
}

pub(crate) fn says_close(headers: &http::HeaderMap) -> bool {
    connection_option(headers, "close")
}

fn says_keep_alive(headers: &http::HeaderMap) -> bool {
    connection_option(headers, "keep-alive")
}

/// Whether another reader of this head might see another end of the body: a length beside a transfer
/// coding, or `chunked` named other than once (RFC 9112, 6.1 and 6.3). hyper reads such a response
/// as chunked; what stands behind its end may be what somebody smuggled in, so no later response on
/// the connection can be trusted.
fn framing_in_doubt(headers: &http::HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        && (headers.contains_key(CONTENT_LENGTH)
            || listed(headers, TRANSFER_ENCODING)
                .filter(|coding| coding.eq_ignore_ascii_case("chunked"))
                .count()
                != 1)
}

/// Whether `Connection` lists this option (RFC 9110, 7.6.1: a comma-separated list, any case).
fn connection_option(headers: &http::HeaderMap, option: &str) -> bool {
    listed(headers, CONNECTION).any(|listed| listed.eq_ignore_ascii_case(option))
}

/// The members of a field that is a comma-separated list.
fn listed(headers: &http::HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}
