//! The TLS settings of a plan: trusted authorities, own certificate, name to ask for. Owns their
//! validation and the configuration made of them; makes no handshake.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use super::PlanError;

/// The protocols of which one is offered by ALPN (RFC 7301).
const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";

/// Number of sessions that a thread remembers. There is one server, which hands out several tickets
/// at once.
const SESSIONS: usize = 1024;

/// TLS settings as given to the builder.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsSettings {
    pub(crate) insecure: bool,
    pub(crate) roots_pem: Option<Vec<u8>>,
    pub(crate) identity_pem: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) server_name: Option<String>,
    pub(crate) no_resumption: bool,
}

/// TLS configuration of a run.
#[derive(Debug, Clone)]
pub(crate) struct TlsPlan {
    config: ClientConfig,
    resumes: bool,
    pub(crate) name: ServerName<'static>,
}

impl TlsPlan {
    /// Makes the configuration of one thread, whose session store no other thread locks.
    pub(crate) fn of_thread(&self) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        config.resumption = if self.resumes {
            Resumption::in_memory_sessions(SESSIONS)
        } else {
            Resumption::disabled()
        };
        Arc::new(config)
    }
}

impl TlsSettings {
    pub(crate) fn plan(&self, host: &str, is_http2: bool) -> Result<TlsPlan, PlanError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|error| {
            PlanError::new(
                "tls_server_name",
                name,
                error.to_string(),
                "use a DNS name or an address",
            )
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("tls", &error))?
            // rustls calls any verifier other than its own "dangerous".
            .dangerous()
            .with_custom_certificate_verifier(self.verifier(&provider)?);
        let mut config = match &self.identity_pem {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
                    pem::Error::NoItemsFound => {
                        let reason = "there is no private key in the PEM";
                        PlanError::new("tls_identity", "given", reason, "give a PEM file with one")
                    }
                    error => unusable("tls_identity", &error),
                })?;
                builder
                    .with_client_auth_cert(certificates("tls_identity", chain)?, key)
                    .map_err(|error| unusable("tls_identity", &error))?
            }
        };
        config.alpn_protocols = vec![if is_http2 { HTTP_2 } else { HTTP_1 }.to_vec()];
        Ok(TlsPlan { config, resumes: !self.no_resumption, name })
    }

    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, PlanError> {
        if self.insecure {
            return Ok(Arc::new(AnyServer(Arc::clone(provider))));
        }
        let Some(pem) = &self.roots_pem else {
            let verifier = rustls_platform_verifier::Verifier::new(Arc::clone(provider))
                .map_err(|error| unusable("tls", &error))?;
            return Ok(Arc::new(verifier));
        };
        let given = certificates("tls_roots", pem)?;
        let mut roots = RootCertStore::empty();
        for certificate in given.iter().cloned() {
            roots.add(certificate).map_err(|error| unusable("tls_roots", &error))?;
        }
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        let authorities = verifier.build().map_err(|error| unusable("tls_roots", &error))?;
        Ok(Arc::new(GivenRoots { authorities, given }))
    }

    /// Returns the settings that differ from their defaults, with their values for people.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&'static str, String)> {
        let name = self.server_name.clone();
        [
            self.insecure.then(|| ("tls_insecure", "true".to_owned())),
            self.roots_pem.as_ref().map(|_| ("tls_roots", "given".to_owned())),
            self.identity_pem.as_ref().map(|_| ("tls_identity", "given".to_owned())),
            name.map(|name| ("tls_server_name", name)),
            self.no_resumption.then(|| ("tls_resumption", "false".to_owned())),
        ]
        .into_iter()
        .flatten()
    }
}

fn unusable(setting: &'static str, error: &dyn std::error::Error) -> PlanError {
    PlanError::new(setting, "given", error.to_string(), "give a PEM file that fits")
}

fn certificates(
    setting: &'static str,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, PlanError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|error| unusable(setting, &error))?;
    if all.is_empty() {
        let reason = "there is no certificate in the PEM";
        return Err(PlanError::new(setting, "given", reason, "give a PEM file with one"));
    }
    Ok(all)
}

/// Trusts the given authorities and, as curl does, a server whose own certificate is among the given
/// ones.
///
/// `openssl req -x509` makes self-signed certificates that are marked as authorities. rustls refuses
/// such a certificate as that of a server (RFC 5280, section 4.2.1.9), although it was given to be
/// trusted. OpenSSL accepts it.
#[derive(Debug)]
struct GivenRoots {
    authorities: Arc<WebPkiServerVerifier>,
    given: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for GivenRoots {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.authorities.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // The times of validity are checked before the mark of an authority is.
            Err(error) if is_marked_authority(&error) && self.given.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.authorities.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

/// Returns true if a server's certificate was refused only for its mark as an authority. rustls has
/// no variant for it, and passes the name of webpki's.
fn is_marked_authority(error: &rustls::Error) -> bool {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
            other.0.to_string() == "CaUsedAsEndEntity"
        }
        _ => false,
    }
}

/// Describes a failed handshake for people, without Rust's names where words are known.
pub(crate) fn describe(error: &rustls::Error) -> String {
    let reason = match error {
        rustls::Error::InvalidCertificate(reason) => reason,
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            return "the server wants a certificate of the client: give --cert and --key"
                .to_owned();
        }
        error => return error.to_string(),
    };
    let reason = match reason {
        CertificateError::UnknownIssuer => "its issuer is not trusted".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::Revoked => "it was revoked".to_owned(),
        CertificateError::BadSignature => "its signature is wrong".to_owned(),
        CertificateError::NotValidForName => "it is for another name".to_owned(),
        CertificateError::Other(_) if is_marked_authority(error) => {
            "it is that of an authority, and not among the certificates to trust".to_owned()
        }
        reason => reason.to_string(),
    };
    format!("the server's certificate is refused: {reason}")
}

/// Trusts any certificate, for servers with a certificate that no authority has signed.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
