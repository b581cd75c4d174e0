//! Translates a destination of the kernel's report into the evidence that is judged.
//!
//! Owns the one translation that `watch`, `load --watch` and `lab` share. Reads nothing: the ports
//! and the runtime are given.

use keepwarm_diagnose::knowledge::Runtime;
use keepwarm_diagnose::{
    Evidence, HostCounters, Idle, LONGEST_FAREWELL_MS, Level, ListenQueue, LoadKnowledge, Messages,
    MissingEvidence, OpenTraffic, PolledEvidence, Ports, Requests, ResetReasons,
    Side as ObservedSide, StuckSockets, TIME_WAIT,
};
use keepwarm_sockets::{
    Destination, Handshake, Histogram, HostReport, Owner, OwnerEvidence, Polls, SelfTest, Side,
    SideEvidence, Tracing,
};

/// Width of a cluster of idle times, or of numbers of requests, to either side.
const CLUSTER: f64 = 0.03;

/// Share of the dumps that met a connection at all which have to meet the idle set.
const OFTEN: f64 = 0.2;

/// Share of the connections with messages that are alike from which all are taken for requests.
const ALIKE: f64 = 0.8;

/// Facts about a destination that its numbers do not contain.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Context {
    pub(super) ports: Option<Ports>,
    /// A TIME_WAIT of the client's may be reused after a second.
    pub(super) is_reused: bool,
    pub(super) runtime: Option<Runtime>,
    /// Program of the other side, if it runs on this host.
    pub(super) peer_runtime: Option<Runtime>,
    /// RSTs that the network namespace has sent since the watch began.
    pub(super) resets_sent: Option<u64>,
    /// Share of the events that were lost.
    pub(super) lost_share: f64,
    pub(super) missing: MissingEvidence,
    pub(super) load: Option<LoadKnowledge>,
}

/// Builds the evidence of one destination.
pub(super) fn evidence(one: &Destination, report: &HostReport, context: Context) -> Evidence {
    let Context { ports, is_reused, runtime, peer_runtime, resets_sent, lost_share, missing, load } =
        context;
    let (given_up, waited) = given_up(&one.waited_before_give_up);
    Evidence {
        unattributed_aborts: report.unattributed_aborts,
        events_overdue: report.events_overdue,
        side_is_guess: one.side_evidence == SideEvidence::Guess && one.service.is_some(),
        window: report.window,
        opened: one.opened,
        local_fin: one.closed.local_fin,
        remote_fin: one.closed.remote_fin,
        local_rst: one.closed.local_rst,
        remote_rst: one.closed.remote_rst,
        undrained: one.closed.undrained,
        // A connection that timed out has no closer.
        unclassified: one.closed.unclassified + one.closed.timed_out,
        connect_failed: one.connect_failed,
        ipv4_only: one.ipv4_only,
        unanswered: one.unanswered,
        given_up,
        waited,
        met_waiting: one.met_waiting,
        met_waiting_in_vain: one.met_waiting_in_vain,
        late_answers: idle(&one.late_answers),
        cut_answers: one.cut_answers,
        unread_farewells: one.unread_farewells,
        // Where the peer's reset removed them, this host sent none.
        answered_after_close: answered_after_close(one, report, is_reused)
            .min(resets_sent.unwrap_or(u64::MAX)),
        requests: requests(match one.handshake {
            // Read as the counts are; what a handshake leaves of them goes with `messages`.
            Handshake::Possible => &one.requests_at_most,
            _ => &one.requests,
        }),
        messages: messages(one),
        closed_requests: closed_requests(one),
        ended_streams: one.ended_streams,
        met_idle: one.met_idle,
        requests_at_most: requests(&one.requests_at_most),
        idle_local: idle(&one.idle_before_local_close),
        idle_remote: idle(&one.idle_before_remote_close),
        lifetime: idle(&one.traced.lifetime_ms),
        alive_at_start: one.alive_at_start,
        alive: one.alive,
        established: one.established,
        most_established: one.established_seen.max().map_or(0, u64::from),
        usual_established: one.established_seen.quantile(0.5).map(u64::from),
        keeper_closes: keeper_closes(one),
        idle_set: idle_set(one).or_else(|| left_by_load(one, report).filter(|_| load.is_some())),
        close_wait: one.close_wait,
        close_wait_at_start: one.close_wait_at_start,
        close_wait_rises: report.polls.is_none().then_some(one.close_wait_rises),
        stuck: StuckSockets {
            established: one.stuck.established,
            closing: one.stuck.closing,
            oldest_ms: one.stuck.oldest_ms,
            retransmits: one.stuck.retransmits,
        },
        unaccepted: one.unaccepted,
        listen_queue: one.listen_queue.map(|queue| ListenQueue {
            waiting: queue.waiting.into(),
            backlog: queue.backlog.into(),
        }),
        time_wait: lists_time_waits(report).then_some(one.time_wait),
        ports: ports.filter(|_| lists_time_waits(report)),
        runtime,
        peer_runtime,
        lost_share,
        open: open_traffic(one),
        missing,
        load,
        ..Evidence::new(observed_side(one.side), level(one, report))
    }
}

/// Returns the requests on connections that were closed, read as the others are.
fn closed_requests(one: &Destination) -> Option<Requests> {
    let (all, open) = match one.handshake {
        Handshake::Possible => (&one.requests_at_most, &one.requests_at_most_open),
        _ => (&one.requests, &one.requests_open),
    };
    requests(&all.since(open))
}

/// Returns whether the process of a client's open connections closed the others too, where the kernel
/// traced each of them.
fn keeper_closes(one: &Destination) -> Option<bool> {
    /// Shares from which a process has nearly all connections, and up to which it has next to none.
    const ALL: f64 = 0.95;
    const NONE: f64 = 0.2;
    let keeper = one.owners_open.first().filter(|one| one.share >= ALL)?;
    let is_traced = one.owners.iter().all(|one| one.how == OwnerEvidence::Traced);
    if one.side != Side::Client || !is_traced || one.owners.is_empty() {
        return None;
    }
    let is_keeper = |one: &&Owner| (one.pid, one.started_at) == (keeper.pid, keeper.started_at);
    let share = one.owners.iter().find(is_keeper).map_or(0.0, |one| one.share);
    match share {
        _ if share >= ALL => Some(true),
        _ if share <= NONE => Some(false),
        _ => None,
    }
}

/// Returns the kinds of evidence that the self-test did not find.
pub(super) fn missing(test: &SelfTest) -> MissingEvidence {
    MissingEvidence {
        closer: !test.closer,
        abort: !test.abort,
        unread: !test.unread,
        requests: !test.requests,
    }
}

/// Returns the share of the events of a report that were lost: destroy events or, where it is larger,
/// traced ones.
pub(super) fn lost_share(report: &HostReport) -> f64 {
    let share = |lost: u64, read: u64| lost as f64 / lost.saturating_add(read).max(1) as f64;
    let closes = report.destinations.iter().map(|one| one.closed.total() + one.connect_failed);
    let destroyed = share(report.lost_events, closes.sum());
    match report.tracing {
        Tracing::On { events, lost_events } => destroyed.max(share(lost_events, events)),
        Tracing::Off | Tracing::Refused(_) => destroyed,
    }
}

/// Returns the counters of the network namespace, which only level L0 reads.
pub(super) fn host_counters(polls: &Polls) -> HostCounters {
    let counters = &polls.counters;
    HostCounters {
        active_opens: counters.active_opens,
        attempt_fails: counters.attempt_fails,
        abort_on_close: counters.abort_on_close,
        listen_overflows: counters.listen_overflows,
        time_waits: counters.time_waits,
        resets: counters.estab_resets,
        unattributed_aborts: None,
    }
}

/// Returns false where the system hides TIME_WAITs, so that taken ports are not known either.
fn lists_time_waits(report: &HostReport) -> bool {
    report.polls.is_none_or(|polls| polls.lists_time_waits)
}

const fn observed_side(side: Side) -> ObservedSide {
    match side {
        Side::Client => ObservedSide::Client,
        Side::Server => ObservedSide::Server,
    }
}

fn level(one: &Destination, report: &HostReport) -> Level {
    // A report without a window is one dump, of any source.
    if report.window.is_zero() {
        return Level::OneDump;
    }
    match (&report.polls, &report.tracing) {
        (Some(polls), _) => Level::Polled(polled(one, polls)),
        (None, Tracing::On { .. }) => Level::Traced(reset_reasons(one)),
        (None, Tracing::Off | Tracing::Refused(_)) => Level::Counted,
    }
}

fn polled(one: &Destination, polls: &Polls) -> PolledEvidence {
    // The first poll has no earlier one to differ from.
    let differences = one.seen_by_polls.unwrap_or_default();
    PolledEvidence {
        opened: differences.opened,
        opened_at_most: match one.side {
            Side::Client => polls.counters.active_opens,
            Side::Server => polls.counters.passive_opens,
        },
        closed_first: polls.lists_time_waits.then_some(differences.closed_first),
        gone: differences.gone,
        kept_closed: differences.long_lived_closed,
        kept: differences.long_lived,
    }
}

fn reset_reasons(one: &Destination) -> ResetReasons {
    let by_client = &one.traced.client_reset_reasons;
    // Seen from the server, the late one is a response.
    let late = if one.side == Side::Client { one.traced.reset_after_fin } else { 0 };
    ResetReasons::of(by_client.iter().map(|(reason, count)| (reason.as_str(), *count)), late)
}

/// Returns a client's closes by FIN whose TIME_WAIT is missing, though it lasts for longer than the
/// window: the kernel removes one if data comes, and the socket resets its sender (RFC 2525, section
/// 2.17). 0 where it may be missing for another reason.
fn answered_after_close(one: &Destination, report: &HostReport, is_reused: bool) -> u64 {
    let too_many = report.time_waits_refused.is_some_and(|refused| refused > 0);
    let lasts = !report.window.is_zero() && report.window < TIME_WAIT;
    if one.side != Side::Client || is_reused || too_many || !lasts || report.polls.is_some() {
        return 0;
    }
    one.closed.local_fin.saturating_sub(one.time_wait_in_window)
}

/// Returns the traffic of open connections; `None` where no dump has fetched any.
fn open_traffic(one: &Destination) -> Option<OpenTraffic> {
    // Messages, since requests are bounded by what was answered.
    let (connections, requests) = (one.requests_open.count(), one.messages_open);
    let answers = one.answers_open;
    (connections > 0).then_some(OpenTraffic { connections, requests, answers })
}

/// Returns the number of connections that stay open between bursts: the lowest level, if dumps met
/// it again and again. A dump in the middle of a burst meets more.
fn idle_set(one: &Destination) -> Option<u64> {
    let open = u32::try_from(one.established).ok().filter(|open| *open > 0)?;
    let up_to = |count: u32| one.established_seen.share_up_to(count);
    let (less, none) = (up_to(open - 1)?, up_to(0)?);
    let is_lowest = less - none <= 0.0;
    (is_lowest && up_to(open)? - none >= OFTEN * (1.0 - none)).then_some(one.established)
}

/// Returns the connections that stay open after a load, which is one burst: it is over, and no socket
/// is between two states. A short load leaves too few dumps for a lowest level.
fn left_by_load(one: &Destination, report: &HostReport) -> Option<u64> {
    (report.settled && one.established > 0).then_some(one.established)
}

/// Returns the closes before which the client waited for an answer, and for how long. A farewell
/// (close_notify of TLS, QUIT) is data without an answer too, and the close follows it at once.
fn given_up(waited: &Histogram) -> (u64, Option<Idle>) {
    let farewells = waited.share_up_to(LONGEST_FAREWELL_MS).unwrap_or(1.0);
    let waits = 1.0 - farewells;
    let count = (waits * waited.count() as f64).round() as u64;
    let middle = waited.quantile(farewells + waits / 2.0).filter(|_| count > 0);
    let Some((p50_ms, common)) = middle.zip(waited.cluster(CLUSTER)) else { return (0, None) };
    // The densest cluster may be that of the farewells.
    let is_wait = common.centre > LONGEST_FAREWELL_MS;
    let common_share = if is_wait { (common.share / waits).min(1.0) } else { 0.0 };
    let common_ms = if is_wait { common.centre } else { p50_ms };
    (count, Some(Idle { closes: count, p50_ms, common_ms, common_share }))
}

/// Ports of services to which a client introduces itself before its first request, in a few short
/// messages (IANA: ftp, smtp, pop3, imap, ldap, submission, ms-sql, oracle, mqtt, mysql, postgresql, amqp,
/// redis, memcache, mongodb).
const LOG_IN_PORTS: [u16; 15] =
    [21, 25, 110, 143, 389, 587, 1433, 1521, 1883, 3306, 5432, 5672, 6379, 11211, 27017];

fn messages(one: &Destination) -> Messages {
    let counted = one.requests.count();
    let logs_in = one.service.is_none_or(|service| LOG_IN_PORTS.contains(&service.port()));
    match one.handshake {
        Handshake::Tls => Messages::BehindHandshake,
        Handshake::Possible => {
            requests(&one.requests).map_or(Messages::Unknown, Messages::WithHandshakePerhaps)
        }
        Handshake::None if counted == 0 || logs_in => Messages::Unknown,
        Handshake::None if one.alike as f64 >= ALIKE * counted as f64 => Messages::Alike,
        Handshake::None => Messages::Plain,
    }
}

fn requests(histogram: &Histogram) -> Option<Requests> {
    let common = histogram.cluster(CLUSTER)?;
    Some(Requests {
        connections: histogram.count(),
        total: histogram.total(),
        p50: histogram.quantile(0.5)?,
        max: histogram.max()?,
        none_share: histogram.share_up_to(0)?,
        common: common.centre,
        common_share: common.share,
    })
}

fn idle(histogram: &Histogram) -> Option<Idle> {
    let common = histogram.cluster(CLUSTER)?;
    Some(Idle {
        closes: histogram.count(),
        p50_ms: histogram.quantile(0.5)?,
        common_ms: common.centre,
        common_share: common.share,
    })
}
