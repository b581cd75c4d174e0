//! The pure state machine of a connection pool: it decides which connection serves which request.
//!
//! This crate owns the *decisions* of one origin's pool and nothing else. It performs no I/O, reads
//! no clock, knows no bytes, spawns no tasks and wakes none; being `no_std`, it cannot. Its driver
//! (the `keepwarm` client in production, a model in the tests) feeds it inputs and performs the
//! effects that it hands out.
//!
//! # Inputs and effects
//!
//! There are five kinds of methods on [`Pool`]:
//!
//! * **inputs**, `&mut self` and the time: [`checkout`](Pool::checkout),
//!   [`replace`](Pool::replace), [`cancel`](Pool::cancel), [`dialed`](Pool::dialed),
//!   [`dial_failed`](Pool::dial_failed), [`dial_refused`](Pool::dial_refused), [`advised`](Pool::advised) (which alone takes no time),
//!   [`returned`](Pool::returned), [`closed`](Pool::closed), [`inspect`](Pool::inspect),
//!   [`returned_unused`](Pool::returned_unused), [`evict_oldest`](Pool::evict_oldest),
//!   [`close_idle`](Pool::close_idle), [`distrust_used`](Pool::distrust_used),
//!   [`trust_used`](Pool::trust_used), [`tick`](Pool::tick), [`shut_down`](Pool::shut_down);
//! * **inputs about one connection**, which may be in use by several requests:
//!   [`resized`](Pool::resized), [`draining`](Pool::draining), [`suspect`](Pool::suspect),
//!   [`trusted`](Pool::trusted), [`lost`](Pool::lost), [`go_again`](Pool::go_again);
//! * **inputs of a limit shared with other pools**: [`granted`](Pool::granted),
//!   [`deferred`](Pool::deferred), [`oldest_claim_waits`](Pool::oldest_claim_waits); see
//!   [`SharedLimit`];
//! * **outputs**: [`poll_effect`](Pool::poll_effect), to be called after each input until it
//!   returns `None`, and [`next_deadline`](Pool::next_deadline);
//! * **gauges and counters**, which only read.
//!
//! # A connection's life
//!
//! ```text
//!   Effect::Dial(permit)
//!        │
//!    dialing ──── dial_failed(permit) ───────────────► gone (never opened)
//!        │ dialed(permit)
//!        ▼
//!    ┌─────────┐   Effect::Assign(lease)    ┌─────────┐
//!    │  idle   │ ─────────────────────────► │ active  │
//!    │         │ ◄───────────────────────── │         │
//!    └─────────┘   returned(lease), no      └─────────┘
//!        │         waiter, room to idle          │
//!        │ idle timeout, lifetime, advice,       │ closed(lease), or returned(lease) with no room
//!        │ eviction, close_idle, shutdown        │ or a reason to retire
//!        ▼                                       ▼
//!        Effect::Close(reason, closer), exactly once
//! ```
//!
//! # Exclusive and shared connections
//!
//! A lease is a stream. An exclusive connection (HTTP/1.1) has one; a shared one (HTTP/2) has as
//! many as its peer and [`max_streams`](Settings::max_streams) allow, and is active while one of
//! them is leased. The fullest connection with room serves first, so that surplus ones go idle and
//! expire. One that is *draining* takes no new request and closes with its last stream; one that is
//! *suspect* takes none while a dial can serve instead; one whose peer allows no stream is waited for.
//! After every input that may have added room, one loop serves the waiters.
//!
//! Dials start for the waiters that those under way are not expected to serve. The forecast is the
//! latest outcome of a dial, and at first that of the settings: see [`Sharing`]. An unknown origin's
//! first dial is expected to serve a burst. That gate opens for one dial each when the answer is an
//! exclusive connection, or none; and by one dial for each [`GATE_STEP`](Pool::GATE_STEP).
//!
//! # A waiter's life
//!
//! ```text
//!   checkout ──► waiting ──► Effect::Assign   (the first of a return and a finished dial)
//!                   │  └───► Effect::Reject   (dial failed, too many waiters, shut down)
//!                   └──────► cancel           (no effect)
//! ```
//!
//! # Obligations
//!
//! Each is a test that runs after every input of every generated sequence (`tests/`).
//! [`replace`](Pool::replace) is the exception to three of the sentences: its waiter is served
//! before those that came earlier, since its request had been served before them; one that wants a
//! fresh connection waits for a dial although a connection is idle; and a waiter that takes any
//! connection may be served by one that the first does not want.
//!
//! *Safety.* A connection is in exactly one state, and has no more streams than it may when one is
//! assigned. Dialing + active + idle never exceeds the
//! connection limit. An expired, dismissed or closed connection is never assigned. A waiter ends
//! exactly once. A connection closes exactly once. None that is draining is assigned, nor one that
//! is suspect while a dial could start.
//!
//! *Liveness.* No request waits while a usable idle connection exists, nor while a dial could start
//! for it. While no connection is open, no request waits longer than two dials take, from the
//! moment when it came, or when its pool was first granted a place: see
//! [`dial_failed`](Pool::dial_failed). `tick(next_deadline())` always changes something, unless the deadline is never. After
//! shutdown and the end of all leases and permits, no connection is left.
//!
//! *Fairness.* A waiter is never overtaken by a later one. A request whose connection broke keeps
//! its turn, and the room of that connection is its own.
//!
//! *Economy.* A dial starts only while more waiters exist than the dials under way are expected to
//! serve, so the number of connections
//! alive never exceeds the peak number of simultaneous requests, an inspection counting as one. A
//! hit allocates nothing.
//!
//! # Example
//!
//! ```
//! use keepwarm_pool::{Capacity, Effect, Moment, Pool, Settings};
//!
//! let mut pool = Pool::new(Settings::default());
//! let start = Moment::ZERO;
//!
//! // A miss: the pool asks for a dial.
//! let waiter = pool.checkout(start);
//! let Some(Effect::Dial(permit)) = pool.poll_effect() else { panic!("a dial") };
//!
//! // The dial succeeds: the waiter gets the connection.
//! pool.dialed(permit, Capacity::Exclusive, start);
//! let Some(Effect::Assign(assigned)) = pool.poll_effect() else { panic!("an assignment") };
//! assert_eq!(assigned.waiter, waiter);
//! assert!(!assigned.reused());
//!
//! // The exchange ends, and the next request finds the connection idle: no dial.
//! pool.returned(assigned.lease, start);
//! pool.checkout(start);
//! let Some(Effect::Assign(assigned)) = pool.poll_effect() else { panic!("a hit") };
//! assert!(assigned.reused());
//! ```

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod advice;
mod claims;
mod counts;
mod effect;
mod idle;
mod idle_closes;
mod learned;
mod moment;
mod pool;
mod reason;
mod settings;
mod shared_limit;
mod token;

pub use advice::Advice;
pub use counts::Counts;
pub use effect::{Assigned, Effect};
pub use idle_closes::IdleCloses;
pub use moment::Moment;
pub use pool::Pool;
pub use reason::{CloseReason, Closer, RejectReason};
pub use settings::{Limit, Settings, Sharing};
pub use shared_limit::{SharedLimit, Work};
pub use token::{
    Capacity, ClaimId, ConnectionId, DialId, DialPermit, Lease, Place, Replacement, WaiterId,
};
