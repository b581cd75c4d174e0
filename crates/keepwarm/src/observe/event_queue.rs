//! Event queue: events are recorded under the origin's lock and delivered to observers after it is
//! released.
//!
//! An event is recorded under the lock of its origin, so the order of the queue is the order in
//! which the pool decided. A thread that has released the lock delivers. Only one thread delivers
//! at a time, so that observers get one event after the other; other threads leave their events to
//! it. These may be many, and the delivering thread has a request of its own to continue, so after
//! 256 events it passes the rest to a task.

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use keepwarm_pool::Moment;
use tokio::runtime::Handle;

use super::observer::{Event, EventKind, Observer, Observers};
use super::warnings;
use crate::error::panic_message;

/// Limit on the events that wait while an observer is busy. Further events are lost, and counted.
const MAX_WAITING: usize = 1 << 16;

/// Limit on the events that one request delivers at once, its own and those of other requests.
const MAX_AT_ONCE: usize = 256;

/// Events on their way to at least one observer.
pub(crate) struct EventQueue {
    observers: Vec<Guarded>,
    queue: Mutex<PendingEvents>,
    requests: AtomicU64,
}

/// An observer that is not called again once it has panicked.
struct Guarded {
    observer: Arc<dyn Observer>,
    has_panicked: AtomicBool,
}

#[derive(Default)]
struct PendingEvents {
    events: VecDeque<Event>,
    /// True while a thread or task delivers.
    delivering: bool,
    lost: u64,
    /// Time of the youngest event.
    latest: Duration,
}

impl EventQueue {
    /// Creates the queue; `None` without observers: then no event is recorded.
    pub(crate) fn new(observers: Observers) -> Option<Arc<Self>> {
        let guard = |observer| Guarded { observer, has_panicked: AtomicBool::new(false) };
        let observers: Vec<_> = observers.into_vec().into_iter().map(guard).collect();
        let requests = AtomicU64::new(0);
        let queue = Self { observers, queue: Mutex::default(), requests };
        (!queue.observers.is_empty()).then(|| Arc::new(queue))
    }

    /// Returns a number that no other request of this client has; never 0.
    pub(crate) fn number_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Records an event. Calls no observer, so it may be used while a lock is held.
    pub(crate) fn record(&self, now: Moment, origin: &Arc<str>, kind: EventKind) {
        let mut event = Event::new(now.since(Moment::ZERO), Arc::clone(origin), kind);
        let mut queue = self.lock();
        // Threads read the clock before they take a lock, so an event may be recorded after a later
        // one.
        queue.latest = queue.latest.max(event.at);
        event.at = queue.latest;
        if queue.events.len() < MAX_WAITING {
            queue.events.push_back(event);
        } else {
            queue.lost += 1;
        }
    }

    /// Delivers the recorded events to the observers. Called while no lock is held.
    pub(crate) fn deliver(self: &Arc<Self>) {
        let mut queue = self.lock();
        if queue.delivering || queue.events.is_empty() {
            return;
        }
        queue.delivering = true;
        drop(queue);
        if !self.deliver_some() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let task = Delivery { queue: Arc::clone(self), over: false };
            runtime.spawn(task.run());
        } else {
            while self.deliver_some() {}
        }
    }

    /// Delivers up to [`MAX_AT_ONCE`] events. Returns false if none is left: then delivery has
    /// ended.
    fn deliver_some(&self) -> bool {
        for _ in 0..MAX_AT_ONCE {
            let mut queue = self.lock();
            let Some(event) = queue.events.pop_front() else {
                queue.delivering = false;
                return false;
            };
            drop(queue);
            self.notify_observers(event);
        }
        true
    }

    fn notify_observers(&self, event: Event) {
        let mut observers =
            self.observers.iter().filter(|observer| !observer.has_panicked.load(Ordering::Relaxed));
        let Some(first) = observers.next() else { return };
        for observer in observers {
            observer.notify(event.clone());
        }
        first.notify(event);
    }

    fn lock(&self) -> MutexGuard<'_, PendingEvents> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Task that delivers the rest of the events.
struct Delivery {
    queue: Arc<EventQueue>,
    /// True once delivery has ended, or another thread has begun it.
    over: bool,
}

impl Delivery {
    async fn run(mut self) {
        while self.queue.deliver_some() {
            tokio::task::yield_now().await;
        }
        self.over = true;
    }
}

impl Drop for Delivery {
    /// Gives the right to deliver back if the runtime has ended. The thread that records the next
    /// event delivers the rest.
    fn drop(&mut self) {
        if !self.over {
            self.queue.lock().delivering = false;
        }
    }
}

impl Guarded {
    fn notify(&self, event: Event) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.observer.observe(event))) {
            self.has_panicked.store(true, Ordering::Relaxed);
            warnings::observer_panicked(panic_message(&*panic));
        }
    }
}

impl fmt::Debug for EventQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventQueue")
            .field("observers", &self.observers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(queue: &EventQueue, dial: u64) {
        queue.record(Moment::ZERO, &"http://host:80".into(), EventKind::DialBegan { dial });
    }

    /// Makes a queue, and a function that returns what its observer has got.
    fn observed() -> (Arc<EventQueue>, impl Fn() -> Vec<u64>) {
        let delivered = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&delivered);
        let mut observers = Observers::default();
        observers.add(move |event: Event| {
            let EventKind::DialBegan { dial } = event.kind else { return };
            sink.lock().expect("no panic").push(dial);
        });
        let queue = EventQueue::new(observers).expect("there is an observer");
        (queue, move || delivered.lock().expect("no panic").clone())
    }

    #[test]
    fn events_beyond_the_limit_are_lost() {
        let (queue, delivered) = observed();
        let over = MAX_WAITING as u64 + 10;
        for nth in 0..over {
            record(&queue, nth);
        }
        assert_eq!(queue.lost(), 10, "and counted");
        queue.deliver();
        let kept: Vec<u64> = (0..MAX_WAITING as u64).collect();
        assert_eq!(delivered(), kept, "in order, and the oldest ones");
        record(&queue, over);
        queue.deliver();
        assert_eq!(delivered().last(), Some(&over));
    }

    /// One request delivers its share, and a task the rest, in order.
    #[tokio::test]
    async fn long_delivery_continues_in_a_task() {
        let (queue, delivered) = observed();
        for nth in 0..1_000 {
            record(&queue, nth);
        }
        queue.deliver();
        assert_eq!(delivered().len(), MAX_AT_ONCE);
        record(&queue, 1_000);
        queue.deliver();
        assert_eq!(delivered().len(), MAX_AT_ONCE, "a second thread does not overtake");
        while delivered().len() <= 1_000 {
            tokio::task::yield_now().await;
        }
        assert!(delivered().into_iter().eq(0..=1_000));
        record(&queue, 1_001);
        queue.deliver();
        assert_eq!(delivered().len(), 1_002, "and then delivery is immediate again");
    }

    #[test]
    fn next_event_delivers_leftovers() {
        let (queue, delivered) = observed();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            for nth in 0..1_000 {
                record(&queue, nth);
            }
            queue.deliver();
        });
        drop(runtime);
        assert_eq!(delivered().len(), MAX_AT_ONCE);
        record(&queue, 1_000);
        queue.deliver();
        assert!(delivered().into_iter().eq(0..=1_000));
    }
}
