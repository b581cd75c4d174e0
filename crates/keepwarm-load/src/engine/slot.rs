//! One place for a connection, and the state it is in. Owns the fields and the drawing; the
//! transitions are in `dial` and `exchange`.
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
//!  the run ends, from any state: Dialing is abandoned, all that is open is counted as still open,
//!  and the requests of Dialing and Exchanging fail, unanswered
//! ```
//!
//! With TLS, `Handshaking` lies between `Dialing` and `Exchanging`; it fails to `BackingOff`. A slot
//! holds a request from the pacer in these three, and a socket in these and in `Open` and `Leaving`.

use std::time::Instant;

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustls::ClientConnection;

use crate::framing::Framing;
use crate::ledger::CloseCause;
use crate::plan::{Message, Plan};

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
    /// Established, and between two requests.
    Open,
    /// Carries no further request. The socket is read until empty, to see whether the peer has
    /// closed first; with `wait` until the peer closes or the timer ends.
    Leaving { cause: CloseCause, wait: bool },
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) socket: Option<OwnedFd>,
    /// The kernel has said that FIN, RST or an error is there: read on until it shows.
    pub(super) hangup: bool,
    /// Writing failed; what has come from the peer is still read before judging.
    pub(super) write_error: Option<Errno>,
    /// It is in the queue of idle connections, perhaps from before its connection ended.
    pub(super) parked: bool,
    /// Which of the plan's requests the current one is.
    pub(super) which: usize,
    /// It is the last one of its connection.
    pub(super) is_last: bool,
    /// The current request, if it changes from one time to the next; else empty.
    pub(super) rendered: Vec<u8>,
    /// Bytes of the current request that are written.
    pub(super) written: usize,
    /// Requests of which a byte was written on this connection.
    pub(super) requests: u64,
    /// When the current request was due: in a closed loop, when its slot was free for it.
    pub(super) due_at: Instant,
    /// When the first byte of the current request was about to be written.
    pub(super) sent_at: Instant,
    /// When connect(2) was called.
    pub(super) dialed_at: Instant,
    /// When the connection was seen to be established.
    pub(super) opened_at: Instant,
    /// Index of the first endpoint of the current dial.
    pub(super) first_endpoint: usize,
    /// Endpoints tried for the current dial.
    pub(super) endpoints_tried: usize,
    /// Dials that failed in a row.
    pub(super) failed_dials: u32,
    /// The one timer of a slot: timeout, end of the back-off, or end of waiting for the peer.
    pub(super) wake_at: Option<Instant>,
    pub(super) framing: Framing,
    /// The TLS side of the connection, if it has one.
    pub(super) tls: Option<Box<ClientConnection>>,
    /// The peer has said in TLS that it sends nothing more, so that its FIN is no truncation.
    pub(super) end_announced: bool,
}

/// The request that a slot writes. Takes the fields that say so, because others change meanwhile.
#[inline]
pub(super) fn request<'a>(
    plan: &'a Plan,
    which: usize,
    is_last: bool,
    rendered: &'a [u8],
) -> &'a [u8] {
    match plan.prepared()[which].message(is_last) {
        Message::Fixed(bytes) => bytes,
        Message::Changing(_) => rendered,
    }
}

impl Slot {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Vacant,
            socket: None,
            hangup: false,
            write_error: None,
            parked: false,
            which: 0,
            is_last: false,
            rendered: Vec::new(),
            written: 0,
            requests: 0,
            due_at: now,
            sent_at: now,
            dialed_at: now,
            opened_at: now,
            first_endpoint: 0,
            endpoints_tried: 0,
            failed_dials: 0,
            wake_at: None,
            framing: Framing::new(),
            tls: None,
            end_announced: false,
        }
    }
}
