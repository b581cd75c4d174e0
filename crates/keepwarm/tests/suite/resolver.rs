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
use tower::service_fn;

use crate::support::{assert_at_rest, exchange, only};

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

#[test]
fn unused_resolver_is_rejected() {
    let connector = service_fn(|_: Destination| TcpStream::connect("127.0.0.1:1"));
    let error = resolving_to(Vec::new()).connector(connector).build().expect_err("both");
    assert!(error.is_invalid(), "{error}");
    assert!(error.to_string().contains("resolver is set beside connector"), "{error}");
}
