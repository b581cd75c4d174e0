//! `load --http2` as people type it: by prior knowledge, by ALPN, and at servers that do not speak it.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};

use common::nginx::Nginx;
use common::{Output, Service, keepwarm, run};
use serde_json::Value;

fn load(options: &[&str], url: &str) -> Output {
    run(keepwarm().args(["load", "--http2"]).args(options).arg(url))
}

#[test]
fn prior_knowledge_has_streams_in_every_output() {
    let data = Service::start(&["data"]);
    let url = data.url("/data");
    let options = ["-n", "400", "-c", "2", "-t", "1", "--streams", "20"];
    let asserted = [
        "--assert=streams.at_once.max==20",
        "--assert=streams.refused==0",
        "--assert=streams.goaway==0",
        "--assert=conn.opened==2",
    ];
    let text = load(&[&options[..], &asserted].concat(), &url);
    let said = &text.exits_with(0).stdout;
    assert!(said.contains("2 connections of HTTP/2, 20 requests at once on each"), "{said}");
    assert!(said.contains("\nstreams at once "), "{said}");
    let json = load(&[&options[..], &["--format", "json"]].concat(), &url);
    let record: Value = serde_json::from_str(&json.exits_with(0).stdout).expect("JSON");
    assert_eq!(record["settings"]["streams"], 20);
    assert_eq!(record["requests"]["completed"], 400);
    let connections = &record["connections"];
    assert_eq!((&connections["opened"], &connections["reused"]), (&2.into(), &398.into()));
    assert_eq!(connections["streams"]["at_once"]["max"], 20, "{connections}");
    load(&[&options[..], &["--assert", "streams.at_once.max<20"]].concat(), &url)
        .exits_with(10)
        .says("streams.at_once.max<20 does not hold: it is 20");
}

/// The kernel sees segments, the load its streams: the hop has the load's count, and D12.
#[test]
fn watched_streams_are_d12() {
    let data = Service::start(&["data"]);
    let port = data.address.port().to_string();
    let options = ["-n", "600", "-c", "2", "-t", "1", "--streams", "20", "--watch", &port];
    let watched = |options: &[&str]| {
        let options = [options, &["--format", "json"]].concat();
        let json = load(&options, &data.url("/data"));
        let record: Value = serde_json::from_str(&json.exits_with(0).stdout).expect("JSON");
        record["hops"][0].clone()
    };
    let hop = watched(&options);
    assert_eq!((&hop["opened"], &hop["requests"]["total"]), (&2.into(), &600.into()), "{hop}");
    assert_eq!(
        (&hop["finding"]["code"], &hop["finding"]["healthy"]),
        (&"D12".into(), &true.into())
    );
    let summary = hop["finding"]["summary"].as_str().expect("a summary");
    assert!(summary.contains("600 requests of HTTP/2 on 2 connections"), "{summary}");
    assert!(summary.contains("up to 20 at once on each"), "{summary}");
    let advice = hop["finding"]["advice"].as_str().expect("advice");
    assert!(advice.contains("more streams on a connection"), "{advice}");
    let sides: Vec<_> = hop["findings"].as_array().expect("findings").iter().collect();
    assert!(sides.len() == 2 && sides.iter().all(|side| side["code"] == "D12"), "{hop}");
    // One stream at a time is as HTTP/1.1 is.
    let alone = watched(&["-n", "600", "-c", "2", "-t", "1", "--watch", &port]);
    assert_eq!(
        (&alone["finding"]["code"], &alone["requests"]["total"]),
        (&"healthy".into(), &600.into())
    );
}

#[test]
fn curl_line_chooses_http2() {
    let data = Service::start(&["data"]);
    let url = data.url("/data");
    let line = ["-n", "40", "-c", "2", "--streams", "5", "--", "curl", "--http2-prior-knowledge"];
    let output = run(keepwarm().arg("load").args(line).arg(&url));
    let said = &output.exits_with(0).stdout;
    assert!(said.contains("2 connections of HTTP/2, 5 requests at once on each"), "{said}");
}

#[test]
fn streams_without_http2_are_refused() {
    let url = "http://127.0.0.1:9/";
    run(keepwarm().args(["load", "--streams", "2", url])).exits_with(2).says("--http2");
    run(keepwarm().args(["load", "--assert", "streams.refused==0", url]))
        .exits_with(10)
        .says("HTTP/1.1 has no streams: give --http2");
    load(&["-z", "1s", "--abort-if", "streams.refused>1"], url).exits_with(2).says("use --assert");
    for (option, way_out) in [
        ("--streams=0", "--streams"),
        ("--streams=10001", "--streams"),
        ("--close", "--close and --http2"),
        ("--close-policy=wait-peer", "--close-policy"),
        ("--header=TE: gzip", "--header"),
    ] {
        load(&["-n", "1", option], url).exits_with(2).says(way_out);
    }
}

/// Answers each connection as a server that knows HTTP/1.1 alone.
fn http_1_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let answer =
                b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(answer).and_then(|()| stream.shutdown(Shutdown::Write));
            // A close with unread bytes would be a reset.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    address
}

#[test]
fn server_of_http_1_is_named() {
    let url = format!("http://{}/", http_1_server());
    let output = load(&["-n", "3", "-c", "1"], &url);
    output.exits_with(1).says("HTTP/1.1 400");
    assert!(output.stdout.contains("bad_framing"), "{}", output.stdout);
}

/// Starts nginx with TLS: one port that agrees on HTTP/2, and one that knows HTTP/1.1 alone.
fn nginx() -> Option<Nginx> {
    Nginx::start("http2", "no server agrees on HTTP/2 by ALPN", |[both, old], certificate| {
        let server = |listen: String| {
            format!(
                "server {{ listen 127.0.0.1:{listen}; {certificate} location / {{ return 200 ok; }} }} "
            )
        };
        server(format!("{both} ssl http2")) + &server(format!("{old} ssl"))
    })
}

#[test]
fn alpn_agrees_or_names_the_server() {
    let Some(nginx) = nginx() else { return };
    let ([both, old], authority) = (nginx.ports, nginx.authority());
    let authority = ["--ca-cert", authority.to_str().expect("plain")];
    // The second example of docs/loading.md, at a server that there is.
    let page = format!("{}/../../docs/loading.md", env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(page).expect("a page");
    let example = page.lines().find_map(|line| {
        let options = line.strip_prefix("keepwarm load --http2 ")?;
        options.strip_suffix(" https://service.test/")
    });
    let example = example.expect("an example").replace("-z 10s", "-z 1s").replace('\'', "");
    let options: Vec<&str> = example.split_whitespace().chain(authority).collect();
    let output = load(&options, &format!("https://localhost:{}/", both));
    let code = output.status.code().expect("it ends");
    assert!([0, 4].contains(&code), "late on a busy machine: {} {}", output.stdout, output.stderr);
    assert!(output.stdout.contains("answered 200"), "{}", output.stdout);
    assert!(output.stdout.contains("holds  streams.refused==0"), "{}", output.stdout);
    let few = [&authority[..], &["-n", "20", "-c", "1", "--streams", "4"]].concat();
    let json =
        load(&[&few[..], &["--format", "json"]].concat(), &format!("https://localhost:{}/", both));
    let record: Value = serde_json::from_str(&json.exits_with(0).stdout).expect("JSON");
    assert_eq!(record["handshake_us"]["count"], 1, "{record}");
    assert_eq!(record["connections"]["streams"]["at_once"]["max"], 4, "{record}");
    let old = load(&few, &format!("https://localhost:{}/", old));
    old.exits_with(1).says("the server did not choose HTTP/2 in the TLS handshake (ALPN h2)");
}
