//! The TLS settings of a plan: trusted authorities, own certificate, name to ask for. Owns their
//! validation and the configuration made of them; makes no handshake.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::PlanError;

/// The only protocol offered by ALPN (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

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
    pub(crate) fn plan(&self, host: &str) -> Result<TlsPlan, PlanError> {
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
                let key = PrivateKeyDer::from_pem_slice(key)
                    .map_err(|error| unusable("tls_identity", &error))?;
                builder
                    .with_client_auth_cert(certificates("tls_identity", chain)?, key)
                    .map_err(|error| unusable("tls_identity", &error))?
            }
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
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
        let mut roots = RootCertStore::empty();
        for certificate in certificates("tls_roots", pem)? {
            roots.add(certificate).map_err(|error| unusable("tls_roots", &error))?;
        }
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::clone(provider),
        );
        Ok(verifier.build().map_err(|error| unusable("tls_roots", &error))?)
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
