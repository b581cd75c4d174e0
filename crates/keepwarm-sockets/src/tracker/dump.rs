//! Dumps into the books: what is alive, and which TIME_WAIT is whose.
//!
//! Owns the pass of one dump. Concludes nothing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::open::OpenSocket;
use super::totals::Level;
use super::{DECISIVE, DeadSocket, FIT_SLACK, Pair, Tracker, Which};
use crate::kernel::keyed_hash::Map;
use crate::kernel::socket::{Side, Socket, State, TRANSITIONAL};
use crate::report::destination::PortsTaken;
use crate::tracker::classify::{TimeWait, is_failed_attempt};

/// By then every minisocket of the baseline has ended: `tcp_fin_timeout` is at most 120 s
/// (`TCP_FIN_TIMEOUT_MAX`), TIME_WAIT lasts 60 s.
const MINISOCKETS_LAST: Duration = Duration::from_secs(181);

/// The pass of one dump.
#[derive(Debug, Default)]
pub(crate) struct Look {
    levels: Map<u32, Level>,
    /// Local ports taken, by client's book and source address.
    ports: Map<(u32, IpAddr), u64>,
    with_info: bool,
    transitional: bool,
}

impl Look {
    pub(super) fn level(&self, place: usize) -> Option<&Level> {
        self.levels.get(&u32::try_from(place).ok()?)
    }

    pub(super) fn remap(&mut self, moved: &[u32]) {
        let keep = |place: u32| moved.get(place as usize).copied();
        for (place, level) in std::mem::take(&mut self.levels) {
            if let Some(place) = keep(place) {
                self.levels.entry(place).or_default().merge(&level);
            }
        }
        for ((place, source), used) in std::mem::take(&mut self.ports) {
            if let Some(place) = keep(place) {
                *self.ports.entry((place, source)).or_default() += used;
            }
        }
    }
}

impl Tracker {
    pub(crate) fn begin_dump(&mut self) {
        self.looks += 1;
        self.rounds += 1;
        self.look = Some(Look::default());
        self.listeners.begin_dump();
    }

    /// One row of it, read just now.
    pub(crate) fn handle_row(&mut self, row: &Socket, now: Duration) {
        if self.is_played(row) {
            return;
        }
        if row.state == State::Listen {
            self.listeners.handle(row);
            return;
        }
        if row.remote.port() == 0 || !self.concerns(row) {
            return;
        }
        let pair = Pair::of(row);
        if row.is_alive() {
            self.learn(row.local.ip());
        }
        let (service, side) = self.destination_of(row);
        let book = match self.alive.get(&row.cookie) {
            Some(known) => known.book,
            None => self.book_of(service, side),
        };
        let waited_for = row.is_minisocket() && self.pending.contains_key(&pair);
        let server_only = side == Side::Server && self.is_without_client(row);
        if self.opened_at.is_none() {
            if row.is_minisocket() {
                self.minisockets_at_start.insert(row.cookie, ());
            } else if server_only {
                self.strangers.entry(row.remote.ip()).or_default().push(row.cookie);
            }
        }
        let in_window = !self.minisockets_at_start.contains_key(&row.cookie);
        let Some(look) = &mut self.look else { return };
        let level = look.levels.entry(book).or_default();
        match row.state {
            State::Established => level.established += 1,
            State::CloseWait => level.close_wait += 1,
            _ => {}
        }
        if let Some(age) = row.time_wait_age_ms() {
            level.count_time_wait(age);
            level.time_wait_in_window += u64::from(in_window);
        }
        if side == Side::Client {
            *look.ports.entry((book, row.local.ip())).or_default() += 1;
        }
        look.transitional |= TRANSITIONAL.contains(row.state);
        look.with_info |= row.info.is_some();
        if waited_for {
            self.found.push((pair, Which::of(row), row.entered_time_wait(now)));
        }
        if row.is_alive() && !self.closing {
            level.alive += 1;
            level.server_only += u64::from(server_only);
            self.see(book, side, row).server_only = server_only;
        }
    }

    /// The service of a row, and the side that its socket is.
    pub(crate) fn destination_of(&self, row: &Socket) -> (SocketAddr, Side) {
        let side = self.side_of(row);
        (if side == Side::Client { row.remote } else { row.local }, side)
    }

    /// The side of a row: a socket that was seen before keeps what it was taken for.
    fn side_of(&self, row: &Socket) -> Side {
        if let Some(known) = self.alive.get(&row.cookie) {
            return self.books[known.book as usize].key.1;
        }
        self.side(row)
    }

    /// The side of an end: as its listener says, else as an open book says, else a guess.
    pub(super) fn side(&self, end: &Socket) -> Side {
        // Only who connects can fail at it.
        if end.state == State::SynSent || is_failed_attempt(end) {
            return Side::Client;
        }
        if let Some(side) = self.listeners.side(&end.local, &end.remote) {
            return side;
        }
        let (client, server) = ((Some(end.remote), Side::Client), (Some(end.local), Side::Server));
        match (self.index.contains_key(&client), self.index.contains_key(&server)) {
            (true, false) => Side::Client,
            (false, true) => Side::Server,
            _ => self.listeners.guess(&end.local, &end.remote),
        }
    }

    /// Whether a server's live socket has no client in this network namespace. One of the baseline
    /// keeps what it was taken for.
    fn is_without_client(&self, row: &Socket) -> bool {
        let known = self.alive.get(&row.cookie).filter(|known| known.at_start);
        match known {
            Some(known) => known.server_only,
            None => row.is_alive() && !self.is_here(&row.remote.ip()),
        }
    }

    fn see(&mut self, book: u32, side: Side, row: &Socket) -> &mut OpenSocket {
        let looks = self.looks;
        let home = self.learn(row.local.ip());
        let new = || OpenSocket::new(book, looks, row, home);
        let alive = self.alive.entry(row.cookie).or_insert_with(new);
        alive.seen = looks;
        // A connection is accepted, and gets its file, after it is there.
        if row.inode != 0 {
            alive.inode = row.inode;
        }
        let Some(info) = row.info else { return alive };
        alive.requests = requests(side, row).or(alive.requests.get()).into();
        alive.answers = requests(side.other(), row).unwrap_or(alive.answers);
        if row.state == State::CloseWait {
            // The last thing received is the FIN: how long before it was the last data?
            let last_data = info.last_data_recv_ms.into_iter().chain(info.last_data_sent_ms).min();
            let fin = info.last_ack_recv_ms;
            let idle = last_data.zip(fin).map(|(data, fin)| data.saturating_sub(fin));
            alive.idle_at_fin_ms = idle.into();
        }
        alive
    }

    /// The dump has ended. `refused`: the kernel did not keep some TIME_WAITs lately, so that
    /// finding none proves nothing.
    pub(crate) fn end_dump(&mut self, now: Duration, refused: bool) {
        let Some(look) = self.look.take() else { return };
        self.judge_found(now, refused);
        if look.with_info || self.alive.is_empty() {
            self.last_info = Some(now);
        }
        // A second look after the window's end only answers what was open.
        if !self.closing {
            self.levels_at = now;
            self.take_stock(look);
            if self.opened_at.is_some_and(|opened| now > opened + MINISOCKETS_LAST) {
                self.minisockets_at_start = Map::default();
            }
        }
        self.settle(now, false);
    }

    /// What the TIME_WAITs that were found, and those that were not, say of the ends that this
    /// round was about.
    pub(super) fn judge_found(&mut self, now: Duration, refused: bool) {
        for (pair, end, entered) in self.found.drain(..) {
            let Some(dead) = self.pending.get_mut(&pair) else { continue };
            // A pair that lived twice: connecting again removed the older TIME_WAIT, so the one
            // that is there belongs to the last.
            let last = dead.get_mut(end).iter_mut().rev().find(|half| !half.looked);
            if let Some(half) = last.filter(|half| half.fits(entered)) {
                half.see(TimeWait::Present);
            }
        }
        self.unsearched_since = None;
        let elsewhere = self.decisive_elsewhere;
        for dead in self.pending.values_mut() {
            for half in dead.halves_mut().filter(|half| !half.looked) {
                if half.known_at_round < self.rounds {
                    let late =
                        now.saturating_sub(half.at) + half.silent > decisive(half.ips(), elsewhere);
                    half.see(if late || refused { TimeWait::Unknown } else { TimeWait::Absent });
                } else {
                    // It came while the kernel was being asked: for the next round.
                    let oldest =
                        self.unsearched_since.map_or(half.at, |oldest| oldest.min(half.at));
                    self.unsearched_since = Some(oldest);
                }
            }
        }
    }

    /// In place of a look at which nothing has changed: everything is older.
    pub(crate) fn pass_time(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.levels_at).as_secs();
        self.levels_at += Duration::from_secs(passed);
        for book in &mut self.books {
            book.now.age(usize::try_from(passed).unwrap_or(usize::MAX));
            book.established_seen.add(u32::try_from(book.now.established).unwrap_or(u32::MAX));
        }
    }

    fn take_stock(&mut self, mut look: Look) {
        self.last_stock = self.looks;
        self.transitional = look.transitional;
        for ((book, source), used) in look.ports {
            let level = look.levels.entry(book).or_default();
            level.sources += 1;
            if level.ports.is_none_or(|ports| ports.used < used) {
                level.ports = Some(PortsTaken { source, used });
            }
        }
        for (place, book) in self.books.iter_mut().enumerate() {
            let place = u32::try_from(place).unwrap_or(u32::MAX);
            book.now = look.levels.remove(&place).unwrap_or_default();
            book.established_seen.add(u32::try_from(book.now.established).unwrap_or(u32::MAX));
        }
        // What vanished without an event may still have one on its way.
        let looks = self.looks;
        self.alive.retain(|_, alive| alive.seen + 2 > looks || alive.at_start);
    }
}

/// Requests that a socket carried: segments with data from client to server.
pub(super) fn requests(side: Side, socket: &Socket) -> Option<u32> {
    let info = socket.info?;
    match side {
        Side::Client => info.data_segs_out,
        Side::Server => info.data_segs_in,
    }
}

/// For how long a look that finds no TIME_WAIT between these proves that there was none.
fn decisive(ips: [IpAddr; 2], elsewhere: Duration) -> Duration {
    if ips.iter().any(IpAddr::is_loopback) { DECISIVE } else { elsewhere }
}

impl DeadSocket {
    fn ips(&self) -> [IpAddr; 2] {
        [self.event.local.ip(), self.event.remote.ip()]
    }

    fn see(&mut self, time_wait: TimeWait) {
        self.looked = true;
        self.time_wait = time_wait;
    }

    /// Whether a TIME_WAIT entered then (`None`: it is in FIN_WAIT2 still) can be this end's.
    fn fits(&self, entered: Option<Duration>) -> bool {
        entered.is_none_or(|entered| entered + self.silent + FIT_SLACK >= self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::DECISIVE_ELSEWHERE;

    #[test]
    fn a_late_look_for_time_wait_proves_nothing_where_the_kernel_reuses_it() {
        let decisive = |ends: [&str; 2], elsewhere| {
            super::decisive(ends.map(|end| end.parse().unwrap()), elsewhere)
        };
        let far = ["10.0.0.1", "10.0.0.5"];
        assert_eq!(decisive(far, DECISIVE_ELSEWHERE), DECISIVE_ELSEWHERE);
        assert_eq!(decisive(far, DECISIVE), DECISIVE, "tcp_tw_reuse is 1");
        for near in [["127.0.0.1", "127.0.0.9"], ["::1", "::1"]] {
            assert_eq!(decisive(near, DECISIVE_ELSEWHERE), DECISIVE);
        }
    }
}
