//! Watching one port: a subscription, a baseline, looks while events come in, a last look.
//!
//! Owns two threads and the time. The *reader* does nothing but receive, so that no dump ever
//! keeps the kernel's buffer waiting; the *accountant* dumps and keeps the ledger. All judgement
//! is in `ledger` and `classify`.
//!
//! ```text
//!  kernel ──events──► reader ──inbox (bounded)──► accountant ──account──► snapshot, finish
//!  kernel ◄─────────────dumps────────────────────────┘
//! ```
//! If the inbox is full (2^15 events) the reader waits and the kernel's buffer fills; what the
//! kernel then drops it counts, and so do we: there is one place where events get lost.

use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::account::PortAccount;
use crate::counters::Counters;
use crate::destroy::Destroyed;
use crate::dump::{Dumper, Filter};
use crate::error::{Error, Operation};
use crate::ledger::Ledger;
use crate::socket::{Socket, States};
use crate::sys::{Waker, fence};

/// Events between reader and accountant: 1.6 s of 20,000 a second, about 10 MB.
const MAX_INBOX: usize = 1 << 15;
/// Live sockets of the port when the watch starts.
const MAX_BASELINE: usize = 1 << 20;
/// Between two dumps while events come in. A dump walks the kernel's whole table (about 10 ms);
/// TIME_WAIT must be looked for within 900 ms of an event.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Events arrive in pairs and bursts: let them.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// No event for this long is rest.
const QUIET: Duration = Duration::from_millis(50);
/// How long an event may be under way before the system is taken to have none.
const FENCE_WAIT: Duration = Duration::from_secs(5);

/// Watches the connections of one port, in both roles, until it is finished or dropped.
///
/// Needs no privilege. Its threads sleep while no socket of the network namespace dies. Each TCP
/// socket that dies, of whatever port and for every watch, costs the kernel a message and this
/// process a recv(2); while connections of the port close, a dump is made every 250 ms.
///
/// ```no_run
/// use std::time::Duration;
/// let watch = keepwarm_sockets::PortWatch::start(8081)?;
/// // ... load ...
/// let account = watch.finish(Duration::from_secs(1))?;
/// println!("opened {}, closed {:?}", account.opened, account.closed);
/// # Ok::<(), keepwarm_sockets::Error>(())
/// ```
#[derive(Debug)]
pub struct PortWatch {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    accountant: Option<JoinHandle<Result<PortAccount, Error>>>,
}

impl PortWatch {
    /// Subscribes to destroy events and takes the baseline; returns when the window has begun.
    /// Every connection opened after this returns is in the account.
    ///
    /// # Errors
    /// Port 0; a sandbox; a system without destroy events; no file descriptor or thread to be had;
    /// more than 2^20 sockets of the port already there.
    pub fn start(port: u16) -> Result<PortWatch, Error> {
        if port == 0 {
            return Err(Error::unsupported(Operation::Watch, "port 0 names no service"));
        }
        let waker = Waker::new()?;
        let events = Destroyed::subscribe(port)?;
        let dumper = Dumper::open()?;
        let shared = Arc::new(Shared { waker, ..Shared::new(port)? });
        let mut watch = PortWatch { shared: Arc::clone(&shared), reader: None, accountant: None };
        // From here on dropping `watch` ends the threads.
        let reading = Arc::clone(&shared);
        watch.reader = Some(spawn("keepwarm-events", move || read_events(&reading, events))?);
        let (ready, begun) = mpsc::sync_channel(1);
        let accountant = Accountant::new(shared, dumper, port);
        watch.accountant = Some(spawn("keepwarm-account", move || accountant.run(&ready))?);
        match begun.recv() {
            Ok(()) => Ok(watch),
            // The accountant has ended before the window began: its result says why.
            Err(mpsc::RecvError) => {
                Err(watch.end(Command::Abandon).err().unwrap_or_else(Error::stopped))
            }
        }
    }

    /// The account so far, without asking the kernel. It lags by up to 350 ms while connections
    /// close; `opened` counts what the last dump saw, so connections that are only opened show
    /// when some connection of the port closes next, and all at the end.
    pub fn snapshot(&self) -> PortAccount {
        let mut account = lock(&self.shared.account).clone();
        let inbox = lock(&self.shared.inbox);
        account.lost_events = inbox.lost;
        account
    }

    /// Waits until the port is at rest, at most `settle`, and closes the account.
    ///
    /// Rest is: no event for 50 ms and no socket of the port in SYN_SENT, SYN_RECV, FIN_WAIT,
    /// CLOSE_WAIT, LAST_ACK or CLOSING. Under load, or with a program that does not close what its
    /// peer closed, there is no rest, and the account is closed after `settle` with
    /// `settled: false`; it is exact all the same, only not complete: what is under way counts as
    /// alive.
    ///
    /// # Errors
    /// When reading events or dumping failed on the way.
    pub fn finish(mut self, settle: Duration) -> Result<PortAccount, Error> {
        self.end(Command::Finish { settle })
    }

    fn end(&mut self, command: Command) -> Result<PortAccount, Error> {
        lock(&self.shared.inbox).command = Some(command);
        self.shared.arrived.notify_all();
        let account = match self.accountant.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err(Error::stopped())),
            None => Err(Error::stopped()),
        };
        lock(&self.shared.inbox).ended = true;
        self.shared.waker.wake();
        self.shared.space.notify_all();
        if let Some(thread) = self.reader.take() {
            // A reader that panicked has said so on stderr, and its account is lost anyway.
            let _ = thread.join();
        }
        account.map(|account| PortAccount { lost_events: lock(&self.shared.inbox).lost, ..account })
    }
}

impl Drop for PortWatch {
    fn drop(&mut self) {
        if self.reader.is_some() || self.accountant.is_some() {
            let _ = self.end(Command::Abandon);
        }
    }
}

/// What the owner wants.
#[derive(Debug, Clone, Copy)]
enum Command {
    Finish { settle: Duration },
    Abandon,
}

#[derive(Debug)]
struct Shared {
    origin: Instant,
    inbox: Mutex<Inbox>,
    /// Signals events, commands, failure.
    arrived: Condvar,
    /// Signals room in the inbox.
    space: Condvar,
    account: Mutex<PortAccount>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Inbox {
    events: Vec<(Duration, Socket)>,
    command: Option<Command>,
    failed: Option<Error>,
    lost: u64,
    /// The accountant wants every event at once; otherwise it sleeps until it has to look anyway.
    eager: bool,
    /// The accountant is gone.
    ended: bool,
}

impl Inbox {
    fn is_worth_waking(&self) -> bool {
        let enough = if self.eager { 1 } else { MAX_INBOX / 4 };
        self.events.len() >= enough
    }
}

impl Shared {
    fn new(port: u16) -> Result<Shared, Error> {
        Ok(Shared {
            origin: Instant::now(),
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            space: Condvar::new(),
            account: Mutex::new(PortAccount { port, ..PortAccount::default() }),
            waker: Waker::new()?,
        })
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A thread that panicked leaves plain data behind: reading on is sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, Error> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .map_err(|error| Error::io(Operation::Watch, &error))
}

fn read_events(shared: &Shared, mut events: Destroyed) {
    let mut batch = Vec::new();
    let mut overruns = 0;
    loop {
        let read = events.read(&shared.waker, &mut batch);
        let now = shared.now();
        // The kernel's count is dear, and moves only after it has complained.
        let stop = !matches!(read, Ok(true));
        let complained = events.overruns() > overruns || (stop && overruns > 0);
        overruns = events.overruns();
        let lost = if complained { events.lost() } else { 0 };
        let mut inbox = lock(&shared.inbox);
        inbox.lost = inbox.lost.max(lost);
        match read {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                inbox.failed = Some(error);
                shared.arrived.notify_all();
                return;
            }
        }
        while inbox.events.len() >= MAX_INBOX && !inbox.ended {
            inbox = shared.space.wait(inbox).unwrap_or_else(PoisonError::into_inner);
        }
        inbox.events.extend(batch.drain(..).map(|event| (now, event)));
        let wake = inbox.is_worth_waking();
        drop(inbox);
        if wake {
            shared.arrived.notify_all();
        }
    }
}

struct Accountant {
    shared: Arc<Shared>,
    dumper: Dumper,
    ledger: Ledger,
    filter: Filter,
    /// Cookies of fences whose events have not arrived.
    fences: Vec<u64>,
    command: Option<Command>,
    last_look: Duration,
    last_event: Duration,
    /// The kernel's count of refused TIME_WAITs at the last look, at the one before (an event may
    /// be on its way for as long), and at the first.
    refused: Option<u64>,
    refused_before: Option<u64>,
    refused_at_start: Option<u64>,
}

impl Accountant {
    fn new(shared: Arc<Shared>, dumper: Dumper, port: u16) -> Accountant {
        Accountant {
            shared,
            dumper,
            ledger: Ledger::new(port),
            filter: Filter {
                states: States::CONNECTED,
                either_port: Some(port),
                ..Filter::default()
            },
            fences: Vec::new(),
            command: None,
            last_look: Duration::ZERO,
            last_event: Duration::ZERO,
            refused: None,
            refused_before: None,
            refused_at_start: None,
        }
    }

    fn run(mut self, ready: &mpsc::SyncSender<()>) -> Result<PortAccount, Error> {
        self.refused_at_start = Counters::read_time_wait_overflow();
        (self.refused, self.refused_before) = (self.refused_at_start, self.refused_at_start);
        self.look(true)?;
        if self.ledger.alive_sockets() > MAX_BASELINE {
            return Err(Error::too_many(Operation::Watch, "sockets of the port", MAX_BASELINE));
        }
        self.ledger.handle_baseline();
        if !self.pass_fence()? && lock(&self.shared.inbox).lost == 0 {
            let why = "no destroy event came for a socket closed on purpose";
            return Err(Error::unsupported(Operation::Subscribe, why));
        }
        let opened_at = self.shared.now();
        self.ledger.open_window(opened_at);
        self.publish(opened_at);
        if ready.send(()).is_err() {
            return Err(Error::stopped());
        }
        match self.keep_watch(opened_at)? {
            Command::Abandon => Err(Error::stopped()),
            Command::Finish { settle } => self.close(opened_at, settle),
        }
    }

    /// Keeps the ledger until a command comes. It may come while the ledger is caught up, which
    /// handles events too; so it is asked for before every wait.
    fn keep_watch(&mut self, opened_at: Duration) -> Result<Command, Error> {
        loop {
            if let Some(command) = self.command.take() {
                return Ok(command);
            }
            self.take_events(self.next_due(), self.next_due().is_none())?;
            let due = self.next_due().is_some_and(|due| due <= self.shared.now());
            if due && self.command.is_none() {
                self.catch_up()?;
                self.publish(opened_at);
            }
        }
    }

    /// Looks for what has not been looked for, or gives up waiting for mates that do not come.
    fn catch_up(&mut self) -> Result<(), Error> {
        if self.ledger.unlooked_since().is_none() {
            self.last_look = self.shared.now();
            self.ledger.settle(self.last_look, false);
            return Ok(());
        }
        self.begin_look(false)?;
        // Events that came during the dump belong to the question of which life of a pair a
        // TIME_WAIT is.
        self.take_events(Some(Duration::ZERO), false)?;
        self.end_look();
        Ok(())
    }

    /// When to look or to settle next; `None` while nothing is unfinished.
    fn next_due(&self) -> Option<Duration> {
        let next = self.last_look + LOOK_EVERY;
        match self.ledger.unlooked_since() {
            Some(oldest) => Some(next.max(oldest + LOOK_AFTER)),
            None => self.ledger.is_waiting().then_some(next),
        }
    }

    /// Sleeps until `due` or a command, if `eager` only until there is an event; handles events.
    fn take_events(&mut self, due: Option<Duration>, eager: bool) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let mut inbox = lock(&shared.inbox);
        inbox.eager = eager;
        while !inbox.is_worth_waking() && inbox.command.is_none() && inbox.failed.is_none() {
            let left = due.map(|due| due.saturating_sub(shared.now()));
            inbox = match left {
                None => shared.arrived.wait(inbox).unwrap_or_else(PoisonError::into_inner),
                Some(Duration::ZERO) => break,
                Some(left) => {
                    let waited = shared.arrived.wait_timeout(inbox, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        if let Some(error) = inbox.failed.take() {
            return Err(error);
        }
        let events = std::mem::take(&mut inbox.events);
        self.command = inbox.command.take().or(self.command);
        drop(inbox);
        shared.space.notify_all();
        for (at, event) in &events {
            if let Some(place) = self.fences.iter().position(|cookie| *cookie == event.cookie) {
                self.fences.swap_remove(place);
            } else if self.ledger.handle_event(event, *at) {
                self.last_event = *at;
            }
        }
        Ok(())
    }

    /// One whole dump into the ledger.
    fn look(&mut self, with_info: bool) -> Result<(), Error> {
        self.begin_look(with_info)?;
        self.end_look();
        Ok(())
    }

    fn begin_look(&mut self, with_info: bool) -> Result<(), Error> {
        let Accountant { dumper, ledger, filter, shared, .. } = self;
        ledger.begin_look();
        dumper.each(&Filter { with_info, ..*filter }, |row| ledger.handle_row(&row, shared.now()))
    }

    fn end_look(&mut self) {
        let refused = Counters::read_time_wait_overflow();
        let grown = refused != self.refused_before;
        self.refused_before = std::mem::replace(&mut self.refused, refused);
        self.last_look = self.shared.now();
        self.ledger.end_look(self.last_look, grown);
    }

    /// Waits until every event of a death before now has been handled. False if that could not be
    /// shown.
    fn pass_fence(&mut self) -> Result<bool, Error> {
        self.fences = fence();
        let shown = !self.fences.is_empty();
        let deadline = self.shared.now() + FENCE_WAIT;
        while !self.fences.is_empty() && self.shared.now() < deadline {
            self.take_events(Some(deadline), true)?;
        }
        Ok(shown && self.fences.is_empty())
    }

    fn close(mut self, opened_at: Duration, settle: Duration) -> Result<PortAccount, Error> {
        let asked_at = self.shared.now();
        let deadline = asked_at.saturating_add(settle);
        self.last_event = self.last_event.max(asked_at);
        let rested = loop {
            self.pause(QUIET.min(deadline.saturating_sub(self.shared.now())))?;
            let quiet = self.shared.now().saturating_sub(self.last_event) >= QUIET;
            if quiet || self.shared.now() >= deadline {
                self.look(true)?;
                if quiet && !self.ledger.is_transitional() {
                    break true;
                }
            }
            if self.shared.now() >= deadline {
                break false;
            }
        };
        // The last look above is the end of the window.
        let closed_at = self.last_look;
        self.ledger.close_window();
        let complete = self.pass_fence()?;
        if self.ledger.unlooked_since().is_some() {
            self.look(false)?;
        }
        let refused = self.refused_since_start();
        let account = self.ledger.finish(self.shared.now());
        Ok(PortAccount {
            window: closed_at.saturating_sub(opened_at),
            settled: rested && complete,
            time_waits_refused: refused,
            ..account
        })
    }

    /// Handles events for `length`.
    fn pause(&mut self, length: Duration) -> Result<(), Error> {
        let until = self.shared.now() + length;
        while self.shared.now() < until {
            self.take_events(Some(until), false)?;
        }
        Ok(())
    }

    fn refused_since_start(&self) -> Option<u64> {
        Some(self.refused?.saturating_sub(self.refused_at_start?))
    }

    fn publish(&mut self, opened_at: Duration) {
        let window = self.shared.now().saturating_sub(opened_at);
        let time_waits_refused = self.refused_since_start();
        let account = PortAccount { window, time_waits_refused, ..self.ledger.account() };
        *lock(&self.shared.account) = account;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The window of the race is one dump; here the command has come within it.
    #[test]
    fn a_command_that_comes_while_the_ledger_is_caught_up_is_not_lost() {
        let shared = Arc::new(Shared::new(1).expect("a waker"));
        let dumper = Dumper::open().expect("a netlink socket");
        let mut accountant = Accountant::new(Arc::clone(&shared), dumper, 1);
        lock(&shared.inbox).command = Some(Command::Finish { settle: Duration::ZERO });
        accountant.catch_up().expect("nothing to look for");
        accountant.take_events(Some(Duration::ZERO), false).expect("no events");
        let (done, returned) = mpsc::channel();
        thread::spawn(move || done.send(accountant.keep_watch(Duration::ZERO).is_ok()));
        assert_eq!(returned.recv_timeout(Duration::from_secs(30)), Ok(true));
    }
}
