//! The way of events to the observers: written down where they happen, told when no lock is held.
//!
//! An event is put down under the lock of its origin, so the order of the outbox is the order in
//! which the pool decided. Whoever has released the lock delivers. Only one thread delivers at a time,
//! so that observers hear one event after the other; another one leaves its events to it. Since those
//! may be many, and it has a request of its own to attend to, it passes the rest to a task.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

use crate::observe::observer::{Event, Observer, Observers};
use crate::observe::warnings;
use crate::wire::stream::words_of;

/// Events that may wait while an observer is busy. Those beyond it are lost, and counted.
const MAX_WAITING: usize = 1 << 16;

/// Events that one request delivers in one go, its own and those of others.
const MAX_AT_ONCE: usize = 256;

/// Events on their way to at least one observer.
pub(crate) struct Outbox {
    listeners: Vec<Listener>,
    queue: Mutex<Queue>,
    requests: AtomicU64,
}

struct Listener {
    observer: Arc<dyn Observer>,
    /// It has panicked, and is not called again.
    silenced: AtomicBool,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Event>,
    /// Somebody is at it.
    delivering: bool,
    lost: u64,
    /// When the youngest one happened.
    latest: Duration,
}

impl Outbox {
    /// `None` if nobody listens: then nothing is written down.
    pub(crate) fn new(observers: Observers) -> Option<Arc<Self>> {
        let listen = |observer| Listener { observer, silenced: AtomicBool::new(false) };
        let listeners: Vec<_> = observers.into_vec().into_iter().map(listen).collect();
        let requests = AtomicU64::new(0);
        let outbox = Self { listeners, queue: Mutex::default(), requests };
        (!outbox.listeners.is_empty()).then(|| Arc::new(outbox))
    }

    /// A number that no other request of this client has; never 0.
    pub(crate) fn number_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Writes it down. It calls nobody, so it may be used while a lock is held.
    pub(crate) fn put(&self, mut event: Event) {
        let mut queue = self.lock();
        // Clocks are read before a lock is taken, so one may come behind another.
        queue.latest = queue.latest.max(event.at);
        event.at = queue.latest;
        if queue.waiting.len() < MAX_WAITING {
            queue.waiting.push_back(event);
        } else {
            queue.lost += 1;
        }
    }

    /// Tells the observers what was written down. To be used while no lock is held.
    pub(crate) fn deliver(self: &Arc<Self>) {
        let mut queue = self.lock();
        if queue.delivering || queue.waiting.is_empty() {
            return;
        }
        queue.delivering = true;
        drop(queue);
        if !self.tell_some() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let turn = Turn { outbox: Arc::clone(self), over: false };
            runtime.spawn(turn.finish());
        } else {
            while self.tell_some() {}
        }
    }

    /// For who delivers. False if nothing is left, and nobody delivers any more.
    fn tell_some(&self) -> bool {
        for _ in 0..MAX_AT_ONCE {
            let mut queue = self.lock();
            let Some(event) = queue.waiting.pop_front() else {
                queue.delivering = false;
                return false;
            };
            drop(queue);
            self.tell(event);
        }
        true
    }

    fn tell(&self, event: Event) {
        let mut listeners =
            self.listeners.iter().filter(|listener| !listener.silenced.load(Ordering::Relaxed));
        let Some(first) = listeners.next() else { return };
        for listener in listeners {
            listener.tell(event.clone());
        }
        first.tell(event);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to deliver, in a task.
struct Turn {
    outbox: Arc<Outbox>,
    /// Nobody delivers any more, or somebody else.
    over: bool,
}

impl Turn {
    async fn finish(mut self) {
        while self.outbox.tell_some() {
            tokio::task::yield_now().await;
        }
        self.over = true;
    }
}

impl Drop for Turn {
    /// The runtime has ended. Whoever has the next event delivers what is left.
    fn drop(&mut self) {
        if !self.over {
            self.outbox.lock().delivering = false;
        }
    }
}

impl Listener {
    fn tell(&self, event: Event) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.observer.observe(event))) {
            self.silenced.store(true, Ordering::Relaxed);
            warnings::observer_panicked(words_of(&*panic));
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("observers", &self.listeners.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::observer::EventKind;

    fn event(dial: u64) -> Event {
        Event::new(Duration::ZERO, "http://host:80".into(), EventKind::DialBegan { dial })
    }

    /// An outbox, and what its observer has heard.
    fn heard() -> (Arc<Outbox>, impl Fn() -> Vec<u64>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let mut observers = Observers::default();
        observers.add(move |event: Event| {
            let EventKind::DialBegan { dial } = event.kind else { return };
            ear.lock().expect("no panic").push(dial);
        });
        let outbox = Outbox::new(observers).expect("somebody listens");
        (outbox, move || heard.lock().expect("no panic").clone())
    }

    #[test]
    fn what_comes_while_too_much_waits_is_lost_and_counted() {
        let (outbox, heard) = heard();
        let over = MAX_WAITING as u64 + 10;
        for nth in 0..over {
            outbox.put(event(nth));
        }
        assert_eq!(outbox.lost(), 10);
        outbox.deliver();
        let kept: Vec<u64> = (0..MAX_WAITING as u64).collect();
        assert_eq!(heard(), kept, "in order, and the oldest ones");
        outbox.put(event(over));
        outbox.deliver();
        assert_eq!(heard().last(), Some(&over));
    }

    #[tokio::test]
    async fn one_request_delivers_its_share_and_a_task_the_rest_in_order() {
        let (outbox, heard) = heard();
        for nth in 0..1_000 {
            outbox.put(event(nth));
        }
        outbox.deliver();
        assert_eq!(heard().len(), MAX_AT_ONCE);
        // Whoever comes meanwhile does not overtake.
        outbox.put(event(1_000));
        outbox.deliver();
        assert_eq!(heard().len(), MAX_AT_ONCE);
        while heard().len() <= 1_000 {
            tokio::task::yield_now().await;
        }
        assert!(heard().into_iter().eq(0..=1_000));
        outbox.put(event(1_001));
        outbox.deliver();
        assert_eq!(heard().len(), 1_002, "and then it is as before");
    }

    #[test]
    fn what_a_runtime_that_ends_leaves_undelivered_is_delivered_with_the_next_event() {
        let (outbox, heard) = heard();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            for nth in 0..1_000 {
                outbox.put(event(nth));
            }
            outbox.deliver();
        });
        drop(runtime);
        assert_eq!(heard().len(), MAX_AT_ONCE);
        outbox.put(event(1_000));
        outbox.deliver();
        assert!(heard().into_iter().eq(0..=1_000));
    }
}
