//! The blocking client: from plain threads, never inside a runtime.

use std::io::Read as _;
use std::time::Duration;

use keepwarm::blocking;
use keepwarm_testkit::scripted::{Answer, Request, Server, ok};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn calls_share_one_pool() {
    let server = Server::saying("hello");
    for _ in 0..3 {
        let reply = blocking::get(server.url("/"), PATIENCE).expect("a reply");
        assert_eq!((reply.status, &reply.body[..]), (200, &b"hello"[..]));
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
fn threads_block_at_once() {
    let server = Server::saying("hello");
    let client = blocking::Client::new().expect("a client");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let response = client.clone().get(server.url("/")).send().expect("a response");
                    assert_eq!(response.text().expect("a body"), "hello");
                }
            });
        }
    });
    let stats = client.inner().stats().total;
    assert!(stats.opened <= 4 && stats.checkouts == 80, "{stats:?}");
}

#[test]
fn requests_are_built_as_the_async_ones() {
    let server = Server::start(|request: &Request| {
        let body = String::from_utf8_lossy(&request.body);
        Answer::Send(ok(&format!("{} {} {body}", request.method(), request.target())))
    });
    let settings = keepwarm::Client::builder().base_url(server.url("/"));
    let client = blocking::Client::build(settings).expect("a client");
    let request = client.post("x").query([("a", 1)]).json(&[1, 2]).timeout(PATIENCE);
    let response = request.send().and_then(blocking::Response::error_for_status);
    let mut response = response.expect("a response");
    assert_eq!(response.url().path(), "/x");
    let mut text = String::new();
    response.read_to_string(&mut text).expect("a body");
    assert_eq!(text, "POST /x?a=1 [1,2]");
    let built = client.put("y").body("z").build().expect("a request");
    let response = client.execute(built).expect("a response");
    assert_eq!(response.bytes().expect("a body"), "PUT /y z");
    let mut response = client.get("z").send().expect("a response");
    assert_eq!(response.chunk().expect("a chunk").expect("data"), "GET /z ");
    assert_eq!(response.chunk().expect("the end"), None);
}

/// The background thread reads the rest.
#[test]
fn dropped_response_keeps_its_connection() {
    let server = Server::saying("hello");
    let client = blocking::Client::new().expect("a client");
    for _ in 0..3 {
        drop(client.get(server.url("/")).send().expect("a response"));
    }
    assert_eq!(server.accepted(), 1);
}

fn refused_in_async_code(url: &str, client: &blocking::Client) {
    let refused = client.get(url).send().expect_err("it would block");
    assert!(refused.is_invalid() && refused.to_string().contains("async runtime"), "{refused}");
    let refused = blocking::get(url, PATIENCE).expect_err("it would block");
    assert!(refused.is_invalid(), "{refused}");
}

#[tokio::test]
async fn async_code_is_refused() {
    let server = Server::saying("hello");
    let client = blocking::Client::new().expect("a client");
    refused_in_async_code(&server.url("/"), &client);
    let (url, task_client) = (server.url("/"), client.clone());
    let task = tokio::spawn(async move {
        refused_in_async_code(&url, &task_client);
        tokio::task::yield_now().await;
        refused_in_async_code(&url, &task_client);
    });
    task.await.expect("refused");
    assert_eq!(server.accepted(), 0);
    // Dropped here, where its thread cannot be waited for.
    drop(client);
}

/// The message of a refusal leads here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocking_sections_of_a_runtime_are_allowed() {
    let server = Server::saying("hello");
    let url = server.url("/");
    let get = move || blocking::get(&url, PATIENCE).expect("a reply").status;
    let task = tokio::task::spawn_blocking(get.clone());
    assert_eq!(task.await.expect("no panic"), 200);
    let inside = get.clone();
    let task = tokio::spawn(async move { tokio::task::block_in_place(inside) });
    assert_eq!(task.await.expect("no panic"), 200);
    // A guard of a runtime alone runs no task.
    let handle = tokio::runtime::Handle::current();
    let thread = std::thread::spawn(move || {
        let _guard = handle.enter();
        get()
    });
    assert_eq!(thread.join().expect("no panic"), 200);
}
