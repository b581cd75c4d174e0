//! Policies: the ways in which the front service's client is built.

use std::fmt;
use std::str::FromStr;

use keepwarm::{Client, ClientBuilder};

/// Idle connections that `tuned` allows: the fix of the blog post.
const TUNED_IDLE: u32 = 1000;

/// A way to build the front service's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// A new client, and so a new pool, for each request.
    PerRequest,
    /// A shared client with the numbers of Go's `DefaultTransport`: 2 idle connections per host.
    GoDefault,
    /// A shared client with room for 1000 idle connections, in all and per host.
    Tuned,
    /// A shared client with this library's defaults.
    Keepwarm,
    /// A shared client that speaks HTTP/2 to the data service, by prior knowledge.
    KeepwarmH2,
}

impl Policy {
    /// The policies that the experiment plays unless told otherwise, in its order.
    pub const STORY: [Self; 4] = [Self::PerRequest, Self::GoDefault, Self::Tuned, Self::Keepwarm];
    /// All policies.
    pub const ALL: [Self; 5] =
        [Self::PerRequest, Self::GoDefault, Self::Tuned, Self::Keepwarm, Self::KeepwarmH2];

    /// Returns the name on the command line and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PerRequest => "per-request",
            Self::GoDefault => "go-default",
            Self::Tuned => "tuned",
            Self::Keepwarm => "keepwarm",
            Self::KeepwarmH2 => "keepwarm-h2",
        }
    }

    /// Describes the policy in a few words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::PerRequest => "a new client, so a new pool, for each request",
            Self::GoDefault => "one shared client, Go's DefaultTransport numbers: 2 idle per host",
            Self::Tuned => "one shared client, 1000 idle per host and in all: the post's fix",
            Self::Keepwarm => "one shared client, this library's defaults",
            Self::KeepwarmH2 => "one shared client, by HTTP/2 to the data service",
        }
    }

    /// Returns true if all requests share one client.
    #[must_use]
    pub const fn shares_client(self) -> bool {
        !matches!(self, Self::PerRequest)
    }

    pub(crate) fn client(self) -> Result<Client, keepwarm::Error> {
        match self {
            Self::PerRequest | Self::Keepwarm => Client::builder(),
            Self::KeepwarmH2 => Client::builder().http2_prior_knowledge(),
            Self::GoDefault => ClientBuilder::go_defaults(),
            Self::Tuned => {
                ClientBuilder::go_defaults().max_idle(TUNED_IDLE).max_idle_per_origin(TUNED_IDLE)
            }
        }
        .build()
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let known = Self::ALL.into_iter().find(|policy| policy.name() == name);
        known.ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}

/// A name that belongs to no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy(String);

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Policy::ALL.map(Policy::name).join(", ");
        write!(f, "unknown policy {:?}; the policies are {names}", self.0)
    }
}

impl std::error::Error for UnknownPolicy {}
