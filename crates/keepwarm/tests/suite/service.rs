//! The client as a tower service, and the one-line helper.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use keepwarm::{Body, Client, CloseReason, ConnectionInfo, ResponseBody};
use keepwarm_testkit::scripted::{Answer, Request, Server, Stage, ok, within};
use tower_service::Service;

use crate::support::{done, only};

/// Says what it was sent.
fn echo(request: &Request) -> Answer {
    let body = String::from_utf8_lossy(&request.body);
    Answer::Send(ok(&format!(
        "{} {} length={:?} coding={:?} {body}",
        request.method(),
        request.target(),
        request.field("content-length"),
        request.field("transfer-encoding"),
    )))
}

async fn text(response: http::Response<ResponseBody>) -> String {
    let bytes = response.into_body().collect().await.expect("a body");
    String::from_utf8(bytes.to_bytes().to_vec()).expect("text")
}

fn post<B>(server: &Server, body: B) -> http::Request<B> {
    let builder = http::Request::post(server.url("/x?y"));
    builder.body(body).expect("a request")
}

/// A body in pieces, of no known length.
struct Pieces(Vec<&'static str>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        // Never twice in a row, as a body that comes from elsewhere would not.
        if self.0.first() == Some(&"") {
            self.0.remove(0);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = (!self.0.is_empty()).then(|| self.0.remove(0));
        Poll::Ready(next.map(|piece| Ok(Frame::data(Bytes::from(piece)))))
    }
}

#[tokio::test]
async fn any_body_can_be_sent() {
    let server = Server::start(echo);
    let mut client = Client::new();
    let sent = [
        client.call(post(&server, Body::from("own"))).await,
        client.call(post(&server, Body::empty())).await,
        client.call(post(&server, Full::new(Bytes::from("full")))).await,
        client.call(post(&server, Empty::<Bytes>::new())).await,
        client.call(post(&server, Pieces(vec!["a", "", "b", "", "c"]))).await,
    ];
    let mut seen = Vec::new();
    for response in sent {
        seen.push(text(response.expect("a response")).await);
    }
    assert_eq!(
        seen,
        [
            r#"POST /x?y length=Some("3") coding=None own"#,
            r#"POST /x?y length=Some("0") coding=None "#,
            r#"POST /x?y length=Some("4") coding=None full"#,
            r#"POST /x?y length=Some("0") coding=None "#,
            r#"POST /x?y length=None coding=Some("chunked") abc"#,
        ]
    );
}

#[tokio::test]
async fn response_carries_its_connection_info() {
    let server = Server::start(echo);
    let mut client = Client::new();
    for nth in 0..3 {
        let response = client.call(post(&server, Body::empty())).await;
        let response = response.expect("a response");
        let info = response.extensions().get::<ConnectionInfo>().copied();
        assert_eq!(info.expect("known").exchanges_before(), nth);
        text(response).await;
    }
    assert_eq!(server.accepted(), 1);
}

/// One service serves concurrent calls.
#[tokio::test]
async fn service_follows_no_redirect() {
    let server = Server::start(|_| {
        Answer::Send("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n".into())
    });
    let mut client = Client::new();
    let calls: Vec<_> =
        (0..20).map(|_| tokio::spawn(client.call(post(&server, Body::empty())))).collect();
    for call in calls {
        assert_eq!(done(call).await.expect("a response").status(), 302);
    }
    assert_eq!(server.requests(), 20);
}

/// The service is dropped before the call ends, as tower's `oneshot` does it.
#[tokio::test]
async fn call_outlives_its_service() {
    let server = Server::start(echo);
    let mut client = Client::new();
    let call = client.call(post(&server, Full::new(Bytes::from("alone"))));
    drop(client);
    let response = within("the reply", call).await.expect("a response");
    assert!(text(response).await.ends_with("alone"));
}

#[tokio::test]
async fn settings_timeout_covers_a_call() {
    let stage = Stage::open().await;
    let builder = Client::builder().timeout(Duration::from_millis(40));
    let mut client = builder.build().expect("good settings");
    let request = http::Request::get(stage.url("/")).body(Body::empty());
    let call = tokio::spawn(client.call(request.expect("a request")));
    let mut peer = stage.accept().await;
    peer.request().await;
    assert!(done(call).await.expect_err("late").is_timeout());
}

/// Fails after its first piece.
struct Failing(Option<&'static str>);

impl http_body::Body for Failing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let next = self.0.take().map(|piece| Frame::data(Bytes::from(piece)));
        // As the connection fails that a proxy copies from.
        let kind = std::io::ErrorKind::ConnectionReset;
        Poll::Ready(Some(next.ok_or_else(|| std::io::Error::new(kind, "the source ran dry"))))
    }
}

/// The error says why.
#[tokio::test]
async fn failing_body_fails_the_request() {
    let stage = Stage::open().await;
    let mut client = Client::new();
    let request = http::Request::post(stage.url("/")).body(Failing(Some("half")));
    let call = tokio::spawn(client.call(request.expect("a request")));
    let mut peer = stage.accept().await;
    let error = done(call).await.expect_err("failed");
    assert!(error.to_string().contains("the source ran dry"), "{error}");
    assert!(error.is_request_body() && !error.is_closed_by_peer(), "{error}");
    assert_eq!(error.stage(), keepwarm::Stage::Exchange);
    peer.ended().await;
    let stats = only(&client);
    assert_eq!((stats.active, stats.closed_for(CloseReason::ExchangeFailed)), (0, 1));
}

#[tokio::test]
async fn default_fields_can_be_replaced() {
    let show = |request: &Request| {
        Answer::Send(ok(&format!("{:?} {:?}", request.field("host"), request.field("user-agent"))))
    };
    let server = Server::start(show);
    let client = Client::new();
    let plain = client.get(server.url("/")).send().await.expect("a response");
    let agent = concat!("keepwarm/", env!("CARGO_PKG_VERSION"));
    let expected = format!(r#"Some("127.0.0.1:{}") Some("{agent}")"#, server.port());
    assert_eq!(plain.text().await.expect("a body"), expected);
    let request = client.get(server.url("/")).header("host", "virtual");
    let own = request.header("user-agent", "me").send().await;
    let own = own.expect("a response").text().await.expect("a body");
    assert_eq!(own, r#"Some("virtual") Some("me")"#);
}

/// The helper returns status and body.
#[tokio::test]
async fn helper_follows_redirects() {
    let server = Server::start(|request| match request.target() {
        "/from" => {
            Answer::Send("HTTP/1.1 302 Found\r\nLocation: /to\r\nContent-Length: 0\r\n\r\n".into())
        }
        "/to" => Answer::Send(ok("Data OK.")),
        _ => Answer::Send("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone".into()),
    });
    let patience = Duration::from_secs(10);
    let reply = keepwarm::get(server.url("/from"), patience).await.expect("a reply");
    assert_eq!((reply.status, &*reply.body), (200, &b"Data OK."[..]));
    let reply = keepwarm::get(server.url("/else"), patience).await.expect("a reply");
    assert_eq!((reply.status, &*reply.body), (404, &b"none"[..]));
    assert_eq!(server.accepted(), 1, "one client for the whole process");
}

#[tokio::test]
async fn helper_timeout_covers_the_body() {
    let server = Server::start(|_| {
        Answer::SendAndStall("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".into())
    });
    let reply = keepwarm::get(server.url("/"), Duration::from_millis(40));
    let error = within("the timeout", reply).await.expect_err("late");
    assert!(error.is_timeout(), "{error}");
    assert_eq!(error.stage(), keepwarm::Stage::Body);
}

/// `http::Uri` lets bytes beyond ASCII pass.
#[tokio::test]
async fn unclean_uri_is_encoded_as_elsewhere() {
    let server = Server::start(echo);
    let uri = server.url("/caf\u{e9}?q=\u{e9}");
    let request = http::Request::get(uri).body(Empty::<Bytes>::new()).expect("a request");
    let response = Client::new().call(request).await.expect("a response");
    assert!(text(response).await.starts_with("GET /caf%C3%A9?q=%C3%A9 "));
}
