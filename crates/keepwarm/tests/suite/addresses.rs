//! The address of a host that is connected to: the family that answers, and the zone of the URL.

use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use keepwarm::connect::Name;
use keepwarm::{Client, Stage as At};
use keepwarm_testkit::http_server::{HttpServer, has_ipv6};
use keepwarm_testkit::namespace::Namespace;
use keepwarm_testkit::scripted::{Peer, Server, within};
use keepwarm_testkit::skipped;
use tokio::net::TcpListener;
use tower::service_fn;

use crate::support::{done, exchange, fetch, only};

/// Runs `test` in a network namespace of its own, whose counters and interfaces are the test's.
fn alone(test: impl AsyncFnOnce(&Namespace)) {
    let namespace = match Namespace::make() {
        Ok(namespace) => namespace,
        Err(error) => return skipped::because(&format!("a namespace takes root: {error}")),
    };
    let ran = namespace.inside(|| {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build()?.block_on(test(&namespace));
        Ok(())
    });
    ran.expect("the namespace");
}

/// The kernel's count of connects begun and of those that failed (`/proc/net/snmp`, RFC 4022:
/// `tcpActiveOpens`, `tcpAttemptFails`).
fn connects() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").expect("Linux");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let [names, values] = [lines.next(), lines.next()].map(|line| line.expect("two lines"));
    ["ActiveOpens", "AttemptFails"].map(|wanted| {
        let mut columns = names.split(' ').zip(values.split(' '));
        let found = columns.find(|(name, _)| *name == wanted).expect(wanted);
        found.1.parse().expect("a number")
    })
}

/// Each exchange dials.
fn dialing() -> keepwarm::ClientBuilder {
    Client::builder().max_requests_per_connection(1)
}

fn localhost(port: u16) -> Vec<SocketAddr> {
    vec![(Ipv6Addr::LOCALHOST, port).into(), (Ipv4Addr::LOCALHOST, port).into()]
}

#[test]
fn silent_family_is_tried_once() {
    alone(async |_| {
        let server = Server::saying("v4");
        let now = Arc::new(Mutex::new(localhost(server.port())));
        let addresses = Arc::clone(&now);
        let resolver = service_fn(move |_: Name| {
            let addresses = addresses.lock().expect("no panic").clone();
            async move { Ok::<_, Infallible>(addresses) }
        });
        let builder = dialing().resolver(resolver).dns_cache(Duration::ZERO);
        let client = builder.build().expect("good");
        for _ in 0..20 {
            assert_eq!(exchange(&client, "http://both.test/").await, "v4");
        }
        assert_eq!(connects(), [21, 1], "one for IPv6, which was refused");
        assert_eq!((server.accepted(), only(&client).dials_failed), (20, 0));

        // The service moves to the other family.
        let moved = HttpServer::start_on(Ipv6Addr::LOCALHOST.into(), |conn| {
            while conn.read_request() {
                conn.respond("v6");
            }
        });
        *now.lock().expect("no panic") = localhost(moved.address().port());
        for _ in 0..20 {
            assert_eq!(exchange(&client, "http://both.test/").await, "v6");
        }
        assert_eq!(connects(), [42, 2], "one more for IPv4, which was refused");

        // The resolver's first choice is asked anew.
        client.close_idle();
        *now.lock().expect("no panic") = localhost(server.port());
        assert_eq!(exchange(&client, "http://both.test/").await, "v4");
        assert_eq!(connects(), [44, 3]);
    });
}

/// By the platform's resolver.
#[test]
fn localhost_is_refused_once() {
    let families = ("localhost", 1).to_socket_addrs().map(|all| all.filter(SocketAddr::is_ipv6));
    if families.map_or(0, Iterator::count) == 0 {
        return skipped::because("localhost has one family on this host");
    }
    alone(async |_| {
        let server = Server::saying("v4");
        let client = dialing().build().expect("good");
        for _ in 0..20 {
            let url = format!("http://localhost:{}/", server.port());
            assert_eq!(exchange(&client, &url).await, "v4");
        }
        let [began, failed] = connects();
        assert!((began, failed) == (21, 1) || (began, failed) == (20, 0), "{began} {failed}");
        assert_eq!(server.accepted(), 20);
    });
}

/// RFC 6874, 4: a zone never leaves this host.
#[tokio::test]
async fn zone_is_not_in_the_host_field() {
    if !has_ipv6() {
        return skipped::because("this host has no ::1");
    }
    let listener = TcpListener::bind("[::1]:0").await.expect("bind");
    let port = listener.local_addr().expect("bound").port();
    let client = Client::new();
    let first = fetch(&client, &format!("http://[::1%25lo]:{port}/"));
    let (stream, _) = within("a connection", listener.accept()).await.expect("accept");
    let mut peer = Peer::over(stream);
    let host = format!("[::1]:{port}");
    assert_eq!(peer.serve("1").await.field("host"), Some(&*host));
    done(first).await.expect("a body");
    let second = fetch(&client, &format!("http://[::1%lo]:{port}/"));
    assert_eq!(peer.serve("2").await.field("host"), Some(&*host), "the same connection");
    done(second).await.expect("a body");
    assert_eq!(only(&client).origin, format!("http://[::1%25lo]:{port}"));

    let request = client.get(format!("http://[::1%25nowhere]:{port}/")).send();
    let error = within("an answer", request).await.expect_err("no such interface");
    assert_eq!(error.stage(), At::Resolve, "{error}");
    let text = error.to_string();
    assert!(text.contains("zone \"nowhere\" of ::1: No such device"), "{text}");
    let request = client.get(format!("http://[fe80::1]:{port}/")).send();
    let text = within("an answer", request).await.expect_err("no zone").to_string();
    assert!(text.contains("needs a zone, as in http://[fe80::1%25eth0]/"), "{text}");
}

/// Two hosts have one address and port on two links.
#[test]
fn zones_are_different_hosts() {
    const SHARED: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0x77, 1);
    alone(async |namespace| {
        let run = |command: &str| namespace.run(command).map_err(|error| error.to_string());
        let made = run("ip link add here type veth peer name there")
            .and_then(|()| run("ip link set here up"))
            .and_then(|()| run("ip link set there up"))
            .and_then(|()| run("ip addr add fe80::77:1/64 dev here nodad"))
            .and_then(|()| run("ip addr add fe80::77:1/64 dev there nodad"));
        if let Err(error) = made {
            return skipped::because(&format!("a veth pair takes its kernel module: {error}"));
        }
        let client = Client::new();
        let mut port = 0;
        let mut listeners = Vec::new();
        for zone in ["here", "there"] {
            let index = nix::net::if_::if_nametoindex(zone).expect("an interface");
            let address = SocketAddrV6::new(SHARED, port, 0, index);
            let listener = TcpListener::bind(SocketAddr::from(address)).await.expect("bind");
            port = listener.local_addr().expect("bound").port();
            listeners.push(listener);
        }
        for (zone, listener) in ["here", "there"].into_iter().zip(&listeners) {
            for spelling in ["%25", "%"] {
                let url = format!("http://[fe80::77:1{spelling}{zone}]:{port}/");
                let asked = fetch(&client, &url);
                if spelling == "%25" {
                    let accepted = within(zone, listener.accept()).await.expect("accept");
                    let mut peer = Peer::over(accepted.0);
                    let request = peer.serve(zone).await;
                    let host = format!("[fe80::77:1]:{port}");
                    assert_eq!(request.field("host"), Some(&*host));
                    tokio::spawn(async move { peer.serve(zone).await });
                }
                assert_eq!(done(asked).await.expect("a body"), zone);
            }
        }
        assert_eq!(client.stats().total.opened, 2, "one connection for each zone");
    });
}
