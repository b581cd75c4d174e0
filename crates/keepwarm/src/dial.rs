//! Establishing one connection: resolve, connect, start HTTP/1.1.
//!
//! Plain sequential code in a task of its own, owned by the pool: the request that caused the dial
//! may be served by another connection or be dropped, and the dial goes on for the next one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keepwarm_pool::DialPermit;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::error::{Error, Kind, Result, Stage};
use crate::key::Scheme;
use crate::origin::Origin;
use crate::wire::{Stream, Wire};

/// How long an address has before the next one is tried beside it: the connection attempt delay
/// that RFC 8305, section 5, recommends. Go: `Dialer.FallbackDelay` is 300 ms.
const HEAD_START: Duration = Duration::from_millis(250);

/// How often a dial moves to another runtime because the one it ran in ended.
const MAX_MOVES: u8 = 3;

/// A permit that cannot be lost: whatever becomes of the dial's task, the pool hears of it.
struct Permit {
    origin: Arc<Origin>,
    token: Option<DialPermit>,
    runtime: Id,
    moves: u8,
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
    /// The task was dropped before its end: its runtime ended. That is no reason to fail a request
    /// that waits in another one.
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
                fail(&self.origin, token, error);
            }
        }
    }
}

type Failed = (Arc<Origin>, DialPermit, Error);

thread_local! {
    /// Failures that came while another one was being told on this thread.
    static FAILED: RefCell<Option<VecDeque<Failed>>> = const { RefCell::new(None) };
}

/// Tells the pool of a dial that could not even be started.
///
/// The pool answers with a dial for the next waiter, which may fail in the same way and on the same
/// thread: a runtime that has ended drops what is spawned on it at once. Told one inside the other,
/// some thousands of them overflow the stack; so they are told one after the other.
fn fail(origin: &Arc<Origin>, token: DialPermit, error: Error) {
    let mut next = Some((Arc::clone(origin), token, error));
    let nested = FAILED.with_borrow_mut(|queue| match queue {
        Some(queue) => {
            queue.extend(next.take());
            true
        }
        None => {
            *queue = Some(VecDeque::new());
            false
        }
    });
    if nested {
        return;
    }
    while let Some((origin, token, error)) = next {
        origin.dial_failed(token, error.at(origin.name()));
        next = FAILED.with_borrow_mut(|queue| queue.as_mut().and_then(VecDeque::pop_front));
    }
    FAILED.with_borrow_mut(|queue| *queue = None);
}

/// Starts a dial, on the runtime of a request that waits for it. It ends early when `aborted` is
/// told so, or is dropped.
pub(crate) fn start(
    origin: &Arc<Origin>,
    token: DialPermit,
    aborted: oneshot::Receiver<()>,
    runtime: Option<Handle>,
) {
    if let Some(runtime) = runtime {
        spawn(origin, token, aborted, &runtime, 0);
    } else {
        fail(origin, token, Error::failed(Stage::Connect, "no tokio runtime to dial on"));
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
    stream.set_nodelay(true).map_err(|error| Error::failed(Stage::Connect, error))?;
    if let Some(interval) = shared.settings.tcp_keepalive {
        let keepalive = TcpKeepalive::new().with_time(interval).with_interval(interval);
        SockRef::from(&stream)
            .set_tcp_keepalive(&keepalive)
            .map_err(|error| Error::failed(Stage::Connect, error))?;
    }
    let stream = match origin.key().scheme() {
        Scheme::Http => Stream::Plain(stream),
        #[cfg(feature = "tls")]
        Scheme::Https => {
            Stream::Tls(Box::new(shared.tls.connect(origin.key().host(), stream).await?))
        }
        #[cfg(not(feature = "tls"))]
        Scheme::Https => return Err(Error::failed(Stage::Connect, "TLS is not built in")),
    };
    Connection::start(Wire::new(stream), Arc::clone(&shared.keeper))
        .await
        .map_err(|error| Error::failed(Stage::Connect, error))
}

async fn connect(host: &str, port: u16) -> Result<TcpStream> {
    let addresses = tokio::net::lookup_host((host, port)).await.map_err(|error| {
        Error::failed(Stage::Connect, error).with_message(format!("cannot resolve {host}"))
    })?;
    match interleave(addresses.collect()).as_slice() {
        [] => Err(Error::failed(Stage::Connect, format!("{host} resolves to no address"))),
        [only] => TcpStream::connect(only).await.map_err(|error| refused(*only, error)),
        several => race(several).await,
    }
}

/// Races the addresses of a host (RFC 8305): the families take turns, each attempt has a head start
/// over the next one, and a failure starts the next one at once. The first connection wins; attempts
/// still under way are dropped, which before the handshake costs the server nothing. If all fail,
/// the last failure is the one reported.
async fn race(addresses: &[SocketAddr]) -> Result<TcpStream> {
    let mut addresses = addresses.iter().copied();
    let mut failure = Error::new(Stage::Connect, Kind::Failed);
    let mut attempts = JoinSet::new();
    loop {
        let next = addresses.next();
        let more = next.is_some();
        if let Some(address) = next {
            attempts.spawn(async move { (address, TcpStream::connect(address).await) });
        }
        let finished = tokio::select! {
            finished = attempts.join_next() => finished,
            () = tokio::time::sleep(HEAD_START), if more => continue,
        };
        match finished {
            Some(Ok((_, Ok(stream)))) => return Ok(stream),
            Some(Ok((address, Err(error)))) => failure = refused(address, error),
            Some(Err(error)) => failure = Error::failed(Stage::Connect, error),
            None => return Err(failure),
        }
    }
}

fn refused(address: SocketAddr, error: std::io::Error) -> Error {
    Error::failed(Stage::Connect, error).with_message(address.to_string())
}

/// The resolver's order, but with the families taking turns, beginning with the first one's
/// (RFC 8305, section 4).
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (VecDeque<_>, VecDeque<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let mut turns = [first, second];
    let mut ordered = Vec::new();
    while turns.iter().any(|family| !family.is_empty()) {
        ordered.extend(turns.iter_mut().filter_map(VecDeque::pop_front));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use keepwarm_testkit::http_server::RefusedPort;
    use keepwarm_testkit::scripted::{self, within};

    use super::*;

    #[tokio::test]
    async fn an_address_that_hangs_does_not_hold_up_the_next_one() {
        let hanging = scripted::Stage::open_narrow();
        let _filled = hanging.fill().await;
        let open = scripted::Stage::open().await;
        let [hanging, open] =
            [&hanging, &open].map(|stage| SocketAddr::from(([127, 0, 0, 1], stage.port())));
        let stream = within("the race", race(&[hanging, open])).await.expect("a connection");
        assert_eq!(stream.peer_addr().expect("connected"), open);
    }

    #[tokio::test]
    async fn the_last_failure_is_reported_when_no_address_connects() {
        let dead = [RefusedPort::new(), RefusedPort::new()];
        let addresses = dead.each_ref().map(|port| port.address());
        let error = within("the race", race(&addresses)).await.expect_err("nobody listens");
        let text = error.to_string();
        assert!(text.contains("Connection refused"), "{text}");
        assert!(addresses.iter().any(|address| text.contains(&address.to_string())), "{text}");
    }

    #[test]
    fn families_take_turns_in_the_resolvers_order() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        let resolved = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1", "127.0.0.2:1"]);
        let raced = addresses(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "[::3]:1"]);
        assert_eq!(interleave(resolved), raced);
        let one_family = addresses(&["127.0.0.2:1", "127.0.0.1:1"]);
        assert_eq!(interleave(one_family.clone()), one_family);
        assert_eq!(interleave(Vec::new()), Vec::new());
    }
}
