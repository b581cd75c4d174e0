//! The rules: from evidence to a cause, in words, with the setting that fixes it.

use crate::words::thousands;
use crate::{Evidence, PortForecast};

/// A share of closes from which one closer dominates.
const DOMINANT: f64 = 0.8;
/// Requests a connection up to which it served one request, give or take a retry.
const ONE_REQUEST: f64 = 1.05;
/// Closes below which nothing is said about them.
const ENOUGH_CLOSES: u64 = 30;
/// The largest constant idle set that names a setting; larger ones are the load's own size.
const LARGEST_NAMED_IDLE: u64 = 32;

/// What is wrong, or that nothing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// D1: the client opens a connection for each request and closes it itself.
    ClientPerRequest,
    /// D2: fewer connections may idle than are used at once, so healthy ones are closed on return.
    IdlePoolTooSmall {
        /// Connections left open after the load: the size of the idle set.
        idle: u64,
    },
    /// D3: the client closes responses that it has not read to their end.
    BodyNotDrained,
    /// D4: the server closes idle connections before the client does.
    ServerTimeout {
        /// After how many idle milliseconds, if always after the same.
        idle_ms: Option<u32>,
    },
    /// D5: the server closes each connection after a number of requests.
    RequestLimit {
        /// That number.
        limit: u32,
    },
    /// D6: one request a connection, because one side says `Connection: close` or HTTP/1.0.
    ConnectionClose,
    /// D7: the program does not close what its peer has closed.
    CloseWaitLeak,
    /// D8: connections without a request.
    Probes,
    /// D9: connects fail.
    ConnectsFail,
    /// D10: the local ports towards a service run out.
    PortBudget,
    /// D11: closed by the client's own idle timeout: deliberate.
    Expiry,
    /// D12: few connections that stay, whose requests cannot be counted: no churn.
    Multiplexed,
    /// Connections are closed by the server first: its keep-alive timeout, its limit of requests a
    /// connection, or `Connection: close`.
    ServerCloses,
    /// Connections are kept: no more were opened than were used at once.
    Healthy,
    /// No cause dominates, or there is not enough evidence.
    Mixed,
}

/// One cause, with what it rests on and what to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule's short name: `D1` to `D12`, `D4-D6`, `healthy`, `mixed`.
    pub code: &'static str,
    /// What is wrong, or that nothing is.
    pub cause: Cause,
    /// The share of the evidence that fits, from 0 to 1.
    pub confidence: f64,
    /// The finding in one sentence, with its numbers.
    pub summary: String,
    /// The setting that fixes it; `None` where nothing is to be done.
    pub advice: Option<String>,
    /// What a remote destination would do that loopback hides; `None` where ports are not known.
    pub remote: Option<String>,
}

/// Judges one account.
#[must_use]
pub fn diagnose(evidence: &Evidence) -> Finding {
    let closed = evidence.closed();
    let share = |part: u64| {
        if closed > 0 { part as f64 / closed as f64 } else { 0.0 }
    };
    let by_client = share(evidence.closed_by_client);
    let by_server = share(evidence.closed_by_server);
    let per_connection = evidence.requests_per_connection().unwrap_or(0.0);

    let (cause, confidence) = if is_healthy(evidence) {
        (Cause::Healthy, 1.0)
    } else if closed < ENOUGH_CLOSES {
        (Cause::Mixed, 0.0)
    } else if by_server >= DOMINANT {
        (Cause::ServerCloses, by_server)
    } else if by_client < DOMINANT {
        (Cause::Mixed, by_client.max(by_server))
    } else if per_connection <= ONE_REQUEST {
        (Cause::ClientPerRequest, by_client)
    } else if evidence.established <= LARGEST_NAMED_IDLE.min(evidence.concurrency / 2) {
        (Cause::IdlePoolTooSmall { idle: evidence.established }, by_client)
    } else {
        (Cause::Mixed, by_client)
    };
    Finding {
        code: cause.code(),
        cause,
        confidence,
        summary: summary(cause, evidence),
        advice: advice(cause, evidence),
        remote: PortForecast::of(evidence).map(|forecast| remote(&forecast)),
    }
}

/// No more connections than requests at once, and next to none of them closed.
fn is_healthy(evidence: &Evidence) -> bool {
    evidence.opened > 0
        && evidence.opened <= evidence.concurrency
        && evidence.closed() * 20 <= evidence.opened
}

impl Cause {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Cause::ClientPerRequest => "D1",
            Cause::IdlePoolTooSmall { .. } => "D2",
            Cause::BodyNotDrained => "D3",
            Cause::ServerTimeout { .. } => "D4",
            Cause::RequestLimit { .. } => "D5",
            Cause::ConnectionClose => "D6",
            Cause::CloseWaitLeak => "D7",
            Cause::Probes => "D8",
            Cause::ConnectsFail => "D9",
            Cause::PortBudget => "D10",
            Cause::Expiry => "D11",
            Cause::Multiplexed => "D12",
            Cause::ServerCloses => "D4-D6",
            Cause::Healthy => "healthy",
            Cause::Mixed => "mixed",
        }
    }
}

fn summary(cause: Cause, evidence: &Evidence) -> String {
    let opened = thousands(evidence.opened);
    let requests = thousands(evidence.requests);
    let by_client = thousands(evidence.closed_by_client);
    match cause {
        Cause::ClientPerRequest => format!(
            "{opened} connections for {requests} requests, {by_client} of them closed first by the \
             client: a connection is made for each request and thrown away after it"
        ),
        Cause::IdlePoolTooSmall { idle } => format!(
            "the client closed {by_client} healthy connections as they came back, and opened \
             {opened} to serve {} at once: only {idle} may idle",
            evidence.concurrency
        ),
        Cause::ServerCloses => format!(
            "the server closed {} of {opened} connections first",
            thousands(evidence.closed_by_server)
        ),
        Cause::Healthy => format!(
            "{opened} connections carried {requests} requests, {} at once, and {} stayed open: \
             every connection was kept",
            evidence.concurrency,
            thousands(evidence.established)
        ),
        // The rest is not found in an account of one port: see `judge`.
        _ => format!(
            "{opened} connections for {requests} requests; closed first by the client {by_client}, \
             by the server {}, by reset {}: no single cause",
            thousands(evidence.closed_by_server),
            thousands(evidence.reset)
        ),
    }
}

fn advice(cause: Cause, evidence: &Evidence) -> Option<String> {
    match cause {
        Cause::ClientPerRequest => {
            Some("make one client when the program starts, and share it".to_owned())
        }
        Cause::IdlePoolTooSmall { .. } => Some(format!(
            "let at least {} connections idle: Go: Transport.MaxIdleConnsPerHost (and MaxIdleConns); \
             requests: HTTPAdapter(pool_maxsize=...)",
            evidence.concurrency
        )),
        Cause::ServerCloses => Some(
            "look at the server's keep-alive timeout, its limit of requests a connection, and \
             whether it answers Connection: close"
                .to_owned(),
        ),
        _ => None,
    }
}

fn remote(forecast: &PortForecast) -> String {
    let ports = thousands(forecast.ports);
    let bearable = forecast.sustainable_per_second();
    let closes = thousands(forecast.closes_per_second.round() as u64);
    if let Some(after) = forecast.exhausted_after() {
        format!(
            "towards a remote upstream, {closes} closes a second would use up all {ports} local \
             ports in {:.0} s, and connects would fail with \"cannot assign requested address\": \
             {ports} ports / 60 s of TIME_WAIT bear {bearable:.0} a second; loopback hides it by \
             reusing a port after 1 s",
            after.as_secs_f64().max(1.0)
        )
    } else if forecast.closes_per_second < 0.5 {
        "towards a remote upstream it would be the same: no port is held by TIME_WAIT".to_owned()
    } else {
        format!(
            "towards a remote upstream, {closes} closes a second would hold {} of {ports} local \
             ports in TIME_WAIT, where {bearable:.0} a second are bearable",
            thousands(forecast.held().round() as u64)
        )
    }
}
