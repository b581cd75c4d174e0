//! Settings of TLS: the servers that are trusted, the client's identity, versions.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;

use super::ClientBuilder;
use crate::wire::tls::{Certificate, Identity, RotatingIdentity, TlsVersion, Verification};

impl ClientBuilder {
    /// Adds certificates to trust besides the platform's roots. Go: `TLSClientConfig.RootCAs`,
    /// which replaces them.
    ///
    /// Default: none. Another call adds to the earlier ones.
    pub fn root_certificates(mut self, roots: impl IntoIterator<Item = Certificate>) -> Self {
        self.tls.roots.extend(roots);
        self
    }

    /// Sets the client's own certificate, for servers that ask for one (mTLS).
    /// Go: `TLSClientConfig.Certificates`.
    ///
    /// Default: `None`; such servers then refuse the handshake.
    pub fn identity(mut self, identity: impl Into<Option<Identity>>) -> Self {
        self.tls.identity = identity.into();
        self
    }

    /// Sets the name that is sent in the TLS handshake (SNI) and that the server's certificate must
    /// be for, instead of the host of the URL. Go: `TLSClientConfig.ServerName`.
    ///
    /// Default: `None`, the host of the URL. An address is verified and not sent. A string that is
    /// neither a name nor an address is refused. The name holds for all origins of the client,
    /// redirects included: a server with a certificate for this name is then trusted to be any of
    /// them. `Host` stays that of the URL. Connections of a client with another name are never
    /// used, as clients share none.
    pub fn tls_server_name(mut self, name: impl Into<Option<String>>) -> Self {
        self.tls.server_name = name.into();
        self
    }

    /// Sets the certificates that are trusted, and no others: the platform's roots are not read. Go:
    /// `TLSClientConfig.RootCAs`.
    ///
    /// Default: the platform's roots. Further ones of
    /// [`root_certificates`](Self::root_certificates) are trusted too. None at all is refused.
    pub fn tls_roots_only(mut self, roots: impl IntoIterator<Item = Certificate>) -> Self {
        self.tls.roots.extend(roots);
        self.tls.verification = Verification::OnlyRoots;
        self
    }

    /// Sets who verifies servers: a pin of a certificate, or rules of one's own. Go:
    /// `TLSClientConfig.VerifyConnection`, which comes after its own.
    ///
    /// Default: the platform. The verifier is given the chain and the name, and answers for both;
    /// root certificates beside it are refused.
    pub fn tls_verifier(mut self, verifier: Arc<dyn ServerCertVerifier>) -> Self {
        self.tls.verification = Verification::Own(verifier);
        self
    }

    /// Trusts any certificate of any server: every machine between client and server can read and
    /// change the whole exchange.
    /// Go: `TLSClientConfig.InsecureSkipVerify`.
    ///
    /// Default: false. For a test, [`tls_roots_only`](Self::tls_roots_only) with its certificate is
    /// as easy.
    pub fn danger_accept_invalid_certs(mut self, accept: bool) -> Self {
        self.tls.accepts_any = accept;
        self
    }

    /// Sets the lowest version of TLS. Go: `TLSClientConfig.MinVersion`.
    ///
    /// Default: TLS 1.2.
    pub fn min_tls_version(mut self, version: TlsVersion) -> Self {
        self.tls.min_version = version;
        self
    }

    /// Sets the highest version of TLS. Go: `TLSClientConfig.MaxVersion`.
    ///
    /// Default: TLS 1.3. One that is below the lowest is refused.
    pub fn max_tls_version(mut self, version: TlsVersion) -> Self {
        self.tls.max_version = version;
        self
    }

    /// Sets if the keys of each TLS connection are written to the file that the variable
    /// `SSLKEYLOGFILE` names, for wireshark. Go: `TLSClientConfig.KeyLogWriter`.
    ///
    /// Default: false, and the variable is not read. The file lets its reader decrypt the traffic.
    pub fn tls_key_log(mut self, write: bool) -> Self {
        self.tls.key_log = write;
        self
    }

    /// Sets the client's own certificate as one that may be replaced. Go:
    /// `TLSClientConfig.GetClientCertificate`.
    ///
    /// Default: none. Sessions are not resumed then, since a resumed one has the identity of its
    /// first handshake: the cost is a whole handshake for each connection.
    pub fn rotating_identity(mut self, identity: &RotatingIdentity) -> Self {
        self.tls.rotating = Some(identity.clone());
        self
    }

    /// Sets the whole configuration of TLS but ALPN, which is the client's. Go:
    /// `Transport.TLSClientConfig`. reqwest: `tls_backend_preconfigured`.
    ///
    /// Default: one made of the other settings, which are refused beside this one, but for
    /// [`tls_server_name`](Self::tls_server_name) and
    /// [`tls_handshake_timeout`](Self::tls_handshake_timeout).
    pub fn tls_config(mut self, config: Arc<rustls::ClientConfig>) -> Self {
        self.tls.config = Some(config);
        self
    }

    /// Sets the time that a TLS handshake may take, within the connect timeout.
    /// Go: `Transport.TLSHandshakeTimeout`.
    ///
    /// Default: 10 s. Zero is refused. (In Go zero means no limit.)
    pub fn tls_handshake_timeout(mut self, timeout: Duration) -> Self {
        self.tls.handshake_timeout = timeout;
        self
    }
}
