//! The limits of one pool.

use core::time::Duration;

/// An upper limit on a count. No limit is a value of its own, not an absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limit(u32);

impl Limit {
    /// No limit.
    pub const NONE: Self = Self(u32::MAX);

    /// Returns a limit of `count`. Zero allows none; `u32::MAX` is [`Limit::NONE`].
    #[must_use]
    pub const fn at_most(count: u32) -> Self {
        Self(count)
    }

    /// Returns true if one more is allowed where `count` exist already.
    #[must_use]
    pub const fn has_room(self, count: usize) -> bool {
        self.0 == u32::MAX || count < self.0 as usize
    }

    /// Returns true if a count, which may exceed `usize`, has come to the limit.
    pub(crate) const fn is_reached(self, count: u64) -> bool {
        self.0 != u32::MAX && count >= self.0 as u64
    }

    /// Returns the number, or `None` when there is no limit.
    #[must_use]
    pub const fn get(self) -> Option<u32> {
        if self.0 == u32::MAX { None } else { Some(self.0) }
    }
}

impl From<usize> for Limit {
    /// Returns a limit of that many; of more than `u32` holds, [`Limit::NONE`].
    fn from(count: usize) -> Self {
        u32::try_from(count).map_or(Self::NONE, Self::at_most)
    }
}

impl From<i32> for Limit {
    /// Returns a limit of that many; a negative number counts as zero. For plain numbers in code,
    /// which are `i32` where several types would do.
    fn from(count: i32) -> Self {
        Self::at_most(u32::try_from(count).unwrap_or(0))
    }
}

impl From<u32> for Limit {
    /// Returns a limit of that many.
    fn from(count: u32) -> Self {
        Self::at_most(count)
    }
}

/// Limits and timeouts of a pool. Fixed for the life of the pool.
///
/// The default has no limit on counts and closes by age alone, after 90 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections that may be idle at once. A connection that returns beyond it, while no request
    /// waits, is closed with [`CloseReason::IdleLimit`](crate::CloseReason::IdleLimit). Zero keeps
    /// none.
    pub max_idle: Limit,
    /// Connections that may exist at once, those being dialled included. Requests beyond it wait.
    /// With zero no request is ever served, so the builder of the settings has to reject it.
    pub max_connections: Limit,
    /// Waiters that may queue beyond those with a dial under way. The next one is rejected
    /// with [`RejectReason::TooManyWaiters`](crate::RejectReason::TooManyWaiters). Zero rejects
    /// every checkout that neither an idle connection nor a dial can serve.
    pub max_waiters: Limit,
    /// Exchanges that one connection may serve. After the last it is closed when it returns, with
    /// [`CloseReason::ExchangeLimit`](crate::CloseReason::ExchangeLimit), also while a request
    /// waits: a dial into the room it leaves serves that request. Zero counts as one, since a
    /// connection that may serve no request would be dialled for nothing.
    pub max_exchanges: Limit,
    /// Time that a connection may be idle. From that moment on it is never assigned, and does not
    /// count under `max_idle`: the first tick, checkout, inspection or connection that becomes idle
    /// closes it. [`Duration::MAX`] means for ever; zero closes a connection as soon as no request
    /// waits for it.
    pub idle_timeout: Duration,
    /// Time that a connection may live, less up to the jitter, so that connections that were opened
    /// together do not end together: see [`lifetime_of`](Settings::lifetime_of). From that moment
    /// on it is closed with [`CloseReason::Lifetime`](crate::CloseReason::Lifetime): at once if it
    /// is idle, as by the idle timeout, and otherwise when it returns, also while a request waits.
    /// [`Duration::MAX`] means for ever. With zero a connection serves the exchange it was dialled
    /// for and no other.
    pub max_lifetime: Duration,
    /// The most that is taken off the lifetime of a connection; `None` for a tenth of it. Zero lets
    /// all live for the same time.
    pub lifetime_jitter: Option<Duration>,
    /// True if the server's idle timeout is learned from the connections that it closes while they
    /// are idle, where the server announces none: five such closes, one after the other at the same
    /// idle age, establish it. From then on a connection that returns expires before that age, as
    /// by [`Advice::usable_for`](crate::Advice::usable_for), with
    /// [`CloseReason::LearnedTimeout`](crate::CloseReason::LearnedTimeout). After ten minutes it
    /// has to be seen once more, and a connection that outlives it refutes it.
    pub learns_idle_timeout: bool,
    /// True if connections are kept while no request needs them. If not, a connection that would
    /// become idle is closed with
    /// [`CloseReason::NotPersistent`](crate::CloseReason::NotPersistent): a dial whose request was
    /// served otherwise, for example.
    pub keeps_connections: bool,
    /// True if the connections of several pools together are limited. Then the pool asks for a
    /// place before each dial, by [`Effect::Claim`](crate::Effect::Claim), see
    /// [`SharedLimit`](crate::SharedLimit).
    pub shares_places: bool,
    /// Expectation of connections before the first one is open: see [`Sharing`].
    pub sharing: Sharing,
    /// Streams that one shared connection may have at once, whatever its peer allows. Requests
    /// beyond it open further connections. Zero counts as one.
    pub max_streams: u32,
    /// True if a request takes the connection with the fewest streams, and not, as otherwise, the
    /// fullest that has room, which lets surplus connections go idle.
    pub spread: bool,
    /// Seed of the differences between lifetimes. Any number; pools that should not end their
    /// connections in step have different seeds.
    pub seed: u64,
}

impl Settings {
    /// Returns the lifetime of the connection that was opened as the `nth`: `max_lifetime`, less
    /// between nothing and the jitter. Equal for equal seeds.
    #[must_use]
    pub fn lifetime_of(&self, nth: u64) -> Duration {
        if self.max_lifetime == Duration::MAX {
            return Duration::MAX;
        }
        let nanos = u64::try_from(self.max_lifetime.as_nanos()).unwrap_or(u64::MAX);
        let most = self.lifetime_jitter.map_or(nanos / 10, |jitter| {
            u64::try_from(jitter.as_nanos()).map_or(nanos, |jitter| jitter.min(nanos))
        });
        let share = u128::from(most) + 1;
        let less = (share * u128::from(scatter(self.seed, nth))) >> 64;
        Duration::from_nanos(nanos - less as u64)
    }
}

/// Whether the connections of an origin are expected to serve several requests at once. Only a
/// forecast, which each dial corrects: see [`Pool::dialed`](crate::Pool::dialed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// Each connection serves one request at a time.
    Never,
    /// Unknown until the first dial succeeds. That dial is expected to serve every waiter, up to a
    /// hundred, so that a burst opens one connection; if it takes long, one dial more starts for
    /// each [`GATE_STEP`](crate::Pool::GATE_STEP).
    Unknown,
    /// Every connection is shared.
    Always,
}

/// Returns the `nth` number of a pseudo-random sequence: splitmix64.
const fn scatter(seed: u64, nth: u64) -> u64 {
    let mut bits = seed.wrapping_add(nth.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_idle: Limit::NONE,
            max_connections: Limit::NONE,
            max_waiters: Limit::NONE,
            max_exchanges: Limit::NONE,
            idle_timeout: Duration::from_secs(90),
            max_lifetime: Duration::MAX,
            lifetime_jitter: None,
            learns_idle_timeout: false,
            keeps_connections: true,
            shares_places: false,
            sharing: Sharing::Never,
            max_streams: 100,
            spread: false,
            seed: 0,
        }
    }
}
