//! Reading what is left of a response that nobody wants any more, or all of it, so that its connection
//! can go back to the pool instead of being closed.
//!
//! It costs reading, so it is bounded, as in Go 1.27 (`maxPostCloseReadBytes`,
//! `maxPostCloseReadTime`): what is larger or slower than this is closed as abandoned. Go reads the
//! rest of a body; the response to a request that was dropped before its head, or ran out of time, is
//! read here too. Each such reading holds a connection, so there are never more of them than
//! connections.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use keepwarm_pool::CloseReason;
use tokio::runtime::Handle;

use crate::deadline::Deadline;
use crate::pool::lease::Lease;
use crate::pool::origin::Origin;
use crate::wire::pending_response::Replied;
use crate::wire::waker::quietly;

/// What may be left to be read of a body that is dropped: 256 KiB.
const MAX_DRAINED_BYTES: u64 = 256 << 10;
/// How long reading it may take, and how long the head of a response may take before that.
const MAX_DRAIN_TIME: Duration = Duration::from_millis(50);

/// The end of a response, which is being read for nobody.
struct Rest {
    lease: Lease,
    incoming: Incoming,
    left: u64,
    /// Nothing is left of the response; what is missing is the end of the request.
    complete: bool,
    /// Whether somebody was given this body, and left it unread.
    was_given: bool,
}

/// Reads the rest of a response and gives its connection back: at once what has arrived, in a task
/// of its own what has not. Without a runtime to spawn it on, the connection is closed.
pub(crate) fn drain(lease: Lease, incoming: Incoming) {
    drain_body(lease, incoming, true);
}

fn drain_body(mut lease: Lease, incoming: Incoming, was_given: bool) {
    // Dropping the lease closes the connection as abandoned.
    if !is_worth_it(&mut lease) {
        return;
    }
    let too_large = incoming.size_hint().lower() > MAX_DRAINED_BYTES;
    let mut rest = Rest { lease, incoming, left: MAX_DRAINED_BYTES, complete: false, was_given };
    if too_large {
        return rest.end(Err(CloseReason::Abandoned));
    }
    match rest.poll() {
        Poll::Ready(end) => rest.end(end),
        Poll::Pending => match Handle::try_current() {
            Ok(runtime) => {
                let draining = Draining::begin(&rest.lease);
                runtime.spawn(rest.finish(draining));
            }
            Err(_) => rest.end(Err(CloseReason::Abandoned)),
        },
    }
}

/// Waits for a response that nobody waits for any more, and then reads it, if it comes soon and is
/// small. Its request has been sent.
pub(crate) fn drain_reply(mut lease: Lease) {
    if !is_worth_it(&mut lease) {
        return;
    }
    match poll_reply(&mut lease) {
        Poll::Ready(replied) => end_reply(lease, replied),
        Poll::Pending => {
            // Without a runtime the lease is dropped, and its connection closed.
            if let Ok(runtime) = Handle::try_current() {
                let draining = Draining::begin(&lease);
                runtime.spawn(finish_reply(lease, draining));
            }
        }
    }
}

fn is_worth_it(lease: &mut Lease) -> bool {
    let connection = lease.connection();
    !connection.is_on_last_exchange()
        && !connection.is_in_doubt()
        && !lease.origin().has_shut_down()
}

async fn finish_reply(mut lease: Lease, draining: Draining) {
    let mut deadline = Deadline::after(Some(MAX_DRAIN_TIME));
    let replied = poll_fn(|cx| {
        // The clock first, for a peer that always has something to say.
        if deadline.has_passed() {
            return Poll::Ready(None);
        }
        match poll_reply(&mut lease) {
            Poll::Ready(replied) => Poll::Ready(Some(replied)),
            Poll::Pending if deadline.poll_expired(cx) => Poll::Ready(None),
            Poll::Pending => {
                lease.connection().wait(cx);
                Poll::Pending
            }
        }
    })
    .await;
    drop(draining);
    match replied {
        Some(replied) => end_reply(lease, replied),
        None => close(lease, CloseReason::Abandoned),
    }
}

fn poll_reply(lease: &mut Lease) -> Poll<Replied> {
    let connection = lease.connection();
    connection.drive();
    connection.poll_reply()
}

fn end_reply(mut lease: Lease, replied: Replied) {
    match replied {
        Ok(response) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
            lease.connection().note_response(&response);
            drain_body(lease, response.into_body(), false);
        }
        _ => close(lease, CloseReason::ExchangeFailed),
    }
}

fn close(mut lease: Lease, reason: CloseReason) {
    let closer = lease.connection().closer();
    lease.close(reason, closer);
}

/// A connection that is read for nobody, in a task.
struct Draining(Arc<Origin>);

impl Draining {
    fn begin(lease: &Lease) -> Self {
        lease.origin().note_draining(1);
        Self(Arc::clone(lease.origin()))
    }
}

impl Drop for Draining {
    fn drop(&mut self) {
        self.0.note_draining(-1);
    }
}

impl Rest {
    async fn finish(mut self, draining: Draining) {
        let mut deadline = Deadline::after(Some(MAX_DRAIN_TIME));
        let end = poll_fn(|cx| {
            // The clock first, for a peer that always has something to say.
            if deadline.has_passed() {
                return Poll::Ready(Err(self.late()));
            }
            match self.poll() {
                Poll::Pending if deadline.poll_expired(cx) => Poll::Ready(Err(self.late())),
                Poll::Pending => {
                    self.lease.connection().wait(cx);
                    Poll::Pending
                }
                polled => polled,
            }
        })
        .await;
        drop(draining);
        self.end(end);
    }

    const fn late(&self) -> CloseReason {
        if self.complete { CloseReason::UploadUnfinished } else { CloseReason::Abandoned }
    }

    /// Reads what has arrived. `Err` says why the connection cannot be kept.
    fn poll(&mut self) -> Poll<Result<(), CloseReason>> {
        loop {
            if self.complete {
                let connection = self.lease.connection();
                connection.drive();
                return if connection.is_uploading() { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            let mut polled = self.poll_incoming();
            if polled.is_pending() {
                self.lease.connection().drive();
                polled = self.poll_incoming();
            }
            match polled {
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
                    match self.left.checked_sub(bytes) {
                        Some(left) => self.left = left,
                        None => return Poll::Ready(Err(CloseReason::Abandoned)),
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Err(CloseReason::ExchangeFailed));
                }
                Poll::Ready(None) => self.complete = true,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// As in `ResponseBody`: frames are made by `drive` in this very task.
    fn poll_incoming(&mut self) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let mut unwoken = Context::from_waker(Waker::noop());
        quietly(|| Pin::new(&mut self.incoming).poll_frame(&mut unwoken))
    }

    fn end(self, end: Result<(), CloseReason>) {
        let Self { lease, incoming, was_given, .. } = self;
        match end {
            Ok(()) => {
                lease.origin().note_drained();
                lease.give_back();
            }
            Err(reason) => {
                if reason == CloseReason::Abandoned && was_given {
                    lease.origin().note_unread();
                }
                close(lease, reason);
            }
        }
        drop(incoming);
    }
}
