//! Acquires a connection: at once, or by waiting for one under the deadline.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use keepwarm_pool::{CloseReason, Closer, Replacement, WaiterId};
use tokio::sync::oneshot;

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result, Stage};
use crate::observe::spans;
use crate::pool::lease::Broken;
use crate::pool::origin::{Answer, Checkout, Granted, Origin};

/// Acquires connections for one request, for all of its attempts.
///
/// A struct, so that the future of [`connection`](Self::connection) holds one reference instead of its
/// parts.
pub(crate) struct Acquirer<'a> {
    origin: &'a Arc<Origin>,
    request: u64,
    /// The server must understand chunks.
    needs_chunks: bool,
    limit: Option<Duration>,
    /// Timer of the acquire timeout, for all waits together. Made when the request has to wait.
    timer: Option<Deadline>,
    waited: Duration,
}

impl<'a> Acquirer<'a> {
    pub(crate) fn new(origin: &'a Arc<Origin>, request: u64, needs_chunks: bool) -> Self {
        let limit = origin.shared().settings.acquire_timeout;
        Self { origin, request, needs_chunks, limit, timer: None, waited: Duration::ZERO }
    }

    /// Returns the time spent in the queue so far.
    pub(crate) const fn waited(&self) -> Duration {
        self.waited
    }

    /// Acquires a connection: any, or in place of a broken one. Dropping the future leaves the
    /// queue, and passes on a connection that was already on its way.
    pub(crate) async fn connection(
        &mut self,
        mut broken: Option<(Broken, Replacement)>,
        deadline: &mut Deadline,
    ) -> Result<Granted> {
        let wanted = broken.as_ref().map_or(Replacement::Any, |(_, wanted)| *wanted);
        loop {
            let checkout = match broken.take() {
                None => self.origin.checkout(self.request),
                Some((broken, wanted)) => broken.replace(self.request, wanted),
            };
            let mut granted = match checkout {
                Checkout::Answered(answer) => answer?,
                Checkout::Queued(waiter, receiver, since) => {
                    let origin = self.origin;
                    let waiting = Waiting { origin, waiter, receiver, answered: false };
                    let timer = self.timer.get_or_insert_with(|| Deadline::after(self.limit));
                    let granted = spans::wait(waiting.answer(deadline, timer)).await?;
                    self.waited += origin.shared().clock.now().since(since);
                    granted
                }
            };
            let connection = granted.lease.connection();
            let end = match connection.resume() {
                Ok(()) if self.needs_chunks && !connection.takes_chunks() => {
                    (CloseReason::NotPersistent, Closer::Client)
                }
                Ok(()) => return Ok(granted),
                // The connection died while it was idle. The pool forgets it, so this loop runs at
                // most once for each connection that was idle.
                Err(end) => (end.reason, end.closer),
            };
            broken = Some((granted.lease.broken(end.0, end.1), wanted));
        }
    }
}

/// A waiter in the origin's queue.
struct Waiting<'a> {
    origin: &'a Arc<Origin>,
    waiter: WaiterId,
    receiver: oneshot::Receiver<Answer>,
    answered: bool,
}

impl Waiting<'_> {
    async fn answer(mut self, deadline: &mut Deadline, timeout: &mut Deadline) -> Answer {
        poll_fn(|cx| {
            if let Poll::Ready(answer) = Pin::new(&mut self.receiver).poll(cx) {
                self.answered = true;
                let gone = || Error::failed(Stage::Wait, "the pool is gone").at(self.origin.name());
                return Poll::Ready(answer.unwrap_or_else(|_| Err(gone())));
            }
            if deadline.poll_expired(cx) {
                return Poll::Ready(Err(Error::timeout(self.stage()).at(self.origin.name())));
            }
            if timeout.poll_expired(cx) {
                let error = Error::new(Stage::Wait, Kind::AcquireTimeout)
                    .with_message("timed out (acquire_timeout)");
                return Poll::Ready(Err(error.at(self.origin.name())));
            }
            Poll::Pending
        })
        .await
    }

    /// Returns the stage of a waiter: a dial if there are enough of them for all, otherwise the
    /// wait for a connection.
    fn stage(&self) -> Stage {
        let now = self.origin.snapshot();
        if now.dialing >= now.waiting { Stage::Connect } else { Stage::Wait }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.origin.cancel(self.waiter);
        }
    }
}
