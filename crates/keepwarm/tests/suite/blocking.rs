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

#[tokio::test]
async fn calls_inside_a_runtime_are_refused() {
    let server = Server::saying("hello");
    let client = blocking::Client::new().expect("a client");
    let refused = client.get(server.url("/")).send().expect_err("it would block");
    assert!(refused.is_invalid() && refused.to_string().contains("async runtime"), "{refused}");
    let refused = blocking::get(server.url("/"), PATIENCE).expect_err("it would block");
    assert!(refused.is_invalid(), "{refused}");
    let url = server.url("/");
    let task = tokio::task::spawn_blocking(move || {
        std::thread::spawn(move || blocking::get(url, PATIENCE).map(|reply| reply.status)).join()
    });
    assert_eq!(task.await.expect("a task").expect("a thread").expect("a reply"), 200);
    drop(client);
}
