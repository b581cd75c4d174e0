//! A resolver of the caller's own: what it is asked, what is done with its addresses, and its
//! failures.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keepwarm::connect::{Destination, Name};
use keepwarm::{Client, ClientBuilder, Error, Stage as At};
use keepwarm_testkit::http_server::RefusedPort;
use keepwarm_testkit::scripted::{self, Server, within};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower::service_fn;

use crate::support::{assert_at_rest, done, exchange, fetch, only};

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Resolves every name to these addresses.
fn resolving_to(addresses: Vec<SocketAddr>) -> ClientBuilder {
    Client::builder().resolver(service_fn(move |_: Name| {
        let addresses = addresses.clone();
        async move { Ok::<_, Infallible>(addresses) }
    }))
}

async fn failure(client: &Client) -> Error {
    within("an answer", client.get("http://a.test/").send()).await.expect_err("no address")
}

/// Never for an address.
#[tokio::test]
async fn resolver_is_called_per_dial() {
    let server = Server::saying("found");
    let names = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&names);
    let resolver = service_fn(move |name: Name| {
        asked.lock().expect("no panic").push(name.to_string());
        async { Ok::<_, Infallible>(vec![local(0)]) }
    });
    let client = Client::builder().resolver(resolver).build().expect("good");
    let url = format!("http://Some.Name.test:{}/", server.port());
    for _ in 0..2 {
        assert_eq!(exchange(&client, &url).await, "found", "port 0 is the port of the URL");
    }
    client.close_idle();
    assert_eq!(exchange(&client, &url).await, "found");
    assert_eq!(exchange(&client, &server.url("/")).await, "found");
    assert_eq!(*names.lock().expect("no panic"), ["some.name.test", "some.name.test"]);
}

/// The origin stays that of the URL.
#[tokio::test]
async fn resolver_may_name_the_port() {
    let server = Server::saying("elsewhere");
    let client = resolving_to(vec![local(server.port())]).build().expect("good");
    assert_eq!(exchange(&client, "http://a.test/").await, "elsewhere");
    assert_eq!(only(&client).origin, "http://a.test:80");
}

#[tokio::test]
async fn resolved_addresses_are_raced() {
    let hanging = scripted::Stage::open_narrow();
    let _filled = hanging.fill().await;
    let dead = RefusedPort::new();
    let server = Server::saying("won");
    let addresses = vec![local(hanging.port()), dead.address(), local(server.port())];
    let client = resolving_to(addresses).build().expect("good");
    assert_eq!(exchange(&client, "http://a.test/").await, "won");
}

#[tokio::test]
async fn resolver_error_is_the_cause() {
    let asked = Arc::new(AtomicUsize::new(0));
    let resolver = service_fn(move |_: Name| {
        let panics = asked.fetch_add(1, Ordering::SeqCst) % 2 == 1;
        async move {
            assert!(!panics, "rude resolver");
            Err::<Vec<SocketAddr>, _>(io::Error::new(io::ErrorKind::NotFound, "NXDOMAIN"))
        }
    });
    let builder = Client::builder().resolver(resolver).max_connections_per_origin(1);
    let client = builder.build().expect("good");
    for round in 0..4 {
        let error = failure(&client).await;
        assert!(error.is_connect() && !error.is_timeout(), "{error}");
        assert_eq!((error.stage(), error.origin()), (At::Resolve, Some("http://a.test:80")));
        let text = error.to_string();
        if round % 2 == 0 {
            assert_eq!(error.io_error().map(io::Error::kind), Some(io::ErrorKind::NotFound));
            let expected = "http://a.test:80: resolving failed: cannot resolve a.test: NXDOMAIN";
            assert_eq!(text, expected);
        } else {
            assert!(text.contains("the resolver panicked: rude resolver"), "{text}");
        }
    }
    let stats = only(&client);
    assert_at_rest(&stats);
    assert_eq!(stats.dials_failed, 4);
}

/// By the platform's resolver and a caller's.
#[tokio::test]
async fn name_without_address_fails_resolving() {
    let error = failure(&resolving_to(Vec::new()).build().expect("good")).await;
    assert_eq!(error.stage(), At::Resolve, "{error}");
    assert!(error.to_string().contains("a.test resolves to no address"), "{error}");

    // `.invalid` is nobody's (RFC 6761, 6.4).
    let request = Client::new().get("http://name.invalid/").send();
    let error = within("an answer", request).await.expect_err("no such name");
    assert_eq!(error.stage(), At::Resolve, "{error}");
    assert!(error.to_string().contains("cannot resolve name.invalid"), "{error}");
}

#[tokio::test]
async fn endless_address_list_is_cut() {
    let dead = RefusedPort::new();
    let address = dead.address();
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let resolver = service_fn(move |_: Name| {
        let count = Arc::clone(&count);
        async move {
            Ok::<_, Infallible>(std::iter::from_fn(move || {
                count.fetch_add(1, Ordering::SeqCst);
                Some(address)
            }))
        }
    });
    let client = Client::builder().resolver(resolver).build().expect("good");
    let error = failure(&client).await;
    assert_eq!(error.stage(), At::Connect, "{error}");
    assert_eq!(given.load(Ordering::SeqCst), 64);
}

#[tokio::test(start_paused = true)]
async fn hanging_resolver_times_out() {
    let resolver =
        service_fn(|_: Name| std::future::pending::<Result<Vec<SocketAddr>, Infallible>>());
    let builder = Client::builder().resolver(resolver).connect_timeout(Duration::from_secs(3));
    let client = builder.build().expect("good");
    let began = tokio::time::Instant::now();
    let error = client.get("http://a.test/").send().await.expect_err("late");
    assert_eq!(began.elapsed().as_secs(), 3);
    assert!(error.is_timeout() && error.is_connect(), "{error}");
    assert_eq!(error.stage(), At::Resolve, "{error}");
    assert_at_rest(&only(&client));
}

/// A resolver that counts its calls, answers when it may, and fails if it has no address.
fn counted(
    addresses: Vec<SocketAddr>,
    may_answer: Arc<Semaphore>,
) -> (ClientBuilder, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let resolver = service_fn(move |_: Name| {
        count.fetch_add(1, Ordering::SeqCst);
        let (addresses, may_answer) = (addresses.clone(), Arc::clone(&may_answer));
        async move {
            may_answer.acquire().await.expect("open").forget();
            if addresses.is_empty() { Err(io::Error::other("SERVFAIL")) } else { Ok(addresses) }
        }
    });
    (Client::builder().resolver(resolver), calls)
}

/// Requests that dial, and their answers.
async fn burst(client: &Client, requests: usize) -> Vec<Result<String, Error>> {
    let asked = (0..requests).map(|_| fetch(client, "http://a.test/")).collect::<Vec<_>>();
    let mut answers = Vec::new();
    for one in asked {
        answers.push(done(one).await);
    }
    answers
}

#[tokio::test]
async fn burst_of_dials_looks_up_once() {
    let server = Server::saying("found");
    let may_answer = Arc::new(Semaphore::new(0));
    let (builder, calls) = counted(vec![local(server.port())], Arc::clone(&may_answer));
    let client = builder.max_requests_per_connection(1).build().expect("good");
    let hundred = {
        let client = client.clone();
        tokio::spawn(async move { burst(&client, 100).await })
    };
    within("all dials", async {
        while client.stats().total.dialing < 100 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    may_answer.add_permits(1);
    let answers = within("answers", hundred).await.expect("no panic");
    assert!(answers.iter().all(|answer| answer.as_deref().ok() == Some("found")), "{answers:?}");
    assert_eq!((only(&client).opened, calls.load(Ordering::SeqCst)), (100, 1));

    // The answer is kept, until the client is told that the network is another.
    assert_eq!(exchange(&client, "http://a.test/").await, "found");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    client.close_idle();
    may_answer.add_permits(1);
    assert_eq!(exchange(&client, "http://a.test/").await, "found");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn answer_is_kept_for_three_seconds() {
    let server = Server::saying("found");
    let (builder, calls) = counted(vec![local(server.port())], Arc::new(Semaphore::new(9)));
    let client = builder.max_requests_per_connection(1).build().expect("good");
    for (wait, expected) in [(0, 1), (2_900, 1), (200, 2)] {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        assert_eq!(exchange(&client, "http://a.test/").await, "found");
        assert_eq!(calls.load(Ordering::SeqCst), expected, "after {wait} ms more");
    }
}

/// Requests that waited for the failed lookup have the same cause.
#[tokio::test]
async fn failed_lookup_is_not_kept() {
    let may_answer = Arc::new(Semaphore::new(0));
    let (builder, calls) = counted(Vec::new(), Arc::clone(&may_answer));
    let client = builder.build().expect("good");
    let three = {
        let client = client.clone();
        tokio::spawn(async move { burst(&client, 3).await })
    };
    within("all dials", async {
        while client.stats().total.dialing < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    may_answer.add_permits(1);
    for answer in within("answers", three).await.expect("no panic") {
        let error = answer.expect_err("no address");
        assert_eq!(error.stage(), At::Resolve, "{error}");
        assert_eq!(error.io_error().map(io::Error::kind), Some(io::ErrorKind::Other), "{error}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    may_answer.add_permits(1);
    failure(&client).await;
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// And no dial waits for the one that hung.
#[tokio::test(start_paused = true)]
async fn hung_lookup_is_begun_anew() {
    let server = Server::saying("found");
    let may_answer = Arc::new(Semaphore::new(0));
    let (builder, calls) = counted(vec![local(server.port())], Arc::clone(&may_answer));
    let client = builder.connect_timeout(Duration::from_secs(3)).build().expect("good");
    let error = client.get("http://a.test/").send().await.expect_err("late");
    assert!(error.is_timeout(), "{error}");
    may_answer.add_permits(1);
    assert_eq!(exchange(&client, "http://a.test/").await, "found");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

/// The addresses of a name whose server moved.
#[tokio::test]
async fn refused_addresses_are_not_kept() {
    let dead = RefusedPort::new();
    let (builder, calls) = counted(vec![dead.address()], Arc::new(Semaphore::new(9)));
    let client = builder.build().expect("good");
    for expected in [1, 2] {
        assert_eq!(failure(&client).await.stage(), At::Connect);
        assert_eq!(calls.load(Ordering::SeqCst), expected);
    }
}

#[test]
fn unused_resolver_is_rejected() {
    let connector = service_fn(|_: Destination| TcpStream::connect("127.0.0.1:1"));
    let error = resolving_to(Vec::new()).connector(connector).build().expect_err("both");
    assert!(error.is_invalid(), "{error}");
    assert!(error.to_string().contains("resolver is set beside connector"), "{error}");
}
