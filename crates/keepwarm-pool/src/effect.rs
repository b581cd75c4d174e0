//! Effects: actions that the pool has decided, for its driver to perform.

use crate::{
    ClaimId, CloseReason, Closer, ConnectionId, DialId, DialPermit, Lease, Moment, Place,
    RejectReason, WaiterId,
};

/// One action, in the order of decision.
#[derive(Debug)]
pub enum Effect {
    /// Start a dial. It ends in [`Pool::dialed`](crate::Pool::dialed) or
    /// [`Pool::dial_failed`](crate::Pool::dial_failed).
    Dial(DialPermit),
    /// Stop this dial: its connection is not needed. Its permit still has to be returned, by
    /// either input.
    AbortDial(DialId),
    /// Give this connection to this waiter. The waiter has ended.
    Assign(Assigned),
    /// Tell this waiter that it gets no connection. The waiter has ended.
    Reject {
        /// The checkout that failed.
        waiter: WaiterId,
        /// The reason.
        reason: RejectReason,
    },
    /// Ask for a place for one more connection, see [`SharedLimit`](crate::SharedLimit). It ends in
    /// [`Pool::granted`](crate::Pool::granted) or in [`Effect::Withdraw`], or in both if they
    /// cross.
    Claim {
        /// The claim.
        claim: ClaimId,
        /// The moment since when its waiter has waited.
        since: Moment,
    },
    /// Withdraw this claim: it is not needed any more.
    Withdraw(ClaimId),
    /// Release the place of a connection or dial that is gone, to any pool. Performed after the
    /// close that comes before it.
    Release(Place),
    /// Close this connection. The pool has forgotten it.
    Close {
        /// The connection to close.
        connection: ConnectionId,
        /// The reason.
        reason: CloseReason,
        /// The side that closed first.
        closer: Closer,
    },
}

/// A connection assigned to a waiter, with the pool's knowledge of it.
#[derive(Debug)]
pub struct Assigned {
    /// The checkout that is served.
    pub waiter: WaiterId,
    /// The right to use the connection.
    pub lease: Lease,
    /// Exchanges that this connection has served before; of a shared one, those that it has begun.
    pub exchanges: u64,
    /// The moment since when it had been idle; `None` when it came directly from a dial or another
    /// lease.
    pub idle_since: Option<Moment>,
    /// Exchanges on the connection now, this one included: one, unless it is shared.
    pub streams: u32,
}

impl Assigned {
    /// Returns true if the connection has served an exchange before.
    #[must_use]
    pub const fn reused(&self) -> bool {
        self.exchanges > 0
    }
}
