//! The exchange of a plan of one request, as plain data.

use std::net::SocketAddr;
use std::time::Duration;

/// The only exchange of a plan that shows one.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Exchange {
    /// The request as written, at most the first 80 KiB.
    pub request: Vec<u8>,
    /// The response as read up to the end of its head, interim responses included; of bytes that are
    /// no response, the first 64 KiB.
    pub response_head: Vec<u8>,
    /// Content of the response, at most the first 64 KiB.
    pub content: Vec<u8>,
    /// The response had more content than was kept.
    pub content_cut: bool,
    /// Time to find the addresses of the host; none for an address.
    pub resolve: Option<Duration>,
    /// Time from connect(2) to established.
    pub connect: Option<Duration>,
    /// Time from established to the end of the TLS handshake.
    pub handshake: Option<Duration>,
    /// Time from the first byte of the request written to the first byte of the response read.
    pub first_byte: Option<Duration>,
    /// Time from the first byte of the response to its last byte.
    pub last_byte: Option<Duration>,
    /// Address of this side.
    pub local: Option<SocketAddr>,
    /// Address of the server.
    pub peer: Option<SocketAddr>,
    /// Version and cipher of TLS.
    pub tls: Option<String>,
    /// How the connection ended, in words.
    pub closed: String,
}
