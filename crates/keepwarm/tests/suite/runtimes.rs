//! A client is not tied to one runtime, nor to being inside one when something ends.

use std::sync::mpsc;
use std::time::Duration;

use keepwarm::{Client, CloseReason};
use keepwarm_testkit::scripted::{Answer, Server, Stage, eventually, ok, within};
use tokio::runtime::{Builder, Runtime};

use crate::reuse::idle_connections;
use crate::support::{assert_at_rest, done, exchange, fetch, get, only};

fn on_one_thread() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a runtime")
}

fn on_several_threads() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(2).enable_all();
    builder.build().expect("a runtime")
}

#[test]
fn next_runtime_replaces_idle_connections() {
    for first in [on_one_thread(), on_several_threads()] {
        let server = Server::saying("x");
        let client = Client::new();
        first.block_on(async {
            let burst: Vec<_> = (0..5).map(|_| fetch(&client, &server.url("/"))).collect();
            for request in burst {
                done(request).await.expect("a body");
            }
        });
        drop(first);
        let second = on_one_thread();
        second.block_on(async {
            for _ in 0..3 {
                assert_eq!(exchange(&client, &server.url("/")).await, "x");
            }
            let stats = only(&client);
            assert_at_rest(&stats);
            assert_eq!(stats.idle, 1, "{stats:?}");
            assert_eq!(stats.closed_for(CloseReason::StrayBytes), 0, "{stats:?}");
            assert_eq!(stats.closed_for(CloseReason::PeerClosedIdle), 0, "{stats:?}");
        });
    }
}

#[test]
fn keeper_moves_to_the_next_runtime() {
    let client = Client::new();
    let first = on_one_thread();
    let server = Server::saying("x");
    first.block_on(exchange(&client, &server.url("/")));
    drop(first);
    on_one_thread().block_on(async {
        let stage = Stage::open().await;
        for peer in idle_connections(&client, &stage, 1).await {
            peer.close();
        }
        let idle = || client.stats().origin(&stage.origin()).expect("known").idle;
        keepwarm_testkit::scripted::eventually("the close", || idle() == 0).await;
    });
}

/// A client is made and dropped outside any runtime.
#[test]
fn client_needs_no_runtime_itself() {
    let client = Client::new();
    let server = Server::saying("x");
    let runtime = on_one_thread();
    runtime.block_on(exchange(&client, &server.url("/")));
    drop(client);
    drop(runtime);

    let client = Client::new();
    let runtime = on_several_threads();
    runtime.block_on(exchange(&client, &server.url("/")));
    drop(runtime);
    drop(client);
}

#[test]
fn body_dropped_without_runtime_serves_waiter() {
    let runtime = on_several_threads();
    runtime.block_on(async {
        let stage = Stage::open().await;
        let builder = Client::builder().max_connections_per_origin(1);
        let client = builder.build().expect("good settings");
        let first = get(&client, &stage.url("/"));
        let mut peer = stage.accept().await;
        peer.request().await;
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
        let response = done(first).await.expect("a head");
        let waiting = fetch(&client, &stage.url("/"));
        keepwarm_testkit::scripted::eventually("the queue", || only(&client).waiting == 1).await;

        let elsewhere = std::thread::spawn(move || drop(response));
        let mut other = stage.accept().await;
        other.serve("served").await;
        assert_eq!(done(waiting).await.expect("a body"), "served");
        elsewhere.join().expect("no panic");
        assert_eq!(only(&client).closed_for(CloseReason::Abandoned), 1);
    });
}

#[test]
fn ended_runtime_frees_its_place() {
    // The other one's dial was late bound: whoever ends, the waiter elsewhere is served.
    let server = Server::start(|request| match request.target() {
        "/stall" => Answer::SendAndStall(String::new()),
        _ => Answer::Send(ok("served")),
    });
    let builder = Client::builder().max_connections_per_origin(1);
    let client = builder.build().expect("good settings");
    let ending = on_several_threads();
    ending.block_on(async {
        get(&client, &server.url("/stall"));
        keepwarm_testkit::scripted::eventually("the exchange", || server.requests() == 1).await;
    });
    let (served, is_served) = mpsc::channel();
    let (waiting, url) = (client.clone(), server.url("/"));
    let staying = std::thread::spawn(move || {
        on_one_thread().block_on(async {
            let body = within("a reply", fetch(&waiting, &url)).await;
            served.send(body.expect("no panic")).expect("the test waits");
        });
    });
    on_one_thread().block_on(eventually("the queue", || only(&client).waiting == 1));
    drop(ending);
    let body = is_served.recv_timeout(Duration::from_secs(10));
    let body = body.expect("in time").expect("the dial runs where the waiter does");
    assert_eq!(body, "served");
    staying.join().expect("no panic");
}

#[test]
fn dial_moves_to_a_waiters_runtime() {
    let ending = on_one_thread();
    let staying = on_one_thread();
    let builder = Client::builder().max_connections_per_origin(1);
    let client = builder.build().expect("good settings");
    let stage = staying.block_on(async { Stage::open_narrow() });
    let _fillers = staying.block_on(stage.fill());
    ending.block_on(async {
        get(&client, &stage.url("/ending"));
        keepwarm_testkit::scripted::eventually("its dial", || {
            client.stats().origins.first().is_some_and(|o| o.dialing == 1)
        })
        .await;
    });
    staying.block_on(async {
        let waiting = fetch(&client, &stage.url("/staying"));
        keepwarm_testkit::scripted::eventually("its place", || only(&client).waiting == 2).await;
        let elsewhere = std::thread::spawn(move || drop(ending));
        elsewhere.join().expect("no panic");
        for _ in 0.._fillers.len() {
            stage.accept().await.close();
        }
        let mut peer = stage.accept().await;
        // The abandoned dial's handshake may have been completed by the kernel.
        let request = tokio::select! {
            request = peer.request() => request,
            mut other = stage.accept() => { std::mem::swap(&mut peer, &mut other); peer.request().await }
        };
        assert_eq!(request.target(), "/staying");
        peer.write(ok("served")).await;
        assert_eq!(done(waiting).await.expect("a body"), "served");
        assert_eq!(only(&client).dials_failed, 0);
    });
}

/// Each dial that its runtime drops is told to the pool, which asks for one for the next waiter, on
/// the same runtime: told one inside the other they would overflow the stack.
/// One by one, without overflowing the stack.
#[test]
fn ending_runtime_fails_thousands_of_waiters() {
    const WAITING: usize = 4_000;
    let elsewhere = on_several_threads();
    let stage = elsewhere.block_on(async { Stage::open_narrow() });
    let filled = elsewhere.block_on(stage.fill());
    let client = Client::builder().max_connections_per_origin(10).build().expect("a client");
    let runtime = on_several_threads();
    for _ in 0..WAITING {
        let (client, url) = (client.clone(), stage.url("/"));
        runtime.spawn(async move { client.get(url).send().await.is_ok() });
    }
    let queued = || client.stats().origins.iter().any(|origin| origin.waiting == WAITING);
    runtime.block_on(eventually("the queue", queued));
    drop(runtime);
    drop(filled);
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!(stats.opened, 0, "{stats:?}");
    assert_eq!(stats.checkouts, WAITING as u64, "{stats:?}");
}
