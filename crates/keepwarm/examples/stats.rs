//! Shows the statistics of a client, what it explains, and the warnings of the process.
//! `cargo run --example stats -- http://127.0.0.1:8081/data`
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use keepwarm::{Client, Closer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: stats URL")?;
    let client = Client::new();
    for _ in 0..10 {
        let response = client.get(&url).send().await?;
        let connection = response.connection();
        println!("connection {}, idle before for {:?}", connection.id(), connection.idle_age());
        response.bytes().await?;
    }
    let stats = client.stats();
    let total = &stats.total;
    println!("opened {}, idle {}, active {}", total.opened, total.idle, total.active);
    println!("closed by the server {}", total.closed_by(Closer::Server));
    // In words: which setting or habit costs connections to this origin, and what to change.
    println!("{:?}", client.explain(&url));
    println!("{:?}", keepwarm::warnings());
    Ok(())
}
