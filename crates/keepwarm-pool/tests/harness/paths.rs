//! The paths that a sequence has taken: the list that a generator must reach in full.

use keepwarm_pool::{CloseReason, Closer, RejectReason};

/// The reasons that the pool decides on itself. It is then the client that closes.
pub(crate) const DECIDED: [CloseReason; 10] = [
    CloseReason::IdleLimit,
    CloseReason::TotalIdleLimit,
    CloseReason::TotalLimit,
    CloseReason::IdleTimeout,
    CloseReason::ShutDown,
    CloseReason::CloseIdle,
    CloseReason::ExchangeLimit,
    CloseReason::Lifetime,
    CloseReason::ServerLimit,
    CloseReason::Distrusted,
];

/// The reasons that a driver reports, with either closer: who was first is what it saw.
pub(crate) const REPORTED: [CloseReason; 7] = [
    CloseReason::AddressGone,
    CloseReason::PeerClosedIdle,
    CloseReason::StrayBytes,
    CloseReason::NotPersistent,
    CloseReason::ExchangeFailed,
    CloseReason::Abandoned,
    CloseReason::UploadUnfinished,
];

/// Decided by what many connections have shown, which has a file of its own (`learning.rs`).
pub(crate) const LEARNED: [CloseReason; 1] = [CloseReason::LearnedTimeout];

/// Reasons of connections that serve several requests at once, or are in doubt, which have a file of
/// their own (`streams.rs`).
pub(crate) const SHARING: [CloseReason; 5] = [
    CloseReason::Suspect,
    CloseReason::GoAway,
    CloseReason::PingTimeout,
    CloseReason::ResetBudget,
    CloseReason::StreamIds,
];

/// A reason that is added has to be put into one of the four.
const _: () = assert!(
    DECIDED.len() + REPORTED.len() + LEARNED.len() + SHARING.len() == CloseReason::ALL.len()
);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Path {
    Close(CloseReason, Closer),
    Reject(RejectReason),
    Seen(Seen),
}

macro_rules! seen {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Seen { $($(#[$doc])* $name,)* }

        impl Seen {
            const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

seen! {
    Dial,
    AbortDial,
    AssignNew,
    AssignReused,
    /// A checkout found an idle connection.
    Hit,
    /// The newest of several idle connections was leased.
    NewestOfSeveral,
    /// A checkout has to wait, and no dial is started for it.
    WaitWithoutDial,
    /// A waiter got the connection of a dial that another checkout caused.
    ForeignDial,
    /// A waiter got a returned connection while the dial it had caused was under way.
    ReturnBeatsDial,
    /// A dial finished while no request waited.
    SurplusDialIdle,
    SurplusDialClosed,
    /// A dial outlived the waiter that caused it, and served one that came later.
    SurplusDialServesLater,
    /// Returned or put back, to a waiter.
    ReturnServes,
    PutBackServes,
    PutBackIdle,
    PutBackClosed,
    /// A dial failed while a request waited, and none was rejected.
    FailureRejectsNone,
    FailureWithoutWaiters,
    /// A dial failed, and its room was dialled into again.
    FailureDials,
    /// A connection ended, and its room was dialled into.
    CloseDials,
    /// The host refused a dial, whose waiter waits for a connection, or is dialled for later.
    RefusalWaits,
    TickDials,
    /// A dial failed, and answered for several waiters.
    FailureRejectsSeveral,
    /// A request whose connection broke: waits for a dial of its own or another's, while a
    /// connection is idle or other requests wait, or takes an idle one.
    ReplaceDials,
    ReplacePassesQueue,
    ReplaceTakesSurplusDial,
    ReplaceFromIdle,
    ReplaceAfterShutDown,
    FreshPassesIdle,
    FreshServed,
    /// A used connection went past it: to a later waiter, to a later checkout, or to rest.
    FreshPassedBy,
    FreshPassedByHit,
    FreshLeavesToRest,
    FreshRejected,
    FreshCancelled,
    /// Used connections are distrusted: idle ones are closed, those never used are kept.
    DistrustClosesIdle,
    DistrustKeepsNew,
    CancelWaiting,
    CancelEnded,
    InspectFound,
    InspectGone,
    InspectExpired,
    Claim,
    /// For several waiters, and one whose own limit had kept it from claiming before.
    ClaimMore,
    ClaimLate,
    /// A withdrawn claim: its waiter was served (maybe by another's dial), gave up, or was rejected.
    WithdrawServed,
    WithdrawCancelled,
    WithdrawCovered,
    WithdrawRejected,
    WithdrawShutDown,
    GrantDials,
    GrantTooLate,
    DeferWaits,
    DeferRejects,
    EvictOne,
    EvictNone,
    /// Several idle connections were dismissed at once.
    DismissSeveral,
    /// An active connection was dismissed.
    DismissActive,
    DismissDialing,
    DismissNone,
    /// A connection that must serve no other request returned, and its room was dialled into.
    RetiredDials,
    DismissedPutBack,
    DismissedAfterShutDown,
    /// By what the server had said.
    AdviceAtReturn,
    AdviceAtPutBack,
    AdviceAtCheckout,
    AdviceAtTick,
    LifetimeAtReturn,
    LifetimeAtCheckout,
    LifetimeAtTick,
    /// An idle connection expired before one that had been idle for longer.
    ExpireYounger,
    ExpireAtCheckout,
    ExpireAtReturn,
    /// As many as allowed were idle, one of them expired, and another one came.
    ExpireMakesRoom,
    ExpireAtTick,
    ExpireSeveral,
    TickInVain,
    /// An idle time of zero.
    ExpireAtOnce,
    ShutDownWithWaiters,
    ShutDownWithDials,
    ShutDownWithIdle,
    ShutDownWithActive,
    ShutDownTwice,
    DialedAfterShutDown,
    FailedAfterShutDown,
    ReturnedAfterShutDown,
    ClosedAfterShutDown,
    CancelAfterShutDown,
    /// An input came with an earlier moment than one before it.
    ClockBackwards,
    /// A connection got the index of one that is gone.
    IndexAgain,
}

impl Path {
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        all.extend(DECIDED.map(|reason| Self::Close(reason, Closer::Client)));
        for closer in Closer::ALL {
            all.extend(REPORTED.map(|reason| Self::Close(reason, closer)));
        }
        all.extend(RejectReason::ALL.map(Self::Reject));
        all.extend(Seen::ALL.iter().copied().map(Self::Seen));
        all
    }
}
