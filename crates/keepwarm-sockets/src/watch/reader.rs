//! The thread that reads destroy events: those of one network namespace, or of many.
//!
//! Owns the wait for events and their delivery to inboxes. It only receives, so that no dump ever keeps
//! the kernel's buffers waiting. A namespace whose inbox is full is passed over, and its events wait in
//! the kernel's buffer: it keeps no other namespace waiting.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::kernel::destroy_events::{DestroyEvents, MAX_DELAY, MAX_DELAY_OF_MANY, READ_EVERY};
use crate::kernel::socket::Socket;
use crate::kernel::sys::{Datagrams, Netlink, Waker, wait};
use crate::watch::schedule::MANY;
use crate::watch::threads::{Shared, spawn};

/// The reading thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Reader {
    waker: Arc<Waker>,
    orders: Arc<Mutex<Vec<Order>>>,
    thread: Option<JoinHandle<()>>,
}

/// An order to the reading thread.
#[derive(Debug)]
enum Order {
    Add(Box<Listener>),
    Remove(Arc<Shared>),
    Stop,
}

/// A subscription, and where its events go.
#[derive(Debug)]
struct Listener {
    events: DestroyEvents,
    shared: Arc<Shared>,
    overruns: u64,
}

impl Reader {
    pub(super) fn start() -> Result<Reader, Error> {
        let (waker, orders) = (Arc::new(Waker::new()?), Arc::default());
        let (woken, given) = (Arc::clone(&waker), Arc::clone(&orders));
        let thread = spawn("keepwarm-events", move || read_all(&woken, &given))?;
        Ok(Reader { waker, orders, thread: Some(thread) })
    }

    /// Reads these events too.
    pub(super) fn add(&self, events: DestroyEvents, shared: &Arc<Shared>) {
        let shared = Arc::clone(shared);
        self.order(Order::Add(Box::new(Listener { events, shared, overruns: 0 })));
    }

    /// Ends the subscription whose events go to `shared`.
    pub(super) fn remove(&self, shared: &Arc<Shared>) {
        self.order(Order::Remove(Arc::clone(shared)));
    }

    fn order(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        self.waker.wake();
    }

    /// Ends the thread, after a last count of lost events.
    pub(super) fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.order(Order::Stop);
        // A reader that panicked has printed that on stderr, and its report is lost anyway.
        let _ = thread.join();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.end();
    }
}

/// The body of the thread.
fn read_all(waker: &Waker, orders: &Mutex<Vec<Order>>) {
    let mut listeners: Vec<Listener> = Vec::new();
    let (mut ready, mut batch) = (Vec::new(), Vec::new());
    let mut datagrams = DestroyEvents::datagrams();
    loop {
        let given = std::mem::take(&mut *orders.lock().unwrap_or_else(PoisonError::into_inner));
        for order in given {
            match order {
                Order::Add(listener) => listeners.push(*listener),
                Order::Remove(shared) => listeners.retain(|one| {
                    let stays = !Arc::ptr_eq(&one.shared, &shared);
                    if !stays {
                        one.tell_lost();
                    }
                    stays
                }),
                Order::Stop => return listeners.iter().for_each(Listener::tell_lost),
            }
        }
        let before = Instant::now();
        let sockets: Vec<&Netlink> = listeners.iter().map(|one| one.events.netlink()).collect();
        if let Err(error) = wait(&sockets, waker, READ_EVERY, &mut ready) {
            listeners.drain(..).for_each(|one| one.shared.fail(error.clone()));
            continue;
        }
        let delays = listeners.iter().zip(&ready).filter(|(_, ready)| **ready);
        let is_of_many = listeners.len() >= MANY as usize;
        let at_most = if is_of_many { MAX_DELAY_OF_MANY } else { MAX_DELAY };
        let delay = delays.map(|(one, _)| one.delay(at_most)).min();
        // More events gather meanwhile: a wake-up for each would cost more than reading it. A sleep, for
        // no other condition is waited for.
        std::thread::sleep(delay.unwrap_or(Duration::ZERO));
        let mut is_ready = ready.iter().copied();
        listeners.retain_mut(|one| {
            if !is_ready.next().unwrap_or(false) {
                one.events.handle_empty(before);
                return true;
            }
            one.read(&mut datagrams, &mut batch)
        });
    }
}

impl Listener {
    /// Returns how long to wait before a reading, not longer than `at_most`. Events that find no room are there again at once, and
    /// must not keep the processor busy that the tracking thread needs to make room.
    fn delay(&self, at_most: Duration) -> Duration {
        if self.shared.has_room() { self.events.delay(at_most) } else { at_most }
    }

    /// Reads a batch and delivers it. Returns false if the subscription is over.
    fn read(&mut self, datagrams: &mut Datagrams, batch: &mut Vec<Socket>) -> bool {
        if !self.shared.has_room() {
            return true;
        }
        batch.clear();
        if let Err(error) = self.events.read(datagrams, batch) {
            self.shared.fail(error);
            return false;
        }
        // Reading the kernel's drop counter is expensive, and it only changes after recv(2) has
        // returned ENOBUFS.
        let has_dropped = self.events.overruns() > self.overruns;
        self.overruns = self.events.overruns();
        let lost = if has_dropped { self.events.lost() } else { 0 };
        if !batch.is_empty() || has_dropped {
            self.shared.deliver(lost, batch, self.events.batch_since());
        }
        true
    }

    fn tell_lost(&self) {
        if self.overruns > 0 {
            self.shared.deliver(self.events.lost(), &mut Vec::new(), Instant::now());
        }
    }
}
