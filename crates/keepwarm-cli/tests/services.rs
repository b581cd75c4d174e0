//! The experiment's services, run by hand.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use common::{Service, dead_port, exchange, finish, keepwarm, run, wait};

#[test]
fn data_service_answers_its_route() {
    let data = Service::start(&["data"]);
    let answer = exchange(data.address, "GET", "/data");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\nData OK."), "{answer}");
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = exchange(data.address, method, "/data");
        assert!(answer.starts_with("HTTP/1.1 405 "), "{method}: {answer}");
        assert!(answer.to_lowercase().contains("\r\nallow: get"), "{method}: {answer}");
    }
    for path in ["/", "/data/", "/other"] {
        assert!(exchange(data.address, "GET", path).starts_with("HTTP/1.1 404 "), "{path}");
    }
}

#[test]
fn every_policy_returns_upstream_body() {
    let data = Service::start(&["data"]);
    for policy in ["per-request", "go-default", "tuned", "keepwarm"] {
        let upstream = data.url("/data");
        let front = Service::start(&["front", "--upstream", &upstream, "--client", policy]);
        let answer = exchange(front.address, "GET", "/stresstest");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{policy}: {answer}");
        assert!(answer.ends_with("\r\n\r\nData OK."), "{policy}: {answer}");
        let account = exchange(front.address, "GET", "/account");
        let expected = format!("{{\"policy\":\"{policy}\",\"opened\":1,\"reused\":0,");
        assert!(account.contains(&expected), "{policy}: {account}");
    }
}

#[test]
fn dead_upstream_is_502_with_cause() {
    let upstream = format!("http://127.0.0.1:{}/data", dead_port());
    let front = Service::start(&["front", "--upstream", &upstream]);
    let answer = exchange(front.address, "GET", "/stresstest");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("connecting failed"), "{answer}");
    assert!(answer.contains("Connection refused"), "{answer}");
}

#[test]
fn failing_upstream_is_502_with_status() {
    let data = Service::start(&["data"]);
    let front = Service::start(&["front", "--upstream", &data.url("/nothing-here")]);
    let answer = exchange(front.address, "GET", "/stresstest");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.ends_with("upstream answered 404\n"), "{answer}");
}

#[test]
fn silent_upstream_is_504() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("http://{}/data", silent.local_addr().unwrap());
    let front = Service::start(&["front", "--upstream", &upstream]);
    let answer = exchange(front.address, "GET", "/stresstest");
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains("timed out"), "{answer}");
}

#[test]
fn services_stop_on_sigint_and_sigterm() {
    for signal in ["INT", "TERM"] {
        let mut data = Service::start(&["data"]);
        // A connection that is kept open must not keep the service from stopping.
        let mut idle = TcpStream::connect(data.address).unwrap();
        idle.write_all(b"GET /data HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        let mut first = [0; 12];
        idle.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        data.signal(signal);
        let status = wait(&mut data.child).expect("it stops");
        assert!(status.success(), "{signal}: {status}");
    }
}

#[test]
fn taken_port_is_named_with_hint() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    run(keepwarm().args(["serve", "data", "--listen", &address]))
        .exits_with(5)
        .says(&format!("cannot listen on {address}: the port is taken"))
        .says("--listen 127.0.0.1:0");
}

/// A head that comes byte by byte ends its connection; one that idles between requests is kept.
#[test]
fn slow_heads_are_ended() {
    let data = Service::start(&["data"]);
    let ask = |stream: &mut TcpStream| {
        stream.write_all(b"GET /data HTTP/1.1\r\nHost: test\r\n\r\n").expect("open");
        let mut answer = [0; 4096];
        let count = stream.read(&mut answer).expect("an answer");
        assert!(answer[..count].starts_with(b"HTTP/1.1 200 "), "{:?}", &answer[..count]);
    };
    let mut kept = TcpStream::connect(data.address).expect("it listens");
    ask(&mut kept);
    let mut slow: Vec<_> =
        (0..20).map(|_| TcpStream::connect(data.address).expect("it listens")).collect();
    let began = std::time::Instant::now();
    for stream in &mut slow {
        stream.write_all(b"GET /data HTTP/1.1\r\nX: ").expect("open");
    }
    let mut open = slow.len();
    while open > 0 && began.elapsed() < Duration::from_secs(30) {
        // The server's own time limit is the subject.
        std::thread::sleep(Duration::from_millis(100));
        // A write after the server's close is answered by a reset, and the next one fails.
        slow.retain_mut(|stream| stream.write_all(b"x").is_ok());
        open = slow.len();
    }
    assert_eq!(open, 0, "slow connections are open after {:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(4), "{:?}", began.elapsed());
    ask(&mut kept);
}

/// A service that does not accept, because it is stopped: the kernel does, for as many as may queue.
#[test]
fn listen_queue_is_the_hosts_maximum() {
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let many = allowed.trim().parse::<usize>().unwrap().min(300);
    let data = Service::start(&["data"]);
    data.signal("STOP");
    // One that finds no place is tried again and again, and not refused.
    let patience = Duration::from_secs(20);
    let waiting: Vec<_> =
        (0..many).map_while(|_| TcpStream::connect_timeout(&data.address, patience).ok()).collect();
    assert_eq!(waiting.len(), many);
}

#[test]
fn bad_upstream_url_fails_at_start() {
    for (upstream, why) in [
        ("not a url", "is not a URL"),
        ("ftp://127.0.0.1/data", "scheme ftp is not supported"),
        ("/data", "no scheme"),
    ] {
        run(keepwarm().args(["serve", "front", "--listen", "127.0.0.1:0", "--upstream", upstream]))
            .exits_with(2)
            .says(why);
    }
}

#[test]
fn service_stops_with_its_starter() {
    let mut child = keepwarm()
        .args(["serve", "data", "--listen", "127.0.0.1:0", "--stop-with-stdin"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    finish(child).exits_with(0);
}
