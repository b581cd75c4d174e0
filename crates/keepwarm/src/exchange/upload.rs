//! An exchange whose response has begun while its request is still being written.
//!
//! The caller may wait for the response, or hold it unread while it makes the rest of the upload:
//! it need not poll anything of this client. So a task of its own drives such an exchange. The
//! response wins: when it is complete, the upload has 50 ms to end, and then the connection is
//! closed. As in Go (`maxWriteWaitBeforeConnReuse`).

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use keepwarm_pool::CloseReason;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::drain::drain;
use super::frames::Frames;
use crate::deadline::{Deadline, StallWatch};
use crate::pool::lease::Lease;
use crate::pool::origin::Origin;
use crate::wire::http1::Failure;

/// Time that an upload may outlive a response that is complete.
const MAX_UPLOAD_AFTER_RESPONSE: Duration = Duration::from_millis(50);

/// Frames on their way from the task to the reader: one, and the trailers behind it.
#[derive(Debug, Default)]
struct Passage(Mutex<Passing>);

#[derive(Debug, Default)]
struct Passing {
    frames: Frames,
    failure: Option<Failure>,
    /// No other frame comes.
    ended: bool,
    /// The reader, while it waits for a frame.
    reader: Option<Waker>,
    /// The task, while a frame waits for the reader.
    task: Option<Waker>,
}

impl Passage {
    fn lock(&self) -> MutexGuard<'_, Passing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if no frame waits for the reader.
    fn is_drained(&self) -> bool {
        self.lock().frames.is_empty()
    }

    /// Changes what is passed, and wakes the reader.
    fn pass(&self, change: impl FnOnce(&mut Passing)) {
        let reader = {
            let mut passing = self.lock();
            change(&mut passing);
            passing.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// The task's end of the passage. Dropped, it ends the passage, however the task ends.
#[derive(Debug)]
struct Feeder(Arc<Passage>);

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.pass(|passing| {
            if !passing.ended && passing.failure.is_none() {
                let gone = std::io::Error::other("the task of the upload has ended");
                passing.failure = Some(Failure::Io(gone));
            }
        });
    }
}

/// Handle with which the body reader tells the upload task how reading ended. Dropping it without a
/// message closes the connection.
#[derive(Debug)]
pub(crate) struct UploadHandle {
    origin: Arc<Origin>,
    passage: Arc<Passage>,
    sender: oneshot::Sender<UploadEvent>,
}

/// How reading the response ended.
#[derive(Debug)]
enum UploadEvent {
    /// The response was read to its end.
    Complete,
    /// The body was dropped before its end.
    Dropped,
    /// Reading failed: the connection is to be closed.
    Failed(CloseReason),
}

/// Spawns a task on that runtime that drives the rest of the exchange.
pub(crate) fn continue_upload(lease: Lease, stall: StallWatch, runtime: &Handle) -> UploadHandle {
    let (sender, events) = oneshot::channel();
    let origin = Arc::clone(lease.origin());
    let passage = Arc::new(Passage::default());
    let feeder = Feeder(Arc::clone(&passage));
    runtime.spawn(UploadTask { lease, events, feeder, stall, grace: None }.run());
    UploadHandle { origin, passage, sender }
}

impl UploadHandle {
    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Returns the next frame of the response.
    pub(crate) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let mut passing = self.passage.lock();
        if let Some(frame) = passing.frames.pop() {
            let task = passing.task.take();
            drop(passing);
            if let Some(task) = task {
                task.wake();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(failure) = passing.failure.take() {
            passing.ended = true;
            return Poll::Ready(Some(Err(failure)));
        }
        if passing.ended {
            return Poll::Ready(None);
        }
        let old = passing.reader.replace(cx.waker().clone());
        drop(passing);
        drop(old);
        Poll::Pending
    }

    /// Returns true if the reader has taken the whole response.
    pub(crate) fn is_at_end(&self) -> bool {
        let passing = self.passage.lock();
        passing.ended && passing.frames.is_empty() && passing.failure.is_none()
    }

    // A message that cannot be delivered is dropped: a task that is gone has ended the lease.

    pub(crate) fn complete(self) {
        drop(self.sender.send(UploadEvent::Complete));
    }

    pub(crate) fn failed(self, reason: CloseReason) {
        drop(self.sender.send(UploadEvent::Failed(reason)));
    }

    pub(crate) fn dropped(self) {
        drop(self.sender.send(UploadEvent::Dropped));
    }
}

struct UploadTask {
    lease: Lease,
    events: oneshot::Receiver<UploadEvent>,
    feeder: Feeder,
    /// Looks at both directions: the reader of the response sees neither of them.
    stall: StallWatch,
    /// Runs since the response is complete.
    grace: Option<Deadline>,
}

/// End of an upload task.
enum UploadEnd {
    /// The connection can return to the pool, or is closed for the reason that it reports itself.
    Finished,
    Dropped,
    Closed(CloseReason),
}

impl UploadTask {
    async fn run(mut self) {
        let end = poll_fn(|cx| self.poll(cx)).await;
        let mut lease = self.lease;
        match end {
            UploadEnd::Finished => lease.return_to_pool(),
            UploadEnd::Dropped => drain(lease, 0),
            UploadEnd::Closed(reason) => {
                let closer = lease.connection().closer();
                lease.close(reason, closer);
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<UploadEnd> {
        self.feed(cx);
        let connection = self.lease.connection();
        if connection.is_ready() {
            return Poll::Ready(UploadEnd::Finished);
        }
        if self.grace.is_none() {
            match Pin::new(&mut self.events).poll(cx) {
                Poll::Ready(Ok(UploadEvent::Complete)) => {
                    self.grace = Some(Deadline::after(Some(MAX_UPLOAD_AFTER_RESPONSE)));
                }
                Poll::Ready(Ok(UploadEvent::Dropped)) => {
                    return Poll::Ready(UploadEnd::Dropped);
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
        // A reader that has a frame to take, and a body with no byte left to write, are waited for
        // themselves.
        let waits_for_peer = if connection.is_uploading() {
            !connection.has_flushed()
        } else {
            !connection.response_is_complete() && self.feeder.0.is_drained()
        };
        if self.stall.poll_stalled(connection.traffic().total(), waits_for_peer, cx) {
            self.feeder.0.pass(|passing| passing.failure = Some(Failure::Stalled));
            return Poll::Ready(UploadEnd::Closed(CloseReason::Abandoned));
        }
        connection.wait(cx);
        Poll::Pending
    }

    /// Writes the request, and passes a frame of the response on if the reader has taken the last.
    fn feed(&mut self, cx: &Context<'_>) {
        let connection = self.lease.connection();
        connection.drive();
        let passage = &self.feeder.0;
        if let Some(failure) = connection.take_failure() {
            return passage.pass(|passing| passing.failure = Some(failure));
        }
        loop {
            {
                let mut passing = passage.lock();
                if passing.ended || passing.failure.is_some() {
                    return;
                }
                if !passing.frames.is_empty() {
                    passing.task = Some(cx.waker().clone());
                    return;
                }
            }
            let polled = connection.poll_frame();
            let mut trailers = None;
            let complete = connection.response_is_complete();
            if complete && polled.is_ready() {
                trailers = connection.buffered_frame();
            }
            match polled {
                Poll::Pending => return,
                Poll::Ready(None) => passage.pass(|passing| passing.ended = true),
                Poll::Ready(Some(Err(failure))) => {
                    passage.pass(|passing| passing.failure = Some(failure));
                }
                Poll::Ready(Some(Ok(frame))) => passage.pass(|passing| {
                    passing.frames.push(frame);
                    if let Some(trailers) = trailers {
                        passing.frames.push(trailers);
                    }
                    passing.ended = complete;
                }),
            }
        }
    }
}
