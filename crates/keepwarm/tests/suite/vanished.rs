//! A peer that is gone and sent neither FIN nor RST: when the client notices, and what it says.
//!
//! Over a wire between two namespaces, which a test cuts. Each test takes root and `/dev/net/tun`.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use keepwarm::{Client, ClientBuilder, CloseReason, Closer};
use keepwarm_testkit::scripted::{Peer, eventually, within};
use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::Wire;
use tokio::net::TcpListener;

use crate::support::{done, exchange, fetch, only};

/// Runs `test` on the clients' host, with a listener on the servers' host.
fn over_a_wire(test: impl AsyncFnOnce(&Wire, TcpListener, String)) {
    let wire = match Wire::lay() {
        Ok(wire) => wire,
        Err(error) => {
            return skipped::because(&format!("a wire takes root and /dev/net/tun: {error}"));
        }
    };
    let any = SocketAddr::new(wire.server_ip(false), 0);
    let bound = wire.server.inside(|| std::net::TcpListener::bind(any)).expect("a listener");
    bound.set_nonblocking(true).expect("nonblocking");
    let url = format!("http://{}/", bound.local_addr().expect("bound"));
    let ran = wire.client.inside(|| {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build()?.block_on(async {
            let listener = TcpListener::from_std(bound)?;
            test(&wire, listener, url).await;
            Ok(())
        })
    });
    ran.expect("the namespace");
}

async fn first_exchange(client: &Client, listener: &TcpListener, url: &str) -> Peer {
    let first = fetch(client, url);
    let (stream, _) = within("a connection", listener.accept()).await.expect("accept");
    let mut peer = Peer::over(stream);
    peer.serve("first").await;
    done(first).await.expect("a body");
    peer
}

fn quick() -> ClientBuilder {
    let second = Duration::from_secs(1);
    Client::builder().tcp_keepalive(second).connect_timeout(second)
}

/// Without the timeout, the kernel would send it again for a quarter of an hour.
#[test]
fn lost_request_fails_by_the_user_timeout() {
    over_a_wire(async |wire, listener, url| {
        let builder = quick().tcp_user_timeout(Duration::from_secs(1));
        let client = builder.build().expect("good");
        let _peer = first_exchange(&client, &listener, &url).await;
        wire.cut();
        let began = Instant::now();
        let lost = within("the timeout", client.post(&url).body("data").send()).await;
        let error = lost.expect_err("the wire is cut");
        assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
        let kind = error.io_error().map(std::io::Error::kind);
        assert_eq!(kind, Some(ErrorKind::TimedOut), "{error}");
        assert!(error.to_string().contains("tcp_user_timeout"), "it names the setting: {error}");
        assert!(error.is_peer_silent(), "{error}");
        assert!(!error.is_closed_by_peer() && !error.is_timeout(), "{error}");
        assert_eq!(error.on_reused_connection(), Some(true), "{error}");

        // A request that may be repeated goes out once more, on a connection that the path knows.
        wire.mend().expect("mended");
        let again = fetch(&client, &url);
        let (stream, _) = within("a new connection", listener.accept()).await.expect("accept");
        Peer::over(stream).serve("again").await;
        assert_eq!(done(again).await.expect("a body"), "again");
    });
}

/// Probes alone find it: by their number, and by the user timeout.
#[test]
fn vanished_peer_ends_idle_connections() {
    over_a_wire(async |wire, listener, url| {
        for (builder, what) in [
            (quick().tcp_keepalive_probes(2).tcp_user_timeout(None), "by two lost probes"),
            (quick().tcp_user_timeout(Duration::from_secs(2)), "by the user timeout"),
        ] {
            let client = builder.build().expect("good");
            let _peer = first_exchange(&client, &listener, &url).await;
            assert_eq!(only(&client).idle, 1);
            wire.cut();
            eventually(what, || only(&client).idle == 0).await;
            let stats = only(&client);
            let lost = stats.closes.iter().find(|one| one.reason == CloseReason::PeerClosedIdle);
            assert_eq!(lost.map(|one| (one.closer, one.count)), Some((Closer::Client, 1)));
            let words = client.explain(&url).expect("an origin");
            assert!(
                words.contains("1 connection ended while idle because the peer did"),
                "{words}"
            );
            assert!(!words.contains("the server closed"), "{words}");
            wire.mend().expect("mended");
        }
    });
}

/// Their own probes would take a minute more.
#[test]
fn siblings_of_a_lost_connection_close() {
    over_a_wire(async |wire, listener, url| {
        let second = Duration::from_secs(1);
        let builder = Client::builder().tcp_user_timeout(second).connect_timeout(second);
        let client = builder.tcp_keepalive(60 * second).build().expect("good");
        let requests = [fetch(&client, &url), fetch(&client, &url)];
        let mut peers = Vec::new();
        for _ in &requests {
            let (stream, _) = within("a connection", listener.accept()).await.expect("accept");
            peers.push(Peer::over(stream));
        }
        for peer in &mut peers {
            peer.request().await;
        }
        for peer in &mut peers {
            peer.write(keepwarm_testkit::scripted::ok("first")).await;
        }
        for request in requests {
            done(request).await.expect("a body");
        }
        wire.cut();
        let lost = within("the timeout", client.post(&url).body("data").send()).await;
        lost.expect_err("the wire is cut");
        let closed = || only(&client).closed_for(CloseReason::Suspect);
        eventually("the sibling's close", || closed() == 1).await;
        assert_eq!(only(&client).idle, 0);
        wire.mend().expect("mended");
    });
}

/// The peer's kernel answers the probes of a connection whose server is slow.
#[test]
fn slow_response_outlives_the_user_timeout() {
    over_a_wire(async |_, listener, url| {
        let builder = quick().tcp_user_timeout(Duration::from_secs(1));
        let client = builder.build().expect("good");
        let mut peer = first_exchange(&client, &listener, &url).await;
        let slow = tokio::spawn({
            let (client, url) = (client.clone(), url.clone());
            async move { exchange(&client, &url).await }
        });
        peer.request().await;
        // The kernel's clock, which no test can move.
        tokio::time::sleep(Duration::from_secs(3)).await;
        peer.write(keepwarm_testkit::scripted::ok("late")).await;
        assert_eq!(done(slow).await, "late");
    });
}
