//! Dumps of the socket table, as the tracker takes them.
//!
//! Owns one dump while it is under way: the levels it counts, and the state of each open socket.
//! Concludes nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::Tracker;
use super::classify::is_failed_attempt;
use super::destinations::DestinationId;
use super::pair::Pair;
use super::sides::{connecting_side, may_be_closing_meanwhile};
use super::totals::Level;
use crate::kernel::keyed_hash::Map;
use crate::kernel::socket::{Side, Socket, State, TRANSITIONAL};
use crate::report::destination::{PortsTaken, SideEvidence};
use crate::report::path::PathSample;

/// Rows whose side is decided at the end of a dump, some 300 bytes each; further ones at once.
const MAX_DEFERRED: usize = 1 << 14;

/// A dump that is under way.
#[derive(Debug, Default)]
pub(super) struct Dump {
    pub(super) levels: Map<DestinationId, Level>,
    /// Local ports taken, by a client's destination and source address.
    ports: Map<(DestinationId, IpAddr), u64>,
    /// Rows whose side only the other rows may show.
    deferred: Vec<(Socket, Duration)>,
    with_info: bool,
    is_transitional: bool,
}

impl Dump {
    /// Counts a row. `own`: its destination's id, `id`: the id that this is listed under, which
    /// differs once it is folded. Ports are counted towards one service, folded or not.
    fn count(
        &mut self,
        own: DestinationId,
        id: DestinationId,
        side: Side,
        row: &Socket,
    ) -> &mut Level {
        if side == Side::Client {
            *self.ports.entry((own, row.local.ip())).or_default() += 1;
        }
        self.is_transitional |= TRANSITIONAL.contains(row.state);
        self.with_info |= row.info.is_some();
        let level = self.levels.entry(id).or_default();
        level.count_unaccepted(side, row);
        level.stuck.count(row);
        if matches!(row.state, State::Established | State::CloseWait)
            && let Some(sample) = PathSample::of(row)
        {
            level.path.count(&sample);
        }
        match row.state {
            State::Established => level.established += 1,
            State::CloseWait => level.close_wait += 1,
            _ => {}
        }
        level
    }
}

impl Tracker {
    /// Begins a dump.
    pub(crate) fn begin_dump(&mut self) {
        self.open.begin_dump();
        self.pending.begin_search();
        self.listeners.begin_dump();
        self.dump = Some(Dump::default());
    }

    /// Takes one row of the dump, read just now.
    pub(crate) fn handle_row(&mut self, row: &Socket, now: Duration) {
        if self.is_of_self_test(row) {
            return;
        }
        if row.state == State::Listen {
            self.listeners.handle(row);
            return;
        }
        if row.remote.port() == 0 || !self.concerns(&row.local, &row.remote) {
            return;
        }
        let is_new = self.open.get(row.cookie).is_none();
        let evidence = if is_new { self.side_evidence(row) } else { None };
        if is_new && evidence.is_none() {
            self.many_ports.handle(&row.local, &row.remote);
            if let Some(dump) = self.dump.as_mut().filter(|it| it.deferred.len() < MAX_DEFERRED) {
                dump.deferred.push((row.clone(), now));
                return;
            }
        }
        self.handle_connection(row, evidence.map(|(side, _)| side), now);
    }

    /// Takes a row of a connection in scope. `side`: that of a socket that was not seen before, where
    /// there is evidence of its own.
    fn handle_connection(&mut self, row: &Socket, side: Option<Side>, now: Duration) {
        let local_address =
            if row.is_alive() { self.addresses.learn(row.local.ip()) } else { None };
        let (own, side) = match self.open.get(row.cookie) {
            Some(known) if row.is_alive() && self.open.is_seen(known) => return,
            // A socket that was seen before keeps the side that it was taken for.
            Some(known) => (known.destination, self.destinations.get(known.destination).side()),
            None => {
                let side = side.unwrap_or_else(|| self.side_by_others(row));
                let service = if side == Side::Client { row.remote } else { row.local };
                (self.destination_id(service, side), side)
            }
        };
        self.note_side(own, row);
        if self.open.get(row.cookie).is_none() {
            self.handle_newborn(own, side, row);
        }
        let server_only = side == Side::Server && self.is_without_client(row);
        if self.opened_at.is_none() {
            self.baseline.handle_row(row, server_only);
        }
        let id = self.destinations.current(own);
        let Some(dump) = &mut self.dump else { return };
        let level = dump.count(own, id, side, row);
        if let Some(age) = row.time_wait_age_ms() {
            level.count_time_wait(age, !self.baseline.had_minisocket(row.cookie));
        }
        if row.is_minisocket() && self.pending.contains(&Pair::of(row)) {
            self.pending.handle_found(row, now);
        }
        if row.is_alive() && !self.is_closing {
            level.alive += 1;
            level.server_only += u64::from(server_only);
            self.open.see(own, side, row, local_address).server_only = server_only;
        }
    }

    /// Ends the dump. `refused`: the kernel did not keep some TIME_WAITs lately, so that finding
    /// none proves nothing.
    pub(crate) fn end_dump(&mut self, now: Duration, refused: bool) {
        let deferred = self.dump.as_mut().map(|dump| std::mem::take(&mut dump.deferred));
        for (row, read_at) in deferred.unwrap_or_default() {
            self.handle_connection(&row, None, read_at);
        }
        let Some(dump) = self.dump.take() else { return };
        self.pending.end_search(now, refused);
        if dump.with_info || self.open.len() == 0 {
            self.last_info = Some(now);
        }
        // A second dump after the window's end only searches for TIME_WAITs.
        if !self.is_closing {
            (self.levels_at, self.dumped_at) = (now, now);
            self.is_transitional = dump.is_transitional;
            self.set_levels(dump);
            self.open.end_dump();
            self.baseline.forget(now, self.opened_at);
        }
        self.settle(now, false);
    }

    /// Takes the place of a dump that would show no change: everything is older.
    pub(crate) fn pass_time(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.levels_at).as_secs();
        self.levels_at += Duration::from_secs(passed);
        let seconds = usize::try_from(passed).unwrap_or(usize::MAX);
        self.destinations.for_each_mut(|one| one.pass_time(seconds));
    }

    /// Returns the service of a row, and the side that its socket is on.
    pub(crate) fn destination_of(&self, row: &Socket) -> (SocketAddr, Side) {
        // A socket that was seen before keeps the side that it was taken for.
        let side = match self.open.get(row.cookie) {
            Some(known) => self.destinations.get(known.destination).side(),
            None => self.side(row),
        };
        (if side == Side::Client { row.remote } else { row.local }, side)
    }

    /// Returns the side of a socket: by evidence, else by the destinations that there are, else by a
    /// guess.
    pub(super) fn side(&self, socket: &Socket) -> Side {
        let known = self.side_evidence(socket).map(|(side, _)| side);
        known.unwrap_or_else(|| self.side_by_others(socket))
    }

    /// Returns the side of a socket without evidence of its own: by other connections, else by a guess.
    fn side_by_others(&self, socket: &Socket) -> Side {
        let (local, remote) = (&socket.local, &socket.remote);
        if let Some(side) = self.many_ports.side(local, remote) {
            return side;
        }
        let is_client = self.destinations.contains(*remote, Side::Client);
        let is_server = self.destinations.contains(*local, Side::Server);
        match (is_client, is_server) {
            (true, false) => Side::Client,
            (false, true) => Side::Server,
            _ => self.listeners.guess(local, remote),
        }
    }

    /// Returns the side of a socket by evidence of its own: who connected, its listener, the range of
    /// ports.
    pub(super) fn side_evidence(&self, socket: &Socket) -> Option<(Side, SideEvidence)> {
        // Connecting is what failed, and a client does that.
        if socket.state == State::SynSent || is_failed_attempt(socket) {
            return Some((Side::Client, SideEvidence::Connected));
        }
        let listens = self.listeners.serves(&socket.local);
        let connected =
            connecting_side(socket).filter(|_| !(listens && may_be_closing_meanwhile(socket)));
        let connected = connected.map(|side| (side, SideEvidence::Connected));
        connected.or_else(|| self.listeners.evidence(&socket.local, &socket.remote))
    }

    /// Notes what shows that the service of a socket's destination is one.
    pub(super) fn note_side(&mut self, id: DestinationId, socket: &Socket) {
        if self.destinations.get(id).side_evidence() >= SideEvidence::Listener {
            return;
        }
        let by_others = || {
            let side = self.many_ports.side(&socket.local, &socket.remote)?;
            Some((side, SideEvidence::ManyPorts))
        };
        let evidence = self.side_evidence(socket).or_else(by_others);
        let totals = self.destinations.get_mut(id);
        if let Some((_, evidence)) = evidence.filter(|(side, _)| *side == totals.side()) {
            totals.note_side(evidence);
        }
    }

    /// Returns whether a server's live socket has no client in this network namespace. A socket of
    /// the baseline keeps what it was taken for.
    fn is_without_client(&self, row: &Socket) -> bool {
        match self.open.get(row.cookie).filter(|known| known.was_open_at_start()) {
            Some(known) => known.server_only,
            None => row.is_alive() && !self.addresses.contains(&row.remote.ip()),
        }
    }

    fn set_levels(&mut self, dump: Dump) {
        let Dump { mut levels, ports, with_info, .. } = dump;
        // A destination may have been folded since its rows were counted; its level went with it.
        for ((id, source), used) in ports {
            let current = self.destinations.current(id);
            levels.entry(current).or_default().count_ports(PortsTaken { source, used });
        }
        let ids: Vec<DestinationId> = self.destinations.ids().collect();
        for id in ids {
            let mut level = levels.remove(&id).unwrap_or_default();
            let totals = self.destinations.get_mut(id);
            if let (Some(service), Side::Server) = totals.key() {
                level.listen_queue = self.listeners.queue(&service);
            }
            totals.set_level(level, with_info);
        }
    }
}
