//! The report of a host: its destinations over one window.
//!
//! Owns the public types, the scope that selects connections, and the difference between two reports
//! of one watch. `tracker` fills them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::error::Error;
use crate::kernel::socket::{Side, Socket};
use crate::kernel::wire::dump_filter::AddressFilter;
use crate::report::destination::Destination;
use crate::report::namespace::Namespaces;
use crate::report::polls::Polls;

/// Every connection in scope during one window, as the kernel reported it.
///
/// Counts *sockets*, unlike a [`PortReport`](crate::PortReport), which counts connections: a
/// connection with both sockets on this host is counted twice, once in the destination of each side.
/// [`port`](HostReport::port) gives the connections of one port.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct HostReport {
    /// The connections that the report is about.
    pub scope: Scope,
    /// From the start of the watch to its last dump.
    pub window: Duration,
    /// Destroy events the kernel dropped because they were not read fast enough. If this is not 0,
    /// `opened` and `closed` may be too small by at most as many.
    pub lost_events: u64,
    /// TIME_WAITs the kernel did not keep during the window because there were too many; closes
    /// whose TIME_WAIT is missing for this reason may be `unclassified`.
    pub time_waits_refused: Option<u64>,
    /// Aborts by SO_LINGER 0 whose destination the kernel clears and no other evidence names. They
    /// are in no other number.
    pub unattributed_aborts: u64,
    /// Sockets that died while the table of sockets that wait for evidence was full; they count as
    /// `unclassified`.
    pub overflowed: u64,
    /// True if the window ended at rest: no socket in scope between two states, no event in scope
    /// for 50 ms, and proof that every event of the window had been delivered. False in a snapshot.
    pub settled: bool,
    /// Longest time by which the watch was late: it was stopped, or this machine gave it no processor
    /// time. Beyond some 300 ms, TIME_WAITs may have been gone before they were searched for, and
    /// such closes are `unclassified`; idle times are the kernel's and do not suffer.
    pub late: Duration,
    /// True if the kernel had not told all deaths of the window when the watch ended: its work queue for destroy
    /// events got no processor time. `opened` and `closed` may be too small, by an unknown number. False in a
    /// snapshot.
    pub events_overdue: bool,
    /// State of tracing.
    pub tracing: Tracing,
    /// The network namespaces, where all are watched.
    pub namespaces: Option<Namespaces>,
    /// Level L0: the polls that replace destroy events. Then `opened`, `closed`, `connect_failed`,
    /// `requests` and the idle times of destinations are not known, and empty.
    pub polls: Option<Polls>,
    /// The busiest first.
    pub destinations: Vec<Destination>,
}

impl HostReport {
    /// Returns the events since `earlier`, a report of the same watch. Levels, such as
    /// `established`, are as they are now. Requests of connections that are open count from the
    /// beginning of the watch in the histogram, but not in its total. Owners are those of the whole
    /// watch; where no connection was closed since, those of the open connections.
    #[must_use]
    pub fn since(&self, earlier: &HostReport) -> HostReport {
        let key = |one: &Destination| {
            (one.service, one.side, one.namespace.as_ref().map(|namespace| namespace.number))
        };
        let before: HashMap<_, _> =
            earlier.destinations.iter().map(|one| (key(one), one)).collect();
        let since = |one: &Destination| match before.get(&key(one)) {
            Some(before) => one.since(before),
            None => one.clone(),
        };
        let refused = self.time_waits_refused.zip(earlier.time_waits_refused);
        let mut destinations: Vec<Destination> = self.destinations.iter().map(since).collect();
        destinations.retain(|one| !one.is_empty());
        destinations.sort_by_cached_key(Destination::rank);
        HostReport {
            scope: self.scope,
            window: self.window.saturating_sub(earlier.window),
            lost_events: self.lost_events.saturating_sub(earlier.lost_events),
            time_waits_refused: refused.map(|(now, then)| now.saturating_sub(then)),
            unattributed_aborts: self
                .unattributed_aborts
                .saturating_sub(earlier.unattributed_aborts),
            overflowed: self.overflowed.saturating_sub(earlier.overflowed),
            settled: self.settled,
            late: self.late,
            events_overdue: self.events_overdue,
            tracing: self.tracing.since(&earlier.tracing),
            namespaces: self.namespaces.clone(),
            polls: self.polls.zip(earlier.polls).map(|(now, then)| now.since(&then)),
            destinations,
        }
    }
}

/// State of tracing, which needs root or `CAP_DAC_OVERRIDE`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Tracing {
    /// Not requested.
    #[default]
    Off,
    /// Requested and not possible, for this reason.
    Refused(Error),
    /// Connections are traced.
    On {
        /// Events that were read, of any connection.
        events: u64,
        /// Events that were overwritten before they were read: at most as many sockets lack their
        /// process, lifetime or reason. `opened` and `closed` do not rest on them.
        lost_events: u64,
    },
}

impl Tracing {
    fn since(&self, earlier: &Tracing) -> Tracing {
        match (self, earlier) {
            (
                Tracing::On { events, lost_events: lost },
                Tracing::On { events: events_then, lost_events: lost_then },
            ) => Tracing::On {
                events: events.saturating_sub(*events_then),
                lost_events: lost.saturating_sub(*lost_then),
            },
            _ => self.clone(),
        }
    }
}

/// The connections that a [`Watch`](crate::Watch) is about. Conditions are joined by *and*; the
/// default is every connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Scope {
    /// Only services on this port.
    pub port: Option<u16>,
    /// Only services at this address.
    pub ip: Option<IpAddr>,
    /// Only connections of which this host is this side.
    pub side: Option<Side>,
}

impl Scope {
    /// Makes the scope of services on `port`, from both sides.
    pub fn of_port(port: u16) -> Scope {
        Scope { port: Some(port), ..Scope::default() }
    }

    /// Narrows the scope to services at an address; `None` widens it to all addresses.
    #[must_use]
    pub fn with_ip(self, ip: impl Into<Option<IpAddr>>) -> Scope {
        Scope { ip: ip.into(), ..self }
    }

    /// Narrows the scope to connections of which this host is `side`; `None` widens it to both.
    #[must_use]
    pub fn with_side(self, side: impl Into<Option<Side>>) -> Scope {
        Scope { side: side.into(), ..self }
    }

    /// Returns whether a row can belong to a service in scope: the service's address is the remote
    /// one of a client, the local one of a server.
    pub(crate) fn admits_row(&self, row: &Socket) -> bool {
        let at = |address: &SocketAddr| self.names(address);
        let (client, server) = (self.side != Some(Side::Server), self.side != Some(Side::Client));
        (client && at(&row.remote)) || (server && at(&row.local))
    }

    /// Returns whether an address has the port and the IP address of the scope.
    pub(crate) fn names(&self, address: &SocketAddr) -> bool {
        self.port.is_none_or(|port| port == address.port())
            && self.ip.is_none_or(|ip| ip == address.ip())
    }

    /// Returns the condition of [`admits_row`](Scope::admits_row) for the kernel; `None` if every
    /// socket passes.
    pub(crate) fn condition(&self) -> Option<AddressFilter> {
        let (ip, port, side) = (self.ip, self.port, self.side);
        let (local, remote) = (side != Some(Side::Client), side != Some(Side::Server));
        (ip.is_some() || port.is_some()).then_some(AddressFilter { ip, port, local, remote })
    }

    /// Returns whether a destination is in scope. Port 0 stands for failed connects, whose port is
    /// not known.
    pub(crate) fn admits(&self, service: &SocketAddr, side: Side) -> bool {
        self.port.is_none_or(|port| port == service.port() || service.port() == 0)
            && self.ip.is_none_or(|ip| ip == service.ip())
            && self.side.is_none_or(|wanted| wanted == side)
    }
}
