//! The limits of one pool.

use core::time::Duration;

/// An upper limit on a count. Having none is a value, not an absence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Limit(u32);

impl Limit {
    /// No limit.
    pub const NONE: Self = Self(u32::MAX);

    /// At most `count`. Zero allows nothing; `u32::MAX` is [`Limit::NONE`].
    #[must_use]
    pub const fn at_most(count: u32) -> Self {
        Self(count)
    }

    /// Whether one more is allowed where `count` exist already.
    #[must_use]
    pub const fn has_room(self, count: usize) -> bool {
        self.0 == u32::MAX || count < self.0 as usize
    }

    /// Whether a count that may exceed `usize` has come to the limit.
    pub(crate) const fn is_reached(self, count: u64) -> bool {
        self.0 != u32::MAX && count >= self.0 as u64
    }

    /// The number, or `None` when there is no limit.
    #[must_use]
    pub const fn get(self) -> Option<u32> {
        if self.0 == u32::MAX { None } else { Some(self.0) }
    }
}

impl From<u32> for Limit {
    /// At most that many.
    fn from(count: u32) -> Self {
        Self::at_most(count)
    }
}

/// What a pool may do. Fixed for the life of the pool.
///
/// The default has no limit on counts and closes by age alone, after 90 seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Connections that may be idle at once. One that is returned beyond it, while nobody waits, is
    /// closed with [`CloseReason::IdleLimit`](crate::CloseReason::IdleLimit). Zero keeps none.
    pub max_idle: Limit,
    /// Connections that may exist at once, those being dialled included. Requests beyond it wait.
    /// Zero means that no request is ever served, so whoever builds the settings refuses it.
    pub max_connections: Limit,
    /// Waiters that may queue beyond those for whom a dial is under way. The next one is rejected
    /// with [`RejectReason::TooManyWaiters`](crate::RejectReason::TooManyWaiters). Zero rejects
    /// every checkout that neither an idle connection nor a dial can serve.
    pub max_waiters: Limit,
    /// Exchanges that one connection may serve. After so many it is closed when it comes back, with
    /// [`CloseReason::ExchangeLimit`](crate::CloseReason::ExchangeLimit), though somebody may wait:
    /// the room it leaves is dialled into for them. Zero is as one, since a connection that may
    /// serve nobody would be dialled for in vain.
    pub max_exchanges: Limit,
    /// How long a connection may be idle. From that moment on it is never assigned, and it takes
    /// nobody's place under `max_idle`: whichever comes first, a tick, a checkout, an inspection or
    /// a connection that becomes idle, closes it. [`Duration::MAX`] means for ever; zero closes a
    /// connection as soon as nobody wants it.
    pub idle_timeout: Duration,
    /// How long a connection may live, less up to a tenth, so that connections that were opened
    /// together do not end together: see [`lifetime_of`](Settings::lifetime_of). From that moment on
    /// it is closed with [`CloseReason::Lifetime`](crate::CloseReason::Lifetime): at once if it is
    /// idle, as by the idle timeout, and otherwise when it comes back, though somebody may wait.
    /// [`Duration::MAX`] means for ever. With zero a connection serves the exchange it was dialled
    /// for and no other.
    pub max_lifetime: Duration,
    /// Whether the server's idle timeout is learned from the connections that it closes while they are
    /// idle, where it says nothing of it: five such closes, one after the other at the same idle age,
    /// teach it. From then on a connection that comes back expires before that age, as by
    /// [`Advice::usable_for`](crate::Advice::usable_for), with
    /// [`CloseReason::LearnedTimeout`](crate::CloseReason::LearnedTimeout). After ten minutes it has to
    /// be seen once more, and a connection that outlives it refutes it.
    pub learns_idle_timeout: bool,
    /// Whether the connections of several pools together are limited. Then the pool asks for a place
    /// before each dial, by [`Effect::Claim`](crate::Effect::Claim).
    pub shares_places: bool,
    /// How much later than the oldest claim of any pool a waiter may have come, and yet be served
    /// before it by a connection of this pool that comes back. Beyond it the connection is closed, with
    /// [`CloseReason::TotalLimit`](crate::CloseReason::TotalLimit), and its place goes to that
    /// claim. Zero is the strict order, at the price of a dial wherever two pools take turns.
    pub overtaking: Duration,
    /// What the differences between lifetimes come from. Any number; pools that should not end their
    /// connections in step have different ones.
    pub seed: u64,
}

impl Settings {
    /// How long the connection that was opened as the `nth` may live: `max_lifetime`, less between
    /// nothing and a tenth. The same for the same seed.
    #[must_use]
    pub fn lifetime_of(&self, nth: u64) -> Duration {
        if self.max_lifetime == Duration::MAX {
            return Duration::MAX;
        }
        let nanos = u64::try_from(self.max_lifetime.as_nanos()).unwrap_or(u64::MAX);
        let share = u128::from(nanos / 10) + 1;
        let less = (share * u128::from(scatter(self.seed, nth))) >> 64;
        Duration::from_nanos(nanos - less as u64)
    }
}

/// The `nth` number of a sequence that looks like chance: splitmix64.
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
            learns_idle_timeout: false,
            shares_places: false,
            overtaking: Duration::from_millis(100),
            seed: 0,
        }
    }
}
