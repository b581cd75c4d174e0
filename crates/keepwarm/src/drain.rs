//! Reading what is left of a response that nobody wants any more, so that its connection can go
//! back to the pool instead of being closed.
//!
//! It costs reading, so it is bounded, as in Go 1.27 (`maxPostCloseReadBytes`,
//! `maxPostCloseReadTime`): what is larger or slower than this is closed as abandoned.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use keepwarm_pool::CloseReason;
use tokio::runtime::Handle;

use crate::deadline::Deadline;
use crate::lease::Lease;
use crate::watch::quietly;

/// What may be left to be read of a body that is dropped: 256 KiB.
const MAX_DRAINED_BYTES: u64 = 256 << 10;
/// How long reading it may take.
const MAX_DRAIN_TIME: Duration = Duration::from_millis(50);

/// The end of a response, which is being read for nobody.
struct Rest {
    lease: Lease,
    incoming: Incoming,
    left: u64,
    /// Nothing is left of the response; what is missing is the end of the request.
    complete: bool,
}

/// Reads the rest of a response and gives its connection back: at once what has arrived, in a task
/// of its own what has not. Without a runtime to spawn it on, the connection is closed.
pub(crate) fn drain(mut lease: Lease, incoming: Incoming) {
    // Dropping the lease closes the connection as abandoned.
    if lease.connection().is_on_last_exchange() || lease.origin().has_shut_down() {
        return;
    }
    if incoming.size_hint().lower() > MAX_DRAINED_BYTES {
        lease.origin().note_unread();
        return;
    }
    let mut rest = Rest { lease, incoming, left: MAX_DRAINED_BYTES, complete: false };
    match rest.poll() {
        Poll::Ready(end) => rest.end(end),
        Poll::Pending => {
            if let Ok(runtime) = Handle::try_current() {
                runtime.spawn(rest.finish());
            } else {
                rest.lease.origin().note_unread();
            }
        }
    }
}

impl Rest {
    async fn finish(mut self) {
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
        let Self { mut lease, incoming, .. } = self;
        match end {
            Ok(()) => lease.give_back(),
            Err(reason) => {
                if reason == CloseReason::Abandoned {
                    lease.origin().note_unread();
                }
                let closer = lease.connection().closer();
                lease.close(reason, closer);
            }
        }
        drop(incoming);
    }
}
