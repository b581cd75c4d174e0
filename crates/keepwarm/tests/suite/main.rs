//! The client's promises, on real sockets over loopback. One file a topic; each name a claim.

mod accounts;
#[cfg(target_os = "linux")]
mod addresses;
mod beginning_and_end;
mod blocking;
mod bodies;
#[cfg(feature = "tls")]
mod boundary;
mod cancellation;
mod closing;
mod connector;
mod cookies;
mod decompress;
mod drain;
mod dropping_server;
mod errors;
mod expect_continue;
mod explain;
mod fake_time;
mod first_hour;
mod freshness;
mod given_up;
mod header_timeout;
mod http2;
mod http2_kit;
#[cfg(feature = "tls")]
mod http_versions;
mod idle_watch;
mod interim;
mod learning;
mod limits;
mod local_address;
mod metrics;
mod multipart;
mod numbers;
mod observing;
mod proxies;
mod readme;
#[cfg(all(feature = "tls", target_os = "linux"))]
mod real_proxies;
mod redirects;
mod resolver;
mod retirement;
mod reuse;
mod reuse_under_load;
mod runtimes;
mod service;
mod sse;
mod stale;
mod storm;
mod support;
mod suspects;
mod timeouts;
#[cfg(feature = "tls")]
mod tls;
mod total_limit;
#[cfg(unix)]
mod unix_socket;
mod upgrade;
mod upload;
#[cfg(target_os = "linux")]
mod vanished;
mod waiting;
