//! What the pool wants done. Performing it is the driver's part.

use crate::{
    ClaimId, CloseReason, Closer, ConnectionId, DialId, DialPermit, Lease, Moment, Place,
    RejectReason, WaiterId,
};

/// One thing to do, in the order in which it was decided.
#[derive(Debug)]
pub enum Effect {
    /// Start a dial. It ends in [`Pool::dialed`](crate::Pool::dialed) or
    /// [`Pool::dial_failed`](crate::Pool::dial_failed).
    Dial(DialPermit),
    /// Stop this dial: nobody will want its connection. Its permit still has to come back, by
    /// either input.
    AbortDial(DialId),
    /// Give this connection to this waiter. The waiter has ended.
    Assign(Assigned),
    /// Tell this waiter that it gets none, and why. The waiter has ended.
    Reject {
        /// The checkout that failed.
        waiter: WaiterId,
        /// Why.
        reason: RejectReason,
    },
    /// Ask for a place for one more connection, see [`Budget`](crate::Budget). It ends in
    /// [`Pool::granted`](crate::Pool::granted) or in [`Effect::Withdraw`], or in both if they cross.
    Claim {
        /// Which claim.
        claim: ClaimId,
        /// Since when the waiter whom it is for has waited.
        since: Moment,
    },
    /// This claim is not needed any more.
    Withdraw(ClaimId),
    /// A connection is gone, or a dial: its place is free for any pool. To be performed after the
    /// close that comes before it.
    Release(Place),
    /// Close this connection. The pool has forgotten it.
    Close {
        /// The connection to close.
        connection: ConnectionId,
        /// Why.
        reason: CloseReason,
        /// Who closed first.
        closer: Closer,
    },
}

/// A connection given to a waiter, with what the pool knows about it.
#[derive(Debug)]
pub struct Assigned {
    /// The checkout that is served.
    pub waiter: WaiterId,
    /// The right to use the connection.
    pub lease: Lease,
    /// Exchanges that this connection has served before.
    pub exchanges: u64,
    /// Since when it had been idle; `None` when it came directly from a dial or another lease.
    pub idle_since: Option<Moment>,
}

impl Assigned {
    /// Whether the connection has served an exchange before.
    #[must_use]
    pub const fn reused(&self) -> bool {
        self.exchanges > 0
    }
}
