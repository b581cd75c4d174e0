//! The verdict of a rule: a cause, with its numbers in words and the setting that fixes it.
//!
//! Owns the causes and their codes. The rules find them; the tables of
//! [`knowledge`](crate::knowledge) have the advice.

use crate::evidence::Side;

/// A cause of connection churn, or the absence of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// D1: the client opens a connection for each request and closes it itself.
    ClientPerRequest,
    /// D2: fewer connections may idle than are used at once, so healthy ones are closed on return.
    IdlePoolTooSmall {
        /// Size of the idle set: connections left open after a burst.
        idle: u64,
    },
    /// D3: the client closes responses that it has not read to their end.
    BodyNotDrained,
    /// D4: the server closes idle connections before the client does.
    ServerTimeout {
        /// Idle milliseconds before the close, if a common time was found.
        idle_ms: Option<u32>,
    },
    /// D5: the server closes each connection after a number of requests.
    RequestLimit {
        /// Requests a connection.
        limit: u32,
    },
    /// D6: one request a connection, because one side says `Connection: close` or HTTP/1.0.
    ConnectionClose {
        /// The side that says it; `None` from the kernel's evidence alone, which cannot show it.
        said_by: Option<Side>,
    },
    /// D7: the program does not close connections that its peer has closed.
    CloseWaitLeak,
    /// D8: connections without a request.
    Probes,
    /// D9: connects fail.
    ConnectsFail,
    /// D9 at the server: the program does not accept connections as fast as they come.
    AcceptQueueFull,
    /// D10: the local ports towards a service run out.
    PortBudget,
    /// D11: closed by the client's own idle timeout: deliberate.
    Expiry,
    /// D12: few long connections whose requests cannot be counted: no churn.
    Multiplexed,
    /// D13: requests are given up before their answer.
    GivenUp {
        /// Milliseconds that the client waited, if a common time was found: its deadline.
        deadline_ms: Option<u32>,
    },
    /// D14: the peer is silent: nothing that is sent to it is acknowledged.
    PeerSilent,
    /// D4, D5 or D6: the server closes first, and polls cannot show why.
    ServerCloses,
    /// Connections are kept: each carries many requests.
    Healthy,
    /// No cause dominates, or there is not enough evidence.
    Mixed,
}

impl Cause {
    /// Returns the short name: `D1` to `D14`, `D4-D6`, `healthy` or `mixed`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Cause::ClientPerRequest => "D1",
            Cause::IdlePoolTooSmall { .. } => "D2",
            Cause::BodyNotDrained => "D3",
            Cause::ServerTimeout { .. } => "D4",
            Cause::RequestLimit { .. } => "D5",
            Cause::ConnectionClose { .. } => "D6",
            Cause::CloseWaitLeak => "D7",
            Cause::Probes => "D8",
            Cause::ConnectsFail | Cause::AcceptQueueFull => "D9",
            Cause::PortBudget => "D10",
            Cause::Expiry => "D11",
            Cause::Multiplexed => "D12",
            Cause::GivenUp { .. } => "D13",
            Cause::PeerSilent => "D14",
            Cause::ServerCloses => "D4-D6",
            Cause::Healthy => "healthy",
            Cause::Mixed => "mixed",
        }
    }

    /// Returns the side whose settings are the cause, if it is one side by definition.
    pub(crate) const fn side_to_change(self) -> Option<Side> {
        match self {
            Cause::ClientPerRequest
            | Cause::IdlePoolTooSmall { .. }
            | Cause::BodyNotDrained
            | Cause::GivenUp { .. } => Some(Side::Client),
            Cause::RequestLimit { .. } => Some(Side::Server),
            _ => None,
        }
    }
}

/// One cause, its evidence in a sentence, and the remedy.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Finding {
    /// Short name of the cause: `D1` to `D14`, `D4-D6`, `healthy`, `mixed`.
    pub code: &'static str,
    /// The cause.
    pub cause: Cause,
    /// Share of the evidence that fits, from 0 to 1.
    pub confidence: f64,
    /// The finding in one sentence, with its numbers.
    pub summary: String,
    /// The setting that fixes it, or the next step; `None` where nothing is to be done.
    pub advice: Option<String>,
}
