//! Explains one origin's numbers in words, and names the settings to change.
//!
//! Pure: numbers and settings go in, sentences come out.

use std::time::Duration;

use keepwarm_pool::{CloseReason, Closer, IdleCloses, Limit};

use crate::observe::stats::OriginStats;
use crate::observe::warnings::Warning;
use crate::settings::Settings;

/// Returns all that is wrong at one origin, worst first, or a sentence that nothing is. Warnings of
/// the process that concern the origin come first.
pub(crate) fn explain(
    stats: &OriginStats,
    idle_closes: &IdleCloses,
    settings: &Settings,
    warnings: &[Warning],
) -> String {
    let mut findings: Vec<(u64, String)> = [
        idle_limit(stats, settings),
        total_idle_limit(stats, settings),
        total_limit(stats, settings),
        idle_timeout_of_server(stats, idle_closes, settings),
        restarted(idle_closes),
        closed_without_pattern(stats, idle_closes),
        vanished(stats),
        distrusted(stats),
        not_persistent(stats),
        unread(stats),
        abandoned(stats),
        failed(stats),
        refused(stats, settings),
        out_of_descriptors(stats, settings),
        dials_failed(stats),
    ]
    .into_iter()
    .flatten()
    .collect();
    findings.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let mut lines = vec![format!("{}: {}", stats.origin, summary(stats))];
    // Bodies left unread are left out: the finding has newer numbers than the warning.
    let of_clients = |warning: &&Warning| matches!(warning, Warning::ClientPerRequest { .. });
    let here = |warning: &&Warning| warning.origin() == Some(&stats.origin);
    let warned: Vec<_> = warnings.iter().filter(of_clients).filter(here).collect();
    if findings.is_empty() && warned.is_empty() {
        lines.push(
            "nothing is wrong: no connection was closed that could have been kept".to_owned(),
        );
    }
    if stats.addresses_rotate {
        lines.push(
            "look-ups of the name have now these and now those of its addresses, so no connection is \
             closed because its address is missing (dns_refresh); max_lifetime moves connections \
             from time to time"
                .to_owned(),
        );
    }
    lines.extend(warned.into_iter().map(Warning::to_string));
    lines.extend(findings.into_iter().map(|(_, finding)| finding));
    lines.join("\n")
}

fn summary(stats: &OriginStats) -> String {
    let summary = format!(
        "{}, {} of them on a reused connection; {} opened, at most {} at once",
        counted(stats.checkouts.saturating_sub(stats.warmed), "request"),
        stats.reused,
        counted(stats.opened, "connection"),
        counted(stats.peak as u64, "request"),
    );
    if stats.http2 == 0 {
        return summary;
    }
    let (open, streams) = (stats.http2 as u64, stats.streams as u64);
    format!(
        "{summary}; now {} by HTTP/2 with {}",
        counted(open, "connection"),
        counted(streams, "stream")
    )
}

/// A finding, with the number of connections or requests that it cost.
type Finding = Option<(u64, String)>;

fn finding(count: u64, text: impl FnOnce() -> String) -> Finding {
    (count > 0).then(|| (count, text()))
}

fn idle_limit(stats: &OriginStats, settings: &Settings) -> Finding {
    let count = stats.closed_for(CloseReason::IdleLimit);
    finding(count, || {
        format!(
            "closed {} on return: max_idle_per_origin is {}, peak \
             concurrency was {peak}; set it to at least {peak}, or to Limit::NONE",
            counted(count, "healthy connection"),
            number(settings.pool.max_idle),
            peak = stats.peak
        )
    })
}

fn total_idle_limit(stats: &OriginStats, settings: &Settings) -> Finding {
    let count = stats.closed_for(CloseReason::TotalIdleLimit);
    finding(count, || {
        format!(
            "closed {} because too many were idle in all: max_idle is {}; \
             set it to the peak concurrency of all origins together, or to Limit::NONE",
            counted(count, "healthy connection"),
            number(settings.max_idle)
        )
    })
}

fn total_limit(stats: &OriginStats, settings: &Settings) -> Finding {
    let count = stats.closed_for(CloseReason::TotalLimit);
    finding(count, || {
        format!(
            "closed {} to make room for other origins: max_connections is {}; \
             set it to the peak concurrency of all origins together, or to Limit::NONE",
            counted(count, "healthy connection"),
            number(settings.max_connections)
        )
    })
}

fn idle_timeout_of_server(
    stats: &OriginStats,
    closes: &IdleCloses,
    settings: &Settings,
) -> Finding {
    finding(closes.by_timeout, || {
        let seen = match (stats.learned_idle_timeout, closes.timeout) {
            (Some(learned), _) => format!(
                " (seen: {:.1} s; connections are closed before that now)",
                learned.as_secs_f64()
            ),
            (None, Some(seen)) => format!(" (seen: {:.1} s)", seen.as_secs_f64()),
            (None, None) => String::new(),
        };
        format!(
            "the server closed {} while idle, after the same idle time again and again: its \
             keep-alive timeout{seen} is shorter than idle_timeout, which is {}; set idle_timeout \
             below the server's, or raise the server's",
            counted(closes.by_timeout, "connection"),
            duration(settings.pool.idle_timeout)
        )
    })
}

fn restarted(closes: &IdleCloses) -> Finding {
    finding(closes.at_once, || {
        let closed = counted(closes.at_once, "idle connection");
        match closes.bursts {
            1 => format!(
                "the server closed {closed} at once, and did not do so again: a restart or deploy \
                 of the server; there is nothing to set"
            ),
            bursts => format!(
                "the server closed {closed} in {bursts} bursts, each after other idle times: \
                 restarts or deploys of the server; there is nothing to set; if it had \
                 fewer restarts, look for what drops its connections"
            ),
        }
    })
}

/// Explains the closes of idle connections that show neither a timeout nor a restart.
fn closed_without_pattern(stats: &OriginStats, closes: &IdleCloses) -> Finding {
    let all = closed_by(stats, CloseReason::PeerClosedIdle, Closer::Server);
    let count = all.saturating_sub(closes.by_timeout + closes.at_once);
    finding(count, || {
        let each = if count == 1 { "" } else { ", one at a time and after different idle times" };
        format!(
            "the server closed {} while idle{each}: a restart, or an instance taken out behind a \
             load balancer; if the server's keep-alive timeout does it, the same idle time will \
             show again",
            counted(count, "connection")
        )
    })
}

/// Explains idle connections that the kernel ended for want of an answer.
fn vanished(stats: &OriginStats) -> Finding {
    let count = closed_by(stats, CloseReason::PeerClosedIdle, Closer::Client);
    finding(count, || {
        format!(
            "{} ended while idle because the peer did not answer any more, without FIN or RST: its \
             host is gone, or a NAT, firewall or load balancer forgot the connection; look there, \
             and keep tcp_keepalive below its idle limit",
            counted(count, "connection")
        )
    })
}

fn closed_by(stats: &OriginStats, reason: CloseReason, closer: Closer) -> u64 {
    let closes =
        stats.closes.iter().filter(|close| (close.reason, close.closer) == (reason, closer));
    closes.map(|close| close.count).sum()
}

fn distrusted(stats: &OriginStats) -> Finding {
    let count = stats.closed_for(CloseReason::Distrusted);
    finding(count, || {
        format!(
            "closed {} after one request, because the server broke so many used connections that \
             the retry budget was spent: it closes connections without saying so (Connection: \
             close, or Keep-Alive: max=...); look at its limit of requests a connection",
            counted(count, "connection")
        )
    })
}

fn not_persistent(stats: &OriginStats) -> Finding {
    let count = stats.closed_for(CloseReason::NotPersistent);
    finding(count, || {
        format!(
            "{} ended with the response, as agreed: look for Connection: close \
             in requests or responses, for HTTP/1.0, and for a server's limit of requests a \
             connection",
            counted(count, "connection")
        )
    })
}

fn unread(stats: &OriginStats) -> Finding {
    let count = stats.bodies_unread;
    finding(count, || {
        format!(
            "{} closed because a response body was dropped before its end, with too much left to \
             read; read bodies to the end, or ask for less (HEAD, Range)",
            counted(count, "connection")
        )
    })
}

fn abandoned(stats: &OriginStats) -> Finding {
    let count = stats.closed_for(CloseReason::Abandoned).saturating_sub(stats.bodies_unread);
    finding(count, || {
        format!(
            "{} given up in the middle of an exchange: requests that were \
             dropped or timed out, and whose responses did not come soon after; look whether \
             timeouts are too short",
            counted(count, "connection")
        )
    })
}

fn failed(stats: &OriginStats) -> Finding {
    let count = stats.closed_for(CloseReason::ExchangeFailed)
        + stats.closed_for(CloseReason::StrayBytes)
        + stats.closed_for(CloseReason::UploadUnfinished);
    finding(count, || {
        format!(
            "{} broke: resets, responses that are not HTTP, bytes that belong to \
             no request, or uploads that the server did not wait for; look at the server",
            counted(count, "connection")
        )
    })
}

fn refused(stats: &OriginStats, settings: &Settings) -> Finding {
    let count = stats.too_many_waiters;
    finding(count, || {
        format!(
            "{} refused because too many were waiting: \
             max_connections_per_origin is {}, max_connections {}, max_waiters_per_origin {}, and \
             up to {} came at once",
            counted(count, "request"),
            number(settings.pool.max_connections),
            number(settings.max_connections),
            number(settings.pool.max_waiters),
            counted(stats.peak as u64 + count, "request")
        )
    })
}

fn out_of_descriptors(stats: &OriginStats, settings: &Settings) -> Finding {
    let count = stats.dials_refused;
    finding(count, || {
        format!(
            "{} could not be opened because this process or host has no file descriptor left \
             (EMFILE, ENFILE): requests wait for connections that are open; max_connections is {}: \
             set it below the limit (ulimit -n), or raise that",
            counted(count, "connection"),
            number(settings.max_connections)
        )
    })
}

fn dials_failed(stats: &OriginStats) -> Finding {
    let count = stats.dials_failed.saturating_sub(stats.dials_refused);
    finding(count, || format!("{} could not be established", counted(count, "connection")))
}

/// Formats `1 connection`, `2 connections`.
fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn number(limit: Limit) -> String {
    limit.get().map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string())
}

fn duration(duration: Duration) -> String {
    if duration == Duration::MAX { "unlimited".to_owned() } else { format!("{duration:?}") }
}
