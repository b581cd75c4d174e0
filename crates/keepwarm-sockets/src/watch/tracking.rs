//! The tracking thread of a watch: waits, receives events, and acts when the schedule says so.
//!
//! Owns the order of a watch (baseline, window, last dump) and the calls that read the kernel. When
//! to act is decided in `schedule`; all judgement of sockets is the [`Books`]'.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::error::{Error, Operation};
use crate::kernel::counters::Counters;
use crate::kernel::destroy_events::MAX_DELAY;
use crate::kernel::dump::{Dumper, Filter};
use crate::kernel::socket::Socket;
use crate::kernel::sys::{fence, thread_cpu};
use crate::kernel::wire::diag::SocketLookup;
use crate::tracker::window::Window;
use crate::watch::refused_time_waits::RefusedTimeWaits;
use crate::watch::schedule::{Due, Periodic, Schedule, Unfinished};
use crate::watch::threads::{Command, Shared};

/// Live sockets when the watch starts.
const MAX_BASELINE: usize = 1 << 20;
/// No event for this long is rest.
const QUIET: Duration = Duration::from_millis(50);
/// How long an event may be under way before the system is taken to have none.
const FENCE_WAIT: Duration = Duration::from_secs(5);

/// The bookkeeping of a watch: rows of dumps and events go in, a report comes out.
///
/// Time is passed in. The order of calls: dumps until
/// [`handle_baseline`](Books::handle_baseline), [`open_window`](Books::open_window), dumps and
/// events, [`close_window`](Books::close_window) after the dump that ends the window, more events
/// and at most one dump, [`finish`](Books::finish).
pub(crate) trait Books: Send + 'static {
    /// The report that leaves the watch.
    type Account: Clone + Send + 'static;

    /// Begins a dump.
    fn begin_look(&mut self);
    /// Takes one row of the dump, read just now.
    fn handle_row(&mut self, row: &Socket, now: Duration);
    /// Ends the dump. `refused`: the kernel did not keep some TIME_WAITs lately, so that finding
    /// none proves nothing.
    fn end_look(&mut self, now: Duration, refused: bool);
    /// Returns how many sockets the last dump saw alive.
    fn alive_sockets(&self) -> usize;
    /// Makes the dump that has just ended the baseline.
    fn handle_baseline(&mut self);
    /// Begins the window: every event of a death before the baseline has been handled.
    fn open_window(&mut self, now: Duration);
    /// Takes the death of a socket. Returns true if the socket is in scope.
    fn handle_event(&mut self, event: Socket, at: Duration) -> bool;
    /// Returns the arrival of the oldest dead socket that no dump or lookup has searched for yet.
    fn unlooked_since(&self) -> Option<Duration>;
    /// Begins lookups in place of a dump, at most this many. Returns false if a dump is needed.
    fn begin_asking(&mut self, _most: usize, _questions: &mut Vec<SocketLookup>) -> bool {
        false
    }
    /// Takes a socket that a lookup has found.
    fn handle_answer(&mut self, _row: &Socket, _now: Duration) {}
    /// Ends the lookups; `refused` as in [`end_look`](Books::end_look).
    fn end_asking(&mut self, _now: Duration, _refused: bool) {}
    /// Returns true if some dead socket waits only for its peer's event.
    fn is_waiting(&self) -> bool;
    /// Returns true if the last dump saw a socket between two states.
    fn is_transitional(&self) -> bool;
    /// Concludes what can be concluded now.
    fn settle(&mut self, now: Duration);
    /// Ends the window with the dump that has just ended; later events are of sockets that died
    /// before it, or are out of scope.
    fn close_window(&mut self);
    /// Reports the window so far.
    fn account(&mut self, so_far: &Window) -> Self::Account;
    /// Reports the window at its end.
    fn finish(self, window: &Window) -> Self::Account;

    /// Says whether dumps are made while no socket dies.
    fn periodic(&self) -> Periodic {
        Periodic::Nothing
    }
    /// Returns true if the next dump, for any purpose, should fetch `tcp_info`.
    fn wants_info(&self, _now: Duration) -> bool {
        false
    }
    /// Takes the place of a dump that would show nothing new: TIME_WAITs have grown older.
    fn pass_time(&mut self, _now: Duration) {}
    /// Searches for the owners of sockets, between two dumps. Returns true if it found one.
    fn find_owners(&mut self) -> bool {
        false
    }
}

/// State of the tracking thread.
pub(super) struct Tracking<B: Books> {
    shared: Arc<Shared<B::Account>>,
    dumper: Dumper,
    books: B,
    filter: Filter,
    schedule: Schedule,
    refused: RefusedTimeWaits,
    /// Cookies of sockets that were closed on purpose and whose events have not arrived.
    fences: Vec<u64>,
    command: Option<Command>,
    /// Events being handled; empty between batches.
    events: Vec<(Duration, Socket)>,
    lookups: Vec<SocketLookup>,
}

impl<B: Books> Tracking<B> {
    pub(super) fn new(
        shared: Arc<Shared<B::Account>>,
        dumper: Dumper,
        filter: Filter,
        books: B,
    ) -> Self {
        let schedule = Schedule::new(books.periodic());
        Tracking {
            shared,
            dumper,
            books,
            filter,
            schedule,
            refused: RefusedTimeWaits::new(Counters::read_time_wait_overflow()),
            fences: Vec::new(),
            command: None,
            events: Vec::new(),
            lookups: Vec::new(),
        }
    }

    /// Takes the baseline, opens the window and signals `ready`; returns the report at its end.
    pub(super) fn run(mut self, ready: &mpsc::SyncSender<()>) -> Result<B::Account, Error> {
        self.dump(true)?;
        if self.books.alive_sockets() > MAX_BASELINE {
            return Err(Error::too_many(Operation::Watch, "sockets to watch", MAX_BASELINE));
        }
        self.books.handle_baseline();
        if !self.pass_fence()? && self.shared.lost_events() == 0 {
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

    /// Waits, receives and acts until a command comes. A command may also come in the middle of an
    /// action, which receives events too; so it is checked before every wait.
    fn keep_watch(&mut self, opened_at: Duration) -> Result<Command, Error> {
        loop {
            if let Some(command) = self.command.take() {
                return Ok(command);
            }
            let next = self.schedule.next_due(self.unfinished());
            self.receive(next, next.is_none())?;
            if self.command.is_some() {
                continue;
            }
            let now = self.shared.now();
            if let Some(due) = self.schedule.take_due(now, self.unfinished()) {
                self.act(due, now)?;
                self.publish(opened_at);
            }
        }
    }

    fn unfinished(&self) -> Unfinished {
        match self.books.unlooked_since() {
            Some(since) => Unfinished::TimeWaits { since },
            None if self.books.is_waiting() => Unfinished::Pairing,
            None => Unfinished::Nothing,
        }
    }

    fn act(&mut self, due: Due, now: Duration) -> Result<(), Error> {
        let done = match due {
            Due::Settle => {
                self.books.settle(now);
                true
            }
            Due::Counters => self.skip_dump(now),
            Due::Lookups { at_most } => self.look_up(at_most)?,
            Due::Dump => false,
        };
        if done { Ok(()) } else { self.dump_and_find_owners() }
    }

    /// Lets time pass in place of a dump, if the counters allow that. Returns false if they do not.
    fn skip_dump(&mut self, now: Duration) -> bool {
        let skips = self.schedule.handle_counters(now, Counters::read_connections());
        if skips {
            self.books.pass_time(now);
            self.books.settle(now);
        }
        skips
    }

    /// Looks up single sockets. Returns false if there has to be a dump: a lookup cannot decide,
    /// there would be too many, or this system refuses them.
    fn look_up(&mut self, at_most: usize) -> Result<bool, Error> {
        if !self.books.begin_asking(at_most, &mut self.lookups) {
            return Ok(false);
        }
        let Tracking { dumper, books, lookups, shared, .. } = self;
        let before = thread_cpu();
        if dumper.look_up(lookups, |row| books.handle_answer(&row, shared.now())).is_err() {
            // After any error a dump takes the place of lookups; if it fails too, it reports why.
            self.schedule.handle_lookups_refused();
            self.dumper = Dumper::open()?;
            return Ok(false);
        }
        if !self.lookups.is_empty() {
            let cost = thread_cpu().saturating_sub(before);
            self.schedule.handle_lookups(self.lookups.len(), cost);
            self.await_delivery()?;
        }
        let refused = self.refused.handle_round(Counters::read_time_wait_overflow());
        self.books.end_asking(self.shared.now(), refused);
        Ok(true)
    }

    /// Dumps, waits for the events of what died during the dump, and searches for the owners of the
    /// sockets that it showed.
    fn dump_and_find_owners(&mut self) -> Result<(), Error> {
        // Counters first: a socket that changes during the dump is dumped again.
        let counters = Counters::read_connections();
        let cost = self.begin_dump(false, counters)?;
        self.await_delivery()?;
        self.end_dump(cost);
        if self.books.find_owners() {
            // An owner that was found shows from the next dump on, on a quiet host too.
            self.schedule.require_dump();
        }
        Ok(())
    }

    /// Makes one dump without a search for owners: the next periodic dump is made even if the
    /// counters show no change, and that search follows it.
    fn dump(&mut self, with_info: bool) -> Result<(), Error> {
        let cost = self.begin_dump(with_info, None)?;
        self.end_dump(cost);
        Ok(())
    }

    /// Passes the rows of a dump to the books. Returns the processor time that it took.
    fn begin_dump(
        &mut self,
        with_info: bool,
        counters: Option<Counters>,
    ) -> Result<Duration, Error> {
        let with_info = with_info || self.books.wants_info(self.shared.now());
        self.schedule.handle_dump_start(counters);
        let Tracking { dumper, books, filter, shared, .. } = self;
        let before = thread_cpu();
        books.begin_look();
        let filter = Filter { with_info, ..*filter };
        dumper.each(&filter, |row| books.handle_row(&row, shared.now()))?;
        Ok(thread_cpu().saturating_sub(before))
    }

    fn end_dump(&mut self, cost: Duration) {
        let refused = self.refused.handle_round(Counters::read_time_wait_overflow());
        let now = self.shared.now();
        self.schedule.handle_dump_end(now, cost);
        self.books.end_look(now, refused);
    }

    /// Waits until the events of all deaths until now have been delivered. They help to decide
    /// which of two connections of the same address pair a TIME_WAIT belongs to.
    fn await_delivery(&mut self) -> Result<(), Error> {
        self.pause(MAX_DELAY)
    }

    /// Waits until every event of a death before now has been handled. Returns false if that could
    /// not be shown.
    fn pass_fence(&mut self) -> Result<bool, Error> {
        self.fences = fence();
        let shown = !self.fences.is_empty();
        let deadline = self.shared.now() + FENCE_WAIT;
        while !self.fences.is_empty() && self.shared.now() < deadline {
            self.receive(Some(deadline), true)?;
        }
        Ok(shown && self.fences.is_empty())
    }

    /// Ends the window with a last dump, and reports it.
    fn close(mut self, opened_at: Duration, settle: Duration) -> Result<B::Account, Error> {
        let rested = self.dump_at_rest(settle)?;
        let closed_at = self.schedule.last_dump();
        self.books.close_window();
        let complete = self.pass_fence()?;
        if self.books.unlooked_since().is_some() {
            self.dump(false)?;
        }
        let window = Window {
            now: self.shared.now(),
            length: closed_at.saturating_sub(opened_at),
            settled: rested && complete,
            time_waits_refused: self.refused.since_start(),
        };
        Ok(self.books.finish(&window))
    }

    /// Dumps until a dump shows rest, or `settle` is over. Returns true if there was rest.
    fn dump_at_rest(&mut self, settle: Duration) -> Result<bool, Error> {
        let asked_at = self.shared.now();
        let deadline = asked_at.saturating_add(settle);
        loop {
            self.pause(QUIET.min(deadline.saturating_sub(self.shared.now())))?;
            let busy_at = self.schedule.last_event().max(asked_at);
            let quiet = self.shared.now().saturating_sub(busy_at) >= QUIET;
            if quiet || self.shared.now() >= deadline {
                self.dump(true)?;
                if quiet && !self.books.is_transitional() {
                    return Ok(true);
                }
            }
            if self.shared.now() >= deadline {
                return Ok(false);
            }
        }
    }

    /// Handles events for `length`.
    fn pause(&mut self, length: Duration) -> Result<(), Error> {
        let until = self.shared.now() + length;
        while self.shared.now() < until {
            self.receive(Some(until), false)?;
        }
        Ok(())
    }

    /// Sleeps until `due` or a command, if `eager` also until an event; handles events.
    fn receive(&mut self, due: Option<Duration>, eager: bool) -> Result<(), Error> {
        let command = self.shared.receive(due, eager, &mut self.events)?;
        self.command = command.or(self.command);
        for (at, event) in self.events.drain(..) {
            if let Some(place) = self.fences.iter().position(|cookie| *cookie == event.cookie) {
                self.fences.swap_remove(place);
            } else if self.books.handle_event(event, at) {
                self.schedule.handle_event(at);
            }
        }
        Ok(())
    }

    fn publish(&mut self, opened_at: Duration) {
        let now = self.shared.now();
        let report = self.books.account(&Window {
            now,
            length: now.saturating_sub(opened_at),
            settled: false,
            time_waits_refused: self.refused.since_start(),
        });
        self.shared.publish(report);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::thread;

    use super::*;
    use crate::kernel::sys::Waker;
    use crate::ledger::Ledger;
    use crate::report::port::PortReport;

    /// The command comes between an action and the next wait: the gap is one dump long in reality.
    #[test]
    fn command_during_an_action_is_kept() {
        let waker = Waker::new().expect("an eventfd");
        let shared = Arc::new(Shared::new(PortReport::default(), waker));
        let dumper = Dumper::open().expect("a netlink socket");
        let filter = Filter { either_port: Some(1), ..Filter::default() };
        let mut tracking = Tracking::new(Arc::clone(&shared), dumper, filter, Ledger::new(1));
        shared.order(Command::Finish { settle: Duration::ZERO });
        tracking.act(Due::Dump, shared.now()).expect("a dump");
        tracking.receive(Some(Duration::ZERO), false).expect("no events");
        let (done, returned) = mpsc::channel();
        thread::spawn(move || done.send(tracking.keep_watch(Duration::ZERO).is_ok()));
        assert_eq!(returned.recv_timeout(Duration::from_secs(30)), Ok(true));
    }
}
