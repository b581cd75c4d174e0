//! A slot holds at most one connection. Owns the fields and the state; `dial` and `exchange` own
//! the transitions.
//!
//! ```text
//!              Send, dial                 established
//!   Vacant ───────────────► Dialing ────────────────────► Exchanging ◄───┐
//!    ▲   ▲                     │                           │   │   │     │ Send
//!    │   │ back-off over       │ every address failed      │   │   │     │
//!    │  BackingOff ◄───────────┘ or no answer in time      │   │   └──► Open
//!    │                                                     │   │ response  │
//!    │            failed: FIN, RST, error, timeout         │   │ complete  │ FIN, RST
//!    ├─────────────────────────────────────────────────────┘   │           │
//!    ├─────────────────────────────────────────────────────────┼───────────┘
//!    │      FIN, RST; or read empty, and not waiting;          │ response complete and the last
//!    └───── or waited long enough ◄───────────────── Leaving ◄─┘ one, or not a response
//!
//!  the run ends, from any state: Dialing is abandoned, open connections are counted as still open,
//!  and the requests of Dialing and Exchanging fail as unanswered
//! ```
//!
//! With TLS, `Handshaking` lies between `Dialing` and `Exchanging`; it fails to `BackingOff`. In
//! these three states a slot holds a request from the pacer; in these, `Open` and `Leaving` it
//! holds a socket.

use std::time::Instant;

use keepwarm_http1::Counter;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustls::ClientConnection;

use super::backends::Tried;
use super::capture::Capture;
use super::http2::Http2;
use crate::counts::CloseCause;
use crate::limits::RULES;
use crate::plan::{Outgoing, Plan};

/// The state of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// No connection, no request, no timer.
    Vacant,
    /// A dial has failed; the slot sleeps until its timer.
    BackingOff,
    /// connect(2) is under way for a request.
    Dialing,
    /// TCP is established, TLS not yet, for a request.
    Handshaking,
    /// A request is being written, its response read, or both.
    Exchanging,
    /// The connection is established, and between two requests.
    Open,
    /// The connection carries no further request. The socket is read until empty, to see whether
    /// the peer has closed first; with `wait`, until the peer closes or the timer ends.
    Leaving { cause: CloseCause, wait: bool },
}

/// A request in flight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Current {
    /// Index among the plan's requests.
    pub(super) which: usize,
    /// The request is the last one of its connection.
    pub(super) is_last: bool,
    /// Number of bytes that are written.
    pub(super) written: usize,
    /// Number of bytes to write with HTTP/1.1; 0 before the exchange begins.
    pub(super) length: usize,
    /// Number of the request on its connection, from 1; 0 before a byte is written.
    pub(super) nth: u64,
    /// Time at which the request was due. In a closed loop, when its slot became free.
    pub(super) due_at: Instant,
    /// Time at which the first byte was about to be written.
    pub(super) sent_at: Instant,
    /// Number of the request in the run, from 0.
    pub(super) number: u64,
    /// Times that the request was given back by a server that has not processed it.
    pub(super) given_back: u8,
}

impl Current {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            which: 0,
            is_last: false,
            written: 0,
            length: 0,
            nth: 0,
            due_at: now,
            sent_at: now,
            number: 0,
            given_back: 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) socket: Option<OwnedFd>,
    /// The kernel has announced a FIN, an RST or an error: read on until it appears.
    pub(super) hangup: bool,
    /// Writing failed. Bytes from the peer are still read before the cause is decided.
    pub(super) write_error: Option<Errno>,
    /// The slot is in the queue of idle connections, perhaps since before its connection ended.
    pub(super) in_idle_queue: bool,
    /// The request in flight; of a connection with several, the one that is handled.
    pub(super) current: Current,
    /// Start of the current request, if it is made from a template; else unused.
    pub(super) rendered: Vec<u8>,
    /// Requests on this connection of which a byte was written.
    pub(super) requests: u64,
    /// Time at which connect(2) was called.
    pub(super) dialed_at: Instant,
    /// Time at which the connection was seen to be established.
    pub(super) opened_at: Instant,
    /// Number of the connection in the run, from 1; 0 before the first one is established.
    pub(super) connection: u64,
    /// Index of the address of the connection, or of the one tried last.
    pub(super) endpoint: usize,
    /// Place at which the current dial began among the addresses.
    pub(super) first_endpoint: usize,
    /// Addresses tried for the current dial.
    pub(super) tried: Tried,
    /// Number of dials that failed in a row.
    pub(super) failed_dials: u32,
    /// The only timer of a slot: timeout, end of the back-off, or end of waiting for the peer.
    pub(super) wake_at: Option<Instant>,
    pub(super) response: Counter,
    /// Reads the content of responses, if the plan looks at it.
    pub(super) capture: Option<Box<Capture>>,
    /// The HTTP/2 side of the connection, if it has one.
    pub(super) http2: Option<Box<Http2>>,
    /// The TLS side of the connection, if it has one.
    pub(super) tls: Option<Box<ClientConnection>>,
    /// The peer has announced its end in TLS (close_notify), so its FIN does not truncate data.
    pub(super) end_announced: bool,
    /// The next connection of the slot is opened because streams ran out.
    pub(super) is_for_streams: bool,
    /// Bytes have arrived that belong to no response.
    pub(super) stray: bool,
}

/// Returns the request that a slot writes. Takes single fields, because the caller changes others
/// of the same slot meanwhile.
#[inline]
pub(super) fn request<'a>(
    plan: &'a Plan,
    which: usize,
    is_last: bool,
    rendered: &'a [u8],
) -> Outgoing<'a> {
    plan.prepared()[which].message(is_last).outgoing(rendered)
}

impl Slot {
    /// Returns the number of requests from the pacer that the slot holds.
    pub(super) fn in_flight(&self) -> usize {
        match (self.state, &self.http2) {
            (State::Exchanging, Some(http2)) => http2.streams.len(),
            (State::Dialing | State::Handshaking | State::Exchanging, _) => 1,
            _ => 0,
        }
    }

    /// Returns true if the slot has a connection of HTTP/2 that is not about to end.
    pub(super) fn takes_streams(&self) -> bool {
        matches!(self.state, State::Open | State::Exchanging)
            && self.http2.as_ref().is_some_and(|http2| !http2.is_leaving())
    }

    pub(super) fn new(now: Instant, capture: Option<Box<Capture>>) -> Self {
        Self {
            state: State::Vacant,
            socket: None,
            hangup: false,
            write_error: None,
            in_idle_queue: false,
            current: Current::new(now),
            rendered: Vec::new(),
            requests: 0,
            dialed_at: now,
            opened_at: now,
            connection: 0,
            endpoint: 0,
            first_endpoint: 0,
            tried: Tried::default(),
            failed_dials: 0,
            wake_at: None,
            response: Counter::new(RULES),
            capture,
            http2: None,
            tls: None,
            end_announced: false,
            is_for_streams: false,
            stray: false,
        }
    }
}
