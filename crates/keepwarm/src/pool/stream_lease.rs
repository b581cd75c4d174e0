//! The guard of a stream on a shared connection: however a request ends, the pool is informed
//! exactly once. And the pool's ear at such a connection.
#![cfg_attr(
    not(all(feature = "http2", feature = "tls")),
    allow(
        dead_code,
        reason = "without one of the features no connection is shared, or none agreed on"
    )
)]

use std::sync::{Arc, Weak};

use keepwarm_pool::{CloseReason, Closer, ConnectionId};

use crate::pool::lease::Broken;
use crate::pool::origin::Origin;
use crate::wire::http2::{Http2, Listener};

/// A stream on loan from its origin's pool. Dropped, it returns.
#[derive(Debug)]
pub(crate) struct StreamLease {
    origin: Arc<Origin>,
    token: Option<keepwarm_pool::Lease>,
    http2: Arc<Http2>,
    /// A request was sent on it.
    served: bool,
}

impl StreamLease {
    pub(crate) const fn new(
        origin: Arc<Origin>,
        token: keepwarm_pool::Lease,
        http2: Arc<Http2>,
    ) -> Self {
        Self { origin, token: Some(token), http2, served: false }
    }

    pub(crate) const fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    pub(crate) const fn http2(&self) -> &Arc<Http2> {
        &self.http2
    }

    /// Marks the start of the exchange.
    pub(crate) const fn begin(&mut self) {
        self.served = true;
    }

    /// Ends the stream whose connection has ended, and keeps the room of that for its request.
    pub(crate) fn broken(mut self, reason: CloseReason, closer: Closer) -> Broken {
        let token = self.token.take().expect("a lease ends once");
        Broken::new(Arc::clone(&self.origin), token, Some((reason, closer)))
    }

    /// Ends the stream, whose request goes again; the connection goes on.
    pub(crate) fn refused(mut self) -> Broken {
        let token = self.token.take().expect("a lease ends once");
        Broken::new(Arc::clone(&self.origin), token, None)
    }

    /// Lets the connection drain.
    pub(crate) fn drain(&self, reason: CloseReason, closer: Closer) {
        if let Some(token) = &self.token {
            self.origin.draining(token.connection(), reason, closer);
        }
    }
}

impl Drop for StreamLease {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            self.origin.stream_returned(token, self.http2.id(), self.served);
        }
    }
}

/// A shared connection's reports to its pool.
pub(crate) struct SharedListener {
    origin: Weak<Origin>,
    connection: ConnectionId,
}

impl SharedListener {
    pub(crate) const fn new(origin: Weak<Origin>, connection: ConnectionId) -> Self {
        Self { origin, connection }
    }

    fn with(&self, tell: impl FnOnce(&Arc<Origin>)) {
        if let Some(origin) = self.origin.upgrade() {
            tell(&origin);
        }
    }
}

impl Listener for SharedListener {
    fn resized(&self, streams: u32) {
        self.with(|origin| origin.resized(self.connection, streams));
    }

    fn draining(&self, reason: CloseReason, closer: Closer) {
        self.with(|origin| origin.draining(self.connection, reason, closer));
    }

    fn calm(&self) {
        self.with(|origin| origin.calm().ask());
    }

    fn suspect(&self) {
        self.with(|origin| origin.suspect(self.connection));
    }

    fn trusted(&self) {
        self.with(|origin| origin.trusted(self.connection));
    }

    fn ended(&self, reason: CloseReason, closer: Closer) {
        self.with(|origin| origin.lost(self.connection, reason, closer));
    }
}
