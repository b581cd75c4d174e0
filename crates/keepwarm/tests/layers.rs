//! Tower layers over the client: what docs/layers.md leaves to them.

use std::time::Duration;

use http_body_util::BodyExt as _;
use keepwarm::{Body, Client, ResponseBody};
use keepwarm_testkit::scripted::{Answer, Request, Server, Stage, ok, within};
use tower::retry::{Policy, RetryLayer};
use tower::{Service as _, ServiceBuilder, ServiceExt};

type Asked = http::Request<Body>;
type Answered = http::Response<ResponseBody>;

/// Sends a request again after a 503, so many times.
#[derive(Clone)]
struct OnBusy(u32);

impl<E> Policy<Asked, Answered, E> for OnBusy {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut Asked, result: &mut Result<Answered, E>) -> Option<Self::Future> {
        let is_busy = result.as_ref().is_ok_and(|response| response.status() == 503);
        self.0 = self.0.checked_sub(1).filter(|_| is_busy)?;
        Some(std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Asked) -> Option<Asked> {
        let mut copy = http::Request::new(request.body().try_clone()?);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        Some(copy)
    }
}

fn post(url: &str) -> Asked {
    http::Request::post(url).body(Body::from("data")).expect("a request")
}

#[tokio::test]
async fn retries_by_status_are_a_layer() {
    let busy = std::sync::atomic::AtomicU32::new(2);
    let server = Server::start(move |request: &Request| {
        let left = busy.load(std::sync::atomic::Ordering::SeqCst);
        if left > 0 {
            busy.store(left - 1, std::sync::atomic::Ordering::SeqCst);
            let head = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
            return Answer::Send(head.to_owned());
        }
        let id = request.field("x-request-id").unwrap_or("-");
        Answer::Send(ok(&format!("{id} {}", String::from_utf8_lossy(&request.body))))
    });
    let mut service = ServiceBuilder::new()
        .map_request(|mut request: Asked| {
            request.headers_mut().insert("x-request-id", http::HeaderValue::from_static("7"));
            request
        })
        .layer(RetryLayer::new(OnBusy(3)))
        .service(Client::new());
    let answer = service.ready().await.expect("ready").call(post(&server.url("/"))).await;
    let body = answer.expect("a response").into_body().collect().await.expect("a body");
    assert_eq!(body.to_bytes(), "7 data");
    assert_eq!((server.requests(), server.accepted()), (3, 1), "one connection for all attempts");
}

#[tokio::test(start_paused = true)]
async fn timeout_and_limit_are_layers() {
    let stage = Stage::open().await;
    let mut service = ServiceBuilder::new()
        .timeout(Duration::from_secs(3))
        .concurrency_limit(1)
        .service(Client::new());
    let service = ServiceExt::<Asked>::ready(&mut service).await.expect("ready");
    let call = tokio::spawn(service.call(post(&stage.url("/"))));
    let mut peer = stage.accept().await;
    peer.request().await;
    let error = within("an end", call).await.expect("no panic").expect_err("it is late");
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
}
