//! Hears the events of a client: each connection opened and closed, with reason and closer.
//! `cargo run --example observer -- http://127.0.0.1:8081/data`
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use keepwarm::{Client, Event, EventKind};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: observer URL")?;
    // An observer runs in the middle of a request: it must be quick, or hand over to a channel.
    let observer = |event: Event| match event.kind {
        EventKind::ConnectionClosed { reason, closer, age, .. } => {
            println!("closed by {} after {age:?}: {}", closer.name(), reason.name());
        }
        kind => println!("{:?} {kind:?}", event.at),
    };
    let client = Client::builder().observer(observer).build()?;
    let response = client.get(&url).send().await?;
    println!("{}", response.status());
    response.bytes().await?;
    client.close_idle();
    Ok(())
}
