//! How the stream of a connection is opened: by TCP, at a Unix socket, or by a connector of the
//! caller's own.
//!
//! A client has one transport, so a connection of one transport never serves a request of another.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::connect::{Connector, Destination, Resolver};
use super::lookup::{How, KnownAddresses};
use super::stream::Stream;
use super::tcp;
#[cfg(unix)]
use super::unix;
use crate::error::{Error, Result, Stage};
use crate::observe::spans;
use crate::origin_key::OriginKey;
use crate::settings::Settings;

/// How a client opens its streams.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transport {
    pub(crate) connector: Option<Connector>,
    pub(crate) resolver: Option<Resolver>,
    #[cfg(unix)]
    pub(crate) unix_socket: Option<PathBuf>,
    pub(crate) local_address: Option<IpAddr>,
}

impl Transport {
    /// Rejects settings that contradict each other or would be ignored.
    pub(crate) fn validate(&self) -> Result<()> {
        #[cfg(unix)]
        if let Some(path) = &self.unix_socket {
            unix::address(path).map_err(|error| {
                Error::invalid(format!("unix_socket is {}: {error}", unix::Named(path)))
            })?;
            if self.connector.is_some() {
                return Err(beside("connector", "unix_socket", "is a way to connect by itself"));
            }
            if self.resolver.is_some() {
                return Err(beside("resolver", "unix_socket", "needs no address"));
            }
            if self.local_address.is_some() {
                return Err(beside("local_address", "unix_socket", "has no address"));
            }
        }
        if self.connector.is_some() && self.resolver.is_some() {
            return Err(beside(
                "resolver",
                "connector",
                "is given names, and finds addresses itself",
            ));
        }
        if let Some(address) = self.local_address {
            if self.connector.is_some() {
                return Err(beside("local_address", "connector", "makes its own sockets"));
            }
            let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
            if address.is_multicast() || broadcast {
                return Err(Error::invalid(format!(
                    "local_address is {address}: no host has that address; set one of this host's"
                )));
            }
        }
        Ok(())
    }
}

fn beside(setting: &str, other: &str, why: &str) -> Error {
    Error::invalid(format!("{setting} is set beside {other}, which {why}; set one of them"))
}

/// Rest of the connect timeout. Each step fails at its own stage.
#[derive(Clone, Copy)]
pub(crate) struct TimeLeft(Option<Instant>);

impl TimeLeft {
    pub(crate) fn of(limit: Duration) -> Self {
        // `None`, which is never, if the limit is beyond the range of the clock.
        Self(Instant::now().checked_add(limit))
    }

    pub(crate) async fn bound<T>(
        self,
        stage: Stage,
        step: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let step = spans::step(stage, step);
        let Some(end) = self.0 else { return step.await };
        let late = |_| Err(Error::connect_timeout(stage));
        tokio::time::timeout_at(end, step).await.unwrap_or_else(late)
    }
}

/// Returns how a client looks names up.
pub(crate) fn how<'a>(transport: &'a Transport, settings: &Settings) -> How<'a> {
    How {
        resolver: transport.resolver.as_ref(),
        keep: settings.dns_cache,
        limit: settings.connect_timeout,
    }
}

/// Opens a stream to the origin. No byte has passed on it.
pub(crate) async fn open(
    key: &OriginKey,
    transport: &Transport,
    settings: &Settings,
    known: &KnownAddresses,
    left: TimeLeft,
) -> Result<Stream> {
    if let Some(connector) = &transport.connector {
        let connected = async {
            let connected = connector.call(Destination::new(key)).await;
            connected.map_err(|error| Error::failed(Stage::Connect, error))
        };
        return left.bound(Stage::Connect, connected).await;
    }
    #[cfg(unix)]
    if let Some(path) = &transport.unix_socket {
        let connected = left.bound(Stage::Connect, unix::connect(path)).await;
        return connected
            .map(Stream::Unix)
            .map_err(|error| if error.is_timeout() { unix::too_late(path) } else { error });
    }
    let how = how(transport, settings);
    let resolving = tcp::resolve(key.host(), key.port(), &known.lookups, how);
    let mut addresses = left.bound(Stage::Resolve, resolving).await?;
    let local = transport.local_address;
    if let Some(local) = local {
        addresses.retain(|address| address.is_ipv4() == local.is_ipv4());
        if addresses.is_empty() {
            let family = if local.is_ipv4() { "IPv4" } else { "IPv6" };
            let words =
                format!("{} has no {family} address, and local_address is {local}", key.host());
            return Err(Error::failed(Stage::Connect, words));
        }
    }
    let connecting = tcp::connect(addresses, local, settings, known);
    let connected = left.bound(Stage::Connect, connecting).await;
    if connected.is_err() {
        // The next dial may find other addresses.
        known.lookups.forget();
    }
    connected.map(Stream::Tcp)
}
