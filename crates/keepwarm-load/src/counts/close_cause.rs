//! Reasons for which this side closes a connection.

use std::fmt;

/// Why this side closed a connection.
///
/// "Closed by us" is decided when the socket is closed: it has been read until empty, and neither
/// the peer's FIN nor its RST had arrived. A FIN that crosses ours on the wire is not seen. When
/// both sides close at once, each side has closed first as far as it can know, and both sides keep
/// a TIME_WAIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCause {
    /// The response was the last one: `Connection: close`, or HTTP/1.0 without keep-alive.
    ResponseSaidClose,
    /// The plan asks for one request per connection.
    OnePerConnection,
    /// The connection had carried as many requests as the plan allows.
    RequestLimit,
    /// The connection had reached the age that the plan allows.
    MaxLifetime,
    /// The server was expected to close first and did not within a second.
    PeerKeptOpen,
    /// The response was delimited in two ways at once (RFC 9112, section 6.3). The exchange is
    /// complete, but the connection is not trusted with another one.
    AmbiguousFraming,
    /// Bytes arrived that belong to no response.
    StrayBytes,
    /// The response was complete before the request was.
    EarlyResponse,
    /// The bytes received were not a response, or exceeded the limits.
    BadResponse,
    /// The kernel reported an error on the connection other than the peer's RST.
    SocketError,
    /// The body of the request could not be read, so that its end was never written.
    BodyFailed,
    /// The server announced the end of the connection (GOAWAY of HTTP/2), and every request on it has
    /// its outcome.
    GoAway,
    /// The stream ids of the connection are used up (HTTP/2).
    StreamsUsedUp,
    /// The server allowed no stream for as long as a request may take (HTTP/2).
    NoStreams,
    /// The TLS handshake failed: the certificate was refused, or the peer does not speak TLS.
    TlsFailed,
}

impl CloseCause {
    /// Every cause, in the order of reports.
    pub const ALL: [Self; 15] = [
        Self::ResponseSaidClose,
        Self::OnePerConnection,
        Self::RequestLimit,
        Self::MaxLifetime,
        Self::PeerKeptOpen,
        Self::AmbiguousFraming,
        Self::StrayBytes,
        Self::EarlyResponse,
        Self::BadResponse,
        Self::SocketError,
        Self::BodyFailed,
        Self::GoAway,
        Self::StreamsUsedUp,
        Self::NoStreams,
        Self::TlsFailed,
    ];

    /// Returns a stable name for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ResponseSaidClose => "response_said_close",
            Self::OnePerConnection => "one_per_connection",
            Self::RequestLimit => "request_limit",
            Self::MaxLifetime => "max_lifetime",
            Self::PeerKeptOpen => "peer_kept_open",
            Self::AmbiguousFraming => "ambiguous_framing",
            Self::StrayBytes => "stray_bytes",
            Self::EarlyResponse => "early_response",
            Self::BadResponse => "bad_response",
            Self::SocketError => "socket_error",
            Self::BodyFailed => "body_failed",
            Self::GoAway => "goaway",
            Self::StreamsUsedUp => "streams_used_up",
            Self::NoStreams => "no_streams",
            Self::TlsFailed => "tls_failed",
        }
    }
}

impl fmt::Display for CloseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
