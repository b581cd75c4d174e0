//! One live connection: HTTP/1.1 on its stream, and the waker that observes the idle socket.
//!
//! The task that holds the lease drives the connection, so a request costs no wake-up of another
//! task. An idle connection is polled by no task: its stream is always polled with the connection's
//! own [`waker`](super::waker), which reports to the pool when the socket becomes ready. An idle
//! socket becomes ready for three reasons only: end of file, reset, and bytes that belong to no
//! request.
//!
//! This module owns the state of one exchange. It does not know which pool the connection is in, nor
//! what the request is for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Frame;
use keepwarm_http1::fields::{KeepAlive, keep_alive};
use keepwarm_http1::{Asked, ResponseHead};
use keepwarm_pool::{Advice, CloseReason, Closer};

use super::body::Body;
use super::http1::{Death, Failure, Http1, Traffic};
use super::interim::InterimListener;
use super::peer::{PeerFacts, TlsInfo};
use super::stream::Stream;
use super::waker::{ConnectionWaker, WakerOwner};

/// Broken promise of a caller that asks for a head.
const NO_HEAD: &str = "the head is asked for when it is there";

/// Numbers connections across the whole process, from 1.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Returns the number of a new connection.
pub(crate) fn next_id() -> u64 {
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

/// An established HTTP/1.1 connection.
#[derive(Debug)]
pub(crate) struct Connection {
    id: u64,
    http1: Http1,
    response: Awaited,
    listener: Option<InterimListener>,
    /// Client and server agreed that the current exchange is the last one.
    last_exchange: bool,
    /// Advice of the server, in the current exchange, on how long it keeps the connection.
    advice: Option<Advice>,
    /// A drive is under way, or has panicked.
    in_doubt: bool,
    waker: WakerOwner,
    peer: PeerFacts,
}

/// The head of the response, from sending the request on.
#[derive(Debug)]
enum Awaited {
    /// No request was sent, or its head was taken.
    Nothing,
    Head,
    Here(ResponseHead),
    Failed(Failure),
}

/// Result of one request: the head of its response is there, or the exchange failed.
pub(crate) type Responded = Result<(), Failure>;

/// Reason why a connection cannot be kept, and the side that ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionEnd {
    pub(crate) reason: CloseReason,
    pub(crate) closer: Closer,
}

/// A request whose head has been written into [`Connection::head_buffer`].
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) asked: Asked,
    pub(crate) body: Body,
    pub(crate) is_chunked: bool,
    /// The body waits for `100 Continue`.
    pub(crate) is_held: bool,
    /// The request says that the connection ends after it.
    pub(crate) is_last: bool,
    pub(crate) listener: Option<InterimListener>,
}

impl Connection {
    /// Starts HTTP/1.1 on a connected stream. Nothing is sent.
    pub(crate) fn start(stream: Stream, peer: PeerFacts) -> Self {
        Self {
            id: next_id(),
            http1: Http1::new(stream),
            response: Awaited::Nothing,
            listener: None,
            last_exchange: false,
            advice: None,
            in_doubt: false,
            waker: WakerOwner::new(),
            peer,
        }
    }

    pub(crate) const fn id(&self) -> u64 {
        self.id
    }

    pub(crate) const fn remote_address(&self) -> Option<SocketAddr> {
        self.peer.address
    }

    pub(crate) const fn tls(&self) -> Option<&Arc<TlsInfo>> {
        self.peer.tls.as_ref()
    }

    pub(crate) const fn waker(&self) -> &Arc<ConnectionWaker> {
        self.waker.target()
    }

    /// Returns the side that closed first, if this connection is dropped now.
    pub(crate) const fn closer(&self) -> Closer {
        self.http1.closer()
    }

    /// Returns the bytes of the current exchange.
    pub(crate) const fn traffic(&self) -> Traffic {
        self.http1.traffic()
    }

    /// Returns the bytes that were read and are done with, from the start of the connection.
    pub(crate) fn consumed(&self) -> u64 {
        self.http1.consumed()
    }

    /// Returns true if the request of the current exchange is with the kernel, its body included.
    pub(crate) const fn request_is_written(&self) -> bool {
        self.http1.writer.is_complete()
    }

    /// Returns true if the socket ended the connection, and not a violation of the protocol.
    pub(crate) fn was_cut(&self) -> bool {
        self.closer() == Closer::Server
            || matches!(self.http1.death(), Some(Death::Socket { .. } | Death::Peer))
    }

    /// Returns the empty buffer for the head of the next request.
    pub(crate) fn head_buffer(&mut self) -> &mut Vec<u8> {
        self.http1.writer.begin()
    }

    /// Queues one request. Its response comes only while the owner calls [`drive`](Self::drive).
    pub(crate) fn send(&mut self, sending: Sending) {
        let Sending { asked, body, is_chunked, is_held, is_last, listener } = sending;
        self.http1.writer.set_body(body, is_chunked, is_held);
        self.http1.begin(asked);
        self.response = Awaited::Head;
        self.last_exchange = is_last;
        self.listener = listener;
    }

    /// Returns whether the head of the response is there, after a [`drive`](Self::drive). A failure is
    /// returned once.
    pub(crate) fn poll_response(&mut self) -> Poll<Responded> {
        match &self.response {
            Awaited::Here(_) => Poll::Ready(Ok(())),
            Awaited::Nothing | Awaited::Head => Poll::Pending,
            Awaited::Failed(_) => match std::mem::replace(&mut self.response, Awaited::Nothing) {
                Awaited::Failed(failure) => Poll::Ready(Err(failure)),
                _ => Poll::Pending,
            },
        }
    }

    /// Returns the head of the response, after [`poll_response`](Self::poll_response) has.
    pub(crate) fn head(&self) -> &ResponseHead {
        match &self.response {
            Awaited::Here(head) => head,
            _ => panic!("{NO_HEAD}"),
        }
    }

    /// Takes the head of the response, after [`poll_response`](Self::poll_response) has returned it.
    pub(crate) fn take_head(&mut self) -> ResponseHead {
        match std::mem::replace(&mut self.response, Awaited::Nothing) {
            Awaited::Here(head) => head,
            _ => panic!("{NO_HEAD}"),
        }
    }

    /// Returns the body of a request, if no frame of it was asked for.
    pub(crate) fn take_unsent(&mut self) -> Option<Body> {
        self.http1.writer.take_untouched()
    }

    /// Returns true if a drive has panicked: the state of the exchange is not known then.
    pub(crate) const fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// Returns true if only the response of the current exchange is missing, and no part of it was
    /// taken yet.
    pub(crate) fn owes_response(&self) -> bool {
        !matches!(self.response, Awaited::Nothing)
            && self.http1.death().is_none()
            && !self.in_doubt
            && self.request_is_written()
    }

    /// Moves bytes in both directions as far as possible without waiting: of the response up to the
    /// end of its head. A caller that returns `Pending` afterwards calls [`wait`](Self::wait) first.
    pub(crate) fn drive(&mut self) {
        if self.waker.look() {
            self.http1.disarm();
        }
        // The caller's code may panic in there: a listener for interim responses, or a body.
        self.in_doubt = true;
        self.read_head();
        self.write();
        self.in_doubt = false;
    }

    fn read_head(&mut self) {
        if !matches!(self.response, Awaited::Head) {
            return;
        }
        let cx = &mut self.waker.context();
        let listener = &self.listener;
        let polled = self.http1.poll_head(
            |writer, head| {
                if head.status == StatusCode::CONTINUE {
                    writer.release();
                }
                if let Some(listener) = listener {
                    listener.hear(head.status, &head.headers);
                }
            },
            cx,
        );
        match polled {
            Poll::Pending => {}
            Poll::Ready(Ok(head)) => {
                self.response = Awaited::Here(head);
                self.note_head();
            }
            Poll::Ready(Err(failure)) => self.response = Awaited::Failed(failure),
        }
    }

    /// Reads from a response head whether the connection persists after it.
    fn note_head(&mut self) {
        self.last_exchange |= !self.http1.persists();
        let advice =
            |KeepAlive { timeout, max }| Advice { idle_timeout: timeout, exchanges_left: max };
        let has_advice = self.http1.decoder().has_keep_alive();
        self.advice = if has_advice { keep_alive(&self.head().headers).map(advice) } else { None };
        self.listener = None;
        // A body that still waits for `100 Continue` is not wanted.
        if self.http1.writer.is_held() {
            self.http1.writer.give_up();
        }
    }

    fn write(&mut self) {
        let cx = &mut self.waker.context();
        let Poll::Ready(Err(failure)) = self.http1.poll_write(cx) else { return };
        if !matches!(self.response, Awaited::Head) {
            match failure {
                // The response stays readable.
                Failure::Io(_) => self.http1.writer.give_up(),
                failure => self.http1.break_off(failure),
            }
            return;
        }
        if matches!(failure, Failure::Io(_)) {
            // A response may have arrived before the peer broke the request off.
            self.http1.disarm();
            self.read_head();
            if matches!(self.response, Awaited::Here(_)) {
                self.http1.writer.give_up();
                return;
            }
        }
        let failure = self.http1.die(failure);
        self.response = Awaited::Failed(failure);
    }

    /// Has the task of `cx` woken when a [`drive`](Self::drive) may find more than the last one
    /// did.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        self.waker.wait(cx);
    }

    /// Reads the next frame of the response's body, and writes what is left of the request.
    pub(crate) fn poll_frame(&mut self) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        if self.waker.look() {
            self.http1.disarm();
        }
        if self.http1.writer.is_active() {
            self.in_doubt = true;
            self.write();
            self.in_doubt = false;
        }
        self.http1.poll_frame(&mut self.waker.context())
    }

    /// Returns a failure of the request that its response has not been told.
    pub(crate) fn take_failure(&mut self) -> Option<Failure> {
        self.http1.take_failure()
    }

    /// Returns the next frame of the response's body, if its bytes have been read.
    pub(crate) fn buffered_frame(&mut self) -> Option<Frame<Bytes>> {
        self.http1.buffered_frame()
    }

    /// Returns the bytes of the body that are still to be taken; `None` if that is not known.
    pub(crate) const fn length_left(&self) -> Option<u64> {
        self.http1.decoder().length_left()
    }

    /// Returns true if every byte of the response has been taken.
    pub(crate) fn response_is_complete(&self) -> bool {
        self.http1.decoder().is_complete()
    }

    /// Returns true if the exchange is over on the wire and the next request could be sent.
    pub(crate) fn is_ready(&self) -> bool {
        self.http1.death().is_none()
            && self.response_is_complete()
            && self.request_is_written()
            && !self.last_exchange
    }

    /// Returns true if no byte passes any more: the connection is dead, or its last response is
    /// complete.
    pub(crate) fn has_ended(&self) -> bool {
        self.http1.death().is_some() || (self.last_exchange && self.response_is_complete())
    }

    /// Returns true while the request of the current exchange is still being written.
    pub(crate) fn is_uploading(&self) -> bool {
        !self.has_ended() && self.http1.writer.is_active()
    }

    /// Returns true while the body waits for `100 Continue`.
    pub(crate) const fn is_held(&self) -> bool {
        self.http1.writer.is_held()
    }

    /// Lets the body go that waits for `100 Continue`.
    pub(crate) fn release(&mut self) {
        self.http1.writer.release();
    }

    /// Returns true if all that was given to the socket in the current exchange is with the kernel.
    pub(crate) const fn has_flushed(&self) -> bool {
        self.http1.writer.has_flushed()
    }

    /// Returns true if it is known already that no other exchange can follow.
    pub(crate) const fn is_on_last_exchange(&self) -> bool {
        self.last_exchange
    }

    /// Returns true if the server may understand chunks. A server that answered in HTTP/1.0 does
    /// not (RFC 9112, 6.1).
    pub(crate) const fn takes_chunks(&self) -> bool {
        !self.http1.decoder().is_http_1_0()
    }

    /// Returns what has been read and the stream, once the response has switched protocols.
    pub(crate) const fn switched(&mut self) -> (&mut BytesMut, &mut Stream) {
        self.http1.switched()
    }

    /// Notes that the peer has ended its side of a connection that switched protocols.
    pub(crate) const fn note_peer_end(&mut self) {
        self.http1.note_peer_end();
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
        if self.waker.leave() {
            self.http1.disarm();
        }
        if let Err(end) = self.check() {
            self.http1.shut_down();
            return Err(end);
        }
        // A stream whose last read found nothing has the waker already.
        self.http1.poll_idle(&mut self.waker.context());
        self.check()
    }

    /// Takes an idle connection into use. `Err` if its socket became ready meanwhile, and what was
    /// read ends the connection. A connection whose socket did not become ready costs no system
    /// call here.
    pub(crate) fn resume(&mut self) -> Result<(), ConnectionEnd> {
        if self.waker.take() {
            self.http1.disarm();
            self.http1.poll_idle(&mut self.waker.context());
            self.check()?;
        }
        Ok(())
    }

    /// Checks that another exchange can follow now. `Err` is the reason why not.
    fn check(&self) -> Result<(), ConnectionEnd> {
        let closer = self.closer();
        let reason = match self.http1.death() {
            _ if self.last_exchange => CloseReason::NotPersistent,
            None if self.http1.has_surplus() => CloseReason::StrayBytes,
            None if !self.request_is_written() => CloseReason::UploadUnfinished,
            None if !self.response_is_complete() => CloseReason::Abandoned,
            None => return Ok(()),
            Some(_) if closer == Closer::Server => CloseReason::PeerClosedIdle,
            Some(Death::Protocol) => CloseReason::StrayBytes,
            Some(Death::Socket { runtime_gone: true }) => CloseReason::ShutDown,
            // Keep-alive probes went unanswered: the peer is gone, and sent no FIN.
            Some(Death::Socket { .. } | Death::Peer) => CloseReason::PeerClosedIdle,
            Some(Death::Body) => CloseReason::NotPersistent,
        };
        Err(ConnectionEnd { reason, closer })
    }
}
