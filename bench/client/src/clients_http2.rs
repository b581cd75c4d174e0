//! The clients without a pool, by HTTP/2: a connection for so many tasks, its driver spawned.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::header::USER_AGENT;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::clients::{AGENT, Failure, Lane, Target, check, length_of};

/// Windows as keepwarm has them.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;

async fn connect(target: &Target) -> Result<TcpStream, Failure> {
    let uri: hyper::Uri = target.url.parse()?;
    let stream = TcpStream::connect(uri.authority().ok_or("no address")?.as_str()).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connections, each given to every so-many-th lane.
async fn shared<S, L>(
    target: &Target,
    count: usize,
    start: impl AsyncFn(TcpStream) -> Result<S, Failure>,
    lane: impl Fn(&S) -> L,
) -> Result<Vec<L>, Failure> {
    let mut senders = Vec::new();
    for _ in 0..target.http2.unwrap_or(1) {
        senders.push(start(connect(target).await?).await?);
    }
    Ok((0..count).map(|index| lane(&senders[index % senders.len()])).collect())
}

/// The `h2` crate by itself.
pub(crate) struct H2Spawned {
    sender: h2::client::SendRequest<Bytes>,
    uri: hyper::Uri,
}

impl H2Spawned {
    pub(crate) async fn lanes(target: &Target, count: usize) -> Result<Vec<Self>, Failure> {
        let uri: hyper::Uri = target.url.parse()?;
        let start = async |stream| {
            let mut builder = h2::client::Builder::new();
            builder
                .enable_push(false)
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW);
            let (sender, driver) = builder.handshake::<_, Bytes>(stream).await?;
            tokio::spawn(driver);
            Ok(sender.ready().await?)
        };
        shared(target, count, start, |sender| Self { sender: sender.clone(), uri: uri.clone() })
            .await
    }
}

impl Lane for H2Spawned {
    async fn get(&mut self) -> Result<usize, Failure> {
        std::future::poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        let request = http::Request::get(self.uri.clone()).header(USER_AGENT, AGENT).body(())?;
        let (response, _) = self.sender.send_request(request, true)?;
        let response = response.await?;
        check(response.status().as_u16())?;
        let mut body = response.into_body();
        let mut length = 0;
        while let Some(data) = body.data().await {
            let data = data?;
            body.flow_control().release_capacity(data.len())?;
            length += data.len();
        }
        Ok(length)
    }
}

/// hyper's HTTP/2, as its guide shows it.
pub(crate) struct HyperHttp2 {
    sender: hyper::client::conn::http2::SendRequest<Empty<Bytes>>,
    uri: hyper::Uri,
}

impl HyperHttp2 {
    pub(crate) async fn lanes(target: &Target, count: usize) -> Result<Vec<Self>, Failure> {
        let uri: hyper::Uri = target.url.parse()?;
        let start = async |stream| {
            let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            let (sender, driver) = builder.handshake(TokioIo::new(stream)).await?;
            tokio::spawn(driver);
            Ok(sender)
        };
        shared(target, count, start, |sender| Self { sender: sender.clone(), uri: uri.clone() })
            .await
    }
}

impl Lane for HyperHttp2 {
    async fn get(&mut self) -> Result<usize, Failure> {
        self.sender.ready().await?;
        let request =
            hyper::Request::get(self.uri.clone()).header(USER_AGENT, AGENT).body(Empty::new())?;
        let response = self.sender.send_request(request).await?;
        check(response.status().as_u16())?;
        length_of(response.into_body()).await
    }
}
