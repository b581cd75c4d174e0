//! The guard of a leased connection: however a request ends, the pool hears of it exactly once.

use std::sync::Arc;

use keepwarm_pool::{CloseReason, Closer};

use crate::exchange::drain::drain_reply;
use crate::pool::origin::Origin;
use crate::wire::connection::Connection;

/// A connection on loan from its origin's pool.
///
/// Dropping it before the exchange began puts the connection back unused. Dropping it within the
/// exchange closes it, since the rest of the response can no longer be told from the next one; but if
/// the request is sent and its response has not begun, that is waited for and read for a moment, see
/// [`drain`](crate::exchange::drain). Whoever has the body to a head drains that.
#[derive(Debug)]
pub(crate) struct Lease {
    origin: Arc<Origin>,
    held: Option<Held>,
    began: bool,
    /// Nobody waits any more for what the connection brings.
    given_up: bool,
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
        Self { origin, held: Some(Held { token, connection }), began: false, given_up: false }
    }

    pub(crate) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.held.as_mut().expect("a lease holds its connection until it ends").connection
    }

    /// From here on the connection carries bytes of this request.
    pub(crate) fn begin(&mut self) {
        self.began = true;
    }

    /// The exchange is over: back into the pool, or closed if the connection cannot go on.
    pub(crate) fn give_back(mut self) {
        self.end(true);
    }

    /// The connection is over.
    pub(crate) fn close(mut self, reason: CloseReason, closer: Closer) {
        if let Some(Held { token, connection }) = self.held.take() {
            // The socket first: what the pool counts is then never less than what the kernel has.
            drop(connection);
            self.origin.closed(token, reason, closer);
        }
    }

    fn end(&mut self, served: bool) {
        let Some(Held { token, mut connection }) = self.held.take() else {
            return;
        };
        match connection.park() {
            Ok(()) => self.origin.take_back(token, connection, served),
            Err(end) => {
                drop(connection);
                self.origin.closed(token, end.reason, end.closer);
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.began {
            return self.end(false);
        }
        let Some(held) = self.held.take() else { return };
        let mut lease = Self {
            origin: Arc::clone(&self.origin),
            held: Some(held),
            began: true,
            given_up: true,
        };
        // Once: whoever drops it then has waited, or cannot.
        if !self.given_up && lease.connection().owes_reply() {
            return drain_reply(lease);
        }
        let closer = lease.connection().closer();
        lease.close(CloseReason::Abandoned, closer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Client;
    use crate::deadline::Deadline;
    use crate::exchange::acquire::{Patience, acquire};
    use crate::pool::origin::Checkout;
    use crate::wire::origin_key::OriginRef;
    use keepwarm_testkit::scripted::{Stage, eventually, within};

    fn origin(client: &Client, stage: &Stage) -> Arc<Origin> {
        let uri = stage.url("/").parse().expect("a URI");
        client.origins().get(OriginRef::of(&uri).expect("an origin"))
    }

    /// On several threads this is a race of nanoseconds; here it is taken apart.
    #[tokio::test]
    async fn a_close_between_parking_and_the_pools_knowing_is_noticed_afterwards() {
        let stage = Stage::open().await;
        let client = Client::new();
        let origin = origin(&client, &stage);
        let mut granted = Vec::new();
        for _ in 0..2 {
            let mut deadline = Deadline::default();
            let mut patience = Patience::new(None);
            let acquiring = acquire(&origin, 0, false, &mut deadline, &mut patience);
            let acquired = within("a connection", acquiring).await;
            granted.push(acquired.expect("a connection").0);
        }
        let mut lease = granted.remove(0).lease;
        let Held { token, mut connection } = lease.held.take().expect("a held lease");
        connection.park().expect("nothing has happened yet");
        // The other one goes back, so that the keeper is on duty.
        drop(granted);
        assert_eq!(origin.snapshot().idle, 1);

        for peer in [stage.accept().await, stage.accept().await] {
            peer.close();
        }
        let watch = Arc::clone(connection.watch());
        eventually("both wake-ups", || watch.has_rung() && origin.snapshot().idle == 0).await;
        // The keeper has looked at both, and found one of them in use: nothing to do.
        tokio::task::yield_now().await;
        origin.take_back(token, connection, true);
        let forgotten =
            || origin.snapshot().counts.closed_for(CloseReason::PeerClosedIdle, Closer::Server);
        eventually("the close", || forgotten() == 2).await;
        assert_eq!(origin.snapshot().idle, 0);
    }

    /// The receiver can go while the answer is on its way, when the pool knows the waiter no more.
    #[tokio::test]
    async fn an_answer_that_nobody_takes_goes_back() {
        let stage = Stage::open().await;
        let client = Client::new();
        let origin = origin(&client, &stage);
        let Checkout::Queued(_, receiver, _) = origin.checkout(0, false) else {
            panic!("nothing is idle yet");
        };
        drop(receiver);
        let _peer = stage.accept().await;
        eventually("the return", || origin.snapshot().idle == 1).await;
        assert_eq!(origin.snapshot().active, 0);
    }
}
