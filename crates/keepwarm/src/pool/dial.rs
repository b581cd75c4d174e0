//! Establishing one connection: resolve, connect, start HTTP/1.1.
//!
//! Plain sequential code in a task of its own, owned by the pool: the request that caused the dial
//! may be served by another connection or be dropped, and the dial goes on for the next one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use keepwarm_pool::DialPermit;
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

use crate::error::{Error, Result, Stage};
use crate::observe::spans::DialSpan;
use crate::pool::origin::Origin;
use crate::wire::connection::Connection;
use crate::wire::counted_stream::Wire;
use crate::wire::origin_key::Scheme;
#[cfg(feature = "tls")]
use crate::wire::stream::Stream;
use crate::wire::transport::{TimeLeft, open};

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
    let span = DialSpan::new(origin.name());
    runtime.spawn(span.around(async move {
        let result = tokio::select! {
            result = establish(&permit.origin) => result,
            _ = aborted => Err(Error::failed(Stage::Connect, "the client has shut down")),
        };
        let name = Arc::clone(permit.origin.name());
        permit.end(result.map_err(|error| error.at(&name)));
    }));
}

async fn establish(origin: &Arc<Origin>) -> Result<Connection> {
    let shared = origin.shared();
    let left = TimeLeft::of(shared.settings.connect_timeout);
    let stream = open(origin.key(), &shared.settings, left).await?;
    let stream = match origin.key().scheme() {
        Scheme::Http => stream,
        #[cfg(feature = "tls")]
        Scheme::Https => {
            let handshake = shared.tls.connect(origin.key().host(), stream);
            Stream::boxed(left.bound(Stage::Tls, handshake).await?)
        }
        #[cfg(not(feature = "tls"))]
        Scheme::Https => return Err(Error::failed(Stage::Connect, "TLS is not built in")),
    };
    Connection::start(Wire::new(stream), Arc::clone(&shared.keeper))
        .await
        .map_err(|error| Error::failed(Stage::Connect, error))
}
