//! Acquires a connection: at once, or by waiting for one under the deadline.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use keepwarm_pool::WaiterId;
use tokio::sync::oneshot;

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result, Stage};
use crate::observe::spans;
use crate::pool::origin::{Answer, Checkout, Granted, Origin};

/// Time that one request may wait for connections in all. The timer is made when it has to wait.
pub(crate) struct AcquireTimeout {
    limit: Option<Duration>,
    timer: Option<Deadline>,
}

impl AcquireTimeout {
    pub(crate) const fn new(limit: Option<Duration>) -> Self {
        Self { limit, timer: None }
    }

    fn timer(&mut self) -> &mut Deadline {
        self.timer.get_or_insert_with(|| Deadline::after(self.limit))
    }
}

/// Acquires a connection for that request; `fresh` asks for one that was never used. Returns with
/// it the time spent in the queue. Dropping the future leaves the queue, and passes on a connection
/// that was already on its way.
pub(crate) async fn acquire(
    origin: &Arc<Origin>,
    request: u64,
    fresh: bool,
    deadline: &mut Deadline,
    timeout: &mut AcquireTimeout,
) -> Result<(Granted, Duration)> {
    let mut waited = Duration::ZERO;
    loop {
        let mut granted = match origin.checkout(request, fresh) {
            Checkout::Answered(answer) => answer?,
            Checkout::Queued(waiter, receiver, since) => {
                let waiting = Waiting { origin, waiter, receiver, answered: false };
                let granted = spans::wait(waiting.answer(deadline, timeout.timer())).await?;
                waited += origin.shared().clock.now().since(since);
                granted
            }
        };
        match granted.lease.connection().resume() {
            Ok(()) => return Ok((granted, waited)),
            // The connection died while it was idle. The pool forgets it, so this loop runs at most
            // once for each connection that was idle.
            Err(end) => granted.lease.close(end.reason, end.closer),
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
