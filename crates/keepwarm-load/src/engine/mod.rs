//! One thread's event loop. Owns its epoll, its connections and its tally; shares nothing on the
//! hot path but a stop flag that is read once a batch. Which request starts when is the pacer's
//! decision, where a response ends is the framing's.
//!
//! Sockets are registered once, edge-triggered, for everything. A response that is complete is
//! followed by the next request in the same call: one recv, one send, and a share of one
//! epoll_wait are all the system calls of a request.

mod dial;
mod ending;
mod exchange;
mod nap;
mod release;
mod seconds;
mod secure;
mod slot;
mod tally;

pub(crate) use tally::Tally;

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::pacer::{Pacer, SplitMix};
use crate::plan::Plan;
use crate::run::Shared;
use exchange::End;
use nap::Nap;
use release::dial_gap;
use seconds::Seconds;
use slot::{Slot, State};
use tally::micros;

/// Bytes read by one recv(2), and the size of the one read buffer of a thread: bodies are counted
/// and dropped, so that no connection needs a buffer of its own.
const READ_BUFFER: usize = 64 * 1024;

/// Reads, or writes, of one connection before the others get their turn.
const CALLS_PER_TURN: usize = 16;

/// Events taken from the kernel at once.
const EVENTS_PER_BATCH: usize = 512;

/// Slots that may start to dial between two looks at the events: a burst of thousands would
/// otherwise count its own length as connect time.
const STARTS_PER_TURN: usize = 64;

/// The longest sleep: the delay with which a stop from outside is seen.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// Timers are looked at together, at most this often.
const TIMER_STEP: Duration = Duration::from_millis(1);

fn buffer(wanted: bool) -> Box<[u8]> {
    vec![0; if wanted { READ_BUFFER } else { 0 }].into_boxed_slice()
}

pub(crate) struct Engine {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    /// Which of the shared progress cells is this thread's.
    thread: usize,
    pacer: Pacer,
    started: Instant,
    epoll: OwnedFd,
    slots: Vec<Slot>,
    /// Vacant slots whose turn comes, first come first served.
    ready: VecDeque<usize>,
    /// Open connections without a request, the one idle for longest first; only in an open loop,
    /// and some of them may have ended meanwhile.
    idle: VecDeque<usize>,
    /// Instants that have come, of requests that no connection was free for; only in an open loop.
    backlog: VecDeque<Duration>,
    /// The most instants that wait.
    backlog_limit: usize,
    /// Slots whose turn ended before their socket was empty, or full; no edge will announce it.
    again: Vec<usize>,
    /// No timer is due before.
    next_sweep: Instant,
    /// Index of the endpoint that answered last: the first one to try.
    preferred_endpoint: usize,
    /// Before it no slot dials; only with a limit on the rate of dials.
    next_dial: Instant,
    /// Between two dials.
    dial_gap: Duration,
    /// Dials from one of the plan's sources so far.
    sourced: usize,
    random: SplitMix,
    /// When a request was begun last.
    last_begun: Instant,
    /// Requests from the pacer that have no outcome yet.
    in_flight: usize,
    /// Requests that this thread has begun to write, or tried to.
    begun: u64,
    /// Slots that wait for their peer to close.
    waiting: usize,
    /// Connections established and not closed.
    open: usize,
    buffer: Box<[u8]>,
    /// With TLS: another one, for reading while the first is being looked at.
    spare: Option<Box<[u8]>>,
    /// With TLS: what has been decrypted.
    plain: Box<[u8]>,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    nap: Nap,
    tally: Tally,
    seconds: Seconds,
}

impl Engine {
    /// Prepares `connections` slots. Fails only if the process has no descriptor left.
    pub(crate) fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        thread: usize,
        pacer: Pacer,
        connections: usize,
        started: Instant,
    ) -> std::io::Result<Self> {
        let slots = (0..connections).map(|_| Slot::new(started));
        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            slots: slots.collect(),
            ready: (0..connections).collect(),
            idle: VecDeque::new(),
            backlog: VecDeque::new(),
            backlog_limit: plan.backlog().div_ceil(plan.threads()),
            again: Vec::with_capacity(connections),
            next_sweep: started + plan.timeout(),
            preferred_endpoint: 0,
            next_dial: started,
            dial_gap: dial_gap(&plan),
            // Threads begin with different sources.
            sourced: thread,
            random: SplitMix::new(RandomState::new().build_hasher().finish(), thread as u64),
            last_begun: started,
            in_flight: 0,
            begun: 0,
            waiting: 0,
            open: 0,
            buffer: buffer(true),
            spare: Some(buffer(plan.tls().is_some())),
            plain: buffer(plan.tls().is_some()),
            tls: plan.tls().map(|tls| (tls.of_thread(), tls.name.clone())),
            nap: Nap::new(),
            tally: Tally::new(),
            seconds: Seconds::new(started),
            plan,
            shared,
            thread,
            pacer,
            started,
        })
    }

    /// Runs until the pacer stops and nothing is in flight, or until the run is stopped.
    pub(crate) fn run(mut self) -> Tally {
        let mut events = Vec::with_capacity(EVENTS_PER_BATCH);
        let mut again = Vec::with_capacity(self.slots.len());
        release::wake_in_time();
        let mut now = Instant::now();
        while self.goes_on(now) {
            self.release(now);
            self.rest(events.len(), now);
            let timeout = self.sleep(now);
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timeout)) {
                Ok(_) | Err(Errno::INTR) => {}
                // Only a wrong descriptor or address can fail here, and both are this loop's own.
                Err(errno) => unreachable!("epoll_wait on an epoll of this thread: {errno}"),
            }
            let woke = Instant::now();
            self.tick(woke);
            for event in &events {
                let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                self.on_event(index, event.flags);
            }
            std::mem::swap(&mut again, &mut self.again);
            for index in again.drain(..) {
                // A timer may have closed the connection meanwhile, and another one be dialed.
                if self.slots[index].state != State::Dialing {
                    self.on_event(index, epoll::EventFlags::IN | epoll::EventFlags::OUT);
                }
            }
            now = Instant::now();
            if !events.is_empty() {
                self.tally.count_turn(events.len(), micros(now - woke));
            }
            if now >= self.next_sweep {
                self.sweep(now);
            }
            self.publish();
        }
        self.end()
    }

    /// Lets responses gather, in a closed loop that has done all it can.
    fn rest(&self, events: usize, now: Instant) {
        if self.is_open_loop() || !self.again.is_empty() || self.can_release(now) {
            return;
        }
        if let Some(nap) = self.nap.after(events, self.in_flight) {
            std::thread::sleep(nap);
        }
    }

    /// How long to wait for events: until the next timer or limit, and never longer than a stop
    /// from outside may take to be seen.
    fn sleep(&self, now: Instant) -> Timespec {
        if !self.again.is_empty() || self.can_release(now) {
            return Timespec { tv_sec: 0, tv_nsec: 0 };
        }
        let elapsed = now - self.started;
        let due = match &self.pacer {
            Pacer::Closed(_) => None,
            Pacer::Open(schedule) => schedule.next_due(),
        };
        // A limit that has passed is looked at by `goes_on`; an instant that has come is not
        // slept over.
        let to_limit = self.limits().filter_map(|limit| limit.checked_sub(elapsed));
        let to_due = due.map(|due| due.saturating_sub(elapsed));
        let to_dial = self.wants_to_dial().then(|| self.next_dial.saturating_duration_since(now));
        let to_timer = self.next_sweep.saturating_duration_since(now);
        let sleep = to_limit.chain(to_due).chain(to_dial).min().unwrap_or(LONGEST_SLEEP);
        let sleep = sleep.min(to_timer).min(LONGEST_SLEEP);
        Timespec { tv_sec: 0, tv_nsec: sleep.subsec_nanos().into() }
    }

    fn on_event(&mut self, index: usize, flags: epoll::EventFlags) {
        let hangup = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        let slot = &mut self.slots[index];
        slot.hangup |= flags.intersects(hangup);
        let readable = slot.hangup || flags.contains(epoll::EventFlags::IN);
        match slot.state {
            State::Vacant | State::BackingOff => {}
            State::Dialing => self.on_dialed(index, flags.intersects(hangup), readable),
            State::Handshaking | State::Exchanging => {
                let may_write =
                    slot.write_error.is_none() && flags.contains(epoll::EventFlags::OUT);
                if may_write && self.is_writing(index) {
                    self.write(index);
                }
                if readable {
                    self.read(index);
                }
            }
            State::Open | State::Leaving { .. } if readable => self.read(index),
            State::Open | State::Leaving { .. } => {}
        }
    }

    /// Sets the timer of a slot, instead of the one it had.
    #[inline]
    fn arm(&mut self, index: usize, at: Instant) {
        self.slots[index].wake_at = Some(at);
        self.next_sweep = self.next_sweep.min(at);
    }

    /// Ends every timer that is due, and finds the next one.
    ///
    /// A request sets a timer but hardly ever meets it. One pass over all slots when the earliest
    /// may be due is cheaper than keeping them in order at every request.
    fn sweep(&mut self, now: Instant) {
        // Every timer set from here on is found by `arm`.
        self.next_sweep = now + self.plan.timeout();
        for index in 0..self.slots.len() {
            match self.slots[index].wake_at {
                Some(at) if at <= now => self.on_timer(index, now),
                Some(at) => self.next_sweep = self.next_sweep.min(at),
                None => {}
            }
        }
        self.next_sweep = self.next_sweep.max(now + TIMER_STEP);
    }

    fn on_timer(&mut self, index: usize, now: Instant) {
        self.slots[index].wake_at = None;
        match self.slots[index].state {
            State::BackingOff => {
                self.slots[index].state = State::Vacant;
                self.ready.push_back(index);
            }
            State::Dialing => self.dial_timed_out(index, now),
            State::Handshaking => self.handshake_ended(index, End::TimedOut, None),
            State::Exchanging => self.exchange_timed_out(index, now),
            State::Leaving { .. } => self.stop_waiting(index),
            State::Vacant | State::Open => {}
        }
    }
}
