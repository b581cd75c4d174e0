//! Connections follow the addresses of a name.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keepwarm::connect::Name;
use keepwarm::{Client, ClientBuilder, CloseReason};
use keepwarm_testkit::http_server::HttpServer;
use keepwarm_testkit::scripted::within;
use tower::service_fn;

use crate::support::{audit, exchange, only, pass};

const URL: &str = "http://moving.test/";

/// A server at `127.0.0.host` that says its host, `/long` more often than socket buffers hold.
fn server(host: u8) -> HttpServer {
    HttpServer::start_on(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), move |conn| {
        while conn.read_request() {
            let times = if conn.request().starts_with(b"GET /long") { 16 << 20 } else { 1 };
            conn.respond(&host.to_string().repeat(times));
        }
    })
}

/// A resolver whose answers are made by `answer` from the number of the call.
fn resolving(
    answer: impl Fn(usize) -> Vec<SocketAddr> + Send + Sync + 'static,
) -> (ClientBuilder, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let (count, answer) = (Arc::clone(&calls), Arc::new(answer));
    let resolver = service_fn(move |_: Name| {
        let addresses = answer(count.fetch_add(1, Ordering::SeqCst));
        async move { Ok::<_, Infallible>(addresses) }
    });
    let builder = Client::builder().resolver(resolver).dns_cache(Duration::ZERO);
    (builder.dns_refresh(Duration::from_millis(20)), calls)
}

/// Sends requests until an answer fits.
async fn until(client: &Client, fits: impl Fn(&str) -> bool) {
    within("an answer that fits", async { while !fits(&exchange(client, URL).await) {} }).await;
}

#[tokio::test]
async fn connections_leave_an_address_that_is_gone() {
    let (old, new) = (server(1), server(2));
    let now = Arc::new(Mutex::new(old.address()));
    let current = Arc::clone(&now);
    let (builder, calls) = resolving(move |_| vec![*current.lock().expect("no panic")]);
    let client = builder.build().expect("good");
    assert_eq!(exchange(&client, URL).await, "1");
    // A second connection, in use while the name moves.
    let held =
        within("a response", client.get(format!("{URL}long")).send()).await.expect("a response");
    assert_eq!(exchange(&client, URL).await, "1");
    *now.lock().expect("no panic") = new.address();
    let before = calls.load(Ordering::SeqCst);
    until(&client, |answer| answer == "2").await;
    assert!(calls.load(Ordering::SeqCst) >= before + 3, "one answer is no proof");
    assert_eq!(only(&client).closed_for(CloseReason::AddressGone), 1, "the idle one");
    let text = held.text().await.expect("an exchange is not cut");
    assert_eq!(text.len(), 16 << 20);
    within("the busy one's end", async {
        while only(&client).closed_for(CloseReason::AddressGone) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stats = only(&client);
    audit(&stats);
    assert!(!stats.addresses_rotate);
    assert_eq!(stats.opened, 3);
}

/// An answer that dials use for longer than the interval is no answer of its own.
#[tokio::test]
async fn kept_answer_hides_no_move() {
    let (old, new) = (server(1), server(2));
    let (before, after) = (old.address(), new.address());
    let (builder, calls) = resolving(move |call| vec![if call == 0 { before } else { after }]);
    let client = builder.dns_cache(Duration::from_secs(3_600)).build().expect("good");
    assert_eq!(exchange(&client, URL).await, "1");
    until(&client, |answer| answer == "2").await;
    assert!(calls.load(Ordering::SeqCst) >= 4, "three look-ups beside the dial's");
    assert_eq!(only(&client).closed_for(CloseReason::AddressGone), 1);
}

/// Answers that are each time another part of the addresses.
#[tokio::test]
async fn rotating_name_closes_nothing() {
    let servers: Vec<HttpServer> = (1..=9).map(server).collect();
    let all: Vec<SocketAddr> = servers.iter().map(HttpServer::address).collect();
    let (builder, calls) = resolving(move |call| vec![all[call % all.len()]]);
    let client = builder.build().expect("good");
    within("many look-ups", async {
        while calls.load(Ordering::SeqCst) < 20 {
            assert_eq!(exchange(&client, URL).await, "1");
        }
    })
    .await;
    let stats = only(&client);
    assert_eq!((stats.opened, stats.closed()), (1, 0));
    assert!(stats.addresses_rotate);
    let told = client.explain("http://moving.test").expect("known");
    assert!(told.contains("look-ups of the name have now these and now those"), "{told}");
}

#[tokio::test]
async fn unused_origin_is_not_looked_up() {
    let one = server(1);
    let address = one.address();
    let (builder, calls) = resolving(move |_| vec![address]);
    let client = builder.build().expect("good");
    assert_eq!(exchange(&client, URL).await, "1");
    pass(Duration::from_millis(100)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(exchange(&client, URL).await, "1");
    within("a look-up", async {
        while calls.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;

    let (builder, calls) = resolving(move |_| vec![address]);
    let client = builder.dns_refresh(None).build().expect("good");
    for _ in 0..3 {
        assert_eq!(exchange(&client, URL).await, "1");
        pass(Duration::from_millis(25)).await;
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1, "off");
    let error = Client::builder().dns_refresh(Duration::ZERO).build().expect_err("no interval");
    assert!(error.to_string().contains("dns_refresh is 0 s"), "{error}");
}

/// The look-up of a runtime that ends under it is made again, though no dial asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_runtime_ends_no_freshness() {
    let one = server(1);
    let address = one.address();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    let resolver = service_fn(move |_: Name| {
        // The second look-up is never answered.
        let is_stuck = count.fetch_add(1, Ordering::SeqCst) == 1;
        async move {
            if is_stuck {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(vec![address])
        }
    });
    let builder = Client::builder().resolver(resolver).dns_cache(Duration::ZERO);
    let client = builder.dns_refresh(Duration::from_millis(20)).build().expect("good");
    assert_eq!(exchange(&client, URL).await, "1");
    let (other, begun) = (client.clone(), Arc::clone(&calls));
    let ended = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(within("a look-up", async {
            while begun.load(Ordering::SeqCst) < 2 {
                assert_eq!(exchange(&other, URL).await, "1");
            }
        }));
    });
    ended.join().expect("no panic");
    within("another look-up", async {
        while calls.load(Ordering::SeqCst) < 3 {
            assert_eq!(exchange(&client, URL).await, "1");
        }
    })
    .await;
    assert_eq!((only(&client).opened, only(&client).closed()), (1, 0));
}

#[tokio::test]
async fn connections_are_spread_over_addresses() {
    let servers: Vec<HttpServer> = (1..=3).map(server).collect();
    let all: Vec<SocketAddr> = servers.iter().map(HttpServer::address).collect();
    for (spread, expected) in [(true, "123123"), (false, "111111")] {
        let addresses = all.clone();
        let (builder, _) = resolving(move |_| addresses.clone());
        let builder = builder.spread_addresses(spread).max_requests_per_connection(1);
        let client = builder.build().expect("good");
        let mut answers = String::new();
        for _ in 0..6 {
            answers += &exchange(&client, URL).await;
        }
        assert_eq!(answers, expected, "spread: {spread}");
    }
}
