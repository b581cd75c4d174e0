//! The events that observers receive: their order, their sums, and what observers that panic or
//! block do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use keepwarm::{
    Body, Client, ClientBuilder, CloseReason, Closer, Event, EventKind, Outcome, Warning, warnings,
};
use keepwarm_testkit::http_server::RefusedPort;
use keepwarm_testkit::scripted::{Answer, Server, Stage, eventually, ok, within};

use crate::support::{assert_at_rest, done, exchange, fetch, get, only};

type Heard = Arc<Mutex<Vec<Event>>>;

fn observed(builder: ClientBuilder) -> (Client, Heard) {
    let heard = Heard::default();
    let ear = Arc::clone(&heard);
    let builder = builder.observer(move |event: Event| ear.lock().expect("no panic").push(event));
    (builder.build().expect("good settings"), heard)
}

fn heard(heard: &Heard) -> Vec<Event> {
    heard.lock().expect("no panic").clone()
}

fn name(kind: &EventKind) -> String {
    let text = format!("{kind:?}");
    text.split([' ', '{']).next().unwrap_or_default().to_owned()
}

fn names(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| name(&event.kind)).collect()
}

fn ends(events: &[Event]) -> Vec<&EventKind> {
    let ends = events.iter().map(|event| &event.kind);
    ends.filter(|kind| matches!(kind, EventKind::RequestEnded { .. })).collect()
}

#[tokio::test]
async fn two_requests_are_reported_step_by_step() {
    let server = Server::saying("four");
    let (client, ear) = observed(Client::builder());
    for _ in 0..2 {
        exchange(&client, &server.url("/")).await;
    }
    drop(client);
    let events = heard(&ear);
    let expected = [
        "RequestBegan",
        "WaitBegan",
        "DialBegan",
        "ConnectionOpened",
        "WaitEnded",
        "ConnectionAssigned",
        "HeadReceived",
        "ConnectionReturned",
        "RequestEnded",
        "RequestBegan",
        "ConnectionAssigned",
        "HeadReceived",
        "ConnectionReturned",
        "RequestEnded",
        "ConnectionClosed",
    ];
    assert_eq!(names(&events), expected);
    assert!(events.iter().all(|event| *event.origin == *server.origin()));
    assert!(events.is_sorted_by_key(|event| event.at), "time goes on: {events:#?}");
    let EventKind::ConnectionAssigned { exchanges_before: 1, idle_age: Some(_), .. } =
        events[10].kind
    else {
        panic!("reused, after it was idle: {:?}", events[10]);
    };
    let EventKind::RequestEnded {
        request: 2,
        status: Some(http::StatusCode::OK),
        outcome: Outcome::Complete,
        sent: 0,
        received: 4,
        ..
    } = events[13].kind
    else {
        panic!("{:?}", events[13]);
    };
    let EventKind::ConnectionClosed {
        reason: CloseReason::ShutDown,
        closer: Closer::Client,
        active: false,
        ..
    } = events[14].kind
    else {
        panic!("{:?}", events[14]);
    };
}

#[tokio::test]
async fn request_end_reports_outcome_and_bytes() {
    let server = Server::start(|request| match request.target() {
        "/cut" => Answer::SendAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_owned()),
        _ => Answer::Send(ok("answer")),
    });
    let (client, ear) = observed(Client::builder());
    let post = client.post(server.url("/")).body("a question");
    let response = post.send().await.expect("a response");
    response.bytes().await.expect("a body");
    let stream = http_body_util::Full::new(bytes::Bytes::from("streamed"));
    let post = client.post(server.url("/")).body(Body::stream(stream));
    drop(post.send().await.expect("a response"));
    let cut = client.get(server.url("/cut")).send().await.expect("a head");
    cut.bytes().await.expect_err("it is cut");
    let events = heard(&ear);
    let [
        EventKind::RequestEnded { outcome: Outcome::Complete, sent: 10, received: 6, .. },
        EventKind::RequestEnded { outcome: Outcome::Dropped, sent: 8, received: 0, .. },
        EventKind::RequestEnded { outcome: Outcome::Failed(error), received: 1, .. },
    ] = ends(&events)[..]
    else {
        panic!("{events:#?}");
    };
    assert_eq!(error.stage(), keepwarm::Stage::Body);
}

/// Reported once, with both attempts.
#[tokio::test]
async fn retried_request_is_one_request() {
    let stage = Stage::open().await;
    let (client, ear) = observed(Client::builder());
    let first = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.serve("x").await;
    done(first).await.expect("a body");
    let second = fetch(&client, &stage.url("/"));
    peer.request().await;
    peer.close();
    stage.accept().await.serve("y").await;
    assert_eq!(done(second).await.expect("a body"), "y");
    let events = heard(&ear);
    let retries = |event: &&Event| matches!(event.kind, EventKind::RequestRetried { .. });
    let retried: Vec<_> = events.iter().filter(retries).map(|event| &event.kind).collect();
    assert!(matches!(retried[..], [EventKind::RequestRetried { request: 2, attempt: 2 }]));
    assert_eq!(ends(&events).len(), 2);
}

/// Where a connection or a request stands, and that an event may happen there.
#[derive(Default)]
struct Order {
    connections: BTreeMap<u64, bool>,
    closed: Vec<u64>,
    requests: BTreeMap<u64, Vec<String>>,
}

impl Order {
    fn follow(&mut self, kind: &EventKind) {
        use EventKind as Is;
        match kind {
            Is::ConnectionOpened { connection, .. } => {
                assert_eq!(self.connections.insert(*connection, false), None, "{kind:?}");
                assert!(!self.closed.contains(connection), "{kind:?}");
            }
            Is::ConnectionAssigned { connection, .. } | Is::ConnectionInspected { connection } => {
                assert_eq!(self.connections.insert(*connection, true), Some(false), "{kind:?}");
            }
            Is::ConnectionReturned { connection, .. } => {
                assert_eq!(self.connections.insert(*connection, false), Some(true), "{kind:?}");
            }
            Is::ConnectionClosed { connection, active, .. } => {
                assert_eq!(self.connections.remove(connection), Some(*active), "{kind:?}");
                self.closed.push(*connection);
            }
            _ => {}
        }
        let (Is::ConnectionAssigned { request, .. }
        | Is::RequestBegan { request, .. }
        | Is::WaitBegan { request }
        | Is::WaitEnded { request, .. }
        | Is::HeadReceived { request, .. }
        | Is::RequestEnded { request, .. }) = kind
        else {
            return;
        };
        let steps = self.requests.entry(*request).or_default();
        let last = steps.last().map_or("", String::as_str);
        let fits = match kind {
            Is::RequestBegan { .. } => last.is_empty(),
            Is::WaitBegan { .. } => matches!(last, "RequestBegan" | "ConnectionAssigned"),
            Is::WaitEnded { .. } => last == "WaitBegan",
            Is::ConnectionAssigned { .. } => {
                matches!(last, "RequestBegan" | "WaitEnded" | "ConnectionAssigned")
            }
            Is::HeadReceived { .. } => last == "ConnectionAssigned",
            _ => !matches!(last, "" | "WaitBegan" | "RequestEnded"),
        };
        assert!(fits, "{kind:?} after {steps:?}");
        steps.push(name(kind));
    }
}

/// In order, from many threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_add_up_to_statistics() {
    let server = Server::start(|request| match request.target() {
        "/close" => Answer::SendAndClose(ok("x")),
        "/cut" => Answer::SendAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_owned()),
        _ => Answer::Send(ok("body")),
    });
    let dead = RefusedPort::new();
    let builder = Client::builder().max_connections_per_origin(5).max_idle_per_origin(3);
    let (inside, overlaps) = (AtomicBool::new(false), Arc::new(AtomicUsize::new(0)));
    let found = Arc::clone(&overlaps);
    let builder = builder.observer(move |_: Event| {
        found.fetch_add(usize::from(inside.swap(true, Ordering::SeqCst)), Ordering::SeqCst);
        std::thread::yield_now();
        inside.store(false, Ordering::SeqCst);
    });
    let (client, ear) = observed(builder.max_requests_per_connection(20).max_waiters_per_origin(9));
    let urls = [
        server.url("/"),
        server.url("/close"),
        server.url("/cut"),
        server.url("/"),
        format!("http://{}/", dead.address()),
    ];
    let mut tasks = Vec::new();
    for worker in 0..16 {
        let (client, urls) = (client.clone(), urls.clone());
        tasks.push(tokio::spawn(async move {
            for nth in 0..60 {
                let request = client.get(&urls[(worker + nth) % urls.len()]).send();
                // Some give up, wherever they are.
                let patience = Duration::from_micros([50, 500, 60_000_000][nth % 3]);
                if let Ok(Ok(response)) = tokio::time::timeout(patience, request).await
                    && nth % 4 > 0
                {
                    drop(response.bytes().await);
                }
            }
        }));
    }
    for task in tasks {
        within("a worker", task).await.expect("no panic");
    }
    let at_rest = || {
        let total = client.stats().total;
        total.active + total.waiting + total.dialing == 0
    };
    eventually("rest", at_rest).await;

    let stats = client.stats();
    let total = &stats.total;
    let count = |which: &dyn Fn(&EventKind) -> bool| {
        heard(&ear).iter().filter(|event| which(&event.kind)).count() as u64
    };
    // The last ones may be on their way in another thread.
    eventually("the last end", || {
        count(&|kind| matches!(kind, EventKind::RequestEnded { .. })) == 960
            && count(&|kind| matches!(kind, EventKind::ConnectionClosed { .. })) == total.closed()
    })
    .await;
    let mut order = Order::default();
    heard(&ear).iter().for_each(|event| order.follow(&event.kind));
    assert_eq!(order.connections.len(), total.open());
    assert!(order.connections.values().all(|active| !active));

    use EventKind as Is;
    assert_eq!(count(&|kind| matches!(kind, Is::RequestBegan { .. })), 960);
    assert_eq!(count(&|kind| matches!(kind, Is::ConnectionOpened { .. })), total.opened);
    assert_eq!(count(&|kind| matches!(kind, Is::DialFailed { .. })), total.dials_failed);
    let dials = count(&|kind| matches!(kind, Is::DialBegan { .. }));
    assert_eq!(dials, total.opened + total.dials_failed);
    let reused = |kind: &Is| matches!(kind, Is::ConnectionAssigned { exchanges_before: 1.., .. });
    assert_eq!(count(&reused), total.reused);
    let assigned = count(&|kind| matches!(kind, Is::ConnectionAssigned { .. }));
    assert_eq!(assigned, total.new + total.reused);
    let waits = count(&|kind| matches!(kind, Is::WaitBegan { .. }));
    assert_eq!(count(&|kind| matches!(kind, Is::WaitEnded { .. })), waits);
    for close in &total.closes {
        let same = |kind: &Is| {
            matches!(kind, Is::ConnectionClosed { reason, closer, .. }
                if (*reason, *closer) == (close.reason, close.closer))
        };
        assert_eq!(count(&same), close.count, "{close:?}");
    }
    assert!(total.closes.len() >= 2 && total.dials_failed > 0, "it was a mixture: {stats:#?}");
    assert_eq!(stats.events_lost, 0);
    assert_eq!(overlaps.load(Ordering::SeqCst), 0, "never two at once");
}

#[tokio::test]
async fn panicking_observer_is_not_called_again() {
    let server = Server::saying("x");
    let calls = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&calls);
    let bad = move |event: Event| {
        *counter.lock().expect("no panic") += 1;
        // Wherever it is called: in a request, with the pool half way through.
        assert!(!matches!(event.kind, EventKind::ConnectionAssigned { .. }), "an observer's bug");
    };
    let (client, ear) = observed(Client::builder().observer(bad));
    for _ in 0..3 {
        assert_eq!(exchange(&client, &server.url("/")).await, "x");
    }
    assert_eq!(*calls.lock().expect("no panic"), 6, "up to the assignment");
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.reused, stats.idle), (1, 2, 1));
    assert_eq!(ends(&heard(&ear)).len(), 3, "the other one goes on");
    let told = warnings().into_iter().find_map(|warning| match warning {
        Warning::ObserverPanicked { message } => Some(message),
        _ => None,
    });
    assert!(told.expect("a warning").contains("an observer's bug"));
}

#[tokio::test]
async fn observer_may_use_the_client() {
    let stage = Stage::open().await;
    let cell: Arc<OnceLock<Client>> = Arc::default();
    let (held, opened) = (Arc::clone(&cell), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&opened);
    let observer = move |event: Event| {
        let Some(client) = held.get() else { return };
        let stats = client.stats();
        match event.kind {
            EventKind::ConnectionOpened { .. } => {
                noted.lock().expect("no panic").push(stats.total.opened);
            }
            // Sent, and given up, from inside: the client is not locked.
            EventKind::RequestBegan { request: 1, .. } => {
                let mut another = Box::pin(client.get("http://127.0.0.1:1/").send());
                let waker = std::task::Waker::noop();
                let cx = &mut std::task::Context::from_waker(waker);
                assert!(std::future::Future::poll(another.as_mut(), cx).is_pending());
            }
            _ => {}
        }
    };
    let client = Client::builder().observer(observer).build().expect("good settings");
    drop(cell.set(client.clone()));
    let request = get(&client, &stage.url("/"));
    stage.accept().await.serve("x").await;
    done(request).await.expect("a response");
    assert_eq!(*opened.lock().expect("no panic"), [1]);
    assert_eq!(client.stats().origins.len(), 2, "the other request was seen");
}
