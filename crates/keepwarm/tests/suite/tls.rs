//! TLS on real sockets: whom the client trusts, who it says it is, and what it keeps.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keepwarm::{
    Certificate, Client, CloseReason, Closer, Error, Identity, RotatingIdentity, Stage, TlsVersion,
};
use keepwarm_testkit::scripted::{Peer, eventually, within};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::support::only;

/// A certificate authority of the test's own.
pub(crate) struct Authority {
    pub(crate) issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("an issuer") }
    }

    pub(crate) fn certificate(&self) -> Vec<Certificate> {
        Certificate::all_from_pem(self.issuer.pem().as_bytes()).expect("a certificate")
    }

    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        (params.signed_by(&key, &self.issuer).expect("a certificate"), key)
    }

    /// Issues a certificate, as PEM with its key.
    pub(crate) fn pem(&self, name: &str) -> String {
        let (certificate, key) = self.issue(name);
        certificate.pem() + &key.serialize_pem()
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_pem(self.pem("client.test").as_bytes()).expect("an identity")
    }

    /// A server's configuration for `localhost`; asks for certificates of `clients` if given.
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
                roots.add(authority.issuer.der().clone()).expect("a root");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        builder.with_single_cert(chain, key).expect("a certificate that fits its key")
    }
}

/// The action of a server once it has read a request.
#[derive(Clone, Copy)]
enum Then {
    Serve,
    /// Leads to http, where nothing listens.
    Leave,
    /// Answers with a body that ends with the connection, and closes it without a close_notify.
    CutOff,
    /// Answers, and closes, with or without a close_notify.
    Close {
        notify: bool,
    },
}

struct Server {
    address: SocketAddr,
    handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
}

impl Server {
    async fn start(config: ServerConfig, then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let handshakes = Arc::new(Mutex::new(Vec::new()));
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let seen = Arc::clone(&handshakes);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let kind = stream.get_ref().1.handshake_kind().expect("a handshake");
                    seen.lock().expect("no panic").push(kind);
                    serve(stream, then).await;
                });
            }
        });
        Self { address, handshakes }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/", self.address.port())
    }
}

async fn serve(mut stream: TlsStream<TcpStream>, then: Then) {
    let mut buffer = vec![0; 4096];
    while let Ok(1..) = stream.read(&mut buffer).await {
        let answer: &[u8] = match then {
            Then::Leave => {
                b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
            }
            Then::CutOff => b"HTTP/1.1 200 OK\r\n\r\nhalf of",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret",
        };
        stream.write_all(answer).await.expect("written");
        stream.flush().await.expect("flushed");
        match then {
            Then::Serve | Then::Leave => {}
            Then::Close { notify: true } => return drop(stream.shutdown().await),
            Then::CutOff | Then::Close { notify: false } => return,
        }
    }
}

async fn fetch(client: &Client, url: &str) -> Result<String, Error> {
    within("an exchange", async { client.get(url).send().await?.text().await }).await
}

fn trusting(authority: &Authority) -> Client {
    Client::builder().root_certificates(authority.certificate()).build().expect("a client")
}

/// The connection is kept.
#[tokio::test]
async fn extra_root_is_trusted() {
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::Serve).await;
    let client = trusting(&authority);
    for _ in 0..5 {
        assert_eq!(fetch(&client, &server.url()).await.expect("a body"), "secret");
    }
    let stats = only(&client);
    assert_eq!(stats.origin, format!("https://localhost:{}", server.address.port()));
    assert_eq!((stats.opened, stats.reused, stats.idle), (1, 4, 1), "{stats:?}");
}

#[tokio::test]
async fn facts_of_the_handshake_are_told() {
    let authority = Authority::new();
    let mut config = authority.server("localhost", None);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let server = Server::start(config, Then::Serve).await;
    let client = trusting(&authority);
    for _ in 0..2 {
        let response = client.get(server.url()).send().await.expect("a response");
        let tls = response.tls().expect("facts of TLS");
        assert_eq!((tls.version(), tls.alpn()), ("TLS 1.3", Some(&b"http/1.1"[..])));
        assert!(tls.cipher_suite().starts_with("TLS_"), "{tls:?}");
        assert_eq!(tls.certificates().len(), 1);
        assert_eq!(response.remote_addr(), Some(server.address));
        response.bytes().await.expect("a body");
    }
    assert_eq!(only(&client).opened, 1, "the facts outlive the first exchange");
}

/// A redirect from https to http.
#[tokio::test]
async fn https_only_refuses_to_leave_https() {
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::Leave).await;
    let builder = Client::builder().root_certificates(authority.certificate());
    let free = builder.clone().build().expect("a client");
    let error = fetch(&free, &server.url()).await.expect_err("nothing listens there");
    assert!(error.is_connect(), "it was followed: {error}");
    let bound = builder.https_only(true).build().expect("a client");
    let error = fetch(&bound, &server.url()).await.expect_err("refused");
    assert!(error.is_redirect() && error.to_string().contains("https_only"), "{error}");
}

#[tokio::test]
async fn only_roots_leave_the_platform_out() {
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::Serve).await;
    let only = |roots| Client::builder().tls_roots_only(roots);
    let client = only(authority.certificate()).build().expect("a client");
    assert_eq!(fetch(&client, &server.url()).await.expect("a body"), "secret");
    let other = only(Authority::new().certificate()).build().expect("a client");
    assert!(fetch(&other, &server.url()).await.expect_err("no trust").is_tls());
    let error = only(Vec::new()).build().expect_err("refused");
    assert!(error.is_invalid() && error.to_string().contains("tls_roots_only"), "{error}");
}

/// Returns the file that a variable names in the process that [`again`] starts.
fn inside(variable: &str) -> Option<std::path::PathBuf> {
    std::env::var_os(INSIDE)?;
    std::env::var_os(variable).map(Into::into)
}

const INSIDE: &str = "KEEPWARM_TEST_TLS_INSIDE";

/// Runs a test again in a process of its own, where a variable names a file.
fn again(test: &str, variable: &str) {
    let name = format!("keepwarm-{}-{variable}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let mut command = std::process::Command::new(std::env::current_exe().expect("a path"));
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1").env(variable, &path);
    let output = command.output().expect("it runs");
    let _ = std::fs::remove_file(path);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
}

#[tokio::test]
async fn only_roots_leave_trusted_platform_out() {
    let Some(path) = inside("SSL_CERT_FILE") else {
        return again("tls::only_roots_leave_trusted_platform_out", "SSL_CERT_FILE");
    };
    let platform = Authority::new();
    std::fs::write(path, platform.issuer.pem()).expect("a file");
    let server = Server::start(platform.server("localhost", None), Then::Serve).await;
    let other = Authority::new().certificate();
    let more = Client::builder().root_certificates(other.clone()).build().expect("a client");
    assert_eq!(fetch(&more, &server.url()).await.expect("the platform's"), "secret");
    let alone = Client::builder().tls_roots_only(other).build().expect("a client");
    assert!(fetch(&alone, &server.url()).await.expect_err("no trust").is_tls());
}

#[tokio::test]
async fn key_log_is_written_by_setting_alone() {
    let Some(path) = inside("SSLKEYLOGFILE") else {
        return again("tls::key_log_is_written_by_setting_alone", "SSLKEYLOGFILE");
    };
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::Serve).await;
    for (write, lines) in [(false, 0), (true, 1), (true, 2)] {
        let builder = Client::builder().root_certificates(authority.certificate());
        let client = builder.tls_key_log(write).build().expect("a client");
        assert_eq!(fetch(&client, &server.url()).await.expect("a body"), "secret");
        let log = std::fs::read_to_string(&path).unwrap_or_default();
        let secrets = log.lines().filter(|line| line.starts_with("CLIENT_TRAFFIC_SECRET_0 "));
        assert_eq!(secrets.count(), lines, "{log}");
    }
}

/// The last word on other settings of trust is theirs.
#[tokio::test]
async fn danger_switched_off_restores_roots_and_pins() {
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::Serve).await;
    let builder = Client::builder().tls_roots_only(authority.certificate());
    let client = builder.danger_accept_invalid_certs(true).danger_accept_invalid_certs(false);
    let client = client.build().expect("a client");
    assert_eq!(fetch(&client, &server.url()).await.expect("a body"), "secret");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pins = Client::builder().tls_verifier(Arc::new(Pinned(vec![1], provider)));
    let client = pins.clone().danger_accept_invalid_certs(false).build().expect("a client");
    let error = fetch(&client, &server.url()).await.expect_err("pinned");
    assert!(error.to_string().contains("pinned"), "{error}");
    let error = pins.root_certificates(authority.certificate()).build().expect_err("ignored");
    assert!(error.is_invalid() && error.to_string().contains("tls_verifier"), "{error}");
}

#[tokio::test]
async fn danger_switch_trusts_anything() {
    let server = Server::start(Authority::new().server("other.test", None), Then::Serve).await;
    let builder = Client::builder().danger_accept_invalid_certs(true);
    let client = builder.clone().build().expect("a client");
    assert_eq!(fetch(&client, &server.url()).await.expect("a body"), "secret");
    let wary = builder.danger_accept_invalid_certs(false).build().expect("a client");
    assert!(fetch(&wary, &server.url()).await.expect_err("no trust").is_tls());
}

#[tokio::test]
async fn versions_are_bounded() {
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::Serve).await;
    let builder = || Client::builder().root_certificates(authority.certificate());
    for (client, version) in [
        (builder().max_tls_version(TlsVersion::Tls12), "TLS 1.2"),
        (builder().min_tls_version(TlsVersion::Tls13), "TLS 1.3"),
    ] {
        let client = client.build().expect("a client");
        let response = client.get(server.url()).send().await.expect("a response");
        assert_eq!(response.tls().map(keepwarm::TlsInfo::version), Some(version));
    }
    let none = builder().min_tls_version(TlsVersion::Tls13).max_tls_version(TlsVersion::Tls12);
    assert!(none.build().expect_err("refused").to_string().contains("min_tls_version"));
}

/// The certificate of one server, whoever has signed it.
#[derive(Debug)]
struct Pinned(Vec<u8>, Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if certificate.as_ref() == self.0 {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("another certificate is pinned".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.1.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.1.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.1.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn verifier_pins_a_certificate() {
    let authority = Authority::new();
    let (one, other) = (authority.server("localhost", None), authority.server("localhost", None));
    let (one, other) =
        (Server::start(one, Then::Serve).await, Server::start(other, Then::Serve).await);
    let trusting = trusting(&authority);
    let response = trusting.get(one.url()).send().await.expect("a response");
    let pin = response.tls().expect("TLS").certificates()[0].clone();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = Client::builder().tls_verifier(Arc::new(Pinned(pin, provider))).build();
    let client = client.expect("a client");
    assert_eq!(fetch(&client, &one.url()).await.expect("a body"), "secret");
    let error = fetch(&client, &other.url()).await.expect_err("another certificate");
    assert!(error.is_tls() && error.to_string().contains("pinned"), "{error}");
}

#[tokio::test]
async fn own_configuration_is_used_alone() {
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::Serve).await;
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).expect("a root");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = Client::builder().tls_config(Arc::new(config));
    let client = builder.clone().build().expect("a client");
    assert_eq!(fetch(&client, &server.url()).await.expect("a body"), "secret");
    let error = builder.tls_key_log(true).build().expect_err("refused");
    assert!(error.is_invalid() && error.to_string().contains("tls_config"), "{error}");
}

#[tokio::test]
async fn identity_rotates_without_a_new_client() {
    let (authority, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let wants_old = Server::start(authority.server("localhost", Some(&old)), Then::Serve).await;
    let wants_new = Server::start(authority.server("localhost", Some(&new)), Then::Serve).await;
    let identity = RotatingIdentity::new(&old.identity()).expect("an identity");
    let builder = Client::builder().root_certificates(authority.certificate());
    let client = builder.rotating_identity(&identity).build().expect("a client");
    assert_eq!(fetch(&client, &wants_old.url()).await.expect("a body"), "secret");
    fetch(&client, &wants_new.url()).await.expect_err("the old identity");
    identity.set(&new.identity()).expect("an identity");
    assert_eq!(fetch(&client, &wants_new.url()).await.expect("a body"), "secret");
    client.close_idle();
    fetch(&client, &wants_old.url()).await.expect_err("the new identity, and no resumption");
}

#[tokio::test]
async fn untrusted_server_gets_no_request() {
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::Serve).await;
    for client in [Client::new(), trusting(&Authority::new())] {
        let error = fetch(&client, &server.url()).await.expect_err("no trust");
        assert!(error.is_tls() && error.is_connect() && !error.is_timeout(), "{error}");
        assert_eq!(error.stage(), Stage::Tls);
        let text = error.to_string();
        assert!(text.contains("https://localhost:") && text.contains("certificate"), "{text}");
        assert_eq!(only(&client).opened, 0);
    }
    assert!(server.handshakes.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn certificate_for_another_name_is_rejected() {
    let authority = Authority::new();
    let server = Server::start(authority.server("other.test", None), Then::Serve).await;
    let error = fetch(&trusting(&authority), &server.url()).await.expect_err("another name");
    assert!(error.is_tls(), "{error}");
}

#[tokio::test]
async fn identity_is_shown_on_request() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let config = servers.server("localhost", Some(&clients));
    let server = Server::start(config, Then::Serve).await;
    let builder = Client::builder().root_certificates(servers.certificate());
    let known = builder.clone().identity(clients.identity()).build().expect("a client");
    assert_eq!(fetch(&known, &server.url()).await.expect("a body"), "secret");
    for unknown in [builder.clone(), builder.identity(Authority::new().identity())] {
        let client = unknown.build().expect("a client");
        // In TLS 1.3 the server's refusal comes after the client's handshake is complete.
        let error = fetch(&client, &server.url()).await.expect_err("not known here");
        assert!(error.to_string().contains("alert"), "{error}");
        assert!(error.is_tls(), "also after the handshake, at {:?}: {error}", error.stage());
    }
}

#[tokio::test]
async fn second_connection_resumes_the_session() {
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::Serve).await;
    let client = Client::builder()
        .root_certificates(authority.certificate())
        .max_idle_per_origin(0)
        .build()
        .expect("a client");
    for _ in 0..2 {
        fetch(&client, &server.url()).await.expect("a body");
    }
    let seen = server.handshakes.lock().expect("no panic").clone();
    assert_eq!(seen, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[tokio::test]
async fn silent_handshake_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = silent.local_addr().expect("an address").port();
    let client = Client::builder()
        .tls_handshake_timeout(Duration::from_millis(50))
        .build()
        .expect("a client");
    let error = fetch(&client, &format!("https://localhost:{port}/")).await.expect_err("silence");
    assert!(error.is_tls() && error.is_timeout(), "{error}");
}

#[tokio::test]
async fn server_without_tls_fails_the_handshake() {
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = plain.local_addr().expect("an address").port();
    tokio::spawn(async move {
        let (mut stream, _) = plain.accept().await.expect("accept");
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("written");
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    let error = fetch(&Client::new(), &format!("https://localhost:{port}/")).await;
    assert!(error.expect_err("no TLS").is_tls());
}

/// With and without a close_notify.
#[tokio::test]
async fn idle_close_is_noticed() {
    for notify in [true, false] {
        let authority = Authority::new();
        let config = authority.server("localhost", None);
        let server = Server::start(config, Then::Close { notify }).await;
        let client = trusting(&authority);
        fetch(&client, &server.url()).await.expect("a body");
        eventually("the close", || only(&client).closed() == 1).await;
        let stats = only(&client);
        assert_eq!(stats.closed_by(Closer::Server), 1, "{stats:?}");
        assert_eq!(stats.closed_for(CloseReason::PeerClosedIdle), 1, "{stats:?}");
        fetch(&client, &server.url()).await.expect("on another connection");
    }
}

/// Whoever can cut a TCP connection must not be able to shorten a response unnoticed.
#[tokio::test]
async fn missing_close_notify_fails_the_body() {
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::CutOff).await;
    let error = fetch(&trusting(&authority), &server.url()).await.expect_err("cut off");
    assert_eq!(error.stage(), Stage::Body, "{error}");
}

/// Two schemes on the same port.
#[tokio::test]
async fn http_and_https_share_no_connection() {
    let authority = Authority::new();
    let server = Server::start(authority.server("localhost", None), Then::Serve).await;
    let client = trusting(&authority);
    fetch(&client, &server.url()).await.expect("a body");
    let plain = server.url().replace("https", "http");
    fetch(&client, &plain).await.expect_err("the server speaks TLS only");
    let stats = client.stats();
    assert_eq!(stats.origins.len(), 2, "{stats:?}");
    let https = format!("https://localhost:{}", server.address.port());
    assert_eq!(stats.origin(&https).map(|origin| origin.checkouts), Some(1), "{stats:?}");
}

#[test]
fn unusable_tls_settings_are_named() {
    let refused = |builder: keepwarm::ClientBuilder| {
        let error = builder.build().expect_err("refused");
        assert!(error.is_invalid(), "{error}");
        error.to_string()
    };
    let zero = Client::builder().tls_handshake_timeout(Duration::ZERO);
    assert!(refused(zero).contains("tls_handshake_timeout is 0"));
    let named = Client::builder().tls_server_name("no name".to_owned());
    assert!(refused(named).contains("tls_server_name is \"no name\": "));
    let garbage = Client::builder().root_certificates([Certificate::from_der(*b"garbage")]);
    assert!(refused(garbage).contains("root_certificates"));
    let (certificate, _) = Authority::new().issue("a.test");
    let (_, key) = Authority::new().issue("b.test");
    let pem = certificate.pem() + &key.serialize_pem();
    let strangers = Identity::from_pem(pem.as_bytes()).expect("well formed");
    assert!(!format!("{strangers:?}").contains("PRIVATE"));
    assert!(refused(Client::builder().identity(strangers)).contains("identity"));
    assert!(Certificate::all_from_pem(b"nothing here").is_err());
    assert!(Identity::from_pem(certificate.pem().as_bytes()).is_err());
}

/// The name is that of the URL.
#[tokio::test]
async fn connector_stream_carries_tls() {
    let authority = Authority::new();
    let server = Server::start(authority.server("named.test", None), Then::Serve).await;
    let address = server.address;
    let builder = Client::builder().root_certificates(authority.certificate());
    let connector = tower::service_fn(move |to: keepwarm::connect::Destination| {
        assert!(to.is_tls() && to.scheme() == "https");
        TcpStream::connect(address)
    });
    let client = builder.connector(connector).build().expect("a client");
    for _ in 0..2 {
        assert_eq!(fetch(&client, "https://named.test/").await.expect("a body"), "secret");
    }
    assert_eq!(only(&client).opened, 1);
    let error = fetch(&client, "https://other.test/").await.expect_err("another name");
    assert!(error.is_tls(), "{error}");
}

/// The name is that of the URL.
#[cfg(unix)]
#[tokio::test]
async fn unix_socket_carries_tls() {
    let directory = std::env::temp_dir().join(format!("keepwarm-tls-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory of its own");
    let path = directory.join("https.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("bind");
    let authority = Authority::new();
    let acceptor = TlsAcceptor::from(Arc::new(authority.server("named.test", None)));
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("accept");
        let stream = acceptor.accept(stream).await.expect("a handshake");
        Peer::over(stream).serve("private").await;
    });
    let builder = Client::builder().root_certificates(authority.certificate());
    let client = builder.unix_socket(&path).build().expect("a client");
    assert_eq!(fetch(&client, "https://named.test/").await.expect("a body"), "private");
    std::fs::remove_dir_all(&directory).expect("removed");
}
