//! Facts of the baseline, the dump that precedes the window, that later dumps cannot show.
//!
//! Owns the TIME_WAITs that were there before, and the clients whose address was not known yet.

use std::net::IpAddr;
use std::time::Duration;

use crate::kernel::keyed_hash::{Map, Set};
use crate::kernel::socket::Socket;

/// By then every minisocket of the baseline has ended: `tcp_fin_timeout` is at most 120 s
/// (`TCP_FIN_TIMEOUT_MAX`), TIME_WAIT lasts 60 s.
const MINISOCKETS_LAST: Duration = Duration::from_secs(181);

/// Facts of the baseline.
#[derive(Debug)]
pub(super) struct Baseline {
    /// Cookies of its TIME_WAITs, and of orphans in FIN_WAIT2. A cookie decides what entered
    /// TIME_WAIT within the window; an age is a jiffy off, and counts from the last state. `None`
    /// where no window follows: each of them was there before.
    minisockets: Option<Set<u64>>,
    /// Cookies of servers' sockets whose client seemed to be on another host, by client: the row of
    /// the client's socket, which shows that its address is here, may come later.
    strangers: Map<IpAddr, Vec<u64>>,
}

impl Default for Baseline {
    fn default() -> Baseline {
        Baseline { minisockets: Some(Set::default()), strangers: Map::default() }
    }
}

impl Baseline {
    /// Keeps no TIME_WAIT's cookie, of which one dump may have tens of thousands.
    pub(super) fn keep_no_minisockets(&mut self) {
        self.minisockets = None;
    }

    pub(super) fn handle_row(&mut self, row: &Socket, server_only: bool) {
        if row.is_minisocket() {
            if let Some(minisockets) = &mut self.minisockets {
                minisockets.insert(row.cookie);
            }
        } else if server_only {
            self.strangers.entry(row.remote.ip()).or_default().push(row.cookie);
        }
    }

    /// Returns whether a TIME_WAIT was there before the window, or its orphan was.
    pub(super) fn had_minisocket(&self, cookie: u64) -> bool {
        self.minisockets.as_ref().is_none_or(|known| known.contains(&cookie))
    }

    /// Takes the sockets that seemed to have no client here, by client.
    pub(super) fn take_strangers(&mut self) -> Map<IpAddr, Vec<u64>> {
        std::mem::take(&mut self.strangers)
    }

    /// Forgets minisockets that have ended.
    pub(super) fn forget(&mut self, now: Duration, opened_at: Option<Duration>) {
        if opened_at.is_some_and(|opened| now > opened + MINISOCKETS_LAST) {
            self.minisockets = Some(Set::default());
        }
    }
}
