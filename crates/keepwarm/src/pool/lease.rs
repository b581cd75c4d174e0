//! The guard of a leased connection: however a request ends, the pool is informed exactly once.
//!
//! The guard returns or closes the connection. What is done with a connection that was dropped in
//! the middle of an exchange is decided by the exchange, through the function passed to
//! [`Lease::begin`].

use std::sync::Arc;

use keepwarm_pool::{CloseReason, Closer, Replacement};

use crate::pool::origin::{Checkout, Origin};
use crate::wire::connection::Connection;

/// A connection on loan from its origin's pool.
///
/// Dropped before the exchange began, it returns the connection unused. Dropped within the
/// exchange, it closes the connection, since the rest of the response cannot be told from the next
/// one; but if the request is sent and its response has not begun, the lease is passed to the
/// function that was given to [`begin`](Lease::begin), which may wait for the response for a
/// moment.
#[derive(Debug)]
pub(crate) struct Lease {
    origin: Arc<Origin>,
    held: Option<Held>,
    usage: Usage,
}

/// Function that takes over a lease whose request was sent and whose response has not begun.
type Abandoned = fn(Lease);

/// How far a lease has been used.
#[derive(Clone, Copy, Debug)]
enum Usage {
    /// No exchange has begun: the connection can return as it is.
    Unused,
    /// An exchange has begun.
    Exchanging(Abandoned),
    /// The request was abandoned, and the lease passed on. It is not passed on again.
    Abandoned,
}

#[derive(Debug)]
struct Held {
    token: keepwarm_pool::Lease,
    connection: Box<Connection>,
}

impl Lease {
    pub(crate) fn new(
        origin: Arc<Origin>,
        token: keepwarm_pool::Lease,
        connection: Box<Connection>,
    ) -> Self {
        Self { origin, held: Some(Held { token, connection }), usage: Usage::Unused }
    }

    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Returns the origin, and the connection to change.
    pub(crate) fn split(&mut self) -> (&Origin, &mut Connection) {
        let held = self.held.as_mut().expect("a lease holds its connection until it ends");
        (&self.origin, &mut held.connection)
    }

    /// Doubts the idle connections to the same address: this one died in silence.
    pub(crate) fn doubt_siblings(&self) {
        if let Some(held) = &self.held {
            self.origin.suspect_siblings(held.token.connection());
        }
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.held.as_mut().expect("a lease holds its connection until it ends").connection
    }

    /// Marks the start of the exchange: from here on the connection carries bytes of the request.
    pub(crate) fn begin(&mut self, abandoned: Abandoned) {
        self.usage = Usage::Exchanging(abandoned);
    }

    /// Ends the exchange: the connection returns to the pool, or is closed if it cannot go on.
    pub(crate) fn return_to_pool(mut self) {
        self.end(true);
    }

    /// Closes the connection.
    pub(crate) fn close(mut self, reason: CloseReason, closer: Closer) {
        if let Some(Held { token, connection }) = self.held.take() {
            // The socket is closed first: the pool then never counts less than the kernel has.
            drop(connection);
            self.origin.closed(token, reason, closer);
        }
    }

    /// Closes the connection, which broke, and keeps its room for the request that it had.
    pub(crate) fn broken(mut self, reason: CloseReason, closer: Closer) -> Broken {
        let held = self.held.take().expect("a lease holds its connection until it ends");
        drop(held.connection);
        let origin = Arc::clone(&self.origin);
        Broken::new(origin, held.token, Some((reason, closer)))
    }

    fn end(&mut self, served: bool) {
        let Some(Held { token, mut connection }) = self.held.take() else {
            return;
        };
        match connection.suspend() {
            Ok(()) if self.origin.is_address_gone(token.connection()) => {
                drop(connection);
                self.origin.closed(token, CloseReason::AddressGone, Closer::Client);
            }
            Ok(()) => self.origin.handle_returned(token, connection, served),
            Err(end) => {
                drop(connection);
                self.origin.closed(token, end.reason, end.closer);
            }
        }
    }
}

/// The room of a connection that broke. Dropped, it is released to other requests.
#[derive(Debug)]
pub(crate) struct Broken {
    origin: Arc<Origin>,
    token: Option<keepwarm_pool::Lease>,
    /// How it ended; `None` for a stream whose connection goes on.
    end: Option<(CloseReason, Closer)>,
}

impl Broken {
    pub(crate) const fn new(
        origin: Arc<Origin>,
        token: keepwarm_pool::Lease,
        end: Option<(CloseReason, Closer)>,
    ) -> Self {
        Self { origin, token: Some(token), end }
    }

    /// Asks for another connection for the request, in the room of the one that broke.
    pub(crate) fn replace(mut self, request: u64, wanted: Replacement) -> Checkout {
        let token = self.token.take().expect("the room is used once");
        self.origin.replace(request, token, self.end, wanted)
    }
}

impl Drop for Broken {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            match self.end {
                Some((reason, closer)) => self.origin.closed(token, reason, closer),
                None => self.origin.stream_given_back(token),
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let usage = self.usage;
        if matches!(usage, Usage::Unused) {
            return self.end(false);
        }
        let Some(held) = self.held.take() else { return };
        let origin = Arc::clone(&self.origin);
        let mut lease = Self { origin, held: Some(held), usage: Usage::Abandoned };
        if let Usage::Exchanging(abandoned) = usage
            && lease.connection().owes_response()
        {
            return abandoned(lease);
        }
        let closer = lease.connection().closer();
        lease.close(CloseReason::Abandoned, closer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::origin_key::OriginRef;
    use crate::pool::origin::Granting;
    use keepwarm_testkit::scripted::{Stage, eventually, within};

    fn origin(client: &Client, stage: &Stage) -> Arc<Origin> {
        let uri = stage.url("/").parse().expect("a URI");
        client.origins().get(OriginRef::of(&uri).expect("an origin"))
    }

    fn checkout(origin: &Arc<Origin>) -> Checkout {
        Origin::checkout(&mut Some(Arc::clone(origin)), 0)
    }

    /// On several threads this is a race of nanoseconds; here its steps are taken one by one.
    #[tokio::test]
    async fn close_during_return_is_noticed() {
        let stage = Stage::open().await;
        let client = Client::new();
        let origin = origin(&client, &stage);
        let mut granted = Vec::new();
        for _ in 0..2 {
            let Checkout::Queued(_, receiver, _) = checkout(&origin) else {
                panic!("no connection is idle yet");
            };
            let answer = within("a connection", receiver).await.expect("an answer");
            let Granting::Exclusive(mut lease) = answer.expect("a connection").lease else {
                panic!("no connection is shared");
            };
            lease.connection().resume().expect("it is open");
            granted.push(lease);
        }
        let mut lease = granted.remove(0);
        let Held { token, mut connection } = lease.held.take().expect("a held lease");
        connection.suspend().expect("nothing has happened yet");
        // The other connection returns, so that the keeper is on duty.
        drop(granted);
        assert_eq!(origin.snapshot().idle, 1);

        for peer in [stage.accept().await, stage.accept().await] {
            peer.close();
        }
        let waker = Arc::clone(connection.waker());
        eventually("both wake-ups", || waker.has_rung() && origin.snapshot().idle == 0).await;
        // The keeper has tried to inspect both, and found one of them in use: nothing to do.
        tokio::task::yield_now().await;
        origin.handle_returned(token, connection, true);
        let forgotten =
            || origin.snapshot().counts.closed_for(CloseReason::PeerClosedIdle, Closer::Server);
        eventually("the close", || forgotten() == 2).await;
        assert_eq!(origin.snapshot().idle, 0);
    }

    /// The receiver can be dropped while the answer is on its way, when the pool has forgotten the
    /// waiter.
    #[tokio::test]
    async fn undelivered_answer_returns_to_pool() {
        let stage = Stage::open().await;
        let client = Client::new();
        let origin = origin(&client, &stage);
        let Checkout::Queued(_, receiver, _) = checkout(&origin) else {
            panic!("no connection is idle yet");
        };
        drop(receiver);
        let _peer = stage.accept().await;
        eventually("the return", || origin.snapshot().idle == 1).await;
        assert_eq!(origin.snapshot().active, 0);
    }
}
