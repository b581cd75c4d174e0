//! A server that takes a known time for each request: the truth of a load is known before it runs.
//!
//! `server PORT THINK_US`: a thread a connection reads a request, sleeps THINK_US, and answers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<u64>().ok());
    let (Some(port), Some(think)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: server PORT THINK_US");
        std::process::exit(2);
    };
    let listener = TcpListener::bind(("127.0.0.1", port as u16)).expect("the port is free");
    println!("listening");
    for mut stream in listener.incoming().flatten() {
        let _ = stream.set_nodelay(true);
        std::thread::spawn(move || {
            let mut request = [0; 4096];
            while matches!(stream.read(&mut request), Ok(1..)) {
                std::thread::sleep(Duration::from_micros(think));
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
                if stream.write_all(answer).is_err() {
                    return;
                }
            }
        });
    }
}
