//! The way to a cage: straight, through TLS, or through a proxy.
//!
//! A proxy of HTTP is the animal itself; one of SOCKS5 stands before the cage and passes bytes and
//! ends on. A client with all features goes straight.
//!
//! Over TLS a second server stands before the cage, decrypts what comes and passes on everything
//! else: what the animal writes, its FIN, as `close_notify` and FIN or, as somebody does who cuts
//! connections, without the former, and its RST.

use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use keepwarm::{Certificate, Client, Proxy};
use keepwarm_testkit::zoo::{
    Animal, Expect, MAX_DECODED, Met, Step, animals, featured_animals, proxies,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use socket2::{SockRef, Socket};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// How a client gets to the animals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Tcp,
    /// A FIN is announced, as RFC 8446, 6.1, asks.
    Tls,
    /// A FIN is not announced.
    CutTls,
    /// The animal is a proxy, and reads requests itself.
    Forward,
    /// The animal is a proxy, and is asked for a tunnel.
    Connect,
    /// A SOCKS5 proxy before the cage.
    Socks,
    /// A client that undoes codings, follows redirects and keeps cookies.
    Featured,
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
    /// The origin of the exchange with the animal.
    first_origin: String,
    /// The address that is connected to.
    address: SocketAddr,
    accepting: Option<AbortHandle>,
}

impl Doors {
    pub(crate) fn new(via: Via) -> Self {
        // Each client reads the platform's roots before its first handshake.
        let speaks_tls = matches!(via, Via::Tls | Via::CutTls);
        let turns = if speaks_tls || via == Via::Connect { 8 } else { Semaphore::MAX_PERMITS };
        Self { via, turns: Semaphore::new(turns), tls: speaks_tls.then(authority) }
    }

    /// Returns the animals that are met this way.
    pub(crate) fn animals(&self) -> Vec<Animal> {
        match self.via {
            Via::Featured => featured_animals(),
            Via::Connect => proxies(),
            _ => animals(),
        }
    }

    /// Waits until not too many visits are under way.
    pub(crate) async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("it is never closed")
    }

    /// The time a client gives an animal that would keep it waiting for ever.
    pub(crate) fn impatience(&self) -> Duration {
        let quick = matches!(self.via, Via::Tcp | Via::Forward | Via::Featured);
        Duration::from_millis(if quick { 300 } else { 1_500 })
    }

    /// True where the animal is met while a connection is made.
    pub(crate) fn lead_to_dials(&self) -> bool {
        self.via == Via::Connect
    }

    /// Over TLS only some animals are visited, in every second case on a reused connection: the
    /// ones that TLS may make a difference to, and some of the others.
    pub(crate) fn lead_to(&self, index: usize, animal: &Animal, met: Met) -> bool {
        const SPECIAL: [&str; 4] = ["while idle", "upload", "without length", "without end"];
        let special = SPECIAL.iter().any(|part| animal.name.contains(part));
        let ends = animal.script.iter().any(|step| matches!(step, Step::Fin | Step::HalfClose));
        let chosen = match self.via {
            Via::Tcp | Via::Featured | Via::Connect => return true,
            // Every animal, in one of the two exchanges.
            Via::Forward | Via::Socks => true,
            Via::Tls => special || index.is_multiple_of(3),
            Via::CutTls => ends && (special || index % 3 == 1),
        };
        let cold = index.is_multiple_of(2) || !animal.listens_first();
        chosen && (met == Met::Cold) == cold
    }

    pub(crate) fn client(&self, door: &Door) -> Client {
        let mut builder = Client::builder();
        if let Some((_, authority)) = &self.tls {
            builder = builder.root_certificates([authority.clone()]);
        }
        let proxy = |scheme| Proxy::all(format!("{scheme}://{}", door.address)).expect("a proxy");
        builder = match self.via {
            Via::Tcp | Via::Tls | Via::CutTls => builder,
            Via::Forward => builder.proxy(proxy("http")),
            // A dial outlives its request.
            Via::Connect => builder.proxy(proxy("http")).connect_timeout(self.impatience()),
            Via::Socks => builder.proxy(proxy("socks5h")),
            Via::Featured => {
                builder.decompress(true).max_decompressed_size(MAX_DECODED as u64).cookies(true)
            }
        };
        builder.build().expect("good settings")
    }

    /// The expected outcome of the exchange on this way to the server.
    pub(crate) fn expected<'a>(&self, animal: &'a Animal) -> &'a Expect {
        let ended_by_fin = animal.name.ends_with("ends a body without length");
        if self.via == Via::CutTls && ended_by_fin { &Expect::Fails } else { &animal.expect }
    }

    pub(crate) async fn open(&self, cage: SocketAddr) -> Door {
        let straight = |origin: String, first_origin: &str| Door {
            origin,
            first_origin: first_origin.to_owned(),
            address: cage,
            accepting: None,
        };
        let zoo = "http://zoo.test";
        match self.via {
            Via::Tcp | Via::Featured => {
                let origin = format!("http://{cage}");
                return straight(origin.clone(), &origin);
            }
            Via::Forward => return straight(zoo.to_owned(), zoo),
            Via::Connect => return straight(zoo.to_owned(), "https://zoo.test"),
            Via::Tls | Via::CutTls | Via::Socks => {}
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("a bound address");
        let acceptor = self.tls.as_ref().map(|(acceptor, _)| acceptor.clone());
        let origin = match acceptor {
            Some(_) => format!("https://127.0.0.1:{}", address.port()),
            None => zoo.to_owned(),
        };
        let announced = self.via != Via::CutTls;
        let accepting = tokio::spawn(async move {
            let mut guests = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("accept");
                stream.set_nodelay(true).expect("nodelay");
                let acceptor = acceptor.clone();
                guests.spawn(async move {
                    let raw = SockRef::from(&stream).try_clone().expect("a descriptor is left");
                    // A client that gives up its handshake has its reasons.
                    if let Some(acceptor) = acceptor {
                        if let Ok(guest) = acceptor.accept(stream).await {
                            pass(guest, raw, cage, announced).await;
                        }
                    } else if let Ok(guest) = grant_socks(stream).await {
                        pass(guest, raw, cage, announced).await;
                    }
                });
            }
        });
        let accepting = Some(accepting.abort_handle());
        Door { first_origin: origin.clone(), origin, address, accepting }
    }
}

impl Door {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.origin)
    }

    /// The URL of the exchange with the animal.
    pub(crate) fn first_url(&self, path: &str) -> String {
        format!("{}/{path}", self.first_origin)
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

/// Grants a client of SOCKS5 the name that it asks for, by a name that it is to read over.
async fn grant_socks(mut stream: TcpStream) -> std::io::Result<TcpStream> {
    let mut hello = [0; 3];
    stream.read_exact(&mut hello).await?;
    stream.write_all(&[5, 0]).await?;
    let mut asked = [0; 5];
    stream.read_exact(&mut asked).await?;
    assert_eq!(asked[..4], [5, 1, 0, 3], "a connection to a name");
    let mut place = vec![0; usize::from(asked[4]) + 2];
    stream.read_exact(&mut place).await?;
    stream.write_all(b"\x05\0\0\x03\x04door\0\x50").await?;
    Ok(stream)
}

/// Passes bytes and ends on in both directions, until both have ended, the animal has aborted or
/// the guest takes nothing more. `raw` is the guest's socket below its TLS.
async fn pass<S>(guest: S, raw: Socket, cage: SocketAddr, announced: bool)
where
    S: AsyncRead + AsyncWrite,
{
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
