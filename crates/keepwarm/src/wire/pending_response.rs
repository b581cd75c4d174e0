//! The response head that a connection still has to deliver, from sending the request on.
//!
//! hyper's future of a response has no nameable type and does not fit into a struct. It is stored
//! with the connection all the same, behind a trait object, so that it outlives the request's own
//! future: the next holder of the connection can still wait for the head. Its memory is allocated
//! once for each connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use tokio::task::coop::unconstrained;

use super::body::Body;

/// Result of one request: the head of its response, or an error that may return the request unsent.
pub(crate) type Responded = Result<http::Response<Incoming>, TrySendError<http::Request<Body>>>;

type Sender = http1::SendRequest<Body>;

/// Storage for the future of one response.
pub(crate) struct PendingResponse(Box<dyn ResponseSlot>);

trait ResponseSlot: Send {
    fn send(&mut self, sender: &mut Sender, request: http::Request<Body>);
    fn poll(&mut self) -> Poll<Responded>;
    fn is_pending(&self) -> bool;
}

struct Slot<S, F> {
    send: S,
    future: Pin<Box<Option<F>>>,
}

impl<S, F> ResponseSlot for Slot<S, F>
where
    S: Fn(&mut Sender, http::Request<Body>) -> F + Send,
    F: Future<Output = Responded> + Send,
{
    fn send(&mut self, sender: &mut Sender, request: http::Request<Body>) {
        self.future.set(Some((self.send)(sender, request)));
    }

    fn poll(&mut self) -> Poll<Responded> {
        let Some(future) = self.future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        // Only a drive in the same task resolves the future, so it needs no waker. It is polled
        // outside the task's budget: a step that tokio refuses because the budget is used up would
        // be repeated when its waker is called.
        let polled =
            Pin::new(&mut unconstrained(future)).poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() {
            self.future.set(None);
        }
        polled
    }

    fn is_pending(&self) -> bool {
        self.future.is_some()
    }
}

impl PendingResponse {
    pub(crate) fn none() -> Self {
        fn slot<S, F>(send: S) -> Box<dyn ResponseSlot>
        where
            S: Fn(&mut Sender, http::Request<Body>) -> F + Send + 'static,
            F: Future<Output = Responded> + Send + 'static,
        {
            Box::new(Slot { send, future: Box::pin(None) })
        }
        Self(slot(|sender: &mut Sender, request| sender.try_send_request(request)))
    }

    /// Queues the request with the driver. The end of the driver resolves the response at the
    /// latest.
    pub(crate) fn send(&mut self, sender: &mut Sender, request: http::Request<Body>) {
        self.0.send(sender, request);
    }

    /// Returns the head, once. Polled after the driver was.
    pub(crate) fn poll(&mut self) -> Poll<Responded> {
        self.0.poll()
    }

    /// Returns true if a request was sent and its head was not taken yet.
    pub(crate) fn is_pending(&self) -> bool {
        self.0.is_pending()
    }
}

impl fmt::Debug for PendingResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingResponse").field("pending", &self.is_pending()).finish()
    }
}
