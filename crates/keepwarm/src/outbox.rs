//! The way of events to the observers: written down where they happen, told when no lock is held.
//!
//! An event is put down under the lock of its origin, so the order of the outbox is the order in
//! which the pool decided. Whoever has released the lock delivers. Only one thread delivers at a time
//! and goes on until nothing is left, so that observers hear one event after the other; another one
//! leaves its events to it.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::misuse;
use crate::observer::{Event, Observer, Observers};
use crate::stream::words_of;

/// Events that may wait while an observer is busy. Those beyond it are lost, and counted.
const MAX_WAITING: usize = 1 << 16;

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
    pub(crate) fn new(observers: Observers) -> Option<Self> {
        let listen = |observer| Listener { observer, silenced: AtomicBool::new(false) };
        let listeners: Vec<_> = observers.into_vec().into_iter().map(listen).collect();
        let requests = AtomicU64::new(0);
        (!listeners.is_empty()).then(|| Self { listeners, queue: Mutex::default(), requests })
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
    pub(crate) fn deliver(&self) {
        let mut queue = self.lock();
        if queue.delivering {
            return;
        }
        queue.delivering = true;
        while let Some(event) = queue.waiting.pop_front() {
            drop(queue);
            self.tell(event);
            queue = self.lock();
        }
        queue.delivering = false;
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

impl Listener {
    fn tell(&self, event: Event) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.observer.observe(event))) {
            self.silenced.store(true, Ordering::Relaxed);
            misuse::observer_panicked(words_of(&*panic));
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
    use crate::observer::EventKind;

    fn event(dial: u64) -> Event {
        Event::new(Duration::ZERO, "http://host:80".into(), EventKind::DialBegan { dial })
    }

    #[test]
    fn what_comes_while_too_much_waits_is_lost_and_counted() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = Arc::clone(&heard);
        let mut observers = Observers::default();
        observers.add(move |event: Event| {
            let EventKind::DialBegan { dial } = event.kind else { return };
            ear.lock().expect("no panic").push(dial);
        });
        let outbox = Outbox::new(observers).expect("somebody listens");
        let over = MAX_WAITING as u64 + 10;
        for nth in 0..over {
            outbox.put(event(nth));
        }
        assert_eq!(outbox.lost(), 10);
        outbox.deliver();
        let kept: Vec<u64> = (0..MAX_WAITING as u64).collect();
        assert_eq!(*heard.lock().expect("no panic"), kept, "in order, and the oldest ones");
        outbox.put(event(over));
        outbox.deliver();
        assert_eq!(heard.lock().expect("no panic").last(), Some(&over));
    }
}
