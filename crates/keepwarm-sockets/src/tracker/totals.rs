//! Totals of one destination: what was counted since the window began, and the levels of the last
//! dump.
//!
//! Owns the sums and how two destinations are folded into one. Which destination an event belongs
//! to is decided elsewhere.

use std::collections::BTreeMap;

use super::dead::CutAnswer;
use super::destinations::Key;
use super::handshakes::{BehindTls, Handshakes, Shape};
use super::learned::{Besides, Range};
use super::messages::Beginning;
use super::removed_time_waits::Bounds;
use crate::kernel::proc::owners::{Owner, OwnerEvidence, ProcessKey, Sightings};
use crate::kernel::socket::{Side, Socket, State, TIME_WAIT_MS};
use crate::report::closes::{CloseKind, SocketCloses};
use crate::report::destination::{
    Destination, ListenQueue, PortsTaken, SideEvidence, StuckSockets,
};
use crate::report::histogram::Histogram;
use crate::report::path::{NetworkPath, PathSample};
use crate::report::polls::PollDiff;

/// Weight of an open connection beside one that was closed, when destinations are folded.
const ALIVE_WEIGHT: u64 = 4;
/// Of so many closes by the peer at least one was met in CLOSE_WAIT, where a program answers FINs late.
const MET_LATE: u64 = 5;
/// Reasons counted for one destination; the kernel has about thirty.
const MAX_REASONS: usize = 64;
/// How long TIME_WAIT lasts, in seconds.
const SECONDS: usize = TIME_WAIT_MS as usize / 1000;

/// Sockets of one destination as one dump counted them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Level {
    pub(super) alive: u64,
    pub(super) established: u64,
    pub(super) close_wait: u64,
    /// Servers' sockets in `alive` whose client is not in this network namespace.
    pub(super) server_only: u64,
    pub(super) time_wait: u64,
    pub(super) time_wait_in_window: u64,
    pub(super) by_age: [u32; SECONDS],
    /// Source addresses of these connections; for a client only.
    pub(super) sources: u64,
    pub(super) ports: Option<PortsTaken>,
    pub(super) stuck: StuckSockets,
    /// Round trips and retransmissions of the open sockets.
    pub(super) path: NetworkPath,
    /// Connections of a server that no process has accepted.
    pub(super) unaccepted: u64,
    pub(super) listen_queue: Option<ListenQueue>,
}

impl Default for Level {
    fn default() -> Level {
        Level {
            alive: 0,
            established: 0,
            close_wait: 0,
            server_only: 0,
            time_wait: 0,
            time_wait_in_window: 0,
            by_age: [0; SECONDS],
            sources: 0,
            ports: None,
            stuck: StuckSockets::default(),
            path: NetworkPath::default(),
            unaccepted: 0,
            listen_queue: None,
        }
    }
}

impl Level {
    pub(super) fn count_time_wait(&mut self, age_ms: u32, in_window: bool) {
        self.time_wait += 1;
        self.time_wait_in_window += u64::from(in_window);
        let second = usize::try_from(age_ms / 1000).unwrap_or(SECONDS).min(SECONDS - 1);
        self.by_age[second] += 1;
    }

    /// Counts a connection without a file: accept(2) makes the file (`sock_i_ino`). An orphan has
    /// none either, but is in a state that close(2) leads to.
    pub(super) fn count_unaccepted(&mut self, side: Side, row: &Socket) {
        let is_open = matches!(row.state, State::Established | State::CloseWait);
        self.unaccepted += u64::from(side == Side::Server && is_open && row.inode == 0);
    }

    /// Counts the local ports taken from one source address.
    pub(super) fn count_ports(&mut self, ports: PortsTaken) {
        self.sources += 1;
        if self.ports.is_none_or(|most| most.used < ports.used) {
            self.ports = Some(ports);
        }
    }

    /// Makes everything older by some seconds in which nothing happened: the oldest TIME_WAITs have
    /// ended.
    fn age(&mut self, seconds: usize) {
        let stay = SECONDS.saturating_sub(seconds);
        let ended: u64 = self.by_age[stay..].iter().copied().map(u64::from).sum();
        self.by_age.copy_within(..stay, SECONDS - stay);
        self.by_age[..SECONDS - stay].fill(0);
        self.time_wait -= ended;
        // TIME_WAITs of the window are the youngest.
        self.time_wait_in_window = self.time_wait_in_window.min(self.time_wait);
        // With several sources, only the next dump shows which of them had the ports.
        if let Some(ports) = self.ports.as_mut().filter(|_| self.sources == 1) {
            ports.used = ports.used.saturating_sub(ended);
        }
    }

    pub(super) fn merge(&mut self, other: &Level) {
        self.alive += other.alive;
        self.established += other.established;
        self.close_wait += other.close_wait;
        self.server_only += other.server_only;
        self.time_wait += other.time_wait;
        self.time_wait_in_window += other.time_wait_in_window;
        self.sources += other.sources;
        self.stuck.merge(&other.stuck);
        self.path.merge(&other.path);
        self.unaccepted += other.unaccepted;
        self.by_age.iter_mut().zip(other.by_age).for_each(|(sum, more)| *sum += more);
        // Ports are counted towards one service: of several services the fullest matters.
        self.ports = self.ports.into_iter().chain(other.ports).max_by_key(|ports| ports.used);
    }
}

/// Totals of one destination.
#[derive(Debug)]
pub(super) struct Totals {
    /// The sums of the window, in the form in which they are reported. Levels and owners are filled
    /// in by [`report`](Totals::report).
    sums: Destination,
    now: Level,
    pub(super) sightings: Sightings,
    /// Idle times before closes by the peer, where the time of its FIN is known; in the sums too.
    exact_idle: Histogram,
    /// Closes by the peer that rest on a missing TIME_WAIT; included in the sums.
    doubtful: Doubtful,
    /// Requests of closed connections that may have begun with a handshake; not in the sums.
    handshakes: Handshakes,
}

/// Closes that [`rests_on_absence`](super::classify::rests_on_absence) is true of.
#[derive(Debug, Default)]
struct Doubtful {
    closed: u64,
    /// Closes among them that are counted at the server only.
    server_only: u64,
    /// Idle times before them, if the peer began them; in no other histogram.
    idle: Histogram,
    /// Idle times before them, if the local side began them.
    idle_if_own: Histogram,
    /// For a client: closes among them while an answer was due, and for how long it had been.
    given_up: u64,
    waited: Histogram,
}

/// Closes of all destinations that rest on a missing TIME_WAIT.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Doubt {
    /// Closes that the local side began: its TIME_WAIT was removed.
    pub(super) local: Bounds,
    /// Their number.
    pub(super) all: u64,
}

/// Close of a connection, as it is counted at the destination of one of its sockets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Close {
    pub(super) kind: CloseKind,
    /// No evidence but a missing TIME_WAIT says so.
    pub(super) rests_on_absence: bool,
    /// The socket was closed with unread data.
    pub(super) unread: bool,
    /// As `unread`, and no more than a farewell.
    pub(super) unread_farewell: bool,
    /// Bytes of it.
    pub(super) unread_bytes: u32,
    /// No client's socket stands for the connection.
    pub(super) server_only: bool,
    pub(super) idle_ms: Option<u32>,
    /// Idle time of a close that rests on absence, if the side that it is counted at began it.
    pub(super) idle_if_own_ms: Option<u32>,
    /// The time of the first FIN is known: a program may answer the peer's late, and then the idle time
    /// of its socket alone is an upper bound.
    pub(super) idle_is_exact: bool,
    /// Requests within the window.
    pub(super) requests: Option<u32>,
    /// Upper bound of `requests`.
    pub(super) requests_at_most: Option<u32>,
    /// Reading of the connection as one that began with a handshake.
    pub(super) behind_tls: BehindTls,
    /// Whether it may have.
    pub(super) shape: Shape,
    /// The client sent data, and nothing came back.
    pub(super) is_unanswered: bool,
    /// How long the client had waited for an answer that was due.
    pub(super) waited_ms: Option<u32>,
    /// A dump met the client waiting: true if nothing came any more.
    pub(super) still_waits: Option<bool>,
    /// Answer that was under way from this side.
    pub(super) cut: Option<CutAnswer>,
    /// One request or none, and a stream of answers.
    pub(super) is_stream: bool,
    /// A dump met it idle, and no more than a farewell was said since.
    pub(super) met_idle: bool,
    pub(super) received: Option<u64>,
    pub(super) path: Option<PathSample>,
}

impl Close {
    /// Makes a close of which only the kind is known.
    pub(super) fn of_kind(kind: CloseKind) -> Close {
        Close {
            kind,
            rests_on_absence: false,
            unread: false,
            unread_farewell: false,
            unread_bytes: 0,
            server_only: false,
            idle_ms: None,
            idle_if_own_ms: None,
            idle_is_exact: false,
            requests: None,
            requests_at_most: None,
            behind_tls: BehindTls::default(),
            shape: Shape::Unknown,
            is_unanswered: false,
            waited_ms: None,
            still_waits: None,
            cut: None,
            is_stream: false,
            met_idle: false,
            received: None,
            path: None,
        }
    }
}

/// Open connections of one destination.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenNow {
    /// Requests within the window.
    pub(super) requests: Histogram,
    pub(super) requests_at_most: Histogram,
    /// Requests of connections without a client's socket here.
    pub(super) server_only: Histogram,
    pub(super) server_only_at_most: Histogram,
    /// Those that may have begun with a handshake; in none of the above.
    pub(super) handshakes: Handshakes,
    pub(super) answers: u64,
    pub(super) messages: u64,
    pub(super) sightings: Sightings,
}

/// Requests of one open connection, as [`OpenNow`] counts them.
#[derive(Debug, Clone, Copy)]
pub(super) struct OpenRequests {
    /// At least and at most; `None` if that is unknown.
    pub(super) plain: Option<Range>,
    /// Reading of the connection as one that began with a handshake.
    pub(super) behind_tls: BehindTls,
    pub(super) shape: Shape,
    /// Segments with data from the server.
    pub(super) answers: u64,
    pub(super) server_only: bool,
}

impl Totals {
    pub(super) fn new((service, side): Key) -> Totals {
        Totals {
            sums: Destination::new(service, side),
            now: Level::default(),
            sightings: Sightings::default(),
            exact_idle: Histogram::default(),
            doubtful: Doubtful::default(),
            handshakes: Handshakes::default(),
        }
    }

    /// Makes the totals of no destination, into which others are folded.
    pub(super) fn folded(side: Side) -> Totals {
        let mut totals = Totals::new((None, side));
        totals.sums.folded = 0;
        // Of all that are folded the weakest counts.
        totals.sums.side_evidence = SideEvidence::Connected;
        totals
    }

    pub(super) fn key(&self) -> Key {
        (self.sums.service, self.sums.side)
    }

    pub(super) fn side(&self) -> Side {
        self.sums.side
    }

    /// Returns the surest evidence that the service is one.
    pub(super) fn side_evidence(&self) -> SideEvidence {
        self.sums.side_evidence
    }

    pub(super) fn note_side(&mut self, evidence: SideEvidence) {
        self.sums.side_evidence = self.sums.side_evidence.max(evidence);
    }

    // ---- levels -----------------------------------------------------------------------------

    /// Takes the levels of a dump.
    pub(super) fn set_level(&mut self, mut level: Level, with_info: bool) {
        // Only a dump with `tcp_info` shows which sockets are stuck, and their round trips.
        if !with_info {
            level.stuck = self.now.stuck;
            if level.alive > 0 {
                level.path = std::mem::take(&mut self.now.path);
            }
        }
        self.sums.close_wait_rises += u64::from(level.close_wait > self.now.close_wait);
        self.now = level;
        self.note_established();
    }

    /// Takes some seconds without a change.
    pub(super) fn pass_time(&mut self, seconds: usize) {
        self.now.age(seconds);
        self.note_established();
    }

    fn note_established(&mut self) {
        self.sums.established_seen.add(u32::try_from(self.now.established).unwrap_or(u32::MAX));
    }

    /// Makes the levels of now those at which the window begins.
    pub(super) fn begin_window(&mut self) {
        self.sums.alive_at_start = self.now.alive;
        self.sums.server_only.alive_at_start = self.now.server_only;
        self.sums.close_wait_at_start = self.now.close_wait;
        self.sums.close_wait_rises = 0;
    }

    /// Corrects the level: the client of a server's socket is in this network namespace after all.
    pub(super) fn handle_client_is_here(&mut self) {
        self.now.server_only = self.now.server_only.saturating_sub(1);
    }

    // ---- closes -----------------------------------------------------------------------------

    /// Counts a close. Returns how it differs from the counts before.
    pub(super) fn count(&mut self, close: &Close) -> SocketCloses {
        let side = self.side();
        let mut one = SocketCloses::default();
        one.add(side, close.kind, close.unread);
        self.sums.closed.merge(&one);
        if let Some(idle) = close.idle_if_own_ms {
            self.doubtful.idle_if_own.add(idle);
        }
        let was_begun_by_peer = one.undrained > 0 && close.unread_farewell;
        self.sums.unread_farewells += u64::from(was_begun_by_peer);
        if let Some(idle) = close.idle_ms {
            if close.rests_on_absence {
                self.doubtful.idle.add(idle);
            } else if one.local() > 0 && !was_begun_by_peer {
                self.sums.idle_before_local_close.add(idle);
            } else if one.remote() > 0 || was_begun_by_peer {
                self.sums.idle_before_remote_close.add(idle);
                if close.idle_is_exact {
                    self.exact_idle.add(idle);
                }
            }
        }
        let (shape, behind) = (close.shape, close.behind_tls);
        let is_taken = close
            .requests
            .zip(close.requests_at_most)
            .is_some_and(|plain| self.handshakes.take(shape, plain, behind, false));
        if let Some(requests) = close.requests.filter(|_| !is_taken) {
            self.sums.requests.add(requests);
        }
        if let Some(requests) = close.requests_at_most.filter(|_| !is_taken) {
            self.sums.requests_at_most.add(requests);
        }
        self.count_waiting(close);
        if one.undrained > 0 {
            self.sums.unread_at_close.add(close.unread_bytes);
        }
        if let Some(received) = close.received {
            self.sums.received.add(u32::try_from(received).unwrap_or(u32::MAX));
        }
        if let Some(path) = &close.path {
            self.sums.path.count(path);
        }
        self.doubtful.closed += u64::from(close.rests_on_absence);
        if close.server_only {
            self.doubtful.server_only += u64::from(close.rests_on_absence);
            self.count_at_server(close);
        }
        one
    }

    /// Counts a close at which the client had no answer, or still waited for one.
    fn count_waiting(&mut self, close: &Close) {
        self.sums.unanswered += u64::from(close.is_unanswered);
        self.sums.ended_streams += u64::from(close.is_stream);
        self.sums.met_idle += u64::from(close.met_idle);
        let by_client = matches!(close.kind, CloseKind::ClientFin | CloseKind::ClientRst);
        if let Some(waited) = close.waited_ms {
            if by_client {
                self.sums.given_up += 1;
                self.sums.waited_before_give_up.add(waited);
            } else if close.rests_on_absence {
                self.doubtful.given_up += 1;
                self.doubtful.waited.add(waited);
            }
        }
        if let Some(still_waits) = close.still_waits {
            self.sums.met_waiting += 1;
            self.sums.met_waiting_in_vain += u64::from(still_waits);
        }
        let silent = close.kind == CloseKind::TimedOut || close.kind == CloseKind::ServerRst;
        match close.cut.filter(|_| !silent) {
            Some(cut) if cut.has_begun => self.sums.cut_answers += 1,
            Some(cut) => self.sums.late_answers.add(cut.after_ms),
            None => {}
        }
    }

    /// Counts a connection that no client's socket stands for. Its socket is counted already.
    pub(super) fn count_at_server(&mut self, close: &Close) {
        let side = self.side();
        let only = &mut self.sums.server_only;
        only.closed.add(side, close.kind, close.unread);
        let plain = close.requests.zip(close.requests_at_most);
        if let (Some(plain), Shape::Alike | Shape::Possible { .. }) = (plain, close.shape) {
            self.handshakes.take_server_only(plain, close.behind_tls);
            return;
        }
        if let Some(requests) = close.requests {
            only.requests.add(requests);
        }
        if let Some(requests) = close.requests_at_most {
            only.requests_at_most.add(requests);
        }
    }

    /// Counts a connect that failed. Only a client connects.
    pub(super) fn count_failed_connect(&mut self) {
        if self.side() == Side::Client {
            self.note_side(SideEvidence::Connected);
        }
        self.sums.connect_failed += 1;
    }

    /// Takes opens and closes as polls saw them, where there are no events.
    pub(super) fn set_polls(&mut self, seen: PollDiff) {
        self.sums.seen_by_polls = Some(seen);
    }

    /// Takes a connection that was followed to its end: see [`Handshakes::learn`].
    pub(super) fn learn(&mut self, besides: Besides) {
        self.handshakes.learn(besides);
    }

    /// Takes what the first messages of a connection that is followed have shown.
    pub(super) fn learn_beginning(&mut self, beginning: Beginning) {
        self.handshakes.learn_beginning(beginning);
    }

    /// Returns whether it is worth a search to follow connections to this service.
    pub(super) fn is_curious(&self) -> bool {
        self.handshakes.is_curious(self.sums.service)
    }

    /// Returns whether a young connection may be followed, and counts it.
    pub(super) fn may_follow(&mut self) -> bool {
        self.handshakes.may_follow()
    }

    /// Counts the process that closed a connection; `None`: it was never seen.
    pub(super) fn count_owner(&mut self, process: Option<ProcessKey>) {
        match process {
            Some(process) => self.sightings.closed(process),
            None => self.sightings.closed_unseen(),
        }
    }

    pub(super) fn count_lifetime(&mut self, lifetime_ns: u64) {
        let ms = u32::try_from(lifetime_ns / 1_000_000).unwrap_or(u32::MAX);
        self.sums.traced.lifetime_ms.add(ms);
    }

    pub(super) fn count_reset_after_fin(&mut self) {
        self.sums.traced.reset_after_fin += 1;
    }

    /// Counts a reset by this side; `is_late`: after that side's own FIN.
    pub(super) fn count_reset_reason(&mut self, reason: &str, by: Side, is_late: bool) {
        count_reason(&mut self.sums.traced.reset_reasons, reason);
        self.sums.traced.late_data += u64::from(is_late);
        if by == Side::Client && !is_late {
            count_reason(&mut self.sums.traced.client_reset_reasons, reason);
        }
    }

    // ---- folding and reporting --------------------------------------------------------------

    /// Counts a destination that is folded for the first time; `None`: there are too many to know.
    pub(super) fn count_folded(&mut self, is_new: Option<bool>) {
        match is_new {
            Some(is_new) => self.sums.folded += u64::from(is_new),
            None => self.sums.folded_at_least = true,
        }
    }

    pub(super) fn fold_in(&mut self, other: &Totals) {
        self.sums.fold_in(&other.sums);
        self.now.merge(&other.now);
        self.sightings.merge(&other.sightings);
        self.exact_idle.merge(&other.exact_idle);
        self.doubtful.closed += other.doubtful.closed;
        self.doubtful.server_only += other.doubtful.server_only;
        self.doubtful.idle.merge(&other.doubtful.idle);
        self.doubtful.idle_if_own.merge(&other.doubtful.idle_if_own);
        self.doubtful.given_up += other.doubtful.given_up;
        self.doubtful.waited.merge(&other.doubtful.waited);
        self.handshakes.merge(&other.handshakes);
    }

    /// Returns how much there is to report; `dump`: the levels that a dump under way has so far.
    pub(super) fn weight(&self, dump: Option<&Level>) -> u64 {
        let level = |level: &Level| ALIVE_WEIGHT * level.alive + level.time_wait;
        let now = level(&self.now).max(dump.map_or(0, level));
        let polls = self.sums.seen_by_polls.map_or(0, |seen| seen.changes());
        self.sums.closed.total() + self.sums.connect_failed + now + polls
    }

    pub(super) fn is_empty(&self) -> bool {
        self.weight(None) == 0 && self.sums.alive_at_start == 0
    }

    /// Returns the connections opened within the window, and the attempts that failed.
    pub(super) fn attempts(&self) -> u64 {
        self.opened() + self.sums.connect_failed
    }

    fn opened(&self) -> u64 {
        // Without events nothing is conserved.
        if self.sums.seen_by_polls.is_some() {
            return 0;
        }
        (self.sums.closed.total() + self.now.alive).saturating_sub(self.sums.alive_at_start)
    }

    /// Returns the number of closes that rest on a missing TIME_WAIT.
    pub(super) fn doubtful_closes(&self) -> u64 {
        self.doubtful.closed
    }

    /// Returns the report; `doubt`: closes of any destination that rest on a missing TIME_WAIT;
    /// `owners` names the processes that were seen.
    pub(super) fn report(
        &self,
        open: OpenNow,
        doubt: Doubt,
        owners: impl Fn(&Sightings) -> Vec<Owner>,
    ) -> Destination {
        let mut report = self.sums.clone();
        self.doubtful.settle(doubt, &mut report);
        // A program that is met with the peer's FIN again and again answers it late.
        if self.exact_idle.count() * MET_LATE >= report.idle_before_remote_close.count().max(1) {
            report.idle_before_remote_close = self.exact_idle.clone();
        }
        report.opened = self.opened();
        let mut handshakes = self.handshakes.clone();
        handshakes.merge(&open.handshakes);
        report.handshake = handshakes.handshake(report.service);
        report.alike = handshakes.alike();
        let still_open = open.handshakes.told(report.handshake, &handshakes);
        let told = handshakes.told(report.handshake, &handshakes);
        report.requests_open = open.requests;
        report.requests_at_most_open = open.requests_at_most;
        report.requests.merge(&report.requests_open);
        report.requests_at_most.merge(&report.requests_at_most_open);
        report.requests_open.merge(&still_open.all.least);
        report.requests_at_most_open.merge(&still_open.all.most);
        report.requests.merge(&told.all.least);
        report.requests_at_most.merge(&told.all.most);
        report.answers_open = open.answers;
        report.messages_open = open.messages;
        report.alive = self.now.alive;
        report.established = self.now.established;
        report.close_wait = self.now.close_wait;
        report.time_wait = self.now.time_wait;
        report.time_wait_in_window = self.now.time_wait_in_window;
        report.time_wait_by_age = self.now.by_age.to_vec();
        report.ports = self.now.ports.filter(|_| self.side() == Side::Client);
        report.stuck = self.now.stuck;
        report.path_open = self.now.path.clone();
        report.unaccepted = self.now.unaccepted;
        report.listen_queue = self.now.listen_queue;
        report.owners = owners(&self.sightings);
        report.owners_open = owners(&open.sightings);
        report.server_only.alive = self.now.server_only;
        report.server_only.requests.merge(&open.server_only);
        report.server_only.requests_at_most.merge(&open.server_only_at_most);
        report.server_only.requests.merge(&told.server_only.least);
        report.server_only.requests_at_most.merge(&told.server_only.most);
        report
    }
}

impl Doubtful {
    /// Gives the local side those of the closes that were its own for certain, and leaves those
    /// unclassified that may have been. The rest were the peer's.
    fn settle(&self, doubt: Doubt, report: &mut Destination) {
        let give = |part: u64, closed: &mut SocketCloses| {
            let Bounds { least, most } = doubt.local.of_part(part, doubt.all);
            closed.remote_fin -= most;
            closed.local_fin += least;
            closed.unclassified += most - least;
            Bounds { least, most }
        };
        let local = give(self.closed, &mut report.closed);
        give(self.server_only, &mut report.server_only.closed);
        // Which of the idle times were before whose closes is not known: a few of another kind hide
        // no cluster.
        if local.most.saturating_mul(10) <= self.closed {
            report.idle_before_remote_close.merge(&self.idle);
        } else if (self.closed - local.least).saturating_mul(10) <= self.closed {
            report.idle_before_local_close.merge(&self.idle_if_own);
            report.given_up += self.given_up;
            report.waited_before_give_up.merge(&self.waited);
        }
    }
}

impl OpenNow {
    /// Counts an open socket.
    pub(super) fn count(&mut self, one: &OpenRequests) {
        let Some(plain) = one.plain else { return };
        self.answers += one.answers;
        if self.handshakes.take(one.shape, plain, one.behind_tls, one.server_only) {
            return;
        }
        self.requests.add(plain.0);
        self.requests_at_most.add(plain.1);
        if one.server_only {
            self.server_only.add(plain.0);
            self.server_only_at_most.add(plain.1);
        }
    }

    pub(super) fn count_owner(&mut self, process: ProcessKey) {
        self.sightings.see(process, OwnerEvidence::Sampled);
    }
}

fn count_reason(reasons: &mut BTreeMap<String, u64>, reason: &str) {
    if let Some(count) = reasons.get_mut(reason) {
        *count += 1;
    } else if reasons.len() < MAX_REASONS {
        reasons.insert(reason.to_owned(), 1);
    }
}
