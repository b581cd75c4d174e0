//! Connections from an address that the client was given.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use keepwarm::connect::{Destination, Name};
use keepwarm::{Client, ClientBuilder, Stage as At};
use keepwarm_testkit::scripted::{Server, Stage, within};
use tokio::net::TcpStream;
use tower::service_fn;

use crate::support::{assert_at_rest, done, exchange, get, only};

fn from(address: &str) -> ClientBuilder {
    Client::builder().local_address(address.parse::<IpAddr>().expect("an address"))
}

#[tokio::test]
async fn connections_come_from_the_local_address() {
    let stage = Stage::open().await;
    let client = from("127.0.0.8").build().expect("good");
    let request = get(&client, &stage.url("/"));
    let mut peer = stage.accept().await;
    assert_eq!(peer.client().ip(), IpAddr::from([127, 0, 0, 8]));
    peer.serve("").await;
    done(request).await.expect("a response");
}

#[tokio::test]
async fn other_address_family_is_not_tried() {
    let server = Server::saying("by IPv4");
    let port = server.port();
    let resolver = service_fn(move |_: Name| async move {
        let unreached = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
        Ok::<_, Infallible>([unreached, SocketAddr::from(([127, 0, 0, 1], port))])
    });
    let client = from("0.0.0.0").resolver(resolver).build().expect("good");
    assert_eq!(exchange(&client, "http://both.test/").await, "by IPv4");

    let client = from("::1").build().expect("good");
    let error = within("an answer", client.get(server.url("/")).send()).await.expect_err("none");
    assert_eq!(error.stage(), At::Connect);
    let words = "127.0.0.1 has no IPv6 address, and local_address is ::1";
    assert!(error.to_string().contains(words), "{error}");
}

/// 192.0.2.0/24 is nobody's (RFC 5737).
#[tokio::test]
async fn foreign_local_address_fails_by_name() {
    let server = Server::saying("x");
    let client = from("192.0.2.1").build().expect("good");
    let error = within("an answer", client.get(server.url("/")).send()).await.expect_err("none");
    assert_eq!(error.stage(), At::Connect);
    let place = format!("127.0.0.1:{} from 192.0.2.1: ", server.port());
    assert!(error.to_string().contains(&place), "{error}");
    let kind = error.io_error().map(std::io::Error::kind);
    assert_eq!(kind, Some(std::io::ErrorKind::AddrNotAvailable));
    assert_at_rest(&only(&client));
}

/// Also settings that contradict it.
#[test]
fn unusable_local_address_is_rejected() {
    let refused = |builder: ClientBuilder| {
        let error = builder.build().expect_err("refused");
        assert!(error.is_invalid(), "{error}");
        error.to_string()
    };
    for address in ["224.0.0.1", "ff02::1", &Ipv4Addr::BROADCAST.to_string()] {
        assert!(refused(from(address)).contains(&format!("local_address is {address}: ")));
    }
    let connector = service_fn(|_: Destination| TcpStream::connect("127.0.0.1:1"));
    let builder = from("127.0.0.1").connector(connector);
    assert!(refused(builder).contains("local_address is set beside connector"));
    #[cfg(unix)]
    assert!(
        refused(from("127.0.0.1").unix_socket("/a"))
            .contains("local_address is set beside unix_socket")
    );
}
