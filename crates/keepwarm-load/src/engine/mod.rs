//! The event loop of one thread. Owns its epoll, its connections and its tally. Shares nothing on
//! the hot path but a stop flag that is read once a batch. The pacer decides which request starts
//! when; the framing decides where a response ends.
//!
//! Sockets are registered once, edge-triggered, for all events. A complete response is followed by
//! the next request in the same call: one recv, one send and a share of one epoll_wait are all the
//! system calls of a request.

mod alarm;
mod backends;
mod capture;
mod collector;
mod detail;
mod dial;
mod ending;
mod exchange;
mod http2;
mod nap;
mod release;
mod seconds;
mod secure;
mod shared;
mod slot;

pub(crate) use shared::{Running, Shared};

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keepwarm_http2::Block;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::counts::{CloseCause, Tally, micros};
use crate::pacer::{Pacer, SplitMix};
use crate::plan::Plan;
use alarm::{ALARM, Alarm, HEARTBEAT, Heartbeat};
use capture::Capture;
use dial::Dialing;
use exchange::ConnectionEnd;
use nap::Nap;
use release::Pacing;
use seconds::Seconds;
use slot::{Current, Slot, State};

/// Bytes read by one recv(2), and the size of the one read buffer of a thread. Bodies are counted
/// and dropped, so no connection needs a buffer of its own.
const READ_BUFFER: usize = 64 * 1024;

/// Reads, or writes, of one connection before the other connections are served.
const CALLS_PER_BATCH: usize = 16;

/// Events taken from the kernel at once.
const EVENTS_PER_BATCH: usize = 512;

/// Slots that may start to dial before events are read again. Otherwise a burst of thousands of
/// dials would count its own length as connect time.
const STARTS_PER_BATCH: usize = 64;

/// The longest sleep: the delay with which a stop from outside is seen.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// The shortest time between two sweeps over the timers.
const TIMER_STEP: Duration = Duration::from_millis(1);

/// The event loop of one thread, and all that it owns.
pub(crate) struct Engine {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    /// Index of this thread's progress cell in [`Shared`].
    thread: usize,
    started: Instant,
    epoll: OwnedFd,
    /// Set for instants that a sleep of whole milliseconds would miss: those of an open loop, and
    /// of a limit on the rate of dials.
    alarm: Alarm,
    heartbeat: Heartbeat,
    slots: Vec<Slot>,
    queues: Queues,
    pacing: Pacing,
    dialing: Dialing,
    gauges: Gauges,
    buffers: Buffers,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    /// No timer is due before this instant.
    next_sweep: Instant,
    random: SplitMix,
    /// Complete responses are counted in rows, or judged by expectations.
    keeps_details: bool,
    nap: Nap,
    tally: Tally,
    seconds: Seconds,
    /// The fields of a request of HTTP/2 that is made from a template.
    block: Block,
}

/// Slots that are to be served, by index.
#[derive(Debug)]
struct Queues {
    /// Vacant slots, first come first served.
    ready: VecDeque<usize>,
    /// Slots with an open connection and no request, the one idle for longest first. Used in an
    /// open loop only. Some of the connections may have ended meanwhile.
    idle: VecDeque<usize>,
    /// Requests that a server has given back unprocessed, with the times at which they time out. Only
    /// with HTTP/2.
    given_back: VecDeque<(Current, Instant)>,
    /// Slots that were interrupted before their socket was empty, or full. No edge will announce
    /// the rest.
    again: Vec<usize>,
}

/// Numbers that rise and fall with the state of the slots.
#[derive(Debug, Default, PartialEq, Eq)]
struct Gauges {
    /// Requests from the pacer that have no outcome yet.
    in_flight: usize,
    /// Connections established and not closed.
    open: usize,
    /// Slots that wait for the peer to close.
    waiting: usize,
}

impl Gauges {
    /// Counts the slots anew, to check the numbers that were kept.
    fn of(slots: &[Slot], given_back: usize) -> Self {
        let count = |which: fn(State) -> bool| slots.iter().filter(|s| which(s.state)).count();
        Self {
            in_flight: given_back + slots.iter().map(Slot::in_flight).sum::<usize>(),
            open: count(|state| {
                !matches!(state, State::Vacant | State::BackingOff | State::Dialing)
            }),
            waiting: count(|state| matches!(state, State::Leaving { wait: true, .. })),
        }
    }
}

/// Memory for reading, shared by all connections of the thread.
#[derive(Debug)]
struct Buffers {
    /// Bytes as they come from the socket.
    read: Box<[u8]>,
    /// A second read buffer, used while the first one is processed. Only with TLS.
    spare: Option<Box<[u8]>>,
    /// Decrypted bytes. Only with TLS.
    plain: Box<[u8]>,
    /// Bytes of a body on their way from its file to a socket. A connection whose socket took a
    /// part of them reads the rest again. Only with bodies that are streamed.
    body: Box<[u8]>,
}

impl Buffers {
    fn new(with_tls: bool, with_files: bool) -> Self {
        let buffer = |wanted: bool| -> Box<[u8]> {
            vec![0; if wanted { READ_BUFFER } else { 0 }].into_boxed_slice()
        };
        Self {
            read: buffer(true),
            spare: Some(buffer(with_tls)),
            plain: buffer(with_tls),
            body: buffer(with_files),
        }
    }
}

impl Engine {
    /// Returns the memory that each connection takes, with `streams` streams of HTTP/2.
    pub(crate) fn bytes_per_connection(streams: usize) -> usize {
        let of_streams = streams.saturating_mul(http2::BYTES_PER_STREAM);
        (size_of::<Slot>() + 2 * size_of::<usize>()).saturating_add(of_streams)
    }

    /// Prepares `connections` slots. Fails only if the process has no descriptor left.
    pub(crate) fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        thread: usize,
        pacer: Pacer,
        connections: usize,
        started: Instant,
    ) -> std::io::Result<Self> {
        let slots = (0..connections).map(|_| Slot::new(started, Capture::of(&plan)));
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            alarm: Alarm::new(&epoll)?,
            heartbeat: Heartbeat::new(&epoll)?,
            epoll,
            slots: slots.collect(),
            queues: Queues {
                ready: (0..connections).collect(),
                idle: VecDeque::new(),
                given_back: VecDeque::new(),
                again: Vec::with_capacity(connections),
            },
            pacing: Pacing::new(pacer, &plan, started),
            dialing: Dialing::new(&plan, &shared.backends, thread, started),
            gauges: Gauges::default(),
            buffers: Buffers::new(plan.tls().is_some(), plan.streams_bodies()),
            tls: plan.tls().map(|tls| (tls.of_thread(), tls.name.clone())),
            next_sweep: started + plan.timeout(),
            random: SplitMix::new(RandomState::new().build_hasher().finish(), thread as u64),
            keeps_details: plan.keeps_rows()
                || plan.keeps_addresses()
                || !plan.expectations().is_empty(),
            nap: Nap::new(plan.streams()),
            tally: Tally::new(),
            seconds: Seconds::new(started),
            block: Block::new(),
            plan,
            shared,
            thread,
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
            self.take_timers(&mut events, woke);
            for event in &events {
                let index = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
                self.on_event(index, event.flags);
            }
            std::mem::swap(&mut again, &mut self.queues.again);
            for index in again.drain(..) {
                // A timer may have closed the connection meanwhile, and another one be dialed.
                if self.slots[index].state != State::Dialing {
                    self.on_event(index, epoll::EventFlags::IN | epoll::EventFlags::OUT);
                }
            }
            now = Instant::now();
            if !self.queues.given_back.is_empty() && !self.is_open_loop() {
                self.serve_given_back(now);
            }
            if !events.is_empty() {
                self.tally.count_wakeup(events.len(), micros(now - woke));
            }
            if now >= self.next_sweep {
                self.sweep(now);
            }
            self.publish();
        }
        self.end()
    }

    /// Lets responses gather, in a closed loop that has done all it can.
    fn rest(&mut self, events: usize, now: Instant) {
        let nap = self.nap.after(events, self.gauges.in_flight);
        if self.is_open_loop() || !self.queues.again.is_empty() || self.can_release(now) {
            return;
        }
        if let Some(nap) = nap {
            std::thread::sleep(nap);
        }
    }

    /// Returns how long to wait for events: until the next timer or limit, and never longer than a
    /// stop from outside may take to be seen. Sets the alarm for an instant that comes before.
    fn sleep(&mut self, now: Instant) -> Timespec {
        if !self.queues.again.is_empty() || self.can_release(now) {
            return Timespec { tv_sec: 0, tv_nsec: 0 };
        }
        let elapsed = now - self.started;
        // `goes_on` handles a limit that has passed. An instant that has come allows no sleep.
        let to_limit = self.limits().filter_map(|limit| limit.checked_sub(elapsed));
        let to_timer = self.next_sweep.saturating_duration_since(now);
        let sleep = to_limit.min().unwrap_or(LONGEST_SLEEP).min(to_timer).min(LONGEST_SLEEP);
        let Some(at) = self.next_start(now) else {
            return Timespec { tv_sec: 0, tv_nsec: sleep.subsec_nanos().into() };
        };
        let to_start = at.saturating_duration_since(now);
        if !to_start.is_zero() && to_start <= sleep {
            self.alarm.set(at);
        }
        let sleep = if to_start.is_zero() { to_start } else { sleep };
        Timespec { tv_sec: 0, tv_nsec: sleep.subsec_nanos().into() }
    }

    /// Returns the instant at which the next request of an open loop is due, or the next dial.
    fn next_start(&self, now: Instant) -> Option<Instant> {
        let due = match &self.pacing.pacer {
            Pacer::Closed(_) => None,
            Pacer::Open(schedule) => schedule.next_due().map(|due| self.started + due),
        };
        let dial = self.wants_to_dial().then(|| now + self.dialing.wait(now));
        [due, dial].into_iter().flatten().min()
    }

    /// Removes the events of the timers, which only end a sleep.
    fn take_timers(&mut self, events: &mut Vec<epoll::Event>, now: Instant) {
        events.retain(|event| match event.data.u64() {
            ALARM => false,
            HEARTBEAT => {
                self.heartbeat.restart();
                false
            }
            _ => true,
        });
        let lateness = &mut self.tally.lateness;
        self.heartbeat.notice(now, |delay| lateness.record(micros(delay)));
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

    /// Sets the timer of a slot, and replaces the timer it had.
    #[inline]
    fn arm(&mut self, index: usize, at: Instant) {
        self.slots[index].wake_at = Some(at);
        self.next_sweep = self.next_sweep.min(at);
    }

    /// Ends every timer that is due, and finds the next one.
    ///
    /// A request sets a timer, and the timer hardly ever fires. One pass over all slots when the
    /// earliest timer may be due is cheaper than keeping them in order at every request.
    fn sweep(&mut self, now: Instant) {
        // At the latest when a request that begins now times out; `arm` moves it forward for a timer that
        // is due earlier.
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
                self.queues.ready.push_back(index);
            }
            State::Dialing => self.dial_timed_out(index, now),
            State::Handshaking => self.handshake_ended(index, ConnectionEnd::TimedOut, None),
            State::Exchanging => self.exchange_timed_out(index, now),
            State::Leaving { .. } => self.stop_waiting(index),
            State::Open => self.reached_limit(index, now),
            State::Vacant => {}
        }
    }

    /// Closes a connection that is idle and as old as the plan allows, or that takes no stream.
    fn reached_limit(&mut self, index: usize, now: Instant) {
        let old = |age| now.saturating_duration_since(self.slots[index].opened_at) >= age;
        let is_old = self.plan.max_lifetime().is_some_and(old);
        let cause = if is_old { CloseCause::MaxLifetime } else { CloseCause::NoStreams };
        self.leave(index, cause, Some(now));
        // Reads first: a FIN that has arrived is the peer's close.
        self.read(index);
    }
}
