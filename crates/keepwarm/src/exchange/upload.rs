//! An exchange whose response has begun while its request is still being written.
//!
//! The caller may wait for the response, or hold it unread while it makes the rest of the upload:
//! it need not poll anything of this client. So a task of its own drives such an exchange. The
//! response wins: when it is complete, the upload has 50 ms to end, and then the connection is
//! closed. As in Go (`maxWriteWaitBeforeConnReuse`).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use keepwarm_pool::CloseReason;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::drain::drain;
use crate::deadline::Deadline;
use crate::pool::lease::Lease;
use crate::pool::origin::Origin;

/// Time that an upload may outlive a response that is complete.
const MAX_UPLOAD_AFTER_RESPONSE: Duration = Duration::from_millis(50);

/// Handle with which the body reader tells the upload task how reading ended. Dropping it without a
/// message closes the connection.
#[derive(Debug)]
pub(crate) struct UploadHandle {
    origin: Arc<Origin>,
    sender: oneshot::Sender<UploadEvent>,
}

/// How reading the response ended.
#[derive(Debug)]
enum UploadEvent {
    /// The response was read to its end.
    Complete,
    /// The body was dropped before its end.
    Dropped(Incoming),
    /// Reading failed: the connection is to be closed.
    Failed(CloseReason),
}

/// Spawns a task on that runtime that drives the rest of the exchange.
pub(crate) fn continue_upload(lease: Lease, runtime: &Handle) -> UploadHandle {
    let (sender, events) = oneshot::channel();
    let origin = Arc::clone(lease.origin());
    runtime.spawn(UploadTask { lease, events, grace: None }.run());
    UploadHandle { origin, sender }
}

impl UploadHandle {
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    // A message that cannot be delivered is dropped: a task that is gone has ended the lease.

    pub(crate) fn complete(self) {
        drop(self.sender.send(UploadEvent::Complete));
    }

    pub(crate) fn failed(self, reason: CloseReason) {
        drop(self.sender.send(UploadEvent::Failed(reason)));
    }

    pub(crate) fn dropped(self, incoming: Incoming) {
        drop(self.sender.send(UploadEvent::Dropped(incoming)));
    }
}

struct UploadTask {
    lease: Lease,
    events: oneshot::Receiver<UploadEvent>,
    /// Runs since the response is complete.
    grace: Option<Deadline>,
}

/// End of an upload task.
enum UploadEnd {
    /// The connection can return to the pool, or is closed for the reason that it reports itself.
    Finished,
    Dropped(Incoming),
    Closed(CloseReason),
}

impl UploadTask {
    async fn run(mut self) {
        let end = poll_fn(|cx| self.poll(cx)).await;
        let mut lease = self.lease;
        match end {
            UploadEnd::Finished => lease.return_to_pool(),
            UploadEnd::Dropped(incoming) => drain(lease, incoming),
            UploadEnd::Closed(reason) => {
                let closer = lease.connection().closer();
                lease.close(reason, closer);
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<UploadEnd> {
        let connection = self.lease.connection();
        connection.drive();
        if connection.is_ready() {
            return Poll::Ready(UploadEnd::Finished);
        }
        if self.grace.is_none() {
            match Pin::new(&mut self.events).poll(cx) {
                Poll::Ready(Ok(UploadEvent::Complete)) => {
                    self.grace = Some(Deadline::after(Some(MAX_UPLOAD_AFTER_RESPONSE)));
                }
                Poll::Ready(Ok(UploadEvent::Dropped(incoming))) => {
                    return Poll::Ready(UploadEnd::Dropped(incoming));
                }
                Poll::Ready(Ok(UploadEvent::Failed(reason))) => {
                    return Poll::Ready(UploadEnd::Closed(reason));
                }
                Poll::Ready(Err(_)) => {
                    return Poll::Ready(UploadEnd::Closed(CloseReason::Abandoned));
                }
                Poll::Pending => {}
            }
        }
        if connection.has_ended() {
            let finished = self.grace.is_some() || connection.is_on_last_exchange();
            return Poll::Ready(if finished {
                UploadEnd::Finished
            } else {
                UploadEnd::Closed(CloseReason::ExchangeFailed)
            });
        }
        if self.grace.as_mut().is_some_and(|grace| grace.poll_expired(cx)) {
            return Poll::Ready(UploadEnd::Closed(CloseReason::UploadUnfinished));
        }
        connection.wait(cx);
        Poll::Pending
    }
}
