//! Measures the memory of a load over many requests: `just load-memory`, or
//! `cargo run --release -p keepwarm-load --example memory -- [REQUESTS] [CONNECTIONS]`.
//!
//! The server is a process of its own (this program again), so that the output is the resident
//! memory of the loader alone. Fails if the memory grows by more than a tenth between the first
//! tenth of the requests and the end, or beyond 50 MB.
#![allow(clippy::print_stdout, reason = "an example's output")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use keepwarm_load::{Plan, Run};

const LIMIT_KB: u64 = 50 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return serve();
    }
    let number = |index: usize, default: u64| {
        arguments.get(index).map_or(Ok(default), |text| text.replace('_', "").parse())
    };
    let (requests, connections) = (number(0, 10_000_000)?, number(1, 100)?);
    let mut server = Command::new(std::env::current_exe()?)
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut url = String::new();
    BufReader::new(server.stdout.take().ok_or("no stdout")?).read_line(&mut url)?;
    let result = load(url.trim(), requests, usize::try_from(connections)?);
    // Its standard input ends with its handle, which ends the server.
    drop(server.stdin.take());
    server.wait()?;
    result
}

fn load(url: &str, requests: u64, connections: usize) -> Result<(), Box<dyn std::error::Error>> {
    let run = Run::start(Plan::builder(url).requests(requests).concurrency(connections).build()?)?;
    println!("{:>12}  resident", "requests");
    let mut printed = 0;
    let mut early = None;
    while !run.wait_at_most(Duration::from_millis(20)) {
        let done = run.progress().completed;
        if done * 10 / requests > printed {
            printed = done * 10 / requests;
            let resident = resident_kb()?;
            early.get_or_insert(resident);
            println!("{done:>12}  {resident} kB");
        }
    }
    let summary = run.wait();
    summary.check()?;
    let resident = resident_kb()?;
    println!("{:>12}  {resident} kB at the end, in {:.1?}", summary.completed, summary.elapsed);
    let early = early.unwrap_or(resident);
    if resident > LIMIT_KB || resident > early + early / 10 {
        return Err(format!("it grew from {early} kB to {resident} kB").into());
    }
    Ok(())
}

/// Returns VmRSS of this process.
fn resident_kb() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// Answers every request on 127.0.0.1 until standard input ends.
fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("http://{}/", listener.local_addr()?);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || answer(stream));
        }
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Sends a response for each request. A request of the loader is one segment, and one read.
fn answer(mut stream: TcpStream) {
    let mut request = [0; 4096];
    while let Ok(1..) = stream.read(&mut request) {
        let response =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";
        if stream.write_all(response).is_err() {
            return;
        }
    }
}
