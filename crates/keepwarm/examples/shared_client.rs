//! One client for a whole service: twenty tasks share its pool.
//! `cargo run --example shared_client -- http://127.0.0.1:8081/data`
#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use keepwarm::Client;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).ok_or("usage: shared_client URL")?;
    let client = Client::builder().max_connections_per_origin(10).build()?;
    let mut tasks = JoinSet::<keepwarm::Result<()>>::new();
    for _ in 0..20 {
        // A clone is a handle to one pool. A client built in here would be a pool for each task.
        let (client, url) = (client.clone(), url.clone());
        tasks.spawn(async move {
            for _ in 0..10 {
                let response = client.get(&url).send().await?;
                // A body that is read to its end gives the connection back.
                response.bytes().await?;
            }
            Ok(())
        });
    }
    while let Some(finished) = tasks.join_next().await {
        finished??;
    }
    println!("200 requests over {} connections", client.stats().total.opened);
    Ok(())
}
