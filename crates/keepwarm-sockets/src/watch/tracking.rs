//! The tracking thread of a watch: waits, receives events, and acts when the schedule says so.
//!
//! Owns the order of a watch (baseline, window, last dump) and the calls that read the kernel. When
//! to act is decided in `schedule`; all judgement of sockets is the tracker's.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::error::{Error, Operation};
use crate::kernel::burst::Burst;
use crate::kernel::counters::{CounterFiles, Counters};
use crate::kernel::destroy_events::{MAX_DELAY, MAX_DELAY_OF_MANY};
use crate::kernel::dump::{Dumper, Filter};
use crate::kernel::socket::Socket;
use crate::kernel::sys::{fence, thread_cpu};
use crate::kernel::wire::diag::SocketLookup;
use crate::report::host::{HostReport, Scope};
use crate::report::namespace::NetworkNamespace;
use crate::tracker::Tracker;
use crate::tracker::death_time::DeathTime;
use crate::tracker::window::Window;
use crate::watch::fences::Fences;
use crate::watch::following::Following;
use crate::watch::owners::Owners;
use crate::watch::refused_time_waits::RefusedTimeWaits;
use crate::watch::schedule::{Due, Schedule, Unfinished, Wake};
use crate::watch::threads::{Command, Shared};
use crate::watch::{filter, new_tracker};

/// Live sockets when the watch starts.
const MAX_BASELINE: usize = 1 << 20;
/// No event for this long is rest.
const QUIET: Duration = Duration::from_millis(50);
/// Waits for an event that was caused on purpose, before the system is taken to have none: five
/// seconds. Waits are counted, not seconds, for a thread that gets no processor time is late with
/// each of them, and so is the reader of events.
const FENCE_WAITS: u32 = 50;
/// One of these waits.
const FENCE_WAIT: Duration = Duration::from_millis(100);
/// The most time that they take, on a machine that is late with each.
const FENCE_AT_MOST: Duration = Duration::from_secs(20);
/// The least time that the end of a watch has for it, for a watch has to end; more if the caller gives more
/// for rest. Where that is not enough the window is not settled, and sockets whose events have not come are
/// in no count.
const LAST_FENCE: Duration = Duration::from_secs(3);
/// From this lateness on, the watch was short of processor time.
const STARVED: Duration = Duration::from_millis(500);

/// Outcome of a wait for the events of all deaths until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fence {
    Passed,
    /// Some have not come in time.
    Overdue,
    /// No socket could be closed on purpose.
    Unknown,
}

/// State of the tracking thread.
///
/// The tracker is called in this order: dumps until [`handle_baseline`](Tracker::handle_baseline),
/// [`open_window`](Tracker::open_window), dumps and events, [`close_window`](Tracker::close_window)
/// after the dump that ends the window, more events and at most one dump,
/// [`finish`](Tracker::finish).
pub(super) struct Tracking {
    shared: Arc<Shared>,
    dumper: Dumper,
    tracker: Tracker,
    owners: Owners,
    filter: Filter,
    schedule: Schedule,
    counters: CounterFiles,
    refused: RefusedTimeWaits,
    /// TIME_WAITs entered and sockets opened, as counted when the window began.
    counted_at_start: Counted,
    /// Sockets that were closed on purpose.
    fences: Fences,
    command: Option<Command>,
    /// Events being handled; empty between batches.
    events: Vec<(DeathTime, Socket)>,
    burst: Burst,
    /// Longest time by which this thread woke up later than it meant to.
    late: Duration,
    lookups: Vec<SocketLookup>,
    following: Following,
    /// Watches that share the machine's time with this one, itself included.
    watches: Arc<AtomicU32>,
    /// The network namespace, where several are watched.
    namespace: Option<Arc<NetworkNamespace>>,
}

/// Counters that show whether a TIME_WAIT is missing: those entered and aborts on data together.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    time_waits: Option<u64>,
    opened: Option<u64>,
}

impl Counted {
    fn read(files: &mut CounterFiles, extended: &Counters) -> Counted {
        let opens = files.read_connections().unwrap_or_default();
        let opened = opens.active_opens.zip(opens.passive_opens).map(|(a, b)| a + b);
        let time_waits = extended.time_waits.zip(extended.abort_on_data).map(|(a, b)| a + b);
        Counted { time_waits, opened }
    }
}

impl Tracking {
    pub(super) fn new(
        scope: Scope,
        shared: Arc<Shared>,
        dumper: Dumper,
        owners: Owners,
    ) -> Tracking {
        let mut counters = CounterFiles::open();
        let overflow = counters.read_extended().time_wait_overflow;
        Tracking {
            shared,
            dumper,
            tracker: new_tracker(scope, owners.is_tracing()),
            owners,
            filter: filter(&scope),
            schedule: Schedule::default(),
            counters,
            refused: RefusedTimeWaits::new(overflow),
            counted_at_start: Counted::default(),
            fences: Fences::default(),
            command: None,
            events: Vec::new(),
            burst: Burst::default(),
            late: Duration::ZERO,
            lookups: Vec::new(),
            following: Following::default(),
            watches: Arc::new(AtomicU32::new(1)),
            namespace: None,
        }
    }

    /// Makes this watch one of `watches`, each of a network namespace, with numbers of their own for
    /// `room` destinations at most.
    pub(super) fn beside(
        mut self,
        watches: Arc<AtomicU32>,
        namespace: Arc<NetworkNamespace>,
        room: Option<usize>,
    ) -> Tracking {
        self.watches = watches;
        self.namespace = Some(namespace);
        if let Some(room) = room {
            self.tracker.limit_destinations(room);
        }
        self
    }

    /// Takes the baseline, opens the window and signals `ready`; returns the report at its end.
    pub(super) fn run(mut self, ready: &mpsc::SyncSender<()>) -> Result<HostReport, Error> {
        self.dump(true)?;
        if self.tracker.alive_sockets() > MAX_BASELINE {
            return Err(Error::too_many(Operation::Watch, "sockets to watch", MAX_BASELINE));
        }
        self.tracker.handle_baseline();
        if self.pass_fence(FENCE_WAITS, FENCE_AT_MOST)? != Fence::Passed
            && self.shared.lost_events() == 0
        {
            let why = if self.late >= STARVED {
                "no destroy event came in time: this machine is too busy for a watch"
            } else {
                "no destroy event came for a socket closed on purpose"
            };
            return Err(Error::unsupported(Operation::Subscribe, why));
        }
        let extended = self.counters.read_extended();
        self.counted_at_start = Counted::read(&mut self.counters, &extended);
        let opened_at = self.shared.now();
        self.tracker.open_window(opened_at);
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
            self.schedule.handle_watches(self.watches.load(Ordering::Relaxed));
            let wait = self.schedule.wait(self.shared.now(), self.unfinished());
            let follow_at = self.following.next_due(self.shared.now()).unwrap_or(Duration::MAX);
            let has_news = self.receive(wait.until.min(follow_at), wait.wake)?;
            if self.command.is_some() {
                continue;
            }
            let now = self.shared.now();
            if let Some(due) = self.schedule.take_due(now, self.unfinished()) {
                self.act(due, now)?;
            } else if now >= follow_at {
                self.follow()?;
                continue;
            } else if !(has_news && self.schedule.is_of_many()) {
                // A watch of one namespace acts often enough.
                continue;
            }
            self.publish(opened_at);
        }
    }

    fn unfinished(&self) -> Unfinished {
        match self.tracker.unsearched_since() {
            Some(since) => {
                Unfinished::TimeWaits { since, is_patient: self.tracker.may_search_later() }
            }
            None if self.tracker.is_waiting() => Unfinished::Pairing,
            None => Unfinished::Nothing,
        }
    }

    fn act(&mut self, due: Due, now: Duration) -> Result<(), Error> {
        let done = match due {
            Due::Settle => {
                self.settle(now);
                true
            }
            Due::Counters => self.skip_dump(now),
            Due::Lookups { at_most } => self.look_up(at_most)?,
            Due::Dump => false,
        };
        if !done {
            self.dump_and_find_owners()?;
        }
        self.schedule.handle_round_end(self.tracker.waiting());
        Ok(())
    }

    /// Lets time pass in place of a dump, if the counters allow that. Returns false if they do not.
    fn skip_dump(&mut self, now: Duration) -> bool {
        let skips = self.schedule.handle_counters(now, self.counters.read_connections());
        if skips {
            if self.schedule.last_skip() == now {
                self.tracker.confirm_levels(now);
            }
            self.tracker.pass_time(now);
            self.settle(now);
        }
        skips
    }

    /// Concludes what can be concluded now.
    fn settle(&mut self, now: Duration) {
        self.owners.read_traces(&mut self.tracker);
        self.tracker.settle(now, false);
    }

    /// Looks up single sockets. Returns false if there has to be a dump: a lookup cannot decide,
    /// there would be too many, or this system refuses them.
    fn look_up(&mut self, at_most: usize) -> Result<bool, Error> {
        if !self.tracker.begin_lookups(at_most, &mut self.lookups) {
            return Ok(false);
        }
        let Tracking { dumper, tracker, lookups, shared, .. } = self;
        let before = thread_cpu();
        if dumper.look_up(lookups, |row| tracker.handle_found(row, shared.now())).is_err() {
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
        let extended = self.counters.read_extended();
        let refused = self.refused.handle_round(extended.time_wait_overflow);
        self.owners.read_traces(&mut self.tracker);
        self.tracker.end_lookups(self.shared.now(), refused);
        self.count_doubted(&extended);
        Ok(true)
    }

    /// Dumps, searches for the owners of the sockets that the dump showed, and waits for the events of
    /// what died during the dump. The search comes first: short connections die while it waits.
    fn dump_and_find_owners(&mut self) -> Result<(), Error> {
        // Counters first: a socket that changes during the dump is dumped again.
        let counters = self.counters.read_connections();
        let may_follow = !self.schedule.is_of_many() && self.schedule.looks_up();
        let now = self.shared.now();
        self.tracker.expect_newborns(may_follow && self.following.may_meet(now));
        if self.tracker.take_wanted() && may_follow {
            self.following.search(now);
        }
        let cost = self.begin_dump(false, counters)?;
        let Tracking { following, dumper, tracker, shared, .. } = self;
        let met = following.meet(dumper, tracker, shared);
        self.check_lookups(met)?;
        let is_found = self.owners.find(&mut self.tracker);
        self.follow_until(self.shared.now() + self.delivery())?;
        let extended = self.end_dump(cost);
        self.count_doubted(&extended);
        if is_found {
            // An owner that was found shows from the next dump on, on a quiet host too.
            self.schedule.require_dump();
        }
        Ok(())
    }

    /// Makes one dump without a search for owners: the next periodic dump is made even if the
    /// counters show no change, and that search follows it.
    fn dump(&mut self, with_info: bool) -> Result<(), Error> {
        let cost = self.begin_dump(with_info, None)?;
        let extended = self.end_dump(cost);
        self.count_time_waits(&extended);
        Ok(())
    }

    /// Passes the rows of a dump to the tracker. Returns the processor time that it took.
    fn begin_dump(
        &mut self,
        with_info: bool,
        counters: Option<Counters>,
    ) -> Result<Duration, Error> {
        let info_age = self.tracker.since_info(self.shared.now());
        let with_info = with_info || Schedule::wants_info(info_age, self.tracker.alive_sockets());
        self.schedule.handle_dump_start(counters);
        let Tracking { dumper, tracker, filter, shared, .. } = self;
        let before = thread_cpu();
        tracker.begin_dump();
        let filter = Filter { with_info, ..*filter };
        dumper.each(&filter, |row| tracker.handle_row(row, shared.now()))?;
        Ok(thread_cpu().saturating_sub(before))
    }

    /// Ends a dump. Returns the counters of /proc/net/netstat at its end.
    fn end_dump(&mut self, cost: Duration) -> Counters {
        let extended = self.counters.read_extended();
        let refused = self.refused.handle_round(extended.time_wait_overflow);
        let now = self.shared.now();
        self.schedule.handle_dump_end(now, cost);
        self.owners.read_traces(&mut self.tracker);
        self.tracker.end_dump(now, refused);
        extended
    }

    /// Passes the kernel's counts at the end of a search to the tracker, if some close rests on a
    /// missing TIME_WAIT: no other result of the window so far depends on them.
    fn count_doubted(&mut self, extended: &Counters) {
        if self.tracker.has_doubtful_closes() {
            self.count_time_waits(extended);
        }
    }

    /// Passes the kernel's counts at the end of a search to the tracker.
    fn count_time_waits(&mut self, extended: &Counters) {
        let Counted { time_waits, opened } = Counted::read(&mut self.counters, extended);
        let since = |now: Option<u64>, then: Option<u64>| {
            now.zip(then).map(|(now, then)| now.saturating_sub(then))
        };
        let start = self.counted_at_start;
        self.tracker
            .handle_counters(since(time_waits, start.time_waits), since(opened, start.opened));
    }

    /// Waits until the events of all deaths until now have been delivered. They help to decide
    /// which of two connections of the same address pair a TIME_WAIT belongs to.
    fn await_delivery(&mut self) -> Result<(), Error> {
        self.pause(self.delivery())
    }

    fn delivery(&self) -> Duration {
        if self.schedule.is_of_many() { MAX_DELAY_OF_MANY } else { MAX_DELAY }
    }

    /// Handles events until then, and follows young connections.
    fn follow_until(&mut self, until: Duration) -> Result<(), Error> {
        while self.shared.now() < until && self.command.is_none() {
            let follow_at = self.following.next_due(self.shared.now()).unwrap_or(Duration::MAX);
            self.pause(follow_at.min(until).saturating_sub(self.shared.now()))?;
            if follow_at < until {
                self.follow()?;
            }
        }
        self.pause(until.saturating_sub(self.shared.now()))
    }

    fn follow(&mut self) -> Result<(), Error> {
        let Tracking { following, dumper, filter, tracker, shared, .. } = self;
        let done = following.step(dumper, filter, tracker, shared);
        self.check_lookups(done)
    }

    /// After an error no connection is followed any more, and a dump reports why if it fails too.
    fn check_lookups(&mut self, done: Result<(), Error>) -> Result<(), Error> {
        if done.is_err() {
            self.following.end();
            self.schedule.handle_lookups_refused();
            self.dumper = Dumper::open()?;
        }
        Ok(())
    }

    /// Waits until every event of a death before now has been handled.
    fn pass_fence(&mut self, waits: u32, at_most: Duration) -> Result<Fence, Error> {
        let cookies = fence();
        let shown = !cookies.is_empty();
        self.fences.put(cookies);
        let deadline = self.shared.now() + at_most;
        let mut is_first = true;
        for _ in 0..waits {
            let until = self.shared.now() + FENCE_WAIT;
            while !self.fences.have_passed() && self.shared.now() < until && self.command.is_none()
            {
                self.receive(until, Wake::Any)?;
            }
            if self.fences.have_passed() || self.command.is_some() {
                break;
            }
            // They may be among the events that were lost. A thread that is late tries that once all the same.
            let may_be_lost = self.shared.lost_events() > 0;
            if self.shared.now() >= deadline && !(may_be_lost && is_first) {
                break;
            }
            if may_be_lost {
                self.fences.put(fence());
            }
            is_first = false;
        }
        let has_passed = self.fences.have_passed();
        self.shared.forgive(self.fences.end());
        Ok(match (shown, has_passed) {
            (false, _) => Fence::Unknown,
            (true, true) => Fence::Passed,
            (true, false) => Fence::Overdue,
        })
    }

    /// Ends the window with a last dump, and reports it.
    fn close(mut self, opened_at: Duration, settle: Duration) -> Result<HostReport, Error> {
        let rested = self.dump_at_rest(settle)?;
        let closed_at = self.schedule.last_dump();
        self.owners.find(&mut self.tracker);
        self.tracker.close_window();
        let fence = self.pass_fence(FENCE_WAITS, settle.max(LAST_FENCE))?;
        if self.tracker.unsearched_since().is_some() {
            self.dump(false)?;
        }
        let window = Window {
            now: self.shared.now(),
            length: closed_at.saturating_sub(opened_at),
            settled: rested && fence == Fence::Passed,
            time_waits_refused: self.refused.since_start(),
            lost_events: self.shared.lost_events(),
        };
        self.owners.read_traces(&mut self.tracker);
        let (tracing, late) = (self.owners.tracing(), self.late);
        let levels_at = self.shared.instant(self.tracker.levels_at());
        let mut report = self.tracker.finish(&window);
        complete(&mut report, self.namespace.as_ref(), levels_at);
        Ok(HostReport { tracing, late, events_overdue: fence == Fence::Overdue, ..report })
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
                if quiet && !self.tracker.is_transitional() {
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
            self.receive(until, Wake::Many)?;
        }
        Ok(())
    }

    /// Sleeps until `due`, a command, or the events that `wake` names; handles events. Returns whether there were
    /// any.
    fn receive(&mut self, due: Duration, wake: Wake) -> Result<bool, Error> {
        let begun = self.shared.now();
        let command = self.shared.receive(due, wake, &mut self.events)?;
        let now = self.shared.now();
        self.late = self.late.max(now.saturating_sub(due.max(begun)));
        self.tracker.handle_lost(self.shared.lost_events(), now);
        self.command = command.or(self.command);
        let count = self.events.len();
        for (died, event) in self.events.drain(..) {
            if !self.fences.handle(event.cookie) && self.tracker.handle_event(event, died) {
                self.schedule.handle_event(died.read_at);
            }
        }
        if count > 0 {
            self.schedule.handle_read(self.shared.now(), self.tracker.waiting());
        }
        self.burst.shrink_buffer(count, &mut self.events);
        Ok(count > 0)
    }

    fn publish(&mut self, opened_at: Duration) {
        let now = self.shared.now();
        let mut report = self.tracker.report(&Window {
            now,
            length: now.saturating_sub(opened_at),
            settled: false,
            time_waits_refused: self.refused.since_start(),
            lost_events: self.shared.lost_events(),
        });
        let levels_at = self.shared.instant(self.tracker.levels_at());
        complete(&mut report, self.namespace.as_ref(), levels_at);
        let (tracing, late) = (self.owners.tracing(), self.late);
        self.shared.publish(HostReport { tracing, late, ..report });
    }
}

/// Adds to each destination when its levels were read and, where several are watched, its network
/// namespace.
fn complete(
    report: &mut HostReport,
    namespace: Option<&Arc<NetworkNamespace>>,
    levels_at: Instant,
) {
    for one in &mut report.destinations {
        (one.namespace, one.levels_at) = (namespace.cloned(), Some(levels_at));
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn events_that_do_not_come_are_overdue() {
        // No thread receives events for this watch, so its fences never pass.
        let dumper = Dumper::open().expect("a netlink socket");
        let shared = Arc::new(Shared::new());
        let tracking = Tracking::new(Scope::of_port(1), shared, dumper, Owners::new(None));
        let report = tracking.close(Duration::ZERO, Duration::ZERO).expect("a report");
        assert!(report.events_overdue && !report.settled);
    }

    /// The command comes between an action and the next wait: the gap is one dump long in reality.
    #[test]
    fn command_during_an_action_is_kept() {
        let shared = Arc::new(Shared::new());
        let dumper = Dumper::open().expect("a netlink socket");
        let owners = Owners::new(None);
        let mut tracking = Tracking::new(Scope::of_port(1), Arc::clone(&shared), dumper, owners);
        shared.order(Command::Finish { settle: Duration::ZERO });
        tracking.act(Due::Dump, shared.now()).expect("a dump");
        tracking.receive(Duration::ZERO, Wake::Many).expect("no events");
        let (done, returned) = mpsc::channel();
        thread::spawn(move || done.send(tracking.keep_watch(Duration::ZERO).is_ok()));
        assert_eq!(returned.recv_timeout(Duration::from_secs(30)), Ok(true));
    }
}
