//! One origin: its pool of decisions, the live connections beside it under the same lock, and the
//! one function that feeds the one and performs what it decides on the other.

mod events;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use keepwarm_pool::{
    Assigned, ClaimId, CloseReason, Closer, ConnectionId, DialId, DialPermit, Effect, Moment,
    Place, Pool, RejectReason, WaiterId,
};
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::error::{Error, Kind, Stage};
use crate::observe::event_queue::Outbox;
use crate::observe::observer::EventKind;
use crate::observe::recent_count::Lately;
use crate::observe::warnings;
use crate::pool::connection_limit::Total;
use crate::pool::dial;
use crate::pool::idle_limit::IdleBudget;
use crate::pool::keeper::Keeper;
use crate::pool::lease::Lease;
use crate::pool::retry_budget::RetryBudget;
use crate::settings::Settings;
use crate::wire::connection::Connection;
use crate::wire::origin_key::OriginKey;

pub(crate) use crate::observe::snapshot::Snapshot;

/// What all origins of one client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) budget: IdleBudget,
    /// If somebody observes.
    pub(crate) outbox: Option<Arc<Outbox>>,
    pub(crate) total: Total,
    #[cfg(feature = "tls")]
    pub(crate) tls: crate::wire::tls::Tls,
}

/// Numbers origins across the whole process: one that is forgotten and made again is another one.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Scheme, host and port, with the pool of connections to it.
pub(crate) struct Origin {
    number: u64,
    key: OriginKey,
    name: Arc<str>,
    host_field: HeaderValue,
    shared: Arc<Shared>,
    state: Mutex<State>,
    retries: RetryBudget,
}

/// What the lock protects. Handles and waiters are filed by the ids the pool gives out.
struct State {
    pool: Pool,
    /// By `ConnectionId::index`. Empty where the connection is leased or gone.
    connections: Vec<Option<Box<Connection>>>,
    /// Likewise, also while it is leased.
    births: Vec<Birth>,
    waiters: BTreeMap<WaiterId, Waiter>,
    dials: BTreeMap<DialId, oneshot::Sender<()>>,
    /// The most requests that held or wanted a connection at once.
    peak: usize,
    /// The number of the request whose checkout is being fed.
    asking: u64,
    opened_lately: Lately,
    /// Bodies that were left unread and cost their connections.
    unread: u64,
    /// Connections that are read for nobody now, and that were kept by it.
    draining: usize,
    drained: u64,
}

/// The number of a connection, and when it was opened.
#[derive(Clone, Copy, Debug)]
struct Birth {
    id: u64,
    at: Moment,
}

/// Whom to answer, and where the task runs that waits.
struct Waiter {
    request: u64,
    since: Moment,
    sender: oneshot::Sender<Answer>,
    runtime: Option<Handle>,
}

/// The answer to a checkout.
pub(crate) type Answer = Result<Granted, Error>;

/// A connection, and what was known of it when it was given.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) lease: Lease,
    pub(crate) exchanges: u64,
    pub(crate) idle_age: Option<Duration>,
}

/// A checkout has been answered, or has to wait.
pub(crate) enum Checkout {
    Answered(Answer),
    /// Since that moment.
    Queued(WaiterId, oneshot::Receiver<Answer>, Moment),
}

/// What feeding one input came to.
struct Fed<R> {
    result: R,
    /// The answer to the checkout that this very input made, if it was answered at once.
    own: Option<Answer>,
    /// Connections that are idle now, and when the first of them expires.
    idle: usize,
    deadline: Moment,
}

/// What is left to do once the lock is released, in the order of decision.
enum Action {
    Dial(DialPermit, oneshot::Receiver<()>, Option<Handle>),
    Abort(oneshot::Sender<()>),
    Answer(oneshot::Sender<Answer>, Answer),
    Close(Box<Connection>),
    Claim(ClaimId, Moment),
    Withdraw(ClaimId),
    Release(Place),
}

impl Origin {
    pub(crate) fn new(key: OriginKey, shared: Arc<Shared>) -> Arc<Self> {
        // The one number here that is left to chance: origins do not end their connections in step.
        let seed = RandomState::new().build_hasher().finish();
        let pool = Pool::new(keepwarm_pool::Settings { seed, ..shared.settings.pool });
        Arc::new(Self {
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            name: key.to_string().into(),
            host_field: key.host_field(),
            key,
            shared,
            state: Mutex::new(State {
                pool,
                connections: Vec::new(),
                births: Vec::new(),
                waiters: BTreeMap::new(),
                dials: BTreeMap::new(),
                peak: 0,
                asking: 0,
                opened_lately: Lately::default(),
                unread: 0,
                draining: 0,
                drained: 0,
            }),
            retries: RetryBudget::new(),
        })
    }

    pub(crate) fn key(&self) -> &OriginKey {
        &self.key
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What `Host` says of it, made once.
    pub(crate) fn host_field(&self) -> &HeaderValue {
        &self.host_field
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A request asks for a connection; `new` asks for one that nobody has used.
    pub(crate) fn checkout(self: &Arc<Self>, request: u64, new: bool) -> Checkout {
        let (queued, own) = self.feed(None, |state, now| {
            state.asking = request;
            let waiter = if new { state.pool.checkout_new(now) } else { state.pool.checkout(now) };
            state.pool.is_waiting(waiter).then(|| {
                let (sender, receiver) = oneshot::channel();
                let runtime = Handle::try_current().ok();
                state.waiters.insert(waiter, Waiter { request, since: now, sender, runtime });
                self.put(now, || EventKind::WaitBegan { request });
                (waiter, receiver, now)
            })
        });
        match (own, queued) {
            (Some(answer), _) => Checkout::Answered(answer),
            (None, Some((waiter, receiver, now))) => Checkout::Queued(waiter, receiver, now),
            (None, None) => unreachable!("the pool answers a checkout or lets it wait"),
        }
    }

    /// Takes one retry out of the budget. False if it is spent.
    pub(crate) fn may_retry(&self) -> bool {
        let requests = self.lock().pool.counts().checkouts;
        self.retries.take(requests, self.shared.clock.now())
    }

    /// A waiter gives up. If it has been answered already, the answer finds its receiver gone, and
    /// the lease in it goes back by being dropped.
    pub(crate) fn cancel(self: &Arc<Self>, waiter: WaiterId) {
        // What is dropped leaves the lock with the result.
        let (_waiter, _) = self.feed(None, |state, now| {
            if !state.pool.cancel(waiter, now) {
                return None;
            }
            let waiter = state.waiters.remove(&waiter)?;
            self.put(now, || waiter.wait_ended(now, false));
            Some(waiter)
        });
    }

    pub(crate) fn dialed(self: &Arc<Self>, permit: DialPermit, mut connection: Box<Connection>) {
        if let Err(end) = connection.park() {
            // Ended between connect and here: it never was of use to anybody.
            drop(connection);
            let message = match (end.closer, end.reason) {
                (Closer::Server, _) => "the server closed the connection at once",
                (_, CloseReason::StrayBytes) => "the server spoke before it was asked",
                _ => "the connection failed at once",
            };
            let error =
                Error::new(Stage::Connect, Kind::Failed).with_message(message).at(&self.name);
            return self.dial_failed(permit, error);
        }
        let watch = Arc::clone(connection.watch());
        let (_abort, _) = self.feed(None, |state, now| {
            let abort = state.dials.remove(&permit.dial());
            let (number, dial) = (connection.id(), permit.dial().as_u64());
            let id = state.pool.dialed(permit, now);
            state.note_birth(id, Birth { id: number, at: now });
            self.put(now, || EventKind::ConnectionOpened { connection: number, dial });
            state.opened_lately.note(now);
            connection.watch().file(Arc::downgrade(self), id);
            state.file(id, connection);
            abort
        });
        watch.recheck();
    }

    pub(crate) fn dial_failed(self: &Arc<Self>, permit: DialPermit, error: Error) {
        let (_abort, _) = self.feed(Some(error.clone()), |state, now| {
            let dial = permit.dial().as_u64();
            self.put(now, || EventKind::DialFailed { dial, error });
            let abort = state.dials.remove(&permit.dial());
            state.pool.dial_failed(permit, now);
            abort
        });
    }

    /// A dial goes on in another runtime: there it can be aborted anew.
    pub(crate) fn renew_abort(&self, dial: DialId) -> oneshot::Receiver<()> {
        let (abort, aborted) = oneshot::channel();
        // A pool that has shut down has taken the old sender out, and aborts no dial twice.
        let old = match self.lock().dials.get_mut(&dial) {
            Some(current) => Some(std::mem::replace(current, abort)),
            None => None,
        };
        drop(old);
        aborted
    }

    /// A runtime to dial on: that of the youngest waiter who runs elsewhere than in `ended`.
    pub(crate) fn runtime_other_than(&self, ended: Id) -> Option<Handle> {
        let state = self.lock();
        let runtimes = state.waiters.values().rev();
        runtimes
            .filter_map(|waiter| waiter.runtime.as_ref())
            .find(|runtime| runtime.id() != ended)
            .cloned()
    }

    /// A leased connection comes back parked: after an exchange (`served`), or unused.
    pub(crate) fn take_back(
        self: &Arc<Self>,
        token: keepwarm_pool::Lease,
        mut connection: Box<Connection>,
        served: bool,
    ) {
        let watch = Arc::clone(connection.watch());
        self.feed(None, |state, now| {
            let (number, advice) = (connection.id(), connection.take_advice());
            self.put(now, || EventKind::ConnectionReturned { connection: number, served });
            state.file(token.connection(), connection);
            if served {
                if let Some(advice) = advice {
                    state.pool.advised(&token, advice);
                }
                state.pool.returned(token, now);
            } else {
                state.pool.put_back(token, now);
            }
        });
        watch.recheck();
    }

    /// A leased connection has been closed.
    pub(crate) fn closed(
        self: &Arc<Self>,
        token: keepwarm_pool::Lease,
        reason: CloseReason,
        closer: Closer,
    ) {
        self.feed(None, |state, now| state.pool.closed(token, reason, closer, now));
    }

    /// The socket of an idle connection has something to say: take it out and listen.
    pub(crate) fn inspect(self: &Arc<Self>, connection: ConnectionId) {
        let (lease, _) = self.feed(None, |state, now| {
            let token = state.pool.inspect(connection, now)?;
            let handle = state.take(connection);
            self.put(now, || EventKind::ConnectionInspected { connection: handle.id() });
            Some((token, handle))
        });
        // Dropped unused, it is parked again; parking polls it, and finds out.
        drop(lease.map(|(token, handle)| Lease::new(Arc::clone(self), token, handle)));
    }

    /// Returns whether one was idle.
    pub(crate) fn evict_oldest(self: &Arc<Self>, reason: CloseReason) -> bool {
        self.feed(None, |state, now| state.pool.evict_oldest(reason, now)).0
    }

    /// There is room for one more connection. Returns whether it is still wanted.
    pub(crate) fn granted(self: &Arc<Self>, claim: ClaimId, place: Place) -> bool {
        self.feed(None, |state, now| state.pool.granted(claim, place, now)).0
    }

    /// There is no room for now.
    pub(crate) fn deferred(self: &Arc<Self>, claim: ClaimId) {
        self.feed(None, |state, now| state.pool.deferred(claim, now));
    }

    /// Closes what is idle, and what is in use when it comes back.
    pub(crate) fn close_idle(self: &Arc<Self>) {
        self.feed(None, |state, now| state.pool.close_idle(now));
    }

    /// Closes what has expired, and says when to come again. The keeper's own errand: it is not
    /// told of the deadline that it is about to be given, or it would never rest.
    pub(crate) fn tick(self: &Arc<Self>) -> Moment {
        self.feed_unheard(None, |state, now| state.pool.tick(now)).deadline
    }

    pub(crate) fn shut_down(self: &Arc<Self>) {
        self.feed(None, |state, now| state.pool.shut_down(now));
    }

    /// Whether it has a connection or a waiter, or is dialling.
    pub(crate) fn is_in_use(&self) -> bool {
        let Snapshot { dialing, active, idle, waiting, .. } = self.snapshot();
        dialing + active + idle + waiting > 0
    }

    pub(crate) fn has_shut_down(&self) -> bool {
        self.lock().pool.is_shut_down()
    }

    pub(crate) fn oldest_idle(&self) -> Option<Moment> {
        self.lock().pool.oldest_idle()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = self.shared.clock.now();
        let state = self.lock();
        Snapshot {
            dialing: state.pool.dialing(),
            active: state.pool.active(),
            idle: state.pool.idle(),
            waiting: state.pool.waiting(),
            peak: state.peak,
            learned_idle_timeout: state.pool.learned_idle_timeout(),
            opened_lately: state.opened_lately.count(now),
            unread: state.unread,
            draining: state.draining,
            drained: state.drained,
            counts: *state.pool.counts(),
        }
    }

    /// A body is left unread, and its connection about to be closed for it.
    pub(crate) fn note_unread(&self) {
        let mut state = self.lock();
        state.unread += 1;
        let (unread, requests) = (state.unread, state.pool.counts().checkouts);
        drop(state);
        warnings::body_left_unread(&self.name, unread, requests);
    }

    /// One more connection is read for nobody, or one less.
    pub(crate) fn note_draining(&self, change: isize) {
        let mut state = self.lock();
        state.draining = state.draining.saturating_add_signed(change);
    }

    /// A connection is about to go back that was read for nobody.
    pub(crate) fn note_drained(&self) {
        self.lock().drained += 1;
    }

    /// The seconds in which connections were opened.
    pub(crate) fn opened_lately(&self) -> Lately {
        self.lock().opened_lately
    }

    /// Feeds one input, and tells the keeper when something is due.
    ///
    /// Returns the input's result, and the answer to the checkout that this very input made, if it
    /// was answered at once.
    fn feed<R>(
        self: &Arc<Self>,
        error: Option<Error>,
        input: impl FnOnce(&mut State, Moment) -> R,
    ) -> (R, Option<Answer>) {
        let Fed { result, own, idle, deadline } = self.feed_unheard(error, input);
        // Those that never expire are watched too.
        if idle > 0 {
            self.shared.keeper.expect(deadline);
        }
        (result, own)
    }

    /// The one way to the pool: lock, feed one input, move the effects out, unlock, perform them.
    ///
    /// `error` is what a waiter rejected by this input is told.
    fn feed_unheard<R>(
        self: &Arc<Self>,
        error: Option<Error>,
        input: impl FnOnce(&mut State, Moment) -> R,
    ) -> Fed<R> {
        let now = self.shared.clock.now();
        let mut actions = Vec::new();
        let mut own = None;
        let mut state = self.lock();
        let idle_before = state.pool.idle();
        state.pool.elder_waits(self.shared.total.elder());
        let result = input(&mut state, now);
        while let Some(effect) = state.pool.poll_effect() {
            if let Some(answer) = self.detach(&mut state, effect, error.as_ref(), now, &mut actions)
            {
                own = Some(answer);
            }
        }
        state.peak = state.peak.max(state.pool.active() + state.pool.waiting());
        let idle_after = state.pool.idle();
        let deadline = state.pool.next_deadline();
        drop(state);

        let mut places_moved = false;
        for action in actions {
            places_moved |= action.moves_places();
            self.perform(action);
        }
        if self.shared.budget.moved(idle_before, idle_after) {
            self.shared.keeper.call();
        }
        if idle_after > idle_before && !self.shared.total.elder().is_never() {
            self.shared.total.idle_appeared();
            places_moved = true;
        }
        if places_moved {
            self.shared.total.serve(|| self.shared.keeper.origins());
        }
        // Last, since what an observer does is not known.
        if let Some(outbox) = &self.shared.outbox {
            outbox.deliver();
        }
        Fed { result, own, idle: idle_after, deadline }
    }

    /// Takes an effect's handles out of the state. Returns the answer to a waiter who is not filed:
    /// only the checkout of the present input is not.
    fn detach(
        self: &Arc<Self>,
        state: &mut State,
        effect: Effect,
        error: Option<&Error>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) -> Option<Answer> {
        self.put_effect(state, &effect, now);
        let (waiter, answer) = match effect {
            Effect::Assign(Assigned { waiter, lease, exchanges, idle_since }) => {
                let connection = state.take(lease.connection());
                let lease = Lease::new(Arc::clone(self), lease, connection);
                let idle_age = idle_since.map(|since| now.since(since));
                (waiter, Ok(Granted { lease, exchanges, idle_age }))
            }
            Effect::Reject { waiter, reason } => (waiter, Err(self.rejection(reason, error))),
            Effect::Dial(permit) => {
                let (abort, aborted) = oneshot::channel();
                state.dials.insert(permit.dial(), abort);
                // Whoever caused the dial may run in a runtime that is just ending; who waits, waits
                // in one that is alive.
                let runtime = state.waiters.last_key_value();
                let runtime = runtime.and_then(|(_, waiter)| waiter.runtime.clone());
                actions.push(Action::Dial(permit, aborted, runtime));
                return None;
            }
            Effect::AbortDial(dial) => {
                actions.extend(state.dials.remove(&dial).map(Action::Abort));
                return None;
            }
            Effect::Close { connection, .. } => {
                let handle = state.connections.get_mut(connection.index()).and_then(Option::take);
                actions.extend(handle.map(Action::Close));
                return None;
            }
            Effect::Claim { claim, since } => {
                actions.push(Action::Claim(claim, since));
                return None;
            }
            Effect::Withdraw(claim) => {
                actions.push(Action::Withdraw(claim));
                return None;
            }
            Effect::Release(place) => {
                actions.push(Action::Release(place));
                return None;
            }
        };
        match state.waiters.remove(&waiter) {
            Some(filed) => {
                actions.push(Action::Answer(filed.sender, answer));
                None
            }
            None => Some(answer),
        }
    }

    fn perform(self: &Arc<Self>, action: Action) {
        match action {
            Action::Dial(permit, aborted, runtime) => {
                dial::start(self, permit, aborted, runtime);
            }
            // A receiver that is gone has its dial finished, or its waiter cancelled: an answer
            // that cannot be delivered is dropped, and the lease in it goes back.
            Action::Abort(sender) => drop(sender.send(())),
            Action::Answer(sender, answer) => drop(sender.send(answer)),
            Action::Close(connection) => drop(connection),
            Action::Claim(claim, since) => {
                self.shared.total.claim(self.number, claim, Arc::downgrade(self), since);
            }
            Action::Withdraw(claim) => self.shared.total.withdraw(self.number, claim),
            Action::Release(place) => self.shared.total.release(place),
        }
    }

    fn rejection(&self, reason: RejectReason, error: Option<&Error>) -> Error {
        match (reason, error) {
            (RejectReason::DialFailed, Some(error)) => error.clone(),
            (RejectReason::TooManyWaiters, _) => Error::new(Stage::Wait, Kind::TooManyWaiters)
                .with_message("too many requests are waiting already")
                .at(&self.name),
            _ => Error::new(Stage::Wait, Kind::ShutDown)
                .with_message("the client has shut down")
                .at(&self.name),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Action {
    /// Whether the limit on all connections is to be looked after.
    const fn moves_places(&self) -> bool {
        matches!(self, Self::Claim(..) | Self::Withdraw(_) | Self::Release(_))
    }
}

impl State {
    fn note_birth(&mut self, id: ConnectionId, birth: Birth) {
        if self.births.len() <= id.index() {
            self.births.resize(id.index() + 1, birth);
        }
        self.births[id.index()] = birth;
    }

    fn file(&mut self, id: ConnectionId, connection: Box<Connection>) {
        if self.connections.len() <= id.index() {
            self.connections.resize_with(id.index() + 1, || None);
        }
        self.connections[id.index()] = Some(connection);
    }

    fn take(&mut self, id: ConnectionId) -> Box<Connection> {
        self.connections[id.index()].take().expect("an idle connection has its handle filed")
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("name", &self.name).finish_non_exhaustive()
    }
}
