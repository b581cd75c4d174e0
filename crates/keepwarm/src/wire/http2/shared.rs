//! The `h2` connection, polled by its task, and by a lone request that wants its head to leave at once.

use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use h2::client::Connection;

use super::io::Counted;

const HEEDED: u8 = 0;
const MUTED: u8 = 1;
const MUTED_AND_WOKEN: u8 = 2;

/// Waker that `h2` and the runtime's readiness events call: wakes the task, unless a request that
/// polls the connection itself has muted it.
pub(super) struct TaskWaker {
    state: AtomicU8,
    task: Mutex<Option<Waker>>,
}

impl TaskWaker {
    /// Sets the task that is woken.
    pub(super) fn set(&self, waker: &Waker) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    /// Wakes the task, muted or not.
    pub(super) fn wake_task(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let muted = |state| (state != HEEDED).then_some(MUTED_AND_WOKEN);
        if self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, muted).is_err() {
            self.wake_task();
        }
    }
}

/// The connection itself, and what it ended with.
struct Polled {
    connection: Connection<Counted, Bytes>,
    result: Option<Result<(), h2::Error>>,
}

impl Polled {
    fn poll(&mut self, waker: &Waker) {
        if self.result.is_none()
            && let Poll::Ready(result) =
                Pin::new(&mut self.connection).poll(&mut Context::from_waker(waker))
        {
            self.result = Some(result);
        }
    }
}

/// State of the connection after a poll.
pub(super) struct Seen {
    /// Streams that the peer allows.
    pub(super) streams: usize,
    /// The end of the connection.
    pub(super) result: Option<Result<(), h2::Error>>,
}

/// An `h2` connection that its task and its requests can poll.
pub(super) struct SharedConnection {
    /// `None` once the connection has ended.
    polled: Mutex<Option<Polled>>,
    pub(super) task: Arc<TaskWaker>,
    waker: Waker,
}

impl SharedConnection {
    pub(super) fn new(connection: Connection<Counted, Bytes>) -> Self {
        let task = Arc::new(TaskWaker { state: AtomicU8::new(HEEDED), task: Mutex::new(None) });
        let waker = Waker::from(Arc::clone(&task));
        Self { polled: Mutex::new(Some(Polled { connection, result: None })), task, waker }
    }

    /// Reads and writes what the socket allows, for the task.
    pub(super) fn poll(&self) -> Option<Seen> {
        let mut polled = self.polled.lock().unwrap_or_else(PoisonError::into_inner);
        let polled = polled.as_mut()?;
        polled.poll(&self.waker);
        let streams = polled.connection.max_concurrent_send_streams();
        Some(Seen { streams, result: polled.result.take() })
    }

    /// Runs `hand_over`, which gives `h2` something to send, and writes it at once instead of
    /// waking the task. If the task holds the connection, the task writes it. `heard` counts the
    /// bytes received: if some came meanwhile, the task is woken for them.
    pub(super) fn hand_over<T>(&self, heard: impl Fn() -> u64, hand_over: impl FnOnce() -> T) -> T {
        let Ok(mut polled) = self.polled.try_lock() else { return hand_over() };
        let Some(connection) = polled.as_mut() else { return hand_over() };
        let before = heard();
        self.task.state.store(MUTED, Ordering::SeqCst);
        let handed = hand_over();
        self.task.state.store(MUTED, Ordering::SeqCst);
        connection.poll(&self.waker);
        let has_ended = connection.result.is_some();
        drop(polled);
        let was_woken = self.task.state.swap(HEEDED, Ordering::SeqCst) == MUTED_AND_WOKEN;
        if was_woken || has_ended || heard() != before {
            self.task.wake_task();
        }
        handed
    }

    /// Ends the connection, if it has not ended in order.
    pub(super) fn end(&self) {
        let ended = self.polled.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(ended);
    }
}
