//! One origin: the pool's decisions, and the live connections beside them under the same lock.
//!
//! This file has the inputs, one method each. `feed` has the only way to the pool: it feeds an
//! input under the lock, and performs the effects after it. `events` records effects for observers.
//! Nothing here knows what an exchange does with a granted connection.

mod addresses;
mod events;
mod feed;
mod sharing;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use http::header::{HOST, USER_AGENT};
use keepwarm_http1::encode::encode_fields;
use keepwarm_pool::{
    Capacity, ClaimId, CloseReason, Closer, ConnectionId, DialId, DialPermit, Moment, Place, Pool,
    Replacement, Sharing, WaiterId,
};
use tokio::runtime::{Handle, Id};
use tokio::sync::{oneshot, watch};

use self::addresses::AddressWatch;
use crate::clock::Clock;
use crate::error::{Error, Kind, Stage};
use crate::observe::event_queue::EventQueue;
use crate::observe::observer::EventKind;
use crate::observe::recent_count::RecentCount;
use crate::observe::snapshot::Snapshot;
use crate::observe::warnings;
use crate::origin_key::{OriginKey, Scheme};
use crate::policy::ClientPolicy;
use crate::pool::calm::Calm;
use crate::pool::closing::Closing;
use crate::pool::connection_limit::ConnectionLimit;
use crate::pool::idle_limit::IdleLimit;
use crate::pool::keeper::{IdleWakeup, Keeper};
use crate::pool::lease::Lease;
use crate::pool::retry_budget::RetryBudget;
use crate::pool::stream_lease::StreamLease;
use crate::settings::Settings;
use crate::wire::connection::Connection;
use crate::wire::http2::Http2;
use crate::wire::lookup::KnownAddresses;
use crate::wire::transport::Transport;

/// State that all origins of one client share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    /// `None` in a client that was told nothing of the kind.
    pub(crate) policy: Option<Box<ClientPolicy>>,
    pub(crate) transport: Transport,
    pub(crate) clock: Clock,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) closing: Arc<Closing>,
    /// Held beside an origin's where all origins share a limit on connections.
    pub(crate) warming: Warming,
    pub(crate) idle_limit: IdleLimit,
    pub(crate) connection_limit: ConnectionLimit,
    /// Set if the client has observers.
    pub(crate) events: Option<Arc<EventQueue>>,
    #[cfg(feature = "tls")]
    pub(crate) tls: crate::wire::tls::Tls,
}

/// `User-Agent` of a request that has none of its own.
pub(crate) static AGENT: HeaderValue =
    HeaderValue::from_static(concat!("keepwarm/", env!("CARGO_PKG_VERSION")));

/// Numbers origins across the whole process: an origin that is forgotten and made again gets
/// another number.
static NEXT_NUMBER: AtomicU64 = AtomicU64::new(0);

/// Scheme, host and port, with the pool of connections to it.
pub(crate) struct Origin {
    number: u64,
    key: OriginKey,
    name: Arc<str>,
    host_field: HeaderValue,
    /// `Host` and `User-Agent`, the fields of a request that has none of its own, encoded.
    default_fields: Box<[u8]>,
    shared: Arc<Shared>,
    state: Apart<Mutex<State>>,
    retries: RetryBudget,
    calm: Calm,
    addresses: KnownAddresses,
    address_watch: AddressWatch,
    /// Held while connections are opened ahead.
    warming: Warming,
    /// The last dial that this host refused, having no descriptor left.
    refused: watch::Sender<Option<Error>>,
}

/// The turns of those who open connections ahead: two that held connections, and waited for more at
/// a limit, would wait for each other.
pub(crate) type Warming = tokio::sync::Mutex<()>;

/// A value in cache lines of its own: each request of any thread changes it, and reads what is beside
/// it.
#[repr(align(128))]
struct Apart<T>(T);

/// State under the lock. Handles and waiters are filed by the ids that the pool gives out.
struct State {
    pool: Pool,
    /// Idle connections by `ConnectionId::index`. Empty where the connection is leased or gone.
    connections: Vec<Filed>,
    /// Births by `ConnectionId::index`, also of leased connections.
    births: Vec<Birth>,
    waiters: BTreeMap<WaiterId, Waiter>,
    dials: BTreeMap<DialId, oneshot::Sender<()>>,
    /// Work list of [`Origin::dial_failed`].
    failed_dials: VecDeque<(DialPermit, Error)>,
    /// True while a thread works off `failed_dials`.
    handles_failures: bool,
    /// True while used connections are closed, because the retry budget was spent.
    distrusts_used: bool,
    /// The most requests that held or wanted a connection at once.
    peak: usize,
    /// The number of the request whose checkout is being fed.
    requesting: u64,
    opened_lately: RecentCount,
    /// Bodies that were left unread and cost their connections.
    unread: u64,
    /// Connections that are being drained now, and connections that were kept by draining.
    draining: usize,
    drained: u64,
    /// Checkouts that no request was sent for.
    warmed: u64,
    /// Idle connections that were doubted, with their addresses.
    suspects: Vec<(ConnectionId, Option<IpAddr>)>,
    /// The server wants HTTP/1.1, whatever is offered.
    needs_http1: bool,
}

/// The number of a connection, the moment when it was opened, and where to.
#[derive(Clone, Copy, Debug)]
struct Birth {
    id: u64,
    at: Moment,
    connection: ConnectionId,
    /// `None` where no name was looked up.
    address: Option<IpAddr>,
}

/// A request that waits: the channel of its answer, and the runtime of its task.
struct Waiter {
    request: u64,
    since: Moment,
    sender: oneshot::Sender<Answer>,
    runtime: Option<Handle>,
}

/// Answer to a checkout.
pub(crate) type Answer = Result<Granted, Error>;

/// A connection, with the pool's knowledge of it when it was granted.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) lease: Granting,
    pub(crate) exchanges: u64,
    /// Exchanges on the connection now, this one included.
    pub(crate) streams: u32,
    pub(crate) idle_age: Option<Duration>,
}

/// The lease of a connection, or of a stream.
#[derive(Debug)]
pub(crate) enum Granting {
    Exclusive(Lease),
    Stream(StreamLease),
}

/// A connection that the pool has assigned, before its lease is made.
struct Assignment {
    token: keepwarm_pool::Lease,
    handle: Handed,
    exchanges: u64,
    streams: u32,
    idle_age: Option<Duration>,
}

/// The handle of a connection that was assigned.
enum Handed {
    Exclusive(Box<Connection>),
    Shared(Arc<Http2>),
}

impl Assignment {
    /// Makes the lease. Its handle on the origin is the caller's own, where that is not needed beside
    /// it: two fewer changes of a count that the requests of all threads change.
    #[inline]
    fn grant(self, origin: &mut Option<Arc<Origin>>) -> Granted {
        let Self { token, handle, exchanges, streams, idle_age } = self;
        let lease = match handle {
            Handed::Exclusive(connection) => {
                let origin = origin.take().expect(NO_ORIGIN);
                Granting::Exclusive(Lease::new(origin, token, connection))
            }
            Handed::Shared(http2) => {
                let origin = Arc::clone(origin.as_ref().expect(NO_ORIGIN));
                Granting::Stream(StreamLease::new(origin, token, http2))
            }
        };
        Granted { lease, exchanges, streams, idle_age }
    }
}

/// Broken promise of a caller that asks for a connection.
const NO_ORIGIN: &str = "a request without a connection holds its origin";

/// A live connection on file.
enum Filed {
    /// The connection is leased or gone.
    Nothing,
    Exclusive(Box<Connection>),
    /// In use or idle.
    Shared(Arc<Http2>),
}

/// A checkout that has been answered, or has to wait.
pub(crate) enum Checkout {
    Answered(Answer),
    /// Waits since that moment.
    Queued(WaiterId, oneshot::Receiver<Answer>, Moment),
}

impl Origin {
    pub(crate) fn new(key: OriginKey, shared: Arc<Shared>) -> Arc<Self> {
        // A random seed, so that origins do not end their connections in step.
        let seed = RandomState::new().build_hasher().finish();
        let needs_http1 = key.is_http1();
        let sharing = match key.is_forwarded() || needs_http1 {
            true => Sharing::Never,
            false => shared.settings.sharing_of(key.scheme() == Scheme::Https),
        };
        let pool = Pool::new(keepwarm_pool::Settings { seed, sharing, ..shared.settings.pool });
        let host_field = key.host_field();
        let default_fields = encode_fields([(&HOST, &host_field), (&USER_AGENT, &AGENT)]);
        let retries = RetryBudget::new(shared.settings.retry_budget);
        Arc::new(Self {
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            name: key.to_string().into(),
            host_field,
            default_fields: default_fields.into(),
            key,
            shared,
            state: Apart(Mutex::new(State {
                pool,
                connections: Vec::new(),
                births: Vec::new(),
                waiters: BTreeMap::new(),
                dials: BTreeMap::new(),
                failed_dials: VecDeque::new(),
                handles_failures: false,
                distrusts_used: false,
                peak: 0,
                requesting: 0,
                opened_lately: RecentCount::default(),
                unread: 0,
                draining: 0,
                drained: 0,
                warmed: 0,
                suspects: Vec::new(),
                needs_http1,
            })),
            retries,
            calm: Calm::default(),
            addresses: KnownAddresses::default(),
            address_watch: AddressWatch::new(),
            warming: Warming::default(),
            refused: watch::Sender::new(None),
        })
    }

    pub(crate) fn key(&self) -> &OriginKey {
        &self.key
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns the value of `Host`, which is made once.
    pub(crate) fn host_field(&self) -> &HeaderValue {
        &self.host_field
    }

    /// Returns true if a URL of this scheme and authority is for this origin, because `Host` has the
    /// authority so. False says nothing: there are other ways to write it, and `Host` names neither
    /// a zone nor a proxy.
    pub(crate) fn is_written(&self, scheme: &str, authority: &str) -> bool {
        self.host_field.as_bytes() == authority.as_bytes()
            && self.key.scheme().name() == scheme
            && self.key.is_plain()
    }

    /// Returns the encoded fields of a request that has none of its own.
    pub(crate) fn default_fields(&self) -> &[u8] {
        &self.default_fields
    }

    /// Returns what is known of the addresses that dials connect to.
    pub(crate) fn addresses(&self) -> &KnownAddresses {
        &self.addresses
    }

    /// Returns the pauses before dials that the server has asked for.
    pub(crate) const fn calm(&self) -> &Calm {
        &self.calm
    }

    pub(crate) const fn warming(&self) -> &Warming {
        &self.warming
    }

    /// Returns the news of dials that this host refuses from now on.
    pub(crate) fn refusals(&self) -> watch::Receiver<Option<Error>> {
        self.refused.subscribe()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Asks for a connection for a request. The lease of one that is there takes the caller's handle.
    pub(crate) fn checkout(origin: &mut Option<Arc<Self>>, request: u64) -> Checkout {
        Self::ask(origin, request, |this, state, now| {
            if state.distrusts_used && this.retries.has_recovered(state.requests(), now) {
                state.distrusts_used = false;
                state.pool.trust_used(now);
            }
            state.pool.checkout(now)
        })
    }

    /// Asks for another connection for a request whose connection broke, in that one's room. If the
    /// server may have seen the request, so that it needs a fresh connection, a retry is taken out
    /// of the budget; once that is spent, used connections are distrusted until it recovers.
    pub(crate) fn replace(
        self: &Arc<Self>,
        request: u64,
        token: keepwarm_pool::Lease,
        end: Option<(CloseReason, Closer)>,
        wanted: Replacement,
    ) -> Checkout {
        Self::ask(&mut Some(Arc::clone(self)), request, |this, state, now| {
            let Some(end) = end else {
                this.record_given_back(state, &token, now);
                return state.pool.go_again(token, now);
            };
            if wanted == Replacement::Fresh
                && !this.retries.take(state.requests(), now)
                && !std::mem::replace(&mut state.distrusts_used, true)
            {
                state.pool.distrust_used(now);
            }
            state.pool.replace(token, end, wanted, now)
        })
    }

    /// Feeds the pool an input that asks for a connection, and files the waiter if it has to wait.
    fn ask(
        origin: &mut Option<Arc<Self>>,
        request: u64,
        input: impl FnOnce(&Self, &mut State, Moment) -> WaiterId,
    ) -> Checkout {
        let mut moment = Moment::ZERO;
        let this = origin.as_ref().expect(NO_ORIGIN);
        let (queued, own) = this.feed(None, |state, now| {
            moment = now;
            state.requesting = request;
            let waiter = input(this, state, now);
            state.pool.is_waiting(waiter).then(|| {
                let (sender, receiver) = oneshot::channel();
                let runtime = Handle::try_current().ok();
                state.waiters.insert(waiter, Waiter { request, since: now, sender, runtime });
                this.record(now, || EventKind::WaitBegan { request });
                (waiter, receiver, now)
            })
        });
        // First, so that a panic of what follows loses no connection.
        let due = this.addresses_are_due(moment).then(|| Arc::clone(this));
        let own = own.map(|answer| answer.map(|assigned| assigned.grant(origin)));
        if let Some(due) = due {
            due.refresh_addresses();
        }
        match (own, queued) {
            (Some(answer), _) => Checkout::Answered(answer),
            (None, Some((waiter, receiver, now))) => Checkout::Queued(waiter, receiver, now),
            (None, None) => unreachable!("the pool answers a checkout or lets it wait"),
        }
    }

    /// Ends a waiter that gives up. If it has been answered already, the answer finds its receiver
    /// gone, and the lease in it returns to the pool by being dropped.
    pub(crate) fn cancel(self: &Arc<Self>, waiter: WaiterId) {
        // The waiter leaves the lock with the result, and is dropped outside.
        let (_waiter, _) = self.feed(None, |state, now| {
            if !state.pool.cancel(waiter, now) {
                return None;
            }
            let waiter = state.waiters.remove(&waiter)?;
            self.record(now, || waiter.wait_ended(now, false));
            Some(waiter)
        });
    }

    /// Takes the connection of a finished dial into the pool. `address`: where it goes to, if a name
    /// was looked up.
    pub(crate) fn dialed(
        self: &Arc<Self>,
        permit: DialPermit,
        mut connection: Box<Connection>,
        address: Option<IpAddr>,
    ) {
        if let Err(end) = connection.suspend() {
            // The connection ended between connect and here, and could serve no request.
            drop(connection);
            let message = match (end.closer, end.reason) {
                (Closer::Server, _) => "the server closed the connection at once",
                (_, CloseReason::StrayBytes) => "the server sent bytes before a request",
                _ => "the connection failed at once",
            };
            let error =
                Error::new(Stage::Connect, Kind::Failed).with_message(message).at(&self.name);
            return self.dial_failed(permit, error);
        }
        let waker = Arc::clone(connection.waker());
        let keeper = Arc::clone(&self.shared.keeper);
        let (_abort, _) = self.feed(None, |state, now| {
            let abort = state.dials.remove(&permit.dial());
            let (number, dial) = (connection.id(), permit.dial().as_u64());
            let id = state.pool.dialed(permit, Capacity::Exclusive, now);
            state.note_birth(id, Birth { id: number, at: now, connection: id, address });
            self.note_address(address, now);
            let version = http::Version::HTTP_11;
            self.record(now, || EventKind::ConnectionOpened { connection: number, dial, version });
            state.opened_lately.note(now);
            let wakeup = IdleWakeup::new(keeper, Arc::downgrade(self), id);
            connection.waker().set_pool(Box::new(wakeup));
            state.file(id, Filed::Exclusive(connection));
            abort
        });
        waker.recheck();
    }

    /// Returns a new abort signal for a dial that goes on in another runtime.
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

    /// Returns a runtime to dial on: that of the youngest waiter in another runtime than `ended`.
    pub(crate) fn runtime_other_than(&self, ended: Id) -> Option<Handle> {
        let state = self.lock();
        let runtimes = state.waiters.values().rev();
        runtimes
            .filter_map(|waiter| waiter.runtime.as_ref())
            .find(|runtime| runtime.id() != ended)
            .cloned()
    }

    /// Takes a leased connection back, which its lease has suspended: after an exchange (`served`),
    /// or unused.
    pub(crate) fn handle_returned(
        self: &Arc<Self>,
        token: keepwarm_pool::Lease,
        mut connection: Box<Connection>,
        served: bool,
    ) {
        let waker = Arc::clone(connection.waker());
        self.feed_at(self.shared.clock.now_at_earliest(), None, |state, now| {
            let (number, advice) = (connection.id(), connection.take_advice());
            self.record(now, || EventKind::ConnectionReturned { connection: number, served });
            let id = token.connection();
            state.file(id, Filed::Exclusive(connection));
            if served {
                state.trust_siblings(id, now);
                if let Some(advice) = advice {
                    state.pool.advised(&token, advice);
                }
                state.pool.returned(token, now);
            } else {
                state.pool.returned_unused(token, now);
            }
        });
        waker.recheck();
    }

    /// Notes that a leased connection has been closed.
    pub(crate) fn closed(
        self: &Arc<Self>,
        token: keepwarm_pool::Lease,
        reason: CloseReason,
        closer: Closer,
    ) {
        self.feed(None, |state, now| state.pool.closed(token, reason, closer, now));
    }

    /// Inspects an idle connection whose socket became ready: takes it out, and reads.
    pub(crate) fn inspect(self: &Arc<Self>, connection: ConnectionId) {
        let (lease, _) = self.feed(None, |state, now| {
            let token = state.pool.inspect(connection, now)?;
            let handle = state.take(connection)?;
            self.record(now, || EventKind::ConnectionInspected { connection: handle.id() });
            Some((token, handle))
        });
        // Dropped unused, the lease suspends the connection again, which polls it and reads.
        drop(lease.map(|(token, handle)| Lease::new(Arc::clone(self), token, handle)));
    }

    /// Closes the connection that has been idle the longest. False if none is idle.
    pub(crate) fn evict_oldest(self: &Arc<Self>, reason: CloseReason) -> bool {
        self.feed(None, |state, now| state.pool.evict_oldest(reason, now)).0
    }

    /// Passes a granted place on to the pool. False if the claim was withdrawn.
    pub(crate) fn granted(self: &Arc<Self>, claim: ClaimId, place: Place) -> bool {
        self.feed(None, |state, now| state.pool.granted(claim, place, now)).0
    }

    /// Tells the pool that a claim has to wait for a place.
    pub(crate) fn deferred(self: &Arc<Self>, claim: ClaimId) {
        self.feed(None, |state, now| state.pool.deferred(claim, now));
    }

    /// Closes idle connections now, and connections in use when they return.
    pub(crate) fn close_idle(self: &Arc<Self>) {
        self.addresses.forget();
        self.feed(None, |state, now| state.pool.close_idle(now));
    }

    /// Closes expired connections, and returns the next deadline. Called by the keeper itself,
    /// which gets the deadline as the return value; notifying the keeper as well would wake it
    /// again immediately.
    pub(crate) fn tick(self: &Arc<Self>) -> Moment {
        let now = self.shared.clock.now();
        self.feed_without_keeper(now, None, |state, now| state.pool.tick(now)).deadline
    }

    pub(crate) fn shut_down(self: &Arc<Self>) {
        self.feed(None, |state, now| state.pool.shut_down(now));
    }

    /// Returns true if the origin has a connection or a waiter, or is dialling.
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
        let (shared, streams) = state.pool.shared();
        Snapshot {
            shared,
            streams,
            dialing: state.pool.dialing(),
            active: state.pool.active(),
            idle: state.pool.idle(),
            waiting: state.pool.waiting(),
            peak: state.peak,
            learned_idle_timeout: state.pool.learned_idle_timeout(),
            addresses_rotate: self.addresses_rotate(),
            idle_closes: state.pool.idle_closes(),
            opened_lately: state.opened_lately.count(now),
            unread: state.unread,
            draining: state.draining,
            drained: state.drained,
            warmed: state.warmed,
            counts: *state.pool.counts(),
        }
    }

    /// Counts a body that was left unread, and whose connection is about to be closed for it.
    pub(crate) fn note_unread(&self) {
        let mut state = self.lock();
        state.unread += 1;
        let (unread, requests) = (state.unread, state.pool.counts().checkouts);
        drop(state);
        warnings::body_left_unread(&self.name, unread, requests);
    }

    /// Changes the number of connections that are being drained.
    pub(crate) fn note_draining(&self, change: isize) {
        let mut state = self.lock();
        state.draining = state.draining.saturating_add_signed(change);
    }

    /// Counts checkouts that no request was sent for.
    pub(crate) fn note_warmed(&self, connections: usize) {
        self.lock().warmed += connections as u64;
    }

    /// Counts a connection that was drained, and is about to return.
    pub(crate) fn note_drained(&self) {
        self.lock().drained += 1;
    }

    /// Returns the count of connections opened in the last ten seconds.
    pub(crate) fn opened_lately(&self) -> RecentCount {
        self.lock().opened_lately
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the number of checkouts so far.
    fn requests(&self) -> u64 {
        self.pool.counts().checkouts
    }

    fn note_birth(&mut self, id: ConnectionId, birth: Birth) {
        if self.births.len() <= id.index() {
            self.births.resize(id.index() + 1, birth);
        }
        self.births[id.index()] = birth;
    }

    fn file(&mut self, id: ConnectionId, connection: Filed) {
        if self.connections.len() <= id.index() {
            self.connections.resize_with(id.index() + 1, || Filed::Nothing);
        }
        self.connections[id.index()] = connection;
    }

    /// Takes the handle of an idle exclusive connection out.
    fn take(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        let filed = &mut self.connections[id.index()];
        match std::mem::replace(filed, Filed::Nothing) {
            Filed::Exclusive(connection) => Some(connection),
            other => {
                *filed = other;
                None
            }
        }
    }

    /// Trusts the idle connections that were doubted with this one, which was answered.
    fn trust_siblings(&mut self, answered: ConnectionId, now: Moment) {
        let known = self.suspects.iter().find(|(suspect, _)| *suspect == answered);
        let Some((_, address)) = known.copied() else { return };
        for (suspect, _) in self.suspects.extract_if(.., |(_, other)| *other == address) {
            self.pool.trusted(suspect, now);
        }
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("name", &self.name).finish_non_exhaustive()
    }
}
