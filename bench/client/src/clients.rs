//! The clients, each in the way its own documentation shows, with as much in common as can be: one
//! URL, no redirects met, no timeout, Nagle's algorithm off, the body read frame by frame.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HeaderValue, USER_AGENT};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// In the order in which they take turns. All but the last are measured in this process.
pub(crate) const CLIENTS: &[&str] =
    &["keepwarm", "reqwest", "hyper-util", "hyper-spawned", H2_SPAWNED, BARE_SOCKET, GO];
/// The `h2` crate alone: the limit of what is built on it. By HTTP/2 only.
pub(crate) const H2_SPAWNED: &str = "h2-spawned";
/// No client at all: the limit of what is built on tokio. One request at a time by HTTP/2 only.
pub(crate) const BARE_SOCKET: &str = "bare-socket";
pub(crate) const GO: &str = "go";
/// Clients that undo gzip and keep cookies.
pub(crate) const FEATURED: &[&str] = &["keepwarm", "reqwest"];

/// The cookie that they send.
const COOKIE: &str = "session=0123456789abcdef0123456789abcdef; Path=/";

/// Field of each request by HTTP/2 of the clients that send none by themselves: keepwarm sends its own
/// `User-Agent`, and reqwest an `Accept`.
pub(crate) const AGENT: HeaderValue = HeaderValue::from_static("bench-client/1.0");

/// The URL that is asked for, and the authority that is trusted if it is https.
pub(crate) struct Target {
    pub(crate) url: String,
    pub(crate) authority_pem: Option<String>,
    /// With gzip and a cookie.
    pub(crate) featured: bool,
    /// Connections of HTTP/2, if that is spoken.
    pub(crate) http2: Option<u32>,
}

/// One task's way to make requests.
pub(crate) trait Lane: Send + 'static {
    /// One GET, and the length of its body.
    fn get(&mut self) -> impl Future<Output = Result<usize, Failure>> + Send;
}

pub(crate) struct Keepwarm {
    client: keepwarm::Client,
    url: String,
}

impl Keepwarm {
    pub(crate) fn lanes(target: &Target, count: usize) -> Result<Vec<Self>, Failure> {
        let mut builder = keepwarm::Client::builder();
        if let Some(pem) = &target.authority_pem {
            builder =
                builder.root_certificates(keepwarm::Certificate::all_from_pem(pem.as_bytes())?);
        }
        if target.featured {
            let jar = keepwarm::Jar::new();
            if !jar.add(COOKIE, &target.url.parse()?) {
                return Err("the jar has not stored the cookie".into());
            }
            builder = builder.gzip(true).cookie_store(jar);
        }
        if let Some(connections) = target.http2 {
            builder = builder.http2_prior_knowledge().max_connections_per_origin(connections);
        }
        let client = builder.build()?;
        let lane = || Self { client: client.clone(), url: target.url.clone() };
        Ok((0..count).map(|_| lane()).collect())
    }
}

impl Lane for Keepwarm {
    async fn get(&mut self) -> Result<usize, Failure> {
        let mut response = self.client.get(&self.url).send().await?;
        check(response.status().as_u16())?;
        let mut length = 0;
        while let Some(frame) = response.body_mut().frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(length)
    }
}

pub(crate) struct Reqwest {
    client: reqwest::Client,
    url: String,
}

impl Reqwest {
    pub(crate) fn lanes(target: &Target, count: usize) -> Result<Vec<Self>, Failure> {
        let mut builder = reqwest_builder(target.authority_pem.as_deref())?;
        if target.featured {
            let jar = reqwest::cookie::Jar::default();
            jar.add_cookie_str(COOKIE, &target.url.parse()?);
            builder = builder.gzip(true).cookie_provider(Arc::new(jar));
        }
        if target.http2.is_some() {
            builder = builder.http2_prior_knowledge();
        }
        let client = builder.build()?;
        let lane = || Self { client: client.clone(), url: target.url.clone() };
        Ok((0..count).map(|_| lane()).collect())
    }
}

/// A client of reqwest, which is given its TLS even where it does not need it. No coding is asked
/// for.
pub(crate) fn reqwest_client(authority_pem: Option<&str>) -> Result<reqwest::Client, Failure> {
    Ok(reqwest_builder(authority_pem)?.build()?)
}

fn reqwest_builder(authority_pem: Option<&str>) -> Result<reqwest::ClientBuilder, Failure> {
    let config = tls::client_config(authority_pem)?;
    let builder = reqwest::Client::builder().http1_only().no_proxy();
    let builder = builder.no_gzip().no_brotli().no_zstd().no_deflate();
    Ok(builder.tls_backend_preconfigured(config))
}

impl Lane for Reqwest {
    async fn get(&mut self) -> Result<usize, Failure> {
        let mut response = self.client.get(&self.url).send().await?;
        check(response.status().as_u16())?;
        let mut length = 0;
        while let Some(chunk) = response.chunk().await? {
            length += chunk.len();
        }
        Ok(length)
    }
}

/// hyper-util's legacy client: the pool under reqwest, without what reqwest adds.
pub(crate) struct HyperUtil<C> {
    client: legacy::Client<C, Empty<Bytes>>,
    uri: hyper::Uri,
    agent: Option<HeaderValue>,
}

impl HyperUtil<HttpConnector> {
    pub(crate) fn lanes(target: &Target, count: usize) -> Result<Vec<Self>, Failure> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Self::with(connector, target, count)
    }
}

impl HyperUtil<HttpsConnector<HttpConnector>> {
    pub(crate) fn tls_lanes(target: &Target, count: usize) -> Result<Vec<Self>, Failure> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::client_config(target.authority_pem.as_deref())?)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Self::with(connector, target, count)
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> HyperUtil<C> {
    fn with(connector: C, target: &Target, count: usize) -> Result<Vec<Self>, Failure> {
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .http2_only(target.http2.is_some())
            .build(connector);
        let uri: hyper::Uri = target.url.parse()?;
        let agent = target.http2.map(|_| AGENT);
        let lane = || Self { client: client.clone(), uri: uri.clone(), agent: agent.clone() };
        Ok((0..count).map(|_| lane()).collect())
    }
}

impl<C: Connect + Clone + Send + Sync + 'static> Lane for HyperUtil<C> {
    async fn get(&mut self) -> Result<usize, Failure> {
        let mut request = hyper::Request::get(self.uri.clone()).body(Empty::new())?;
        if let Some(agent) = &self.agent {
            request.headers_mut().insert(USER_AGENT, agent.clone());
        }
        let response = self.client.request(request).await?;
        check(response.status().as_u16())?;
        length_of(response.into_body()).await
    }
}

/// No pool at all: a hyper connection for each task, its driver spawned as hyper's guide shows.
pub(crate) struct HyperSpawned {
    address: String,
    host: HeaderValue,
    path: hyper::Uri,
    tls: Option<TlsConnector>,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

impl HyperSpawned {
    pub(crate) fn lanes(target: &Target, count: usize) -> Result<Vec<Self>, Failure> {
        let uri: hyper::Uri = target.url.parse()?;
        let tls = match target.authority_pem.as_deref() {
            Some(pem) => Some(TlsConnector::from(Arc::new(tls::client_config(Some(pem))?))),
            None => None,
        };
        let address = uri.authority().ok_or("no address")?.as_str().to_owned();
        let lane = || {
            Ok(Self {
                host: HeaderValue::from_str(&address)?,
                address: address.clone(),
                path: uri.path().parse()?,
                tls: tls.clone(),
                sender: None,
            })
        };
        (0..count).map(|_| lane()).collect()
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, Failure> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Self::start(stream).await };
        let name = stream.peer_addr()?.ip().into();
        Self::start(tls.connect(name, stream).await?).await
    }

    async fn start<S>(stream: S) -> Result<SendRequest<Empty<Bytes>>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        Ok(sender)
    }
}

impl Lane for HyperSpawned {
    async fn get(&mut self) -> Result<usize, Failure> {
        let mut sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        sender.ready().await?;
        let request = hyper::Request::get(self.path.clone())
            .header(hyper::header::HOST, self.host.clone())
            .body(Empty::new())?;
        let response = sender.send_request(request).await?;
        self.sender = Some(sender);
        check(response.status().as_u16())?;
        length_of(response.into_body()).await
    }
}

pub(crate) async fn length_of(mut body: hyper::body::Incoming) -> Result<usize, Failure> {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame?.data_ref().map_or(0, Bytes::len);
    }
    Ok(length)
}

pub(crate) fn check(status: u16) -> Result<(), Failure> {
    if status == 200 { Ok(()) } else { Err(format!("status {status}").into()) }
}
