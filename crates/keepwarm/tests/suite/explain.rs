//! `explain` says what happened.

use std::time::Duration;

use keepwarm::{Client, ClientBuilder};
use keepwarm_testkit::scripted::{Server, Stage, eventually};

use crate::reuse::idle_connections;
use crate::support::{done, exchange, fetch, get};

fn words(client: &Client, origin: &str) -> String {
    client.explain(origin).expect("an origin that was spoken to")
}

/// Twenty requests at once, each answered when all of them are there.
async fn burst(client: &Client, stage: &Stage) {
    let requests: Vec<_> = (0..20).map(|_| fetch(client, &stage.url("/"))).collect();
    let mut peers = Vec::new();
    for _ in 0..20 {
        peers.push(stage.accept().await);
    }
    for peer in &mut peers {
        peer.serve("x").await;
    }
    for request in requests {
        done(request).await.expect("a body");
    }
}

/// The number is the one to set.
#[tokio::test]
async fn low_limit_is_named_with_number() {
    let stage = Stage::open().await;
    let client = ClientBuilder::go_defaults().build().expect("a client");
    burst(&client, &stage).await;
    let words = words(&client, &stage.origin());
    assert!(words.contains("closed 18 healthy connections on return"), "{words}");
    assert!(words.contains("max_idle_per_origin is 2, peak concurrency was 20"), "{words}");
    assert!(words.contains("at least 20"), "{words}");
}

#[tokio::test]
async fn kept_connections_need_no_explanation() {
    let stage = Stage::open().await;
    let client = Client::new();
    burst(&client, &stage).await;
    let words = words(&client, &stage.origin());
    assert!(words.contains("20 connections opened, at most 20 requests at once"), "{words}");
    assert!(words.contains("nothing is wrong"), "{words}");
}

/// Advances the clock of tokio.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Opens connections, lets them idle together, and has the server close all of them.
async fn close_all_after(client: &Client, stage: &Stage, count: usize, idle: Duration) {
    let before = only_closed(client);
    let peers = idle_connections(client, stage, count).await;
    pass(idle).await;
    for peer in peers {
        peer.close();
    }
    eventually("the closes", || only_closed(client) == before + count as u64).await;
}

fn only_closed(client: &Client) -> u64 {
    client.stats().total.closed()
}

const TIMEOUT: &str = "keep-alive timeout (seen: ";
const RESTART: &str = "a restart or deploy of the server; there is nothing to set";

/// The timeout is ours.
#[tokio::test]
async fn repeated_idle_time_is_named_as_timeout() {
    for learns in [false, true] {
        let stage = Stage::open().await;
        let client = Client::builder().learn_idle_timeout(learns).build().expect("good");
        for _ in 0..3 {
            close_all_after(&client, &stage, 3, Duration::from_secs(5)).await;
        }
        let words = words(&client, &stage.origin());
        assert!(words.contains("the server closed 9 connections while idle"), "{words}");
        assert!(words.contains(&format!("{TIMEOUT}5.")), "{words}");
        assert!(words.contains("idle_timeout, which is 90s"), "{words}");
        assert!(!words.contains("restart"), "{words}");
    }
}

/// All at once, whatever their idle times, and then none.
#[tokio::test]
async fn restart_of_the_server_is_no_timeout() {
    let stage = Stage::open().await;
    let client = Client::new();
    // One connection idles for longer than the others.
    let mut peers = idle_connections(&client, &stage, 4).await;
    pass(Duration::from_secs(20)).await;
    let again = fetch(&client, &stage.url("/"));
    let newest = peers.last_mut().expect("four");
    newest.serve("x").await;
    done(again).await.expect("a body");
    pass(Duration::from_secs(3)).await;
    for peer in peers {
        peer.close();
    }
    eventually("the closes", || only_closed(&client) == 4).await;
    // The new instance keeps its connections.
    let _kept = idle_connections(&client, &stage, 4).await;
    pass(Duration::from_secs(60)).await;
    let one = words(&client, &stage.origin());
    assert!(one.contains("the server closed 4 idle connections at once"), "{one}");
    assert!(one.contains(RESTART) && !one.contains("idle_timeout"), "{one}");
}

/// Even if all connections had been idle since the same burst.
#[tokio::test]
async fn each_deploy_is_a_restart() {
    let stage = Stage::open().await;
    let client = Client::new();
    for (nth, idle) in [20, 3, 47].into_iter().enumerate() {
        close_all_after(&client, &stage, 5, Duration::from_secs(idle)).await;
        let words = words(&client, &stage.origin());
        assert!(words.contains("of the server; there is nothing to set"), "{words}");
        assert!(!words.contains("idle_timeout"), "after {} deploys: {words}", nth + 1);
    }
}

/// A single close shows neither a timeout nor a restart.
#[tokio::test]
async fn single_close_is_left_open() {
    let stage = Stage::open().await;
    let client = Client::new();
    close_all_after(&client, &stage, 1, Duration::from_secs(5)).await;
    let words = words(&client, &stage.origin());
    assert!(words.contains("1 request, 0 of them on a reused connection; 1 connection"), "{words}");
    assert!(words.contains("opened, at most 1 request at once"), "{words}");
    assert!(words.contains("the server closed 1 connection while idle: a restart, or"), "{words}");
    assert!(!words.contains("idle_timeout"), "{words}");
}

#[tokio::test]
async fn any_url_names_its_origin() {
    let server = Server::saying("x");
    let client = Client::new();
    exchange(&client, &server.url("/data")).await;
    let expected = client.explain(&server.origin());
    assert!(expected.is_some());
    for url in ["/", "/data?x", "#part"].map(|path| server.url(path)) {
        assert_eq!(client.explain(&url), expected, "{url}");
        assert_eq!(client.explain(&url.replace("http", "HTTP")), expected, "{url}");
        assert!(client.stats().origin(&url).is_some(), "{url}");
    }
    for other in ["", "/", "127.0.0.1", &server.origin().replace("http:", "https:")] {
        assert_eq!((client.explain(other), client.stats().origin(other)), (None, None), "{other}");
    }
}

#[tokio::test]
async fn the_worst_comes_first() {
    let server = Server::saying("x");
    let client = Client::builder()
        .max_connections_per_origin(1)
        .max_waiters_per_origin(0)
        .build()
        .expect("a client");
    exchange(&client, &server.url("/")).await;
    let stage = Stage::open().await;
    let held = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    peer.request().await;
    for _ in 0..5 {
        done(get(&client, &stage.url("/"))).await.expect_err("no room to wait");
    }
    held.abort();
    eventually("the end of the held one", || {
        client.stats().origin(&stage.origin()).is_some_and(|origin| origin.active == 0)
    })
    .await;
    let words = words(&client, &stage.origin());
    let refused = words.find("5 requests refused").expect("the refusals");
    let given_up = words.find("1 connection given up").expect("the one that was dropped");
    assert!(refused < given_up, "{words}");
    assert!(words.contains("max_connections_per_origin is 1"), "{words}");
    assert_eq!(client.explain("http://127.0.0.1:1"), None);
    assert!(client.explain(&server.origin()).is_some());
}
