//! An exchange whose response has begun while its request is still being written.
//!
//! The caller may wait for the response, or hold it unread while it makes the rest of the upload: it
//! need not poll anything of ours. So such an exchange is driven by a task of its own. The response
//! wins: when it is complete, the upload has a moment to end, and then the connection is closed. As
//! in Go (`maxWriteWaitBeforeConnReuse`).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use keepwarm_pool::CloseReason;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::deadline::Deadline;
use crate::exchange::drain::drain;
use crate::pool::lease::Lease;
use crate::pool::origin::Origin;

/// How long an upload may outlive a response that is complete.
const MAX_UPLOAD_AFTER_RESPONSE: Duration = Duration::from_millis(50);

/// The reader's line to the task that has the lease. Dropped unused, it closes the connection.
#[derive(Debug)]
pub(crate) struct Carrier {
    origin: Arc<Origin>,
    tell: oneshot::Sender<Word>,
}

/// What the reader has to say.
#[derive(Debug)]
enum Word {
    /// The response was read to its end.
    Complete,
    /// Nobody will read the rest.
    Dropped(Incoming),
    /// The connection is to be closed.
    Failed(CloseReason),
}

/// Has the exchange driven by a task on that runtime.
pub(crate) fn carry(lease: Lease, runtime: &Handle) -> Carrier {
    let (tell, told) = oneshot::channel();
    let origin = Arc::clone(lease.origin());
    runtime.spawn(Carried { lease, told, grace: None }.run());
    Carrier { origin, tell }
}

impl Carrier {
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    // A task that is gone has ended the lease already: it need not be told.

    pub(crate) fn complete(self) {
        drop(self.tell.send(Word::Complete));
    }

    pub(crate) fn failed(self, reason: CloseReason) {
        drop(self.tell.send(Word::Failed(reason)));
    }

    pub(crate) fn dropped(self, incoming: Incoming) {
        drop(self.tell.send(Word::Dropped(incoming)));
    }
}

struct Carried {
    lease: Lease,
    told: oneshot::Receiver<Word>,
    /// Since the response is complete.
    grace: Option<Deadline>,
}

enum End {
    /// The connection can go back, or says itself why not.
    Settled,
    Dropped(Incoming),
    Closed(CloseReason),
}

impl Carried {
    async fn run(mut self) {
        let end = poll_fn(|cx| self.poll(cx)).await;
        let mut lease = self.lease;
        match end {
            End::Settled => lease.give_back(),
            End::Dropped(incoming) => drain(lease, incoming),
            End::Closed(reason) => {
                let closer = lease.connection().closer();
                lease.close(reason, closer);
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let connection = self.lease.connection();
        connection.drive();
        if connection.is_ready() {
            return Poll::Ready(End::Settled);
        }
        if self.grace.is_none() {
            match Pin::new(&mut self.told).poll(cx) {
                Poll::Ready(Ok(Word::Complete)) => {
                    self.grace = Some(Deadline::after(Some(MAX_UPLOAD_AFTER_RESPONSE)));
                }
                Poll::Ready(Ok(Word::Dropped(incoming))) => {
                    return Poll::Ready(End::Dropped(incoming));
                }
                Poll::Ready(Ok(Word::Failed(reason))) => {
                    return Poll::Ready(End::Closed(reason));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(End::Closed(CloseReason::Abandoned)),
                Poll::Pending => {}
            }
        }
        if connection.has_ended() {
            let settled = self.grace.is_some() || connection.is_on_last_exchange();
            return Poll::Ready(if settled {
                End::Settled
            } else {
                End::Closed(CloseReason::ExchangeFailed)
            });
        }
        if self.grace.as_mut().is_some_and(|grace| grace.poll_expired(cx)) {
            return Poll::Ready(End::Closed(CloseReason::UploadUnfinished));
        }
        connection.wait(cx);
        Poll::Pending
    }
}
