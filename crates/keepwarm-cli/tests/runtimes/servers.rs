//! Servers and proxies: Node, nginx, and our own experiment.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use keepwarm_testkit::skipped;
use serde_json::Value;

use crate::common::{PATIENCE, Service, keepwarm, run, until};
use crate::{
    Program, alone, assert_named, assert_runs_on, common, here, runs, version_of, watched,
    watched_from,
};

#[test]
fn nodes_keep_alive_of_five_seconds_under_a_client_that_keeps_longer_is_d4() {
    if !runs(Command::new("node").arg("--version")) {
        skipped::because("no Node (`node` in the PATH)");
        return;
    }
    let _alone = alone();
    let mut node = Program::start(Command::new("node").arg(here("server.js")));
    let service = SocketAddr::from(([127, 0, 0, 1], node.line().parse().unwrap()));
    let version = version_of(Command::new("node").arg("--version"));
    let scene = || {
        let mut streams: Vec<_> = (0..40).map(|_| TcpStream::connect(service).unwrap()).collect();
        for stream in &mut streams {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        }
        // Each is kept until the server ends it.
        for mut stream in streams {
            stream.read_to_end(&mut Vec::new()).unwrap();
        }
    };
    let seen = watched(service, scene);
    assert_named(&seen, "D4", "keep-alive timeout is shorter");
    assert_eq!(seen["closed"]["remote_fin"], 40);
    let idle = seen["idle_at_close_ms"]["p50"].as_u64().unwrap();
    assert!(idle >= 4_900, "{idle} ms");
    // Its timer may be late on a busy machine; then the time names nobody.
    if (5_000..5_300).contains(&idle) || (6_000..6_300).contains(&idle) {
        assert_named(&seen, "D4", "node http.Server does that by default");
    }
    // The client is this test; the server is told what to set in Node.
    let served = watched_from("server", service, scene);
    assert_named(&served, "D4", "server.keepAliveTimeout");
    assert_runs_on(&served, "node", &version);
}

fn nginx(keepalive: &str, server: &str) -> Option<Value> {
    if !runs(Command::new("nginx").arg("-v")) {
        skipped::because("no nginx (`nginx` in the PATH)");
        return None;
    }
    let _alone = alone();
    let service = Service::start(&["data"]);
    let port = common::dead_port();
    let folder = common::folder(&format!("watch-nginx-{port}"));
    let text = std::fs::read_to_string(here("nginx.conf")).unwrap();
    let text = text.replace("PREFIX", &folder.to_string_lossy()).replace("PORT", &port.to_string());
    let text = text.replace("UPSTREAM", &service.address.to_string());
    let text = text.replace("KEEPALIVE", keepalive).replace("SERVER", server);
    let config = folder.join("nginx.conf");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("nginx");
    let _nginx =
        Program::start(command.arg("-p").arg(&folder).arg("-c").arg(&config).stderr(Stdio::null()));
    assert!(until(|| TcpStream::connect(("127.0.0.1", port)).is_ok()), "nginx listens");
    let seen = watched(service.address, || {
        let url = format!("http://127.0.0.1:{port}/data");
        run(keepwarm().args(["load", "-n", "600", "-c", "10", &url])).completes();
    });
    std::fs::remove_dir_all(folder).unwrap();
    Some(seen)
}

#[test]
fn nginx_without_upstream_keepalive_is_d6_and_with_it_healthy() {
    let plain = "proxy_http_version 1.0; proxy_set_header Connection close;";
    let Some(without) = nginx("", plain) else { return };
    assert_named(&without, "D6", "Connection: close");
    assert_runs_on(&without, "nginx", "1.");
    let kept = "proxy_http_version 1.1; proxy_set_header Connection \"\";";
    let with = nginx("keepalive 32;", kept).unwrap();
    assert_named(&with, "healthy", "connections are kept");
    assert_runs_on(&with, "nginx", "1.");
}

#[test]
fn our_own_policies_are_named_as_what_they_are() {
    for (policy, code, words) in [
        ("per-request", "D1", "opens a connection for each request"),
        ("keepwarm", "healthy", "connections are kept"),
    ] {
        let _alone = alone();
        let data = Service::start(&["data"]);
        let front = Service::start(&[
            "front",
            "--client",
            policy,
            "--upstream",
            &data.url("/data"),
            "--upstream-timeout",
            "30s",
        ]);
        let seen = watched(data.address, || {
            let url = front.url("/stresstest");
            run(keepwarm().args(["load", "-n", "600", "-c", "10", &url])).completes();
        });
        assert_named(&seen, code, words);
        let version =
            concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
        assert_runs_on(&seen, "keepwarm", version);
    }
}
