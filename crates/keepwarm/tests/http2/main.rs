//! HTTP/2 frame by frame: what a peer may do on the wire, and what becomes of the requests. The peer
//! is in this process, its frames are written by hand, and tokio's clock is paused, so no result
//! depends on time. Beside that, real servers.

mod adversary;
mod bodies;
mod endings;
mod malformed;
mod peer;
mod servers;
mod silence;
mod streams;
