//! Acquires a connection: at once, or by waiting for one under the deadline.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use keepwarm_pool::{CloseReason, Closer, Moment, Replacement, WaiterId};
use tokio::sync::oneshot;

use crate::deadline::Deadline;
use crate::error::{Error, Kind, Result, Stage};
use crate::observe::spans::WaitSpan;
use crate::pool::lease::{Broken, Lease};
use crate::pool::origin::{Answer, Checkout, Granted, Granting, Origin};

/// Acquires connections for one request, for all of its attempts. Dropped while it waits, it leaves
/// the queue, and passes on a connection that was already on its way.
pub(crate) struct Acquirer {
    request: u64,
    /// The server must understand chunks.
    needs_chunks: bool,
    limit: Option<Duration>,
    /// Timer of the acquire timeout, for all waits together. Made when the request has to wait.
    timer: Option<Deadline>,
    waited: Duration,
    /// Connection that the next one takes the place of, and the kind that is wanted.
    broken: Option<Broken>,
    wanted: Replacement,
    /// Boxed, since most requests never wait.
    waiting: Option<Box<Waiting>>,
}

impl Acquirer {
    pub(crate) fn new(origin: &Origin, request: u64, needs_chunks: bool) -> Self {
        let limit = origin.shared().settings.acquire_timeout;
        Self {
            request,
            needs_chunks,
            limit,
            timer: None,
            waited: Duration::ZERO,
            broken: None,
            wanted: Replacement::Any,
            waiting: None,
        }
    }

    /// Returns the time spent in the queue so far.
    pub(crate) const fn waited(&self) -> Duration {
        self.waited
    }

    /// Has the next connection take the place of one that broke, if its room is known.
    pub(crate) fn replace(&mut self, broken: Option<Broken>, wanted: Replacement) {
        (self.broken, self.wanted) = (broken, wanted);
    }

    /// Acquires a connection: any, or in place of a broken one. The lease of a connection may take the
    /// handle on the origin.
    pub(crate) fn poll_connection(
        &mut self,
        origin: &mut Option<Arc<Origin>>,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Granted>> {
        loop {
            let mut granted = if self.waiting.is_some() {
                ready!(self.poll_waiting(deadline, cx))?
            } else {
                let checkout = match self.broken.take() {
                    None => {
                        self.wanted = Replacement::Any;
                        Origin::checkout(origin, self.request)
                    }
                    Some(broken) => broken.replace(self.request, self.wanted),
                };
                match checkout {
                    Checkout::Answered(answer) => answer?,
                    Checkout::Queued(waiter, receiver, since) => {
                        let origin = origin.as_ref().expect("a waiter's handle is its own");
                        let waiting = Waiting::new(origin, waiter, receiver, since);
                        self.waiting = Some(Box::new(waiting));
                        continue;
                    }
                }
            };
            let Granting::Exclusive(lease) = &mut granted.lease else {
                return Poll::Ready(Ok(granted));
            };
            let Err((reason, closer)) = self.take_over(lease) else {
                return Poll::Ready(Ok(granted));
            };
            let Granting::Exclusive(lease) = granted.lease else { continue };
            origin.get_or_insert_with(|| Arc::clone(lease.origin()));
            // The connection died while it was idle. The pool forgets it, so this loop runs at most
            // once for each connection that was idle.
            self.broken = Some(lease.broken(reason, closer));
        }
    }

    fn poll_waiting(
        &mut self,
        deadline: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Granted>> {
        let Some(waiting) = &mut self.waiting else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Deadline::after(self.limit));
        let answer = ready!(waiting.poll(deadline, timer, cx));
        self.waited += waiting.origin.shared().clock.now().since(waiting.since);
        self.waiting = None;
        Poll::Ready(answer)
    }

    /// Takes a granted connection into use. `Err` is the reason why it cannot serve the request, and
    /// the side that closed it.
    fn take_over(&self, lease: &mut Lease) -> Result<(), (CloseReason, Closer)> {
        let connection = lease.connection();
        connection.resume().map_err(|end| (end.reason, end.closer))?;
        if self.needs_chunks && !connection.takes_chunks() {
            return Err((CloseReason::NotPersistent, Closer::Client));
        }
        Ok(())
    }
}

/// A waiter in the origin's queue.
struct Waiting {
    origin: Arc<Origin>,
    waiter: WaiterId,
    receiver: oneshot::Receiver<Answer>,
    since: Moment,
    answered: bool,
    span: WaitSpan,
}

impl Waiting {
    fn new(
        origin: &Arc<Origin>,
        waiter: WaiterId,
        receiver: oneshot::Receiver<Answer>,
        since: Moment,
    ) -> Self {
        let origin = Arc::clone(origin);
        Self { origin, waiter, receiver, since, answered: false, span: WaitSpan::new() }
    }

    fn poll(
        &mut self,
        deadline: &mut Deadline,
        timeout: &mut Deadline,
        cx: &mut Context<'_>,
    ) -> Poll<Answer> {
        let Self { receiver, span, .. } = self;
        if let Poll::Ready(answer) = span.within(|| Pin::new(receiver).poll(cx)) {
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
    }

    /// Returns the stage of a waiter: a dial if there are enough of them for all, otherwise the
    /// wait for a connection.
    fn stage(&self) -> Stage {
        let now = self.origin.snapshot();
        if now.dialing >= now.waiting { Stage::Connect } else { Stage::Wait }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.answered {
            self.origin.cancel(self.waiter);
        }
    }
}
