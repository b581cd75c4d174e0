//! A situation as data: what is played, and what a watch has to say of it.

use std::fmt;

use keepwarm_testkit::wire::Conditions;

/// The side of the service's connections that a host has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) const ALL: [Side; 2] = [Side::Client, Side::Server];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Server => "server",
        }
    }
}

/// The user that watches, and the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum View {
    /// User nobody, at the level without destroy events (`--level l0`).
    L0,
    /// User nobody, who reaches level L1.
    L1,
    /// Root, who reaches level L2 where tracefs is mounted.
    L2,
    /// User nobody, with one dump at the end of the play (`--once`).
    Once,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            View::L0 => "L0",
            View::L1 => "L1",
            View::L2 => "L2",
            View::Once => "once",
        })
    }
}

/// Something that happens during the play.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Event {
    /// The cable is cut.
    Cut,
    /// A firewall forgets the connections there are.
    Forget,
    /// Packets that this host sends get lost from now on.
    Mute(Side),
    /// The watches are stopped (SIGSTOP) for this many milliseconds.
    StopWatches(u64),
}

/// The finding that one side has to be given.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expect {
    pub(crate) side: Side,
    /// Empty: each view.
    pub(crate) views: &'static [View],
    /// One of these codes has to be said, at a confidence of a half or more. `row` is said of one dump
    /// that has a row of this side.
    pub(crate) codes: &'static [&'static str],
    /// The evidence does not reach: another verdict is admitted if it is not sure.
    pub(crate) may_be_unsure: bool,
}

pub(crate) const fn client(codes: &'static [&'static str]) -> Expect {
    Expect { side: Side::Client, views: &[], codes, may_be_unsure: false }
}

pub(crate) const fn server(codes: &'static [&'static str]) -> Expect {
    Expect { side: Side::Server, views: &[], codes, may_be_unsure: false }
}

/// Expects the same at both hosts.
pub(crate) const fn both(codes: &'static [&'static str]) -> [Expect; 2] {
    [client(codes), server(codes)]
}

pub(crate) const fn both_or_unsure(codes: &'static [&'static str]) -> [Expect; 2] {
    [client(codes).or_unsure(), server(codes).or_unsure()]
}

impl Expect {
    pub(crate) const fn or_unsure(self) -> Expect {
        Expect { may_be_unsure: true, ..self }
    }

    pub(crate) const fn at(self, views: &'static [View]) -> Expect {
        Expect { views, ..self }
    }

    pub(crate) fn is_of(&self, side: Side, view: View) -> bool {
        self.side == side && (self.views.is_empty() || self.views.contains(&view))
    }
}

/// How requests are compared with those that the client counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    NotCompared,
    /// Equal to the client's count.
    Exact,
    /// A bound that contains the client's count.
    Bound,
}

/// A play, and the findings it must lead to. Commands are of the shell, in a folder of their own
/// with `cert.pem` and `key.pem`; `$P` is the folder of the programs, `$PY` a Python, `$PEER` the
/// Go program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Situation {
    pub(crate) name: &'static str,
    /// Number of the mechanism that the situation tries.
    pub(crate) mechanism: u8,
    /// Played by `cargo test` too.
    pub(crate) core: bool,
    pub(crate) needs: &'static [&'static str],
    pub(crate) wire: fn() -> Conditions,
    /// In the place of `wire`, of a random mixture.
    pub(crate) conditions: Option<Conditions>,
    /// The service's port, on the server's host; 0: every row of a side is judged.
    pub(crate) port: u16,
    /// Filter of the watches.
    pub(crate) filter: &'static str,
    pub(crate) at_client: &'static [&'static str],
    pub(crate) at_server: &'static [&'static str],
    /// Runs on the server's host until the end.
    pub(crate) serve: &'static str,
    /// Runs on the client's host until the end, such as a proxy, and the port at which it listens.
    pub(crate) proxy: Option<(&'static str, u16)>,
    /// Runs on the client's host. The play is over when it ends, or prints "done".
    pub(crate) play: &'static str,
    /// Events, each with its milliseconds since the beginning of the play.
    pub(crate) events: &'static [(u64, Event)],
    /// Views besides levels L1 and L2.
    pub(crate) more: &'static [View],
    pub(crate) expect: &'static [Expect],
    /// Codes that may be said as well: other things that hold.
    pub(crate) also: &'static [&'static str],
    /// Codes that must not be said at a confidence of a half or more.
    pub(crate) never: &'static [&'static str],
    /// Words that a side's findings must not have as root sees them: names of programs that run on
    /// neither host.
    pub(crate) never_words: &'static [(Side, &'static str)],
    /// Words that a side's findings must have as root sees them.
    pub(crate) words: &'static [(Side, &'static str)],
    /// Sides whose closes are compared with the packets.
    pub(crate) counts: &'static [Side],
    pub(crate) requests: Requests,
}

impl Situation {
    /// Returns the port at which the service listens.
    pub(crate) const fn listens(&self) -> u16 {
        if self.port == 0 { 8080 } else { self.port }
    }
}

/// A wire with a round trip of 10 ms.
pub(crate) fn near() -> Conditions {
    Conditions::delay(std::time::Duration::from_millis(5))
}

/// A wire with a round trip of 40 ms.
pub(crate) fn far() -> Conditions {
    Conditions::delay(std::time::Duration::from_millis(20))
}

/// A wire with a round trip of 20 ms, and five packets of a hundred lost.
pub(crate) fn lossy() -> Conditions {
    Conditions::delay(std::time::Duration::from_millis(10)).losing(5, 11)
}

pub(crate) const BASE: Situation = Situation {
    name: "",
    mechanism: 0,
    core: false,
    needs: &[],
    wire: near,
    conditions: None,
    port: 8080,
    filter: ":8080",
    at_client: &[],
    at_server: &[],
    serve: "exec $PY $P/server.py",
    proxy: None,
    play: "",
    events: &[],
    more: &[],
    expect: &[],
    also: &[],
    never: &[],
    never_words: &[],
    words: &[],
    counts: &Side::ALL,
    requests: Requests::NotCompared,
};
