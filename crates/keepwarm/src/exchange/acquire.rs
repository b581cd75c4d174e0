//! Getting a connection: at once, or by waiting for one under the deadline.

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

/// How long one request may wait for connections in all. The timer is made when it has to wait.
pub(crate) struct Patience {
    limit: Option<Duration>,
    timer: Option<Deadline>,
}

impl Patience {
    pub(crate) const fn new(limit: Option<Duration>) -> Self {
        Self { limit, timer: None }
    }

    fn timer(&mut self) -> &mut Deadline {
        self.timer.get_or_insert_with(|| Deadline::after(self.limit))
    }
}

/// Asks the origin for a connection for that request; `new` asks for one that nobody has used. With
/// it comes the time spent in the queue. Dropping the future gives up the place there, and passes on
/// a connection that was already on its way.
pub(crate) async fn acquire(
    origin: &Arc<Origin>,
    request: u64,
    new: bool,
    deadline: &mut Deadline,
    patience: &mut Patience,
) -> Result<(Granted, Duration)> {
    let mut waited = Duration::ZERO;
    loop {
        let mut granted = match origin.checkout(request, new) {
            Checkout::Answered(answer) => answer?,
            Checkout::Queued(waiter, receiver, asked) => {
                let place = Waiting { origin, waiter, receiver, answered: false };
                let granted = spans::wait(place.answer(deadline, patience.timer())).await?;
                waited += origin.shared().clock.now().since(asked);
                granted
            }
        };
        match granted.lease.connection().unpark() {
            Ok(()) => return Ok((granted, waited)),
            // It died while it was idle. The pool forgets it, so this loop runs at most once for
            // each connection that was idle.
            Err(end) => granted.lease.close(end.reason, end.closer),
        }
    }
}

/// A place in the queue.
struct Waiting<'a> {
    origin: &'a Arc<Origin>,
    waiter: WaiterId,
    receiver: oneshot::Receiver<Answer>,
    answered: bool,
}

impl Waiting<'_> {
    async fn answer(mut self, deadline: &mut Deadline, patience: &mut Deadline) -> Answer {
        poll_fn(|cx| {
            if let Poll::Ready(answer) = Pin::new(&mut self.receiver).poll(cx) {
                self.answered = true;
                let gone = || Error::failed(Stage::Wait, "the pool is gone").at(self.origin.name());
                return Poll::Ready(answer.unwrap_or_else(|_| Err(gone())));
            }
            if deadline.poll_expired(cx) {
                return Poll::Ready(Err(Error::timeout(self.stage()).at(self.origin.name())));
            }
            if patience.poll_expired(cx) {
                let error = Error::new(Stage::Wait, Kind::AcquireTimeout)
                    .with_message("timed out (acquire_timeout)");
                return Poll::Ready(Err(error.at(self.origin.name())));
            }
            Poll::Pending
        })
        .await
    }

    /// What a waiter waits for: a dial if there are enough of them for all, else a connection.
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
