//! Opens and closes connections at a given rate: the work beside which a watch is measured. Built by
//! `bench-watch` and `bench-netns` with rustc alone.
//!
//! * `churn PORT RATE SECONDS THREADS`: each thread has a service of its own, 127.0.0.N:PORT, connects,
//!   accepts, and closes the client's end first.
//! * `churn connect ADDRESS RATE SECONDS`: connects to a service and closes first.
//! * `churn accept ADDRESS`: is such a service, and says so in a line.
//!
//! The first two print how many connections they made, in how long, and how long one took of a
//! processor.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Connections are made in bursts of as many as are due, and not more often than this.
const TICK: Duration = Duration::from_millis(1);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["accept", address] => accept(address.parse().expect("an address")),
        ["connect", address, rate, seconds] => {
            let address: SocketAddr = address.parse().expect("an address");
            let (rate, seconds) = (number(rate), number(seconds));
            report(1, move |_| pace(rate, seconds, || drop(connect(address))));
        }
        [port, rate, seconds, threads] => {
            let (threads, port) = (number(threads), number(port) as u16);
            let (rate, seconds) = (number(rate) / threads, number(seconds));
            report(threads as u8, move |thread| {
                let address = (Ipv4Addr::new(127, 0, 0, thread), port);
                let listener = TcpListener::bind(address).expect("a port");
                pace(rate, seconds, || {
                    let client = connect(address.into());
                    let (server, _) = listener.accept().expect("its other end");
                    drop(client);
                    drop(server);
                })
            });
        }
        _ => panic!("churn PORT RATE SECONDS THREADS | connect ADDRESS RATE SECONDS | accept ADDRESS"),
    }
}

fn number(word: &str) -> f64 {
    word.parse().expect("a number")
}

fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).expect("a connection")
}

/// Accepts, and closes each connection after its client.
fn accept(address: SocketAddr) {
    let listener = TcpListener::bind(address).expect("a port");
    println!("accepting");
    for stream in listener.incoming() {
        let mut stream = stream.expect("a connection");
        let _ = stream.read(&mut [0]);
    }
}

/// Runs `work` on threads of these numbers from 1 on, and prints what it made together.
fn report(threads: u8, work: impl Fn(u8) -> u64 + Clone + Send + 'static) {
    let begun = Instant::now();
    let workers: Vec<_> = (1..=threads)
        .map(|thread| {
            let work = work.clone();
            std::thread::spawn(move || (work(thread), cpu_ns()))
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

/// Calls `make` so many times a second. Returns how often it was called.
fn pace(per_second: f64, seconds: f64, mut make: impl FnMut()) -> u64 {
    let (begun, due) = (Instant::now(), (per_second * seconds) as u64);
    let mut made = 0;
    while made < due {
        let now = (begun.elapsed().as_secs_f64() * per_second) as u64;
        while made < now.min(due) {
            make();
            made += 1;
        }
        if made < due {
            std::thread::sleep(TICK.max(Duration::from_secs_f64(0.2 / per_second)));
        }
    }
    made
}

/// Returns the processor time of this thread.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("its times");
    text.split(' ').next().and_then(|first| first.parse().ok()).expect("a number")
}
