//! How many connections many requests need, and which limits and ages close them.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::Duration;

use keepwarm::{Client, ClientBuilder, CloseReason, Closer, Limit};
use keepwarm_testkit::scripted::{Answer, Ending, Server, Stage, eventually, within};

use crate::reuse::idle_connections;
use crate::support::{assert_at_rest, by_hand, done, exchange, fetch, only, pass};

/// `lanes` tasks, each with `requests` one after the other.
async fn load(client: &Client, url: &str, lanes: usize, requests: usize) {
    let tasks: Vec<_> = (0..lanes)
        .map(|_| {
            let (client, url) = (client.clone(), url.to_owned());
            tokio::spawn(async move {
                for _ in 0..requests {
                    assert_eq!(exchange(&client, &url).await, "Data OK.");
                }
            })
        })
        .collect();
    for task in tasks {
        within("the load", task).await.expect("every reply is right");
    }
}

async fn opens_no_more_than_its_peak() {
    let server = Server::saying("Data OK.");
    let client = Client::new();
    load(&client, &server.url("/data"), 100, 100).await;
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.checkouts, server.requests()), (10_000, 10_000));
    assert!(stats.opened <= 100, "{stats:?}");
    assert_eq!(server.accepted() as u64, stats.opened);
    assert_eq!((stats.idle as u64, stats.closed()), (stats.opened, 0));
}

#[tokio::test]
async fn hundred_lanes_open_hundred_single_threaded() {
    opens_no_more_than_its_peak().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hundred_lanes_open_hundred_multi_threaded() {
    opens_no_more_than_its_peak().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn second_burst_opens_nothing() {
    let server = Server::saying("Data OK.");
    let client = Client::new();
    load(&client, &server.url("/"), 40, 1).await;
    // A dial that lost to a return ends after the burst, and its connection is kept.
    eventually("the last dial", || only(&client).dialing == 0).await;
    let first = only(&client).opened;
    assert!(first <= 40);
    for _ in 0..5 {
        // A smaller burst never needs more at once than there are.
        load(&client, &server.url("/"), usize::try_from(first).expect("few"), 1).await;
    }
    assert_eq!(only(&client).opened, first);
    assert_eq!(only(&client).closed(), 0);
}

/// From a cold start, bursts of all sizes with rests between them.
async fn bursts_open_no_more_than_the_largest() {
    let server = Server::saying("Data OK.");
    let client = Client::new();
    for size in [1, 60, 7, 80, 80, 33, 80, 2] {
        load(&client, &server.url("/"), size, 1).await;
        // A dial that is still under way serves the next burst.
        let stats = only(&client);
        assert_eq!((stats.active, stats.waiting, stats.closed()), (0, 0, 0), "{stats:?}");
    }
    eventually("the last dial", || only(&client).dialing == 0).await;
    let stats = only(&client);
    assert_at_rest(&stats);
    assert!(stats.opened <= 80, "{stats:?}");
    assert_eq!(stats.idle as u64, stats.opened, "a dial that lost to a return is kept");
}

/// Bursts open no more connections than the largest of them.
#[tokio::test]
async fn bursts_reuse_connections_single_threaded() {
    bursts_open_no_more_than_the_largest().await;
}

/// Bursts open no more connections than the largest of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn bursts_reuse_connections_multi_threaded() {
    bursts_open_no_more_than_the_largest().await;
}

#[tokio::test]
async fn overlapping_requests_open_one_each() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peers = idle_connections(&client, &stage, 8).await;
    for _ in 0..10 {
        let requests: Vec<_> = (0..8).map(|_| fetch(&client, &stage.url("/"))).collect();
        for peer in &mut peers {
            peer.serve("again").await;
        }
        for request in requests {
            done(request).await.expect("a body");
        }
    }
    let stats = only(&client);
    assert_eq!((stats.opened, stats.reused, stats.idle), (8, 80, 8));
}

#[tokio::test]
async fn exhausted_task_budget_stalls_no_request() {
    let server = Server::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n";
        Answer::Send(format!("{head}{body}"))
    });
    let client = Client::new();
    exchange(&client, &server.url("/")).await;
    // tokio lets a task do 128 things before it must yield. Using up all but a few of them before
    // each poll makes every step of a request, in turn, the one that has to wait for the next poll.
    for spent in 96..128 {
        let request = client.get(server.url("/"));
        let mut whole = Box::pin(async move { request.send().await?.text().await });
        let frugal = poll_fn(move |cx| {
            for _ in 0..spent {
                if let Poll::Ready(step) = tokio::task::coop::poll_proceed(cx) {
                    step.made_progress();
                }
            }
            whole.as_mut().poll(cx)
        });
        let text = within(&format!("a reply after {spent} steps"), tokio::spawn(frugal)).await;
        assert_eq!(text.expect("no panic").expect("a body"), "abc");
    }
}

/// A hundred requests polled by one task share its budget, so some of them always run out of it.
#[tokio::test]
async fn hundred_requests_of_one_task_complete() {
    let server = Server::saying("Data OK.");
    let client = Client::new();
    for _ in 0..20 {
        let mut requests: Vec<_> = (0..100).map(|_| by_hand(&client, &server.url("/"))).collect();
        let all = poll_fn(|cx| {
            requests.retain_mut(|request| match request.as_mut().poll(cx) {
                Poll::Ready(response) => {
                    response.expect("a response");
                    false
                }
                Poll::Pending => true,
            });
            if requests.is_empty() { Poll::Ready(()) } else { Poll::Pending }
        });
        within("all of them", all).await;
    }
    eventually("the last dial", || only(&client).dialing == 0).await;
    assert_at_rest(&only(&client));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn hundred_lanes_share_ten_connections() {
    let server = Server::saying("Data OK.");
    let builder = Client::builder().max_connections_per_origin(10);
    let client = builder.build().expect("good settings");
    load(&client, &server.url("/data"), 100, 20).await;
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!((stats.opened, stats.idle, stats.closed()), (10, 10, 0));
    assert_eq!(server.accepted(), 10);
}

#[tokio::test]
async fn go_defaults_close_all_but_two() {
    let stage = Stage::open().await;
    let client = ClientBuilder::go_defaults().build().expect("good settings");
    let peers = idle_connections(&client, &stage, 6).await;
    let stats = only(&client);
    assert_eq!((stats.opened, stats.idle), (6, 2));
    assert_eq!(stats.closed_for(CloseReason::IdleLimit), 4);
    assert_eq!(stats.closed_by(Closer::Client), 4);
    // The first two to come back stayed; the others were closed as they came.
    for mut closed in peers.into_iter().skip(2) {
        assert_eq!(closed.ended().await, Ending::Fin);
    }
}

#[tokio::test]
async fn the_default_keeps_every_healthy_connection() {
    let stage = Stage::open().await;
    let client = Client::new();
    let _peers = idle_connections(&client, &stage, 150).await;
    let stats = only(&client);
    assert_eq!((stats.opened, stats.idle, stats.closed()), (150, 150, 0));
}

#[tokio::test]
async fn idle_timeout_is_kept_exactly() {
    let stage = Stage::open().await;
    let client = Client::new();
    let mut peers = idle_connections(&client, &stage, 1).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(89)).await;
    assert_eq!(only(&client).idle, 1, "90 s is the default");
    tokio::time::advance(Duration::from_secs(2)).await;
    // Only the keeper's turn is missing now.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let stats = only(&client);
    assert_eq!(stats.idle, 0, "{stats:?}");
    assert_eq!(stats.closed_for(CloseReason::IdleTimeout), 1);
    tokio::time::resume();
    assert_eq!(peers[0].ended().await, Ending::Fin);
}

/// Connections in use stay.
#[tokio::test]
async fn oldest_idle_connections_expire_first() {
    let stage = Stage::open().await;
    let builder = Client::builder().idle_timeout(Duration::from_secs(60));
    let client = builder.build().expect("good settings");
    let mut peers = idle_connections(&client, &stage, 4).await;
    // One lane keeps its connection young; the surplus of the burst goes by age.
    let mut rounds = 0;
    while only(&client).idle > 1 {
        let next = fetch(&client, &stage.url("/"));
        peers[3].serve("young").await;
        done(next).await.expect("a body");
        rounds += 1;
        pass(Duration::from_secs(5)).await;
        assert!(rounds < 20, "the surplus never expired");
    }
    let stats = only(&client);
    assert_eq!(stats.closed_for(CloseReason::IdleTimeout), 3);
    assert_eq!((stats.opened, stats.idle), (4, 1));
}

#[tokio::test]
async fn zero_idle_timeout_keeps_none() {
    let server = Server::saying("x");
    let builder = Client::builder().idle_timeout(Duration::ZERO);
    let client = builder.build().expect("good settings");
    exchange(&client, &server.url("/")).await;
    let stats = only(&client);
    assert_eq!((stats.idle, stats.closed_for(CloseReason::IdleTimeout)), (0, 1));
}

/// The oldest idle connection of any origin is closed.
#[tokio::test]
async fn total_idle_limit_evicts_the_oldest() {
    let (old, new) = (Server::saying("old"), Server::saying("new"));
    let client = Client::builder().max_idle(2).build().expect("good settings");
    exchange(&client, &old.url("/")).await;
    let stage = Stage::open().await;
    let _peers = idle_connections(&client, &stage, 1).await;
    assert_eq!(client.stats().origin(&old.origin()).expect("known").idle, 1);
    exchange(&client, &new.url("/")).await;
    eventually("the eviction", || client.stats().origin(&old.origin()).expect("known").idle == 0)
        .await;
    let stats = client.stats();
    let old = stats.origin(&old.origin()).expect("known");
    assert_eq!(old.closed_for(CloseReason::TotalIdleLimit), 1);
    for kept in [stage.origin(), new.origin()] {
        assert_eq!(stats.origin(&kept).expect("known").idle, 1, "{kept}");
    }
    assert_eq!((stats.total.opened, stats.total.closed()), (3, 1));
}

#[tokio::test]
async fn zero_idle_limit_breaks_nothing() {
    let server = Server::saying("x");
    for builder in [Client::builder().max_idle_per_origin(0), Client::builder().max_idle(0)] {
        let client = builder.build().expect("good settings");
        for _ in 0..3 {
            exchange(&client, &server.url("/")).await;
            eventually("the close", || only(&client).idle == 0).await;
        }
        let stats = only(&client);
        assert_eq!((stats.opened, stats.closed()), (3, 3));
        assert_eq!(stats.closed_by(Closer::Client), 3);
    }
}

#[tokio::test]
async fn limit_none_is_no_limit() {
    let stage = Stage::open().await;
    let builder = ClientBuilder::go_defaults().max_idle_per_origin(Limit::NONE);
    let client = builder.build().expect("good settings");
    let _peers = idle_connections(&client, &stage, 6).await;
    assert_eq!(only(&client).idle, 6);
}
