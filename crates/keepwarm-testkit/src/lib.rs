//! Helpers for the tests of this workspace: servers with known truth, connections that churn in a
//! chosen way, namespaces, wires and hostile inputs. A dev-dependency only, never published.
//!
//! Owns the other side of a test: it plays, and records the truth of its own actions. It judges
//! nothing; the test compares.
//!
//! # Which helper for what
//!
//! | A test needs | Helper |
//! |---|---|
//! | a server that obeys the test step by step (accept, read, answer, close), async | [`scripted::Stage`] |
//! | a server that answers many requests at once and counts them, async | [`scripted::Server`] |
//! | a server with a script per connection, and which side closed first, in blocking threads | [`http_server::HttpServer`] |
//! | a gate that threads wait at until the test opens it | [`http_server::Gate`] |
//! | a port that refuses connections, or never answers them | [`http_server::RefusedPort`], [`http_server::SilentPort`] |
//! | a server that closes idle connections in the worst moments, by a random choice with a seed | [`closing::ClosingServer`] |
//! | servers that break the rules of HTTP/1.1, with the outcome to expect | [`zoo`] |
//! | connections opened and closed in a chosen way, both sockets in one thread | [`churn`] |
//! | packets held, passed or lost between two hosts; peers that vanish | `wire`, with `churn::Lost` |
//! | a network with a length, losses, a rate, and segments of 1,500 bytes | `wire`, with `wire::Conditions` |
//! | a network namespace of the test's own | `namespace` |
//! | a thread that may not open sock_diag sockets | `sandbox` |
//! | numbers of the kernel about this process and its sockets | [`kernel`] |
//! | captured inputs made hostile (cut, garbled, repeated) | [`mutate`] |
//! | bytes in gzip, deflate or zstd | [`codings`] |
//! | random numbers that are the same in each run | [`dice`] |
//! | a child process that ends with the test | [`mortal`] |
//! | a note that a test was skipped, which is seen although the test passes | [`skipped`] |
//!
//! `http_server`, `scripted`, `closing` and `zoo` are all servers. Choose `scripted` if the order
//! of events matters, `http_server` if the truth about closes matters, `closing` for races with
//! idle closes, and `zoo` for malformed responses. `wire`, `namespace` and `sandbox` exist on Linux
//! only; the first two take root.

// Servers.
pub mod closing;
pub mod http_server;
pub mod scripted;
pub mod zoo;

// Connections and networks.
pub mod churn;
#[cfg(target_os = "linux")]
pub mod namespace;
#[cfg(target_os = "linux")]
pub mod wire;

// The host.
pub mod kernel;
pub mod mortal;
#[cfg(target_os = "linux")]
pub mod sandbox;
pub mod skipped;

// Inputs.
pub mod codings;
pub mod dice;
pub mod mutate;
