//! The two threads of a watch, and the inbox between them.
//!
//! Owns their start and end, and the clock of the watch. The *reader* only receives events, see
//! `reader`; the *tracking thread* does everything else, see `tracking`.
//!
//! ```text
//!  kernel ──events──► reader ──inbox (bounded)──► tracking ──report──► snapshot, finish
//!  kernel ◄──────── dumps, lookups ──────────────────┘
//! ```
//! If the inbox is full the reader leaves events in the kernel's buffer. The kernel counts the events
//! that it then drops, and the watch reports that count: events are lost in one place only.

use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Operation};
use crate::kernel::destroy_events::DestroyEvents;
use crate::kernel::dump::Dumper;
use crate::kernel::socket::Socket;
use crate::report::host::{HostReport, Scope};
use crate::tracker::death_time::DeathTime;
use crate::watch::filter;
use crate::watch::owners::Owners;
use crate::watch::reader::Reader;
use crate::watch::schedule::Wake;
use crate::watch::tracking::Tracking;

/// Events between the two threads, from which on no more are read: 0.1 s of 20,000 a second. With the events that
/// one reading adds they take about 1 MB, and as much again while they are handled. The kernel's buffer has room
/// for twelve times as many.
const MAX_INBOX: usize = 1 << 11;

/// The threads of one watch, which run until they are finished or dropped.
#[derive(Debug)]
pub(crate) struct Threads {
    shared: Arc<Shared>,
    reader: Reader,
    tracking: Option<JoinHandle<Result<HostReport, Error>>>,
}

/// Sources of a watch in the kernel, open before its threads start: with the capabilities of the
/// calling thread, which may drop them then.
#[derive(Debug)]
pub(crate) struct Sources {
    events: DestroyEvents,
    dumper: Dumper,
}

impl Sources {
    /// Subscribes to the deaths of sockets on the scope's port, or on every port.
    pub(crate) fn open(scope: &Scope) -> Result<Sources, Error> {
        let events = DestroyEvents::subscribe(filter(scope).either_port)?;
        Ok(Sources { events, dumper: Dumper::open()? })
    }

    pub(super) fn split(self) -> (DestroyEvents, Dumper) {
        (self.events, self.dumper)
    }
}

impl Threads {
    /// Takes the baseline; returns when the window has begun.
    pub(crate) fn start(scope: Scope, sources: Sources, owners: Owners) -> Result<Self, Error> {
        let shared = Arc::new(Shared::new());
        let Sources { events, dumper } = sources;
        let reader = Reader::start()?;
        reader.add(events, &shared);
        let mut threads = Threads { shared: Arc::clone(&shared), reader, tracking: None };
        // From here on dropping `threads` ends them.
        let (ready, begun) = mpsc::sync_channel(1);
        let tracking = Tracking::new(scope, shared, dumper, owners);
        threads.tracking = Some(spawn("keepwarm-track", move || tracking.run(&ready))?);
        match begun.recv() {
            Ok(()) => Ok(threads),
            // The tracking thread has ended before the window began: its result says why.
            Err(mpsc::RecvError) => {
                Err(threads.end(Command::Abandon).err().unwrap_or_else(Error::stopped))
            }
        }
    }

    /// Returns the report so far and the number of events lost, without a call of the kernel.
    pub(crate) fn snapshot(&self) -> (HostReport, u64) {
        (HostReport::clone(&self.latest()), self.shared.lost_events())
    }

    /// Returns the report so far.
    pub(crate) fn latest(&self) -> Arc<HostReport> {
        self.shared.report()
    }

    /// Returns true if an error has ended the tracking thread; [`finish`](Threads::finish) returns
    /// that error.
    pub(crate) fn has_ended(&self) -> bool {
        self.tracking.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for rest, at most `settle`, and ends the window. Returns the report and the number of
    /// events lost.
    pub(crate) fn finish(mut self, settle: Duration) -> Result<(HostReport, u64), Error> {
        self.end(Command::Finish { settle })
    }

    fn end(&mut self, command: Command) -> Result<(HostReport, u64), Error> {
        self.shared.order(command);
        let report = match self.tracking.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err(Error::stopped())),
            None => Err(Error::stopped()),
        };
        self.reader.end();
        report.map(|report| (report, self.shared.lost_events()))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if self.tracking.is_some() {
            let _ = self.end(Command::Abandon);
        }
    }
}

/// An order from the owner of the watch to the tracking thread.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command {
    /// End the window, after rest or `settle`.
    Finish { settle: Duration },
    /// Stop at once, without a report.
    Abandon,
}

/// State that the reader, the tracking thread and the owner of the watch share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Zero of the watch's clock.
    origin: Instant,
    inbox: Mutex<Inbox>,
    /// Signals events, commands, failure.
    arrived: Condvar,
    report: Mutex<Arc<HostReport>>,
}

#[derive(Debug, Default)]
struct Inbox {
    events: Vec<(DeathTime, Socket)>,
    command: Option<Command>,
    failed: Option<Error>,
    lost: u64,
    /// Lost events of the watch's own fence sockets: a part of `lost`, and of no connection.
    lost_fences: u64,
    /// Events that the tracking thread wants at once; else it sleeps until it has to act anyway.
    wake: Wake,
    /// One of the events is on loopback.
    has_loopback: bool,
}

impl Inbox {
    fn is_worth_waking(&self) -> bool {
        match self.wake {
            Wake::Any => !self.events.is_empty(),
            Wake::Loopback => self.has_loopback || self.events.len() >= MAX_INBOX / 4,
            Wake::Many => self.events.len() >= MAX_INBOX / 4,
        }
    }
}

impl Shared {
    pub(super) fn new() -> Shared {
        Shared {
            origin: Instant::now(),
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            report: Mutex::default(),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Returns the instant of a time of the watch's clock.
    pub(super) fn instant(&self, at: Duration) -> Instant {
        self.origin + at
    }

    pub(super) fn lost_events(&self) -> u64 {
        let inbox = lock(&self.inbox);
        inbox.lost.saturating_sub(inbox.lost_fences)
    }

    /// Takes the number of lost events that were the watch's own, and no connection's.
    pub(super) fn forgive(&self, fences: u64) {
        lock(&self.inbox).lost_fences += fences;
    }

    pub(super) fn publish(&self, report: HostReport) {
        let report = Arc::new(report);
        // The report before is dropped after the lock.
        let _before = std::mem::replace(&mut *lock(&self.report), report);
    }

    /// Returns the report that was published last.
    pub(super) fn report(&self) -> Arc<HostReport> {
        Arc::clone(&lock(&self.report))
    }

    /// Gives the tracking thread an order.
    pub(super) fn order(&self, command: Command) {
        lock(&self.inbox).command = Some(command);
        self.arrived.notify_all();
    }

    /// Tells the tracking thread that no more events can be read.
    pub(super) fn fail(&self, error: Error) {
        lock(&self.inbox).failed = Some(error);
        self.arrived.notify_all();
    }

    /// Returns whether another batch of events may be delivered.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.inbox).events.len() < MAX_INBOX
    }

    /// Sleeps until `due`, a command, a failure, or the events that `wake` names. Swaps the events with `into`,
    /// which must be empty: the reader goes on with that memory. Returns the command, if there is one.
    pub(super) fn receive(
        &self,
        due: Duration,
        wake: Wake,
        into: &mut Vec<(DeathTime, Socket)>,
    ) -> Result<Option<Command>, Error> {
        let mut inbox = lock(&self.inbox);
        inbox.wake = wake;
        while !inbox.is_worth_waking() && inbox.command.is_none() && inbox.failed.is_none() {
            let left = due.saturating_sub(self.now());
            if left.is_zero() {
                break;
            }
            let waited = self.arrived.wait_timeout(inbox, left);
            inbox = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if let Some(error) = inbox.failed.take() {
            return Err(error);
        }
        std::mem::swap(&mut inbox.events, into);
        inbox.has_loopback = false;
        Ok(inbox.command.take())
    }

    /// Puts a batch of events into the inbox. `since`: every event of the batch is younger.
    pub(super) fn deliver(&self, lost: u64, batch: &mut Vec<Socket>, since: Instant) {
        let not_before = since.saturating_duration_since(self.origin);
        let died = DeathTime { not_before, read_at: self.now() };
        let mut inbox = lock(&self.inbox);
        inbox.lost = inbox.lost.max(lost);
        if inbox.wake == Wake::Loopback {
            let is_loopback = |event: &Socket| event.local.ip().is_loopback();
            inbox.has_loopback |= batch.iter().any(is_loopback);
        }
        inbox.events.extend(batch.drain(..).map(|event| (died, event)));
        let wake = inbox.is_worth_waking();
        drop(inbox);
        if wake {
            self.arrived.notify_all();
        }
    }
}

/// Locks past a panic of another thread: it leaves plain data behind, so reading on is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map_err(|error| Error::io(Operation::Watch, &error))
}
