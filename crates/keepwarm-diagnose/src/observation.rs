//! What was observed of one destination: the evidence of [`judge`](crate::judge()).
//!
//! Numbers only. Unknown is `None`, never 0.

use std::time::Duration;

use crate::Resets;
use crate::knowledge::Runtime;

/// The side of a connection that was observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that called connect(2).
    Client,
    /// The one that called accept(2).
    Server,
}

/// One destination over one window, as one side of it saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// Which side.
    pub side: Side,
    /// How long; zero for one look, in which nothing is opened or closed.
    pub window: Duration,
    /// Connections opened.
    pub opened: u64,
    /// Connections closed by FIN, this side's first.
    pub local_fin: u64,
    /// Connections closed by FIN, the other side's first.
    pub remote_fin: u64,
    /// Connections that this side aborted with nothing unread.
    pub local_rst: u64,
    /// Connections that the other side aborted.
    pub remote_rst: u64,
    /// Connections that this side closed with data unread.
    pub undrained: u64,
    /// Connections closed in a way that could not be told.
    pub unclassified: u64,
    /// Connects that failed.
    pub connect_failed: u64,
    /// Requests per connection.
    pub requests: Option<Requests>,
    /// Idle time before closes that this side began.
    pub idle_local: Option<Idle>,
    /// Idle time before closes that the other side began.
    pub idle_remote: Option<Idle>,
    /// Connections open at the start.
    pub alive_at_start: u64,
    /// Connections open at the end.
    pub alive: u64,
    /// Of these in ESTABLISHED.
    pub established: u64,
    /// As many as stayed open between bursts, if that could be seen.
    pub idle_set: Option<u64>,
    /// Of these in CLOSE_WAIT.
    pub close_wait: u64,
    /// CLOSE_WAIT at the start.
    pub close_wait_at_start: u64,
    /// Connections this side closed first within the last minute: its TIME_WAITs.
    pub time_wait: u64,
    /// Local ports towards the destination; `None` for a server, or where it is not known.
    pub ports: Option<Ports>,
    /// Why connections were reset; `None` where nothing is traced.
    pub resets: Option<Resets>,
    /// What program this side is, if it was recognised.
    pub runtime: Option<Runtime>,
    /// What went over the connections that are open at the end.
    pub open: Option<Open>,
    /// Which kinds of evidence this kernel does not give.
    pub untold: Untold,
    /// Where closes are not counted: what looks alone saw. Opens, closes, requests and idle times
    /// are not known then.
    pub glimpsed: Option<Glimpsed>,
}

/// Connections that are open, and carried something within the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// How many.
    pub connections: u64,
    /// Segments with data from the client: its requests, if each is one segment.
    pub requests: u64,
    /// Segments with data from the server.
    pub answers: u64,
}

/// Kinds of evidence that a test at the start did not find on this kernel: what rests on them is
/// withheld.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Untold {
    /// Who closed first.
    pub closer: bool,
    /// Who aborted.
    pub abort: bool,
    /// Whether data was left unread.
    pub unread: bool,
    /// Requests per connection.
    pub requests: bool,
}

/// What looks tell of a destination where no event counts: bounds from below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glimpsed {
    /// Connections opened, at least.
    pub opened: u64,
    /// Connections opened on the whole host by this side of them, as its counter says.
    pub opened_at_most: Option<u64>,
    /// Connections this side closed first, at least: new TIME_WAITs; `None` where the system does
    /// not list them.
    pub closed_first: Option<u64>,
    /// Connections that ended without a TIME_WAIT here.
    pub gone: u64,
    /// Of both: those that had been open for two seconds and more.
    pub kept_closed: u64,
    /// Connections open now that have been for two seconds and more.
    pub kept: u64,
}

/// Requests per connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Requests {
    /// Connections counted.
    pub connections: u64,
    /// Requests on all of them.
    pub total: u64,
    /// The median.
    pub p50: u32,
    /// The maximum.
    pub max: u32,
    /// The share of connections that carried nothing.
    pub none_share: f64,
    /// The most common number, within 3 %.
    pub common: u32,
    /// The share of connections that carried this number.
    pub common_share: f64,
}

/// Idle time before a close.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Idle {
    /// Closes counted.
    pub closes: u64,
    /// The median in milliseconds.
    pub p50_ms: u32,
    /// The most common time, within 3 %.
    pub common_ms: u32,
    /// The share of closes after this time.
    pub common_share: f64,
}

/// Local ports towards one destination.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ports {
    /// Ports taken now, TIME_WAIT included.
    pub used: u64,
    /// Ports there are.
    pub range: u64,
    /// When half of them are taken, and connect(2) gets slow; `None`: never at this rate.
    pub cliff_in: Option<Duration>,
    /// When all of them are taken, and connect(2) fails; `None`: never at this rate.
    pub exhausted_in: Option<Duration>,
}

impl Observation {
    /// Connections closed, by any means.
    #[must_use]
    pub const fn closed(&self) -> u64 {
        self.local() + self.remote() + self.unclassified
    }

    const fn local(&self) -> u64 {
        self.local_fin + self.local_rst + self.undrained
    }

    const fn remote(&self) -> u64 {
        self.remote_fin + self.remote_rst
    }

    /// Connections that the client closed first, whichever side was observed.
    #[must_use]
    pub const fn by_client(&self) -> u64 {
        match self.side {
            Side::Client => self.local(),
            Side::Server => self.remote(),
        }
    }

    /// Connections that the server closed first.
    #[must_use]
    pub const fn by_server(&self) -> u64 {
        match self.side {
            Side::Client => self.remote(),
            Side::Server => self.local(),
        }
    }

    /// Idle time before closes that the client began.
    #[must_use]
    pub const fn idle_by_client(&self) -> Option<Idle> {
        match self.side {
            Side::Client => self.idle_local,
            Side::Server => self.idle_remote,
        }
    }

    /// Idle time before closes that the server began.
    #[must_use]
    pub const fn idle_by_server(&self) -> Option<Idle> {
        match self.side {
            Side::Client => self.idle_remote,
            Side::Server => self.idle_local,
        }
    }
}
