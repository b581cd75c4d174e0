//! `load --serve`: the page of a running load over plain sockets. `page.rs` has it in a browser.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Stdio};

use common::{PATIENCE, Service, keepwarm, kill, run, until};
use serde_json::Value;

/// A load that serves its page.
struct Serving {
    child: Child,
    address: SocketAddr,
    stderr: BufReader<ChildStderr>,
}

impl Serving {
    fn start(arguments: &[&str], url: &str) -> Self {
        let mut command = keepwarm();
        command.args(["load", "--serve", "127.0.0.1:0", "-c", "4"]).args(arguments).arg(url);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the load starts");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        let address = line.strip_prefix("listening on http://").map(str::trim);
        let address = address.and_then(|text| text.trim_end_matches('/').parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Self { child, address, stderr }
    }

    fn get(&self, path: &str) -> Option<(String, String)> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
    }

    fn ask(&self, request: &str) -> Option<(String, String)> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut response = String::new();
        stream.read_to_string(&mut response).ok()?;
        let (head, body) = response.split_once("\r\n\r\n")?;
        Some((head.lines().next()?.to_owned(), body.to_owned()))
    }

    /// The record in the page.
    fn record(&self) -> Value {
        let (_, part) = self.get("/now").expect("a part");
        let data = part.split("id=\"record-0\">").nth(1).expect("a record");
        let data = data.split("</script>").next().expect("its end");
        serde_json::from_str(data).expect("JSON")
    }

    fn state(&self) -> Option<Value> {
        serde_json::from_str(&self.get("/state")?.1).ok()
    }

    /// Waits for the end of the load, and returns its exit code.
    fn end(mut self) -> i32 {
        let mut rest = String::new();
        let _ = self.stderr.read_to_string(&mut rest);
        let status = common::wait(&mut self.child).expect("it ends");
        status.code().unwrap_or_else(|| panic!("ended by a signal: {rest}"))
    }
}

#[test]
fn page_follows_the_load_to_its_end() {
    let data = Service::start(&["data"]);
    let port = data.address.port().to_string();
    let url = data.url("/data?a='b'");
    let arguments = ["-z", "10m", "--watch", &port, "--label", "commit=12", "-u", "me:hush"];
    let serving = Serving::start(&arguments, &url);
    let completed = |record: &Value| record["requests"]["completed"].as_u64().unwrap_or(0);
    // The kernel's part may be sampled after the load's own.
    let has_begun = |record: &Value| completed(record) > 0 && record["hops"][0]["opened"] == 4;
    assert!(until(|| has_begun(&serving.record())), "{}", serving.record());
    let first = serving.record();
    assert_eq!(first["labels"]["commit"], "12");
    let seconds = first["timeline"]["slices"].as_array().expect("slices").len();
    assert!(seconds > 0 && first["elapsed_s"].as_f64() > Some(0.0), "{first}");
    assert!(until(|| completed(&serving.record()) > completed(&first)), "it is renewed");
    let (status, page) = serving.get("/").expect("a page");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!(page.matches("connect-src 'self'").count(), 1, "and nowhere else");
    assert!(page.contains("default-src 'none'") && !page.contains("hush"), "{page}");
    assert!(page.contains("a=&#39;b&#39;"), "texts are escaped");
    assert_eq!(serving.get("/else").expect("an answer").0, "HTTP/1.1 404 Not Found");
    let post = "POST /now HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(serving.ask(post).expect("an answer").0, "HTTP/1.1 405 Method Not Allowed");
    kill(serving.child.id(), "INT");
    // A browser that has asked lately has time to ask for the end.
    assert!(until(|| serving.state().is_some_and(|state| state["over"] == true)));
    let last = serving.record();
    assert_eq!(last["stopped"], "cancelled", "{last}");
    assert_eq!(last["requests"]["completed"], last["latency_us"]["count"], "{last}");
    assert_eq!(serving.end(), 130);
}

#[test]
fn page_follows_the_drain() {
    let data = Service::start(&["data"]);
    let port = data.address.port().to_string();
    let arguments = ["-n", "40", "--close", "--watch", &port, "--drain", "10m"];
    let serving = Serving::start(&arguments, &data.url("/data"));
    let samples = |hop: &Value| hop["samples"].as_array().map_or(0, Vec::len);
    let draining =
        || Some(serving.record()["hops"][0].clone()).filter(|hop| !hop["drain"].is_null());
    assert!(until(|| draining().is_some()), "{}", serving.record());
    let first = draining().expect("a drain");
    assert_eq!(serving.state().expect("a state")["over"], false);
    let left = &first["drain"]["left"];
    assert!(left["client"].as_u64().max(left["server"].as_u64()) > Some(0), "{first}");
    let part = serving.get("/now").expect("a part").1;
    assert!(
        part.contains("The load has ended") && part.contains("data-chart=\"sockets\""),
        "{part}"
    );
    assert!(
        until(|| draining().is_some_and(|hop| samples(&hop) > samples(&first))),
        "it is renewed"
    );
    kill(serving.child.id(), "INT");
    assert!(until(|| serving.state().is_some_and(|state| state["over"] == true)));
    let last = serving.record();
    assert_eq!(last["requests"]["completed"], 40, "{last}");
    assert!(samples(&last["hops"][0]) > samples(&first));
    let _ = serving.end();
}

#[test]
fn page_without_readers_costs_no_time() {
    let data = Service::start(&["data"]);
    let serving = Serving::start(&["-n", "40"], &data.url("/data"));
    assert_eq!(serving.end(), 0);
}

#[test]
fn page_that_cannot_be_served_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let refused = run(keepwarm().args(["load", "--serve", &address, "http://127.0.0.1:9/"]));
    refused.exits_with(5).says("the port is taken").says("--serve 127.0.0.1:0");
    for other in ["--find=p99<1s", "--one"] {
        let arguments = ["load", "--serve", "127.0.0.1:0", other, "http://127.0.0.1:9/"];
        run(keepwarm().args(arguments)).exits_with(2).says("--serve");
    }
    let fleet = ["load", "--fleet-check", "--serve", "127.0.0.1:0", "http://127.0.0.1:9/"];
    run(keepwarm().args(fleet)).exits_with(2).says("--serve belongs to one machine");
}
