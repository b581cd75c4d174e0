//! The two clients behind one trait: what any client can be asked to do, and no more.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Settings that both clients have.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_idle_per_origin: Option<u32>,
}

/// A client. Clones share its pool.
pub(crate) trait Subject: Clone + Send + Sync + 'static {
    fn with(settings: Settings) -> Self;

    /// Sends a request, and gives the response when its head has come.
    fn send(&self, ask: Ask) -> impl Future<Output = Result<Reply, Failure>> + Send + 'static;

    /// A client with default settings.
    fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Sends in a task of its own.
    fn start(&self, ask: Ask) -> JoinHandle<Result<Reply, Failure>> {
        tokio::spawn(self.send(ask))
    }

    /// Sends a GET in a task of its own, and reads the body.
    fn fetch(&self, url: String) -> JoinHandle<Result<String, Failure>> {
        let sent = self.send(Ask::get(url));
        tokio::spawn(async move { sent.await?.text().await })
    }
}

/// A request.
#[derive(Debug)]
pub(crate) struct Ask {
    method: hyper::Method,
    url: String,
    field: Option<(&'static str, &'static str)>,
    upload: Upload,
}

#[derive(Debug)]
enum Upload {
    Bytes(&'static str),
    Gated(Gated),
}

impl Ask {
    pub(crate) fn get(url: String) -> Self {
        Self { method: hyper::Method::GET, url, field: None, upload: Upload::Bytes("") }
    }

    pub(crate) fn head(url: String) -> Self {
        Self { method: hyper::Method::HEAD, ..Self::get(url) }
    }

    pub(crate) fn post(url: String, body: &'static str) -> Self {
        Self { method: hyper::Method::POST, upload: Upload::Bytes(body), ..Self::get(url) }
    }

    /// A POST whose body is one frame, which comes when the sender is used.
    pub(crate) fn gated(url: String) -> (Self, oneshot::Sender<Bytes>) {
        let (open, gate) = oneshot::channel();
        let upload = Upload::Gated(Gated(Some(gate)));
        (Self { method: hyper::Method::POST, upload, ..Self::get(url) }, open)
    }

    pub(crate) fn field(mut self, name: &'static str, value: &'static str) -> Self {
        self.field = Some((name, value));
        self
    }
}

#[derive(Debug)]
struct Gated(Option<oneshot::Receiver<Bytes>>);

impl Body for Gated {
    type Data = Bytes;
    type Error = oneshot::error::RecvError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(gate) = &mut self.0 else { return Poll::Ready(None) };
        let polled = Pin::new(gate).poll(cx);
        if polled.is_ready() {
            self.0 = None;
        }
        polled.map(|frame| Some(frame.map(Frame::data)))
    }
}

/// A response.
pub(crate) struct Reply {
    pub(crate) status: u16,
    body: UnsyncBoxBody<Bytes, Failure>,
}

impl Reply {
    fn of<B>(response: hyper::Response<B>) -> Self
    where
        B: Body<Data = Bytes, Error: Into<Failure>> + Send + 'static,
    {
        let status = response.status().as_u16();
        let body = response.into_body().map_err(Into::into);
        Self { status, body: UnsyncBoxBody::new(body) }
    }

    /// The data of the next frame; `None` at the end.
    pub(crate) async fn frame(&mut self) -> Result<Option<Bytes>, Failure> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    pub(crate) async fn text(self) -> Result<String, Failure> {
        let bytes = self.body.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec())?)
    }
}

#[derive(Clone)]
pub(crate) struct Keepwarm(keepwarm::Client);

impl Subject for Keepwarm {
    fn with(settings: Settings) -> Self {
        let mut builder = keepwarm::Client::builder();
        if let Some(timeout) = settings.idle_timeout {
            builder = builder.idle_timeout(timeout);
        }
        if let Some(limit) = settings.max_idle_per_origin {
            builder = builder.max_idle_per_origin(limit);
        }
        Self(builder.build().expect("good settings"))
    }

    fn send(&self, ask: Ask) -> impl Future<Output = Result<Reply, Failure>> + Send + 'static {
        let mut request = self.0.request(ask.method, ask.url);
        if let Some((name, value)) = ask.field {
            request = request.header(name, value);
        }
        request = match ask.upload {
            Upload::Bytes("") => request,
            Upload::Bytes(bytes) => request.body(bytes),
            Upload::Gated(body) => request.body(keepwarm::Body::stream(body)),
        };
        let sent = request.send();
        async move { Ok(Reply::of(sent.await?.into_http())) }
    }
}

#[derive(Clone)]
pub(crate) struct HyperUtil(legacy::Client<HttpConnector, UnsyncBoxBody<Bytes, Failure>>);

impl Subject for HyperUtil {
    fn with(settings: Settings) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new());
        if let Some(timeout) = settings.idle_timeout {
            builder.pool_idle_timeout(timeout);
        }
        if let Some(limit) = settings.max_idle_per_origin {
            builder.pool_max_idle_per_host(limit as usize);
        }
        Self(builder.build(connector))
    }

    fn send(&self, ask: Ask) -> impl Future<Output = Result<Reply, Failure>> + Send + 'static {
        let body = match ask.upload {
            Upload::Bytes(bytes) => UnsyncBoxBody::new(Full::from(bytes).map_err(Into::into)),
            Upload::Gated(body) => UnsyncBoxBody::new(body.map_err(Into::into)),
        };
        let mut request = hyper::Request::builder().method(ask.method).uri(ask.url);
        if let Some((name, value)) = ask.field {
            request = request.header(name, value);
        }
        let client = self.0.clone();
        async move { Ok(Reply::of(client.request(request.body(body)?).await?)) }
    }
}
