//! Reaches every origin through one port, as that of a sidecar, by a connector of its own.
//! `cargo run --example connector -- 127.0.0.1:8081 http://data.internal/data`
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use keepwarm::Client;
use keepwarm::connect::Destination;
use tokio::net::TcpStream;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: connector ADDRESS URL";
    let mut arguments = std::env::args().skip(1);
    let sidecar = arguments.next().ok_or(usage)?;
    let url = arguments.next().ok_or(usage)?;
    // Called once for each connection, not for each request. Any tokio stream will do.
    let connector = tower::service_fn(move |to: Destination| {
        let sidecar = sidecar.clone();
        async move {
            println!("connecting for {to}");
            TcpStream::connect(sidecar).await
        }
    });
    let client = Client::builder().connector(connector).build()?;
    for _ in 0..3 {
        let response = client.get(&url).send().await?;
        println!("{} on connection {}", response.status(), response.connection().id());
        response.bytes().await?;
    }
    Ok(())
}
