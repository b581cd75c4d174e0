//! The peer of a connection: its address, and the facts of its TLS.
//!
//! Owns what is learned once, when a connection is opened, and said of every response on it.

use std::net::SocketAddr;
use std::sync::Arc;

/// The peer of a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeerFacts {
    pub(crate) address: Option<SocketAddr>,
    pub(crate) tls: Option<Arc<TlsInfo>>,
}

/// Facts of a TLS connection. Go: `Response.TLS`.
///
/// ```no_run
/// # async fn example(client: keepwarm::Client) -> keepwarm::Result<()> {
/// let response = client.get("https://backend.example/").send().await?;
/// if let Some(tls) = response.tls() {
///     println!("{} {}, {} certificates", tls.version(), tls.cipher_suite(), tls.certificates().len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    pub(crate) certificates: Vec<Vec<u8>>,
    pub(crate) version: &'static str,
    pub(crate) cipher_suite: &'static str,
    pub(crate) alpn: Option<Vec<u8>>,
}

impl TlsInfo {
    /// Returns the certificate chain that the server sent, in DER, its own first. A resumed session
    /// has the chain of the first handshake.
    #[must_use]
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// Returns the version: `TLS 1.2` or `TLS 1.3`.
    #[must_use]
    pub const fn version(&self) -> &'static str {
        self.version
    }

    /// Returns the cipher suite, by its IANA name: `TLS_AES_128_GCM_SHA256`.
    #[must_use]
    pub const fn cipher_suite(&self) -> &'static str {
        self.cipher_suite
    }

    /// Returns the protocol that was agreed on by ALPN (RFC 7301): `http/1.1`. `None` if the server
    /// chose none.
    #[must_use]
    pub fn alpn(&self) -> Option<&[u8]> {
        self.alpn.as_deref()
    }
}
