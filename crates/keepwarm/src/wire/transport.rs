//! How the stream of a connection is opened: by TCP, at a Unix socket, or by a connector of the
//! caller's own. One way for a client, so no connection of one way is handed to a request of another.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, Result, Stage};
use crate::observe::spans;
use crate::settings::Settings;
use crate::wire::connect::{Connector, Destination, Resolver};
use crate::wire::origin_key::OriginKey;
use crate::wire::stream::Stream;
use crate::wire::tcp;
#[cfg(unix)]
use crate::wire::unix;

/// The settings of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transport {
    pub(crate) connector: Option<Connector>,
    pub(crate) resolver: Option<Resolver>,
    #[cfg(unix)]
    pub(crate) unix_socket: Option<PathBuf>,
    pub(crate) local_address: Option<IpAddr>,
}

impl Transport {
    /// Refuses what could not work, and what nobody would heed.
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

/// What is left of the connect timeout. Each step fails at its own stage.
#[derive(Clone, Copy)]
pub(crate) struct TimeLeft(Option<Instant>);

impl TimeLeft {
    pub(crate) fn of(limit: Duration) -> Self {
        // Beyond what the clock can tell is never.
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

/// A stream to the origin, on which nothing has been said.
pub(crate) async fn open(key: &OriginKey, settings: &Settings, left: TimeLeft) -> Result<Stream> {
    let transport = &settings.transport;
    if let Some(connector) = &transport.connector {
        let asked = async {
            let asked = connector.ask(Destination::new(key)).await;
            asked.map_err(|error| Error::failed(Stage::Connect, error))
        };
        return left.bound(Stage::Connect, asked).await;
    }
    #[cfg(unix)]
    if let Some(path) = &transport.unix_socket {
        let connected = left.bound(Stage::Connect, unix::connect(path)).await;
        return connected
            .map(Stream::Unix)
            .map_err(|error| if error.is_timeout() { unix::too_late(path) } else { error });
    }
    let resolving = tcp::resolve(key.host(), key.port(), transport.resolver.as_ref());
    let mut addresses = left.bound(Stage::Resolve, resolving).await?;
    if let Some(local) = transport.local_address {
        addresses.retain(|address| address.is_ipv4() == local.is_ipv4());
        if addresses.is_empty() {
            let family = if local.is_ipv4() { "IPv4" } else { "IPv6" };
            let words =
                format!("{} has no {family} address, and local_address is {local}", key.host());
            return Err(Error::failed(Stage::Connect, words));
        }
    }
    left.bound(Stage::Connect, tcp::connect(&addresses, settings)).await.map(Stream::Tcp)
}
