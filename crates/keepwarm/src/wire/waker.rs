//! Who is woken when a connection has something to say: the task that has it, or the keeper.
//!
//! The rules are [`Signal`]'s; here they get their waker, the owner's end and the keeper's address.

use std::cell::Cell;
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Wake, Waker};

use keepwarm_pool::ConnectionId;

use crate::pool::keeper::Keeper;
use crate::pool::origin::Origin;
use crate::wire::wake_state::{Call, Signal};

thread_local! {
    /// This thread is inside [`quietly`].
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Does something that wakes the connection's waker for no reason of the connection's.
///
/// hyper wakes it when it is given a request and when a frame of a body is taken from it. The first
/// is always followed by a drive. The second matters only to a driver that waits for room for the
/// next frame: whoever takes a frame while the exchange goes on drives after it. So such a wake-up
/// tells nobody anything, and without this it would schedule the request's task once more, or call
/// the keeper to a connection that is idle and well. It is told from all others by the thread: what
/// is done here is done at once, and wakes nobody else.
pub(crate) fn quietly<R>(act: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            QUIET.set(self.0);
        }
    }
    let _restore = Restore(QUIET.replace(true));
    act()
}

/// What the waker of a connection leads to. One for each connection, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Watch {
    signal: Signal,
    keeper: Arc<Keeper>,
    place: OnceLock<(Weak<Origin>, ConnectionId)>,
}

impl Watch {
    /// Says where the connection is filed. Once, when the pool has named it.
    pub(crate) fn file(&self, origin: Weak<Origin>, connection: ConnectionId) {
        let first = self.place.set((origin, connection)).is_ok();
        debug_assert!(first, "a connection is filed once");
    }

    /// After the connection has become idle in the pool: a wake-up that came before that found
    /// nothing idle to look at, so the keeper is asked again.
    pub(crate) fn recheck(&self) {
        if self.has_rung() {
            self.call_keeper();
        }
    }

    /// Whether the connection has had something to say since it is idle.
    pub(crate) fn has_rung(&self) -> bool {
        self.signal.has_rung_idle()
    }

    fn call_keeper(&self) {
        if let Some((origin, connection)) = self.place.get() {
            self.keeper.look_at(origin.clone(), *connection);
        }
    }
}

impl Wake for Watch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if QUIET.get() {
            return;
        }
        match self.signal.ring() {
            Call::Nobody => {}
            Call::Keeper => self.call_keeper(),
        }
    }
}

/// The owner's end of a watch, with the waker that the driver is polled with.
#[derive(Debug)]
pub(crate) struct Watcher {
    watch: Arc<Watch>,
    waker: Waker,
    /// A task's waker is with the signal, unless a ring has just taken it.
    waiting: bool,
}

impl Watcher {
    pub(crate) fn new(keeper: Arc<Keeper>) -> Self {
        let watch = Arc::new(Watch { signal: Signal::new(), keeper, place: OnceLock::new() });
        Self { waker: Waker::from(Arc::clone(&watch)), watch, waiting: false }
    }

    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }

    /// For a poll that looks at everything.
    pub(crate) fn look(&mut self) -> Context<'_> {
        if self.watch.signal.look() {
            self.waiting = false;
        }
        self.context()
    }

    /// For a poll while the connection is idle: what it hears is for the keeper.
    pub(crate) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }

    /// The task of `cx` waits for the connection.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        self.watch.signal.wait(cx.waker().clone());
        self.waiting = true;
    }

    /// The connection is left idle. True if it has something to say already.
    pub(crate) fn leave(&mut self) -> bool {
        let rung = self.watch.signal.leave();
        if std::mem::take(&mut self.waiting) && !rung {
            // Polled for another reason, a timer's: the task would be kept as long as the connection.
            self.watch.signal.forget();
        }
        rung
    }

    /// The connection is taken back. True if it had something to say.
    pub(crate) fn take(&mut self) -> bool {
        self.watch.signal.take()
    }
}
