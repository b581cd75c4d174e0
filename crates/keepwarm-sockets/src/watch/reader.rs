//! The thread that reads destroy events: those of one network namespace, or of many.
//!
//! Owns the wait for events and their delivery to inboxes. It only receives, so that no dump ever keeps
//! the kernel's buffers waiting. A namespace whose inbox is full is passed over, and its events wait in
//! the kernel's buffer: it keeps no other namespace waiting. Events of several namespaces are read in one
//! wake-up.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::kernel::destroy_events::{
    DestroyEvents, MAX_DELAY, MAX_DELAY_BESIDE_FEW, MAX_DELAY_OF_MANY, READ_EVERY,
};
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
        let asked_at = match wait_and_gather(&listeners, waker, &mut ready) {
            Ok(asked_at) => asked_at,
            Err(error) => {
                listeners.drain(..).for_each(|one| one.shared.fail(error.clone()));
                continue;
            }
        };
        let mut is_ready = ready.iter().copied();
        listeners.retain_mut(|one| {
            if !is_ready.next().unwrap_or(false) {
                one.events.handle_empty(asked_at);
                return true;
            }
            one.read(&mut datagrams, &mut batch)
        });
    }
}

/// Waits for an event, and then for further ones. Replaces the contents of `ready`: for each subscription, whether
/// it has events. Returns a time before that was asked.
fn wait_and_gather(
    listeners: &[Listener],
    waker: &Waker,
    ready: &mut Vec<bool>,
) -> Result<Instant, Error> {
    let sockets: Vec<&Netlink> = listeners.iter().map(|one| one.events.netlink()).collect();
    let before = Instant::now();
    wait(&sockets, waker, READ_EVERY, ready)?;
    let delays = listeners.iter().zip(ready.iter()).filter(|(_, ready)| **ready);
    let is_of_many = listeners.len() >= MANY as usize;
    let have_room = || listeners.iter().all(|one| one.events.has_room_for(MAX_DELAY_OF_MANY));
    let at_most = match is_of_many {
        true if have_room() => MAX_DELAY_OF_MANY,
        true => MAX_DELAY_BESIDE_FEW,
        false => MAX_DELAY,
    };
    let Some(delay) = delays.map(|(one, _)| one.delay(at_most)).min() else { return Ok(before) };
    // More events gather meanwhile: a wake-up for each would cost more than reading it. A sleep, for
    // no other condition is waited for.
    std::thread::sleep(delay);
    if !is_of_many {
        return Ok(before);
    }
    // By now most namespaces have events. Only the first had when the wait ended, and each of the others
    // would cost a wake-up of its own.
    let before = Instant::now();
    wait(&sockets, waker, Duration::ZERO, ready)?;
    Ok(before)
}

impl Listener {
    /// Returns how long to wait before a reading, not longer than `at_most`. Events that find no room are there
    /// again at once, and must not keep the processor busy that the tracking thread needs to make room.
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
