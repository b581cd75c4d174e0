//! Dead sockets: those whose destroy event has come and whose close is not counted yet.
//!
//! Owns what is known of one, and the order of several on one pair of addresses.

use std::net::IpAddr;
use std::time::Duration;

use super::classify::{Evidence, TimeWait};
use super::dump::segments_with_data;
use super::open::OpenSocket;
use super::pair::Member;
use super::small_queue::SmallQueue;
use crate::kernel::socket::{Side, Socket};

/// How much older than the death of its socket a TIME_WAIT may look: delivery and a jiffy.
const FIT_SLACK: Duration = Duration::from_secs(1);

/// A socket that died.
#[derive(Debug, Clone)]
pub(super) struct DeadSocket {
    /// When its event arrived.
    pub(super) at: Duration,
    pub(super) event: Socket,
    /// State that dumps had of it.
    pub(super) open: Option<OpenSocket>,
    /// How many searches for TIME_WAITs, or readings of the trace, had begun when it became known:
    /// only a later one can find what it left.
    pub(super) known_at: u64,
    /// Its TIME_WAIT has been searched for, or decides nothing.
    pub(super) searched: bool,
    pub(super) time_wait: TimeWait,
    /// How long its file stayed open after the connection was over.
    pub(super) silent: Duration,
    /// tcp_disconnect() went over it: this socket sent an RST.
    pub(super) disconnected: bool,
}

impl DeadSocket {
    pub(super) fn new(
        event: Socket,
        disconnected: bool,
        open: Option<OpenSocket>,
        at: Duration,
    ) -> DeadSocket {
        let silent = event.info.filter(|_| !disconnected).and_then(|info| info.last_ack_recv_ms);
        DeadSocket {
            at,
            event,
            open,
            known_at: 0,
            searched: false,
            time_wait: TimeWait::Unknown,
            silent: Duration::from_millis(silent.unwrap_or(0).into()),
            disconnected,
        }
    }

    pub(super) fn ips(&self) -> [IpAddr; 2] {
        [self.event.local.ip(), self.event.remote.ip()]
    }

    /// Takes the result of a search for its TIME_WAIT.
    pub(super) fn handle_search(&mut self, time_wait: TimeWait) {
        self.searched = true;
        self.time_wait = time_wait;
    }

    /// Returns whether a TIME_WAIT entered at `entered` (`None`: it is in FIN_WAIT2 still) can be
    /// this socket's.
    pub(super) fn fits(&self, entered: Option<Duration>) -> bool {
        entered.is_none_or(|entered| entered + self.silent + FIT_SLACK >= self.at)
    }

    /// Returns the socket as it was when the window began, if it was open then.
    pub(super) fn at_start(&self) -> Option<&OpenSocket> {
        self.open.as_ref().filter(|open| open.was_open_at_start())
    }

    /// Returns whether unread data was left when it was closed. A FIN not read counts as one byte.
    pub(super) fn has_unread_data(&self) -> bool {
        !self.disconnected && self.event.rqueue > 1
    }

    /// Returns the evidence of its event and of dumps, if it is on this side.
    pub(super) fn evidence(&self, side: Side) -> Evidence {
        let mut evidence = Evidence::of(side, &self.event);
        evidence.disconnected = self.disconnected;
        if evidence.disconnected {
            evidence.fin_acked = Some(false);
            (evidence.sent, evidence.received) = (None, None);
            (evidence.fin_sent, evidence.unanswered) = (false, false);
        }
        evidence.fin_seen = self.open.is_some_and(|open| open.idle_at_fin_ms().is_some());
        evidence.time_wait = self.time_wait;
        evidence
    }

    /// Returns how long the connection had been idle when it was closed.
    pub(super) fn idle_ms(&self) -> Option<u32> {
        if let Some(idle) = self.open.and_then(|open| open.idle_at_fin_ms()) {
            return Some(idle);
        }
        let info = self.event.info.filter(|_| !self.disconnected)?;
        info.last_data_recv_ms.into_iter().chain(info.last_data_sent_ms).min()
    }

    /// Returns the requests within the window, as this socket counted them. An abort by
    /// tcp_disconnect() clears the count.
    pub(super) fn requests(&self, side: Side) -> Option<u32> {
        let requests = segments_with_data(side, &self.event).filter(|_| !self.disconnected)?;
        match &self.open {
            Some(open) => open.in_window(requests),
            None => Some(requests),
        }
    }
}

/// The dead sockets of one pair of addresses, at each address oldest first.
#[derive(Debug, Default)]
pub(super) struct DeadPair {
    pub(super) low: SmallQueue<DeadSocket>,
    pub(super) high: SmallQueue<DeadSocket>,
}

impl DeadPair {
    pub(super) fn get(&self, member: Member) -> &SmallQueue<DeadSocket> {
        match member {
            Member::Low => &self.low,
            Member::High => &self.high,
        }
    }

    pub(super) fn get_mut(&mut self, member: Member) -> &mut SmallQueue<DeadSocket> {
        match member {
            Member::Low => &mut self.low,
            Member::High => &mut self.high,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.low.is_empty() && self.high.is_empty()
    }

    /// Returns whether the oldest socket has been searched for and only waits for its peer.
    pub(super) fn is_waiting(&self) -> bool {
        self.low.front().or(self.high.front()).is_some_and(|dead| dead.searched)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut DeadSocket> {
        self.low.iter_mut().chain(self.high.iter_mut())
    }
}
