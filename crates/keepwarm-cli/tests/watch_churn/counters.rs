//! The growth of the kernel's own counters by each way of closing: the equations of the proof.
//!
//! The parts of the two sockets are separate, because they may be in different namespaces.

use std::ops::{AddAssign, Mul};

use keepwarm_sockets::Counters;
use keepwarm_testkit::churn::{Silence, Way};

macro_rules! counts {
    ($($field:ident),* $(,)?) => {
        /// Growth of the counters that these ways touch, and of those that they must not.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $field: u64,)*
        }

        impl Counts {
            /// Returns the growth between two readings.
            pub(crate) fn between(before: &Counters, after: &Counters) -> Counts {
                let grown = after.since(before);
                Counts { $($field: grown.$field.expect(stringify!($field)),)* }
            }
        }

        impl AddAssign for Counts {
            fn add_assign(&mut self, other: Counts) {
                $(self.$field += other.$field;)*
            }
        }

        impl Mul<u64> for Counts {
            type Output = Counts;
            fn mul(self, times: u64) -> Counts {
                Counts { $($field: self.$field * times,)* }
            }
        }
    };
}

counts! {
    active_opens, passive_opens, attempt_fails, estab_resets, out_resets,
    time_waits, time_waits_recycled, time_wait_overflow,
    abort_on_close, abort_on_data, abort_on_timeout, abort_on_linger, abort_on_memory, abort_failed,
    listen_overflows, listen_drops,
}

const NONE: Counts = Counts {
    active_opens: 0,
    passive_opens: 0,
    attempt_fails: 0,
    estab_resets: 0,
    out_resets: 0,
    time_waits: 0,
    time_waits_recycled: 0,
    time_wait_overflow: 0,
    abort_on_close: 0,
    abort_on_data: 0,
    abort_on_timeout: 0,
    abort_on_linger: 0,
    abort_on_memory: 0,
    abort_failed: 0,
    listen_overflows: 0,
    listen_drops: 0,
};

/// The socket that closed first enters TIME_WAIT.
const WAITS: Counts = Counts { time_waits: 1, ..NONE };
/// A socket that went from ESTABLISHED or CLOSE_WAIT straight to CLOSE.
const RESET: Counts = Counts { estab_resets: 1, ..NONE };
/// SO_LINGER 0.
const ABORTS: Counts = Counts { out_resets: 1, abort_on_data: 1, ..RESET };
/// close(2) with data unread.
const LEAVES_UNREAD: Counts = Counts { out_resets: 1, abort_on_close: 1, ..RESET };
/// Gave up with the connection established.
const GIVES_UP: Counts = Counts { abort_on_timeout: 1, ..RESET };

/// Returns the counts of a connection at the client's socket, and at the server's.
pub(crate) fn of(way: Way) -> [Counts; 2] {
    let [mut client, mut server] = match way {
        Way::ClientFin | Way::ClientHalfClose => [WAITS, NONE],
        Way::ServerFin | Way::ServerFinUnnoticed | Way::ServerHalfClose => [NONE, WAITS],
        Way::Crossed => [WAITS, WAITS],
        Way::ClientRst | Way::ClientRstOnUnreadServer => [ABORTS, RESET],
        Way::ServerRst => [RESET, ABORTS],
        Way::ClientUnread => [LEAVES_UNREAD, RESET],
        Way::ServerUnread => [RESET, LEAVES_UNREAD],
        // The RST is quicker than the acknowledgement of the FIN, which TCP delays: the client is
        // in FIN_WAIT1 still, and of that no TIME_WAIT is made.
        Way::ClientFinServerUnread => [NONE, LEAVES_UNREAD],
        // The request is quicker too, and the server, in FIN_WAIT1, has no reader for it.
        Way::ServerFinClientWrites => [RESET, Counts { out_resets: 1, abort_on_data: 1, ..NONE }],
    };
    client.active_opens = 1;
    server.passive_opens = 1;
    [client, server]
}

/// TCP delays an acknowledgement by 40 ms at least, and still it may be quicker than a test that
/// has no core. In the two ways whose RST overtakes the acknowledgement of a FIN, some connections
/// were acknowledged first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Races {
    /// Sockets that went through FIN_WAIT2 to TIME_WAIT.
    pub(crate) waited: u64,
    /// Sockets of these that sent their RST as a TIME_WAIT.
    pub(crate) answered: u64,
}

impl Races {
    /// Derives the races from the counters; at most `connections` of each way.
    #[track_caller]
    pub(crate) fn of(seen: &Counts, expected: &Counts, connections: u64) -> Races {
        let waited = seen.time_waits.checked_sub(expected.time_waits);
        let answered = expected.abort_on_data.checked_sub(seen.abort_on_data);
        let (Some(waited), Some(answered)) = (waited, answered) else {
            panic!("{seen:?} {expected:?}")
        };
        assert!(answered <= waited, "{seen:?} {expected:?}");
        assert!(answered <= connections && waited - answered <= connections, "{seen:?}");
        Races { waited, answered }
    }

    pub(crate) fn apply(self, expected: Counts) -> Counts {
        Counts {
            time_waits: expected.time_waits + self.waited,
            abort_on_data: expected.abort_on_data - self.answered,
            ..expected
        }
    }
}

/// Returns the counts of a connection whose sockets lost each other.
pub(crate) fn of_silence(silence: Silence) -> [Counts; 2] {
    let end = match silence {
        Silence::Data => GIVES_UP,
        // The kernel says farewell.
        Silence::Idle => Counts { out_resets: 1, ..GIVES_UP },
        Silence::Fin => Counts { abort_on_timeout: 1, ..NONE },
    };
    [Counts { active_opens: 1, ..end }, Counts { passive_opens: 1, ..end }]
}

/// The counts of a connect(2) that was refused.
pub(crate) const REFUSED: [Counts; 2] =
    [Counts { active_opens: 1, attempt_fails: 1, ..NONE }, Counts { out_resets: 1, ..NONE }];

/// The counts of a connect(2) without an answer.
pub(crate) const UNANSWERED: [Counts; 2] =
    [Counts { active_opens: 1, attempt_fails: 1, abort_on_timeout: 1, ..NONE }, NONE];
