//! The response that a connection owes, from the request's sending to its head.
//!
//! hyper's future of a response has no name and does not fit into a struct. It is kept with the
//! connection all the same, so that it outlives the request's own future: whoever has the connection
//! then can still wait for the head. Its place is allocated once for each connection.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use tokio::task::coop::unconstrained;

use crate::wire::body::Body;

/// What a request comes to.
pub(crate) type Replied = Result<http::Response<Incoming>, TrySendError<http::Request<Body>>>;

type Sender = http1::SendRequest<Body>;

/// A place for one response that is waited for.
pub(crate) struct Reply(Box<dyn Place>);

trait Place: Send {
    fn send(&mut self, sender: &mut Sender, request: http::Request<Body>);
    fn poll(&mut self) -> Poll<Replied>;
    fn is_owed(&self) -> bool;
}

struct Kept<S, F> {
    send: S,
    future: Pin<Box<Option<F>>>,
}

impl<S, F> Place for Kept<S, F>
where
    S: Fn(&mut Sender, http::Request<Body>) -> F + Send,
    F: Future<Output = Replied> + Send,
{
    fn send(&mut self, sender: &mut Sender, request: http::Request<Body>) {
        self.future.set(Some((self.send)(sender, request)));
    }

    fn poll(&mut self) -> Poll<Replied> {
        let Some(future) = self.future.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        // The drive in the same task alone can resolve it, so it needs no waker. And it is polled
        // outside the task's budget: a step that is refused for want of budget is repeated when its
        // waker is called.
        let polled =
            Pin::new(&mut unconstrained(future)).poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_ready() {
            self.future.set(None);
        }
        polled
    }

    fn is_owed(&self) -> bool {
        self.future.is_some()
    }
}

impl Reply {
    pub(crate) fn none() -> Self {
        fn place<S, F>(send: S) -> Box<dyn Place>
        where
            S: Fn(&mut Sender, http::Request<Body>) -> F + Send + 'static,
            F: Future<Output = Replied> + Send + 'static,
        {
            Box::new(Kept { send, future: Box::pin(None) })
        }
        Self(place(|sender: &mut Sender, request| sender.try_send_request(request)))
    }

    /// Queues the request with the driver, whose end it is at the latest that resolves the reply.
    pub(crate) fn send(&mut self, sender: &mut Sender, request: http::Request<Body>) {
        self.0.send(sender, request);
    }

    /// The head, once. To be polled after the driver was.
    pub(crate) fn poll(&mut self) -> Poll<Replied> {
        self.0.poll()
    }

    /// Whether a request was sent whose head nobody has taken yet.
    pub(crate) fn is_owed(&self) -> bool {
        self.0.is_owed()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("owed", &self.is_owed()).finish()
    }
}
