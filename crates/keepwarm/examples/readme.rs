//! The lines that the README shows. `tests/suite/readme.rs` compares them.
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::time::Duration;

#[tokio::main(flavor = "current_thread")]
async fn main() -> keepwarm::Result<()> {
    // One process-wide client, one line; the timeout covers connecting, redirects and the body.
    let reply = keepwarm::get("http://127.0.0.1:8081/data", Duration::from_millis(100)).await?;
    println!("{}", reply.status);

    // A client of your own. Clones share the pool.
    let client = keepwarm::Client::builder().max_connections_per_origin(200).build()?;
    let response = client.get("http://127.0.0.1:8081/data").send().await?;
    println!("{:?}", response.connection()); // id, reused or new, idle age, time waited
    println!("{:#?}", client.stats()); // by origin and in total: opened, idle, reused, closed by whom
    println!("{:?}", client.explain("http://127.0.0.1:8081")); // what is wrong, in words, and what to set
    println!("{:?}", keepwarm::warnings()); // clients built for each request, bodies left unread
    Ok(())
}
