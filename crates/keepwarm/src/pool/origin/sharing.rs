//! Inputs about shared connections, and about connections in doubt.
#![cfg_attr(
    not(all(feature = "http2", feature = "tls")),
    allow(
        dead_code,
        reason = "without one of the features no connection is shared, or none agreed on"
    )
)]

use std::net::IpAddr;
use std::sync::Arc;

use keepwarm_pool::{Capacity, CloseReason, Closer, ConnectionId, DialPermit, Moment};

use super::{Birth, Filed, Origin, State};
use crate::observe::observer::EventKind;
use crate::pool::stream_lease::SharedListener;
use crate::settings::Protocol;
use crate::wire::http2::Http2;

impl Origin {
    /// Takes the shared connection of a finished dial into the pool.
    pub(crate) fn dialed_shared(
        self: &Arc<Self>,
        permit: DialPermit,
        http2: Arc<Http2>,
        streams: u32,
        address: Option<IpAddr>,
    ) {
        let (_abort, _) = self.feed(None, |state, now| {
            let abort = state.dials.remove(&permit.dial());
            let (number, dial) = (http2.id(), permit.dial().as_u64());
            let id = state.pool.dialed(permit, Capacity::Shared { streams }, now);
            state.note_birth(id, Birth { id: number, at: now, connection: id, address });
            self.note_address(address, now);
            let version = http::Version::HTTP_2;
            self.record(now, || EventKind::ConnectionOpened { connection: number, dial, version });
            state.opened_lately.note(now);
            http2.attach(Box::new(SharedListener::new(Arc::downgrade(self), id)));
            state.file(id, Filed::Shared(http2));
            abort
        });
    }

    /// Takes a stream back: after an exchange (`served`), or unused.
    pub(crate) fn stream_returned(
        self: &Arc<Self>,
        token: keepwarm_pool::Lease,
        number: u64,
        served: bool,
    ) {
        let connection = token.connection();
        let is_gone = self.is_address_gone(connection);
        self.feed(None, |state, now| {
            self.record(now, || EventKind::ConnectionReturned { connection: number, served });
            if is_gone {
                let end = (CloseReason::AddressGone, Closer::Client);
                state.pool.draining(connection, end, now);
            }
            if served {
                state.pool.returned(token, now);
            } else {
                state.pool.returned_unused(token, now);
            }
        });
    }

    /// Notes that the server wants HTTP/1.1: from now on nothing else is offered to it.
    pub(crate) fn need_http1(&self) {
        self.lock().needs_http1 = true;
    }

    pub(crate) fn needs_http1(&self) -> bool {
        self.lock().needs_http1
    }

    /// Returns true if the settings allow HTTP/1.1.
    pub(crate) fn may_speak_http1(&self) -> bool {
        self.shared.settings.protocol != Protocol::Http2
    }

    /// Records that a stream returns whose request was not served on it.
    pub(super) fn record_given_back(
        &self,
        state: &State,
        token: &keepwarm_pool::Lease,
        now: Moment,
    ) {
        let birth = state.births[token.connection().index()];
        // A connection that has ended has been told.
        if birth.connection == token.connection() {
            let (connection, served) = (birth.id, false);
            self.record(now, || EventKind::ConnectionReturned { connection, served });
        }
    }

    /// Takes a stream back whose request does not go again after all.
    pub(crate) fn stream_given_back(self: &Arc<Self>, token: keepwarm_pool::Lease) {
        self.feed(None, |state, now| {
            self.record_given_back(state, &token, now);
            state.pool.returned_unused(token, now);
        });
    }

    pub(crate) fn resized(self: &Arc<Self>, connection: ConnectionId, streams: u32) {
        self.feed(None, |state, now| state.pool.resized(connection, streams, now));
    }

    pub(crate) fn draining(
        self: &Arc<Self>,
        connection: ConnectionId,
        reason: CloseReason,
        closer: Closer,
    ) {
        self.feed(None, |state, now| state.pool.draining(connection, (reason, closer), now));
    }

    pub(crate) fn suspect(self: &Arc<Self>, connection: ConnectionId) {
        self.feed(None, |state, now| state.pool.suspect(connection, now));
    }

    pub(crate) fn trusted(self: &Arc<Self>, connection: ConnectionId) {
        self.feed(None, |state, now| state.pool.trusted(connection, now));
    }

    pub(crate) fn lost(
        self: &Arc<Self>,
        connection: ConnectionId,
        reason: CloseReason,
        closer: Closer,
    ) {
        self.feed(None, |state, now| {
            // A peer that closes a connection in use has broken its requests off.
            let is_used = state.pool.streams_of(connection).is_some_and(|(_, in_use)| in_use > 0);
            let reason = match reason {
                CloseReason::PeerClosedIdle if is_used => CloseReason::ExchangeFailed,
                other => other,
            };
            state.pool.lost(connection, (reason, closer), now)
        });
    }

    /// Doubts the idle connections to the address of this one, which died in silence.
    pub(crate) fn suspect_siblings(self: &Arc<Self>, connection: ConnectionId) {
        self.feed(None, |state, now| {
            let State { suspects, pool, .. } = state;
            suspects.retain(|(suspect, _)| pool.streams_of(*suspect).is_some());
            let address = state.births.get(connection.index()).and_then(|birth| birth.address);
            let births = state.births.iter().zip(&state.connections);
            let idle = births.filter(|(birth, filed)| {
                matches!(filed, Filed::Exclusive(_))
                    && birth.address == address
                    && birth.connection != connection
            });
            let siblings: Vec<ConnectionId> = idle.map(|(birth, _)| birth.connection).collect();
            for sibling in siblings {
                if state.pool.suspect(sibling, now) {
                    state.suspects.push((sibling, address));
                }
            }
        });
    }
}
