//! Connections that serve several requests at once, and connections in doubt: the obligations after
//! every input of every short sequence and of random ones, and the sentences of the documentation.
//!
//! The audit predicts nothing. It knows what it has put in, and what must hold then.

use core::time::Duration;

use keepwarm_pool::{
    Capacity, CloseReason, Closer, ConnectionId, DialPermit, Effect, Lease, Limit, Moment, Pool,
    Replacement, Settings, Sharing, WaiterId,
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const END: (CloseReason, Closer) = (CloseReason::ExchangeFailed, Closer::Server);
const AWAY: (CloseReason, Closer) = (CloseReason::GoAway, Closer::Server);
const MOST: u32 = 3;

#[derive(Clone, Copy, Debug)]
enum Step {
    Checkout,
    Cancel(usize),
    /// A dial brings a shared connection with so many streams, an exclusive one, or nothing.
    Shared(usize, u32),
    Exclusive(usize),
    Fails(usize),
    Returned(usize),
    Unused(usize),
    Closed(usize),
    Replace(usize, Replacement),
    GoAgain(usize),
    Resized(usize, u32),
    Draining(usize),
    Suspect(usize),
    Trusted(usize),
    Lost(usize),
    Inspect(usize),
    Evict,
    CloseIdle,
    Pass(u64),
    AtDeadline,
    ShutDown,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    id: ConnectionId,
    shared: bool,
    limit: u32,
    held: u32,
    takes_new: bool,
    suspect: bool,
    open: bool,
}

impl Seen {
    const fn has_room(&self) -> bool {
        self.open && self.takes_new && self.held < self.limit
    }
}

/// A pool, and what its driver knows of it.
struct Driver {
    pool: Pool,
    cap: Option<u32>,
    spread: bool,
    max_waiters: Option<u32>,
    now: Moment,
    shut_down: bool,
    permits: Vec<DialPermit>,
    leases: Vec<(usize, Lease)>,
    waiters: Vec<WaiterId>,
    fresh: Vec<WaiterId>,
    connections: Vec<Seen>,
    history: Vec<Step>,
}

impl Driver {
    fn new(settings: Settings) -> Self {
        Self {
            pool: Pool::new(settings),
            cap: settings.max_connections.get(),
            spread: settings.spread,
            max_waiters: settings.max_waiters.get(),
            now: Moment::ZERO,
            shut_down: false,
            permits: Vec::new(),
            leases: Vec::new(),
            waiters: Vec::new(),
            fresh: Vec::new(),
            connections: Vec::new(),
            history: Vec::new(),
        }
    }

    fn hold(&self, holds: bool, sentence: &str) {
        assert!(holds, "broken: {sentence}\nafter {:?}\n{:?}", self.history, self.connections);
    }

    /// Returns the connection that is meant: of those open, or any if the number is odd.
    fn open(&self, which: usize) -> Option<usize> {
        let open = self.connections.iter().enumerate().filter(|(_, seen)| seen.open);
        let open: Vec<usize> = open.map(|(number, _)| number).collect();
        open.get(which.checked_rem(open.len())?).copied()
    }

    /// Returns false if there is nothing to do it with.
    fn step(&mut self, step: Step) -> bool {
        let done = self.apply(step).is_some();
        if done {
            self.history.push(step);
            self.poll(step);
            self.audit();
        }
        done
    }

    fn apply(&mut self, step: Step) -> Option<()> {
        let now = self.now;
        match step {
            Step::Checkout => {
                let waiter = self.pool.checkout(now);
                self.waiters.push(waiter);
            }
            Step::Cancel(which) => {
                let waiter = *self.waiters.get(which.checked_rem(self.waiters.len())?)?;
                self.forget_waiter(waiter);
                let waited = self.pool.cancel(waiter, now);
                self.hold(waited, "a waiter that has no answer can be cancelled");
            }
            Step::Shared(which, streams) => {
                let permit = take(&mut self.permits, which)?;
                let id = self.pool.dialed(permit, Capacity::Shared { streams }, now);
                self.enter(id, true, streams.min(MOST));
            }
            Step::Exclusive(which) => {
                let permit = take(&mut self.permits, which)?;
                let id = self.pool.dialed(permit, Capacity::Exclusive, now);
                self.enter(id, false, 1);
            }
            Step::Fails(which) => {
                let permit = take(&mut self.permits, which)?;
                self.pool.dial_failed(permit, now);
            }
            Step::Returned(which) => {
                let (number, lease) = self.take_lease(which)?;
                self.connections[number].suspect &= !self.connections[number].open;
                self.pool.returned(lease, now);
            }
            Step::Unused(which) => {
                let lease = self.take_lease(which)?.1;
                self.pool.returned_unused(lease, now);
            }
            Step::Closed(which) => {
                let (number, lease) = self.take_lease(which)?;
                self.connections[number].takes_new = false;
                self.pool.closed(lease, END.0, END.1, now);
            }
            Step::Replace(which, wanted) => {
                let (number, lease) = self.take_lease(which)?;
                self.connections[number].takes_new = false;
                let waiter = self.pool.replace(lease, END, wanted, now);
                self.waiters.push(waiter);
                if wanted == Replacement::Fresh {
                    self.fresh.push(waiter);
                }
            }
            Step::GoAgain(which) => {
                let shared = |held: &(usize, Lease)| self.connections[held.0].shared;
                let held = self.leases.iter().enumerate().filter(|(_, held)| shared(held));
                let held: Vec<usize> = held.map(|(position, _)| position).collect();
                let position = *held.get(which.checked_rem(held.len())?)?;
                let lease = self.take_lease(position)?.1;
                let waiter = self.pool.go_again(lease, now);
                self.waiters.push(waiter);
            }
            Step::Resized(which, streams) => {
                let number = self.open(which)?;
                let seen = &mut self.connections[number];
                if seen.shared {
                    seen.limit = streams.min(MOST);
                }
                self.pool.resized(seen.id, streams, now);
            }
            Step::Draining(which) => {
                let number = self.open(which)?;
                self.connections[number].takes_new = false;
                let known = self.pool.draining(self.connections[number].id, AWAY, now);
                self.hold(known, "an open connection can be drained");
            }
            Step::Suspect(which) => {
                let number = self.open(which)?;
                let seen = &mut self.connections[number];
                if self.pool.suspect(seen.id, now) {
                    seen.suspect = true;
                }
            }
            Step::Trusted(which) => {
                let number = self.open(which)?;
                let seen = &mut self.connections[number];
                seen.suspect = false;
                self.pool.trusted(seen.id, now);
            }
            Step::Lost(which) => {
                let number = self.open(which)?;
                let seen = &mut self.connections[number];
                if !seen.shared && seen.held > 0 {
                    return None;
                }
                seen.takes_new = false;
                seen.held = 0;
                let known = self.pool.lost(seen.id, END, now);
                self.hold(known, "an open connection can be lost");
            }
            Step::Inspect(which) => {
                let number = self.open(which)?;
                let lease = self.pool.inspect(self.connections[number].id, now)?;
                self.connections[number].held += 1;
                self.leases.push((number, lease));
            }
            Step::Evict => {
                self.pool.evict_oldest(CloseReason::TotalIdleLimit, now).then_some(())?;
            }
            Step::CloseIdle => {
                for seen in &mut self.connections {
                    seen.takes_new = false;
                }
                self.pool.close_idle(now);
            }
            Step::Pass(nanos) => self.now = now.after(Duration::from_nanos(nanos)),
            Step::AtDeadline => {
                let deadline = self.pool.next_deadline();
                (!deadline.is_never()).then_some(())?;
                self.now = now.max(deadline);
                let before = (self.pool.idle(), self.pool.dialing(), self.pool.waiting());
                self.pool.tick(self.now);
                let after = (self.pool.idle(), self.pool.dialing(), self.pool.waiting());
                self.hold(before != after, "a tick at the next deadline changes something");
            }
            Step::ShutDown => {
                self.shut_down = true;
                self.pool.shut_down(now);
            }
        }
        Some(())
    }

    fn enter(&mut self, id: ConnectionId, shared: bool, limit: u32) {
        let (held, takes_new, suspect, open) = (0, true, false, true);
        self.connections.push(Seen { id, shared, limit, held, takes_new, suspect, open });
    }

    fn take_lease(&mut self, which: usize) -> Option<(usize, Lease)> {
        let (number, lease) = take(&mut self.leases, which)?;
        let seen = &mut self.connections[number];
        seen.held = seen.held.saturating_sub(1);
        Some((number, lease))
    }

    fn forget_waiter(&mut self, waiter: WaiterId) {
        self.waiters.retain(|other| *other != waiter);
        self.fresh.retain(|other| *other != waiter);
    }

    /// Takes the effects, each of which has to be allowed when it is decided.
    fn poll(&mut self, step: Step) {
        while let Some(effect) = self.pool.poll_effect() {
            match effect {
                Effect::Dial(permit) => {
                    self.permits.push(permit);
                    self.hold(!self.shut_down, "no dial starts after shutdown");
                }
                Effect::Assign(assigned) => {
                    let number = self.number(assigned.lease.connection());
                    self.check_assignment(step, assigned.waiter, number);
                    self.forget_waiter(assigned.waiter);
                    let seen = &mut self.connections[number];
                    seen.held += 1;
                    let (held, streams) = (seen.held, assigned.streams);
                    self.leases.push((number, assigned.lease));
                    self.hold(held == streams, "an assignment tells the streams at once");
                }
                Effect::Reject { waiter, .. } => {
                    let waits = self.waiters.contains(&waiter);
                    self.hold(waits, "a waiter ends once");
                    self.forget_waiter(waiter);
                }
                Effect::Close { connection, .. } => {
                    let number = self.number(connection);
                    let seen = &mut self.connections[number];
                    let was_open = core::mem::replace(&mut seen.open, false);
                    let broke = !seen.takes_new && seen.shared;
                    let may_close = seen.held == 0 || broke;
                    seen.held = 0;
                    self.hold(was_open, "a connection closes once");
                    self.hold(may_close, "a connection in use closes only if it broke");
                }
                Effect::AbortDial(_) => self.hold(self.shut_down, "a dial is aborted at shutdown"),
                other => panic!("no place is shared here: {other:?}"),
            }
        }
    }

    fn check_assignment(&self, step: Step, waiter: WaiterId, number: usize) {
        let is_new = matches!(step, Step::Shared(..) | Step::Exclusive(_))
            && number + 1 == self.connections.len();
        let mut eligible = self.waiters.iter().filter(|w| is_new || !self.fresh.contains(w));
        let first = eligible.clone().min();
        self.hold(eligible.any(|other| *other == waiter), "a waiter is served once");
        self.hold(first == Some(&waiter), "no waiter is overtaken by a later one");
        let seen = self.connections[number];
        self.hold(seen.has_room(), "what is assigned has room, and takes new requests");
        self.hold(!self.shut_down, "nothing is assigned after shutdown");
        if seen.suspect {
            self.hold(!self.may_dial(), "no request takes a suspect connection while it can dial");
            let other = self.connections.iter().any(|one| !one.suspect && one.has_room());
            self.hold(!other, "no request takes a suspect connection beside another one");
        } else if !self.spread && !is_new && seen.shared {
            let rivals = self.connections.iter().filter(|one| one.shared && !one.suspect);
            let fuller = rivals.filter(|one| one.has_room()).any(|one| one.held > seen.held);
            self.hold(!fuller, "the fullest connection with room is used first");
        } else if self.spread && !is_new && seen.shared {
            let rivals = self.connections.iter().filter(|one| one.shared && !one.suspect);
            let emptier = rivals.filter(|one| one.has_room()).any(|one| one.held < seen.held);
            self.hold(!emptier, "the emptiest connection is used first");
        }
    }

    fn number(&self, id: ConnectionId) -> usize {
        let found = self.connections.iter().position(|seen| seen.id == id);
        found.unwrap_or_else(|| panic!("a connection that is known: {id:?}"))
    }

    fn alive(&self) -> usize {
        self.permits.len() + self.connections.iter().filter(|seen| seen.open).count()
    }

    fn may_dial(&self) -> bool {
        self.cap.is_none_or(|cap| self.alive() < cap as usize)
    }

    fn audit(&self) {
        let open: Vec<&Seen> = self.connections.iter().filter(|seen| seen.open).collect();
        let active = open.iter().filter(|seen| seen.held > 0).count();
        self.hold(self.pool.active() == active, "active is the connections in use");
        self.hold(self.pool.idle() == open.len() - active, "idle is the others");
        self.hold(self.pool.dialing() == self.permits.len(), "dialing is the permits");
        self.hold(self.pool.leases() == self.leases.len(), "leases given = returned + held");
        self.hold(self.pool.waiting() == self.waiters.len(), "waiting is those without answer");
        let counts = self.pool.counts();
        let closed = counts.closed() as usize;
        self.hold(counts.opened as usize == open.len() + closed, "opened = active + idle + closed");
        self.hold(self.cap.is_none_or(|cap| self.alive() <= cap as usize), "the connection limit");
        for seen in &open {
            let real = self.pool.streams_of(seen.id);
            self.hold(real == Some((seen.limit, seen.held)), "streams_of is what is known");
        }
        let drained = open.iter().any(|seen| seen.held == 0 && !seen.takes_new);
        self.hold(!drained, "a connection that takes no new request is closed when it is unused");
        self.audit_liveness(&open);
    }

    fn audit_liveness(&self, open: &[&Seen]) {
        let waits = self.waiters.len() > self.fresh.len();
        let free = open.iter().any(|seen| seen.has_room() && !seen.suspect);
        self.hold(!(waits && free), "no request waits while a connection has room");
        let parked = open.iter().any(|seen| seen.limit == 0 && seen.takes_new && !seen.suspect);
        let hopeless = !self.waiters.is_empty() && self.permits.is_empty() && self.may_dial();
        self.hold(!hopeless || parked, "no request waits while a dial could start");
        let doubtful = open.iter().any(|seen| seen.has_room());
        let stuck = waits && doubtful && self.permits.is_empty() && !self.may_dial();
        self.hold(!stuck || parked, "no request waits beside a suspect connection without a dial");
        if self.permits.is_empty() && !parked {
            let most = self.max_waiters.map_or(usize::MAX, |most| most as usize);
            self.hold(self.waiters.len() <= most, "the limit of waiters");
        }
        self.hold(!self.shut_down || self.waiters.is_empty(), "no request waits after shutdown");
    }

    /// Ends everything.
    fn drain(mut self) {
        self.step(Step::ShutDown);
        while self.step(Step::Shared(0, 2)) {}
        while self.step(Step::Returned(0)) {}
        let left = self.pool.dialing() + self.pool.active() + self.pool.idle();
        self.hold(left + self.pool.leases() + self.pool.waiting() == 0, "nothing is left");
        self.hold(self.pool.next_deadline().is_never(), "no deadline is left");
    }
}

fn take<T>(held: &mut Vec<T>, which: usize) -> Option<T> {
    let which = which.checked_rem(held.len())?;
    Some(held.remove(which))
}

fn settings(sharing: Sharing, cap: Option<u32>) -> Settings {
    Settings {
        sharing,
        max_streams: MOST,
        max_connections: cap.map_or(Limit::NONE, Limit::at_most),
        ..Settings::default()
    }
}

/// Runs every sequence of exactly so many steps after the start, and returns how many there were.
fn explore(settings: Settings, start: &[Step], alphabet: &[Step], length: u32) -> u64 {
    let mut explored = 0;
    let mut word = vec![0; length as usize];
    loop {
        let mut driver = Driver::new(settings);
        for step in start {
            assert!(driver.step(*step), "the start can be made: {step:?}");
        }
        let refused = word.iter().position(|letter| !driver.step(alphabet[*letter]));
        if refused.is_none() {
            driver.drain();
            explored += 1;
        }
        let place = refused.unwrap_or(word.len() - 1);
        word[place + 1..].fill(0);
        let Some(next) = (0..=place).rev().find(|at| word[*at] + 1 < alphabet.len()) else {
            return explored;
        };
        word[next] += 1;
        word[next + 1..].fill(0);
    }
}

const LAST: usize = usize::MAX;

/// Requests and dials of every kind.
const DEMAND: &[Step] = &[
    Step::Checkout,
    Step::Cancel(0),
    Step::Shared(0, 0),
    Step::Shared(0, 2),
    Step::Exclusive(0),
    Step::Fails(0),
    Step::Returned(0),
    Step::Resized(0, 3),
    Step::Resized(0, 1),
    Step::AtDeadline,
];

/// Ends of streams and of connections.
const ENDS: &[Step] = &[
    Step::Checkout,
    Step::Shared(0, 1),
    Step::Returned(0),
    Step::Unused(LAST),
    Step::Closed(0),
    Step::Replace(0, Replacement::Any),
    Step::Replace(LAST, Replacement::Fresh),
    Step::GoAgain(0),
    Step::Draining(0),
    Step::Lost(0),
    Step::CloseIdle,
    Step::Resized(0, 0),
];

/// Connections in doubt.
const DOUBT: &[Step] = &[
    Step::Checkout,
    Step::Shared(0, 2),
    Step::Exclusive(0),
    Step::Fails(0),
    Step::Returned(0),
    Step::Suspect(0),
    Step::Suspect(LAST),
    Step::Trusted(0),
    Step::Draining(0),
    Step::Lost(LAST),
    Step::AtDeadline,
    Step::Evict,
];

const TWO_STREAMS: &[Step] = &[Step::Checkout, Step::Checkout, Step::Shared(0, 2)];
const TWO_IDLE: &[Step] = &[
    Step::Checkout,
    Step::Exclusive(0),
    Step::Checkout,
    Step::Exclusive(0),
    Step::Returned(0),
    Step::Returned(0),
];

#[test]
fn every_demand_for_streams() {
    for (sharing, cap, explored) in [
        (Sharing::Unknown, None, 649),
        (Sharing::Always, None, 652),
        (Sharing::Never, Some(2), 677),
        (Sharing::Unknown, Some(1), 474),
    ] {
        assert_eq!(
            explore(settings(sharing, cap), &[], DEMAND, 5),
            explored,
            "{sharing:?} {cap:?}"
        );
    }
}

#[test]
fn every_end_of_streams() {
    for (cap, explored) in [(None, 7_060), (Some(1), 6_670), (Some(2), 7_058)] {
        assert_eq!(
            explore(settings(Sharing::Unknown, cap), TWO_STREAMS, ENDS, 4),
            explored,
            "{cap:?}"
        );
    }
}

#[test]
fn every_doubt() {
    for (sharing, start, cap, explored) in [
        (Sharing::Always, TWO_STREAMS, None, 2_304),
        (Sharing::Always, TWO_STREAMS, Some(1), 1_686),
        (Sharing::Never, TWO_IDLE, None, 2_061),
        (Sharing::Never, TWO_IDLE, Some(2), 2_036),
    ] {
        assert_eq!(
            explore(settings(sharing, cap), start, DOUBT, 4),
            explored,
            "{sharing:?} {cap:?}"
        );
    }
}

fn step() -> impl Strategy<Value = Step> {
    let which = || any::<u8>().prop_map(usize::from);
    let streams = || 0..5_u32;
    prop_oneof![
        20 => Just(Step::Checkout),
        2 => which().prop_map(Step::Cancel),
        8 => (which(), streams()).prop_map(|(which, streams)| Step::Shared(which, streams)),
        3 => which().prop_map(Step::Exclusive),
        2 => which().prop_map(Step::Fails),
        12 => which().prop_map(Step::Returned),
        2 => which().prop_map(Step::Unused),
        1 => which().prop_map(Step::Closed),
        2 => which().prop_map(|which| Step::Replace(which, Replacement::Any)),
        2 => which().prop_map(|which| Step::Replace(which, Replacement::Fresh)),
        3 => which().prop_map(Step::GoAgain),
        4 => (which(), streams()).prop_map(|(which, streams)| Step::Resized(which, streams)),
        1 => which().prop_map(Step::Draining),
        4 => which().prop_map(Step::Suspect),
        3 => which().prop_map(Step::Trusted),
        1 => which().prop_map(Step::Lost),
        2 => which().prop_map(Step::Inspect),
        1 => Just(Step::Evict),
        1 => Just(Step::CloseIdle),
        2 => (1..200_000_000_u64).prop_map(Step::Pass),
        2 => Just(Step::AtDeadline),
        1 => Just(Step::ShutDown),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 250,
        rng_seed: RngSeed::Fixed(9113),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn random_streams_keep_the_obligations(
        sharing in prop_oneof![Just(Sharing::Never), Just(Sharing::Unknown), Just(Sharing::Always)],
        cap in proptest::option::of(1..5_u32),
        max_waiters in proptest::option::of(0..4_u32),
        spread in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let max_waiters = max_waiters.map_or(Limit::NONE, Limit::at_most);
        let mut driver = Driver::new(Settings { max_waiters, spread, ..settings(sharing, cap) });
        for step in steps {
            driver.step(step);
        }
        driver.drain();
    }
}
