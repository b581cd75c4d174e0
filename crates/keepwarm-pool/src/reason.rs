//! Closed lists of reasons: why a connection was closed, by which side, and why a checkout was
//! rejected.

/// Reason why a connection was closed. Every close has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The connection returned healthy, no request waited, and `max_idle` connections were idle
    /// already. Go's `errTooManyIdleHost`.
    IdleLimit,
    /// The connection had been idle the longest when the idle connections of all origins together
    /// exceeded their limit. Go's `errTooManyIdle`.
    TotalIdleLimit,
    /// All origins together had as many connections as they may, and a request needed room for
    /// another one: the connection had been idle the longest, or it returned while that request had
    /// waited much longer than the waiter of its own origin.
    TotalLimit,
    /// The connection was idle for the idle timeout. Go's `errIdleConnTimeout`.
    IdleTimeout,
    /// The pool shut down.
    ShutDown,
    /// The caller asked for all open connections to be closed. Go's `errCloseIdleConns`.
    CloseIdle,
    /// The connection returned healthy, and had served as many exchanges as one connection may.
    ExchangeLimit,
    /// The connection was as old as a connection may become. It was idle, or returned healthy.
    Lifetime,
    /// The server had announced that it would not keep the connection longer, or serve no more
    /// exchanges on it: the `Keep-Alive` field of a response.
    ServerLimit,
    /// The connection had been idle for nearly as long as the server keeps idle connections. That
    /// time was learned from connections that the server closed.
    LearnedTimeout,
    /// The server has broken so many used connections that the retry budget of the origin was
    /// spent: until it recovers, connections are closed after one exchange.
    Distrusted,
    /// The name of the origin has lost the address that the connection is open to. It was idle, or
    /// returned healthy.
    AddressGone,
    /// Another connection to the same address had died in silence, and this one showed no sign of
    /// life afterwards.
    Suspect,
    /// The peer said that it takes no new streams (GOAWAY), and the last one has ended.
    GoAway,
    /// The peer did not answer a ping.
    PingTimeout,
    /// So many streams were given up on the connection that its peer might have taken it for an
    /// attack: the last one has ended.
    ResetBudget,
    /// The connection has no stream number left, and its last stream has ended.
    StreamIds,
    /// The peer closed or reset the connection while it was idle. Go's `errServerClosedIdle`.
    PeerClosedIdle,
    /// Bytes arrived while the connection was idle: they belong to no request, so no later response
    /// could be trusted.
    StrayBytes,
    /// The exchange was complete, and client and server had agreed not to continue:
    /// `Connection: close`, HTTP/1.0, or a body that ends with the connection (RFC 9112, 9.3). Or
    /// its framing was in doubt: a length beside a transfer coding (RFC 9112, 6.3).
    NotPersistent,
    /// The exchange failed: reset, end of file within it, malformed bytes.
    ExchangeFailed,
    /// The caller gave up within the exchange, dropped the request, timed out, or dropped a body;
    /// and too much was left of the response, or it came too slowly, to be drained.
    Abandoned,
    /// The response was complete, and the request body was not within the time it was given.
    UploadUnfinished,
}

impl CloseReason {
    /// All reasons, in the order of their indices.
    pub const ALL: [Self; 23] = [
        Self::IdleLimit,
        Self::TotalIdleLimit,
        Self::TotalLimit,
        Self::IdleTimeout,
        Self::ShutDown,
        Self::CloseIdle,
        Self::ExchangeLimit,
        Self::Lifetime,
        Self::ServerLimit,
        Self::LearnedTimeout,
        Self::Distrusted,
        Self::AddressGone,
        Self::Suspect,
        Self::GoAway,
        Self::PingTimeout,
        Self::ResetBudget,
        Self::StreamIds,
        Self::PeerClosedIdle,
        Self::StrayBytes,
        Self::NotPersistent,
        Self::ExchangeFailed,
        Self::Abandoned,
        Self::UploadUnfinished,
    ];

    /// Returns the name used in statistics and JSON: `snake_case`, stable.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IdleLimit => "idle_limit",
            Self::TotalIdleLimit => "total_idle_limit",
            Self::TotalLimit => "total_limit",
            Self::IdleTimeout => "idle_timeout",
            Self::ShutDown => "shut_down",
            Self::CloseIdle => "close_idle",
            Self::ExchangeLimit => "exchange_limit",
            Self::Lifetime => "lifetime",
            Self::ServerLimit => "server_limit",
            Self::LearnedTimeout => "learned_timeout",
            Self::Distrusted => "distrusted",
            Self::AddressGone => "address_gone",
            Self::Suspect => "suspect",
            Self::GoAway => "go_away",
            Self::PingTimeout => "ping_timeout",
            Self::ResetBudget => "reset_budget",
            Self::StreamIds => "stream_ids",
            Self::PeerClosedIdle => "peer_closed_idle",
            Self::StrayBytes => "stray_bytes",
            Self::NotPersistent => "not_persistent",
            Self::ExchangeFailed => "exchange_failed",
            Self::Abandoned => "abandoned",
            Self::UploadUnfinished => "upload_unfinished",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Side that closed a connection first, as far as the client could see.
///
/// A FIN that has arrived but was not read yet is not seen; the kernel's record is authoritative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Closer {
    /// This client.
    Client,
    /// The server, by FIN or RST.
    Server,
}

impl Closer {
    /// All sides, in the order of their indices.
    pub const ALL: [Self; 2] = [Self::Client, Self::Server];

    /// Returns the name used in statistics and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// Reason why a checkout was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The queue held as many waiters as allowed.
    TooManyWaiters,
    /// A dial failed: no connection is open and the dial began after this waiter came, or fewer
    /// dials than waiters were left and this waiter had waited longest.
    DialFailed,
    /// The pool has shut down.
    ShutDown,
}

impl RejectReason {
    /// All reasons, in the order of their indices.
    pub const ALL: [Self; 3] = [Self::TooManyWaiters, Self::DialFailed, Self::ShutDown];

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}
