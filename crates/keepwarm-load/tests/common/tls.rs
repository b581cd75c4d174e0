//! A TLS server of the tests' own: its authority, its handshakes and its scripts.

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use keepwarm_load::{Plan, PlanBuilder};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

pub(crate) type Stream = StreamOwned<ServerConnection, TcpStream>;

/// A certificate authority of the test's own.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an issuer"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        (params.signed_by(&key, &self.0).expect("a certificate"), key)
    }

    /// Makes a server's configuration for `name`. Asks for certificates of `clients` if given.
    pub(crate) fn server(&self, name: &str, clients: Option<&Self>) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions");
        let (certificate, key) = self.issue(name);
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.0.der().clone()).expect("a root");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        builder.with_single_cert(chain, key).expect("a certificate that fits its key")
    }
}

/// Handshakes that a server has seen.
pub(crate) type Seen = Arc<Mutex<Vec<(HandshakeKind, Option<String>)>>>;

/// Starts a TLS server that follows `script` on each connection, in threads that end with the test.
pub(crate) fn serve(
    config: ServerConfig,
    script: impl Fn(&mut Stream) + Send + Sync + 'static,
) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (config, script, seen) = (Arc::new(config), Arc::new(script), Seen::default());
    let noted = Arc::clone(&seen);
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let (config, script, noted) = (config.clone(), Arc::clone(&script), noted.clone());
            std::thread::spawn(move || {
                let connection = ServerConnection::new(config).expect("a connection");
                let mut stream = StreamOwned::new(connection, socket);
                while stream.conn.is_handshaking() {
                    if stream.conn.complete_io(&mut stream.sock).is_err() {
                        return;
                    }
                }
                let name = stream.conn.server_name().map(str::to_owned);
                let kind = stream.conn.handshake_kind().expect("a handshake");
                noted.lock().expect("no holder panics").push((kind, name));
                script(&mut stream);
            });
        }
    });
    (address, seen)
}

/// Reads one request. Returns false at the end of the connection.
pub(crate) fn read_request(stream: &mut Stream) -> bool {
    let mut request = Vec::new();
    let mut bytes = [0; 4096];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(count @ 1..) => request.extend_from_slice(&bytes[..count]),
            _ => return false,
        }
    }
    true
}

/// Makes a plan for `localhost` at the server's address and port.
pub(crate) fn plan(address: SocketAddr) -> PlanBuilder {
    let rule = format!("localhost:443:127.0.0.1:{}", address.port());
    Plan::builder("https://localhost/").connect_to(rule.parse().expect("a rule"))
}
