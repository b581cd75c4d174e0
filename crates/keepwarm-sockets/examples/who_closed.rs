//! Watches a port and says which side closed its connections first, for any user.
//! `cargo run --example who_closed -- 8081 10` (port, seconds)
#![allow(clippy::print_stdout, reason = "an example for a terminal")]

use std::time::Duration;

use keepwarm_sockets::{Scope, Watch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or("usage: who_closed PORT [SECONDS]")?.parse()?;
    let seconds: u64 = arguments.next().as_deref().unwrap_or("10").parse()?;
    let watch = Watch::start(Scope::of_port(port))?;
    std::thread::sleep(Duration::from_secs(seconds));
    // Sockets that are closing now get a moment to finish.
    let report = watch.finish(Duration::from_millis(200))?;
    if report.destinations.is_empty() {
        println!("no connection of port {port} in {seconds} s");
    }
    for destination in &report.destinations {
        // Without an address: the quietest destinations of a crowd, folded into one.
        let service = destination.service.map_or("others".to_owned(), |at| at.to_string());
        println!("{service} ({:?})", destination.side);
        println!("  opened {}, alive {}", destination.opened, destination.alive);
        println!("  closed {:?}", destination.closed);
    }
    println!("events lost by the kernel: {}", report.lost_events);
    Ok(())
}
