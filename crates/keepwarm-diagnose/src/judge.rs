//! The rules over what was observed of a destination, from either side.
//!
//! Owns D1 to D12. Each rule says what it rests on; what none of them explains is "mixed".
//!
//! Who closed first does not separate D1 from D6: a client that says `Connection: close` mostly sees
//! the server's FIN first, and a server that says it may see the client's.

use std::time::Duration;

use crate::finding::{Cause, Finding};
use crate::knowledge::{advice, clients_with_idle_set, servers_with_idle_timeout};
use crate::looks;
use crate::observation::{Idle, Observation, Requests, Side};
use crate::untold;
use crate::words::thousands;

/// A share of closes from which one closer, or one kind, dominates.
pub(crate) const DOMINANT: f64 = 0.8;
/// Closes below which nothing is said about them.
pub(crate) const ENOUGH_CLOSES: u64 = 30;
/// Requests a connection from which a close now and then is no churn.
pub(crate) const WELL_USED: u64 = 20;
/// A share of closes in one cluster of idle times, or of requests, that names a limit.
const CLUSTERED: f64 = 0.6;
/// Idle times from which a close looks like a timeout, not like the end of a request.
const TIMEOUT_MS: u32 = 900;
/// The same where they are not alike: on a host without a free core the end of a request may be as
/// late as a second.
const SOME_TIMEOUT_MS: u32 = 2_000;
/// Idle times up to which a close is the end of a request.
const AT_ONCE_MS: u32 = 500;
/// A share of closes from which what happened to them is their cause.
const WORTH_A_CAUSE: f64 = 0.1;
/// Segments that one request may take: a head, a body, TLS.
const ONE_REQUEST: u32 = 4;
/// Segments on a connection from which their pairing says something.
const MANY_SEGMENTS: u64 = 100;
/// How many more segments may go to a server than come back before they do not pair up:
/// retransmissions count too.
const UNPAIRED: f64 = 1.05;
/// Requests a connection from which a limit of them costs next to nothing.
const LARGE_LIMIT: u32 = 200;
/// What a forecast of ports is worth.
const FORESEEN: f64 = 0.8;
/// Share of the local ports from which they are worth a word.
const PORTS_WORTH_A_WORD: f64 = 0.35;
/// The largest idle set that names a setting.
pub(crate) const LARGEST_NAMED_IDLE: u64 = 32;

/// Judges one destination. The most important finding comes first; there is always one.
#[must_use]
pub fn judge(seen: &Observation) -> Vec<Finding> {
    if let Some(glimpsed) = seen.glimpsed.filter(|_| !seen.window.is_zero()) {
        return looks::judge(seen, &glimpsed);
    }
    let mut findings = Vec::new();
    findings.extend(failing_connects(seen));
    findings.extend(leaking_close_wait(seen));
    findings.extend(port_budget(seen));
    let cause = if seen.window.is_zero() { one_look(seen) } else { main_cause(seen) };
    let cause = untold::degrade(seen, cause);
    // What is healthy but for a leak is not healthy.
    let is_calm = matches!(cause.cause, Cause::Healthy | Cause::Multiplexed | Cause::Mixed);
    if findings.is_empty() || !is_calm {
        let at = usize::from(matches!(findings.first(), Some(f) if f.cause == Cause::ConnectsFail));
        findings.insert(at, cause);
    }
    findings
}

pub(crate) fn finding(
    seen: &Observation,
    cause: Cause,
    confidence: f64,
    summary: String,
) -> Finding {
    let code = cause.code();
    let advice = match whose(cause).filter(|side| *side != seen.side) {
        None => advice(code, seen.runtime),
        // What the other side runs on is not known here.
        Some(Side::Client) => advice(code, None).map(|text| format!("at the client, {text}")),
        Some(Side::Server) => advice(code, None).map(|text| format!("at the server, {text}")),
    };
    Finding { code, cause, confidence, summary, advice, remote: None }
}

/// The side whose settings are the cause, if it is one side.
const fn whose(cause: Cause) -> Option<Side> {
    match cause {
        Cause::ClientPerRequest | Cause::IdlePoolTooSmall { .. } | Cause::BodyNotDrained => {
            Some(Side::Client)
        }
        Cause::RequestLimit { .. } => Some(Side::Server),
        _ => None,
    }
}

pub(crate) fn share(part: u64, of: u64) -> f64 {
    if of > 0 { part as f64 / of as f64 } else { 0.0 }
}

pub(crate) fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn are(count: u64) -> String {
    format!("{} {}", thousands(count), if count == 1 { "is" } else { "are" })
}

fn were(count: u64) -> String {
    format!("{} {}", thousands(count), if count == 1 { "was" } else { "were" })
}

fn stay(count: u64) -> String {
    format!("{} {}", thousands(count), if count == 1 { "stays" } else { "stay" })
}

/// `1 connection is`, `2 connections are`.
fn connections(count: u64, verb: fn(u64) -> String) -> String {
    verb(count).replace(' ', if count == 1 { " connection " } else { " connections " })
}

fn requests(count: u32) -> String {
    format!("{} request{}", thousands(count.into()), if count == 1 { "" } else { "s" })
}

fn millis(ms: u32) -> String {
    if ms >= 1000 { format!("{:.1} s", f64::from(ms) / 1000.0) } else { format!("{ms} ms") }
}

// ---- beside the main cause ----------------------------------------------------------------------

fn failing_connects(seen: &Observation) -> Option<Finding> {
    let tried = seen.opened + seen.connect_failed;
    let failed = share(seen.connect_failed, tried);
    (seen.connect_failed >= 3 && failed > 0.05).then(|| {
        let summary = format!(
            "{} of {} connects failed ({}): refused, or timed out",
            thousands(seen.connect_failed),
            thousands(tried),
            percent(failed)
        );
        let sure = if seen.connect_failed >= ENOUGH_CLOSES { 1.0 } else { 0.8 };
        let mut finding = finding(seen, Cause::ConnectsFail, sure, summary);
        finding.advice = Some(
            "look whether the service listens, and whether its queue overflows (`nstat -az \
             TcpExtListenOverflows`)"
                .to_owned(),
        );
        finding
    })
}

pub(crate) fn leaking_close_wait(seen: &Observation) -> Option<Finding> {
    let (then, now) = (seen.close_wait_at_start, seen.close_wait);
    let grown = now.saturating_sub(then);
    let (confidence, says) = if seen.window.is_zero() {
        if now < 100 {
            return None;
        }
        (0.5, format!("{} connections in CLOSE_WAIT in one look", thousands(now)))
    } else {
        if grown < 10 || grown * 5 < now {
            return None;
        }
        let says = format!(
            "CLOSE_WAIT grew from {} to {} in {:.0} s",
            thousands(then),
            thousands(now),
            seen.window.as_secs_f64()
        );
        (if grown >= ENOUGH_CLOSES { 0.9 } else { 0.6 }, says)
    };
    let summary = format!(
        "{says}: the peer has closed and the program does not; a leak if it goes on growing, a pool \
         that has not noticed if it stays"
    );
    Some(finding(seen, Cause::CloseWaitLeak, confidence, summary))
}

pub(crate) fn port_budget(seen: &Observation) -> Option<Finding> {
    let ports = seen.ports?;
    let used = share(ports.used, ports.range);
    if used < PORTS_WORTH_A_WORD && ports.cliff_in.is_none() {
        return None;
    }
    let whole = |length: Duration| format!("{:.0} s", length.as_secs_f64().max(1.0));
    let mut summary = format!(
        "{} of {} local ports towards it are taken ({})",
        thousands(ports.used),
        thousands(ports.range),
        percent(used)
    );
    if ports.used >= ports.range {
        summary.push_str(": connect(2) fails, \"cannot assign requested address\"");
    } else if ports.used * 2 >= ports.range {
        summary.push_str("; beyond half of them connect(2) takes milliseconds");
    } else if let Some(cliff) = ports.cliff_in {
        summary.push_str(&format!("; connect(2) gets slow in {}, at half", whole(cliff)));
    }
    if let Some(end) = ports.exhausted_in.filter(|_| ports.used < ports.range) {
        summary.push_str(&format!(", and fails in {}, at all of them", whole(end)));
    }
    // What is taken is counted; what is to come is foretold from the last seconds.
    let confidence = if used < PORTS_WORTH_A_WORD { FORESEEN } else { 1.0 };
    let mut finding = finding(seen, Cause::PortBudget, confidence, summary);
    let mut words = "keep connections, so that they need not be closed; until then widen \
                     net.ipv4.ip_local_port_range, or set net.ipv4.tcp_tw_reuse=1 on the client"
        .to_owned();
    if seen.window.is_zero() {
        words.push_str("; to see why they are closed, watch a while (--for 10s)");
    }
    finding.advice = Some(words);
    Some(finding)
}

// ---- the main cause -----------------------------------------------------------------------------

/// What one look can say: the last minute's closes by this side, and what is open.
fn one_look(seen: &Observation) -> Finding {
    let per_connection = seen.requests.map_or(0, |requests| requests.p50);
    if seen.glimpsed.is_some_and(|glimpsed| glimpsed.closed_first.is_none()) {
        let summary = format!(
            "{} connections are open; what was closed is not known, because this system does not list \
             TIME_WAITs",
            thousands(seen.alive)
        );
        return finding(seen, Cause::Mixed, 0.0, summary);
    }
    if seen.time_wait >= ENOUGH_CLOSES {
        let who = if seen.side == Side::Client { "the client" } else { "the server" };
        let summary = format!(
            "{who} closed {} connections first within the last minute, and {} open",
            thousands(seen.time_wait),
            are(seen.alive)
        );
        let mut finding = finding(seen, Cause::Mixed, 0.0, summary);
        finding.advice = Some(
            "one look does not show what was carried on them: watch a while, with --for 10s"
                .to_owned(),
        );
        return finding;
    }
    if seen.alive > 0 && per_connection >= 2 {
        let summary = format!(
            "{} open, with {} each in the median, and {} closed first by this side within the last \
             minute",
            connections(seen.alive, are),
            requests(per_connection),
            were(seen.time_wait)
        );
        return finding(seen, Cause::Healthy, 0.5, summary);
    }
    let summary = format!(
        "{} open, and {} closed first by this side within the last minute: too little to say more",
        connections(seen.alive, are),
        were(seen.time_wait)
    );
    finding(seen, Cause::Mixed, 0.0, summary)
}

fn main_cause(seen: &Observation) -> Finding {
    let closed = seen.closed();
    if let Some(leak) = leaking_pools(seen) {
        return leak;
    }
    let limited = seen.requests.and_then(|requests| by_request_limit(seen, &requests));
    if let Some(limited) = limited.filter(|_| is_turned_over(seen)) {
        return limited;
    }
    if let Some(calm) = multiplexed(seen).or_else(|| healthy(seen)) {
        return calm;
    }
    if closed < ENOUGH_CLOSES {
        return mixed(seen, "not enough evidence");
    }
    let Some(requests) = seen.requests else {
        let given_up = seen.resets.map_or(0, |resets| resets.given_up);
        return mixed(
            seen,
            if share(given_up, closed) >= DOMINANT {
                "the client ended them by a reset on purpose (SO_LINGER 0), and the kernel then \
                 forgets what was carried"
            } else {
                "no requests could be counted"
            },
        );
    };
    if requests.none_share >= DOMINANT {
        let summary = format!(
            "{} connections were closed, and {} of them carried nothing: health checks or probes",
            thousands(closed),
            percent(requests.none_share)
        );
        return finding(seen, Cause::Probes, requests.none_share, summary);
    }
    undrained(seen)
        .or_else(|| by_timeout(seen))
        .or_else(|| met_the_close(seen))
        .or_else(|| by_some_timeout(seen))
        .or_else(|| by_request_limit(seen, &requests))
        .or_else(|| one_request_each(seen, &requests))
        .or_else(|| idle_pool(seen, &requests))
        .unwrap_or_else(|| mixed(seen, "no single cause"))
}

/// Pools that are thrown away without being closed close nothing: connections pile up.
fn leaking_pools(seen: &Observation) -> Option<Finding> {
    let requests = seen.requests?;
    let grown = seen.alive.saturating_sub(seen.alive_at_start);
    let piled_up = grown >= ENOUGH_CLOSES && share(grown, seen.opened) >= DOMINANT;
    let once = requests.common <= ONE_REQUEST && requests.common_share >= 0.95;
    // A large pool that has just been filled looks the same, until it is used a second time.
    (piled_up && once && seen.opened >= 100).then(|| {
        let summary = format!(
            "{} connections were opened for {} requests and {} of them stay open after one request: a \
             new pool for each request, and none is closed",
            thousands(seen.opened),
            thousands(requests.total),
            thousands(grown)
        );
        finding(seen, Cause::ClientPerRequest, 0.7, summary)
    })
}

fn healthy(seen: &Observation) -> Option<Finding> {
    let closed = seen.closed();
    let carried = seen.requests.map_or(0, |requests| requests.total);
    let quiet = closed == 0 && seen.opened > 0 && carried >= 2 * seen.opened;
    let used = carried >= WELL_USED * closed.max(seen.opened) && carried > 0;
    if !(quiet || used) {
        return None;
    }
    let summary = format!(
        "{} requests on {} connections; {} opened and {} closed: connections are kept",
        thousands(carried),
        thousands(seen.alive_at_start + seen.opened),
        were(seen.opened),
        thousands(closed)
    );
    Some(finding(seen, Cause::Healthy, 1.0, summary))
}

/// Each connection was replaced more than once: a restart closes each once.
fn is_turned_over(seen: &Observation) -> bool {
    let open = seen.alive.max(seen.alive_at_start).max(1);
    seen.closed() >= ENOUGH_CLOSES && seen.closed() / 2 >= open
}

/// D12. In HTTP/1.1 a client waits for the answer before it sends again, so that a request of one
/// segment has one of the server's at least.
fn multiplexed(seen: &Observation) -> Option<Finding> {
    let open = seen.open?;
    let few = (1..=LARGEST_NAMED_IDLE).contains(&open.connections);
    let turned_over = seen.opened.saturating_add(seen.closed());
    let stays = turned_over.saturating_mul(MANY_SEGMENTS) <= open.requests;
    let enough = open.requests >= open.connections * MANY_SEGMENTS;
    let ratio = open.requests as f64 / open.answers.max(1) as f64;
    (few && stays && enough && ratio > UNPAIRED).then(|| {
        let summary = format!(
            "{} open and carried {} segments of data to the server and {} back, \
             while {} opened and {} closed: what goes there does not wait for what comes back, \
             as in HTTP/2 or another protocol with many requests on a connection at once (or with \
             long request bodies), so requests are not counted; there is no churn",
            connections(open.connections, stay),
            thousands(open.requests),
            thousands(open.answers),
            were(seen.opened),
            thousands(seen.closed())
        );
        finding(seen, Cause::Multiplexed, (ratio - 0.5).min(0.9), summary)
    })
}

fn mixed(seen: &Observation, why: &str) -> Finding {
    let summary = format!(
        "{} opened and {} closed, {} of them first by the client and {} by the server: {why}",
        connections(seen.opened, were),
        thousands(seen.closed()),
        thousands(seen.by_client()),
        thousands(seen.by_server())
    );
    finding(seen, Cause::Mixed, 0.0, summary)
}

/// D3.
fn undrained(seen: &Observation) -> Option<Finding> {
    let closed = seen.closed();
    let (aborted, says, sure) = match (seen.side, seen.resets) {
        (Side::Client, _) => {
            (seen.undrained, "the client closed with a part of the body unread", 1.0)
        }
        // Traces name the reasons of a client on this host.
        (Side::Server, Some(why)) if why.by_client() >= seen.remote_rst / 2 => (
            why.unread,
            "the client closed with a part of the body unread: the kernel names its resets \
             (TCP_ABORT_ON_CLOSE, TCP_ABORT_ON_DATA)",
            1.0,
        ),
        (Side::Server, _) => (
            seen.remote_rst,
            "the client aborted them, as it does when it leaves a part of the body unread (or is \
             cancelled)",
            0.6,
        ),
    };
    let aborted_share = share(aborted, closed);
    if aborted_share < 0.3 {
        return None;
    }
    // A close in the midst of a body is a FIN if nothing has arrived that is unread.
    let confidence = sure * share(seen.by_client(), closed);
    let summary = format!(
        "{} of {} closes ({}): {says}",
        thousands(aborted),
        thousands(closed),
        percent(aborted_share)
    );
    Some(finding(seen, Cause::BodyNotDrained, confidence, summary))
}

/// D4 and D11: closed after the same idle time each.
fn by_timeout(seen: &Observation) -> Option<Finding> {
    let closed = seen.closed();
    // Of a close that met a request the idle time cannot be seen.
    let late = if seen.side == Side::Client { share(late_requests(seen), closed) } else { 0.0 };
    let timeout = |idle: Option<Idle>, late: f64| {
        let alike = |idle: &Idle| idle.common_share + late >= CLUSTERED;
        idle.filter(|idle| alike(idle) && idle.common_ms >= TIMEOUT_MS)
    };
    let (by_server, by_client) = (share(seen.by_server(), closed), share(seen.by_client(), closed));
    if let Some(idle) = timeout(seen.idle_by_server(), late).filter(|_| by_server >= DOMINANT) {
        let mut summary = format!(
            "the server closed {} of {} connections first, {} of them after {} idle: its keep-alive \
             timeout is shorter than the client's, and a request sent in that moment fails",
            thousands(seen.by_server()),
            thousands(closed),
            percent(idle.common_share),
            millis(idle.common_ms)
        );
        let servers = servers_with_idle_timeout(idle.common_ms);
        if !servers.is_empty() {
            summary.push_str(&format!("; {} does that by default", servers.join(" or ")));
        }
        if late > 0.0 {
            summary.push_str(&format!("; {} requests did", thousands(late_requests(seen))));
        }
        let confidence = by_server.min(idle.common_share + late).min(1.0);
        let cause = Cause::ServerTimeout { idle_ms: Some(idle.common_ms) };
        return Some(finding(seen, cause, confidence, summary));
    }
    let idle = timeout(seen.idle_by_client(), 0.0).filter(|_| by_client >= DOMINANT)?;
    let summary = format!(
        "the client closed {} of {} connections first, {} of them after {} idle: its own idle timeout",
        thousands(seen.by_client()),
        thousands(closed),
        percent(idle.common_share),
        millis(idle.common_ms)
    );
    Some(finding(seen, Cause::Expiry, by_client.min(idle.common_share), summary))
}

/// D4 without a time of its own: requests were written to connections that the server had closed.
fn met_the_close(seen: &Observation) -> Option<Finding> {
    let (closed, late) = (seen.closed(), late_requests(seen));
    let by_server = share(seen.by_server(), closed);
    if by_server < DOMINANT || share(late, closed) < WORTH_A_CAUSE {
        return None;
    }
    let summary = format!(
        "the server closed {} of {} connections first, and {} requests were written when it had: the \
         client keeps connections for longer than the server does, and those requests failed",
        thousands(seen.by_server()),
        thousands(closed),
        thousands(late)
    );
    Some(finding(seen, Cause::ServerTimeout { idle_ms: None }, by_server, summary))
}

fn late_requests(seen: &Observation) -> u64 {
    seen.resets.map_or(0, |resets| resets.late_requests)
}

/// D4 and D11 where a timeout is looked after now and then, or when the next request comes.
fn by_some_timeout(seen: &Observation) -> Option<Finding> {
    let closed = seen.closed();
    let (by_server, by_client) = (share(seen.by_server(), closed), share(seen.by_client(), closed));
    let late = |idle: Option<Idle>| idle.filter(|idle| idle.p50_ms >= SOME_TIMEOUT_MS);
    let (cause, idle, who) = if by_server >= DOMINANT {
        let idle = late(seen.idle_by_server())?;
        (Cause::ServerTimeout { idle_ms: Some(idle.p50_ms) }, idle, "server")
    } else if by_client >= DOMINANT {
        (Cause::Expiry, late(seen.idle_by_client())?, "client")
    } else {
        return None;
    };
    let summary = format!(
        "the {who} closed first in {} of {} closes, after {} idle in the median and not after the same \
         time each: a timeout that is looked after now and then",
        percent(by_server.max(by_client)),
        thousands(closed),
        millis(idle.p50_ms)
    );
    Some(finding(seen, cause, 0.5, summary))
}

/// D5.
fn by_request_limit(seen: &Observation, requests: &Requests) -> Option<Finding> {
    let by_server = share(seen.by_server(), seen.closed());
    let is_limit = by_server >= DOMINANT
        && (ONE_REQUEST + 1..LARGE_LIMIT).contains(&requests.common)
        && requests.common_share >= CLUSTERED
        && seen.idle_by_server().is_some_and(|idle| idle.p50_ms <= AT_ONCE_MS);
    is_limit.then(|| {
        // One that is longer is of another kind; within the cluster the longest has the number.
        let near = f64::from(requests.common) * 1.06;
        let limit = if f64::from(requests.max) <= near { requests.max } else { requests.common };
        let summary = format!(
            "the server closed {} of {} connections first, {} of them after about {} requests: a limit \
             of requests a connection",
            thousands(seen.by_server()),
            thousands(seen.closed()),
            percent(requests.common_share),
            thousands(limit.into())
        );
        finding(seen, Cause::RequestLimit { limit }, by_server.min(requests.common_share), summary)
    })
}

/// D1 and D6.
fn one_request_each(seen: &Observation, requests: &Requests) -> Option<Finding> {
    let closed = seen.closed();
    // Probes carry nothing, and are none of it.
    let used_share = (requests.common_share / (1.0 - requests.none_share).max(1e-3)).min(1.0);
    // A close of each kind at least carried the same: one request, in one or a few segments.
    if !(1..=ONE_REQUEST).contains(&requests.common) || used_share < 0.95 {
        return None;
    }
    if some_are_kept(seen, requests) {
        return None;
    }
    let probes = if requests.none_share > 0.0 {
        format!(" (and {} carried nothing, as probes do)", percent(requests.none_share))
    } else {
        String::new()
    };
    let (by_client, by_server) = (share(seen.by_client(), closed), share(seen.by_server(), closed));
    let late = |idle: Option<Idle>| idle.is_some_and(|idle| idle.p50_ms >= SOME_TIMEOUT_MS);
    let at_once = |idle: Option<Idle>| idle.is_none_or(|idle| idle.p50_ms <= AT_ONCE_MS);
    let sure = |idle| if at_once(idle) { 1.0 } else { 0.7 };
    if by_client >= 0.95 && !late(seen.idle_by_client()) {
        let mut summary = format!(
            "{} connections were closed after one request each{probes}, {} of them first by the \
             client: a connection is made for each request and thrown away after it",
            thousands(closed),
            percent(by_client)
        );
        let given_up = seen.resets.map_or(0, |resets| resets.given_up);
        if share(given_up, closed) >= WORTH_A_CAUSE {
            summary.push_str(&format!(
                "; {} of them by a reset on purpose (SO_LINGER 0), as a cancelled request does",
                thousands(given_up)
            ));
        }
        let confidence = by_client * sure(seen.idle_by_client());
        return Some(finding(seen, Cause::ClientPerRequest, confidence, summary));
    }
    let by_fin = share(seen.local_fin + seen.remote_fin, closed);
    let main = if by_server >= by_client { seen.idle_by_server() } else { seen.idle_by_client() };
    // Resets are no orderly end of an exchange, and a close that comes late is a timeout's.
    if by_fin < DOMINANT || late(main) {
        return None;
    }
    let summary = format!(
        "{} connections were closed after one request each{probes}, {} of them first by the server \
         and {} by the client: one of the two says Connection: close, or HTTP/1.0",
        thousands(closed),
        percent(by_server),
        percent(by_client)
    );
    // Which of the two says it cannot be seen from outside.
    Some(finding(seen, Cause::ConnectionClose, used_share * 0.9 * sure(main), summary))
}

/// Whether a few connections stay and carry what the others do not: what is closed did not fit into
/// a pool, however little each carried.
fn some_are_kept(seen: &Observation, requests: &Requests) -> bool {
    let once = requests.connections.saturating_mul(requests.common.into());
    (1..=LARGEST_NAMED_IDLE).contains(&seen.established)
        && requests.max > ONE_REQUEST
        && share(requests.total.saturating_sub(once), requests.total) >= 0.05
}

/// D2.
fn idle_pool(seen: &Observation, requests: &Requests) -> Option<Finding> {
    let closed = seen.closed();
    let by_client = share(seen.by_client(), closed);
    let at_once = seen.idle_by_client().is_some_and(|idle| idle.p50_ms <= AT_ONCE_MS);
    if by_client < DOMINANT || !at_once {
        return None;
    }
    if seen.established == 0 && seen.idle_set.is_none() {
        return Some(few_requests_each(seen, requests, by_client));
    }
    // In the midst of a burst, what is open is not what may idle.
    let idle = seen.idle_set.unwrap_or(seen.established);
    let mut summary = format!(
        "the client closed {} of {} connections first, within moments of their last byte; they carried \
         {} in the median and {} at most: healthy connections are closed as they come back from a \
         burst",
        thousands(seen.by_client()),
        thousands(closed),
        self::requests(requests.p50),
        thousands(requests.max.into())
    );
    let client = seen.runtime.filter(|_| seen.side == Side::Client);
    let named = seen.idle_set.is_some() && (1..=LARGEST_NAMED_IDLE).contains(&idle);
    let mut confidence = by_client * 0.7;
    if named {
        summary.push_str(&format!(", and {idle} may stay"));
        let clients = clients_with_idle_set(idle, client);
        if !clients.is_empty() {
            confidence = by_client * 0.95;
            summary.push_str(&format!(" (the default of {})", clients.join(" and of ")));
        }
    }
    Some(finding(seen, Cause::IdlePoolTooSmall { idle }, confidence, summary))
}

/// D1 again: no pool closes the last connection that comes back.
fn few_requests_each(seen: &Observation, requests: &Requests, by_client: f64) -> Finding {
    let summary = format!(
        "the client closed {} of {} connections first, within moments of their last byte and after {} in \
         the median, and keeps none: a client is made for a few requests and thrown away",
        thousands(seen.by_client()),
        thousands(seen.closed()),
        self::requests(requests.p50)
    );
    finding(seen, Cause::ClientPerRequest, by_client * 0.6, summary)
}
