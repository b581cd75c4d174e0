//! One live connection: hyper's sender and driver, and the waker that observes the idle socket.
//!
//! hyper gives a sender and a driver; the driver is a future that must be polled for anything to
//! happen. The task that holds the lease polls it, so a request costs no wake-up of another task.
//! An idle connection is polled by no task: the driver is always polled with the connection's own
//! [`waker`](super::waker), which reports to the pool when the socket becomes ready. An idle socket
//! becomes ready for three reasons only: end of file, reset, and bytes that belong to no request.
//!
//! This module owns the bytes and the state of one exchange. It does not know which pool the
//! connection is in, nor what the request is for.

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

use super::body::Body;
use super::counted_stream::{CountedStream, Traffic, Witness};
use super::keep_alive;
use super::pending_response::{PendingResponse, Responded};
use super::waker::{ConnectionWaker, WakerOwner, without_wakeups};

/// Numbers connections across the whole process, from 1.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// An established HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    sender: http1::SendRequest<Body>,
    driver: Driver,
    response: PendingResponse,
    /// Client and server agreed that the current exchange is the last one.
    last_exchange: bool,
    /// Advice of the server, in the current exchange, on how long it keeps the connection.
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
    /// Bytes that had passed before the current exchange.
    before: Traffic,
    waker: WakerOwner,
}

/// hyper's future that moves the bytes.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a connection is boxed as a whole, and most of them run"
)]
enum Driver {
    Running(http1::Connection<TokioIo<CountedStream>, Body>),
    Ended(DriverEnd),
}

impl Driver {
    /// Polls the driver. Its end drops hyper's future, and with it a request that it has not begun,
    /// which [`poll_response`](Connection::poll_response) then returns. A future that was kept
    /// after its end would keep that request too.
    fn poll(&mut self, cx: &mut Context<'_>) {
        if let Self::Running(driver) = self
            && let Poll::Ready(result) = Pin::new(driver).poll(cx)
        {
            *self = Self::Ended(DriverEnd::of(&result));
        }
    }
}

/// Ways in which the driver ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverEnd {
    Cleanly,
    /// The socket failed, or the runtime that it is registered with is gone.
    BySocket {
        runtime_gone: bool,
    },
    /// The peer sent bytes that HTTP does not allow there.
    ByProtocol,
}

impl DriverEnd {
    fn of(result: &hyper::Result<()>) -> Self {
        let Err(error) = result else {
            return Self::Cleanly;
        };
        let io = std::error::Error::source(error)
            .and_then(|source| source.downcast_ref::<std::io::Error>());
        match io {
            // A socket's own errors have other kinds; tokio reports the end of a runtime as
            // `Other`.
            Some(io) => Self::BySocket { runtime_gone: io.kind() == std::io::ErrorKind::Other },
            None => Self::ByProtocol,
        }
    }
}

/// Reason why a connection cannot be kept, and the side that ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionEnd {
    pub(crate) reason: CloseReason,
    pub(crate) closer: Closer,
}

impl Connection {
    /// Starts HTTP/1.1 on a connected stream. Nothing is sent.
    pub(crate) async fn start(stream: CountedStream) -> hyper::Result<Self> {
        let witness = stream.witness();
        let (sender, driver) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            sender,
            driver: Driver::Running(driver),
            response: PendingResponse::none(),
            last_exchange: false,
            advice: None,
            withheld: false,
            is_http_1_0: false,
            framing_in_doubt: false,
            in_doubt: false,
            witness,
            before: Traffic::default(),
            waker: WakerOwner::new(),
        })
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) const fn waker(&self) -> &Arc<ConnectionWaker> {
        self.waker.target()
    }

    /// Returns the side that closed first, if this connection is dropped now.
    pub(crate) fn closer(&self) -> Closer {
        self.witness.closer()
    }

    /// Returns the bytes of the current exchange.
    pub(crate) fn traffic(&self) -> Traffic {
        self.witness.traffic().since(self.before)
    }

    /// Returns true if the request of the current exchange is with the kernel, its body included.
    pub(crate) fn request_is_written(&self) -> bool {
        self.traffic().written > 0 && self.witness.is_flushed()
    }

    /// Returns true if the socket ended the connection, and not a violation of the protocol.
    pub(crate) fn was_cut(&self) -> bool {
        self.closer() == Closer::Server
            || matches!(self.driver, Driver::Ended(DriverEnd::BySocket { .. }))
    }

    /// Queues one request. Its response comes only while the owner calls [`drive`](Self::drive).
    pub(crate) fn send(&mut self, mut request: http::Request<Body>) {
        self.last_exchange = says_close(request.headers());
        self.before = self.witness.traffic();
        request.body_mut().begin_upload(&self.witness);
        without_wakeups(|| self.response.send(&mut self.sender, request));
    }

    /// Returns the head of the response, after a [`drive`](Self::drive).
    pub(crate) fn poll_response(&mut self) -> Poll<Responded> {
        self.response.poll()
    }

    /// Returns true if a drive has panicked: the state of hyper's future is not known then.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Returns true if only the response of the current exchange is missing, and no part of it was
    /// taken yet.
    pub(crate) fn owes_response(&self) -> bool {
        self.response.is_pending()
            && !self.has_ended()
            && !self.in_doubt
            && self.request_is_written()
    }

    /// Moves bytes in both directions as far as possible without waiting. A caller that returns
    /// `Pending` afterwards calls [`wait`](Self::wait) first.
    pub(crate) fn drive(&mut self) {
        let cx = &mut self.waker.look();
        // The caller's code may panic in there: a listener for interim responses, or a body.
        self.in_doubt = true;
        self.driver.poll(cx);
        self.in_doubt = false;
    }

    /// Has the task of `cx` woken when a [`drive`](Self::drive) may find more than the last one
    /// did.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        self.waker.wait(cx);
    }

    /// Returns true if the exchange is over on the wire and the next request could be sent.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.driver, Driver::Running(_)) && self.sender.is_ready()
    }

    /// Returns true if the driver has ended.
    pub(crate) const fn has_ended(&self) -> bool {
        matches!(self.driver, Driver::Ended(_))
    }

    /// Returns true while the request of the current exchange is still being written.
    pub(crate) fn is_uploading(&self) -> bool {
        !self.has_ended() && !self.withheld && !self.request_is_written()
    }

    /// Records that the request body will not be sent, because the response came while the body
    /// waited for `100 Continue`. The request has no end then, and the connection serves no other
    /// one.
    pub(crate) const fn withhold(&mut self) {
        self.withheld = true;
    }

    /// Returns true if all that was given to the socket in the current exchange is with the kernel.
    pub(crate) fn has_flushed(&self) -> bool {
        self.traffic().written > 0 && self.witness.has_flushed()
    }

    /// Returns true if it is known already that no other exchange can follow.
    pub(crate) const fn is_on_last_exchange(&self) -> bool {
        self.last_exchange
    }

    /// Returns true if the server may understand chunks. A server that answered in HTTP/1.0 does
    /// not (RFC 9112, 6.1), and to such a server hyper would send a body of unknown length as an
    /// empty one.
    pub(crate) const fn takes_chunks(&self) -> bool {
        !self.is_http_1_0
    }

    /// Reads from a response head whether the connection persists after it (RFC 9112, 9.3).
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

    /// Takes the server's advice of the exchange that has ended.
    pub(crate) fn take_advice(&mut self) -> Option<Advice> {
        self.advice.take()
    }

    /// Makes the connection idle: from now on its waker notifies the pool. `Err` is the reason why
    /// the connection cannot be kept.
    ///
    /// Called before the pool knows of the return, and followed by [`ConnectionWaker::recheck`]
    /// when it does.
    pub(crate) fn suspend(&mut self) -> Result<(), ConnectionEnd> {
        // If hyper wants the next request, the last drive left nothing to do, and left its waker
        // with the socket. Unless the socket became ready since, another poll would find nothing.
        if self.waker.leave() || !self.is_ready() {
            self.driver.poll(&mut self.waker.context());
        }
        self.check()
    }

    /// Takes an idle connection into use. `Err` if its socket became ready meanwhile, and what was
    /// read ends the connection. A connection whose socket did not become ready costs no system
    /// call here.
    pub(crate) fn resume(&mut self) -> Result<(), ConnectionEnd> {
        if self.waker.take() {
            self.drive();
            self.check()?;
        }
        Ok(())
    }

    /// Checks that another exchange can follow now. `Err` is the reason why not.
    fn check(&self) -> Result<(), ConnectionEnd> {
        if self.is_ready() && !self.framing_in_doubt {
            return Ok(());
        }
        let closer = self.closer();
        let reason = match self.driver {
            Driver::Running(_) if self.framing_in_doubt => CloseReason::NotPersistent,
            Driver::Running(_) => CloseReason::UploadUnfinished,
            Driver::Ended(_) if self.last_exchange => CloseReason::NotPersistent,
            Driver::Ended(_) if closer == Closer::Server => CloseReason::PeerClosedIdle,
            Driver::Ended(DriverEnd::ByProtocol) => CloseReason::StrayBytes,
            Driver::Ended(DriverEnd::BySocket { runtime_gone: true }) => CloseReason::ShutDown,
            // Keep-alive probes went unanswered: the peer is gone, and sent no FIN.
            Driver::Ended(DriverEnd::BySocket { .. }) => CloseReason::PeerClosedIdle,
            Driver::Ended(DriverEnd::Cleanly) => CloseReason::NotPersistent,
        };
        Err(ConnectionEnd { reason, closer })
    }
}

pub(crate) fn says_close(headers: &http::HeaderMap) -> bool {
    connection_option(headers, "close")
}

fn says_keep_alive(headers: &http::HeaderMap) -> bool {
    connection_option(headers, "keep-alive")
}

/// Returns true if another reader of this head might see another end of the body: a length beside a
/// transfer coding, or `chunked` named other than once (RFC 9112, 6.1 and 6.3). hyper reads such a
/// response as chunked; an attacker may have smuggled in the bytes behind its end, so no later
/// response on the connection can be trusted.
fn framing_in_doubt(headers: &http::HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        && (headers.contains_key(CONTENT_LENGTH)
            || listed(headers, TRANSFER_ENCODING)
                .filter(|coding| coding.eq_ignore_ascii_case("chunked"))
                .count()
                != 1)
}

/// Returns true if `Connection` lists this option (RFC 9110, 7.6.1: a comma-separated list, any
/// case).
fn connection_option(headers: &http::HeaderMap, option: &str) -> bool {
    listed(headers, CONNECTION).any(|listed| listed.eq_ignore_ascii_case(option))
}

/// Returns the members of a field that is a comma-separated list.
fn listed(headers: &http::HeaderMap, name: http::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}
