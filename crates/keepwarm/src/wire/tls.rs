//! TLS by rustls: trusted roots, the client's identity, and the handshake.
//!
//! The server is verified against the platform's roots, and against further ones that the client
//! was given, unless a setting says otherwise; the one that switches verification off has a name that
//! begins with `danger`. Sessions are resumed: all connections of
//! a client share one configuration, and so one store of sessions for each server.

use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::error::{Error, Kind, Result, Stage};
use crate::settings::{Protocol, Settings};
use crate::wire::peer::TlsInfo;
use crate::wire::stream::Stream;

/// Protocols offered by ALPN (RFC 7301), the first the one preferred.
const HTTP1_ALONE: &[&[u8]] = &[b"http/1.1"];
const BOTH: &[&[u8]] = &[b"h2", b"http/1.1"];
const HTTP2_ALONE: &[&[u8]] = &[b"h2"];

/// A certificate to trust besides the platform's roots.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pem = std::fs::read("company-ca.pem")?;
/// let client = keepwarm::Client::builder()
///     .root_certificates(keepwarm::Certificate::all_from_pem(&pem)?)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(CertificateDer<'static>);

impl Certificate {
    /// Takes a certificate in DER, as X.509 has it. The certificate is parsed when the client is
    /// built.
    #[must_use]
    pub fn from_der(der: impl Into<Vec<u8>>) -> Self {
        Self(CertificateDer::from(der.into()))
    }

    /// Returns all certificates of a PEM file (RFC 7468); other sections are skipped.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) if a section is malformed, or if there is no certificate.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>> {
        certificates(pem).map(|all| all.into_iter().map(Self).collect())
    }
}

/// The client's own certificate chain and private key, for servers that ask for them (mTLS).
#[derive(Clone)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl Identity {
    /// Reads a chain, the client's own certificate first, and the private key, from PEM.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) if a section is malformed or missing. That the key fits
    /// the certificate is checked when the client is built.
    pub fn from_pem(pem: &[u8]) -> Result<Self> {
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|error| Error::invalid(format!("no private key in the PEM: {error}")))?;
        Ok(Self { chain: certificates(pem)?, key: Arc::new(key) })
    }
}

impl Identity {
    /// Returns the identity as rustls uses it, if the key fits the certificate.
    fn certified(&self) -> Result<CertifiedKey> {
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), &provider)
            .map_err(|error| Error::invalid(format!("identity: {error}")))
    }
}

impl fmt::Debug for Identity {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.chain.len())
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let all: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<_, _>>().map_err(
            |error| Error::invalid(format!("a certificate in the PEM is malformed: {error}")),
        )?;
    if all.is_empty() {
        return Err(Error::invalid("no certificate in the PEM"));
    }
    Ok(all)
}

/// An identity that may be replaced while a client uses it, for certificates that are renewed. Go:
/// `TLSClientConfig.GetClientCertificate`.
///
/// Connections that are open keep the identity of their handshake: call
/// [`close_idle`](crate::Client::close_idle) after a change if they must not.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use keepwarm::{Identity, RotatingIdentity};
///
/// let identity = RotatingIdentity::new(&Identity::from_pem(&std::fs::read("client.pem")?)?)?;
/// let client = keepwarm::Client::builder().rotating_identity(&identity).build()?;
/// // Later, when the file has changed:
/// identity.set(&Identity::from_pem(&std::fs::read("client.pem")?)?)?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RotatingIdentity(Arc<RwLock<Arc<CertifiedKey>>>);

impl RotatingIdentity {
    /// Takes the first identity.
    ///
    /// # Errors
    ///
    /// [`is_invalid`](Error::is_invalid) if the key does not fit the certificate.
    pub fn new(identity: &Identity) -> Result<Self> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(identity.certified()?)))))
    }

    /// Replaces the identity, for connections that are opened from now on.
    ///
    /// # Errors
    ///
    /// Errors of [`new`](Self::new); the identity stays.
    pub fn set(&self, identity: &Identity) -> Result<()> {
        let certified = Arc::new(identity.certified()?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }
}

impl fmt::Debug for RotatingIdentity {
    /// Leaves the key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotatingIdentity")
    }
}

impl ResolvesClientCert for RotatingIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// The way a server's certificate is verified.
#[derive(Clone, Debug, Default)]
pub(crate) enum Verification {
    /// By the platform, with further roots.
    #[default]
    Platform,
    /// By the roots of the client alone.
    OnlyRoots,
    /// By a caller's verifier.
    Own(Arc<dyn ServerCertVerifier>),
}

/// The TLS settings of one client.
#[derive(Clone, Debug)]
pub(crate) struct TlsSettings {
    pub(crate) roots: Vec<Certificate>,
    pub(crate) identity: Option<Identity>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) server_name: Option<String>,
    pub(crate) rotating: Option<RotatingIdentity>,
    pub(crate) verification: Verification,
    /// No certificate is verified, whatever `verification` says.
    pub(crate) accepts_any: bool,
    pub(crate) min_version: TlsVersion,
    pub(crate) max_version: TlsVersion,
    pub(crate) key_log: bool,
    /// A caller's whole configuration.
    pub(crate) config: Option<Arc<ClientConfig>>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            roots: Vec::new(),
            identity: None,
            handshake_timeout: Duration::from_secs(10),
            server_name: None,
            rotating: None,
            verification: Verification::default(),
            accepts_any: false,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            key_log: false,
            config: None,
        }
    }
}

impl TlsSettings {
    /// Rejects settings that cannot work, without reading the platform's roots.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.handshake_timeout.is_zero() {
            return Err(Error::invalid(
                "tls_handshake_timeout is 0: every handshake would fail; set Duration::MAX for none",
            ));
        }
        if let Some(name) = &self.server_name {
            ServerName::try_from(name.as_str())
                .map_err(|error| Error::invalid(format!("tls_server_name is {name:?}: {error}")))?;
        }
        let store = self.store()?;
        if matches!(self.verification, Verification::OnlyRoots) && store.is_empty() {
            return Err(Error::invalid(
                "tls_roots_only has no certificate: no server would be trusted; add one",
            ));
        }
        if matches!(self.verification, Verification::Own(_)) && !self.roots.is_empty() {
            return Err(Error::invalid(
                "root certificates are set beside tls_verifier, which does not ask for them; give \
                 them to the verifier",
            ));
        }
        if let Some(identity) = &self.identity {
            identity.certified()?;
            if self.rotating.is_some() {
                return Err(Error::invalid(
                    "identity is set beside rotating_identity, which has one; set one of them",
                ));
            }
        }
        if self.min_version > self.max_version {
            return Err(Error::invalid(
                "min_tls_version is above max_tls_version: no version is left; lower it",
            ));
        }
        let is_plain = self.roots.is_empty()
            && self.identity.is_none()
            && self.rotating.is_none()
            && matches!(self.verification, Verification::Platform)
            && !self.accepts_any
            && (self.min_version, self.max_version) == (TlsVersion::Tls12, TlsVersion::Tls13)
            && !self.key_log;
        if self.config.is_some() && !is_plain {
            return Err(Error::invalid(
                "tls_config is set beside roots, identity, versions, a verifier or a key log, which \
                 it has itself; set them in it",
            ));
        }
        Ok(())
    }

    fn store(&self) -> Result<rustls::RootCertStore> {
        let mut store = rustls::RootCertStore::empty();
        for Certificate(der) in &self.roots {
            store.add(der.clone()).map_err(|error| {
                Error::invalid(format!("root_certificates: a certificate is unusable: {error}"))
            })?;
        }
        Ok(store)
    }

    /// Makes the verifier of servers.
    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> std::result::Result<Arc<dyn ServerCertVerifier>, rustls::Error> {
        let general = |why: String| rustls::Error::General(why);
        if self.accepts_any {
            return Ok(Arc::new(NoVerifier(Arc::clone(provider))));
        }
        Ok(match &self.verification {
            Verification::Platform => {
                let roots = self.roots.iter().map(|Certificate(der)| der.clone());
                Arc::new(Verifier::new_with_extra_roots(roots, Arc::clone(provider))?)
            }
            Verification::OnlyRoots => {
                let store = Arc::new(self.store().map_err(|why| general(why.to_string()))?);
                let provider = Arc::clone(provider);
                let verifier = WebPkiServerVerifier::builder_with_provider(store, provider).build();
                verifier.map_err(|why| general(why.to_string()))?
            }
            Verification::Own(verifier) => Arc::clone(verifier),
        })
    }

    fn versions(&self) -> Vec<&'static rustls::SupportedProtocolVersion> {
        let all = [
            (TlsVersion::Tls12, &rustls::version::TLS12),
            (TlsVersion::Tls13, &rustls::version::TLS13),
        ];
        let allowed = |version| version >= self.min_version && version <= self.max_version;
        all.into_iter().filter(|(version, _)| allowed(*version)).map(|(_, one)| one).collect()
    }
}

/// Makes TLS connections. The platform's roots are read at the first one, not before: a client
/// that speaks only http never needs them.
#[derive(Debug)]
pub(crate) struct Tls {
    settings: TlsSettings,
    offered: &'static [&'static [u8]],
    config: OnceLock<std::result::Result<Arc<ClientConfig>, rustls::Error>>,
    /// For servers that choose HTTP/2 and then want HTTP/1.1.
    http1: OnceLock<std::result::Result<Arc<ClientConfig>, rustls::Error>>,
}

impl Tls {
    pub(crate) fn new(settings: TlsSettings, protocols: &Settings) -> Self {
        let offered = match protocols.protocol {
            _ if !protocols.offers_http2() => HTTP1_ALONE,
            Protocol::Http2 => HTTP2_ALONE,
            _ => BOTH,
        };
        let http1 = OnceLock::new();
        Self { settings, offered, config: OnceLock::new(), http1 }
    }

    /// Shakes hands with `host`, or with the name that is set instead. The certificate must be for
    /// that name, and the name is sent (SNI, RFC 6066) unless it is an address.
    pub(crate) async fn connect(
        &self,
        host: &str,
        http1_only: bool,
        stream: Stream,
    ) -> Result<(TlsStream<Stream>, TlsInfo)> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        self.connect_as(name, http1_only, stream).await
    }

    /// Shakes hands with a proxy, by its own name. It is spoken to in HTTP/1.1.
    pub(crate) async fn connect_to_proxy(&self, host: &str, stream: Stream) -> Result<Stream> {
        Ok(Stream::boxed(self.connect_as(host, true, stream).await?.0))
    }

    async fn connect_as(
        &self,
        name: &str,
        http1_only: bool,
        stream: Stream,
    ) -> Result<(TlsStream<Stream>, TlsInfo)> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| Error::failed(Stage::Tls, error).with_message(name.to_owned()))?;
        let offered = if http1_only { HTTP1_ALONE } else { self.offered };
        let config = if offered != self.offered {
            self.http1.get_or_init(|| self.configure(HTTP1_ALONE)).clone()
        } else {
            self.config.get_or_init(|| self.configure(self.offered)).clone()
        };
        let config = config.map_err(|error| Error::failed(Stage::Tls, error))?;
        let handshake = TlsConnector::from(config).connect(name, stream);
        match tokio::time::timeout(self.settings.handshake_timeout, handshake).await {
            Ok(Ok(stream)) => {
                let info = facts(stream.get_ref().1);
                Ok((stream, info))
            }
            Ok(Err(error)) => Err(failed_handshake(error, offered)),
            Err(_) => Err(Error::handshake_timeout()),
        }
    }

    fn configure(
        &self,
        offered: &[&[u8]],
    ) -> std::result::Result<Arc<ClientConfig>, rustls::Error> {
        if let Some(own) = &self.settings.config {
            let mut config = ClientConfig::clone(own);
            config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
            return Ok(Arc::new(config));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = self.settings.verifier(&provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.settings.versions())?
            // "Dangerous" is rustls's word for any other verifier than its own; ours is the
            // platform's.
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&self.settings.identity, &self.settings.rotating) {
            (Some(Identity { chain, key }), _) => {
                builder.with_client_auth_cert(chain.clone(), key.clone_key())?
            }
            (None, Some(rotating)) => builder.with_client_cert_resolver(Arc::new(rotating.clone())),
            (None, None) => builder.with_no_client_auth(),
        };
        if self.settings.rotating.is_some() {
            // A resumed session has the identity of its first handshake.
            config.resumption = rustls::client::Resumption::disabled();
        }
        if self.settings.key_log {
            config.key_log = Arc::new(rustls::KeyLogFile::new());
        }
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// Returns the error of a handshake that offered these protocols.
fn failed_handshake(error: std::io::Error, offered: &[&[u8]]) -> Error {
    let refusal = rustls::Error::AlertReceived(rustls::AlertDescription::NoApplicationProtocol);
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    if cause != Some(&refusal) {
        return Error::failed(Stage::Tls, error);
    }
    if offered == HTTP2_ALONE {
        return Error::caused(Stage::Tls, Kind::NotHttp2, error).with_message(
            "the server refused HTTP/2 (ALPN h2), and the client speaks nothing else \
             (http2_prior_knowledge)",
        );
    }
    let words = if offered == HTTP1_ALONE {
        "the server refused HTTP/1.1 (ALPN http/1.1), and the client offers nothing else (http1_only)"
    } else {
        "the server refused HTTP/2 and HTTP/1.1 (ALPN)"
    };
    Error::failed(Stage::Tls, error).with_message(words)
}

/// A verifier that trusts any certificate. Signatures of the handshake are checked all the same.
#[derive(Debug)]
struct NoVerifier(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Reads the facts of a handshake that is complete.
fn facts(connection: &rustls::ClientConnection) -> TlsInfo {
    let chain = connection.peer_certificates().unwrap_or_default();
    let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
    TlsInfo {
        certificates: chain.iter().map(|der| der.as_ref().to_vec()).collect(),
        version: match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "unknown",
        },
        cipher_suite: suite.and_then(suite_name).unwrap_or("unknown"),
        alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
    }
}

/// Returns the name of a cipher suite as IANA has it: rustls names those of TLS 1.3 otherwise.
fn suite_name(suite: rustls::CipherSuite) -> Option<&'static str> {
    use rustls::CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_128_GCM_SHA256 => Some("TLS_AES_128_GCM_SHA256"),
        Suite::TLS13_AES_256_GCM_SHA384 => Some("TLS_AES_256_GCM_SHA384"),
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => Some("TLS_CHACHA20_POLY1305_SHA256"),
        other => other.as_str(),
    }
}
