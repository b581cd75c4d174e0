//! One request and its response, on the connections that the pool grants.
//!
//! The highest folder below the public face: it may import pool, wire and observe, and none of them
//! imports it.
//!
//! | module | content |
//! |---|---|
//! | `send` | the entry: a request with its redirects, under one deadline |
//! | `round_trip` | one round trip: attempts on one connection after another |
//! | `attempt` | one attempt: a request on one connection, up to the head of its response |
//! | `retry` | the retry policy, a pure function |
//! | `route` | the pool of a request: of its origin, or through a proxy |
//! | `decoding` | a body without its content coding |
//! | `acquire` | waiting for a connection |
//! | `outgoing`, `framing`, `redirect` | the request, its framing, and what a redirect changes |
//! | `received` | the parts of a response on its way to the caller |
//! | `response_body` | the response's body, and how its connection returns |
//! | `frames` | frames that have been read and wait for their reader |
//! | `upload` | an upload that outlives the head of its response |
//! | `upgrade` | a connection that has left HTTP |
//! | `cookies` | cookies of one hop |
//! | `warm` | connections ahead of the first request |
//! | `drain` | reading the rest of an abandoned response |

pub(crate) mod acquire;
pub(crate) mod attempt;
pub(crate) mod cookies;
pub(crate) mod decoding;
pub(crate) mod drain;
pub(crate) mod frames;
pub(crate) mod framing;
mod http2;
pub(crate) mod outgoing;
pub(crate) mod received;
pub(crate) mod redirect;
pub(crate) mod response_body;
pub(crate) mod retry;
pub(crate) mod round_trip;
pub(crate) mod route;
pub(crate) mod send;
pub(crate) mod upgrade;
pub(crate) mod upload;
pub(crate) mod warm;
