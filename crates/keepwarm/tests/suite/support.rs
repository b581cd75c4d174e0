//! Helpers that several topics need.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use keepwarm::{Client, OriginStats, Response, Result};
use keepwarm_testkit::scripted::{Peer, Stage, eventually, ok, within};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The numbers of the only origin that the client has spoken to.
pub(crate) fn only(client: &Client) -> OriginStats {
    let mut origins = client.stats().origins;
    assert_eq!(origins.len(), 1, "one origin: {origins:?}");
    origins.remove(0)
}

/// Sends a GET in a task of its own.
pub(crate) fn get(client: &Client, url: &str) -> JoinHandle<Result<Response>> {
    tokio::spawn(client.get(url).send())
}

/// Sends a GET in a task of its own, and reads the body.
pub(crate) fn fetch(client: &Client, url: &str) -> JoinHandle<Result<String>> {
    let request = client.get(url);
    tokio::spawn(async move { request.send().await?.text().await })
}

/// A request that the test polls by hand.
pub(crate) type ByHand = Pin<Box<dyn Future<Output = Result<Response>> + Send>>;

pub(crate) fn by_hand(client: &Client, url: &str) -> ByHand {
    Box::pin(client.get(url).send())
}

pub(crate) fn poll_once(request: &mut ByHand) -> Poll<Result<Response>> {
    request.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets virtual time pass, in which the clock goes from alarm to alarm: those of the keeper, and of
/// requests that wait.
pub(crate) async fn pass(span: Duration) {
    tokio::time::pause();
    tokio::time::sleep(span).await;
    tokio::time::resume();
}

/// A waker that tells whether it was woken.
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicBool);

impl Bell {
    /// Polls a request that is to ring this bell.
    pub(crate) fn poll(self: &Arc<Self>, request: &mut ByHand) -> Poll<Result<Response>> {
        request.as_mut().poll(&mut Context::from_waker(&Waker::from(Arc::clone(self))))
    }

    pub(crate) fn has_rung(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Returns a task's result, once it has neither hung nor panicked.
pub(crate) async fn done<T>(task: JoinHandle<T>) -> T {
    within("a task", task).await.expect("no panic")
}

/// One exchange from end to end.
pub(crate) async fn exchange(client: &Client, url: &str) -> String {
    let response = client.get(url).send().await.expect("a response");
    response.text().await.expect("a body")
}

/// Every number agrees with every other one.
pub(crate) fn audit(stats: &OriginStats) {
    assert_eq!(
        stats.opened,
        stats.active as u64 + stats.idle as u64 + stats.closed(),
        "opened = active + idle + closed: {stats:#?}"
    );
}

/// Nothing is in use, awaited or under way.
pub(crate) fn assert_at_rest(stats: &OriginStats) {
    audit(stats);
    assert_eq!((stats.active, stats.waiting, stats.dialing), (0, 0, 0), "at rest: {stats:#?}");
}

/// A body of one frame, which comes when the test says so.
pub(crate) struct Gated(pub(crate) Option<oneshot::Receiver<Bytes>>);

impl http_body::Body for Gated {
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

/// Opens two idle connections that have served. The second one is the next to be used.
pub(crate) async fn warm_two(client: &Client, stage: &Stage) -> (Peer, Peer) {
    let requests = [fetch(client, &stage.url("/")), fetch(client, &stage.url("/"))];
    let (mut one, mut two) = (stage.accept().await, stage.accept().await);
    one.request().await;
    two.request().await;
    one.write(ok("")).await;
    eventually("the first return", || only(client).idle == 1).await;
    two.write(ok("")).await;
    for request in requests {
        done(request).await.expect("a body");
    }
    (one, two)
}
