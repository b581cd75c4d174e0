//! Watching: a subscription, a baseline, looks while events come in, a last look.
//!
//! Owns two threads and the time. The *reader* does nothing but receive, so that no dump ever
//! keeps the kernel's buffer waiting; the *accountant* dumps and keeps the [`Books`]. All judgement
//! is in the books and in `classify`.
//!
//! ```text
//!  kernel ──events──► reader ──inbox (bounded)──► accountant ──account──► snapshot, finish
//!  kernel ◄───────dumps, questions───────────────────┘
//! ```
//! If the inbox is full (2^15 events) the reader waits and the kernel's buffer fills; what the
//! kernel then drops it counts, and so do we: there is one place where events get lost.

use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Operation};
use crate::kernel::counters::Counters;
use crate::kernel::destroy_events::{DestroyEvents, MAX_DELAY};
use crate::kernel::dump::{Dumper, Filter};
use crate::kernel::socket::Socket;
use crate::kernel::sys::{Waker, fence, thread_cpu};
use crate::kernel::wire::diag::SocketLookup;
use crate::tracker::window::Window;
use crate::watch::quiescence::Quiescence;

/// Events between reader and accountant: 1.6 s of 20,000 a second, about 10 MB.
const MAX_INBOX: usize = 1 << 15;
/// Live sockets when the watch starts.
const MAX_BASELINE: usize = 1 << 20;
/// Between two dumps while events come in. A dump walks the kernel's whole table (about 10 ms);
/// TIME_WAIT must be looked for within 900 ms of an event.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// And never for more than this share of a core: after one of 10 ms comes a pause of a second.
const LOOK_PAUSE: u32 = 100;
/// Ends that are asked for one by one, if that is no dearer than a look. What one question costs is
/// measured; this is believed before.
const MAX_QUESTIONS: usize = 1 << 16;
const QUESTION: Duration = Duration::from_micros(2);
/// Events arrive in pairs and bursts: let them.
const LOOK_AFTER: Duration = Duration::from_millis(100);
/// No event for this long is rest.
const QUIET: Duration = Duration::from_millis(50);
/// How long an event may be under way before the system is taken to have none.
const FENCE_WAIT: Duration = Duration::from_secs(5);

/// What an accountant keeps: rows of dumps and events go in, an account comes out.
///
/// Time is handed in. The order of calls: looks until [`handle_baseline`](Books::handle_baseline),
/// [`open_window`](Books::open_window), looks and events, [`close_window`](Books::close_window)
/// after the look that ends the window, more events and at most one look,
/// [`finish`](Books::finish).
pub(crate) trait Books: Send + 'static {
    /// What the books add up to.
    type Account: Clone + Send + 'static;

    /// A dump begins.
    fn begin_look(&mut self);
    /// One row of it, read just now.
    fn handle_row(&mut self, row: &Socket, now: Duration);
    /// The dump has ended. `refused`: the kernel did not keep some TIME_WAITs lately, so that
    /// finding none proves nothing.
    fn end_look(&mut self, now: Duration, refused: bool);
    /// How many sockets the last look saw alive.
    fn alive_sockets(&self) -> usize;
    /// The look that has just ended is the baseline.
    fn handle_baseline(&mut self);
    /// Every event of a death before the baseline has been handled: the window begins.
    fn open_window(&mut self, now: Duration);
    /// A socket died. True if it has to do with what is watched.
    fn handle_event(&mut self, event: Socket, at: Duration) -> bool;
    /// Arrival of the oldest end that no dump has looked for yet.
    fn unlooked_since(&self) -> Option<Duration>;
    /// Begins to ask for single ends instead of a look, one question for each: at most this many.
    /// False: there has to be a look.
    fn begin_asking(&mut self, _most: usize, _questions: &mut Vec<SocketLookup>) -> bool {
        false
    }
    /// What is there on a pair of addresses that was asked for, if anything.
    fn handle_answer(&mut self, _row: &Socket, _now: Duration) {}
    /// The answers are complete; `refused` as in [`end_look`](Books::end_look).
    fn end_asking(&mut self, _now: Duration, _refused: bool) {}
    /// Whether some end has been looked for and waits only for its mate.
    fn is_waiting(&self) -> bool;
    /// Whether the last look saw a socket between two states.
    fn is_transitional(&self) -> bool;
    /// Concludes what can be concluded now.
    fn settle(&mut self, now: Duration);
    /// The look that has just ended is the end of the window; events still to come are of sockets
    /// that died before it, or are not ours.
    fn close_window(&mut self);
    /// The account so far.
    fn account(&mut self, so_far: &Window) -> Self::Account;
    /// The account at the end of the window.
    fn finish(self, ending: &Window) -> Self::Account;

    /// At most this long without a look, or without asking the counters whether one is needed, even
    /// if nothing dies. `None`: no look without an event.
    fn look_at_least_every(&self) -> Option<Duration> {
        None
    }
    /// Whether the next look should fetch `tcp_info`, whatever it is for.
    fn wants_info(&self, _now: Duration) -> bool {
        false
    }
    /// In place of a look that would show nothing new: TIME_WAITs have grown older.
    fn pass_time(&mut self, _now: Duration) {}
    /// Between two looks, where time is not pressing. Whether it has learned what the next look
    /// has to be read by.
    fn attend(&mut self, _now: Duration) -> bool {
        false
    }
}

/// Books being kept, until they are finished or dropped.
#[derive(Debug)]
pub(crate) struct Watcher<B: Books> {
    shared: Arc<Shared<B::Account>>,
    reader: Option<JoinHandle<()>>,
    accountant: Option<JoinHandle<Result<B::Account, Error>>>,
}

impl<B: Books> Watcher<B> {
    /// Subscribes to the deaths of `filter`'s port, or of every port, and takes the baseline;
    /// returns when the window has begun. `empty` is the account until there is one.
    pub(crate) fn start(filter: Filter, books: B, empty: B::Account) -> Result<Self, Error> {
        let waker = Waker::new()?;
        let events = DestroyEvents::subscribe(filter.either_port)?;
        let dumper = Dumper::open()?;
        let shared = Arc::new(Shared::new(empty, waker));
        let mut watcher = Watcher { shared: Arc::clone(&shared), reader: None, accountant: None };
        // From here on dropping `watcher` ends the threads.
        let reading = Arc::clone(&shared);
        watcher.reader = Some(spawn("keepwarm-events", move || read_events(&reading, events))?);
        let (ready, begun) = mpsc::sync_channel(1);
        let accountant = Accountant::new(shared, dumper, filter, books);
        watcher.accountant = Some(spawn("keepwarm-account", move || accountant.run(&ready))?);
        match begun.recv() {
            Ok(()) => Ok(watcher),
            // The accountant has ended before the window began: its result says why.
            Err(mpsc::RecvError) => {
                Err(watcher.end(Command::Abandon).err().unwrap_or_else(Error::stopped))
            }
        }
    }

    /// The account so far and the events lost, without asking the kernel.
    pub(crate) fn snapshot(&self) -> (B::Account, u64) {
        let account = lock(&self.shared.account).clone();
        (account, lock(&self.shared.inbox).lost)
    }

    /// Whether an error has ended the accountant: only [`finish`](Watcher::finish) tells which.
    pub(crate) fn has_ended(&self) -> bool {
        self.accountant.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for rest, at most `settle`, and closes the account; also gives the events lost.
    pub(crate) fn finish(mut self, settle: Duration) -> Result<(B::Account, u64), Error> {
        self.end(Command::Finish { settle })
    }

    fn end(&mut self, command: Command) -> Result<(B::Account, u64), Error> {
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
        account.map(|account| (account, lock(&self.shared.inbox).lost))
    }
}

impl<B: Books> Drop for Watcher<B> {
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
struct Shared<A> {
    origin: Instant,
    inbox: Mutex<Inbox>,
    /// Signals events, commands, failure.
    arrived: Condvar,
    /// Signals room in the inbox.
    space: Condvar,
    account: Mutex<A>,
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

impl<A> Shared<A> {
    fn new(account: A, waker: Waker) -> Shared<A> {
        Shared {
            origin: Instant::now(),
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            space: Condvar::new(),
            account: Mutex::new(account),
            waker,
        }
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

fn read_events<A>(shared: &Shared<A>, mut events: DestroyEvents) {
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

struct Accountant<B: Books> {
    shared: Arc<Shared<B::Account>>,
    dumper: Dumper,
    books: B,
    filter: Filter,
    /// Cookies of fences whose events have not arrived.
    fences: Vec<u64>,
    command: Option<Command>,
    /// Being handled; empty in between.
    events: Vec<(Duration, Socket)>,
    questions: Vec<SocketLookup>,
    /// Only looks from now on: this system does not answer for single sockets.
    unanswered: bool,
    last_look: Duration,
    /// What the last look took of a processor.
    look_cost: Duration,
    /// And one of the last questions.
    question_cost: Duration,
    /// The last time that something was looked for, asked or settled.
    last_round: Duration,
    /// The last time the counters were asked whether to look, and there was no need.
    last_calm: Duration,
    pulse: Quiescence,
    last_event: Duration,
    /// The kernel's count of refused TIME_WAITs at the last look, at the one before (an event may
    /// be on its way for as long), and at the first.
    refused: Option<u64>,
    refused_before: Option<u64>,
    refused_at_start: Option<u64>,
}

impl<B: Books> Accountant<B> {
    fn new(shared: Arc<Shared<B::Account>>, dumper: Dumper, filter: Filter, books: B) -> Self {
        Accountant {
            shared,
            dumper,
            books,
            filter,
            fences: Vec::new(),
            command: None,
            events: Vec::new(),
            questions: Vec::new(),
            unanswered: false,
            last_look: Duration::ZERO,
            look_cost: Duration::ZERO,
            question_cost: QUESTION,
            last_round: Duration::ZERO,
            last_calm: Duration::ZERO,
            pulse: Quiescence::default(),
            last_event: Duration::ZERO,
            refused: None,
            refused_before: None,
            refused_at_start: None,
        }
    }

    fn run(mut self, ready: &mpsc::SyncSender<()>) -> Result<B::Account, Error> {
        self.refused_at_start = Counters::read_time_wait_overflow();
        (self.refused, self.refused_before) = (self.refused_at_start, self.refused_at_start);
        self.look(true)?;
        if self.books.alive_sockets() > MAX_BASELINE {
            return Err(Error::too_many(Operation::Watch, "sockets to watch", MAX_BASELINE));
        }
        self.books.handle_baseline();
        if !self.pass_fence()? && lock(&self.shared.inbox).lost == 0 {
            let why = "no destroy event came for a socket closed on purpose";
            return Err(Error::unsupported(Operation::Subscribe, why));
        }
        let opened_at = self.shared.now();
        self.books.open_window(opened_at);
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
        let now = self.shared.now();
        self.last_round = now;
        let is_asked = self.books.unlooked_since().is_some();
        if !self.is_look_due(now) || (!is_asked && self.is_calm(now)) {
            if !is_asked {
                self.books.settle(now);
                return Ok(());
            }
            if self.begin_asking() && self.ask()? {
                return Ok(());
            }
        }
        self.begin_look(false)?;
        self.await_delivery()?;
        self.end_look();
        self.last_round = self.last_look;
        if self.books.attend(self.last_look) {
            // A process that was found is an owner from the next look on, on a host at rest too.
            self.pulse.handle_look(None);
        }
        Ok(())
    }

    fn begin_asking(&mut self) -> bool {
        let as_dear = self.look_cost.as_nanos() / self.question_cost.as_nanos().max(1);
        let most = usize::try_from(as_dear).unwrap_or(MAX_QUESTIONS).min(MAX_QUESTIONS);
        !self.unanswered && self.books.begin_asking(most, &mut self.questions)
    }

    /// Asks for ends one by one. False if that cannot be done here.
    fn ask(&mut self) -> Result<bool, Error> {
        let Accountant { dumper, books, questions, shared, .. } = self;
        let before = thread_cpu();
        if dumper.look_up(questions, |row| books.handle_answer(&row, shared.now())).is_err() {
            // Whatever it is, a look does without; if that fails too, it says why.
            self.unanswered = true;
            self.dumper = Dumper::open()?;
            return Ok(false);
        }
        if let Some(asked) = u32::try_from(self.questions.len()).ok().filter(|n| *n > 0) {
            self.question_cost = thread_cpu().saturating_sub(before) / asked;
            self.await_delivery()?;
        }
        let refused = self.are_time_waits_refused();
        self.books.end_asking(self.shared.now(), refused);
        Ok(true)
    }

    /// Events of deaths until now belong to the question of which life of a pair a TIME_WAIT is.
    fn await_delivery(&mut self) -> Result<(), Error> {
        self.pause(MAX_DELAY)
    }

    /// When to look or to settle next; `None` while nothing is unfinished.
    fn next_due(&self) -> Option<Duration> {
        let next = self.last_round + LOOK_EVERY;
        let needed = match self.books.unlooked_since() {
            Some(oldest) => Some(next.max(oldest + LOOK_AFTER)),
            None => self.books.is_waiting().then_some(next),
        };
        needed.into_iter().chain(self.next_look()).min()
    }

    /// When the tables are looked at whatever else there is to do, or the counters asked whether
    /// there is a need: more often while sockets die.
    fn next_look(&self) -> Option<Duration> {
        let every = self.books.look_at_least_every()?;
        let last = self.last_look.max(self.last_calm);
        let is_busy = self.last_event > last;
        let pause = (self.look_cost * LOOK_PAUSE).max(LOOK_EVERY);
        Some(last + if is_busy { pause.min(every) } else { every })
    }

    fn is_look_due(&self, now: Duration) -> bool {
        self.next_look().is_some_and(|due| now >= due)
    }

    /// Whether a look would show nothing new; then only time passes.
    fn is_calm(&mut self, now: Duration) -> bool {
        let calm = self.pulse.is_calm(now, Counters::read_connections());
        if calm {
            self.last_calm = now;
            self.books.pass_time(now);
        }
        calm
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
        // The reader goes on with the memory of the last batch.
        std::mem::swap(&mut inbox.events, &mut self.events);
        self.command = inbox.command.take().or(self.command);
        drop(inbox);
        shared.space.notify_all();
        for (at, event) in self.events.drain(..) {
            if let Some(place) = self.fences.iter().position(|cookie| *cookie == event.cookie) {
                self.fences.swap_remove(place);
            } else if self.books.handle_event(event, at) {
                self.last_event = at;
            }
        }
        Ok(())
    }

    /// One whole dump into the ledger.
    fn look(&mut self, with_info: bool) -> Result<(), Error> {
        self.begin_look(with_info)?;
        self.end_look();
        // Whose the sockets are has not been asked yet: that is done after the next one.
        self.pulse.handle_look(None);
        Ok(())
    }

    fn begin_look(&mut self, with_info: bool) -> Result<(), Error> {
        let with_info = with_info || self.books.wants_info(self.shared.now());
        let Accountant { dumper, books, filter, shared, .. } = self;
        // Before the dump: what moves meanwhile is looked at again.
        self.pulse.handle_look(Counters::read_connections());
        let before = thread_cpu();
        books.begin_look();
        let filter = Filter { with_info, ..*filter };
        let looked = dumper.each(&filter, |row| books.handle_row(&row, shared.now()));
        self.look_cost = thread_cpu().saturating_sub(before);
        looked
    }

    fn end_look(&mut self) {
        let refused = self.are_time_waits_refused();
        self.last_look = self.shared.now();
        self.pulse.handle_looked(self.last_look, self.look_cost);
        self.books.end_look(self.last_look, refused);
    }

    /// Whether the kernel did not keep some TIME_WAITs since the round before the last one.
    fn are_time_waits_refused(&mut self) -> bool {
        let refused = Counters::read_time_wait_overflow();
        let grown = refused != self.refused_before;
        self.refused_before = std::mem::replace(&mut self.refused, refused);
        grown
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

    fn close(mut self, opened_at: Duration, settle: Duration) -> Result<B::Account, Error> {
        let asked_at = self.shared.now();
        let deadline = asked_at.saturating_add(settle);
        self.last_event = self.last_event.max(asked_at);
        let rested = loop {
            self.pause(QUIET.min(deadline.saturating_sub(self.shared.now())))?;
            let quiet = self.shared.now().saturating_sub(self.last_event) >= QUIET;
            if quiet || self.shared.now() >= deadline {
                self.look(true)?;
                if quiet && !self.books.is_transitional() {
                    break true;
                }
            }
            if self.shared.now() >= deadline {
                break false;
            }
        };
        // The last look above is the end of the window.
        let closed_at = self.last_look;
        self.books.close_window();
        let complete = self.pass_fence()?;
        if self.books.unlooked_since().is_some() {
            self.look(false)?;
        }
        let window = Window {
            now: self.shared.now(),
            length: closed_at.saturating_sub(opened_at),
            settled: rested && complete,
            time_waits_refused: self.refused_since_start(),
        };
        Ok(self.books.finish(&window))
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
        let now = self.shared.now();
        let account = self.books.account(&Window {
            now,
            length: now.saturating_sub(opened_at),
            settled: false,
            time_waits_refused: self.refused_since_start(),
        });
        *lock(&self.shared.account) = account;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::ledger::Ledger;
    use crate::report::port::PortReport;

    /// The window of the race is one dump; here the command has come within it.
    #[test]
    fn a_command_that_comes_while_the_ledger_is_caught_up_is_not_lost() {
        let waker = Waker::new().expect("an eventfd");
        let shared = Arc::new(Shared::new(PortReport::default(), waker));
        let dumper = Dumper::open().expect("a netlink socket");
        let filter = Filter { either_port: Some(1), ..Filter::default() };
        let books = Ledger::new(1);
        let mut accountant = Accountant::new(Arc::clone(&shared), dumper, filter, books);
        lock(&shared.inbox).command = Some(Command::Finish { settle: Duration::ZERO });
        accountant.catch_up().expect("nothing to look for");
        accountant.take_events(Some(Duration::ZERO), false).expect("no events");
        let (done, returned) = mpsc::channel();
        thread::spawn(move || done.send(accountant.keep_watch(Duration::ZERO).is_ok()));
        assert_eq!(returned.recv_timeout(Duration::from_secs(30)), Ok(true));
    }
}
