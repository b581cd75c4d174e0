//! The task of one HTTP/2 connection: moves its bytes, and tells the pool what the peer says.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong};
use keepwarm_pool::{CloseReason, Closer};
use tokio::time::{Instant, Sleep};

use super::{Http2, as_limit};

/// Time after which a connection whose peer has not answered a ping is suspect. After twice the
/// time it is closed.
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Time that a connection without streams has to write its GOAWAY.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A ping under way.
struct AskedPing {
    since: Instant,
    /// Bytes received before the ping was sent.
    heard: u64,
    /// Leases of given-up streams, held until the ping is answered.
    _held: Vec<Box<dyn Any + Send>>,
}

/// The task of one connection. Dropped, because its runtime ended, it ends the connection.
pub(crate) struct Driver {
    http2: Arc<Http2>,
    /// `None` once the connection is closed.
    probe: Option<SendRequest<Bytes>>,
    pings: Option<PingPong>,
    streams: usize,
    /// A ping under way.
    asked: Option<AskedPing>,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Reason and closer, once the connection drains.
    away: Option<(CloseReason, Closer)>,
    has_ended: bool,
}

impl Driver {
    pub(super) fn new(
        http2: Arc<Http2>,
        probe: SendRequest<Bytes>,
        pings: Option<PingPong>,
        streams: usize,
    ) -> Self {
        Self {
            http2,
            probe: Some(probe),
            pings,
            streams,
            asked: None,
            alarm: None,
            away: None,
            has_ended: false,
        }
    }

    /// Tells the pool of the peer's new limit, and of its GOAWAY.
    fn look(&mut self, streams: usize, cx: &mut Context<'_>) {
        if streams != self.streams {
            self.streams = streams;
            self.http2.tell(|pool| pool.resized(as_limit(streams)));
        }
        let Some(probe) = &mut self.probe else { return };
        if self.away.is_none()
            && let Poll::Ready(Err(error)) = probe.poll_ready(cx)
        {
            self.http2.heed(&error);
            let (reason, closer) = match (error.is_go_away(), error.is_remote()) {
                (true, true) => (CloseReason::GoAway, Closer::Server),
                _ if error.reason().is_none() && !error.is_io() => {
                    (CloseReason::StreamIds, Closer::Client)
                }
                _ => (CloseReason::ExchangeFailed, Closer::Client),
            };
            self.away = Some((reason, closer));
            if self.http2.heard.farewell().is_some() {
                // A peer that has failed may leave its streams open, and say no more.
                self.http2.lock().wants_ping = true;
            }
            self.http2.tell(|pool| pool.draining(reason, closer));
        }
    }

    /// Sends a ping if one is wanted, and takes the answer to the last one. Returns true if the
    /// connection has to be polled again.
    fn ping(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(pings) = &mut self.pings else { return false };
        if self.asked.is_some()
            && let Poll::Ready(Ok(_)) = pings.poll_pong(cx)
        {
            // The leases held by the ping are returned here, outside of the lock.
            let answered = self.asked.take();
            self.alarm = None;
            drop(answered);
            let was_doubted = std::mem::take(&mut self.http2.lock().is_doubted);
            if was_doubted {
                self.http2.tell(|pool| pool.trusted());
            }
        }
        let mut state = self.http2.lock();
        if self.asked.is_some() || !state.wants_ping {
            return false;
        }
        if pings.send_ping(Ping::opaque()).is_err() {
            return false;
        }
        state.wants_ping = false;
        let held = std::mem::take(&mut state.given_up);
        drop(state);
        let heard = self.http2.heard();
        self.asked = Some(AskedPing { since: Instant::now(), heard, _held: held });
        self.alarm = Some(Box::pin(tokio::time::sleep(PING_TIMEOUT)));
        true
    }

    /// Makes the connection suspect when a ping has no answer in time, and gives it up after twice
    /// the time.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(alarm) = &mut self.alarm {
            ready!(alarm.as_mut().poll(cx));
            let Some(AskedPing { since, heard, .. }) = &mut self.asked else {
                return Poll::Pending;
            };
            let now = Instant::now();
            if self.http2.heard() != *heard {
                // Other bytes have come; the answer may follow them.
                (*since, *heard) = (now, self.http2.heard());
            } else if now.duration_since(*since) >= 2 * PING_TIMEOUT {
                return Poll::Ready(());
            } else {
                let is_new = !std::mem::replace(&mut self.http2.lock().is_doubted, true);
                if is_new {
                    self.http2.tell(|pool| pool.suspect());
                }
            }
            alarm.as_mut().reset(now + PING_TIMEOUT);
        }
        Poll::Pending
    }

    fn end(&mut self, reason: CloseReason, closer: Closer) {
        self.has_ended = true;
        let handles = self.http2.take_handles();
        let held = std::mem::take(&mut self.http2.lock().given_up);
        self.http2.tell(|pool| pool.ended(reason, closer));
        self.http2.shared.end();
        self.http2.heard.unblock();
        drop((handles, held, self.asked.take()));
    }

    fn end_by(&mut self, error: Option<&h2::Error>) {
        if let Some(error) = error {
            self.http2.heed(error);
        }
        if let (Some((reason, closer)), None) = (self.away, error) {
            // Its last stream has ended.
            return self.end(reason, closer);
        }
        let peer_has_ended = self.http2.heard.peer_has_ended();
        let (reason, closer) = match error {
            Some(error) if error.is_go_away() && error.is_remote() => {
                (CloseReason::GoAway, Closer::Server)
            }
            Some(error) if !error.is_io() => (CloseReason::ExchangeFailed, Closer::Client),
            _ if peer_has_ended => (CloseReason::PeerClosedIdle, Closer::Server),
            _ => (CloseReason::ExchangeFailed, Closer::Client),
        };
        self.end(reason, closer);
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.http2.shared.task.set(cx.waker());
        let is_closed = this.http2.lock().sender.is_none();
        if is_closed && this.probe.take().is_some() {
            this.pings = None;
            this.asked = None;
            this.alarm = Some(Box::pin(tokio::time::sleep(CLOSE_TIMEOUT)));
        }
        loop {
            let Some(seen) = this.http2.shared.poll() else { return Poll::Ready(()) };
            this.look(seen.streams, cx);
            if let Some(result) = seen.result {
                this.end_by(result.err().as_ref());
                return Poll::Ready(());
            }
            if !this.ping(cx) {
                break;
            }
        }
        if is_closed {
            // Without streams it ends in a moment; with lost ones it is cut.
            ready!(this.alarm.as_mut().map_or(Poll::Ready(()), |alarm| alarm.as_mut().poll(cx)));
            this.end(CloseReason::ShutDown, Closer::Client);
            return Poll::Ready(());
        }
        ready!(this.poll_silence(cx));
        this.http2.heard.give_up();
        this.end(CloseReason::PingTimeout, Closer::Client);
        Poll::Ready(())
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(CloseReason::ShutDown, Closer::Client);
        }
    }
}
