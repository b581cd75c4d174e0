//! `--watch PORT`: the kernel's account of what a load causes.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::nginx::Nginx;
use common::{Service, keepwarm, run};
use keepwarm_testkit::skipped;
use keepwarm_testkit::wire::Wire;
use serde_json::Value;

/// A front that calls a data service in one of the four ways.
struct Chain {
    data: Service,
    front: Service,
}

impl Chain {
    fn start(policy: &str) -> Self {
        let data = Service::start(&["data"]);
        let upstream = data.url("/data");
        // The timeout is not what is tested here, and a busy machine must not decide.
        let options = ["--upstream", &upstream, "--client", policy, "--upstream-timeout", "30s"];
        let front = Service::start(&[&["front"][..], &options].concat());
        Self { data, front }
    }

    fn load(&self, arguments: &[&str]) -> common::Output {
        let url = self.front.url("/stresstest");
        run(keepwarm().arg("load").args(arguments).arg(url))
    }

    fn data_port(&self) -> String {
        self.data.address.port().to_string()
    }
}

fn record(output: &common::Output) -> Value {
    serde_json::from_str(&output.stdout).expect("one JSON document and nothing else")
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

#[test]
fn hop_behind_the_target_is_counted() {
    let chain = Chain::start("per-request");
    let port = chain.data_port();
    let output = chain.load(&["-n", "500", "-c", "10", "--watch", &port, "--format", "json"]);
    let record = record(output.completes());
    let hop = &record["hops"][0];
    assert_eq!(hop["port"], chain.data.address.port());
    assert_eq!(hop["is_target"], false);
    assert_eq!(hop["opened"], 500, "{hop}");
    assert_eq!(hop["closed"]["client_fin"], 500, "{hop}");
    assert_eq!(hop["requests"]["total"], 500, "{hop}");
    assert_eq!(hop["finding"]["code"], "D1", "{hop}");
    let waits = &hop["time_wait"];
    assert_eq!(count(&waits["before"]["client"]), 0, "{hop}");
    assert!(count(&waits["peak"]["client"]) >= count(&waits["after"]["client"]), "{hop}");
    assert!(count(&waits["peak"]["client"]) > 0, "{hop}");
    assert_eq!(count(&waits["peak"]["server"]), 0, "the server never closes first: {hop}");
    assert!(count(&hop["ports"]["peak"]) >= count(&waits["peak"]["client"]), "{hop}");
    let forecast = &hop["ports"]["forecast"];
    assert!(forecast["closes_per_second"].as_f64().unwrap() > 0.0, "{hop}");
    assert!(hop["samples"].as_array().unwrap().len() >= 2, "before, and after at least: {hop}");
}

#[test]
fn assertions_reach_the_hops() {
    let chain = Chain::start("keepwarm");
    let port = chain.data_port();
    let assertions = [
        format!("hop.{port}.opened<=10"),
        format!("hop.{port}.time_wait.peak==0"),
        format!("hop.{port}.requests.mean>=50"),
        format!("hop.{port}.ports.share<1%"),
    ];
    let asserted = assertions.iter().flat_map(|one| ["--assert", one]);
    let arguments = ["-n", "500", "-c", "10", "--watch", &port].into_iter().chain(asserted);
    let output = chain.load(&arguments.collect::<Vec<_>>());
    let text = &output.exits_with(0).stdout;
    assert!(text.contains(&format!("\nport {port}\nconnections opened")), "{text}");
    assert!(text.contains("healthy: "), "{text}");
    let burned = format!("hop.{port}.requests.mean>500");
    chain
        .load(&["-n", "500", "-c", "10", "--watch", &port, "--assert", &burned])
        .exits_with(10)
        .says("does not hold");
    chain
        .load(&["-n", "10", "-c", "1", "--assert", &assertions[0]])
        .exits_with(10)
        .says(&format!("not available here: port {port} is not watched: give --watch {port}"));
}

#[test]
fn kernel_and_load_agree_on_target() {
    let data = Service::start(&["data"]);
    let port = data.address.port().to_string();
    for (arguments, opened) in
        [(&["-n", "300", "-c", "7"][..], 7), (&["-n", "300", "--close"], 300)]
    {
        let output = run(keepwarm()
            .arg("load")
            .args(arguments)
            .args(["--watch", &port, "--format", "json"])
            .arg(data.url("/data")));
        let record = record(output.completes());
        let (hop, ledger) = (&record["hops"][0], &record["connections"]);
        assert_eq!(hop["is_target"], true);
        assert_eq!((count(&hop["opened"]), count(&ledger["opened"])), (opened, opened), "{hop}");
        let closed = &hop["closed"];
        assert_eq!(count(&closed["server_fin"]), count(&ledger["peer_fin"]), "{hop}");
        assert_eq!(hop["closed_by_the_end"], ledger["still_open"], "{hop}");
        assert_eq!(hop["requests"]["total"], 300, "{hop}");
    }
}

/// Answers requests without a body on threads that end with their connections, and calls `then` before the answer
/// after so many.
fn serve(listener: TcpListener, count: u64, then: impl Fn() + Send + Sync + 'static) {
    let (answered, then) = (Arc::new(AtomicU64::new(0)), Arc::new(then));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (answered, then) = (Arc::clone(&answered), Arc::clone(&then));
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                while lines.by_ref().any(|line| line.is_empty()) {
                    if answered.fetch_add(1, Ordering::SeqCst) == count {
                        then();
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    if (&stream).write_all(answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// A peer falls silent in the midst of a load: its answers are lost, and later so are those to every
/// SYN. The load's own account, its hop and a watch beside it call it the same.
#[test]
fn silent_peer_is_timed_out_in_every_account() {
    let wire = match Wire::lay() {
        Ok(wire) => Arc::new(wire),
        Err(error) => return skipped::because(&format!("a wire takes root and a TUN: {error}")),
    };
    // The kernel gives up what a load has closed within seconds, not minutes.
    wire.hurry().unwrap();
    let address = SocketAddr::new(wire.server_ip(false), 0);
    let listener = wire.server.inside(|| TcpListener::bind(address)).unwrap();
    let (address, cut) = (listener.local_addr().unwrap(), Arc::clone(&wire));
    // Each connection has carried some requests by then.
    serve(listener, 60, move || cut.cut());
    let (url, port) = (format!("http://{address}/"), address.port().to_string());
    let mut watch = keepwarm();
    let filter = format!("dst :{port}");
    watch.args(["watch", &filter, "--level", "l1", "--format", "json"]);
    let mut load = keepwarm();
    load.args([
        "load",
        "-c",
        "3",
        "-r",
        "100",
        "-z",
        "7s",
        "--timeout",
        "300ms",
        "--format",
        "json",
    ]);
    load.args(["--watch", &port, &url]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let started = wire.client.inside(|| Ok((common::start_watch(&mut watch), load.spawn()?)));
    let (watch, load) = started.unwrap();
    let record = record(&common::finish(load));
    let watched = common::end_watch(watch);
    let (ledger, hop) = (&record["connections"], &record["hops"][0]);
    // A machine at rest needs one or two at once for this rate.
    let opened = count(&ledger["opened"]);
    assert!((1..=3).contains(&opened), "{ledger:#}");
    assert_eq!(count(&ledger["timed_out"]), opened, "{ledger:#}");
    assert!(count(&ledger["timed_out_connecting"]) > 0, "{ledger:#}");
    assert_eq!(ledger["balanced"], true, "{ledger:#}");
    let errors = record["errors"].as_array().unwrap().iter();
    let classes: Vec<&str> = errors.filter_map(|one| one["class"].as_str()).collect();
    assert!(
        classes.iter().all(|class| ["timeout", "connect_timeout"].contains(class)),
        "{classes:?}"
    );
    let destination = &watched["destinations"][0];
    for (whose, closed) in [("hop", &hop["closed"]), ("watch", &destination["closed"])] {
        let closed = closed.as_object().unwrap();
        for (how, many) in closed.iter().filter(|(how, _)| *how != "connect_failed") {
            let expected = if how == "timed_out" { opened } else { 0 };
            assert_eq!(count(many), expected, "{whose}: {how} of {closed:?}");
        }
    }
    let given_up = ["timed_out_connecting", "abandoned_connecting"].map(|one| count(&ledger[one]));
    assert_eq!(destination["closed"]["connect_failed"], given_up.iter().sum::<u64>(), "{ledger:#}");
    assert_eq!(hop["opened"], opened, "{hop:#}");
}

/// Starts nginx with TLS on one port, and before it in plain, with connections to the first that it keeps.
fn nginx() -> Option<Nginx> {
    Nginx::start("tls-hop", "no hop speaks TLS", |[secure, plain], certificate| {
        format!(
            "upstream behind {{ server 127.0.0.1:{secure}; keepalive 16; }}
             server {{ listen 127.0.0.1:{secure} ssl; {certificate} location / {{ return 200 ok; }} }}
             server {{
                 listen 127.0.0.1:{plain};
                 location / {{
                     proxy_pass https://behind; proxy_http_version 1.1;
                     proxy_set_header Connection \"\";
                 }}
             }}"
        )
    })
}

#[test]
fn tls_handshakes_are_not_requests() {
    let Some(nginx) = nginx() else { return };
    let [secure_port, plain_port] = nginx.ports;
    let (secure, plain) = nginx.ports.map(|port| port.to_string()).into();
    let watched = ["-n", "400", "-c", "4", "-t", "1", "--watch", &secure, "--watch", &plain];
    let behind = format!("http://127.0.0.1:{plain}/");
    let assertion = format!("hop.{secure}.requests<=400");
    let load = |options: &[&str], url: &str| {
        run(keepwarm().arg("load").args(watched).args(options).arg(url))
    };
    let output = load(&["--format", "json", "--assert", &assertion], &behind);
    output.exits_with(10).says("the port speaks TLS, whose handshakes look like requests");
    let unknown = record(&output);
    let hop = |record: &Value, port: u16| {
        let hops = record["hops"].as_array().unwrap().iter();
        hops.clone().find(|hop| hop["port"] == port).expect("watched").clone()
    };
    let behind_tls = hop(&unknown, secure_port);
    assert_eq!(behind_tls["requests"]["total"], Value::Null, "{behind_tls}");
    assert_eq!(behind_tls["finding"]["code"], "healthy", "{behind_tls}");
    assert_eq!(hop(&unknown, plain_port)["requests"]["total"], 400, "the plain one is known");
    let text = load(&[], &behind);
    let note = "Note: requests over this port are not known: the port speaks TLS,";
    assert_eq!(text.completes().stdout.matches(note).count(), 1, "{}", text.stdout);

    // Of its own target the load knows by itself.
    let direct = format!("https://127.0.0.1:{secure}/");
    let output = load(&["--insecure", "--format", "json"], &direct);
    let target = hop(&record(output.completes()), secure_port);
    assert_eq!(
        (&target["requests"]["total"], &target["requests"]["mean"]),
        (&400.into(), &100.0.into())
    );
}

#[test]
fn several_ports_are_watched_together() {
    let chain = Chain::start("tuned");
    let (front, data) = (chain.front.address.port(), chain.data.address.port());
    let (a, b) = (front.to_string(), data.to_string());
    let ports = ["--watch", &a, "--watch", &b, "--watch", &a];
    let output = chain.load(&[&["-n", "200", "-c", "5", "--format", "json"], &ports[..]].concat());
    let record = record(output.completes());
    let hops = record["hops"].as_array().unwrap();
    assert_eq!(hops.len(), 2, "a port named twice is one hop");
    let of = |port: u16| hops.iter().find(|hop| hop["port"] == port).expect("watched");
    assert_eq!(of(front)["is_target"], true);
    assert_eq!(count(&of(front)["opened"]), 5);
    assert!(count(&of(data)["opened"]) <= 5);
    assert_eq!(of(data)["finding"]["code"], "healthy");
}

/// A kernel that refuses netlink: made by strace, which fails the one socket(2) of the main thread.
#[test]
fn unseen_hop_fails_before_the_run() {
    run(keepwarm().args(["load", "--watch", "0", "http://127.0.0.1/"])).exits_with(2);
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if !strace.is_ok_and(|status| status.success()) {
        skipped::because("strace is not installed, so no socket can be denied");
        return;
    }
    run(Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "trace=socket"])
        .args(["-e", "inject=socket:error=EPERM"])
        .arg(env!("CARGO_BIN_EXE_keepwarm"))
        .args(["load", "-n", "10", "-c", "1", "--watch", "8081", "http://127.0.0.1:9/"]))
    .exits_with(6)
    .says("not permitted");
}
