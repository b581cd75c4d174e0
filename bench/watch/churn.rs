//! Opens and closes connections on loopback at a given rate: the work beside which a watch is
//! measured. Built by `bench-watch` with rustc alone.
//!
//! churn PORT RATE SECONDS THREADS. Each thread has a service of its own, 127.0.0.N:PORT, connects,
//! accepts, and closes the client's end first. Prints how many connections it made, in how long,
//! and how long one took of a processor.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Connections are made in bursts of as many as are due, and not more often than this.
const TICK: Duration = Duration::from_millis(1);

fn main() {
    let numbers: Vec<u64> =
        std::env::args().skip(1).map(|word| word.parse().expect("a number")).collect();
    let [port, rate, seconds, threads] = numbers[..] else {
        panic!("churn PORT RATE SECONDS THREADS");
    };
    let port = u16::try_from(port).expect("a port");
    let begun = Instant::now();
    let workers: Vec<_> = (1..=threads)
        .map(|number| {
            let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, number as u8), port)).expect("a port");
            let due = rate * seconds / threads;
            let per_second = rate as f64 / threads as f64;
            std::thread::spawn(move || (churn(&listener, due, per_second), cpu_ns()))
        })
        .collect();
    let (mut made, mut cpu) = (0, 0);
    for worker in workers {
        let (one, ns) = worker.join().expect("a worker");
        made += one;
        cpu += ns;
    }
    let wall = begun.elapsed().as_secs_f64();
    let cpu_us = cpu as f64 / 1e3 / made.max(1) as f64;
    println!("{{\"connections\": {made}, \"seconds\": {wall:.3}, \"cpu_us\": {cpu_us:.2}}}");
}

fn churn(listener: &TcpListener, due: u64, per_second: f64) -> u64 {
    let address = listener.local_addr().expect("an address");
    let begun = Instant::now();
    let mut made = 0;
    while made < due {
        let now = (begun.elapsed().as_secs_f64() * per_second) as u64;
        while made < now.min(due) {
            let client = TcpStream::connect(address).expect("a connection");
            let (server, _) = listener.accept().expect("its other end");
            drop(client);
            drop(server);
            made += 1;
        }
        if made < due {
            std::thread::sleep(TICK);
        }
    }
    made
}

/// Returns the processor time this thread has used, in nanoseconds.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("its times");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}
