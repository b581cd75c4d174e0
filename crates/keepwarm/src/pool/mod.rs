//! The pools of a client, one for each origin, and what all origins share.
//!
//! `keepwarm-pool` decides; this folder puts live connections beside its state machine, and
//! performs the effects. Knows no exchange: a [`lease::Lease`] that is dropped within an exchange
//! calls the function that the exchange has given it.
//!
//! | module | content |
//! |---|---|
//! | `origin` | [`Origin`](origin::Origin): one pool with its connections; `feed` is the only way to it |
//! | `origins` | the map of all origins of a client |
//! | `lease` | a connection on loan: returns or closes it exactly once |
//! | `stream_lease` | a stream of a shared connection on loan, and what such a connection says |
//! | `calm` | the pause before a dial that a server asks for |
//! | `dial` | establishing a connection, in a task of the pool |
//! | `freshness` | which addresses a name has lost |
//! | `keeper` | the task that inspects idle sockets, and closes expired connections |
//! | `closing` | the orderly end of a client |
//! | `connection_limit`, `idle_limit` | limits on all origins together |
//! | `retry_budget` | how many requests may be sent a second time |

pub(crate) mod calm;
pub(crate) mod closing;
pub(crate) mod connection_limit;
pub(crate) mod dial;
pub(crate) mod freshness;
pub(crate) mod idle_limit;
pub(crate) mod keeper;
pub(crate) mod lease;
pub(crate) mod origin;
pub(crate) mod origins;
pub(crate) mod retry_budget;
pub(crate) mod stream_lease;
