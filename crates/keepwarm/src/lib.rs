//! An HTTP client whose pool never closes a connection it could keep, and reports what it did.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! # async fn example() -> keepwarm::Result<()> {
//! // One process-wide client, one line.
//! let reply = keepwarm::get("http://127.0.0.1:8081/data", Duration::from_millis(100)).await?;
//! assert_eq!(reply.status, 200);
//!
//! // A client of your own, shared by cloning it.
//! let client = keepwarm::Client::builder().max_connections_per_origin(200).build()?;
//! let response = client.get("http://127.0.0.1:8081/data").send().await?;
//! println!("connection {} was idle for {:?}", response.connection().id(), response.connection().idle_age());
//! println!("{:#?}", client.stats());
//! # Ok(())
//! # }
//! ```
//!
//! # What the pool promises
//!
//! * No more connections are opened than there were requests at once: a waiting request takes a
//!   connection that another request returns or a finished dial, the first of the two, and a dial
//!   starts only while more requests wait than dials are under way. A request that was dropped or
//!   timed out counts until its connection has returned or is closed: its response is read for at
//!   most 50 ms, and meanwhile another request may open a connection of its own.
//! * A connection has returned to the pool before the reader of a body sees its end, so the next
//!   request finds it.
//! * A healthy connection is closed by age, not by count, unless a limit is set.
//! * Waiting requests are served first come, first served, and a request that is dropped leaks no
//!   connection: one that was assigned to it and not used passes on to the next request, one that
//!   it was written to returns once its response was read, or is closed. A dial that was started for
//!   it goes on, and serves the next request or becomes idle.
//! * A request whose connection broke keeps its turn, and its second attempt has that connection's
//!   room: it fails at no limit of connections that it would not fail at without one.
//! * While an origin is down, no request waits for a connection longer than two dials take, however
//!   many wait and however few connections are allowed.
//! * Every close has one reason and one closer: see [`Client::stats`].
//!
//! The client speaks HTTP/1.1 and, with the feature `http2` (on by default), HTTP/2; over plain TCP,
//! Unix sockets and, with the feature `tls` (on by default), TLS by rustls.
//!
//! # Statistics, events and spans
//!
//! [`Client::stats`] reports in numbers, [`Client::explain`] in words, [`Observer`] in events as they
//! happen, and [`warnings`] reports misuse of clients. With the feature `tracing`, each request is a
//! span of level `DEBUG` and target `keepwarm`: `request`, and within it `wait` (for a connection, if
//! none was idle), `write`, `head` (waiting for it) and `read`. A dial belongs to the pool: its span
//! `dial` (`resolve`, `connect`, `tls`) has no parent, and follows from the request that caused it.
//!
//! # Timeouts
//!
//! | setting | from | to | default | the error |
//! |---|---|---|---|---|
//! | `acquire_timeout` | the request is queued | it has a connection | none | [`is_acquire_timeout`](Error::is_acquire_timeout) |
//! | `connect_timeout` | a dial begins | its connection is ready, TLS included | 30 s | [`is_connect_timeout`](Error::is_connect_timeout) |
//! | `tls_handshake_timeout` | TCP is connected | the handshake is complete | 10 s | [`is_tls_handshake_timeout`](Error::is_tls_handshake_timeout) |
//! | `expect_continue_timeout` | the head is written | `100 Continue` | 1 s | none: the body is sent |
//! | `response_header_timeout` | the request is written, body included | the head of the response | none | [`is_response_header_timeout`](Error::is_response_header_timeout) |
//! | `stall_timeout` | the last byte in either direction, while the peer is waited for | the next one | none | [`is_stall_timeout`](Error::is_stall_timeout) |
//! | `timeout` | `send` is polled first | the end of the response's body | none | [`is_total_timeout`](Error::is_total_timeout) |
//!
//! [`is_timeout`](Error::is_timeout) is true for any of them, [`stage`](Error::stage) names the stage
//! that the request had reached, and [`bytes_written`](Error::bytes_written) counts its bytes that had
//! been sent. A dial belongs to the pool: a request that is dropped or timed out leaves it to the next
//! request.
//!
//! # Features
//!
//! * `tls`, on by default: `https`, by rustls.
//! * `http2`, on by default: HTTP/2, where a TLS handshake agrees on it, or by
//!   [`http2_prior_knowledge`](ClientBuilder::http2_prior_knowledge); by the crate `h2`.
//!   docs/http2.md says what changes with it.
//! * `json`: `RequestBuilder::json` and `Response::json`.
//! * `stream`: `Response::bytes_stream` and `Body::from_stream`, by `futures-core`.
//! * `charset`: [`Response::text`] in every character set of the web, by `encoding_rs`.
//! * `gzip` (with deflate), `brotli`, `zstd`: responses decompressed, see
//!   [`ClientBuilder::decompress`].
//! * `cookies`: `Jar`, by `cookie_store` and `psl`.
//! * `multipart`: forms of several parts, with files.
//! * `blocking`: the client for code without async.
//! * `tracing`: the spans above, and warnings as events.
//! * `idn`: hosts beyond ASCII in URLs and redirects, by IDNA (`idna`).
//! * `opentelemetry`: `OpenTelemetryMetrics`, an observer that measures a client under the names of
//!   the semantic conventions.
//! * `serde`: [`Stats`] serialise.
//! * `testing`: the module `testing`, a network in memory for tests of code that uses a client.
//!
//! # Design
//!
//! The decisions are those of `keepwarm-pool`, a state machine without I/O. This crate puts the live
//! connections beside it under one lock for each origin, feeds it, and performs its effects after the
//! lock is released. `keepwarm-http1` parses and writes the bytes; the task of the request itself
//! drives the connection, so that a request costs no wake-up of another task.

#![forbid(unsafe_code)]

// Code map. Imports between folders run from the first line to the last, and never back (`.ci/pure`):
//
//   client builder request response get service multipart blocking   the public face
//   testing/    a network in memory, above all; no other module imports it
//   exchange/   one request and its response: attempts, retries, redirects, bodies, draining
//   pool/       the pools: origins, leases, dials, the keeper task, limits across origins
//   wire/       one connection: streams, HTTP/1.1, HTTP/2, wake-ups, request bodies
//   policy/     what a client or a request was told: defaults, redirects, proxies, cookies
//   observe/    statistics, events, warnings, explanations, spans
//   settings clock deadline origin_key url, decode encode error beneath all: numbers, time, names, and failures

#[cfg(feature = "blocking")]
pub mod blocking;
mod builder;
mod client;
mod clock;
mod deadline;
mod decode;
mod encode;
mod error;
mod exchange;
mod get;
#[cfg(feature = "multipart")]
pub mod multipart;
mod observe;
mod origin_key;
mod policy;
mod pool;
mod request;
mod response;
mod service;
mod settings;
#[cfg(feature = "testing")]
pub mod testing;
mod url;
mod wire;

/// Atomics and locks of [`wire::wake_state`]. Its model check replaces them by loom's.
mod sync {
    pub(crate) use std::sync::Mutex;
    pub(crate) use std::sync::atomic::{AtomicU8, Ordering};
}

/// Entrances of private decoders for the fuzz targets.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Undoes a coding over pieces. Returns the data; `None` if the pieces are not of the coding.
    pub fn undo(coding: &str, pieces: &[&[u8]]) -> Option<Vec<u8>> {
        use crate::decode::{Codings, PIECE};
        let mut decoder = Codings::all().named(coding.as_bytes())?.decoder();
        let (mut data, mut step) = (Vec::new(), Vec::new());
        for piece in pieces {
            let mut input = bytes::Bytes::copy_from_slice(piece);
            while !input.is_empty() {
                step.clear();
                decoder.decode(&mut input, &mut step).ok()?;
                assert!(step.len() <= 4 * PIECE, "a step of {} bytes", step.len());
                data.extend_from_slice(&step);
                if data.len() > 1 << 24 {
                    return None;
                }
            }
        }
        decoder.may_end().then_some(data)
    }

    /// Asks for a tunnel on a stream whose other end is an HTTP proxy. Returns the first bytes that
    /// the origin's side reads from it.
    ///
    /// # Errors
    ///
    /// If the proxy refuses, or its answer is not HTTP.
    pub async fn tunnel(
        stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    ) -> crate::Result<Vec<u8>> {
        use tokio::io::AsyncReadExt as _;
        let server = crate::ProxyServer::new("http://proxy.test:3128")?;
        let origin = http::Uri::from_static("http://origin.test/");
        let origin = crate::origin_key::OriginRef::of(&origin)?.to_key();
        let stream = crate::wire::stream::Stream::foreign(stream);
        let mut tunnel = crate::wire::tunnel::connect(stream, &server, &origin).await?;
        let mut first = vec![0; 1 << 10];
        let read = tunnel.read(&mut first).await.unwrap_or(0);
        first.truncate(read);
        Ok(first)
    }
}

pub use builder::ClientBuilder;
pub use client::Client;
pub use encode::Pair;
pub use error::{BoxError, Error, Result, Stage};
pub use get::{MAX_REPLY_BYTES, Reply, get};
pub use keepwarm_pool::{CloseReason, Closer, Limit};
pub use observe::observer::{Event, EventKind, Observer, Outcome};
#[cfg(feature = "opentelemetry")]
pub use observe::otel::OpenTelemetryMetrics;
pub use observe::stats::{CloseCount, OriginStats, PoolStats, Stats};
pub use observe::warnings::{Warning, warnings};
pub use policy::cookies::CookieStore;
#[cfg(feature = "cookies")]
pub use policy::cookies::Jar;
pub use policy::proxy::{NoProxy, Proxy, ProxyServer};
pub use policy::redirect::{Hop, Redirect, RedirectAction, RedirectPolicy};
pub use request::{Request, RequestBuilder};
pub use response::{ConnectionInfo, RedirectStopped, Response, ResponseBody, TlsInfo, Upgraded};
pub use wire::body::Body;
pub use wire::connect;
#[cfg(feature = "tls")]
pub use wire::tls::{Certificate, Identity, RotatingIdentity, TlsVersion};

pub use http;
#[cfg(feature = "tls")]
pub use rustls;

/// Compiles the example of the crate's README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
