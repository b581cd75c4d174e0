//! Ids and tokens that the pool hands out.
//!
//! A permit and a lease are capacity as a value: only the pool mints them, they cannot be copied,
//! and the inputs that end a dial or an exchange consume them. The number of dials and the holder
//! of a connection therefore cannot be miscounted.

/// Id of a connection of one pool. Never used again by that pool once the connection has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    pub(crate) index: u32,
    pub(crate) generation: u64,
}

impl ConnectionId {
    /// Returns a small number, unique among the connections that are alive, fit to index a table
    /// with: it stays below the largest number of connections that were ever alive at once.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// Id of a checkout of one pool.
///
/// Ids are ordered as waiters are served: a request whose connection broke
/// ([`Pool::replace`](crate::Pool::replace)) comes before the others, since it had been served
/// before any of them; otherwise later checkouts have greater ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaiterId {
    pub(crate) rank: Rank,
    /// Grows with every checkout and every dial.
    pub(crate) number: u64,
}

/// Rank of a waiter, the first to be served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rank {
    /// The request had a connection, which broke.
    Again,
    /// The request has had no connection yet.
    First,
}

/// The connection that a request takes in place of a broken one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Replacement {
    /// Any connection, idle ones included: the server cannot have seen the request.
    Any,
    /// A connection that was never used, which only a dial supplies: the other idle connections
    /// may have broken in the same way.
    Fresh,
}

/// How many requests a new connection serves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capacity {
    /// One: HTTP/1.1.
    Exclusive,
    /// As many as its peer allows: HTTP/2.
    Shared {
        /// Streams that the peer allows at once, by its latest word.
        streams: u32,
    },
}

/// Id of a dial of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub(crate) u64);

impl DialId {
    /// Returns a number that no other dial of this pool has.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// Id of a pool's claim for a [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimId(pub(crate) u64);

/// The right to dial one connection.
///
/// Ends in [`Pool::dialed`](crate::Pool::dialed) or
/// [`Pool::dial_failed`](crate::Pool::dial_failed). A permit that is dropped instead is capacity
/// lost for ever: guard it.
#[must_use = "a permit that is dropped is capacity lost for ever"]
#[derive(Debug)]
pub struct DialPermit {
    pub(crate) dial: DialId,
}

impl DialPermit {
    /// Returns the dial that this permit allows.
    #[must_use]
    pub const fn dial(&self) -> DialId {
        self.dial
    }
}

/// The right to have one connection, of those that several pools may have together.
///
/// A [`SharedLimit`](crate::SharedLimit) mints it, a pool holds it from before the dial until after
/// the close, and then releases it. A place that is dropped instead is capacity lost for ever.
#[must_use = "a place that is dropped is capacity lost for ever"]
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub(crate) minted: (),
}

/// The right to use one connection for one exchange: the whole of an exclusive one, a stream of a
/// shared one.
///
/// Ends in [`Pool::returned`](crate::Pool::returned) or [`Pool::closed`](crate::Pool::closed).
/// A lease that is dropped instead is a connection lost for ever: guard it.
#[must_use = "a lease that is dropped is a connection lost for ever"]
#[derive(Debug)]
pub struct Lease {
    pub(crate) connection: ConnectionId,
}

impl Lease {
    /// Returns the connection that this lease is for.
    #[must_use]
    pub const fn connection(&self) -> ConnectionId {
        self.connection
    }
}
