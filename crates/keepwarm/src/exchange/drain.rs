//! Reads and discards the rest of a response that the caller dropped, so that its connection can
//! return to the pool instead of being closed.
//!
//! Draining costs reading, so it is bounded, as in Go 1.27 (`maxPostCloseReadBytes`,
//! `maxPostCloseReadTime`): the connection of a larger or slower rest is closed as abandoned. Go
//! reads the rest of a body; this module also reads the response to a request that was dropped
//! before its head came, or ran out of time. Each drain holds a connection, so there are never more
//! drains than connections.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use keepwarm_pool::CloseReason;
use tokio::runtime::Handle;

use crate::deadline::Deadline;
use crate::pool::lease::Lease;
use crate::pool::origin::Origin;
use crate::wire::connection::Responded;

/// Limit on the rest of a body that is drained: 256 KiB on the wire, framing included. It is kept to
/// within one read buffer.
const MAX_DRAINED_BYTES: u64 = 256 << 10;
/// Limit on the time that the rest of a body may take, and the head of a response before that.
const MAX_DRAIN_TIME: Duration = Duration::from_millis(50);

/// Rest of a response that is being drained.
struct Rest {
    lease: Lease,
    /// Count of the connection's received bytes at which draining stops.
    end: u64,
    /// True once the response is complete, while the end of the request is still to be sent.
    complete: bool,
    /// True if the caller was given this body, and left it unread.
    was_given: bool,
}

/// Reads the rest of a response and returns its connection: at once if the rest has arrived,
/// otherwise in a task of its own. Without a runtime to spawn that task on, the connection is
/// closed.
/// `unread` bytes of the rest have been read off the wire already.
pub(crate) fn drain(lease: Lease, unread: u64) {
    drain_body(lease, MAX_DRAINED_BYTES.saturating_sub(unread), true);
}

fn drain_body(mut lease: Lease, limit: u64, was_given: bool) {
    // Dropping the lease closes the connection as abandoned.
    if !is_worth_it(&mut lease) {
        return;
    }
    let connection = lease.connection();
    let too_large = connection.length_left().is_some_and(|left| left > limit);
    let end = connection.consumed() + limit;
    let mut rest = Rest { lease, end, complete: false, was_given };
    if too_large {
        return rest.finish(Err(CloseReason::Abandoned));
    }
    match rest.poll() {
        Poll::Ready(end) => rest.finish(end),
        Poll::Pending => match Handle::try_current() {
            Ok(runtime) => {
                let draining = Draining::begin(&rest.lease);
                runtime.spawn(rest.run(draining));
            }
            Err(_) => rest.finish(Err(CloseReason::Abandoned)),
        },
    }
}

/// Waits for the response to a request that was sent and then abandoned, and drains it, if it comes
/// soon and is small.
pub(crate) fn drain_response(mut lease: Lease) {
    if !is_worth_it(&mut lease) {
        return;
    }
    match poll_response(&mut lease) {
        Poll::Ready(responded) => finish_response(lease, responded),
        Poll::Pending => {
            // Without a runtime the lease is dropped, and its connection closed.
            if let Ok(runtime) = Handle::try_current() {
                let draining = Draining::begin(&lease);
                runtime.spawn(await_response(lease, draining));
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

async fn await_response(mut lease: Lease, draining: Draining) {
    let mut deadline = Deadline::after(Some(MAX_DRAIN_TIME));
    let responded = poll_fn(|cx| {
        // The clock is read first, for a peer that always has bytes to read.
        if deadline.has_passed() {
            return Poll::Ready(None);
        }
        match poll_response(&mut lease) {
            Poll::Ready(responded) => Poll::Ready(Some(responded)),
            Poll::Pending if deadline.poll_expired(cx) => Poll::Ready(None),
            Poll::Pending => {
                lease.connection().wait(cx);
                Poll::Pending
            }
        }
    })
    .await;
    drop(draining);
    match responded {
        Some(responded) => finish_response(lease, responded),
        None => close(lease, CloseReason::Abandoned),
    }
}

fn poll_response(lease: &mut Lease) -> Poll<Responded> {
    let connection = lease.connection();
    connection.drive();
    connection.poll_response()
}

fn finish_response(mut lease: Lease, responded: Responded) {
    match responded {
        Ok(()) => {
            drop(lease.connection().take_head());
            drain_body(lease, MAX_DRAINED_BYTES, false);
        }
        Err(_) => close(lease, CloseReason::ExchangeFailed),
    }
}

fn close(mut lease: Lease, reason: CloseReason) {
    let closer = lease.connection().closer();
    lease.close(reason, closer);
}

/// Counts a connection that is drained in a task, in the origin's gauge.
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
    async fn run(mut self, draining: Draining) {
        let mut deadline = Deadline::after(Some(MAX_DRAIN_TIME));
        let end = poll_fn(|cx| {
            // The clock is read first, for a peer that always has bytes to read.
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
        self.finish(end);
    }

    const fn late(&self) -> CloseReason {
        if self.complete { CloseReason::UploadUnfinished } else { CloseReason::Abandoned }
    }

    /// Reads the bytes that have arrived. `Err` is the reason why the connection cannot be kept.
    fn poll(&mut self) -> Poll<Result<(), CloseReason>> {
        loop {
            if self.complete {
                let connection = self.lease.connection();
                connection.drive();
                return if connection.is_uploading() { Poll::Pending } else { Poll::Ready(Ok(())) };
            }
            let polled = self.lease.connection().poll_frame();
            if self.lease.connection().consumed() > self.end {
                return Poll::Ready(Err(CloseReason::Abandoned));
            }
            match polled {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Err(CloseReason::ExchangeFailed));
                }
                Poll::Ready(None) => self.complete = true,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn finish(self, end: Result<(), CloseReason>) {
        let Self { lease, was_given, .. } = self;
        match end {
            Ok(()) => {
                lease.origin().note_drained();
                lease.return_to_pool();
            }
            Err(reason) => {
                if reason == CloseReason::Abandoned && was_given {
                    lease.origin().note_unread();
                }
                close(lease, reason);
            }
        }
    }
}
