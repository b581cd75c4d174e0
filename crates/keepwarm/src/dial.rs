//! Establishing one connection: resolve, connect, start HTTP/1.1.
//!
//! Plain sequential code in a task of its own, owned by the pool: the request that caused the dial
//! may be served by another connection or be dropped, and the dial goes on for the next one.

use std::net::SocketAddr;
use std::sync::Arc;

use keepwarm_pool::DialPermit;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::connection::Connection;
use crate::error::{Error, Result, Stage};
use crate::origin::Origin;
use crate::wire::Wire;

/// A permit that cannot be lost: whatever becomes of the dial's task, the pool hears of it.
struct Permit {
    origin: Arc<Origin>,
    token: Option<DialPermit>,
}

impl Permit {
    fn end(mut self, result: Result<Connection>) {
        if let Some(token) = self.token.take() {
            match result {
                Ok(connection) => self.origin.dialed(token, Box::new(connection)),
                Err(error) => self.origin.dial_failed(token, error),
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            let error = Error::failed(Stage::Connect, "the runtime that was dialling has ended")
                .at(self.origin.name());
            self.origin.dial_failed(token, error);
        }
    }
}

/// Starts a dial. It ends early when `aborted` is told so, or is dropped.
pub(crate) fn start(origin: Arc<Origin>, token: DialPermit, aborted: oneshot::Receiver<()>) {
    let runtime = origin.shared().runtime.current();
    let permit = Permit {
        origin,
        token: Some(token),
    };
    let Some(runtime) = runtime else {
        let error = Error::failed(Stage::Connect, "no tokio runtime to dial on");
        let error = error.at(permit.origin.name());
        return permit.end(Err(error));
    };
    runtime.spawn(async move {
        let limit = permit.origin.shared().settings.connect_timeout;
        let result = tokio::select! {
            result = tokio::time::timeout(limit, establish(&permit.origin)) => {
                result.unwrap_or_else(|_| Err(Error::timeout(Stage::Connect)))
            }
            _ = aborted => Err(Error::failed(Stage::Connect, "the client has shut down")),
        };
        let name = Arc::clone(permit.origin.name());
        permit.end(result.map_err(|error| error.at(&name)));
    });
}

async fn establish(origin: &Arc<Origin>) -> Result<Connection> {
    let shared = origin.shared();
    let stream = connect(origin.key().host(), origin.key().port()).await?;
    stream
        .set_nodelay(true)
        .map_err(|error| Error::failed(Stage::Connect, error))?;
    if let Some(interval) = shared.settings.tcp_keepalive {
        let keepalive = TcpKeepalive::new()
            .with_time(interval)
            .with_interval(interval);
        SockRef::from(&stream)
            .set_tcp_keepalive(&keepalive)
            .map_err(|error| Error::failed(Stage::Connect, error))?;
    }
    Connection::start(Wire::new(stream), Arc::clone(&shared.keeper))
        .await
        .map_err(|error| Error::failed(Stage::Connect, error))
}

/// Tries each address in the resolver's order; the last failure is the one reported.
async fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| {
            Error::failed(Stage::Connect, error).with_message(format!("cannot resolve {host}"))
        })?
        .collect();
    let mut failure = Error::failed(Stage::Connect, format!("{host} resolves to no address"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                failure = Error::failed(Stage::Connect, error).with_message(address.to_string());
            }
        }
    }
    Err(failure)
}

/// Where to spawn: the runtime of whoever asks, else the last one that was seen.
///
/// A lease may end on a thread without a runtime while others wait for a connection.
#[derive(Debug, Default)]
pub(crate) struct Runtime(std::sync::Mutex<Option<Handle>>);

impl Runtime {
    fn current(&self) -> Option<Handle> {
        let mut last = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        match Handle::try_current() {
            Ok(handle) => {
                *last = Some(handle.clone());
                Some(handle)
            }
            Err(_) => last.clone(),
        }
    }
}
