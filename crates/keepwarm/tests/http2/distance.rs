//! A stream over a long way: a round trip of 50 ms, on a wire between two network namespaces. A
//! measurement, and so not part of the tests: `just bench-distance`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use keepwarm::Client;
use keepwarm::connect::Destination;
use keepwarm_testkit::wire::{Conditions, Wire};

const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Bytes before the measured ones: TCP begins slowly.
const FIRST: usize = 128 << 20;
const MEASURED: usize = 256 << 20;
/// A part of the 84 MB/s that 4 MiB in each round trip make.
const LEAST_MB_PER_S: f64 = 60.0;

#[test]
#[ignore = "a measurement: just bench-distance"]
fn distance_leaves_a_stream_its_speed() {
    let wire = Wire::lay().expect("root, and /dev/net/tun");
    wire.server.set("tcp_wmem", "4096 16384 16777216").expect("a setting");
    wire.set(Conditions::delay(ROUND_TRIP / 2).with_room(1 << 14));
    let address = SocketAddr::new(wire.server_ip(false), 0);
    let listener = wire.server.inside(|| TcpListener::bind(address)).expect("a port");
    let address = listener.local_addr().expect("an address");
    listener.set_nonblocking(true).expect("set");
    std::thread::spawn(|| runtime().block_on(serve(listener)));
    let connector = tower::service_fn(move |_: Destination| {
        std::future::ready(TcpStream::connect(address).and_then(|stream| {
            stream.set_nonblocking(true)?;
            tokio::net::TcpStream::from_std(stream)
        }))
    });
    // Sockets are made by this thread, which stays in the client's namespace.
    wire.client.enter().expect("a namespace");
    let rate = runtime().block_on(async move {
        let client = Client::builder().http2_prior_knowledge().connector(connector);
        let client = client.build().expect("a client");
        let mut response = client.get("http://far.test/").send().await.expect("a response");
        let (mut read, mut began) = (0, None);
        while let Some(frame) = response.body_mut().frame().await {
            read += frame.expect("a frame").data_ref().map_or(0, Bytes::len);
            if read >= FIRST && began.is_none() {
                began = Some((read, Instant::now()));
            }
        }
        let (before, began) = began.expect("a long body");
        (read - before) as f64 / 1e6 / began.elapsed().as_secs_f64()
    });
    println!("{rate:.1} MB/s on one stream, over a round trip of {ROUND_TRIP:?}");
    assert!(rate >= LEAST_MB_PER_S, "{rate:.1} MB/s");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Answers each request with a long body, as fast as its window allows.
async fn serve(listener: TcpListener) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let part = Bytes::from(vec![0; 1 << 20]);
    while let Ok((socket, _)) = listener.accept().await {
        socket.set_nodelay(true).expect("set");
        let mut connection = h2::server::handshake(socket).await.expect("a handshake");
        let part = part.clone();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let mut stream = respond.send_response(http::Response::new(()), false).expect("sent");
            let part = part.clone();
            tokio::spawn(async move {
                let mut left = FIRST + MEASURED;
                while left > 0 {
                    stream.reserve_capacity(part.len().min(left));
                    let granted = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
                    let Some(Ok(granted)) = granted else { return };
                    let granted = granted.min(part.len()).min(left);
                    left -= granted;
                    let sent = stream.send_data(part.slice(..granted), left == 0);
                    sent.expect("it is within the window");
                }
            });
        }
    }
}
