//! The order in which waiters are served, by which connections, and the gauges meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use keepwarm::{Client, Event, EventKind, Stage as At};
use keepwarm_testkit::http_server::SilentPort;
use keepwarm_testkit::scripted::{Server, Stage, eventually, ok, within};

use crate::support::{assert_at_rest, by_hand, done, exchange, fetch, get, only, pass, poll_once};

fn capped(cap: u32) -> Client {
    let builder = Client::builder().max_connections_per_origin(cap);
    builder.build().expect("good settings")
}

fn gauges(client: &Client) -> (usize, usize, usize, usize) {
    let now = only(client);
    (now.dialing, now.active, now.idle, now.waiting)
}

#[tokio::test]
async fn waiters_are_served_in_order() {
    let stage = Stage::open().await;
    let client = capped(1);
    let mut requests = Vec::new();
    for nth in 0..20 {
        requests.push(fetch(&client, &stage.url(&format!("/{nth}"))));
        // Each is in the queue before the next one asks.
        eventually("its place", || {
            client.stats().origins.len() == 1 && only(&client).checkouts == nth + 1
        })
        .await;
    }
    let mut peer = stage.accept().await;
    for (nth, request) in requests.into_iter().enumerate() {
        assert_eq!(peer.serve("").await.target(), format!("/{nth}"));
        done(request).await.expect("a body");
    }
    assert!(!stage.has_another().await, "the cap is one");
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.reused), (1, 19));
}

#[tokio::test]
async fn the_gauges_move_with_every_step() {
    let stage = Stage::open().await;
    let client = capped(1);
    let mut first = by_hand(&client, &stage.url("/first"));
    assert!(poll_once(&mut first).is_pending());
    assert_eq!(gauges(&client), (1, 0, 0, 1), "dialled for, and waiting");
    let first = tokio::spawn(first);
    let mut peer = stage.accept().await;
    peer.request().await;
    assert_eq!(gauges(&client), (0, 1, 0, 0), "in use");
    let second = fetch(&client, &stage.url("/second"));
    eventually("the second checkout", || only(&client).checkouts == 2).await;
    assert_eq!(gauges(&client), (0, 1, 0, 1), "at the cap: no dial");
    peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
    let response = done(first).await.expect("a head");
    assert_eq!(gauges(&client), (0, 1, 0, 1), "a body is part of it");
    peer.write("k").await;
    response.text().await.expect("a body");
    assert_eq!(gauges(&client), (0, 1, 0, 0), "straight to the next one");
    peer.serve("").await;
    done(second).await.expect("a body");
    assert_eq!(gauges(&client), (0, 0, 1, 0), "nobody wants it");
}

#[tokio::test]
async fn dials_count_against_the_limit() {
    let stage = Stage::open().await;
    let client = capped(2);
    let requests: Vec<_> = (0..5).map(|_| fetch(&client, &stage.url("/"))).collect();
    eventually("all five", || client.stats().origins.len() == 1 && only(&client).checkouts == 5)
        .await;
    assert!(only(&client).dialing <= 2);
    let (mut one, mut two) = (stage.accept().await, stage.accept().await);
    one.request().await;
    two.request().await;
    assert_eq!(gauges(&client), (0, 2, 0, 3));
    one.write(ok("")).await;
    one.serve("").await;
    one.serve("").await;
    one.serve("").await;
    two.write(ok("")).await;
    for request in requests {
        done(request).await.expect("a body");
    }
    assert!(!stage.has_another().await);
    assert_eq!(only(&client).opened, 2);
}

/// The dial serves a later request.
#[tokio::test]
async fn return_beats_a_hanging_dial() {
    let stage = Stage::open_narrow();
    let client = Client::new();
    let first = fetch(&client, &stage.url("/first"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let fillers = stage.fill().await;
    let second = get(&client, &stage.url("/second"));
    eventually("its dial", || only(&client).dialing == 1).await;

    // The first exchange ends: its connection goes to the second request, whose dial hangs.
    peer.write(ok("first")).await;
    assert_eq!(done(first).await.expect("a body"), "first");
    assert_eq!(peer.request().await.target(), "/second");
    assert_eq!(gauges(&client), (1, 1, 0, 0), "the dial goes on");
    peer.write(ok("")).await;
    let second = done(second).await.expect("a response").connection();
    assert!(second.reused());
    assert_eq!(second.idle_age(), None, "straight from another exchange");
    assert!(second.waited() > Duration::ZERO);

    // Room for the dial: the kernel repeats its SYN, and nobody wants the connection.
    for _ in &fillers {
        stage.accept().await.close();
    }
    let mut late = stage.accept().await;
    eventually("the lost dial", || only(&client).idle == 2).await;
    let third = get(&client, &stage.url("/third"));
    assert_eq!(late.serve("").await.target(), "/third");
    let third = done(third).await.expect("a response").connection();
    assert!(!third.reused(), "it had served nobody");
    assert!(third.idle_age().is_some(), "but it had been idle");
    assert_eq!(only(&client).opened, 2);
}

/// And not the request that caused it.
#[tokio::test]
async fn dial_serves_the_oldest_waiter() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut dropped = by_hand(&client, &stage.url("/dropped"));
    assert!(poll_once(&mut dropped).is_pending());
    let mut older = by_hand(&client, &stage.url("/older"));
    assert!(poll_once(&mut older).is_pending());
    assert_eq!(gauges(&client), (2, 0, 0, 2));
    drop(dropped);
    assert_eq!(gauges(&client), (2, 0, 0, 1));
    // Two dials and one waiter: the first dial to end serves it, the other one idles.
    let older = tokio::spawn(older);
    let (mut one, mut two) = (stage.accept().await, stage.accept().await);
    let served = tokio::select! {
        request = one.request() => { one.write(ok("older")).await; request }
        request = two.request() => { two.write(ok("older")).await; request }
    };
    assert_eq!(served.target(), "/older");
    let older = done(older).await.expect("a response");
    assert_eq!(older.text().await.expect("a body"), "older");
    eventually("both idle", || only(&client).idle == 2).await;
    assert_at_rest(&only(&client));
}

/// The others wait on.
#[tokio::test]
async fn waiter_limit_fails_one_at_once() {
    let stage = Stage::open().await;
    let client = Client::builder()
        .max_connections_per_origin(1)
        .max_waiters_per_origin(2)
        .build()
        .expect("good settings");
    let served = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let waiting: Vec<_> = (0..2).map(|_| fetch(&client, &stage.url("/"))).collect();
    eventually("two waiters", || only(&client).waiting == 2).await;

    let error = client.get(stage.url("/")).send().await.expect_err("full");
    assert!(error.is_too_many_waiters() && !error.is_timeout());
    assert_eq!(error.stage(), At::Wait);
    assert_eq!(error.origin(), Some(&*stage.origin()));
    assert_eq!(only(&client).too_many_waiters, 1);

    peer.write(ok("")).await;
    done(served).await.expect("a body");
    for request in waiting {
        peer.serve("").await;
        done(request).await.expect("a body");
    }
    assert_at_rest(&only(&client));
}

#[tokio::test]
async fn the_time_spent_waiting_is_told() {
    let stage = Stage::open().await;
    let client = capped(1);
    let first = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let second = get(&client, &stage.url("/"));
    eventually("the queue", || only(&client).waiting == 1).await;
    let at_least = Duration::from_secs(30);
    pass(at_least).await;
    peer.write(ok("")).await;
    peer.serve("").await;
    done(first).await.expect("a body");
    let waited = done(second).await.expect("a response").connection().waited();
    assert!(waited >= at_least, "{waited:?} < {at_least:?}");
}

/// The first dial fails the first request, and the second one all that came before it began.
#[tokio::test]
async fn failed_dials_answer_for_the_queue() {
    let client = capped(1);
    let nobody = keepwarm_testkit::http_server::RefusedPort::new();
    let url = format!("http://{}/", nobody.address());
    let requests: Vec<_> = (0..5).map(|_| get(&client, &url)).collect();
    for request in requests {
        let error = done(request).await.expect_err("refused");
        assert!(error.is_connect(), "{error}");
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.dials_failed, stats.opened), (2, 0));
}

fn impatient(seconds: u64) -> Client {
    Client::builder()
        .max_connections_per_origin(1)
        .acquire_timeout(Duration::from_secs(seconds))
        .build()
        .expect("good settings")
}

#[tokio::test]
async fn late_waiter_leaves_the_others_ordered() {
    let stage = Stage::open().await;
    let client = impatient(100);
    let served = fetch(&client, &stage.url("/served"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let first = fetch(&client, &stage.url("/first"));
    eventually("the first", || only(&client).waiting == 1).await;
    pass(Duration::from_secs(60)).await;
    let second = fetch(&client, &stage.url("/second"));
    eventually("the second", || only(&client).waiting == 2).await;
    let third = fetch(&client, &stage.url("/third"));
    eventually("the third", || only(&client).waiting == 3).await;
    pass(Duration::from_secs(60)).await;

    let error = done(first).await.expect_err("too long");
    assert!(error.is_acquire_timeout() && error.is_timeout(), "{error}");
    assert!(!error.is_connect() && !error.is_too_many_waiters(), "{error}");
    assert_eq!((error.stage(), error.on_reused_connection()), (At::Wait, None));
    assert_eq!(error.origin(), Some(&*stage.origin()));
    assert!(error.to_string().contains("acquire_timeout"), "{error}");
    assert_eq!((only(&client).waiting, only(&client).cancelled), (2, 1));

    // The exchange itself has taken longer than anybody may wait.
    peer.write(ok("")).await;
    done(served).await.expect("a body");
    for (target, request) in [("/second", second), ("/third", third)] {
        assert_eq!(peer.serve("").await.target(), target);
        done(request).await.expect("a body");
    }
    assert_at_rest(&only(&client));
    assert_eq!(only(&client).opened, 1);
}

/// The dial goes on for the next request.
#[tokio::test]
async fn waiting_for_a_dial_is_waiting() {
    let silent = SilentPort::new();
    let url = format!("http://{}/", silent.address());
    // Less than connecting may take.
    let client = impatient(10);
    let request = get(&client, &url);
    eventually("the dial", || client.stats().origins.iter().any(|o| o.dialing == 1)).await;
    pass(Duration::from_secs(20)).await;
    let error = done(request).await.expect_err("nobody answers");
    assert!(error.is_acquire_timeout() && !error.is_connect(), "{error}");
    assert_eq!(gauges(&client), (1, 0, 0, 0), "the dial goes on");
}

#[tokio::test]
async fn the_total_timeout_is_another_one() {
    let stage = Stage::open().await;
    let client = impatient(100);
    let _served = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let hasty = client.get(stage.url("/")).timeout(Duration::from_millis(20)).send();
    let error = hasty.await.expect_err("the total timeout is shorter");
    assert!(error.is_timeout() && !error.is_acquire_timeout(), "{error}");
}

/// The queue as an observer sees it, and whoever was served out of turn.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<u64>,
    served: u64,
    gave_up: u64,
    last_served: Option<u64>,
    overtakers: Vec<u64>,
}

impl Queue {
    fn note(&mut self, event: &Event) {
        match event.kind {
            EventKind::WaitBegan { request } => self.waiting.push_back(request),
            EventKind::WaitEnded { request, served, .. } => {
                let place = self.waiting.iter().position(|waits| *waits == request);
                let place = place.expect("whoever waits no more has waited");
                self.waiting.remove(place);
                if served {
                    self.served += 1;
                    self.last_served = Some(request);
                    self.overtakers.extend((place > 0).then_some(request));
                } else {
                    self.gave_up += 1;
                }
            }
            // One that did not wait.
            EventKind::ConnectionAssigned { request, .. }
                if self.last_served != Some(request) && !self.waiting.is_empty() =>
            {
                self.overtakers.push(request);
            }
            _ => {}
        }
    }
}

/// Also if waiters give up.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn order_holds_across_threads() {
    let server = Server::saying("x");
    let queue = Arc::new(Mutex::new(Queue::default()));
    let noted = Arc::clone(&queue);
    let client = Client::builder()
        .max_connections_per_origin(4)
        .observer(move |event: Event| noted.lock().expect("no panic").note(&event))
        .build()
        .expect("good settings");
    let end = Instant::now() + Duration::from_secs(1);
    let tasks: Vec<_> = (0..32_u64)
        .map(|task| {
            let (client, url) = (client.clone(), server.url("/"));
            tokio::spawn(async move {
                for round in task.. {
                    if Instant::now() >= end {
                        return;
                    }
                    let whole = exchange(&client, &url);
                    if round.is_multiple_of(5) {
                        let limit = Duration::from_micros(round * 131 % 2_000);
                        drop(tokio::time::timeout(limit, whole).await);
                    } else {
                        whole.await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        within("a task", task).await.expect("no panic");
    }
    assert_eq!(client.stats().events_lost, 0);
    let queue = queue.lock().expect("no panic");
    assert_eq!(queue.overtakers, [] as [u64; 0]);
    assert!(queue.served > 100 && queue.gave_up > 0, "{queue:?}");
}

/// None is open yet: those that are being dialled have the descriptors.
#[tokio::test]
async fn refused_dials_wait_for_those_under_way() {
    let stage = Stage::open().await;
    let (open, opened) = tokio::sync::watch::channel(false);
    let dials = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let port = stage.port();
    let scarce = tower::service_fn(move |_: keepwarm::connect::Destination| {
        let nth = dials.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut opened = opened.clone();
        async move {
            if nth > 0 {
                return Err(std::io::Error::from_raw_os_error(24));
            }
            opened.wait_for(|open| *open).await.expect("the test opens it");
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await
        }
    });
    let client = Client::builder().connector(scarce).build().expect("good settings");
    let requests: Vec<_> = (0..5).map(|_| fetch(&client, &stage.url("/"))).collect();
    eventually("the refusals", || client.stats().total.dials_refused == 4).await;
    assert_eq!((only(&client).waiting, only(&client).dialing), (5, 1));
    open.send_replace(true);
    let mut peer = stage.accept().await;
    for _ in &requests {
        peer.serve("").await;
    }
    for request in requests {
        done(request).await.expect("served by the one connection");
    }
    assert_at_rest(&only(&client));
}

/// While this host has no descriptor left, requests wait for the connections that are open.
#[tokio::test]
async fn refused_dials_wait_for_open_connections() {
    let stage = Stage::open().await;
    let dials = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (made, port) = (std::sync::Arc::clone(&dials), stage.port());
    let scarce = tower::service_fn(move |_: keepwarm::connect::Destination| {
        let nth = made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        async move {
            match nth {
                0 => tokio::net::TcpStream::connect(("127.0.0.1", port)).await,
                _ => Err(std::io::Error::from_raw_os_error(24)),
            }
        }
    });
    let client = Client::builder().connector(scarce).build().expect("good settings");
    let first = fetch(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    let others: Vec<_> = (0..5).map(|_| fetch(&client, &stage.url("/"))).collect();
    eventually("the refusals", || only(&client).dials_refused == 5).await;
    assert_eq!((only(&client).waiting, only(&client).dialing), (5, 0));
    // After a second one dial is tried again for each of them.
    eventually("further dials", || only(&client).dials_refused > 5).await;
    peer.write(ok("")).await;
    done(first).await.expect("a body");
    for other in others {
        peer.serve("").await;
        done(other).await.expect("served by the open connection");
    }
    let words = client.explain(&stage.origin()).expect("a known origin");
    assert!(words.contains("EMFILE") && words.contains("max_connections is unlimited"), "{words}");
    assert_at_rest(&only(&client));
    // With none open there is nothing to wait for.
    peer.close();
    eventually("the close", || only(&client).idle == 0).await;
    let error = done(get(&client, &stage.url("/"))).await.expect_err("refused");
    assert!(error.is_connect() && error.to_string().contains("os error 24"), "{error}");
}
