//! One request, one line. `cargo run --example get -- http://127.0.0.1:8081/data`
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: get URL")?;
    // The process has one client for these calls, so a second call finds the connection of the first.
    // The timeout covers waiting, connecting, redirects and the body.
    let reply = keepwarm::get(&url, Duration::from_secs(5)).await?;
    println!("{} {} bytes", reply.status, reply.body.len());
    Ok(())
}
