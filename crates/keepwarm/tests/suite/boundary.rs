//! The pool is a security boundary: a connection made under one identity, name, trust or address is
//! never handed to a request under another one, nor is its TLS session.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use keepwarm::{Client, ClientBuilder};
use keepwarm_testkit::scripted::{Peer, ok, within};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::support::only;
use crate::tls::Authority;

/// Answers every request with what it knows of the connection that it came by.
struct Mirror {
    address: SocketAddr,
    authority: Arc<Authority>,
    clients: Authority,
}

impl Mirror {
    async fn open() -> Self {
        let (authority, clients) = (Arc::new(Authority::new()), Authority::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("bound");
        let acceptor = TlsAcceptor::from(Arc::new(Self::config(&authority, &clients)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Self::converse(acceptor.clone(), stream));
            }
        });
        Self { address, authority, clients }
    }

    /// A certificate for three names; clients may show one of theirs.
    fn config(authority: &Authority, clients: &Authority) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(clients.issuer.der().clone()).expect("a root");
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = verifier.allow_unauthenticated().build().expect("a verifier");
        let names = ["localhost", "one.test", "other.test"].map(str::to_owned);
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(names).expect("parameters");
        let certificate = params.signed_by(&key, &authority.issuer).expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("a certificate that fits its key")
    }

    async fn converse(acceptor: TlsAcceptor, stream: TcpStream) {
        let from = stream.peer_addr().expect("connected").ip();
        let Ok(stream) = acceptor.accept(stream).await else { return };
        let session = stream.get_ref().1;
        let name = session.server_name().unwrap_or("nobody").to_owned();
        let shown = session.peer_certificates().map(|chain| chain[0].len()).unwrap_or_default();
        let known = if shown > 0 { "known" } else { "unknown" };
        let mut peer = Peer::over(stream);
        while peer.request_or_end().await.is_some() {
            peer.write(ok(&format!("{known} from {from} to {name}"))).await;
        }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/", self.address.port())
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder().root_certificates(self.authority.certificate())
    }
}

async fn answer(client: &Client, url: &str) -> keepwarm::Result<String> {
    within("an exchange", async { client.get(url).send().await?.text().await }).await
}

/// Sends requests of two clients in turns to one URL: each hears only what is its own. With
/// connections that are kept, and with ones that are not and so resume TLS sessions.
async fn assert_told_apart(mirror: &Mirror, two: [(ClientBuilder, &str); 2]) {
    for kept in [true, false] {
        let clients = two.clone().map(|(builder, heard)| {
            let builder = if kept { builder } else { builder.max_idle_per_origin(0) };
            (builder.build().expect("good settings"), heard)
        });
        for _ in 0..3 {
            for (client, heard) in &clients {
                assert_eq!(answer(client, &mirror.url()).await.expect("a body"), *heard);
            }
        }
        for (client, _) in &clients {
            assert_eq!(only(client).opened, if kept { 1 } else { 3 });
        }
    }
}

#[tokio::test]
async fn identities_share_no_connection() {
    let mirror = Mirror::open().await;
    let known = mirror.builder().identity(mirror.clients.identity());
    let unknown = mirror.builder();
    let heard = ["known from 127.0.0.1 to localhost", "unknown from 127.0.0.1 to localhost"];
    assert_told_apart(&mirror, [(known, heard[0]), (unknown, heard[1])]).await;
}

#[tokio::test]
async fn handshake_names_share_no_connection() {
    let mirror = Mirror::open().await;
    let named = |name: &str| mirror.builder().tls_server_name(name.to_owned());
    let heard = ["unknown from 127.0.0.1 to one.test", "unknown from 127.0.0.1 to other.test"];
    assert_told_apart(&mirror, [(named("one.test"), heard[0]), (named("other.test"), heard[1])])
        .await;
    let heard = ["unknown from 127.0.0.1 to one.test", "unknown from 127.0.0.1 to localhost"];
    assert_told_apart(&mirror, [(named("one.test"), heard[0]), (mirror.builder(), heard[1])]).await;
}

#[tokio::test]
async fn local_addresses_share_no_connection() {
    let mirror = Mirror::open().await;
    let from = |last| mirror.builder().local_address(IpAddr::from([127, 0, 0, last]));
    let heard = ["unknown from 127.0.0.2 to localhost", "unknown from 127.0.0.3 to localhost"];
    assert_told_apart(&mirror, [(from(2), heard[0]), (from(3), heard[1])]).await;
}

/// Whom one client trusts, another one may not.
#[tokio::test]
async fn trusted_roots_share_no_connection() {
    let mirror = Mirror::open().await;
    let trusting = mirror.builder().build().expect("good");
    answer(&trusting, &mirror.url()).await.expect("a body");
    let error = answer(&Client::new(), &mirror.url()).await.expect_err("no trust");
    assert!(error.is_tls(), "{error}");
    assert_eq!(only(&trusting).idle, 1);
}

#[tokio::test]
async fn certificate_must_match_handshake_name() {
    let mirror = Mirror::open().await;
    let client = mirror.builder().tls_server_name("stranger.test".to_owned()).build();
    let client = client.expect("good");
    let error = answer(&client, &mirror.url()).await.expect_err("not its certificate");
    assert!(error.is_tls() && error.to_string().contains("certificate"), "{error}");
    assert_eq!(only(&client).opened, 0);
}
