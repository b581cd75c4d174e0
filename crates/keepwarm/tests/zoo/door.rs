//! The way to a cage: straight, or through TLS.
//!
//! Over TLS a second server stands before the cage, decrypts what comes and passes on everything
//! else: what the animal writes, its FIN, as `close_notify` and FIN or, as somebody does who cuts
//! connections, without the former, and its RST.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use keepwarm::{Certificate, Client};
use keepwarm_testkit::zoo::{Animal, Expect, Met, Step};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How a client gets to the animals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Tcp,
    /// A FIN is announced, as RFC 8446, 6.1, asks.
    Tls,
    /// A FIN is not announced.
    CutTls,
}

/// One authority for all visits of a test: making keys takes time.
pub(crate) struct Doors {
    via: Via,
    turns: Semaphore,
    tls: Option<(TlsAcceptor, Certificate)>,
}

/// The way to one cage. It ends with its connections when this is dropped.
pub(crate) struct Door {
    origin: String,
    accepting: Option<AbortHandle>,
}

impl Doors {
    pub(crate) fn new(via: Via) -> Self {
        // Each client reads the platform's roots before its first handshake.
        let turns = if via == Via::Tcp { Semaphore::MAX_PERMITS } else { 8 };
        Self { via, turns: Semaphore::new(turns), tls: (via != Via::Tcp).then(authority) }
    }

    /// Waits until not too many visits are under way.
    pub(crate) async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("it is never closed")
    }

    /// What a client gives an animal that would keep it waiting for ever.
    pub(crate) fn impatience(&self) -> Duration {
        Duration::from_millis(if self.via == Via::Tcp { 300 } else { 1_500 })
    }

    /// Over TLS only some animals are visited, in every second case on a reused connection: the
    /// ones that TLS may make a difference to, and some of the others.
    pub(crate) fn lead_to(&self, index: usize, animal: &Animal, met: Met) -> bool {
        const SPECIAL: [&str; 4] = ["while idle", "upload", "without length", "without end"];
        let special = SPECIAL.iter().any(|part| animal.name.contains(part));
        let ends = animal.script.iter().any(|step| matches!(step, Step::Fin | Step::HalfClose));
        let chosen = match self.via {
            Via::Tcp => return true,
            Via::Tls => special || index.is_multiple_of(3),
            Via::CutTls => ends && (special || index % 3 == 1),
        };
        let cold = index.is_multiple_of(2) || !animal.listens_first();
        chosen && (met == Met::Cold) == cold
    }

    pub(crate) fn client(&self) -> Client {
        let Some((_, authority)) = &self.tls else { return Client::new() };
        let builder = Client::builder().root_certificates([authority.clone()]);
        builder.build().expect("good settings")
    }

    /// What becomes of the exchange, this way.
    pub(crate) fn expected<'a>(&self, animal: &'a Animal) -> &'a Expect {
        let ended_by_fin = animal.name.ends_with("ends a body without length");
        if self.via == Via::CutTls && ended_by_fin { &Expect::Fails } else { &animal.expect }
    }

    pub(crate) async fn open(&self, cage: SocketAddr) -> Door {
        let Some((acceptor, _)) = &self.tls else {
            return Door { origin: format!("http://{cage}"), accepting: None };
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("a bound address");
        let (acceptor, announced) = (acceptor.clone(), self.via == Via::Tls);
        let accepting = tokio::spawn(async move {
            let mut guests = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                stream.set_nodelay(true).expect("nodelay");
                let acceptor = acceptor.clone();
                guests.spawn(async move {
                    let raw = SockRef::from(&stream).try_clone().expect("a descriptor is left");
                    // A client that gives up its handshake has its reasons.
                    if let Ok(guest) = acceptor.accept(stream).await {
                        pass(guest, raw, cage, announced).await;
                    }
                });
            }
        });
        let accepting = Some(accepting.abort_handle());
        Door { origin: format!("https://127.0.0.1:{}", address.port()), accepting }
    }
}

impl Door {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.origin)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

fn authority() -> (TlsAcceptor, Certificate) {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key).expect("an issuer");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
            )
            .expect("a certificate and its key");
    (TlsAcceptor::from(Arc::new(config)), Certificate::from_der(issuer.der().to_vec()))
}

/// Passes bytes and ends on in both directions, until both have ended, the animal has aborted or
/// the guest takes nothing more. `raw` is the guest's socket below its TLS.
async fn pass(guest: TlsStream<TcpStream>, raw: Socket, cage: SocketAddr, announced: bool) {
    let mut animal = TcpStream::connect(cage).await.expect("the cage listens");
    animal.set_nodelay(true).expect("nodelay");
    let (mut from_animal, mut to_animal) = animal.split();
    let (mut from_guest, mut to_guest) = tokio::io::split(guest);
    // An animal that does not read may yet write.
    let up = async {
        let mut bytes = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from_guest.read(&mut bytes).await {
            let _ = to_animal.write_all(&bytes[..count]).await;
        }
        let _ = to_animal.shutdown().await;
    };
    let down = async {
        let mut bytes = vec![0; 16 << 10];
        loop {
            match from_animal.read(&mut bytes).await {
                Ok(0) => break,
                Ok(count) => {
                    to_guest.write_all(&bytes[..count]).await.map_err(drop)?;
                    to_guest.flush().await.map_err(drop)?;
                }
                Err(_) => return Err(()),
            }
        }
        if announced {
            let _ = to_guest.shutdown().await;
        } else {
            let _ = raw.shutdown(Shutdown::Write);
        }
        Ok(())
    };
    let up = async {
        up.await;
        Ok(())
    };
    if tokio::try_join!(up, down).is_err() {
        raw.set_linger(Some(Duration::ZERO)).expect("set SO_LINGER");
    }
}
