//! Establishes one connection: resolve, connect, start HTTP/1.1, or HTTP/2 where it is agreed on.
//!
//! Sequential code in a task of its own, owned by the pool: the request that caused the dial may be
//! served by another connection or be dropped, and the dial goes on for the next request.

use std::net::IpAddr;
use std::sync::Arc;

use keepwarm_pool::DialPermit;
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result, Stage};
use crate::observe::spans::DialSpan;
use crate::origin_key::Scheme;
use crate::policy::proxy::{Mode, Via};
use crate::pool::origin::Origin;
use crate::settings::Protocol;
use crate::wire::connection::Connection;
use crate::wire::http2::{self, Started};
use crate::wire::peer::PeerFacts;
use crate::wire::stream::Stream;
use crate::wire::transport::{TimeLeft, how, open};
use crate::wire::tunnel;

/// Limit on the moves of a dial to another runtime because its runtime ended.
const MAX_MOVES: u8 = 3;

/// A permit that cannot be lost: however the dial's task ends, the pool gets the result.
struct Permit {
    origin: Arc<Origin>,
    token: Option<DialPermit>,
    runtime: Id,
    moves: u8,
}

impl Permit {
    fn end(mut self, result: Result<(Brought, Option<IpAddr>)>) {
        if let Some(token) = self.token.take() {
            match result {
                Ok((Brought::Exclusive(connection), address)) => {
                    self.origin.dialed(token, connection, address);
                }
                Ok((Brought::Shared(started), address)) => {
                    let Started { connection, driver, streams } = *started;
                    self.origin.dialed_shared(token, connection, streams, address);
                    // Dials end in their own tasks.
                    if let Ok(runtime) = Handle::try_current() {
                        runtime.spawn(driver);
                    }
                }
                Err(error) => self.origin.dial_failed(token, error),
            }
        }
    }
}

impl Drop for Permit {
    /// Moves a dial to another runtime if its task was dropped before its end, because the runtime
    /// ended. A request that waits in another runtime must not fail for that.
    fn drop(&mut self) {
        let Some(token) = self.token.take() else {
            return;
        };
        let elsewhere = (self.moves < MAX_MOVES)
            .then(|| self.origin.runtime_other_than(self.runtime))
            .flatten();
        match elsewhere {
            Some(runtime) => {
                let aborted = self.origin.renew_abort(token.dial());
                spawn(&self.origin, token, aborted, &runtime, self.moves + 1);
            }
            None => {
                let error =
                    Error::failed(Stage::Connect, "the runtime that was dialling has ended");
                self.origin.dial_failed(token, error.at(self.origin.name()));
            }
        }
    }
}

/// Starts a dial, on the runtime of a request that waits for it. It ends early when `aborted`
/// receives a message, or its sender is dropped.
pub(crate) fn start(
    origin: &Arc<Origin>,
    token: DialPermit,
    aborted: oneshot::Receiver<()>,
    runtime: Option<Handle>,
) {
    if let Some(runtime) = runtime {
        spawn(origin, token, aborted, &runtime, 0);
    } else {
        let error = Error::failed(Stage::Connect, "no tokio runtime to dial on");
        origin.dial_failed(token, error.at(origin.name()));
    }
}

fn spawn(
    origin: &Arc<Origin>,
    token: DialPermit,
    aborted: oneshot::Receiver<()>,
    runtime: &Handle,
    moves: u8,
) {
    let permit =
        Permit { origin: Arc::clone(origin), token: Some(token), runtime: runtime.id(), moves };
    let span = DialSpan::new(origin.name());
    runtime.spawn(span.around(async move {
        let result = tokio::select! {
            result = dial(&permit.origin) => result,
            _ = aborted => Err(Error::failed(Stage::Connect, "the client has shut down")),
        };
        let name = Arc::clone(permit.origin.name());
        permit.end(result.map_err(|error| error.at(&name)));
    }));
}

/// Dials, after the pause that the server has asked for, if any.
async fn dial(origin: &Arc<Origin>) -> Result<(Brought, Option<IpAddr>)> {
    origin.calm().wait().await;
    establish(origin).await
}

/// A connection that a dial has brought.
enum Brought {
    Exclusive(Box<Connection>),
    Shared(Box<Started>),
}

/// Returns the connection, and the address that the name of the origin led to.
async fn establish(origin: &Arc<Origin>) -> Result<(Brought, Option<IpAddr>)> {
    let shared = origin.shared();
    let settings = &shared.settings;
    let left = TimeLeft::of(settings.connect_timeout);
    let key = origin.key();
    // The host that is connected to: the proxy, or the origin itself.
    let place = key.via().map_or(key, |via| &via.server.key);
    let stream = open(place, &shared.transport, &shared.settings, origin.addresses(), left).await?;
    let is_tunnel = key.via().is_some_and(|via| via.mode == Mode::Tunnel);
    // The name that is watched for other addresses is the key's own.
    let address = if is_tunnel { None } else { stream.looked_up_address(place.host()) };
    let remote = stream.remote_address();
    let stream = match key.via() {
        None => stream,
        Some(via) => through(origin, via, stream, left).await?,
    };
    #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "TLS changes it"))]
    let mut peer = PeerFacts { address: remote, tls: None };
    let stream = match key.scheme() {
        Scheme::Http => stream,
        #[cfg(feature = "tls")]
        Scheme::Https => {
            let name = key.certificate_name();
            let handshake = shared.tls.connect(name, origin.needs_http1(), stream);
            let (stream, facts) = left.bound(Stage::Tls, handshake).await?;
            peer.tls = Some(Arc::new(facts));
            Stream::boxed(stream)
        }
        #[cfg(not(feature = "tls"))]
        Scheme::Https => return Err(Error::failed(Stage::Connect, "TLS is not built in")),
    };
    let agreed = peer.tls.as_ref().map(|facts| facts.alpn() == Some(b"h2"));
    let speaks_http2 = match (settings.protocol, agreed) {
        // The proxy reads the requests.
        _ if key.is_forwarded() => false,
        (Protocol::Http2, Some(false)) => {
            return Err(Error::new(Stage::Tls, Kind::NotHttp2).with_message(
                "the server did not choose HTTP/2 (ALPN h2), and the client speaks nothing else \
                 (http2_prior_knowledge)",
            ));
        }
        (Protocol::Http2, _) => true,
        (_, agreed) => agreed == Some(true),
    };
    if speaks_http2 {
        let start = http2::start(stream, peer, settings.max_unread);
        let started = left.bound(Stage::Connect, start).await?;
        return Ok((Brought::Shared(Box::new(started)), address));
    }
    Ok((Brought::Exclusive(Box::new(Connection::start(stream, peer))), address))
}

/// Goes through a proxy: TLS to it if it wants that, and a tunnel unless it reads the requests.
async fn through(
    origin: &Arc<Origin>,
    via: &Via,
    stream: Stream,
    left: TimeLeft,
) -> Result<Stream> {
    let shared = origin.shared();
    let server = &via.server;
    let stream = match server.key.scheme() {
        Scheme::Http => stream,
        #[cfg(feature = "tls")]
        Scheme::Https => {
            let handshake = shared.tls.connect_to_proxy(server.key.certificate_name(), stream);
            let proxied = left.bound(Stage::Tls, handshake).await;
            proxied.map_err(|error| error.in_handshake_with(server))?
        }
        #[cfg(not(feature = "tls"))]
        Scheme::Https => return Err(Error::failed(Stage::Connect, "TLS is not built in")),
    };
    if via.mode == Mode::Forward {
        return Ok(stream);
    }
    let how = how(&shared.transport, &shared.settings);
    left.bound(Stage::Connect, tunnel::open(stream, server, origin.key(), how)).await
}
